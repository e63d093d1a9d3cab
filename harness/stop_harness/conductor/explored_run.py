"""A whole search: performed, what it found written as a scenario file, and the stops that count as a run.

What counts are the undisturbed stops and the repetitions of what was found, all of them with the scenario's own stop
timeout. The hundreds of others are each a stop of its own kind, and say little in a report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from stop_harness.conductor import (
    exit_codes,
    exploring,
    pipeline,
    run_info,
    source_lines,
    store,
    stored_runs,
    write_report,
)
from stop_harness.conductor.exploring import Searched, Wanted
from stop_harness.conductor.request import Listener, RunRequest, new_run_id
from stop_harness.errors import StopHarnessError, StoreError
from stop_harness.experiments.explore.candidate import Candidate, scenario_of
from stop_harness.experiments.explore.result import Exploration
from stop_harness.model import Scenario, StoredRun
from stop_harness.plan import trials
from stop_harness.renderers.sections import explore_text
from stop_harness.scenario import discovery
from stop_harness.trial import perform


@dataclass(frozen=True)
class Explored:
    """A search that is over. `file`: the scenario file of what was found; None: there was nothing to write.
    `stored`: the stops that count; `directory`: where their report was written, None if it was not. `problems`: what
    could not be done that was asked for, in sentences."""

    search: Exploration
    file: Path | None
    stored: StoredRun
    directory: Path | None = None
    problems: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """With which the command ends."""
        if self.search.interrupted:
            return exit_codes.INTERRUPTED
        if self.problems:
            return exit_codes.HARNESS
        if self.search.finding is not None:
            return exit_codes.FAIL
        return exit_codes.PASS if self.search.problem is None else exit_codes.INCONCLUSIVE


def explore(
    request: RunRequest,
    wanted: Wanted,
    write: Path | None,
    listener: Listener,
    interruption: perform.Interruption,
    *,
    progress: Callable[[str], None],
) -> Explored:
    """Search the one scenario of the request. `write`: where the scenario file of what is found goes, None: beside its
    own. `progress` hears what is tried. Raises the errors of `stop_harness.errors`; nothing is started then."""
    scenario = exploring.scenario_of_request(request)
    target = exploring.file_for(scenario, write)
    directory = None
    if request.report_dir is not None:
        directory = store.RunDirectory.create(request.report_dir, request.name, shared=request.share_report)
        directory.lock()
    try:
        searched = exploring.explore(request, wanted, listener, interruption, progress)
        file, problems = _written(scenario, searched, target)
        stored = _stored(request, scenario, searched, file, listener)
    except BaseException:
        if directory is not None:
            directory.unlock()
            directory.remove_if_empty()
        raise
    if directory is not None:
        problems += _reported(request, stored, directory)
    return Explored(searched.search, file, stored, directory.path if directory else None, problems)


def _written(scenario: Scenario, searched: Searched, target: Path) -> tuple[Path | None, tuple[str, ...]]:
    """The scenario file, if there is something to write. What was found is told even if it cannot be written."""
    finding = searched.search.finding
    if finding is None or finding.undisturbed:
        return None, ()
    said = (explore_text.sentence(finding), *explore_text.reasons(finding))
    try:
        exploring.write(scenario, finding.candidate, said, target)
    except StopHarnessError as error:
        return None, (str(error),)
    return target, ()


def _stored(
    request: RunRequest, scenario: Scenario, searched: Searched, file: Path | None, listener: Listener
) -> StoredRun:
    """The stops that count as a run of two scenarios: the searched one, and the one that was found, each with the names
    that `run` would give its trials. Both are as their files have them, so that the run can be repeated."""
    finding = searched.search.finding
    found = None
    if finding is not None and not finding.undisturbed:
        found = _found(scenario, finding.candidate, file)
    scenarios = (scenario, found) if found is not None else (scenario,)
    hidden = pipeline.redaction_of(replace(request, scenarios=scenarios), listener.note)
    counts: Counter[tuple[str, int]] = Counter()
    observations = []
    for candidate, seen in searched.stops:
        if candidate.is_undisturbed:
            of_it = scenario
        elif found is not None and finding is not None and candidate == finding.candidate:
            of_it = found
        else:
            continue
        counts[(of_it.name, seen.stop_timeout_ns)] += 1
        number = counts[(of_it.name, seen.stop_timeout_ns)]
        name = trials.trial_id(of_it.name, seen.stop_timeout_ns, seen.stop_after_ns, number)
        named = replace(seen, scenario=of_it.name, trial_id=name, repetition=number)
        observations.append(hidden.observation(named))
    shown = tuple(source_lines.with_lines(hidden.scenario(item.name)) for item in scenarios)
    info = replace(
        run_info.begun(new_run_id(), request.name, searched.engine, hidden.command_line(request.command_line)),
        started_at=searched.started_at,
        finished_at=run_info.now(),
        interrupted=searched.search.interrupted,
        digest_key=hidden.key_id,
        waivers=request.waivers,
    )
    return StoredRun(info, shown, tuple(observations), len(observations), ())


def _found(scenario: Scenario, candidate: Candidate, file: Path | None) -> Scenario:
    if file is not None:
        return discovery.find((file,)).scenarios[0]
    return replace(scenario_of(candidate, scenario), name=f"{scenario.name}-found")


def _reported(request: RunRequest, stored: StoredRun, directory: store.RunDirectory) -> tuple[str, ...]:
    """Every file of the run directory. Gives what could not be written, in sentences."""
    built = stored_runs.report_of(stored)
    problems = write_report.write(built, directory)
    try:
        most = max((seen.repetition for seen in stored.observations), default=1)
        directory.write_run(stored_runs.run_file(stored, replace(request, repeat=most)))
        directory.keep_only(built.results, ())
    except StoreError as error:
        problems += (str(error),)
    directory.mark_latest()
    directory.unlock()
    return problems
