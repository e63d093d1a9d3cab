"""What one thread has to do, and when."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable

NOTHING_DUE_S = 3600.0
LOOKS_TOGETHER_S = 0.5


class Agenda:
    """Earliest first; of what is due at the same time, what was noted first."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], bool], Callable[[], None]]] = []
        self._order = itertools.count()

    def note(self, seconds: float, do: Callable[[], None], *, unless: Callable[[], bool] = lambda: False) -> None:
        """Do this in so many seconds, unless it has become pointless by then."""
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), unless, do))

    def due_in_s(self) -> float:
        """Until something is due. Nobody is woken for what has become pointless."""
        while self._due:
            at, _, pointless, _ = self._due[0]
            if not pointless():
                return max(0.0, at - time.monotonic())
            heapq.heappop(self._due)
        return NOTHING_DUE_S

    def do_next(self) -> None:
        """What is due, if anything is: one thing, as it may take a while, in which others come to be heard."""
        if self.due_in_s() == 0.0:
            heapq.heappop(self._due)[3]()


def together_s(at_least_s: float) -> float:
    """So long, and a little longer, so that what can wait falls together."""
    return at_least_s + -(time.monotonic() + at_least_s) % LOOKS_TOGETHER_S
