"""How a container starts its program, as one look at its processes shows it. Pure.

The same cause has another cure in another shape: `exec` ends the shell above one program, and is no advice for a script
that is itself the program, or that starts two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from stop_harness.evidence import process_tree
from stop_harness.evidence.process_tree import Tree
from stop_harness.model import Looks, ProcessInfo

COPIERS = frozenset({"tee", "cat", "logger", "ts", "sed", "awk", "mawk", "gawk", "multilog", "svlogd", "rotatelogs"})
"""Programs that stand behind another one and pass on what it writes."""

LOG_COPIERS = frozenset({"tee", "logger", "ts", "multilog", "svlogd"})
"""Those that copy a log also where the program itself has started them; a `cat` there may be anything."""

SUPERVISORS = process_tree.SUPERVISORS | frozenset("svscan supervise perpd perpboot nosh service-manager".split())
"""Programs that start services, and are told by a setting or a command of theirs how to stop them."""

WRAPPERS = process_tree.WRAPPERS | frozenset({"yarnpkg", "nodemon", "flock", "xvfb-run"})
"""Programs that start one other program and wait for it."""


class Shape(StrEnum):
    """What stands above the program that does the work."""

    UNSEEN = "unseen"
    """Nobody could look at the processes."""
    PROGRAM = "program"
    """PID 1, or the child of an init, is the program itself."""
    COMMAND = "command"
    """A shell with `-c` waits for the program."""
    SCRIPT = "script"
    """A shell that reads a script waits for the program."""
    LOOP = "loop"
    """A shell is the program: it runs short commands, or sleeps between them."""
    INTERACTIVE = "interactive"
    """A shell is the program: it waits for somebody at its terminal."""
    SEVERAL = "several"
    """A shell waits for two programs or more."""
    PIPED = "piped"
    """What the program writes goes through another process of the container, such as tee."""
    HELD_OPEN = "held-open"
    """A `tail -f` or a `sleep` keeps the container open for a program in the background."""
    WRAPPED = "wrapped"
    """A wrapper that is no shell waits for the program: npm, su, timeout."""
    SUPERVISED = "supervised"
    """A supervisor runs services: supervisord, runsvdir, svscan, monit."""


class Init(StrEnum):
    """Whether an init passes signals on to the program."""

    UNSEEN = "unseen"
    NONE = "none"
    PLAIN = "plain"
    """It signals its child."""
    GROUP = "group"
    """It signals the whole process group of its child: `tini -g`, dumb-init without `--single-child`."""


@dataclass(frozen=True)
class Launch:
    """How the program is started, as the look before the stop shows it; every tuple has who is nearer to PID 1 first.

    `everybody`: all processes. `first`: who decides when the container ends: PID 1, or the child of its init; None:
    nobody looked. `below`: those below `first`. `line`: from PID 1 down, through inits, shells and wrappers, to the
    first programs of their own. `above`: whoever has started another one that is still there, and `first`.
    """

    shape: Shape
    init: Init = Init.UNSEEN
    first: ProcessInfo | None = None
    line: tuple[ProcessInfo, ...] = ()
    above: tuple[ProcessInfo, ...] = ()
    below: tuple[ProcessInfo, ...] = ()
    everybody: tuple[ProcessInfo, ...] = ()


def launch(looks: Looks, lost: Iterable[str] = ()) -> Launch:
    """The shape, from the table before the stop; the later tables tell a loop from a program.

    `lost`: names of the processes that the stop ended before their time. Where none of them copies a log, the pipe to
    one that does is not what is wrong.
    """
    tree = Tree(looks.before or ())
    pid1 = tree.pid1
    if pid1 is None:
        return Launch(Shape.UNSEEN)
    first, inits = pid1, list[ProcessInfo]()
    while process_tree.program(first) in process_tree.INITS and tree.children(first) and first not in inits:
        inits.append(first)
        first = tree.children(first)[0]
    init = Init.NONE
    if inits:
        init = Init.GROUP if any(map(process_tree.tells_group, inits)) else Init.PLAIN
    everybody = (pid1, *tree.descendants(pid1))
    gone = frozenset(lost)
    return Launch(
        _shape(tree, first, Tree(looks.late or looks.after_signal or ()), not gone or bool(gone & COPIERS)),
        init,
        first,
        (*inits, *_line(tree, first)),
        tuple(each for each in everybody if each == first or tree.children(each)),
        tree.descendants(first),
        everybody,
    )


def is_wrapper(process: ProcessInfo) -> bool:
    """Whether it starts one other program and waits for it; an interpreter is what it runs."""
    words = process.command.split()
    script = words[1].rpartition("/")[2].removesuffix(".js") if len(words) > 1 else ""
    runs = script if process_tree.program(process) in process_tree.RUNTIMES else ""
    return bool({process_tree.program(process), runs} & WRAPPERS)


def _line(tree: Tree, first: ProcessInfo) -> tuple[ProcessInfo, ...]:
    """A process and, if it only starts another one, those below it; a cycle that no kernel prints ends it."""
    line, at = [first], 0
    while at < len(line):
        if process_tree.is_shell(line[at]) or is_wrapper(line[at]):
            line += [each for each in tree.children(line[at]) if each not in line]
        at += 1
    return tuple(line)


def _shape(tree: Tree, first: ProcessInfo, late: Tree, copies: bool) -> Shape:
    names = {process_tree.program(each) for each in _below_shells(tree, first)}
    workers = [each for each in _below_shells(tree, first) if not _helps(each)]
    if copies and workers and names & COPIERS and process_tree.is_shell(first):
        return Shape.PIPED
    if process_tree.is_shell(first):
        if not tree.children(first) and all(word.startswith("-") and word != "-c" for word in _arguments(first)):
            return Shape.INTERACTIVE
        if not workers or _runs_one_after_the_other(tree, first, late):
            return Shape.LOOP
        if names & process_tree.PLAIN - COPIERS:
            return Shape.HELD_OPEN
        if len(workers) > 1:
            return Shape.SEVERAL
        return Shape.COMMAND if "-c" in first.command.split()[:3] else Shape.SCRIPT
    if _supervises(first):
        return Shape.SUPERVISED
    if is_wrapper(first):
        return Shape.WRAPPED
    if copies and names & LOG_COPIERS:
        return Shape.PIPED
    return Shape.HELD_OPEN if _helps(first) and workers else Shape.PROGRAM


def _arguments(process: ProcessInfo) -> list[str]:
    return process.command.split()[1:]


def _supervises(process: ProcessInfo) -> bool:
    """By the name of its command or, of a Python program such as supervisord, of what its interpreter runs."""
    words = process.command.split()[:2]
    return bool({process_tree.program(process), *(word.rpartition("/")[2] for word in words)} & SUPERVISORS)


def _below_shells(tree: Tree, first: ProcessInfo) -> tuple[ProcessInfo, ...]:
    """What a process has started itself; a subshell counts as a part of the shell above it."""
    found: list[ProcessInfo] = []
    for child in tree.children(first):
        found += _below_shells(tree, child) if process_tree.is_shell(child) else (child,)
    return tuple(found)


def _helps(process: ProcessInfo) -> bool:
    return process_tree.program(process) in process_tree.PLAIN | COPIERS


def _runs_one_after_the_other(tree: Tree, shell: ProcessInfo, late: Tree) -> bool:
    """The shell has started another child since the stop signal, and none of those before is left."""
    then, now = tree.children(shell), late.children(late.find(shell) or shell)
    return bool(then and now) and not {each.pid for each in then} & {each.pid for each in now}
