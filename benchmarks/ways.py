"""Five ways of stopping the same containers, each a command of its own: what it costs is measured from outside.

The raw ways know nothing of readiness: they stop a container as soon as its start has returned, and what comes of it
is nobody's business. The harness and testcontainers wait for the line `ready`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Cost, command
from benchmarks.mix import BASE_IMAGE, STOP_TIMEOUT_S, Kind, write_scenarios
from stop_harness.engines.docker import host as docker_host

ROOT = Path(__file__).resolve().parent.parent
STOP_HARNESS = str(Path(sys.executable).with_name("stop-harness"))
LABEL = "stop-harness-benchmark"

RAW = """\
#!/bin/sh
# usage: stop-one PROGRAM
container=$(docker run -d --label {label} {image} perl -e "$1") &&
docker stop -t {timeout} "$container" >/dev/null &&
docker rm "$container" >/dev/null
"""

TESTCONTAINERS = """\
import json, pathlib, pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

CASES = json.loads(pathlib.Path(__file__).with_name("cases.json").read_text())


@pytest.mark.parametrize(("name", "command", "exit_code"), CASES)
def test_stop(name, command, exit_code):
    made = DockerContainer("{image}").with_command(command).with_kwargs(labels={{"{label}": "1"}})
    with made.waiting_for(LogMessageWaitStrategy("ready")) as container:
        wrapped = container.get_wrapped_container()
        wrapped.stop(timeout={timeout})
        wrapped.reload()
        assert wrapped.attrs["State"]["ExitCode"] == exit_code
