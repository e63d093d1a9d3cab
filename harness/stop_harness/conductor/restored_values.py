"""The scenarios of a stored run with the values again that are not stored: read anew, and held against the digests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stop_harness.conductor import digest_key
from stop_harness.errors import UsageError
from stop_harness.model import RunInfo, Scenario
from stop_harness.report import redaction
from stop_harness.scenario import discovery


def restore(run: RunInfo, scenarios: tuple[Scenario, ...], key_file: Path | None = None) -> tuple[Scenario, ...]:
    """Each scenario as it was run. Those without hidden values are as stored; the others come from their files.

    Raises UsageError, in one line, where the file, its values or the key are not those of the run; ScenarioError for
    a file that no longer reads.
    """
    if not any(map(redaction.has_hidden, scenarios)):
        return scenarios
    key, trouble = digest_key.read_or_make(key_file or digest_key.path())
    if trouble is not None or redaction.key_id(key) != run.digest_key:
        reason = trouble or "the run was made with another key, on another machine or by another user"
        raise UsageError(f"the run's values are not stored and cannot be compared: {reason}; start a new run")
    return tuple(_restored(stored, key) if redaction.has_hidden(stored) else stored for stored in scenarios)


def _restored(stored: Scenario, key: bytes) -> Scenario:
    if stored.source is None:
        raise UsageError(
            f"{stored.name}: values given on the command line are not stored; repeat the command, or use --show-values"
        )
    if not Path(stored.source).is_file():
        raise UsageError(f"{stored.name}: its values are not stored, and {stored.source} is gone; start a new run")
    (given,) = discovery.load((Path(stored.source),))
    if given.name != stored.name:
        raise UsageError(f"{stored.source}: holds {given.name} now instead of {stored.name}; start a new run")
    hidden = redaction.Redaction(key, (given,)).scenario(given.name)
    # What is said of readiness was written down later than scenarios were; a file without it means what it meant.
    hidden = replace(hidden, readiness=replace(hidden.readiness, implied=stored.readiness.implied))
    if hidden != stored:
        changed = ", ".join(redaction.changed_values(stored, hidden)) or "more than values"
        raise UsageError(f"{stored.source}: changed since the run: {changed}; start a new run")
    return given
