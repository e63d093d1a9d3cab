"""`stop-harness explore`: the stop that breaks, searched for."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

import click

from stop_harness.cli import session, terminal_output
from stop_harness.cli.options import BASE_IMAGE, ENGINE, JOBS, MANNER, Command, option, options
from stop_harness.conductor import exit_codes
from stop_harness.errors import UsageError


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
@options(ENGINE, JOBS, BASE_IMAGE, *MANNER)
def explore(scenario: Path, for_: str, stops: int | None, seed: int | None, write: Path | None, **given: Any) -> None:
    """Search for a stop of SCENARIO that is not graceful.

    Tries other moments, clients and faults, repeats what fails, makes it as small as it gets, and writes it as a
    scenario file that shows it again.
    """
    from stop_harness import units
    from stop_harness.conductor import asked, exploring
    from stop_harness.renderers.sections import explore_text
    from stop_harness.trial.perform import Interruption

    manner = session.Manner.taken_from(given)
    try:
        for_ns = units.parse_duration(for_)
    except ValueError as error:
        raise UsageError(f"--for: {error}") from None
    settings = {"report_dir": None, "repeat": None, "keep": False, "junitxml": None, **given}
    request = asked.of_files((scenario,), settings, ("stop-harness", *sys.argv[1:]))
    searched = exploring.scenario_of_request(request)
    target = exploring.file_for(searched, write)
    wanted = exploring.Wanted(for_ns, stops, secrets.randbelow(1 << 16) if seed is None else seed)
    progress, interruption = session.lines_for(manner), Interruption()
    session.Interrupts(interruption, progress).install()
    try:
        found = exploring.explore(request, wanted, progress, interruption)
    finally:
        progress.close()
    text = explore_text.render_json(found) if manner.as_json else explore_text.render(found)
    shown = text if terminal_output.unicode() or manner.as_json else text.encode("ascii", "replace").decode()
    click.echo(shown, nl=False)
    if found.finding is not None and not found.finding.undisturbed:
        said = (explore_text.sentence(found.finding), found.finding.seen.reason)
        exploring.write(searched, found.finding.candidate, said, target)
        click.echo(f"written: {target}", err=manner.as_json)
    if found.interrupted:
        sys.exit(exit_codes.INTERRUPTED)
    if found.finding is not None:
        sys.exit(exit_codes.FAIL)
    sys.exit(exit_codes.PASS if found.problem is None else exit_codes.INCONCLUSIVE)
