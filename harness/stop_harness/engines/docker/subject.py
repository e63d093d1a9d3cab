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
from functools import partial
from typing import TYPE_CHECKING, Any

from stop_harness import signals
from stop_harness.engines import start_failure
from stop_harness.engines.docker import executing, reading, ready, sdk, signs, stop_record
from stop_harness.engines.docker.calls import CallFailed, Calls, time_limit_s
from stop_harness.engines.docker.container import ContainerLife, LogLimits
from stop_harness.engines.docker.engine_api import EngineApi
from stop_harness.engines.docker.events import EventStream
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.host_processes import PidOne
from stop_harness.engines.docker.inside import Inside
from stop_harness.engines.docker.reached import OfSdk, Reached, Unreachable
from stop_harness.engines.docker.reading import State
from stop_harness.engines.docker.reaper import OWNER_LABEL, owner
from stop_harness.engines.docker.settings import volume_name
from stop_harness.engines.docker.starting import LOOPBACK, Placement, creation
from stop_harness.engines.docker.stopped import StoppedContainer
from stop_harness.engines.interface import EngineRecord, ReadySigns, SubjectFailed, not_ready, waited, where_it_listens
from stop_harness.errors import EngineError
from stop_harness.evidence import start_up
from stop_harness.linux import listening
from stop_harness.linux.signal_trace import SignalTrace
from stop_harness.linux.silent_kills import Watches
from stop_harness.log_pattern import LogPattern
from stop_harness.model import (
    NS_PER_S,
    Clock,
    Event,
    EventKind,
    LogTail,
    MountKind,
    Problem,
    ProblemKind,
    ProcessInfo,
    Readiness,
    Trial,
    Vantage,
)

if TYPE_CHECKING:
    from stop_harness.engines.docker.faults.container import ContainerFaults

HEALTH_PATIENCE_NS = 30 * NS_PER_S
"""For one run of a health check. Docker's default `--timeout` of HEALTHCHECK."""

LOG_LIMITS = LogLimits(lines=200, keep_bytes=16 * 1024, read_bytes=4 * 1024 * 1024)


