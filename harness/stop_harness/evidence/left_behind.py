"""Who may still have been there when PID 1 exited, by the looks at the process table, where nobody proved it. Pure.

The kernel SIGKILLs what PID 1 leaves behind (pid_namespaces(7)). Without its record of exits there are only looks, and
between the last of them and the end anything may have happened. Measured on 36 stops of 12 programs: whoever takes "was
there, and does not handle the signal" for lost misses 9 of 18 losses and accuses 4 of 18 stops without one. So a table
clears a stop only where nobody was left to lose, and accuses it only where nothing else can have happened.
"""

from __future__ import annotations

from enum import StrEnum

from stop_harness.evidence import process_tree
from stop_harness.evidence.process_tree import Reaction, Tree
from stop_harness.model import NS_PER_S, Looks, Observation, ProcessInfo, SignalDisposition, StopRecord
from stop_harness.records import dataclass

WAITING_INITS = frozenset("tini tini-static docker-init podman-init catatonit dumb-init".split())
"""They leave when their child is gone, never before, and with its exit code: each program's own documentation."""

TELLS_CHILD_ALONE = WAITING_INITS - {"dumb-init"}
"""Of these, those that pass the stop signal on to their child, not to its whole process group."""

PROMPT_NS = NS_PER_S
"""An init leaves within milliseconds of its child's death by the stop signal. Later, the last look is no longer what
the signal met."""


class LeftBehindFate(StrEnum):
    """What the looks leave open."""

    NOBODY_THERE = "nobody_there"
    """PID 1 was alone at every look, or was an init that waits for the only process there is beside it."""
    SURELY_LOST = "surely_lost"
    """The table leaves no other reading than that SIGKILL ended them."""
    NOT_SEEN = "not_seen"
    """They were there; how they ended nobody saw."""
    NO_LOOK = "no_look"
    """Nobody could read the table."""


@dataclass(frozen=True)
class LeftBehind:
    """The other processes of the container when PID 1 exited.

    `processes`: those that were or may have been lost, as the last look saw them. Empty where nobody was there, and
    where nobody looked.
    """

    fate: LeftBehindFate
    processes: tuple[ProcessInfo, ...] = ()


def left_behind(seen: Observation, shutdown_duration_ns: int | None) -> LeftBehind:
    """What the looks of one stop say, all of them taken while PID 1 lived."""
    looks = _trees(seen.looks)
    if not looks:
        return LeftBehind(LeftBehindFate.NO_LOOK)
    others = [_others(look) for look in looks]
    if not any(others) or all(map(_waits_for_only_child, looks, others)):
        return LeftBehind(LeftBehindFate.NOBODY_THERE)
    if lost := _deserted(looks[-1], seen.record, shutdown_duration_ns):
        return LeftBehind(LeftBehindFate.SURELY_LOST, lost)
    # Who is gone at the last look may have exited by itself, or by the SIGKILL of a supervisor inside.
    return LeftBehind(LeftBehindFate.NOT_SEEN, next(found for found in reversed(others) if found))


def names(processes: tuple[ProcessInfo, ...], at_most: int = 10) -> str:
    """`python, sleep and 8 more`."""
    programs = [process_tree.program(process) or "?" for process in processes]
    more = f" and {len(programs) - at_most} more" if len(programs) > at_most else ""
    return ", ".join(programs[:at_most]) + more


def _trees(looks: Looks) -> list[Tree]:
    """In the order of time. A look that has no PID 1 any more came too late."""
    tables = (looks.before, looks.after_signal, looks.late)
    trees = [Tree(table) for table in tables if table]
    first = trees[0].pid1 if trees else None
    return [tree for tree in trees if first is not None and tree.find(first) is not None]


def _others(tree: Tree) -> tuple[ProcessInfo, ...]:
    """All that live beside PID 1, also what `docker exec` started."""
    pid1 = tree.pid1
    return tuple(
        process
        for process in tree.processes
        if pid1 is not None and process.pid != pid1.pid and tree.find(process) is not None
    )


def _waits_for_only_child(tree: Tree, others: tuple[ProcessInfo, ...]) -> bool:
    pid1 = tree.pid1
    assert pid1 is not None
    waits = process_tree.program(pid1) in WAITING_INITS
    return waits and len(others) == 1 and others[0].parent_pid == pid1.pid


def _deserted(tree: Tree, record: StopRecord, shutdown_duration_ns: int | None) -> tuple[ProcessInfo, ...]:
    """Who is left below the child of an init when the stop signal ends that child by default.

    The exit code says that it did; the init left at once; and the signal went to that child alone. A process that would
    die of the signal itself does not count: an init can be told by its environment to signal the whole group, too.
    """
    pid1, signal = tree.pid1, record.stop_signal
    prompt = shutdown_duration_ns is not None and shutdown_duration_ns < PROMPT_NS
    if pid1 is None or signal is None or not prompt or record.exit_code != 128 + signal:
        return ()
    children = tree.children(pid1)
    if not _tells_child_alone(pid1) or len(children) != 1 or not _dies(children[0], signal):
        return ()
    below = tree.descendants(children[0])
    return tuple(item for item in below if item.disposition(signal) is not SignalDisposition.DEFAULT)


def _tells_child_alone(pid1: ProcessInfo) -> bool:
    return process_tree.program(pid1) in TELLS_CHILD_ALONE and not process_tree.tells_group(pid1)


def _dies(process: ProcessInfo, signal: int) -> bool:
    """Whether the signal ends it where it stands: by default, and not because it sleeps in sigwait(3), which looks the
    same where the engine does not say in which function a process sleeps."""
    sure = bool(process.waits_in) or process_tree.is_shell(process)
    return sure and process_tree.reaction(process, signal) is Reaction.DEFAULT
