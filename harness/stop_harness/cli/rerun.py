"""`stop-harness rerun`: a stored run once more."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from stop_harness.cli import session
from stop_harness.cli.options import EXIT_CODES_HELP, GITHUB, MANNER, Command, options
from stop_harness.cli.run import summarise
from stop_harness.conductor import exit_codes


@click.command(cls=Command, epilog=EXIT_CODES_HELP)
@click.argument("run_dir", type=click.Path(path_type=Path), default=Path("reports/latest"))
@click.option("--failed", is_flag=True, help="Repeat only the trials that failed or were inconclusive.")
@options(GITHUB, *MANNER)
@click.pass_context
def rerun(context: click.Context, /, run_dir: Path, failed: bool, **settings: Any) -> None:
    """Repeat the trials of a run, with its options and the scenario files as they are now.

    RUN_DIR is reports/latest unless another is named. The new run is written beside it.
    """
    from stop_harness.conductor import rerun as repeated
    from stop_harness.conductor import store, stored_runs

    for_github, manner = settings["github"], session.Manner.taken_from(settings)
    note = partial(click.echo, err=True)
    command_line = ("stop-harness", *sys.argv[1:])
    request = repeated.request(run_dir, note, command_line, failed=failed, waivers=context.obj or ())
    if request is None:
        before = stored_runs.report_of(store.read(run_dir)[0])
        note(repeated.nothing_to_repeat(run_dir, before))
        sys.exit(exit_codes.of_report(before))
    outcome = session.perform(request, manner)
    summarise(outcome, manner, for_github)
    sys.exit(exit_codes.of_run(outcome))
