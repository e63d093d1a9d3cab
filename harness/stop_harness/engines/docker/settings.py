"""`subject.settings` of a scenario in the words of the Docker SDK and the Engine API."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from stop_harness.engines.docker import sdk
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import RUN_LABEL
from stop_harness.model import ContainerSettings, HealthCheck, Mount, MountKind, Trial


def arguments(it: ContainerSettings, trial: Trial, labels: dict[str, str], host: DockerHost) -> dict[str, Any]:
    """`subject.settings` as arguments of the SDK's create call. None: as the engine and the image have it."""
    # Podman's default network has another name; naming Docker's saves a look-up.
    network = it.network or (None if host.podman else "bridge")
    return {
        "tty": it.tty or None,
        "stdin_open": it.stdin_open or None,
        "mounts": [_mount(mount, trial, labels) for mount in it.mounts if mount.kind is not MountKind.TMPFS] or None,
        "tmpfs": {mount.target: _tmpfs_options(mount) for mount in it.mounts if mount.kind is MountKind.TMPFS} or None,
        "read_only": it.read_only or None,
        "cap_add": list(it.cap_add) or None,
        "cap_drop": list(it.cap_drop) or None,
        "security_opt": list(it.security_opt) or None,
        "privileged": it.privileged or None,
        "ulimits": [sdk.types.Ulimit(name=limit.name, soft=limit.soft, hard=limit.hard) for limit in it.ulimits]
        or None,
        "nano_cpus": it.nano_cpus,
        "cpu_shares": it.cpu_shares,
        "shm_size": it.shm_size_bytes,
        "pid_mode": it.pid,
        "ipc_mode": it.ipc,
        "hostname": it.hostname,
        "extra_hosts": dict(it.extra_hosts) or None,
        "healthcheck": None if it.healthcheck is None else _health_check(it.healthcheck),
        "sysctls": dict(it.sysctls) or None,
        "platform": it.platform,
        # The host's network is joined, not connected to.
        "network_mode" if it.network == "host" else "network": network,
        **({} if it.memory_swap_bytes is None else {"memswap_limit": it.memory_swap_bytes}),
    }


def volume_name(trial: Trial, labels: dict[str, str], name: str) -> str:
    """The engine's name for a subject's own volume: another one in each trial, so that none sees what one left."""
    whose = hashlib.sha256(trial.trial_id.encode()).hexdigest()[:12]
    return f"stop-harness-{labels[RUN_LABEL]}-{whose}-{name}"


def _mount(mount: Mount, trial: Trial, labels: dict[str, str]) -> dict[str, Any]:
    """As the API has it; the SDK's own class knows no volume without a name. Volumes carry our labels, so that the
    reaper finds them."""
    made: dict[str, Any] = {"Type": str(mount.kind), "Target": mount.target, "ReadOnly": mount.read_only}
    if mount.kind is MountKind.BIND:
        return {**made, "Source": os.path.realpath(mount.source or "")}
    if mount.source is not None:
        made["Source"] = volume_name(trial, labels, mount.source)
    part = {"Subpath": mount.subpath} if mount.subpath else {}  # API 1.45; `Placement` knows older engines
    return {**made, "VolumeOptions": {"Labels": labels, **part}}


def _tmpfs_options(mount: Mount) -> str:
    return ",".join(filter(None, (mount.options, "ro" if mount.read_only else "")))


def _health_check(check: HealthCheck) -> dict[str, Any]:
    """Zero stands for the engine's default."""
    return {
        "test": list(check.test),
        "interval": check.interval_ns or 0,
        "timeout": check.timeout_ns or 0,
        "start_period": check.start_period_ns or 0,
        "retries": check.retries or 0,
    }
