"""What `check` and `run` give: stops that were judged, with the words of the command line and assertions for tests."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from stop_harness import units
from stop_harness.api.keywords import duration_text
from stop_harness.errors import StopHarnessError, StoreError, UsageError
from stop_harness.model import (
    NS_PER_S,
    Expectation,
    Finding,
    Outcome,
    RemedyEffect,
    Report,
    Scenario,
    SigkillEvidence,
    Status,
    StoredRun,
    TrialResult,
    TriedRemedy,
)


class NotGraceful(AssertionError):
    """A stop was not as it was asserted to be. The message is what `check` or `run` prints. `result` has the rest."""

    def __init__(self, message: str, result: Judged) -> None:
        super().__init__(message)
        self.result = result


class NotJudged(StopHarnessError):
    """A stop could not be judged, so that nothing can be asserted of it: the evidence is missing, or the trial was not
    performed. The message is what `check` or `run` prints. `result` has the rest."""

    exit_code = 3

    def __init__(self, message: str, result: Judged) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class JudgedStop:
    """One stop and its verdict. `record`: everything that was seen, and all of the judgement."""

    record: TrialResult

    @property
    def scenario(self) -> str:
        """Which scenario it is a stop of."""
        return self.record.observation.scenario

    @property
    def trial_id(self) -> str:
        """Its name in the run: scenario, stop timeout, repetition."""
        return self.record.observation.trial_id

    @property
    def stop_timeout_s(self) -> float:
        """Seconds from the stop signal to SIGKILL, as they were asked for."""
        return self.record.observation.stop_timeout_ns / NS_PER_S

    @property
    def outcome(self) -> Outcome:
        """What it came to, such as `"graceful"` or `"killed"`."""
        return self.record.verdict.outcome

    @property
    def status(self) -> Status:
        """The outcome against what was expected: `"pass"`, `"fail"` or `"inconclusive"`."""
        return self.record.verdict.status

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        return self.record.verdict.reason

    @property
    def cause(self) -> str | None:
        """The id of what made the stop bad, such as `"shell-not-forwarding"`; docs/outcomes.md has them all. None: it
        is graceful, or was not measured."""
        return self.record.verdict.cause.id if self.record.verdict.cause else None

    @property
    def evidence(self) -> str:
        """What the cause is concluded from, in a sentence; empty without a cause."""
        return self.record.verdict.cause.evidence if self.record.verdict.cause else ""

    @property
    def shutdown_duration_s(self) -> float | None:
        """Seconds from the stop signal to the exit of PID 1. None where one of both was not seen."""
        duration_ns = self.record.verdict.facts.shutdown_duration_ns
        return None if duration_ns is None else duration_ns / NS_PER_S

    @property
    def sigkill(self) -> SigkillEvidence:
        """Whether SIGKILL ended the stop, and how that is known."""
        return self.record.verdict.facts.sigkill_evidence

    @property
    def exit_code(self) -> int | None:
        """Of PID 1, as the engine has it. None where it told none."""
        return self.record.observation.record.exit_code

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The rules that applied, warnings among them."""
        return self.record.verdict.findings


