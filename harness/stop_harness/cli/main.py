"""The command line: options, files, exit codes. No logic, and nothing heavy imported until a command needs it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from stop_harness._version import VERSION
from stop_harness.cli import standard_streams
from stop_harness.cli.help import show_all
from stop_harness.cli.options import (
    EXIT_CODES_HELP,
    FAULTS,
    INFER,
    JOBS,
    PARAMETER,
    PATHS,
    REPEAT,
    REPORT_DIR,
    SEED,
    SHARD,
    Commands,
    options,
)
from stop_harness.conductor import crash_report, exit_codes, settings
from stop_harness.errors import StopHarnessError, UsageError, not_written
from stop_harness.trial import surroundings

ELSEWHERE = {
    "check": "stop_harness.cli.check:check",
    "completion": "stop_harness.cli.completion:completion",
    "ecs": "stop_harness.cli.ecs_serve:ecs",
    "explore": "stop_harness.cli.explore:explore",
    "judge": "stop_harness.cli.stored:judge",
    "report": "stop_harness.cli.stored:report",
    "rerun": "stop_harness.cli.rerun:rerun",
    "run": "stop_harness.cli.run:run",
    "stop-task": "stop_harness.cli.stop_task:stop_task",
    "trend": "stop_harness.cli.trend:trend",
    "watch": "stop_harness.cli.watch:watch",
}
"""Commands with a file of their own: where they are."""


@click.group(
    cls=Commands,
    elsewhere=ELSEWHERE,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
)
@click.version_option(VERSION, prog_name="stop-harness")
@click.option(
    "--help-all",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_all,
    help="Show the help of every command and exit.",
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Does my container shut down gracefully, and if not, why?"""
    found, context.obj = settings.load(Path.cwd(), settings.SETTINGS)
    context.default_map = dict.fromkeys(cli.list_commands(context), found)


# ── files and stored runs ────────────────────────────────────────────────────────────────────────────────────────────


@cli.command()
@PATHS
@PARAMETER
def validate(paths: tuple[Path, ...], parameters: tuple[str, ...]) -> None:
    """Check scenario files, task definitions and Kubernetes manifests without running them.

    Names every mistake with file, line and column, and what a task definition or a manifest shows before it runs.
    """
    from stop_harness.conductor import validation
    from stop_harness.scenario import check_options

    found = validation.of_paths(paths, check_options.parameters(parameters))
    for skipped in found.passed_over:
        click.echo(f"{skipped.scenario}: {skipped.reason}", err=True)
    for item in found.findings:
        container = f" container {item.container}:" if item.container else ""
        finding = item.finding
        click.echo(f"{finding.severity}: {item.scenario}:{container} {finding.message} [{finding.rule}]", err=True)
    kinds = (("scenario", found.scenarios), ("task definition", found.task_definitions), ("pod", found.pods))
    for kind, valid in kinds:
        if valid:
            click.echo(f"{valid} {kind}{'s are' if valid != 1 else ' is'} valid")
    for file in found.task_files:
        click.echo(f"to stop its containers: stop-harness check --task-definition {shlex.quote(str(file))}", err=True)


@cli.command()
@PATHS
@options(JOBS, REPEAT, SHARD, SEED, INFER, FAULTS, REPORT_DIR)
def plan(paths: tuple[Path, ...], **settings: Any) -> None:
    """Show what `run` would do, and how long it would take.

    Needs no engine. The time is estimated from the latest run in --report-dir (default: reports), or from what the
    scenarios expect.
    """
    from stop_harness import units
    from stop_harness.conductor import asked, preview
    from stop_harness.model import NS_PER_S
    from stop_harness.wording import count_of

    settings["report_dir"] = settings["report_dir"] or Path("reports")
    empty = {"engine": "auto", "keep": False, "junitxml": None, "base_image": None}
    request = asked.of_files(paths, {**empty, **settings}, ("stop-harness", *sys.argv[1:]))
    for skipped in request.passed_over:
        click.echo(f"{skipped.scenario}: {skipped.reason}", err=True)
    planned, estimated = preview.plan_only(request)
    for item in planned.trials:
        shorter = ", ".join(units.format_duration(timeout_ns) for timeout_ns in item.shorter_timeouts_ns)
        click.echo(item.trial_id + (f"  derives {shorter}" if shorter else ""))
    about, most = (
        units.format_duration(value_ns // NS_PER_S * NS_PER_S)
        for value_ns in (estimated.expected_ns + NS_PER_S - 1, estimated.at_most_ns + NS_PER_S - 1)
    )
    stops = f" from {len(planned.trials)} stops" if planned.count > len(planned.trials) else ""
    basis = f" ({estimated.known} stops as in the latest run)" if estimated.known else ""
    text = f"about {about}{basis}, at most about {most} if every stop lasts its whole timeout"
    click.echo(f"{count_of(planned.count, 'trial')}{stops}, {text}", err=True)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("stop-harness.yaml"))
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Fill it in from this Dockerfile, Compose file, ECS task definition or Kubernetes manifest.",
)
@click.option("--container", metavar="NAME", help="Fill it in from this running container, which is only looked at.")
def init(path: Path, force: bool, source: Path | None, container: str | None) -> None:
    """Write a commented scenario to start from.

    It is filled in with what the Dockerfile, Compose file, ECS task definition or Kubernetes manifest in this folder
    says of readiness, stop signal and stop timeouts; each such line says where it was found.
    """
    from stop_harness.conductor import open_engine, starting_scenario

    if source is not None and container is not None:
        raise UsageError("init takes one of --from FILE and --container NAME")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; name another file, or --force")
    if container is not None:
        found = starting_scenario.of_container(container, path, open_engine.find_docker)
    else:
        found = starting_scenario.of_folder(Path(), path, source)
    try:
        path.write_text(found.text, encoding="utf-8")
    except OSError as error:
        raise not_written(f"cannot write {path}: {error.strerror}", error) from None
    for note in found.notes:
        click.echo(note, err=True)
    filled = f", filled in from {found.origin}" if found.origin else ""
    click.echo(f"wrote {path}{filled}; edit it, then: stop-harness run {shlex.quote(str(path))}")


