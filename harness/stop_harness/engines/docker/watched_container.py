"""One container while it is watched, from its start to what is told of its end."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace

from stop_harness import signals
from stop_harness.engines.docker.event_reader import EngineEvent
from stop_harness.engines.docker.reading import State
from stop_harness.engines.docker.running import RunningContainer
from stop_harness.engines.docker.timestamps import timestamp_ns
from stop_harness.engines.docker.watched_processes import WatchedProcesses
from stop_harness.engines.docker.watched_table import WatchedTable
from stop_harness.evidence import watched_end
from stop_harness.evidence.watched_end import WatchedLife
from stop_harness.linux import oom_log
from stop_harness.model import NS_PER_MS, NS_PER_S, Clock, Event, EventKind, ProcessFate

KINDS = {
    "kill": EventKind.SIGNAL_SENT,
    "oom": EventKind.OOM,
    "pause": EventKind.PAUSED,
    "unpause": EventKind.UNPAUSED,
}
"""Events that stand in a timeline."""

EXIT_TOLD_LATE_NS = 10 * NS_PER_S
"""`die` follows the exit by 20 to 330 ms (measured); a FinishedAt that is older is that of an earlier run."""
START_TOLD_LATE_NS = 10 * NS_PER_S
"""`start` follows State.StartedAt by some ms, on a busy machine by a second."""
STAMPS_APART_NS = 150 * NS_PER_MS
"""What a process did at once after the stop signal may come before the stamp of that signal's event: on a busy machine
by up to 113 ms (LOADED_ENGINE_ERROR_NS)."""


class WatchedContainer:
    """What has been heard of one container since it started, or since it was found running.

    `found` None: it was gone before anybody could ask; `processes` None: it did not run then. `died`: the event of its
    exit. `gap`: the engine was not listened to for a while. `heard_since_ns`: wall clock since when its signals were
    heard without one; None: since its start.
    """

    def __init__(
        self,
        container_id: str,
        name: str,
        image: str,
        *,
        found: RunningContainer | None = None,
        table: WatchedTable | None = None,
        environment: tuple[tuple[str, str], ...] = (),
        heard_since_ns: int | None = None,
    ) -> None:
        self.id, self.found, self.environment = container_id, found, environment
        self.name = found.name if found is not None else name or container_id[:12]
        self.image = found.image if found is not None else image
        self.heard_since_ns = heard_since_ns
        self.processes: WatchedProcesses | None = None
        self.pidfd: int | None = None
        self.died: EngineEvent | None = None
        self.gap = self.removed = self.stop_told = self.over = False
        self._events: list[Event] = []
        self._gone: tuple[int, int] | None = None
        self._state: State | None = None
        if found is not None and table is not None and found.state.running:
            self.processes = WatchedProcesses(found, table)
        if found is not None and found.pid_one is not None:
            with contextlib.suppress(OSError, AttributeError):  # it has ended already, or this is not Linux
                self.pidfd = os.pidfd_open(found.pid_one.pid)

    # ── what is heard ───────────────────────────────────────────────────────────────────────────────────────────────

    def hear(self, event: EngineEvent) -> None:
        """A signal, a pause or an OOM kill."""
        self._events.append(
            Event(KINDS[event.action], event.at_ns, Clock.ENGINE, f"{event.action} event", signal=event.signal)
        )

    def gone(self) -> None:
        """Its PID 1 has just exited, as the kernel tells."""
        self._gone = (time.time_ns(), time.monotonic_ns())
        self.forget_pid()

    def forget_pid(self) -> None:
        """Close what follows PID 1. Idempotent."""
        pidfd, self.pidfd = self.pidfd, None
        if pidfd is not None:
            os.close(pidfd)

    def look_between_stops(self) -> None:
        """Look at its processes, unless it may be under way to its end."""
        signal_ns = self.last_signal_ns
        if self.processes is not None and (signal_ns is None or time.time_ns() - signal_ns > watched_end.SAME_STOP_NS):
            self.processes.go_on()
            self.processes.look()

    def described_after(self, state: State) -> None:
        """What `inspect` says after its end."""
        self._state = state

    # ── what is known ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def pid_one(self) -> int | None:
        """Of its first process, while that is on this machine; None: it is not, or did not run any more."""
        return self.found.pid_one.pid if self.found is not None and self.found.pid_one is not None else None

    @property
    def has_exited(self) -> bool:
        """Whether PID 1 is known to have exited, by the kernel or by the engine."""
        return self.died is not None or self._gone is not None

    def is_past(self) -> bool:
        """Whether nothing more can be seen of it."""
        return self.over or self.has_exited

    def started_with(self, event: EngineEvent) -> bool:
        """Whether a `start` event is that of the run which is watched already."""
        if self.found is None or self.has_exited or not self.found.started_at:
            return False
        started_ns = timestamp_ns(self.found.started_at)
        return -NS_PER_MS <= event.at_ns - started_ns < START_TOLD_LATE_NS

    @property
    def last_signal_ns(self) -> int | None:
        """When the engine last sent it one; None: never."""
        return max((event.at_ns for event in self._events if event.kind is EventKind.SIGNAL_SENT), default=None)

    @property
    def is_being_stopped(self) -> bool:
        """Whether its own stop signal was sent a short while ago and it has not exited."""
        life = self._life_so_far()
        recent = time.time_ns() - watched_end.SAME_STOP_NS
        own = (event for event in self._events if watched_end.is_stop_signal(event, life))
        return not self.has_exited and any(event.at_ns > recent for event in own)

    @property
    def is_told(self) -> bool:
        """Whether what has been heard says all of the end, so that no `stop` event has to be waited for: it tells a
        stop from a kill, and the engine's SIGKILL from somebody else's."""
        life = self._life_so_far()
        sent = [event for event in self._events if event.kind is EventKind.SIGNAL_SENT]
        if self.stop_told or not sent or self.died is None:
            return True
        if not any(watched_end.is_stop_signal(event, life) for event in sent):
            return False
        begun_ns = watched_end.stop_signal_of(life)[1]
        late = self.died.at_ns - begun_ns > watched_end.stop_timeout(life, begun_ns)[0]
        return not late and all(event.signal != signals.SIGKILL for event in sent)

    @property
    def may_be_oom(self) -> bool:
        """Whether SIGKILL ended it and the engine sent none, so that the OOM killer may have been it."""
        struck = self.died is not None and self.died.exit_code == 137
        return struck and all(event.signal != signals.SIGKILL for event in self._events)

    @property
    def left_orderly(self) -> bool:
        """Whether it exited with 0, or as the stop signal ends a program, and was not sent SIGKILL. Then neither its
        log nor what `inspect` says would tell more, if the kernel told when it exited."""
        if self.died is None or any(event.kind is EventKind.OOM for event in self._events):
            return False
        sent = {event.signal for event in self._events}
        codes = {0, *(128 + number for number in sent if number is not None)}
        return self.died.exit_code in codes and signals.SIGKILL not in sent

    @property
    def exit_is_known(self) -> bool:
        """Whether the kernel told when PID 1 exited."""
        return self._gone is not None

    def life(self, *, seen: bool = True) -> WatchedLife:
        """All of it, as far as it is known. `seen` False: it ended while nobody listened."""
        life = replace(
            self._life_so_far(),
            stop_told=self.stop_told,
            exited=self._exited(),
            exit_code=self._exit_code(),
            oom_killed=self._oom_killed(),
            complete=not self.gap,
            seen=seen,
            heard_since_ns=self.heard_since_ns,
            removed=self.removed,
            load_average=os.getloadavg()[0],
        )
        if self.processes is None or not any(event.kind is EventKind.SIGNAL_SENT for event in self._events):
            return life
        lost, fates = self._killed(life, self.processes)
        if lost and not life.oom_killed and oom_log.names(self.id):
            life = replace(life, oom_killed=True)  # of a process below PID 1, which the engine had no time to hear of
        looks, looked_ns = self.processes.looks(), self.processes.looked_ns()
        return replace(life, looks=looks, looked_ns=looked_ns, lost_processes=lost, fates=fates)

    def began_ns(self) -> int | None:
        """Wall clock of the stop signal; None where none was sent."""
        if not any(event.kind is EventKind.SIGNAL_SENT for event in self._events):
            return None
        return watched_end.stop_signal_of(self._life_so_far())[1]

    def _life_so_far(self) -> WatchedLife:
        return WatchedLife(
            self.id,
            self.name,
            self.image,
            stop_signal=self._stop_signal,
            stop_timeout_s=self._stop_timeout_s,
            environment=self.environment,
            events=tuple(self._events),
        )

    @property
    def _stop_signal(self) -> int:
        own = self.found.state.stop_signal if self.found is not None else None
        return own or signals.SIGTERM

    @property
    def _stop_timeout_s(self) -> int | None:
        return self.found.stop_timeout_s if self.found is not None else None

    def _killed(
        self, life: WatchedLife, processes: WatchedProcesses
    ) -> tuple[tuple[str, ...] | None, tuple[ProcessFate, ...] | None]:
        """Whom SIGKILL struck, and what became of all; None where nobody told."""
        if not processes.listened:
            return None, None
        signal, begun_ns = watched_end.stop_signal_of(life)
        begun_ns -= time.time_ns() - time.monotonic_ns() + STAMPS_APART_NS
        lost = processes.lost(begun_ns, self._gone[1] if self._gone is not None else None)
        return lost, processes.fates(begun_ns, signal, life.exit_code) if lost else None

    def _exit_code(self) -> int | None:
        if self.died is not None and self.died.exit_code is not None:
            return self.died.exit_code
        return self._state.exit_code if self._state is not None and self._state.exited else None

    def _exited(self) -> Event | None:
        finished_ns = self._state.finished_at_ns if self._state is not None else None
        if self.died is None:
            return None if finished_ns is None else _exit(finished_ns, "State.FinishedAt")
        if finished_ns is not None and -EXIT_TOLD_LATE_NS < finished_ns - self.died.at_ns <= NS_PER_MS:
            return _exit(finished_ns, "State.FinishedAt")
        if self._gone is not None:  # told to us late on a busy machine, though never later than `die` is by the engine
            return _exit(min(self._gone[0], self.died.at_ns), "pidfd")
        return _exit(self.died.at_ns, "die event")

    def _oom_killed(self) -> bool | None:
        if self._state is not None and self._state.oom_killed:
            return True
        if any(event.kind is EventKind.OOM for event in self._events):
            return True
        if self.may_be_oom and self.processes is not None and oom_log.names(self.id):
            return True
        return False if self._state is not None or self.left_orderly else None


def _exit(at_ns: int, source: str) -> Event:
    return Event(EventKind.EXITED, at_ns, Clock.ENGINE, source)
