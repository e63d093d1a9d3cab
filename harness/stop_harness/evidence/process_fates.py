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
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from stop_harness import signals
from stop_harness.evidence import log_hints, process_tree
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Observation,
    ProcessFate,
    ProcessInfo,
    ReceivedSignal,
    SignalDisposition,
)

ENDING_SIGNALS = frozenset(signals.NUMBERS[name] for name in ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM"))
"""What programs are asked to end with. Faults and SIGKILL have rules of their own, and SIGPIPE is no request."""

BUSY_SHARE = 0.2
"""Of one CPU. An event loop that ticks ten times a second uses less than 0.01."""

STARTING_NS = 250 * NS_PER_MS
"""CPU time that a runtime may use before its program begins: python and node 60 to 100 ms, a JVM more (measured)."""

SPRAY_NS = 20 * NS_PER_MS
"""`kill 0` reaches the sender and the others of its group within one system call."""

PROMPT_NS = 50 * NS_PER_MS
"""From its first signal to its end: a program that does something in between takes longer."""

TIMED = ("nanosleep",)
FOR_A_CHILD = "do_wait"
BLOCKED_ON_PEER = ("sk_wait_data", "wait_woken", "tcp_recvmsg", "inet_stream_connect")
"""Kernel functions in which a process sleeps that waits for time to pass, for a child of its own, or for the other end
of a connection. `futex_do_wait` is none of them."""

_ENDLESS = re.compile(r"\b(?:while|until|infinity)\b|\bfor\s*\(\(")
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


def lost_work(seen: Observation) -> tuple[LostWork, ...]:
    """What the fates of one stop show, the surest first; empty where nobody saw them."""
    if not seen.record.fates or seen.record.stop_signal is None:
        return ()
    scene = _Scene(seen, fates_of(seen))
    found = [*_ended_by_default(scene), *_ended_by_second(scene), *_crashed(scene)]
    return tuple(sorted(found, key=lambda item: -item.grade))


def fates_of(seen: Observation) -> tuple[ProcessFate, ...]:
    """What became of every process, PID 1 first; what the kernel's record lacks is taken from the look before the stop.
    Empty where nobody saw it."""
    rows, signal = {row.pid: row for row in seen.looks.before or ()}, seen.record.stop_signal
    # The engine prints its machine's pids, or the container's own.
    inside = {(fate.pid if 1 in rows else fate.host_pid): fate.pid for fate in seen.record.fates or ()}
    found = []
    for fate in seen.record.fates or ():
        row = rows.get((fate.pid if 1 in rows else fate.host_pid) or 0)
        if row is None or fate.born_ns is not None:
            found.append(fate)
            continue
        parent_pid = fate.parent_pid if fate.parent_pid is not None else inside.get(row.parent_pid)
        handling = fate.handling or (None if signal is None else row.disposition(signal))
        found.append(
            replace(
                fate,
                command=fate.command or row.command,
                parent_pid=parent_pid,
                handling=handling,
                state=fate.state or row.state,
                waits_in=fate.waits_in or row.waits_in,
            )
        )
    return tuple(found)


def begun_ns(seen: Observation, shutdown_duration_ns: int | None) -> int | None:
    """From the stop signal until PID 1 was gone: by the kernel's record of it, else the shutdown duration."""
    first = seen.record.fates[0] if seen.record.fates else None
    told = [
        item.to_end_ns for item in (first.signals if first else None) or () if item.number == seen.record.stop_signal
    ]
    return max(told) if told else shutdown_duration_ns


def command(fate: ProcessFate) -> str:
    """Its command line, else its name, in backquotes and on one line."""
    return process_tree.quoted(_as_row(fate))


def named(fate: ProcessFate) -> str:
    """`sh -c 'sleep 4'` (PID 8)."""
    text = command(fate)
    if fate.pid is not None:
        return f"{text} (PID {fate.pid})"
    return f"{text} (host PID {fate.host_pid})" if fate.host_pid is not None else text


def _as_row(fate: ProcessFate) -> ProcessInfo:
    return ProcessInfo(fate.pid or 0, fate.parent_pid or 0, fate.command or fate.name, 0, 0, 0)


def program(fate: ProcessFate) -> str:
    """As `process_tree.program`."""
    return process_tree.program(_as_row(fate))


class _Scene:
    """One stop's fates with the look before it."""

    def __init__(self, seen: Observation, fates: tuple[ProcessFate, ...]) -> None:
        self.seen, self.fates = seen, fates
        self.log = seen.looks.log_after_signal
        self._by_pid = {fate.pid: fate for fate in reversed(fates) if fate.pid is not None}
        self._rows = {row.pid: row for row in seen.looks.before or ()}

    def parent(self, fate: ProcessFate) -> ProcessFate | None:
        found = self._by_pid.get(fate.parent_pid) if fate.parent_pid else None
        return None if found is fate else found

    def below(self, fate: ProcessFate) -> list[ProcessFate]:
        """A process and all that it had started."""
        found, unseen = [fate], [fate]
        while unseen:
            above = unseen.pop()
            children = [item for item in self.fates if self.parent(item) is above and item not in found]
            found += children
            unseen += children
        return found

    def in_background(self, fate: ProcessFate) -> bool:
        row = self._rows.get((fate.pid if 1 in self._rows else fate.host_pid) or 0)
        return row is not None and process_tree.is_background(row)


def silently_killed(seen: Observation) -> bool:
    """Whether what SIGKILL ended silently may have been work; False where it was nothing but a shell's own `sleep`.

    `while :; do sleep 1 & wait $!; done` is how a script waits for its trap: nobody misses that `sleep`.
    """
    record, fates = seen.record, fates_of(seen)
    if not fates or record.fate_count is not None or not record.fates_complete or not record.lost_processes:
        return bool(record.lost_processes)
    parents = {fate.pid: fate for fate in fates if fate.pid is not None}
    killed = [fate for fate in fates[1:] if fate.exit_signal == signals.SIGKILL]
    sleeps = [
        fate
        for fate in killed
        if program(fate) == "sleep"
        and (parent := parents.get(fate.parent_pid or 0)) is not None
        and process_tree.is_shell(_as_row(parent))
    ]
    return len(killed) != len(record.lost_processes) or len(sleeps) != len(killed)


# ── Ended by default ─────────────────────────────────────────────────────────────────────────────────────────────────


def _ended_by_default(scene: _Scene) -> Iterator[LostWork]:
    """Jobs that a signal meant for others ended while the program that had started them lived on."""
    for fate in scene.fates:
        if not _defaulted(fate):
            continue
        owner = scene.parent(fate)
        if owner is None or _defaulted(owner) or not _finishing(owner, fate):
            continue
        asked, number = _asked_by_owner(scene, fate, owner), fate.exit_signal
        sign = None if asked else _at_work(scene, fate, owner)
        if sign is None or number is None:
            continue
        grade, why = sign
        if asked is None and not _signals_the_group(scene, fate, owner) and not _reported(scene, number):
            grade = Grade.IN_DOUBT if grade is Grade.LOST else Grade.HINT  # its own program may have asked it to end
        how = f"{signals.name(number)}{_sent_by(fate, number)} ended {named(fate)} by default"
        how += f" while {named(owner)}, which had started it, was still finishing"
        yield LostWork(End.BY_DEFAULT, fate, owner, grade, how, why)


def defaulted(fate: ProcessFate) -> bool:
    """Whether a signal's default action ended a process. One that blocked the signal at the look did so for a moment,
    as shells do around fork(2)."""
    by_default = fate.handling in {SignalDisposition.DEFAULT, SignalDisposition.BLOCKED}
    return by_default and fate.exit_signal in ENDING_SIGNALS


def _defaulted(fate: ProcessFate) -> bool:
    """The same of one that lived when the stop began and ended before PID 1."""
    return defaulted(fate) and fate.born_ns is None and bool(fate.end_ns)


def _finishing(owner: ProcessFate, fate: ProcessFate) -> bool:
    """Whether the program above handles the signal and outlived its job.

    An init, a supervisor or a wrapper is no such program: what it starts is the program itself, and that this one has
    no handler is another matter.
    """
    if owner.handling not in {SignalDisposition.CAUGHT, SignalDisposition.BLOCKED}:
        return False
    later = owner.end_ns is not None and fate.end_ns is not None and owner.end_ns < fate.end_ns
    above = process_tree.INITS | process_tree.SUPERVISORS | process_tree.WRAPPERS
    return later and program(owner) not in above


def _asked_by_owner(scene: _Scene, fate: ProcessFate, owner: ProcessFate) -> bool | None:
    """Whether its own program, or itself, sent the signal that ended it, and to it alone. None: nobody heard who."""
    if fate.signals is None:
        return None
    sent = [item for item in fate.signals if item.number == fate.exit_signal]
    if not sent:
        return None if fate.exit_signal != signals.NUMBERS["HUP"] else False
    # Of two signals that come together, whichever was taken first ended it; only where all are the owner's it asked.
    return all(item.sender_pid == fate.pid or _is_owners(scene, item, owner) for item in sent)


def _is_owners(scene: _Scene, sent: ReceivedSignal, owner: ProcessFate) -> bool:
    sender = next((item for item in scene.fates if item.pid == sent.sender_pid), None) if sent.sender_pid else None
    if sender is not owner:
        # A command that the owner started for it, as `pkill -P $$`.
        return sender is not None and sender.born_ns is not None and scene.parent(sender) is owner
    to_itself = (item for item in owner.signals or () if item.sender_pid == owner.pid)
    return not any(abs(item.to_end_ns - sent.to_end_ns) < SPRAY_NS for item in to_itself)


def _signals_the_group(scene: _Scene, fate: ProcessFate, owner: ProcessFate) -> bool:
    """Whether PID 1 is known to signal the whole group of its child, and the job was in that group."""
    first = scene.fates[0]
    same = fate.group is not None and fate.group == owner.group
    return same and process_tree.tells_group(_as_row(first))


def _sent_by(fate: ProcessFate, number: int) -> str:
    sent = [item for item in fate.signals or () if item.number == number]
    if not sent:
        return ""
    if sent[0].sender_pid is None:
        return " from outside"
    return f" from {sent[0].sender}" + (f" (PID {sent[0].sender_pid})" if sent[0].sender_pid > 0 else "")


# ── Signs of work ────────────────────────────────────────────────────────────────────────────────────────────────────


def _at_work(scene: _Scene, job: ProcessFate, owner: ProcessFate) -> tuple[Grade, str] | None:
    """What shows that a job was at work, the surest sign alone; None: nothing does."""
    everyone = [item for item in scene.below(job) if _defaulted(item)]
    working = [item for item in everyone if program(item) not in process_tree.PLAIN]
    if not working and process_tree.is_shell(_as_row(owner)):
        return None  # a shell's own sleep
    if line := _reported(scene, job.exit_signal):
        # Of a helper that waited for something to do, or that goes on for ever, a program reports the end as well.
        grade = Grade.IN_DOUBT if all(_idle(item) for item in working) else Grade.LOST
        grade = Grade.HINT if _without_end(job, scene.seen.stop_timeout_ns) else grade
        grade = Grade.LOST if log_hints.lost(line) else grade
        return grade, f"the program wrote {log_hints.shown(line)}"
    for item in working:
        if (item.cpu_share or 0) >= BUSY_SHARE or item.state in {"R", "D"}:
            share = "" if item.cpu_share is None else f" ({item.cpu_share:.0%} of a CPU)"
            text = f"{named(item)} was computing when the stop began{share}"
            if item.cpu_ns is not None and item.cpu_ns < STARTING_NS:
                return Grade.IN_DOUBT, f"{text}, at its work or still starting"
            return Grade.LOST, text
    for item in working:
        if item.served:
            clients = "a client" if item.served == 1 else f"{item.served} clients"
            return Grade.LOST, f"{named(item)} was connected to {clients}"
    return _waiting(scene, job, owner, everyone) or _connected(working)


def _waiting(
    scene: _Scene, job: ProcessFate, owner: ProcessFate, everyone: list[ProcessFate]
) -> tuple[Grade, str] | None:
    """Signs in what the job and its program slept in when the stop began."""
    timed = [item for item in everyone if any(word in item.waits_in for word in TIMED)]
    shell = process_tree.is_shell(_as_row(owner))
    foreground = owner.waits_in == FOR_A_CHILD and not shell
    peer = [item for item in everyone if item.opened and any(word in item.waits_in for word in BLOCKED_ON_PEER)]
    if foreground and (timed or peer) and not any(_without_end(item, scene.seen.stop_timeout_ns) for item in timed):
        return Grade.LOST, f"{named(owner)} was waiting for it"
    if peer:
        return Grade.IN_DOUBT, f"{named(peer[0])} was waiting for an answer from a connection of its own"
    if not timed or any(_without_end(item, scene.seen.stop_timeout_ns) for item in (job, *timed)):
        return None
    if scene.in_background(job) and not shell:
        # Started with `&` by a script that then became the program: that one does not even know of it.
        return Grade.HINT, f"{named(timed[0])} was in a timed sleep; a script had started it in the background"
    text = f"{named(timed[0])} was in a timed sleep, between two steps of its work or with nothing to do"
    return Grade.IN_DOUBT, text


def _idle(item: ProcessFate) -> bool:
    """Whether it is known to have waited for something to do, such as input or a request."""
    waits_in = item.waits_in
    busy = any(word in waits_in for word in (*TIMED, *BLOCKED_ON_PEER)) or waits_in == FOR_A_CHILD
    return bool(waits_in) and not busy and not item.served and (item.cpu_share or 0) < BUSY_SHARE


def _without_end(item: ProcessFate, stop_timeout_ns: int) -> bool:
    """Whether its command line says that it would not have ended by itself within the stop timeout."""
    if program(item) in process_tree.PLAIN - {"sleep"} or _ENDLESS.search(item.command):
        return True
    found = _SLEEP.search(item.command) if program(item) == "sleep" else None
    return found is not None and float(found[1]) * _SECONDS[found[2]] * NS_PER_S > stop_timeout_ns


def _connected(working: list[ProcessFate]) -> tuple[Grade, str] | None:
    for item in working:
        if item.opened:
            return Grade.HINT, f"{named(item)} had {item.opened} open connection{'s' if item.opened > 1 else ''}"
    return None


def _reported(scene: _Scene, number: int | None) -> str | None:
    return log_hints.lost(scene.log) or (None if number is None else log_hints.ended_by(scene.log, number))


# ── Ended by a second signal, or by a fault ──────────────────────────────────────────────────────────────────────────


def _ended_by_second(scene: _Scene) -> Iterator[LostWork]:
    """Processes that had a handler, were signalled twice by different senders, and left with an error."""
    for fate in scene.fates[1:]:
        if fate.handling is not SignalDisposition.CAUGHT or fate.born_ns is not None or not fate.end_ns:
            continue
        sent = [it for it in fate.signals or () if it.number in ENDING_SIGNALS and it.sender_pid != fate.pid]
        by_itself = any(it.sender_pid == fate.pid and it.number == fate.exit_signal for it in fate.signals or ())
        if len(sent) < 2 or not _from_several(sent, fate) or by_itself or not _failed(fate, {it.number for it in sent}):
            continue
        first, second = sent[0], sent[-1]
        apart_ms = (first.to_end_ns - second.to_end_ns) // NS_PER_MS
        end = f"by {signals.name(fate.exit_signal)}" if fate.exit_signal else f"with code {fate.exit_code}"
        how = f"{named(fate)}, which handles the stop signal, was ended {end} after a second signal"
        why = f"{signals.name(first.number)}{_by(first)}, then {signals.name(second.number)}{_by(second)}"
        why += f" {apart_ms} ms later"
        # One that waited for something to do, and is gone at once, had nothing to finish.
        prompt = first.to_end_ns - fate.end_ns < PROMPT_NS
        grade = Grade.HINT if prompt and _idle(fate) else Grade.LOST
        yield LostWork(End.BY_SECOND, fate, scene.parent(fate), grade, how, why)


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


def _crashed(scene: _Scene) -> Iterator[LostWork]:
    """Processes that lived when the stop began, and that a fault of their own ended."""
    for fate in scene.fates[1:]:
        if fate.exit_signal in signals.FAULTS and fate.born_ns is None and fate.end_ns:
            if any(item.number == fate.exit_signal and item.sender_pid != fate.pid for item in fate.signals or ()):
                continue  # somebody sent it
            how = f"{named(fate)} crashed with {signals.name(fate.exit_signal)} during the stop"
            yield LostWork(
                End.BY_FAULT, fate, scene.parent(fate), Grade.LOST, how, "a fault skips the rest of its clean-up"
            )
