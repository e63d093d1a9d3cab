"""A folder in which the processes of a session meet: one performs the trials, all may wait for them.

Without pytest-xdist both are the same process. With it the controller performs them, in one run with one engine,
however the trials are dealt out to the workers.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

POLL_S = 0.05


class ItemOutcome(StrEnum):
    """What a trial is to pytest."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class ItemResult:
    """What became of a trial. `text`: what is shown of it, or why it was skipped; empty for one that passed.
    `properties`: for `user_properties`. `why_waived`: why a failure is let pass; empty: it is not."""

    outcome: ItemOutcome
    text: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    why_waived: str = ""


@dataclass(frozen=True)
class AskedTrial:
    """A trial that was collected: the path of its scenario file, as it was read, and its id."""

    path: str
    trial_id: str


class MeetingPlace:
    """The folder. Each file in it is written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ask_for(self, trials: list[AskedTrial]) -> None:
        """Trials that will be waited for; each worker of a session names the same ones."""
        self._write("asked", [asdict(trial) for trial in trials])

    def asked(self) -> tuple[AskedTrial, ...]:
        """The trials that were asked for; none where nobody did."""
        return tuple(AskedTrial(**item) for item in self._read("asked") or ())

    def want(self) -> None:
        """Somebody waits for a trial."""
        self._write("wanted", True)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits, or has waited, for a trial."""
        return (self.folder / "wanted").exists()

    def tell(self, trial_id: str, told: ItemResult) -> None:
        """What became of a trial."""
        self._write(_file_of(trial_id), asdict(told))

    def tell_rest(self, told: ItemResult) -> None:
        """What became of every trial that nothing else is told of. No more will be told."""
        self._write("rest", asdict(told))

    def told(self, trial_id: str) -> ItemResult | None:
        """What became of a trial; None: it has not ended."""
        rest = self._read("rest")  # first, for it is written last
        found = self._read(_file_of(trial_id)) or rest
        if found is None:
            return None
        properties = tuple((name, value) for name, value in found["properties"])
        return ItemResult(ItemOutcome(found["outcome"]), found["text"], properties, found["why_waived"])

    def wait_for(self, trial_id: str) -> ItemResult:
        """What became of a trial, once that is known."""
        while (told := self.told(trial_id)) is None:
            time.sleep(POLL_S)
        return told

    def note(self, text: str) -> None:
        """A sentence for the end of the session."""
        with (self.folder / f"notes-{os.getpid()}").open("a", encoding="utf-8") as notes:
            notes.write(json.dumps(text) + "\n")

    def notes(self) -> tuple[str, ...]:
        """The sentences of all processes, each once."""
        files = sorted(self.folder.glob("notes-*"))
        lines = (line for file in files for line in file.read_text(encoding="utf-8").splitlines())
        return tuple(dict.fromkeys(json.loads(line) for line in lines))

    def _write(self, name: str, content: Any) -> None:
        with contextlib.suppress(FileNotFoundError):  # the session is over, and nobody reads it any more
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self.folder, delete=False) as file:
                json.dump(content, file)
            Path(file.name).replace(self.folder / name)

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None


def _file_of(trial_id: str) -> str:
    """A name for its file: an id may be longer than a file name, and holds what its scenario is called."""
    return "trial-" + sha256(trial_id.encode()).hexdigest()
