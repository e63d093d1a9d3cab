"""`stop-harness check`: one image or command, from options."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from stop_harness.cli import completion, github, session, terminal_output
from stop_harness.cli import options as cli_options
from stop_harness.cli.options import (
    BASE_IMAGE,
    CLUSTER,
    CODE_QUALITY,
    EFFORT,
    ENGINE,
    EXIT_CODES_HELP,
    FAULT,
    FAULTS,
    GITHUB,
    JOBS,
    JUNITXML,
    KEEP,
    MANNER,
    PARAMETER,
    REPEAT,
    REPORT_DIR,
    RUN_TASK,
    SARIF,
    SHARE_REPORT,
    SHOW_VALUES,
    TRAFFIC,
    TRY_FIXES,
    WATCH_FILES,
    WITNESS,
    CheckCommand,
    options,
)
from stop_harness.conductor import exit_codes
from stop_harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stop_harness.conductor.request import RunOutcome, RunRequest
    from stop_harness.engines.docker.host import DockerHost
    from stop_harness.model import Report
    from stop_harness.trial.perform import Interruption


@click.command(cls=CheckCommand, epilog=EXIT_CODES_HELP, short_help="Stop one container and judge how it shut down.")
@click.argument("names", nargs=-1, metavar="[IMAGE | SERVICE... | CONTAINER]")
@click.option(
    "--container",
    metavar="NAME",
    help="Stop this container, which runs already, and leave it stopped. With --kubernetes: CONTAINER.",
)
@click.option("--restart", is_flag=True, help="Start the container of --container again after each stop.")
@click.option(
    "--build",
    metavar="DIR",
    shell_complete=completion.folders,
    help="Build the Dockerfile in this folder and stop what it makes.",
)
@click.option(
    "--compose",
    multiple=True,
    metavar="FILE",
    shell_complete=completion.files,
    help="Stop these services of a Compose file, or each of them. May be repeated, as docker compose -f.",
)
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="Activate a profile of the Compose file.")
@click.option("--down", is_flag=True, help="Stop the whole Compose project, as docker compose down.")
@click.option(
    "--task-definition",
    metavar="FILE",
    shell_complete=completion.files,
    help="Stop the containers of this ECS task definition.",
)
@click.option(
    "--kubernetes",
    metavar="FILE",
    shell_complete=completion.files,
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
@click.option(
    "--signal",
    "stop_signal",
    metavar="SIGNAL",
    shell_complete=completion.signal_names,
    help="Send this signal instead of the image's STOPSIGNAL.",
)
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
@options(FAULT, FAULTS)
@click.option("--within", metavar="DURATION", help="Fail if the shutdown takes longer than this.")
@click.option("--exit-code", "exit_codes", multiple=True, type=int, help="Accept this exit code. May be repeated.")
@click.option("--sweep-start", is_flag=True, help="Find out how long after its start a container loses stop signals.")
@click.option("--predict", is_flag=True, help="Stop nothing; forecast the stop from the signal masks.")
@options(ENGINE, CLUSTER, RUN_TASK, JOBS, REPEAT, *EFFORT, TRY_FIXES, WITNESS, KEEP, WATCH_FILES)
@options(REPORT_DIR, JUNITXML, SARIF, CODE_QUALITY, GITHUB, SHARE_REPORT, SHOW_VALUES, BASE_IMAGE, *MANNER)
@click.pass_context
def check(context: click.Context, /, predict: bool, sweep_start: bool, **given: Any) -> None:
    """Stop one container and say whether it shut down gracefully.

    Give an IMAGE, or one of --build, --compose, --kubernetes, --task-definition and --container, or a command after
    `--`.

    \b
    stop-harness check nginx:latest
    stop-harness check --build . --ready-tcp 8000 --timeout 10s --timeout 30s
    stop-harness check --compose compose.yaml web
    stop-harness check --kubernetes deployment.yaml
    stop-harness check --container web
    stop-harness check -- python3 server.py
    """
    manner, watch_files = session.Manner.taken_from(given), given.pop("watch_files")
    _sort_names(given)
    find = _look_ahead(given)
    command = tuple(context.meta.get("command", ()))
    alone = "--predict" if predict else "--sweep-start" if sweep_start else ""
    if alone and context.get_parameter_source("faults") is not click.core.ParameterSource.COMMANDLINE:
        given["faults"] = None  # a setting is meant for stops
    if alone and given["ended_by"]:
        raise UsageError(f"--ended-by does not go with {alone}, which ends nothing in its way")
    if alone and watch_files:
        raise UsageError(f"--watch-files does not go with {alone}")
    given["waivers"] = context.obj or ()
    by_option = context.get_parameter_source("engine") is click.core.ParameterSource.COMMANDLINE
    if watch_files:
        sys.exit(_again(given, command, manner, engine_named=by_option))
    request = _request(given, command, find, engine_named=by_option)
    if alone and len([item for item in request.scenarios if item.twin is None]) > 1:
        raise UsageError(f"{alone} is about one container; name one SERVICE")
    if predict:
        sys.exit(_forecast(request, manner))
    if sweep_start:
        sys.exit(_sweep_start(request, manner))
    sys.exit(exit_codes.of_run(_performed(request, manner, find, given["github"])))


def _look_ahead(given: dict[str, Any]) -> Callable[[], DockerHost] | None:
    """Where a container engine is needed."""
    named = ("image", "build", "compose", "kubernetes", "container")
    return session.look_ahead(given["engine"]) if any(given[key] for key in named) else None


def _request(
    given: dict[str, Any], command: tuple[str, ...], find: Callable[[], DockerHost] | None, *, engine_named: bool
) -> RunRequest:
    from stop_harness.conductor import asked

    searched = {} if find is None else {"find": find}
    return asked.of_check(given, command, ("stop-harness", *sys.argv[1:]), engine_named=engine_named, **searched)


def _performed(
    request: RunRequest,
    manner: session.Manner,
    find: Callable[[], DockerHost] | None,
    for_github: str,
    interruption: Interruption | None = None,
) -> RunOutcome:
    """The run, whose answer is printed. `interruption` as in `session.perform`."""
    from stop_harness.conductor import write_report

    outcome = session.perform(request, manner, find, interruption)
    _print_check(outcome.report, manner, for_github)
    if outcome.directory is not None and not manner.quiet:
        click.echo(f"\nreport: {outcome.directory / write_report.HTML_FILE}", err=manner.as_json)
    return outcome


def _again(given: dict[str, Any], command: tuple[str, ...], manner: session.Manner, *, engine_named: bool) -> int:
    from stop_harness.cli import again

    def perform(request: RunRequest, interruption: Interruption) -> again.Tried:
        outcome = _performed(request, manner, _look_ahead(given), given["github"], interruption)
        return again.Tried(outcome.report, exit_codes.of_run(outcome))

    def ask() -> RunRequest:
        return _request(given, command, None, engine_named=engine_named)

    return again.keep_trying(again.Repeated(ask, perform, again.of_check(given, command)), manner)


def _sort_names(given: dict[str, Any]) -> None:
    """What the arguments without an option name. Raises UsageError for more than one image."""
    names = given.pop("names")
    given["services"] = names if given["compose"] else ()
    if names and given["kubernetes"]:
        if given["container"] is not None:
            raise UsageError(f"which container of the pod is meant: {names[0]} or --container {given['container']}?")
        given["container"] = names[0]
    given["image"] = names[0] if names and not given["compose"] and not given["kubernetes"] else None
    if len(names) > 1 and given["kubernetes"]:
        raise UsageError(f"check stops the whole pod, or one CONTAINER of it, not {', '.join(names)}")
    if len(names) > 1 and not given["compose"]:
        raise UsageError(f"check takes one IMAGE, not {', '.join(names)}; services of a Compose file go with --compose")


def _next_step(report: Report) -> str:
    """What to do after a failure of which no change was tried yet; else empty."""
    from stop_harness.model import Status

    if report.count(Status.FAIL) == len(report.waived) or report.remedies:
        return ""
    from stop_harness.experiments.remedies import may_be_cured
    from stop_harness.renderers.sections.columns import hanging

    text = "mend it and check again; `--try-fixes` tries changes on fresh containers and says which of them cure it."
    undisturbed = [item for item in report.undisturbed if item.verdict.status is Status.FAIL]
    if not any(map(may_be_cured, undisturbed)):
        text = "mend it and check again; no change of its stop helps."
    if not undisturbed:
        text = "mend it and check again; it fails under faults alone, where `--try-fixes` tries nothing."
    return "\n" + "\n".join(hanging("next", text, terminal_output.width())) + "\n"


def _print_check(report: Report, manner: session.Manner, for_github: str) -> None:
    if manner.as_json:
        from stop_harness.renderers.results import results_json

        click.echo(results_json.render(report), nl=False)
    else:
        from stop_harness.renderers import terminal

        told = terminal.check_answer if manner.quiet else terminal.check_verdict
        text = told(report, **terminal_output.style(manner.color))
        text += "" if manner.quiet else _next_step(report)
        terminal_output.deliver(github.shielded(text, for_github), manner.color)
    github.publish(report, for_github, as_json=manner.as_json)


def _forecast(request: RunRequest, manner: session.Manner) -> int:
    """Print the forecast; 0 would stop, 1 would be SIGKILLed, 3 unknown."""
    from stop_harness.conductor import preview
    from stop_harness.evidence.forecast import Expected
    from stop_harness.renderers.sections import forecast_text
    from stop_harness.trial.perform import Interruption

    progress, interruption = session.progress_for(manner), Interruption()
    session.Interrupts(interruption, progress).install()
    try:
        found = preview.forecast_stop(request, progress, interruption)
    finally:
        progress.close()
    text = (
        forecast_text.render_json(found)
        if manner.as_json
        else forecast_text.render(found, request.name, width=terminal_output.width())
    )
    click.echo(text, nl=False)
    return {
        Expected.STOPS: exit_codes.PASS,
        Expected.KILLED: exit_codes.FAIL,
        Expected.UNKNOWN: exit_codes.INCONCLUSIVE,
    }[found.expected]


def _sweep_start(request: RunRequest, manner: session.Manner) -> int:
    """Print where stop signals are lost; 0 nowhere, 1 somewhere, 3 not known."""
    from stop_harness.conductor import preview
    from stop_harness.experiments.start_window import StopFate
    from stop_harness.renderers.sections import start_sweep_text
    from stop_harness.trial.perform import Interruption

    progress, interruption = session.progress_for(manner), Interruption()
    session.Interrupts(interruption, progress).install()
    try:
        sweep = preview.sweep_start(request, progress, interruption)
    finally:
        progress.close()
    text = start_sweep_text.render_json(sweep) if manner.as_json else start_sweep_text.render(sweep)
    terminal_output.deliver(text if manner.as_json else terminal_output.in_its_letters(text), "never")
    if interruption.by_user:
        return exit_codes.INTERRUPTED
    if sweep.window is not None:
        return exit_codes.FAIL
    heard = any(moment.fate is StopFate.HEARD for moment in sweep.moments)
    return exit_codes.PASS if heard else exit_codes.INCONCLUSIVE
