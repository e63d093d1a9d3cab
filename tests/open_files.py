"""What this process holds open, for tests which show that nothing stays so."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter

from stop_harness.linux import signal_trace


def open_files() -> Counter[str]:
    """How many open files lead to each target: a path, or the inode of a socket or pipe.

    `open_files() - before` is what came since. Numbers alone cannot tell: what earlier tests of this process left to
    the garbage collector may be closed at any time. What a thread is closing at this moment is waited for.
    """
    for thread in threading.enumerate():
        if thread.name == signal_trace.CLOSING:
            thread.join()
    opened: Counter[str] = Counter()
    for file in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed them
            opened[os.readlink(f"/proc/self/fd/{file}")] += 1
    return opened
