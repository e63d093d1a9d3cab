"""What `stop-task` makes of records, for all of them: no evidence is invented, and doubt never passes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stop_harness.ecs_client import follow, measure
from stop_harness.ecs_client.measure import Followed, Sighting
from stop_harness.ecs_client.records import Definition, DescribedContainer, Evidence, Measured, Task
from stop_harness.model import (
    NS_PER_S,
    Clock,
    ContainerVerdict,
    Event,
    EventKind,
    Outcome,
    SigkillEvidence,
    Status,
    StopFacts,
    Verdict,
)
from stop_harness.renderers.sections import stop_task_text
from stop_harness.verdict import judge
from tests.strategies import DOCKER

CODES = st.none() | st.sampled_from([0, 1, 130, 131, 137, 139, 143, 255])
TIMES = st.none() | st.integers(0, 200).map(lambda seconds: seconds * NS_PER_S)
NAMES = ("app", "db", "it\033[31m")
STATES = st.sampled_from(["RUNNING", "STOPPED", "PENDING"])
CONTAINERS = st.builds(
    DescribedContainer,
    name=st.sampled_from(NAMES),
    last_status=STATES,
    exit_code=CODES,
    reason=st.none() | st.sampled_from(["OutOfMemoryError: x", "CannotStopContainerError: \033[1m"]),
    ran=st.booleans(),
)
TASKS = st.builds(
    Task,
    arn=st.just("arn:task/default/" + "a" * 32),
    definition_arn=st.none(),
    last_status=STATES,
    stop_code=st.sampled_from([None, "UserInitiated", "EssentialContainerExited"]),
    started_at_ns=TIMES,
    stopping_at_ns=TIMES,
    execution_stopped_at_ns=TIMES,
    stopped_at_ns=TIMES,
    containers=st.lists(CONTAINERS, min_size=1, max_size=3, unique_by=lambda it: it.name).map(tuple),
)
DEFINITIONS = st.none() | st.fixed_dictionaries(
    {},
    optional={
        name: st.builds(
            Definition,
            name=st.just(name),
            essential=st.booleans(),
            stop_timeout_s=st.none() | st.integers(1, 120),
            waits_for=st.sets(st.sampled_from(NAMES)).map(tuple),
        )
        for name in NAMES
    },
)
EVENTS = st.builds(
    Event,
    kind=st.sampled_from([EventKind.SIGNAL_SENT, EventKind.EXITED, EventKind.OOM]),
    at_ns=st.integers(0, 200 * NS_PER_S),
    clock=st.just(Clock.ENGINE),
    source=st.just("event"),
    signal=st.sampled_from([9, 15]),
)
RECORDS = st.builds(
    Measured,
    name=st.sampled_from(NAMES),
    ran=st.booleans(),
    stop_was_called=st.booleans(),
    stop_timeout_s=st.integers(1, 120),
    stop_signal=st.none() | st.sampled_from([2, 3, 15]),
    events=st.lists(EVENTS, max_size=4).map(tuple),
    exited_at_ns=TIMES,
    exit_code=CODES,
    oom_killed=st.none() | st.booleans(),
    complete=st.booleans(),
    lost_processes=st.none() | st.lists(st.just("worker"), max_size=2).map(tuple),
)
EVIDENCE = st.lists(RECORDS, max_size=3).map(
    lambda records: Evidence(replace(DOCKER, name="ecs"), {record.name: record for record in records})
)
SIGHTINGS = st.fixed_dictionaries(
    {}, optional={name: st.integers(0, 200).map(lambda s: Sighting(s * NS_PER_S, NS_PER_S)) for name in NAMES}
)
FOLLOWED = st.builds(
    Followed,
    before=TASKS,
    after=TASKS,
    called_at_ns=st.just(0),
    definitions=DEFINITIONS,
    evidence=st.none() | EVIDENCE,
    sightings=SIGHTINGS,
    drained_until_ns=TIMES,
)


def judged(followed: Followed) -> Verdict:
    """As the command does it."""
    return judge.judge(measure.observation(followed), measure.scenario(followed))


@given(FOLLOWED.map(lambda it: replace(it, evidence=None)))
def test_ecs_alone_never_proves_a_sigkill(followed: Followed) -> None:
    """At most inferred, and only where the task definition says what the stop timeout is and who waits for whom."""
    found = judged(followed)
    for item in found.containers:
        assert item.facts.sigkill_evidence is not SigkillEvidence.OBSERVED
        if item.facts.sigkill_evidence is SigkillEvidence.INFERRED:
            assert item.name in (followed.definitions or {})
            assert "137" in item.reason
        if item.outcome is Outcome.GRACEFUL:
            (code,) = [it.exit_code for it in followed.after.containers if it.name == item.name]
            assert code in {0, 143}
    _check_the_words(followed, found)


@given(FOLLOWED.filter(lambda it: it.evidence is not None))
def test_the_engines_record_decides_where_there_is_one(followed: Followed) -> None:
    """SIGKILL is observed only where the engine has it on record, and what is missing there is made up by nobody."""
    assert followed.evidence is not None
    found = judged(followed)
    for item in found.containers:
        record = followed.evidence.containers.get(item.name)
        sent = {event.signal for event in record.events if event.kind is EventKind.SIGNAL_SENT} if record else set()
        if item.facts.sigkill_evidence is SigkillEvidence.OBSERVED:
            assert 9 in sent
        if item.outcome is Outcome.GRACEFUL:
            assert record is not None
            assert record.lost_processes == ()
            assert not record.oom_killed
    _check_the_words(followed, found)


def _check_the_words(followed: Followed, found: Verdict) -> None:
    if found.outcome is Outcome.GRACEFUL:
        assert {item.outcome for item in found.containers} == {Outcome.GRACEFUL}
    for width in (40, 80, 120):
        text = stop_task_text.render(followed, measure.observation(followed), found, width=width)
        assert "\033" not in text  # names and reasons are not ours
        assert text.endswith(".\n")
    assert stop_task_text.sentence(found).startswith(text.split("\n\n")[-1].split(":")[0])


def test_the_worst_container_is_named_first() -> None:
    """And every other that failed after it; what only leaves doubt is passed over beside a failure."""
    facts = StopFacts(SigkillEvidence.UNKNOWN, "")
    parts = (
        ContainerVerdict("a", Outcome.KILLED, "got SIGKILL", facts),
        ContainerVerdict("b", Outcome.CRASHED, "exited with code 1", facts),
        ContainerVerdict("c", Outcome.INCONCLUSIVE, "no exit was recorded", facts),
    )
    whole = Verdict("x", Outcome.CRASHED, Status.FAIL, "b: exited with code 1", facts, containers=parts)
    assert stop_task_text.sentence(whole) == "crashed: b: exited with code 1; a: got SIGKILL."


def test_the_live_line_fits_its_terminal() -> None:
    """Whatever runs there."""
    assert follow.live_line([("app", "RUNNING")], "STOPPING", 3.4, 80) == "STOPPING for 3 s: app RUNNING"
    assert len(follow.live_line([("x" * 99, "RUNNING")], "STOPPING", 3.4, 40)) < 40
