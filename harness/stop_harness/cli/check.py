"""`stop-harness check`: one image or command, from options."""

from __future__ import annotations

import os
import sys
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
    REPEAT,
    REPORT_DIR,
    RUN_TASK,
    SARIF,
    SHARE_REPORT,
    SHOW_VALUES,
    TRY_FIXES,
    WITNESS,
    CheckCommand,
    options,
)
from stop_harness.cli.run import request_of
from stop_harness.errors import UsageError

if TYPE_CHECKING:
    from stop_harness.model import Report
    from stop_harness.run.request import RunRequest


@click.command(
    cls=CheckCommand, epilog=EXIT_CODES_HELP, short_help="Stop one image or command and judge it; no file needed."
)
@click.argument("image", required=False)
@click.option("--build", metavar="DIR", help="Build this folder instead of naming an image.")
@click.option("--compose", nargs=2, metavar="FILE SERVICE", help="Take a service of a Compose file.")
@click.option("--task-definition", metavar="FILE", help="A task definition of Amazon ECS, as JSON.")
@click.option(
    "--task-image", "task_images", multiple=True, metavar="CONTAINER=IMAGE", help="Another image for it; repeatable."
)
@click.option(
    "--timeout", "timeouts", multiple=True, metavar="DURATION", help="Stop timeout; repeatable. [default: 30s]"
)
@click.option("--signal", "stop_signal", metavar="SIGNAL", help="Stop signal instead of the image's own.")
@click.option("--env", multiple=True, metavar="KEY=VALUE", help="Environment variable; repeatable.")
@click.option("--init", is_flag=True, help="Run under the engine's init.")
@click.option("--memory", metavar="SIZE", help="Memory limit, such as 128MiB.")
@click.option(
    "--pids-limit",
    callback=cli_options.pids_limit,
    metavar="N",
    help="Most processes and threads; -1: no limit.  [default: 4096]",
)
@click.option("--ready-log", metavar="REGEX", help="Ready when the output matches.")
@click.option("--ready-tcp", type=int, metavar="PORT", help="Ready when the port accepts connections.")
@click.option("--ready-http", metavar="PORT[/PATH]", help="Ready when a GET answers below 400.")
@click.option("--ready-healthcheck", is_flag=True, help="Ready when the image's HEALTHCHECK says healthy.")
@click.option("--ready-delay", metavar="DURATION", help="Wait this long then. [default: 1s without a condition]")
@click.option("--ready-timeout", metavar="DURATION", help="Give up after this long. [default: 30s]")
@click.option("--traffic-http", metavar="PORT[/PATH]", help="Requests in flight at the stop, by two clients.")
@click.option("--traffic-idle", type=int, metavar="PORT", help="A connection that is held during the stop.")
@click.option("--clients", type=click.IntRange(1, 5000), metavar="N", help="Clients of --traffic-http.  [default: 2]")
@click.option("--within", metavar="DURATION", help="Fail if the shutdown takes longer.")
@click.option("--exit-code", "exit_codes", multiple=True, type=int, help="Accepted exit code; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of sentences.")
@click.option("--sweep-start", is_flag=True, help="Find the moments from its start on at which a stop signal is lost.")
@click.option("--predict", is_flag=True, help="Only forecast, from the signal masks; stops nothing.")
@options(ENGINE, CLUSTER, RUN_TASK, JOBS, REPEAT, *EFFORT, TRY_FIXES, WITNESS, KEEP)
@options(REPORT_DIR, JUNITXML, SARIF, SHARE_REPORT, SHOW_VALUES, BASE_IMAGE, COLOR)
@click.pass_context
def check(context: click.Context, /, color: str, as_json: bool, predict: bool, sweep_start: bool, **given: Any) -> None:
    """Stop IMAGE (or a build, a Compose service, an ECS task definition, or the COMMAND behind `--`) and say whether
    that was graceful.

    \b
    stop-harness check nginx:latest
    stop-harness check --build . --ready-tcp 8000 --timeout 10s --timeout 30s
    stop-harness check -- python3 server.py
    """
    from stop_harness.run import write_report
    from stop_harness.scenario import discovery
    from stop_harness.scenario.check_options import is_bare, scenario_of

    command = tuple(context.meta.get("command", ()))
    scenario = discovery.with_task(scenario_of(given, command, dict(os.environ)))
    if is_bare(given):
        named = context.get_parameter_source("engine") is click.core.ParameterSource.COMMANDLINE
        if named and given["engine"] not in {"auto", "process"}:
            raise UsageError(
                f"--engine {given['engine']} needs an image: stop-harness check IMAGE -- COMMAND; a command alone runs "
                "on the engine `process`"
            )
        given["engine"] = "process"
    request = request_of((scenario,), scenario.name, given)
    if predict:
        sys.exit(_predict(request, color, as_json))
    if sweep_start:
        sys.exit(_sweep_start(request, color, as_json))
    outcome = session.perform(request, color)
    _print_check(outcome.report, color, as_json)
    if outcome.directory is not None:
        click.echo(f"\nreport: {outcome.directory / write_report.HTML_FILE}", err=as_json)
    sys.exit(exit_codes.of_run(outcome))


def _print_check(report: Report, color: str, as_json: bool) -> None:
    if as_json:
        from stop_harness.renderers.results import results_json

        click.echo(results_json.render(report), nl=False)
    else:
        from stop_harness.renderers import terminal

        text = terminal.check_verdict(report, **terminal_output.style(color))
        terminal_output.deliver(text, color)


def _predict(request: RunRequest, color: str, as_json: bool) -> int:
    """Print the forecast; 0 would stop, 1 would be SIGKILLed, 3 unknown."""
    from stop_harness.evidence.forecast import Expected
    from stop_harness.renderers.sections import forecast_text
    from stop_harness.run import pipeline
    from stop_harness.trial.perform import Interruption

    progress, interruption = session.progress_for(color), Interruption()
    session.Interrupts(interruption, progress).install()
    try:
        found = pipeline.predict(request, progress, interruption)
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
    from stop_harness.experiments.start_window import Fate
    from stop_harness.renderers.sections import start_sweep_text
    from stop_harness.run import pipeline
    from stop_harness.trial.perform import Interruption

    progress, interruption = session.progress_for(color), Interruption()
    session.Interrupts(interruption, progress).install()
    try:
        sweep = pipeline.sweep_start(request, progress, interruption)
    finally:
        progress.close()
    text = start_sweep_text.render_json(sweep) if as_json else start_sweep_text.render(sweep)
    click.echo(text if terminal_output.unicode() or as_json else text.encode("ascii", "replace").decode(), nl=False)
    if interruption.by_user:
        return exit_codes.INTERRUPTED
    if sweep.window is not None:
        return exit_codes.FAIL
    return exit_codes.PASS if any(moment.fate is Fate.HEARD for moment in sweep.moments) else exit_codes.INCONCLUSIVE
