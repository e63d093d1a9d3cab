"""`stop-harness explore`: the stop that breaks, searched for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from stop_harness.cli import session, terminal_output
from stop_harness.cli.options import (
    BASE_IMAGE,
    ENGINE,
    JOBS,
    MANNER,
    REPORT_DIR,
    SHARE_REPORT,
    SHOW_VALUES,
    Command,
    option,
    options,
)


@click.command(
    cls=Command,
    epilog="Exits with 0 if nothing was found, 1 if a stop was found that fails, 3 if too little could be judged; "
    "otherwise as `run`.",
)
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option("--for", "for_", default="5m", metavar="DURATION", help="Search for so long.  [default: 5m]")
@click.option("--stops", type=click.IntRange(1), metavar="N", help="Begin nothing new after N stops.")
@option(
    "--seed",
    type=click.IntRange(0),
    metavar="N",
    help="Draw what is random by this seed.  [default: another each time]",
)
@click.option(
    "--write",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what was found to this scenario file.  [default: SCENARIO.found.yaml beside it]",
)
@options(ENGINE, JOBS, REPORT_DIR, SHARE_REPORT, SHOW_VALUES, BASE_IMAGE, *MANNER)
def explore(scenario: Path, for_: str, stops: int | None, seed: int | None, write: Path | None, **given: Any) -> None:
    """Search for a stop of SCENARIO that is not graceful.

    Tries other moments, clients and faults, repeats what fails, makes it as small as it gets, and writes it as a
    scenario file that shows it again.
    """
    from stop_harness.conductor import asked, exploring, write_report
    from stop_harness.renderers.sections import explore_text
    from stop_harness.trial.perform import Interruption

    manner = session.Manner.taken_from(given)
    wanted = exploring.Wanted.of(for_, stops, seed)
    settings = {**given, "repeat": None, "keep": False, "junitxml": None}
    request = asked.of_files((scenario,), settings, ("stop-harness", *sys.argv[1:]))
    exploring.scenario_of_request(request)
    from stop_harness.conductor import explored_run  # late: what it searches with comes with the extra

    progress, interruption = session.lines_for(manner), Interruption()
    session.Interrupts(interruption, progress).install()
    try:
        done = explored_run.explore(
            request, wanted, write, progress, interruption, progress=_nobody if manner.quiet else progress.note
        )
    finally:
        progress.close()
    text = explore_text.render_json(done.search) if manner.as_json else explore_text.render(done.search)
    terminal_output.deliver(text if manner.as_json else terminal_output.in_its_letters(text), "never")
    if done.file is not None:
        click.echo(f"written: {done.file}", err=manner.as_json)
    if done.directory is not None:
        click.echo(f"report: {done.directory / write_report.HTML_FILE}", err=manner.as_json)
    for problem in done.problems:
        click.echo(f"stop-harness: {problem}", err=True)
    sys.exit(done.exit_code)


def _nobody(_text: str) -> None:
    """Hears what is tried."""