"""


class Bench:
    """A folder for what the ways need, and the engine. `surprises`: what ended otherwise than its kind does."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._made = directory, 0
        self._host = docker_host.find()
        if not self._host.url.startswith("unix://"):
            raise SystemExit(f"benchmarks compare on an engine of this machine, not {self._host.url}")
        self.engine = f"{self._host.info.product} {self._host.info.version}"
        self.surprises: Counter[str] = Counter()
        self.most_in_flight = 0
        self._stop_one = directory / "stop-one"
        self._stop_one.write_text(RAW.format(label=LABEL, image=BASE_IMAGE, timeout=STOP_TIMEOUT_S))
        self._stop_one.chmod(0o755)

    def harness(self, kinds: tuple[Kind, ...], stop_timeout_s: int = STOP_TIMEOUT_S) -> Cost:
        """`stop-harness run FOLDER`: judged and with all reports."""
        folder = self._folder("harness")
        scenarios = write_scenarios(kinds, folder / "scenarios", stop_timeout_s)
        options = ["--engine", "docker", "--jobs", str(len(kinds)), "--report-dir", str(folder / "reports")]
        cost = command([STOP_HARNESS, "run", str(scenarios), *options], good=(0, 1, 3))
        document = folder / "reports/latest/results.json"
        if not document.exists():
            raise SystemExit(f"stop-harness run wrote no results:\n{cost.output[-4000:]}")
        results = json.loads(document.read_text(encoding="utf-8"))["trials"]
        outcomes = {item["scenario"]: item["outcome"] for item in results}
        for number, kind in enumerate(kinds, 1):
            if outcomes.get(f"{number:04d}-{kind.name}") != kind.outcome:
                self.surprises["harness"] += 1
        self.most_in_flight = most_at_once(folder / "reports/latest/trials.jsonl")
        return cost

    def check(self, kind: Kind) -> Cost:
        """`stop-harness check IMAGE`: judged, the verdict on standard output."""
        options = ["--engine", "docker", "--ready-log", "^ready$", "--timeout", f"{STOP_TIMEOUT_S}s"]
        return command([STOP_HARNESS, "check", BASE_IMAGE, *options, "--", *kind.command])

    def shell_loop(self, kinds: tuple[Kind, ...]) -> Cost:
        """`docker run -d`, `docker stop -t`, `docker rm` in a loop, one after the other."""
        programs = self._programs(kinds)
        loop = f'while read -r program; do {self._stop_one} "$program" || exit 1; done < {programs}'
        return self._watched("shell loop", kinds, lambda: command(["sh", "-c", loop]))

    def xargs(self, kinds: tuple[Kind, ...]) -> Cost:
        """The same commands with `xargs -P`, all at once."""
        words = ["xargs", "-a", str(self._programs(kinds)), "-d", "\\n", "-n", "1", "-P", str(len(kinds))]
        return self._watched("xargs", kinds, lambda: command([*words, str(self._stop_one)]))

    def testcontainers(self, kinds: tuple[Kind, ...]) -> Cost:
        """A pytest file, one test a container, one after the other. Its sidecar Ryuk is off: no registry is needed."""
        folder = self._folder("testcontainers")
        cases = [(f"{number}-{kind.name}", kind.command, kind.exit_code) for number, kind in enumerate(kinds, 1)]
        (folder / "cases.json").write_text(json.dumps(cases))
        text = TESTCONTAINERS.format(image=BASE_IMAGE, label=LABEL, timeout=STOP_TIMEOUT_S)
        (folder / "test_stops.py").write_text(text)
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            f"--rootdir={folder}",
        ]
        environment = {"TESTCONTAINERS_RYUK_DISABLED": "true", "DOCKER_HOST": self._host.url}
        return self._watched(
            "testcontainers",
            kinds,
            lambda: command(words, cwd=folder, environment=environment),
        )

    def floor(self, kinds: tuple[Kind, ...]) -> Cost:
        """Four raw calls each to the Engine API, all at once."""
        file = self._folder("floor") / "containers"
        create = [{"Image": BASE_IMAGE, "Cmd": kind.command, "Labels": {LABEL: "1"}} for kind in kinds]
        file.write_text("".join(json.dumps({"create": c, "stop_timeout_s": STOP_TIMEOUT_S}) + "\n" for c in create))
        socket = self._host.url.removeprefix("unix://")
        script = str(Path(__file__).with_name("floor.py"))
        return self._watched("floor", kinds, lambda: command([sys.executable, script, socket, str(file)]))

    def clear(self) -> None:
        """Remove what a failed way left on the engine."""
        client = self._host.connect()
        for item in client.api.containers(all=True, filters={"label": LABEL}):
            client.api.remove_container(item["Id"], force=True, v=True)
        client.close()

    def _folder(self, name: str) -> Path:
        self._made += 1
        folder = self._directory / f"{self._made:03d}-{name}"
        folder.mkdir()
        return folder

    def _programs(self, kinds: tuple[Kind, ...]) -> Path:
        file = self._folder("raw") / "programs"
        file.write_text("".join(f"{kind.command[2]}\n" for kind in kinds), encoding="utf-8")
        return file

    def _watched(self, name: str, kinds: tuple[Kind, ...], run: Callable[[], Cost]) -> Cost:
        """Run it, and compare the exit codes that the engine saw with those that the containers ought to have."""
        with _exit_codes(self._host) as seen:
            cost = run()
        missing = Counter(kind.exit_code for kind in kinds) - Counter(seen)
        self.surprises[name] += missing.total()
        return cost


@contextmanager
def _exit_codes(host: docker_host.DockerHost) -> Iterator[list[int]]:
    """The exit codes of the containers with our label, while the block runs."""
    client = host.connect()
    stream = client.events(decode=True, filters={"type": "container", "event": "die", "label": LABEL})
    seen: list[int] = []
    thread = threading.Thread(
        target=lambda: seen.extend(int(item["Actor"]["Attributes"]["exitCode"]) for item in stream), daemon=True
    )
    thread.start()
    yield seen
    stream.close()
    thread.join(timeout=5)
    client.close()


def most_at_once(journal: Path) -> int:
    """How many trials were between the start of their container and its exit at the same moment, by the record."""
    moments: list[tuple[int, int]] = []
    for line in journal.read_text(encoding="utf-8").splitlines():
        events = json.loads(line)["observation"]["record"]["events"]
        stamps = [event["at_ns"] for event in events if event["clock"] == "harness"]
        moments += [(min(stamps), 1), (max(stamps), -1)]
    now = most = 0
    for _, step in sorted(moments):
        now += step
        most = max(most, now)
    return most
