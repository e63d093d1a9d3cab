"""What became of every process: jobs that a signal for others ended, second signals, faults; and what is no loss."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.ecs import fates_document
from stop_harness.evidence import log_hints, lost_work
from stop_harness.evidence.process_fates import Grade
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Outcome,
    ProcessFate,
    ProcessInfo,
    ReceivedSignal,
    Scenario,
    Severity,
    SignalDisposition,
    Subject,
)
from stop_harness.renderers.sections import fates_text
from stop_harness.renderers.sections.fates_text import FateTable
from stop_harness.signals import NUMBERS, SIGTERM
from stop_harness.verdict import judge
from tests.fates import (
    APP,
    BASH,
    BUSY,
    CAUGHT,
    DEFAULT,
    IDLE_WORKER,
    JOB,
    SLEEP,
    TINI,
    TOOK_NS,
    WORKER,
    Fates,
    ended,
    fate,
    judged,
    sent,
    stopped,
)
from tests.parts import changed

# ── A signal for others ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fates", "log", "why"),
    [
        ((TINI, APP, JOB, SLEEP), "job ended with -15\n", 'the program wrote "job ended with -15"'),
        (
            (TINI, APP, replace(JOB, handling=SignalDisposition.BLOCKED), SLEEP),
            "job: -15, exit 143",
            "the program wrote",
        ),
        ((TINI, APP, BUSY), "", "was computing when the stop began (90% of a CPU)"),
        ((TINI, APP, replace(WORKER, served=1)), "", "was connected to a client"),
        (
            (TINI, APP, JOB, replace(BUSY, pid=9, parent_pid=8, command="gzip big")),
            "",
            "`gzip big` (PID 9) was computing",
        ),
        (
            (TINI, replace(APP, waits_in="do_wait"), replace(WORKER, waits_in="hrtimer_nanosleep")),
            "",
            "`python3 app.py` (PID 7) was waiting for it",
        ),
    ],
    ids=["reported", "blocked for a moment", "computing", "serving", "a step of it computing", "waited for"],
)
def test_a_job_that_a_signal_for_others_ended_is_a_loss(fates: Fates, log: str, why: str) -> None:
    """The program above it handled the signal and was still finishing, and the job was at work."""
    verdict = judged(*fates, log=log)
    assert (verdict.outcome, verdict.findings[0].rule) == (Outcome.LOSSY, "lost-work")
    assert why in verdict.reason
    assert "SIGTERM from tini (PID 1) ended" in verdict.reason
    assert verdict.cause is not None
    assert verdict.cause.id == "group-signal"


def test_who_sleeps_for_a_time_is_in_doubt() -> None:
    """It may be between two steps of its work, or have nothing to do: neither a pass nor a failure."""
    for fates in ((TINI, APP, JOB, SLEEP), (TINI, APP, replace(WORKER, waits_in="hrtimer_nanosleep"))):
        verdict = judged(*fates)
        assert (verdict.outcome, verdict.findings[0].rule) == (Outcome.INCONCLUSIVE, "work-in-doubt")
        assert "whether anything was lost was not seen" in verdict.reason


@pytest.mark.parametrize(
    "fates",
    [
        (TINI, BASH, ended(8, 7, "sleep 1", waits_in="hrtimer_nanosleep")),
        (TINI, APP, WORKER),
        (TINI, APP, ended(8, 7, "cat", waits_in="pipe_read")),
        (TINI, APP, ended(8, 7, "tail -f /dev/null", waits_in="do_sys_poll")),
        (TINI, APP, ended(8, 7, "sleep infinity", waits_in="hrtimer_nanosleep")),
        (TINI, APP, replace(JOB, command="sh -c 'while :; do sleep 5; rotate; done'"), SLEEP),
        (TINI, APP, JOB, replace(SLEEP, command="sleep 6h")),
        (TINI, replace(BUSY, pid=7, parent_pid=1)),
        (replace(TINI, command="supervisord -n", handling=CAUGHT), replace(BUSY, pid=7, parent_pid=1)),
        (TINI, replace(APP, command="npm start"), BUSY),
        (TINI, APP, replace(IDLE_WORKER, signals=(sent(sender=7, name="python3"),))),
        (TINI, APP, replace(BUSY, signals=(sent(sender=8, name="python3"),))),
        (TINI, replace(APP, end_ns=TOOK_NS - NS_PER_MS), BUSY),
        (TINI, APP, replace(BUSY, born_ns=TOOK_NS - NS_PER_MS)),
        (TINI, APP, fate(8, 7, "python3 worker.py", state="R", cpu_share=0.9)),
        (TINI, APP, replace(BUSY, exit_signal=None, exit_code=0)),
    ],
    ids=[
        "a shell's own sleep", "an idle helper", "cat", "tail", "sleep infinity", "an endless loop", "a long sleep",
        "the program itself under an init", "a supervisor's service", "the program under a wrapper",
        "ended by its own program", "ended by itself", "outlived its program", "born later", "finished its work",
        "left by itself",
    ],
)  # fmt: skip
def test_what_is_no_loss_stays_graceful(fates: Fates) -> None:
    """Nothing was at work, or whoever ended it had the right to."""
    verdict = judged(*fates)
    assert (verdict.outcome, verdict.findings) == (Outcome.GRACEFUL, ()), verdict.reason


def test_kill_0_is_no_decision_about_a_job() -> None:
    """A script that signals its whole group signals itself, too; one that signals its child alone has decided it."""
    own = sent(sender=7, name="start.sh")
    spray = replace(BASH, signals=(sent(), own))
    assert judged(TINI, spray, replace(BUSY, signals=(own,))).outcome is Outcome.LOSSY
    assert judged(TINI, BASH, replace(BUSY, signals=(own,))).outcome is Outcome.GRACEFUL


def test_who_computes_may_still_be_starting() -> None:
    """A helper that was started a moment ago computes, too, until it waits."""
    verdict = judged(TINI, APP, replace(BUSY, cpu_ns=80 * NS_PER_MS))
    assert (verdict.outcome, verdict.findings[0].rule) == (Outcome.INCONCLUSIVE, "work-in-doubt")
    assert judged(TINI, APP, replace(BUSY, cpu_ns=NS_PER_S)).outcome is Outcome.LOSSY


def test_a_script_s_helper_below_the_program_is_a_hint() -> None:
    """`loop & exec server`: the server does not know of the helper, and nobody waits for it."""
    looks = stopped(TINI, APP, replace(WORKER, waits_in="hrtimer_nanosleep"))
    background = 1 << NUMBERS["INT"] - 1 | 1 << NUMBERS["QUIT"] - 1
    table = (ProcessInfo(1001, 1, "tini", 0, 0, 0), ProcessInfo(1008, 1007, "python3 worker.py", 0, background, 0))
    verdict = judge.judge(changed(looks, before=table), Scenario("a", Subject(image="any")))
    assert verdict.outcome is Outcome.GRACEFUL
    assert [(item.rule, item.severity) for item in verdict.findings] == [("ended-by-default", Severity.WARNING)]


def test_an_open_connection_is_a_hint_and_waiting_for_its_answer_a_doubt() -> None:
    """Many idle helpers keep a connection to a database."""
    assert [item.rule for item in judged(TINI, APP, replace(WORKER, opened=1)).findings] == ["ended-by-default"]
    reading = replace(WORKER, opened=1, waits_in="wait_woken")
    assert judged(TINI, APP, reading).outcome is Outcome.INCONCLUSIVE


def test_without_the_senders_a_known_group_signal_decides_and_nothing_else() -> None:
    """`tini -g` and dumb-init say that they signal the group; else the program may have ended its job by itself."""
    unheard = [replace(item, signals=None) for item in (TINI, APP, BUSY)]
    assert judged(*unheard).outcome is Outcome.LOSSY
    assert judged(replace(unheard[0], command="dumb-init python3 app.py"), *unheard[1:]).outcome is Outcome.LOSSY
    for quiet in ("tini -- python3 app.py", "dumb-init --single-child python3 app.py", "dumb-init -c python3 app.py"):
        assert judged(replace(unheard[0], command=quiet), *unheard[1:]).outcome is Outcome.INCONCLUSIVE
    reported = judged(replace(unheard[0], command="tini -- python3 app.py"), *unheard[1:], log="worker died: signal 15")
    assert reported.outcome is Outcome.LOSSY


ENDED = "worker exited with -15"


@pytest.mark.parametrize(
    ("job", "log", "outcome"),
    [
        (IDLE_WORKER, ENDED, Outcome.INCONCLUSIVE),
        (IDLE_WORKER, "WorkerLostError: worker exited prematurely", Outcome.LOSSY),
        (replace(WORKER, waits_in=""), ENDED, Outcome.LOSSY),
        (ended(8, 7, "sh -c 'while :; do sleep 1; done'", waits_in="do_wait"), ENDED, Outcome.GRACEFUL),
        (ended(8, 7, "tail -f /var/log/app.log"), ENDED, Outcome.GRACEFUL),
        (WORKER, "reaped unknown pid 8 (terminated by SIGTERM)", Outcome.GRACEFUL),
    ],
    ids=["an idle worker", "lost in so many words", "nobody looked", "an endless loop", "tail", "reaped by an init"],
)
def test_a_report_of_an_end_is_weighed_by_what_the_process_did(job: ProcessFate, log: str, outcome: Outcome) -> None:
    """A program reports the end of an idle helper in the same words as that of a job."""
    assert judged(TINI, APP, job, log=log).outcome is outcome


def test_who_waits_for_a_lock_waits_for_no_child() -> None:
    """`futex_do_wait` ends like `do_wait`."""
    helper = replace(WORKER, waits_in="hrtimer_nanosleep")
    waiting = [judged(TINI, replace(APP, waits_in=name), helper).outcome for name in ("futex_do_wait", "do_wait")]
    assert waiting == [Outcome.INCONCLUSIVE, Outcome.LOSSY]


def test_a_shell_s_own_sleep_is_no_loss_to_sigkill_either() -> None:
    """`sleep 1 & wait $!` in a loop is how a script waits for its trap; anything beside it is another matter."""
    killed = {"exit_code": None, "exit_signal": 9, "by_teardown": True, "signals": ()}
    shell = replace(BASH, pid=1, parent_pid=0, end_ns=0)
    sleep = fate(8, 1, "sleep 1", handling=DEFAULT, **killed)
    copy = fate(9, 1, "/bin/bash /start.sh", born_ns=NS_PER_MS, **killed)

    def outcome(*fates: ProcessFate, **changes: object) -> Outcome:
        names = tuple(f"{item.name} (PID {item.pid})" for item in fates[1:])
        seen = changed(stopped(*fates), lost_processes=names, **changes)
        return judge.judge(seen, Scenario("a", Subject(image="any"))).outcome

    assert outcome(shell, sleep) is Outcome.GRACEFUL
    assert shown(shell, sleep, killed=("sleep (PID 8)",)).lost == frozenset()
    assert shown(shell, sleep, copy, killed=("sleep (PID 8)", "start.sh (PID 9)")).lost == {1, 2}
    assert outcome(shell, sleep, copy) is Outcome.LOSSY
    assert outcome(fate(1, 0, "python3 app.py", end_ns=0), sleep) is Outcome.LOSSY
    assert outcome(shell, sleep, fates_complete=False) is Outcome.LOSSY
    assert outcome(shell, sleep, fates=None) is Outcome.LOSSY


# ── Second signals and faults ────────────────────────────────────────────────────────────────────────────────────────

TWICE = (sent(), sent(after_ms=5, sender=7, name="start.sh"))


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"exit_code": 1}, Outcome.LOSSY),
        ({"exit_code": None, "exit_signal": SIGTERM}, Outcome.LOSSY),
        ({"exit_code": 0}, Outcome.GRACEFUL),
        ({"exit_code": 143}, Outcome.GRACEFUL),
        ({"exit_code": 1, "signals": TWICE[:1]}, Outcome.INCONCLUSIVE),
        ({"exit_code": 1, "signals": (sent(), sent(after_ms=9))}, Outcome.INCONCLUSIVE),
        (
            {"exit_code": None, "exit_signal": SIGTERM, "signals": (*TWICE, sent(after_ms=900, sender=8))},
            Outcome.GRACEFUL,
        ),
    ],
    ids=["error", "default action", "finished", "128 + n", "once", "one sender, same signal", "raised again by itself"],
)
def test_an_error_after_a_second_signal_is_a_loss(changes: dict[str, object], outcome: Outcome) -> None:
    """Many programs take it for the order to leave at once."""
    worker = fate(8, 7, "python3 worker.py", **{"signals": TWICE, "end_ns": NS_PER_S} | changes)
    verdict = judged(TINI, BASH, worker)
    assert verdict.outcome is outcome, verdict.reason
    if outcome is Outcome.LOSSY:
        assert "SIGTERM from tini, then SIGTERM from start.sh 4 ms later" in verdict.reason
        assert verdict.cause is not None
        assert verdict.cause.id == "second-signal"


def test_an_idle_worker_that_leaves_at_once_lost_nothing_by_a_second_signal() -> None:
    """A pool's worker gets one from the group and one from its master, and is gone within milliseconds."""
    worker = fate(8, 7, "pool worker", exit_code=1, signals=TWICE, end_ns=TOOK_NS - 7 * NS_PER_MS)
    verdict = judged(TINI, APP, worker)
    assert (verdict.outcome, verdict.findings[0].rule) == (Outcome.GRACEFUL, "ended-by-default")
    assert judged(TINI, APP, replace(worker, served=1)).outcome is Outcome.LOSSY
    assert judged(TINI, APP, replace(worker, end_ns=NS_PER_S)).outcome is Outcome.LOSSY


