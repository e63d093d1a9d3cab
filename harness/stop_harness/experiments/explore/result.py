"""What a search came to. Pure, and without hypothesis: whoever shows it need not be able to search."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stop_harness.experiments.explore.candidate import Candidate, TriedCandidate


class SearchAnswer(StrEnum):
    """What a search says about its scenario."""

    FOUND = "found"
    """A stop that fails."""
    NOTHING = "nothing"
    """No stop failed, of all that were tried."""
    NOT_JUDGED = "not_judged"
    """Too little could be judged, or it was interrupted before anything was found."""


@dataclass(frozen=True)
class BreakingStop:
    """A stop that fails. `failed` of `repeated`: how often when it was repeated; 0 of 0 where there was no time to.
    `seen`: one of these stops. `first`: as it was found, before it was made smaller."""

    candidate: Candidate
    seen: TriedCandidate
    failed: int
    repeated: int
    first: Candidate

    @property
    def undisturbed(self) -> bool:
        """The scenario's own stop fails already."""
        return self.candidate.is_undisturbed


@dataclass(frozen=True)
class Exploration:
    """What a search came to. `stops`: how many were performed; of these `unclear` could not be judged. `finding` None:
    nothing was found. `problem`: why nothing could be. `flukes`: what failed once and not when it was repeated.
    `slowest`: the longest shutdown that was as expected. `interrupted`: the user ended it. `passed_by`: how many stops
    were over before what was to disturb them. `left_out`: which faults could not be made here, and why."""

    scenario: str
    seed: int
    stops: int = 0
    unclear: int = 0
    finding: BreakingStop | None = None
    problem: str | None = None
    flukes: tuple[TriedCandidate, ...] = ()
    slowest: TriedCandidate | None = None
    interrupted: bool = False
    passed_by: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def answer(self) -> SearchAnswer:
        """Whether a stop was found that fails."""
        if self.finding is not None:
            return SearchAnswer.FOUND
        return SearchAnswer.NOT_JUDGED if self.problem is not None or self.interrupted else SearchAnswer.NOTHING
