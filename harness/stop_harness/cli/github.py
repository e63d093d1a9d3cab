"""GitHub Actions, where the command runs there: annotations, and the summary of the step."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from stop_harness.model import Report


def is_on(choice: str) -> bool:
    """`--github`, else whether GitHub runs this (its documentation: `GITHUB_ACTIONS` is then `true`)."""
    return choice == "always" or (choice == "auto" and os.environ.get("GITHUB_ACTIONS") == "true")


def shielded(text: str, choice: str) -> str:
    """Text whose lines GitHub does not take for commands: the end of a log may hold any, such as `::add-mask::`."""
    if not is_on(choice):
        return text
    token = os.urandom(16).hex()
    return f"::stop-commands::{token}\n{text.rstrip()}\n::{token}::\n"


def publish(report: Report, choice: str, *, as_json: bool = False) -> None:
    """Annotations, on standard error where JSON has the other; and the summary, if GitHub has a file for it. What it
    does not take is said, and changes no exit code: nobody asked for that file by name."""
    if not is_on(choice):
        return
    from stop_harness.renderers import github, markdown

    click.echo(github.render(report), nl=False, err=as_json)
    sys.stdout.flush()
    file = os.environ.get("GITHUB_STEP_SUMMARY")
    if not file:
        return
    try:
        with Path(file).open("a", encoding="utf-8") as opened:
            opened.write(markdown.render(report))
    except OSError as error:
        click.echo(f"the summary of the step could not be written: {file}: {error.strerror}", err=True)
