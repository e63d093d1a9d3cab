"""Who of a container's processes lost work, by how each ended. Pure.

SIGKILL is not the only way to lose work: an init that signals a whole process group, a supervisor or a script's
`kill 0` ends a job by the stop signal's default action while the program that started it is still finishing. That is a
loss where the job was at work, and none for an idle helper or a shell's `sleep`. The kernel tells how each process
ended; whether it was at work is concluded from what was seen when the stop began, and graded:

- `LOST`: it used the CPU, answered a client, was waited for, or its program wrote what became of it.
- `IN_DOUBT`: it was in the middle of something that ends by itself, such as a timed sleep, and whether anybody
  depended on it was not seen.
- `HINT`: a weaker sign, such as an open connection.

Limits: a job that waits for an answer in poll(2) looks like an idle helper. So does one between two steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum, StrEnum

from stop_harness import signals
from stop_harness.evidence import log_hints, process_tree
from stop_harness.evidence.fate_scene import FateScene, as_row, named, program
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    ProcessFate,
    ReceivedSignal,
    SignalDisposition,
)
from stop_harness.records import dataclass

ENDING_SIGNALS = frozenset(signals.NUMBERS[name] for name in ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM"))
"""What programs are asked to end with. Faults and SIGKILL have rules of their own, and SIGPIPE is no request."""

BUSY_SHARE = 0.2
"""Of one CPU. An event loop that ticks ten times a second uses less than 0.01."""

TICKING_SHARE = 0.02
"""More than an idle event loop uses, and less than one that computes all the time."""

STARTING_NS = 250 * NS_PER_MS
"""CPU time that a runtime may use before its program begins: python and node 60 to 100 ms, a JVM more (measured)."""

SPRAY_NS = 20 * NS_PER_MS
"""`kill 0` reaches the sender and the others of its group within one system call."""

PROMPT_NS = 50 * NS_PER_MS
"""From its first signal to its end: a program that does something in between takes longer."""

STARTERS = process_tree.INITS | process_tree.SUPERVISORS | process_tree.WRAPPERS
"""Programs whose children are the program itself."""

TIMED = ("nanosleep",)
EVENTS = ("poll", "select")
FOR_A_CHILD = "do_wait"
BLOCKED_ON_PEER = ("sk_wait_data", "wait_woken", "tcp_recvmsg", "inet_stream_connect")
"""Kernel functions in which a process sleeps that waits for time to pass, for a child of its own, or for the other end
of a connection. `futex_do_wait` is none of them."""

ENDLESS = re.compile(r"\b(?:while|until|infinity)\b|\bfor\s*\(\(")
_SLEEP = re.compile(r"\bsleep\s+(\d+(?:\.\d+)?)([smhd]?)\s*$")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Grade(IntEnum):
    """How sure it is that work was lost."""

    HINT = 1
    IN_DOUBT = 2
    LOST = 3


class End(StrEnum):
    """What kind of end lost work."""

    BY_DEFAULT = "by_default"
    BY_SECOND = "by_second"
    BY_FAULT = "by_fault"
    BY_ERROR = "by_error"
    """It left by itself with an error, earlier than the program above it."""
    KILLED = "killed"
    """SIGKILL ended it when PID 1 left, and it was little but a helper."""


@dataclass(frozen=True)
class LostWork:
    """One process, or a job of several, whose end lost work. `owner`: the program that had started it, None where that
    is not known. `how`: how it ended; `why`: the signs that it was at work, both as parts of a sentence."""

    end: End
    process: ProcessFate
    owner: ProcessFate | None
    grade: Grade
    how: str
    why: str

    def __str__(self) -> str:
        return f"{self.how}: {self.why}"


# ── Ended by default ─────────────────────────────────────────────────────────────────────────────────────────────────


def ended_by_default(scene: FateScene) -> Iterator[LostWork]:
    """Jobs that a signal ended while the program that had started them lived on."""
    for fate in scene.fates:
        if not _ended_early(fate):
            continue
        owner, number = scene.parent(fate), fate.exit_signal
        if owner is None or _cut(owner) or not _finishing(owner, fate) or number is None:
            continue
        asked = asked_by_owner(scene, fate, owner)
        sign = _although_asked(scene, fate, owner) if asked else _at_work(scene, fate, owner)
        if sign is None:
            continue
        grade, why = sign
        if asked is None and not signals_the_group(scene, fate, owner) and not reported(scene, number):
            grade = Grade.IN_DOUBT if grade is Grade.LOST else Grade.HINT  # its own program may have asked it to end
        way = " by default" if defaulted(fate) else ", which took it and ended by it all the same,"
        how = f"{signals.name(number)}{_sent_by(fate, number)} ended {named(fate)}{way}"
        how += f" while {named(owner)}, which had started it, was still finishing"
        yield LostWork(End.BY_DEFAULT, fate, owner, grade, how, why)


def defaulted(fate: ProcessFate) -> bool:
    """Whether a signal's default action ended a process. One that blocked the signal at the look did so for a moment,
    as shells do around fork(2)."""
    by_default = fate.handling in {SignalDisposition.DEFAULT, SignalDisposition.BLOCKED}
    return by_default and fate.exit_signal in ENDING_SIGNALS


def prompt(fate: ProcessFate) -> bool:
    """Whether it was gone at once after its first signal; False where nobody heard its signals."""
    first = next(iter(sent_by_others(fate)), None)
    return first is not None and fate.end_ns is not None and first.to_end_ns - fate.end_ns < PROMPT_NS


def sent_by_others(fate: ProcessFate) -> list[ReceivedSignal]:
    """The signals that ask it to end, in order, without those that it raised by itself."""
    return [it for it in fate.signals or () if it.number in ENDING_SIGNALS and it.sender_pid != fate.pid]


def _cut(fate: ProcessFate) -> bool:
    """Whether a signal ended it with what it was doing: by default, or because it took the signal, removed its files at
    most, and raised it again, as gzip, sort, git and node without a handler do.

    Whoever takes longer, as uvicorn, has finished in between and then says by what it was ended.
    """
    return defaulted(fate) or (fate.exit_signal in ENDING_SIGNALS and prompt(fate))


def _ended_early(fate: ProcessFate) -> bool:
    """Whether it lived when the stop began and a signal ended it before PID 1, whatever it did with that signal."""
    if fate.handling in {None, SignalDisposition.IGNORED} or fate.exit_signal not in ENDING_SIGNALS:
        return False
    return fate.born_ns is None and bool(fate.end_ns)


def _finishing(owner: ProcessFate, fate: ProcessFate) -> bool:
    """Whether the program above handles the signal and outlived its job.

    An init, a supervisor or a wrapper is no such program: what it starts is the program itself, and that this one has
    no handler is another matter.
    """
    if owner.handling not in {SignalDisposition.CAUGHT, SignalDisposition.BLOCKED}:
        return False
    later = owner.end_ns is not None and fate.end_ns is not None and owner.end_ns < fate.end_ns
    return later and program(owner) not in STARTERS


def asked_by_owner(scene: FateScene, fate: ProcessFate, owner: ProcessFate) -> bool | None:
    """Whether its own program, or itself, sent the signal that ended it, and to it alone. None: nobody heard who."""
    if fate.signals is None:
        return None
    number = fate.exit_signal
    sent = [item for item in fate.signals if item.number in ({number} if number else ENDING_SIGNALS)]
    if not sent:
        return None if number != signals.NUMBERS["HUP"] else False
    # Of two signals that come together, whichever was taken first ended it; only where all are the owner's it asked.
    return all(item.sender_pid == fate.pid or _is_owners(scene, item, owner) for item in sent)


def _is_owners(scene: FateScene, sent: ReceivedSignal, owner: ProcessFate) -> bool:
    sender = next((item for item in scene.fates if item.pid == sent.sender_pid), None) if sent.sender_pid else None
    if sender is not owner:
        # A command that the owner started for it, as `pkill -P $$`.
        return sender is not None and sender.born_ns is not None and scene.parent(sender) is owner
    to_itself = (item for item in owner.signals or () if item.sender_pid == owner.pid)
    return not any(abs(item.to_end_ns - sent.to_end_ns) < SPRAY_NS for item in to_itself)


def signals_the_group(scene: FateScene, fate: ProcessFate, owner: ProcessFate) -> bool:
    """Whether PID 1 is known to signal the whole group of its child, and the job was in that group."""
    first = scene.fates[0]
    same = fate.group is not None and fate.group == owner.group
    return same and process_tree.tells_group(as_row(first))


def _sent_by(fate: ProcessFate, number: int) -> str:
    sent = [item for item in sent_by_others(fate) if item.number == number]
    if not sent:
        return ""
    if sent[0].sender_pid is None:
        return " from outside"
    return f" from {sent[0].sender}" + (f" (PID {sent[0].sender_pid})" if sent[0].sender_pid > 0 else "")


# ── Signs of work ────────────────────────────────────────────────────────────────────────────────────────────────────


def _at_work(scene: FateScene, job: ProcessFate, owner: ProcessFate) -> tuple[Grade, str] | None:
    """What shows that a job was at work, the surest sign alone; None: nothing does."""
    below = [item for item in scene.below(job) if _ended_early(item)]
    everyone = [item for item in below if _cut(item)]
    working = [item for item in everyone if program(item) not in process_tree.PLAIN]
    finished = next((item for item in below if item not in everyone and _busy(item)), None)
    if finished is not None and not working:
        # Servers finish their requests first; what removes its files does so more slowly on a busy machine.
        grade = Grade.HINT if program(finished) in process_tree.RUNTIMES else Grade.IN_DOUBT
        return grade, f"{_computing(finished)}, and whether it finished that is not known"
    if not working and process_tree.is_shell(as_row(owner)):
        return None  # a shell's own sleep
    if line := reported(scene, job.exit_signal):
        # Of a helper that waited for something to do, or that goes on for ever, a program reports the end as well.
        # One that was between two steps has used CPU time beyond that of an event loop.
        grade = Grade.IN_DOUBT if all(idle(item) and not _ticks(item, owner) for item in working) else Grade.LOST
        grade = Grade.HINT if without_end(job, scene.seen.stop_timeout_ns) else grade
        grade = Grade.LOST if log_hints.lost(line) else grade
        return grade, f"the program wrote {log_hints.shown(line)}"
    for item in working:
        if _busy(item) and not _may_start(item, owner):
            return Grade.LOST, _computing(item)
    for item in working:
        if item.served:
            return Grade.LOST, f"{named(item)} was connected to {_clients(item.served)}"
    waiting = _waiting(scene, job, owner, everyone)
    young = next((item for item in working if _busy(item)), None)
    if young is not None and (waiting is None or waiting[0] is not Grade.LOST):
        return Grade.IN_DOUBT, f"{_computing(young)}, at its work or still starting"
    return waiting or _connected(working) or _somewhat_busy(working, owner)


def _although_asked(scene: FateScene, job: ProcessFate, owner: ProcessFate) -> tuple[Grade, str] | None:
    """What shows that a job was at work that its own program ended, which may know what it ends.

    A shell only passes on what it was asked; one that ended by itself had its reasons.
    """
    if job.signals is not None and not any(item.number == job.exit_signal for item in sent_by_others(job)):
        return None
    below = [item for item in scene.below(job) if _ended_early(item) and defaulted(item)]
    for item in (item for item in below if program(item) not in process_tree.PLAIN):
        if _busy(item):
            line = reported(scene, job.exit_signal)
            starting = _may_start(item, owner)
            sure = not starting or line is not None
            if process_tree.is_shell(as_row(owner)):
                return (Grade.HINT, _computing(item)) if sure else None
            if line and not starting:
                return Grade.LOST, f"{_computing(item)}, and the program wrote {log_hints.shown(line)}"
            return Grade.IN_DOUBT if sure else Grade.HINT, _computing(item)
        if item.served:
            return Grade.HINT, f"{named(item)} was connected to {_clients(item.served)}"
    return None


def _busy(item: ProcessFate) -> bool:
    return (item.cpu_share or 0) >= BUSY_SHARE or item.state in {"R", "D"}


def _may_start(item: ProcessFate, owner: ProcessFate) -> bool:
    """Whether it has used so little CPU time that it may not have begun. A fork of its program has no start."""
    if item.command and item.command == owner.command:
        return False
    least = STARTING_NS if program(item) in {*process_tree.RUNTIMES, ""} else STARTING_NS // 20
    return item.cpu_ns is not None and item.cpu_ns < least


def _computing(item: ProcessFate) -> str:
    # Of one that only just got a CPU, its share says nothing.
    share = f" ({item.cpu_share:.0%} of a CPU)" if (item.cpu_share or 0) >= BUSY_SHARE else ""
    return f"{named(item)} was computing when the stop began{share}"


def _clients(number: int) -> str:
    return "a client" if number == 1 else f"{number} clients"


def _waiting(
    scene: FateScene, job: ProcessFate, owner: ProcessFate, everyone: list[ProcessFate]
) -> tuple[Grade, str] | None:
    """Signs in what the job and its program slept in when the stop began."""
    timed = [item for item in everyone if any(word in item.waits_in for word in TIMED)]
    shell = process_tree.is_shell(as_row(owner))
    foreground = owner.waits_in == FOR_A_CHILD and not shell
    peer = [item for item in everyone if item.opened and any(word in item.waits_in for word in BLOCKED_ON_PEER)]
    if foreground and (timed or peer) and not any(without_end(item, scene.seen.stop_timeout_ns) for item in timed):
        return Grade.LOST, f"{named(owner)} was waiting for it"
    if peer:
        return Grade.IN_DOUBT, f"{named(peer[0])} was waiting for an answer from a connection of its own"
    if not timed or any(without_end(item, scene.seen.stop_timeout_ns) for item in (job, *timed)):
        return None
    if scene.in_background(job) and not shell:
        # Started with `&` by a script that then became the program: that one does not even know of it.
        return Grade.HINT, f"{named(timed[0])} was in a timed sleep; a script had started it in the background"
    text = f"{named(timed[0])} was in a timed sleep, between two steps of its work or with nothing to do"
    return Grade.IN_DOUBT, text


def idle(item: ProcessFate) -> bool:
    """Whether it is known to have waited for something to do, such as input or a request."""
    waits_in = item.waits_in
    busy = any(word in waits_in for word in (*TIMED, *BLOCKED_ON_PEER)) or waits_in == FOR_A_CHILD
    return bool(waits_in) and not busy and not item.served and (item.cpu_share or 0) < BUSY_SHARE


def goes_on_for_ever(item: ProcessFate) -> bool:
    """Whether its command line, or the script that it runs, is a loop without end."""
    return bool(item.loops) or bool(ENDLESS.search(item.command))


def without_end(item: ProcessFate, stop_timeout_ns: int) -> bool:
    """Whether it is known that it would not have ended by itself within the stop timeout."""
    if program(item) in process_tree.PLAIN - {"sleep"} or goes_on_for_ever(item):
        return True
    found = _SLEEP.search(item.command) if program(item) == "sleep" else None
    return found is not None and float(found[1]) * _SECONDS[found[2]] * NS_PER_S > stop_timeout_ns


def _connected(working: list[ProcessFate]) -> tuple[Grade, str] | None:
    for item in working:
        if item.opened:
            return Grade.HINT, f"{named(item)} had {item.opened} open connection{'s' if item.opened > 1 else ''}"
    return None


def _ticks(item: ProcessFate, owner: ProcessFate) -> bool:
    return (item.cpu_share or 0) >= TICKING_SHARE and not _may_start(item, owner)


def _somewhat_busy(working: list[ProcessFate], owner: ProcessFate) -> tuple[Grade, str] | None:
    for item in working:
        if _ticks(item, owner):
            return Grade.HINT, f"{named(item)} used {item.cpu_share:.0%} of a CPU when the stop began"
    return None


def reported(scene: FateScene, number: int | None) -> str | None:
    return log_hints.lost(scene.log) or (None if number is None else log_hints.ended_by(scene.log, number))


# ── Ended by a second signal, or by a fault ──────────────────────────────────────────────────────────────────────────


def ended_by_second(scene: FateScene) -> Iterator[LostWork]:
    """Processes that had a handler, were signalled twice by different senders, and left with an error."""
    for fate in scene.fates[1:]:
        if fate.handling is not SignalDisposition.CAUGHT or fate.born_ns is not None or not fate.end_ns:
            continue
        sent = sent_by_others(fate)
        if len(sent) < 2 or not _from_several(sent, fate) or not _failed(fate, {it.number for it in sent}):
            continue
        first, second = sent[0], sent[-1]
        by_other = fate.exit_signal not in {None, first.number}
        if not by_other and _raised_after_all(fate, second):
            continue
        apart_ms = (first.to_end_ns - second.to_end_ns) // NS_PER_MS
        end = f"by {signals.name(fate.exit_signal)}" if fate.exit_signal else f"with code {fate.exit_code}"
        how = f"{named(fate)}, which handles the stop signal, was ended {end} after a second signal"
        why = f"{signals.name(first.number)}{_by(first)}, then {signals.name(second.number)}{_by(second)}"
        why += f" {apart_ms} ms later"
        # One that waited for something to do, and is gone at once, had nothing to finish; unless the signal that it
        # handles was still in its handler, and another one ended it there.
        # On a busy machine that takes longer; a worker in accept(2) that its own program ends is idle all the same.
        senders, owner = {it.sender_pid for it in sent}, scene.parent(fate)
        spare = "accept" in fate.waits_in and owner is not None and senders == {owner.pid}
        grade = Grade.HINT if idle(fate) and (prompt(fate) or spare) else Grade.LOST
        brought = (signals.NUMBERS[name] for name in process_tree.BROUGHT_ALONG.get(program(fate), ()))
        own_handler = first.number not in brought or program(fate) in process_tree.OWN_HANDLER
        # A worker that waits in accept(2) or for a pipe has nothing to drain, an event loop may.
        if grade is Grade.HINT and by_other and own_handler and any(word in fate.waits_in for word in EVENTS):
            line = log_hints.works_on_shutdown(scene.log)
            grade = Grade.LOST if line else Grade.IN_DOUBT
            why += f"; the program had written {log_hints.shown(line)}" if line else ""
        yield LostWork(End.BY_SECOND, fate, scene.parent(fate), grade, how, why)


def _raised_after_all(fate: ProcessFate, last: ReceivedSignal) -> bool:
    """Whether it raised the signal that ended it by itself, and not in answer to the last one: then it had finished."""
    own = [it for it in fate.signals or () if it.sender_pid == fate.pid and it.number == fate.exit_signal]
    return any(last.to_end_ns - it.to_end_ns >= PROMPT_NS for it in own)


def _from_several(sent: list[ReceivedSignal], fate: ProcessFate) -> bool:
    """Whether two senders did not know of each other. One that signals twice by intent, as a supervisor does when its
    patience ends, does so with another signal."""
    return len({item.sender_pid for item in sent}) > 1 or len({item.number for item in sent}) > 1


def _failed(fate: ProcessFate, received: set[int]) -> bool:
    if fate.exit_signal is not None:
        return fate.exit_signal in ENDING_SIGNALS
    return fate.exit_code not in {None, 0, *(128 + number for number in received)}


def _by(item: ReceivedSignal) -> str:
    return " from outside" if item.sender_pid is None else f" from {item.sender}"


def crashed(scene: FateScene) -> Iterator[LostWork]:
    """Processes that lived when the stop began, and that a fault of their own ended."""
    for fate in scene.fates[1:]:
        if fate.exit_signal in signals.FAULTS and fate.born_ns is None and fate.end_ns:
            if any(item.number == fate.exit_signal and item.sender_pid != fate.pid for item in fate.signals or ()):
                continue  # somebody sent it
            how = f"{named(fate)} crashed with {signals.name(fate.exit_signal)} during the stop"
            yield LostWork(
                End.BY_FAULT, fate, scene.parent(fate), Grade.LOST, how, "a fault skips the rest of its clean-up"
            )
