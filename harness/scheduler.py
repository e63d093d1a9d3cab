"""Many trials at once: starts are limited, because they cost CPU; waits are not, because they cost nothing."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from harness.errors import UsageError
from harness.model import EngineInfo, Trial

STARTS_PER_CPU = 2
"""Starting a container is half CPU, half waiting for the kernel and the engine."""

MAX_JOBS = 500
AUTO_JOBS_PER_CPU = 150
"""A waiting trial is one sleeping thread here and one idle container there, and costs next to no CPU."""

BYTES_OF_A_TRIAL = 48 << 20
"""Of the engine's machine: a containerd-shim of 10 MiB and a small program. A memory limit counts in its place."""

MEMORY_SHARE = 0.75
"""Of the engine's machine, for trials."""

FILES_OF_A_TRIAL, SPARE_FILES = 8, 256
"""Open at once: connections to the engine, pipes to a helper, the kernel's record; and for all the rest."""

Result = TypeVar("Result")

POLL_S = 0.2
"""How often the main thread looks for an interruption; signal handlers run only between its waits."""


def parse_jobs(text: str, trials: int, room: Room | None = None) -> int:
    """Trials in flight at once for `--jobs auto` or `--jobs N`. Raises UsageError. `room`: of the engine's machine."""
    if text == "auto":
        return max(1, min(trials, MAX_JOBS, (room or Room()).trials))
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_JOBS:
        return int(text)
    raise UsageError(f"--jobs {text!r} is neither `auto` nor a number from 1 to {MAX_JOBS}")


@dataclass(frozen=True)
class Room:
    """What limits the trials in flight. `cpus`, `memory_bytes`: of the engine's machine, None where it does not say.
    `bytes_of_a_trial`: what the hungriest needs."""

    cpus: int | None = None
    memory_bytes: int | None = None
    bytes_of_a_trial: int = BYTES_OF_A_TRIAL

    @property
    def trials(self) -> int:
        """As many as fit by CPU, memory and this process's open files."""
        limits = [AUTO_JOBS_PER_CPU * (self.cpus or os.cpu_count() or 1)]
        if self.memory_bytes is not None:
            limits.append(int(MEMORY_SHARE * self.memory_bytes) // self.bytes_of_a_trial)
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files != resource.RLIM_INFINITY:
            limits.append((files - SPARE_FILES) // FILES_OF_A_TRIAL)
        return min(limits)


def room_for(engine: EngineInfo, trials: Iterable[Trial]) -> Room:
    """On the machine of this engine, for these trials."""
    memory_limits = (trial.scenario.subject.memory_bytes or 0 for trial in trials)
    return Room(engine.cpu_count, engine.memory_bytes, max(BYTES_OF_A_TRIAL, *memory_limits, 0))


class StartSlots:
    """Held while a container starts: so many may start at the same moment. `after_last` is called once, by whichever
    thread holds a slot when `expected` starts are over: from then on the machine only waits."""

    def __init__(self, slots: int, expected: int, after_last: Callable[[], object]) -> None:
        self._free = threading.BoundedSemaphore(slots)
        self._lock = threading.Lock()
        self._left, self._after_last = expected, after_last

    def __enter__(self) -> None:
        self._free.acquire()

    def __exit__(self, *_exception: object) -> None:
        self._free.release()
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._after_last()


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