def test_a_fault_of_a_worker_is_a_loss() -> None:
    """PID 1 exits with 0 all the same. What somebody sent is no fault of its own."""
    worker = fate(8, 7, "worker", exit_code=None, exit_signal=NUMBERS["SEGV"], end_ns=NS_PER_S)
    verdict = judged(TINI, APP, worker)
    assert verdict.outcome is Outcome.LOSSY
    assert "`worker` (PID 8) crashed with SIGSEGV" in verdict.reason
    assert verdict.cause is not None
    assert verdict.cause.id == "crash-on-stop"
    shot = replace(worker, signals=(sent(NUMBERS["SEGV"], sender=7, name="python3"),))
    assert judged(TINI, APP, shot).outcome is Outcome.GRACEFUL


# ── Records ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_old_records_are_judged_as_before() -> None:
    """Nobody looked then, and nothing follows from that."""
    seen = changed(stopped(TINI, APP, BUSY), fates=None)
    assert judge.judge(seen, Scenario("a", Subject(image="any"))).outcome is Outcome.GRACEFUL


pids = st.none() | st.integers(0, 6)
fates_of_all_kinds = st.builds(
    ProcessFate,
    name=st.sampled_from(["sh", "python3", "sleep", "tini"]),
    command=st.sampled_from(["", "sh -c x", "python3 a.py", "sleep 3", "sleep 1.2.3", "tini -g -- a"]),
    pid=pids,
    parent_pid=pids,
    host_pid=st.none() | st.integers(1, 9),
    end_ns=st.none() | st.integers(0, TOOK_NS),
    born_ns=st.none() | st.integers(0, TOOK_NS),
    exit_code=st.none() | st.integers(0, 255),
    exit_signal=st.none() | st.integers(1, 64),
    handling=st.none() | st.sampled_from(SignalDisposition),
    signals=st.none()
    | st.lists(
        st.builds(ReceivedSignal, st.integers(1, 64), st.integers(0, TOOK_NS), pids, st.just("x")), max_size=3
    ).map(tuple),
    waits_in=st.sampled_from(["", "do_wait", "hrtimer_nanosleep", "wait_woken"]),
    cpu_share=st.none() | st.floats(0, 4),
    cpu_ns=st.none() | st.integers(0, NS_PER_S),
    served=st.none() | st.integers(0, 2),
    opened=st.none() | st.integers(0, 2),
    group=st.none() | st.integers(1, 2),
)


