"""Process table, requests and facts → why a stop was not graceful. Pure. Unknown stays unknown."""

from __future__ import annotations

from harness.model import Cause, Observation, Outcome, StopFacts


def cause(observation: Observation, facts: StopFacts, outcome: Outcome) -> Cause | None:
    """The one cause of a stop that was not graceful, with its evidence; None for a graceful or unmeasured one."""
    if outcome in {Outcome.GRACEFUL, Outcome.INCONCLUSIVE}:
        return None
    return Cause("unknown", "the evidence does not tell")
