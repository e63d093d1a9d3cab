"""What one process of pytest knows of the session's stops: options, the trials of scenario files, what was stopped."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stop_harness.pytest_plugin.engines import ENGINES, EngineChoice

if TYPE_CHECKING:
    from stop_harness.model import Report, StoredRun, Waiver
    from stop_harness.pytest_plugin.meeting_place import ItemResult, MeetingPlace
    from stop_harness.pytest_plugin.session_run import SessionRun

_RUNS = "runs"
ENGINE_VARIABLE, REQUIRE_VARIABLE = "STOP_HARNESS_ENGINE", "STOP_HARNESS_REQUIRE_ENGINE"

HONOURED = frozenset(
    {"engine", "jobs", "repeat", "seed", "keep", "witness", "base_image", "show_values", "share_report"}
)
"""Settings of how containers are stopped. For the others, of where reports go and when a session ends, pytest has
options of its own."""


class StopSession:
    """One a process.

    `item`: the test that is running. `faults`: standard faults under which scenario files are stopped, too; None: no
    such. `notes`, `report`: what the summary says, once all has ended.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._named = config.getoption("stop_harness_engine") or os.environ.get(ENGINE_VARIABLE)
        if self._named and self._named not in ENGINES:
            raise pytest.UsageError(_unknown_engine("--stop-harness-engine", self._named))
        self._required = bool(config.getoption("stop_harness_require_engine") or os.environ.get(REQUIRE_VARIABLE))
        self.faults: str | None = _known_faults(config.getoption("stop_harness_faults"))
        self._here = config.invocation_params.dir
        self.report_dir = _writable(config.getoption("stop_harness_report"), config.invocation_params.dir)
        self.item: pytest.Item | None = None
        self.scenario_files: dict[str, Path] = {}
        self.notes: tuple[str, ...] = ()
        self.report: Path | None = None
        worker = getattr(config, "workerinput", None)
        self._folder: str | None = None if worker is None else worker["stop_harness"]
        self._is_worker = worker is not None
        self._made = False
        self._run: SessionRun | None = None

    @cached_property
    def _settings(self) -> tuple[dict[str, Any], tuple[Waiver, ...]]:
        from stop_harness.conductor import settings  # late: most sessions stop nothing
        from stop_harness.errors import UsageError

        found, waivers = settings.typed(self._here, os.environ, HONOURED)
        if (name := found.get("engine", "auto")) not in ENGINES:
            raise UsageError(_unknown_engine("[tool.stop-harness] engine", name))
        return found, waivers

    @property
    def keywords(self) -> dict[str, Any]:
        """What the settings of the project and the environment say, as keywords of `stop_harness.run`; without the
        engine. Raises UsageError and ScenarioError for mistakes in any of them, and so does what follows."""
        return {name: value for name, value in self._settings[0].items() if name != "engine"}

    @property
    def waivers(self) -> tuple[Waiver, ...]:
        """Known failures of the project."""
        return self._settings[1]

    @cached_property
    def engine(self) -> EngineChoice:
        """Where containers run unless a test says otherwise."""
        return EngineChoice(self._named or self._settings[0].get("engine", "auto"), self._required)

    @cached_property
    def meeting_place(self) -> MeetingPlace:
        """Where the processes of the session meet."""
        from stop_harness.pytest_plugin.meeting_place import MeetingPlace

        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="stop-harness-pytest-")
        self._made = not self._is_worker
        return MeetingPlace(Path(self._folder))

    def begin_run(self, *, when_wanted: bool = False) -> None:
        """Perform the trials of scenario files, in this process; further calls do nothing.

        `when_wanted`: only as soon as a worker waits for one.
        """
        if self._run is None:
            from stop_harness.pytest_plugin.session_run import SessionRun

            asked = {**self.keywords, "faults": self.faults}
            self._run = SessionRun(self.meeting_place, self.engine, asked, self.waivers, self.keep)
            self._run.begin(when_wanted=when_wanted)

    def keep(self, stored: StoredRun, built: Report) -> None:
        """Remember a run for the report of the session, if one is asked for."""
        if self.report_dir is not None:
            from stop_harness.pytest_plugin import session_report

            session_report.keep(self.meeting_place.folder / _RUNS, stored, built)

    def wait_for(self, trial_id: str) -> ItemResult:
        """What became of a trial of a scenario file, once that is known; the first to ask lets the run begin."""
        self.meeting_place.want()
        if not self._is_worker:
            self.begin_run()
        return self.meeting_place.wait_for(trial_id)

    def end_run(self) -> None:
        """End the trials that nobody waits for any more, and have their containers removed."""
        if self._run is not None:
            self._run.end()

    def finish(self) -> bool:
        """Gather what all processes have said and stopped. Gives whether the harness could not do something that it was
        asked for, which no test has told."""
        if self._is_worker or not self._made:
            return False
        problems = self._run.problems if self._run is not None else ()
        if self.report_dir is not None:
            problems += self._write_report(self.report_dir)
        self.notes = tuple(dict.fromkeys((*self.meeting_place.notes(), *problems)))
        return bool(problems)

    def _write_report(self, report_dir: Path) -> tuple[str, ...]:
        """Gives what went wrong, in sentences."""
        from stop_harness.conductor import crash_report
        from stop_harness.errors import StopHarnessError
        from stop_harness.pytest_plugin import session_report

        try:
            self.report, problems = session_report.write(
                self.meeting_place.folder / _RUNS, report_dir, shared=self.keywords.get("share_report", False)
            )
        except StopHarnessError as error:
            return (str(error),)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end pytest before its own summary
            return (f"the report could not be made: {crash_report.note(error)}",)
        return problems

    def close(self) -> None:
        """Remove what was made for the session."""
        if self._made and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _unknown_engine(where: str, name: str) -> str:
    return f"{where} {name!r} is not known; allowed: {', '.join(ENGINES)}"


def _known_faults(names: str | None) -> str | None:
    """Raises UsageError for one that is none, before anything is collected."""
    if names is None:
        return None
    from stop_harness.errors import UsageError
    from stop_harness.scenario import standard_faults  # late: most sessions ask for none

    try:
        standard_faults.chosen(names)
    except UsageError as error:
        raise pytest.UsageError(str(error).replace("--faults", "--stop-harness-faults", 1)) from None
    return names


def _writable(report_dir: Path | None, here: Path) -> Path | None:
    """Absolute, for a test may change the working directory. Raises UsageError at once, and not when all has been
    stopped."""
    if report_dir is None:
        return None
    from stop_harness.conductor import store  # late: most sessions write no report

    try:
        store.make_folder_of_reports(here / report_dir)
        with tempfile.TemporaryFile(dir=here / report_dir):
            return here / report_dir
    except OSError as error:
        raise pytest.UsageError(f"--stop-harness-report {report_dir}: cannot be written to: {error.strerror}") from None
