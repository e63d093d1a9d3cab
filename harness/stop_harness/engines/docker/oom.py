"""Whether the OOM killer ended a container. The engine may say so only after it reported the exit, or never; on our own
machine the kernel's log is asked first (linux/oom_log)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from stop_harness import signals
from stop_harness.model import Event, EventKind

OOM_PATIENCE_S = 3.0
"""How long the engine may take to say that the OOM killer struck: containerd tells it beside the exit, and after it in
3 of 260 stops (measured). Waited for only where SIGKILL came and nobody is known to have sent it."""

OOM_POLL_S = 0.1


def may_be_unreported(exit_code: int, events: tuple[Event, ...]) -> bool:
    """Whether SIGKILL ended PID 1 and nobody is on record as its sender: then the OOM killer may have been it."""
    return exit_code == 128 + signals.SIGKILL and all(event.signal != signals.SIGKILL for event in events)


def reported(flag: Callable[[], bool], events: Callable[[], tuple[Event, ...]], aborted: threading.Event) -> bool:
    """Whether `State.OOMKilled` was set or an `oom` event came within `OOM_PATIENCE_S`; False as soon as `aborted`.

    `flag` asks the engine for the first, `events` gives what was received until now.
    """
    deadline = time.monotonic() + OOM_PATIENCE_S
    while time.monotonic() < deadline and not aborted.wait(OOM_POLL_S):
        if any(event.kind is EventKind.OOM for event in events()) or flag():
            return True
    return False
