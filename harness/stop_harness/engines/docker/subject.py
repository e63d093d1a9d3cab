"""One container of the docker engine during one trial: started, made ready, stopped, recorded, removed.

Podman's differences are marked `Podman` where they are handled.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import docker

from stop_harness import signals
from stop_harness.engines import start_failure
from stop_harness.engines.docker import listed_processes, oom, reading, ready
from stop_harness.engines.docker.calls import CONNECTION_ERRORS, GRACE_S, READING_ERRORS, Calls, time_limit_s
from stop_harness.engines.docker.events import EventStream
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.host_processes import PidOne
from stop_harness.engines.docker.reading import State, in_one_line
from stop_harness.engines.docker.reaper import OWNER_LABEL, owner
from stop_harness.engines.docker.starting import Client, Container
from stop_harness.engines.interface import StopRecord, SubjectFailed
from stop_harness.errors import EngineError
from stop_harness.linux import proc
from stop_harness.linux.signal_trace import Ends, SignalTrace
from stop_harness.linux.signal_trace import Watch as SignalWatch
from stop_harness.linux.silent_kills import Watch, Watches
from stop_harness.model import (
    NS_PER_S,
    Clock,
    Event,
    EventKind,
    LogTail,
    Problem,
    ProblemKind,
    ProcessInfo,
    Readiness,
    Trial,
    Vantage,
)

EVENT_PATIENCE_S = 3.0
"""The `die` event follows the exit by 20 ms idle and up to 330 ms under load (measured)."""

EXECUTE_PATIENCE_S = 600
"""For a command beside the subject, which has no timeout of its own."""

LOG_KEEP_BYTES = 16 * 1024
LOG_READ_BYTES = 4 * 1024 * 1024
LOG_LINES = 200

Answer = TypeVar("Answer")


class DockerSubject:
    """One container."""

    def __init__(
        self,
        trial: Trial,
        host: DockerHost,
        client: Client,
        *,
        events: EventStream,
        connector: Watches | None,
        trace: SignalTrace | None,
    ) -> None:
        self._trial, self._host, self._client, self._events = trial, host, client, events
        self._connector, self._trace = connector, trace
        self._tc: Container | None = None
        self._calls = Calls(host.url, time_limit_s())
        self._timeline: list[Event] = []
        self._addresses: dict[int, tuple[str, int]] = {}
        self._looks: list[tuple[int, tuple[ProcessInfo, ...]]] = []
        self._pid_one, self._health_checked = 0, False
        self._found_running = True
        self._local_pid_one: PidOne | None = None
        self._watch: Watch | None = None
        self._lost: tuple[str, ...] | None = None
        self._signals: SignalWatch | None = None
        self._ends: Ends | None = None
        self._aborted = threading.Event()
        self._removed = False
        self.container_id = ""
        self.stop_signal: int | None = None
        self.stop_signal_source: str | None = None

    def start(self, image: str, labels: dict[str, str]) -> None:
        """Create, start, and read which stop signal applies. Raises SubjectFailed or EngineError."""
        self._tc = Container(self._trial, image, {**labels, OWNER_LABEL: owner()}, self._host, self._client)
        try:
            self._calls.run("the start", self._tc.start, extra_s=self._calls.limit_s)  # two calls
        except docker.errors.APIError as error:
            raise start_failure.explain(str(error.explanation or error), self._command()) from None
        except (docker.errors.DockerException, *CONNECTION_ERRORS) as error:
            raise self._failed("the start", error) from None
        finally:
            wrapped = self._tc.created
            self.container_id = str(wrapped.id) if wrapped is not None else ""
        self._harness_event(EventKind.STARTED, "return of the start call")
        state = self._inspect()
        self._tc.address = state.address if self._host.local else None
        self._pid_one = state.pid
        if self._host.same_kernel and not self._host.podman:
            self._local_pid_one = PidOne.of(self._pid_one, self.container_id)
        self._health_checked = state.checks_health
        self.stop_signal = state.stop_signal or signals.SIGTERM
        asked = self._trial.scenario.stop.signal is not None
        self.stop_signal_source = "scenario" if asked else "image" if state.stop_signal else "default"

    def _command(self) -> tuple[str, ...] | None:
        """What the container was to run, as the engine has it; None where it was not even created, or nobody says."""
        assert self._tc is not None
        if self._tc.created is None:
            return None
        try:
            found = self._calls.run("inspect", self._api.inspect_container, self._tc.created.id)
            config = found["Config"]
            return (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())) or None
        except (EngineError, *READING_ERRORS):
            return None

    def wait_started(self) -> None:
        """`start` has waited for it."""

    def wait_ready(self) -> None:
        """Wait for each condition in turn, then for the delay."""
        readiness = self._trial.scenario.readiness
        self._wait_for(readiness)
        self.sleep(readiness.delay_ns)
        self._raise_if_gone()
        self._harness_event(EventKind.READY, "readiness conditions")

    def _wait_for(self, readiness: Readiness) -> None:
        """Every condition, looking in between whether the container still runs."""
        assert self._tc is not None
        deadline = time.monotonic() + readiness.timeout_ns / NS_PER_S
        published, podman = not self._host.local, self._host.podman
        for what, strategy in ready.strategies(readiness, published=published, podman=podman):
            while True:
                try:
                    patience_s = ready.patience_s(strategy, deadline - time.monotonic())
                    strategy.with_startup_timeout(patience_s)  # type: ignore[arg-type] # a float works, int is declared
                    self._calls.run(f"waiting for {what}", strategy.wait_until_ready, self._tc, extra_s=patience_s)
                    break
                except TimeoutError:
                    self._raise_if_gone()
                    self._aborted.wait(ready.POLL_S)  # a log that cannot be followed is not asked for in a rush
                except RuntimeError as error:  # the health check is missing or says unhealthy
                    self._raise_if_gone()
                    raise _not_ready(f"{what}: {str(error).split('. Hint')[0]}", self.logs()) from None
                except (docker.errors.APIError, *CONNECTION_ERRORS) as error:
                    self._raise_if_gone()
                    raise self._failed(f"waiting for {what}", error) from None
                if time.monotonic() >= deadline:
                    seconds = readiness.timeout_ns / NS_PER_S
                    raise _not_ready(f"not ready after {seconds:g} s: waited for {what}", self.logs())

    def sleep(self, duration_ns: int) -> None:
        """Wait; an abort ends it."""
        if duration_ns:
            self._aborted.wait(duration_ns / NS_PER_S)

    def is_running(self) -> bool:
        """Whether PID 1 lives, else State.Running; a container that is gone does not run."""
        if self._events.died(self.container_id):
            return False
        if self._local_pid_one is not None and self._local_pid_one.lives():
            return True
        return self._inspect().running

    def processes(self) -> tuple[ProcessInfo, ...] | None:
        """From /proc, else by `GET /containers/ID/top`; None where the engine's `ps` cannot do it or PID 1 is gone."""
        pid_one = self._local_pid_one
        if pid_one is not None and not pid_one.lives():
            return None
        table = pid_one.table() if pid_one is not None else None
        if table is None:
            read = reading.processes
            table = self._calls.run("the process table", read, self._api, self.container_id, self._host)
        if table is not None and self._health_checked and self._connector is None:  # then the table has to decide
            table = listed_processes.below_pid_one(table, self._pid_one)
        if table is not None:
            self._looks.append((time.monotonic_ns(), table))
        return table

    def connect(self, port: int, timeout_s: float) -> tuple[socket.socket, Vantage]:
        """Straight to the container's address on a local engine, else through the published port."""
        assert self._tc is not None
        if port not in self._addresses:  # a stopped container has no published ports to ask for any more
            try:
                self._addresses[port] = self._calls.run("the published port", self._address_of, port)
            except (docker.errors.DockerException, EngineError) as error:
                raise OSError(f"where port {port} is published cannot be told: {in_one_line(error)}") from None
        vantage = Vantage.CONTAINER_ADDRESS if self._tc.address else Vantage.PUBLISHED_PORT
        return socket.create_connection(self._addresses[port], timeout=timeout_s), vantage

    def _address_of(self, port: int) -> tuple[str, int]:
        assert self._tc is not None
        return self._tc.get_container_host_ip(), int(self._tc.get_exposed_port(port))

    def wait_log(self, pattern: str, timeout_ns: int) -> None:
        """Follow the log from its beginning."""
        self._wait_for(Readiness(log=pattern, timeout_ns=timeout_ns))

    def execute(self, command: tuple[str, ...]) -> int:
        """`docker exec`."""

        def run() -> int:
            created = self._api.exec_create(self.container_id, list(command))
            self._api.exec_start(created["Id"])
            return int(self._api.exec_inspect(created["Id"])["ExitCode"])

        text = f"`{' '.join(command)}`"
        try:
            return self._calls.run(text, run, extra_s=EXECUTE_PATIENCE_S)
        except (docker.errors.DockerException, *CONNECTION_ERRORS) as error:
            raise EngineError(f"{text} cannot be run in the container: {in_one_line(error)}") from None

    def stop(self, stop_timeout_ns: int) -> None:
        """The engine's own stop call."""
        if self._connector is not None:
            jobs = not self._health_checked
            self._watch = self._connector.watch(self._pid_one, container_id=self.container_id, jobs=jobs)
        if self._trace is not None and proc.is_first_process_of(self._pid_one, self.container_id):
            self._signals = self._trace.watch(self._pid_one)
        wall = time.time_ns()
        self._harness_event(EventKind.STOP_REQUESTED, "stop call")
        if self._host.same_kernel:
            # One machine, one wall clock: with it Podman, which reports no signals, still has both ends.
            self._timeline.append(Event(EventKind.STOP_REQUESTED, wall, Clock.ENGINE, "stop call"))
        timeout_s = stop_timeout_ns // NS_PER_S
        patience_s = timeout_s + self._calls.limit_s + GRACE_S
        arguments = (self._api, self.container_id, timeout_s, patience_s)
        self._found_running = self._ask("the stop call", reading.stop, *arguments, extra_s=timeout_s)
        self._harness_event(EventKind.STOP_RETURNED, "return of the stop call")

    def end_now(self) -> bool:
        """`docker kill`. A failure only means that the stop runs its course."""
        with contextlib.suppress(EngineError):
            self._ask("the kill call", self._api.kill, self.container_id, "SIGKILL")
        return True

    def record(self) -> StopRecord:
        """Events of this container, then `State`: FinishedAt, ExitCode, OOMKilled."""
        patience = EVENT_PATIENCE_S if self._host.info.observes_sigkill else 0.0
        events = self._events.of(self.container_id, until="die", patience_s=patience)
        complete = not self._events.broken and (not patience or self._events.died(self.container_id))
        state = self._inspect()
        if self._found_running and state.running and self._events.died(self.container_id):
            raise EngineError("the container was started again by somebody else during the trial")
        exited = not state.running and state.finished_at_ns is not None
        if not self._found_running or all(event.kind is not EventKind.STOP_REQUESTED for event in self._timeline):
            self._raise_if_killed_by_somebody(events, state)
        if exited and self._signals is not None and self.stop_signal is not None:
            self._ends, self._signals = self._signals.ends(self.stop_signal), None
        by_signal = self._ends is not None and self._ends.by_signal
        if exited and self._may_be_oom(state, events, proved=by_signal):
            struck = oom.reported(
                lambda: self._inspect().oom_killed, lambda: self._events.of(self.container_id), self._aborted
            )
            state = replace(state, oom_killed=struck)
            events = self._events.of(self.container_id)
        timeline = [*self._timeline, *events]
        if exited and state.finished_at_ns is not None:
            timeline.append(Event(EventKind.EXITED, state.finished_at_ns, Clock.ENGINE, "State.FinishedAt"))
        if self._watch is not None:
            self._lost, self._watch = self._watch.lost(), None
        if self._ends is not None:
            timeline += self._ends.events(self.stop_signal)
        code = state.exit_code if exited else None
        return StopRecord(
            events=tuple(timeline),
            exit_code=code,
            exit_signal=code - 128 if code and by_signal else None,
            oom_killed=state.oom_killed if self._host.info.reports_oom else None,
            complete=complete,
            lost_processes=self._lost,
            suspected_processes=self._suspected() if self._lost is None else (),
            exited_before_stop=exited and not self._found_running,
        )

    def _may_be_oom(self, state: State, events: tuple[Event, ...], *, proved: bool) -> bool:
        """Whether SIGKILL ended PID 1 without a known sender, so that the engine may yet report the OOM killer."""
        if state.oom_killed or not self._host.info.reports_oom:
            return False
        exact = self._ends is not None and not proved  # it left with 137 by itself
        return not exact and oom.may_be_unreported(state.exit_code, events)

    def _suspected(self) -> tuple[str, ...]:
        """Where nobody could look into the kernel: by the process table, as the looks during the stop saw it."""
        ours = {event.kind: event.at_ns for event in self._timeline if event.clock is Clock.HARNESS}
        sent_ns, left_ns = ours.get(EventKind.STOP_REQUESTED), ours.get(EventKind.STOP_RETURNED)
        if sent_ns is None or left_ns is None or self.stop_signal is None:
            return ()
        return listed_processes.suspected(self._looks, self.stop_signal, sent_ns, left_ns)

    def logs(self) -> LogTail:
        """The last lines, at most `LOG_KEEP_BYTES` of them, reading at most `LOG_READ_BYTES`."""

        def read() -> LogTail:
            return reading.log_tail(
                self._api,
                self.container_id,
                lines=LOG_LINES,
                keep_bytes=LOG_KEEP_BYTES,
                read_bytes=LOG_READ_BYTES,
                from_begin=self._host.podman,
            )

        try:
            return self._calls.run("the log", read)
        except EngineError as error:
            return LogTail(f"(the log could not be read: {error})", truncated=True)

    def abort(self) -> None:
        """Whatever waits for the engine returns now; the container is removed."""
        self._aborted.set()
        self._calls.abort()
        if self._host.podman and self.container_id:  # its removals wait behind its stops; its kills do not
            with contextlib.suppress(EngineError, docker.errors.DockerException, *CONNECTION_ERRORS):
                self._calls.run("the kill call", self._api.kill, self.container_id, "SIGKILL", cleans_up=True)
        with contextlib.suppress(EngineError):
            self.remove()

    def remove(self) -> None:
        """Forced remove with its anonymous volumes; gone already is as good. Raises EngineError where it fails: the
        engine tries again when it closes."""
        if self._watch is not None:
            self._watch.abandon()
            self._watch = None
        if self._signals is not None:
            self._signals.abandon()
            self._signals = None
        if not self.container_id or self._removed:
            return
        try:
            self._calls.run("the removal", self._client_remove, cleans_up=True)
        except docker.errors.NotFound:
            pass
        except (docker.errors.DockerException, *CONNECTION_ERRORS) as error:
            if not _is_being_removed(error):
                raise self._failed("the removal", error) from None
        self._removed = True
        self._events.forget(self.container_id)

    @property
    def unsure(self) -> bool:
        """Whether the engine may still do what it was asked and did not answer, such as create a container."""
        return self._calls.unknown

    @property
    def _api(self) -> Any:
        return self._client.client.api

    def _client_remove(self) -> None:
        self._api.remove_container(self.container_id, force=True, v=True)

    def _inspect(self) -> State:
        return reading.state_of(self._ask("inspect", self._api.inspect_container, self.container_id))

    def _ask(self, what: str, call: Callable[..., Answer], *arguments: Any, extra_s: float = 0.0) -> Answer:
        """One call, and what its failure means."""
        try:
            return self._calls.run(what, call, *arguments, extra_s=extra_s)
        except docker.errors.NotFound:
            raise EngineError("the container was removed by somebody else during the trial") from None
        except (docker.errors.DockerException, *CONNECTION_ERRORS) as error:
            raise self._failed(what, error) from None

    def _failed(self, what: str, error: Any) -> EngineError:
        """The engine refused with a reason of its own, or stopped answering."""
        reason = getattr(error, "explanation", None)
        why = in_one_line(reason) if reason else f"the engine stopped answering: {in_one_line(error)}"
        return EngineError(f"{self._host.url}: {what} failed: {why}")

    def _raise_if_gone(self) -> None:
        if self._aborted.is_set():
            raise SubjectFailed(Problem(ProblemKind.INTERRUPTED, "the run was interrupted"))
        if self._local_pid_one is not None and self._local_pid_one.lives():
            return
        state = self._inspect()
        if not state.running:
            self._raise_if_killed_by_somebody(self._events.of(self.container_id, until="die", patience_s=1.0), state)
            raise SubjectFailed(None, exit_code=state.exit_code)

    def _raise_if_killed_by_somebody(self, events: tuple[Event, ...], state: State) -> None:
        """A container that was sent a signal through the engine before we stopped it did not leave by itself."""
        sent = [event.signal for event in events if event.kind is EventKind.SIGNAL_SENT and event.signal is not None]
        if sent:
            what = f"somebody else sent {signals.name(sent[0])} to the container before the stop"
            raise EngineError(f"{what}; it left with exit code {state.exit_code}")

    def _harness_event(self, kind: EventKind, source: str) -> None:
        self._timeline.append(Event(kind, time.monotonic_ns(), Clock.HARNESS, source))


def _is_being_removed(error: Exception) -> bool:
    """409: somebody else is removing it at this moment."""
    response = getattr(error, "response", None)
    return response is not None and response.status_code == 409


def _not_ready(what: str, logs: LogTail) -> SubjectFailed:
    tail = "\n  ".join(logs.text.splitlines()[-5:])
    shown = f"; its last output:\n  {tail}" if tail else "; it wrote nothing"
    return SubjectFailed(Problem(ProblemKind.NOT_READY, what + shown))
