"""The run directory: a journal written as trials end, read back whole even after a crash."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from stop_harness.conductor import flat_journal
from stop_harness.conductor.request import RunOptions
from stop_harness.errors import NotWritten, StoreError, UnfinishedRun, not_written
from stop_harness.model import (
    RemedyTrial,
    RunInfo,
    Scenario,
    SkippedScenario,
    StoredRun,
    TrialResult,
    Verdict,
)
from stop_harness.records import dataclass

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT_VERSION = 2
"""Of what is written. Read are all from 1, whose observations had no parts (`conductor/flat_journal.py`)."""

RUN_FILE, JOURNAL_FILE, REMEDIES_FILE, LATEST = "run.json", "trials.jsonl", "remedies.jsonl", "latest"
GITIGNORE = ".gitignore"

Record = TypeVar("Record")
Named = TypeVar("Named")
Read = TypeVar("Read")


@dataclass(frozen=True)
class RunFile:
    """`run.json`: what was planned, and by whom. Written when the run starts and again when it ends.

    `options` None: a version before they were recorded, or a run that was put together from others.
    """

    format_version: int
    run: RunInfo
    scenarios: tuple[Scenario, ...]
    trials_planned: int
    skipped: tuple[SkippedScenario, ...]
    options: RunOptions | None = None


class RunDirectory:
    """Where one run is written. Making it is the check that it can be written, before anything starts.

    Logs of containers and process tables are nobody else's business: files are readable by their owner only, unless
    `shared`, where the umask decides. None: as the directory itself is.
    """

    def __init__(self, path: Path, *, shared: bool | None = None) -> None:
        self.path = path
        self._shared = _is_shared(path) if shared is None else shared
        self._lock: int | None = None
        self._made_parent = False

    @classmethod
    def create(cls, parent: Path, name: str, now: datetime | None = None, *, shared: bool = False) -> RunDirectory:
        """`parent/<UTC time>-<name>`, with a number added if that is taken. A parent that has to be made is told to
        git as a folder of which nothing is kept.

        Raises StoreError, or NotWritten where the place is right and the machine does not let us write there.
        """
        stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "run"
        try:
            made = make_folder_of_reports(parent)
            for suffix in ("", *(f"-{number}" for number in range(2, 1000))):
                path = parent / f"{stamp}-{slug}{suffix}"
                try:
                    path.mkdir(mode=_mode(0o777, shared=shared))
                except FileExistsError:
                    continue
                directory = cls(path, shared=shared)
                directory._made_parent = made
                with tempfile.TemporaryFile(dir=path):
                    return directory
        except OSError as error:
            message = f"cannot write reports to {parent}: {error.strerror}; choose another place with --report-dir"
            raise not_written(message, error) from None
        raise StoreError(f"cannot write reports to {parent}: every name for {stamp}-{slug} is taken")

    def write_run(self, file: RunFile) -> None:
        """Write `run.json`, whole or not at all."""
        self.write(RUN_FILE, _dump(RunFile, file, indent=2))

    def keep_only(self, results: tuple[TrialResult, ...], remedies: tuple[RemedyTrial, ...]) -> None:
        """Write the journals anew with what stands of them, each whole or not at all. Raises StoreError."""
        self.write(JOURNAL_FILE, (f"{_dump(TrialResult, result)}\n".encode() for result in results))
        if (self.path / REMEDIES_FILE).exists():
            self.write(REMEDIES_FILE, (f"{_dump(RemedyTrial, tried)}\n".encode() for tried in remedies))

    def lock(self) -> None:
        """Until `unlock` or the end of this process nobody else writes here. Raises StoreError where somebody does."""
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.unlock()
            raise StoreError(f"{self.path} is being written by a run that is not over") from None
        except OSError:  # a file system without locks
            return

    def unlock(self) -> None:
        """Undo `lock`. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def append(self, record: TrialResult | RemedyTrial) -> None:
        """One line of the journal of its kind, on disk before the call returns. Raises StoreError."""
        if isinstance(record, RemedyTrial):
            self._append(REMEDIES_FILE, _dump(RemedyTrial, record))
        else:
            self._append(JOURNAL_FILE, _dump(TrialResult, record))

    def has_journal(self) -> bool:
        """Whether the file is there."""
        return (self.path / JOURNAL_FILE).is_file()

    def _append(self, name: str, line: str) -> None:
        """The whole line or nothing of it: half of one would spoil what comes behind it."""
        path = self.path / name
        try:
            with self._open(path, os.O_APPEND) as journal:
                size = os.fstat(journal.fileno()).st_size
                try:
                    _write_all(journal, f"{line}\n".encode())
                    os.fsync(journal.fileno())
                except OSError:
                    journal.truncate(size)
                    raise
        except OSError as error:
            raise NotWritten(f"cannot write {path}: {error.strerror}") from None

    def write(self, name: str, text: str | Iterable[str | bytes]) -> Path:
        """A file of the report, whole or not at all. `text`: as pieces where all of it at once would take much memory.
        Raises StoreError, and whatever goes wrong where a piece is made."""
        path = self.path / name
        temporary = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(_mode(0o777, shared=self._shared), parents=True, exist_ok=True)
            with self._open(temporary, os.O_TRUNC) as opened:
                for piece in (text,) if isinstance(text, str) else text:
                    _write_all(opened, piece.encode() if isinstance(piece, str) else piece)
            temporary.replace(path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            if isinstance(error, OSError):
                raise NotWritten(f"cannot write {path}: {error.strerror}") from None
            raise
        return path

    def _open(self, path: Path, how: int) -> FileIO:
        return FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | how, _mode(0o666, shared=self._shared)), "w")

    def mark_latest(self) -> None:
        """Point `latest` beside this directory at it; a file system without links does without."""
        link, fresh = self.path.parent / LATEST, self.path.parent / f".{LATEST}.{os.getpid()}"
        try:
            if link.exists() and not link.is_symlink():
                return
            fresh.symlink_to(self.path.name)
            fresh.replace(link)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink()

    def remove_if_empty(self) -> None:
        """Undo `create` when nothing came of the run."""
        if any(self.path.iterdir()):
            return
        self.path.rmdir()
        parent = self.path.parent
        if self._made_parent and [item.name for item in parent.iterdir()] == [GITIGNORE]:
            (parent / GITIGNORE).unlink()
            parent.rmdir()


