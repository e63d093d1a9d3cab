"""How late each kind of fault is against its moment, over some stops of one container (`python benchmarks/faults.py`).

Each fault is asked for half a second after the stop signal. Two clocks tell when it was there: our record, which holds
when its effect was known at the latest, and the program in the container, which looks every 2 ms and has the same
clock. Needs root and a Docker engine on this machine. Prints a table; `--write` puts it into faults.md; the exit code
is 1 where a median misses the target.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import stop_harness

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
PAGE = Path(__file__).with_name("faults.md")
MOMENT_S = 0.5
TARGET_MS = 50.0
STOPS = 20
EARLY_MS = 20
"""Two looks of the program, and the way of the stop signal into it."""

PROGRAM = r"""
import json, os, resource, signal, sys, time
watched, ending = sys.argv[1], []

def say(what, at):
    os.write(1, (json.dumps({"t": at, "what": what}) + "\n").encode())

def end(number, frame):
    say("stop" if number == signal.SIGTERM and not ending else "signal", time.time())
    if number == signal.SIGTERM and not ending:
        ending.append(time.monotonic())

def first(*paths):
    for path in paths:
        try:
            with open(path) as file:
                return file.read()
        except OSError:
            continue
    return ""

def share():
    wall, used = time.monotonic(), time.process_time()
    while time.monotonic() - wall < 0.02:
        pass
    return time.process_time() - used < 0.6 * (time.monotonic() - wall)

looks = {
    "cpu": lambda: first("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max"),
    "memory": lambda: first("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"),
    "pids": lambda: first("/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max"),
    "disk": lambda: os.statvfs("/data").f_bfree == 0,
    "mount": lambda: bool(os.statvfs("/data").f_flag & os.ST_RDONLY),
    "dns": lambda: first("/etc/resolv.conf"),
    "fds": lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    "network": lambda: "eth" in first("/proc/net/dev"),
    "exec": lambda: os.path.exists("/tmp/made"),
    "share": share,
}
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, end)
look = looks.get(watched, lambda: 0)
before, last = look(), time.time()
os.write(1, b"up\n")
while not ending or time.monotonic() - ending[0] < 1.5:
    time.sleep(0.002)
    now = time.time()
    if watched == "gap" and now - last > 0.1:
        say("gap", last)
    last, state = now, look()
    if state != before and ending:
        say("state", time.time())
    before = state
"""

KINDS = (
    ("cpu=0.5", "cpu", "state"),
    ("cpu=load:2", "", ""),
    ("memory=64MiB", "memory", "state"),
    ("pids=7", "pids", "state"),
    ("fds=9", "fds", "state"),
    ("pause=true@{at}:300ms", "gap", "gap"),
    ("process=stop:python3@{at}:300ms", "gap", "gap"),
    ("signal=SIGHUP", "", "signal"),
    ("stop=again", "", "signal"),
    ("network=cut", "network", "state"),
    ("network=latency:50ms", "", ""),
    ("dns=dead", "dns", "state"),
    ("disk=full:/data", "disk", "state"),
    ("disk=read_only:/data", "mount", "state"),
    ("exec=touch /tmp/made", "exec", "state"),
)
"""The fault as an option has it, what the program watches, and what it calls that; empty: it cannot see it."""


@dataclass(frozen=True)
class Late:
    """Milliseconds from the moment of one kind until it was there. `seen_ms` empty: the program cannot tell."""

    fault: str
    known_ms: tuple[float, ...]
    seen_ms: tuple[float, ...]
    missing: int

    @property
    def met(self) -> bool:
        """By the program where it can tell, else by the record."""
        return not self.missing and statistics.median(self.seen_ms or self.known_ms) <= TARGET_MS


def measure(fault: str, watched: str, word: str, stops: int) -> Late:
    """So many stops of fresh containers, one after the other."""
    at = f"{round(MOMENT_S * 1000)}ms"
    asked = fault.format(at=at) if "@" in fault else f"{fault}@{at}"
    result = stop_harness.check(
        image=BASE_IMAGE,
        command=["python3", "-c", PROGRAM, watched],
        ready_log="^up$",
        tmpfs=["/data:size=2m"],
        faults=[asked],
        timeouts=["10s"],
        repeat=stops,
        jobs=1,
    )
    known, seen = [], []
    for stop in result.stops:
        observation = stop.record.observation
        (record,) = observation.faults
        if record.begun_ns is None:
            print(f"{fault}: {record.problem}", file=sys.stderr)
            continue
        known.append(record.begun_ns / 1e6 - MOMENT_S * 1000)
        if word:
            seen += _seen(observation.looks.logs.text, word)
    return Late(fault.partition("@")[0], tuple(known), tuple(seen), len(result.stops) - len(known))


def _seen(log: str, word: str) -> Iterable[float]:
    said: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    zero = next((item["t"] for item in said if item["what"] == "stop"), None)
    if zero is not None:  # a busy machine makes gaps of its own before
        after = ((item["t"] - zero - MOMENT_S) * 1000 for item in said if item["what"] == word)
        yield from [late_ms for late_ms in after if late_ms > -EARLY_MS][:1]


def table(rows: list[Late]) -> str:
    """Milliseconds after the moment."""
    lines = ["| fault | n | by the record, median | longest | by the program, median | longest | within 50 ms |"]
    lines.append("|---|--:|--:|--:|--:|--:|---|")
    for row in rows:
        known = f"{statistics.median(row.known_ms):z.0f} | {max(row.known_ms):z.0f}" if row.known_ms else "– | –"
        seen = f"{statistics.median(row.seen_ms):z.0f} | {max(row.seen_ms):z.0f}" if row.seen_ms else "– | –"
        lines.append(f"| `{row.fault}` | {len(row.known_ms)} | {known} | {seen} | {'yes' if row.met else 'no'} |")
    return "\n".join(lines)


HEAD = """# How late faults are

Written by `python benchmarks/faults.py --write` ([faults.py](faults.py) says how): milliseconds from the moment that
was asked for, half a second after the stop signal, until the fault was there. By the record: when its effect was known
at the latest. By the program: when the program in the container saw it.
"""


def main() -> int:
    """Measure and print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=STOPS, help=f"of each kind; default: {STOPS}")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="kinds that begin so, such as cpu")
    parser.add_argument("--write", action="store_true", help="write faults.md")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    rows = []
    for kind in KINDS:
        if options.only is None or kind[0].startswith(tuple(options.only)):
            rows.append(measure(*kind, options.stops))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    place = f"{datetime.now(UTC):%Y-%m-%d}, Linux {platform.release()}, {os.cpu_count()} CPUs; load average "
    place += f"{before:.1f} before, {os.getloadavg()[0]:.1f} after."
    print(f"\n{place}\n\n{table(rows)}")
    if options.write:
        PAGE.write_text(f"{HEAD}\n{place}\n\n{table(rows)}\n")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
