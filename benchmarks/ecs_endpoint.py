"""Measure how fast the ECS endpoint answers StopTask while containers drain. Writes ecs_endpoint.md.

Needs a Docker engine, two minutes and a quiet machine. The endpoint is a process of its own with real containers; this
process is the client: one thread that sends 100 prepared requests over 100 connections and notes when each answer is
whole, so that it costs next to nothing itself. Nothing is asserted: the table says which target was met.
"""

from __future__ import annotations

import json
import os
import platform
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stop_harness._version import VERSION
from stop_harness.engines.docker import host

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().with_suffix(".md")
IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")

CALLS = 100
TASKS = 50
BATCH = 10
"""RunTask starts no more at once."""

ROUNDS = 3
TARGET_MS = 50.0
PATIENCE_S = 120
DRAINS = ["sh", "-c", "trap '' TERM; sleep 1000"]
"""Until SIGKILL."""

NS_PER_MS = 1_000_000


class Client:
    """StopTask by hand: requests are prepared beforehand and answers are looked at afterwards."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = ("127.0.0.1", int(url.rpartition(":")[2]))

    def call(self, operation: str, **request: Any) -> Any:
        """One operation, without haste."""
        body, headers = json.dumps(request).encode(), {"X-Amz-Target": _target(operation)}
        with urllib.request.urlopen(urllib.request.Request(self.url, body, headers), timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def stop_at_once(self, tasks: list[str], *, fresh: bool) -> list[float]:
        """Latencies in ms of one call a task, all at once: from before it is sent until its answer is whole.

        `fresh`: the connection is made within that time.
        """
        requests = [_stop_request(task) for task in tasks]
        connections = [socket.socket() for _ in tasks]
        if not fresh:
            for connection in connections:
                connection.connect(self._address)
            time.sleep(0.5)  # until the server has accepted them all
        begun, latencies, waiting = {}, [], selectors.DefaultSelector()
        for connection, request in zip(connections, requests, strict=True):
            begun[connection] = time.monotonic_ns()
            if fresh:
                connection.connect(self._address)
            connection.sendall(request)
            waiting.register(connection, selectors.EVENT_READ, bytearray())
        while waiting.get_map():
            ready = waiting.select(PATIENCE_S)
            assert ready, "an answer is missing"
            for key, _ in ready:
                answered = key.fileobj
                assert isinstance(answered, socket.socket)
                key.data.extend(answered.recv(1 << 16))
                if _is_whole(key.data):
                    latencies.append((time.monotonic_ns() - begun[answered]) / NS_PER_MS)
                    assert key.data.startswith(b"HTTP/1.1 200"), bytes(key.data)
                    waiting.unregister(answered)
                    answered.close()
        return latencies

    def stop_one_after_another(self, tasks: list[str]) -> list[float]:
        """Latencies in ms on one connection."""
        latencies = []
        with socket.create_connection(self._address) as connection:
            for task in tasks:
                answer = bytearray()
                begun = time.monotonic_ns()
                connection.sendall(_stop_request(task))
                while not _is_whole(answer):
                    answer.extend(connection.recv(1 << 16))
                latencies.append((time.monotonic_ns() - begun) / NS_PER_MS)
        return latencies


def _target(operation: str) -> str:
    return f"AmazonEC2ContainerServiceV20141113.{operation}"


def _stop_request(task: str) -> bytes:
    body = json.dumps({"task": task, "reason": "benchmark"}).encode()
    head = (
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Amz-Target: {_target('StopTask')}\r\n"
        f"Content-Type: application/x-amz-json-1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _is_whole(answer: bytearray) -> bool:
    head, end, body = bytes(answer).partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return bool(end and length and len(body) >= int(length[1]))


@contextmanager
def endpoint() -> Iterator[Client]:
    """A process of its own, with TASKS tasks that drain and as many that run."""
    serve = [sys.executable, "-m", "stop_harness", "ecs", "serve", "--port", "0"]
    process = subprocess.Popen(serve, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        match = re.search(r"http://\S+", process.stdout.readline())
        assert match, "ecs serve did not start"
        yield Client(match[0])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def running_tasks(client: Client) -> list[str]:
    """TASKS new tasks, once they run."""
    container = {"name": "app", "image": IMAGE, "command": DRAINS, "memory": 16, "stopTimeout": 300}
    client.call("RegisterTaskDefinition", family="drains", containerDefinitions=[container])
    tasks = []
    for _ in range(TASKS // BATCH):
        answer = client.call("RunTask", taskDefinition="drains", count=BATCH)
        tasks += [task["taskArn"].rpartition("/")[2] for task in answer["tasks"]]
    _until(client, tasks, "RUNNING")
    return tasks


def _until(client: Client, tasks: list[str], status: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        seen = [task["lastStatus"] for task in client.call("DescribeTasks", tasks=tasks)["tasks"]]
        if seen == [status] * len(tasks):
            return
        assert time.monotonic() < deadline, f"tasks are {seen}, not {status}"
        time.sleep(0.2)


def settle(client: Client, tasks: list[str]) -> None:
    """Until the engine has sent every stop signal: the stop calls wait for the exits now."""
    _until(client, tasks, "STOPPING")
    time.sleep(3)


def measure() -> dict[str, list[float]]:
    """Latencies in ms by what was done."""
    found: dict[str, list[float]] = {}

    def note(what: str, latencies: list[float]) -> None:
        found.setdefault(what, []).extend(latencies)
        print(f"  {what}: median {statistics.median(latencies):.1f} ms, max {max(latencies):.1f} ms", flush=True)

    for number in range(1, ROUNDS + 1):
        print(f"round {number} of {ROUNDS}", flush=True)
        with endpoint() as client:
            tasks = running_tasks(client)
            time.sleep(2)
            twice = tasks * (CALLS // TASKS)
            note(BEGINS, client.stop_at_once(twice, fresh=number % 2 == 0))
            settle(client, tasks)
            note(KEPT, client.stop_at_once(twice, fresh=False))
            note(FRESH, client.stop_at_once(twice, fresh=True))
            note(ONE_BY_ONE, client.stop_one_after_another(twice))
    return found


KEPT = f"{CALLS} calls at once while {TASKS} containers drain, open connections"
FRESH = f"{CALLS} calls at once while {TASKS} containers drain, new connections"
BEGINS = f"{CALLS} calls at once, which begin the stop of {TASKS} running containers"
ONE_BY_ONE = f"{CALLS} calls one after another while {TASKS} containers drain"


def table(found: dict[str, list[float]], load: float) -> str:
    """The page."""
    engine = host.find().info
    machine = (
        f"{datetime.now(UTC):%Y-%m-%d}, stop-harness {VERSION}, Linux {platform.release()} {platform.machine()}, "
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}, {engine.product} {engine.version}; load average "
        f"before the start {load:.1f}."
    )
    lines = [
        "# How fast the ECS endpoint answers",
        "",
        "Written by `python benchmarks/ecs_endpoint.py` ([ecs_endpoint.py](ecs_endpoint.py) says how). Latency of one",
        f"StopTask call, {ROUNDS} rounds together; the endpoint, the engine and the client share the machine.",
        "",
        machine,
        "",
        "| StopTask | median | p99 | longest | target (median) | met |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for what in (KEPT, FRESH, BEGINS, ONE_BY_ONE):
        values = sorted(found[what])
        median, p99 = statistics.median(values), statistics.quantiles(values, n=100)[98]
        met = "yes" if median < TARGET_MS else "no"
        lines.append(f"| {what} | {median:.1f} ms | {p99:.1f} ms | {values[-1]:.1f} ms | {TARGET_MS:.0f} ms | {met} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print the table, write it."""
    load = os.getloadavg()[0]
    text = table(measure(), load)
    print(text)
    RESULTS.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
