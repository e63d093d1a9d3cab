"""The command line: options, files, exit codes. No logic, and nothing heavy imported until a command needs it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from harness._version import VERSION
from harness.cli_options import (
    BASE_IMAGE,
    BASELINE,
    CLUSTER,
    COLOR,
    EFFORT,
    ENGINE,
    EXIT_CODES,
    FAIL,
    FAIL_FAST,
    FAIL_ON_SLOWER,
    HARNESS,
    INCONCLUSIVE,
    INFER,
    INTERRUPTED,
    JOBS,
    JUNITXML,
    KEEP,
    PASS,
    PATHS,
    REPEAT,
    REPORT_DIR,
    RUN_TASK,
    SARIF,
    SEED,
    SETTINGS,
    SHARD,
    TRY_FIXES,
    USAGE,
    CheckCommand,
    options,
)
from harness.ecs_client.cli import stop_task  # light as well
from harness.ecs_endpoint.cli import ecs  # light: it imports the endpoint when it is served
from harness.errors import StopHarnessError, UsageError
from harness.trend_cli import trend

if TYPE_CHECKING:
    from harness.model import Report, Scenario
    from harness.pipeline import RunOutcome, RunRequest
    from harness.progress import LiveProgress, PlainProgress
    from harness.trial import Interruption


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
    no_args_is_help=True,
)
@click.version_option(VERSION, prog_name="stop-harness")
@click.pass_context
def cli(context: click.Context) -> None:
    """Does my container shut down gracefully, and if not, why?"""
    from harness import settings

    found = settings.load(Path.cwd(), SETTINGS)
    context.default_map = dict.fromkeys(cli.commands, found)


# ── run, check ───────────────────────────────────────────────────────────────────────────────────────────────────────


@cli.command(epilog=EXIT_CODES)
@PATHS
@options(ENGINE, CLUSTER, RUN_TASK, JOBS, REPEAT, SHARD, SEED, FAIL_FAST, *EFFORT, TRY_FIXES, KEEP)
@options(BASELINE, FAIL_ON_SLOWER, REPORT_DIR, JUNITXML, SARIF, BASE_IMAGE, COLOR)
def run(paths: tuple[Path, ...], color: str, fail_on_slower: bool, **settings: Any) -> None:
    """Run every scenario in PATHS (files, or folders of them) and write a report."""
    from harness import discovery

    scenarios = discovery.load(paths)
    name = scenarios[0].name if len(scenarios) == 1 else paths[0].resolve().name
    settings["report_dir"] = settings["report_dir"] or Path("reports")
    request = _request(scenarios, name, settings)
    report = _run_and_summarise(request, color)
    sys.exit(_exit_code(report, fail_on_slower=fail_on_slower))


@cli.command(cls=CheckCommand, epilog=EXIT_CODES, short_help="Stop one image or command and judge it; no file needed.")
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
@options(ENGINE, CLUSTER, RUN_TASK, JOBS, REPEAT, *EFFORT, TRY_FIXES, KEEP)
@options(REPORT_DIR, JUNITXML, SARIF, BASE_IMAGE, COLOR)
@click.pass_context
def check(context: click.Context, /, color: str, as_json: bool, predict: bool, sweep_start: bool, **given: Any) -> None:
    """Stop IMAGE (or a build, a Compose service, an ECS task definition, or the COMMAND behind `--`) and say whether
    that was graceful.

    \b
    stop-harness check nginx:latest
    stop-harness check --build . --ready-tcp 8000 --timeout 10s --timeout 30s
    stop-harness check -- python3 server.py
    """
    from harness import discovery, pipeline
    from harness.check import is_bare, scenario_of

    command = tuple(context.meta.get("command", ()))
    scenario = discovery.with_task(scenario_of(given, command, dict(os.environ)))
    if is_bare(given):
        given["engine"] = "process"  # a bare command has no image
    request = _request((scenario,), scenario.name, given)
    if predict:
        sys.exit(_predict(request, color, as_json))
    if sweep_start:
        sys.exit(_sweep_start(request, color, as_json))
    outcome = _run(request, color)
    _print_check(outcome.report, color, as_json)
    if outcome.directory is not None:
        click.echo(f"\nreport: {outcome.directory / pipeline.HTML_FILE}", err=as_json)
    sys.exit(_exit_code(outcome.report))


def _request(scenarios: tuple[Scenario, ...], name: str, settings: dict[str, Any]) -> RunRequest:
    from harness import scheduler
    from harness.engines.selection import Cluster
    from harness.pipeline import RunRequest
    from harness.plan import Shard

    given = settings.get("cluster") or settings.get("run_task")
    if given and settings["engine"] != "ecs":
        raise UsageError("--cluster and --run-task go with --engine ecs")
    scheduler.parse_jobs(settings["jobs"], 1)  # a mistake is refused before anything starts
    shard = settings.get("shard")
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
        baseline=settings.get("baseline"),
        cluster=Cluster(settings.get("cluster"), settings.get("run_task")) if settings["engine"] == "ecs" else None,
        command_line=("stop-harness", *sys.argv[1:]),
    )


def _certainty(settings: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that say how certain is certain enough. Raises UsageError."""
    from harness import units
    from harness.model import ReliabilityGoal

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


