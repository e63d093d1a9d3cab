"""Measure what the harness costs, beside the raw commands in the same run (`make benchmark`). Writes results.md.

Needs a Docker engine, a few minutes and a quiet machine. Nothing is asserted: the table says which target was met.
Every figure is a median unless it says otherwise; commands that are compared take turns, so that a busy moment hits
both.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness import pipeline, plan, trial
from harness._version import VERSION
from harness.engines import docker_host
from harness.engines.docker_api import DockerEngine
from harness.model import NS_PER_S, Outcome, Readiness, Scenario, StopPlan, Subject
from harness.scenario import parse
from harness.verdict import judge

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results.md"
COMMAND = str(Path(sys.executable).with_name("stop-harness"))
BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")

START_UP_RUNS = 20
TRIAL_RUNS = 20
IN_FLIGHT = 50
DRAIN_S = 15
"""Long enough that the first of the 50 still drains when the last has started."""

MEBIBYTE = 1 << 20
LEAVES_AT_ONCE = ("sh", "-c", "trap 'exit 0' TERM; echo ready; sleep 1000 & wait")
STOP_TIMEOUT_S = 10


@dataclass(frozen=True)
class Row:
    """One line of the table. `target` None: for comparison only."""

    what: str
    value: str
    target: str | None = None
    met: bool | None = None


def main() -> int:
    """Measure everything, print the table, write it."""
    engine_version = docker_host.find().info.version
    load = os.getloadavg()[0]
    sections = []
    for title, measure in (
        ("Start-up", start_up),
        ("One trial of a container that leaves at once (Docker)", one_trial),
        ("The shipped scenarios (Docker, images built, `--jobs auto`)", shipped_scenarios),
        (f"Memory with {IN_FLIGHT} trials in flight", memory),
    ):
        print(f"measuring: {title}", file=sys.stderr, flush=True)
        sections.append((title, list(measure())))
    text = page(sections, engine_version, load)
    print(text)
    RESULTS.write_text(text, encoding="utf-8")
    return 0


def page(sections: list[tuple[str, list[Row]]], engine_version: str, load: float) -> str:
    """The Markdown page."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make benchmark` ([run.py](run.py) says how each figure is taken). Medians unless said otherwise;",
        "what is compared was measured in turns in the same run.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, stop-harness {VERSION}, {platform.system()} "
        f"{platform.release().partition('-')[0]} {platform.machine()}, {os.cpu_count()} CPUs, Python "
        f"{platform.python_version()}, Docker Engine {engine_version}; load average before the start {load:.1f}.",
    ]
    for title, rows in sections:
        lines += ["", f"## {title}", "", "| | measured | target | met |", "|---|--:|--:|---|"]
        for row in rows:
            met = "" if row.met is None else "yes" if row.met else "**no**"
            lines.append(f"| {row.what} | {row.value} | {row.target or ''} | {met} |")
    return "\n".join(lines) + "\n"


# ── Start-up ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def start_up() -> Iterator[Row]:
    """Interpreter alone, and the commands that must feel instant."""
    interpreter = [sys.executable, "-c", "pass"]
    version, help_text = [COMMAND, "--version"], [COMMAND, "--help"]
    none_s, version_s, help_s = in_turns(START_UP_RUNS, *(runner(each) for each in (interpreter, version, help_text)))
    yield Row("`python -c pass`", milliseconds(none_s))
    for name, value in (("--version", version_s), ("--help", help_s)):
        yield Row(f"`stop-harness {name}`", milliseconds(value), "150 ms", value < 0.150)


# ── One trial ────────────────────────────────────────────────────────────────────────────────────────────────────────


