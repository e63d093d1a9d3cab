"""What the endpoint asks of a container engine: one narrow interface, with Docker and scripts behind it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from stop_harness import signals
from stop_harness.linux.disturbance import Disturbance
from stop_harness.model import EngineInfo, Event, LogTail, ProcessFate, ProcessInfo

NS_PER_S = 1_000_000_000


class ContainerProblem(Exception):
    """What the agent reports as a container's `reason`: `<ErrorName>: <text>`. `final`: another attempt is useless."""

    def __init__(self, name: str, text: str, *, final: bool = False) -> None:
        super().__init__(f"{name}: {text}")
        self.reason, self.final = f"{name}: {text}", final


@dataclass(frozen=True)
class GroupRequest:
    """What the containers of one task share, and what of it belongs to no single one of them.

    `definitions`: their container definitions with the overrides applied. `network`, `pid`, `ipc`: the namespaces that
    they have in common. `publish_ports`: their ports are published, on this machine's loopback address. `nano_cpus` and
    `memory_mib`: of all of them together; None: no limit.
    """

    name: str
    definitions: tuple[dict[str, Any], ...]
    labels: dict[str, str]
    network: bool = True
    pid: bool = False
    ipc: bool = False
    publish_ports: bool = False
    nano_cpus: int | None = None
    memory_mib: int | None = None


@dataclass(frozen=True)
class ContainerRequest:
    """One container to create. `definition` is its container definition with the overrides applied.

    `links` are (runtime id, alias), `volumes_from` (runtime id, read only); `volumes` maps a task volume's name to
    its host path, or to what distinguishes the engine's volume behind it. `nano_cpus`, `memory_mib`: limits of the
    whole task, which no container of it can exceed; None: none. `group`: the id of what it shares with others, as
    `open_group` gave it; None: nothing.
    """

    name: str
    definition: dict[str, Any]
    labels: dict[str, str]
    publish_ports: bool = False
    links: tuple[tuple[str, str], ...] = ()
    volumes_from: tuple[tuple[str, bool], ...] = ()
    volumes: tuple[tuple[str, str], ...] = ()
    pid_mode: str | None = None
    ipc_mode: str | None = None
    network_mode: str | None = None
    nano_cpus: int | None = None
    memory_mib: int | None = None
    group: str | None = None


@dataclass(frozen=True)
class Machine:
    """What container instances are: the machine of the container engine. `architecture` as in Docker's own /info."""

    cpus: int
    memory_mib: int
    architecture: str = "x86_64"


@dataclass(frozen=True)
class Binding:
    """A published port."""

    container_port: int
    host_port: int
    protocol: str
    host_ip: str


@dataclass(frozen=True)
class Inspected:
    """What the engine says of a container that was just started. `image_digest`: `sha256:…`, None where the image
    comes from no registry. `stop_signal_source`: `image`, or `default` where the engine takes its own. `address`: its
    IPv4 address, None where it has none."""

    image_digest: str | None = None
    bindings: tuple[Binding, ...] = ()
    stop_signal: int = signals.SIGTERM
    stop_signal_source: str = "default"
    address: str | None = None


@dataclass(frozen=True)
class Exit:
    """How a container ended. `events`: the signals and OOM kills that the engine put on record.

    `exit_code` and `finished_at_ns` are None where the engine has none. `complete`: a missing event proves something.
    `lost_processes`: those that SIGKILL ended silently during the stop, None where nobody could look. `fates` and
    `fate_count`: how every process ended, as in `StopRecord`.
    """

    exit_code: int | None
    finished_at_ns: int | None = None
    oom_killed: bool = False
    reason: str | None = None
    events: tuple[Event, ...] = ()
    complete: bool = False
    lost_processes: tuple[str, ...] | None = None
    fates: tuple[ProcessFate, ...] | None = None
    fate_count: int | None = None


class Containers(Protocol):
    """A container engine. Every method may be called from many threads; failures are ContainerProblems."""

    def has_image(self, image: str) -> bool:
        """Whether a container of it can be created without pulling."""

    def pull(self, image: str) -> None:
        """Fetch an image."""

    def open_group(self, request: GroupRequest) -> str:
        """Make what containers are to share, and return its runtime id. `remove` ends it, after all of them."""

    def disturb(self, runtime_id: str, disturbance: Disturbance) -> Callable[[], None]:
        """Disturb packets in the network that a group shares, or of a container alone. Returns what ends it, once.
        Raises ContainerProblem or CannotDisturb, and what ends it the latter."""

    def create(self, request: ContainerRequest) -> str:
        """Create a container and return its runtime id."""

    def start(self, runtime_id: str) -> None:
        """Start it, or start it again after its end."""

    def inspect(self, runtime_id: str) -> Inspected:
        """What is known of it once it runs."""

    def healthy(self, runtime_id: str) -> bool | None:
        """What its health check says; None before it said anything."""

    def wait(self, runtime_id: str) -> Exit:
        """Return when it has ended."""

    def stop(self, runtime_id: str, stop_timeout_s: int) -> None:
        """The engine's own stop call: stop signal, wait, SIGKILL. Returns when it is over."""

    def logs(self, runtime_id: str) -> LogTail:
        """The end of its output, a bounded amount, for as long as it is there."""

    def processes(self, runtime_id: str) -> tuple[ProcessInfo, ...] | None:
        """Its process table with signal masks; None where nothing runs or the engine cannot tell."""

    def engine(self) -> EngineInfo:
        """What runs the containers, and what it can prove."""

    def machine(self) -> Machine:
        """Where they run. Raises EngineError."""

    def host_address(self) -> str | None:
        """Under which containers reach this machine, if it is its own; None: not known."""

    def answers(self) -> bool:
        """Whether the engine is there at all."""

    def remove(self, runtime_id: str) -> None:
        """Forced remove; gone already is as good."""

    def close(self) -> tuple[str, ...]:
        """Remove everything of this run and end helpers. Gives what could not be removed."""


class EndpointClock:
    """The endpoint's clock: nanoseconds since the epoch."""

    def now_ns(self) -> int:
        """The time now."""
        return time.time_ns()

    def real_s(self, seconds: float) -> float:
        """How long to sleep for so many seconds of this clock."""
        return seconds
