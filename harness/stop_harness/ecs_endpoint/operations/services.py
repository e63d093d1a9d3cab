"""Operations on services, as far as a rolling restart needs them; old tasks stop by the path of StopTask."""

from __future__ import annotations

import uuid

from stop_harness.ecs.identifiers import is_name
from stop_harness.ecs.stop_timeouts import FARGATE
from stop_harness.ecs_endpoint import describe, rollout
from stop_harness.ecs_endpoint.agent import Run
from stop_harness.ecs_endpoint.errors import EcsError, client_exception, invalid_parameter
from stop_harness.ecs_endpoint.identifiers import service_name
from stop_harness.ecs_endpoint.operations import placement, tasks
from stop_harness.ecs_endpoint.paging import page
from stop_harness.ecs_endpoint.records import NS_PER_S, EcsStatus, StopCode
from stop_harness.ecs_endpoint.state import (
    ACTIVE,
    DRAINING,
    INACTIVE,
    DefinitionRevision,
    Deployment,
    Endpoint,
    Json,
    Service,
    new_deployment_id,
)

MAX_EVENTS = 100
MAX_DESCRIBED = 10
MAX_BACKOFF_S = 60
"""A service whose tasks fail starts new ones ever more slowly, up to this."""

IMPAIRED_AFTER = 3
"""Failed tasks in a row until the service says that it cannot start them; AWS gives no number."""

_SHOWN = (
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "deploymentConfiguration",
    "placementConstraints",
    "placementStrategy",
    "networkConfiguration",
    "healthCheckGracePeriodSeconds",
    "enableECSManagedTags",
    "propagateTags",
)
"""Members of CreateService and UpdateService that come back as they were given."""


def create_service(endpoint: Endpoint, request: Json) -> Json:
    """REPLICA services with rolling updates."""
    cluster = endpoint.cluster(request.get("cluster"))
    name = request["serviceName"]
    if not is_name(name):
        raise invalid_parameter("Service names may have up to 255 letters, numbers, hyphens and underscores.")
    _refuse_what_is_missing(request)
    existing = endpoint.services.get((cluster.name, name))
    if existing is not None and existing.status != INACTIVE:
        raise invalid_parameter("Creation of service was not idempotent.")
    if "taskDefinition" not in request:
        raise invalid_parameter("TaskDefinition can not be blank.")
    if request.get("desiredCount") is None or request["desiredCount"] < 0:
        raise invalid_parameter("The desiredCount must be 0 or more.")
    now_ns = endpoint.clock.now_ns()
    definition = endpoint.runnable_definition(request["taskDefinition"])
    shown = {key: request[key] for key in _SHOWN if key in request}
    if "role" in request:
        shown["roleArn"] = request["role"]
    if not shown.get("capacityProviderStrategy"):
        shown.setdefault("launchType", "EC2")
    shown["deploymentConfiguration"] = _deployment_configuration(request, {})
    it = Service(name, cluster.name, request["desiredCount"], [], now_ns, shown, request.get("tags", []))
    (where,) = placement.placed(shown, 1)
    tasks.new_run(endpoint, cluster, definition, {**shown, **where})  # what a task of it would be refused for
    endpoint.services[cluster.name, name] = it
    _deploy(endpoint, it, definition)
    return {"service": describe.service(endpoint, it, tags=True)}


def update_service(endpoint: Endpoint, request: Json) -> Json:
    """desiredCount, taskDefinition, forceNewDeployment, deploymentConfiguration."""
    cluster = endpoint.cluster(request.get("cluster"))
    it = endpoint.service(request["service"], cluster)
    if it.status != ACTIVE:
        raise EcsError("ServiceNotActiveException", "Service was not ACTIVE.")
    _refuse_what_is_missing(request)
    count = request.get("desiredCount", it.desired_count)
    if count < 0:
        raise invalid_parameter("The desiredCount must be 0 or more.")
    wanted = it.primary.definition
    if "taskDefinition" in request:
        wanted = endpoint.runnable_definition(request["taskDefinition"])
    it.desired_count = count
    it.request.update({key: request[key] for key in _SHOWN if key in request})
    it.request["deploymentConfiguration"] = _deployment_configuration(request, it.request["deploymentConfiguration"])
    if wanted is not it.primary.definition or request.get("forceNewDeployment"):
        _deploy(endpoint, it, wanted)
    it.primary.updated_at_ns, it.steady = endpoint.clock.now_ns(), False
    return {"service": describe.service(endpoint, it)}


