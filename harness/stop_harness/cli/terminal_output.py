"""How standard output is written to: colours, width, letters."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO, TypedDict

import click

from stop_harness.cli import standard_streams


class Style(TypedDict):
    """How a text is laid out."""

    width: int
    colour: bool
    unicode: bool


def coloured(choice: str) -> bool:
    """`--color`, then NO_COLOR (no-color.org: any non-empty value), then whether standard output is a terminal."""
    if choice != "auto":
        return choice == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def style(choice: str) -> Style:
    """What the terminal renderers take, for a choice of `--color`."""
    return {"width": width(), "colour": coloured(choice), "unicode": unicode()}


def deliver(text: str, choice: str) -> None:
    """To standard output; to standard error where that is closed or full."""
    echo(text, choice)
    if standard_streams.lost(sys.stdout):
        click.echo(text, nl=False, err=True, color=False)
        if not standard_streams.lost(sys.stderr):
            standard_streams.forgive(sys.stdout)


def echo(text: str, choice: str) -> None:
    """Click takes colours out for what is not a terminal, even where they were asked for."""
    click.echo(text, nl=False, color=coloured(choice))


def unicode(stream: TextIO | None = None) -> bool:
    """Whether a stream takes more than ASCII; None: standard output, also while a live table stands before it."""
    given = stream or sys.stdout
    # rich's stand-in for the stream, while a table is live, has no encoding of its own.
    behind = getattr(given, "rich_proxied_file", given)
    return (behind.encoding or "").lower().replace("-", "") in {"utf8", "utf16"}


def in_its_letters(text: str, stream: TextIO | None = None) -> str:
    """What such a stream can show of a text: with stand-ins for its marks, which a `?` for each would mix up."""
    if unicode(stream):
        return text
    from stop_harness.renderers.sections import columns

    return columns.ascii_only(text)


def width() -> int:
    """Columns to write in: those of the terminal, at most 120; 80 where there is none."""
    return min(120, shutil.get_terminal_size((80, 24)).columns)
