"""One report of all that a session has stopped: by scenario files, by marks and by the fixture, in every process."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from stop_harness.conductor import shards, store, stored_runs, write_report
from stop_harness.model import Observation, RemedyTrial, Report, RunInfo, StoredRun, Waiver
from stop_harness.verdict import waivers

OfScenario = TypeVar("OfScenario", Observation, RemedyTrial)


def keep(folder: Path, stored: StoredRun, built: Report) -> None:
    """Write down a run until the session ends. Raises StoreError."""
    stored_runs.write(stored, built, store.RunDirectory.create(folder, str(os.getpid())))


def write(folder: Path, report_dir: Path, *, shared: bool = False) -> tuple[Path | None, tuple[str, ...]]:
    """Write the report of the runs that were kept in a folder. Gives its file, and what went wrong, in sentences; no
    file where nothing was stopped. `shared`: for other users, too. Raises StoreError where `report_dir` cannot be
    written to."""
    notes: list[str] = []
    paths = tuple(sorted(path for path in folder.iterdir() if path.is_dir())) if folder.is_dir() else ()
    runs = tuple(stored for stored, _ in store.read_several(paths, notes.append))
    if not runs:
        return None, ()
    merged = shards.merge(tuple(_with_names_of_their_own(runs)))
    merged = replace(merged, run=_of_session(merged.run, runs))
    built = stored_runs.report_of(merged)
    directory = store.RunDirectory.create(report_dir, "pytest", shared=shared)
    stored_runs.write(merged, built, directory)
    problems = write_report.write(built, directory)
    directory.mark_latest()
    return directory.path / write_report.HTML_FILE, (*notes, *problems)


def _of_session(first: RunInfo, runs: tuple[StoredRun, ...]) -> RunInfo:
    """The facts of the first run, for as long as the session lasted."""
    return replace(
        first,
        name="pytest",
        command_line=("pytest",),
        shard=None,
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        interrupted=any(stored.run.interrupted for stored in runs),
        digest_key=next((stored.run.digest_key for stored in runs if stored.run.digest_key is not None), None),
    )


def _with_names_of_their_own(runs: tuple[StoredRun, ...]) -> Iterator[StoredRun]:
    """Two tests may stop the same image: the second scenario of a name gets a number."""
    taken: set[str] = set()
    for stored in sorted(runs, key=lambda stored: stored.run.started_at):
        names: dict[str, str] = {}
        for scenario in (item for item in stored.scenarios if item.twin is None):
            free = (f"{scenario.name} ({number})" for number in range(2, len(runs) + 2))
            name = scenario.name if scenario.name not in taken else next(name for name in free if name not in taken)
            taken.add(name)
            names[scenario.name] = name
        copies = (*(item.twin for item in stored.scenarios), *(item.twin for item in stored.skipped))
        known = (twin for twin in copies if twin is not None)
        twins = {twin.name: replace(twin, of=names.get(twin.of, twin.of)) for twin in known}
        names |= {name: twin.name for name, twin in twins.items()}
        yield replace(
            stored,
            run=replace(stored.run, waivers=tuple(_waivers(stored.run.waivers, names))),
            scenarios=tuple(
                replace(item, name=names[item.name], twin=twins.get(item.name)) for item in stored.scenarios
            ),
            observations=tuple(_renamed(item, names) for item in stored.observations),
            skipped=tuple(
                replace(item, scenario=names.get(item.scenario, item.scenario), twin=twins.get(item.scenario))
                for item in stored.skipped
            ),
            remedies=tuple(
                replace(
                    _renamed(item, names),
                    observation=_renamed(item.observation, names),
                    control=_renamed(item.control, names) if item.control is not None else None,
                    unchanged=tuple(_renamed(each, names) for each in item.unchanged),
                )
                for item in stored.remedies
            ),
        )


def _waivers(given: tuple[Waiver, ...], names: dict[str, str]) -> Iterator[Waiver]:
    """Those of a run, which cover what they did also under its new name. A pattern stays as well, for it may be about
    others."""
    for waiver in given:
        renamed = tuple(
            new for old, new in names.items() if waivers.names(waiver, old) and not waivers.names(waiver, new)
        )
        if not renamed or waiver.scenario not in names:
            yield waiver
        yield from (replace(waiver, scenario=glob.escape(new)) for new in renamed)


def _renamed(record: OfScenario, names: dict[str, str]) -> OfScenario:
    """A record of a scenario under its new name; ids of trials begin with that."""
    old, new = record.scenario, names[record.scenario]
    return replace(record, scenario=new, trial_id=new + record.trial_id.removeprefix(old))