def describe_services(endpoint: Endpoint, request: Json) -> Json:
    """Up to ten."""
    cluster = endpoint.cluster(request.get("cluster"))
    if not request["services"]:
        raise invalid_parameter("Services cannot be empty.")
    if len(request["services"]) > MAX_DESCRIBED:
        raise invalid_parameter(f"Services cannot have more than {MAX_DESCRIBED} elements.")
    tags = "TAGS" in request.get("include", ())
    found, failures = [], []
    for text in request["services"]:
        name = service_name(text, cluster.name)
        it = endpoint.services.get((cluster.name, name))
        if it is None:
            failures.append({"arn": endpoint.arns.service(cluster.name, name), "reason": "MISSING"})
        else:
            found.append(describe.service(endpoint, it, tags=tags))
    return {"services": found, "failures": failures}


def list_services(endpoint: Endpoint, request: Json) -> Json:
    """Ten a page by default, as in ECS."""
    cluster = endpoint.cluster(request.get("cluster"))
    arns = [
        endpoint.arns.service(it.cluster, it.name)
        for it in endpoint.services.values()
        if it.cluster == cluster.name
        and it.status == ACTIVE
        and request.get("launchType") in {None, it.request["launchType"]}
        and request.get("schedulingStrategy", "REPLICA") == "REPLICA"
    ]
    chosen, token = page(arns, request, default=MAX_DESCRIBED)
    return {"serviceArns": chosen, "nextToken": token}


def delete_service(endpoint: Endpoint, request: Json) -> Json:
    """DRAINING until its tasks are gone."""
    cluster = endpoint.cluster(request.get("cluster"))
    it = endpoint.service(request["service"], cluster)
    if it.status == ACTIVE and it.desired_count > 0 and not request.get("force"):
        raise invalid_parameter("The service cannot be stopped while it is scaled above 0.")
    if it.status == ACTIVE:
        it.status, it.desired_count, it.steady = DRAINING, 0, True
    return {"service": describe.service(endpoint, it)}


def _refuse_what_is_missing(request: Json) -> None:
    if request.get("schedulingStrategy", "REPLICA") != "REPLICA":
        raise client_exception("stop-harness does not emulate DAEMON services.")
    if request.get("deploymentController", {}).get("type", "ECS") != "ECS":
        raise client_exception("stop-harness emulates the deployment controller ECS only.")
    if request.get("deploymentConfiguration", {}).get("strategy", "ROLLING") != "ROLLING":
        raise client_exception("stop-harness emulates the deployment strategy ROLLING only.")
    if request.get("loadBalancers") or request.get("serviceRegistries"):
        raise client_exception("stop-harness does not emulate load balancers and service registries.")


def _deployment_configuration(request: Json, before: Json) -> Json:
    defaults = {
        "maximumPercent": rollout.MAXIMUM_PERCENT,
        "minimumHealthyPercent": rollout.MINIMUM_HEALTHY_PERCENT,
        "strategy": "ROLLING",
    }
    result = {**defaults, **before, **request.get("deploymentConfiguration", {})}
    if (
        result["maximumPercent"] < 0
        or result["minimumHealthyPercent"] < 0
        or (result["maximumPercent"] <= 100 <= result["minimumHealthyPercent"])
    ):
        raise invalid_parameter("maximumPercent and minimumHealthyPercent leave no room to replace a task.")
    return result


def _deploy(endpoint: Endpoint, it: Service, definition: DefinitionRevision) -> None:
    now_ns = endpoint.clock.now_ns()
    it.deployments.insert(0, Deployment(new_deployment_id(), definition, now_ns, now_ns))
    it.steady = False
    endpoint.listener.deployment(it, it.primary, "SERVICE_DEPLOYMENT_IN_PROGRESS")


# ── what happens by itself ───────────────────────────────────────────────────────────────────────────────────────────


def reconcile(endpoint: Endpoint) -> None:
    """Bring every service one step nearer to what is desired."""
    with endpoint.agent.lock:
        for it in list(endpoint.services.values()):
            if it.status != INACTIVE:
                _reconcile(endpoint, it)


def _reconcile(endpoint: Endpoint, it: Service) -> None:
    runs = [run for run in endpoint.runs_of(it.cluster) if run.service == it.name]
    for run in runs:
        _note_failure(endpoint, it, run)
        if run.state.health == "UNHEALTHY" and run.state.desired is EcsStatus.RUNNING:
            reason = "Task failed container health checks"
            endpoint.agent.request_stop(run, StopCode.SERVICE_SCHEDULER_INITIATED, reason)
        if run.state.last is EcsStatus.PENDING and _is_drained(endpoint, run):
            _stop_one(endpoint, it, run)
    alive = [run for run in runs if run.state.desired is EcsStatus.RUNNING]
    configuration = it.request["deploymentConfiguration"]
    move = rollout.next_move(
        it.desired_count,
        tuple(_member(endpoint, it, run) for run in alive),
        minimum_percent=configuration["minimumHealthyPercent"],
        maximum_percent=configuration["maximumPercent"],
    )
    for run in (run for run in alive if run.id in move.stop):
        _stop_one(endpoint, it, run)
    if endpoint.clock.now_ns() >= it.primary.retry_at_ns:
        for _ in range(move.start):
            _start_one(endpoint, it)
    _finish(endpoint, it, runs)


