"""What each standard fault did to each scenario, against the same stop without it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import median_low

from stop_harness.model import (
    Compliance,
    ComplianceStatus,
    Outcome,
    Resilience,
    Scenario,
    Severity,
    SkippedScenario,
    Status,
    TrialResult,
    Twin,
    UnderFault,
)
from stop_harness.scenario.standard_faults import STANDARD_FAULTS
from stop_harness.verdict import faults
from stop_harness.wording import sentence, why

_STATUSES = (Status.PASS, Status.INCONCLUSIVE, Status.FAIL)
_COMPLIANCES = (ComplianceStatus.NON_COMPLIANT, ComplianceStatus.INCONCLUSIVE, ComplianceStatus.COMPLIANT)

Results = Mapping[str, Sequence[TrialResult]]
"""By the name of the scenario; those that were performed."""


def of_run(
    scenarios: tuple[Scenario, ...],
    skipped: tuple[SkippedScenario, ...],
    results: Results,
    complies: Callable[[Scenario], Compliance],
) -> tuple[Resilience, ...]:
    """A row for each scenario that was to be tried under faults, in the order of `scenarios`. `skipped`: copies that
    were not tried. `complies`: of a scenario, copies included, how it stands against the default."""
    twins: dict[str, list[Twin]] = defaultdict(list)
    for twin in (*(item.twin for item in scenarios), *(item.twin for item in skipped)):
        if twin is not None and twin not in twins[twin.of]:
            twins[twin.of].append(twin)
    by_name = {item.name: item for item in scenarios}
    reasons = {item.scenario: item.reason for item in skipped}
    rows = []
    for name, of_scenario in twins.items():
        undisturbed = results.get(name, ())
        cells = tuple(
            UnderFault(twin.fault, twin.name, not_tried=reasons[twin.name])
            if twin.name in reasons
            else _under(twin, undisturbed, results.get(twin.name, ()), complies(by_name[twin.name]))
            for twin in sorted(of_scenario, key=_order)
        )
        own = complies(by_name[name]) if name in by_name else _not_run(name, cells)
        rows.append(_row(name, undisturbed, own, cells))
    return tuple(rows)


def _order(twin: Twin) -> tuple[int, str]:
    """As the table of standard faults has them; what it does not know, of another version, comes last."""
    for place, fault in enumerate(STANDARD_FAULTS):
        if twin.fault == fault.name or twin.fault.startswith(f"{fault.name}-"):
            return place, twin.fault
    return len(STANDARD_FAULTS), twin.fault


def _not_run(name: str, cells: tuple[UnderFault, ...]) -> Compliance:
    """Of a scenario whose copies alone are in this run, as `rerun --failed` may have it."""
    limit_ns = next((item.compliance.default_timeout_ns for item in cells if item.compliance is not None), 0)
    return Compliance(name, limit_ns, ComplianceStatus.INCONCLUSIVE, "The undisturbed stop is not part of this run.")


def _row(name: str, undisturbed: Sequence[TrialResult], own: Compliance, cells: tuple[UnderFault, ...]) -> Resilience:
    counted = [item.compliance for item in cells if item.compliance is not None and not item.too_fast]
    known = [own] if undisturbed or not counted else []
    worst = _worst(undisturbed)
    return Resilience(
        scenario=name,
        outcome=worst.verdict.outcome if worst else None,
        status=worst.verdict.status if worst else None,
        duration_ns=_typical(undisturbed),
        undisturbed=own,
        worst=min((*known, *counted), key=_compliance_rank),
        faults=cells,
    )


def _compliance_rank(row: Compliance) -> tuple[int, int]:
    return _COMPLIANCES.index(row.status), row.headroom_ns or 0


def _under(
    twin: Twin, undisturbed: Sequence[TrialResult], results: Sequence[TrialResult], compliance: Compliance
) -> UnderFault:
    """One cell of stops that were performed, if any were."""
    worst = _worst(results)
    if worst is None:
        return UnderFault(twin.fault, twin.name)
    met = [result for result in results if not faults.over_before(result)]
    duration_ns, cost_ns, cut_off = _cost(undisturbed, met or results)
    return UnderFault(
        twin.fault,
        twin.name,
        stops=len(results),
        trial_id=worst.observation.trial_id,
        outcome=worst.verdict.outcome,
        status=worst.verdict.status,
        reason=sentence(why(worst.verdict)),
        missed=len(results) - len(met),
        duration_ns=duration_ns,
        cost_ns=cost_ns,
        cut_off=cut_off,
        broke=tuple(sorted(_broken(results) - _broken(undisturbed))),
        compliance=compliance,
    )


def _worst(results: Sequence[TrialResult]) -> TrialResult | None:
    """By its status, then by its outcome; of equals the one with the longest stop timeout, which shows most."""

    def badness(result: TrialResult) -> tuple[int, int, int]:
        status, outcome = result.verdict.status, result.verdict.outcome
        return _STATUSES.index(status), outcome.severity, result.observation.stop_timeout_ns

    return max(results, key=badness, default=None)


def _broken(results: Sequence[TrialResult]) -> frozenset[str]:
    """Rules of which a broken one is an error."""
    return frozenset(
        finding.rule for result in results for finding in result.verdict.findings if finding.severity is Severity.ERROR
    )


# ── What it cost ─────────────────────────────────────────────────────────────────────────────────────────────────────

_Stop = tuple[int, int]
"""Stop timeout and stop moment."""


def _cost(undisturbed: Sequence[TrialResult], results: Sequence[TrialResult]) -> tuple[int | None, int | None, bool]:
    """(median duration, what is more than without the fault, whether both are at least that), at the longest stop
    timeout at which both were measured; else at the longest at which the disturbed stop was."""
    then, now = _by_stop(undisturbed), _by_stop(results)
    known = {stop: found for stop, those in now.items() if (found := _median(those)) is not None}
    if not known:
        return None, None, False
    for stop, (duration_ns, cut_off) in sorted(known.items(), reverse=True):
        before = _median(then.get(stop, ()))
        if before is not None and not before[1]:
            return duration_ns, duration_ns - before[0], cut_off
    duration_ns, cut_off = known[max(known)]
    return duration_ns, None, cut_off


def _typical(results: Sequence[TrialResult]) -> int | None:
    """Median at the longest stop timeout at which it exited by itself."""
    medians = {stop: _median(those) for stop, those in _by_stop(results).items()}
    known = {stop: found[0] for stop, found in medians.items() if found is not None and not found[1]}
    return known[max(known)] if known else None


def _by_stop(results: Sequence[TrialResult]) -> dict[_Stop, list[TrialResult]]:
    found: dict[_Stop, list[TrialResult]] = defaultdict(list)
    for result in results:
        found[result.observation.stop_timeout_ns, result.observation.stop_after_ns].append(result)
    return found


def _median(results: Sequence[TrialResult]) -> tuple[int, bool] | None:
    """(duration, whether it was cut off there), with a stop that SIGKILL cut off as longer than all others. A stop that
    crashed or ran out of memory took no time that could be compared; None: all were such."""
    durations = []
    for result in results:
        took_ns = result.verdict.facts.shutdown_duration_ns
        if result.verdict.outcome is Outcome.KILLED:
            durations.append((True, result.observation.stop_timeout_ns))
        elif result.verdict.outcome in {Outcome.GRACEFUL, Outcome.LOSSY} and took_ns is not None:
            durations.append((False, took_ns))
    if not durations:
        return None
    cut_off, duration_ns = median_low(durations)
    return duration_ns, cut_off
