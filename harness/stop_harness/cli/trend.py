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
    from stop_harness.conductor import trend_page
    from stop_harness.renderers.plots import drawing
    from stop_harness.renderers.sections import trend_text
    from stop_harness.trial import surroundings

    surroundings.expect_stored_runs()
    found = trend_page.of_runs(run_dirs, partial(click.echo, err=True))
    page = output or run_dirs[0].resolve().parent / "trend.html"
    trend_page.write(found, page)
    for step in found.comparisons[-1:]:
        click.echo(trend_text.plain(step))
    if (without := drawing.unavailable()) is not None:
        click.echo(without, err=True)
    click.echo(f"trend: {page}")