@given(st.lists(fates_of_all_kinds, max_size=6).map(tuple))
def test_every_record_is_read_and_a_loss_lives_before_the_stop(fates: Fates) -> None:
    """Whoever was born after the stop began, or whose end nobody saw, is no loss of these rules; nothing raises."""
    for lost in lost_work.lost_work(stopped(*fates)):
        assert lost.process.born_ns is None
        assert lost.process.end_ns
        assert Grade.HINT <= lost.grade <= Grade.LOST
        assert str(lost)


@pytest.mark.parametrize(
    ("line", "tells"),
    [
        ("job ended with -15", True),
        ("Worker exited prematurely: signal 15 (SIGTERM) Job: 3.", True),
        ("job failed: exit status 143", True),
        ("backup: signal: terminated", True),
        ("child process exited with code null SIGTERM", True),
        ("batch 17 lost", True),
        ("export status 15", True),
        ("worker status 0", False),
        ("worker exited with code 0", False),
        ("app: got SIGTERM, exiting", False),
        ("SIGTERM: shutting down, 3 jobs finished", False),
        ("listening on port 1435", False),
        ("exit in 15 s", False),
        ("INFO reaped unknown pid 10 (terminated by SIGTERM)", False),
    ],
)
def test_words_about_lost_children_are_told_from_words_about_the_stop(line: str, tells: bool) -> None:
    """Who received a signal is not who was ended by it."""
    text = f"started\n{line}\n"
    assert ((log_hints.lost(text) or log_hints.ended_by(text, SIGTERM)) == line) is tells


