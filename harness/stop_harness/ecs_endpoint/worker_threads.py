"""Threads that are used again: to start one costs more than to answer a request (measured: 0.25 of 0.55 ms of CPU)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Work = Callable[[], None]


class WorkerThreads:
    """As many as were ever busy at the same time. They are daemons: what they do ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle, self._closed = 0, False
        self._waiting: queue.SimpleQueue[Work | None] = queue.SimpleQueue()

    def run(self, work: Work) -> None:
        """Begin this at once, in an idle thread or a new one. It must not raise."""
        with self._lock:
            found = self._idle > 0
            self._idle -= found
        if found:
            self._waiting.put(work)
        else:
            threading.Thread(target=self._work, args=(work,), daemon=True, name="connection").start()

    def close(self) -> None:
        """Idle threads end, the others after their work."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, 0, True
        for _ in range(idle):
            self._waiting.put(None)

    def _work(self, work: Work | None) -> None:
        while work is not None:
            work()
            with self._lock:
                if self._closed:
                    return
                self._idle += 1
            work = self._waiting.get()
