"""No proof is no pass: what the looks at a process table may decide, and what they must leave open."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.evidence import left_behind
from stop_harness.evidence.left_behind import LeftBehindFate
from stop_harness.model import (
    NS_PER_S,
    ComplianceStatus,
    Observation,
    Outcome,
    ProcessInfo,
    Scenario,
    Status,
    Subject,
    TrialResult,
    Verdict,
)
from stop_harness.report import build
from stop_harness.signals import SIGTERM
from stop_harness.verdict import judge
from tests.parts import changed
from tests.strategies import DOCKER, PROCESS, Behaviour, Jitter, stop

TERM = 1 << (SIGTERM - 1)
Table = tuple[ProcessInfo, ...]


def process(pid: int, parent: int, command: str, caught: int = TERM, **more: object) -> ProcessInfo:
    """With a handler unless said otherwise."""
    return replace(ProcessInfo(pid, parent, command, caught, 0, 0, state="S", waits_in="do_wait"), **more)  # type: ignore[arg-type]


MASTER = process(100, 1, "gunicorn: master")
WORKER = process(101, 100, "gunicorn: worker")
INIT = process(100, 1, "/sbin/docker-init -- sh -c 'python3 app.py; true'", 0, waits_in="do_sigtimedwait")
SHELL = process(101, 100, "sh -c python3 app.py; true", 0)
APP = process(102, 101, "python3 app.py")
SERVER = process(101, 100, "python3 app.py")
JOB = process(200, 50, "sleep 100", 0)


def stopped(before: Table | None, *later: Table, code: int = 0, after_s: float = 0.1) -> Observation:
    """Nobody could prove what became of its processes; `later` are the looks after the stop signal."""
    seen = stop(Behaviour(round(after_s * NS_PER_S), code), 10 * NS_PER_S, DOCKER, Jitter()).observation
    second, late = (*later, None, None)[:2]
    return changed(seen, lost_processes=None, before=before, after_signal=second, late=late)


def judged(seen: Observation) -> Verdict:
    """By the rules alone."""
    return judge.judge(seen, Scenario("a", Subject(image="any")))


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [
        (stopped((MASTER,)), Outcome.GRACEFUL),
        (stopped((MASTER, WORKER)), Outcome.INCONCLUSIVE),
        (stopped((MASTER, WORKER), (MASTER, WORKER)), Outcome.INCONCLUSIVE),
        (stopped((MASTER, WORKER), (MASTER,)), Outcome.INCONCLUSIVE),
        (stopped((MASTER, WORKER), (MASTER, replace(WORKER, state="Z", threads=1))), Outcome.INCONCLUSIVE),
        (stopped((MASTER,), (MASTER, WORKER)), Outcome.INCONCLUSIVE),
        (stopped((MASTER, WORKER), (MASTER, WORKER), (MASTER,)), Outcome.INCONCLUSIVE),
        (stopped((MASTER, WORKER), (WORKER,)), Outcome.INCONCLUSIVE),
        (stopped((MASTER, JOB)), Outcome.INCONCLUSIVE),
        (stopped((INIT, SERVER), code=143), Outcome.GRACEFUL),
        (stopped((INIT, SERVER), (INIT, SERVER)), Outcome.GRACEFUL),
        (stopped((INIT, SERVER), code=1), Outcome.CRASHED),
        (stopped((INIT, SERVER), (INIT, SERVER, APP)), Outcome.INCONCLUSIVE),
        (stopped((INIT, replace(SERVER, parent_pid=50))), Outcome.INCONCLUSIVE),
        (stopped((INIT, SHELL, APP), code=143), Outcome.LOSSY),
        (stopped(None), Outcome.INCONCLUSIVE),
    ],
    ids=[
        "alone",
        "a worker was there and no look came after the signal",
        "the worker was there after the signal, too",
        "the worker was gone while PID 1 lived",
        "the worker was a zombie while PID 1 lived",
        "its handler started something",
        "the worker was gone at the last of three looks",
        "a look without PID 1 came too late",
        "a job started from outside",
        "an init awaits its only child",
        "the same with a look after the signal",
        "the same with an exit code that nobody accepts",
        "the only child started something",
        "not its child",
        "the signal ends the shell below an init",
        "nobody looked",
    ],
)
def test_a_table_clears_where_nobody_was_there_and_nowhere_else(seen: Observation, outcome: Outcome) -> None:
    """Whoever was there at any look makes the stop inconclusive, never graceful: a supervisor may have killed him."""
    assert judged(seen).outcome is outcome


@pytest.mark.parametrize(
    "seen",
    [
        stopped((INIT, SHELL, replace(APP, caught=0)), code=143),
        stopped((replace(INIT, command="/usr/bin/tini -vg -- sh -c …"), SHELL, APP), code=143),
        stopped((replace(INIT, command="dumb-init sh -c …"), SHELL, APP), code=143),
        stopped((INIT, replace(SHELL, caught=TERM), APP), code=143),
        stopped((INIT, replace(SHELL, command="./wait", waits_in=""), APP), code=143),
        stopped((INIT, SHELL, APP), code=0),
        stopped((INIT, SHELL, APP), code=143, after_s=1.5),
        stopped((MASTER, SHELL, APP), code=143),
        stopped((INIT, SHELL, replace(SHELL, pid=103), APP), code=143),
    ],
    ids=[
        "who dies of the signal may have got it, too",
        "tini -g",
        "dumb-init tells the whole group",
        "the shell has a trap",
        "it may sleep in sigwait",
        "another exit code",
        "the look is too old",
        "PID 1 is no init",
        "an init that has adopted somebody",
    ],
)
def test_a_loss_is_presumed_only_where_no_other_reading_is_left(seen: Observation) -> None:
    """Doubt is never the container's failure."""
    assert judged(seen).outcome is Outcome.INCONCLUSIVE


