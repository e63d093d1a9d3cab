"""What is imported beside a wait: it costs the same CPU time, but no time of its own."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from stop_harness.conductor import background
from stop_harness.trial import surroundings

FOR_VERDICTS = ("stop_harness.verdict.judge", "stop_harness.report.build", "stop_harness.renderers.terminal")
"""What judges and shows a stop: a fifth of the imports of `check`. Those who use it import it late."""

FOR_PLOTS = ("matplotlib.backends.backend_svg", "matplotlib.backends.backend_agg", "matplotlib.figure")
"""What the plots of every report import late, in this order: half a second of CPU time."""


def verdicts() -> Callable[[], object]:
    """Beside the first start. Calling what this gives waits until it is done."""
    return _beside(lambda: _load(FOR_VERDICTS))


def plots() -> Callable[[], object]:
    """Beside the last stops. Calling what this gives waits until it is done."""

    def load() -> None:
        surroundings.require_room_for_libraries()
        _load(FOR_PLOTS)

    return _beside(load)


def _load(modules: tuple[str, ...]) -> None:
    for module in modules:
        importlib.import_module(module)


def _beside(load: Callable[[], None]) -> Callable[[], object]:
    try:
        return background.begin("load", load).exception  # whoever needs it will fail, and say so
    except RuntimeError:  # no more threads: then it is loaded when it is needed
        return lambda: None
