"""`check --watch-files` and `run --watch-files`: for somebody who edits and waits."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.group_support import BASE_IMAGE
from tests.own_runs import PYTHON, Project
from tests.test_cli import COMMAND, Answer, ask, clean_surroundings, wait_until

__all__ = ["ask", "clean_surroundings"]  # fixtures: the command in this process, and nothing from outside for it

STUBBORN = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(100)\n"
LEAVES = """\
import signal, sys, time
signal.signal(15, lambda *_: sys.exit(0))
print('ready', flush=True)
while True: time.sleep(0.05)
"""
CHECK = ("check", "--ready-log", "ready", "--timeout", "1s", "--watch-files")
IN_FOLDER = ("--", PYTHON, "app.py")


class Session:
    """The command at work; what it writes is read all the time."""

    def __init__(self, *words: object) -> None:
        self.host = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.host.stdout is not None
        for line in self.host.stdout:
            self._lines.append(line)

    @property
    def text(self) -> str:
        """What was written so far, each run of blanks as one."""
        return " ".join("".join(self._lines).split())

    def until(self, text: str, times: int = 1) -> None:
        """Wait until it was written so often."""
        deadline = time.monotonic() + 60
        while self.text.count(text) < times and self.host.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.text.count(text) >= times, "".join(self._lines)

    def waits(self, times: int) -> None:
        """Wait until so many tries have ended."""
        self.until("waiting for a change of", times)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """By Ctrl-C; gives its exit code."""
        self.host.send_signal(number)
        code = self.host.wait(60)
        self._reader.join(60)
        assert "Traceback" not in self.text
        return code


@pytest.fixture(autouse=True)
def folder(clean_surroundings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder below, so that a test has a place beside it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def begun() -> Iterator[list[Session]]:
    """Sessions that have ended when the test has."""
    sessions: list[Session] = []
    yield sessions
    for session in sessions:
        if session.host.poll() is None:
            session.host.kill()
        session.host.wait(60)


def begin(begun: list[Session], *words: object) -> Session:
    """A session that ends with the test."""
    begun.append(Session(*words))
    return begun[-1]


@pytest.fixture
def project(folder: None) -> Project:
    """Where scenario files are written."""
    return Project(Path.cwd(), f"s{uuid.uuid4().hex[:12]}")


def test_a_check_is_tried_again_when_its_program_was_edited(begun: list[Session]) -> None:
    """It says what changed, and what the stop was and is; Ctrl-C ends with the exit code of the last try."""
    Path("app.py").write_text(STUBBORN)
    session = begin(begun, *CHECK, *IN_FOLDER)
    session.waits(1)
    assert "waiting for a change of 1 file; Ctrl-C ends with exit code 1" in session.text
    Path("app.py").write_text(LEAVES)
    session.waits(2)
    assert re.search(r"-- \d\d:\d\d:\d\d app\.py changed: try 2 of ", session.text.replace("──", "--"))
    assert "was killed (signal-ignored), is graceful after" in session.text
    assert session.end() == 0


def test_a_bad_last_try_is_the_exit_code(begun: list[Session]) -> None:
    """Also where an earlier one was good, and for the other signals that end a session."""
    Path("app.py").write_text(LEAVES)
    session = begin(begun, *CHECK, *IN_FOLDER)
    session.waits(1)
    Path("app.py").write_text(STUBBORN)
    session.waits(2)
    assert session.end(signal.SIGTERM) == 1


def test_a_file_that_changes_during_a_try_is_tried_next(begun: list[Session]) -> None:
    """Whoever saves while a stop lasts does not have to save again."""
    Path("app.py").write_text(STUBBORN.replace("print(", "open('../seen', 'w').close(); print("))
    session = begin(begun, *CHECK, *IN_FOLDER)
    wait_until(lambda: Path("../seen").exists(), "the first try runs")
    Path("app.py").write_text(LEAVES)
    session.until("is graceful after")
    assert "app.py changed: try 2" in session.text
    assert session.end() == 0


def test_what_the_program_writes_itself_ends_no_wait_for_ever(begun: list[Session]) -> None:
    """After three tries in a row it is known as the program's own; an edit still is one."""
    Path("app.py").write_text("open('app.log', 'a').write('started\\n')\n" + LEAVES)
    session = begin(begun, *CHECK, *IN_FOLDER)
    session.until("app.log changes during every try, and is not waited for while one lasts")
    assert "app.log changed: try 3" in session.text
    assert "try 4" not in session.text
    Path("app.py").write_text("open('app.log', 'a').write('started\\n')\n" + STUBBORN)
    session.until("app.py changed: try 4")
    session.waits(4)
    assert session.end() == 1


