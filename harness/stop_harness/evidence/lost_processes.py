"""Names of processes that SIGKILL ended, kept and said within bounds: a program may lose thousands of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from stop_harness.model import MOST_NAMES

KILLED_FROM_INSIDE = "by another process of the container"


def first_names(names: Sequence[str]) -> tuple[str, ...]:
    """What is kept of them. Those that another process killed come first, for they have a cause of their own."""
    return tuple(sorted(names, key=lambda name: KILLED_FROM_INSIDE not in name)[:MOST_NAMES])


def listed(names: Sequence[str], count: int | None = None) -> str:
    """`sh, sleep`, or of many `3,000 processes (sh, sleep, … and 2,990 more)`. `count`: of all, None: all are given."""
    number = len(names) if count is None else count
    some = ", ".join(names[:MOST_NAMES])
    return some if number <= MOST_NAMES else f"{number:,} processes ({some} and {number - MOST_NAMES:,} more)"
