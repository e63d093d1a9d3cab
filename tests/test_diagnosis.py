"""Causes: exactly one for every stop that is not graceful, from recorded process tables, requests and logs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness import signals
from stop_harness.engines.looks import written_since
from stop_harness.evidence import stop_sequence
from stop_harness.evidence.lost_processes import KILLED_FROM_INSIDE
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    Event,
    EventKind,
    Expectation,
    LogTail,
    Observation,
    Outcome,
    Problem,
    ProblemKind,
    ProcessFate,
    ReadyBasis,
    ReadyBy,
    ReceivedSignal,
    Request,
    RequestFate,
    Scenario,
    SignalDisposition,
    Subject,
    TrafficKind,
    TrafficRecord,
)
from stop_harness.verdict import causes, judge, known_causes
from tests import process_tables as recorded
from tests.parts import changed
from tests.process_tables import Table, locked, serving, tables, turned, used, waiting
from tests.strategies import DOCKER

TIMEOUT_NS = 10 * NS_PER_S
PLAIN = Scenario("a", Subject(image="a"))
TRACEBACK = "Traceback (most recent call last):\n  File 'app.py'\nValueError: x\n"


def killed(before: Table | None, late: Table | None, log: str = "", **changes: Any) -> Observation:
    """A stop that the engine ended by SIGKILL, with looks before and after the signal."""
    begun = 100 * NS_PER_S
    given_values: dict[str, Any] = {
        "stop_signal": signals.SIGTERM,
        "stop_signal_source": "default",
        "events": (
            Event(EventKind.SIGNAL_SENT, begun, Clock.ENGINE, "kill event", signals.SIGTERM),
            Event(EventKind.SIGNAL_SENT, begun + TIMEOUT_NS, Clock.ENGINE, "kill event", signals.SIGKILL),
            Event(EventKind.EXITED, begun + TIMEOUT_NS + NS_PER_MS, Clock.ENGINE, "State.FinishedAt"),
        ),
        "exit_code": 137,
        "before": before,
        "after_signal": late,
        "late": late,
        "log_after_signal": log,
        "logs": LogTail(log),
    }
    seen = Observation("a@10s#1", "a", DOCKER, TIMEOUT_NS, 0, 1, "2026-11-23T12:00:00Z")
    return changed(seen, **given_values | changes)


def left(code: int, before: Table | None = None, after_ns: int = 50 * NS_PER_MS, **changes: Any) -> Observation:
    """A stop whose PID 1 exited by itself."""
    begun = 100 * NS_PER_S
    events = (
        Event(EventKind.SIGNAL_SENT, begun, Clock.ENGINE, "kill event", signals.SIGTERM),
        Event(EventKind.EXITED, begun + after_ns, Clock.ENGINE, "State.FinishedAt"),
    )
    return killed(before, None, **{"events": events, "exit_code": code, **changes})


def requests(*made: Request) -> TrafficRecord:
    """Traffic with these requests."""
    return TrafficRecord(made)


def by_wait_status(seen: Observation) -> Observation:
    """The same, where the kernel has told that PID 1 was not ended by a signal."""
    exits = (event for event in seen.record.events if event.kind is EventKind.EXITED)
    return changed(seen, events=(*seen.record.events, *(replace(event, clock=Clock.KERNEL) for event in exits)))


def request(fate: RequestFate, ended_s: float, kind: TrafficKind = TrafficKind.HTTP) -> Request:
    """A request on its way when the stop came."""
    return Request(kind, 0, fate, -NS_PER_S, -NS_PER_S, None, round(ended_s * NS_PER_S))


HELD = request(RequestFate.RESET, 10.01, TrafficKind.IDLE)
CLOSED_AT_ONCE = request(RequestFate.NO_ANSWER, 0.01, TrafficKind.IDLE)
SLOW = request(RequestFate.RESET, 10.01)
CUT_EARLY = request(RequestFate.RESET, -0.5)
CUT, ANSWERED = request(RequestFate.RESET, 0.05), request(RequestFate.COMPLETED, 1.2)
WINCH, INT = signals.NUMBERS["WINCH"], signals.NUMBERS["INT"]
R = recorded

WAITS = "waiting for workers\n"
QUOTED = """/a.js:1
process.on("SIGTERM", () => { throw new Error("flush failed: EACCES"); });
                              ^

Error: flush failed: EACCES
    at process.emit (node:events:517:28)
