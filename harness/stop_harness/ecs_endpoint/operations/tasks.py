"""Operations on tasks: run, start, stop, describe, list."""

from __future__ import annotations

import hashlib
import json
import uuid

from stop_harness.ecs.identifiers import is_name
from stop_harness.ecs.stop_timeouts import FARGATE
from stop_harness.ecs_endpoint import describe, engine_requests, lifecycle, network, validation
from stop_harness.ecs_endpoint.agent import Run
from stop_harness.ecs_endpoint.errors import EcsError, client_exception, invalid_parameter, quoted
from stop_harness.ecs_endpoint.operations import placement
from stop_harness.ecs_endpoint.paging import paged
from stop_harness.ecs_endpoint.records import EcsStatus, StopCode, new_task
from stop_harness.ecs_endpoint.state import ACTIVE, Cluster, ContainerInstance, DefinitionRevision, Endpoint, Json

MAX_COUNT = 10
MAX_DESCRIBED = 100
MAX_TOKENS = 10_000
MAX_REASON_LENGTH = 1024
"""The agent's limit; the API reference said 255 until about 2023 and gives no number today."""


# ── run and start ────────────────────────────────────────────────────────────────────────────────────────────────────


def run_task(endpoint: Endpoint, request: Json) -> Json:
    """Up to ten tasks at once. The same clientToken with the same request gives the same tasks."""
    count = request.get("count", 1)
    if not 1 <= count <= MAX_COUNT:
        raise invalid_parameter(f"count should be between 1 and {MAX_COUNT}, but was {count}")
    cluster = endpoint.cluster(request.get("cluster"))
    token, asked = (cluster.name, request.pop("clientToken", "")), _digest(request)
    if token[1] and token in endpoint.tokens:
        known, ids = endpoint.tokens[token]
        if known != asked:
            raise EcsError("ConflictException", "The clientToken was used with another request.")
        runs = [endpoint.agent.runs[task_id] for task_id in ids if task_id in endpoint.agent.runs]
    else:
        definition = endpoint.runnable_definition(request["taskDefinition"])
        placed = placement.placed(request, count, cluster.given.get("defaultCapacityProviderStrategy"))
        runs = []
        for where in placed:
            asked_there = {**request, **where}
            runs.append(
                new_run(endpoint, cluster, definition, asked_there, _instance_for(endpoint, cluster, asked_there))
            )
        _remember(endpoint, token, asked, runs)
    answer = {"tasks": [describe.task(run, tags=True) for run in runs], "failures": []}
    for run in runs:
        if run.id not in endpoint.agent.runs:
            endpoint.agent.launch(run)
    return answer


def _instance_for(endpoint: Endpoint, cluster: Cluster, request: Json) -> ContainerInstance | None:
    """None on Fargate. Raises InvalidParameterException where no instance takes new tasks."""
    if request.get("launchType") == FARGATE:
        return None
    found = endpoint.active_instance(cluster)
    if found is None:
        raise invalid_parameter("No Container Instances were found in your cluster.")
    return found


def _remember(endpoint: Endpoint, token: tuple[str, str], asked: str, runs: list[Run]) -> None:
    if token[1]:
        endpoint.tokens[token] = (asked, [run.id for run in runs])
    while len(endpoint.tokens) > MAX_TOKENS:
        del endpoint.tokens[next(iter(endpoint.tokens))]


def start_task(endpoint: Endpoint, request: Json) -> Json:
    """On the instances that are named; one that is unknown is MISSING, one that takes no new tasks INACTIVE."""
    cluster = endpoint.cluster(request.get("cluster"))
    definition = endpoint.runnable_definition(request["taskDefinition"])
    named: list[str] = request["containerInstances"]
    if not named:
        raise client_exception("Container Instances cannot be empty.")
    if len(named) > MAX_COUNT:
        raise invalid_parameter(f"containerInstances should have 1 to {MAX_COUNT} elements")
    runs, failures = [], []
    for text in named:
        _, instance = endpoint.find_instance(text, cluster)
        if instance is None or instance.status != ACTIVE:
            failures.append({"arn": text, "reason": "MISSING" if instance is None else "INACTIVE"})
        else:
            runs.append(new_run(endpoint, cluster, definition, request, instance))
    answer = {"tasks": [describe.task(run, tags=True) for run in runs], "failures": failures}
    for run in runs:
        endpoint.agent.launch(run)
    return answer


