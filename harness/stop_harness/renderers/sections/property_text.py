"""What was found of the properties that scenarios expect after a stop, for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from stop_harness.evidence import properties
from stop_harness.model import PropertyRecord, TrialResult
from stop_harness.wording import one_line, printable

HEADS = ("Must be true after the stop", "Holds", "Found", "End of it", "Checked after")
"""Of the columns of `row`."""

TITLE = "After the stop"

_HOLDS = {True: "yes", False: "no", None: "not checked"}


def summary(results: Sequence[TrialResult]) -> str:
    """`7 of 9 properties hold, 1 does not, 1 could not be checked`; empty where none was asked for."""
    held = [record.held for result in results for record in result.observation.properties]
    if not held:
        return ""
    said = [f"{held.count(True):,} of {len(held):,} {'property holds' if len(held) == 1 else 'properties hold'}"]
    if broken := held.count(False):
        said.append(f"{broken:,} {'does' if broken == 1 else 'do'} not")
    if unknown := held.count(None):
        said.append(f"{unknown:,} could not be checked")
    return ", ".join(said)


def row(record: PropertyRecord) -> tuple[str, ...]:
    """One property, as the columns of `HEADS` have it."""
    excerpt = printable(record.excerpt).replace("\n", "⏎")
    moment = "–" if record.checked_at_ns is None else f"{record.checked_at_ns / 1e9:.2f} s"
    return (
        one_line(properties.words(record.asked)),
        _HOLDS[record.held],
        one_line(record.found),
        one_line(excerpt),
        moment,
    )
