"""What the endpoint remembers: clusters, task definitions, services, tasks; and how each is found again."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

from stop_harness.ecs_endpoint import identifiers
from stop_harness.ecs_endpoint.agent import Agent, Run
from stop_harness.ecs_endpoint.containers import Containers, EndpointClock
from stop_harness.ecs_endpoint.errors import EcsError, client_exception, invalid_parameter
from stop_harness.ecs_endpoint.identifiers import DEFAULT_CLUSTER, Arns
from stop_harness.ecs_endpoint.records import RETENTION_NS, EcsStatus, Reclaim

Json = dict[str, Any]
Tags = list[dict[str, str]]

ACTIVE, INACTIVE, DRAINING, DELETE_IN_PROGRESS = "ACTIVE", "INACTIVE", "DRAINING", "DELETE_IN_PROGRESS"


DEFAULT_ACCOUNT = "123456789012"
"""The account of the examples in most pages of AWS."""


@dataclass(frozen=True)
class EndpointSettings:
    """What a user may choose. `account`: twelve digits. `region`: of whoever signs for none.

    `agent_stop_timeout`: ECS_CONTAINER_STOP_TIMEOUT. `arn_selects_cluster`: a task ARN of another cluster than the
    request's selects that cluster, instead of being refused as ECS refuses it.
    """

    region: str = "us-east-1"
    account: str = DEFAULT_ACCOUNT
    agent_stop_timeout: str | None = None
    arn_selects_cluster: bool = False


@dataclass
class ContainerInstance:
    """One container instance. Whatever its name, it is this machine.

    `resources`, `versions`: `registeredResources` and `versionInfo` as they were registered, None: those of this
    machine. `reclaim` None: no Spot interruption was announced. `ended_at_ns`: when it became INACTIVE.
    """

    id: str
    ec2_instance_id: str
    registered_at_ns: int
    status: str = ACTIVE
    status_reason: str | None = None
    version: int = 1
    attributes: list[Json] = field(default_factory=list)
    tags: Tags = field(default_factory=list)
    resources: list[Json] | None = None
    versions: Json | None = None
    reclaim: Reclaim | None = None
    ended_at_ns: int | None = None

    def forgotten(self, now_ns: int) -> bool:
        """Whether it ended so long ago that the API no longer knows it."""
        return self.ended_at_ns is not None and now_ns - self.ended_at_ns > RETENTION_NS


@dataclass
class Cluster:
    """One cluster. It has one instance from the start, this machine; each that is registered is another name of it."""

    name: str
    status: str = ACTIVE
    tags: Tags = field(default_factory=list)
    settings: list[Json] = field(default_factory=list)
    given: Json = field(default_factory=dict)
    """What else CreateCluster said and comes back: capacity providers, Service Connect, configuration."""
    instances: dict[str, ContainerInstance] = field(default_factory=dict)
    """By id, in the order of their registration."""


@dataclass
class DefinitionRevision:
    """One revision. `document` is what was registered, in the API's shape."""

    family: str
    revision: int
    document: Json
    registered_at_ns: int
    tags: Tags = field(default_factory=list)
    status: str = ACTIVE
    deregistered_at_ns: int | None = None
    delete_requested_at_ns: int | None = None


@dataclass
class Deployment:
    """One rollout of a service."""

    id: str
    definition: DefinitionRevision
    created_at_ns: int
    updated_at_ns: int
    failed_tasks: int = 0
    retry_at_ns: int = 0
    failed_runs: set[str] = field(default_factory=set)
    completed: bool = False


@dataclass
class Service:
    """One service. The first deployment is the primary one, the others are being replaced."""

    name: str
    cluster: str
    desired_count: int
    deployments: list[Deployment]
    created_at_ns: int
    request: Json
    tags: Tags = field(default_factory=list)
    status: str = ACTIVE
    events: list[Json] = field(default_factory=list)
    steady: bool = False
    """Whether its steady state was told since the last change."""

    @property
    def primary(self) -> Deployment:
        """The deployment that is wanted."""
        return self.deployments[0]


class ChangeListener:
    """Is told of every change, under the endpoint's lock. This one does not care."""

    def of(self, _endpoint: Endpoint) -> ChangeListener:
        """The same for another endpoint, of another region."""
        return self

    def task(self, run: Run) -> None:
        """A new task, or one that has a new version."""

    def instance(self, cluster: Cluster, it: ContainerInstance) -> None:
        """An instance with a new version."""

    def service(self, it: Service, event_name: str) -> None:
        """A service action of EventBridge, such as SERVICE_STEADY_STATE."""

    def deployment(self, it: Service, deployment: Deployment, event_name: str) -> None:
        """A deployment's change of state, such as SERVICE_DEPLOYMENT_COMPLETED."""


