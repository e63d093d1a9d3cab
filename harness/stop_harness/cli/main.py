"""The command line: options, files, exit codes. No logic, and nothing heavy imported until a command needs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from stop_harness._version import VERSION
from stop_harness.cli import exit_codes, standard_streams
from stop_harness.cli.check import check
from stop_harness.cli.ecs_serve import ecs  # light: it imports the endpoint when it is served
from stop_harness.cli.options import (
    EXIT_CODES_HELP,
    INFER,
    JOBS,
    PARAMETER,
    PATHS,
    REPEAT,
    REPORT_DIR,
    SEED,
    SETTINGS,
    SHARD,
    Commands,
    options,
)
from stop_harness.cli.run import request_of, run
from stop_harness.cli.stop_task import stop_task  # light as well
from stop_harness.cli.stored import judge, report
from stop_harness.cli.trend import trend
from stop_harness.errors import StopHarnessError, UsageError, not_written
from stop_harness.run import crash_report
from stop_harness.trial import surroundings


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
)
@click.version_option(VERSION, prog_name="stop-harness")
@click.pass_context
def cli(context: click.Context) -> None:
    """Does my container shut down gracefully, and if not, why?"""
    from stop_harness.cli import settings

    found = settings.load(Path.cwd(), SETTINGS)
    context.default_map = dict.fromkeys(cli.commands, found)


# ── files and stored runs ────────────────────────────────────────────────────────────────────────────────────────────


@cli.command()
@PATHS
@PARAMETER
def validate(paths: tuple[Path, ...], parameters: tuple[str, ...]) -> None:
    """Check scenario files, task definitions and Kubernetes manifests without running them.

    Names every mistake with file, line and column, and what a task definition or a manifest shows before it runs.
    """
    from stop_harness.scenario import check_options, discovery
    from stop_harness.verdict import static_findings

    pods = {path: discovery.pods_of(path) for path in paths}
    others = tuple(path for path in paths if not pods[path])
    found, tasks = discovery.find_all(others, check_options.parameters(parameters))
    of_pods = tuple(pod for path in paths for pod in pods[path])
    scenarios = (*found.scenarios, *tasks.scenarios, *of_pods)
    for skipped in found.passed_over:
        click.echo(f"{skipped.scenario}: {skipped.reason}", err=True)
    for item in static_findings.of_scenarios(scenarios):
        container = f" container {item.container}:" if item.container else ""
        finding = item.finding
        click.echo(f"{finding.severity}: {item.scenario}:{container} {finding.message} [{finding.rule}]", err=True)
    kinds = (("scenario", found.scenarios), ("task definition", tasks.scenarios), ("pod", of_pods))
    for kind, valid in kinds:
        if valid or (kind == "scenario" and others and not tasks.scenarios):
            click.echo(f"{len(valid)} {kind}{'s are' if len(valid) != 1 else ' is'} valid")
    for file in dict.fromkeys(item.subject.task_file for item in tasks.scenarios):
        click.echo(f"to stop its containers: stop-harness check --task-definition {file}", err=True)


@cli.command()
@PATHS
@options(JOBS, REPEAT, SHARD, SEED, INFER, REPORT_DIR)
def plan(paths: tuple[Path, ...], **settings: Any) -> None:
    """Show what `run` would do, and how long it would take.

    Needs no engine. The time is estimated from the latest run in --report-dir (default: reports), or from what the
    scenarios expect.
    """
    from stop_harness import units
    from stop_harness.model import NS_PER_S
    from stop_harness.run import preview
    from stop_harness.scenario import discovery

    settings["report_dir"] = settings["report_dir"] or Path("reports")
    empty = {"engine": "auto", "keep": False, "junitxml": None, "base_image": None}
    found = discovery.find(paths)
    for skipped in found.passed_over:
        click.echo(f"{skipped.scenario}: {skipped.reason}", err=True)
    request = request_of(found.scenarios, "plan", {**empty, **settings})
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
    click.echo(f"{planned.count} trials{stops}, {text}", err=True)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("stop-harness.yaml"))
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
def init(path: Path, force: bool) -> None:
    """Write a commented scenario to start from."""
    from stop_harness.scenario.check_options import COMMENTED_SCENARIO

    if path.exists() and not force:
        raise UsageError(f"{path} exists; name another file, or --force")
    try:
        path.write_text(COMMENTED_SCENARIO, encoding="utf-8")
    except OSError as error:
        raise not_written(f"cannot write {path}: {error.strerror}", error) from None
    click.echo(f"wrote {path}; edit it, then: stop-harness run {path}")


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
    from stop_harness.run import open_engine
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


cli.add_command(run)
cli.add_command(check)
cli.add_command(judge)
cli.add_command(report)
cli.add_command(ecs)
cli.add_command(trend)
cli.add_command(stop_task)


def main() -> NoReturn:
    """The entry point, where the process ends.

    At once, without the interpreter's own end: that puts every module away, which is a fifth of the CPU time of
    `check`, and it would wait for a thread that hangs in a call to a dead engine. Nothing of ours is left to do then.
    """
    os._exit(perform())


def perform() -> int:
    """The command line, to its exit code: errors become messages, never tracebacks."""
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
        click.echo(crash_report.of(error, sys.argv, cli.commands), err=True, nl=False)
        return exit_codes.HARNESS
    return exit_codes.PASS
