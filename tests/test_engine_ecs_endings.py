"""`--ended-by`: the same task ended by StopTask, by scale-in, and by a Spot interruption, as a trial judges it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from stop_harness.conductor.request import RunOutcome
from stop_harness.ecs import task_definition
from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from stop_harness.ecs_endpoint.state import EndpointSettings
from stop_harness.engines.ecs.api import EcsSettings
from stop_harness.model import NS_PER_S, EndedBy, Outcome, Scenario
from stop_harness.renderers import html, markdown, terminal
from stop_harness.renderers.results import results_json
from tests.ecs_runs import NEVER, after, aws_settings, only, run, task
from tests.ecs_support import Simulation, simulation
from tests.test_ecs_ends import FARGATE

SCALED_IN = re.compile(r"Scaling activity initiated by \(deployment ecs-svc/[0-9]{19}\)")
INTERRUPTED = "Your Spot Task was interrupted."


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings as a user of AWS has them."""
    aws_settings(monkeypatch)


def ended_by(how: EndedBy, *containers: dict[str, Any], fargate: bool = False, repeat: int = 1) -> Scenario:
    """A scenario of a task that is ended so."""
    made = task(*containers)
    if fargate:
        assert made.subject.task is not None
        document = {**json.loads(made.subject.task.document), **FARGATE}
        made = replace(
            made, subject=replace(made.subject, task=task_definition.parse(json.dumps(document), "web.json"))
        )
    return replace(made, stop=replace(made.stop, ended_by=how), repeat=repeat)


def performed(it: Simulation, *scenarios: Scenario, **more: Any) -> RunOutcome:
    """On an endpoint that counts as the harness's own."""
    return run(it.url, *scenarios, settings=EcsSettings(endpoint_url=it.url, own_endpoint=True), **more)


@pytest.mark.parametrize(
    ("how", "fargate", "code", "reason"),
    [
        (EndedBy.STOP_TASK, False, "UserInitiated", re.compile("stop-harness: .*")),
        (EndedBy.SCALE_IN, False, "ServiceSchedulerInitiated", SCALED_IN),
        (EndedBy.SPOT, False, "ServiceSchedulerInitiated", SCALED_IN),
        (EndedBy.SPOT, True, "SpotInterruption", re.compile(re.escape(INTERRUPTED))),
    ],
)
def test_each_ending_is_really_performed(how: EndedBy, fargate: bool, code: str, reason: re.Pattern[str]) -> None:
    """ECS's own stop code and reason are in the record; who hears its signal is graceful by any of them."""
    with simulation({"app": ContainerScript(leaves_after_s=2)}) as it:
        result = only(performed(it, ended_by(how, {"name": "app", "stopTimeout": 30}, fargate=fargate)))
        assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
        seen = result.observation.task
        assert seen is not None
        assert (seen.stop_code, bool(reason.fullmatch(seen.stopped_reason))) == (code, True), seen.stopped_reason
        assert [it.status for it in it.server.endpoint.services.values() if it.status == "ACTIVE"] == []


@pytest.mark.parametrize("how", list(EndedBy))
def test_a_task_that_asks_for_fargate_has_fargates_stop_timeout(how: EndedBy) -> None:
    """30 s without a stopTimeout, whatever the instance's ECS_CONTAINER_STOP_TIMEOUT says, by whatever it is ended."""
    with simulation({"app": NEVER}, EndpointSettings(agent_stop_timeout="3s")) as it:
        performed(it, ended_by(how, {"name": "app"}, fargate=True))
        assert it.containers.stop_calls == [("app", 30)]


def chain(how: EndedBy) -> Scenario:
    """Three containers, each with 50 s, one after the other; on Fargate."""
    return ended_by(
        how,
        {"name": "app", "stopTimeout": 50, "dependsOn": after("proxy")},
        {"name": "proxy", "stopTimeout": 50, "dependsOn": after("router")},
        {"name": "router", "stopTimeout": 50},
        fargate=True,
    )


