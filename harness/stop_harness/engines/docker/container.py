"""One life of a Docker container, from its start to its removal, whoever asked for the container.

The docker engine follows the container of a trial with it, the ECS endpoint each container of a task. Every call to the
engine has a time limit (docker_calls). Podman's differences are marked `Podman` where they are handled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from stop_harness import signals
from stop_harness.engines.docker import host_processes, listed_processes, oom, reading, sdk
from stop_harness.engines.docker.calls import GRACE_S, CallFailed, Calls, NoAnswer
from stop_harness.engines.docker.events import EventStream
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.host_processes import PidOne
from stop_harness.engines.docker.reading import State
from stop_harness.errors import EngineError
from stop_harness.linux import oom_log, proc, process_fates
from stop_harness.linux.signal_trace import Ends, HeardSignal, SignalTrace, SignalWatch
from stop_harness.linux.silent_kills import KillWatch, Watches
from stop_harness.model import DIE_EVENT, UNREADABLE_LOG, Event, EventKind, LogTail, ProcessFate
from stop_harness.records import dataclass

EVENT_PATIENCE_S = 3.0
"""The `die` event follows the exit by 20 ms idle and up to 330 ms under load (measured)."""

WAIT_SLICE_S = 3600.0
"""How long one wait for the exit lasts before it is asked for again; there may be no exit for days."""

LONGEST_TIMED_STOP_S = 1_000_000
"""For a longer stop the socket has no timeout: Python's sockets take no more than 2**31 ms."""

Answer = TypeVar("Answer")


class ContainerGone(EngineError):
    """The engine does not know the container any more: somebody removed it; says who."""


@dataclass(frozen=True)
class LogLimits:
    """How much of a log is kept: the last `lines`, at most `keep_bytes` of them, reading at most `read_bytes`."""

    lines: int
    keep_bytes: int
    read_bytes: int


@dataclass(frozen=True)
class ContainerEnd:
    """How a container ended: by the engine's events and its `State`, and by what the kernel told.

    `complete`: every event is here that the engine reports, so that a missing one proves something. `ends`: both ends
    of the stop by the kernel's own clock, None where it was not followed. `lost_processes`: those that SIGKILL ended
    silently during the stop, None where nobody could look. `fates`: how every process ended, likewise; of many only
    some, of `fate_count`.
    """

    state: State
    events: tuple[Event, ...]
    complete: bool
    ends: Ends | None
    lost_processes: tuple[str, ...] | None
    fates: tuple[ProcessFate, ...] | None
    fate_count: int | None


