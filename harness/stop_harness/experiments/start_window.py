"""Stops at moments from a container's creation on → the window in which the stop signal is lost. Pure.

A signal that reaches PID 1 before its handler exists is dropped, not kept: the container starts up as if nothing had
happened and is killed at the stop timeout.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stop_harness.model import NS_PER_MS, NS_PER_S

COARSE_STEPS = 8
"""Moments of the first grid, evenly spaced: a window shorter than an eighth of the start-up may be missed."""

MARGIN_NS = NS_PER_S // 2
"""How far behind readiness the grid goes, because a "ready" line may come before the handler."""

REFINEMENT = 3
"""New moments in each edge of the window and round; they divide it by four."""

PRECISE_NS = 20 * NS_PER_MS
"""An edge known this well is left alone: no two starts of a container take the same time."""

PRECISE_PART = 200
"""Half a percent of the start-up: so much it differs from one start to the next on a quiet machine."""

MAX_TRIALS = 25


class StopFate(StrEnum):
    """What became of a stop at one moment."""

    HEARD = "heard"
    """It exited by itself."""
    LOST = "lost"
    """Killed at the stop timeout."""
    UNCLEAR = "unclear"
    """Not measured, or gone before the stop."""


@dataclass(frozen=True)
class Moment:
    """One stop, `at_ns` after the start call returned, as it was measured. `detail` says what came of it."""

    at_ns: int
    fate: StopFate
    detail: str


@dataclass(frozen=True)
class Window:
    """Where the stop signal is lost. Each edge lies between two moments that were tried.

    `opens` (last heard before, first lost): (None, x) if it was lost from the first moment on. `closes` (last surely
    lost, first heard for good); (x, None) if it was lost to the last.
    """

    opens: tuple[int | None, int]
    closes: tuple[int, int | None]

    @property
    def width_ns(self) -> tuple[int, int | None]:
        """Least and greatest width; from the start call on where it opens before the first moment. None: no end."""
        last_lost, heard = self.closes
        return last_lost - self.opens[1], None if heard is None else heard - (self.opens[0] or 0)


@dataclass(frozen=True)
class Sweep:
    """What came out. `ready_ns`: start call → ready, of the one container that was let become ready.

    `problem`: why there is nothing to look for, None where moments were tried. `side_by_side`: containers at once,
    which slows their start a little.
    """

    scenario: str
    stop_timeout_ns: int
    side_by_side: int
    ready_ns: int | None = None
    problem: str | None = None
    moments: tuple[Moment, ...] = ()
    window: Window | None = None


def grid(ready_ns: int) -> tuple[int, ...]:
    """The first moments to try: from 0 to readiness and a margin."""
    end = ready_ns + max(MARGIN_NS, ready_ns // 4)
    return tuple(end * step // (COARSE_STEPS - 1) for step in range(COARSE_STEPS))


def window(moments: tuple[Moment, ...]) -> Window | None:
    """The window in which stops are lost; None if none was.

    No two starts take the same time, so near the end of the window a stop may be heard and a later one lost: the end
    then lies between the last one lost before any was heard and the first one heard after all that were lost.
    """
    lost = sorted(moment.at_ns for moment in moments if moment.fate is StopFate.LOST)
    heard = sorted(moment.at_ns for moment in moments if moment.fate is StopFate.HEARD)
    if not lost:
        return None
    before = [at for at in heard if at < lost[0]]
    inside = [at for at in heard if lost[0] < at < lost[-1]]
    surely = max(at for at in lost if not inside or at < inside[0])
    after = [at for at in heard if at > lost[-1]]
    return Window((before[-1] if before else None, lost[0]), (surely, after[0] if after else None))


def refine(moments: tuple[Moment, ...]) -> tuple[int, ...]:
    """The next moments to try, inside the edges that are not yet known well enough; empty if all are.

    At the end of the window that is the stretch behind the last one lost: in front of it both was seen already.
    """
    found = window(moments)
    if found is None:
        return ()
    last = max(moment.at_ns for moment in moments if moment.fate is StopFate.LOST)
    precise = max(PRECISE_NS, last // PRECISE_PART)
    edges = (found.opens, (last, found.closes[1]))
    wide = [(low, high) for low, high in edges if low is not None and high is not None and high - low > precise]
    return tuple(
        low + (high - low) * part // (REFINEMENT + 1) for low, high in wide for part in range(1, REFINEMENT + 1)
    )