@cli.command()
@click.option("--results", is_flag=True, help="Print the schema of results.json instead.")
def schema(results: bool) -> None:
    """Print the JSON Schema of scenario files."""
    import json

    from stop_harness.renderers.results import results_json
    from stop_harness.scenario import scenario_file

    click.echo(json.dumps(results_json.schema() if results else scenario_file.schema(), indent=2))


# ── engines ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@cli.command(epilog="Exits with 4 if no container engine answers: no Docker, no Podman, no ECS endpoint that is named.")
def doctor() -> None:
    """Say which engines answer here and what each can prove."""
    from stop_harness.conductor import open_engine
    from stop_harness.scenario.check_options import describe_engine

    lines = open_engine.survey()
    for line in lines:
        click.echo(describe_engine(line))
    used = next(line for line in lines if line.info is not None or line.insisted_on)
    click.echo(f"--engine auto would use: {used.name if used.info is not None else 'none, as you named that engine'}")
    # The embedded engine is part of the harness: that it is there says nothing about the machine.
    answers = any(line.info is not None for line in lines if line.name != "process")
    sys.exit(exit_codes.PASS if answers else exit_codes.HARNESS)


@cli.command()
@click.option("--all", "everything", is_flag=True, help="Remove containers of runs that may still be alive, too.")
@click.option("--images", is_flag=True, help="Remove images that the harness built, too.")
def clean(everything: bool, images: bool) -> None:
    """Remove containers, volumes and networks that dead runs left behind."""
    from stop_harness.engines.docker import host, reaper

    engine = host.find().address
    removed, problems = reaper.remove_run(engine, None, keep_living=not everything)
    click.echo(f"removed {removed} container{'' if removed == 1 else 's'}")
    if images:
        click.echo(f"removed {reaper.remove_images(engine)} images")
    for problem in problems:
        click.echo(f"could not remove {problem}", err=True)
    sys.exit(exit_codes.HARNESS if problems else exit_codes.PASS)


def main() -> NoReturn:
    """The entry point, where the process ends.

    At once, without the interpreter's own end: that puts every module away, which is a fifth of the CPU time of
    `check`, and it would wait for a thread that hangs in a call to a dead engine. Nothing of ours is left to do then.
    """
    os._exit(perform())


def perform() -> int:
    """The command line, to its exit code: errors become messages, never tracebacks."""
    _heed_stop_signal()
    standard_streams.guard()
    crash_report.watch()
    surroundings.economise()
    code = _code_of_command()
    if crash_report.SEEN and code in {exit_codes.PASS, exit_codes.FAIL, exit_codes.INCONCLUSIVE}:
        code = exit_codes.HARNESS
    problem = standard_streams.lost(sys.stdout)
    if problem is not None:
        click.echo(f"stop-harness: cannot write to standard output: {problem.strerror}", err=True)
        code = code or exit_codes.HARNESS
    sys.stderr.flush()
    return code


def _heed_stop_signal() -> None:
    """As PID 1 of a container, leave at a stop signal also while the command is still being imported: without a handler
    the kernel would drop it. A command with something to undo installs its own later."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(exit_codes.INTERRUPTED))


def _code_of_command() -> int:
    try:
        cli.main(prog_name="stop-harness", standalone_mode=False)
    except SystemExit as leave:
        if leave.code is None or isinstance(leave.code, int):
            return leave.code or exit_codes.PASS
        click.echo(f"stop-harness: {leave.code}", err=True)  # a library that gives up with a sentence
        return exit_codes.HARNESS
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return exit_codes.USAGE
    except StopHarnessError as error:
        click.echo(f"stop-harness: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted", err=True)
        sys.stderr.flush()
        os._exit(exit_codes.INTERRUPTED)  # image builds under way would otherwise be waited for
    except Exception as error:  # noqa: BLE001 - whatever it is: 1 would mean that a container failed
        click.echo(crash_report.of(error, sys.argv, (*cli.commands, *ELSEWHERE)), err=True, nl=False)
        return exit_codes.HARNESS
    return exit_codes.PASS
