"""Clocks, memory and CPU time of commands, and the growth of a cost. Linux: it reads /proc."""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a command cost. `cpu_s`: its own and that of the children it waited for. `machine_cpu_s`: all CPUs busy,
    with the engine and whatever else ran. `tree_bytes`: the largest sum of all its processes' resident memory, shared
    pages counted again, sampled every 0.1 s. `largest_bytes`: the largest process's peak, by the kernel."""

    wall_s: float
    cpu_s: float
    machine_cpu_s: float
    tree_bytes: int
    largest_bytes: int
    output: str = ""


def command(
    words: list[str],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    good: Collection[int] = (0,),
) -> Cost:
    """Run it and measure it. Raises SystemExit with its output if it ends with an exit code that is not `good`."""
    peak = _Peak()
    busy, begun = _busy_s(), time.monotonic()
    process = subprocess.Popen(
        words,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    peak.watch(process.pid)
    assert process.stdout is not None
    try:
        output = process.stdout.read()
    except BaseException:
        process.terminate()
        process.wait()
        peak.end()
        raise
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    peak.end()
    if process.returncode not in good:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}:\n{output[-4000:]}")
    return Cost(wall_s, used.ru_utime + used.ru_stime, _busy_s() - busy, peak.tree_bytes, peak.largest_bytes, output)


def in_turns(rounds: int, ways: Mapping[str, Callable[[], Cost]]) -> dict[str, list[Cost]]:
    """Each way once a round, in turns, so that a busy moment hits all of them."""
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            costs[name].append(way())
    return costs


def median(costs: list[Cost], what: Callable[[Cost], float] = lambda cost: cost.wall_s) -> float:
    """The median of one quantity."""
    return statistics.median(map(what, costs))


def growth(costs: Mapping[int, float]) -> float | None:
    """The exponent k of cost ~ size^k: the slope of the least-squares line through the logarithms. None for fewer than
    two sizes, and where a cost was too small to be measured."""
    points = [(math.log(size), math.log(cost)) for size, cost in costs.items() if cost > 0]
    if len(points) < 2 or len(points) < len(costs):
        return None
    return statistics.linear_regression(*zip(*points, strict=True)).slope


class _Peak:
    """The largest sum of resident memory of a process and all below it, watched by a thread."""

    def __init__(self) -> None:
        self.tree_bytes = self.largest_bytes = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, pid: int) -> None:
        while not self._over.wait(SAMPLE_S):
            memory = [memory_bytes(each) for each in _tree(pid)]
            self.tree_bytes = max(self.tree_bytes, sum(now for now, _ in memory))
            self.largest_bytes = max(self.largest_bytes, *(peak for _, peak in memory))


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):  # it has just ended
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found


def memory_bytes(pid: int | str = "self") -> tuple[int, int]:
    """Resident memory of a process, now and at its peak; zeros once it is gone.

    Not `ru_maxrss` of getrusage(2): after a fork that begins with what the parent had.
    """
    found = {"VmRSS": 0, "VmHWM": 0}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) * 1024
    return found["VmRSS"], found["VmHWM"]


def _busy_s() -> float:
    """Seconds that all CPUs together were neither idle nor waiting for a disk. Source: proc_stat(5)."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS_PER_S
