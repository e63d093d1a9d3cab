"""The command itself: options, files, messages and exit codes, as a user and as a CI job meet them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import jsonschema
import pytest

from stop_harness._version import VERSION
from stop_harness.cli import main
from stop_harness.engines.docker.host import SOCKETS_VARIABLE
from stop_harness.engines.simulated import Script, SimulatedEngine
from stop_harness.scenario import scenario_file
from stop_harness.trial.perform import Interruption
from tests import test_pipeline
from tests.own_runs import APP, STAYS, command_line_files

COMMAND = [str(Path(sys.executable).with_name("stop-harness"))]
PYTHON = os.path.realpath(sys.executable)
DEAD = "unix:///nonexistent.sock"
COMMANDS = ("run", "check", "validate", "plan", "judge", "report", "init", "schema", "doctor", "clean", "trend")
VALID = "version: 1\nname: web\nsubject: {image: web}\nstop: {timeouts: [2s, 30s]}\n"


@dataclass(frozen=True)
class Answer:
    """What a call of the command came to."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, no settings from outside, no container engine."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith(("STOP_HARNESS_", "DOCKER_", "TESTCONTAINERS_")) or name in {"NO_COLOR", "CI", "COLUMNS"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    monkeypatch.setenv(SOCKETS_VARIABLE, "")


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """The command's entry point in this process: the same code without the start of an interpreter."""

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["stop-harness", *map(str, arguments)])
        code = main.perform()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Answer(code, captured.out, captured.err)

    return call


def shell(*arguments: object, **environment: str) -> Answer:
    """The installed command as a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Project:
    """A scenario file for the process engine, and how to find its processes."""

    file: Path
    word: str

    @property
    def stopping(self) -> Path:
        """Exists once the container has been asked to stop."""
        return self.file.parent / "app" / "stopping"

    def processes(self) -> list[str]:
        """Command lines of living processes of the run that carry the project's word: helper and container."""
        found = []
        for entry in command_line_files():
            try:
                line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if self.word in line:
                found.append(line)
        return found


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Makes a scenario whose container leaves at once with a code, or stays; nothing of it may be alive at the end."""
    word = f"s{uuid.uuid4().hex[:12]}"
    project = Project(tmp_path / f"{word}.yaml", word)

    def make(how: str = "0", code: int = 0, timeouts: str = "[5s]", extra: str = "") -> Project:
        folder = tmp_path / "app"
        folder.mkdir()
        (folder / "Dockerfile").write_text("FROM scratch\n")
        (folder / "app.py").write_text(APP)
        command = json.dumps([PYTHON, str(folder / "app.py"), word, how, str(code)])
        project.file.write_text(
            f"version: 1\nname: {word}\nsubject:\n  build: app\n  command: {command}\n"
            f"ready: {{log: ready}}\nstop: {{timeouts: {timeouts}}}\n{extra}"
        )
        return project

    yield make
    wait_until(lambda: not project.processes(), "no process of the run is left")


def wait_until(holds: Callable[[], bool], what: str, within_s: float = 60) -> None:
    """Return as soon as it holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {within_s} s until {what}"
        time.sleep(0.01)


