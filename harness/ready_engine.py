"""Before the first trial: an engine with every image at hand, and the plan for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness import plan, scenario
from harness.engines import selection
from harness.engines.interface import Engine
from harness.errors import BaseImageMissing, ScenarioError
from harness.model import Plan, Scenario, SkippedScenario
from harness.run_request import Listener, RunRequest


def opener(request: RunRequest) -> Callable[[str, str], selection.Chosen]:
    """Opens the engine that the request names, by (name, run id)."""
    return lambda name, run_id: selection.open_engine(
        name, run_id, base_image=request.base_image, scenarios=request.scenarios, cluster=request.cluster
    )


def ready(
    request: RunRequest, run_id: str, listener: Listener, opener: Callable[[str, str], selection.Chosen]
) -> tuple[Engine, Plan]:
    """An engine with every image at hand, and the plan for it."""
    chosen = opener(request.engine, run_id)
    engine = chosen.engine
    if chosen.fallback_reason is not None:
        listener.note(_fallback_note(chosen.fallback_reason, engine))
    try:
        planned = _plan(request, engine)
        engine.prepare(_needed(planned), listener.preparing)
        if (leftovers := engine.leftovers()) is not None:
            listener.note(leftovers)
    except BaseImageMissing as missing:
        engine.close()
        if request.engine != "auto":
            raise
        engine = selection.fall_back(run_id)
        listener.note(_fallback_note(str(missing).splitlines()[0], engine))
        planned = _plan(request, engine)
        engine.prepare(_needed(planned), listener.preparing)
    except BaseException:
        engine.close()
        raise
    return engine, planned


def _fallback_note(reason: str, engine: Engine) -> str:
    info = engine.info()
    return f"no container engine ({reason}); using the embedded `process` engine: {'; '.join(info.caveats)}"


def _plan(request: RunRequest, engine: Engine) -> Plan:
    if engine.info().whole_seconds:
        _refuse_fractional_timeouts(request.scenarios)
    reasons = ((item.name, engine.cannot_run(item)) for item in request.scenarios)
    skipped = tuple(SkippedScenario(name, reason) for name, reason in reasons if reason is not None)
    return expand(request, skipped)


def expand(request: RunRequest, skipped: tuple[SkippedScenario, ...] = ()) -> Plan:
    """The plan of a request."""
    return plan.expand(
        request.scenarios,
        skipped=skipped,
        repeat=request.repeat,
        shard=request.shard,
        seed=request.seed,
        infer=request.infer,
    )


def _refuse_fractional_timeouts(scenarios: tuple[Scenario, ...]) -> None:
    problems = []
    for item in scenarios:
        problem = plan.whole_seconds_problem(item)
        if problem is None:
            continue
        where = f"scenario {item.name}"
        if item.source is not None and Path(item.source).is_file():
            where = scenario.location(Path(item.source).read_text(), item.source, ("stop", "timeouts"))
        problems.append(f"{where}: stop.timeouts: {problem}")
    if problems:
        raise ScenarioError(tuple(problems))


def _needed(planned: Plan) -> tuple[Scenario, ...]:
    """The scenarios of which at least one trial will run, in their own order of appearance."""
    return tuple({item.scenario.name: item.scenario for item in planned.trials}.values())
