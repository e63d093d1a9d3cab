"""What a scenario expects to be true after a stop, looked at in the order in which it is written."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from stop_harness.engines.interface import RunningSubject, StoppedSubject, SubjectFailed
from stop_harness.errors import EngineError
from stop_harness.evidence import properties
from stop_harness.model import (
    CommandProperty,
    FileProperty,
    LogProperty,
    LogTail,
    Observation,
    PortProperty,
    ProblemKind,
    Property,
    PropertyRecord,
    RestartProperty,
    Trial,
)

if TYPE_CHECKING:
    from stop_harness.trial.faults import Kept

STARTS_BADLY = frozenset({ProblemKind.NOT_READY, ProblemKind.COMMAND_NOT_FOUND})
"""Problems of a start that are the container's own; all others are its engine's, or somebody else's."""


def expected(trial: Trial) -> tuple[Property, ...]:
    """What must be true after this trial's stop."""
    return trial.scenario.expectation_at(trial.stop_timeout_ns).after_stop


def check(
    trial: Trial,
    subject: RunningSubject,
    seen: Observation,
    *,
    stopped_ns: int,
    make_ready: Callable[[RunningSubject], object],
    acknowledged: tuple[str, ...],
    give_back: Callable[[], tuple[Kept, ...]],
    given_up: Callable[[], bool],
) -> tuple[PropertyRecord, ...]:
    """What was found of each; empty where nothing is expected. Raises nothing: what cannot be looked at is on record.

    `stopped_ns`: when the stop call returned (monotonic). `make_ready`: waits until a subject is ready, and raises
    SubjectFailed. `acknowledged`: the ids of messages that were. `give_back`: gives back what faults have left with
    containers, and returns what could not be. `given_up`: whether the user asked for the end of the run.
    """
    asked = expected(trial)
    if not asked:
        return ()
    checks = _Checks(
        subject, seen, make_ready=make_ready, give_back=give_back, given_up=given_up, acknowledged=acknowledged
    )
    return tuple(checks.of(asked, stopped_ns))


class _Checks:
    """The checks of one trial."""

    def __init__(
        self,
        subject: RunningSubject,
        seen: Observation,
        *,
        make_ready: Callable[[RunningSubject], object],
        give_back: Callable[[], tuple[Kept, ...]],
        given_up: Callable[[], bool],
        acknowledged: tuple[str, ...],
    ) -> None:
        self._subject, self._seen, self._make_ready, self._given_up = subject, seen, make_ready, given_up
        self._acknowledged = acknowledged
        self._give_back = functools.cache(give_back)
        self._runs_again = False

    def of(self, asked: tuple[Property, ...], stopped_ns: int) -> Iterator[PropertyRecord]:
        """One record each."""
        try:
            stopped = self._subject.stopped()
            still_runs = self._subject.is_running() and self._seen.task is None
        except EngineError as error:
            yield from (properties.unchecked(item, str(error)) for item in asked)
            return
        for item in asked:
            if self._given_up():
                yield properties.unchecked(item, "the run was interrupted")
            elif still_runs:
                yield properties.unchecked(item, "the container still ran when the stop was over")
            else:
                record = self._record_of(item, stopped)
                yield replace(record, checked_at_ns=time.monotonic_ns() - stopped_ns)

    def _record_of(self, asked: Property, stopped: StoppedSubject) -> PropertyRecord:
        try:
            return self._look(asked, stopped)
        except SubjectFailed as failure:  # behind a restart it may leave at any time
            return properties.unchecked(asked, str(failure))
        except EngineError as error:
            return properties.unchecked(asked, str(error))
        except Exception as error:  # noqa: BLE001 - the stop was recorded, whatever goes wrong behind it
            return properties.unchecked(asked, f"the check broke off: {type(error).__name__}: {error}"[:300])

    def _look(self, asked: Property, stopped: StoppedSubject) -> PropertyRecord:
        if isinstance(asked, RestartProperty | CommandProperty) and (kept := self._kept(asked)):
            return properties.unchecked(asked, "; ".join(kept))
        match asked:
            case FileProperty():
                return properties.of_file(asked, stopped.read_file(asked.path, asked.container), self._acknowledged)
            case LogProperty():
                return properties.of_log(asked, *self._log_of(asked.container))
            case PortProperty():
                return properties.of_port(asked, accepts=stopped.accepts(asked.port))
            case RestartProperty():
                return self._start_again(asked, stopped)
            case CommandProperty():
                if asked.container is None and not self._runs_again:
                    return properties.unchecked(asked, "the container did not get ready again")
                ran = stopped.run(asked.argv, asked.container, asked.timeout_ns)
                return properties.of_command(asked, ran, self._acknowledged)

    def _kept(self, asked: RestartProperty | CommandProperty) -> list[str]:
        """What faults have left that decides what is run now, and is not the program's. Files, logs and ports are what
        the stop has left, and are looked at as they are."""
        in_another = isinstance(asked, CommandProperty) and asked.container is not None
        return [kept.why for kept in self._give_back() if kept.beside or not in_another]

    def _log_of(self, container: str | None) -> tuple[str | None, LogTail]:
        """(what was written from the stop on, the end of all that was written)."""
        looks = self._seen.looks
        for item in self._seen.task.containers if self._seen.task is not None else ():
            if item.name == container:
                looks = item.looks
        return looks.log_after_signal, looks.logs

    def _start_again(self, asked: RestartProperty, stopped: StoppedSubject) -> PropertyRecord:
        began_ns = time.monotonic_ns()
        try:
            self._make_ready(stopped.start_again())
        except SubjectFailed as failure:
            if failure.problem is None or failure.problem.kind in STARTS_BADLY:
                return properties.of_restart(asked, None, str(failure))
            raise
        self._runs_again = True
        return properties.of_restart(asked, time.monotonic_ns() - began_ns)
