"""Probes: questions about stops, each answered by making them. A stop that could not be judged is no answer, so that
the probe fails: doubt never meets a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import stop_harness

__all__ = ["scenarios_pass", "shutdown_duration", "stops_gracefully"]


def stops_gracefully(container: str | None = None, **check: Any) -> bool:
    """Whether every stop is graceful. Arguments are those of stop_harness.check(); see the action `stop_container`."""
    result = stop_harness.check(container, **check)
    try:
        result.assert_graceful()
    except stop_harness.NotGraceful:
        return False
    return True


def shutdown_duration(container: str | None = None, **check: Any) -> float:
    """Seconds from the stop signal to the exit, of the slowest stop that is made."""
    result = stop_harness.check(container, **check)
    durations = [stop.shutdown_duration_s for stop in result.stops]
    known = [duration_s for duration_s in durations if duration_s is not None]
    if not known or len(known) < len(durations):
        raise stop_harness.NotJudged(str(result), result)
    return max(known)


def scenarios_pass(paths: Sequence[str] | str, **run: Any) -> bool:
    """Whether every trial of these scenario files and folders passes. Arguments are those of stop_harness.run()."""
    report = stop_harness.run(*([paths] if isinstance(paths, str) else paths), **run)
    try:
        report.assert_passed()
    except stop_harness.NotGraceful:
        return False
    return True
