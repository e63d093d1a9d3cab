"""`trend`: many stored runs as one record, and as a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stop_harness.conductor import shards, store, stored_runs
from stop_harness.model import Trend


def of_runs(directories: tuple[Path, ...], note: Callable[[str], None]) -> Trend:
    """Each run once, the shards of one together, judged by today's rules. `note` hears which shards those are, and of
    runs that hold nothing. Raises StoreError."""
    from stop_harness.report import trend as trends

    return trends.over(map(stored_runs.report_of, shards.whole_runs(directories, note)))


def write(found: Trend, page: Path) -> None:
    """The page and, beside it, its plot as an SVG, where it can be drawn. Raises StoreError."""
    from stop_harness.renderers import trend_html
    from stop_harness.renderers.plots import trend_plot

    directory = store.RunDirectory(page.parent)
    directory.write(page.name, trend_html.render(found))
    if (svg := trend_plot.render(found)) is not None:
        directory.write(page.with_suffix(".svg").name, svg)