@dataclass(frozen=True)
class Judged(ABC):
    """A finished run.

    `record`: the report as a record. `directory`: where it was written, None if it was not. `notes`: what was said
    meanwhile, such as that no container engine answers and another took its place. `problems`: what the harness itself
    could not do.
    """

    record: Report
    directory: Path | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    exit_code: int = 0
    """With which the command line would end: 0 all is as expected, 1 a container failed, 3 inconclusive, 4 the harness
    or its engine failed."""
    stored: StoredRun | None = field(default=None, repr=False, compare=False)
    """What the report is made of. None: it was put together otherwise, and cannot be written."""

    @property
    def stops(self) -> tuple[JudgedStop, ...]:
        """Every stop, by scenario, stop timeout, repetition."""
        return tuple(map(JudgedStop, self.record.results))

    @property
    def passed(self) -> bool:
        """Whether everything is as expected, and nothing is in doubt."""
        return self.exit_code == 0

    @property
    def worst(self) -> JudgedStop | None:
        """The stop that decides: a failure before a doubt before a pass, then the worst outcome, then the longest stop
        timeout, which shows most. None: nothing was stopped."""
        order = (Status.PASS, Status.INCONCLUSIVE, Status.FAIL)
        return max(
            self.stops,
            key=lambda stop: (order.index(stop.status), stop.outcome.severity, stop.stop_timeout_s),
            default=None,
        )

    @property
    def outcome(self) -> Outcome:
        """Of the worst stop; `"inconclusive"` where nothing was stopped."""
        return self.worst.outcome if self.worst else Outcome.INCONCLUSIVE

    @property
    def cause(self) -> str | None:
        """The id of the worst stop's cause, None if it has none."""
        return self.worst.cause if self.worst else None

    @property
    def reason(self) -> str:
        """Why the worst stop is what it is, or why nothing was stopped, in a sentence."""
        if self.worst is not None:
            return self.worst.reason
        return "; ".join(f"{item.scenario}: {item.reason}" for item in self.record.skipped) or "nothing was stopped"

    @property
    def cure(self) -> str | None:
        """What to change, with the lines to copy: a remedy that was tried and cures it, with `try_fixes=True`, else the
        first advice for its cause. None: there is nothing to cure, or no cure is known."""
        stop = self.worst
        tried = self._tried_cure(stop)
        if tried is not None:
            return "\n".join((tried.remedy.title, *(f"{item.place}: {item.text}" for item in tried.remedy.lines)))
        cause = stop.record.verdict.cause if stop else None
        if cause is None or not cause.advice:
            return None
        first = cause.advice[0]
        return f"{first.text}\n{first.lines}" if first.lines else first.text

    def _tried_cure(self, stop: JudgedStop | None) -> TriedRemedy | None:
        of_it = (item for item in self.record.remedies if stop and item.scenario == stop.scenario)
        return next((item for item in of_it if item.effect is RemedyEffect.CURES), None)

    def of(self, scenario: str) -> tuple[JudgedStop, ...]:
        """The stops of one scenario."""
        return tuple(stop for stop in self.stops if stop.scenario == scenario)

    def to_json(self) -> str:
        """The text of `results.json`, as `--json` prints it."""
        from stop_harness.renderers.results import results_json

        return results_json.render(self.record)

    def write(self, report_dir: str | os.PathLike[str] | None = None, *, share_report: bool = False) -> Path:
        """Write the report, and what it was made of, into a new folder in `report_dir`; give that folder. None: write
        the files of the report again where they were written before, as `stop-harness report` does.

        `share_report`: let other users read it, as far as the umask allows. Raises UsageError where it was written
        nowhere and no place is named, and StoreError where something cannot be written.
        """
        from stop_harness.conductor import store, stored_runs, write_report

        if self.stored is None or (report_dir is None and self.directory is None):
            raise UsageError('write() needs a place for this report, such as write("reports")')
        if report_dir is None:
            assert self.directory is not None
            directory = store.RunDirectory(self.directory)
        else:
            directory = store.RunDirectory.create(Path(report_dir), self.stored.run.name, shared=share_report)
            stored_runs.write(self.stored, self.record, directory)
        problems = write_report.write(self.record, directory)
        if report_dir is not None:
            directory.mark_latest()
        if problems:
            raise StoreError("\n".join(problems))
        return directory.path

    def assert_passed(self) -> None:
        """Raise NotGraceful where a stop is not as expected, NotJudged where that is in doubt."""
        if self.exit_code == 1:
            raise NotGraceful(str(self), self)
        if self.exit_code != 0:
            raise NotJudged("\n".join((*self.problems, str(self))), self)

    def assert_graceful(self, within: float | str | None = None) -> None:
        """Raise NotGraceful unless every stop is graceful, and ends `within` this time (seconds, or a text such as
        `"500ms"`; None: within the time that was given before, or its stop timeout). Raise NotJudged where that is in
        doubt.

        Which outcomes a scenario expects does not matter here, nor what is waived: one that expects `killed` is not
        graceful.
        """
        within_ns = _duration_ns(within)
        judged = self._judged_by(lambda scenario: _graceful(scenario, within_ns))
        if judged.record.count(Status.FAIL):
            raise NotGraceful(str(judged), self)
        without_doubt = judged.record.count(Status.PASS) == judged.record.trials_planned > 0
        if not without_doubt or judged.record.skipped or judged.problems or judged.record.run.interrupted:
            raise NotJudged("\n".join((*judged.problems, str(judged))), self)

    def _judged_by(self, expecting: Callable[[Scenario], Scenario]) -> Judged:
        """The same stops, with other expectations, by the one judge. No waiver was written for these."""
        from stop_harness.verdict import judge

        scenarios = {item.name: expecting(item) for item in self.record.stopped}
        results = tuple(
            TrialResult(item.observation, judge.judge(item.observation, scenarios[item.observation.scenario]))
            for item in self.record.results
        )
        record = replace(
            self.record,
            scenarios=tuple(scenarios[item.name] for item in self.record.scenarios),
            disturbed=tuple(scenarios[item.name] for item in self.record.disturbed),
            results=results,
        )
        return replace(self, record=replace(record, waivers=(), waived=frozenset()))

    @abstractmethod
    def __str__(self) -> str:
        """What `stop-harness check` or `stop-harness run` prints, at 80 columns, without colour."""


class Result(Judged):
    """What `check` found."""

    def __str__(self) -> str:
        from stop_harness.renderers import terminal

        return terminal.check_verdict(self.record).rstrip("\n") or self.reason


class RunReport(Judged):
    """What `run` found, or what was read of a stored run."""

    def __str__(self) -> str:
        from stop_harness.renderers import terminal

        return terminal.summary(self.record).rstrip("\n")


def _graceful(scenario: Scenario, within_ns: int | None) -> Scenario:
    """The scenario that expects nothing else than graceful stops, with the exit codes that it accepts; one that left
    because of a standard fault, before its stop, has no stop that could be another."""
    left = {Outcome.NOT_RUNNING} if scenario.twin is not None else set()
    wanted = (
        replace(
            item,
            outcomes=(Outcome.GRACEFUL, *left.intersection(item.outcomes)),
            within_ns=item.within_ns if within_ns is None else within_ns,
        )
        for item in (Expectation(), *scenario.expectations)
    )
    return replace(scenario, expectations=tuple(wanted))


def _duration_ns(text: float | str | None) -> int | None:
    """Raises UsageError."""
    if text is None:
        return None
    try:
        return units.parse_duration(duration_text(text))
    except ValueError as error:
        raise UsageError(f"within={text!r}: {error}") from None
