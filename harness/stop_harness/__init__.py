"""stop-harness: does my container shut down gracefully, and if not, why?

    import stop_harness

    stop_harness.check(image="shop/web", ready_http="8000/healthz", timeouts=[10, 30]).assert_graceful(within=5)

The names below are the public Python API, see docs/api.md; everything else may change. How the project works:

    scenario file ─▶ Scenario ─▶ Trial… ─▶ Observation ─▶ facts ─▶ Verdict ─▶ Report ─▶ terminal, JSON, HTML, …
        scenario/       plan/      trial/      evidence/    verdict/    report/    renderers/
                                     │
                                  engines/  (docker · process · ecs · simulated)

Start with `model/` (the nouns, in flow order) and `conductor/pipeline.py` (the verbs, in flow order).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stop_harness._version import VERSION as __version__

if TYPE_CHECKING:
    from stop_harness.api.calls import (
        check,
        predict,
        read_run,
        rerun,
        resume_run,
        run,
        sweep_start,
        trend,
        validate,
    )
    from stop_harness.api.exploring import ExploreResult, explore
    from stop_harness.api.results import JudgedStop, NotGraceful, NotJudged, Result, RunReport
    from stop_harness.api.watching import Watch, WatchedStop, WatchReport, watch
    from stop_harness.conductor.validation import Validated
    from stop_harness.errors import (
        BuildError,
        EngineError,
        ImageError,
        ScenarioError,
        StopHarnessError,
        StoreError,
        UsageError,
    )
    from stop_harness.model import Outcome, Status

__all__ = [
    "BuildError",
    "EngineError",
    "ExploreResult",
    "ImageError",
    "JudgedStop",
    "NotGraceful",
    "NotJudged",
    "Outcome",
    "Result",
    "RunReport",
    "ScenarioError",
    "Status",
    "StopHarnessError",
    "StoreError",
    "UsageError",
    "Validated",
    "Watch",
    "WatchReport",
    "WatchedStop",
    "__version__",
    "check",
    "explore",
    "predict",
    "read_run",
    "rerun",
    "resume_run",
    "run",
    "sweep_start",
    "trend",
    "validate",
    "watch",
]

_ROOMS = {
    "stop_harness.api.calls": (
        "check",
        "predict",
        "read_run",
        "rerun",
        "resume_run",
        "run",
        "sweep_start",
        "trend",
        "validate",
    ),
    "stop_harness.api.exploring": ("ExploreResult", "explore"),
    "stop_harness.conductor.validation": ("Validated",),
    "stop_harness.api.results": ("JudgedStop", "NotGraceful", "NotJudged", "Result", "RunReport"),
    "stop_harness.api.watching": ("Watch", "WatchReport", "WatchedStop", "watch"),
    "stop_harness.model": ("Outcome", "Status"),
    "stop_harness.errors": (
        "BuildError",
        "EngineError",
        "ImageError",
        "ScenarioError",
        "StopHarnessError",
        "StoreError",
        "UsageError",
    ),
}
"""Where the public names live. They are loaded when they are asked for: `--help` needs none of them."""


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(room), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
