"""What became of every process of one stop, with its name and its place in the tree. Pure."""

from __future__ import annotations

from dataclasses import replace

from stop_harness.evidence import process_tree
from stop_harness.evidence.asked_again import answered_once
from stop_harness.model import Observation, ProcessFate, ProcessInfo


@answered_once
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
    return process_tree.quoted(as_row(fate))


def named(fate: ProcessFate) -> str:
    """`sh -c 'sleep 4'` (PID 8)."""
    text = command(fate)
    if fate.pid is not None:
        return f"{text} (PID {fate.pid})"
    return f"{text} (host PID {fate.host_pid})" if fate.host_pid is not None else text


def as_row(fate: ProcessFate) -> ProcessInfo:
    return ProcessInfo(fate.pid or 0, fate.parent_pid or 0, fate.command or fate.name, 0, 0, 0)


def program(fate: ProcessFate) -> str:
    """As `process_tree.program`."""
    return process_tree.program(as_row(fate))


class FateScene:
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

    def row(self, fate: ProcessFate) -> ProcessInfo | None:
        """A process in the look before the stop."""
        return self._rows.get((fate.pid if 1 in self._rows else fate.host_pid) or 0)

    def in_background(self, fate: ProcessFate) -> bool:
        row = self.row(fate)
        return row is not None and process_tree.is_background(row)
