"""Names of processes that SIGKILL ended, kept and said within bounds: a program may lose thousands of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stop_harness.model import MOST_NAMES

KILLED_FROM_INSIDE = "by another process of the container"


def first_names(names: Sequence[str]) -> tuple[str, ...]:
    """What is kept of them. Those that another process killed come first, for they have a cause of their own."""
    return tuple(sorted(names, key=lambda name: KILLED_FROM_INSIDE not in name)[:MOST_NAMES])


def listed(names: Sequence[str], count: int | None = None) -> str:
    """`sh, sleep`, or of many `3,000 processes (sh, sleep, … and 2,990 more)`. `count`: of all, None: all are given."""
    number = len(names) if count is None else count
    some = _together(names[:MOST_NAMES])
    return some if number <= MOST_NAMES else f"{number:,} processes ({some} and {number - MOST_NAMES:,} more)"


_FROM_INSIDE = re.compile(rf"(.+), {KILLED_FROM_INSIDE} (\d+) ms before PID 1 (?:left|exited)")
"""How the record names a process that another one of the container killed; `left` in records of earlier versions."""


def _together(names: Sequence[str]) -> str:
    """The names, and once for all of them what is said of those that another process killed:
    `sh (PID 7), and a (PID 8), b (PID 9) (by another process of the container, 3 to 5 ms before PID 1 exited)`."""
    matches = [_FROM_INSIDE.fullmatch(name) for name in names]
    inside = [match for match in matches if match]
    if not inside:
        return ", ".join(names)
    others = [name for name, match in zip(names, matches, strict=True) if not match]
    first, last = max(int(match[2]) for match in inside), min(int(match[2]) for match in inside)
    when = f"{first} ms" if first == last else f"{last} to {first} ms"
    told = f"{', '.join(match[1] for match in inside)} ({KILLED_FROM_INSIDE}, {when} before PID 1 exited)"
    return f"{', '.join(others)}, and {told}" if others else told
