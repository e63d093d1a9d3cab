"""How a container starts its program, as one look at its processes shows it. Pure.

The same cause has another cure in another shape: `exec` ends the shell above one program, and is no advice for a script
that is itself the program, or that starts two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stop_harness.evidence import process_tree
from stop_harness.evidence.process_tree import Tree
from stop_harness.model import Looks, ProcessInfo

COPIERS = frozenset({"tee", "cat", "logger", "ts", "sed", "awk", "mawk", "gawk", "multilog", "svlogd", "rotatelogs"})
"""Programs that stand behind another one and pass on what it writes."""


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
    SEVERAL = "several"
    """A shell waits for two programs or more."""
    PIPED = "piped"
    """What the program writes goes through another process of the container, such as tee."""
    HELD_OPEN = "held-open"
    """A `tail -f` or a `sleep` keeps the container open for a program in the background."""
    WRAPPED = "wrapped"
    """A wrapper that is no shell waits for the program: npm, su, timeout."""


@dataclass(frozen=True)
class Launch:
    """How the program is started. `processes`: all that were seen before the stop, from PID 1 down, without shells."""

    shape: Shape
    processes: tuple[ProcessInfo, ...] = ()


def launch(looks: Looks) -> Launch:
    """The shape, from the table before the stop; the later tables tell a loop from a program."""
    tree = Tree(looks.before or ())
    first = tree.pid1
    if first is None:
        return Launch(Shape.UNSEEN)
    everybody = tuple(each for each in (first, *tree.descendants(first)) if not process_tree.is_shell(each))
    children = tree.children(first)
    while process_tree.program(first) in process_tree.INITS and children:
        first, children = children[0], tree.children(children[0])
    return Launch(_shape(tree, first, Tree(looks.late or looks.after_signal or ())), everybody)


def _shape(tree: Tree, first: ProcessInfo, late: Tree) -> Shape:
    names = {process_tree.program(each) for each in _below_shells(tree, first)}
    workers = [each for each in _below_shells(tree, first) if not _helps(each)]
    if workers and names & COPIERS:
        return Shape.PIPED
    if process_tree.is_shell(first):
        if not workers or _runs_one_after_the_other(tree, first, late):
            return Shape.LOOP
        if names & process_tree.PLAIN:
            return Shape.HELD_OPEN
        if len(workers) > 1:
            return Shape.SEVERAL
        return Shape.COMMAND if "-c" in first.command.split()[:3] else Shape.SCRIPT
    if process_tree.program(first) in process_tree.WRAPPERS:
        return Shape.WRAPPED
    if names & COPIERS:
        return Shape.PIPED
    return Shape.HELD_OPEN if _helps(first) and workers else Shape.PROGRAM


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
