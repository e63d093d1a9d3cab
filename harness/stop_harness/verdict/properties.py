"""What a scenario expects beyond an outcome: a property that does not hold fails the trial, one that nobody could check
leaves it open. Neither changes the outcome, which says how the container ended. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stop_harness.evidence import properties
from stop_harness.model import (
    Expectation,
    Finding,
    Observation,
    Outcome,
    Property,
    PropertyRecord,
    Severity,
    Status,
    Verdict,
)
from stop_harness.verdict.rule import Rule

PROPERTY_RULES = (
    Rule(
        "property-failed",
        Severity.ERROR,
        "What the scenario's `after_stop` says is true after the stop.",
        "A stop may be orderly and leave half a line in a journal, a message that was acknowledged and is nowhere, or "
        "a lock that keeps the next start from getting ready. The outcome stays what it is: how PID 1 ended.",
        "the scenario's `expect`; the stopped container's files, its log, the other containers of its group",
        '`{file: /data/journal, ends_with_newline: true}`, and the journal ends with `{"id": 12`.',
    ),
    Rule(
        "property-unchecked",
        Severity.ERROR,
        "Everything that the scenario's `after_stop` names can be looked at after the stop.",
        "What nobody could look at is neither true nor false, so that the trial is neither a pass nor a failure.",
        "the engine's own message",
        "`{command: [psql, …], in: db}`, and the database has exited meanwhile.",
    ),
)


def judged(verdict: Verdict, observation: Observation, expectation: Expectation) -> Verdict:
    """The verdict with what was found of the properties that are expected."""
    if not expectation.after_stop or observation.problem is not None:
        return verdict
    records = tuple(_record_of(asked, observation) for asked in expectation.after_stop)
    status = _status(verdict, records)
    return replace(verdict, status=status, findings=(*verdict.findings, *_findings(records)))


def _record_of(asked: Property, observation: Observation) -> PropertyRecord:
    """What was found of it. A stop that is derived, or was recorded by an older version, has nothing on record."""
    for record in observation.properties:
        if record.asked == asked:
            return record
    return properties.unchecked(asked, "nobody looked")


def _status(verdict: Verdict, records: tuple[PropertyRecord, ...]) -> Status:
    """The worst of the stop's and the properties'. A stop that was not measured may have been disturbed, so that what
    it left behind is not the container's failure either."""
    measured = verdict.outcome is not Outcome.INCONCLUSIVE
    if verdict.status is Status.FAIL or all(record.held for record in records):
        return verdict.status
    return Status.FAIL if measured and any(record.held is False for record in records) else Status.INCONCLUSIVE


def _findings(records: tuple[PropertyRecord, ...]) -> Iterator[Finding]:
    """One for what does not hold and one for what could not be checked: each rule is told once of a trial."""
    for rule, held, one, many in (
        ("property-failed", False, "this does not hold", "properties do not hold"),
        ("property-unchecked", None, "this could not be checked", "properties could not be checked"),
    ):
        said = [f"{properties.words(record.asked)} ({record.found})" for record in records if record.held is held]
        if said:
            begin = one if len(said) == 1 else f"{len(said)} of {len(records)} {many}"
            yield Finding(rule, Severity.ERROR, f"{begin} after the stop: {'; '.join(said)}")