def new_run(
    endpoint: Endpoint,
    cluster: Cluster,
    definition: DefinitionRevision,
    request: Json,
    instance: ContainerInstance | None = None,
) -> Run:
    """A task that is not launched yet. `instance` None: on Fargate, or only to see whether it would be refused."""
    launch_type = request.get("launchType", "EC2")
    fargate = launch_type == FARGATE
    document = definition.document
    network.check(document, request.get("networkConfiguration"))
    if fargate and FARGATE not in validation.compatibilities(document):
        raise invalid_parameter("Task definition does not support launch_type FARGATE.")
    containers = _overridden(document["containerDefinitions"], request.get("overrides", {}))
    specs = validation.specs(containers, agent_stop_timeout=endpoint.settings.agent_stop_timeout, fargate=fargate)
    task_id = uuid.uuid4().hex
    arn = endpoint.arns.task(cluster.name, task_id)
    tags = request.get("tags", [])
    if request.get("propagateTags") == "TASK_DEFINITION":
        own = {tag.get("key") for tag in tags}
        tags = [*tags, *(tag for tag in definition.tags if tag.get("key") not in own)]
    run = Run(
        id=task_id,
        arn=arn,
        cluster=cluster.name,
        state=new_task(specs, endpoint.clock.now_ns()),
        requests={},
        details=_details(endpoint, cluster, definition, request, instance),
        tags=list(tags),
        network=request.get("networkConfiguration"),
        instance_id=instance.id if instance is not None else None,
    )
    for container in containers:
        name = container["name"]
        run.requests[name] = engine_requests.of_container(run, definition, container)
        run.container_ids[name] = endpoint.arns.container(cluster.name, task_id, str(uuid.uuid4()))
    run.shares = engine_requests.of_group(run, definition, containers)
    return run


def _details(
    endpoint: Endpoint,
    cluster: Cluster,
    definition: DefinitionRevision,
    request: Json,
    instance: ContainerInstance | None,
) -> Json:
    document, overrides = definition.document, request.get("overrides", {})
    launch_type = request.get("launchType", "EC2")
    fargate = launch_type == FARGATE
    by_name = {item.get("name"): item for item in overrides.get("containerOverrides", ())}
    names = [container["name"] for container in document["containerDefinitions"]]
    cpu = sum(container.get("cpu", 0) for container in document["containerDefinitions"])
    memory = sum(container.get("memory", 0) for container in document["containerDefinitions"])
    return {
        "attributes": [{"name": "ecs.cpu-architecture", "value": _architecture(endpoint, document, fargate=fargate)}],
        "availabilityZone": f"{endpoint.settings.region}a",
        "capacityProviderName": request.get("capacityProviderName"),
        "clusterArn": endpoint.arns.cluster(cluster.name),
        "containerInstanceArn": endpoint.arns.container_instance(cluster.name, instance.id) if instance else None,
        "cpu": overrides.get("cpu") or document.get("cpu") or str(cpu),
        "enableExecuteCommand": bool(request.get("enableExecuteCommand")),
        "ephemeralStorage": _ephemeral_storage(document, overrides, fargate=fargate),
        "group": request.get("group") or f"family:{definition.family}",
        "inferenceAccelerators": document.get("inferenceAccelerators", []),
        "launchType": launch_type,
        "memory": overrides.get("memory") or document.get("memory") or str(memory),
        "overrides": {
            **overrides,
            "containerOverrides": [by_name.get(name, {"name": name}) for name in names],
            "inferenceAcceleratorOverrides": overrides.get("inferenceAcceleratorOverrides", []),
        },
        "platformVersion": _platform_version(request.get("platformVersion")) if fargate else None,
        "platformFamily": "Linux" if fargate else None,
        "startedBy": request.get("startedBy"),
        "taskDefinitionArn": endpoint.arns.task_definition(definition.family, definition.revision),
    }


LATEST = "LATEST"
LATEST_PLATFORM_VERSION = "1.4.0"
"""What Fargate on Linux runs where nothing or LATEST is asked for; Amazon ECS, Fargate platform versions."""

EPHEMERAL_STORAGE_GIB = 20
"""What a task on Fargate has where it asks for none; Amazon ECS API, EphemeralStorage."""

_ARCHITECTURES = {"X86_64": "x86_64", "ARM64": "arm64", "aarch64": "arm64", "arm64": "arm64"}


def _platform_version(asked: str | None) -> str:
    return LATEST_PLATFORM_VERSION if asked in {None, "", LATEST} else str(asked)


