"""Scenarios under standard faults, each beside its undisturbed twin: the resilience matrix."""

from __future__ import annotations

from stop_harness.model.compliance import Compliance
from stop_harness.model.outcome import Outcome
from stop_harness.model.verdict import Status
from stop_harness.records import dataclass


@dataclass(frozen=True)
class UnderFault:
    """One scenario under one standard fault; what is said of stops is of the worst of them.

    `scenario`: name of the copy, `NAME+FAULT`. `not_tried`: why there are no stops, as the rest of a sentence; all
    that follows is then empty. None: it was tried, though no trial need have been performed.

    `stops`: how many; `trial_id`, `outcome`, `status` and `reason` (a sentence): the worst of them, None and empty
    without any. `missed`: so many of them were over before the fault could matter, and say nothing about it.

    `duration_ns`: median of its shutdown durations at the longest stop timeout at which both twins have one; None:
    not known. `cost_ns`: so much more than undisturbed. `cut_off`: SIGKILL ended it, and both are at least that.

    `broke`: ids of the rules that it breaks and the undisturbed stop does not. `compliance` None: no stop.
    """

    fault: str
    scenario: str
    not_tried: str | None = None
    stops: int = 0
    trial_id: str = ""
    outcome: Outcome | None = None
    status: Status | None = None
    reason: str = ""
    missed: int = 0
    duration_ns: int | None = None
    cost_ns: int | None = None
    cut_off: bool = False
    broke: tuple[str, ...] = ()
    compliance: Compliance | None = None

    @property
    def too_fast(self) -> bool:
        """Every stop was over before the fault could matter."""
        return 0 < self.stops == self.missed


@dataclass(frozen=True)
class Resilience:
    """One scenario undisturbed and under every standard fault that was asked for, in the order of docs/faults.md.

    `outcome`, `status`, `duration_ns`: of the undisturbed stop, the worst and the median; None: not stopped, or not
    known. `undisturbed`: its compliance. `worst`: the worst compliance of all its stops, whose scenario is the name of
    the copy; of equals the one with less to spare.
    """

    scenario: str
    outcome: Outcome | None
    status: Status | None
    duration_ns: int | None
    undisturbed: Compliance
    worst: Compliance
    faults: tuple[UnderFault, ...]

    @property
    def tried(self) -> tuple[UnderFault, ...]:
        """Those that were tried."""
        return tuple(item for item in self.faults if item.not_tried is None)
