"""What one trial comes to: exactly one outcome."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What one trial came to; exactly one. `docs/outcomes.md` describes each."""

    GRACEFUL = "graceful"
    LOSSY = "lossy"
    KILLED = "killed"
    CRASHED = "crashed"
    OOM_KILLED = "oom_killed"
    NOT_RUNNING = "not_running"
    INCONCLUSIVE = "inconclusive"

    @property
    def severity(self) -> int:
        """How bad it is among the outcomes, 0 for the best; the worst one decides for a task with several containers,
        and of outcomes that are equally frequent."""
        return _BEST_FIRST.index(self)


_BEST_FIRST = (
    Outcome.GRACEFUL,
    Outcome.INCONCLUSIVE,
    Outcome.NOT_RUNNING,
    Outcome.LOSSY,
    Outcome.KILLED,
    Outcome.CRASHED,
    Outcome.OOM_KILLED,
)
"""Doubt outweighs what went well, and every proof of a failure outweighs doubt. Among the proofs the worse is what a
longer stop timeout cures less: work was lost in spite of an orderly exit, the time was not enough, the program failed,
the memory was not enough."""
