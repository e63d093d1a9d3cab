"""The same stop of a task comes to the same by `check --task-definition`, by `stop-task`, and judged again from disk.

A generated task has stopped, and its story is told by our endpoint's own code: as DescribeTasks shows it, and as the
container engine has it on record. Engine `ecs` and `stop-task` read both, each with its own code.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import event, given, settings
from hypothesis import strategies as st

from stop_harness import signals
from stop_harness.cli import main
from stop_harness.conductor import store, stored_runs
from stop_harness.conductor.store import FORMAT_VERSION, RunDirectory, RunFile
from stop_harness.ecs import task_definition
from stop_harness.ecs_client import measure
from stop_harness.ecs_client import records as client
from stop_harness.ecs_endpoint import describe, evidence
from stop_harness.ecs_endpoint import records as endpoint
from stop_harness.ecs_endpoint.agent import Live, Run
from stop_harness.ecs_endpoint.containers import ContainerRequest, Exit, Inspected
from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from stop_harness.engines.ecs import record
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    Event,
    EventKind,
    Looks,
    Observation,
    Outcome,
    ProcessInfo,
    RunInfo,
    Scenario,
    StopPlan,
    StoredRun,
    Subject,
    TrialResult,
    Verdict,
)
from stop_harness.verdict import judge
from stop_harness.wording import OUTCOME_WORDS
from tests import aws_cli, ecs_runs
from tests.ecs_support import simulation
from tests.stop_task_support import NO_HOME
from tests.strategies import DOCKER

ARN = "arn:aws:ecs:us-east-1:123456789012:task/default/" + "a" * 32
BEGIN_NS = 1_800_000_000 * NS_PER_S
"""StopTask, by the clock of the endpoint and its engine."""
HERE_NS = 5_000 * NS_PER_S
"""The same moment on the monotonic clock of whoever called it."""
NAMES = ("app", "db", "log")
OOM_REASON = "OutOfMemoryError: Container killed due to memory usage"

# ── What may become of a container ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Fate:
    """How a container takes its stop. `share`: of its stop timeout until it leaves; None: it needs SIGKILL.

    `outcome` is what that must come to where the engine below proves everything.
    """

    outcome: Outcome | None
    code: int = 0
    share: float | None = 0.3
    oom: bool = False
    lost: tuple[str, ...] = ()
    had_ended: bool = False
    ran: bool = True


FATES = {
    "graceful": Fate(Outcome.GRACEFUL),
    "under an init": Fate(Outcome.GRACEFUL, code=143),
    "at once": Fate(Outcome.GRACEFUL, share=0),
    "killed": Fate(Outcome.KILLED, code=137, share=None),
    "failed": Fate(Outcome.CRASHED, code=1),
    "fault": Fate(Outcome.CRASHED, code=139),
    "out of memory": Fate(Outcome.OOM_KILLED, code=137, oom=True),
    "helper out of memory": Fate(Outcome.OOM_KILLED, code=0, oom=True),
    "lost processes": Fate(Outcome.LOSSY, lost=("worker", "shell")),
    "somebody's SIGKILL": Fate(Outcome.INCONCLUSIVE, code=137),
    "another signal": Fate(Outcome.CRASHED, code=131),
    "ended before": Fate(None, code=1, had_ended=True),
    "never ran": Fate(None, ran=False),
}


@dataclass(frozen=True)
class Below:
    """What the container engine below our endpoint proves. `gap`: its record of events broke during the stop."""

    observes_sigkill: bool = True
    proves_lost_processes: bool = True
    gap: bool = False


PROVES_ALL = Below()


@dataclass(frozen=True)
class Container:
    """`needs`: those before it in the task that it depends on, each by one of the ways there are."""

    name: str
    fate: Fate
    essential: bool
    stop_timeout_s: int | None
    needs: tuple[tuple[str, str], ...]

    @property
    def timeout_s(self) -> int:
        return self.stop_timeout_s or 30

    def definition(self) -> dict[str, Any]:
        """As RegisterTaskDefinition takes it."""
        found: dict[str, Any] = {"name": self.name, "image": "image", "memory": 32, "essential": self.essential}
        if self.stop_timeout_s is not None:
            found["stopTimeout"] = self.stop_timeout_s
        for other, how in self.needs:
            if how == "links":
                found.setdefault("links", []).append(other)
            elif how == "volumesFrom":
                found.setdefault("volumesFrom", []).append({"sourceContainer": other})
            else:
                found.setdefault("dependsOn", []).append({"containerName": other, "condition": how})
        return found


@dataclass(frozen=True)
class Story:
    """A task that was stopped. `below` None: nobody but ECS tells, as on AWS. `lag_ms`: from the end of a container to
    the look that saw it. `unnoticed`: the last look before StopTask was too early to see those that had ended.
    `alone`: whether a look at the process table saw PID 1 alone; None: nobody looked."""

    containers: tuple[Container, ...]
    below: Below | None
    lag_ms: int
    unnoticed: bool = False
    alone: bool | None = None

    @property
    def seen_ended(self) -> frozenset[str]:
        """Those that were seen STOPPED before StopTask."""
        return frozenset(
            item.name for item in self.containers if not item.fate.ran or (item.fate.had_ended and not self.unnoticed)
        )

    def definitions(self) -> list[dict[str, Any]]:
        """containerDefinitions."""
        return [item.definition() for item in self.containers]

    def times_ns(self) -> dict[str, tuple[int, int]]:
        """(told to stop, left) of each container that the stop had to end, after StopTask: none before all that need it
        are gone."""
        found: dict[str, tuple[int, int]] = {}
        for item in reversed(self.containers):
            if item.fate.had_ended or not item.fate.ran:
                continue
            needed_by = [other.name for other in self.containers if item.name in dict(other.needs)]
            waits = [found[name][1] for name in needed_by if name in found]
            told_ns = max([10 * NS_PER_MS, *waits])
            share = item.fate.share
            took_ns = round(item.timeout_s * NS_PER_S * (1.0 if share is None else share))
            found[item.name] = told_ns, told_ns + took_ns + 20 * NS_PER_MS
        return found


@st.composite
def containers(draw: st.DrawFn, fates: tuple[str, ...] = tuple(FATES)) -> tuple[Container, ...]:
    """Two or three, at least one of them essential; one that never ran or had ended is so only where no other is."""
    made: list[Container] = []
    for name in NAMES[: draw(st.integers(2, 3))]:
        fate = FATES[draw(st.sampled_from(fates))]
        ways = st.sampled_from(("START", "links", "volumesFrom"))
        needs = draw(st.lists(st.tuples(st.sampled_from([it.name for it in made] or [""]), ways), max_size=2))
        made.append(
            Container(
                name=name,
                fate=fate,
                essential=draw(st.booleans()) and fate.ran and not fate.had_ended,
                stop_timeout_s=draw(st.none() | st.integers(2, 120)),
                needs=tuple(dict(edge for edge in needs if edge[0]).items()),
            )
        )
    if not any(item.essential for item in made):
        made[0] = replace(made[0], essential=True)
    return tuple(made)


BELOWS = st.builds(Below, st.booleans(), st.booleans(), st.booleans())
STORIES = st.builds(
    Story, containers(), st.none() | BELOWS, st.integers(0, 1500), st.booleans(), st.none() | st.booleans()
)
PROVED = st.builds(Story, containers(), st.just(PROVES_ALL), st.integers(0, 1500), st.booleans())


# ── Its story, told by the endpoint ──────────────────────────────────────────────────────────────────────────────────


def told(story: Story) -> Run:
    """The stopped task as the endpoint keeps it."""
    times, below = story.times_ns(), story.below or Below(observes_sigkill=False, proves_lost_processes=False)
    states, live = [], {}
    for item in story.containers:
        fate, spec = item.fate, endpoint.ContainerSpec(item.name, item.essential, stop_timeout_s=item.timeout_s)
        reason = OOM_REASON if fate.oom else None
        states.append(
            endpoint.ContainerState(
                spec,
                endpoint.Phase.STOPPED,
                created=fate.ran,
                ran=fate.ran,
                exit_code=fate.code if fate.ran else None,
                reason=reason,
            )
        )
        if not fate.ran:
            continue
        begun = times.get(item.name)
        left_ns = BEGIN_NS + (begun[1] if begun else -5 * NS_PER_S)
        lost = fate.lost if below.proves_lost_processes else None
        ended = Exit(
            exit_code=fate.code,
            finished_at_ns=left_ns,
            oom_killed=fate.oom,
            reason=reason,
            events=_events(item, begun[0], below) if begun else (),
            complete=below.observes_sigkill and not below.gap,
            lost_processes=lost,
        )
        live[item.name] = Live(f"r-{item.name}", Inspected(), BEGIN_NS + begun[0] if begun else None, ended)
    by_itself = any(item.essential and (item.fate.had_ended or not item.fate.ran) for item in story.containers)
    essential = [span[1] for name, span in times.items() if _by_name(story, name).essential]
    state = endpoint.TaskState(
        containers=tuple(states),
        created_at_ns=BEGIN_NS - 60 * NS_PER_S,
        desired=endpoint.EcsStatus.STOPPED,
        last=endpoint.EcsStatus.STOPPED,
        started_at_ns=BEGIN_NS - 50 * NS_PER_S,
        stopping_at_ns=BEGIN_NS,
        execution_stopped_at_ns=BEGIN_NS + min(essential) if essential else None,
        stopped_at_ns=BEGIN_NS + max((span[1] for span in times.values()), default=0) + NS_PER_S,
        stop_code=endpoint.StopCode.ESSENTIAL_CONTAINER_EXITED if by_itself else endpoint.StopCode.USER_INITIATED,
    )
    requests = {item.name: ContainerRequest(item.name, item.definition(), {}) for item in story.containers}
    ids = {name: f"{ARN}/{name}" for name in requests}
    return Run("a" * 32, ARN, "default", state, requests, live=live, container_ids=ids)


def _by_name(story: Story, name: str) -> Container:
    return next(item for item in story.containers if item.name == name)


def _events(item: Container, told_ns: int, below: Below) -> tuple[Event, ...]:
    """What the engine has on record; with a gap the stop signal, and nothing after it."""
    at_ns = BEGIN_NS + told_ns
    found = [Event(EventKind.STOP_REQUESTED, at_ns, Clock.ENGINE, "stop call")]
    if below.observes_sigkill:
        found.append(Event(EventKind.SIGNAL_SENT, at_ns + NS_PER_MS, Clock.ENGINE, "kill event", signals.SIGTERM))
        if item.fate.share is None and not below.gap:
            kill_ns = at_ns + item.timeout_s * NS_PER_S + 11 * NS_PER_MS
            found.append(Event(EventKind.SIGNAL_SENT, kill_ns, Clock.ENGINE, "kill event", signals.SIGKILL))
    return tuple(found)


TIMES = ("createdAt", "connectivityAt", "startedAt", "stoppingAt", "executionStoppedAt", "stoppedAt")


def shown(run: Run, *, as_text: bool, only_ended: frozenset[str] | None = None) -> dict[str, Any]:
    """The task as a client gets it from DescribeTasks; with the containers that had ended, as StopTask answered.

    Times have milliseconds.
    """
    state = run.state
    if only_ended is not None:
        still = [item if item.name in only_ended else _running(item) for item in state.containers]
        state = replace(state, containers=tuple(still), last=endpoint.EcsStatus.RUNNING, stopped_at_ns=None)
    found: dict[str, Any] = {key: value for key, value in describe.task(run, state).items() if value is not None}
    for name in found.keys() & set(TIMES):
        stamp = datetime.fromtimestamp(found[name] // NS_PER_MS / 1000, UTC)
        found[name] = stamp.isoformat() if as_text else stamp
    found["containers"] = [
        {key: value for key, value in item.items() if value is not None} for item in found["containers"]
    ]
    return found


def _running(it: endpoint.ContainerState) -> endpoint.ContainerState:
    return replace(it, phase=endpoint.Phase.RUNNING, exit_code=None, reason=None)


def own_info(below: Below) -> dict[str, Any]:
    """`GET /stop-harness/info`."""
    engine = {"name": "docker", "product": "Docker Engine", "version": "20.10", "host": "", "reports_oom": True}
    proofs = {"observes_sigkill": below.observes_sigkill, "proves_lost_processes": below.proves_lost_processes}
    return {"engine": {**engine, **proofs, "stops_at_once": None, "caveats": []}}


def sightings_ns(story: Story) -> dict[str, int]:
    """When polling saw each container STOPPED, after the StopTask call."""
    left_ns = {name: span[1] for name, span in story.times_ns().items()}
    if story.unnoticed:
        left_ns |= {item.name: 0 for item in story.containers if item.fate.had_ended}
    return {name: at_ns + story.lag_ms * NS_PER_MS for name, at_ns in left_ns.items()}


def looks(story: Story) -> dict[str, tuple[ProcessInfo, ...]]:
    """By container the process table before the stop."""
    pid1 = ProcessInfo(1, 0, "server", caught=1 << (signals.SIGTERM - 1), ignored=0, blocked=0)
    table = (pid1,) if story.alone else (pid1, replace(pid1, pid=7, parent_pid=1, command="worker"))
    return {} if story.alone is None or story.below is None else dict.fromkeys(story.times_ns(), table)


# ── The three ways ───────────────────────────────────────────────────────────────────────────────────────────────────


def by_check(story: Story) -> tuple[Observation, Scenario]:
    """What engine `ecs` puts on record, and the scenario of `check --task-definition`."""
    run, below = told(story), story.below
    parsed = task_definition.parse(json.dumps({"containerDefinitions": story.definitions()}), "web.json")
    timeout_ns = task_definition.longest_chain(parsed)[1] * NS_PER_S
    subject, plan = Subject(task_file="web.json", task=parsed), StopPlan((timeout_ns,), own_timeouts=True)
    scenario = Scenario("web", subject, stop=plan)
    measured = None
    if below is not None:
        measured = {item["name"]: item for item in json.loads(json.dumps(evidence.evidence(run, ())))["containers"]}
    info = record.engine_info(None if below is None else own_info(below), "http://ecs", "default", "us-east-1")
    seen = record.SeenStop(
        definition=parsed,
        task=shown(run, as_text=False),
        evidence=measured,
        observes_sigkill=info.observes_sigkill,
        called_at_ns=HERE_NS,
        stopped_seen_ns={name: HERE_NS + after_ns for name, after_ns in sightings_ns(story).items()},
        ended_before=story.seen_ended,
    )
    tables = looks(story)
    parts = tuple(replace(item, looks=Looks(tables.get(item.name))) for item in seen.containers())
    made = seen.of_task(parts, (Event(EventKind.STOP_REQUESTED, HERE_NS, Clock.HARNESS, "StopTask call"),))
    observation = Observation(
        trial_id="web@own#1",
        scenario="web",
        engine=info,
        stop_timeout_ns=timeout_ns,
        stop_after_ns=0,
        repetition=1,
        started_at="2026-11-28T12:00:00.000+00:00",
        record=made.stop,
        task=made.task,
    )
    return observation, scenario


def by_stop_task(story: Story) -> Verdict:
    """As `stop-task` composes and judges it."""
    run, below = told(story), story.below
    found = None
    if below is not None:
        found = client.evidence(own_info(below), json.loads(json.dumps(evidence.evidence(run, ()))), "http://ecs")
        assert found is not None
    followed = measure.Followed(
        before=client.task(shown(run, as_text=True, only_ended=story.seen_ended)),
        after=client.task(shown(run, as_text=True)),
        called_at_ns=HERE_NS,
        definitions=client.definitions(story.definitions()),
        evidence=found,
        looks={name: Looks(before=table) for name, table in looks(story).items()},
        sightings={name: measure.Sighting(HERE_NS + at_ns, NS_PER_S) for name, at_ns in sightings_ns(story).items()},
    )
    return judge.judge(measure.observation(followed), measure.scenario(followed))


def judged_again(observation: Observation, scenario: Scenario, parent: Path) -> Verdict:
    """As `judge RUN_DIR` does it."""
    info = RunInfo("r", "web", observation.started_at, DOCKER, "0.1.0", "here", 2, ("stop-harness", "check"))
    directory = RunDirectory.create(parent, "web", datetime(2026, 11, 28, 12, tzinfo=UTC))
    directory.write_run(RunFile(FORMAT_VERSION, info, (scenario,), 1, ()))
    directory.append(TrialResult(observation, judge.judge(observation, scenario)))
    stored, _ = store.read(directory.path)
    assert isinstance(stored, StoredRun)
    (verdict,) = stored_runs.judge(stored)
    return verdict


def essence(verdict: Verdict) -> tuple[Any, ...]:
    """What must be the same: outcome, status, and of every container outcome, reason and evidence."""
    parts = {
        item.name: (item.outcome, item.reason, item.facts.sigkill_evidence, item.facts.shutdown_duration_ns)
        for item in verdict.containers
    }
    return verdict.outcome, verdict.status, verdict.reason, parts


@given(STORIES)
@settings(max_examples=150)
def test_three_ways_to_a_verdict_agree(tmp_path_factory: pytest.TempPathFactory, story: Story) -> None:
    """On any engine below our endpoint, and where ECS alone tells; to the last word of the reason."""
    observation, scenario = by_check(story)
    checked = judge.judge(observation, scenario)
    event(f"{'AWS' if story.below is None else 'ours'}: {checked.outcome}")
    assert essence(by_stop_task(story)) == essence(checked)
    assert judged_again(observation, scenario, tmp_path_factory.mktemp("run")) == checked


@given(PROVED)
def test_where_all_is_proved_the_verdict_is_the_truth(story: Story) -> None:
    """The worst fate of the containers that were stopped; nothing to judge where an essential one had ended before."""
    found = by_stop_task(story)
    if any(item.essential and item.fate.outcome is None for item in story.containers):
        assert found.outcome is Outcome.NOT_RUNNING
        return
    truth = {item.name: item.fate.outcome for item in story.containers if item.fate.outcome is not None}
    assert {item.name: item.outcome for item in found.containers} == truth
    assert found.outcome is max(truth.values(), key=lambda outcome: outcome.severity)


def test_a_killed_and_a_crashed_container_are_a_crashed_task() -> None:
    """`stop-task` used to call it killed."""
    fates = FATES["killed"], FATES["failed"]
    parts = tuple(Container(name, fate, True, 5, ()) for name, fate in zip(NAMES, fates, strict=False))
    story = Story(parts, PROVES_ALL, 100)
    observation, scenario = by_check(story)
    assert judge.judge(observation, scenario).outcome is by_stop_task(story).outcome is Outcome.CRASHED


# ── Over the wire ────────────────────────────────────────────────────────────────────────────────────────────────────


SCRIPTED = {
    "graceful": ContainerScript(leaves_after_s=0.5),
    "under an init": ContainerScript(leaves_after_s=0.5, exit_code=143),
    "killed": ContainerScript(leaves_after_s=None),
    "failed": ContainerScript(exit_code=1),
    "out of memory": ContainerScript(exit_code=137, oom_killed=True),
    "lost processes": ContainerScript(lost_processes=("worker",)),
}
"""Fates that scripted containers can have."""


@given(parts=containers(tuple(SCRIPTED)), proved=st.booleans())
@settings(max_examples=6)
def test_the_commands_agree_on_tasks_of_one_endpoint(parts: tuple[Container, ...], proved: bool) -> None:
    """Each stops a task of its own of the same containers, over HTTP. Where nobody proves which processes were lost,
    both look at the process table, and see that PID 1 is alone."""
    fates = {fate: name for name, fate in FATES.items()}
    scripts = {item.name: SCRIPTED[fates[item.fate]] for item in parts}
    if not proved:
        scripts = {name: replace(script, lost_processes=None) for name, script in scripts.items()}
    with simulation(scripts) as it, pytest.MonkeyPatch.context() as patch:
        ecs_runs.aws_settings(patch)
        definitions = [item.definition() for item in parts]
        checked = ecs_runs.only(ecs_runs.run(it.url, ecs_runs.task(*definitions))).verdict
        environment = aws_cli.environment(NO_HOME, {})
        command = ["stop-task", "--endpoint-url", it.url, "--task", it.run(*definitions)]
        stopped = CliRunner(env={**dict.fromkeys(os.environ), **environment}).invoke(main.cli, command)
    word = OUTCOME_WORDS[checked.outcome]
    assert stopped.stdout.split("\n\n")[-1].startswith(f"{word}: "), stopped.output
    assert stopped.exit_code == (0 if checked.outcome is Outcome.GRACEFUL else 1)
    outcomes = [item.fate.outcome for item in parts if item.fate.outcome is not None]
    truth = [Outcome.GRACEFUL if it is Outcome.LOSSY and not proved else it for it in outcomes]
    assert checked.outcome is max(truth, key=lambda outcome: outcome.severity)
