"""`check`, `run` and what else the command line can do, as functions: they print nothing and never end the process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from stop_harness.api import keywords as kw
from stop_harness.api.log import LOG
from stop_harness.api.results import Result, RunReport
from stop_harness.conductor import (
    asked,
    background,
    existing_container,
    exit_codes,
    open_engine,
    pipeline,
    ready_engine,
    resume,
    settings,
    shards,
    store,
    stored_runs,
    validation,
    write_report,
)
from stop_harness.conductor import rerun as repeated
from stop_harness.conductor.validation import Validated
from stop_harness.engines.interface import BuildOutput
from stop_harness.errors import UsageError
from stop_harness.trial import surroundings
from stop_harness.trial.perform import Interruption

if TYPE_CHECKING:
    from stop_harness.conductor.request import RunOutcome, RunRequest
    from stop_harness.engines.docker.host import DockerHost
    from stop_harness.engines.interface import Engine
    from stop_harness.evidence.forecast import Forecast
    from stop_harness.experiments.start_window import Sweep
    from stop_harness.model import Plan, Trend, Trial, TrialResult, Waiver

Done = TypeVar("Done")


def check(
    container: str | kw.HasContainer | kw.IsContainer | None = None, /, **keywords: Unpack[kw.CheckKeywords]
) -> Result:
    """Stop one container and say whether it shut down gracefully, as `stop-harness check` does.

    `container`: one that runs already, as the keyword of that name.

    Keywords are the options of that command; see `CheckKeywords`. Example:

        stop_harness.check(image="shop/web", ready_http="8000/healthz", timeouts=[10, 30]).assert_graceful(within=5)

    Gives a result, whatever the container does. Raises UsageError and ScenarioError for what cannot be meant,
    ImageError and BuildError for an image that cannot be had, and EngineError where no engine answers. Ctrl-C ends the
    stops in flight, has their containers removed, and is then raised as KeyboardInterrupt.
    """
    return check_waived(container, keywords, waivers_of_project())


def check_waived(container: object, keywords: Mapping[str, Any], waivers: tuple[Waiver, ...]) -> Result:
    """`check` with waivers of a project."""
    with kw.told_in_python():
        request, find = _check_request(keywords, container, waivers)
        listener = LoggingListener()
        done = _conducted(request, listener, find)
        notes = tuple(listener.notes)
        return Result(done.report, done.directory, notes, done.problems, exit_codes.of_run(done), done.stored)


def run(*paths: kw.StrPath, **keywords: Unpack[kw.RunKeywords]) -> RunReport:
    """Run the scenarios in these files and folders, as `stop-harness run` does.

    Keywords are the options of that command; see `RunKeywords`. Without `report_dir` nothing is written. Raises as
    `check` does.
    """
    return run_waived(paths, keywords, waivers_of_project())


def run_waived(paths: Sequence[kw.StrPath], keywords: Mapping[str, Any], waivers: tuple[Waiver, ...]) -> RunReport:
    """`run` with waivers of a project."""
    with kw.told_in_python():
        if not paths:
            raise UsageError("run() needs paths: scenario files, or folders with such files")
        files = kw.paths(tuple(paths), "run")
        given = {**kw.given(kw.RunKeywords, keywords, "run"), "waivers": waivers}
        given["faults"] = ",".join(given["faults"]) or None
        command_line = (*kw.command_line("run", keywords), *map(str, paths))
        return _reported(asked.of_files(files, given, command_line), LoggingListener())


def resume_run(directory: kw.StrPath, **keywords: Unpack[kw.ResumeKeywords]) -> RunReport:
    """Perform what an interrupted run in this directory still lacks, as `stop-harness run --resume` does.

    Keywords are the options that do not change what is run; see `ResumeKeywords`. Raises StoreError for a directory
    that holds no such run, and as `check` does.
    """
    listener = LoggingListener()
    with kw.told_in_python():
        given = kw.given(kw.ResumeKeywords, keywords, "resume_run")
        resumption, options = resume.read(*kw.paths((directory,), "resume_run"))
        options = replace(options, **{name: given[name] for name in keywords})
        asked_by = (*kw.command_line("run", keywords), "--resume", str(directory))
        request = resume.request(resumption, options, listener.note, asked_by)
        return _reported(request, listener)


def rerun(directory: kw.StrPath = "reports/latest", *, failed: bool = False) -> RunReport:
    """Repeat the trials of a stored run, with its options and the scenario files as they are now, as `stop-harness
    rerun` does. The new run is written beside it.

    `failed`: only the trials that failed or were inconclusive. Where there are none nothing is stopped; the report is
    then that of the stored run, and a note says so. Raises StoreError for what is no run, UsageError where a scenario
    cannot be had any more, and as `check` does.
    """
    listener = LoggingListener()
    with kw.told_in_python():
        (path,) = kw.paths((directory,), "rerun")
        line = ("stop-harness", "rerun", str(directory), *(("--failed",) if failed else ()))
        request = repeated.request(path, listener.note, line, failed=failed, waivers=waivers_of_project())
        if request is not None:
            return _reported(request, listener)
        before = _stored((path,), None, listener)
        return replace(before, notes=(*before.notes, repeated.nothing_to_repeat(path, before.record)))


def read_run(*directories: kw.StrPath, baseline: kw.StrPath | None = None, fail_on_slower: bool = False) -> RunReport:
    """Read a stored run, or all shards of one, and judge it by today's rules, as `stop-harness judge` does. Notes name
    the verdicts that were others when it was stored.

    `baseline`: a run directory that it is compared with; the record has it as `comparison`. `fail_on_slower`: a stop
    that is slower than there is a failure. Raises StoreError for what is no run directory.
    """
    if not directories:
        raise UsageError("read_run() needs a run directory, such as reports/latest")
    paths = kw.paths(directories, "read_run")
    compared_with = None if baseline is None else kw.paths((baseline,), "read_run")[0]
    return _stored(paths, compared_with, LoggingListener(), fail_on_slower=fail_on_slower)


def trend(*directories: kw.StrPath, output: kw.StrPath | None = None) -> Trend:
    """How stops changed over several stored runs, as `stop-harness trend` shows it.

    `output`: write the page to this file and, beside it, its plot as an SVG; without it nothing is written. Raises
    StoreError for what is no run directory, and for a page that cannot be written.
    """
    from stop_harness.conductor import trend_page

    if not directories:
        raise UsageError("trend() needs run directories")
    found = trend_page.of_runs(kw.paths(directories, "trend"), LoggingListener().note)
    if output is not None:
        trend_page.write(found, *kw.paths((output,), "trend"))
    return found


def predict(**keywords: Unpack[kw.CheckKeywords]) -> Forecast:
    """What the process table says will become of a stop, without stopping anything, as `check --predict` does.

    The container is started, looked at and removed. Raises as `check` does.
    """
    from stop_harness.conductor import preview

    with kw.told_in_python():
        request, find = _check_request(keywords)
        opener = ready_engine.opener(request, find)
        return watched(lambda interruption: preview.forecast_stop(request, LoggingListener(), interruption, opener))


def sweep_start(**keywords: Unpack[kw.CheckKeywords]) -> Sweep:
    """How long after its start a container loses stop signals, as `check --sweep-start` finds out. Raises as `check`
    does."""
    from stop_harness.conductor import preview

    with kw.told_in_python():
        request, _ = _check_request(keywords)
        return watched(lambda interruption: preview.sweep_start(request, LoggingListener(), interruption))


def validate(*paths: kw.StrPath, parameters: Mapping[str, str] | None = None) -> Validated:
    """Check scenario files, task definitions and Kubernetes manifests without running them, as `stop-harness validate`
    does. Gives how many there are, and what they show before they run.

    `parameters`: of the CloudFormation template that a task definition is in. Raises ScenarioError, whose `problems`
    name every mistake with file, line and column, and UsageError where there is nothing to check.
    """
    with kw.told_in_python():
        if not paths:
            raise UsageError("validate() needs paths: scenario files, or folders with such files")
        return validation.of_paths(kw.paths(paths, "validate"), tuple((parameters or {}).items()))


# ── how a call is conducted ──────────────────────────────────────────────────────────────────────────────────────────


class LoggingListener:
    """Hears what happens, and keeps the notes; see `conductor.request.Listener`."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)
        LOG.warning("%s", text)

    def preparing(self, what: str, state: str) -> None:
        LOG.log(logging.DEBUG if isinstance(state, BuildOutput) else logging.INFO, "%s: %s", what, state)

    def planned(self, planned: Plan, jobs: int, engine: Engine) -> None:
        LOG.info("%d trials on %s, at most %d at once", planned.count, engine.info().name, jobs)

    def step(self, running: Trial, step: str) -> None:
        LOG.debug("%s: %s", running.trial_id, step)

    def ended(self, result: TrialResult) -> None:
        if LOG.isEnabledFor(logging.INFO):
            from stop_harness.renderers import terminal

            LOG.info("%s", terminal.trial_line(result))


