"""Shells and inits between the stop signal and the program: who stands there, and the command without them. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from stop_harness.evidence import process_tree
from stop_harness.evidence.process_tree import INITS, PLAIN, SHELLS, WRAPPERS, Reaction, Tree
from stop_harness.model import Configuration, ProcessInfo
from stop_harness.records import dataclass

SCRIPT_LEFT_OUT = (
    "The program was started without the script around it, so without what that sets up; in the image, "
    "put `exec` before the command of the script that starts the program."
)
WRAPPER_LEFT_OUT = (
    "The program was started without {wrapper} around it, so without what that sets up (user, environment, folder, "
    "restarts); set in the image what the program needs of it."
)
OTHERS_LEFT_OUT = "{others}, started beside it, is left out."
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
    configuration: Configuration,
    processes: tuple[ProcessInfo, ...],
    *,
    signal: int | None = None,
    wrapper: bool = False,
    replaced: bool = False,
) -> tuple[Rewrite, ...]:
    """Ways to start the program as PID 1 itself, the surest first; empty where nothing stands before it.

    `signal`, `wrapper`: as `program` has them. `replaced`: also where PID 1 is the program, but a script has put it in
    its own place by `exec` and left something running beside it.
    """
    arguments = configuration.arguments
    prefix = _init_prefix(arguments)
    rest = arguments[len(prefix) :]
    below = program(processes, signal, wrapper=wrapper)
    if below is None and replaced:
        below = _put_in_place(rest, processes)
    found: list[Rewrite] = []

    def add(title: str, words: tuple[str, ...], assumption: str = "") -> None:
        entrypoint, command = _placed(configuration, prefix, words)
        found.append(Rewrite(title, entrypoint, command, assumption))

    line = shell_line(rest)
    if line is not None:
        _from_line(rest, line, below, add)
    elif below is not None:
        words = _known_words(rest, below.command)
        title, left_out = _left_out(below, processes)
        exact = words or tuple(below.command.split())
        add(title, exact, " ".join([*left_out, *([] if words else [QUOTES_LOST])]))
    without = tuple(word for word in rest if word not in RELOADERS)
    if without != rest and line is None:
        add("the program without its reloader", without)
    unique = {(item.entrypoint, item.command): item for item in reversed(found)}
    return tuple(item for item in reversed(unique.values()) if (item.entrypoint, item.command) != (None, arguments))


RELOADERS = frozenset({"--reload", "--watch"})
"""What programs call the option that puts a process before the program which starts it again when a file changes."""


def _left_out(below: ProcessInfo, processes: tuple[ProcessInfo, ...]) -> tuple[str, tuple[str, ...]]:
    """(what is tried, what it leaves out), by who stands between the stop signal and the program."""
    tree, top = Tree(processes), next(iter(receivers(processes)), below)
    notes = [SCRIPT_LEFT_OUT]
    title = "the program without the script"
    if top is not below and not process_tree.is_shell(top):
        called = f"`{_script_or_program(top)}`"
        title, notes = f"the program without {called}", [WRAPPER_LEFT_OUT.format(wrapper=called)]
    if others := beside(below, tree, top):
        notes.append(OTHERS_LEFT_OUT.format(others=", ".join(map(process_tree.quoted, others))))
    return title, tuple(notes)


def _script_or_program(process: ProcessInfo) -> str:
    """`nodemon` of `node /usr/bin/nodemon server.js`."""
    words = [word for word in process.command.split() if not word.startswith("-")]
    interpreted = process_tree.program(process) in process_tree.RUNTIMES and len(words) > 1
    return base_name(words[1]) if interpreted else process_tree.program(process)


def _put_in_place(rest: tuple[str, ...], processes: tuple[ProcessInfo, ...]) -> ProcessInfo | None:
    """PID 1 where it is another program than the one that the container starts, whose words stand at the end of its
    argument list; else None."""
    pid1 = Tree(processes).pid1
    return pid1 if pid1 is not None and _known_words(rest, pid1.command) else None


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
    at = next((at for at in range(1, len(rest)) if " ".join(rest[at:]) == command), None)
    if at is None:
        return None
    one_line = at == len(rest) - 1 and " " in rest[at]  # `su -c LINE`
    return simple_words(rest[at]) if one_line else rest[at:]


def started(processes: tuple[ProcessInfo, ...], signal: int | None) -> tuple[tuple[str, ...], str | None] | None:
    """(argument list of the program below a shell, the shell's line with `exec` before the program), as the process
    table shows them: a line keeps its quotes, other commands lose theirs. The line is None where the program is not its
    last command. None: no shell stands before the program, or it is not one process."""
    below, top = program(processes, signal, wrapper=True), next(iter(receivers(processes)), None)
    if below is None or top is None or not process_tree.is_shell(top):
        return None
    line = top.command.partition(" -c ")[2]
    known = (simple_words(command) for command in commands(line))
    words = next((words for words in known if words and " ".join(words) == below.command), None)
    head, last = split_last(line)
    ends_with_it = bool(last) and " ".join(simple_words(last) or ()) == below.command
    return words or tuple(below.command.split()), f"{head}exec {last}" if ends_with_it and head else None


# ── Processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def receivers(processes: tuple[ProcessInfo, ...]) -> tuple[ProcessInfo, ...]:
    """Who gets the stop signal: PID 1, or what an init passes it on to."""
    tree = Tree(processes)
    if tree.pid1 is None:
        return ()
    below = tree.children(tree.pid1)
    return below if process_tree.program(tree.pid1) in INITS and below else (tree.pid1,)


def signalled(processes: tuple[ProcessInfo, ...]) -> tuple[ProcessInfo, ...]:
    """Who gets the stop signal, and below a wrapper also those whom that starts and passes it on to."""
    tree, found = Tree(processes), list(receivers(processes))
    for process in found:
        if process_tree.program(process) in WRAPPERS:
            found += [child for child in tree.children(process) if child not in found]
    return tuple(found)


def program(
    processes: tuple[ProcessInfo, ...], signal: int | None = None, *, wrapper: bool = False
) -> ProcessInfo | None:
    """The program below whatever stands between it and the stop signal; None if nothing does or it is not one process.

    It is the one process that handles `signal`, whoever started it and whatever runs beside it. Where none does, it is
    the end of a chain of shells and wrappers, each with one child. A command such as `sleep` is a step of a script and
    never its program. `wrapper`: the receiver of the signal is no shell, but not the program either.
    """
    tree, top = Tree(processes), next(iter(receivers(processes)), None)
    if top is None:
        return None
    stands_before = process_tree.program(top) in SHELLS | WRAPPERS
    if not stands_before and not wrapper:
        return None
    if signal is not None:
        handling = _handling(tree, top, signal)
        if handling:
            return handling[0] if len(handling) == 1 else None
    return _end_of_chain(tree, top) if stands_before else None


def _handling(tree: Tree, top: ProcessInfo, signal: int) -> list[ProcessInfo]:
    """The uppermost processes below `top` that handle the signal and can be started by themselves."""
    found, layer, met = [], list(tree.children(top)), set[int]()
    while layer:
        process = layer.pop(0)
        if process.pid in met:  # a table that was read while processes came and went may go round in circles
            continue
        met.add(process.pid)
        handles = process_tree.reaction(process, signal) in {Reaction.CAUGHT, Reaction.AWAITED}
        between = process_tree.program(process) in SHELLS | WRAPPERS
        if handles and not between and _is_command(process, tree):
            found.append(process)
        elif len(found) + len(layer) < _MOST_PROCESSES:
            layer += [child for child in tree.children(process) if child is not process]
    return found


_MOST_PROCESSES = 1000


def _is_command(process: ProcessInfo, tree: Tree) -> bool:
    """Whether its command line starts it: not that of a fork, which has its parent's, nor a title (`nginx: worker`)."""
    parent = next((other for other in tree.processes if other.pid == process.parent_pid), None)
    words = process.command.split()
    return bool(words) and not words[0].endswith(":") and (parent is None or parent.command != process.command)


def _end_of_chain(tree: Tree, top: ProcessInfo) -> ProcessInfo | None:
    current: ProcessInfo | None = top
    for _ in tree.processes:
        if current is None or process_tree.program(current) not in SHELLS | WRAPPERS:
            break
        below = tree.children(current)
        current = below[0] if len(below) == 1 else None
    if current is None or current is top or process_tree.program(current) in PLAIN:
        return None
    return current if _is_command(current, tree) else None


def beside(below: ProcessInfo, tree: Tree, top: ProcessInfo) -> tuple[ProcessInfo, ...]:
    """Who else runs below `top`: neither the program, nor above or below it, nor a shell or wrapper of its own."""
    inside = {process.pid for process in tree.descendants(below)} | {below.pid}
    return tuple(
        process
        for process in tree.descendants(top)
        if process.pid not in inside
        and below not in tree.descendants(process)
        and process_tree.program(process) not in SHELLS | WRAPPERS
    )


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
