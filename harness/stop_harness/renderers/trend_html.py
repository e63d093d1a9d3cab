"""trend.html: many runs on one page, without fetching anything and without script."""

from __future__ import annotations

from importlib import resources

from stop_harness.model import Trend
from stop_harness.renderers import html
from stop_harness.renderers.plots import drawing, trend_plot
from stop_harness.renderers.sections import trend_text
from stop_harness.wording import one_line


def render(trend: Trend) -> str:
    """The page; the newest run stands first in its lists."""
    from markupsafe import Markup

    style = resources.files("stop_harness.renderers").joinpath("templates", "report.css").read_text("utf-8")
    wide, narrow = trend_plot.render(trend), trend_plot.render(trend, drawing.NARROW)
    template = html.templates().get_template("trend.html.j2")
    return template.render(
        trend=trend,
        style=Markup(style),  # nosec B704 # our own text or escaped
        plot=Markup(html.inline("trend", wide, narrow)) if wide else "",  # nosec B704 # our own text or escaped
        steps=[
            (run, trend_text.headline(step), trend_text.news(step), step.warnings)
            for run, step in reversed(list(zip(trend.runs[1:], trend.comparisons, strict=True)))
        ],
        changes=[
            (one_line(series.scenario), point.started_at, point.changed)
            for series in trend.series
            for point in series.points
            if point.changed
        ],
    )
