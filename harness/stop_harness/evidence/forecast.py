"""What the process table says will become of a stop: a forecast before it, and certainty after the signal. Pure.

A forecast is no verdict. Measured on 205 images of real servers: "would be SIGKILLed" was right 49 times of 52, "would
stop" 106 times of 122; a handler may exist and not end its process, or need longer than the stop timeout.
"""

from __future__ import annotations

from enum import StrEnum

from stop_harness import signals
from stop_harness.evidence import process_tree
from stop_harness.evidence.process_tree import Reaction, Tree, quoted, reaction
from stop_harness.model import ProcessInfo
from stop_harness.records import dataclass

Table = tuple[ProcessInfo, ...]


class Expected(StrEnum):
    """What a forecast says."""

    KILLED = "would be SIGKILLed"
    STOPS = "would stop"
    UNKNOWN = "unknown"


KNOWN_RIGHT = {Expected.KILLED: (49, 52), Expected.STOPS: (106, 122)}
"""(right, all) of the forecasts that were compared with a stop. Source: measurements on 69 + 136 images."""


@dataclass(frozen=True)
class Forecast:
    """A forecast and the evidence for it, one sentence."""

    expected: Expected
    evidence: str


def forecast(table: Table | None, stop_signal: int | None) -> Forecast:
    """What the stop signal would do, from one look at the process table. Total: whatever is missing is `UNKNOWN`."""
    pid1 = Tree(table).pid1 if table else None
    if table is None or pid1 is None:
        return Forecast(Expected.UNKNOWN, "the process table cannot be read")
    if stop_signal is None:
        return Forecast(Expected.UNKNOWN, "the stop signal is not known")
    if stop_signal == signals.SIGKILL:
        return Forecast(Expected.KILLED, "the stop signal is SIGKILL, which nothing can handle")
    return _of_pid1(Tree(table), pid1, stop_signal)


def _of_pid1(tree: Tree, pid1: ProcessInfo, signal: int) -> Forecast:
    name, called = signals.name(signal), f"{process_tree.called(pid1)} is {quoted(pid1)}"
    match reaction(pid1, signal):
        case Reaction.IGNORED:
            return Forecast(Expected.KILLED, f"{called}, which ignores {name}")
        case Reaction.BLOCKED:
            return Forecast(Expected.UNKNOWN, f"{called}, which blocks {name}: it may fetch it later, or never")
        case Reaction.AWAITED if process_tree.is_init(pid1, signal):
            return _of_init_child(tree, pid1, signal)
        case Reaction.AWAITED:
            return Forecast(Expected.STOPS, f"{called}, which waits for {name}")
        case Reaction.CAUGHT:
            return _of_handler(tree, pid1, signal)
    if process_tree.is_init(pid1, signal):
        return _of_init_child(tree, pid1, signal)
    if process_tree.ends_by_default(pid1, signal) and sure_of_default(pid1):
        rest = tree.descendants(pid1)
        loses = f"; {quoted(rest[0])} below it would be killed unasked" if rest else ""
        text = f"{called}, which is not PID 1 of its PID namespace and has no handler for {name}: it is ended by it"
        return Forecast(Expected.STOPS, text + loses)
    if process_tree.is_shell(pid1):
        below = _handler_below(tree, pid1, signal)
        return Forecast(Expected.KILLED, f"{called}, a shell without a trap for {name}; it does not pass it on{below}")
    if not sure_of_default(pid1):
        text = f"{called}: no handler for {name} can be seen, but it may wait for it in a way that cannot be seen here"
        return Forecast(Expected.UNKNOWN, text)
    text = f"{called}, which has no handler for {name}; the kernel drops it for PID 1"
    return Forecast(Expected.KILLED, text)


def _of_handler(tree: Tree, pid1: ProcessInfo, signal: int) -> Forecast:
    """PID 1 has a handler."""
    name, program = signals.name(signal), process_tree.program(pid1)
    called = f"{process_tree.called(pid1)} is {quoted(pid1)}"
    if process_tree.is_shell(pid1) and not process_tree.has_own_handler(pid1, signal):
        text = f"{called}, a shell; it catches {name} while it waits for a command, with a trap or without"
        return Forecast(Expected.UNKNOWN, text)
    if process_tree.is_shell(pid1):
        foreground = foreground_child(tree, pid1)
        if foreground is None:
            return Forecast(Expected.STOPS, f"{called}, a shell with a trap for {name} and nothing in the foreground")
        text = f"{called}, a shell with a trap for {name} that runs only once {tree.name(foreground)} has ended"
        return Forecast(Expected.UNKNOWN, text)
    if program in {"node", "nodejs", "npm", "npx", "yarn", "pnpm"}:
        text = f"{called}: node always has a handler for {name}, whether the program has one or not"
        return Forecast(Expected.UNKNOWN, text)
    return Forecast(Expected.STOPS, f"{called}, which has a handler for {name}")