def run_directory(parent: Path) -> Path:
    """The only run below a report directory."""
    (found,) = (path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    return found


def simulated_run(parent: Path) -> Path:
    """The directory of a run of two trials, one of which failed."""
    engine = SimulatedEngine({"bad": Script(exit_code=3)})
    directory = test_pipeline.run(
        engine, test_pipeline.scenario("bad"), test_pipeline.scenario("good"), report_dir=parent
    ).directory
    assert directory is not None
    return directory


# ── Help ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_help_names_every_command_and_the_exit_codes(ask: Callable[..., Answer]) -> None:
    """What a user sees first."""
    answer = ask("--help")
    assert answer.code == 0
    assert all(re.search(rf"^  {name} +\w", answer.out, re.MULTILINE) for name in COMMANDS)
    assert "130 interrupted" in answer.out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_that_fits_the_screen(name: str, ask: Callable[..., Answer]) -> None:
    """80 columns; those that judge say what their exit codes mean."""
    answer = ask(name, "--help")
    assert answer.code == 0
    assert max(map(len, answer.out.splitlines())) <= 80
    assert ("Exit codes: 0 every expectation met" in answer.out) is (name in {"run", "check", "judge", "report"})


def test_the_version_is_told(ask: Callable[..., Answer]) -> None:
    """On standard output."""
    assert ask("--version") == Answer(0, f"stop-harness, version {VERSION}\n", "")


def test_without_a_command_the_help_is_shown_and_nothing_passes(ask: Callable[..., Answer]) -> None:
    """A CI job that forgot the command must not be green."""
    answer = ask()
    assert answer.code == 2
    assert "Commands:" in answer.out + answer.err


# ── Bad usage ────────────────────────────────────────────────────────────────────────────────────────────────────────

BAD_USAGE = {
    "unknown command": (["frobnicate"], "No such command 'frobnicate'"),
    "unknown option": (["run", "--nope", "a.yaml"], "No such option.*--nope"),
    "an option twice": (
        ["check", "--build", "a", "--build", "b"],
        "--build is given more than once; it takes one value",
    ),
    "an option twice, judge": (
        ["judge", "a", "--color", "never", "--color", "always"],
        "--color is given more than once",
    ),
    "an option twice, trend": (["trend", "a", "--output", "b", "--output", "c"], "--output is given more than once"),
    "an option twice, ecs serve": (["ecs", "serve", "--port", "0", "--port", "0"], "--port is given more than once"),
    "an option twice, stop-task": (["stop-task", "--task", "a", "--task", "b"], "--task is given more than once"),
    "no engine of its own": (["ecs", "serve", "--engine", "docker"], "No such option '--engine'"),
    "no such command": (
        ["check", "--", "nosuchcmd"],
        "no command 'nosuchcmd' is installed here.*stop-harness check IMAGE -- COMMAND",
    ),
    "a command on docker": (["check", "--engine", "docker", "--", "true"], "--engine docker needs an image"),
    "a Compose file": (["run", "compose.yml"], "Compose file.*: stop-harness check --compose compose.yml SERVICE"),
    "a task definition": (
        ["run", "task.json"],
        "task definition.*: stop-harness check --task-definition task.json",
    ),
    "no path": (["run"], "Missing argument 'PATHS...'"),
    "no such path": (["run", "nowhere"], "nowhere: no such file or folder"),
    "folder without scenarios": (["run", "empty"], "empty: no scenario in this folder"),
    "empty file": (["run", "/dev/null"], "/dev/null:1:1: the file is empty"),
    "endless file": (["validate", "/dev/zero"], "/dev/zero:1:1: larger than 1 MiB"),
    "shard": (["run", "a.yaml", "--shard", "3/2"], "--shard '3/2' is not of the form I/N"),
    "jobs": (["run", "a.yaml", "--jobs", "0", "--engine", "process"], "--jobs '0' is neither `auto` nor a number"),
    "repeat": (["run", "a.yaml", "--repeat", "0"], "0 is not in the range 1<=x<=10000"),
    "seed": (["plan", "a.yaml", "--seed", "x"], "'x' is not a valid integer"),
    "engine": (
        ["run", "a.yaml", "--engine", "dokcer"],
        "--engine 'dokcer' is not known; allowed: auto, docker, process",
    ),
    "colour": (["run", "a.yaml", "--color", "mauve"], "'mauve' is not one of 'auto', 'always', 'never'"),
    "report directory": (
        ["run", "a.yaml", "--report-dir", "/dev/null/x"],
        "cannot write reports to /dev/null/x: Not a d",
    ),
    "report directory is a file": (["run", "a.yaml", "--report-dir", "a.yaml"], "'a.yaml' is a file"),
    "nothing to check": (
        ["check"],
        "check needs one of IMAGE, --build DIR, --compose FILE, --kubernetes FILE, --task-definition FILE",
    ),
    "two things to check": (
        ["check", "a", "--build", "."],
        "--container NAME; not IMAGE and --build DIR together",
    ),
    "build without Dockerfile": (["check", "--build", "."], "--build .: there is no Dockerfile in that folder"),
    "build without folder": (["check", "--build", "none"], "--build none: there is no such folder"),
    "build of a file": (["check", "--build", "a.yaml"], "--build a.yaml: a folder is needed, not a file"),
    "link to nothing": (["run", "nowhere.yaml"], "nowhere.yaml: a link to nothing"),
    "env": (["check", "a", "--env", "X"], "--env 'X' is not of the form KEY=VALUE"),
    "timeout": (["check", "a", "--timeout", "-1s"], "'-1s' is negative; a duration is 0 or more"),
    "timeout without unit": (["check", "a", "--timeout", "30"], "'30' is not a duration; write a number with a unit"),
    "signal": (["check", "a", "--signal", "SIGTRM"], "'SIGTRM' is not a signal; write a name such as SIGTERM"),
    "memory": (["check", "a", "--memory", "lots"], "'lots' is not a size; write a whole number with a unit"),
    "regular expression": (["check", "a", "--ready-log", "("], r"'\(' is not a regular expression"),
    "http port": (["check", "a", "--ready-http", "²"], "--ready-http '²' is not of the form PORT or PORT/PATH"),
    "gRPC without a method": (
        ["check", "a", "--traffic-grpc", "50051"],
        "--traffic-grpc '50051' is not of the form PORT/SERVICE/METHOD",
    ),
    "an idle path": (["check", "a", "--traffic-idle", "80/x"], "--traffic-idle '80/x' is not of the form PORT"),
    "no port of traffic": (["check", "a", "--traffic-sse", "/x"], "--traffic-sse '/x' is not of the form PORT or P"),
    "message to nobody": (["check", "a", "--traffic-message", "x"], "--traffic-message goes with --traffic-websocket"),
    "clients of nothing": (["check", "a", "--clients", "3"], "--clients goes with a kind of traffic"),
    "TLS with nobody": (["check", "a", "--traffic-tls"], "--traffic-tls goes with a kind of traffic"),
    "exit code": (["check", "a", "--exit-code", "300"], "300 is not allowed; needed: less than or equal to 255"),
    "no Compose file": (["check", "--compose", "nowhere", "web"], "nowhere: cannot be read: No such file"),
    "no such service": (["check", "--compose", "compose.yml", "web"], "no service 'web'; services: db"),
    "no run": (["judge", "nowhere"], "nowhere is not a run directory"),
    "a folder that is no run": (["report", "."], r"\. is not a run directory: run.json: No such file"),
    "file exists": (["init", "a.yaml"], "a.yaml exists; name another file, or --force"),
    "folder missing": (["init", "no/such/a.yaml"], "cannot write no/such/a.yaml: No such file or directory"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_USAGE.values(), ids=BAD_USAGE.keys())
def test_bad_usage_is_explained_and_exits_with_2(
    arguments: list[str], message: str, ask: Callable[..., Answer]
) -> None:
    """On standard error, before anything starts, without a trace in the file system."""
    Path("a.yaml").write_text(VALID)
    Path("empty").mkdir()
    Path("nowhere.yaml").symlink_to("nowhere.yaml")
    Path("compose.yml").write_text("services: {db: {image: a}}\n")
    Path("task.json").write_text('{"containerDefinitions": []}')
    answer = ask(*arguments)
    assert answer.code == 2
    assert re.search(message, answer.err)
    assert answer.out == ""
    assert not Path("reports").exists() or not any(Path("reports").iterdir())


def test_every_mistake_of_every_file_is_printed(ask: Callable[..., Answer]) -> None:
    """As file:line:column, so that editors and CI can jump there."""
    Path("a.yaml").write_text(VALID + "redy: {}\nrepeat: no\n")
    Path("b.yaml").write_text("version: 1\nname: web\nsubject:\n\timage: a\n")
    answer = ask("validate", ".")
    assert answer.code == 2
    assert re.findall(r"(\w\.yaml:\d+:\d+):", answer.err) == ["a.yaml:5:1", "a.yaml:6:1", "b.yaml:4:1"]
    assert "did you mean `ready`?" in answer.err


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_init_writes_a_scenario_that_is_valid(ask: Callable[..., Answer]) -> None:
    """As it is, and where it is asked to; a second time only when forced."""
    assert ask("init").code == 0
    assert ask("validate", "stop-harness.yaml") == Answer(0, "1 scenario is valid\n", "")
    assert ask("init").code == 2
    Path("stop-harness.yaml").write_text("mine")
    assert ask("init", "--force").code == 0
    assert ask("validate", ".").code == 0


def test_every_key_that_init_mentions_is_one(ask: Callable[..., Answer]) -> None:
    """The commented lines work when their # is taken away."""
    ask("init", "a.yaml")
    text = Path("a.yaml").read_text()
    uncommented = re.sub(r"^( *)# (?=[a-z-]+: |- \{)", r"\1", text.partition("\n")[2], flags=re.MULTILINE)
    assert uncommented.count("#") < text.count("#") - 6
    assert scenario_file.parse(uncommented).subject.init


@pytest.mark.parametrize("arguments", [["schema"], ["schema", "--results"]])
def test_schema_prints_a_json_schema(arguments: list[str], ask: Callable[..., Answer]) -> None:
    """Of scenario files and of results.json."""
    answer = ask(*arguments)
    assert answer.code == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(answer.out))


def test_plan_prints_the_trials_and_how_long_they_take(ask: Callable[..., Answer]) -> None:
    """Ids on standard output, one a line, longest first; the estimate on standard error."""
    Path("a.yaml").write_text(VALID)
    answer = ask("plan", "a.yaml", "--repeat", "2", "--jobs", "1")
    assert answer.out.splitlines() == ["web@30s#1", "web@30s#2", "web@2s#1", "web@2s#2"]
    said = r"4 trials, about \S+, at most about 1m1\ds if every stop lasts its whole timeout\n"
    assert re.fullmatch(said, answer.err)


def test_shards_of_a_plan_are_the_whole_plan(ask: Callable[..., Answer]) -> None:
    """Put together, nothing is missing and nothing double."""
    Path("a.yaml").write_text(VALID)
    whole = ask("plan", "a.yaml", "--repeat", "5").out.splitlines()
    parts = [ask("plan", "a.yaml", "--repeat", "5", "--shard", f"{index}/3").out.splitlines() for index in (1, 2, 3)]
    assert sorted(parts[0] + parts[1] + parts[2]) == sorted(whole)


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_settings_come_from_option_then_environment_then_pyproject_then_default(
    ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen in the number of trials that `plan` prints."""

    def trials(*arguments: str) -> int:
        return len(ask("plan", "a.yaml", *arguments).out.splitlines())

    Path("a.yaml").write_text("version: 1\nname: web\nsubject: {image: web}\n")
    assert trials() == 1
    Path("pyproject.toml").write_text("[tool.stop-harness]\nrepeat = 2\n")
    assert trials() == 2
    monkeypatch.setenv("STOP_HARNESS_REPEAT", "3")
    assert trials() == 3
    assert trials("--repeat", "4") == 4


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[tool.stop-harness]\njbos = 3\n", "pyproject.toml: .*jbos: unknown key; allowed: "),
        ("[tool.stop-harness]\nrepeat = 'often'\n", "'often' is not a valid integer"),
        ("[tool.stop-harness]\nreport-dir = 5\nengine = 'x'\n", "--engine 'x' is not known"),
        ("[tool.stop-harness]\nfail-fast = 'maybe'\n", "'maybe' is not a valid boolean"),
        ("[tool]\nstop-harness = 3\n", "a table is needed"),
        ("[tool.stop-harness", "cannot be read"),
    ],
)
def test_a_mistake_in_the_settings_exits_with_2(toml: str, message: str, ask: Callable[..., Answer]) -> None:
    """Never silently ignored, never a traceback."""
    Path("a.yaml").write_text(VALID)
    Path("pyproject.toml").write_text(toml)
    answer = ask("run", "a.yaml")
    assert answer.code == 2
    assert re.search(message, answer.err)


def test_a_mistake_in_the_environment_exits_with_2(ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named."""
    Path("a.yaml").write_text(VALID)
    monkeypatch.setenv("STOP_HARNESS_REPEAT", "often")
    answer = ask("plan", "a.yaml")
    assert answer.code == 2
    assert "STOP_HARNESS_REPEAT" in answer.err


# ── Runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_engine_is_an_error_of_its_own(make_project: Callable[..., Project]) -> None:
    """`--engine docker` without Docker: exit code 4, what was tried, and no report directory."""
    answer = shell("run", make_project().file, "--engine", "docker", **{SOCKETS_VARIABLE: "/nonexistent.sock"})
    assert answer.code == 4
    assert "unix:///nonexistent.sock: No such file or directory" in answer.err
    assert not Path("reports").exists() or not any(Path("reports").iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "web"],
        ["check", "web", "--predict"],
        ["check", "web", "--sweep-start"],
        ["check", "--build", "app"],
        ["check", "--task-definition", "task.json"],
        ["run", "a.yaml"],
        ["clean"],
        ["ecs", "serve"],
    ],
    ids=" ".join,
)
def test_an_engine_that_was_named_is_not_replaced(
    ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """`--engine auto` and a dead DOCKER_HOST: exit code 4 and one sentence, also where the embedded engine could run
    the subject. What it would say is about another engine than the one that was meant."""
    Path("a.yaml").write_text(VALID)
    Path("app").mkdir()
    Path("app/Dockerfile").write_text('FROM scratch\nCMD ["sleep", "1"]\n')
    container = {"name": "web", "image": "web", "memory": 64, "essential": True}
    Path("task.json").write_text(json.dumps({"family": "web", "containerDefinitions": [container]}))
    monkeypatch.setenv("DOCKER_HOST", DEAD)
    answer = ask(*arguments)
    assert answer.code == 4
    said = f"stop-harness: DOCKER_HOST: no engine answers at {DEAD}: No such file or directory\n"
    assert answer.err.startswith(said)
    assert answer.out == ""
    assert not Path("reports").exists() or not any(Path("reports").iterdir())


@pytest.mark.parametrize("option", [[], ["--predict"], ["--sweep-start"]], ids=str)
def test_an_image_without_an_engine_is_said_in_one_sentence(ask: Callable[..., Answer], option: list[str]) -> None:
    """Nothing was named and nothing answers: the embedded engine runs no images, so that is exit code 4, not 3."""
    answer = ask("check", "web", *option)
    assert answer.code == 4
    assert answer.err.count("\n") == 1
    assert re.search(r"no container engine answers \(.*\), and web needs one: start Docker or Podman", answer.err)


def test_doctor_exits_with_4_where_no_container_engine_answers(
    ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was tried; the embedded engine is described all the same, and `auto` takes it unless one was named."""
    answer = ask("doctor")
    assert answer.code == 4
    assert "docker: does not answer" in answer.out
    assert "--engine auto would use: process" in answer.out
    monkeypatch.setenv("DOCKER_HOST", DEAD)
    answer = ask("doctor")
    assert answer.code == 4
    assert "--engine auto would use: none" in answer.out


def test_a_scenario_that_was_skipped_is_no_pass_unless_that_was_asked_for(
    make_project: Callable[..., Project], ask: Callable[..., Answer]
) -> None:
    """3 where `auto` found no engine that runs images, 0 where `--engine process` was named, which runs none; `judge`
    and `report` of the stored run agree."""
    project = make_project()
    Path("image.yaml").write_text(VALID)
    for engine, wanted in (("auto", 3), ("process", 0)):
        answer = ask("run", project.file, "image.yaml", "--engine", engine, "--report-dir", engine)
        assert answer.code == wanted, answer.err
        assert "skipped  web: the process engine runs no images" in answer.out
        directory = run_directory(Path(engine))
        assert ask("judge", directory).code == wanted
        assert ask("report", directory).code == wanted


def test_auto_falls_back_to_the_embedded_engine_and_says_so(
    make_project: Callable[..., Project], ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line with what it cannot prove; the run itself passes, fits 80 columns and has no colours."""
    monkeypatch.setenv("NO_COLOR", "1")
    answer = ask("run", make_project().file)
    assert answer.code == 0, answer.err
    (line,) = (line for line in answer.err.splitlines() if line.startswith("no container engine ("))
    assert "using the embedded `process` engine: " in line
    assert max(map(len, answer.out.split("\nreport: ")[0].splitlines())) <= 80
    assert "\x1b" not in answer.out + answer.err
    assert answer.out.rstrip().endswith("report.html")
    assert (Path("reports/latest") / "report.html").is_file()


@pytest.mark.parametrize(
    ("how", "code", "extra", "wanted"),
    [
        ("0", 3, "", 1),
        ("0", 3, "expect: {exit_codes: 3}\n", 0),
        (STAYS, 0, "", 1),
        (STAYS, 0, "expect: {outcome: killed}\n", 0),
    ],
)
def test_the_exit_code_says_whether_expectations_were_met(  # noqa: PLR0917
    make_project: Callable[..., Project], ask: Callable[..., Answer], how: str, code: int, extra: str, wanted: int
) -> None:
    """0 and 1, whatever the outcome was."""
    project = make_project(how, code, timeouts="[200ms]", extra=extra)
    assert ask("run", project.file, "--engine", "process").code == wanted


def test_a_container_that_never_becomes_ready_exits_with_3(
    make_project: Callable[..., Project], ask: Callable[..., Answer]
) -> None:
    """Inconclusive: not its failure, and not a pass; the reason is printed."""
    project = make_project()
    text = project.file.read_text().replace("{log: ready}", "{log: never, timeout: 300ms}")
    project.file.write_text(text)
    answer = ask("run", project.file, "--engine", "process")
    assert answer.code == 3
    assert "not ready" in answer.out + answer.err


def test_a_run_can_be_judged_and_reported_again(
    make_project: Callable[..., Project], ask: Callable[..., Answer]
) -> None:
    """`judge` writes nothing and finds the same; `report` writes the files anew; both give the run's exit code."""
    project = make_project(code=3)
    assert ask("run", project.file, "--engine", "process", "--report-dir", "out", "--junitxml", "ci.xml").code == 1
    directory = run_directory(Path("out"))
    assert Path("ci.xml").read_text() == (directory / "junit.xml").read_text()
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    answer = ask("judge", directory)
    assert answer.code == 1
    assert "1 of 1 verdicts are as they were" in answer.out
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before
    (directory / "report.html").unlink()
    assert ask("report", directory).code == 1
    assert (directory / "report.html").read_bytes() == before[directory / "report.html"]


def test_the_same_run_twice_cannot_be_merged(ask: Callable[..., Answer]) -> None:
    """Its containers would count double."""
    directory = simulated_run(Path("out"))
    answer = ask("report", directory, directory)
    assert answer.code == 2
    assert "twice" in answer.err


@pytest.mark.parametrize("content", ["{", '{"run": 1}'])
def test_a_damaged_run_is_explained(ask: Callable[..., Answer], content: str) -> None:
    """With the file and what is wrong with it in one sentence, and exit code 2."""
    directory = simulated_run(Path("out"))
    (directory / "run.json").write_text(content)
    for command in ("judge", "report", "trend"):
        answer = ask(command, directory)
        assert answer.code == 2
        assert "run.json cannot be read: " in answer.err
        assert "validation error" not in answer.err


@pytest.mark.parametrize("place", ["before the others", "behind the others"])
def test_a_line_of_the_journal_that_cannot_be_read_is_named(ask: Callable[..., Answer], place: str) -> None:
    """The others are judged; what is missing then is no pass."""
    directory = simulated_run(Path("out"))
    journal = directory / "trials.jsonl"
    whole = journal.read_text()
    journal.write_text("garbage\n" + whole if place == "before the others" else whole + "garbage\n")
    number = 1 if place == "before the others" else whole.count("\n") + 1
    said = f"line {number} of trials.jsonl cannot be read and was passed over"
    for command in ("judge", "report"):
        answer = ask(command, directory)
        assert answer.code == 1  # as without that line: one of the two failed
        assert said in answer.err
    journal.write_text("garbage\n" * whole.count("\n"))
    assert ask("judge", directory).code == 3


@pytest.mark.parametrize("command", [("check", "nginx"), ("ecs", "serve")])
@pytest.mark.parametrize("limit", ["0", "-2", "many", "4194305"])
def test_pids_limits_are_those_of_scenario_files(
    ask: Callable[..., Answer], command: tuple[str, ...], limit: str
) -> None:
    """The same message from every command."""
    answer = ask(*command, "--pids-limit", limit)
    assert answer.code == 2
    assert "is not allowed; needed: a whole number from 1 to 4194304, or -1 for no limit" in answer.err


def test_a_pids_limit_that_the_engine_does_not_apply_is_refused(ask: Callable[..., Answer]) -> None:
    """With the reason, and only if one was asked for; a bare command is called by its name, and no Dockerfile is
    read."""
    Path("app.py").write_text(APP)
    command = ["--timeout", "5s", "--ready-log", "ready", "--", PYTHON, "app.py", "word", "0", "0"]
    refused = ask("check", "--pids-limit", 50, *command)
    assert refused.code == 3
    assert "engine process does not apply `pids_limit`: it sets no limits" in " ".join(refused.out.split())
    answer = ask("check", *command)
    assert answer.code == 0, answer.err
    assert f"graceful: {Path(PYTHON).name} exited within" in " ".join(answer.out.split())
    assert "Dockerfile" not in answer.err
    assert "apply" not in answer.err


def test_check_of_a_command_needs_no_file() -> None:
    """`check -- COMMAND` prints a verdict, and `--json` the results as JSON and nothing else."""
    Path("app.py").write_text(APP)
    arguments = ["--timeout", "5s", "--ready-log", "ready", "--", PYTHON, "app.py", "word", "0", "0"]
    answer = shell("check", *arguments)
    assert answer.code == 0, answer.err
    assert "graceful" in answer.out.lower()
    results = json.loads(shell("check", "--json", *arguments).out)
    assert [trial["outcome"] for trial in results["trials"]] == ["graceful"]
    assert not Path("reports").exists()


# ── Interruption ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def running(make_project: Callable[..., Project]) -> Iterator[tuple[subprocess.Popen[str], Project]]:
    """A run whose first of many containers has been asked to stop and stays, with a long stop timeout ahead."""
    project = make_project(STAYS, timeouts="[120s]")
    arguments = ["run", str(project.file), "--engine", "process", "--jobs", "1", "--repeat", "5", "--report-dir", "out"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_until(project.stopping.exists, "the container is asked to stop")
        yield process, project
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: signal.Signals(number).name)
def test_one_signal_ends_a_run_cleanly(running: tuple[subprocess.Popen[str], Project], number: int) -> None:
    """Ctrl-C or SIGTERM: long before the stop timeout, exit code 130, the report written, no process left."""
    process, project = running
    assert project.processes()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: ending the trials in flight; once more to leave at once" in errors
    assert "Traceback" not in errors
    assert project.processes() == []
    directory = run_directory(Path("out"))
    (trial,) = (json.loads(line) for line in (directory / "trials.jsonl").read_text().splitlines())
    assert trial["verdict"]["outcome"] == "inconclusive"
    assert json.loads((directory / "run.json").read_text())["run"]["interrupted"]
    assert (directory / "report.html").is_file()


def test_a_second_signal_leaves_at_once(running: tuple[subprocess.Popen[str], Project]) -> None:
    """Two Ctrl-C in a row: exit code 130, and the helper processes still end what they started."""
    process, project = running
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    wait_until(lambda: not project.processes(), "the container is gone", within_s=60)


def test_a_signal_may_come_at_any_moment_of_another() -> None:
    """Two Ctrl-C in a row: the second handler runs within the first one, and waits for nothing that it holds."""
    interruption = Interruption()

    def again(_frame: FrameType, _event: str, _argument: object) -> Any:
        interruption.request()
        return again

    def handle() -> None:
        sys.settrace(again)  # calls it before every line, also of what is called
        interruption.request()
        sys.settrace(None)

    thread = threading.Thread(target=handle, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert interruption.requested
    assert interruption.by_user


@pytest.mark.namespaces
def test_killing_the_harness_leaves_no_process(running: tuple[subprocess.Popen[str], Project]) -> None:
    """`kill -9` cannot be handled: the container's parent notices."""
    process, project = running
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: not project.processes(), "the container is gone", within_s=60)
    stored = run_directory(Path("out"))
    assert (stored / "run.json").is_file()


# ── Output ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "environment", "coloured"),
    [
        ([], {}, False),
        (["--color", "always"], {}, True),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        (["--color", "never"], {}, False),
        ([], {"STOP_HARNESS_COLOR": "always"}, True),
    ],
)
def test_colours_are_for_terminals_and_for_who_asks(
    ask: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str],
    coloured: bool,
) -> None:
    """A pipe gets none by itself; an explicit option counts more than NO_COLOR."""
    directory = simulated_run(Path("out"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    answer = ask("judge", directory, *arguments)
    assert ("\x1b[" in answer.out) is coloured


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """`stop-harness schema | head -1`."""
    command = f"set -o pipefail; {COMMAND[0]} schema | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr


def test_output_without_unicode_is_possible(make_project: Callable[..., Project]) -> None:
    """A console of another century gets plain letters, not an error."""
    answer = shell("run", make_project().file, "--engine", "process", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert answer.code == 0, answer.err
    assert answer.out.isascii()
