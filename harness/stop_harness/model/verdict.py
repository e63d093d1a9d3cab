"""What it means: the judgement of one observation."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.model.outcome import Outcome
from stop_harness.records import dataclass


class SigkillEvidence(StrEnum):
    """How we know whether SIGKILL ended the stop."""

    OBSERVED = "observed"
    INFERRED = "inferred"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StopFacts:
    """The timeline read as facts, before any judgement.

    `shutdown_duration_ns`: stop signal sent → PID 1 exited, None where one end is missing. `duration_source` names
    both ends and their clock. `duration_error_ns` is the known error bound of that pair of sources, None if unknown.
    `sigkill_after_ns`: stop signal → SIGKILL, None if none was seen.
    """

    sigkill_evidence: SigkillEvidence
    sigkill_reason: str
    shutdown_duration_ns: int | None = None
    duration_source: str | None = None
    duration_error_ns: int | None = None
    sigkill_after_ns: int | None = None
    oom_during_stop: bool | None = None


class Severity(StrEnum):
    """How much a finding matters: `error` decides an outcome, `warning` deserves a look, `note` explains."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that applied. `rule` is its id, documented in `docs/outcomes.md`."""

    rule: str
    severity: Severity
    message: str


class Status(StrEnum):
    """A trial against its expectation."""

    PASS = "pass"  # nosec B105 # no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Advice:
    """What to change so that the next stop is graceful.

    `program`: the program or runtime that it is for; empty: for any. `lines`: code or settings to copy; empty: none.
    `source`: where it is written down. `proof`: the scenario of docs/field-guide.md that shows it; empty: it could not
    be tried there.
    """

    text: str
    program: str = ""
    lines: str = ""
    source: str = ""
    proof: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a stop was not graceful: an id from `known_causes.CAUSES` and the evidence in one sentence. `unknown` is one.

    `advice`: what to do about it, in the shape that was seen first, then for the programs that were seen.
    `without_fault`: of one that a fault leaves open, the cause that the same stop would have without it; else empty.
    """

    id: str
    evidence: str
    advice: tuple[Advice, ...] = ()
    without_fault: str = ""


@dataclass(frozen=True, slots=True)
class ContainerVerdict:
    """The judgement of one container of a task; fields as in `Verdict`."""

    name: str
    outcome: Outcome
    reason: str
    facts: StopFacts
    findings: tuple[Finding, ...] = ()
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one observation. `reason` is one sentence that a person understands. `cause` None: graceful, or
    not measured. `containers`: of a task, in the order of its record, without those that had ended before the stop."""

    trial_id: str
    outcome: Outcome
    status: Status
    reason: str
    facts: StopFacts
    findings: tuple[Finding, ...] = ()
    cause: Cause | None = None
    containers: tuple[ContainerVerdict, ...] = ()
