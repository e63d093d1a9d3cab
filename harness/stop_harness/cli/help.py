"""The help of every command at once, for `--help-all` and the generated page of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import click


def every_command(context: click.Context) -> Iterator[click.Context]:
    """A context for the command itself, and for each command below it in the order in which help lists them."""
    yield context
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from every_command(below.context_class(below, parent=context, info_name=name))


def show_all(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    """The callback of `--help-all`: print and exit."""
    if asked and not context.resilient_parsing:
        click.echo("\n\n".join(each.get_help() for each in every_command(context)))
        context.exit()
