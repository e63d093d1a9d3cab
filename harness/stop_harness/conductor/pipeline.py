"""The conductor: choose an engine, plan, prepare, run trials, judge, report. No printing, no options, no policy."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import field, replace

from stop_harness import wording
from stop_harness.conductor import (
    crash_report,
    digest_key,
    existing_container,
    perform_trials,
    ready_engine,
    run_info,
    source_lines,
    store,
    write_report,
)
from stop_harness.conductor import open_engine as selection
from stop_harness.conductor.recorder import Recorder
from stop_harness.conductor.request import Listener, Resumption, RunOutcome, RunRequest, new_run_id
from stop_harness.conductor.stored_runs import compared, report_of, run_file
from stop_harness.engines.interface import Engine
from stop_harness.errors import StopHarnessError, SurroundingsError
from stop_harness.model import Plan, RemedyTrial, Report, RunInfo, Status, StoredRun, TrialResult
from stop_harness.records import dataclass
from stop_harness.report import redaction
from stop_harness.trial import perform, reference
from stop_harness.wording import count_of


def run(
    request: RunRequest,
    listener: Listener,
    interruption: perform.Interruption,
    open_engine: Callable[[str, str], selection.Chosen] | None = None,
) -> RunOutcome:
    """Do a whole run. `open_engine` (name, run id) opens it in place of the usual opener.

    Raises the errors of `stop_harness.errors` for what keeps a run from starting; from the first trial on, everything
    that happens is in the report.
    """
    run_id = new_run_id()
    # Read before anything starts: a mistake shows at once, and `latest` still names the run before.
    baseline = report_of(store.read(request.baseline)[0]) if request.baseline else None
    directory = _directory(request)
    hidden = redaction_of(request, listener.note)
    existing_container.say(tuple(item for item in request.scenarios if item.twin is None), listener)
    engine, planned = _ready(request, run_id, listener, open_engine or ready_engine.opener(request), directory)
    stored = _begun(request, run_id, engine, planned, hidden)
    record = _Record(hidden, Recorder(directory, listener.note))
    if request.resumption is not None:
        record.take_up(request.resumption)
    try:
        seen = directory is not None or request.engine_time  # without a record nobody else would see it
        if seen and stored.run.reference is None:
            stored = replace(stored, run=replace(stored.run, reference=reference.measure(engine)))
        record.recorder.begin(run_file(stored, request), (*record.results, *record.tried))
        _perform(request, planned, engine, listener, interruption, record=record, run=stored.run)
    finally:
        left_behind, not_closed = _close(engine, listener, interruption)
    finished = replace(stored.run, finished_at=run_info.now(), interrupted=interruption.by_user)
    stored = record.added_to(replace(stored, run=finished))
    problems = not_closed + record.recorder.finish(run_file(stored, request))
    built = compared(_built(stored, tuple(record.results), directory), baseline)
    problems += _written(request, built, directory)
    return RunOutcome(built, directory.path if directory else None, left_behind, problems, stored)


# ── stages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _directory(request: RunRequest) -> store.RunDirectory | None:
    """Locked, with the part of a resumed run that stands."""
    if request.report_dir is None:
        return None
    if request.resumption is None:
        directory = store.RunDirectory.create(request.report_dir, request.name, shared=request.share_report)
        directory.lock()
        return directory
    directory = store.RunDirectory(request.resumption.directory)
    directory.lock()
    directory.keep_only(request.resumption.results, request.resumption.remedies)
    return directory


def _ready(
    request: RunRequest,
    run_id: str,
    listener: Listener,
    opener: Callable[[str, str], selection.Chosen],
    directory: store.RunDirectory | None,
) -> tuple[Engine, Plan]:
    """An engine that can begin, and the plan for it. Where there is none, no empty run directory stays behind."""
    try:
        return ready_engine.ready(request, run_id, listener, opener)
    except BaseException:
        if directory is not None:
            directory.unlock()
            directory.remove_if_empty()
        raise


def _begun(request: RunRequest, run_id: str, engine: Engine, planned: Plan, hidden: redaction.Redaction) -> StoredRun:
    """The run as it is recorded before its first trial; of a resumed one what was recorded then."""
    if request.resumption is not None:
        stored = request.resumption.stored
        resumed_at = (*stored.run.resumed_at, run_info.now())
        return replace(stored, run=replace(stored.run, finished_at=None, interrupted=False, resumed_at=resumed_at))
    info = replace(
        _run_info(request, run_id, engine),
        command_line=hidden.command_line(request.command_line),
        digest_key=hidden.key_id,
    )
    scenarios = tuple(source_lines.with_lines(hidden.scenario(item.name)) for item in request.scenarios)
    return StoredRun(info, scenarios, (), planned.count, planned.skipped)


def redaction_of(request: RunRequest, note: Callable[[str], None]) -> redaction.Redaction:
    """What hides values; says so where their digests will compare with no other run's."""
    if request.show_values or not any(map(redaction.has_values, request.scenarios)):
        return redaction.Redaction(None, request.scenarios)
    key, trouble = digest_key.read_or_make(digest_key.path())
    if trouble is not None:
        note(f"values of this run cannot be compared with those of others: {trouble}")
    return redaction.Redaction(key, request.scenarios)


