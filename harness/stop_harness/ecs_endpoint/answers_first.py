"""Clients get their answers before the engine begins to work.

Fifty stops that begin at once keep an engine's machine busy for a second (measured: two CPUs), and a client whose
StopTask began the first of them would wait behind it with the other 99.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET_S = 0.005
"""No request was being answered for so long: a burst of calls is over."""

LONGEST_S = 0.1
"""Work waits no longer than this, whatever clients do."""

Work = Callable[[], None]


class AnswersFirst:
    """Begins work in the order in which it was asked for. `real_s`: the wall's for so many seconds of ours."""

    def __init__(self, real_s: Callable[[float], float]) -> None:
        self._quiet_s, self._longest_s = real_s(QUIET_S), real_s(LONGEST_S)
        self._lock = threading.Lock()
        self._answering, self._answered_at = 0, 0.0
        self._asked: queue.SimpleQueue[tuple[float, Work] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True, name="stops").start()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around a request, from when it is whole until its answer is out."""
        with self._lock:
            self._answering += 1
        try:
            yield
        finally:
            with self._lock:
                self._answering -= 1
                self._answered_at = time.monotonic()

    def then(self, work: Work) -> None:
        """Begin this soon. It must not block."""
        self._asked.put((time.monotonic(), work))

    def close(self) -> None:
        """Begin nothing more."""
        self._asked.put(None)

    def _run(self) -> None:
        while (item := self._asked.get()) is not None:
            asked_at, work = item
            while (wait_s := self._wait_s(asked_at)) > 0:
                time.sleep(wait_s)
            work()

    def _wait_s(self, asked_at: float) -> float:
        """How long to wait before looking again; 0: not at all."""
        now = time.monotonic()
        with self._lock:
            quiet_at = now + self._quiet_s if self._answering else self._answered_at + self._quiet_s
        return max(0.0, min(quiet_at, asked_at + self._longest_s) - now)
