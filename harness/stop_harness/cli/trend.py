"""`stop-harness trend`: many runs on one page."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from stop_harness.cli.options import Command


@click.command(cls=Command)
@click.argument("run_dirs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the page to this file.  [default: trend.html beside the first run]",
)
def trend(run_dirs: tuple[Path, ...], output: Path | None) -> None:
    """Show how stops changed over several runs.

    Writes trend.html and, beside it, trend.svg.

    \b
    stop-harness trend reports/2*
    """
    from stop_harness.renderers import trend_html
    from stop_harness.renderers.plots import drawing, trend_plot
    from stop_harness.renderers.sections import trend_text
    from stop_harness.report import trend as trends
    from stop_harness.run import store, stored_runs

    found_runs = store.read_several(run_dirs, partial(click.echo, err=True))
    stored = {item.run.run_id: item for item, _ in found_runs}  # `latest` may name one of them again
    found = trends.over([stored_runs.report_of(item) for item in stored.values()])
    page = output or run_dirs[0].resolve().parent / "trend.html"
    directory = store.RunDirectory(page.parent)
    directory.write(page.name, trend_html.render(found))
    if (svg := trend_plot.render(found)) is not None:
        directory.write(page.with_suffix(".svg").name, svg)
    for step in found.comparisons[-1:]:
        click.echo(trend_text.plain(step))
    if (without := drawing.unavailable()) is not None:
        click.echo(without, err=True)
    click.echo(f"trend: {page}")
