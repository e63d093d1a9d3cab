"""Spot interruptions: a notice, and two minutes later what a task runs on is gone.

On Fargate the notice is the stop: SIGTERM comes with it, and the task's stop code is SpotInterruption. An EC2 instance
drains where its agent was told to (ECS_ENABLE_SPOT_INSTANCE_DRAINING), so that the service scheduler stops the tasks of
services; tasks that stand alone, and all of them elsewhere, go with the instance (Amazon ECS developer guide, "Fargate
capacity providers", "Configuring Amazon ECS Linux container instances to receive Spot Instance notices").
"""

from __future__ import annotations

from stop_harness.ecs_endpoint import lifecycle
from stop_harness.ecs_endpoint.agent import Run
from stop_harness.ecs_endpoint.errors import invalid_parameter
from stop_harness.ecs_endpoint.records import NS_PER_S, SPOT_NOTICE_S, EcsStatus, Reclaim, StopCode
from stop_harness.ecs_endpoint.state import DRAINING, INACTIVE, Cluster, ContainerInstance, Endpoint

SPOT = "FARGATE_SPOT"


def interrupt_task(endpoint: Endpoint, run: Run) -> int:
    """Give a task of FARGATE_SPOT its notice. Returns when its time is over, in nanoseconds since the epoch.

    Raises InvalidParameterException for a task that no Spot interruption can come to.
    """
    if run.instance_id is not None:
        raise invalid_parameter(
            "The task runs on a container instance, and that is what a Spot interruption takes: POST to "
            f"/stop-harness/container-instances/{run.instance_id}/spot-interruption."
        )
    if run.details.get("capacityProviderName") != SPOT:
        raise invalid_parameter(f"The task does not run on {SPOT}: start it with that capacityProviderStrategy.")
    with endpoint.agent.lock:
        reclaim = _in_two_minutes(endpoint, lifecycle.SPOT_INTERRUPTED)
        endpoint.agent.reclaim(run, reclaim)
        endpoint.agent.request_stop(run, StopCode.SPOT_INTERRUPTION, lifecycle.SPOT_INTERRUPTED)
        return (run.state.reclaim or reclaim).at_ns


def interrupt_instance(endpoint: Endpoint, cluster: Cluster, it: ContainerInstance, *, drains: bool) -> int:
    """Give an instance its notice. `drains`: ECS_ENABLE_SPOT_INSTANCE_DRAINING. Returns when its time is over."""
    if it.status == INACTIVE:
        raise invalid_parameter("The container instance was terminated.")
    with endpoint.agent.lock:
        if it.reclaim is None:
            it.reclaim = _in_two_minutes(endpoint, f"Host EC2 (instance {it.ec2_instance_id}) terminated.")
        for run in endpoint.runs_of(cluster.name):
            if run.instance_id == it.id and run.state.last is not EcsStatus.STOPPED:
                endpoint.agent.reclaim(run, it.reclaim)
        if drains and it.status != DRAINING:
            it.status = DRAINING
            endpoint.instance_changed(cluster, it)
        return it.reclaim.at_ns


def take_away(endpoint: Endpoint) -> None:
    """Instances whose two minutes are over are gone."""
    with endpoint.agent.lock:
        now_ns = endpoint.clock.now_ns()
        for cluster in endpoint.clusters.values():
            for it in cluster.instances.values():
                if it.reclaim is not None and it.reclaim.at_ns <= now_ns and it.status != INACTIVE:
                    endpoint.end_instance(cluster, it, it.reclaim.reason)


def _in_two_minutes(endpoint: Endpoint, reason: str) -> Reclaim:
    return Reclaim(endpoint.clock.now_ns() + SPOT_NOTICE_S * NS_PER_S, reason)
