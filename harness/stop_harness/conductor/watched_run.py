"""What a watch has seen, as a run: judged, reported and written like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stop_harness.conductor import run_info, store, stored_runs, write_report
from stop_harness.conductor.request import new_run_id
from stop_harness.errors import StoreError
from stop_harness.model import EngineInfo, Report, StoredRun
from stop_harness.report import watched

if TYPE_CHECKING:
    from stop_harness.report.watched import JudgedEnd, WatchTally

NAME = "watch"
"""Of such a run, and in the name of its folder."""


def command_line(labels: Sequence[str], command: Sequence[str]) -> tuple[str, ...]:
    """What a report shows of the command that watches the same. Of a command behind `--` only what is run: there may be
    secrets among its other words."""
    options = [word for label in labels for word in ("--label", label)]
    rest = ("--", command[0], *(("…",) if len(command) > 1 else ())) if command else ()
    return ("stop-harness", "watch", *options, *rest)


class WatchedRun:
    """The stops of a watch that begins now. Every stop is kept: its record takes a few kB.

    `report_dir`: a new folder in here is made at once, so that a mistake shows before anything is watched; None:
    nothing is written. Raises StoreError.
    """

    def __init__(
        self, engine: EngineInfo, command_line: tuple[str, ...], report_dir: Path | None = None, *, shared: bool = False
    ) -> None:
        self._info = run_info.begun(new_run_id(), NAME, engine, command_line)
        self._ends: list[JudgedEnd] = []
        self._directory: store.RunDirectory | None = None
        if report_dir is not None:
            self._directory = store.RunDirectory.create(report_dir, NAME, shared=shared)
            self._directory.lock()

    @property
    def directory(self) -> Path | None:
        """Where the report is, or will be."""
        return self._directory.path if self._directory is not None else None

    def take(self, one: JudgedEnd, _: WatchTally | None = None) -> None:
        """One more end; kept is one of a stop, and one that nobody saw."""
        if one.status is not None:
            self._ends.append(one)

    def finished(self, left: Sequence[str], note: Callable[[str], None]) -> tuple[StoredRun, Report, tuple[str, ...]]:
        """The run, its report, and what of that could not be written, in sentences; all else is written. `left`:
        containers that were still being stopped."""
        stored = watched.as_run(self._ends, replace(self._info, finished_at=run_info.now()), left)
        built = stored_runs.report_of(stored)
        if self._directory is None:
            return stored, built, ()
        problems = write_report.write(built, self._directory)
        try:
            stored_runs.write(stored, built, self._directory)
        except StoreError as error:
            problems += (str(error),)
        if (without := write_report.without_plots()) is not None:
            note(without)
        self._directory.mark_latest()
        self._directory.unlock()
        return stored, built, problems

    def abandon(self) -> None:
        """Nothing was watched: leave no empty folder behind."""
        if self._directory is not None:
            self._directory.unlock()
            self._directory.remove_if_empty()


def doubts(tally: WatchTally, command_code: int) -> tuple[str, ...]:
    """Why what was judged may not be all, beside what the report has, in sentences. `command_code`: of the command that
    was watched, 0 without one."""
    found = []
    if not tally.stops:
        found.append("no container was stopped")
    if command_code:
        found.append(failed_command(command_code))
    return tuple(found)


def failed_command(code: int) -> str:
    """That the command which was watched ended with this code, negative where a signal ended it, in a sentence."""
    how = f"exit code {code}" if code > 0 else f"signal {-code}"
    return f"the command ended with {how}: it may not have stopped all that it was to stop"
