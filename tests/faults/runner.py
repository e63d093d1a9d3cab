"""Runs the real command line behind a failing engine, and looks at all that a user would see."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker

from stop_harness.engines.docker.calls import TIME_LIMIT_VARIABLE
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import OWNER_LABEL
from tests.faults.proxy import MARK, FaultyEngine
from tests.faults.table import FAULTS, TRUTH, Fault

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")

RUN_LIMIT_S = 300
"""A run that takes longer hangs. The largest has a hundred trials, and takes 40 s on a quiet machine."""

ENGINE_TIMEOUT_S = 20
"""For one call, where some of them hang; the others have a minute, as users have. Well above what an honest call takes
while other tests run."""

GONE_PATIENCE_S = 60
"""For what the run could not remove by itself, once the engine is well again."""

AT_ONCE = 5

_PERL = "$| = 1; $SIG{{TERM}} = {handler}; print qq(ready\\n); select undef, undef, undef, 60 while 1"
SUBJECTS = {
    "graceful": _PERL.format(handler="sub { exit 0 }"),
    "drained": _PERL.format(handler="sub { select undef, undef, undef, 1; exit 0 }"),
    "killed": _PERL.format(handler="q(IGNORE)"),
    "crashed": _PERL.format(handler="sub { exit 3 }"),
    "oom": _PERL.format(handler="sub { my @all; push @all, q(x) x 1e6 while 1 }"),
}
"""Programs without children: what became of those would be one more thing that a failing engine leaves open."""

TIMEOUTS_S = {"killed": 1, "oom": 8}

PRELOAD = [
    "stop_harness.cli.main",
    "stop_harness.conductor.pipeline",
    "stop_harness.engines.docker.engine",
    "stop_harness.renderers.html",
    "pandas",
]


@dataclass(frozen=True)
class Run:
    """One run of the command line under some faults. `outcomes`: scenario → (outcome, reason). `ended_after_s` None: it
    hung and was killed. `left`: containers of its own that were there when it had ended; `left_for_good`: and still
    were later on."""

    faults: tuple[Fault, ...]
    injected: dict[str, int]
    outcomes: dict[str, tuple[str, str]]
    exit_code: int | None
    ended_after_s: float | None
    report_written: bool
    left: int
    left_for_good: int
    output: str

    def wrong(self, fault: Fault) -> tuple[str, ...]:
        """Verdicts that the fault does not excuse."""
        found = []
        for subject in () if fault.no_run else fault.subjects:
            outcome, reason = self.outcomes.get(_name(fault, subject), ("not on record", "no trial ended"))
            allowed = {TRUTH[subject]} | (set() if subject in fault.certain else {"inconclusive"})
            if outcome not in allowed:
                found.append(f"{subject} is {TRUTH[subject]}, not {outcome}: {reason}")
        return tuple(found)

    @property
    def hung(self) -> bool:
        """It did not end by itself."""
        return self.ended_after_s is None

    @property
    def traceback(self) -> bool:
        """It told the user about its own insides."""
        return "Traceback (most recent call last)" in self.output

    def problems_of(self, fault: Fault) -> tuple[str, ...]:
        """What is not as it should be in the trials of one fault."""
        unproved = () if self.injected.get(_key(fault)) else ("it was never injected: this proves nothing",)
        return (*self.wrong(fault), *unproved)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not as it should be in the run as a whole."""
        found = [f"did not end within {RUN_LIMIT_S} s"] if self.hung else []
        found += [f"printed a traceback: {self.output[-500:]}"] if self.traceback else []
        found += [f"{self.left_for_good} containers were left for good"] if self.left_for_good else []
        if self.faults[0].no_run:
            return (*found, *([] if self.exit_code == 4 else [f"exit code {self.exit_code}, not 4"]))
        if not self.report_written:
            found.append("no report was written")
        allowed = {"graceful"} | ({"inconclusive"} if not self.faults[0].spares_bystander else set())
        if self.outcomes.get("bystander", ("not on record", ""))[0] not in allowed:
            found.append(f"the bystander is {self.outcomes.get('bystander')}")
        if not self.faults[0].leftovers_said:
            found += [f"{self.left} containers were there when it had ended"] if self.left else []
            found += [] if self.exit_code in {0, 3} else [f"exit code {self.exit_code}"]
        elif self.exit_code != 4 or "could not be removed" not in self.output:
            found.append(f"exit code {self.exit_code}, and not a word on what could not be removed")
        return tuple(found)


