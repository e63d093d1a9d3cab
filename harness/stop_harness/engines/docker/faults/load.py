"""Somebody else on the same machine who takes its CPU time: a container of ours with busy loops, which go first.

It is a sibling of the container in the tree of cgroups, where alone shares count, and carries the labels of the run.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import docker

from stop_harness.engines import load_program
from stop_harness.engines.docker import own_images
from stop_harness.engines.docker.calls import ENGINE_ERRORS, CallFailed
from stop_harness.engines.docker.faults.scene import FaultScene
from stop_harness.engines.docker.reaper import OWNER_LABEL, RUN_LABEL
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.model import Fault

SHARES, MOST_SHARES, TIMES = 1024, 262_144, 20
"""What a container has by default, the kernel's largest, and how many times as many the loops have as the container.
With systemd the engine itself may be a sibling, too, and has to go on: it is left a twentieth likewise."""

MEMORY_BYTES = 64 << 20
"""For runc, which begins as a process of the container."""


def cpu(scene: FaultScene, fault: Fault) -> Applied:
    """As many loops as cores are to be taken."""
    own = scene.inspect()
    labels = {key: value for key, value in own["Config"]["Labels"].items() if key in {RUN_LABEL, OWNER_LABEL}}
    program = load_program.build(scene.ask("the version", own_images.machine, scene.api))
    if program is None:
        raise FaultNotApplied("there is no program that loops for this architecture")
    importing = partial(own_images.imported, scene.api, "load", program, labels, 'ENTRYPOINT ["/load"]')
    image = scene.ask("the import of a program", importing)
    shares = min(MOST_SHARES, TIMES * (own["HostConfig"].get("CpuShares") or SHARES))
    settings = scene.api.create_host_config(
        cpu_shares=shares,
        mem_limit=MEMORY_BYTES,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        read_only=True,
        network_mode="none",
        cgroup_parent=own["HostConfig"].get("CgroupParent") or None,
    )
    loops = round(fault.amount or 1)
    making = partial(scene.api.create_container, image, ["load"] * (loops - 1), host_config=settings, labels=labels)
    made = str(scene.ask("the creation of a load", making)["Id"])
    try:
        scene.ask("the start of a load", scene.api.start, made)
        _check(scene.ask("inspect", scene.api.inspect_container, made), shares)
    except BaseException:
        _remove(scene, made)
        raise
    return Applied(f"a container with {loops} busy loops runs, read back", partial(_remove, scene, made))


def _check(found: dict[str, Any], shares: int) -> None:
    if not found["State"]["Running"] or found["HostConfig"]["CpuShares"] != shares:
        raise FaultNotApplied("the busy loops do not run, or not before others")


def _remove(scene: FaultScene, container_id: str) -> None:
    remove = partial(scene.api.remove_container, container_id, force=True, v=True)
    try:
        scene.calls.run("the removal of a load", remove, cleans_up=True)
    except docker.errors.NotFound:
        return
    except ENGINE_ERRORS as error:
        raise FaultNotApplied(str(CallFailed(scene.host.url, "the removal of a load", error))) from None
