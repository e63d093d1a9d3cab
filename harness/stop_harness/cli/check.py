"""`stop-harness check`: one image or command, from options."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stop_harness.cli import exit_codes, session, terminal_output
from stop_harness.cli import options as cli_options
from stop_harness.cli.options import (
    BASE_IMAGE,
    CLUSTER,
    COLOR,
    EFFORT,
    ENGINE,
    EXIT_CODES_HELP,
    JOBS,
    JUNITXML,
    KEEP,
    PARAMETER,
    REPEAT,
    REPORT_DIR,
    RUN_TASK,
    SARIF,
    SHARE_REPORT,
    SHOW_VALUES,
    TRAFFIC,
    TRY_FIXES,
    WITNESS,
    CheckCommand,
    options,
)
from stop_harness.cli.run import request_of
from stop_harness.errors import UsageError

if TYPE_CHECKING:
    from stop_harness.model import Report, Scenario
    from stop_harness.run.request import RunRequest


@click.command(cls=CheckCommand, epilog=EXIT_CODES_HELP, short_help="Stop one container and judge how it shut down.")
@click.argument("names", nargs=-1, metavar="[IMAGE | SERVICE... | CONTAINER]")
@click.option("--build", metavar="DIR", help="Build the Dockerfile in this folder and stop what it makes.")
@click.option(
    "--compose",
    multiple=True,
    metavar="FILE",
    help="Stop these services of a Compose file, or each of them. May be repeated, as docker compose -f.",
)
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="Activate a profile of the Compose file.")
@click.option("--down", is_flag=True, help="Stop the whole Compose project, as docker compose down.")
@click.option("--task-definition", metavar="FILE", help="Stop the containers of this ECS task definition.")
@click.option(
    "--kubernetes",
    metavar="FILE",
    help="Stop the pod of this manifest; judge only CONTAINER, if given. -: read a rendered chart from standard input.",
)
@click.option("--workload", metavar="[KIND/]NAME", help="Which workload of the manifest, where it has several.")
@click.option(
    "--image",
    "--task-image",
    "task_images",
    multiple=True,
    metavar="CONTAINER=IMAGE",
    help="Use another image for a container of the task or pod. May be repeated.",
)
@click.option("--task-name", metavar="NAME", help="Which task, if the file has several: its family or resource.")
@PARAMETER
@click.option(
    "--ended-by",
    "ended_by",
    multiple=True,
    type=click.Choice(["stop-task", "scale-in", "spot"]),
    help="End the task of --task-definition like this. May be repeated.  [default: stop-task]",
)
@click.option(
    "--timeout",
    "timeouts",
    multiple=True,
    metavar="DURATION",
    help="Send SIGKILL after this time. May be repeated.  [default: 30s]",
)
@click.option("--signal", "stop_signal", metavar="SIGNAL", help="Send this signal instead of the image's STOPSIGNAL.")
@click.option("--env", multiple=True, metavar="KEY=VALUE", help="Set an environment variable. May be repeated.")
@click.option("--init", is_flag=True, help="Run the container under the engine's init.")
@click.option("--memory", metavar="SIZE", help="Limit the memory, such as to 128MiB.")
@click.option(
    "--pids-limit",
    callback=cli_options.pids_limit,
    metavar="N",
    help="Limit processes and threads; -1 sets no limit.  [default: 4096]",
)
@click.option("--ready-log", metavar="REGEX", help="The container is ready when a line of its output matches.")
@click.option(
    "--ready-tcp", type=int, metavar="PORT", help="The container is ready when this port accepts connections."
)
@click.option(
    "--ready-http", metavar="PORT[/PATH]", help="The container is ready when a GET is answered with a status below 400."
)
@click.option("--ready-healthcheck", is_flag=True, help="The container is ready when its HEALTHCHECK reports healthy.")
@click.option(
    "--ready-delay", metavar="DURATION", help="Wait this long once it is ready.  [default: 1s if no condition is given]"
)
@click.option("--ready-timeout", metavar="DURATION", help="Give up if it is not ready by then.  [default: 30s]")
@options(*TRAFFIC)
@click.option("--within", metavar="DURATION", help="Fail if the shutdown takes longer than this.")
@click.option("--exit-code", "exit_codes", multiple=True, type=int, help="Accept this exit code. May be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--sweep-start", is_flag=True, help="Find out how long after its start a container loses stop signals.")
@click.option("--predict", is_flag=True, help="Stop nothing; forecast the stop from the signal masks.")
@options(ENGINE, CLUSTER, RUN_TASK, JOBS, REPEAT, *EFFORT, TRY_FIXES, WITNESS, KEEP)
@options(REPORT_DIR, JUNITXML, SARIF, SHARE_REPORT, SHOW_VALUES, BASE_IMAGE, COLOR)
@click.pass_context
def check(context: click.Context, /, color: str, as_json: bool, predict: bool, sweep_start: bool, **given: Any) -> None:
    """Stop one container and say whether it shut down gracefully.

    Give an IMAGE, or one of --build, --compose, --kubernetes and --task-definition, or a command after `--`.

    \b
    stop-harness check nginx:latest
    stop-harness check --build . --ready-tcp 8000 --timeout 10s --timeout 30s
    stop-harness check --compose compose.yaml web
    stop-harness check --kubernetes deployment.yaml
    stop-harness check -- python3 server.py
    """
    _sort_names(given)
    find = (
        session.look_ahead(given["engine"])
        if given["image"] or given["build"] or given["compose"] or given["kubernetes"]
        else None
    )
    from stop_harness.run import write_report
    from stop_harness.scenario import discovery
    from stop_harness.scenario.check_options import is_bare

    command = tuple(context.meta.get("command", ()))
    alone = "--predict" if predict else "--sweep-start" if sweep_start else ""
    if alone and given["ended_by"]:
        raise UsageError(f"--ended-by does not go with {alone}, which ends nothing in its way")
    scenarios = tuple(discovery.with_what_it_names(item) for item in _scenarios(given, command))
    if is_bare(given):
        named = context.get_parameter_source("engine") is click.core.ParameterSource.COMMANDLINE
        if named and given["engine"] not in {"auto", "process"}:
            raise UsageError(
                f"--engine {given['engine']} needs an image: stop-harness check IMAGE -- COMMAND; a command alone runs "
                "on the engine `process`"
            )
        given["engine"] = "process"
    request = request_of(scenarios, _name_of(scenarios), given)
    if alone and len(scenarios) > 1:
        raise UsageError(f"{alone} is about one container; name one SERVICE")
    if predict:
        sys.exit(_forecast(request, color, as_json))
    if sweep_start:
        sys.exit(_sweep_start(request, color, as_json))
    outcome = session.perform(request, color, find)
    _print_check(outcome.report, color, as_json)
    if outcome.directory is not None:
        click.echo(f"\nreport: {outcome.directory / write_report.HTML_FILE}", err=as_json)
    sys.exit(exit_codes.of_run(outcome))


def _sort_names(given: dict[str, Any]) -> None:
    """What the arguments without an option name. Raises UsageError for more than one image."""
    names = given.pop("names")
    given["services"] = names if given["compose"] else ()
    given["container"] = names[0] if names and given["kubernetes"] else None
    given["image"] = names[0] if names and not given["compose"] and not given["kubernetes"] else None
    if len(names) > 1 and given["kubernetes"]:
        raise UsageError(f"check stops the whole pod, or one CONTAINER of it, not {', '.join(names)}")
    if len(names) > 1 and not given["compose"]:
        raise UsageError(f"check takes one IMAGE, not {', '.join(names)}; services of a Compose file go with --compose")


def _scenarios(given: dict[str, Any], command: tuple[str, ...]) -> tuple[Scenario, ...]:
    """One, but for the services of a Compose project and the ways to end a task. Raises UsageError or ScenarioError."""
    from stop_harness.scenario import check_options

    check_options.refuse_mixtures(given, command)
    if not given["compose"]:
        return check_options.by_ending(check_options.scenario_of(given, command), given["ended_by"])
    from stop_harness.scenario import compose_options  # late: it reads YAML

    return compose_options.scenarios_of(given, command, dict(os.environ))


def _name_of(scenarios: tuple[Scenario, ...]) -> str:
    """Of the run: that of its scenario, or of the folder whose services these are."""
    origin = scenarios[0].subject.origin
    if len(scenarios) == 1 or origin is None:
        return scenarios[0].name
    file = Path(origin.files[0]).resolve()
    return (file if file.is_dir() else file.parent).name or scenarios[0].name


def _print_check(report: Report, color: str, as_json: bool) -> None:
    if as_json:
        from stop_harness.renderers.results import results_json

        click.echo(results_json.render(report), nl=False)
    else:
        from stop_harness.renderers import terminal

        text = terminal.check_verdict(report, **terminal_output.style(color))
        terminal_output.deliver(text, color)


def _forecast(request: RunRequest, color: str, as_json: bool) -> int:
    """Print the forecast; 0 would stop, 1 would be SIGKILLed, 3 unknown."""
    from stop_harness.evidence.forecast import Expected
    from stop_harness.renderers.sections import forecast_text
    from stop_harness.run import preview
    from stop_harness.trial.perform import Interruption

    progress, interruption = session.progress_for(color), Interruption()
    session.Interrupts(interruption, progress).install()
    try:
        found = preview.forecast_stop(request, progress, interruption)
    finally:
        progress.close()
    text = (
        forecast_text.render_json(found)
        if as_json
        else forecast_text.render(found, request.name, width=terminal_output.width())
    )
    click.echo(text, nl=False)
    return {
        Expected.STOPS: exit_codes.PASS,
        Expected.KILLED: exit_codes.FAIL,
        Expected.UNKNOWN: exit_codes.INCONCLUSIVE,
    }[found.expected]


def _sweep_start(request: RunRequest, color: str, as_json: bool) -> int:
    """Print where stop signals are lost; 0 nowhere, 1 somewhere, 3 not known."""
    from stop_harness.experiments.start_window import StopFate
    from stop_harness.renderers.sections import start_sweep_text
    from stop_harness.run import preview
    from stop_harness.trial.perform import Interruption

    progress, interruption = session.progress_for(color), Interruption()
    session.Interrupts(interruption, progress).install()
    try:
        sweep = preview.sweep_start(request, progress, interruption)
    finally:
        progress.close()
    text = start_sweep_text.render_json(sweep) if as_json else start_sweep_text.render(sweep)
    click.echo(text if terminal_output.unicode() or as_json else text.encode("ascii", "replace").decode(), nl=False)
    if interruption.by_user:
        return exit_codes.INTERRUPTED
    if sweep.window is not None:
        return exit_codes.FAIL
    heard = any(moment.fate is StopFate.HEARD for moment in sweep.moments)
    return exit_codes.PASS if heard else exit_codes.INCONCLUSIVE
