"""What was found before, in hypothesis's own database of examples. Needs the extra `explore`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis.database import DirectoryBasedExampleDatabase
from pydantic import TypeAdapter, ValidationError

from stop_harness.experiments.explore.candidate import Candidate
from stop_harness.model import Scenario

_CANDIDATES = TypeAdapter(Candidate)


class PastFailures:
    """Those of one scenario, which is known by its name and its file: what failed once is tried again also when the
    program has changed. A folder that cannot be written keeps nothing, and is no error."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self._database = DirectoryBasedExampleDatabase(folder)
        self._key = hashlib.sha256(f"{scenario.source or ''}\n{scenario.name}".encode()).digest()

    def all(self) -> tuple[Candidate, ...]:
        """Those that can still be read."""
        found = []
        for value in self._database.fetch(self._key):
            try:
                found.append(_CANDIDATES.validate_json(value))
            except ValidationError:  # of another version
                self._database.delete(self._key, value)
        return tuple(sorted(found, key=lambda item: (len(item.faults), repr(item))))

    def add(self, candidate: Candidate) -> None:
        """It fails."""
        self._database.save(self._key, _CANDIDATES.dump_json(candidate))

    def remove(self, candidate: Candidate) -> None:
        """It fails no longer."""
        self._database.delete(self._key, _CANDIDATES.dump_json(candidate))
