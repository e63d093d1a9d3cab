"""Shell completion, asked as the shells ask for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.own_runs import COMMAND
from tests.screen import on_terminal

PATH = f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"

CASES = {
    "commands": ("val", {"validate"}),
    "a command below a command": ("ecs s", {"serve"}),
    "options": ("check --ready-h", {"--ready-healthcheck", "--ready-http"}),
    "options of the container, from their table": ("check --read-", {"--read-only"}),
    "a choice": ("run --color a", {"auto", "always"}),
    "engines": ("run --engine p", {"process"}),
    "signals": ("check --signal SIGU", {"SIGURG", "SIGUSR1", "SIGUSR2"}),
    "signals without SIG": ("check --signal USR", {"SIGUSR1", "SIGUSR2"}),
    "shells": ("completion z", {"zsh"}),
}

ASK_BASH = """
source <(stop-harness completion bash)
complete -p stop-harness > /dev/null || exit 1
compopt() { echo "compopt $1 $2"; }  # outside of a completion there is none
COMP_WORDS=(stop-harness "$@")
COMP_CWORD=$#
_stop_harness_completion stop-harness
printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash(*words: str) -> set[str]:
    """What bash offers for the last of these words."""
    return answered("bash", "-c", ASK_BASH, "bash", *words)


def answered(*command: str) -> set[str]:
    """The lines that a command prints."""
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return {line for line in done.stdout.splitlines() if line}


def needs(shell: str) -> None:
    """Skip where it is not installed."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


@pytest.mark.parametrize(("line", "offered"), CASES.values(), ids=list(CASES))
def test_bash_is_offered(line: str, offered: set[str]) -> None:
    """All that fits, and nothing else."""
    assert bash(*line.split()) == offered


@pytest.mark.parametrize(
    ("line", "asked"),
    {
        "check --compose comp": "compopt -o default",
        "check --build ap": "compopt -o dirnames",
        "run scen": "compopt -o default",
        "judge rep": "compopt -o default",
    }.items(),
)
def test_bash_completes_files_and_folders_itself(line: str, asked: str) -> None:
    """Where an argument is a file or a folder."""
    assert bash(*line.split()) == {asked}


def test_bash_completes_at_a_prompt() -> None:
    """By the key, in a shell that somebody sits before."""
    command = ["env", f"PATH={PATH}", "bash", "--norc", "--noprofile", "-i"]
    assert "stop-harness validate" in typed_at(command, 'eval "$(stop-harness completion bash)"')


@pytest.mark.oracle
def test_zsh_completes_at_a_prompt() -> None:
    """The same with zsh, whose completion needs an editor of lines."""
    needs("zsh")
    setting_up = 'autoload -Uz compinit; compinit -u -D; eval "$(stop-harness completion zsh)"'
    assert "stop-harness validate" in typed_at(["env", f"PATH={PATH}", "zsh", "-f", "-i"], setting_up)


@pytest.mark.oracle
@pytest.mark.parametrize(("line", "offered"), CASES.values(), ids=list(CASES))
def test_fish_is_offered(line: str, offered: set[str]) -> None:
    """Each with its help behind a tab, which is left out here."""
    needs("fish")
    asking = f"stop-harness completion fish | source; complete -C 'stop-harness {line}'"
    found = answered("fish", "--no-config", "-c", asking)
    assert {item.partition("\t")[0] for item in found} == offered


def typed_at(command: list[str], setting_up: str) -> str:
    """The line that an interactive shell has after `stop-harness vali` and the tab key, as it printed it."""
    sent: list[str] = []

    def act(written: str, type_: Callable[[str], None]) -> None:
        if not sent:
            sent.append("setting up")
            type_(f'{setting_up}; echo se""tup-is-done\n')
        elif len(sent) == 1 and "setup-is-done" in written:
            sent.append("word")
            type_("stop-harness vali\t")
        elif len(sent) == 2 and "validate" in written.partition("setup-is-done")[2]:
            sent.append("left")
            type_("\x15exit\n")

    _, written = on_terminal(command, act)
    return written.partition("setup-is-done")[2]
