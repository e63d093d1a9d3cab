"""Which failures are let pass: verdicts stay what they are, and the gate asks here. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from stop_harness.errors import ScenarioError
from stop_harness.model import (
    BEFORE_FAULT,
    Finding,
    Outcome,
    RunInfo,
    Scenario,
    Severity,
    Status,
    TrialResult,
    Waiver,
    WaiverState,
    WaiverUse,
)
from stop_harness.records import dataclass
from stop_harness.verdict.known_causes import CAUSES
from stop_harness.verdict.rules import RULES, UNEXPECTED


@dataclass(frozen=True)
class _Part:
    """Something that went wrong: a container, or what is wrong with the stop as a whole (`container` None). `rules`:
    those that it broke."""

    container: str | None
    outcome: Outcome
    rules: frozenset[str]
    cause: str | None


def lets_pass(result: TrialResult, scenario: Scenario, waivers: Iterable[Waiver], day: str) -> bool:
    """Whether a trial failed and everything that went wrong in it is covered on this day (ISO 8601, UTC).

    One container of a task in doubt, or one bad container that no waiver covers, and the trial is not let pass.
    """
    if result.verdict.status is not Status.FAIL:
        return False
    valid = [item for item in waivers if not _expired(item, day) and names(item, scenario.name)]
    return bool(valid) and all(_covered(part, valid) for part in _parts(result, scenario))


def in_run(
    run: RunInfo, scenarios: tuple[Scenario, ...], results: tuple[TrialResult, ...]
) -> tuple[tuple[WaiverUse, ...], frozenset[str]]:
    """What became of each waiver of a run, in their order; and the ids of the trials that are let pass.

    The day is that on which the run began: a stored run is judged again as it was.
    """
    by_name, day = {item.name: item for item in scenarios}, run.started_at[:10]
    passes = (item for item in results if lets_pass(item, by_name[item.observation.scenario], run.waivers, day))
    waived = frozenset(item.observation.trial_id for item in passes)
    parts = [
        (result, tuple(_parts(result, by_name[result.observation.scenario])))
        for result in results
        if result.verdict.status is Status.FAIL
    ]
    return tuple(_use(waiver, results, parts, day) for waiver in run.waivers), waived


def _use(
    waiver: Waiver, results: tuple[TrialResult, ...], failed: list[tuple[TrialResult, tuple[_Part, ...]]], day: str
) -> WaiverUse:
    trials = tuple(
        result.observation.trial_id
        for result, parts in failed
        if names(waiver, result.observation.scenario) and any(_matches(waiver, part) for part in parts)
    )
    if not trials:
        in_run = any(names(waiver, result.observation.scenario) for result in results)
        return WaiverUse(waiver, WaiverState.UNUSED, in_run=in_run)
    return WaiverUse(waiver, WaiverState.EXPIRED if _expired(waiver, day) else WaiverState.APPLIES, trials)


def require_known(waivers: tuple[Waiver, ...]) -> None:
    """Raises ScenarioError for a rule or a cause that does not exist: such a waiver would never match."""
    known = {"rule": (*RULES, UNEXPECTED.id), "cause": tuple(CAUSES)}
    problems = []
    for waiver in waivers:
        for key, allowed in known.items():
            given = getattr(waiver, key)
            if given is not None and given not in allowed:
                close = difflib.get_close_matches(given, allowed, n=1)
                hint = f"did you mean `{close[0]}`?" if close else "docs/rules.md and docs/outcomes.md have them all"
                problems.append(f"{waiver.place}: waivers: there is no {key} `{given}`; {hint}")
    if problems:
        raise ScenarioError(tuple(problems))


def _parts(result: TrialResult, scenario: Scenario) -> Iterator[_Part]:
    """Each container that is neither graceful nor as expected; then what is wrong beyond them, or with the whole."""
    verdict = result.verdict
    accepted = {Outcome.GRACEFUL, *scenario.expectation_at(result.observation.stop_timeout_ns).outcomes}
    about = result.observation.task.about if result.observation.task is not None else None
    containers = [item for item in verdict.containers if about in {None, item.name}]
    bad = [item for item in containers if item.outcome not in accepted]
    for item in bad:
        yield _Part(item.name, item.outcome, _errors(item.findings), item.cause.id if item.cause else None)
    beyond = _errors(verdict.findings).difference(*(_errors(item.findings) for item in bad))
    if beyond or not bad:
        name = about if about is not None else None
        yield _Part(name, verdict.outcome, beyond, verdict.cause.id if verdict.cause else None)


def _errors(findings: Iterable[Finding]) -> frozenset[str]:
    return frozenset(item.rule for item in findings if item.severity is Severity.ERROR)


def _covered(part: _Part, waivers: list[Waiver]) -> bool:
    """By a waiver of the outcome or the cause, or rule by rule. What is in doubt is never covered."""
    if part.outcome is Outcome.INCONCLUSIVE:
        return False
    matching = [item for item in waivers if _matches(item, part)]
    if any(item.rule is None for item in matching):
        return True
    return (part.rules or {UNEXPECTED.id}) <= {item.rule for item in matching}


def _matches(waiver: Waiver, part: _Part) -> bool:
    return (
        part.outcome is not Outcome.INCONCLUSIVE
        and waiver.container in {None, part.container}
        and waiver.outcome in {None, part.outcome}
        and waiver.cause in {None, part.cause}
        and (waiver.rule is None or waiver.rule in (part.rules or {UNEXPECTED.id}))
    )


def names(waiver: Waiver, scenario: str) -> bool:
    """Whether it is about the scenario of this name. What is known of a scenario is known of its copies under standard
    faults, which are named `NAME+FAULT`, too."""
    undisturbed = scenario.partition(BEFORE_FAULT)[0]
    return waiver.scenario is None or any(fnmatchcase(name, waiver.scenario) for name in (scenario, undisturbed))


def _expired(waiver: Waiver, day: str) -> bool:
    """Dates of this form are in the order of their text."""
    return waiver.expires < day
