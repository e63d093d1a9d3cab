"""`run --resume`: what an unfinished run still lacks, so that its report becomes that of an undisturbed one.

The run is continued as it was begun: its stored scenarios and options are the truth, not the files as they are now. A
trial is missing if the journal has no line of it, or one that says nothing about the container because the run was
interrupted, or the engine or the harness failed. An inconclusive trial whose container did not become ready stands.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from stop_harness.conductor import digest_key, store
from stop_harness.conductor.request import Resumption, RunOptions, RunRequest
from stop_harness.errors import ScenarioError, StoreError, UsageError
from stop_harness.model import Observation, ProblemKind, Scenario, TrialResult
from stop_harness.report import redaction
from stop_harness.scenario import discovery, standard_faults

SAYS_NOTHING = frozenset({ProblemKind.INTERRUPTED, ProblemKind.ENGINE_FAILED, ProblemKind.HARNESS_FAILED})
"""Problems of a trial that is performed again."""

NOT_SOURCE = frozenset({".git", "__pycache__"})
"""Folders below a build folder that change by themselves."""


def read(directory: Path) -> tuple[Resumption, RunOptions]:
    """What stands, and how the run was asked for. Raises StoreError for what cannot be resumed."""
    if directory.is_symlink():  # `latest`, which is to name it again afterwards
        directory = directory.parent / directory.readlink()
    stored, verdicts = store.read(directory)
    options = store.read_options(directory)
    if options is None:
        raise StoreError(f"{directory} was written by a version that did not record its options; run it again")
    results = tuple(map(TrialResult, stored.observations, verdicts))
    stands = {item.observation.trial_id for item in results if _stands(item.observation)}
    # What was derived from a stop that is performed again is derived again.
    kept = tuple(item for item in results if {item.observation.trial_id, _source(item.observation)} <= stands)
    remedies = tuple(tried for tried in stored.remedies if _stands(tried.observation))
    return Resumption(directory, stored, kept, remedies), options


def request(
    resumption: Resumption, options: RunOptions, note: Callable[[str], None], command_line: tuple[str, ...]
) -> RunRequest:
    """The request that continues the run. `note` hears what has changed since. Raises UsageError."""
    run = resumption.stored.run
    if options.engine == "auto":  # the same kind again: trials of two engines do not make one report
        options = replace(options, engine="process" if run.engine.name == "process" else "docker")
    for container in (item.subject.container for item in resumption.stored.scenarios):
        if container is not None:
            raise UsageError(f"container {container.name} was to be stopped as it ran then; check it anew instead")
    scenarios = tuple(_scenario(item, note) for item in resumption.stored.scenarios)
    subjects = [item.subject for item in scenarios]
    subjects += [member.subject for item in subjects if item.group is not None for member in item.group.members]
    for folder in dict.fromkeys(item.build_directory for item in subjects if item.build_directory):
        changed = _changed_since(Path(folder), datetime.fromisoformat(run.started_at).timestamp())
        if changed is not None:
            note(f"{changed} has changed since the run began; the trials from here on run what {folder} holds now")
    return RunRequest(
        scenarios=scenarios,
        name=run.name,
        report_dir=resumption.directory.parent,
        command_line=command_line,
        resumption=resumption,
        **vars(options),
    )


def _stands(seen: Observation) -> bool:
    return seen.problem is None or seen.problem.kind not in SAYS_NOTHING


def _source(seen: Observation) -> str:
    """The stop that was performed."""
    return seen.derivation.derived_from or seen.trial_id


def _scenario(stored: Scenario, note: Callable[[str], None]) -> Scenario:
    """As stored; with the values, which are not stored, from its file, which must be as it was."""
    now = _from_file(stored)
    if not redaction.has_hidden(stored):
        if now is not None and now != stored:
            note(f"{stored.source} has changed since; the run goes on with the scenario as it was")
        return stored
    if stored.source is None:
        raise UsageError(
            f"scenario {stored.name}: it came from `check`, and values that were given there are stored nowhere; "
            "run that `check` again (with --show-values its values are stored, and it can be resumed)"
        )
    if now is None:
        raise UsageError(
            f"scenario {stored.name}: its values are not stored and {stored.source} cannot be read; "
            "resume in the folder where the run was begun"
        )
    key, _ = digest_key.read_or_make(digest_key.path())
    if redaction.Redaction(key, (now,)).scenario(now.name) != stored:
        raise UsageError(
            f"scenario {stored.name}: its values are not stored, and {stored.source} has changed since, or the key of "
            "this machine has; put the file back, or run it again"
        )
    return now


def _changed_since(folder: Path, began_s: float) -> Path | None:
    """A file of a build folder that was written later; None where there is none. One that was removed is not seen."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - NOT_SOURCE)
        for path in (Path(place, name) for name in sorted(names)):
            with contextlib.suppress(OSError):  # gone by now
                if path.lstat().st_mtime > began_s:
                    return path
    return None


def _from_file(stored: Scenario) -> Scenario | None:
    """What its file says today; None where that cannot be told."""
    if stored.source is None:
        return None
    try:
        found = discovery.load((Path(stored.source),))
    except (ScenarioError, UsageError):
        return None
    return standard_faults.as_it_is_now(stored, found)
