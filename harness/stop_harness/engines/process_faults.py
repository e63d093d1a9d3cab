"""Faults of single processes that this machine's /proc shows: signalled, halted, killed, short of descriptors."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable

from stop_harness import signals
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.linux import proc
from stop_harness.model import Event, Fault, FaultAction

SEEN_S = 5.0
"""For the kernel to halt or end a process that was sent a signal."""

MOST_SHOWN = 5
SIGSTOP, SIGCONT = signals.NUMBERS["STOP"], signals.NUMBERS["CONT"]

Send = Callable[[int, int], list[Event]]
"""Called as (pid, signal number). Returns what there is on record of it; a process that is gone is none that fails."""


def signalled(fault: Fault, roots: list[int], send: Send) -> Applied:
    """SIGKILL, SIGSTOP or a signal by name for every process whose command line matches, of those at and below `roots`.
    Raises FaultNotApplied."""
    assert fault.target is not None
    wanted = {FaultAction.KILL: signals.SIGKILL, FaultAction.STOP: SIGSTOP}.get(fault.action)
    number = signals.number(fault.signal) if wanted is None and fault.signal else wanted or signals.SIGTERM
    pids = _matching(roots, fault.target)
    inside = tuple(pid for one in pids for pid in proc.namespace_pids(proc.status_of(one))[-1:])
    events = [event for pid in pids for event in send(pid, number)]
    state = {FaultAction.KILL: "gone", FaultAction.STOP: "halted (state T)"}.get(fault.action, "sent its signal")
    holds = {FaultAction.KILL: _gone, FaultAction.STOP: _halted}.get(fault.action)
    if holds is not None:
        _wait(lambda: all(map(holds, pids)), f"not every process was {state}")

    def undo() -> None:
        for pid in pids:
            if not _gone(pid):
                events.extend(send(pid, SIGCONT))
        _wait(lambda: not any(map(_halted, pids)), "a process is still halted")

    what = "1 process" if len(pids) == 1 else f"{len(pids)} processes"
    killed = inside if number == signals.SIGKILL else ()
    return Applied(f"{what} {state}, by /proc" if holds else f"{what} {state}", undo, events, killed)


def short_of_descriptors(fault: Fault, roots: list[int]) -> Applied:
    """The soft limit of every process that is there: the hard one could not be raised again. Raises FaultNotApplied."""
    limit, before = round(fault.amount or 0), {}
    for pid in proc.living(roots):
        try:
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(limit, hard) if hard >= 0 else limit, hard))
            before[pid] = soft
        except ProcessLookupError:
            continue
        except OSError as error:
            raise FaultNotApplied(f"the limit of a process could not be changed: {error.strerror}") from None

    def undo() -> None:
        for pid, soft in before.items():
            try:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))
            except ProcessLookupError:
                continue

    return Applied(f"RLIMIT_NOFILE of {len(before)} processes, read back", undo)


def _matching(roots: list[int], pattern: str) -> list[int]:
    """Raises FaultNotApplied where nobody matches."""
    found, seen = [], []
    for pid in proc.living(roots):
        command = proc.text_of(pid, "cmdline").rstrip("\0").replace("\0", " ")
        if command:
            seen.append(command)
            found += [pid] if re.search(pattern, command) else []
    if not found:
        shown = "; ".join(command[:60] for command in seen[:MOST_SHOWN]) or "none"
        raise FaultNotApplied(f"no process matches {pattern!r}; there are: {shown}")
    return found


def _gone(pid: int) -> bool:
    fields = proc.stat_of(pid)
    return not fields or fields[0] in {"Z", "X"}


def _halted(pid: int) -> bool:
    fields = proc.stat_of(pid)
    return bool(fields) and fields[0] in {"T", "t"}


def _wait(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + SEEN_S
    while not holds():
        if time.monotonic() > deadline:
            raise FaultNotApplied(otherwise)
        time.sleep(0.001)
