"""`stop-harness judge` and `report`: runs that are on disk."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from stop_harness.cli import terminal_output
from stop_harness.cli.options import (
    BASELINE,
    COLOR,
    EXIT_CODES_HELP,
    FAIL_ON_SLOWER,
    REPORT_DIR,
    SHARE_REPORT,
    Command,
    options,
)
from stop_harness.conductor import exit_codes


@click.command(cls=Command, epilog=EXIT_CODES_HELP)
@click.argument("run_dir", type=click.Path(path_type=Path))
@COLOR
def judge(run_dir: Path, color: str) -> None:
    """Judge a stored run again by today's rules.

    Says which verdicts changed. Writes nothing.
    """
    from stop_harness.conductor import store, stored_runs
    from stop_harness.renderers import terminal
    from stop_harness.trial import surroundings

    surroundings.expect_stored_runs()
    ((stored, then),) = store.read_several((run_dir,), partial(click.echo, err=True))
    report = stored_runs.report_of(stored)
    terminal_output.deliver(
        terminal.summary(report, **terminal_output.style(color)),
        color,
    )
    now = stored_runs.judge(stored)
    changed = stored_runs.changed(then, now)
    reworded = sum(old != new for old, new in zip(then, now, strict=True)) - len(changed)
    for sentence in changed:
        click.echo(sentence)
    explained = f", {reworded} of them with another explanation" if reworded else ""
    click.echo(f"\n{len(now) - len(changed)} of {len(now)} verdicts are as they were{explained}")
    sys.exit(exit_codes.of_report(report))


@click.command(cls=Command, epilog=EXIT_CODES_HELP)
@click.argument("run_dirs", nargs=-1, required=True, type=click.Path(path_type=Path))
@options(BASELINE, FAIL_ON_SLOWER, REPORT_DIR, SHARE_REPORT)
def report(
    run_dirs: tuple[Path, ...],
    baseline: Path | None,
    fail_on_slower: bool,
    report_dir: Path | None,
    share_report: bool,
) -> None:
    """Write the report of a stored run again.

    The shards of one run are merged into a new run directory.
    """
    from stop_harness.conductor import shards, store, stored_runs, write_report
    from stop_harness.renderers.plots import drawing
    from stop_harness.renderers.sections import trend_text
    from stop_harness.trial import surroundings

    surroundings.expect_stored_runs()
    # Without the verdicts that were given then: they take as much memory as those of today.
    stored = shards.merge(tuple(item for item, _ in store.read_several(run_dirs, partial(click.echo, err=True))))
    built = stored_runs.report_of(stored)
    if baseline is not None:
        built = stored_runs.compared(built, stored_runs.report_of(store.read(baseline)[0]))
    if len(run_dirs) == 1 and report_dir is None:
        directory = store.RunDirectory(run_dirs[0])
    else:
        parent = report_dir or run_dirs[0].resolve().parent
        directory = store.RunDirectory.create(parent, f"{stored.run.name}-merged", shared=share_report)
        stored_runs.write(stored, built, directory)
    problems = write_report.write(built, directory)
    for problem in problems:
        click.echo(f"stop-harness: {problem}", err=True)
    if (without := drawing.unavailable()) is not None:
        click.echo(without, err=True)
    if built.comparison is not None:
        click.echo(trend_text.plain(built.comparison))
    click.echo(f"report: {directory.path / write_report.HTML_FILE}")
    sys.exit(exit_codes.HARNESS if problems else exit_codes.of_report(built, fail_on_slower=fail_on_slower))