def _run_and_summarise(request: RunRequest, color: str) -> Report:
    from harness import pipeline
    from harness.renderers import terminal

    outcome = _run(request, color)
    _echo(terminal.summary(outcome.report, width=_width(), colour=_coloured(color), unicode=_unicode()), color)
    assert outcome.directory is not None
    click.echo(f"\nreport: {outcome.directory / pipeline.HTML_FILE}")
    return outcome.report


def _run(request: RunRequest, color: str) -> RunOutcome:
    """A run with progress on standard error, Ctrl-C and SIGTERM ending it cleanly, a second one at once."""
    from harness import pipeline
    from harness.trial import Interruption

    progress = _progress(color)
    interruption = Interruption()
    _Interrupts(interruption, progress).install()
    try:
        return pipeline.run(request, progress, interruption)
    finally:
        progress.close()


class _Interrupts:
    """First Ctrl-C or SIGTERM: no new trials, those in flight end now. Second: leave; the reaper cleans up."""

    def __init__(self, interruption: Interruption, progress: PlainProgress | LiveProgress) -> None:
        self._interruption, self._progress = interruption, progress

    def install(self) -> None:
        """Take over SIGINT and SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._interruption.by_user:
            os._exit(INTERRUPTED)
        self._interruption.request()
        if not self._progress.trials_begun:
            raise KeyboardInterrupt
        os.write(2, b"\ninterrupted: ending the trials in flight; once more to leave at once\n")


def _progress(color: str) -> PlainProgress | LiveProgress:
    from harness.progress import LiveProgress, PlainProgress

    live = sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
    return LiveProgress(colour=_coloured(color)) if live else PlainProgress()


def _print_check(report: Report, color: str, as_json: bool) -> None:
    from harness.renderers import results_json, terminal

    if as_json:
        click.echo(results_json.render(report), nl=False)
    else:
        text = terminal.check_verdict(report, width=_width(), colour=_coloured(color), unicode=_unicode())
        _echo(text, color)


def _predict(request: RunRequest, color: str, as_json: bool) -> int:
    """Print the forecast; 0 would stop, 1 would be SIGKILLed, 3 unknown."""
    from harness import pipeline
    from harness.prediction import Expected
    from harness.renderers import forecast
    from harness.trial import Interruption

    progress, interruption = _progress(color), Interruption()
    _Interrupts(interruption, progress).install()
    try:
        found = pipeline.predict(request, progress, interruption)
    finally:
        progress.close()
    text = forecast.render_json(found) if as_json else forecast.render(found, request.name, width=_width())
    click.echo(text, nl=False)
    return {Expected.STOPS: PASS, Expected.KILLED: FAIL, Expected.UNKNOWN: INCONCLUSIVE}[found.expected]


def _sweep_start(request: RunRequest, color: str, as_json: bool) -> int:
    """Print where stop signals are lost; 0 nowhere, 1 somewhere, 3 not known."""
    from harness import pipeline
    from harness.renderers import start_sweep_text
    from harness.start_window import Fate
    from harness.trial import Interruption

    progress, interruption = _progress(color), Interruption()
    _Interrupts(interruption, progress).install()
    try:
        sweep = pipeline.sweep_start(request, progress, interruption)
    finally:
        progress.close()
    text = start_sweep_text.render_json(sweep) if as_json else start_sweep_text.render(sweep)
    click.echo(text if _unicode() or as_json else text.encode("ascii", "replace").decode(), nl=False)
    if interruption.by_user:
        return INTERRUPTED
    if sweep.window is not None:
        return FAIL
    return PASS if any(moment.fate is Fate.HEARD for moment in sweep.moments) else INCONCLUSIVE


def _exit_code(report: Report, *, fail_on_slower: bool = False) -> int:
    """The whole run in one number: failures count before doubts, and a run that was cut short is not a pass, nor one
    that was to be sure and is not."""
    from harness.model import ClaimStatus, DurationChange, Status

    if report.run.interrupted:
        return INTERRUPTED
    slower = report.comparison.with_duration(DurationChange.SLOWER) if report.comparison else ()
    if report.count(Status.FAIL) or (fail_on_slower and slower):
        return FAIL
    if report.count(Status.PASS) != report.trials_planned or not report.results:
        return INCONCLUSIVE
    if report.run.until_sure and any(claim.status is not ClaimStatus.SHOWN for claim in report.claims):
        return INCONCLUSIVE
    return PASS


# ── files and stored runs ────────────────────────────────────────────────────────────────────────────────────────────


@cli.command()
@PATHS
def validate(paths: tuple[Path, ...]) -> None:
    """Check scenario files; every mistake with file:line:column, and what a task definition shows by itself."""
    from harness import discovery, task_report

    scenarios = discovery.load(paths)
    for item in task_report.static_findings(scenarios):
        container = f" container {item.container}:" if item.container else ""
        finding = item.finding
        click.echo(f"{finding.severity}: {item.scenario}:{container} {finding.message} [{finding.rule}]", err=True)
    click.echo(f"{len(scenarios)} scenario{'s are' if len(scenarios) != 1 else ' is'} valid")


@cli.command()
@PATHS
@options(JOBS, REPEAT, SHARD, SEED, INFER, REPORT_DIR)
def plan(paths: tuple[Path, ...], **settings: Any) -> None:
    """Show what `run` would do and about how long it takes, without any engine.

    By the latest run in --report-dir (default: reports), else by what the scenarios expect.
    """
    from harness import discovery, pipeline, units
    from harness.model import NS_PER_S

    settings["report_dir"] = settings["report_dir"] or Path("reports")
    empty = {"engine": "auto", "keep": False, "junitxml": None, "base_image": None}
    request = _request(discovery.load(paths), "plan", {**empty, **settings})
    planned, predicted = pipeline.plan_only(request)
    for item in planned.trials:
        shorter = ", ".join(units.format_duration(timeout_ns) for timeout_ns in item.shorter_timeouts_ns)
        click.echo(item.trial_id + (f"  derives {shorter}" if shorter else ""))
    about, most = (
        units.format_duration(value_ns // NS_PER_S * NS_PER_S)
        for value_ns in (predicted.expected_ns + NS_PER_S - 1, predicted.at_most_ns + NS_PER_S - 1)
    )
    stops = f" from {len(planned.trials)} stops" if planned.count > len(planned.trials) else ""
    basis = f" ({predicted.known} stops as in the latest run)" if predicted.known else ""
    text = f"about {about}{basis}, at most about {most} if every stop lasts its whole timeout"
    click.echo(f"{planned.count} trials{stops}, {text}", err=True)


@cli.command(epilog=EXIT_CODES)
@click.argument("run_dir", type=click.Path(path_type=Path))
@COLOR
def judge(run_dir: Path, color: str) -> None:
    """Judge a stored run again with today's rules; says what changed, writes nothing."""
    from harness import pipeline, store
    from harness.renderers import terminal

    stored, then = store.read(run_dir)
    report = pipeline.report_of(stored)
    _echo(terminal.summary(report, width=_width(), colour=_coloured(color), unicode=_unicode()), color)
    now = pipeline.judge(stored)
    changed = [(old, new) for old, new in zip(then, now, strict=True) if old != new]
    for old, new in changed:
        click.echo(f"changed: {new.trial_id}: {old.outcome} ({old.status}) is now {new.outcome} ({new.status})")
    click.echo(f"\n{len(now) - len(changed)} of {len(now)} verdicts are as they were")
    sys.exit(_exit_code(report))