class DockerSubject:
    """One container. `address`: its own, on the engine's side; None before its start, and without a network. `pid_one`:
    its first process as this machine's /proc shows it; None where that is another machine's."""

    def __init__(
        self,
        trial: Trial,
        host: DockerHost,
        api: EngineApi,
        *,
        events: EventStream,
        connector: Watches | None,
        trace: SignalTrace | None,
        keeping: threading.Event,
    ) -> None:
        self._trial, self._host, self._api, self._events = trial, host, api, events
        self._connector, self._trace, self._keeping = connector, trace, keeping
        self._life: ContainerLife | None = None
        self._reached: Reached | None = None
        self._calls = Calls(host.url, time_limit_s())
        self._timeline: list[Event] = []
        self._in_host_network = False
        self._found_running = True
        self._pid_one = 0
        self.pid_one: PidOne | None = None
        self._volumes: tuple[str, ...] = ()
        self._health_test: tuple[str, ...] | None = None
        self._aborted = threading.Event()
        self._faults: ContainerFaults | None = None
        self.address: str | None = None
        self.stop_signal: int | None = None
        self.stop_signal_source: str | None = None

    @property
    def container_id(self) -> str:
        """The engine's id; "" where it was not created."""
        return self._life.id if self._life is not None else ""

    def start(self, image: str, labels: dict[str, str], place: Placement | None = None) -> None:
        """Create, start, and read which stop signal applies. Raises SubjectFailed or EngineError.

        `place`: of a container in a group, whose volumes and networks are the group's to remove.
        """
        labels = {**labels, OWNER_LABEL: owner()}
        given = creation(self._trial, labels, self._host)
        if place is not None:
            given = place.of(given, self._api)
        mounts = self._trial.scenario.subject.settings.mounts if place is None else ()
        named = {mount.source for mount in mounts if mount.kind is MountKind.VOLUME and mount.source is not None}
        self._volumes = tuple(volume_name(self._trial, labels, name) for name in sorted(named))
        try:
            for name in self._volumes:  # here, for Podman makes those of a mount without their labels
                self._calls.run("a volume's creation", partial(self._api.create_volume, name, labels=labels))
            life = self._life = self._life_of(self._calls.run("the creation", self._api.create, image, given))
            if place is not None:
                self._calls.run("the networks of a container", place.connect, self._api, life.id)
            life.start()
        except sdk.ENGINE_ERRORS as error:
            raise self._start_failure(CallFailed(self._host.url, "the creation", error)) from None
        except CallFailed as error:
            raise self._start_failure(error) from None
        self._harness_event(EventKind.STARTED, "return of the start call")
        state = self._take_up(OfSdk(self._api, life.id), place)
        asked = self._trial.scenario.stop.signal is not None
        self.stop_signal_source = "scenario" if asked else "image" if state.stop_signal else "default"

    def _life_of(self, container_id: str, *, auto_remove: bool = False) -> ContainerLife:
        """The container of this trial, to be followed with what the trial was given. `auto_remove`: see there."""
        return ContainerLife(
            container_id,
            self._host,
            self._api,
            calls=self._calls,
            events=self._events,
            ending=self._aborted,
            watches=self._connector,
            trace=self._trace,
            auto_remove=auto_remove,
        )

    def _take_up(self, wrapped: Any, place: Placement | None = None) -> State:
        """Learn what is needed of the container as it runs: where it is reached, its first process, its stop signal."""
        life = self._started
        state = life.state()
        self._in_host_network = state.in_host_network
        address = LOOPBACK if state.in_host_network else state.address
        self.address = place.address if place is not None and place.network_of is not None else address
        self._reached = Reached(wrapped, self._api, self._host, self.near_address)
        if place is not None and place.network_of is not None:
            self._reached.published_by = place.network_of
        self._pid_one = state.pid
        if self._host.same_kernel and not self._host.podman:
            self.pid_one = PidOne.of(self._pid_one, life.id)
            self._reached.inside = Inside(self.pid_one) if self.pid_one is not None else None
        self.stop_signal = state.stop_signal or signals.SIGTERM
        return state

    @property
    def near_address(self) -> str | None:
        """Its address where it is reached from here."""
        return self.address if self._host.local else None

    def state(self) -> State:
        """What the engine says of it now."""
        return self._started.state()

    def has_written(self, pattern: LogPattern) -> bool:
        """Whether a line of the whole output so far matches."""
        stream = self._started.ask("the log", lambda: self._api.logs(self.container_id, stream=True, follow=False))
        return self._calls.run("the log", ready.found_in, stream, pattern)

    def _start_failure(self, failed: CallFailed) -> Exception:
        """What the engine's own words mean, where it gave any."""
        return failed if failed.reason is None else start_failure.explain(failed.reason, self._command())

    def _command(self) -> tuple[str, ...] | None:
        """What the container was to run; None where it was not even created, or nobody says."""
        with contextlib.suppress(EngineError, *sdk.READING_ERRORS):
            if self._life is not None:
                return reading.command_of(self._calls.run("inspect", self._api.inspect_container, self._life.id))
        return None

    def wait_started(self) -> None:
        """`start` has waited for it."""

    def wait_ready(self) -> None:
        """Wait for each condition in turn, then for the delay."""
        readiness = self._trial.scenario.readiness
        self.wait_for(readiness)
        self.sleep(readiness.delay_ns)
        self._raise_if_gone()
        self._harness_event(EventKind.READY, "readiness conditions")

    def wait_for(self, readiness: Readiness) -> None:
        """Every condition, looking in between whether the container still runs."""
        assert self._reached is not None
        deadline = time.monotonic() + readiness.timeout_ns / NS_PER_S
        published, podman = not self._host.local, self._host.podman
        for what, strategy in ready.strategies(readiness, published=published, podman=podman):
            while True:
                try:
                    patience_s = ready.patience_s(strategy, deadline - time.monotonic())
                    strategy.with_startup_timeout(patience_s)  # type: ignore[arg-type] # a float works, int is declared
                    self._calls.run(f"waiting for {what}", strategy.wait_until_ready, self._reached, extra_s=patience_s)
                    break
                except TimeoutError:
                    self._raise_if_gone()
                    self._aborted.wait(ready.POLL_S)  # a log that cannot be followed is not asked for in a rush
                except RuntimeError as error:  # the health check is missing or says unhealthy
                    self._raise_if_gone()
                    why = f"{what}: {str(error).split('. Hint')[0]}"
                    raise not_ready(why, {"": self.logs()}) from None
                except Unreachable as error:
                    self._raise_if_gone()
                    raise EngineError(f"{self._host.url}: waiting for {what}: {error}") from None
                except (sdk.errors.APIError, *sdk.CONNECTION_ERRORS) as error:
                    self._raise_if_gone()
                    raise CallFailed(self._host.url, f"waiting for {what}", error) from None
                if time.monotonic() >= deadline:
                    port = {"TCP": readiness.tcp_port, "HTTP": readiness.http_port}.get(what.split()[0])
                    where = where_it_listens(port, self.listens_at()) if port is not None else ""
                    raise not_ready(waited(readiness.timeout_ns, what) + where, {"": self.logs()})

    def ready_signs(self) -> ReadySigns:
        """What the engine has on record: of the image, with what the scenario sets in its place."""
        inspected = self._started.ask("inspect", self._api.inspect_container, self.container_id)
        self._health_test = signs.health_test(inspected)
        ports = signs.exposed_ports(inspected)
        return ReadySigns(health_check=self._health_test is not None, ports=(ports,) if ports else ())

    def is_healthy(self) -> bool:
        """By what the engine says, else by the check itself; one that never ends is not tried again."""
        if self._started.state().healthy:
            return True
        test = self._health_test
        if test is None:
            return False
        try:
            code = self.execute(test, HEALTH_PATIENCE_NS)
        except EngineError:
            code = None
        if code is None:
            self._health_test = None
        return code == 0

    def listening(self, declared: tuple[int, ...]) -> frozenset[int]:
        """By /proc where the container is on this machine, else by connecting to what is declared."""
        seen = self.pid_one.listening() if self.pid_one is not None else None
        if seen is not None or self._reached is None:
            return seen or frozenset()
        reached = self._reached
        with contextlib.suppress(EngineError, sdk.errors.DockerException):
            return self._calls.run("the declared ports", signs.accepting, reached, declared)
        return frozenset()

    def listens_at(self) -> tuple[str, ...] | None:
        """By /proc where the container is on this machine, else by a command in it; images without `cat` keep it."""
        if self._in_host_network:  # everybody listens there
            return None
        if self.pid_one is not None:
            return listening.addresses_of(self.pid_one.pid)
        with contextlib.suppress(EngineError, *sdk.READING_ERRORS, *sdk.ENGINE_ERRORS):
            return self._calls.run("where it listens", signs.addresses, self._api, self.container_id)
        return None

    def takes_stop_signal(self) -> bool:
        """By the process table."""
        return start_up.takes(self.processes(), self.stop_signal)

    def sleep(self, duration_ns: int) -> None:
        """Wait; an abort ends it."""
        if duration_ns:
            self._aborted.wait(duration_ns / NS_PER_S)

    def is_running(self) -> bool:
        """Whether PID 1 lives, else State.Running; a container that is gone does not run."""
        if self._started.died:
            return False
        if self.pid_one is not None and self.pid_one.lives():
            return True
        return self._started.state().running

    def processes(self) -> tuple[ProcessInfo, ...] | None:
        """From /proc, else by `GET /containers/ID/top`; None where the engine's `ps` cannot do it or PID 1 is gone."""
        pid_one = self.pid_one
        if pid_one is not None and not pid_one.lives():
            return None
        return self._started.processes()

    def foreseen(self) -> tuple[tuple[ProcessInfo, ...] | None, int | None]:
        """Its own."""
        return self.processes(), self.stop_signal

    def connect(self, port: int, timeout_s: float) -> tuple[socket.socket, Vantage]:
        """Straight to the container's address on a local engine, else through the published port."""
        assert self._reached is not None
        return self._reached.connect(port, timeout_s, self._calls)

    def wait_log(self, pattern: str, timeout_ns: int) -> None:
        """Follow the log from its beginning."""
        self.wait_for(Readiness(log=pattern, timeout_ns=timeout_ns))

    def execute(self, command: tuple[str, ...], timeout_ns: int) -> int | None:
        """`docker exec --detach`."""
        return self.run(command, timeout_ns)

    def run(self, command: tuple[str, ...], timeout_ns: int, **settings: Any) -> int | None:
        """The same, with further settings of the API's exec."""
        settings |= {"timeout_ns": timeout_ns, "sleep": self.sleep, "attached": self._host.podman}
        return executing.execute(self._api, self._calls, self.container_id, command, **settings)

    def faults(self) -> ContainerFaults:
        """Of this container alone."""
        if self._faults is None:
            from stop_harness.engines.docker.faults.container import ContainerFaults  # late: most trials have none

            parts: dict[str, Any] = {"api": self._api, "calls": self._calls, "events": self._events}
            self._faults = ContainerFaults(self, self._host, life=self._started, trial=self._trial, **parts)
        return self._faults

    def follow(self) -> None:
        """From now on the kernel tells how its processes end: of a stop that begins with a hook."""
        life = self._started
        life.follow_stop()
        life.stop_called_ns = None  # the stop call itself is yet to come

    def hooks_first(self, ports: frozenset[int], over: Callable[[], None]) -> bool:
        """A container has none of its own; see `GroupSubject`."""
        return False

    def stop(self, stop_timeout_ns: int) -> None:
        """The engine's own stop call."""
        life = self._started
        life.follow_stop()
        self._harness_event(EventKind.STOP_REQUESTED, "stop call")
        if self._host.same_kernel and life.stop_called_ns is not None:
            # One machine, one wall clock: with it Podman, which reports no signals, still has both ends.
            self._timeline.append(Event(EventKind.STOP_REQUESTED, life.stop_called_ns, Clock.ENGINE, "stop call"))
        self._found_running = life.stop(stop_timeout_ns // NS_PER_S)
        self._harness_event(EventKind.STOP_RETURNED, "return of the stop call")

    def end_now(self) -> bool:
        """`docker kill`. A failure only means that the stop runs its course."""
        with contextlib.suppress(EngineError):
            self._started.kill()
        return True

    def record(self) -> EngineRecord:
        """Events of this container, then `State`: FinishedAt, ExitCode, OOMKilled."""
        end = self._started.end()
        state = end.state
        if self._found_running and state.running and self._started.died:
            raise EngineError("the container was started again by somebody else during the trial")
        if not self._found_running or all(event.kind is not EventKind.STOP_REQUESTED for event in self._timeline):
            self._raise_if_killed_by_somebody(end.events, state)
        reports_oom = self._host.info.reports_oom
        told = stop_record.of(end, tuple(self._timeline), stop_signal=self.stop_signal, reports_oom=reports_oom)
        seen = () if told.lost_processes is not None else self._started.seen.suspected(self._timeline, self.stop_signal)
        gone = state.exited and not self._found_running
        return EngineRecord(replace(told, suspected_processes=seen, exited_before_stop=gone))

    def logs(self) -> LogTail:
        """The last lines, at most `LOG_LIMITS` of them."""
        return self._started.logs(LOG_LIMITS)

    def stopped(self) -> StoppedContainer:
        """By the engine's archive call and others that need no running container."""
        parts: dict[str, Any] = {"calls": self._calls, "host": self._host, "trial": self._trial}
        return StoppedContainer(self, self._started, self._api, take_up=self._take_up, ending=self._aborted, **parts)

    def abort(self) -> None:
        """Whatever waits for the engine returns now; the container is removed."""
        self._aborted.set()
        self._calls.abort()
        if self._host.podman and self._life is not None:  # its removals wait behind its stops; its kills do not
            with contextlib.suppress(EngineError):
                self._life.kill(cleans_up=True)
        with contextlib.suppress(EngineError):
            self.remove()

    def keep(self) -> str | None:
        """The container, stopped as it is. The engine then removes nothing more of this run."""
        life, client = self._life, "podman" if self._host.podman else "docker"
        if life is None:
            return None
        self._keeping.set()
        name = life.id[:12]
        return (
            f"container {name} is kept: `{client} logs {name}` shows all that it wrote, `{client} inspect {name}` how "
            f"it ended; `{client} rm -fv {name}` removes it"
        )

    def remove(self) -> None:
        """Forced remove with its anonymous volumes; gone already is as good. Raises EngineError where it fails: the
        engine tries again when it closes."""
        if self._life is None:
            return
        self._life.remove()
        for volume in self._volumes:  # what stays is removed at the run's end, by its label
            with contextlib.suppress(EngineError, *sdk.ENGINE_ERRORS):
                self._calls.run("the removal of a volume", self._api.remove_volume, volume, cleans_up=True)
        self._volumes = ()

    @property
    def unsure(self) -> bool:
        """Whether the engine may still do what it was asked and did not answer, such as create a container."""
        return self._calls.unknown

    @property
    def _started(self) -> ContainerLife:
        assert self._life is not None, "start comes first"
        return self._life

    def _raise_if_gone(self) -> None:
        if self._aborted.is_set():
            raise SubjectFailed(Problem(ProblemKind.INTERRUPTED, "the run was interrupted"))
        if self.pid_one is not None and self.pid_one.lives():
            return
        state = self._started.state()
        if not state.running:
            self._raise_if_killed_by_somebody(self._events.of(self.container_id, until="die", patience_s=1.0), state)
            raise SubjectFailed(None, exit_code=state.exit_code)

    def _raise_if_killed_by_somebody(self, events: tuple[Event, ...], state: State) -> None:
        """A container that was sent a signal through the engine before we stopped it did not exit by itself."""
        ours = self._faults.events if self._faults is not None else ()
        signalled = [event for event in events if event.kind is EventKind.SIGNAL_SENT and event not in ours]
        sent = [event.signal for event in signalled if event.signal is not None]
        if sent:
            what = f"somebody else sent {signals.name(sent[0])} to the container before the stop"
            raise EngineError(f"{what}; it exited with code {state.exit_code}")

    def _harness_event(self, kind: EventKind, source: str) -> None:
        self._timeline.append(Event(kind, time.monotonic_ns(), Clock.HARNESS, source))
