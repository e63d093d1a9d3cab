"""One contract for all engines: the same subject comes to the same outcome, with evidence each engine can give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stop_harness.conductor import open_engine as selection
from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker import host as docker_host
from stop_harness.engines.docker.address import Address
from stop_harness.engines.docker.engine import DockerEngine
from stop_harness.engines.interface import Engine
from stop_harness.engines.simulated import Script, SimulatedEngine
from stop_harness.evidence import stop_sequence
from stop_harness.model import (
    NS_PER_S,
    Attachment,
    Dependency,
    Expectation,
    Group,
    GroupKind,
    GroupNetwork,
    Member,
    Outcome,
    Problem,
    ProblemKind,
    Readiness,
    Scenario,
    SharedNamespaces,
    SigkillEvidence,
    StopPlan,
    Subject,
    TrialResult,
)
from stop_harness.scenario import discovery
from stop_harness.trial.perform import Interruption
from stop_harness.verdict import tasks
from tests.silence import Silence

SAMPLES = Path(__file__).parent.parent / "scenarios"


@dataclass(frozen=True)
class Case:
    """A subject, how long it is given, what it must come to, and how the simulated engine plays it."""

    name: str
    scenario: Scenario
    outcome: Outcome
    exit_code: int | None
    killed: bool
    script: Script
    took_s: tuple[float, float] | None = None


def _shipped() -> dict[str, Scenario]:
    return {scenario.name: scenario for scenario in discovery.load((SAMPLES,))}


def _cases() -> tuple[Case, ...]:
    shipped = _shipped()

    def sample(name: str, timeout_s: int, **changes: str) -> Scenario:
        scenario = shipped[name]
        environment = tuple({**dict(scenario.subject.environment), **changes}.items())
        return replace(
            scenario,
            subject=replace(scenario.subject, environment=environment),
            stop=replace(scenario.stop, timeouts_ns=(timeout_s * NS_PER_S,)),
            expectations=tuple(replace(item, stop_timeout_ns=None) for item in scenario.expectations[:1]),
        )

    def command(*words: str, log: str | None = "^ready$") -> Scenario:
        base = shipped["handles-sigterm"]
        return Scenario(
            name="command",
            subject=Subject(build_directory=base.subject.build_directory, entrypoint=(), command=words),
            readiness=Readiness(log=log, timeout_ns=60 * NS_PER_S),
            stop=StopPlan((5 * NS_PER_S,)),
        )

    never_ready = replace(command("sleep", "60"), readiness=Readiness(log="^never$", timeout_ns=NS_PER_S))
    exits_137 = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(137)); "
        "print('ready', flush=True)\nwhile True: time.sleep(0.05)"
    )
    graceful, killed = Outcome.GRACEFUL, Outcome.KILLED
    never = Script(leaves_after_ns=None)
    missing = Problem(ProblemKind.COMMAND_NOT_FOUND, "not found")
    return (
        Case("leaves at once", sample("handles-sigterm", 5), graceful, 0, False, Script(), (0, 5)),
        Case(
            "drains within its timeout",
            sample("drains-5s", 10, DRAIN_SECONDS="1"),
            graceful,
            0,
            False,
            Script(leaves_after_ns=NS_PER_S),
            (0.6, 8),
        ),
        Case(
            "drains longer than its timeout",
            sample("drains-5s", 1, DRAIN_SECONDS="30"),
            killed,
            137,
            True,
            Script(leaves_after_ns=30 * NS_PER_S),
            (0.6, 6),
        ),
        Case("PID 1 without a handler", sample("pid1-without-handler", 1), killed, 137, True, never, (0.6, 6)),
        Case("no time at all", sample("pid1-without-handler", 0), killed, 137, True, never, (0, 5)),
        Case("SIG_IGN", sample("ignores-sigterm", 1), killed, 137, True, never, (0.6, 6)),
        Case("shell form", sample("shell-form", 1), killed, 137, True, never),
        Case("entrypoint without exec", sample("entrypoint-without-exec", 1), killed, 137, True, never),
        Case("entrypoint with exec", sample("entrypoint-with-exec", 5), graceful, 0, False, Script()),
        Case("custom stop signal", sample("custom-stop-signal", 10), graceful, 0, False, Script()),
        Case("stop signal nobody handles", sample("wrong-stop-signal", 1), killed, 137, True, never),
        Case("handler that crashes", sample("crashes-on-stop", 5), Outcome.CRASHED, 1, False, Script(exit_code=1)),
        Case("code 3 accepted", sample("exits-with-3", 5), graceful, 3, False, Script(exit_code=3)),
        Case(
            "code 3 not accepted",
            replace(sample("exits-with-3", 5), expectations=(Expectation(),)),
            Outcome.CRASHED,
            3,
            False,
            Script(exit_code=3),
        ),
        Case(
            "exit code 137 of its own",
            command("python3", "-c", exits_137),
            Outcome.CRASHED,
            137,
            False,
            Script(exit_code=137),
        ),
        Case(
            "exited before the stop",
            sample("exits-before-the-stop", 5),
            Outcome.NOT_RUNNING,
            0,
            False,
            Script(runs_for_ns=0),
        ),
        Case(
            "command not found",
            command("no-such-command"),
            Outcome.NOT_RUNNING,
            None,
            False,
            Script(start_problem=missing),
        ),
        Case("never ready", never_ready, Outcome.INCONCLUSIVE, None, False, Script(ready_after_ns=None)),
    )


CASES = {case.name: case for case in _cases()}


def _scenarios() -> tuple[Scenario, ...]:
    return tuple(replace(case.scenario, name=f"case-{number}") for number, case in enumerate(CASES.values(), start=1))


REACHED = {"docker by tls": "tls_engine", "docker by ssh": "ssh_engine", "docker in a VM": "engine_in_a_vm"}
"""Ways to an engine that shares neither processes nor network with us: the fixture of its address for each."""

LEFT_OUT = {"ecs": {"no time at all": "ECS takes a stopTimeout of 0 as not set"}}
"""Cases that an engine cannot run, and how its reason begins."""


def _as_images() -> tuple[Scenario, ...]:
    """The same subjects by their images: a cluster builds nothing."""

    from stop_harness.engines.docker import engine_api
    from stop_harness.engines.docker.images import Images

    host = docker_host.find()
    api = engine_api.of(host.address, host.api_version, 60)
    try:
        images = Images(api, {}, None)
        images.prepare(_scenarios(), lambda *_: None)
        return tuple(
            replace(item, subject=replace(item.subject, image=images.of(item), **NOT_BUILT)) for item in _scenarios()
        )
    finally:
        api.close()


def DOCKER(run_id: str) -> Engine:
    """The engine of this machine."""
    return selection.open_engine("docker", run_id).engine


def _in_a_project(scenario: Scenario) -> Scenario:
    """The same subject as a service that is stopped alone, beside another."""
    service = Member("app", scenario.subject, networks=(Attachment("default"),), waits_for=(Dependency("beside"),))
    other = Subject(build_directory=CASES["leaves at once"].scenario.subject.build_directory)
    beside = Member("beside", other, networks=(Attachment("default"),))
    networks = (GroupNetwork("default"),)
    group = Group(GroupKind.COMPOSE, "contract", (service, beside), stopped="app", networks=networks)
    return replace(scenario, subject=Subject(group=group))


def _in_a_pod(scenario: Scenario) -> Scenario:
    """The same subject as the only container of a pod."""
    group = Group(GroupKind.POD, "contract", (Member("app", scenario.subject),), shared=SharedNamespaces())
    return replace(scenario, subject=Subject(group=replace(group, stopped="app")))


def _of_its_container(result: TrialResult) -> TrialResult:
    """The result of a pod's only container as one of its own."""
    parts = tasks.part_results(result)
    return (
        replace(parts[0][1], verdict=replace(parts[0][1].verdict, trial_id=result.verdict.trial_id))
        if parts
        else result
    )


