"""What `stop-harness watch` costs: CPU time with many containers running, and for each start and each stop.

    .venv/bin/python benchmarks/watch.py [--running 100] [--stops 60] [--per-second 10] [--write]

Needs Docker. The CPU time is the kernel's, of every thread of the command. Each end that the engine tells another
listener of is counted, and whether the watch told it. `--write` writes benchmarks/watch.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

PAGE = Path(__file__).with_name("watch.md")
IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
PROGRAM = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]
"""Two processes; it leaves at once when it is told."""
IDLE_S = 60.0
"""One round of looks at every container."""


@dataclass(frozen=True)
class Measured:
    """CPU time in seconds over an elapsed time, and how many starts or stops there were in it."""

    what: str
    cpu_s: float
    elapsed_s: float
    count: int = 0

    @property
    def share(self) -> float:
        """Of one CPU."""
        return self.cpu_s / self.elapsed_s

    def each_s(self, idle: Measured) -> float:
        """Of one start or stop, without what is used while nothing happens."""
        return max(0.0, self.cpu_s - idle.share * self.elapsed_s) / self.count if self.count else 0.0

    def row(self, idle: Measured) -> str:
        """Of the table."""
        each = f"{self.each_s(idle) * 1e3:.2f} ms" if self.count else ""
        rate = f"{self.count / self.elapsed_s:.1f}" if self.count else ""
        return f"| {self.what} | {self.elapsed_s:.0f} s | {rate} | {self.share:.2%} | {each} |"


def cpu_s(pid: int) -> float:
    """That a process has used, of all its threads: /proc/PID/task/TID/schedstat, in ns."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


class Watched:
    """A watch, the containers that it sees, and what it told."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self._label = f"stop-harness.benchmark=watch-{uuid.uuid4().hex[:8]}"
        command = Path(sys.executable).with_name("stop-harness")
        self._process = subprocess.Popen(
            [command, "watch", "--json", "--label", self._label], stdout=subprocess.PIPE, text=True
        )
        self.told: list[dict[str, Any]] = []
        self.died: list[str] = []
        self._events = client.events(decode=True, filters={"type": "container", "event": "die", "label": self._label})
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._collect, daemon=True).start()
        time.sleep(5)  # it loads what it judges with

    def start(self, count: int) -> list[Any]:
        """So many containers, a few at a time."""
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda _: self._run(), range(count)))

    def measure(self, what: str, work: Any, count: int = 0) -> Measured:
        """What the watch uses while something else works."""
        before, began = cpu_s(self._process.pid), time.monotonic()
        work()
        return Measured(what, cpu_s(self._process.pid) - before, time.monotonic() - began, count)

    def wait_told(self, count: int) -> None:
        """Until so many ends were told, or a minute has passed."""
        deadline = time.monotonic() + 60
        while len(self.told) < count and time.monotonic() < deadline:
            time.sleep(0.05)

    def close(self) -> None:
        """The watch ends; its containers are removed."""
        self._process.terminate()
        self._process.wait(timeout=60)
        self._events.close()
        left = self._client.containers.list(all=True, filters={"label": self._label})
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda item: item.remove(force=True, v=True), left))

    def _run(self) -> Any:
        key, _, value = self._label.partition("=")
        return self._client.containers.run(IMAGE, PROGRAM, detach=True, labels={key: value}, network_mode="none")

    def _listen(self) -> None:
        for event in self._events:
            self.died.append(event["Actor"]["ID"])

    def _collect(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.told.append(json.loads(line))


def stop_all(containers: list[Any], per_second: float) -> None:
    """One after the other at this rate, however long each takes."""
    with ThreadPoolExecutor(16) as pool:
        for item in containers:
            pool.submit(item.stop)
            time.sleep(1 / per_second)


WARM_UP = 5
"""Stops before anything is measured: the first ones load what is judged with."""


def measured(running: int, stops: int, per_second: float) -> tuple[list[Measured], int, int]:
    """The rows, how many ends the engine told of, and how many of those the watch did not tell."""
    client = docker.from_env(timeout=300, max_pool_size=20)
    watch = Watched(client)
    try:
        stop_all(watch.start(WARM_UP), per_second)
        watch.start(running)
        rows = [watch.measure(f"{running} running, nothing happens", lambda: time.sleep(IDLE_S))]
        extra: list[Any] = []
        rows.append(watch.measure("containers start", lambda: extra.extend(watch.start(stops)), stops))
        time.sleep(3)  # their looks a second after the start

        def work() -> None:
            stop_all(extra, per_second)
            watch.wait_told(stops + WARM_UP)

        rows.append(watch.measure(f"stops, {running} running", work, stops))
        died = set(watch.died)
    finally:
        watch.close()
    return rows, len(died), len(died - {item["container_id"] for item in watch.told})


def page(rows: list[Measured], ends: int, missed: int, per_second: float) -> str:
    """benchmarks/watch.md."""
    idle, starts, stops = rows
    of_starts, of_stops = starts.each_s(idle) * per_second, stops.each_s(idle) * per_second
    return "\n".join(
        [
            "# What a watch costs",
            "",
            f"Written by `benchmarks/watch.py` on {os.cpu_count()} CPUs, Linux {platform.release()}, load "
            f"{os.getloadavg()[0]:.1f}. CPU time of all threads of `stop-harness watch`, in shares of one CPU.",
            "",
            "| | over | a second | CPU | each |",
            "|---|--:|--:|--:|--:|",
            *(row.row(idle) for row in rows),
            "",
            f"The engine told another listener of {ends} ends; the watch missed {missed}. {per_second:g} stops a "
            f"second are {idle.share + of_stops:.1%} of one CPU, with as many starts "
            f"{idle.share + of_stops + of_starts:.1%}.",
            "",
        ]
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--running", type=int, default=100)
    parser.add_argument("--stops", type=int, default=60)
    parser.add_argument("--per-second", type=float, default=10)
    parser.add_argument("--write", action="store_true", help="write benchmarks/watch.md")
    given = parser.parse_args()
    rows, ends, missed = measured(given.running, given.stops, given.per_second)
    text = page(rows, ends, missed, given.per_second)
    print(text)
    if given.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
