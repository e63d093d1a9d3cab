"""What a container is doing just before its stop and during it: process tables, taken beside the stop call."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Protocol

from stop_harness.evidence import forecast, start_up
from stop_harness.model import NS_PER_S, LogTail, ProcessInfo

SECOND_LOOK_S = 0.3
"""A handler that ends its process at once has done so by then; measured: 60 ms are enough on an idle machine."""

LATE_LOOK_S = 1.2
"""Event loops that unblock signals only for an instant have done so by then; measured: 1 s was enough."""

MIN_CUT_SHORT_S = 1.0
"""`--fast` ends nothing before that, even if the stop timeout is so short that the late look came early."""

LATE_LOOK_MARGIN_S = 0.2
"""How long before the stop timeout the late look has to come, so that SIGKILL does not overtake it."""

LOG_ANCHOR_LENGTH = 400
"""Characters of the log before the stop by which its place in the log after the stop is found."""


class LookedAt(Protocol):
    """What of a running subject is used."""

    @property
    def stop_signal(self) -> int | None: ...
    def processes(self) -> tuple[ProcessInfo, ...] | None: ...
    def end_now(self) -> bool: ...


class StopLooks:
    """The process table after the stop signal, taken beside the stop call, which blocks.

    `before` is set by whoever calls `begin`. With `fast`, the subject is ended as soon as the looks prove that it would
    not have exited by itself.
    """

    def __init__(self, subject: LookedAt, stop_timeout_ns: int, *, fast: bool = False) -> None:
        self._subject, self._timeout_s, self._fast = subject, stop_timeout_ns / NS_PER_S, fast
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.before: tuple[ProcessInfo, ...] | None = None
        self.second: tuple[ProcessInfo, ...] | None = None
        self.late: tuple[ProcessInfo, ...] | None = None
        self.at_timeout: tuple[ProcessInfo, ...] | None = None
        self.cut_short: str | None = None

    def begin(self) -> None:
        """Look now and then until the stop is over: who is gone needs no look."""
        thread = threading.Thread(target=self._look, name="looks", daemon=True)
        thread.start()
        self._thread = thread  # only now: one that could not be started cannot be joined

    def end(self) -> None:
        """The stop is over."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=LATE_LOOK_S + 5)

    def _look(self) -> None:
        with contextlib.suppress(Exception):  # not looked at is not known; the stop itself goes on
            self._look_twice()

    def _look_twice(self) -> None:
        begun = time.monotonic()
        if self._over.wait(SECOND_LOOK_S):
            return
        self.second = self._subject.processes()
        late_s = min(LATE_LOOK_S, self._timeout_s - LATE_LOOK_MARGIN_S)
        wait_s = begun + late_s - time.monotonic()
        if late_s <= SECOND_LOOK_S or self._over.wait(wait_s):
            return
        self.late = self._subject.processes()
        took_s = time.monotonic() - begun
        if self._fast and took_s + LATE_LOOK_MARGIN_S < self._timeout_s and not self._over.is_set():
            self._cut_short(took_s)
        if start_up.takes(self.before, self._subject.stop_signal):
            return
        if not self._over.wait(begun + self._timeout_s - LATE_LOOK_MARGIN_S - time.monotonic()):
            self.at_timeout = self._subject.processes()

    def _cut_short(self, after_s: float) -> None:
        """End the subject if the looks leave no doubt."""
        signal = self._subject.stop_signal
        evidence = forecast.beyond_doubt(self.before, self.second, self.late, signal) if signal else None
        if evidence is not None and after_s >= MIN_CUT_SHORT_S and self._subject.end_now():
            self.cut_short = f"cut short {after_s:.1f} s after the stop signal: {evidence}"


def written_since(before: LogTail, after: LogTail) -> str | None:
    """What `after` has more than `before`; None where that cannot be told."""
    if not before.truncated and after.text.startswith(before.text):
        return after.text[len(before.text) :]
    anchor = before.text[-LOG_ANCHOR_LENGTH:]
    if not anchor or not after.truncated:
        return None
    head, found, rest = after.text.rpartition(anchor)
    if not found or anchor in head:
        return None  # too much was written since, or the same lines again and again
    return rest
