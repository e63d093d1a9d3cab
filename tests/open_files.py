"""What this process holds open, for tests which show that nothing stays so."""

from __future__ import annotations

import contextlib
import os
from collections import Counter


def open_files() -> Counter[str]:
    """How many open files lead to each target: a path, or the inode of a socket or pipe.

    `open_files() - before` is what came since. Numbers alone cannot tell: what earlier tests of this process left to
    the garbage collector may be closed at any time.
    """
    opened: Counter[str] = Counter()
    for file in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed them
            opened[os.readlink(f"/proc/self/fd/{file}")] += 1
    return opened