@cli.command(epilog=EXIT_CODES)
@click.argument("run_dirs", nargs=-1, required=True, type=click.Path(path_type=Path))
@options(BASELINE, FAIL_ON_SLOWER, REPORT_DIR)
def report(run_dirs: tuple[Path, ...], baseline: Path | None, fail_on_slower: bool, report_dir: Path | None) -> None:
    """Write the report of a stored run again, or merge the shards of several into a new one."""
    from harness import pipeline, store
    from harness.renderers import trend_text

    stored = store.merge(tuple(store.read(path)[0] for path in run_dirs))
    built = pipeline.report_of(stored)
    if baseline is not None:
        built = pipeline.compared(built, pipeline.report_of(store.read(baseline)[0]))
    if len(run_dirs) == 1 and report_dir is None:
        directory = store.RunDirectory(run_dirs[0])
    else:
        directory = store.RunDirectory.create(report_dir or run_dirs[0].resolve().parent, f"{stored.run.name}-merged")
        pipeline.write_stored(stored, built, directory)
    pipeline.write_report(built, directory)
    if built.comparison is not None:
        click.echo(trend_text.plain(built.comparison))
    click.echo(f"report: {directory.path / pipeline.HTML_FILE}")
    sys.exit(_exit_code(built, fail_on_slower=fail_on_slower))