def _check_request(
    keywords: Mapping[str, Any], container: object = None, waivers: tuple[Waiver, ...] = ()
) -> tuple[RunRequest, Callable[[], DockerHost]]:
    """What is asked for, and who gives the container engine."""
    if container is not None:
        if keywords.get("container") is not None:
            raise UsageError("check() takes one container, not one by position and one by keyword")
        keywords = {**keywords, "container": container}
    find = existing_container.engine_of(keywords.get("container"))
    keywords = {**keywords, "container": existing_container.name_of(keywords.get("container"))}
    given = kw.given(kw.CheckKeywords, keywords, "check")
    given["task_images"] = given.pop("images")
    names, single = given.pop("faults"), not isinstance(keywords.get("faults"), str)
    given |= {"fault": names if single else (), "faults": None if single else ",".join(names)}
    given["waivers"] = waivers
    command = given.pop("command")
    named = keywords.get("engine") is not None
    return asked.of_check(given, command, kw.command_line("check", keywords), engine_named=named, find=find), find


def waivers_of_project() -> tuple[Waiver, ...]:
    """Those of the nearest pyproject.toml, whose other settings are of the command line. Raises as `settings.load`."""
    return settings.load(Path.cwd(), settings.SETTINGS)[1]


def _conducted(
    request: RunRequest, listener: LoggingListener, find: Callable[[], DockerHost] = open_engine.find_docker
) -> RunOutcome:
    opener = ready_engine.opener(request, find)
    done = watched(lambda interruption: pipeline.run(request, listener, interruption, opener))
    if done.directory is not None and (without := write_report.without_plots()) is not None:
        listener.note(without)
    return done