class Bench:
    """Runs of a fork server that has everything imported, so that a run costs what its containers cost."""

    def __init__(self, host: DockerHost, folder: Path) -> None:
        self._host, self._folder = host, folder
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)

    def run_all(self, faults: tuple[Fault, ...] = FAULTS) -> list[Run]:
        """Several runs at once: most of them wait."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self.run, groups(faults)))

    def run(self, faults: tuple[Fault, ...]) -> Run:
        """One run of the command line, from its start until nothing is left of it."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        (folder / "scenarios").mkdir()
        for fault in faults:
            for subject in fault.subjects:
                file = folder / "scenarios" / f"{_name(fault, subject)}.yaml"
                file.write_text(_scenario(_name(fault, subject), subject, _key(fault)))
        (folder / "scenarios" / "bystander.yaml").write_text(_scenario("bystander", "graceful", None))
        rules = tuple(replace(rule, mark=_key(fault)) for fault in faults for rule in fault.rules)
        socket = None if faults[0].remote else folder / "engine.sock"
        with FaultyEngine(self._host.url, socket, rules) as proxy:
            process = self._context.Process(target=_command_line, args=(str(folder), proxy.url, _timeout_s(faults)))
            began = time.monotonic()
            process.start()
            assert process.pid is not None
            process.join(RUN_LIMIT_S)
            hung = process.is_alive()
            took_s = time.monotonic() - began
            if hung:
                os.killpg(process.pid, signal.SIGKILL)
                process.join()
            left = self._containers(process.pid)
            proxy.heal()
            left_for_good = self._wait_until_gone(process.pid) if left else 0
            return Run(
                faults,
                dict(proxy.injected),
                _outcomes(folder),
                process.exitcode,
                None if hung else took_s,
                any(folder.glob("reports/2*/report.html")),
                left,
                left_for_good,
                (folder / "output").read_text(errors="replace"),
            )

    def _containers(self, pid: int) -> int:
        client = docker.APIClient(self._host.url, version=self._host.api_version)
        try:
            found = client.containers(all=True, filters={"label": OWNER_LABEL})
            return sum(f"/{pid}/" in item["Labels"][OWNER_LABEL] for item in found)
        finally:
            client.close()

    def _wait_until_gone(self, pid: int) -> int:
        deadline = time.monotonic() + GONE_PATIENCE_S
        while (left := self._containers(pid)) and time.monotonic() < deadline:
            time.sleep(0.2)
        if left:  # not the next test's affair
            client = docker.APIClient(self._host.url, version=self._host.api_version)
            for item in client.containers(all=True, filters={"label": OWNER_LABEL}):
                if f"/{pid}/" in item["Labels"][OWNER_LABEL]:
                    with contextlib.suppress(docker.errors.APIError):  # the reaper is at it
                        client.remove_container(item["Id"], force=True, v=True)
            client.close()
        return left


def _timeout_s(faults: tuple[Fault, ...]) -> str:
    return str(ENGINE_TIMEOUT_S) if any(fault.hangs for fault in faults) else ""


