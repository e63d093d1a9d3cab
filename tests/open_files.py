"""What this process holds open, for tests which show that nothing stays so."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter

from stop_harness.linux import signal_trace

PATIENCE_S = 60
"""The front of an engine that tests share (tcp_engine, tls_front) takes calls in this process, of other processes, too:
those end by themselves. What was forgotten stays open for ever."""


def opened_since(before: Counter[str]) -> Counter[str]:
    """What was not open before and stays open."""
    deadline = time.monotonic() + PATIENCE_S
    while (more := open_files() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    return more


def open_files() -> Counter[str]:
    """How many open files lead to each target: a path, or the inode of a socket or pipe.

    Numbers alone could not tell: what earlier tests of this process left to the garbage collector may be closed at any
    time. What a thread is closing at this moment is waited for.
    """
    for thread in threading.enumerate():
        if thread.name == signal_trace.CLOSING:
            thread.join()
    opened: Counter[str] = Counter()
    for file in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed them
            opened[os.readlink(f"/proc/self/fd/{file}")] += 1
    return opened