NOT_BUILT: dict[str, Any] = {"build_directory": None, "dockerfile": None, "build_args": ()}


def _run_all(open_engine: Callable[[str], Engine], scenarios: tuple[Scenario, ...] = ()) -> dict[str, TrialResult]:
    request = RunRequest(scenarios=scenarios or _scenarios(), name="contract", report_dir=None)
    outcome = pipeline.run(
        request, Silence(), Interruption(), lambda _name, run_id: selection.Chosen(open_engine(run_id))
    )
    by_scenario = {result.observation.scenario: result for result in outcome.report.results}
    numbers = {name: f"case-{number}" for number, name in enumerate(CASES, start=1)}
    reasons = {skipped.scenario: skipped.reason for skipped in outcome.report.skipped}
    left_out = LEFT_OUT.get(outcome.report.run.engine.name, {})
    assert reasons.keys() == {numbers[name] for name in left_out}
    assert all(reasons[numbers[name]].startswith(begin) for name, begin in left_out.items())
    return {name: by_scenario[number] for name, number in numbers.items() if name not in left_out}


@pytest.fixture(
    scope="module",
    params=[
        "simulated",
        pytest.param("process", marks=pytest.mark.namespaces),
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("docker in a project", marks=[pytest.mark.docker, pytest.mark.long]),
        pytest.param("docker in a pod", marks=[pytest.mark.docker, pytest.mark.long]),
        pytest.param("docker through TCP with a witness", marks=pytest.mark.docker),
        pytest.param("ecs", marks=pytest.mark.docker),
        pytest.param("docker by tls", marks=[pytest.mark.docker, pytest.mark.long]),
        pytest.param("docker by ssh", marks=[pytest.mark.docker, pytest.mark.long]),
        pytest.param("docker in a VM", marks=[pytest.mark.docker, pytest.mark.long]),
    ],
)
def results(request: pytest.FixtureRequest) -> dict[str, TrialResult]:
    """Every case on one engine, in one run."""
    if request.param in REACHED:
        address: Address = request.getfixturevalue(REACHED[request.param])
        return _run_all(lambda run_id: DockerEngine(run_id, host=docker_host.probe(address)))
    if request.param == "simulated":
        scripts = {f"case-{number}": case.script for number, case in enumerate(CASES.values(), start=1)}
        return _run_all(lambda _run_id: SimulatedEngine(scripts))
    if request.param == "ecs":
        return _run_all(selection.local_ecs, _as_images())
    if request.param == "docker in a project":
        return _run_all(DOCKER, tuple(map(_in_a_project, _scenarios())))
    if request.param == "docker in a pod":
        results = _run_all(DOCKER, tuple(map(_in_a_pod, _scenarios())))
        return {name: _of_its_container(result) for name, result in results.items()}
    if request.param == "docker through TCP with a witness":
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", request.getfixturevalue("tcp_engine"))
            found = _run_all(lambda run_id: selection.open_engine("docker", run_id, witness=True).engine)
        assert any(result.observation.engine.proves_lost_processes for result in found.values())
        return found
    name = str(request.param)
    return _run_all(lambda run_id: selection.open_engine(name, run_id).engine)


