"""`stop-harness run`: scenarios from files."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stop_harness.cli import exit_codes, session, terminal_output
from stop_harness.cli.options import (
    BASE_IMAGE,
    BASELINE,
    CLUSTER,
    COLOR,
    EFFORT,
    ENGINE,
    EXIT_CODES_HELP,
    FAIL_FAST,
    FAIL_ON_SLOWER,
    JOBS,
    JUNITXML,
    KEEP,
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
    WITNESS,
    Command,
    options,
)
from stop_harness.errors import UsageError

if TYPE_CHECKING:
    from stop_harness.model import Scenario
    from stop_harness.run.request import RunOutcome, RunRequest


GOES_WITH_RESUME = frozenset({"resume", "jobs", "baseline", "fail_on_slower", "junitxml", "sarif", "color", "keep"})
"""Options that do not change what is run; all others are those of the run that is resumed."""


@click.command(cls=Command, epilog=EXIT_CODES_HELP)
@PATHS_OR_RESUME
@options(ENGINE, CLUSTER, RUN_TASK, JOBS, REPEAT, SHARD, SEED, FAIL_FAST, *EFFORT, TRY_FIXES, WITNESS, KEEP, RESUME)
@options(BASELINE, FAIL_ON_SLOWER, REPORT_DIR, JUNITXML, SARIF, SHARE_REPORT, SHOW_VALUES, BASE_IMAGE, COLOR)
@click.pass_context
def run(context: click.Context, /, paths: tuple[Path, ...], color: str, resume: Path | None, **settings: Any) -> None:
    """Run the scenarios in PATHS and write a report.

    PATHS are scenario files, or folders with such files.
    """
    if resume is not None:
        request = _resumed(context, resume, paths, settings)
    elif paths:
        request = _new(paths, settings)
    else:
        raise click.UsageError("Missing argument 'PATHS...'.", context)
    outcome = session.perform(request, color)
    _summarise(outcome, color)
    sys.exit(exit_codes.of_run(outcome, fail_on_slower=request.fail_on_slower))


def _new(paths: tuple[Path, ...], settings: dict[str, Any]) -> RunRequest:
    from dataclasses import replace

    from stop_harness.scenario import discovery

    found = discovery.find(paths)
    scenarios = found.scenarios
    name = scenarios[0].name if len(scenarios) == 1 else paths[0].resolve().name
    settings["report_dir"] = settings["report_dir"] or Path("reports")
    return replace(request_of(scenarios, name, settings), passed_over=found.passed_over)


def _resumed(context: click.Context, directory: Path, paths: tuple[Path, ...], settings: dict[str, Any]) -> RunRequest:
    """The run as it was asked for, with the options that may be given anew. Raises UsageError, StoreError."""
    from dataclasses import replace

    from stop_harness.run import resume

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


def request_of(scenarios: tuple[Scenario, ...], name: str, settings: dict[str, Any]) -> RunRequest:
    """What the options ask for. Raises UsageError."""
    from stop_harness.plan.trials import Shard
    from stop_harness.run.open_engine import TargetCluster
    from stop_harness.run.request import RunRequest
    from stop_harness.trial import scheduler

    given = settings.get("cluster") or settings.get("run_task")
    if given and settings["engine"] != "ecs":
        raise UsageError("--cluster and --run-task go with --engine ecs")
    scheduler.parse_jobs(settings["jobs"], 1)  # a mistake is refused before anything starts
    shard = settings.get("shard")
    target = TargetCluster(settings.get("cluster"), settings.get("run_task"))
    return RunRequest(
        scenarios=scenarios,
        name=name,
        report_dir=settings["report_dir"],
        engine=settings["engine"],
        jobs=settings["jobs"],
        repeat=settings["repeat"],
        shard=Shard.parse(shard) if shard else None,
        seed=settings.get("seed"),
        fail_fast=settings.get("fail_fast", False),
        fast=settings.get("fast", False),
        infer=settings.get("infer", False),
        **_certainty(settings),
        keep=settings["keep"],
        try_fixes=settings.get("try_fixes", False),
        junitxml=settings["junitxml"],
        sarif=settings.get("sarif"),
        base_image=settings["base_image"],
        witness=settings.get("witness", False),
        baseline=settings.get("baseline"),
        fail_on_slower=settings.get("fail_on_slower", False),
        cluster=target if settings["engine"] == "ecs" else None,
        command_line=("stop-harness", *sys.argv[1:]),
        show_values=settings.get("show_values", False),
        share_report=settings.get("share_report", False),
    )


def _certainty(settings: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that say how certain is certain enough. Raises UsageError."""
    from stop_harness import units
    from stop_harness.model import ReliabilityGoal

    until_sure, max_time = settings.get("until_sure", False), settings.get("max_time")
    if until_sure and settings.get("shard"):
        raise UsageError("--until-sure counts the stops of one run; it cannot be used with --shard")
    for name in ("max_repeat", "max_time"):
        if settings.get(name) is not None and not until_sure:
            raise UsageError(f"--{name.replace('_', '-')} is a limit of --until-sure; name both, or use --repeat")
    try:
        max_time_ns = None if max_time is None else units.parse_duration(max_time)
    except ValueError as error:
        raise UsageError(f"--max-time: {error}") from None
    return {
        "goal": ReliabilityGoal(settings.get("confidence", 0.95), settings.get("reliability", 0.99)),
        "until_sure": until_sure,
        "max_repeat": settings.get("max_repeat"),
        "max_time_ns": max_time_ns,
    }


def _summarise(outcome: RunOutcome, color: str) -> None:
    """What the run came to, where there is a place to say it; the report has it in any case."""
    from stop_harness.cli import standard_streams
    from stop_harness.renderers import terminal
    from stop_harness.run import write_report

    summary = terminal.summary(outcome.report, **terminal_output.style(color))
    assert outcome.directory is not None
    resume = f"resume: stop-harness run --resume {shlex.quote(str(outcome.directory))}\n"
    more = resume if outcome.report.run.interrupted else ""
    terminal_output.deliver(f"{summary}\nreport: {outcome.directory / write_report.HTML_FILE}\n{more}", color)
    standard_streams.forgive(sys.stdout)
