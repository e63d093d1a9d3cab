"""Who ended early although it handles the signal, who left with an error, whom its own program ended, and helpers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Outcome,
    ProcessFate,
    ProcessInfo,
    Scenario,
    SignalDisposition,
    Subject,
    Verdict,
)
from stop_harness.signals import NUMBERS, SIGKILL, SIGTERM
from stop_harness.verdict import judge
from tests.fates import (
    APP,
    BASH,
    BUSY,
    CAUGHT,
    DEFAULT,
    JOB,
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


def raising(pid: int, parent: int, command: str, after_ms: int = 4, **more: object) -> ProcessFate:
    """One that handles the signal, and raised it again so long after it came."""
    own = sent(after_ms=1 + after_ms, sender=pid, name="gzip")
    raised = {"handling": CAUGHT, "signals": (sent(), own), "end_ns": own.to_end_ns, "waits_in": ""}
    return ended(pid, parent, command, **raised | more)


GZIP = raising(8, 7, "gzip -9 big", state="R", cpu_share=0.9)


@pytest.mark.parametrize(
    ("fates", "outcome"),
    [
        ((TINI, APP, GZIP), Outcome.LOSSY),
        ((TINI, APP, replace(GZIP, command="sort big", cpu_share=0.0)), Outcome.LOSSY),
        ((TINI, APP, JOB, replace(GZIP, pid=9, parent_pid=8)), Outcome.LOSSY),
        ((TINI, APP, replace(GZIP, cpu_ns=20 * NS_PER_MS)), Outcome.LOSSY),
        ((TINI, APP, raising(8, 7, "python3 -m uvicorn a", 300, state="R", cpu_share=0.9)), Outcome.GRACEFUL),
        ((TINI, APP, raising(8, 7, "gzip big", 300, state="R", cpu_share=0.9)), Outcome.INCONCLUSIVE),
        ((TINI, APP, raising(8, 7, "uvicorn", 300, waits_in="do_epoll_wait", cpu_share=0.0)), Outcome.GRACEFUL),
        ((TINI, APP, raising(8, 7, "node worker.js", waits_in="do_epoll_wait", cpu_share=0.0)), Outcome.GRACEFUL),
        ((TINI, raising(7, 1, "gzip -9 big", state="R", cpu_share=0.9)), Outcome.GRACEFUL),
        ((TINI, replace(APP, exit_code=None, exit_signal=SIGTERM, signals=GZIP.signals, end_ns=GZIP.end_ns), BUSY),
         Outcome.GRACEFUL),
    ],
    ids=["gzip", "starved of the CPU", "a step of a job", "no runtime to start", "a server took its time",
        "took its time", "finished first",
         "idle", "the program itself", "below a program that the same signal ended"],
)  # fmt: skip
def test_who_cleans_up_and_raises_the_signal_again_did_not_finish(fates: Fates, outcome: Outcome) -> None:
    """gzip, sort and git remove their files and end by the signal; uvicorn finishes before it does the same."""
    verdict = judged(*fates)
    assert verdict.outcome is outcome, verdict.reason


def test_a_job_that_its_own_program_ended_while_it_computed_is_in_doubt() -> None:
    """The program may know what it ends, or not: its queue may be full. What it writes of the end decides, unless the
    job may still have been starting, which a forked one does not. A shell passes on what it was asked."""
    own = (sent(sender=7, name="python3"),)
    busy = replace(BUSY, signals=own)
    assert judged(TINI, APP, busy).outcome is Outcome.INCONCLUSIVE
    starting = replace(busy, cpu_ns=20 * NS_PER_MS)
    assert [item.rule for item in judged(TINI, APP, starting).findings] == ["ended-by-default"]
    assert judged(TINI, APP, starting, log="worker exit code -15").outcome is Outcome.INCONCLUSIVE
    assert judged(TINI, APP, busy, log="worker exit code -15").outcome is Outcome.LOSSY
    forked = replace(starting, command=APP.command)
    assert judged(TINI, APP, forked, log="worker exit code -15").outcome is Outcome.LOSSY
    assert judged(TINI, BASH, starting).findings == ()
    below_shell = judged(TINI, BASH, busy)
    assert (below_shell.outcome, [item.rule for item in below_shell.findings]) == (
        Outcome.GRACEFUL,
        ["ended-by-default"],
    )


def test_a_report_of_a_wait_status_and_a_little_cpu_are_signs() -> None:
    """Perl prints `$?` as it is. A job that computes and sleeps in turn uses little of a CPU."""
    job = replace(WORKER, waits_in="poll_schedule_timeout", cpu_share=0.055)
    assert [item.rule for item in judged(TINI, APP, job).findings] == ["ended-by-default"]
    assert judged(TINI, APP, replace(job, cpu_ns=6 * NS_PER_MS)).findings == ()
    assert judged(TINI, APP, replace(job, cpu_share=0.009)).findings == ()
    assert judged(TINI, APP, job, log="export status 15").outcome is Outcome.LOSSY
    idle = replace(job, cpu_share=0.009)
    assert judged(TINI, APP, idle, log="export status 15").outcome is Outcome.INCONCLUSIVE


def test_a_script_file_with_a_loop_without_end_is_a_helper() -> None:
    """As one whose loop stands in its command line; of any other script the next step may be missed."""
    script = replace(WORKER, command="/bin/sh /app/metrics.sh", waits_in="do_wait", loops=True)
    nap = ended(9, 8, "sleep 1", waits_in="hrtimer_nanosleep")
    assert judged(TINI, APP, script, nap).outcome is Outcome.GRACEFUL
    for loops in (False, None):
        assert judged(TINI, APP, replace(script, loops=loops), nap).outcome is Outcome.INCONCLUSIVE


def test_a_share_of_the_cpu_is_named_only_where_it_says_something() -> None:
    """One that waits for a CPU on a busy machine computes, too, with 0 % of it."""
    assert "computing when the stop began;" not in judged(TINI, APP, BUSY).reason
    assert judged(TINI, APP, replace(BUSY, cpu_share=0.0)).reason.endswith("was computing when the stop began")


def test_another_signal_ends_a_program_in_its_handler() -> None:
    """Reloaders send SIGTERM, and SIGINT at once: node has no handler for that one, and raises it again by itself."""
    other = (sent(name="node"), sent(NUMBERS["INT"], 5, name="node"), sent(NUMBERS["INT"], 6, sender=8, name="node"))
    child = fate(8, 1, "node server.js", exit_code=None, exit_signal=NUMBERS["INT"], signals=other)
    child = replace(child, end_ns=TOOK_NS - 20 * NS_PER_MS, waits_in="do_epoll_wait")
    reloader = replace(TINI, command="node nodemon", handling=CAUGHT)
    assert judged(reloader, child).outcome is Outcome.INCONCLUSIVE
    assert judged(reloader, child, log="draining").outcome is Outcome.LOSSY
    pooled = judged(reloader, replace(child, waits_in="inet_csk_accept"), log="Finishing ...")
    late = replace(child, waits_in="inet_csk_accept", signals=other[:2], end_ns=TOOK_NS - 200 * NS_PER_MS)
    assert judged(reloader, replace(late, parent_pid=1)).outcome is Outcome.GRACEFUL
    assert judged(reloader, replace(late, served=1)).outcome is Outcome.LOSSY
    assert (pooled.outcome, [item.rule for item in pooled.findings]) == (Outcome.GRACEFUL, ["ended-by-default"])
    interrupted = (sent(NUMBERS["INT"]), sent(after_ms=2, sender=7, name="python3"))
    pool = fate(8, 7, "python3 pool.py", exit_code=None, exit_signal=SIGTERM, signals=interrupted, waits_in="pipe_read")
    assert judged(TINI, APP, replace(pool, end_ns=TOOK_NS - 3 * NS_PER_MS)).outcome is Outcome.GRACEFUL
    same = (sent(), sent(after_ms=900, sender=7), sent(after_ms=902, sender=8))
    raised = fate(8, 7, "python3 worker.py", exit_code=None, exit_signal=SIGTERM, signals=same, end_ns=NS_PER_S)
    assert judged(TINI, BASH, raised).outcome is Outcome.LOSSY


# ── Left with an error ───────────────────────────────────────────────────────────────────────────────────────────────

FAILED = fate(8, 7, "python3 sync.py", exit_code=1, end_ns=NS_PER_S, waits_in="hrtimer_nanosleep")
SOCAT = fate(8, 7, "socat TCP:a:1 -", exit_code=143, end_ns=TOOK_NS - 2 * NS_PER_MS)
TRACEBACK = "Traceback (most recent call last):\n  f()\nBrokenPipeError: [Errno 32] Broken pipe\n"
SUPERVISOR = replace(TINI, command="supervisord -n", handling=CAUGHT)
BY_PROGRAM = (sent(sender=7, name="python3"),)


@pytest.mark.parametrize(
    ("fates", "log", "outcome", "rules"),
    [
        ((TINI, APP, FAILED), "", Outcome.INCONCLUSIVE, ["work-in-doubt"]),
        ((TINI, APP, replace(FAILED, handling=DEFAULT)), "", Outcome.INCONCLUSIVE, ["work-in-doubt"]),
        ((TINI, APP, FAILED), TRACEBACK, Outcome.LOSSY, ["lost-work"]),
        ((TINI, APP, FAILED), "error: 3 files left", Outcome.LOSSY, ["lost-work"]),
        ((TINI, APP, replace(FAILED, waits_in="do_epoll_wait", end_ns=SOCAT.end_ns)), "FATAL: terminating",
         Outcome.GRACEFUL, ["ended-by-default"]),
        ((TINI, APP, replace(FAILED, signals=BY_PROGRAM)), "FATAL: terminating", Outcome.GRACEFUL, []),
        ((TINI, APP, replace(FAILED, signals=BY_PROGRAM)), TRACEBACK, Outcome.INCONCLUSIVE, ["work-in-doubt"]),
        ((TINI, APP, replace(FAILED, signals=(sent(NUMBERS["QUIT"], sender=7, name="python3"),))), "",
         Outcome.GRACEFUL, []),
        ((TINI, APP, replace(FAILED, signals=())), "", Outcome.GRACEFUL, []),
        ((replace(TINI, command="tini python3 app.py"), APP, replace(FAILED, signals=None)), "", Outcome.GRACEFUL, []),
        ((TINI, APP, replace(FAILED, signals=None)), "", Outcome.INCONCLUSIVE, ["work-in-doubt"]),
        ((TINI, APP, replace(FAILED, signals=None, waits_in="do_epoll_wait")), "",
         Outcome.GRACEFUL, ["ended-by-default"]),
        ((SUPERVISOR, replace(FAILED, parent_pid=1)), TRACEBACK, Outcome.LOSSY, ["lost-work"]),
        ((SUPERVISOR, replace(FAILED, parent_pid=1)), "", Outcome.GRACEFUL, ["ended-by-default"]),
        ((TINI, APP, replace(FAILED, born_ns=NS_PER_S * 3 // 2)), TRACEBACK, Outcome.GRACEFUL, []),
        ((TINI, APP, SOCAT), "", Outcome.GRACEFUL, ["ended-by-default"]),
        ((TINI, APP, replace(SOCAT, opened=1)), "", Outcome.INCONCLUSIVE, ["work-in-doubt"]),
        ((TINI, APP, SOCAT), TRACEBACK, Outcome.LOSSY, ["lost-work"]),
        ((TINI, APP, replace(SOCAT, state="R")), "", Outcome.LOSSY, ["lost-work"]),
        ((TINI, APP, replace(SOCAT, command="java -jar a.jar", end_ns=NS_PER_S)), TRACEBACK, Outcome.GRACEFUL, []),
        ((TINI, APP, replace(SOCAT, signals=BY_PROGRAM)), TRACEBACK, Outcome.GRACEFUL, []),
        ((TINI, APP, replace(BASH, pid=8, parent_pid=7, exit_code=143), ended(9, 8, "sleep 1")), "",
         Outcome.GRACEFUL, []),
    ],
    ids=["at work", "its handler came later", "a traceback", "an error", "idle", "asked by its program",
         "asked, and a traceback", "asked by another signal", "told by other means", "nobody heard who",
         "nobody heard who, and a group signal", "the same of an idle one", "a service with a traceback", "a service",
         "born later", "143 at once", "143 and a connection", "143 and a traceback", "143 and computing",
         "143 after its clean-up", "143 when asked", "a shell's code"],
)  # fmt: skip
def test_who_left_with_an_error_after_a_signal_for_others(
    fates: Fates, log: str, outcome: Outcome, rules: list[str]
) -> None:
    """PID 1 exits with 0 all the same. What speaks for a loss: it was not idle, or the log says what went wrong."""
    verdict = judged(*fates, log=log)
    assert (verdict.outcome, [item.rule for item in verdict.findings]) == (outcome, rules), verdict.reason


@pytest.mark.parametrize(
    ("command", "left", "outcome"),
    [
        ("bash -c 'python3 app.py; echo cleaned'", {}, Outcome.INCONCLUSIVE),
        ("bash -c 'python3 app.py; echo cleaned'", {"exit_code": 1, "end_ns": NS_PER_S}, Outcome.LOSSY),
        ("bash -c 'python3 app.py; exit $?'", {}, Outcome.GRACEFUL),
        ("bash -c 'while :; do python3 app.py; sleep 1; done'", {}, Outcome.GRACEFUL),
        ("bash /start.sh", {}, Outcome.GRACEFUL),
        ("bash -c 'python3 app.py; echo cleaned'", {"end_ns": TOOK_NS - NS_PER_MS}, Outcome.GRACEFUL),
    ],
    ids=["the next command", "failed alone", "nothing to do", "a loop", "a script", "ended before"],
)
def test_a_shell_that_is_ended_before_its_next_command(command: str, left: dict[str, object], outcome: Outcome) -> None:
    """The program that it waits for handles the signal; the shell does not, and what comes next is never run."""
    shell = ended(6, 1, command, waits_in="do_wait")
    verdict = judged(SUPERVISOR, shell, replace(fate(7, 6, "python3 app.py"), **left))  # type: ignore[arg-type]
    assert verdict.outcome is outcome, verdict.reason


@pytest.mark.parametrize(
    ("parent", "command", "changes", "outcome", "rules"),
    [
        ("/bin/bash /s.sh", "tail -f /dev/null", {}, Outcome.GRACEFUL, []),
        ("ruby a.rb", "sleep 100000", {"waits_in": "hrtimer_nanosleep"}, Outcome.GRACEFUL, []),
        ("ruby a.rb", "sleep infinity", {"waits_in": "hrtimer_nanosleep"}, Outcome.GRACEFUL, []),
        ("ruby a.rb", "tail -n0 -F /var/log/a.log", {}, Outcome.GRACEFUL, ["ended-by-default"]),
        ("ruby a.rb", "inotifywait -m /etc/a", {}, Outcome.GRACEFUL, ["ended-by-default"]),
        ("ruby a.rb", "socat TCP-LISTEN:9,fork -", {}, Outcome.GRACEFUL, ["ended-by-default"]),
        ("ruby a.rb", "cat", {"waits_in": "anon_pipe_read"}, Outcome.INCONCLUSIVE, ["work-in-doubt"]),
        ("ruby a.rb", "sleep 3", {"waits_in": "hrtimer_nanosleep"}, Outcome.LOSSY, ["lost-process"]),
        ("ruby a.rb", "tail -n 5 big", {}, Outcome.LOSSY, ["lost-process"]),
        ("ruby a.rb", "tee a.log", {"waits_in": "anon_pipe_read"}, Outcome.LOSSY, ["lost-process"]),
        ("ruby a.rb", "socat TCP-LISTEN:9,fork -", {"opened": 1}, Outcome.LOSSY, ["lost-process"]),
        ("ruby a.rb", "tail -f /dev/null", {"cpu_share": 0.9}, Outcome.LOSSY, ["lost-process"]),
    ],
)
def test_helpers_without_work_are_no_loss_to_sigkill(
    parent: str, command: str, changes: dict[str, object], outcome: Outcome, rules: list[str]
) -> None:
    """Below any program, not only a shell. A copier of a log may lose its last line."""
    killed = {"exit_code": None, "exit_signal": 9, "by_teardown": True, "signals": (), "handling": DEFAULT}
    helper = fate(8, 1, command, **killed | changes)
    seen = stopped(fate(1, 0, parent, end_ns=0), helper)
    verdict = judge.judge(changed(seen, lost_processes=("a (PID 8)",)), Scenario("a", Subject(image="any")))
    assert (verdict.outcome, [item.rule for item in verdict.findings]) == (outcome, rules), verdict.reason


def test_a_loop_of_a_shell_that_slept_is_a_warning() -> None:
    """Its `sleep` was killed with it, so it was between two rounds; a step of it at work is a loss."""
    killed = {"exit_code": None, "exit_signal": 9, "by_teardown": True, "signals": (), "handling": DEFAULT}
    loop = fate(8, 1, "sh -c 'while :; do rotate; sleep 60; done'", waits_in="do_wait", **killed)
    for step, outcome in (("sleep 60", Outcome.GRACEFUL), ("rotate", Outcome.LOSSY)):
        seen = stopped(fate(1, 0, "ruby a.rb", end_ns=0), loop, fate(9, 8, step, **killed))
        lost = changed(seen, lost_processes=("sh (PID 8)", "step (PID 9)"))
        assert judge.judge(lost, Scenario("a", Subject(image="any"))).outcome is outcome


LOOP = "sh -c 'w() { trap flush TERM; while [ $stop = no ]; do sleep 1; done; }; w & trap exit TERM; wait'"
LEFT = fate(1, 0, LOOP, end_ns=0, signals=(sent(sender=None),))
WORKING_SHELL = fate(
    7, 1, LOOP, waits_in="do_wait", signals=(), exit_code=None, exit_signal=SIGKILL, by_teardown=True
)  # fmt: skip
ITS_SLEEP = replace(WORKING_SHELL, name="sleep", command="sleep 1", pid=8, parent_pid=7, handling=DEFAULT)


def left_behind(*fates: ProcessFate, **changes: object) -> Verdict:
    """A stop whose PID 1 left these to SIGKILL."""
    lost = tuple(item.name for item in fates if item.exit_signal == SIGKILL)
    return judge.judge(changed(stopped(*fates), lost_processes=lost, **changes), Scenario("a", Subject(image="any")))


def test_a_shell_with_a_trap_of_its_own_that_sigkill_ended_between_two_rounds_is_lost() -> None:
    """It wanted to finish, and nobody told it or let it. Without a trap it may be a helper: that is a hint. Forked
    after the stop began, it shows the trap of its parent; SIGINT is caught by every shell that waits."""
    trapped = left_behind(LEFT, WORKING_SHELL, ITS_SLEEP)
    assert (trapped.outcome, trapped.findings[0].rule) == (Outcome.LOSSY, "lost-process"), trapped.reason
    assert trapped.cause is not None
    assert trapped.cause.id == "child-killed-by-teardown"
    told = replace(WORKING_SHELL, signals=(sent(),))
    assert left_behind(LEFT, told, ITS_SLEEP).outcome is Outcome.LOSSY
    below_init = replace(LEFT, command="tini -- sh", handling=DEFAULT), ended(6, 1, LOOP, waits_in="do_wait")
    assert left_behind(*below_init, replace(WORKING_SHELL, parent_pid=6), ITS_SLEEP).outcome is Outcome.LOSSY
    for helper in (replace(WORKING_SHELL, handling=DEFAULT), replace(WORKING_SHELL, born_ns=NS_PER_MS)):
        hinted = left_behind(LEFT, helper, replace(ITS_SLEEP, born_ns=NS_PER_MS))
        assert hinted.outcome is Outcome.GRACEFUL, hinted.reason
        assert "between two rounds of a loop" in str(hinted.findings)
    assert left_behind(LEFT, WORKING_SHELL, ITS_SLEEP, stop_signal=NUMBERS["INT"]).outcome is Outcome.GRACEFUL


@pytest.mark.parametrize("handling", [CAUGHT, SignalDisposition.BLOCKED, None])
def test_a_shell_that_forks_when_the_stop_begins_has_the_trap_that_the_look_before_shows(
    handling: SignalDisposition | None,
) -> None:
    """Shells block their signals while they fork, and of the look at that moment alone their traps cannot be told."""
    shell, step = replace(WORKING_SHELL, handling=handling), replace(ITS_SLEEP, born_ns=NS_PER_MS)
    for caught, outcome in ((1 << (SIGTERM - 1), Outcome.LOSSY), (0, Outcome.GRACEFUL)):
        rows = (ProcessInfo(1001, 0, LOOP, caught, 0, 0), ProcessInfo(1007, 1001, LOOP, caught, 0, 0))
        assert left_behind(LEFT, shell, step, before=rows).outcome is outcome
