"""Before the first trial: an engine with every image at hand, and the plan for it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import replace
from typing import TYPE_CHECKING

from stop_harness.conductor import background, open_engine, perform_trials
from stop_harness.conductor.request import Listener, RunRequest
from stop_harness.ecs import stop_timeouts
from stop_harness.ecs.host_access import host_access, host_paths
from stop_harness.engines.interface import SLOW_CAVEAT, WITNESS_CAVEAT, BuildOutput, Engine
from stop_harness.errors import BaseImageMissing, BuildError, EngineError, ScenarioError
from stop_harness.model import Plan, Scenario, SkippedScenario
from stop_harness.plan import trials as plan
from stop_harness.report import redaction
from stop_harness.scenario.host_access import of_subject
from stop_harness.trial import scheduler

if TYPE_CHECKING:
    from stop_harness.engines.docker.host import DockerHost

HURRIED_CLOSE_S = 1.0
"""Together with `scheduler.GIVE_UP_S` and the writing of the report, a second, less than the 5 s after which people
kill."""


def opener(
    request: RunRequest, find: Callable[[], DockerHost] = open_engine.find_docker
) -> Callable[[str, str], open_engine.Chosen]:
    """Opens the engine that the request names, by (name, run id). `find`: as in `open_engine.open_engine`."""
    return lambda name, run_id: open_engine.open_engine(
        name,
        run_id,
        find=find,
        base_image=request.base_image,
        scenarios=request.scenarios,
        cluster=request.cluster,
        witness=request.witness,
    )


def ready(
    request: RunRequest, run_id: str, listener: Listener, opener: Callable[[str, str], open_engine.Chosen]
) -> tuple[Engine, Plan]:
    """An engine with every image at hand, and the plan for it."""
    _say_host_access(request, listener)
    _say_agent_stop_timeout(request, listener)
    chosen = opener(request.engine, run_id)
    engine = chosen.engine
    try:
        planned = _plan(request, engine)
        if chosen.fallback_reason is not None:
            _require_something_to_run(planned, chosen.fallback_reason)
            listener.note(_fallback_note(chosen.fallback_reason, engine))
        planned = _prepared(request, planned, engine, listener)
        if (leftovers := engine.leftovers()) is not None:
            listener.note(leftovers)
    except BaseImageMissing as missing:
        engine.close()
        if request.engine != "auto":
            raise
        engine = open_engine.fall_back(run_id)
        listener.note(_fallback_note(str(missing).splitlines()[0], engine))
        planned = _prepared(request, _plan(request, engine), engine, listener)
    except BaseException as error:
        in_a_hurry = isinstance(error, KeyboardInterrupt)
        close(engine, lambda: in_a_hurry)
        raise
    for caveat in engine.info().caveats:
        if caveat.startswith((WITNESS_CAVEAT, SLOW_CAVEAT)):
            listener.note(caveat)
    return engine, planned


def _prepared(request: RunRequest, planned: Plan, engine: Engine, listener: Listener) -> Plan:
    """Has every image made, and the user told; a build may repeat the values that it was given. The plan without what
    the images show that it cannot be run."""
    mask: Callable[[str], str] = str if request.show_values else redaction.mask_for(request.scenarios)

    def preparing(what: str, state: str) -> None:
        listener.preparing(what, BuildOutput(mask(state)) if isinstance(state, BuildOutput) else state)

    try:
        engine.prepare(_needed(request, planned), preparing)
    except BuildError as error:
        raise BuildError(mask(str(error))) from None
    return _plan(request, engine) if any(item.faults for item in request.scenarios) else planned


def close(engine: Engine, hurry: Callable[[], bool]) -> tuple[str, ...]:
    """Remove what is left and let go of the engine. Gives and raises what `Engine.close` does.

    When `hurry` says yes, an engine that does not answer is waited for no longer than `HURRIED_CLOSE_S`: its reaper,
    which is then not dismissed, removes the rest when this process is gone.
    """
    try:
        closing = background.begin("close engine", engine.close)
    except RuntimeError:  # no more threads
        return engine.close()
    hurried_since: float | None = None
    while not wait((closing,), timeout=scheduler.POLL_S).done:
        if hurry():
            hurried_since = hurried_since or time.monotonic()
            if time.monotonic() - hurried_since > HURRIED_CLOSE_S:
                return ()
    return closing.result()


def _say_host_access(request: RunRequest, listener: Listener) -> None:
    """A scenario is somebody's file; what it takes of the machine is said before it does."""
    for item in (item for item in request.scenarios if item.twin is None):
        for sentence in of_subject(item.subject):
            listener.note(f"{item.name}: {sentence}")
        for member in item.subject.group.members if item.subject.group is not None else ():
            for sentence in of_subject(member.subject):
                listener.note(f"{item.name}: {member.name}: {sentence}")
        if item.subject.task is not None:
            document = json.loads(item.subject.task.document)
            for sentence in host_access(document["containerDefinitions"], host_paths(document)):
                listener.note(f"{item.name}: {sentence}")


