"""Scripted containers on a fast clock: the endpoint's own behaviour under stop timeouts of minutes, in milliseconds.

It follows the real stop sequence and proves nothing about any container (compare `engines/simulated.py`).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stop_harness import signals
from stop_harness.ecs_endpoint.containers import (
    NS_PER_S,
    Binding,
    ContainerProblem,
    ContainerRequest,
    EndpointClock,
    Exit,
    GroupRequest,
    Inspected,
    Machine,
)
from stop_harness.linux.disturbance import Disturbance
from stop_harness.model import Clock, EngineInfo, Event, EventKind, LogTail, ProcessInfo

EXIT_CODE_SIGKILL = 128 + signals.SIGKILL


@dataclass(frozen=True)
class ContainerScript:
    """How a container behaves.

    `leaves_after_s`: stop signal → exit, None: only by SIGKILL. `runs_for_s`: exits by itself. `lost_processes`: what
    SIGKILL ends when it exits, None: nobody can tell. The problems are what the engine answers to the pull, the start
    and every attempt of a stop.
    """

    leaves_after_s: float | None = 0.0
    exit_code: int = 0
    runs_for_s: float | None = None
    oom_killed: bool = False
    lost_processes: tuple[str, ...] | None = ()
    healthy_after_s: float | None = 0.0
    pulls_for_s: float | None = None
    starts_after_s: float = 0.0
    pull_problem: ContainerProblem | None = None
    start_problem: ContainerProblem | None = None
    stop_problem: ContainerProblem | None = None
    output: str = ""


class FastClock(EndpointClock):
    """Runs `speed` times as fast as the wall, and can be put forward."""

    def __init__(self, speed: float) -> None:
        self._speed, self._begin, self._base_ns = speed, time.monotonic(), time.time_ns()

    def now_ns(self) -> int:
        """The virtual time."""
        return self._base_ns + int((time.monotonic() - self._begin) * self._speed * NS_PER_S)

    def real_s(self, seconds: float) -> float:
        """Fewer."""
        return seconds / self._speed

    def advance(self, seconds: float) -> None:
        """Put the clock forward."""
        self._base_ns += int(seconds * NS_PER_S)


@dataclass
class _Simulated:
    script: ContainerScript
    started_ns: int | None = None
    exit_at_ns: int | None = None
    exit_code: int = 0
    events: list[Event] = field(default_factory=list)


class SimulatedContainers:
    """Runs the scripts given by container name; a container without one leaves at once with 0 when it is stopped."""

    def __init__(self, scripts: Mapping[str, ContainerScript], clock: FastClock) -> None:
        self._scripts, self._clock = scripts, clock
        self._all: dict[str, _Simulated] = {}
        self._images: set[str] = set()
        self._changed = threading.Condition()
        self._ids = itertools.count(1)
        self.requests: dict[str, ContainerRequest] = {}
        self.stop_calls: list[tuple[str, int]] = []
        """(container name, `t`) in the order of the calls."""
        self.removed: list[str] = []
        self.groups: list[GroupRequest] = []

    def has_image(self, image: str) -> bool:
        """Whether it was pulled, or belongs to a script that pulls nothing."""
        script = self._by_image(image)
        return image in self._images or (script.pulls_for_s is None and script.pull_problem is None)

    def pull(self, image: str) -> None:
        """Takes as long as the script says."""
        script = self._by_image(image)
        time.sleep(self._clock.real_s(script.pulls_for_s or 0))
        if script.pull_problem:
            raise script.pull_problem
        self._images.add(image)

    def open_group(self, request: GroupRequest) -> str:
        """Put on record."""
        self.groups.append(request)
        return f"{next(self._ids):064x}"

    def create(self, request: ContainerRequest) -> str:
        """Always works."""
        runtime_id = f"{next(self._ids):064x}"
        self.requests[runtime_id] = request
        self._all[runtime_id] = _Simulated(self._scripts.get(str(request.definition["name"]), ContainerScript()))
        return runtime_id

    def start(self, runtime_id: str) -> None:
        """Fails if the script says so."""
        it = self._all[runtime_id]
        time.sleep(self._clock.real_s(it.script.starts_after_s))
        if it.script.start_problem:
            raise it.script.start_problem
        with self._changed:
            it.started_ns, it.exit_at_ns = self._clock.now_ns(), None
            it.events.clear()
            if it.script.runs_for_s is not None:
                self._ends(it, it.script.runs_for_s, it.script.exit_code)

    def inspect(self, runtime_id: str) -> Inspected:
        """Ports as they were asked for; the default stop signal."""
        asked = self.requests[runtime_id].definition.get("portMappings", ())
        ports = [item for item in asked if "containerPort" in item]
        return Inspected(
            bindings=tuple(
                Binding(
                    item["containerPort"],
                    item.get("hostPort") or item["containerPort"],
                    item.get("protocol", "tcp"),
                    "127.0.0.1",
                )
                for item in ports
            )
        )

    def healthy(self, runtime_id: str) -> bool | None:
        """True from the scripted moment on; False for ever where the script has none."""
        it = self._all[runtime_id]
        if it.script.healthy_after_s is None or it.started_ns is None:
            return False
        return True if self._clock.now_ns() - it.started_ns >= it.script.healthy_after_s * NS_PER_S else None

    def wait(self, runtime_id: str) -> Exit:
        """Until the scripted end."""
        it = self._all[runtime_id]
        with self._changed:
            while it.exit_at_ns is None or self._clock.now_ns() < it.exit_at_ns:
                left_s = None if it.exit_at_ns is None else (it.exit_at_ns - self._clock.now_ns()) / NS_PER_S
                self._changed.wait(None if left_s is None else self._clock.real_s(max(left_s, 0)))
            return Exit(
                exit_code=it.exit_code,
                finished_at_ns=it.exit_at_ns,
                oom_killed=it.script.oom_killed,
                events=tuple(it.events),
                complete=True,
                lost_processes=it.script.lost_processes,
            )

    def stop(self, runtime_id: str, stop_timeout_s: int) -> None:
        """SIGTERM, the scripted reaction, else SIGKILL at the stop timeout."""
        it = self._all[runtime_id]
        with self._changed:
            self.stop_calls.append((str(self.requests[runtime_id].definition["name"]), stop_timeout_s))
            if it.script.stop_problem:
                raise it.script.stop_problem
            self._signal(it, signals.SIGTERM, 0)
            leaves_s = it.script.leaves_after_s
            if leaves_s is not None and leaves_s <= stop_timeout_s:
                self._ends(it, leaves_s, it.script.exit_code)
            elif it.exit_at_ns is None or it.exit_at_ns > self._clock.now_ns() + stop_timeout_s * NS_PER_S:
                self._signal(it, signals.SIGKILL, stop_timeout_s)
                self._ends(it, stop_timeout_s, EXIT_CODE_SIGKILL)
        self.wait(runtime_id)

    def logs(self, runtime_id: str) -> LogTail:
        """As scripted."""
        return LogTail(self._all[runtime_id].script.output)

    def processes(self, runtime_id: str) -> tuple[ProcessInfo, ...] | None:
        """PID 1, with a handler where the script leaves on SIGTERM."""
        it = self._all[runtime_id]
        if it.started_ns is None or (it.exit_at_ns is not None and it.exit_at_ns <= self._clock.now_ns()):
            return None
        caught = 0 if it.script.leaves_after_s is None else 1 << (signals.SIGTERM - 1)
        command = " ".join(self.requests[runtime_id].definition.get("command", ())) or "simulated"
        return (ProcessInfo(1, 0, command, caught=caught, ignored=0, blocked=0),)

    def engine(self) -> EngineInfo:
        """Proves nothing about any container."""
        return EngineInfo(
            name="simulated",
            product="simulated containers",
            version="1",
            host="",
            pid1_rules=True,
            whole_seconds=True,
            observes_sigkill=True,
            proves_lost_processes=all(it.lost_processes is not None for it in self._scripts.values()),
            reports_oom=True,
            runs_images=False,
        )

    def machine(self) -> Machine:
        """A small one."""
        return Machine(cpus=2, memory_mib=4096)

    def host_address(self) -> str | None:
        """Scripts run here."""
        return "127.0.0.1"

    def answers(self) -> bool:
        """Always."""
        return True

    def disturb(self, runtime_id: str, disturbance: Disturbance) -> Callable[[], None]:
        """There is no network."""
        raise ContainerProblem("CannotInspectContainerError", "simulated containers have no network")

    def remove(self, runtime_id: str) -> None:
        """Put on record."""
        self.removed.append(runtime_id)

    def close(self) -> tuple[str, ...]:
        """End whatever runs, so that its thread ends."""
        with self._changed:
            for it in self._all.values():
                self._ends(it, 0, EXIT_CODE_SIGKILL)
        return ()

    def _signal(self, it: _Simulated, number: int, after_s: float) -> None:
        at_ns = self._clock.now_ns() + int(after_s * NS_PER_S)
        it.events.append(Event(EventKind.SIGNAL_SENT, at_ns, Clock.ENGINE, "kill event", number))

    def _ends(self, it: _Simulated, after_s: float, exit_code: int) -> None:
        at_ns = self._clock.now_ns() + int(after_s * NS_PER_S)
        if it.exit_at_ns is None or at_ns < it.exit_at_ns:
            it.exit_at_ns, it.exit_code = at_ns, exit_code
        self._changed.notify_all()

    def _by_image(self, image: str) -> ContainerScript:
        return self._scripts.get(image.partition(":")[0], ContainerScript())
