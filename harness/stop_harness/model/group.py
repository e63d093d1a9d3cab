"""What the containers of a group have beside a single one: an order, hooks, probes, and what they share."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from stop_harness.model.settings import AS_THE_IMAGE, ContainerSettings
from stop_harness.records import dataclass

BYTES_AS_HEX: Any = {"ser_json_bytes": "hex", "val_json_bytes": "hex"}
"""How a stored run writes bytes that need not be text."""


POD_ADDRESS = "{address of the pod}"
"""Stands in the environment, the commands and the files of a pod for its address, which is known once its network is
there (`status.podIP` of the downward API)."""


class GroupKind(StrEnum):
    """By whose rules a group is started and stopped."""

    COMPOSE = "compose"
    """Each container has a stop timeout of its own; what others depend on is told to stop after they have gone."""
    POD = "pod"
    """One budget for all: the hook before the stop, waiting for a turn, and the stop itself (kubelet)."""


@dataclass(frozen=True)
class Origin:
    """The files from which a subject is read, and what of them is stopped.

    `name`: a service of Compose, or a container of a pod; None: all of them are stopped, as `docker compose down` and
    the deletion of a pod do. `workload`: of the manifests, which object; None: there is only one. `profiles`: of
    Compose, beside those of the environment.
    """

    kind: GroupKind
    files: tuple[str, ...]
    name: str | None = None
    workload: str | None = None
    profiles: tuple[str, ...] = ()


class Role(StrEnum):
    """What a container is for in a pod; in a Compose project all are `main`."""

    MAIN = "main"
    INIT = "init"
    """Runs to its end, with exit code 0, before the next container of the pod starts."""
    SIDECAR = "sidecar"
    """An init container with `restartPolicy: Always`: it starts before the main containers, and is told to stop when
    they have gone, in the reverse order."""


class StartCondition(StrEnum):
    """What a container waits for before it starts; the words are Compose's without `service_`."""

    STARTED = "started"
    HEALTHY = "healthy"
    COMPLETED = "completed_successfully"


@dataclass(frozen=True)
class Dependency:
    """`member` comes first. `required` False: a failure of its condition is put on record and keeps nobody back."""

    member: str
    condition: StartCondition = StartCondition.STARTED
    required: bool = True


class HookKind(StrEnum):
    """What a hook does."""

    EXEC = "exec"
    """Runs a command in the container."""
    HTTP = "http"
    """Sends a GET request to the container's address. Its status does not matter, only whether an answer comes."""
    SLEEP = "sleep"
    """Lets time pass."""
    INVALID = "invalid"
    """Cannot be performed (`tcpSocket`): it fails, and the stop goes on."""


@dataclass(frozen=True)
class Hook:
    """Something done to a container after its start or before its stop: `postStart` and `preStop` of a pod,
    `post_start` and `pre_stop` of Compose.

    `command`, `user`, `privileged`, `working_directory` and `environment` belong to EXEC; None: as the container has
    it. `scheme`, `host`, `port`, `path` and `headers` belong to HTTP; `host` None: the container's address.
    """

    kind: HookKind
    command: tuple[str, ...] = ()
    user: str | None = None
    privileged: bool = False
    working_directory: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    scheme: str = "http"
    host: str | None = None
    port: int = 0
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    sleep_ns: int = 0


class ProbeKind(StrEnum):
    """How a probe of Kubernetes asks. GRPC asks the service grpc.health.v1.Health."""

    EXEC = "exec"
    HTTP = "http"
    TCP = "tcp"
    GRPC = "grpc"


@dataclass(frozen=True)
class Probe:
    """A readiness or startup probe of Kubernetes, with the fields of the kind that it has.

    `host` None: the pod's address. It has succeeded after `successes` answers in a row. Defaults are Kubernetes' own
    (pkg/apis/core/v1/defaults.go).
    """

    kind: ProbeKind
    command: tuple[str, ...] = ()
    scheme: str = "http"
    host: str | None = None
    port: int = 0
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    initial_delay_ns: int = 0
    period_ns: int = 10_000_000_000
    timeout_ns: int = 1_000_000_000
    successes: int = 1
    failures: int = 3


@dataclass(frozen=True)
class Attachment:
    """A container's place in a network of the group, with names beside its own by which others find it there."""

    network: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupNetwork:
    """A network that the group's containers find each other in, by name. `internal`: no way out of it."""

    name: str
    internal: bool = False


@dataclass(frozen=True)
class GivenFile:
    """A file that a volume begins with, from a ConfigMap or a Secret. `path` is relative to the volume."""

    __pydantic_config__ = BYTES_AS_HEX

    path: str
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class GroupVolume:
    """A volume that the group's containers share by its name; each trial has a fresh one.

    `folders` are made in it before anybody starts, relative to its root. `tmpfs`: it is memory, with these options of
    mount(8); None: it is on disk. `group_id`: owner group of its root (`fsGroup`); None: root's. `mode`: permissions of
    its root; None: a volume of Docker's, which begins with the content, owner and permissions that the image has there.
    """

    name: str
    files: tuple[GivenFile, ...] = ()
    tmpfs: str | None = None
    group_id: int | None = None
    mode: int | None = None
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class SharedNamespaces:
    """What all containers of a pod share, held by a container of ours that does nothing else.

    `settings` are those of that container: its host name, addresses of hosts, sysctls, size of /dev/shm. `network`
    False: the pod is in the network of its machine (`hostNetwork`).
    """

    network: bool = True
    pid: bool = False
    ipc: bool = True
    settings: ContainerSettings = AS_THE_IMAGE
