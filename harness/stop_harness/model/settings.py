"""What a container is given by whoever starts it, beside its image, command and environment."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.model.outcome import Outcome
from stop_harness.records import dataclass

NO_CHECK = "NONE"
"""First word of the test of a health check that takes the image's own away; Docker Engine API: `Healthcheck.Test`."""


class MountKind(StrEnum):
    """What is mounted, in the words of the Docker Engine API."""

    BIND = "bind"
    VOLUME = "volume"
    TMPFS = "tmpfs"


@dataclass(frozen=True)
class Mount:
    """One file system in the container.

    `source`: of a bind mount the path of the file or folder on this machine; of a volume its name, which is the
    subject's own: each trial has a fresh one. None: a volume without a name, or a tmpfs. `options`: of a tmpfs, as
    mount(8) has them, such as `size=64m,mode=1777`. `subpath`: the file or folder of a group's volume that is mounted
    instead of its root.
    """

    kind: MountKind
    target: str
    source: str | None = None
    read_only: bool = False
    options: str = ""
    subpath: str = ""


@dataclass(frozen=True)
class Ulimit:
    """A resource limit of setrlimit(2), by its name without `RLIMIT_`, in lower case. -1: unlimited."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True)
class HealthCheck:
    """A health check in place of the image's. `test`: `CMD` and words, `CMD-SHELL` and a line, or `NONE` for no check;
    empty: the image's own test, at other times. None: the engine's own default (30 s, 30 s, 3 times, 0 s)."""

    test: tuple[str, ...]
    interval_ns: int | None = None
    timeout_ns: int | None = None
    start_period_ns: int | None = None
    retries: int | None = None

    @property
    def checks(self) -> bool:
        """Whether there is anything to check."""
        return self.test[:1] != (NO_CHECK,)


@dataclass(frozen=True)
class ContainerSettings:
    """Settings that `docker run` has options for; the names are Compose's. None, False and empty: as the engine and the
    image have it.

    `env_files` are on record only: their variables stand in the subject's environment. `memory_swap_bytes`: memory and
    swap together, -1 for as much swap as there is. `nano_cpus`: 10⁹ for each CPU. `cpu_shares`: weight against others
    when CPUs are short, 1024 unless said otherwise. `pid`, `ipc`, `network`: a namespace of the engine's machine
    (`host`), none, or, of `network`, one that the engine knows by this name. `extra_hosts`: name and address.
    `platform`: `os/architecture[/variant]`.
    """

    tty: bool = False
    stdin_open: bool = False
    env_files: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    read_only: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    privileged: bool = False
    ulimits: tuple[Ulimit, ...] = ()
    nano_cpus: int | None = None
    cpu_shares: int | None = None
    memory_swap_bytes: int | None = None
    shm_size_bytes: int | None = None
    pid: str | None = None
    ipc: str | None = None
    network: str | None = None
    hostname: str | None = None
    extra_hosts: tuple[tuple[str, str], ...] = ()
    healthcheck: HealthCheck | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    platform: str | None = None


AS_THE_IMAGE = ContainerSettings()
"""Nothing is set."""


@dataclass(frozen=True)
class NotApplied:
    """Something that a file asks for and the stop was measured without.

    `what`: the key, and what it says, such as `services.web.depends_on (db)`. `may_change`: what it may change about
    a stop, the rest of a sentence. `doubts`: outcomes that may be others with it; empty: no outcome hangs on it.
    `limit_of_group`: a limit of several containers together, which some engines can apply (`EngineInfo.applies`): one
    of CPU, or with `of_memory` of memory.
    """

    what: str
    may_change: str
    doubts: tuple[Outcome, ...] = ()
    limit_of_group: bool = False
    of_memory: bool = False