def make_folder_of_reports(folder: Path) -> bool:
    """Make it, told to git as one of which nothing is kept, unless it is there; gives whether it was not. Raises
    OSError."""
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if made:
        (folder / GITIGNORE).write_text("*\n")
    return made


def _is_shared(directory: Path) -> bool:
    """Whether others may enter it; one that is not there will be private."""
    try:
        return bool(directory.stat().st_mode & 0o077)
    except OSError:
        return False


def _mode(everybody: int, *, shared: bool) -> int:
    return everybody if shared else everybody & 0o700


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def read(path: Path, pass_over: Callable[[str], None] | None = None) -> tuple[StoredRun, tuple[Verdict, ...]]:
    """A stored run and the verdicts it was given then, in journal order.

    A last line that a crash cut off is left out. `pass_over` hears of each other line that cannot be read and is left
    out; None: such a run is refused. Raises UnfinishedRun for one that ended before its first trial, and
    StoreError for what is not a run directory.
    """
    file = _read_run_file(path)
    if not 1 <= file.format_version <= FORMAT_VERSION:
        raise StoreError(
            f"{path / RUN_FILE} has format {file.format_version}; this version reads 1 to {FORMAT_VERSION}"
        )
    results = _read_journal(path / JOURNAL_FILE, TrialResult, pass_over)
    names = {scenario.name for scenario in file.scenarios}
    for number, result in enumerate(results, start=1):
        if result.observation.scenario not in names:
            where = f"{path / JOURNAL_FILE}:{number}"
            raise StoreError(f"{where}: scenario {result.observation.scenario!r} is none of those in {RUN_FILE}")
    stored = StoredRun(
        run=file.run,
        scenarios=file.scenarios,
        observations=tuple(result.observation for result in results),
        trials_planned=file.trials_planned,
        skipped=file.skipped,
        remedies=_read_journal(path / REMEDIES_FILE, RemedyTrial, pass_over),
    )
    return stored, tuple(result.verdict for result in results)


def read_several(
    paths: tuple[Path, ...], pass_over: Callable[[str], None]
) -> tuple[tuple[StoredRun, tuple[Verdict, ...]], ...]:
    """Those runs of several that hold something; `pass_over` hears of each other one, and of lines left out.

    Raises UnfinishedRun if none is left, and StoreError for what is damaged or no run at all.
    """
    return tuple(those_begun(paths, lambda path: _read_begun(path, pass_over), pass_over))


def oldest_first(paths: tuple[Path, ...], pass_over: Callable[[str], None]) -> tuple[tuple[Path, RunInfo], ...]:
    """What the runs are, without their trials, by the time at which they started, each once. Raises as `read_several`
    does."""
    heads = those_begun(paths, lambda path: (path, _read_run_file(path).run), pass_over)
    each_once = {run.run_id: (path, run) for path, run in heads}  # `latest` may name one of them again
    return tuple(sorted(each_once.values(), key=lambda head: head[1].started_at))