def test_a_mistake_in_a_scenario_is_told_and_waited_for(begun: list[Session], project: Project) -> None:
    """Of the first try and of a later one; the difference is to the last try that stopped something."""
    file = project.scenario("web", code=7, repeat=1)
    text = file.read_text()
    file.write_text(text.replace("repeat:", "repaet:"))
    session = begin(begun, "run", file, "--engine", "process", "--watch-files")
    session.until("unknown key; did you mean `repeat`?")
    session.until("Ctrl-C ends with exit code 2")
    file.write_text(text)
    session.until("Ctrl-C ends with exit code 1")
    file.write_text(text + "nonsense\n")
    session.until("Ctrl-C ends with exit code 2", 2)
    project.scenario("web", code=0, repeat=1)
    session.until("web at 10 s: was crashed (crash-on-stop), is graceful after")
    session.until("Ctrl-C ends with exit code 0")
    assert "report: reports/" in session.text
    assert session.end() == 0


def test_a_new_scenario_in_a_folder_is_run(begun: list[Session], project: Project) -> None:
    """And what the run itself writes there is no reason for another."""
    project.scenario("one", repeat=1)
    words = ("run", ".", "--engine", "process", "--watch-files", "--junitxml", "stops.xml")
    session = begin(begun, *words)
    session.waits(1)
    project.scenario("two", repeat=1)
    session.waits(2)
    assert "two.yaml changed: try 2" in session.text
    assert "two at 10 s: is new" in session.text
    assert session.end() == 0
    assert "try 3" not in session.text


def test_ctrl_c_during_a_try_ends_that(begun: list[Session], project: Project) -> None:
    """As in any run: what was started is removed, and the exit code says so."""
    Path("app.py").write_text(STUBBORN)
    session = begin(begun, *CHECK[:-1], "--timeout", "30s", "--watch-files", *IN_FOLDER, project.word)
    wait_until(lambda: bool(project.processes()), "the subject runs")
    session.until("1 s: killed")
    assert session.end() == 130
    wait_until(lambda: not project.processes(), "nothing is left of it")


def test_each_try_as_json_is_a_document(begun: list[Session]) -> None:
    """On standard output; all else is on standard error."""
    Path("app.py").write_text(STUBBORN)
    with Path("../out.json").open("w") as out, Path("../err").open("w") as err:
        host = subprocess.Popen([*COMMAND, *CHECK, "--json", *IN_FOLDER], stdout=out, stderr=err)
        try:
            wait_until(lambda: "waiting for" in Path("../err").read_text(), "the first try has ended")
            Path("app.py").write_text(LEAVES)
            wait_until(lambda: Path("../err").read_text().count("waiting for") == 2, "the second try has ended")
        finally:
            host.send_signal(signal.SIGINT)
            assert host.wait(60) == 0
    decoder, text, outcomes = json.JSONDecoder(), Path("../out.json").read_text(), []
    while text.strip():
        document, end = decoder.raw_decode(text.lstrip())
        outcomes.append(document["trials"][0]["outcome"])
        text = text.lstrip()[end:]
    assert outcomes == ["killed", "graceful"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("check", "web"), "an image alone has none: use --build DIR"),
        (("check", "--container", "web"), "--watch-files does not go with --container"),
        (("check", "--kubernetes", "-"), "standard input can be read once"),
        (("check", "--build", ".", "--predict"), "--watch-files does not go with --predict"),
        (("run", "--resume", "reports/latest"), "--watch-files does not go with --resume"),
        (("run", "nowhere.yaml"), "nowhere.yaml: no such file or folder"),
    ],
)
def test_what_no_edit_can_change_is_refused(words: tuple[str, ...], said: str, ask: Callable[..., Answer]) -> None:
    """At once, with exit code 2."""
    answer = ask(*words, "--watch-files")
    assert (answer.code, said in answer.err) == (2, True), answer.err


@pytest.mark.docker
def test_an_image_is_built_and_stopped_again(begun: list[Session], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real engine: a Dockerfile in shell form, one that does not build, and the cure."""
    for name in ("DOCKER_CONTEXT", "STOP_HARNESS_ENGINE_SOCKETS"):
        monkeypatch.delenv(name, raising=False)
    Path("app").mkdir()
    Path("app/app.py").write_text(LEAVES)
    dockerfile = Path("app/Dockerfile")
    beginning = f"FROM {BASE_IMAGE}\nCOPY app.py /\n"
    dockerfile.write_text(beginning + "CMD python3 -u /app.py; true\n")
    session = begin(begun, "check", "--build", "app", "--ready-log", "ready", "--timeout", "2s", "--watch-files")
    session.waits(1)
    dockerfile.write_text(beginning + "CDM x\n")
    session.until("does not build")
    dockerfile.write_text(beginning + 'CMD ["python3", "-u", "/app.py"]\n')
    session.until("was killed (shell-not-forwarding), is graceful after")
    session.waits(3)
    assert session.end() == 0
