"""What is stopped: a container, a task of Amazon ECS, or a group of containers."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from stop_harness.model.group import (
    Attachment,
    Dependency,
    GroupKind,
    GroupNetwork,
    GroupVolume,
    Hook,
    Origin,
    Probe,
    Role,
    SharedNamespaces,
)
from stop_harness.model.settings import AS_THE_IMAGE, ContainerSettings
from stop_harness.records import dataclass

ECS_STOP_TIMEOUT_S = 30
"""Default stop timeout of Amazon ECS (`ECS_CONTAINER_STOP_TIMEOUT`); the line that compliance is measured against.
Source: AWS CLI reference, `ecs stop-task`."""


class Form(StrEnum):
    """In which form somebody has written down what is stopped: where a change is to be made."""

    IMAGE = "image"
    """An image or a folder, which may be used anywhere."""
    COMPOSE = "compose"
    KUBERNETES = "kubernetes"
    TASK = "task"
    """A task definition of Amazon ECS."""


@dataclass(frozen=True)
class TaskContainer:
    """One container definition of a task, as far as its stop is concerned.

    `waits_for`: containers that must have stopped before this one is told to, i.e. those that name it in `dependsOn`,
    `links` or `volumesFrom`, or log through it. `stop_timeout_s` is what applies: `stopTimeout`, else the default of
    30 s. `own_stop_timeout_s` is `stopTimeout` as written, None where it is not. `ends_first`: others start only when
    it has ended (COMPLETE, SUCCESS), so that a running task need not stop it.
    """

    name: str
    image: str
    essential: bool = True
    waits_for: tuple[str, ...] = ()
    stop_timeout_s: int = ECS_STOP_TIMEOUT_S
    own_stop_timeout_s: int | None = None
    ends_first: bool = False


@dataclass(frozen=True)
class TaskDefinition:
    """A task definition of Amazon ECS. `document` is JSON with the members of RegisterTaskDefinition and nothing else.

    `fargate`: it asks for Fargate, so that Fargate's limits apply.
    """

    family: str
    document: str
    containers: tuple[TaskContainer, ...]
    fargate: bool = False


@dataclass(frozen=True)
class ExistingContainer:
    """A container that somebody else started, as the engine described it when it was asked for.

    `name` without the slash. `started_at`: ISO 8601, by the engine's clock; empty where the engine does not say.
    `auto_remove`: the engine removes it as soon as it ends (`--rm`). `managed_by`: who starts another one in its place,
    such as `Docker Swarm`, by its labels; empty where nobody is known. `restart`: it is started again after each stop.
    """

    id: str
    name: str
    started_at: str = ""
    auto_remove: bool = False
    managed_by: str = ""
    restart: bool = False


@dataclass(frozen=True)
class Subject:
    """What is stopped. Exactly one of `image`, `build_directory`, `task_file`, `group` and `container` is set; none as
    long as `origin` was not read.

    `container`: one that runs already, which is neither made nor removed. `image` is then what it was made from and
    `environment` what it was given beside that, and nothing else is set.

    `task_file` is the path of a task definition and `task` its content (None until the file was read);
    `task_images` replaces images in it, by container name; `task_name` chooses one of several in the file, and
    `task_parameters` are those of a template, kept only until the file was read.

    `group`: a Compose project or a pod; its members have what the other fields say of a single container. `origin`: the
    files of a Compose project or of manifests that it was read from; a service that needs nobody is an image or a build
    folder as any other.

    `target`: the stage of the Dockerfile that is built, by name or number; None: the last. `entrypoint` and `command`
    are None where the image's own apply. `ports` maps container port to a fixed host
    port, None meaning that the engine picks a free one. `memory_bytes`, `pids_limit` (processes and threads) None: no
    limit of ours. `settings`: everything else that a container is started with.
    """

    image: str | None = None
    build_directory: str | None = None
    dockerfile: str | None = None
    build_args: tuple[tuple[str, str], ...] = ()
    target: str | None = None
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    environment: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    working_directory: str | None = None
    ports: tuple[tuple[int, int | None], ...] = ()
    init: bool = False
    memory_bytes: int | None = None
    pids_limit: int | None = None
    task_file: str | None = None
    task_images: tuple[tuple[str, str], ...] = ()
    task_name: str | None = None
    task_parameters: tuple[tuple[str, str], ...] = ()
    task: TaskDefinition | None = None
    settings: ContainerSettings = AS_THE_IMAGE
    group: Group | None = None
    origin: Origin | None = None
    container: ExistingContainer | None = None

    @property
    def form(self) -> Form:
        """The form in which it was written down."""
        if self.task is not None or self.task_file is not None:
            return Form.TASK
        kinds = {it.kind for it in (self.group, self.origin) if it is not None}
        if not kinds:
            return Form.IMAGE
        return Form.KUBERNETES if GroupKind.POD in kinds else Form.COMPOSE

    @property
    def alone(self) -> Subject | None:
        """What the only container runs that is stopped: itself, or that service of a project. None: several are, as of
        a task, a whole project and any pod."""
        if self.task is not None or self.task_file is not None:
            return None
        if self.group is None:
            return self
        name = self.group.stopped if self.group.kind is GroupKind.COMPOSE else None
        return None if name is None else self.group.member(name).subject

    def with_alone(self, changed: Subject) -> Subject:
        """With that in the place of `alone`."""
        if self.group is None or self.group.stopped is None:
            return changed
        return self.with_member(replace(self.group.member(self.group.stopped), subject=changed))

    def with_member(self, changed: Member) -> Subject:
        """A group with that member in the place of the one of its name."""
        if self.group is None:
            return self
        members = tuple(changed if member.name == changed.name else member for member in self.group.members)
        return replace(self, group=replace(self.group, members=members))


@dataclass(frozen=True)
class Member:
    """One container of a group (one service, of which `replicas` are the same).

    `subject` is what it runs: an image or a folder to build, with its settings. Never a task or another group.

    `stop_signal` None: the image's STOPSIGNAL, else SIGTERM. `stop_timeout_ns` None: the group's. `waits_for`: what
    starts before it; in a pod the order of `Group.members` and the roles say that. `links`: (member, name by which only
    this container finds it, beside the names that all know). `network_of`, `pid_of`, `ipc_of`:
    the member whose namespace it joins (`network_mode: service:NAME`). `ready`: what must have succeeded before the
    pod counts as ready; a health check stands in `subject.settings`. `groups`: supplementary groups of its processes,
    by number or name (Docker: `HostConfig.GroupAdd`). `not_as_root`: a kubelet refuses to start it as user 0, or as an
    image's user that is no number (`runAsNonRoot`). `services`: what sends it traffic (Services of the same file).
    `place`: `file:line:column` where it stands, for messages.
    """

    name: str
    subject: Subject
    role: Role = Role.MAIN
    stop_signal: str | None = None
    stop_timeout_ns: int | None = None
    waits_for: tuple[Dependency, ...] = ()
    replicas: int = 1
    container_name: str | None = None
    networks: tuple[Attachment, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    network_of: str | None = None
    pid_of: str | None = None
    ipc_of: str | None = None
    volumes_from: tuple[str, ...] = ()
    after_start: tuple[Hook, ...] = ()
    before_stop: tuple[Hook, ...] = ()
    started: Probe | None = None
    ready: Probe | None = None
    groups: tuple[str, ...] = ()
    not_as_root: bool = False
    services: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True)
class Group:
    """Containers that belong together. `source`: path of the file that they were read from, for messages.

    `members` in the order in which the file has them; in a pod that is their order of start. `stopped`: the only
    member whose container is stopped while the others run on; None: all are, in order. `grace_ns`: of a pod, the budget
    of the whole stop; of a Compose project what applies to a member without a stop timeout of its own, the engine's
    default of 10 s. `shared` None: each container has its own namespaces.
    """

    kind: GroupKind
    name: str
    members: tuple[Member, ...]
    source: str = ""
    stopped: str | None = None
    grace_ns: int = 10_000_000_000
    networks: tuple[GroupNetwork, ...] = ()
    volumes: tuple[GroupVolume, ...] = ()
    shared: SharedNamespaces | None = None

    def member(self, name: str) -> Member:
        """The member of that name. Raises KeyError."""
        for member in self.members:
            if member.name == name:
                return member
        raise KeyError(name)
