"""Points in time, ever closer to each other: what fails in a narrow window alone is met by no luck, and shows no sign
of itself beside the window. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from stop_harness.experiments.explore.candidate import Candidate
from stop_harness.experiments.explore.space import LATEST_NS, LATEST_OFFSET_NS, Space, lasts
from stop_harness.model import NS_PER_MS, Fault, FaultMoment, When

STEPS_NS = (100 * NS_PER_MS, 50 * NS_PER_MS, 25 * NS_PER_MS)
"""No closer: an engine's own time varies by as much."""

EARLY_NS = 1000 * NS_PER_MS
"""A start-up is over by then. Later moments come once, at a step that is wider still."""
LATE_STEP_NS = 250 * NS_PER_MS


def points(space: Space, seed: int) -> Iterator[Candidate]:
    """Each a stop with nothing else about it, the widest steps first, within a step in an order by the seed: moments of
    the stop, and of what is short. What lasts to the end meets all that comes later, whenever it began."""
    chance, plain = random.Random(seed), Candidate(space.timeouts_ns[0])  # nosec B311 # no secret
    known: set[Candidate] = set()
    for step_ns in STEPS_NS:
        found = []
        if space.moments:
            moments_ns = (*range(0, EARLY_NS, step_ns), *range(EARLY_NS, LATEST_NS, LATE_STEP_NS))
            found += [replace(plain, moment_ns=at_ns) for at_ns in moments_ns]
        for fault in (several[-1] for several in space.faults if not lasts(several[-1])):
            offsets_ns = range(0, min(space.drain_ns, LATEST_OFFSET_NS), step_ns)
            found += [replace(plain, faults=(_at(fault, offset_ns),)) for offset_ns in offsets_ns]
        new = [item for item in dict.fromkeys(found) if item not in known and space.allows(item)]
        known.update(new)
        chance.shuffle(new)
        yield from new


def _at(fault: Fault, offset_ns: int) -> Fault:
    return replace(fault, moment=FaultMoment(When.AFTER, offset_ns))
