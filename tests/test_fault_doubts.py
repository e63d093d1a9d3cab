"""A stop that was killed under a fault that may be what held it up: its cause says so, or is left open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Cause,
    Fault,
    FaultAction,
    FaultKind,
    FaultRecord,
    Observation,
    Outcome,
)
from stop_harness.verdict import judge
from tests import process_tables as recorded
from tests.process_tables import Table, locked, turned, used
from tests.test_diagnosis import CASES, HELD, PLAIN, killed, requests

BACK = Fault(FaultKind.CLOCK, FaultAction.JUMP, amount=-3600.0 * NS_PER_S)
FORWARD = replace(BACK, amount=3600.0 * NS_PER_S)
FULL = Fault(FaultKind.DISK, FaultAction.FULL, target="/data")
CUT = Fault(FaultKind.NETWORK, FaultAction.CUT)
STARVED = Fault(FaultKind.CPU, FaultAction.LIMIT, amount=0.1)
LATENCY = Fault(FaultKind.NETWORK, FaultAction.LATENCY, amount=200.0 * NS_PER_MS)

NAPS = killed(recorded.HANDLER, turned(recorded.HANDLER, 9), after_signal=turned(recorded.HANDLER, 4))
SLEEPS = killed(recorded.HANDLER, recorded.HANDLER, "SIGTERM received\n")
DRAINS = killed(recorded.HANDLER, recorded.HANDLER, "SIGTERM received, cleaning up\n")
WORKS = killed(used(recorded.HANDLER, 0.1), used(recorded.HANDLER, 1.2))
ERROR = killed(recorded.HANDLER, recorded.HANDLER, "job failed, going on\n")
HOLDS = killed(recorded.HANDLER, recorded.HANDLER, traffic=requests(HELD))
LOCKS = killed(recorded.THREADS, locked(recorded.THREADS_LOCKED))
NPM = killed(recorded.NPM, recorded.NPM)
TOLD_NOTHING = killed(recorded.NODE, recorded.NODE)

HOW_ITS_SIGNALS_ARE_HANDLED = {
    "pid1-no-handler", "shell-not-forwarding", "handler-delayed", "reraise-lost", "signal-ignored", "pid1-handler-noop",
    "signal-not-permitted", "wrong-stopsignal", "immediate-kill",
}  # fmt: skip


def under(seen: Observation, *faults: Fault) -> Cause:
    """The cause of a stop with these faults from 0.1 s after the signal to the end."""
    records = tuple(FaultRecord(fault, asked_ns=0, begun_ns=NS_PER_S // 10, seen="seen") for fault in faults)
    found = judge.judge(replace(seen, faults=records), PLAIN).cause
    assert found is not None
    return found


@pytest.mark.parametrize("seen", [NAPS, SLEEPS, NPM, TOLD_NOTHING], ids=["naps", "sleeps", "wrapper", "nothing"])
@pytest.mark.parametrize(
    "fault", [BACK, FORWARD, FULL, CUT, STARVED], ids=["back", "forward", "disk", "network", "cpu"]
)
def test_one_that_goes_on_under_a_fault_is_not_said_to_swallow_its_signal(seen: Observation, fault: Fault) -> None:
    """It may try again to write, or wait for a time: the fault is named, and the advice is to look without it."""
    found = under(seen, fault)
    assert found.id == "maybe-by-fault"
    assert f"may be what held it up: {fault.kind} " in found.evidence
    assert "from +0.100 s until the end" in found.evidence
    assert ("CLOCK_MONOTONIC" in found.evidence) is (fault is BACK)
    assert ("libfaketime" in found.evidence) is (fault.kind is FaultKind.CLOCK)
    assert found.advice[0].text.startswith("Stop it without the fault.")


@pytest.mark.parametrize("seen", [NAPS, SLEEPS, DRAINS, TOLD_NOTHING], ids=["naps", "sleeps", "drains", "nothing"])
def test_what_its_program_is_known_for_is_told_beside_the_doubt(seen: Observation) -> None:
    """It may be that, and not the fault, that kept it. What its language has to do with handlers is not told, for there
    may be nothing wrong with that."""

    def renamed(table: Table | None) -> Table | None:
        return table and tuple(replace(each, command="squid -N -f /etc/squid/squid.conf") for each in table)

    looks = seen.looks
    looks = replace(
        looks, before=renamed(looks.before), after_signal=renamed(looks.after_signal), late=renamed(looks.late)
    )
    found = under(replace(seen, looks=looks), FULL)
    assert found.id == "maybe-by-fault"
    assert [each.program for each in found.advice] == ["", "Squid"]
    assert [each.program for each in under(seen, FULL).advice] == [""]


def test_what_was_seen_is_kept_beside_the_doubt() -> None:
    found = under(NAPS, BACK)
    assert "it slept 5 times within the next second" in found.evidence


@pytest.mark.parametrize("seen", [DRAINS, WORKS], ids=["by its words", "by its CPU time"])
def test_more_time_is_advised_only_where_the_fault_does_no_more_than_take_time(seen: Observation) -> None:
    """Nobody is done later who cannot write, or waits for a peer that is gone."""
    for fault in (STARVED, LATENCY):
        found = under(seen, fault)
        assert found.id == "grace-too-short"
        assert f"under a fault that takes time: {fault.kind} " in found.evidence
    for faults in ((BACK,), (FULL,), (CUT,), (STARVED, FULL)):
        assert under(seen, *faults).id == "maybe-by-fault"


@pytest.mark.parametrize(
    ("seen", "cause"),
    [(HOLDS, "waits-for-clients"), (LOCKS, "handler-hangs"), (ERROR, "handler-swallowed")],
    ids=["a client", "a lock", "an error"],
)
def test_for_whom_it_waited_and_what_it_wrote_stays_so_with_the_fault_beside_it(seen: Observation, cause: str) -> None:
    """A handler that locks itself up at the second signal does so. Only of a wait under another clock nobody knows."""
    again = Fault(FaultKind.SIGNAL, FaultAction.SEND, signal="SIGTERM")
    for fault in (again, FULL, LATENCY):
        found = under(seen, fault)
        assert found.id == cause
        assert "it was under a fault, which may have led to that: " in found.evidence
    assert under(seen, BACK).id == "maybe-by-fault"


def test_how_a_program_handles_its_signals_is_no_fault_s_doing() -> None:
    """Of every recorded stop that was killed: its cause stays, word by word, or is left open."""
    seen_so = set()
    for cause, seen, words in CASES:
        found = under(seen, BACK)
        if judge.judge(seen, PLAIN).outcome is not Outcome.KILLED:
            assert found.id == cause
        elif cause in HOW_ITS_SIGNALS_ARE_HANDLED or words == "no time":
            assert (found.id, "under a fault" in found.evidence) == (cause, False)
            seen_so.add(cause)
        else:
            assert found.id == "maybe-by-fault", (cause, words)
    assert seen_so == HOW_ITS_SIGNALS_ARE_HANDLED | {"grace-too-short"}


def test_a_fault_that_never_was_there_casts_no_doubt() -> None:
    """As one of the standard faults that came too late, or one that is only asked for."""
    fault = replace(BACK, may_miss=True)
    found = judge.judge(replace(NAPS, faults=(FaultRecord(fault, problem="too late"),)), PLAIN)
    assert found.cause is None or found.cause.id != "maybe-by-fault"