def is_left_out(results: dict[str, TrialResult], name: str) -> bool:
    """Whether the engine cannot run a case; `_run_all` has checked that it says why."""
    return name in LEFT_OUT.get(next(iter(results.values())).observation.engine.name, {})


@pytest.mark.parametrize("name", CASES)
def test_same_subject_same_outcome(results: dict[str, TrialResult], name: str) -> None:
    """Every engine comes to the same outcome, exit code and SIGKILL for the same subject."""
    if is_left_out(results, name):
        assert name not in results
        return
    case, result = CASES[name], results[name]
    if name == "exit code 137 of its own" and not stop_sequence.exit_is_exact(result.observation.record):
        # By the code alone it may be somebody's SIGKILL, or an OOM kill that was not told: doubt lowers the verdict.
        assert result.verdict.outcome is Outcome.INCONCLUSIVE
        return
    assert result.verdict.outcome is case.outcome, result.verdict.reason
    if case.exit_code is not None:
        assert result.observation.record.exit_code == case.exit_code
    evidence = result.verdict.facts.sigkill_evidence
    if case.killed:
        observed = result.observation.engine.observes_sigkill
        assert evidence is (SigkillEvidence.OBSERVED if observed else SigkillEvidence.INFERRED)
    elif case.outcome is not Outcome.INCONCLUSIVE:
        assert evidence in {SigkillEvidence.NOT_SENT, SigkillEvidence.UNKNOWN}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.took_s])
def test_duration_is_the_subjects_own(results: dict[str, TrialResult], name: str) -> None:
    """The shutdown duration is the time the subject took, within what a busy machine adds, and what it takes away where
    the engine stamps a signal that has long arrived."""
    if is_left_out(results, name):
        assert name not in results
        return
    bounds, result = CASES[name].took_s, results[name]
    assert bounds is not None
    duration_ns = result.verdict.facts.shutdown_duration_ns
    assert duration_ns is not None
    assert bounds[0] <= duration_ns / NS_PER_S <= bounds[1]


def test_every_observation_says_where_it_came_from(results: dict[str, TrialResult]) -> None:
    """Each trial names its engine and, where it was stopped, the signal and who chose it."""
    for name, result in results.items():
        seen = result.observation
        assert seen.engine.version
        if result.verdict.outcome in {Outcome.GRACEFUL, Outcome.KILLED, Outcome.CRASHED}:
            assert seen.record.stop_signal, name
            assert seen.record.stop_signal_source in {"scenario", "image", "default"}, name
            assert result.verdict.facts.duration_source, name
