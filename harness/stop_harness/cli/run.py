"""`stop-harness run`: scenarios from files."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stop_harness.cli import github, session, terminal_output
from stop_harness.cli.options import (
    BASE_IMAGE,
    BASELINE,
    CLUSTER,
    CODE_QUALITY,
    EFFORT,
    ENGINE,
    EXIT_CODES_HELP,
    FAIL_FAST,
    FAIL_ON_SLOWER,
    FAULTS,
    GITHUB,
    JOBS,
    JUNITXML,
    KEEP,
    MANNER,
    PATHS_OR_RESUME,
    REPEAT,
    REPORT_DIR,
    RESUME,
    RUN_TASK,
    SARIF,
    SEED,
    SHARD,
    SHARE_REPORT,
    SHOW_VALUES,
    TRY_FIXES,
    WATCH_FILES,
    WITNESS,
    GroupedCommand,
    options,
)
from stop_harness.conductor import exit_codes
from stop_harness.errors import UsageError

if TYPE_CHECKING:
    from stop_harness.conductor.request import RunOutcome, RunRequest
    from stop_harness.trial.perform import Interruption


GOES_WITH_RESUME = frozenset(
    {"resume", "jobs", "baseline", "fail_on_slower", "junitxml", "sarif", "code_quality", "keep"}
)
"""Options that do not change what is run; all others are those of the run that is resumed."""


@click.command(cls=GroupedCommand, epilog=EXIT_CODES_HELP)
@PATHS_OR_RESUME
@options(
    ENGINE,
    CLUSTER,
    RUN_TASK,
    JOBS,
    REPEAT,
    SHARD,
    SEED,
    FAIL_FAST,
    FAULTS,
    *EFFORT,
    TRY_FIXES,
    WITNESS,
    KEEP,
    RESUME,
    WATCH_FILES,
)
@options(
    BASELINE,
    FAIL_ON_SLOWER,
    REPORT_DIR,
    JUNITXML,
    SARIF,
    CODE_QUALITY,
    GITHUB,
    SHARE_REPORT,
    SHOW_VALUES,
    BASE_IMAGE,
    *MANNER,
)
@click.pass_context
def run(context: click.Context, /, paths: tuple[Path, ...], resume: Path | None, **settings: Any) -> None:
    """Run the scenarios in PATHS and write a report.

    PATHS are scenario files, or folders with such files.
    """
    for_github, manner = settings.pop("github"), session.Manner.taken_from(settings)
    watch_files = settings.pop("watch_files")
    if resume is not None:
        if watch_files:
            raise UsageError("--watch-files does not go with --resume, which finishes a run as it was begun")
        request = _resumed(context, resume, paths, settings)
    elif not paths:
        raise click.UsageError("Missing argument 'PATHS...'.", context)
    elif watch_files:
        sys.exit(_again(paths, {**settings, "waivers": context.obj or ()}, manner, for_github))
    else:
        request = _new(paths, {**settings, "waivers": context.obj or ()})
    outcome = session.perform(request, manner)
    summarise(outcome, manner, for_github)
    sys.exit(exit_codes.of_run(outcome, fail_on_slower=request.fail_on_slower))


def _again(paths: tuple[Path, ...], settings: dict[str, Any], manner: session.Manner, for_github: str) -> int:
    from stop_harness.cli import again
    from stop_harness.conductor import changes

    def perform(request: RunRequest, interruption: Interruption) -> again.Tried:
        outcome = session.perform(request, manner, interruption=interruption)
        summarise(outcome, manner, for_github)
        return again.Tried(outcome.report, exit_codes.of_run(outcome, fail_on_slower=request.fail_on_slower))

    work = again.Repeated(lambda: _new(paths, settings), perform, changes.of_paths(paths))
    return again.keep_trying(work, manner)


def _new(paths: tuple[Path, ...], settings: dict[str, Any]) -> RunRequest:
    from stop_harness.conductor import asked

    settings = {**settings, "report_dir": settings["report_dir"] or Path("reports")}
    return asked.of_files(paths, settings, ("stop-harness", *sys.argv[1:]))


def _resumed(context: click.Context, directory: Path, paths: tuple[Path, ...], settings: dict[str, Any]) -> RunRequest:
    """The run as it was asked for, with the options that may be given anew. Raises UsageError, StoreError."""
    from dataclasses import replace

    from stop_harness.conductor import resume

    if paths:
        raise UsageError(f"--resume {directory} takes no PATHS: its scenarios are those of the run")
    given = {name for name in settings if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    for name in sorted(given - GOES_WITH_RESUME):
        raise UsageError(f"--{name.replace('_', '-')} cannot be given with --resume: the options of the run apply")
    resumption, asked = resume.read(directory)
    asked = replace(asked, **{name: settings[name] for name in given})
    note = partial(click.echo, err=True)
    request = resume.request(resumption, asked, note, ("stop-harness", *sys.argv[1:]))
    planned = resumption.stored.trials_planned
    note(f"resuming {directory}: {len(resumption.results)} of {planned} planned trials stand")
    return request


def summarise(outcome: RunOutcome, manner: session.Manner, for_github: str) -> None:
    """What the run came to, where there is a place to say it; the report has it in any case."""
    from stop_harness.cli import standard_streams
    from stop_harness.conductor import write_report

    assert outcome.directory is not None
    where = f"report: {outcome.directory / write_report.HTML_FILE}\n"
    if outcome.report.run.interrupted:
        where += f"resume: stop-harness run --resume {shlex.quote(str(outcome.directory))}\n"
    if manner.as_json:
        from stop_harness.renderers.results import results_json

        click.echo(results_json.render(outcome.report), nl=False)
        click.echo(where, nl=False, err=True)
    else:
        from stop_harness.renderers import terminal

        told = terminal.short_summary if manner.quiet else terminal.summary
        summary = told(outcome.report, **terminal_output.style(manner.color))
        text = summary + ("" if manner.quiet and not outcome.report.run.interrupted else f"\n{where}")
        terminal_output.deliver(github.shielded(text, for_github), manner.color)
    github.publish(outcome.report, for_github, as_json=manner.as_json)
    if not manner.as_json:
        standard_streams.forgive(sys.stdout)
