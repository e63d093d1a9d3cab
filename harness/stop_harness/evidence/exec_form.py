"""Shells and inits between the stop signal and the program: who stands there, and the command without them. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from stop_harness.evidence import process_tree
from stop_harness.evidence.process_tree import INITS, SHELLS, WRAPPERS, Tree
from stop_harness.model import Configuration, ProcessInfo

SCRIPT_LEFT_OUT = (
    "The program was started without the script around it, so without what that sets up; in the image, "
    "put `exec` before the command of the script that starts the program."
)
LINE_LEFT_OUT = "What else the shell line does, before or after the program, is left out."
QUOTES_LOST = "The words are those of the process table, which does not show quotes."


@dataclass(frozen=True)
class Rewrite:
    """Another entrypoint or command, as a scenario would set them; `assumption` as in `Remedy`."""

    title: str
    entrypoint: tuple[str, ...] | None
    command: tuple[str, ...] | None
    assumption: str = ""


def rewrites(
    configuration: Configuration, processes: tuple[ProcessInfo, ...], *, wrapper: bool = False
) -> tuple[Rewrite, ...]:
    """Ways to start the program as PID 1 itself, the surest first; empty where nothing stands before it.

    `wrapper`: PID 1 is to be left out even though it is no shell.
    """
    arguments = configuration.arguments
    prefix = _init_prefix(arguments)
    rest = arguments[len(prefix) :]
    below = program(processes, wrapper=wrapper)
    found: list[Rewrite] = []

    def add(title: str, words: tuple[str, ...], assumption: str = "") -> None:
        entrypoint, command = _placed(configuration, prefix, words)
        found.append(Rewrite(title, entrypoint, command, assumption))

    line = shell_line(rest)
    if line is not None:
        _from_line(rest, line, below, add)
    elif below is not None:
        words = _known_words(rest, below.command)
        exact = words or tuple(below.command.split())
        add("the program without the script", exact, " ".join([SCRIPT_LEFT_OUT, *([] if words else [QUOTES_LOST])]))
    unique = {(item.entrypoint, item.command): item for item in reversed(found)}
    return tuple(item for item in reversed(unique.values()) if (item.entrypoint, item.command) != (None, arguments))


def _from_line(
    rest: tuple[str, ...], line: str, below: ProcessInfo | None, add: Callable[[str, tuple[str, ...], str], None]
) -> None:
    """`sh -c LINE`: as a list of words, or with `exec` before its last command."""
    whole = simple_words(line)
    if whole:
        add("exec form", whole, "")
        return
    head, last = split_last(line)
    if last and not last.startswith("exec "):
        add("`exec` in the shell line", (*rest[:2], f"{head}exec {last}", *rest[3:]), "")
    if below is None:
        return
    known = (simple_words(command) for command in commands(line))
    exact = next((words for words in known if words and " ".join(words) == below.command), None)
    words = exact or tuple(below.command.split())
    add("exec form", words, " ".join([LINE_LEFT_OUT, *([] if exact else [QUOTES_LOST])]))


def _placed(
    configuration: Configuration, prefix: tuple[str, ...], words: tuple[str, ...]
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """(entrypoint, command) as a scenario sets them, with as little changed as possible."""
    if configuration.entrypoint == prefix:
        return None, words
    return prefix + words, None


def _known_words(rest: tuple[str, ...], command: str) -> tuple[str, ...] | None:
    """The end of the argument list that the process table shows as a process of its own, with its quotes."""
    return next((rest[at:] for at in range(1, len(rest)) if " ".join(rest[at:]) == command), None)


# ── Processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def receivers(processes: tuple[ProcessInfo, ...]) -> tuple[ProcessInfo, ...]:
    """Who gets the stop signal: PID 1, or what an init passes it on to."""
    tree = Tree(processes)
    if tree.pid1 is None:
        return ()
    below = tree.children(tree.pid1)
    return below if process_tree.program(tree.pid1) in INITS and below else (tree.pid1,)


def program(processes: tuple[ProcessInfo, ...], *, wrapper: bool = False) -> ProcessInfo | None:
    """The program below the shells, None if nothing stands before it or it is not one process.

    `wrapper`: PID 1 is no shell, but not the program either.
    """
    tree = Tree(processes)
    current, passed = next(iter(receivers(processes)), None), False
    while current is not None:
        known = process_tree.program(current) in SHELLS | WRAPPERS
        if not known and not (wrapper and not passed):
            return current if passed else None
        below = tree.children(current)
        current, passed = (below[0] if len(below) == 1 else None), True
    return None


def base_name(word: str) -> str:
    """`sh` of `/bin/sh`."""
    return word.rpartition("/")[2]


def _init_prefix(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """`tini -g --` of an argument list that begins with an init of the image's own; empty if it does not."""
    if not arguments or base_name(arguments[0]) not in INITS:
        return ()
    end = next((at for at, word in enumerate(arguments[1:], 1) if not word.startswith("-") or word == "--"), 1)
    return arguments[: end + 1] if arguments[end : end + 1] == ("--",) else arguments[:end]


# ── Shell lines ──────────────────────────────────────────────────────────────────────────────────────────────────────

_KEYWORDS = frozenset(
    "if then else fi for while until do done case esac { ! function select time [[ cd export set trap exit exec".split()
)
_SPECIAL = re.compile(r"[$`*?\[\]{}()<>|&;~#\n\\!]")
_TOKEN = re.compile(r"""\\.|"(?:\\.|[^"\\])*"|'[^']*'|&&|\|\||[;\n]|[^\\"';\n&|]+|.""", re.DOTALL)


def shell_line(words: tuple[str, ...]) -> str | None:
    """The text behind `sh -c`, None if the words are no such call."""
    if len(words) >= 3 and base_name(words[0]) in SHELLS and re.fullmatch("-[a-z]*c", words[1]):
        return words[2]
    return None


def simple_words(line: str) -> tuple[str, ...] | None:
    """The argument list of one plain command; None where a shell would do more than split at blanks and quotes."""
    if _SPECIAL.search(re.sub(r"'[^']*'", "", line)):
        return None
    try:
        words = tuple(shlex.split(line))
    except ValueError:
        return None
    plain = words and words[0] not in _KEYWORDS and "=" not in words[0]
    return words if plain else None


def commands(line: str) -> tuple[str, ...]:
    """The parts of a line between `;`, `&&`, `||` and line ends."""
    parts = [""]
    for token in _TOKEN.findall(line):
        if token in {";", "\n", "&&", "||"}:
            parts.append("")
        else:
            parts[-1] += token
    return tuple(part.strip() for part in parts if part.strip())


def split_last(line: str) -> tuple[str, str]:
    """What comes before the last command of a line, and that command; ("", "") where `exec` cannot stand before it."""
    parts = commands(line)
    last = parts[-1] if parts else ""
    compound = re.search(r"[|(){}]|(?<!>)&(?!>)", re.sub(r"\$\{[^}]*\}|\"[^\"]*\"|'[^']*'|\\.", "", last))
    words = last.split()
    if not words or compound or not line.rstrip().endswith(last):
        return "", ""
    if words[0] in _KEYWORDS - {"exec"} or "=" in words[0]:
        return "", ""
    return line[: line.rindex(last)], last