def _of_init_child(tree: Tree, pid1: ProcessInfo, signal: int) -> Forecast:
    """PID 1 passes the signal on to its child, which is not PID 1: the default action ends it."""
    name, children = signals.name(signal), tree.children(pid1)
    if not children:
        return Forecast(Expected.STOPS, f"{process_tree.called(pid1)} is the init {quoted(pid1)}, which has no child")
    child = children[0]
    called = f"{process_tree.called(pid1)} is the init {quoted(pid1)}, which passes {name} on to {quoted(child)}"
    match reaction(child, signal):
        case Reaction.IGNORED:
            return Forecast(Expected.KILLED, f"{called}, which ignores it")
        case Reaction.BLOCKED:
            return Forecast(Expected.UNKNOWN, f"{called}, which blocks it: it may fetch it later, or never")
        case Reaction.DEFAULT if signal in process_tree.IGNORED_BY_DEFAULT:
            return Forecast(Expected.KILLED, f"{called}, whose default action for it is none")
        case Reaction.DEFAULT:
            rest = tree.descendants(child)
            loses = f"; {quoted(rest[0])} below it would be killed unasked" if rest else ""
            return Forecast(Expected.STOPS, f"{called}, which it ends by default{loses}")
        case Reaction.CAUGHT if process_tree.is_shell(child) and foreground_child(tree, child):
            return Forecast(Expected.UNKNOWN, f"{called}, a shell whose trap runs only after its foreground command")
    return Forecast(Expected.STOPS, f"{called}, which has a handler")


def foreground_child(tree: Tree, shell: ProcessInfo) -> ProcessInfo | None:
    """The child that a shell waits for before it runs a trap; None where it waits for none, or only by `wait`."""
    return next((child for child in tree.children(shell) if not process_tree.is_background(child)), None)


def _handler_below(tree: Tree, process: ProcessInfo, signal: int) -> str:
    found = next((each for each in tree.descendants(process) if reaction(each, signal) is Reaction.CAUGHT), None)
    return "" if found is None else f", and {tree.name(found)} has a handler that would never be run"


def sure_of_default(process: ProcessInfo) -> bool:
    """Whether "default" is known to mean that nobody waits for the signal.

    sigwait(3) unblocks what it waits for, so that it looks like a default action; only where the main thread sleeps
    tells. The kernel asks the main thread alone when it drops a signal for PID 1 (`sig_ignored`, kernel/signal.c).
    """
    if process.waits_in:
        return "sigtimedwait" not in process.waits_in
    known = process_tree.SHELLS | process_tree.RUNTIMES | process_tree.PLAIN
    return process_tree.program(process) in known


def beyond_doubt(before: Table | None, second: Table | None, late: Table | None, signal: int) -> str | None:
    """Why PID 1 will still be there at the stop timeout, from looks before and after the signal; None while in doubt.

    Never for a handler, for shells with a trap, for inits, and for signals blocked in turns. Nor for a handler that is
    gone after the signal: it may have raised the signal again, which PID 1 drops, or be meant for once and have begun
    an orderly end (node's `process.once`, measured: such a program left after 3 s, with exit code 0).
    """
    if before is None or second is None or late is None or signal == signals.SIGKILL:
        return None
    first, then = Tree(before).pid1, Tree(late).pid1
    between = None if first is None else Tree(second).find(first)
    if first is None or then is None or between is None or (then.pid, then.command) != (first.pid, first.command):
        return None
    met, meets, name = reaction(first, signal), reaction(then, signal), signals.name(signal)
    called = f"{process_tree.called(then)}, {quoted(then)},"
    if process_tree.program(then) in process_tree.INITS or meets is not reaction(between, signal):
        return None
    spared = not process_tree.ends_by_default(then, signal)
    if met is meets is Reaction.DEFAULT and spared and sure_of_default(then) and sure_of_default(between):
        return f"{called} is alive and has no handler for {name}; the kernel drops it for PID 1"
    stuck = 1 << (signal - 1)
    if met is meets is Reaction.BLOCKED and (then.pending or 0) & (between.pending or 0) & stuck:
        return f"{called} blocks {name} and has not taken it in a second"
    if met is meets is Reaction.IGNORED and sure_of_default(then):
        return f"{called} ignores {name}"
    return None
