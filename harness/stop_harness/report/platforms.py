"""What container platforms do by default when they stop a container: which signal, and how long until SIGKILL.

`checked` says that the number and the signal were compared on that day with a stored copy of the vendor's own page or
of the file it is built from (no live page was fetched, and the copy may be older than the page). Where only the number
could be found there, the note says so. `checked=None`: taken from what is commonly said, compared with nothing.
"""

from __future__ import annotations

from stop_harness.model import Platform

IMAGE_SIGNAL = "STOPSIGNAL, else SIGTERM"
"""Stop signal of platforms that honour the image's STOPSIGNAL. Any other value names the signal that is always sent."""

_CHECKED = "2026-11-23"
_ECS = "https://docs.aws.amazon.com/AmazonECS/latest/APIReference"

PLATFORMS: tuple[Platform, ...] = (
    Platform(
        name="Amazon ECS on EC2",
        stop_signal=IMAGE_SIGNAL,
        default_timeout_s=30,
        note="Set by stopTimeout in the task definition, else by ECS_CONTAINER_STOP_TIMEOUT of the agent.",
        source=f"{_ECS}/API_StopTask.html",
        checked=_CHECKED,
    ),
    Platform(
        name="Amazon ECS on Fargate",
        stop_signal=IMAGE_SIGNAL,
        default_timeout_s=30,
        note="stopTimeout up to 120 s. Fargate Spot warns two minutes ahead; stopTimeout still decides. That Fargate "
        "honours STOPSIGNAL (said to be so since December 2025, SIGTERM before) was not checked.",
        source=f"{_ECS}/API_ContainerDefinition.html",
        checked=_CHECKED,
    ),
    Platform(
        name="Kubernetes",
        stop_signal=IMAGE_SIGNAL,
        default_timeout_s=30,
        note="terminationGracePeriodSeconds. A preStop hook runs inside the same budget, before the stop signal.",
        source="https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/",
        checked=_CHECKED,
    ),
    Platform(
        name="Azure Container Apps",
        stop_signal=IMAGE_SIGNAL,
        default_timeout_s=30,
        note="terminationGracePeriodSeconds. The page says SIGTERM; STOPSIGNAL is taken from Kubernetes underneath.",
        source="https://learn.microsoft.com/azure/container-apps/application-lifecycle-management",
        checked=_CHECKED,
    ),
    Platform(
        name="Heroku",
        stop_signal="SIGTERM",
        default_timeout_s=30,
        note="Not configurable. The signal goes to every process of the dyno, not to PID 1 alone.",
        source="https://devcenter.heroku.com/articles/dyno-shutdown-behavior",
        checked=_CHECKED,
    ),
    Platform(
        name="Docker",
        stop_signal=IMAGE_SIGNAL,
        default_timeout_s=10,
        note="Set by --stop-timeout of the container or --timeout of the stop; Windows containers get 30 s.",
        source="https://docs.docker.com/reference/cli/docker/container/stop/",
        checked=_CHECKED,
    ),
    Platform(
        name="Docker Compose",
        stop_signal=IMAGE_SIGNAL,
        default_timeout_s=10,
        note="Set by stop_grace_period.",
        source="https://docs.docker.com/reference/compose-file/services/",
        checked=_CHECKED,
    ),
    Platform(
        name="Docker Swarm",
        stop_signal=IMAGE_SIGNAL,
        default_timeout_s=10,
        note="Set by --stop-grace-period of the service.",
        source="https://docs.docker.com/reference/cli/docker/service/create/",
        checked=None,
    ),
    Platform(
        name="Podman",
        stop_signal=IMAGE_SIGNAL,
        default_timeout_s=10,
        note="Set by --stop-timeout of the container or --time of the stop.",
        source="https://docs.podman.io/en/latest/markdown/podman-stop.1.html",
        checked=_CHECKED,
    ),
    Platform(
        name="Google Cloud Run",
        stop_signal="SIGTERM",
        default_timeout_s=10,
        note="Not configurable.",
        source="https://cloud.google.com/blog/topics/developers-practitioners/graceful-shutdowns-cloud-run-deep-dive",
        checked=_CHECKED,
    ),
    Platform(
        name="HashiCorp Nomad",
        stop_signal=IMAGE_SIGNAL,
        default_timeout_s=5,
        note="kill_timeout. The docker driver sends STOPSIGNAL; the other drivers send SIGINT.",
        source="https://developer.hashicorp.com/nomad/docs/job-specification/task",
        checked=_CHECKED,
    ),
    Platform(
        name="Fly.io",
        stop_signal="SIGINT",
        default_timeout_s=5,
        note="kill_signal and kill_timeout in fly.toml.",
        source="https://fly.io/docs/reference/configuration/",
        checked=_CHECKED,
    ),
)
"""Longest default first, Amazon ECS at the head; the order of the columns in reports."""
