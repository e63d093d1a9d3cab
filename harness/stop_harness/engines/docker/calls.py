"""Calls to an engine that end: by the answer, by a time limit, or because the trial is to end.

The SDK's own timeout is for each read of a socket: an answer that trickles never runs into it, and a call that waits
cannot be called off. So every call has a thread of its own (0.1 ms), which is left behind where the engine hangs.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from stop_harness.engines.docker import sdk
from stop_harness.errors import EngineError, UsageError

TIME_LIMIT_VARIABLE = "STOP_HARNESS_ENGINE_TIMEOUT"

TIME_LIMIT_S = 60.0
"""For one call to the engine, on top of what the call itself waits for. The SDK's and Docker Compose's own default;
the slowest answer measured, of Podman 4 with 35 starts at once, took 46 s."""

LONGEST_TIME_LIMIT_S = 3600.0

GRACE_S = 5.0
"""By how much the SDK's timeout is longer, so that the message is ours."""

AFTER_ABORT_S = 2.0
"""For a call that cleans up after an abort: the user waits."""

Answer = TypeVar("Answer")


class NoAnswer(EngineError):
    """The engine did not answer in time, or the call was called off."""


class CallFailed(EngineError):
    """The engine refused a call, or stopped answering. `reason`: what it answered, None where it did not."""

    def __init__(self, engine_url: str, what: str, error: Exception) -> None:
        own = getattr(error, "explanation", None) or (str(error) if isinstance(error, sdk.errors.APIError) else "")
        self.reason = str(own) or None
        why = in_one_line(own) if own else f"the engine stopped answering: {in_one_line(error)}"
        super().__init__(f"{engine_url}: {what} failed: {why}")


def in_one_line(error: object) -> str:
    """For people; the SDK's texts have many lines."""
    return " ".join(str(error).split())[:400]


def time_limit_s(default_s: float = TIME_LIMIT_S) -> float:
    """Of one call, by the environment. Raises UsageError."""
    text = os.environ.get(TIME_LIMIT_VARIABLE, "")
    try:
        limit_s = float(text) if text else default_s
    except ValueError:
        limit_s = 0.0
    if not 0 < limit_s <= LONGEST_TIME_LIMIT_S:
        raise UsageError(f"{TIME_LIMIT_VARIABLE}={text!r}: seconds are needed, more than 0 and at most 3600")
    return limit_s


class Calls:
    """The calls of one trial, or of the engine itself. `unknown`: one was left behind, so what the engine did of it
    cannot be told."""

    def __init__(self, engine_url: str, limit_s: float) -> None:
        self.url, self.limit_s = engine_url, limit_s
        self._changed = threading.Condition()
        self._aborted = False
        self.unknown = False

    def abort(self) -> None:
        """Every call that waits raises EngineError now, and so does every later one but those that clean up."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    @property
    def aborted(self) -> bool:
        """Whether `abort` was called."""
        return self._aborted

    def run(
        self, what: str, call: Callable[..., Answer], *arguments: Any, extra_s: float = 0.0, cleans_up: bool = False
    ) -> Answer:
        """The call's answer or its own error; NoAnswer where there is none in time, EngineError for nonsense.

        `what` for people. `extra_s`: what the call itself waits for, on top of the limit.
        """
        limit_s = self.limit_s + extra_s
        if self._aborted and not cleans_up:
            raise NoAnswer(f"{what}: the run was interrupted")
        if self._aborted:
            limit_s = min(limit_s, AFTER_ABORT_S)
        ended: list[tuple[Answer | None, BaseException | None]] = []

        def work() -> None:
            try:
                result: tuple[Answer | None, BaseException | None] = (call(*arguments), None)
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                result = (None, error)
            with self._changed:
                ended.append(result)
                self._changed.notify_all()

        threading.Thread(target=work, name=what, daemon=True).start()
        deadline = time.monotonic() + limit_s
        with self._changed:
            while not ended and not (self._aborted and not cleans_up) and (left_s := deadline - time.monotonic()) > 0:
                self._changed.wait(min(left_s, threading.TIMEOUT_MAX))
        if not ended:
            self.unknown = True
            why = "the run was interrupted" if self._aborted and not cleans_up else f"no answer within {limit_s:g} s"
            raise NoAnswer(f"{self.url}: {what}: {why}")
        answer, error = ended[0]
        if error is None:
            return answer  # type: ignore[return-value] # None only where the call's own answer is
        if isinstance(error, sdk.NONSENSE_ERRORS) and not isinstance(error, sdk.CONNECTION_ERRORS):
            text = f"an answer that makes no sense ({type(error).__name__}: {error})"
            raise EngineError(f"{self.url}: {what}: {text}") from error
        raise error