def _say_agent_stop_timeout(request: RunRequest, listener: Listener) -> None:
    """The agent warns of a value that it cannot read, and goes on with its default; it is said where it applies."""
    applies = any(
        container.own_stop_timeout_s is None and not item.subject.task.fargate
        for item in request.scenarios
        if item.subject.task is not None
        for container in item.subject.task.containers
    )
    if applies and (warning := stop_timeouts.agent_warning(os.environ.get(stop_timeouts.AGENT_VARIABLE))):
        listener.note(warning)


def _require_something_to_run(planned: Plan, reason: str) -> None:
    """Raises EngineError where the embedded engine could run none of the scenarios: the missing engine is the news."""
    skipped = [item.scenario for item in planned.skipped if item.twin is None]
    if skipped and not planned.trials:
        needing = skipped[0] if len(skipped) == 1 else "every scenario"
        raise EngineError(
            f"no container engine answers ({reason}), and {needing} needs one: start Docker or Podman, or name another "
            "engine with DOCKER_HOST"
        )


def _fallback_note(reason: str, engine: Engine) -> str:
    info = engine.info()
    return f"no container engine ({reason}); using the embedded `process` engine: {'; '.join(info.caveats)}"


def _plan(request: RunRequest, engine: Engine) -> Plan:
    if engine.info().whole_seconds:
        _refuse_fractional_timeouts(request.scenarios)
    if request.resumption is not None:
        return expand(request, request.resumption.stored.skipped)
    return expand(request, (*_skipped(request, engine), *request.passed_over))


def _skipped(request: RunRequest, engine: Engine) -> Iterator[SkippedScenario]:
    """What this engine cannot run. A single standard fault that it cannot make is no doubt about the others."""
    reasons = {item.name: engine.cannot_run(item) for item in request.scenarios}
    for item in request.scenarios:
        reason = reasons[item.name]
        if item.twin is not None and reason is not None:
            # A copy has no place in a file, so that its location is its name, which is said anyway.
            reason = reasons.get(item.twin.of) or reason.removeprefix(f"{item.location('faults')}: ")
        if reason is not None:
            yield SkippedScenario(item.name, reason, item.twin is not None or request.engine == "process", item.twin)


def expand(request: RunRequest, skipped: tuple[SkippedScenario, ...] = ()) -> Plan:
    """The plan of a request."""
    planned = plan.expand(
        request.scenarios,
        skipped=skipped,
        repeat=request.repeat,
        shard=request.shard,
        seed=request.seed,
        infer=request.infer,
    )
    if request.selected is None:
        return planned
    return replace(planned, trials=tuple(item for item in planned.trials if item.trial_id in request.selected))


def _refuse_fractional_timeouts(scenarios: tuple[Scenario, ...]) -> None:
    problems = []
    for item in scenarios:
        problem = plan.whole_seconds_problem(item)
        if problem is None:
            continue
        problems.append(f"{item.location('stop', 'timeouts')}: stop.timeouts: {problem}")
    if problems:
        raise ScenarioError(tuple(problems))


def _needed(request: RunRequest, planned: Plan) -> tuple[Scenario, ...]:
    """The scenarios of which at least one trial will run, in their own order of appearance."""
    more_may_come = request.until_sure or request.try_fixes
    trials = planned.trials if more_may_come else perform_trials.missing(request, planned).trials
    return tuple({item.scenario.name: item.scenario for item in trials}.values())