@given(st.none() | st.lists(fates_of_all_kinds, max_size=4).map(tuple))
def test_what_the_endpoint_tells_is_read_as_it_was(fates: Fates | None) -> None:
    """Through JSON and back; what another version tells otherwise is nobody's evidence."""
    told = json.loads(json.dumps(fates_document.as_json(fates)))
    assert fates_document.of_json(told) == fates
    assert fates_document.of_json([{"pid": 1, "unknown": 2}]) is None


# ── The table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def shown(*fates: ProcessFate, log: str = "", killed: tuple[str, ...] = ()) -> FateTable:
    """As reports show it."""
    seen = changed(stopped(*fates, log=log), lost_processes=killed)
    found = fates_text.table(seen, judge.judge(seen, Scenario("a", Subject(image="any"))).facts)
    assert found is not None
    return found


def test_the_table_is_a_tree_and_marks_the_loss() -> None:
    """PID 1 first, each below its parent: what met the signal, who sent it, how it ended, and when."""
    table = shown(TINI, SLEEP, JOB, APP, log="job ended with -15")
    assert [row[:2] for row in table.rows] == [
        ("1", "tini -g -- python3 app.py"),
        ("7", "└ python3 app.py"),
        ("8", "  └ sh -c 'sleep 4; echo done'"),
        ("9", "    └ sleep 4"),
    ]
    assert table.rows[2][2:] == ("no", "SIGTERM by tini 0.00 ms", "SIGTERM, by default", "1.0 ms")
    assert table.rows[0][3:] == ("SIGTERM", "exit code 0", "2.00 s")
    assert (table.lost, table.left_out) == (frozenset({2}), 0)


@given(st.lists(fates_of_all_kinds, min_size=1, max_size=6).map(tuple))
def test_every_process_has_its_row(fates: Fates) -> None:
    """Also where parents are missing, go round in a circle, or a pid was used twice."""
    assert len(shown(*fates).rows) == len(fates)


def test_without_the_kernel_s_record_there_is_no_table() -> None:
    """No row is made up."""
    seen = changed(stopped(TINI), fates=None)
    assert fates_text.table(seen, judge.judge(seen, Scenario("a", Subject(image="any"))).facts) is None