@cli.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("stop-harness.yaml"))
@click.option("--force", is_flag=True, help="Overwrite the file.")
def init(path: Path, force: bool) -> None:
    """Write a commented scenario to start from."""
    from harness.check import COMMENTED_SCENARIO

    if path.exists() and not force:
        raise UsageError(f"{path} exists; name another file, or --force")
    try:
        path.write_text(COMMENTED_SCENARIO, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    click.echo(f"wrote {path}; edit it, then: stop-harness run {path}")


@cli.command()
@click.option("--results", is_flag=True, help="The schema of results.json instead.")
def schema(results: bool) -> None:
    """Print the JSON Schema of scenario files."""
    import json

    from harness import scenario
    from harness.renderers import results_json

    click.echo(json.dumps(results_json.schema() if results else scenario.schema(), indent=2))


# ── engines ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@cli.command()
def doctor() -> None:
    """Say which engines answer here and what each could prove."""
    from harness.check import describe_engine
    from harness.engines import selection

    lines = selection.survey()
    for line in lines:
        click.echo(describe_engine(line))
    used = next(line.name for line in lines if line.info is not None)
    click.echo(f"--engine auto would use: {used}")


@cli.command()
@click.option("--all", "everything", is_flag=True, help="Also containers of runs that may still be alive.")
@click.option("--images", is_flag=True, help="Also images that the harness built.")
def clean(everything: bool, images: bool) -> None:
    """Remove what dead runs left on the engine."""
    from harness.engines import docker_host, reaper

    os.environ["DOCKER_HOST"] = docker_host.find().url
    removed, problems = reaper.remove_run(None, keep_living=not everything)
    click.echo(f"removed {removed} container{'' if removed == 1 else 's'}")
    if images:
        click.echo(f"removed {reaper.remove_images()} images")
    for problem in problems:
        click.echo(f"could not remove {problem}", err=True)
    sys.exit(HARNESS if problems else PASS)


cli.add_command(ecs)
cli.add_command(trend)
cli.add_command(stop_task)


# ── the terminal ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _coloured(choice: str) -> bool:
    """`--color`, then NO_COLOR (no-color.org: any non-empty value), then whether standard output is a terminal."""
    if choice != "auto":
        return choice == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _echo(text: str, choice: str) -> None:
    """Click takes colours out for what is not a terminal, even where they were asked for."""
    click.echo(text, nl=False, color=_coloured(choice))


def _unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") in {"utf8", "utf16"}


def _width() -> int:
    import shutil

    return min(120, shutil.get_terminal_size((80, 24)).columns)


def main() -> None:
    """The entry point: errors become messages and exit codes, never tracebacks."""
    try:
        cli.main(prog_name="stop-harness", standalone_mode=False)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE)
    except StopHarnessError as error:
        click.echo(f"stop-harness: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted", err=True)
        sys.stderr.flush()
        os._exit(INTERRUPTED)  # image builds under way would otherwise be waited for
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader left; nothing more can be said to it
        sys.exit(PASS)


if __name__ == "__main__":
    main()