class Endpoint:
    """All state, guarded by `agent.lock`."""

    def __init__(self, containers: Containers, clock: EndpointClock, settings: EndpointSettings | None = None) -> None:
        self.listener: ChangeListener = ChangeListener()
        self.settings = settings or EndpointSettings()
        self.clock, self.machine = clock, containers.machine()
        self.arns = Arns(self.settings.region, self.settings.account)
        self.clusters: dict[str, Cluster] = {}
        self.definitions: dict[str, dict[int, DefinitionRevision]] = {}
        self.services: dict[tuple[str, str], Service] = {}
        self.tokens: dict[tuple[str, str], tuple[str, list[str]]] = {}
        """(cluster, clientToken) → (the request, ids of the tasks it started)."""
        self.agent = Agent(containers, clock, self._task_changed)
        self.add_cluster(Cluster(DEFAULT_CLUSTER))

    def close(self) -> tuple[str, ...]:
        """Begin nothing new and remove every container. Gives what could not be removed."""
        self.agent.close()
        return self.agent.containers.close()

    # ── making things ──────────────────────────────────────────────────────────────────────────────────────────────

    def add_cluster(self, it: Cluster) -> Cluster:
        """With its instance, so that a task can be run at once."""
        self.clusters[it.name] = it
        self.add_instance(it)
        return it

    def add_instance(self, cluster: Cluster, ec2_instance_id: str | None = None, **given: Any) -> ContainerInstance:
        """One more name of this machine in a cluster."""
        ec2_instance_id = ec2_instance_id or f"i-{secrets.token_hex(9)[:17]}"
        it = ContainerInstance(uuid.uuid4().hex, ec2_instance_id, self.clock.now_ns(), **given)
        cluster.instances[it.id] = it
        self.listener.instance(cluster, it)
        return it

    def instance_changed(self, cluster: Cluster, it: ContainerInstance) -> None:
        """It has a new version."""
        it.version += 1
        self.listener.instance(cluster, it)

    def end_instance(self, cluster: Cluster, it: ContainerInstance, reason: str | None = None) -> None:
        """It is INACTIVE from now on: no task comes to it, and in an hour it is forgotten."""
        it.status, it.status_reason, it.ended_at_ns = INACTIVE, reason, self.clock.now_ns()
        self.instance_changed(cluster, it)

    def _task_changed(self, run: Run) -> None:
        """A task that begins or ends changes what is left of its instance."""
        self.listener.task(run)
        cluster = self.clusters[run.cluster]
        instance = cluster.instances.get(run.instance_id or "")
        if instance is not None and (run.state.version == 1 or run.state.last is EcsStatus.STOPPED):
            self.instance_changed(cluster, instance)

    # ── finding things ──────────────────────────────────────────────────────────────────────────────────────────────

    def cluster(self, text: str | None) -> Cluster:
        """Raises ClusterNotFoundException."""
        self.arns.require_own(text)
        cluster = self.clusters.get(identifiers.cluster_name(text))
        if cluster is None or cluster.status == INACTIVE:
            raise EcsError("ClusterNotFoundException", "Cluster not found.")
        return cluster

    def active_instance(self, cluster: Cluster) -> ContainerInstance | None:
        """Where the next task goes: the ACTIVE instance with the fewest tasks; None where there is none."""
        active = [it for it in cluster.instances.values() if it.status == ACTIVE]
        runs = [run.instance_id for run in self.runs_of(cluster.name) if run.state.last is not EcsStatus.STOPPED]
        return min(active, key=lambda it: runs.count(it.id), default=None)

    def find_instance(self, text: str, cluster: Cluster) -> tuple[str, ContainerInstance | None]:
        """(the ARN meant, the instance or None). Raises InvalidParameterException for an ARN of something else."""
        self.arns.require_own(text)
        instance_id = identifiers.container_instance_id(text, cluster.name)
        found = cluster.instances.get(instance_id)
        if found is not None and found.forgotten(self.clock.now_ns()):
            found = None
        return self.arns.container_instance(cluster.name, instance_id), found

    def find_run(self, text: str, cluster: Cluster) -> tuple[str, Run | None]:
        """(the ARN meant, the task or None). Raises InvalidParameterException for what cannot be a task."""
        lenient = self.settings.arn_selects_cluster
        self.arns.require_own(text)
        name, task_id = identifiers.task_id(text, cluster.name, arn_selects_cluster=lenient)
        run = self.agent.runs.get(task_id)
        if run is not None and (run.cluster != name or run.state.forgotten(self.clock.now_ns())):
            run = None
        return self.arns.task(name, task_id), run

    def runs_of(self, cluster: str) -> list[Run]:
        """The tasks of a cluster that can be described, oldest first."""
        now_ns = self.clock.now_ns()
        return [run for run in self.agent.runs.values() if run.cluster == cluster and not run.state.forgotten(now_ns)]

    def definition(self, text: str, missing: str) -> DefinitionRevision:
        """A revision, or the latest active one of a family. Raises ClientException with `missing`."""
        self.arns.require_own(text)
        family, revision = identifiers.task_definition(text)
        revisions = self.definitions.get(family, {})
        if revision is not None:
            found = revisions.get(revision)
        else:
            found = next((it for it in reversed(revisions.values()) if it.status == ACTIVE), None)
        if found is None:
            raise client_exception(missing)
        return found

    def runnable_definition(self, text: str) -> DefinitionRevision:
        """For RunTask and services."""
        found = self.definition(text, "TaskDefinition not found.")
        if found.status != ACTIVE:
            raise invalid_parameter("TaskDefinition is inactive")
        return found

    def service(self, text: str, cluster: Cluster) -> Service:
        """Raises ServiceNotFoundException."""
        self.arns.require_own(text)
        found = self.services.get((cluster.name, identifiers.service_name(text, cluster.name)))
        if found is None:
            raise EcsError("ServiceNotFoundException", "Service not found.")
        return found


def new_deployment_id() -> str:
    """`ecs-svc/` and nineteen digits."""
    return f"ecs-svc/{secrets.randbelow(9 * 10**18) + 10**18}"
