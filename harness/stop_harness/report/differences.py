"""What differs between two runs beside their stops, and keeps durations from being compared. Pure."""

from __future__ import annotations

from dataclasses import replace

from stop_harness.model import (
    Report,
    RunInfo,
    RunWarning,
    Scenario,
)
from stop_harness.report import redaction
from stop_harness.wording import count_of, one_line


def differences(baseline: Report, now: Report) -> tuple[RunWarning, ...]:
    """What differs between the runs beside the containers."""
    then, run = baseline.run, now.run
    found = (
        _differs(
            "other-engine",
            "engine",
            _engine(then),
            _engine(run),
            "Durations of two engines do not compare; make a baseline with this one.",
        ),
        _differs(
            "other-machine",
            "machine",
            _machine(then),
            _machine(run),
            "A slower machine makes slower stops; make a baseline on this one.",
        ),
        _differs(
            "other-harness",
            "stop-harness",
            then.harness_version,
            run.harness_version,
            "Both runs are judged by this version's rules, but were recorded by two.",
        ),
        _busier(baseline, now),
        _changed_scenarios(baseline, now),
    )
    return tuple(warning for warning in found if warning is not None)


def _differs(rule: str, what: str, then: str, now: str, advice: str) -> RunWarning | None:
    if then == now:
        return None
    return RunWarning(
        rule, f"The baseline was made with another {what}: {one_line(then)}, now {one_line(now)}.", advice
    )


def _busier(baseline: Report, now: Report) -> RunWarning | None:
    """One run was measured on an overloaded machine and the other was not."""
    then, later = (any(item.rule == "overload" for item in report.warnings) for report in (baseline, now))
    if then == later:
        return None
    which = "the baseline" if then else "this run"
    return RunWarning(
        "other-load",
        f"The machine was overloaded during {which} only.",
        "What is slower or faster may come from the load; repeat that run on a quiet machine.",
    )


def _engine(run: RunInfo) -> str:
    return f"{run.engine.name}, {run.engine.product} {run.engine.version}"


def _machine(run: RunInfo) -> str:
    return f"{run.machine}, {count_of(run.cpu_count, 'CPU')}"


def _changed_scenarios(then: Report, now: Report) -> RunWarning | None:
    old = {scenario.name: _essence(scenario) for scenario in then.scenarios}
    keys = then.run.digest_key, now.run.digest_key
    changed = [
        item.name
        for item in now.scenarios
        if item.name in old and not redaction.is_same(old[item.name], keys[0], _essence(item), keys[1])
    ]
    if not changed:
        return None
    names = ", ".join(one_line(name) for name in changed[:5]) + (" and more" if len(changed) > 5 else "")
    return RunWarning(
        "changed-scenario",
        f"{count_of(len(changed), 'scenario')} changed since the baseline: {names}.",
        "What changed there may come from the scenario, not from the container.",
    )


def _essence(scenario: Scenario) -> Scenario:
    """What decides how a stop goes and how it is judged, without how often and what for."""
    stop = replace(scenario.stop, timeouts_ns=(), after_ns=())
    return replace(scenario, description="", source=None, repeat=1, stop=stop)
