"""What `stop-task` makes of records, for all of them: no evidence is invented, and doubt never passes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from stop_harness.ecs_client import measure
from stop_harness.ecs_client.measure import BAD, ContainerStop, Sighting, TaskStop
from stop_harness.ecs_client.records import Container, Definition, Measured, Task
from stop_harness.model import NS_PER_S, Outcome, SigkillEvidence
from stop_harness.renderers.sections import stop_task_text

CODES = st.none() | st.sampled_from([0, 1, 130, 131, 137, 139, 143, 255])
TIMES = st.none() | st.integers(0, 200).map(lambda seconds: seconds * NS_PER_S)
NAMES = ("app", "db", "it\033[31m")
STATES = st.sampled_from(["RUNNING", "STOPPED", "PENDING"])
CONTAINERS = st.builds(
    Container,
    name=st.sampled_from(NAMES),
    last_status=STATES,
    exit_code=CODES,
    reason=st.none() | st.sampled_from(["OutOfMemoryError: x", "CannotStopContainerError: \033[1m"]),
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
            has_dependents=st.booleans(),
        )
        for name in NAMES
    },
)
RECORDS = st.builds(
    Measured,
    name=st.sampled_from(NAMES),
    ran=st.booleans(),
    stop_was_called=st.booleans(),
    stop_timeout_s=st.integers(1, 120),
    stop_signal=st.none() | st.sampled_from([2, 3, 15]),
    sigkill=st.sampled_from([SigkillEvidence.OBSERVED, SigkillEvidence.NOT_SENT, SigkillEvidence.UNKNOWN]),
    duration_ns=TIMES,
    exit_code=CODES,
    oom_killed=st.none() | st.booleans(),
    lost_processes=st.lists(st.just("worker"), max_size=2).map(tuple),
)
SIGHTINGS = st.fixed_dictionaries({}, optional={name: st.just(Sighting(NS_PER_S, NS_PER_S)) for name in NAMES})


@given(before=TASKS, after=TASKS, definitions=DEFINITIONS, sightings=SIGHTINGS, drained=st.booleans())
def test_ecs_alone_never_proves_a_sigkill_and_never_gives_a_duration(
    before: Task, after: Task, definitions: dict[str, Definition] | None, sightings: dict[str, Sighting], drained: bool
) -> None:
    """At most inferred, and only at a stop timeout that is known."""
    stop = measure.of_task(before, after, definitions, None, sightings, drained=drained)
    assert len(stop.containers) == len(after.containers)
    for item in stop.containers:
        assert item.sigkill is not SigkillEvidence.OBSERVED
        assert item.duration_ns is None
        if item.sigkill is SigkillEvidence.INFERRED:
            assert (item.exit_code, drained) == (137, False)
            assert stop.execution_ns is not None
            assert item.stop_timeout_s is not None
            assert stop.execution_ns >= (item.stop_timeout_s - 1) * NS_PER_S
        if item.outcome is Outcome.GRACEFUL:
            assert item.exit_code in {0, 143}
    _check_the_whole(stop)


@given(after=TASKS, records=st.lists(RECORDS, max_size=3), sightings=SIGHTINGS)
def test_the_engines_record_decides_where_there_is_one(
    after: Task, records: list[Measured], sightings: dict[str, Sighting]
) -> None:
    """Observed only as it says so; 137 is never graceful; out of memory beats all."""
    by_name = {it.name: it for it in records}
    stop = measure.of_task(after, after, {}, by_name, sightings, drained=False)
    for item in stop.containers:
        record = by_name.get(item.name)
        if record is None:
            continue
        assert (item.sigkill is SigkillEvidence.OBSERVED) == (record.sigkill is SigkillEvidence.OBSERVED)
        assert item.duration_ns == record.duration_ns
        if item.outcome is Outcome.GRACEFUL:
            assert record.exit_code != 137
            assert not record.oom_killed
            assert not record.lost_processes
    _check_the_whole(stop)


def _check_the_whole(stop: TaskStop) -> None:
    outcomes = {item.outcome for item in stop.containers}
    if stop.outcome is Outcome.GRACEFUL:
        assert outcomes <= {Outcome.GRACEFUL, Outcome.NOT_RUNNING}
    assert (stop.outcome in BAD) == bool(outcomes & set(BAD))
    for width in (40, 80, 120):
        text = stop_task_text.render(stop, width=width)
        assert "\033" not in text  # names and reasons are not ours
        assert text.endswith(".\n")
    assert stop_task_text.sentence(stop).startswith(text.split("\n\n")[-1].split(":")[0])


def test_the_worst_container_is_named_first() -> None:
    """And every other bad one after it."""
    task = Task("x/1", None, "STOPPED", None, 0, 0, None, None, ())
    unknown = SigkillEvidence.UNKNOWN
    crashed = ContainerStop("a", Outcome.CRASHED, unknown, 1, "left with exit code 1")
    killed = ContainerStop("b", Outcome.KILLED, unknown, 137, "got SIGKILL")
    stop = TaskStop(task, (crashed, killed), by_engine=True, took_ns=None, execution_ns=None)
    assert stop_task_text.sentence(stop) == "killed: b got SIGKILL; a left with exit code 1."


def test_the_live_line_fits_its_terminal() -> None:
    """Whatever runs there."""
    assert stop_task_text.live_line([("app", "RUNNING")], "STOPPING", 3.4, 80) == "STOPPING for 3 s: app RUNNING"
    assert len(stop_task_text.live_line([("x" * 99, "RUNNING")], "STOPPING", 3.4, 40)) < 40