def test_what_two_minutes_leave_of_a_stop_timeout_is_what_counts() -> None:
    """Spot cuts the last of a chain short, and its reason says by what; StopTask gives it all of its 50 s."""
    scripts = {"app": NEVER, "proxy": NEVER, "router": ContainerScript(leaves_after_s=45)}
    with simulation(scripts) as it:
        interrupted_run = performed(it, chain(EndedBy.SPOT))
        interrupted = only(interrupted_run)
        stopped = only(performed(it, chain(EndedBy.STOP_TASK)))
    by_name = {item.name: item for item in interrupted.verdict.containers}
    assert by_name["router"].outcome is Outcome.KILLED
    said = re.search(
        "still running ([0-9]+) s after SIGTERM.*; of its stop timeout of 50 s the two minutes of the Spot notice had "
        "left ([0-9]+) s",
        by_name["router"].reason,
    )
    assert said is not None, by_name["router"].reason
    assert said[1] == said[2]
    assert int(said[1]) <= 20
    assert "Spot" not in by_name["app"].reason
    shown = " ".join(terminal.check_verdict(interrupted_run.report, width=200).split())
    assert f"{said[1]} of 50 s killed" in shown
    # A busy machine may be so late that the one before it is cut short, too.
    assert re.search("the two minutes of the notice for all together, which left (proxy and )?router less", shown)
    assert {item.name: item.outcome for item in stopped.verdict.containers}["router"] is Outcome.GRACEFUL


def test_trials_of_tasks_on_instances_do_not_disturb_one_another() -> None:
    """Each service has a cluster of its own, so that one interrupted instance takes nobody else's task."""
    with simulation({"app": ContainerScript(leaves_after_s=30)}) as it:
        done = performed(it, ended_by(EndedBy.SPOT, {"name": "app"}, repeat=4), jobs="4")
        assert [result.verdict.outcome for result in done.report.results] == [Outcome.GRACEFUL] * 4
        arns = {result.observation.task.arn.split("/")[1] for result in done.report.results if result.observation.task}
        assert len(arns) == 4
        assert [signal for signal, _ in it.containers.stop_calls] == ["app"] * 4, "nobody was started in their place"


def test_a_task_that_never_runs_is_given_up_with_its_service() -> None:
    """The scheduler would start another one for ever."""
    with simulation({"app": ContainerScript(runs_for_s=0, exit_code=3)}) as it:
        result = only(performed(it, ended_by(EndedBy.SCALE_IN, {"name": "app"})))
        assert result.verdict.outcome is Outcome.NOT_RUNNING
        assert "already exited with code 3" in result.verdict.reason
        assert [it.status for it in it.server.endpoint.services.values() if it.status == "ACTIVE"] == []


@pytest.mark.parametrize("how", [EndedBy.SCALE_IN, EndedBy.SPOT])
def test_nobody_elses_services_are_touched(how: EndedBy) -> None:
    """On a cluster that the user named such a scenario is skipped, with what to do."""
    with simulation() as it:
        done = run(it.url, ended_by(how, {"name": "app"}))
        assert [item.reason for item in done.report.skipped] == [
            "scale-in and Spot interruptions are performed only on the endpoint that stop-harness starts itself: "
            "leave out --engine ecs"
        ]
        assert it.containers.requests == {}


def test_every_report_says_by_what_and_against_which_limit() -> None:
    """The terminal, Markdown, HTML and results.json, in the same words."""
    with simulation() as it:
        spot = ended_by(EndedBy.SPOT, {"name": "app"}, fargate=True)
        report = performed(it, replace(spot, name="spot"), ended_by(EndedBy.SCALE_IN, {"name": "app"})).report
    interrupted = (
        "a Spot interruption (SpotInterruption: Your Spot Task was interrupted.); judged by each container's own stop "
        "timeout, and the two minutes of the notice for all together."
    )
    scheduled = "the service scheduler, as for scale-in, a deployment or an instance that drains"
    shown = " ".join(terminal.check_verdict(report, width=80).split())
    for said in (interrupted, scheduled):
        assert f"ended by {said}" in shown
        assert f"Ended by: {said}" in markdown.render(report).replace("\\", "")
        assert f"Ended by {said}" in html.render(report).replace("&#39;", "'")
    assert "web.json, ended by a Spot interruption" in shown
    told = {item["scenario"]: item for item in json.loads(results_json.render(report))["tasks"]}
    assert (told["spot"]["ended_by"], told["spot"]["stop_code"]) == ("spot", "SpotInterruption")
    assert (told["task"]["ended_by"], told["task"]["stop_code"]) == ("scale-in", "ServiceSchedulerInitiated")
    assert told["spot"]["stopped_reason"] == INTERRUPTED
    assert told["spot"]["limit_s"] == 120
    assert spot.stop.timeouts_ns == (30 * NS_PER_S,)
