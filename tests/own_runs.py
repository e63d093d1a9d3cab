"""Small runs of the installed command on the process engine, for tests of the command's own troubles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stop_harness.conductor import store
from stop_harness.model import Outcome

COMMAND = str(Path(sys.executable).with_name("stop-harness"))
PYTHON = os.path.realpath(sys.executable)

STAYS = "stays"

APP = f"""
import os, signal, sys, time
def on_stop(*_):
    if sys.argv[2] == "{STAYS}":
        open("stopping", "a").close()
        return
    time.sleep(float(sys.argv[2]))
    os._exit(int(sys.argv[3]))
signal.signal(signal.SIGTERM, on_stop)
print("ready", flush=True)
while True:
    time.sleep(0.05)  # not pause(): a signal just before it would wait for the next one
"""
"""Arguments: a word to find it by; seconds from SIGTERM to its end, or that it stays and writes a file; exit code."""


def command_line_files() -> Iterator[Path]:
    """/proc/PID/cmdline of every process. Reading one of a process that is gone by then raises OSError, as would a
    pattern for the whole path, which looks whether the file is there."""
    return (folder / "cmdline" for folder in Path("/proc").glob("[0-9]*"))


@dataclass(frozen=True)
class Project:
    """A folder with scenario files; every process of their containers carries `word` in its command line."""

    folder: Path
    word: str

    @property
    def reports(self) -> Path:
        """Where runs are written."""
        return self.folder / "reports"

    def scenario(self, name: str, *, drain_s: float = 0, code: int = 0, repeat: int = 4, extra: str = "") -> Path:
        """A container that leaves so long after SIGTERM with an exit code; the scenario's file."""
        (self.folder / "app").mkdir(exist_ok=True)
        (self.folder / "app" / "Dockerfile").write_text("FROM scratch\n")
        (self.folder / "app" / "app.py").write_text(APP)
        command = json.dumps([PYTHON, str(self.folder / "app/app.py"), self.word, str(drain_s), str(code)])
        file = self.folder / f"{name}.yaml"
        file.write_text(
            f"version: 1\nname: {name}\nsubject:\n  build: app\n  command: {command}\nready: {{log: ready}}\n"
            f"stop: {{timeouts: [10s]}}\nrepeat: {repeat}\n{extra}"
        )
        return file

    def run_line(self, *arguments: object) -> str:
        """The shell command of a run of every scenario."""
        return " ".join(
            [COMMAND, "run", str(self.folder), "--engine process", f"--report-dir {self.reports}", *map(str, arguments)]
        )

    def run_directory(self) -> Path:
        """The only run."""
        (found,) = (path for path in self.reports.iterdir() if path.is_dir() and not path.is_symlink())
        return found

    def outcomes(self) -> dict[str, Outcome]:
        """Outcome by trial id, from the journal; a half line in it would be refused."""
        return {item.trial_id: item.outcome for item in store.read(self.run_directory())[1]}

    def processes(self) -> list[str]:
        """Command lines of living processes of the containers and of what holds them."""
        found = []
        for entry in command_line_files():
            try:
                line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f" {self.word} " in line and COMMAND not in line:
                found.append(line)
        return found


@dataclass(frozen=True)
class Answer:
    """What a shell command came to."""

    code: int
    out: str
    err: str


def shell(line: str, project: Project, **environment: str) -> Answer:
    """A line of bash in the project's folder; never a traceback."""
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=project.folder,
        env={**surroundings(), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


def surroundings() -> dict[str, str]:
    """This environment without settings of the command and without a container engine."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("STOP_HARNESS_", "DOCKER_"))}
    return {**ours, "DOCKER_CONTEXT": "default", "STOP_HARNESS_ENGINE_SOCKETS": ""}


def wait_until(holds: Callable[[], object], what: str, within_s: float = 60) -> None:
    """Return as soon as it holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {within_s} s until {what}"
        time.sleep(0.01)
