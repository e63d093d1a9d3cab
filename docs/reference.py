"""The generated page of the command line, docs/cli.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from stop_harness.cli.help import every_command
from stop_harness.cli.main import cli as program

CLI_PAGE = """\
# Command line

<!-- Written by docs/generate.py from the code; change it there, then `make docs`. -->

What `stop-harness --help-all` prints. An option that takes one value may be given once. [Everyday use](usage.md) tells
which command is for what, [outcomes](outcomes.md#exit-codes-of-the-command) what the exit codes mean, and
[settings](usage.md#settings) which options the environment and `pyproject.toml` may set.

{commands}
"""


class MarkdownFormatter(click.HelpFormatter):
    """click tells it a command's help as it tells it to a terminal, so both show the same in the same order."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """As a block of code."""
        self.write(f"```\n{prog} {args}\n```\n\n")

    def write_heading(self, heading: str) -> None:
        """In bold: the page's headings are the commands."""
        self.write(f"**{heading}**\n\n")

    def write_paragraph(self) -> None:
        """click asks for it before and after sections; texts and tables end with an empty line here anyway."""

    def write_text(self, text: str) -> None:
        """Paragraphs; those that click is told not to wrap (\\b) are blocks of code, but for sentences."""
        for paragraph in re.split(r"\n\s*\n", text.strip()):
            lines = paragraph.strip().removeprefix("\b").strip("\n").splitlines()
            examples = paragraph.lstrip().startswith("\b") and lines[0].startswith("stop-harness ")
            body = "\n".join(line.strip() for line in lines)
            self.write(f"```\n{body}\n```\n\n" if examples else f"{body}\n\n")

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """A table without a head: the heading above says what it holds."""
        self.write("| | |\n|---|---|\n")
        for first, second in rows:
            self.write(f"| `{_cell(first)}` | {_cell(second)} |\n")
        self.write("\n")

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """A heading and what follows."""
        self.write_heading(name)
        yield

    @contextmanager
    def indentation(self) -> Iterator[None]:
        """None: four spaces would make code of a paragraph."""
        yield


def cli() -> str:
    """The page of the command line: one heading a command."""
    with click.Context(program, info_name="stop-harness", **program.context_settings) as context:
        return CLI_PAGE.format(commands="\n\n".join(_command(each) for each in every_command(context)))


def _command(context: click.Context) -> str:
    formatter = MarkdownFormatter(width=1000)  # no short help is cut off
    context.command.format_help(context, formatter)
    return f"## {context.command_path}\n\n{formatter.getvalue().strip()}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
