"""Failures that are let pass for a time."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.model.outcome import Outcome
from stop_harness.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A known failure that keeps no run from passing until a day. It covers failures only, never doubt.

    `expires` is the last day on which it holds, an ISO 8601 date in UTC. `place`: where it is written, `file:line`.
    `scenario`: a name, or a pattern with `*` and `?`; `container`: of a task, a Compose project or a pod. With
    `outcome`, `rule` and `cause` it says which failure is known; None: any, for each of these. At least one of the last
    three is not None.
    """

    reason: str
    expires: str
    place: str
    scenario: str | None = None
    container: str | None = None
    outcome: Outcome | None = None
    rule: str | None = None
    cause: str | None = None


class WaiverState(StrEnum):
    """What became of a waiver in a run."""

    APPLIES = "applies"
    EXPIRED = "expired"
    """It would have covered a failure, and its day is over."""
    UNUSED = "unused"
    """It matches no failure of the run."""


@dataclass(frozen=True)
class WaiverUse:
    """A waiver in a run. `trials`: the failures that it covers or, if it has expired, would cover. Where several
    containers of a trial went wrong it may be one of several waivers that only together let the trial pass.

    `in_run` False: no scenario that it names was stopped in this run, so that nothing is known of what it covers.
    """

    waiver: Waiver
    state: WaiverState
    trials: tuple[str, ...] = ()
    in_run: bool = True
