"""Actions: stops that are made and judged. What they return stands in the journal of the experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import stop_harness
from stop_harness import JudgedStop

__all__ = ["run_scenarios", "stop_container"]


def stop_container(container: str | None = None, **check: Any) -> dict[str, Any]:
    """Stop one container by its engine's own stop path, and say what became of it. `container`: one that runs already,
    by its name or id; it stays stopped unless `restart` is true. Other arguments are those of stop_harness.check(),
    such as `image`, `timeouts`, `ready_http`, `traffic_http` and `faults`.

    Gives the outcome, its cause, and every stop. Whatever the outcome is, the action has succeeded; it has failed where
    nothing could be stopped.
    """
    result = stop_harness.check(container, **check)
    return {
        "outcome": str(result.outcome),
        "cause": result.cause,
        "stops": [_told(stop) for stop in result.stops],
        "text": str(result),
    }


def run_scenarios(paths: Sequence[str] | str, **run: Any) -> dict[str, Any]:
    """Run scenario files and folders, as stop_harness.run() does with these arguments. Gives every stop, and whether
    all of them passed."""
    report = stop_harness.run(*([paths] if isinstance(paths, str) else paths), **run)
    return {"passed": report.passed, "stops": [_told(stop) for stop in report.stops], "text": str(report)}


def _told(stop: JudgedStop) -> dict[str, Any]:
    """One stop as JSON. Times are seconds; None: not known."""
    return {
        "trial": stop.trial_id,
        "outcome": str(stop.outcome),
        "status": str(stop.status),
        "reason": stop.reason,
        "cause": stop.cause,
        "stop_timeout_s": stop.stop_timeout_s,
        "shutdown_duration_s": stop.shutdown_duration_s,
        "sigkill": str(stop.sigkill),
        "exit_code": stop.exit_code,
    }