def _command_line(folder: str, url: str, timeout_s: str) -> None:
    """In the forked process: `stop-harness run`, its output in a file."""
    os.setsid()
    output = os.open(f"{folder}/output", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ |= {"DOCKER_HOST": url, TIME_LIMIT_VARIABLE: timeout_s, "CI": "1"}
    os.chdir(folder)
    sys.argv = ["stop-harness", "run", "scenarios", "--engine", "docker", "--report-dir", "reports"]
    from stop_harness.cli.main import main

    main()


def _key(fault: Fault) -> str:
    """Names a fault where blanks will not do."""
    return f"f{FAULTS.index(fault)}"


def _name(fault: Fault, subject: str) -> str:
    """Of the scenario."""
    return f"{_key(fault)}-{subject}"


def groups(faults: tuple[Fault, ...]) -> list[tuple[Fault, ...]]:
    """The faults of each run: all that spare the others together, but those that hang apart, for they hold the turns of
    others that start."""
    shared: dict[tuple[bool, bool], list[Fault]] = {}
    for fault in faults:
        if not fault.alone:
            shared.setdefault((fault.hangs, fault.remote), []).append(fault)
    return [*(tuple(group) for group in shared.values()), *((fault,) for fault in faults if fault.alone)]


def _scenario(name: str, subject: str, mark: str | None) -> str:
    command = json.dumps(["perl", "-e", SUBJECTS[subject]])
    memory = ", memory: 32MiB" if subject == "oom" else ""
    environment = f", environment: {{{MARK}: {mark}}}" if mark else ""
    return (
        f"version: 1\nname: {name}\nsubject: {{image: '{BASE_IMAGE}', command: {command}{memory}{environment}}}\n"
        f"ready: {{log: '^ready$', timeout: 10s}}\nstop: {{timeouts: [{TIMEOUTS_S.get(subject, 4)}s]}}\n"
        f"expect: [{{outcome: {TRUTH[subject]}}}]\n"
    )


def _outcomes(folder: Path) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for journal in folder.glob("reports/2*/trials.jsonl"):
        for text in journal.read_text().splitlines():
            entry: dict[str, Any] = json.loads(text)
            verdict = entry["verdict"]
            found[entry["observation"]["scenario"]] = (verdict["outcome"], verdict["reason"])
    return found


def table(runs: list[Run]) -> str:
    """For people: one line a fault, one a run, and the sums."""
    rows = [f"{'fault':<52} {'injected':>8} {'trials':>6} {'wrong':>5}"]
    for run in runs:
        for fault in run.faults:
            trials = 0 if fault.no_run else len(fault.subjects)
            injected = run.injected.get(_key(fault), 0)
            rows.append(f"{fault.name:<52} {injected:>8} {trials:>6} {len(run.wrong(fault)):>5}")
            rows += [f"    {problem}" for problem in run.problems_of(fault)]
        after = "killed" if run.ended_after_s is None else f"ended after {run.ended_after_s:.0f} s"
        rows.append(f"  {after}, exit code {run.exit_code}, {len(run.outcomes)} trials on record")
        rows += [f"    {problem}" for problem in run.problems]
    rows.append(sums(runs))
    return "\n".join(rows)


def sums(runs: list[Run]) -> str:
    """All of it in one sentence."""
    injected, trials = sum(sum(run.injected.values()) for run in runs), sum(len(run.outcomes) for run in runs)
    return (
        f"{sum(len(run.faults) for run in runs)} faults, injected {injected} times into {trials} trials: "
        f"{sum(len(run.wrong(fault)) for run in runs for fault in run.faults)} wrong verdicts, "
        f"{sum(run.hung for run in runs)} hangs, {sum(run.traceback for run in runs)} tracebacks, "
        f"{sum(run.left_for_good for run in runs)} leftovers"
    )


def markdown(runs: list[Run]) -> str:
    """For docs/failing-engines.md."""
    rows = ["| what the engine does | times | right | inconclusive | wrong |", "|---|---:|---:|---:|---:|"]
    for run in runs:
        for fault in run.faults:
            times, wrong = run.injected.get(_key(fault), 0), len(run.wrong(fault))
            names = [] if fault.no_run else [_name(fault, subject) for subject in fault.subjects]
            doubts = sum(run.outcomes.get(name, ("", ""))[0] == "inconclusive" for name in names)
            told = f"{len(names) - doubts - wrong} | {doubts} | {wrong}" if names else "no run, exit code 4 | |"
            rows.append(f"| {fault.name.replace('|', '/')} | {times} | {told} |")
    return "\n".join([*rows, "", f"{sums(runs)}."])
