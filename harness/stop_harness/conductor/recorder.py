"""Writes a run down while it happens. A disk that is full or a folder that vanishes does not end the run."""

from __future__ import annotations

from collections.abc import Callable

from stop_harness.conductor.store import RunDirectory, RunFile
from stop_harness.errors import StoreError
from stop_harness.model import RemedyTrial, TrialResult


class Recorder:
    """The journal of a run: what cannot be written now is tried again with the next line, and at the end."""

    def __init__(self, directory: RunDirectory | None, note: Callable[[str], None]) -> None:
        """`directory` None: nothing is written."""
        self._directory, self._note = directory, note
        self._file: RunFile | None = None
        self._records: list[TrialResult | RemedyTrial] = []
        self._written = 0
        self._said = False

    def begin(self, file: RunFile, written: tuple[TrialResult | RemedyTrial, ...] = ()) -> None:
        """Write `run.json`. `written`: what the journals hold already. Raises StoreError: nothing has begun yet."""
        self._file, self._records, self._written = file, [*written], len(written)
        if self._directory is not None:
            self._directory.write_run(file)

    def append(self, record: TrialResult | RemedyTrial) -> None:
        """One more line, in the order of the calls."""
        self._records.append(record)
        problem = self._catch_up()
        if problem is not None and not self._said:
            self._note(f"{problem}; the run goes on, and this is tried again")
            self._said = True

    def finish(self, file: RunFile) -> tuple[str, ...]:
        """Write what is left, and `run.json` as it is at the end. Gives what could not be written, in sentences."""
        self._file = file
        problem = self._catch_up()
        problems = []
        if problem is not None:
            missing = len(self._records) - self._written
            problems.append(f"{missing} of {len(self._records)} results are not in the journal: {problem}")
        if self._directory is not None:
            try:
                self._directory.write_run(file)
            except StoreError as error:
                problems.append(str(error))
        return tuple(problems)

    def _catch_up(self) -> str | None:
        """Append every line that is missing; why not all of them could be."""
        if self._directory is None:
            return None
        try:
            gone = not self._directory.path.is_dir()
            if gone or (self._written and not self._directory.has_journal()):
                self._again()
            for record in self._records[self._written :]:
                self._directory.append(record)
                self._written += 1
        except StoreError as error:
            return str(error)
        return None

    def _again(self) -> None:
        """Somebody removed the folder or the journal: make it once more, from the start."""
        assert self._directory is not None
        assert self._file is not None
        self._note(f"{self._directory.path} has lost its journal; it is written again")
        self._written = 0
        self._directory.write_run(self._file)