def _architecture(endpoint: Endpoint, document: Json, *, fargate: bool) -> str:
    """What the definition asks for; without that, X86_64 on Fargate, and what the instance is on EC2."""
    own = "X86_64" if fargate else endpoint.machine.architecture
    return _ARCHITECTURES.get(document.get("runtimePlatform", {}).get("cpuArchitecture", own), "x86_64")


def _ephemeral_storage(document: Json, overrides: Json, *, fargate: bool) -> Json | None:
    found: Json | None = overrides.get("ephemeralStorage") or document.get("ephemeralStorage")
    return found or ({"sizeInGiB": EPHEMERAL_STORAGE_GIB} if fargate else None)


def _overridden(containers: list[Json], overrides: Json) -> list[Json]:
    by_name = {item.get("name"): item for item in overrides.get("containerOverrides", ())}
    names = {container["name"] for container in containers}
    for name in by_name:
        if name not in names:
            raise invalid_parameter(
                f"Override for container named {quoted(str(name))} is not a container in the TaskDefinition."
            )
    result = []
    for container in containers:
        change = by_name.get(container["name"], {})
        environment = {item["name"]: item for item in container.get("environment", ()) if "name" in item}
        environment.update({item["name"]: item for item in change.get("environment", ()) if "name" in item})
        plain = {key: change[key] for key in ("command", "cpu", "memory", "memoryReservation") if key in change}
        result.append({**container, **plain, "environment": list(environment.values())})
    return result


def _digest(request: Json) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


# ── stop ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def stop_task(endpoint: Endpoint, request: Json) -> Json:
    """Answers at once; the containers stop behind it."""
    cluster = endpoint.cluster(request.get("cluster"))
    _, run = endpoint.find_run(request["task"], cluster)
    if run is None:
        raise invalid_parameter("The referenced task was not found.")
    reason = request.get("reason", "")
    if len(reason) > MAX_REASON_LENGTH:
        raise invalid_parameter(f"reason should have at most {MAX_REASON_LENGTH} characters, but has {len(reason)}")
    state = endpoint.agent.request_stop(run, StopCode.USER_INITIATED, reason or lifecycle.STOPPED_BY_USER)
    return {"task": describe.task(run, state)}


# ── describe and list ────────────────────────────────────────────────────────────────────────────────────────────────


def describe_tasks(endpoint: Endpoint, request: Json) -> Json:
    """Stopped tasks for an hour; what is unknown is a failure MISSING."""
    cluster = endpoint.cluster(request.get("cluster"))
    named: list[str] = request["tasks"]
    if not named:
        raise invalid_parameter("Tasks cannot be empty.")
    if len(named) > MAX_DESCRIBED:
        raise invalid_parameter(f"Tasks cannot have more than {MAX_DESCRIBED} elements.")
    tags = "TAGS" in request.get("include", ())
    found, failures = [], []
    for text in dict.fromkeys(named):
        arn, run = endpoint.find_run(text, cluster)
        if run is None:
            failures.append({"arn": arn, "reason": "MISSING"})
        else:
            found.append(describe.task(run, tags=tags))
    return {"tasks": found, "failures": failures}


def list_tasks(endpoint: Endpoint, request: Json) -> Json:
    """By what is desired: a stopping task leaves the default list at once."""
    filters = {"containerInstance", "family", "serviceName", "desiredStatus", "launchType"} & request.keys()
    if "startedBy" in request and filters - {"desiredStatus"}:
        raise invalid_parameter("startedBy cannot be combined with other filters.")
    cluster = endpoint.cluster(request.get("cluster"))
    desired = request.get("desiredStatus", EcsStatus.RUNNING)
    service = endpoint.service(request["serviceName"], cluster) if "serviceName" in request else None
    if "family" in request and not is_name(request["family"]):
        raise invalid_parameter("Family contains invalid characters.")

    def matches(run: Run) -> bool:
        it = run.details
        family = it["taskDefinitionArn"].rpartition("/")[2].partition(":")[0]
        return (
            run.state.desired == desired
            and request.get("family") in {None, family}
            and request.get("launchType") in {None, it["launchType"]}
            and request.get("startedBy") in {None, it["startedBy"]}
            and (service is None or it["group"] == f"service:{service.name}")
            and request.get("containerInstance") in {None, run.instance_id, it["containerInstanceArn"]}
        )

    return paged("taskArns", [run.arn for run in endpoint.runs_of(cluster.name) if matches(run)], request)