class ContainerLife:
    """One container. Its methods may be called from many threads, and raise EngineError where the engine fails.

    `calls`: whoever aborts them ends every wait here. `ending`: set by whoever has no more patience for what the engine
    may still report. `watches` and `trace`: who is told by the kernel, None where nobody is. `auto_remove`:
    the engine removes it as soon as it ends. `memory_of`: the container above it whose memory limit it shares with
    others, None where it has a limit of its own. `stop_called_ns`: wall clock of the first stop call since the last
    start, None before. `seen`: the process tables since then. `stop_by`: makes the stop call.
    """

    def __init__(
        self,
        container_id: str,
        host: DockerHost,
        api: Any,
        *,
        calls: Calls,
        events: EventStream,
        ending: threading.Event,
        watches: Watches | None,
        trace: SignalTrace | None = None,
        auto_remove: bool = False,
        memory_of: str | None = None,
    ) -> None:
        self.id, self._host, self._api = container_id, host, api
        self._calls, self._events, self._ending = calls, events, ending
        self._watches, self._trace, self._auto_remove, self._memory_of = watches, trace, auto_remove, memory_of
        self._pid_one, self._health_checked, self._shares_pids = 0, False, False
        self._stop_signal = signals.SIGTERM
        self._watch: KillWatch | None = None
        self._lost: tuple[str, ...] | None = None
        self._fates: tuple[ProcessFate, ...] | None = None
        self._fate_count: int | None = None
        self._signals: SignalWatch | None = None
        self._heard: tuple[HeardSignal, ...] | None = None
        self._ends: Ends | None = None
        self._removed = False
        self._removed_by = "by the engine, at its end" if auto_remove else "by somebody else"
        self.stop_by: Callable[[Any, str, int, float | None], bool] = reading.stop
        self.seen = listed_processes.TablesSeen()
        self.stop_called_ns: int | None = None

    # ── from the start to the stop ──────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start it, for the first time or again. What is on record of an earlier run is forgotten."""
        self._events.forget(self.id)
        self.stop_called_ns = self._lost = self._ends = None
        self.seen = listed_processes.TablesSeen()
        self._heard = self._fates = self._fate_count = None
        try:
            self._calls.run("the start", self._api.start, self.id)
        except sdk.ENGINE_ERRORS as error:
            # Also a 404: the engine answers with it where the program is not in the image.
            raise CallFailed(self._host.url, "the start", error) from None

    def state(self) -> State:
        """What `inspect` says now; of one that the engine removed when it ended, what its events told. While it runs,
        PID 1, health check and stop signal are kept for the stop."""
        try:
            state = reading.state_of(self.ask("inspect", self._api.inspect_container, self.id))
        except ContainerGone:
            if not self._auto_remove or (ended := self._ended()) is None:
                raise
            return ended
        if state.running:
            self._pid_one, self._health_checked = state.pid, state.checks_health
            self._shares_pids = state.shares_pids
            self._stop_signal = state.stop_signal or signals.SIGTERM
        return state

    def _ended(self) -> State | None:
        """The state with which it was removed, by its events; None where they do not tell that it ended."""
        events = self._events.of(self.id, until="die", patience_s=EVENT_PATIENCE_S)
        told = self._events.exit_of(self.id)
        if told is None:
            return None
        struck = any(event.kind is EventKind.OOM for event in events)
        return State(
            running=False,
            pid=0,
            exit_code=told[0],
            oom_killed=struck,
            finished_at_ns=told[1],
            checks_health=self._health_checked,
            stop_signal=self._stop_signal,
            address=None,
            end_source=DIE_EVENT,
        )

    @property
    def died(self) -> bool:
        """Whether its exit is on record since the last start."""
        return self._events.died(self.id)

    def processes(self) -> listed_processes.Table | None:
        """Its processes with their signal masks, and with their clients from the stop call on: from /proc where that is
        this machine's, else by `GET /containers/ID/top`. None where neither tells, or nothing runs."""
        # Podman's `top` shows all that share a PID namespace, by the pids that they have there: then /proc or nothing.
        by_proc_only = self._host.podman and self._shares_pids
        near = self._host.same_kernel and (by_proc_only or not self._host.podman)
        here = PidOne.of(self._pid_one, self.id) if near else None
        table = here.table() if here is not None else None
        if table is None and not by_proc_only:
            first = self._pid_one if self._shares_pids else None
            read = partial(reading.processes, self._api, self.id, self._host, shared_with_first=first)
            table = self._calls.run("the process table", read)
        if table is None:
            return None
        if self._health_checked and self._watches is None:  # then the table has to decide
            table = listed_processes.below_pid_one(table, self._pid_one)
        if here is not None and self.stop_called_ns is not None:
            # Only now: it takes tens of milliseconds, and before the stop nobody needs it.
            table = host_processes.with_clients(table)
        self.seen.add(table, here=here is not None)
        return table

    def logs(self, limits: LogLimits) -> LogTail:
        """The end of its log. Where it cannot be read, the text says so."""

        def read() -> LogTail:
            return reading.log_tail(
                self._api,
                self.id,
                lines=limits.lines,
                keep_bytes=limits.keep_bytes,
                read_bytes=limits.read_bytes,
                from_begin=self._host.podman,
            )

        try:
            return self.ask("reading the log", read)
        except EngineError as error:
            return LogTail(f"{UNREADABLE_LOG}: {error})", truncated=True)

    def ask(
        self, what: str, call: Callable[..., Answer], *arguments: Any, extra_s: float = 0.0, cleans_up: bool = False
    ) -> Answer:
        """One call about this container, and what its failure means. See `Calls.run`."""
        try:
            return self._calls.run(what, call, *arguments, extra_s=extra_s, cleans_up=cleans_up)
        except sdk.errors.NotFound:
            raise ContainerGone(f"the container was removed {self._removed_by} during the trial") from None
        except sdk.ENGINE_ERRORS as error:
            raise CallFailed(self._host.url, what, error) from None

    # ── the stop and the end ────────────────────────────────────────────────────────────────────────────────────────

    def follow_stop(self) -> None:
        """From now on the kernel tells who is killed, when the signal is sent and when PID 1 exits. The first call
        since the last start counts: a stop that is tried again is the same stop."""
        if self._watches is not None and self._pid_one and self._watch is None:
            # What a health check starts in the container is nobody's loss.
            jobs = not self._health_checked
            self._watch = self._watches.watch(self._pid_one, container_id=self.id, jobs=jobs)
            if self._watch is not None:
                self._watch.cpu_before = self.seen.cpu_before
        traced = self._trace is not None and proc.is_first_process_of(self._pid_one, self.id)
        if self._trace is not None and traced and self._signals is None:
            self._signals = self._trace.watch(self._pid_one)
        if self.stop_called_ns is None:
            self.stop_called_ns = time.time_ns()

    def stop(self, stop_timeout_s: int) -> bool:
        """The engine's own stop call; `follow_stop` comes before it. False: it had exited already.

        Raises NoAnswer where the engine takes longer than the stop timeout and the limit of a call together.
        """
        answer_s = stop_timeout_s + self._calls.limit_s + GRACE_S
        socket_s = answer_s if stop_timeout_s < LONGEST_TIMED_STOP_S else None
        arguments = (self._api, self.id, stop_timeout_s, socket_s)
        return self.ask("the stop call", self.stop_by, *arguments, extra_s=stop_timeout_s)

    def expect_removal(self) -> None:
        """It is about to be removed by a fault during its stop: how it ended is what the events tell."""
        self._auto_remove, self._removed_by = True, "by the fault `stop: remove`"

    def kill(self, *, cleans_up: bool = False) -> None:
        """`docker kill`."""
        self.ask("the kill call", self._api.kill, self.id, "SIGKILL", cleans_up=cleans_up)

    def wait(self) -> None:
        """Return when it has ended: by the event stream, by the engine's wait call once the stream is broken. Where the
        engine answers neither, `end` has to find out."""
        while not (self._events.broken or self.died):
            self._events.of(self.id, until="die", patience_s=WAIT_SLICE_S)
        while not (self.died or self._calls.aborted):
            try:
                self.ask("the wait call", self._api.wait, self.id, extra_s=WAIT_SLICE_S)
            except NoAnswer:
                continue  # it still runs
            except EngineError:
                return
            return

    def end(self) -> ContainerEnd:
        """What is on record of its end. Waits for what is reported late: the exit's event, an OOM kill, other exits."""
        events, complete = self.events()
        state = self.state()
        if state.exited and self._signals is not None:
            self._ends = self._signals.ends(self._stop_signal)
            self._heard, self._signals = self._signals.heard(), None
        if state.oom_killed and self._others_were_struck():
            state = replace(state, oom_killed=False)
            events = tuple(event for event in events if event.kind is not EventKind.OOM)
        elif state.exited and self._may_be_oom(state, events):
            struck = self._host.same_kernel and oom_log.names(self.id)
            struck = struck or oom.reported(lambda: self.state().oom_killed, self._told, self._ending)
            state, events = replace(state, oom_killed=struck), self._told()
        lost = self.lost()
        if lost and not state.oom_killed and self._host.same_kernel and oom_log.names(self.id):
            state = replace(state, oom_killed=True)  # of a process below PID 1, which the engine had no time to hear of
        return ContainerEnd(state, events, complete, self._ends, lost, self._fates, self._fate_count)

    def _told(self) -> tuple[Event, ...]:
        return self._events.of(self.id)

    def events(self) -> tuple[tuple[Event, ...], bool]:
        """What the engine's stream told of it until its `die` event, and whether that is everything."""
        # Podman reports no signals: nothing is waited for, and `die` proves no more than the stream does.
        patience_s = EVENT_PATIENCE_S if self._host.info.observes_sigkill else 0.0
        events = self._events.of(self.id, until="die", patience_s=patience_s)
        return events, not self._events.broken and (not patience_s or self.died)

    def lost(self) -> tuple[str, ...] | None:
        """Who SIGKILL ended silently during the stop; None where nobody could look. Ends the watch."""
        watch, self._watch = self._watch, None
        if watch is not None:
            self._lost = watch.lost()
            if self._lost is not None:
                self._fates = process_fates.put_together(watch, self._heard, self._stop_signal)
                self._fate_count = watch.count + 1
        return self._lost

    def _others_were_struck(self) -> bool:
        """Whether what the engine reports of this container was an OOM kill of another one below the same limit: with
        version 1 of cgroups the kernel tells all that are below it (mm/memcontrol.c, mem_cgroup_oom_notify)."""
        return self._memory_of is not None and not oom_log.names(self.id) and oom_log.names(self._memory_of)

    def _may_be_oom(self, state: State, events: tuple[Event, ...]) -> bool:
        """Whether SIGKILL ended PID 1 without a known sender, so that the engine may yet report the OOM killer."""
        if state.oom_killed or not self._host.info.reports_oom:
            return False
        left_by_itself = self._ends is not None and not self._ends.by_signal  # with an exit code of 137
        return not left_by_itself and oom.may_be_unreported(state.exit_code, events)

    # ── the removal ─────────────────────────────────────────────────────────────────────────────────────────────────

    def remove(self) -> None:
        """Forced remove with its anonymous volumes; gone already is as good. What followed it is let go in any case."""
        self.let_go()
        if self._removed:
            return
        try:
            self._calls.run("the removal", self._force_remove, cleans_up=True)
        except sdk.errors.NotFound:
            pass
        except sdk.ENGINE_ERRORS as error:
            if not _is_being_removed(error):
                raise CallFailed(self._host.url, "the removal", error) from None
        self._removed = True
        self._events.forget(self.id)

    def let_go(self) -> None:
        """Follow it no longer, and leave it as it is."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.abandon()
        signals_watch, self._signals = self._signals, None
        if signals_watch is not None:
            signals_watch.abandon()

    def _force_remove(self) -> None:
        self._api.remove_container(self.id, force=True, v=True)


def _is_being_removed(error: Exception) -> bool:
    """409: somebody else is removing it at this moment."""
    response = getattr(error, "response", None)
    return response is not None and response.status_code == 409
