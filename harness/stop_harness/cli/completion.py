"""`stop-harness completion`, and what options complete to that click cannot know by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

ENGINES = ("auto", "docker", "process", "ecs")
INSTALLING = """\b
bash   add to ~/.bashrc:   eval "$(stop-harness completion bash)"
zsh    add to ~/.zshrc, behind compinit:   eval "$(stop-harness completion zsh)"
fish   stop-harness completion fish > ~/.config/fish/completions/stop-harness.fish
"""


@click.command(epilog=INSTALLING)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script by which a shell completes commands, options and their values."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None  # the choice above has only what click knows
    root = context.find_root()
    variable = f"_{root.info_name}_COMPLETE".replace("-", "_").upper()
    click.echo(made(root.command, {}, root.info_name or "", variable).source())


def files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shell completes names of files."""
    return _by_shell(incomplete, "file")


def folders(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shell completes names of folders."""
    return _by_shell(incomplete, "dir")


def engines(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of engines."""
    return [name for name in ENGINES if name.startswith(incomplete)]


def signal_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of signals, with SIG before them or not."""
    import signal

    names = sorted(item.name for item in signal.Signals)
    prefix = "" if incomplete.upper().startswith("S") or not incomplete else "SIG"
    return [name for name in names if name.startswith(prefix + incomplete.upper())]


def _by_shell(incomplete: str, kind: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type=kind)]