def _reported(request: RunRequest, listener: LoggingListener) -> RunReport:
    """A run of scenarios."""
    done = _conducted(request, listener)
    code = exit_codes.of_run(done, fail_on_slower=request.fail_on_slower)
    return RunReport(done.report, done.directory, tuple(listener.notes), done.problems, code, done.stored)


def _stored(
    paths: tuple[Path, ...], baseline: Path | None, listener: LoggingListener, *, fail_on_slower: bool = False
) -> RunReport:
    """One that is on disk."""
    found = store.read_several(paths, listener.note)
    for stored, then in found:
        for sentence in stored_runs.changed(then, stored_runs.judge(stored)):
            listener.note(sentence)
    merged = shards.merge(tuple(stored for stored, _ in found))
    built = stored_runs.report_of(merged)
    if baseline is not None:
        built = stored_runs.compared(built, stored_runs.report_of(store.read(baseline)[0]))
    where = paths[0] if len(paths) == 1 else None
    code = exit_codes.of_report(built, fail_on_slower=fail_on_slower)
    return RunReport(built, where, tuple(listener.notes), (), code, merged)


def watched(work: Callable[[Interruption], Done]) -> Done:
    """The work, done by a thread of its own, so that Ctrl-C here ends the trials in flight in good order.

    A second Ctrl-C while they end leaves at once; the engine's reaper removes what is left when this process ends.
    """
    interruption = Interruption()
    with surroundings.quick_turns():
        working = background.begin("stop-harness", lambda: work(interruption))
        try:
            return working.result()
        except KeyboardInterrupt:
            interruption.request()
            working.exception()  # waits until it has ended
            raise