def one_trial() -> Iterator[Row]:
    """The raw commands, the same as a trial inside a running harness, and as a process of its own."""
    with docker_engine() as engine:
        at_once = scenario_of(Readiness())
        log = scenario_of(Readiness(log="^ready$"))
        engine.prepare((at_once, log), lambda _what, _state: None)
        raw_s, trial_s, log_s, check_s = in_turns(
            TRIAL_RUNS, raw_commands, performer(engine, at_once), performer(engine, log), whole_check
        )
    yield Row("`docker run -d`, `docker stop`, `docker rm`", milliseconds(raw_s))
    yield Row("trial, not waiting for readiness either", milliseconds(trial_s))
    yield Row("… against the raw commands", f"{trial_s / raw_s:.2f} ×", "1.3 ×", trial_s <= 1.3 * raw_s)
    yield Row("trial that waits for a line of the log", milliseconds(log_s))
    yield Row("`stop-harness check`, the whole process", milliseconds(check_s))
    yield Row("… beyond the trial: imports, finding the engine, event stream, reaper", milliseconds(check_s - trial_s))


def raw_commands() -> None:
    """What somebody would type."""
    made = subprocess.run(
        ["docker", "run", "-d", BASE_IMAGE, *LEAVES_AT_ONCE], capture_output=True, text=True, check=True
    )
    container = made.stdout.strip()
    runner(["docker", "stop", "-t", str(STOP_TIMEOUT_S), container])()
    runner(["docker", "rm", container])()


def performer(engine: DockerEngine, scenario: Scenario) -> Callable[[], None]:
    """One trial by a running harness."""
    item = plan.expand((scenario,)).trials[0]

    def perform() -> None:
        seen = trial.perform(item, engine, trial.Interruption())
        outcome = judge(seen, scenario).outcome
        if outcome is not Outcome.GRACEFUL:
            raise SystemExit(f"the subject of the benchmark was {outcome}, not graceful: {seen.problem or seen.events}")

    return perform


def whole_check() -> None:
    """The same from a shell."""
    options = ["--engine", "docker", "--ready-delay", "0s", "--timeout", f"{STOP_TIMEOUT_S}s"]
    runner([COMMAND, "check", BASE_IMAGE, *options, "--", *LEAVES_AT_ONCE])()


def scenario_of(readiness: Readiness) -> Scenario:
    """A container that leaves at once."""
    return Scenario(
        name="leaves-at-once",
        subject=Subject(image=BASE_IMAGE, command=LEAVES_AT_ONCE),
        readiness=readiness,
        stop=StopPlan(timeouts_ns=(STOP_TIMEOUT_S * NS_PER_S,)),
    )


@contextmanager
def docker_engine() -> Iterator[DockerEngine]:
    """An engine that leaves nothing behind."""
    engine = DockerEngine(pipeline.new_run_id())
    try:
        yield engine
    finally:
        engine.close()


# ── The shipped scenarios ────────────────────────────────────────────────────────────────────────────────────────────


def shipped_scenarios() -> Iterator[Row]:
    """One whole run with reports; it lasts too long for a median."""
    files = sorted((ROOT / "scenarios").glob("*.yaml"))
    scenarios = [parse(file.read_text(encoding="utf-8"), str(file)) for file in files]
    longest_s = max(timeout for item in scenarios for timeout in item.stop.timeouts_ns) / NS_PER_S
    with tempfile.TemporaryDirectory() as reports:
        command = [COMMAND, "run", "scenarios/", "--engine", "docker", "--report-dir", reports]
        runner(command)()  # builds what is not built
        wall_s = timed(runner(command))
        document = json.loads((Path(reports) / "latest/results.json").read_text(encoding="utf-8"))
    trials, sum_s = document["summary"]["trials_run"], sum(item["stop_timeout_s"] for item in document["trials"])
    spent_s = sum(item["shutdown_duration_s"] or 0 for item in document["trials"])
    yield Row("trials", str(trials))
    yield Row("sum of their stop timeouts", f"{sum_s:.0f} s")
    yield Row("sum of their shutdown durations", f"{spent_s:.0f} s")
    yield Row("longest stop timeout", f"{longest_s:.0f} s")
    yield Row("wall time of the whole command, reports and plots included (one run)", f"{wall_s:.1f} s")
    ratio = wall_s / longest_s
    yield Row("… against the longest stop timeout", f"{ratio:.2f} ×", "1.5 ×", ratio <= 1.5)


# ── Memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def memory() -> Iterator[Row]:
    """Resident memory of the harness, and of the process engine's helpers, sampled from /proc."""
    for engine in ("docker", "process"):
        peak = Peak(engine)
        yield Row(f"`{engine}`: most trials in flight at once", str(peak.in_flight))
        value = peak.harness_bytes / MEBIBYTE
        yield Row(
            f"`{engine}`: harness while they were, VmRSS, peak", f"{value:.0f} MiB", "150 MB", value < 150e6 / MEBIBYTE
        )
        yield Row(f"`{engine}`: its helpers, sum of Pss, peak", f"{peak.helpers_bytes / MEBIBYTE:.0f} MiB")
        yield Row(
            f"`{engine}`: harness while it writes the report, VmRSS, peak", f"{peak.report_bytes / MEBIBYTE:.0f} MiB"
        )


class Peak:
    """One run of 50 trials that drain, watched from outside."""

    def __init__(self, engine: str) -> None:
        self.harness_bytes = self.helpers_bytes = self.report_bytes = 0
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "drains.yaml"
            file.write_text(
                f"version: 1\nname: drains\nsubject:\n  build: {ROOT / 'scenarios/images/drain'}\n"
                f'  environment: {{DRAIN_SECONDS: "{DRAIN_S}"}}\nready: {{log: "^ready$"}}\n'
                f"stop: {{timeouts: 60s}}\nrepeat: {IN_FLIGHT}\n",
                encoding="utf-8",
            )
            options = ["--engine", engine, "--jobs", str(IN_FLIGHT), "--report-dir", directory]
            self._watch([COMMAND, "run", str(file), *options])
            self.in_flight = most_at_once(Path(directory) / "latest/trials.jsonl")

    def _watch(self, command: list[str]) -> None:
        all_ended = threading.Event()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:

            def listen() -> None:
                assert process.stderr is not None
                for line in process.stderr:
                    if line.startswith(f"[{IN_FLIGHT}/"):
                        all_ended.set()

            threading.Thread(target=listen, daemon=True).start()
            while process.poll() is None:
                resident = vm_rss(process.pid)
                if all_ended.is_set():
                    self.report_bytes = max(self.report_bytes, resident)
                else:
                    self.harness_bytes = max(self.harness_bytes, resident)
                    self.helpers_bytes = max(self.helpers_bytes, sum(map(pss, helpers_of(process.pid))))
                time.sleep(0.2)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")


def vm_rss(pid: int) -> int:
    """Resident bytes of one process, 0 if it is gone."""
    return proc_field(pid, "status", "VmRSS:")


def pss(pid: int) -> int:
    """Resident bytes of one process, shared pages divided among those who share them; 0 if it is gone."""
    return proc_field(pid, "smaps_rollup", "Pss:")


def proc_field(pid: int, file: str, name: str) -> int:
    """A "kB" field of a file in /proc/PID, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def helpers_of(pid: int) -> list[int]:
    """The harness's children: the reaper or the shims, not the subjects below the shims."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += map(int, task.read_text(encoding="ascii").split())
        except OSError:  # a thread that has just ended
            continue
    return children


def most_at_once(journal: Path) -> int:
    """How many trials were between their start and their end at the same moment, by the record."""
    moments: list[tuple[int, int]] = []
    for line in journal.read_text(encoding="utf-8").splitlines():
        observation = json.loads(line)["observation"]
        stamps = [event["at_ns"] for event in observation["events"] if event["clock"] in {"harness", "kernel"}]
        moments += [(min(stamps), 1), (max(stamps), -1)]
    now, most = 0, 0
    for _, step in sorted(moments):
        now += step
        most = max(most, now)
    return most


# ── Clocks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def runner(command: list[str]) -> Callable[[], None]:
    """Runs a command, fails with its output if it fails."""

    def run() -> None:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    return run


def in_turns(rounds: int, *actions: Callable[[], None]) -> list[float]:
    """Median seconds of each action; one round more at the beginning is not counted."""
    seconds: list[list[float]] = [[] for _ in actions]
    for number in range(rounds + 1):
        for action, kept in zip(actions, seconds, strict=True):
            taken = timed(action)
            if number:
                kept.append(taken)
    return [statistics.median(kept) for kept in seconds]


def timed(action: Callable[[], None]) -> float:
    """Seconds of one call."""
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def milliseconds(seconds: float) -> str:
    """`234 ms`."""
    return f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