def those_begun(
    paths: tuple[Named, ...], read_one: Callable[[Named], Read], pass_over: Callable[[str], None]
) -> Iterator[Read]:
    """What is read of each run that holds something, when it is asked for: of many runs no more has to be in memory
    than their reader keeps. `pass_over` hears of the others, unless none is left."""
    unfinished: list[UnfinishedRun] = []
    for path in paths:
        try:
            found = read_one(path)
        except UnfinishedRun as error:
            unfinished.append(error)
        else:
            yield found
    if unfinished and len(unfinished) == len(paths):
        raise UnfinishedRun("\n".join(map(str, unfinished)))
    for item in unfinished:
        pass_over(f"passed over: {item}")


def _read_begun(path: Path, pass_over: Callable[[str], None]) -> tuple[StoredRun, tuple[Verdict, ...]]:
    stored, verdicts = read(path, pass_over)
    if stored.trials_planned and not verdicts and stored.run.finished_at is None:
        raise UnfinishedRun(f"{path} holds no trial: the run ended before the first one did")
    return stored, verdicts


def read_options(path: Path) -> RunOptions | None:
    """How a run was asked for; None where that was not recorded. Raises StoreError."""
    return _read_run_file(path).options


def _read_run_file(path: Path) -> RunFile:
    file = path / RUN_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{path} is not a run directory: {RUN_FILE}: {error.strerror}"
        if path.is_dir() and not file.exists():
            raise UnfinishedRun(message) from None
        raise StoreError(message) from None
    except ValueError as error:
        raise StoreError(f"{file} cannot be read: {_why(error)}") from None
    if text.strip("\0 \n") in {"", "{}"}:
        raise UnfinishedRun(f"{file} cannot be read: it is empty, for the run ended before it had begun")
    try:
        return _load(RunFile, text)
    except ValueError as error:
        raise StoreError(f"{file} cannot be read: {_why(error)}") from None


def _read_journal(
    journal: Path, kind: type[Record], pass_over: Callable[[str], None] | None = None
) -> tuple[Record, ...]:
    """Every whole line of a journal; none where there is no file. For `pass_over` see `read`."""
    records = []
    for number, line in enumerate(_lines(journal), start=1):
        is_last = not line.endswith(b"\n")  # what a crash left
        if is_last and not line.strip(b"\0"):
            break
        try:
            records.append(_load_line(kind, line))
        except ValueError as error:
            if is_last:
                break
            if pass_over is None:
                raise StoreError(f"{journal}:{number}: not a trial: {_why(error)}") from None
            pass_over(f"{journal.parent}: line {number} of {journal.name} cannot be read and was passed over")
    return tuple(records)


def _lines(journal: Path) -> Iterator[bytes]:
    """One by one, for a journal may be as large as the memory that its records take. Bytes, because the cut may fall
    into a letter, and because to text U+2028 in a log is a line's end."""
    try:
        with journal.open("rb") as opened:
            yield from opened
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{journal} cannot be read: {error.strerror}") from None


def elapsed_s(run: RunInfo) -> float | None:
    """Wall time of a run in seconds; None if it did not end by itself, or was resumed after a pause."""
    if run.finished_at is None or run.resumed_at:
        return None
    return (datetime.fromisoformat(run.finished_at) - datetime.fromisoformat(run.started_at)).total_seconds()


def _adapter(kind: type[Record], *, flat: bool = False) -> TypeAdapter[Record]:
    """What writes and reads records of a kind. `flat`: reads what was written before observations had parts, in three
    times the time, as each value is made twice."""
    if (kind, flat) not in _ADAPTERS:
        from pydantic import BeforeValidator, TypeAdapter

        made: Any = Annotated[kind, BeforeValidator(flat_journal.with_parts)] if flat else kind
        _ADAPTERS[kind, flat] = TypeAdapter(made)
    return _ADAPTERS[kind, flat]


_ADAPTERS: dict[tuple[type, bool], TypeAdapter[Any]] = {}


def _dump(kind: type[Record], record: Record, indent: int | None = None) -> str:
    return _adapter(kind).dump_json(record, indent=indent).decode()


def _load(kind: type[Record], text: str | bytes) -> Record:
    return _adapter(kind).validate_json(text)


def _load_line(kind: type[Record], line: bytes) -> Record:
    return _adapter(kind, flat=not flat_journal.has_parts(line)).validate_json(line)


def _why(error: ValueError) -> str:
    """The first thing that is wrong, in one line."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
