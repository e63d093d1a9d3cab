"""`trend`: many stored runs as one record, and as a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stop_harness.conductor import store, stored_runs
from stop_harness.model import Trend


def of_runs(directories: tuple[Path, ...], note: Callable[[str], None]) -> Trend:
    """Each run once, judged by today's rules. `note` hears of runs that hold nothing. Raises StoreError."""
    from stop_harness.report import trend as trends

    found = store.read_several(directories, note)
    stored = {item.run.run_id: item for item, _ in found}  # `latest` may name one of them again
    return trends.over([stored_runs.report_of(item) for item in stored.values()])


def write(found: Trend, page: Path) -> None:
    """The page and, beside it, its plot as an SVG, where it can be drawn. Raises StoreError."""
    from stop_harness.renderers import trend_html
    from stop_harness.renderers.plots import trend_plot

    directory = store.RunDirectory(page.parent)
    directory.write(page.name, trend_html.render(found))
    if (svg := trend_plot.render(found)) is not None:
        directory.write(page.with_suffix(".svg").name, svg)
