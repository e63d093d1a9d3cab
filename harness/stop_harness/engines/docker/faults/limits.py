"""Limits of a running container: CPU, memory, processes. They die with it.

A value of zero means "as it is" to the engine, but for `PidsLimit`; how a limit is taken away again differs for each
(measured on Docker 20.10, see docs/faults.md).
"""

from __future__ import annotations

from functools import partial

from stop_harness.engines.docker.faults.scene import FaultScene
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.model import Fault, FaultAction

PERIOD_US = 100_000
LEAST_QUOTA_US = 1000
NO_MEMORY_LIMIT = 9_223_372_036_854_771_712
"""The kernel's own largest value. Only this one, given for memory and swap, undoes a limit that was not there."""


def cpu(scene: FaultScene, fault: Fault) -> Applied:
    """A quota of CPU time. A container that was made with `--cpus` keeps to that form, else the engine refuses."""
    before, cores = scene.host_config(), fault.amount or 0.0
    if before.get("NanoCpus"):
        return _limited(scene, {"NanoCpus": round(cores * 1e9)}, {"NanoCpus": before["NanoCpus"]})
    period_us = before.get("CpuPeriod") or PERIOD_US
    quota_us = max(LEAST_QUOTA_US, round(cores * period_us))
    return _limited(scene, {"CpuQuota": quota_us}, {"CpuQuota": before.get("CpuQuota") or -1})


def memory(scene: FaultScene, fault: Fault) -> Applied:
    """A limit of memory and swap together. Below what is in use, cgroup v1 refuses it and v2 kills."""
    before = scene.host_config()
    limit = round(fault.amount or 0)
    if fault.action is FaultAction.HEADROOM:
        limit += _in_use(scene)
    undone = {
        "Memory": before.get("Memory") or NO_MEMORY_LIMIT,
        "MemorySwap": before.get("MemorySwap") or NO_MEMORY_LIMIT,
    }
    if not before.get("Memory"):
        undone = {"Memory": NO_MEMORY_LIMIT, "MemorySwap": NO_MEMORY_LIMIT}
    return _limited(scene, {"Memory": limit, "MemorySwap": limit}, undone)


def pids(scene: FaultScene, fault: Fault) -> Applied:
    """Most processes and threads. Whoever is there stays; new ones are refused."""
    before = scene.host_config().get("PidsLimit")
    return _limited(scene, {"PidsLimit": round(fault.amount or 0)}, {"PidsLimit": before if before else -1})


def _limited(scene: FaultScene, values: dict[str, int], undone: dict[str, int]) -> Applied:
    scene.update(values)
    found = scene.host_config()
    missed = [name for name, value in values.items() if found.get(name) != value]
    if missed:
        raise FaultNotApplied(f"the engine took the update, but its {' and '.join(missed)} did not change")

    def undo() -> None:
        scene.undo_while_it_runs(partial(scene.update, undone))

    def give_back() -> None:
        """An engine keeps the limits of a container that has ended, and starts it with them again."""
        if _still_limited(scene, values, undone):
            scene.update(undone)
            if kept := _still_limited(scene, values, undone):
                raise FaultNotApplied(f"the engine took the update, but its {' and '.join(kept)} did not change")

    said = ", ".join(f"HostConfig.{name} {value}" for name, value in values.items())
    return Applied(f"{said}, read back", undo, give_back=give_back)


def _still_limited(scene: FaultScene, values: dict[str, int], undone: dict[str, int]) -> list[str]:
    """What the fault has set and nobody has set back. Not: what is as it was, for an engine reads -1 back as 0."""
    found = scene.host_config()
    return [name for name, value in values.items() if found.get(name) == value != undone[name]]


def _in_use(scene: FaultScene) -> int:
    """Bytes that the kernel could not take back at once."""
    try:
        seen = scene.ask("its memory", lambda: scene.api.stats(scene.container_id, stream=False, one_shot=True))[
            "memory_stats"
        ]
        usage, inactive = int(seen["usage"]), seen.get("stats", {})
        return usage - int(inactive.get("total_inactive_file", inactive.get("inactive_file", 0)))
    except (LookupError, TypeError, ValueError):
        raise FaultNotApplied("the engine does not say how much memory it uses") from None
