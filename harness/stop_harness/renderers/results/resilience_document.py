"""Scenarios under standard faults in results.json: the sections, and what fills them."""

from __future__ import annotations

from dataclasses import dataclass

from stop_harness.model import Compliance, ComplianceStatus, Outcome, Resilience, Status, UnderFault
from stop_harness.wording import to_seconds


@dataclass(frozen=True)
class WorstComplianceDocument:
    """The worst compliance of all stops of a scenario, those under standard faults included."""

    fault: str | None
    """null: the undisturbed stop is the worst."""
    status: ComplianceStatus
    headroom_s: float | None
    reason: str


@dataclass(frozen=True)
class UnderFaultDocument:
    """One scenario under one standard fault; what is said of stops is of the worst of them."""

    fault: str
    """As in docs/faults.md; of several containers that may be needed each has its name behind it."""
    scenario: str
    """The name under which its trials stand."""
    not_tried: str | None
    """Why there are no stops; null: it was tried."""
    stops: int
    trial_id: str | None
    """The worst of them; null, as outcome and status are, where there is none."""
    outcome: Outcome | None
    status: Status | None
    reason: str
    over_before: bool
    """Every stop was over before the fault could matter."""
    stops_over_before: int
    """So many of `stops` were."""
    shutdown_duration_s: float | None
    """Median at the longest stop timeout at which both twins have one; null where not known."""
    cost_s: float | None
    """So much more than undisturbed."""
    cut_off: bool
    """SIGKILL ended it: duration and cost are at least that."""
    broke: tuple[str, ...]
    """Rules that it breaks and the undisturbed stop does not."""
    compliance: ComplianceStatus | None
    headroom_s: float | None


@dataclass(frozen=True)
class ResilienceDocument:
    """One scenario under every standard fault that was asked for (`--faults`), beside its undisturbed stop."""

    scenario: str
    outcome: Outcome | None
    """Of the undisturbed stop, as status and shutdown_duration_s are; null where it is not part of the run."""
    status: Status | None
    shutdown_duration_s: float | None
    compliance: ComplianceStatus
    """Of the undisturbed stop."""
    worst: WorstComplianceDocument
    faults: tuple[UnderFaultDocument, ...]


def resilience(item: Resilience) -> ResilienceDocument:
    """One row."""
    return ResilienceDocument(
        scenario=item.scenario,
        outcome=item.outcome,
        status=item.status,
        shutdown_duration_s=to_seconds(item.duration_ns),
        compliance=item.undisturbed.status,
        worst=_worst(item),
        faults=tuple(map(_under, item.faults)),
    )


def _worst(item: Resilience) -> WorstComplianceDocument:
    row: Compliance = item.worst
    fault = next((cell.fault for cell in item.faults if cell.compliance is row), None)
    return WorstComplianceDocument(fault, row.status, to_seconds(row.headroom_ns), row.reason)


def _under(cell: UnderFault) -> UnderFaultDocument:
    return UnderFaultDocument(
        fault=cell.fault,
        scenario=cell.scenario,
        not_tried=cell.not_tried,
        stops=cell.stops,
        trial_id=cell.trial_id or None,
        outcome=cell.outcome,
        status=cell.status,
        reason=cell.reason,
        over_before=cell.too_fast,
        stops_over_before=cell.missed,
        shutdown_duration_s=to_seconds(cell.duration_ns),
        cost_s=to_seconds(cell.cost_ns),
        cut_off=cell.cut_off,
        broke=cell.broke,
        compliance=cell.compliance.status if cell.compliance else None,
        headroom_s=to_seconds(cell.compliance.headroom_ns) if cell.compliance else None,
    )
