"""Many trials at once: starts are limited, because they cost CPU; waits are not, because they cost nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from harness.errors import UsageError
from harness.model import Trial

STARTS_PER_CPU = 2
"""Starting a container is half CPU, half waiting for the kernel and the engine."""

MAX_JOBS = 500
AUTO_JOBS_PER_CPU = 32
"""A waiting trial is one sleeping thread here and one idle container there."""

Result = TypeVar("Result")

POLL_S = 0.2
"""How often the main thread looks for an interruption; signal handlers run only between its waits."""


def parse_jobs(text: str, trials: int) -> int:
    """Trials in flight at once for `--jobs auto` or `--jobs N`. Raises UsageError."""
    if text == "auto":
        return max(1, min(trials, AUTO_JOBS_PER_CPU * (os.cpu_count() or 1)))
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_JOBS:
        return int(text)
    raise UsageError(f"--jobs {text!r} is neither `auto` nor a number from 1 to {MAX_JOBS}")


def start_slots() -> int:
    """How many containers may be starting at the same moment."""
    return STARTS_PER_CPU * (os.cpu_count() or 1)


def run_all(
    trials: Iterable[Trial],
    work: Callable[[Trial], Result],
    *,
    jobs: int,
    interrupted: Callable[[], bool],
    on_interrupt: Callable[[], None],
) -> Iterator[Result]:
    """Yield each trial's result as it ends, in the caller's thread. `trials` are drawn as they begin.

    `interrupted` is asked several times a second; when it first says yes, `on_interrupt` is called once and no further
    trial begins, while those in flight are still yielded. Threads are used because every engine call blocks in I/O.
    """
    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="trial") as pool:
        waiting = iter(trials)
        flying: set[Future[Result]] = set()
        stopped = False
        while True:
            if not stopped and interrupted():
                stopped = True
                threading.Thread(target=on_interrupt, name="interrupt", daemon=True).start()
            while not stopped and len(flying) < jobs and (trial := next(waiting, None)) is not None:
                flying.add(pool.submit(work, trial))
            if not flying:
                return
            done, flying = wait(flying, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
