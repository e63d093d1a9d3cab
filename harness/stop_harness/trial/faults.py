"""The faults of one trial: each begins at its moment, lasts as long as it should, is undone, and leaves a record.

What comes before the stop call is made by the trial's own thread, so that its effect is there when the stop is called.
Every later fault has a thread of its own, which waits for the stop signal as the engine tells it: the time from the
stop call to the signal is the engine's, and not exact.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from stop_harness.engines.interface import Applied, FaultNotApplied, Held, RunningSubject
from stop_harness.errors import EngineError
from stop_harness.evidence import fault_words
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Fault,
    FaultKind,
    FaultRecord,
    StopRecord,
    When,
)

SET_UP_NS = 200 * NS_PER_MS
"""About what traffic takes until its requests begin; a fault that begins before them comes so much earlier at most."""

LEAD_NS = {FaultKind.EXEC: 20 * NS_PER_MS}
"""So much before its moment an engine is asked for what it takes long to make: a command began in a container 47 to 67
ms after the call (Docker 20.10, benchmarks/faults.md), and never at once."""

JOIN_S = 30.0
"""For the thread of a fault to end once the stop is over: one call to the engine."""


@dataclass
class _Course:
    """One fault on its way. Times are of `time.time_ns`. `held`: what was made of it beforehand; None: nothing is."""

    fault: Fault
    held: Held | None = None
    asked_ns: int | None = None
    begun_ns: int | None = None
    ended_ns: int | None = None
    applied: Applied | None = None
    problem: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Kept:
    """What could not be given back after the stop, as a sentence. `beside`: to a container beside the one that was
    stopped."""

    why: str
    beside: bool


class Faults:
    """Hold what takes long to make, begin the early ones, make the others ready, begin them with the stop, end them;
    then `records`.

    Whatever happens in between, `end` must be called.
    """

    def __init__(self, faults: tuple[Fault, ...], subject: RunningSubject, stop_timeout_ns: int) -> None:
        self._subject, self._maker, self._timeout_ns = subject, subject.faults(), stop_timeout_ns
        self._courses = tuple(_Course(fault) for fault in faults)
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._stops_at_ns = 0
        self._called_ns: int | None = None
        self._signalled_ns: int | None = None
        self._signal_known = threading.Event()
        self._holding: threading.Thread | None = None

    # ── before the stop ─────────────────────────────────────────────────────────────────────────────────────────────

    def hold(self) -> None:
        """While the subject gets ready, make what would come late at its moment. Only what was made before the stop
        holds it back no longer."""
        self._holding = threading.Thread(target=self._hold, name="hold faults", daemon=True)
        self._holding.start()

    def _hold(self) -> None:
        for course in self._courses:
            with course.lock:
                try:
                    course.held = self._maker.hold(course.fault)
                except (FaultNotApplied, EngineError) as error:
                    course.problem = str(error)

    def begin_early(self, lead_ns: int) -> None:
        """Begin with what comes a while before the stop. Returns when the clients have to begin, whose requests are in
        flight for `lead_ns` when the stop is called."""
        self._have_held()
        early = [course for course in self._courses if course.fault.moment.when is When.BEFORE]
        longest_ns = max((course.fault.moment.offset_ns for course in early), default=0)
        if not longest_ns:
            return
        self._stops_at_ns = time.monotonic_ns() + longest_ns
        for course in early:
            if course.fault.moment.offset_ns:
                at_ns = self._stops_at_ns - course.fault.moment.offset_ns
                self._start(self._begin_at, course, at_ns - LEAD_NS.get(course.fault.kind, 0))
        self._subject.sleep(max(0, longest_ns - lead_ns - SET_UP_NS))

    def ready(self) -> None:
        """Return when the stop is to be called: what has to be in effect by then is."""
        if self._stops_at_ns:
            self._subject.sleep(max(0, self._stops_at_ns - time.monotonic_ns()))
        for course in self._courses:
            moment = course.fault.moment
            if moment.when is When.BEFORE and not moment.offset_ns:
                self._begin(course)
            elif moment.log is not None:
                self._listen(course, moment.log)

    def _have_held(self) -> None:
        if self._holding is not None:
            self._holding.join()
            self._holding = None

    # ── from the stop call on ───────────────────────────────────────────────────────────────────────────────────────

    def mark_stop(self) -> None:
        """The stop call is about to be made."""
        self._maker.about_to_stop()
        self._called_ns = time.time_ns()
        if any(course.fault.moment.when is not When.BEFORE for course in self._courses):
            self._start(self._wait_for_signal)
        for course in self._courses:
            if course.fault.moment.when is When.WITH:
                self._start(self._begin, course)
            elif course.fault.moment.when is When.AFTER:
                self._start(self._begin_after_signal, course)

    def end(self) -> None:
        """The stop is over: nothing begins any more, and what goes on is undone. Idempotent."""
        self._over.set()
        self._signal_known.set()
        self._have_held()
        for thread in self._threads:
            thread.join(timeout=JOIN_S)
        for course in self._courses:
            self._undo(course)
            self._drop(course)

    def give_back(self) -> tuple[Kept, ...]:
        """What containers that have ended would take along into their next start is given back to them, and what ran
        beside them is started again. To be called when the stop is on record: a fault has ended with its container, and
        not when somebody mends what it left. Returns what could not be given back. Raises nothing."""
        kept = []
        for course in reversed(self._courses):
            applied = course.applied
            if applied is None or applied.give_back is None:
                continue
            try:
                applied.give_back()
            except (FaultNotApplied, EngineError) as error:
                whose = "the container" if course.fault.target is None else str(course.fault.target)
                why = f"{fault_words.what(course.fault)} could not be taken back from {whose} after its end: {error}"
                kept.append(Kept(why, beside=course.fault.kind is FaultKind.DEPENDENCY))
        try:
            self._maker.start_others_again()
        except (FaultNotApplied, EngineError) as error:
            kept.append(Kept(f"what a fault had ended did not come back: {error}", beside=True))
        return tuple(kept)

    def records(self, record: StopRecord) -> tuple[StopRecord, tuple[FaultRecord, ...]]:
        """What became of the faults, and the stop's record without what the engine has on record of them."""
        applied = [course.applied for course in self._courses if course.applied is not None]
        own = [event for one in applied for event in one.events]
        events = tuple(event for event in record.events if event not in own)
        kept = _without(replace(record, events=events), frozenset(pid for one in applied for pid in one.killed))
        return kept, tuple(map(self._recorded, self._courses))

    # ── one fault ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="fault", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _wait_for_signal(self) -> None:
        """The zero of everything that comes after it; the stop call where nobody tells."""
        self._signalled_ns = self._maker.wait_signalled(self._timeout_ns / NS_PER_S)
        self._signal_known.set()

    def _begin_at(self, course: _Course, at_ns: int) -> None:
        if not self._over.wait(max(0, at_ns - time.monotonic_ns()) / NS_PER_S):
            self._begin(course)

    def _begin_after_signal(self, course: _Course) -> None:
        self._signal_known.wait()
        zero_ns = self._signalled_ns or self._called_ns or time.time_ns()
        wait_ns = zero_ns + course.fault.moment.offset_ns - LEAD_NS.get(course.fault.kind, 0) - time.time_ns()
        if self._over.wait(max(0, wait_ns) / NS_PER_S):
            course.problem = "the stop was over before its moment came"
            return
        self._begin(course)

    def _listen(self, course: _Course, pattern: str) -> None:
        try:
            written = self._maker.listen(pattern)
        except (FaultNotApplied, EngineError) as error:
            course.problem = str(error)
            return
        self._start(self._begin_when_written, course, written)

    def _begin_when_written(self, course: _Course, written: Callable[[threading.Event], bool]) -> None:
        if written(self._over):
            self._begin(course)
        else:
            course.problem = f"no line that matches {course.fault.moment.log!r} was written during the stop"

    def _begin(self, course: _Course) -> None:
        """Apply it, and undo it after its time, if it has one."""
        with course.lock:
            if course.problem is not None:  # it could not even be held
                return
            course.asked_ns, held, course.held = time.time_ns(), course.held, None
            try:
                course.applied = held.release() if held is not None else self._maker.apply(course.fault)
            except (FaultNotApplied, EngineError) as error:
                course.problem = str(error)
                return
            course.begun_ns = course.applied.begun_ns or time.time_ns()
        if course.fault.for_ns is not None and not course.fault.is_deed:
            begun_ns = course.begun_ns
            self._start(self._undo_after, course, begun_ns)

    def _undo_after(self, course: _Course, begun_ns: int) -> None:
        assert course.fault.for_ns is not None
        if not self._over.wait(max(0, begun_ns + course.fault.for_ns - time.time_ns()) / NS_PER_S):
            self._undo(course)

    def _undo(self, course: _Course) -> None:
        with course.lock:
            if course.applied is None or course.ended_ns is not None or course.fault.is_deed:
                return
            try:
                before_ns = course.applied.undo()
            except (FaultNotApplied, EngineError) as error:
                course.problem = course.problem or f"it could not be undone: {error}"
                return
            course.ended_ns = before_ns or time.time_ns()

    def _drop(self, course: _Course) -> None:
        """What was held and never came to its moment; the engine's own clearing is left with what cannot be removed."""
        with course.lock:
            if course.held is not None:
                with contextlib.suppress(FaultNotApplied, EngineError):
                    course.held.drop()
                course.held = None

    def _recorded(self, course: _Course) -> FaultRecord:
        zero_ns = self._signalled_ns or self._called_ns

        def after(at_ns: int | None) -> int | None:
            return None if at_ns is None or zero_ns is None else at_ns - zero_ns

        begun_ns = course.begun_ns
        problem = course.problem
        if problem is None and begun_ns is None:
            problem = "the stop was over before its moment came"
        return FaultRecord(
            course.fault,
            asked_ns=after(course.asked_ns),
            begun_ns=after(begun_ns),
            ended_ns=after(course.ended_ns),
            seen=course.applied.seen if course.applied is not None else "",
            problem=problem,
            events=tuple(course.applied.events) if course.applied is not None else (),
            killed=course.applied.killed if course.applied is not None else (),
        )


def _without(record: StopRecord, killed: frozenset[int]) -> StopRecord:
    """The record without the processes that faults ended, PID 1 apart: of that the stop is about."""
    taken = killed - {1}
    if not taken:
        return record
    lost, fates = record.lost_processes, record.fates
    if lost is not None:
        lost = tuple(name for name in lost if not any(f"(PID {pid})" in name for pid in taken))
    gone = len(record.lost_processes or ()) - len(lost or ())
    count = None if record.lost_process_count is None else record.lost_process_count - gone
    if fates is not None:
        fates = tuple(fate for fate in fates if fate.pid not in taken)
    return replace(record, lost_processes=lost, lost_process_count=count, fates=fates)
