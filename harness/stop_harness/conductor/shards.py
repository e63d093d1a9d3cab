"""Runs that belong together: the shards of one run, merged, and found again among many stored runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from stop_harness.conductor import store
from stop_harness.errors import StoreError
from stop_harness.model import Observation, RunInfo, Scenario, StoredRun
from stop_harness.report import redaction

Head = tuple[Path, RunInfo]


def merge(runs: tuple[StoredRun, ...]) -> StoredRun:
    """Several runs (shards, or runs of different scenarios) as one, which begins with the first and ends with the last
    of them. Raises StoreError if two hold the same trial."""
    if len(runs) == 1:
        return runs[0]
    first = min(runs, key=lambda stored: stored.run.started_at)
    scenarios: dict[str, Scenario] = {}
    observations: dict[str, Observation] = {}
    for stored in runs:
        for scenario in stored.scenarios:
            known = scenarios.setdefault(scenario.name, scenario)
            if not redaction.is_same(known, first.run.digest_key, scenario, stored.run.digest_key):
                raise StoreError(f"the runs hold two different scenarios of the name {scenario.name!r}")
        for observation in stored.observations:
            if observation.trial_id in observations:
                raise StoreError(f"the runs hold trial {observation.trial_id} twice; merge shards of one run only")
            observations[observation.trial_id] = observation
    return StoredRun(
        run=_merged_run(first.run, [stored.run for stored in runs]),
        scenarios=tuple(scenarios.values()),
        observations=tuple(observations.values()),
        trials_planned=sum(stored.trials_planned for stored in runs),
        skipped=tuple(dict.fromkeys(skip for stored in runs for skip in stored.skipped)),
        remedies=tuple(tried for stored in runs for tried in stored.remedies),
    )


def merged_id(run_id: str) -> str:
    """Of a run that was merged, by that of the earliest of its parts."""
    return f"{run_id}-merged"


def _merged_run(first: RunInfo, runs: list[RunInfo]) -> RunInfo:
    ends = [run.finished_at for run in runs if run.finished_at is not None]
    return replace(
        first,
        run_id=merged_id(first.run_id),
        shard=_shards(runs),
        finished_at=max(ends) if len(ends) == len(runs) else None,
        interrupted=any(run.interrupted for run in runs),
        resumed_at=tuple(at for run in runs for at in run.resumed_at),
        waivers=tuple(dict.fromkeys(waiver for run in runs for waiver in run.waivers)),
    )


def _shards(runs: list[RunInfo]) -> str | None:
    """`1/3, 3/3`: those that are there, where not all of them are."""
    there = sorted({run.shard for run in runs if run.shard is not None})
    counts = Counter(shard.rpartition("/")[2] for shard in there)
    return ", ".join(there) if any(str(count) != of for of, count in counts.items()) else None


# ── Among many runs ──────────────────────────────────────────────────────────────────────────────────────────────────


def whole_runs(paths: tuple[Path, ...], note: Callable[[str], None]) -> Iterator[StoredRun]:
    """Each run once, oldest first, and read only when it is asked for. The shards of one run are one.

    Nothing on record says which shards were run together. Of a name and a number of shards, a run begins with the
    first that started, and ends where a shard comes again: `note` hears what was taken for one run, and which shards it
    lacks, as it hears of runs that hold nothing. Raises as `store.read_several` does, at whichever run it is.
    """
    groups = _groups(store.oldest_first(paths, note), note)
    for runs in store.those_begun(groups, lambda group: _read(group, note), note):
        yield from runs


def _groups(heads: tuple[Head, ...], note: Callable[[str], None]) -> tuple[tuple[Head, ...], ...]:
    groups: list[list[Head]] = []
    for head in heads:
        shard = head[1].shard
        alike = (group for group in reversed(groups) if shard is not None and _kind(group[0][1]) == _kind(head[1]))
        latest = next(alike, None)
        if latest is None or shard in {run.shard for _, run in latest}:
            groups.append([head])
        else:
            latest.append(head)
    merged = {run.run_id: path for path, run in heads}
    kept = []
    for group in groups:
        if (whole := merged.get(merged_id(group[0][1].run_id))) is None:
            kept.append(tuple(group))
        else:
            note(f"passed over: {_listed(group)}, of which {whole} was merged")
    return tuple(kept)


def _kind(run: RunInfo) -> tuple[str, str, str]:
    """What the shards of one run have in common."""
    return run.name, run.harness_version, (run.shard or "").partition("/")[2]


def _read(group: tuple[Head, ...], note: Callable[[str], None]) -> tuple[StoredRun, ...]:
    """The run that the shards are of; where they cannot be of one, each by itself."""
    runs = tuple(stored for stored, _ in store.read_several(tuple(path for path, _ in group), note))
    if group[0][1].shard is None:
        return runs
    try:
        whole = merge(runs)
    except StoreError as error:
        note(f"shards that are not of one run, each by itself: {_listed(group)}: {error}")
        return runs
    there = ", ".join(str(stored.run.shard) for stored in runs)
    lacks = "" if _shards([stored.run for stored in runs]) is None else ", the others are not here"
    note(f"taken for one run: shard{'s' * (len(runs) > 1)} {there}{lacks}: {_listed(group)}")
    return (whole,)


def _listed(group: tuple[Head, ...] | list[Head]) -> str:
    return ", ".join(str(path) for path, _ in group)