@dataclass
class _Record:
    """What has been done so far, as it is written down.

    `performed` is `results` with the values that `hidden` takes out of these: what is tried as a remedy must be what
    was run.
    """

    hidden: redaction.Redaction
    recorder: Recorder
    performed: list[TrialResult] = field(default_factory=list)
    results: list[TrialResult] = field(default_factory=list)
    tried: list[RemedyTrial] = field(default_factory=list)

    def take_up(self, resumed: Resumption) -> None:
        """What stands of a run that is resumed."""
        self.performed, self.results, self.tried = [*resumed.results], [*resumed.results], [*resumed.remedies]

    def trial(self, raw: TrialResult) -> TrialResult:
        """A trial has ended; gives it without values."""
        self.performed.append(raw)
        result = _shown(raw, self.hidden)
        self.recorder.append(result)
        self.results.append(result)
        return result

    def remedy(self, raw: RemedyTrial) -> None:
        """A remedy was tried."""
        attempt = self.hidden.remedy(raw)
        self.recorder.append(attempt)
        self.tried.append(attempt)

    def added_to(self, stored: StoredRun) -> StoredRun:
        """The run with it."""
        return replace(
            stored,
            observations=tuple(result.observation for result in self.results),
            remedies=tuple(self.tried),
            # Repetitions until sure are planned as they come.
            trials_planned=max(stored.trials_planned, len(self.results)),
        )


def _perform(
    request: RunRequest,
    planned: Plan,
    engine: Engine,
    listener: Listener,
    interruption: perform.Interruption,
    *,
    record: _Record,
    run: RunInfo,
) -> None:
    """The plan's trials, then the remedies of those that failed, each recorded as it ends."""
    for raw in perform_trials.results_of(request, planned, engine, listener, interruption, run=run):
        listener.ended(record.trial(raw))
    if request.try_fixes and not interruption.requested:
        from stop_harness.experiments import remedy_search

        search = perform_trials.search(request, engine, listener, interruption)
        for attempt in remedy_search.run(_mendable(request, record), request.scenarios, search, tuple(record.tried)):
            record.remedy(attempt)


def _mendable(request: RunRequest, record: _Record) -> tuple[TrialResult, ...]:
    """What remedies are tried against: undisturbed stops."""
    copies = {item.name for item in request.scenarios if item.twin is not None}
    return tuple(item for item in record.performed if item.observation.scenario not in copies)


def _shown(raw: TrialResult, hidden: redaction.Redaction) -> TrialResult:
    """A result without values, judged as the record will be that is written."""
    seen = hidden.observation(raw.observation)
    return perform_trials.judged(seen, hidden.scenario(seen.scenario))


def _built(stored: StoredRun, results: tuple[TrialResult, ...], directory: store.RunDirectory | None) -> Report:
    """The report. Raises SurroundingsError, with what the trials came to, where the machine does not let it be made."""
    from stop_harness.report import build  # late: it is loaded beside the first start

    try:
        return build.build(stored, tuple(result.verdict for result in results))
    except (MemoryError, OSError) as error:
        counts = Counter(result.verdict.status for result in results)
        said = ", ".join(f"{counts[status]} {status}" for status in Status)
        where = (
            f"; `stop-harness report {shlex.quote(str(directory.path))}` makes it from the journal" if directory else ""
        )
        text = f"{count_of(len(results), 'trial')}: {said}, but the report could not be made: {error}{where}"
        raise SurroundingsError(text) from None


def _written(request: RunRequest, built: Report, directory: store.RunDirectory | None) -> tuple[str, ...]:
    """Every file of the report. Gives what could not be written, in sentences."""
    problems: tuple[str, ...] = ()
    if directory is not None:
        problems += write_report.write(built, directory)
        directory.mark_latest()
        directory.unlock()
    elsewhere = write_report.write_elsewhere(
        built, request.junitxml, request.sarif, request.code_quality, shared=request.share_report
    )
    return problems + elsewhere


def _close(
    engine: Engine, listener: Listener, interruption: perform.Interruption
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Clean up, and say what could not be; whatever the engine says to its end, the run is reported.

    Gives what is left on the engine, and what went wrong otherwise, in sentences.
    """
    try:
        left_behind = ready_engine.close(engine, lambda: interruption.by_user)
    except StopHarnessError as error:
        return (), (f"the engine was not left clean: {error}",)
    except Exception as error:  # noqa: BLE001 - a fault of the clean-up must not cost the results
        return (), (f"the engine was not left clean: {crash_report.note(error)}",)
    if left_behind:
        listener.note(wording.left_behind_sentence(left_behind))
    return left_behind, ()


def _run_info(request: RunRequest, run_id: str, engine: Engine) -> RunInfo:
    return replace(
        run_info.begun(run_id, request.name, engine.info(), request.command_line),
        shard=str(request.shard) if request.shard else None,
        goal=request.goal,
        until_sure=request.until_sure,
        waivers=request.waivers,
    )
