"""Runs the real command line behind a failing engine, and looks at all that a user would see."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from harness.engines.docker_host import DockerHost
from harness.engines.reaper import OWNER_LABEL
from tests.faults.proxy import MARK, FaultyEngine
from tests.faults.table import FAULTS, TRUTH, Fault

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")

RUN_LIMIT_S = 60
"""A run that takes longer hangs. Without a fault it takes four seconds; a call to the engine has at most
`ENGINE_TIMEOUT_S`, and a trial makes a handful of them."""

ENGINE_TIMEOUT_S = 3
"""For the runs here; users have a minute."""

GONE_PATIENCE_S = 15
"""For what the run could not remove by itself, once the engine is well again."""

AT_ONCE = 6

_LOOP = "echo ready; while :; do sleep 0.1; done"
SUBJECTS = {
    "graceful": f"trap 'exit 0' TERM; {_LOOP}",
    "drained": f"trap 'sleep 1; exit 0' TERM; {_LOOP}",
    "killed": f"trap '' TERM; {_LOOP}",
    "crashed": f"trap 'exit 3' TERM; {_LOOP}",
    "oom": 'trap "x=x; while :; do x=\\$x\\$x; done" TERM; ' + _LOOP,
}
TIMEOUTS_S = {"killed": 1, "oom": 8}

PRELOAD = ["harness.cli", "harness.pipeline", "harness.engines.docker_api", "harness.renderers.html", "pandas"]


@dataclass(frozen=True)
class Seen:
    """One run under one fault. `outcomes`: scenario → (outcome, reason). `ended_after_s` None: it hung and was killed.
    `left`: containers of its own that were there when it had ended; `left_for_good`: and still were later on."""

    fault: Fault
    injected: int
    outcomes: dict[str, tuple[str, str]]
    exit_code: int | None
    ended_after_s: float | None
    report_written: bool
    left: int
    left_for_good: int
    output: str

    @property
    def wrong(self) -> tuple[str, ...]:
        """Verdicts that the fault does not excuse."""
        found = []
        for name, (outcome, reason) in self.outcomes.items():
            truth = TRUTH["graceful" if name == "bystander" else name]
            may_doubt = name not in self.fault.certain and (name != "bystander" or not self.fault.spares_bystander)
            if outcome != truth and not (outcome == "inconclusive" and may_doubt):
                found.append(f"{name} is {truth}, not {outcome}: {reason}")
        return tuple(found)

    @property
    def hung(self) -> bool:
        """It did not end by itself."""
        return self.ended_after_s is None

    @property
    def traceback(self) -> bool:
        """It told the user about its own insides."""
        return "Traceback (most recent call last)" in self.output

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is not as it should be."""
        found = list(self.wrong)
        if self.hung:
            found.append(f"did not end within {RUN_LIMIT_S} s")
        if self.traceback:
            found.append("printed a traceback")
        if not self.injected:
            found.append("the fault was never injected: this proves nothing")
        if self.left_for_good:
            found.append(f"{self.left_for_good} containers were left for good")
        if self.fault.no_run:
            return (*found, *([] if self.exit_code == 4 else [f"exit code {self.exit_code}, not 4"]))
        if len(self.outcomes) != len(self.fault.subjects) + 1:
            found.append(f"{len(self.outcomes)} trials on record, not {len(self.fault.subjects) + 1}")
        if not self.report_written:
            found.append("no report was written")
        if self.left and not self.fault.leftovers_said:
            found.append(f"{self.left} containers were there when it had ended")
        if self.fault.leftovers_said and (self.exit_code != 4 or "could not be removed" not in self.output):
            found.append(f"exit code {self.exit_code}, and not a word on what could not be removed")
        return tuple(found)


class Bench:
    """Runs of a fork server that has everything imported, so that a run costs what its containers cost."""

    def __init__(self, host: DockerHost, folder: Path) -> None:
        self._host, self._folder = host, folder
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)

    def run_all(self, faults: tuple[Fault, ...] = FAULTS) -> list[Seen]:
        """Several at once: most of them wait."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self.run, faults))

    def run(self, fault: Fault) -> Seen:
        """One run of the command line, from its start until nothing is left of it."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        (folder / "scenarios").mkdir()
        for name in fault.subjects:
            (folder / "scenarios" / f"{name}.yaml").write_text(_scenario(name, name, marked=True))
        (folder / "scenarios" / "bystander.yaml").write_text(_scenario("bystander", "graceful", marked=False))
        with FaultyEngine(self._host.url, None if fault.remote else folder / "engine.sock", fault.rules) as proxy:
            process = self._context.Process(target=_command_line, args=(str(folder), proxy.url))
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
            return Seen(
                fault,
                proxy.injected,
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
                    client.remove_container(item["Id"], force=True, v=True)
            client.close()
        return left


def _command_line(folder: str, url: str) -> None:
    """In the forked process: `stop-harness run`, its output in a file."""
    os.setsid()
    output = os.open(f"{folder}/output", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ |= {"DOCKER_HOST": url, "STOP_HARNESS_ENGINE_TIMEOUT": str(ENGINE_TIMEOUT_S), "CI": "1"}
    os.chdir(folder)
    sys.argv = ["stop-harness", "run", "scenarios", "--engine", "docker", "--report-dir", "reports"]
    from harness.cli import main

    main()


def _scenario(name: str, subject: str, *, marked: bool) -> str:
    command = json.dumps(["/bin/sh", "-c", SUBJECTS[subject]])
    memory = ", memory: 32MiB" if subject == "oom" else ""
    environment = f", environment: {{{MARK}: '1'}}" if marked else ""
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


def table(seen: list[Seen]) -> str:
    """For people: one line a fault, and the sums."""
    rows = [f"{'fault':<45} {'injected':>8} {'wrong':>6} {'hang':>5} {'traceback':>10} {'left':>5}  ended after"]
    for item in seen:
        after = "never" if item.ended_after_s is None else f"{item.ended_after_s:.1f} s, exit code {item.exit_code}"
        rows.append(
            f"{item.fault.name:<45} {item.injected:>8} {len(item.wrong):>6} {item.hung:>5d} {item.traceback:>10d} "
            f"{item.left_for_good:>5}  {after}"
        )
        rows += [f"    {problem}" for problem in item.problems]
    rows.append(
        f"{len(seen)} runs, {sum(item.injected for item in seen)} faults injected, "
        f"{sum(len(item.outcomes) for item in seen)} verdicts: {sum(len(item.wrong) for item in seen)} wrong, "
        f"{sum(item.hung for item in seen)} hangs, {sum(item.traceback for item in seen)} tracebacks, "
        f"{sum(item.left_for_good for item in seen)} containers left"
    )
    return "\n".join(rows)


def forget(folder: Path) -> None:
    """The scratch of a bench."""
    shutil.rmtree(folder, ignore_errors=True)
