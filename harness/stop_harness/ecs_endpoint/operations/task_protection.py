"""Scale-in protection: the service scheduler takes no protected task, for scale-in or for a deployment.

StopTask, a drained instance and a Spot interruption stop it all the same (Amazon ECS developer guide, "Protect your
Amazon ECS tasks from being terminated by scale-in events").
"""

from __future__ import annotations

from stop_harness.ecs_endpoint.agent import Run
from stop_harness.ecs_endpoint.errors import invalid_parameter
from stop_harness.ecs_endpoint.records import NS_PER_S, EcsStatus
from stop_harness.ecs_endpoint.state import Cluster, Endpoint, Json

DEFAULT_MINUTES, MOST_MINUTES = 120, 2880
MAX_UPDATED, MAX_READ = 10, 100
"""API reference, UpdateTaskProtection and GetTaskProtection."""

NO_SERVICE = "Only running tasks of a service can be protected."
BLOCKED = "The service has more protected tasks than its desired count, which keeps its deployment from its end."


def update_task_protection(endpoint: Endpoint, request: Json) -> Json:
    """Again for a protected task: its time counts anew."""
    minutes = request.get("expiresInMinutes", DEFAULT_MINUTES)
    if not 1 <= minutes <= MOST_MINUTES:
        raise invalid_parameter(f"expiresInMinutes should be between 1 and {MOST_MINUTES}, but was {minutes}")
    cluster = endpoint.cluster(request["cluster"])
    named = request["tasks"]
    if not named:
        raise invalid_parameter("Tasks cannot be empty.")
    found, failures = _service_tasks(endpoint, cluster, named, MAX_UPDATED)
    now_ns, done = endpoint.clock.now_ns(), []
    for run in found:
        if request["protectionEnabled"] and _is_blocked(endpoint, cluster, run):
            failures.append({"arn": run.arn, "reason": "DEPLOYMENT_BLOCKED", "detail": BLOCKED})
            continue
        run.protected_until_ns = now_ns + minutes * 60 * NS_PER_S if request["protectionEnabled"] else None
        done.append(_shown(endpoint, run))
    return {"protectedTasks": done, "failures": failures}


def get_task_protection(endpoint: Endpoint, request: Json) -> Json:
    """Of the tasks that are named, else of every task of the cluster's services."""
    cluster = endpoint.cluster(request["cluster"])
    named = request.get("tasks") or [run.arn for run in endpoint.runs_of(cluster.name) if _can_be_protected(run)]
    found, failures = _service_tasks(endpoint, cluster, named, MAX_READ if request.get("tasks") else len(named))
    return {"protectedTasks": [_shown(endpoint, run) for run in found], "failures": failures}


def _service_tasks(endpoint: Endpoint, cluster: Cluster, named: list[str], most: int) -> tuple[list[Run], list[Json]]:
    """(running tasks of services, failures for the others)."""
    if len(named) > most:
        raise invalid_parameter(f"Tasks cannot have more than {most} elements.")
    found, failures = [], []
    for text in dict.fromkeys(named):
        arn, run = endpoint.find_run(text, cluster)
        if run is None:
            failures.append({"arn": arn, "reason": "MISSING"})
        elif not _can_be_protected(run):
            failures.append({"arn": arn, "reason": "TASK_NOT_VALID", "detail": NO_SERVICE})
        else:
            found.append(run)
    return found, failures


def _can_be_protected(run: Run) -> bool:
    return run.service is not None and run.state.desired is EcsStatus.RUNNING


def _is_blocked(endpoint: Endpoint, cluster: Cluster, run: Run) -> bool:
    """Whether one more protected task would be one more than the service wants."""
    service = endpoint.services.get((cluster.name, run.service or ""))
    now_ns = endpoint.clock.now_ns()
    others = [
        it
        for it in endpoint.runs_of(cluster.name)
        if it.service == run.service and it is not run and it.is_protected(now_ns)
    ]
    return service is not None and len(others) + 1 > service.desired_count and not run.is_protected(now_ns)


def _shown(endpoint: Endpoint, run: Run) -> Json:
    protected = run.is_protected(endpoint.clock.now_ns())
    expires_ns = run.protected_until_ns if protected else None
    return {"taskArn": run.arn, "protectionEnabled": protected, "expirationDate": expires_ns}