"""
SMART = "LOG:  received smart shutdown request\n"
REFUSES = "FATAL:  the database system is shutting down\n"
TINI_EPERM = "[FATAL tini (1)] Unexpected error when forwarding signal: 'Operation not permitted'\n"
EPERM = "bash: line 1: kill: (7) - Operation not permitted\n"

CASES: list[tuple[str, Observation, str]] = [
    ("pid1-no-handler", killed(R.SLEEP, R.SLEEP), "no handler for SIGTERM"),
    ("pid1-no-handler", killed(R.SLEEP, None), "no handler"),
    ("shell-not-forwarding", killed(R.SHELL_FORM, R.SHELL_FORM), "has a handler but never got SIGTERM"),
    ("shell-not-forwarding", killed(R.TWO, R.TWO), "(PID on the host 22) have handlers but never got SIGTERM"),
    ("shell-not-forwarding", killed(R.SHELL_FORM, R.SHELL_FORM, stop_signal=INT), "would end by SIGINT only if that"),
    ("pid1-no-handler", killed(R.LOOP, R.LOOP), "is itself the program and has no trap for SIGTERM"),
    ("pid1-no-handler", killed(R.LOOP, R.LOOP, stop_signal=INT), "is itself the program"),
    ("pid1-no-handler", killed(R.WAITS_FOR_DB, R.WAITS_FOR_DB_LATER), "is a step of its script"),
    ("reraise-lost", killed(R.FAULT_HANDLER, R.FAULT_RAISED, "Fatal error\n"), "SIGSEGV that is gone"),
    ("shell-not-forwarding", killed(R.INIT_SHELL, R.INIT_SHELL, stop_signal=WINCH), "passes SIGWINCH on"),
    ("handler-delayed", killed(R.TRAP_FOREGROUND, R.TRAP_FOREGROUND), "runs only after `sleep 1000`"),
    (
        "handler-swallowed",
        killed(R.TRAP_LOOP, R.TRAP_LOOP_LATER, "got TERM\n", after_signal=R.TRAP_LOOP),
        "went on to `sleep 0.3`",
    ),
    ("handler-delayed", killed(R.TRAP_LOOP, R.TRAP_LOOP_LATER), "runs only after `sleep 0.3`"),
    ("signal-ignored", killed(R.IGNORES, R.IGNORES), "ignores SIGTERM"),
    ("signal-ignored", killed(R.BLOCKS, R.BLOCKS_PENDING), "still pending"),
    ("pid1-handler-noop", killed(R.NODE, R.NODE_RESET), "the runtime's own"),
    ("pid1-handler-noop", killed(R.NODE, R.NODE_RESET, "GET /slow 200\n"), "the runtime's own"),
    ("grace-too-short", killed(R.NODE, R.NODE_RESET, "SIGTERM: draining\n"), '"SIGTERM: draining"'),
    ("reraise-lost", killed(R.HANDLER, R.HANDLER_RESET, "cleaning up\n"), "raised the signal again"),
    (
        "reraise-lost",
        killed(R.HANDLER, R.HANDLER_RESET, "Catching signal: SIGTERM\n"),
        'had no effect; it wrote "Catching',
    ),
    ("exit-blocked", killed(R.THREADS, R.THREADS_LOCKED, "sys.exit(0)\n"), "1 other thread"),
    ("handler-hangs", killed(R.HANDLER, R.HANDLER_LOCKED), "waits for a lock"),
    ("grace-too-short", killed(R.HANDLER, R.HANDLER_BUSY), "was busy a second later"),
    (
        "grace-too-short",
        killed(used(R.HANDLER, 0.1), used(R.HANDLER, 1.2)),
        "had used 1.10 s of CPU time a second later",
    ),
    ("handler-too-slow", killed(used(R.HANDLER, 0.1), used(R.HANDLER, 0.12)), "sleeps as before"),
    ("handler-hangs", killed(R.THREADS, locked(R.THREADS_LOCKED)), "all 2 threads wait for locks"),
    ("handler-hangs", killed(locked(R.THREADS_LOCKED, 9), locked(R.THREADS_LOCKED, 8)), "none with a time limit"),
    ("handler-swallowed", killed(locked(R.THREADS_LOCKED), locked(R.THREADS_LOCKED)), "wait for locks as before"),
    ("grace-too-short", killed(locked(R.THREADS_LOCKED), used(R.THREADS_LOCKED, 0.9)), "of CPU time"),
    ("handler-swallowed", killed(R.HANDLER, R.HANDLER, "job failed, going on\n"), "going on"),
    ("handler-too-slow", killed(R.HANDLER, R.HANDLER, "SIGTERM received\n"), "sleeps as before"),
    (
        "handler-swallowed",
        killed(R.HANDLER, turned(R.HANDLER, 9), after_signal=turned(R.HANDLER, 4)),
        "slept 5 times",
    ),
    (
        "grace-too-short",
        killed(R.HANDLER_POLLS, turned(R.HANDLER, 9), after_signal=turned(R.HANDLER, 4)),
        "sleeps where it did not before, 5 times within that second",
    ),
    (
        "handler-swallowed",
        killed(R.HANDLER_POLLS, turned(R.HANDLER, 9), after_signal=turned(R.HANDLER_POLLS, 4)),
        "slept 5 times",
    ),
    (
        "handler-too-slow",
        killed(R.HANDLER, turned(R.HANDLER, 4), after_signal=turned(R.HANDLER, 4)),
        "without having run once",
    ),
    ("grace-too-short", killed(R.HANDLER, R.HANDLER, "SIGTERM received, cleaning up\n"), "cleaning up"),
    ("handler-hangs", killed(R.GO, waiting(R.GO, locked=6), WAITS), "all of its 7 threads wait"),
    ("handler-hangs", killed(R.RUBY, waiting(R.RUBY, polling=1), "stopping\n"), "its only thread waits"),
    ("grace-too-short", killed(R.GO, waiting(R.GO, locked=5), WAITS), "who may be slow or never come"),
    ("grace-too-short", killed(R.GO, waiting((*R.GO, *R.SLEEP), locked=6), WAITS), "may be slow or never come"),
    ("unknown", killed(R.RUBY, waiting(R.RUBY), "stopping\n"), "does not tell"),
    ("grace-too-short", killed(used(R.NODE_SPINS, 0.2), used(R.NODE_SPINS, 1.2)), "its handler may never run"),
    ("signal-not-permitted", killed(R.TRAP_FOR_ANOTHER_USER, R.TRAP_FOR_ANOTHER_USER, EPERM), "capability KILL"),
    ("signal-not-permitted", killed(R.TRAP_FOREGROUND, R.TRAP_FOREGROUND, EPERM), "may not signal `sleep 1000`"),
    ("signal-not-permitted", left(1, R.INIT_SLEEP, log_after_signal=TINI_EPERM), "exited with code 1"),
    ("waits-for-clients", killed(R.SESSIONS, serving(R.SESSIONS), SMART + REFUSES), "idle` (PID on the host 62) still"),
    ("waits-for-clients", killed(R.SESSIONS, serving(R.SESSIONS)), "still served a client"),
    ("unknown", killed(R.SESSIONS, serving(R.SESSIONS, 0), SMART), "does not tell"),
    ("waits-for-clients", killed(R.RUBY, serving(R.RUBY, 2), "stopping\n"), "held the connection of 2 clients"),
    ("unknown", killed(R.RUBY, serving(R.RUBY, 2)), "does not tell"),
    ("grace-too-short", killed(R.HANDLER_POLLS, R.HANDLER), "sleeps where it did not before"),
    ("grace-too-short", killed(R.HANDLER, R.HANDLER, stop_timeout_ns=NS_PER_S), "too soon to tell"),
    ("grace-too-short", killed(R.SUPERVISOR, R.SUPERVISOR, "waiting for app to die\n"), "waiting for app"),
    ("grace-too-short", killed(R.HANDLER, None, stop_timeout_ns=0), "no time"),
    ("grace-too-short", killed(R.HANDLER, R.HANDLER, traffic=requests(SLOW)), "without its answer"),
    (
        "waits-for-clients",
        killed(R.HANDLER, R.HANDLER, traffic=requests(HELD, ANSWERED)),
        "held its idle connection",
    ),
    (
        "waits-for-clients",
        killed(
            R.THREADS, R.THREADS, "Traceback (most recent call last):\n  a\nRuntimeError: x\n", traffic=requests(HELD)
        ),
        'its idle connection when SIGKILL came; it wrote "RuntimeError: x" in the meantime',
    ),
    ("waits-for-clients", killed(R.NODE, R.NODE, "Waiting for connections to close.\n"), "Waiting for connections"),
    ("wrapper-swallows-signal", killed(R.NPM, R.NPM), "does not pass it on; `node server.js`"),
    (
        "wrong-stopsignal",
        killed(R.HANDLER, R.HANDLER, stop_signal=signals.NUMBERS["USR1"], stop_signal_source="image"),
        "has a handler for SIGTERM, but is sent SIGUSR1",
    ),
    ("wrong-stopsignal", killed(R.SLEEP, R.SLEEP, stop_signal=WINCH, stop_signal_source="image"), "nobody"),
    ("immediate-kill", left(137, R.HANDLER, stop_signal=signals.SIGKILL), "nothing can handle"),
    ("unknown", killed(None, None), "does not tell"),
    ("unknown", killed(R.NODE, R.NODE), "does not tell"),
    ("crash-on-stop", left(139, R.HANDLER), "SIGSEGV"),
    ("crash-on-stop", left(1, R.NODE, log_after_signal=QUOTED), 'wrote "Error: flush failed: EACCES"'),
    ("crash-on-stop", left(1, R.RUBY, log_after_signal=TRACEBACK), "ValueError: x"),
    ("inner-kill", by_wait_status(left(137, R.NPM)), "a child ended by SIGKILL"),
    ("oom-on-stop", left(0, R.HANDLER, oom_killed=True), "below PID 1"),
    ("exited-before-stop", left(0, exited_before_stop=True), "exit code 0 before the stop"),
    ("failed-before-stop", left(3, exited_before_stop=True), "exit code 3 before the stop"),
    ("command-not-found", left(127, exited_before_stop=True), "127"),
    ("command-not-found", left(0, problem=Problem(ProblemKind.COMMAND_NOT_FOUND, "no such file")), "no such file"),
    ("fast-drop", left(0, R.HANDLER, traffic=requests(CUT), lost_processes=()), "with requests in flight"),
    ("fast-drop", left(143, R.INIT_SLEEP, traffic=requests(CUT), lost_processes=()), "ended it by default"),
    (
        "cut-by-hook",
        left(0, R.HANDLER, traffic=replace(requests(CUT_EARLY), hooks_took_ns=2 * NS_PER_S), lost_processes=()),
        "1 request in flight was cut while the hook before the stop ran",
    ),
    (
        "fast-drop",
        left(0, R.HANDLER, traffic=replace(requests(CUT_EARLY, CUT), hooks_took_ns=2 * NS_PER_S), lost_processes=()),
        "with requests in flight",
    ),
    (
        "partial-drop",
        left(0, R.HANDLER, traffic=requests(CUT, ANSWERED), lost_processes=()),
        "answered after the signal",
    ),
    ("child-killed-by-teardown", left(143, R.INIT_SHELL, lost_processes=("server (PID 8)",)), "server (PID 8)"),
    ("child-killed-by-teardown", left(143, R.INIT_SHELL, traffic=requests(CUT)), "by default"),
    ("child-killed-by-teardown", left(111, R.SUPERVISOR, lost_processes=("python3 (PID 7)",)), "exited first"),
    (
        "inner-kill",
        left(143, R.NPM, lost_processes=(f"sh (PID 7), {KILLED_FROM_INSIDE}",)),
        "from inside the container",
    ),
]


@pytest.mark.parametrize(("cause", "seen", "words"), CASES, ids=[f"{row[0]}: {row[2]}" for row in CASES])
def test_evidence_of_real_stops_names_their_cause(cause: str, seen: Observation, words: str) -> None:
    found = judge.judge(seen, PLAIN).cause
    assert found is not None
    assert (found.id, words in found.evidence) == (cause, True), found


def test_every_cause_of_the_table_is_tried() -> None:
    assert {row[0] for row in CASES} == set(known_causes.CAUSES) - BY_FATES - BY_FAULTS


BY_FAULTS = {"halted-by-fault", "killed-by-fault", "maybe-by-fault"}
"""Tried in `test_faults.py` and `test_fault_doubts.py`."""
BY_FATES = {"group-signal", "second-signal", "closes-port-early"}
"""Tried in `test_process_fates.py`, with the fates that they follow from, and in `test_load_balancer.py`."""


def test_every_cause_has_a_meaning_and_a_cure() -> None:
    for known in known_causes.CAUSES.values():
        assert known.meaning.endswith(".")
        assert known.cure.endswith(".")


traffic = st.none() | st.lists(
    st.builds(
        Request,
        st.sampled_from(TrafficKind),
        st.integers(0, 3),
        st.sampled_from(RequestFate),
        *[st.none() | st.integers(-NS_PER_S, 12 * NS_PER_S)] * 4,
    ),
    max_size=4,
).map(tuple).map(TrafficRecord)
observations = st.builds(
    killed,
    tables,
    tables,
    st.sampled_from(["", "exit", TRACEBACK, "draining", "waiting for clients"]) | st.text(max_size=20),
    stop_signal=st.none() | st.integers(1, 64),
    stop_signal_source=st.sampled_from([None, "image", "scenario", "default"]),
    exit_code=st.none() | st.integers(0, 255),
    oom_killed=st.none() | st.booleans(),
    exited_before_stop=st.booleans(),
    traffic=traffic,
    lost_processes=st.none() | st.lists(st.text(max_size=5), max_size=2).map(tuple),
    suspected_processes=st.lists(st.text(max_size=5), max_size=2).map(tuple),
    log_after_signal=st.none() | st.sampled_from(["", TRACEBACK]) | st.text(max_size=20),
    cut_short=st.none() | st.just("cut short after 1.2 s"),
)


@given(observations, st.sampled_from(Outcome))
def test_every_bad_stop_has_exactly_one_cause_and_a_good_one_none(seen: Observation, outcome: Outcome) -> None:
    found = causes.cause(seen, stop_sequence.facts(seen), outcome)
    assert found == causes.cause(seen, stop_sequence.facts(seen), outcome)
    if outcome in {Outcome.GRACEFUL, Outcome.INCONCLUSIVE}:
        assert found is None
    else:
        assert found is not None
        assert found.id in known_causes.CAUSES
        assert found.evidence.strip()


@given(observations)
def test_a_stop_that_was_cut_short_is_never_graceful_and_has_no_duration(seen: Observation) -> None:
    cut = changed(seen, exit_code=137, exited_before_stop=False, cut_short="cut short after 1.2 s", problem=None)
    judged = judge.judge(cut, PLAIN)
    assert judged.outcome is not Outcome.GRACEFUL
    assert judged.facts.shutdown_duration_ns is None


# ── Exit codes 1 and 2 ───────────────────────────────────────────────────────────────────────────────────────────────

ENDINGS: list[tuple[str, Observation, Outcome]] = [
    ("ruby as PID 1", left(1, R.RUBY, log_after_signal="ensure block ran\n"), Outcome.GRACEFUL),
    ("Go as PID 1", left(2, R.GO), Outcome.GRACEFUL),
    ("ruby, another code", left(2, R.RUBY), Outcome.CRASHED),
    ("Go, another code", left(1, R.GO), Outcome.CRASHED),
    ("a python program that leaves with 1", left(1, R.HANDLER), Outcome.CRASHED),
    ("an error in the log", left(1, R.RUBY, log_after_signal="app.rb:3: RuntimeError\n"), Outcome.CRASHED),
    ("a log that cannot be told apart", left(1, R.RUBY, log_after_signal=None), Outcome.CRASHED),
    ("no table", left(1, None), Outcome.CRASHED),
    ("late", left(1, R.RUBY, after_ns=3 * NS_PER_S), Outcome.CRASHED),
    (
        "late, with its work done",
        left(1, R.RUBY, after_ns=2 * NS_PER_S, traffic=requests(ANSWERED)),
        Outcome.GRACEFUL,
    ),
    ("with work lost", left(1, R.RUBY, traffic=requests(CUT)), Outcome.LOSSY),
    ("not PID 1", left(1, recorded.table("6 5 1 0 0 0 0 S do_sigtimedwait tini -- ruby a.rb")), Outcome.CRASHED),
]


@pytest.mark.parametrize(("_case", "seen", "outcome"), ENDINGS, ids=[row[0] for row in ENDINGS])
def test_only_a_runtimes_own_ending_excuses_exit_codes_1_and_2(_case: str, seen: Observation, outcome: Outcome) -> None:
    assert judge.judge(changed(seen, lost_processes=()), PLAIN).outcome is outcome


@pytest.mark.parametrize(
    ("ready", "outcome"),
    [
        (ReadyBasis(ReadyBy.TIME, NS_PER_S), Outcome.INCONCLUSIVE),
        (ReadyBasis(ReadyBy.HANDLER, NS_PER_S), Outcome.INCONCLUSIVE),
        (ReadyBasis(ReadyBy.PORT, NS_PER_S, (80,), (81,)), Outcome.INCONCLUSIVE),
        (ReadyBasis(ReadyBy.PORT, NS_PER_S, (80,)), Outcome.GRACEFUL),
        (ReadyBasis(ReadyBy.CONDITIONS, NS_PER_S), Outcome.GRACEFUL),
        (None, Outcome.GRACEFUL),
    ],
)
@pytest.mark.parametrize(("code", "table"), [(1, R.RUBY), (2, R.GO)], ids=["ruby", "Go"])
def test_a_runtimes_own_ending_says_nothing_of_a_program_that_may_still_be_starting(
    code: int, table: Table, ready: ReadyBasis | None, outcome: Outcome
) -> None:
    """Its own handler may come later, unless the scenario or the image said that it was ready. An old record, which
    does not tell, keeps its verdict."""
    seen = replace(left(code, table, lost_processes=()), ready=ready)
    verdict = judge.judge(seen, PLAIN)
    assert verdict.outcome is outcome, verdict.reason
    assert (verdict.findings[0].rule == "stopped-too-early") is (outcome is Outcome.INCONCLUSIVE)
    # A code that the scenario accepts is orderly whatever the runtime does.
    accepting = replace(PLAIN, expectations=(Expectation(exit_codes=(code,)),))
    assert judge.judge(seen, accepting).outcome is Outcome.GRACEFUL


# ── The log after the signal ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("before", "after", "written"),
    [
        (LogTail("a\n"), LogTail("a\nb\n"), "b\n"),
        (LogTail(""), LogTail("b\n"), "b\n"),
        (LogTail("a\nb\n", truncated=True), LogTail("b\nc\n", truncated=True), None),
        (LogTail("x\na\nb\n", truncated=True), LogTail("x\na\nb\nc\n", truncated=True), "c\n"),
        (LogTail("a\n", truncated=True), LogTail("a\na\na\n", truncated=True), None),
        (LogTail("old\n", truncated=True), LogTail("new\n", truncated=False), None),
    ],
)
def test_what_was_written_after_the_signal_is_told_or_unknown(
    before: LogTail, after: LogTail, written: str | None
) -> None:
    assert written_since(before, after) == written


def trap_stop(foreground: str, before: str = "sleep 0.1", born_ms: int | None = 2990) -> Observation:
    """A shell with a trap, killed 3 s after the signal came; its command was born so long before its end."""
    shell, at = "sh -c trap 'sleep 30; exit 0' TERM; while :; do sleep 0.1; done", NS_PER_MS
    look = "3403 3016 1 10000 0 14002 0 S do_wait {}\n{} 3403 1 0 0 0 0 S hrtimer_nanosleep {}"
    told = (ReceivedSignal(signals.SIGTERM, 3000 * at, None, ""),)
    caught = SignalDisposition.CAUGHT
    fates = (
        ProcessFate("sh", shell, 1, 0, 3403, end_ns=0, exit_signal=9, handling=caught, signals=told),
        ProcessFate("sleep", before, 16, 1, 6854, end_ns=2995 * at, exit_code=0, signals=()),
        ProcessFate(
            "sleep", foreground, 17, 1, 6860, end_ns=at, exit_signal=9, signals=(),
            born_ns=None if born_ms is None else born_ms * at,
        ),
    )  # fmt: skip
    late = recorded.table(look.format(shell, 6860, foreground))
    return killed(recorded.table(look.format(shell, 6854, before)), late, fates=fates)


@pytest.mark.parametrize(
    ("seen", "cause", "says"),
    [
        (trap_stop("sleep 30"), "grace-too-short", "`sleep 30` (PID on the host 6860) was started after the signal"),
        (trap_stop("sleep infinity"), "handler-hangs", "was started after the signal"),
        (trap_stop("sleep 0.1"), "handler-swallowed", "as before the signal"),
        (trap_stop("sleep 30", born_ms=3010), "handler-delayed", "runs only after `sleep 30`"),
        (trap_stop("sleep 30", born_ms=None), "handler-delayed", "runs only after `sleep 30`"),
    ],
    ids=["trap is slow", "trap waits for ever", "loop goes on", "born before the signal", "lived before the stop"],
)
def test_a_command_that_a_shell_started_after_the_signal_did_not_hold_up_its_trap(
    seen: Observation, cause: str, says: str
) -> None:
    """A shell runs its trap before the next command: one that began after the signal is the trap's own work."""
    found = judge.judge(seen, PLAIN).cause
    assert found is not None
    assert (found.id, says in found.evidence) == (cause, True), found
