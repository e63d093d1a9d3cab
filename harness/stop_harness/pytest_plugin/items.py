"""Scenario files as pytest sees them: a file is a collector, and each of its trials an item."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stop_harness import units
from stop_harness.errors import StopHarnessError
from stop_harness.model import Trial
from stop_harness.plan import trials as plan
from stop_harness.pytest_plugin import MARK, SESSION, shown
from stop_harness.pytest_plugin.meeting_place import AskedTrial, ItemOutcome, ItemResult
from stop_harness.scenario import discovery, standard_faults


class StopFile(pytest.File):
    """A scenario file."""

    def collect(self) -> Iterator[StopItem | NotTriedItem]:
        """Each trial of its scenario: shorter stop timeouts first, and repetitions together. Then its stops under the
        standard faults that the session asks for, and those that say nothing about it."""
        path, session = _as_run_shows_it(self.path), self.config.stash[SESSION]
        try:
            repeat = session.keywords.get("repeat")
            (scenario,) = discovery.load((path,))
        except StopHarnessError as error:
            raise self.CollectError(str(error)) from None
        twin = session.scenario_files.setdefault(scenario.name, self.path)
        if twin != self.path:
            where = scenario.location("name")
            raise self.CollectError(f"{where}: name: {scenario.name!r} is also the name of {twin}; names are unique")
        matrix = standard_faults.beside_faults((scenario,), session.faults, each_applies=False)
        for copy in matrix.scenarios:
            for trial in sorted(plan.expand((copy,), repeat=repeat).trials, key=_in_order):
                again = f"-{trial.repetition}" if (repeat or scenario.repeat) > 1 else ""
                asked = AskedTrial(str(path), trial.trial_id)
                yield StopItem.from_parent(self, name=f"{copy.name}[{_name(trial)}{again}]", trial=asked)
        for missing in matrix.not_tried:
            yield NotTriedItem.from_parent(self, name=missing.scenario, reason=missing.reason)


class StopItem(pytest.Item):
    """One trial. Its container may have been stopped long before it is this item's turn: trials overlap."""

    def __init__(self, *, trial: AskedTrial, **rest: object) -> None:
        super().__init__(**rest)  # type: ignore[arg-type] # what `from_parent` hands over
        self.trial = trial
        self._told = ItemResult(ItemOutcome.ERROR)
        self.add_marker(MARK)

    def setup(self) -> None:
        """Wait for it. What is no verdict, such as an engine that does not answer, is an error and no failure."""
        told = self._told = self.config.stash[SESSION].wait_for(self.trial.trial_id)
        self.user_properties += told.properties
        if told.outcome is ItemOutcome.SKIPPED:
            pytest.skip(" ".join(told.text.split()))
        if told.outcome is ItemOutcome.ERROR:
            raise shown.Failed(told.text)

    def runtest(self) -> None:
        """Fail as the verdict says, unless a waiver lets that pass."""
        if self._told.outcome is ItemOutcome.FAILED:
            shown.fail(self._told.text, self._told.why_waived)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it comes from."""
        return self.path, 0, self.name


class NotTriedItem(pytest.Item):
    """A standard fault that says nothing about a scenario: skipped, with the reason."""

    def __init__(self, *, reason: str, **rest: object) -> None:
        super().__init__(**rest)  # type: ignore[arg-type] # what `from_parent` hands over
        self._reason = reason
        self.add_marker(MARK)

    def setup(self) -> None:
        """Nothing is stopped."""
        pytest.skip(f"not tried: {self._reason}")

    def runtest(self) -> None:
        """Never."""

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it comes from."""
        return self.path, 0, self.name


def _in_order(trial: Trial) -> tuple[int, int, int]:
    return trial.stop_timeout_ns, trial.stop_after_ns, trial.repetition


def _name(trial: Trial) -> str:
    """`10s`, and `10s+500ms` where the stop comes later than readiness."""
    moment = f"+{units.format_duration(trial.stop_after_ns)}" if trial.stop_after_ns else ""
    return units.format_duration(trial.stop_timeout_ns) + moment


def _as_run_shows_it(path: Path) -> Path:
    """Relative to where pytest was started, so that reports name files of the repository."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