def _member(endpoint: Endpoint, it: Service, run: Run) -> rollout.ServiceTask:
    """Draining an instance asks for its tasks to be replaced, as a deployment does; protection is not against that."""
    drained = _is_drained(endpoint, run)
    new = run.details["startedBy"] == it.primary.id and not drained
    return rollout.ServiceTask(run.id, new, _is_ready(run), run.is_protected(endpoint.clock.now_ns()) and not drained)


def _is_drained(endpoint: Endpoint, run: Run) -> bool:
    instance = endpoint.clusters[run.cluster].instances.get(run.instance_id or "")
    return instance is not None and instance.status != ACTIVE


def _stop_one(endpoint: Endpoint, it: Service, run: Run) -> None:
    reason = f"Scaling activity initiated by (deployment {it.primary.id})"
    endpoint.agent.request_stop(run, StopCode.SERVICE_SCHEDULER_INITIATED, reason)
    _tell(endpoint, it, f"(service {it.name}) has stopped 1 running tasks: (task {run.id}).")


def _start_one(endpoint: Endpoint, it: Service) -> None:
    """Where all instances drain, a new one comes, as with managed scaling; it is this machine once more."""
    (where,) = placement.placed(it.request, 1)
    request = {**it.request, **where, "group": f"service:{it.name}", "startedBy": it.primary.id}
    cluster = endpoint.clusters[it.cluster]
    instance = None
    if request.get("launchType") != FARGATE:
        instance = endpoint.active_instance(cluster) or endpoint.add_instance(cluster)
    if it.request.get("propagateTags") == "SERVICE":
        request["tags"] = list(it.tags)
    run = tasks.new_run(endpoint, cluster, it.primary.definition, request, instance)
    endpoint.agent.launch(run)
    _tell(endpoint, it, f"(service {it.name}) has started 1 tasks: (task {run.id}).")


def _note_failure(endpoint: Endpoint, it: Service, run: Run) -> None:
    """A task of the primary deployment that ended by itself makes the next start wait longer."""
    by_itself = run.state.stop_code in {StopCode.TASK_FAILED_TO_START, StopCode.ESSENTIAL_CONTAINER_EXITED}
    primary = it.primary
    if by_itself and run.details["startedBy"] == primary.id and run.id not in primary.failed_runs:
        primary.failed_runs.add(run.id)
        primary.failed_tasks += 1
        if primary.failed_tasks == IMPAIRED_AFTER:
            _tell(endpoint, it, f"(service {it.name}) is unable to consistently start tasks successfully.")
            endpoint.listener.service(it, "SERVICE_TASK_START_IMPAIRED")
        wait_s = min(MAX_BACKOFF_S, 2 ** min(primary.failed_tasks, 6) - 1)
        primary.retry_at_ns = endpoint.clock.now_ns() + wait_s * NS_PER_S


def _is_ready(run: Run) -> bool:
    checked = any(container.spec.has_health_check for container in run.state.containers if container.spec.essential)
    return run.state.last is EcsStatus.RUNNING and (not checked or run.state.health == "HEALTHY")


def _finish(endpoint: Endpoint, it: Service, runs: list[Run]) -> None:
    """Old deployments end with their last task; a draining service is INACTIVE when all of its are gone."""
    alive = [run for run in runs if run.state.desired is EcsStatus.RUNNING]
    busy = {run.details["startedBy"] for run in alive}
    if len(it.deployments) > 1:
        it.deployments = [one for one in it.deployments if one is it.primary or one.id in busy]
    ready = sum(_is_ready(run) for run in alive)
    if not it.steady and len(it.deployments) == 1 and ready == it.desired_count == len(alive):
        it.steady = True
        _tell(endpoint, it, f"(service {it.name}) has reached a steady state.")
        endpoint.listener.service(it, "SERVICE_STEADY_STATE")
        if not it.primary.completed:
            it.primary.completed = True
            endpoint.listener.deployment(it, it.primary, "SERVICE_DEPLOYMENT_COMPLETED")
    if it.status == DRAINING and all(run.state.last is EcsStatus.STOPPED for run in runs):
        it.status = INACTIVE


def _tell(endpoint: Endpoint, it: Service, message: str) -> None:
    event = {"id": str(uuid.uuid4()), "createdAt": endpoint.clock.now_ns(), "message": message}
    it.events = [event, *it.events][:MAX_EVENTS]
