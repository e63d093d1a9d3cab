"""Somebody else on the same machine who takes its CPU time: a container of ours with busy loops, which go first.

It is a sibling of the container in the tree of cgroups, where alone shares count, and carries the labels of the run.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from stop_harness import signals
from stop_harness.engines import load_program
from stop_harness.engines.docker import own_images, sdk
from stop_harness.engines.docker.calls import CallFailed
from stop_harness.engines.docker.faults.scene import FaultScene
from stop_harness.engines.docker.reaper import OWNER_LABEL, RUN_LABEL
from stop_harness.engines.interface import Applied, FaultNotApplied, Held
from stop_harness.model import Fault

SHARES, MOST_SHARES, TIMES = {"1": 1024, "2": 2598}, 262_144, 20
"""What a container weighs of which nobody says it, by the version of cgroups; the kernel's largest; and how many times
as much the loops weigh as the container. With systemd the engine itself may be a sibling, too, and has to go on: it is
left a twentieth likewise. Version 2 has weights: 100 where nothing is said, which runc makes of 2598 shares (from 1.3.2
on of 1024: the loops then weigh 25 times as much); of 1024 shares that somebody asks for it makes 39."""

WAITS_S, LOOK_S = 10.0, 0.01
"""For its program to run, and between two looks at its log."""

MEMORY_BYTES = 64 << 20
"""For runc, which begins as a process of the container."""


def cpu(scene: FaultScene, fault: Fault) -> Applied:
    """As many loops as cores are to be taken."""
    return hold(scene, fault).release()


def hold(scene: FaultScene, fault: Fault) -> Held:
    """Its container runs, and waits for a signal: it takes half a second to start on a busy machine, and 10 ms to be
    told."""
    loops = round(fault.amount or 1)
    made, shares = _created(scene, loops)
    try:
        scene.ask("the start of a load", scene.api.start, made)
        _wait_until_it_waits(scene, made)
    except BaseException:
        _remove(scene, made)
        raise

    def release() -> Applied:
        try:
            scene.ask("the release of a load", partial(scene.api.kill, made, signal=signals.SIGTERM))
            begun_ns = time.time_ns()  # the look after it is late: its answer waits behind the loops, too
            _check(scene.ask("inspect", scene.api.inspect_container, made), shares)
        except BaseException:
            _remove(scene, made)
            raise
        seen = f"a container with {loops} busy loops runs, read back"
        return Applied(seen, partial(_remove, scene, made), begun_ns=begun_ns)

    return Held(release, partial(_remove, scene, made))


def _created(scene: FaultScene, loops: int) -> tuple[str, int]:
    """Its id, and its CPU shares."""
    own = scene.inspect()
    labels = {key: value for key, value in own["Config"]["Labels"].items() if key in {RUN_LABEL, OWNER_LABEL}}
    program = load_program.build(scene.ask("the version", own_images.machine, scene.api))
    if program is None:
        raise FaultNotApplied("there is no program that loops for this architecture")
    importing = partial(own_images.imported, scene.api, "load", program, labels, 'ENTRYPOINT ["/load"]')
    image = scene.ask("the import of a program", importing)
    version = str(scene.ask("the version of cgroups", scene.api.info).get("CgroupVersion") or "1")
    shares = min(MOST_SHARES, TIMES * (own["HostConfig"].get("CpuShares") or SHARES.get(version, SHARES["2"])))
    settings = scene.api.create_host_config(
        cpu_shares=shares,
        mem_limit=MEMORY_BYTES,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        read_only=True,
        network_mode="none",
        cgroup_parent=own["HostConfig"].get("CgroupParent") or None,
    )
    making = partial(scene.api.create_container, image, ["load"] * (loops - 1), host_config=settings, labels=labels)
    return str(scene.ask("the creation of a load", making)["Id"]), shares


def _wait_until_it_waits(scene: FaultScene, made: str) -> None:
    """It says so: before that the kernel would drop the signal, for which PID 1 has no handler."""
    deadline = time.monotonic() + WAITS_S
    while not scene.ask("the log of a load", partial(scene.api.logs, made)):
        if time.monotonic() > deadline:
            raise FaultNotApplied("the program with the busy loops did not come to wait for its moment")
        time.sleep(LOOK_S)


def _check(found: dict[str, Any], shares: int) -> None:
    if not found["State"]["Running"] or found["HostConfig"]["CpuShares"] != shares:
        raise FaultNotApplied("the busy loops do not run, or not before others")


def _remove(scene: FaultScene, container_id: str) -> None:
    remove = partial(scene.api.remove_container, container_id, force=True, v=True)
    try:
        scene.calls.run("the removal of a load", remove, cleans_up=True)
    except sdk.errors.NotFound:
        return
    except sdk.ENGINE_ERRORS as error:
        raise FaultNotApplied(str(CallFailed(scene.host.url, "the removal of a load", error))) from None
