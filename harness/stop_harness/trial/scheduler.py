"""Many trials at once: starts are limited, because they cost CPU; waits are not, because they cost nothing."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Queue
from typing import Generic, TypeVar

from stop_harness.errors import SurroundingsError, UsageError
from stop_harness.model import EngineInfo, Trial
from stop_harness.records import dataclass
from stop_harness.trial.surroundings import is_shortage

STARTS_PER_CPU = 2
"""Starting a container is half CPU, half waiting for the kernel and the engine."""

MAX_JOBS = 500
AUTO_JOBS_PER_CPU = 150
"""A waiting trial is one sleeping thread here and one idle container there, and costs next to no CPU."""

BYTES_OF_A_TRIAL = 48 << 20
"""Of the engine's machine: a containerd-shim of 10 MiB and a small program. A memory limit counts in its place."""

MEMORY_SHARE = 0.75
"""Of the engine's machine, for trials."""

SPARE_STOPS = 1
"""Left free where the engine limits its stops: Podman's removals stand in the same queue."""

FILES_OF_A_TRIAL, SPARE_FILES = 8, 256
"""Open at once: connections to the engine, pipes to a helper, the kernel's record; and for all the rest."""

Result = TypeVar("Result")

GIVE_UP_S = 2.5
"""After an interruption: as long as trials keep ending they are waited for, but no longer than this for the next."""

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
    `bytes_of_a_trial`: what the hungriest needs. `stops_at_once`: of the engine, None where it has no limit."""

    cpus: int | None = None
    memory_bytes: int | None = None
    bytes_of_a_trial: int = BYTES_OF_A_TRIAL
    stops_at_once: int | None = None

    @property
    def trials(self) -> int:
        """As many as fit by CPU, memory, the engine's stops and this process's open files."""
        limits = [AUTO_JOBS_PER_CPU * (self.cpus or os.cpu_count() or 1)]
        if self.memory_bytes is not None:
            limits.append(int(MEMORY_SHARE * self.memory_bytes) // self.bytes_of_a_trial)
        if self.stops_at_once is not None:
            limits.append(self.stops_at_once - SPARE_STOPS)
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files != resource.RLIM_INFINITY:
            limits.append((files - SPARE_FILES) // FILES_OF_A_TRIAL)
        return min(limits)


def room_for(engine: EngineInfo, trials: Iterable[Trial]) -> Room:
    """On the machine of this engine, for these trials."""
    memory_limits = (trial.scenario.subject.memory_bytes or 0 for trial in trials)
    bytes_of_a_trial = max(BYTES_OF_A_TRIAL, *memory_limits, 0)
    return Room(engine.cpu_count, engine.memory_bytes, bytes_of_a_trial, engine.stops_at_once)


def weight_on(engine: EngineInfo) -> Callable[[Trial], int]:
    """For how many a trial counts among those in flight: a group for each of its containers, all of which run here, and
    a task likewise where the engine limits its stops."""

    def weight(trial: Trial) -> int:
        task, group = trial.scenario.subject.task, trial.scenario.subject.group
        if group is not None:
            return sum(member.replicas for member in group.members)
        return len(task.containers) if task is not None and engine.stops_at_once is not None else 1

    return weight


class StartSlots:
    """Held while a container starts: so many may start at the same moment.

    `beside_first` begins, with the first start, what can be done while we wait for that; what it gives waits for its
    end, which every start does before it is over, so that no stop is disturbed. `after_last` is called once, by
    whichever thread holds a slot when `expected` starts are over: from then on the machine only waits.
    """

    def __init__(
        self,
        slots: int,
        expected: int,
        *,
        after_last: Callable[[], object],
        beside_first: Callable[[], Callable[[], object]] = lambda: lambda: None,
    ) -> None:
        self._free = threading.BoundedSemaphore(slots)
        self._lock = threading.Lock()
        self._left, self._after_last = expected, after_last
        self._beside_first = functools.cache(beside_first)

    def __enter__(self) -> None:
        self._free.acquire()
        with self._lock:
            self._beside_first()

    def __exit__(self, *_exception: object) -> None:
        self._beside_first()()
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
    lost: Callable[[Trial, Exception], Result] | None = None,
    note: Callable[[str], None] = lambda _text: None,
    weight: Callable[[Trial], int] = lambda _trial: 1,
) -> Iterator[Result]:
    """Yield each trial's result as it ends, in the caller's thread. `trials` are drawn as they begin.

    `interrupted` is asked several times a second; when it first says yes, `on_interrupt` is called once and no further
    trial begins, while those in flight are still yielded, unless they hang. Where the machine has no more threads or
    memory, fewer trials run at once, and `note` is told. `lost` makes a result of an unexpected error, so that the
    others go on (None: it is raised), and of a trial that hangs, with `GaveUp`. `weight`: for how many of `jobs` a
    trial counts; one that is heavier than all of them flies alone.

    Threads are used because every engine call blocks in I/O; one for each trial, and none that keeps the process alive.
    """
    flight = _Flight(work, jobs, note, weight)
    waiting = iter(trials)
    stopped = False
    while True:
        if not stopped and interrupted():
            stopped = True
            flight.moved()
            _in_background(on_interrupt)
        while not stopped and (trial := flight.following(waiting)) is not None:
            flight.begin(trial)
        if not flight.trials:
            return
        ended = flight.next_ended()
        if ended is None and stopped and flight.stands_still():
            for trial in flight.give_up():
                if lost is not None:
                    yield lost(trial, GaveUp("the engine did not answer after the interruption"))
            return
        if ended is None:
            continue
        trial, outcome = ended
        if not isinstance(outcome, BaseException):
            yield outcome
        elif is_shortage(outcome) and not flight.began_alone(trial) and not stopped:
            flight.later(trial, outcome)
        elif lost is not None and isinstance(outcome, Exception):
            yield lost(trial, outcome)
        else:
            raise outcome


class GaveUp(Exception):
    """A trial that hangs is waited for no longer."""


class _Flight(Generic[Result]):
    """The trials that are under way, and how many may be."""

    def __init__(
        self,
        work: Callable[[Trial], Result],
        jobs: int,
        note: Callable[[str], None],
        weight: Callable[[Trial], int],
    ) -> None:
        self._work, self._room, self._note, self._weight = work, jobs, note, weight
        # No SimpleQueue: one whose wait a signal interrupts waits for ever if the handler outlasts what was left of the
        # timeout (CPython 3.11, measured: a negative rest counts as no timeout). Then nobody saw the interruption.
        self._ended: Queue[tuple[Trial, Result | BaseException]] = Queue()
        self._later: list[Trial] = []
        self._last_moved = time.monotonic()
        self._alone: Trial | None = None
        self.trials: list[Trial] = []

    def following(self, waiting: Iterator[Trial]) -> Trial | None:
        """The next to begin, drawn once there is room; None when there is none, or it is too heavy for what is left."""
        load = sum(map(self._weight, self.trials))
        if load >= self._room:
            return None
        trial = self._later.pop() if self._later else next(waiting, None)
        if trial is not None and self.trials and load + self._weight(trial) > self._room:
            self._later.append(trial)
            return None
        return trial

    def begin(self, trial: Trial) -> None:
        """In a thread of its own. Raises RuntimeError if not even one can be started."""

        def perform() -> None:
            try:
                self._ended.put((trial, self._work(trial)))
            except BaseException as error:  # noqa: BLE001 - it is raised, or made a result, where trials are waited for
                self._ended.put((trial, error))

        try:
            threading.Thread(target=perform, name=f"trial {trial.trial_id}", daemon=True).start()
        except RuntimeError as error:
            if not self.trials:
                raise SurroundingsError(
                    f"no thread can be started ({error}); see `ulimit -u` and the pids limit"
                ) from None
            self.later(trial, error)
            return
        self.trials.append(trial)
        self._alone = trial if self._room == 1 else None

    def began_alone(self, trial: Trial) -> bool:
        """Whether it had the machine to itself: the last of many that failed at one moment had not."""
        return trial is self._alone

    def later(self, trial: Trial, error: BaseException) -> None:
        """Try this one again, with fewer beside it: a trial needs threads and memory of its own as well."""
        self._later.append(trial)
        room = max(1, len(self.trials) // 2)
        if room < self._room:
            self._room = room
            self._note(f"the machine gives no more ({error}): from now on at most {room} at once")

    def next_ended(self) -> tuple[Trial, Result | BaseException] | None:
        """The next trial that ended, with its result or error; None if none did for a moment."""
        try:
            trial, outcome = self._ended.get(timeout=POLL_S)
        except Empty:
            return None
        self.trials.remove(trial)
        self.moved()
        return trial, outcome

    def moved(self) -> None:
        """Something happened."""
        self._last_moved = time.monotonic()

    def stands_still(self) -> bool:
        """Whether nothing has happened for so long that nothing will."""
        return time.monotonic() - self._last_moved > GIVE_UP_S

    def give_up(self) -> tuple[Trial, ...]:
        """Those under way, which are waited for no longer."""
        left, self.trials = tuple(self.trials), []
        return left


def _in_background(call: Callable[[], None]) -> None:
    # Without a further thread the trials are not told; they are given up when nothing moves.
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=call, name="interrupt", daemon=True).start()