def test_a_presumed_loss_is_marked_as_suspected() -> None:
    """In the sentence; the record says that nobody could look."""
    found = judged(stopped((INIT, SHELL, APP), code=143))
    assert found.reason.endswith("SIGKILL ended python (suspected, not proved)")
    assert found.findings[0].rule == "lost-process"
    assert found.cause is not None
    assert found.cause.id == "child-killed-by-teardown"


def test_what_nobody_saw_is_said_with_its_number_and_the_ways_to_see_it() -> None:
    """A rule of its own, so that a report can be searched for it."""
    found = judged(stopped((MASTER, WORKER, replace(WORKER, pid=102))))
    assert "2 other processes were there (gunicorn, gunicorn)" in found.reason
    assert found.reason.endswith("as root or with Linux 6.6 or newer, or use --witness")
    assert [finding.rule for finding in found.findings] == ["not-witnessed"]
    assert (
        "1 other process was there (gunicorn), and whether SIGKILL ended it" in judged(stopped((MASTER, WORKER))).reason
    )


def test_without_a_container_engine_other_ways_are_named() -> None:
    """There is nobody to bring a witness to."""
    found = judged(replace(stopped((MASTER, WORKER)), engine=replace(PROCESS, runs_images=False)))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reason.endswith("or a container engine")
    assert "--witness" not in found.reason


def test_ten_names_are_enough() -> None:
    """The rest is a number."""
    workers = tuple(replace(WORKER, pid=pid) for pid in range(101, 3101))
    text = judged(stopped((MASTER, *workers))).reason
    assert "3000 other processes were there" in text
    assert "and 2990 more" in text


def test_a_cluster_that_shows_no_processes_is_not_held_against_the_container() -> None:
    """Amazon ECS: there is no table to be had, and the engine's caveats say so."""
    cluster = replace(DOCKER, name="ecs", remote=True)
    assert judged(replace(stopped(None), engine=cluster)).outcome is Outcome.GRACEFUL
    assert judged(replace(stopped((MASTER, WORKER)), engine=cluster)).outcome is Outcome.INCONCLUSIVE


def test_outside_a_pid_namespace_a_missing_table_is_said_as_what_it_is() -> None:
    """A process group on a system without /proc: nobody is SIGKILLed there, and a container is another matter."""
    group = replace(PROCESS, pid1_rules=False, runs_images=False)
    found = judged(replace(stopped(None), engine=group))
    assert found.outcome is Outcome.GRACEFUL
    assert [finding.rule for finding in found.findings] == ["pid1-rules-not-reproduced"]
    assert judged(replace(stopped((MASTER, WORKER)), engine=group)).outcome is Outcome.INCONCLUSIVE


def test_a_stop_without_proof_is_never_compliant() -> None:
    """Not with 30 s to spare, nor with a word less than why."""
    seen = stopped((MASTER, WORKER))
    found = build.compliance("a", [TrialResult(seen, judged(seen))], 30 * NS_PER_S)
    assert found.status is ComplianceStatus.INCONCLUSIVE
    assert "--witness" in found.reason
    assert judged(seen).status is Status.INCONCLUSIVE


tables = st.lists(
    st.builds(
        process,
        st.sampled_from([1, 100, 101, 102, 103]),
        st.sampled_from([0, 1, 100, 101, 102]),
        st.sampled_from(["tini -- a", "sh -c a", "a", "", "dumb-init a"]),
        st.sampled_from([0, TERM]),
        state=st.sampled_from(["S", "Z", "R", ""]),
    ),
    max_size=5,
    unique_by=lambda item: item.pid,
).map(tuple)


@given(st.none() | tables, st.none() | tables, st.none() | tables, st.sampled_from([0, 143, 1]))
def test_graceful_without_proof_means_that_the_last_look_saw_nobody_or_an_awaited_child(
    before: Table | None, second: Table | None, late: Table | None, code: int
) -> None:
    """Any tables at all, cyclic ones too."""
    seen = changed(stopped(before, code=code), after_signal=second, late=late)
    behind = left_behind.left_behind(seen, NS_PER_S // 10)
    outcome = judged(seen).outcome
    assert (outcome is Outcome.GRACEFUL) <= (behind.fate is LeftBehindFate.NOBODY_THERE)
    assert (behind.fate in {LeftBehindFate.NOBODY_THERE, LeftBehindFate.NO_LOOK}) is not bool(behind.processes)
