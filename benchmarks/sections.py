"""What is measured: one function a section, each with a bench in, a section of the results out."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import chromium, rendering, stored
from benchmarks.measure import Cost, command, growth, in_turns, median
from benchmarks.mix import BASE_IMAGE, LEAVES, STOP_TIMEOUT_S, in_flight, mix
from benchmarks.results import Row, Section, read
from benchmarks.ways import ROOT, STOP_HARNESS, Bench
from stop_harness.conductor.request import new_run_id
from stop_harness.engines.docker.engine import DockerEngine
from stop_harness.model import NS_PER_S, Outcome, Readiness, Scenario, StopPlan, Subject
from stop_harness.plan import trials as plan
from stop_harness.scenario.scenario_file import parse
from stop_harness.trial import perform as trial
from stop_harness.verdict.judge import judge

MEGABYTE = 1_000_000
IN_FLIGHT, IN_FLIGHT_DRAIN_S, IN_FLIGHT_TIMEOUT_S = 300, 50, 110
"""The first of 300 must still drain when the last is asked to stop; two CPUs start about 12 containers a second."""

SERIAL_SLICE = 20
REPORT_SIZES = (100, 1_000, 10_000)
REPORT_TARGETS = {
    (rendering.WITHOUT_PLOTS, 100): (0.5, 250),
    (rendering.WITH_PLOTS, 100): (1.2, 250),
    (rendering.WITH_PLOTS, 10_000): (3, 250),
}
"""Seconds and megabytes."""
RAW = "`docker run -d`, `docker stop -t`, `docker rm`"


@dataclass(frozen=True)
class Options:
    """`rounds` None: as each section has it. `slices`: how many fifths of the slow loops are run for real."""

    bench: Bench
    rounds: int | None = None
    slices: int = 1
    quick: bool = False

    def times(self, usual: int) -> int:
        """How often each way is measured."""
        return self.rounds or (1 if self.quick else usual)


# ── Start-up and one trial ───────────────────────────────────────────────────────────────────────────────────────────


def start_up(options: Options) -> Section:
    """Interpreter alone, and the commands that must feel instant."""
    words = {
        "`python -c pass`": [sys.executable, "-c", "pass"],
        "`stop-harness --version`": [STOP_HARNESS, "--version"],
        "`stop-harness --help`": [STOP_HARNESS, "--help"],
    }
    ways = {name: lambda line=line: command(line) for name, line in words.items()}
    in_turns(1, ways)  # byte code, and the files in memory
    costs = in_turns(options.times(20), ways)
    python_s, version_s, help_s = (median(cost) for cost in costs.values())
    rows = [Row("`python -c pass`", milliseconds(python_s))]
    for name, value in (("`stop-harness --version`", version_s), ("`stop-harness --help`", help_s)):
        rows.append(Row(name, milliseconds(value), "100 ms", value <= 0.100))
    return Section("start-up", "Start-up", tuple(rows), numbers={"python_s": python_s, "help_s": help_s})


def one(options: Options) -> Section:
    """One container that leaves at once, every way there is, and a trial within a running harness."""
    bench, kinds = options.bench, mix(1)
    engine = DockerEngine(new_run_id())
    try:
        within = _performer(engine)
        ways: dict[str, Callable[[], Cost]] = {
            "raw": lambda: bench.shell_loop(kinds),
            "trial": within,
            "check": lambda: bench.check(LEAVES),
            "floor": lambda: bench.floor(kinds),
            "run": lambda: bench.harness(kinds),
            "testcontainers": lambda: bench.testcontainers(kinds),
        }
        in_turns(1, ways)
        costs = in_turns(options.times(7), ways)
    finally:
        engine.close()
    numbers = {f"{name}_s": median(cost) for name, cost in costs.items()}
    numbers |= {f"{name}_cpu_s": median(costs[name], lambda cost: cost.cpu_s) for name in ("raw", "run", "check")}
    check_ratio, check_cpu_s = numbers["check_s"] / numbers["raw_s"], numbers["check_cpu_s"]
    ratio = numbers["trial_s"] / numbers["raw_s"]
    rows = (
        Row(RAW, milliseconds(numbers["raw_s"])),
        Row("four raw calls to the Engine API, a process of its own", milliseconds(numbers["floor_s"])),
        Row("trial within a running harness, readiness by the log", milliseconds(numbers["trial_s"])),
        Row("… against the docker commands", f"{ratio:.2f} ×", "1.3 ×", ratio <= 1.3),
        Row("`stop-harness check IMAGE`, readiness by the log", milliseconds(numbers["check_s"])),
        Row("… against the docker commands", f"{check_ratio:.2f} ×", "1.5 ×", check_ratio <= 1.5),
        Row("… its CPU time", milliseconds(check_cpu_s), "450 ms", check_cpu_s <= 0.450),
        Row("`stop-harness run` of one scenario, with all reports", milliseconds(numbers["run_s"])),
        Row("pytest with testcontainers", milliseconds(numbers["testcontainers_s"])),
    )
    return Section("one", "One trial of a container that leaves at once", rows, _surprises(bench), numbers)


def _performer(engine: DockerEngine) -> Callable[[], Cost]:
    scenario = Scenario(
        name=LEAVES.name,
        subject=Subject(image=BASE_IMAGE, command=LEAVES.command),
        readiness=Readiness(log="^ready$"),
        stop=StopPlan(timeouts_ns=(STOP_TIMEOUT_S * NS_PER_S,)),
    )
    engine.prepare((scenario,), lambda _what, _state: None)
    item = plan.expand((scenario,)).trials[0]

    def perform() -> Cost:
        begun, cpu = time.monotonic(), time.process_time()
        seen = trial.perform(item, engine, trial.Interruption())
        cost = Cost(time.monotonic() - begun, time.process_time() - cpu, 0, 0, 0)
        outcome = judge(seen, scenario).outcome
        if outcome is not Outcome.GRACEFUL:
            why = seen.problem or seen.record.events
            raise SystemExit(f"the subject of the benchmark was {outcome}, not graceful: {why}")
        return cost

    return perform


# ── Many ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ten(options: Options) -> Section:
    """Every way, one after the other ones included, run for real."""
    costs = in_turns(
        options.times(1),
        {
            "xargs": lambda: options.bench.xargs(mix(10)),
            "harness": lambda: options.bench.harness(mix(10)),
            "floor": lambda: options.bench.floor(mix(10)),
            "shell_loop": lambda: options.bench.shell_loop(mix(10)),
            "testcontainers": lambda: options.bench.testcontainers(mix(10)),
        },
    )
    return _many("ten", "10 containers", 10, costs, options)


def hundred(options: Options) -> Section:
    """All at once, three ways."""
    costs = in_turns(
        options.times(3),
        {
            "xargs": lambda: options.bench.xargs(mix(100)),
            "harness": lambda: options.bench.harness(mix(100)),
            "floor": lambda: options.bench.floor(mix(100)),
        },
    )
    return _many("hundred", "100 containers, all at once", 100, costs, options)


def three_hundred(options: Options) -> Section:
    """All at once, three ways."""
    costs = in_turns(
        options.times(1),
        {
            "xargs": lambda: options.bench.xargs(mix(300)),
            "harness": lambda: options.bench.harness(mix(300)),
            "floor": lambda: options.bench.floor(mix(300)),
        },
    )
    return _many("three-hundred", "300 containers, all at once", 300, costs, options)


LABELS = {
    "xargs": f"{RAW} by `xargs -P N`",
    "harness": "`stop-harness run` of a folder, with all reports",
    "floor": "four raw calls to the Engine API each, a thread each",
    "shell_loop": f"{RAW} in a loop",
    "testcontainers": "pytest with testcontainers",
}


def _many(name: str, title: str, size: int, costs: dict[str, list[Cost]], options: Options) -> Section:
    rows: list[Row] = []
    numbers: dict[str, float] = {}
    for way, taken in costs.items():
        wall_s, cpu_s = median(taken), median(taken, lambda cost: cost.cpu_s)
        numbers |= {f"{way}_s": wall_s, f"{way}_cpu_s": cpu_s}
        rows.append(Row(LABELS[way], f"{wall_s:.1f} s, {cpu_s:.1f} s of CPU"))
    ratio = numbers["harness_s"] / numbers["xargs_s"]
    target = ("0.70 ×", ratio <= 0.70) if size == 100 else (None, None)
    rows.append(Row("stop-harness against `xargs -P`", f"{ratio:.2f} ×", *target))
    rows.append(Row("… against the raw calls", f"{numbers['harness_s'] / numbers['floor_s']:.2f} ×"))
    numbers["harness_bytes"] = median(costs["harness"], lambda cost: cost.tree_bytes)
    rows.append(Row("stop-harness, largest sum of resident memory", megabytes(numbers["harness_bytes"])))
    rounds = len(next(iter(costs.values())))
    note = f"{rounds} rounds in turns." if rounds > 1 else "One round."
    spread = ""
    if rounds > 1:
        each = ", ".join(f"{cost.wall_s:.1f}" for cost in costs["harness"])
        spread = f" stop-harness in each: {each} s; xargs: {', '.join(f'{c.wall_s:.1f}' for c in costs['xargs'])} s."
    return Section(name, title, tuple(rows), (note + spread, *_surprises(options.bench)), numbers)


def serial(options: Options) -> Section:
    """The ways that take one container after the other. Their time is the sum of their parts, so that a fifth of 100
    containers, in the same mix, tells the rest."""
    bench, kinds = options.bench, mix(SERIAL_SLICE)
    costs = in_turns(
        options.slices,
        {"shell_loop": lambda: bench.shell_loop(kinds), "testcontainers": lambda: bench.testcontainers(kinds)},
    )
    fifths = 100 // SERIAL_SLICE
    numbers = {f"{way}_100_s": statistics.mean(c.wall_s for c in taken) * fifths for way, taken in costs.items()}
    ours_s = read().get("hundred", {}).get("numbers", {}).get("harness_s")
    rows = []
    for way in costs:
        whole_s = numbers[f"{way}_100_s"]
        rows.append(Row(f"{LABELS[way]}, 100 containers", f"{whole_s:.0f} s"))
        if ours_s:
            ratio = whole_s / ours_s
            rows.append(Row("… against `stop-harness run` of the same", f"{ratio:.1f} ×", "10 ×", ratio >= 10))
    how = "run for real" if options.slices == fifths else f"reckoned from {options.slices} of {fifths} parts"
    note = f"In parts of {SERIAL_SLICE} containers of the same mix; {how}."
    return Section("serial", "100 containers, one after the other", tuple(rows), (note, *_surprises(bench)), numbers)


def flight(options: Options) -> Section:
    """So many trials that drain at the same time."""
    size, drain_s = (50, 12) if options.quick else (IN_FLIGHT, IN_FLIGHT_DRAIN_S)
    before = options.bench.surprises["harness"]
    cost = options.bench.harness(in_flight(size, drain_s), IN_FLIGHT_TIMEOUT_S)
    wrong = options.bench.surprises["harness"] - before
    numbers = {
        "in_flight": float(options.bench.most_in_flight),
        "peak_mb": cost.tree_bytes / MEGABYTE,
        "wrong": float(wrong),
        "wall_s": cost.wall_s,
    }
    rows = (
        Row(
            "most at the same moment, by the record",
            str(options.bench.most_in_flight),
            str(size),
            options.bench.most_in_flight >= size,
        ),
        Row("outcomes other than `graceful`, inconclusive ones included", str(wrong), "0", wrong == 0),
        Row(
            "largest sum of resident memory, harness and reaper",
            megabytes(cost.tree_bytes),
            "400 MB",
            cost.tree_bytes < 400e6,
        ),
        Row("largest single process", megabytes(cost.largest_bytes)),
        Row(f"wall time, with starts and reports; each drains {drain_s} s", f"{cost.wall_s:.0f} s"),
        Row("CPU time of the harness", f"{cost.cpu_s:.1f} s"),
    )
    return Section("flight", f"{size} trials in flight (`--jobs {size}`)", rows, (), numbers)


def growth_of_costs(_options: Options) -> Section:
    """From what the other sections measured."""
    record = read()
    sizes = {10: "ten", 100: "hundred", 300: "three-hundred"}
    rows = []
    for way, label in LABELS.items():
        costs = {
            size: record[name]["numbers"].get(f"{way}_cpu_s", 0.0) for size, name in sizes.items() if name in record
        }
        costs = {size: cost for size, cost in costs.items() if cost}
        if (slope := growth(costs)) is not None:
            rows.append(Row(f"CPU time: {label}", _exponent(slope, costs)))
    bytes_by_size = {size: record[name]["numbers"]["harness_bytes"] for size, name in sizes.items() if name in record}
    if (slope := growth(bytes_by_size)) is not None:
        rows.append(Row("memory: stop-harness", _exponent(slope, bytes_by_size)))
    for key, label in (("cpu", "CPU time"), ("bytes", "memory")):
        for name in rendering.FORMATS:
            numbers = record.get("reports", {}).get("numbers", {})
            costs = {size: numbers.get(f"{name}_{size}_{key}", 0.0) for size in REPORT_SIZES}
            if (slope := growth(costs)) is not None:
                rows.append(Row(f"{label} of the report: {name}", _exponent(slope, costs)))
    note = (
        "The exponent k of cost ~ trials^k, by a line through the logarithms: 1 is linear, less means that a fixed "
        "cost still shows. CPU time is that of the command and its children, without the engine's."
    )
    return Section("growth", "Growth with the number of trials", tuple(rows), (note,))


def _exponent(slope: float, costs: dict[int, float]) -> str:
    return f"{slope:.2f} ({', '.join(f'{size:,}' for size in costs)})"


def _surprises(bench: Bench) -> tuple[str, ...]:
    """What did not end as its kind does: for the raw ways, containers that were stopped before they listened."""
    found = {name: count for name, count in bench.surprises.items() if count}
    bench.surprises.clear()
    if not found:
        return ("Every container ended with the exit code of its kind.",)
    said = ", ".join(f"{name} {count}" for name, count in found.items())
    return (f"Ended otherwise than their kind does: {said}.",)


# ── The shipped scenarios ────────────────────────────────────────────────────────────────────────────────────────────


def shipped(_options: Options) -> Section:
    """One whole run with reports; it lasts too long for a median."""
    scenarios = [parse(file.read_text(encoding="utf-8"), str(file)) for file in sorted(ROOT.glob("scenarios/*.yaml"))]
    longest_s = max(timeout for item in scenarios for timeout in item.stop.timeouts_ns) / NS_PER_S
    with tempfile.TemporaryDirectory() as reports:
        words = [STOP_HARNESS, "run", "scenarios/", "--engine", "docker", "--report-dir", reports]
        cost = command(words, cwd=ROOT)
        if re.search(r": (?:building|pulling)$|\bbuilt\b", cost.output, re.MULTILINE):
            cost = command(words, cwd=ROOT)  # the first one built what was not built
        document = json.loads((Path(reports) / "latest/results.json").read_text(encoding="utf-8"))
    trials, sum_s = document["summary"]["trials_run"], sum(item["stop_timeout_s"] for item in document["trials"])
    spent_s = sum(item["shutdown_duration_s"] or 0 for item in document["trials"])
    ratio = cost.wall_s / longest_s
    rows = (
        Row("trials", str(trials)),
        Row("sum of their stop timeouts", f"{sum_s:.0f} s"),
        Row("sum of their shutdown durations", f"{spent_s:.0f} s"),
        Row("longest stop timeout", f"{longest_s:.0f} s"),
        Row("wall time of the whole command, reports and plots included (one run)", f"{cost.wall_s:.1f} s"),
        Row("… against the longest stop timeout", f"{ratio:.2f} ×", "1.5 ×", ratio <= 1.5),
    )
    return Section("shipped", "The shipped scenarios (images built, `--jobs auto`)", rows)


# ── Reports ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def reports(options: Options) -> Section:
    """Each format alone in a process of its own, then all five in one, with plots and without; then the whole command
    on stored runs, and the page in a browser."""
    rows: list[Row] = []
    numbers: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (*rendering.FORMATS, *rendering.ALL):
            for size in REPORT_SIZES:
                took = [
                    _rendered(name, size, Path(folder) / name) for _ in range(options.times(3 if size < 5000 else 1))
                ]
                seconds = statistics.median(item["seconds"] for item in took)
                cpu = statistics.median(item["cpu_seconds"] for item in took)
                peak, before = (max(item[key] for item in took) for key in ("peak_bytes", "before_bytes"))
                numbers |= {f"{name}_{size}_cpu": cpu, f"{name}_{size}_bytes": peak}
                limits = REPORT_TARGETS.get((name, size))
                target: tuple[str | None, bool | None] = (None, None)
                if limits is not None:
                    target = (f"{limits[0]:g} s, {limits[1]} MB", seconds < limits[0] and peak < limits[1] * MEGABYTE)
                if name == rendering.WITH_PLOTS and size == REPORT_SIZES[-1]:
                    numbers |= {"all_s": seconds, "all_mb": peak / MEGABYTE}
                value = f"{seconds:.2f} s ({cpu:.2f} s of CPU), {megabytes(peak)} (+{megabytes(peak - before)})"
                rows.append(Row(f"{name}, {size:,} trials", value, *target))
        rows += stored.reports(Path(folder), REPORT_SIZES, options.times(3))
        notes = ["Seconds with imports; the process's peak of resident memory, and how much of it rendering added."]
        browser = chromium.find()
        if browser is None:
            notes.append("No Chromium here: the page was not opened.")
        else:
            page = Path(folder) / "page.html"
            _rendered("HTML", REPORT_SIZES[-1], page)
            seen = [chromium.open_and_filter(browser, page) for _ in range(options.times(5))]
            for key, label in (
                ("opened_s", "opens"),
                ("searched_s", "a word in its search field"),
                ("chosen_s", "one outcome only"),
            ):
                value = statistics.median(getattr(times, key) for times in seen)
                numbers[key] = value
                row = Row(f"page of 10,000 trials in Chromium: {label}", milliseconds(value), "1 s", value < 1)
                rows.append(row)
    return Section("reports", "Reports", tuple(rows), tuple(notes), numbers)


def _rendered(name: str, size: int, file: Path) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.rendering", name, str(size), str(file)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return dict(json.loads(done.stdout))


# ── Benchmarks of their own ──────────────────────────────────────────────────────────────────────────────────────────


def ecs(_options: Options) -> Section:
    """The local ECS endpoint under a burst of StopTask calls."""
    return _by_program("ecs", "StopTask on the local ECS endpoint", "ecs_endpoint.py")


def accuracy(_options: Options) -> Section:
    """Shutdown durations against a program that knows the truth."""
    return _by_program("accuracy", "Accuracy of the shutdown durations", "accuracy.py")


def _by_program(name: str, title: str, file: str) -> Section:
    """The tables that another program prints. It may end with 1: a target was missed, and its table says so."""
    path = Path(__file__).with_name(file)
    if not path.exists():
        raise SystemExit(f"{path} is not there")
    done = subprocess.run([sys.executable, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    table = "\n".join(line for line in done.stdout.splitlines() if line.startswith("|"))
    if not table:
        raise SystemExit(f"{path} printed no table and ended with {done.returncode}")
    return Section(name, title, notes=(f"By [{file}]({file}).",), text=table)


SECTIONS: dict[str, Callable[[Options], Section]] = {
    "start-up": start_up,
    "one": one,
    "ten": ten,
    "hundred": hundred,
    "serial": serial,
    "three-hundred": three_hundred,
    "flight": flight,
    "reports": reports,
    "growth": growth_of_costs,
    "shipped": shipped,
    "ecs": ecs,
    "accuracy": accuracy,
}
"""In the order of the page. `serial` and `growth` use what those before them measured."""

ONLY_IF_NAMED = frozenset({"ecs", "accuracy"})
"""Minutes each, and commands of their own."""


def milliseconds(seconds: float) -> str:
    """`234 ms`."""
    return f"{seconds * 1000:.0f} ms"


def megabytes(count: float) -> str:
    """`234 MB`."""
    return f"{count / MEGABYTE:.0f} MB"
