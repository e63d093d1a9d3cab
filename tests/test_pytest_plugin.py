"""The pytest plugin, in projects of its own: each test starts pytest there, as its user does."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path
from xml.etree import ElementTree

import pytest

from stop_harness.conductor import open_engine
from stop_harness.pytest_plugin import engines

ROOT = Path(__file__).resolve().parent.parent

pytest_plugins = ["pytester"]

LOADED = ("-p", "stop_harness.pytest_plugin")
"""No other plugin that is installed: each takes its time to start."""

APP = """
import signal, sys, time
end = signal.SIG_IGN if sys.argv[1] == "deaf" else lambda *_: sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True:
    time.sleep(0.05)  # a handler that runs just before one long sleep would leave it asleep
"""

TESTS = """
import pytest

APP = ["python3", "stops/app.py"]
READY = {"ready_log": "up", "timeouts": [20]}

def test_a_graceful_stop(stop_harness):
    stop_harness.check(command=[*APP, "good"], **READY).assert_graceful(within=20)

def test_a_bad_stop(stop_harness):
    result = stop_harness.check(command=[*APP, "deaf"], ready_log="up", timeouts=[1])
    result.assert_graceful()

def test_a_stop_in_doubt(stop_harness):
    stop_harness.check(command=[*APP, "good"], ready_log="never", ready_timeout=0.5).assert_graceful()

@pytest.mark.graceful_stop(command=[*APP, "good"], **READY)
def test_marked(graceful_stop):
    assert graceful_stop.outcome == "graceful"

@pytest.mark.graceful_stop(command=[*APP, "deaf"], ready_log="up", timeouts=[1])
def test_marked_and_bad():
    raise RuntimeError("the lines of the test run after a graceful stop only")

@pytest.mark.graceful_stop(command=[*APP, "good"], ready_log="never", ready_timeout=0.5)
def test_marked_and_in_doubt():
    raise RuntimeError("the lines of the test run after a graceful stop only")

def test_a_mistake(stop_harness):
    stop_harness.check(imag="shop/web")
"""

OLD_TEST = """
import unittest

import pytest

class TestOld(unittest.TestCase):
    @pytest.mark.graceful_stop(command=["python3", "stops/app.py", "deaf"], ready_log="up", timeouts=[1])
    def test_old(self):
        pass
"""

HIDING_TEST = """
import pytest

@pytest.fixture
def graceful_stop():
    return None

@pytest.mark.graceful_stop(image="shop/web")
def test_replaced(graceful_stop):
    pass
"""


def scenario(name: str, *, argument: str = "good", ready: str = "up", timeouts: str = "[20s]", more: str = "") -> str:
    """A scenario of the program above."""
    return (
        f"version: 1\nname: {name}\nsubject: {{build: ., command: [python3, app.py, {argument}]}}\n"
        f"ready: {{log: {ready}, timeout: 20s}}\nstop: {{timeouts: {timeouts}}}\n{more}"
    )


class Project:
    """A folder with a program and scenarios in `stops/`."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester, self.stops = pytester, pytester.path / "stops"
        self.stops.mkdir()
        (self.stops / "app.py").write_text(APP)
        (self.stops / "Dockerfile").write_text('FROM scratch\nCOPY . .\nCMD ["python3"]\n')

    def add(self, **scenarios: str) -> None:
        """Scenario files, by their names."""
        for name, text in scenarios.items():
            (self.stops / f"{name}.yaml").write_text(text)

    def pytest(self, *arguments: str) -> pytest.RunResult:
        """pytest in this folder, on the engine that is always there. Loads no plugins but this, and those named."""
        return self.pytester.runpytest_subprocess(*LOADED, "--stop-harness-engine", "process", *arguments, timeout=200)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """One without scenarios yet."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Project(pytester)


@pytest.mark.parametrize("in_ci", [pytest.param(False, marks=pytest.mark.long), True], ids=["by hand", "in CI"])
def test_a_failure_shows_what_check_prints_and_doubt_is_an_error(
    project: Project, monkeypatch: pytest.MonkeyPatch, in_ci: bool
) -> None:
    """Of the fixture and of the mark; no line of ours is in any traceback, and JUnit XML has outcome and duration.

    In CI pytest does not cut the lines of its summary: there, too, each failure has one."""
    monkeypatch.setenv("CI", "true") if in_ci else monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("BUILD_NUMBER", raising=False)
    project.pytester.makepyfile(test_it=TESTS)
    done = project.pytest("--junitxml", "junit.xml", "--stop-harness-report", "reports", "-p", "no:cacheprovider")
    done.assert_outcomes(passed=2, failed=2, errors=3)
    text = done.stdout.str()
    assert "harness/stop_harness" not in text
    assert "RuntimeError" not in text
    assert text.count("cause  PID 1 is") == 2
    assert text.count("cure  ") == 2
    summary = text.partition("short test summary info")[2]
    assert len(re.findall("^(FAILED|ERROR) ", summary, re.MULTILINE)) == len(summary.strip().splitlines()) - 2 == 5
    done.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_a_stop_in_doubt*",
            ">*assert_graceful()",
            "*NotJudged: ? inconclusive*",
            "*UsageError*",
        ]
    )
    done.stdout.fnmatch_lines(["*_ test_marked_and_bad _*", "✘ killed: python3 was still running 1 s after SIGTERM*"])
    done.stdout.fnmatch_lines(["report: reports/*-pytest/report.html"])
    assert (project.pytester.path / "reports" / ".gitignore").read_text() == "*\n"

    cases = {case.get("name"): case for case in ElementTree.parse(project.pytester.path / "junit.xml").iter("testcase")}
    properties = {
        name: {item.get("name"): item.get("value") for item in case.iter("property")} for name, case in cases.items()
    }
    assert properties["test_a_graceful_stop"]["stop_outcome"] == "graceful"
    assert 0 < float(properties["test_a_graceful_stop"]["stop_duration_s"] or 0) < 20
    assert properties["test_marked_and_bad"]["stop_outcome"] == "killed"
    assert properties["test_marked_and_bad"]["stop_cause"] == "signal-ignored"
    assert properties["test_marked_and_in_doubt"]["stop_outcome"] == "inconclusive"
    assert {name for name, case in cases.items() if case.find("failure") is not None} == {
        "test_a_bad_stop",
        "test_marked_and_bad",
    }
    assert sum(case.find("error") is not None for case in cases.values()) == 3

    results = json.loads((project.pytester.path / "reports/latest/results.json").read_text())
    assert (results["summary"]["trials_run"], results["summary"]["outcomes"]["killed"]) == (6, 2)


def test_no_marked_test_passes_without_its_stop(project: Project) -> None:
    """A method of unittest is stopped for as a function is; a fixture that hides ours is told."""
    project.pytester.makepyfile(test_old=OLD_TEST, test_hiding=HIDING_TEST)
    done = project.pytest()
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines_random(
        [
            "*_ test_replaced _*",
            "@pytest.mark.graceful_stop: nothing was stopped: *",
            "*_ TestOld.test_old _*",
            "✘ killed: python3 was still running*",
        ]
    )


def test_scenario_files_are_collected_one_item_a_trial(project: Project) -> None:
    """`-m` and `-k` select among them, expectations count, and what is inconclusive is an error with its reason."""
    project.add(
        good=scenario("good", timeouts="[20s, 21s]", more="repeat: 2\n"),
        deaf=scenario("deaf", argument="deaf", timeouts="[1s]"),
        expected=scenario("expected", argument="deaf", timeouts="[1s]", more="expect: [{outcome: killed}]\n"),
        doubt=scenario("doubt", ready="never").replace("timeout: 20s}", "timeout: 500ms}"),
    )
    project.pytester.makepyfile(test_it="def test_other(): pass")
    done = project.pytest("-v", "-m", "graceful_stop", "-k", "not good or 21s", "--junitxml", "junit.xml")
    done.assert_outcomes(passed=3, failed=1, errors=1, deselected=3)
    done.stdout.fnmatch_lines_random(
        [
            "stops/good.yaml::good?21s-1? PASSED*",
            "stops/good.yaml::good?21s-2? PASSED*",
            "stops/expected.yaml::expected?1s? PASSED*",
            "stops/deaf.yaml::deaf?1s? FAILED*",
            "stops/doubt.yaml::doubt?20s? ERROR*",
            "*cause  PID 1 is*",
            "*cure *",
            "? inconclusive: *",
        ]
    )
    assert "Traceback" not in done.stdout.str()
    assert "harness/stop_harness" not in done.stdout.str()
    cases = {case.get("name"): case for case in ElementTree.parse(project.pytester.path / "junit.xml").iter("testcase")}
    assert cases["deaf[1s]"].find("failure") is not None
    assert cases["doubt[20s]"].find("error") is not None
    assert {item.get("name") for item in cases["good[21s-1]"].iter("property")} == {
        "stop_outcome",
        "stop_timeout_s",
        "stop_duration_s",
    }


def test_side_by_side_the_trials_of_all_workers_are_one_run(project: Project) -> None:
    """The run is the controller's, whoever waits; and the report has what workers stopped by themselves, too."""
    project.add(
        good=scenario("good", timeouts="[20s, 21s, 22s]"), deaf=scenario("deaf", argument="deaf", timeouts="[1s]")
    )
    project.pytester.makepyfile(test_it=TESTS)
    project.pytester.makeconftest(
        """
        import pytest
        from stop_harness.pytest_plugin import SESSION

        @pytest.hookimpl(tryfirst=True)
        def pytest_unconfigure(config):
            if not hasattr(config, "workerinput"):
                for journal in config.stash[SESSION].meeting_place.folder.glob("runs/*/trials.jsonl"):
                    print("kept a run of", len(journal.read_text().splitlines()))
        """
    )
    words = ("-p", "xdist", "-n", "2", "-k", "good or deaf or marked", "--stop-harness-report", "reports")
    done = project.pytest(*words)
    done.assert_outcomes(passed=4, failed=2, errors=1)
    kept = [line for line in done.stdout.lines if line.startswith("kept a run")]
    assert sorted(kept) == ["kept a run of 1"] * 3 + ["kept a run of 4"]
    results = json.loads((project.pytester.path / "reports/latest/results.json").read_text())
    assert results["summary"]["trials_run"] == 7
    assert {item["name"] for item in results["scenarios"]} >= {"good", "deaf", "python3", "python3 (2)"}


MARKS = {
    "imag='shop/web'": "graceful_stop() has no keyword 'imag'; did you mean 'image'?",
    "image='shop/web', zebra=1": "graceful_stop() has no keyword 'zebra'; it takes engine, cluster,*",
    "image='shop/web', timeouts=10": "graceful_stop(timeouts=10): *such as [[]10, 30]*",
    "'shop/web'": "its arguments have names, such as image=…; not 'shop/web'",
    "": "it says what to stop, such as image=…*",
    "image='shop/web')\n@pytest.mark.graceful_stop(image='shop/api'": "a test has one such mark, not several",
}
"""Arguments of the mark, and what is said of them."""


def test_a_mark_that_cannot_be_meant_is_a_mistake_of_its_file(project: Project) -> None:
    """It is told before anything is stopped."""
    for number, mark in enumerate(MARKS):
        test = f"import pytest\n@pytest.mark.graceful_stop({mark})\ndef test_it(): pass\n"
        project.pytester.makepyfile(**{f"test_{number}": test})
    done = project.pytest("--strict-markers")
    done.assert_outcomes(errors=len(MARKS))
    for number, said in enumerate(MARKS.values()):
        done.stdout.fnmatch_lines([f"test_{number}.py::test_it: @pytest.mark.graceful_stop: {said}"])


def test_mistakes_of_scenarios_are_told_and_other_files_left_alone(project: Project) -> None:
    """With file, line and column; a file that was meant as a scenario is warned of."""
    project.add(
        wrong=scenario("wrong").replace("ready:", "raedy:"),
        good=scenario("good"),
        twin=scenario("good"),
        meant=scenario("meant").removeprefix("version: 1\n"),
        certificate="version: 2\nsubject: CN=host\n",
        compose="version: '3'\nservices: {web: {image: subject}}\n",
        broken="subject: [\n",
    )
    (project.stops / "data.json").write_text(json.dumps({"version": 1, "subject": {"image": "a"}}))
    done = project.pytest("stops")
    done.assert_outcomes(errors=2, warnings=2)
    text = done.stdout.str()
    assert "stops/wrong.yaml:4:1: raedy: " in text
    assert "did you mean" in text
    assert "'good' is also the name of" in text
    done.stdout.fnmatch_lines(["*meant.yaml:1: PytestCollectionWarning: *is no scenario: it has no `version:`*"])
    assert "Traceback" not in text
    assert project.pytest("-o", "stop_harness_scenarios=false", "stops").ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize("required", [False, True])
def test_without_an_engine_tests_are_skipped_or_errors_if_one_is_required(project: Project, required: bool) -> None:
    """With the reason; by the option here, by the variable in CI."""
    project.add(image=scenario("image").replace("build: .", "image: shop/web"))
    project.pytester.makepyfile(
        test_it=(
            "import pytest\n"
            "@pytest.mark.graceful_stop(image='shop/web')\n"
            "def test_marked(): pass\n"
            "def test_fixture(stop_harness): stop_harness.check(image='shop/web').assert_graceful()\n"
            "def test_fixture_of_scenarios(stop_harness): stop_harness.run('stops').assert_passed()\n"
        )
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
        if required:
            environment.setenv("STOP_HARNESS_REQUIRE_ENGINE", "1")
        done = project.pytest("-ra", "--stop-harness-engine", "auto")
    if required:
        done.assert_outcomes(errors=4)
        done.stdout.fnmatch_lines(["*a container engine is required here, and none answers: *nowhere*"])
    else:
        done.assert_outcomes(skipped=4)
        done.stdout.fnmatch_lines_random(
            ["SKIPPED [[]1] stops/image.yaml:1: *nowhere*", "SKIPPED [[]1] test_it.py:4: *"]
        )
    assert "Traceback" not in done.stdout.str()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--stop-harness-engine", "dcoker"), "--stop-harness-engine 'dcoker' is not known; allowed: auto, docker, *"),
        (("--stop-harness-report", "/proc/nowhere"), "--stop-harness-report /proc/nowhere: cannot be written to: *"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_at_once(project: Project, option: tuple[str, str], said: str) -> None:
    """Before anything is collected."""
    done = project.pytest(*option)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"ERROR: {said}"])


def test_the_engines_are_those_of_the_command_line() -> None:
    """The list has a second place, for that one is no light module."""
    assert engines.ENGINES == open_engine.NAMES


@pytest.mark.parametrize("workers", [pytest.param((), marks=pytest.mark.long), ("-p", "xdist", "-n", "1")])
def test_ctrl_c_ends_the_stops_in_flight(project: Project, workers: tuple[str, ...]) -> None:
    """Also those that nobody waits for yet: the programs of both scenarios are gone when pytest is."""
    names = [f"never-ready-{os.getpid()}-{number}" for number in (1, 2)]
    project.add(**{f"s{at}": scenario(f"s{at}", argument=name, ready="never") for at, name in enumerate(names)})
    command = [sys.executable, "-m", "pytest", *LOADED, "--stop-harness-engine", "process", *workers]
    with subprocess.Popen(
        command, cwd=project.pytester.path, stdout=subprocess.PIPE, text=True, process_group=0
    ) as host:
        wait_until(lambda: all(map(running, names)))
        os.killpg(host.pid, signal.SIGINT)
        said, _ = host.communicate(timeout=100)
    assert "KeyboardInterrupt" in said
    wait_until(lambda: not any(map(running, names)))


@pytest.mark.docker
def test_an_image_that_does_not_build_is_the_error_of_its_scenario_alone(project: Project) -> None:
    """The trials of the others are performed."""
    base = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
    (project.stops / "Dockerfile").write_text(
        f"FROM {base}\nCMD trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done\n"
    )
    (project.stops / "broken").write_text(f"FROM {base}\nRUN false\n")
    good = scenario("good").replace(", command: [python3, app.py, good]", "")
    broken = good.replace("name: good", "name: broken").replace("build: .", "build: ., dockerfile: broken")
    project.add(good=good, broken=broken, other=good.replace("name: good", "name: other"))
    done = project.pytest("-rE", "--stop-harness-engine", "docker", "--stop-harness-report", "reports")
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines(
        ["*ERROR at setup of broken*", "*does not build*", "ERROR stops/broken.yaml::broken?20s?*"]
    )
    assert "Traceback" not in done.stdout.str()


@pytest.mark.long
def test_it_is_loaded_by_installation(tmp_path: Path) -> None:
    """In a fresh environment, in a project that knows nothing of it. Skipped where pip reaches no packages."""
    place, source, project = tmp_path / "venv", tmp_path / "source", tmp_path / "project"
    venv.create(place, with_pip=True)
    shutil.copytree(ROOT / "harness", source / "harness", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [str(place / "bin" / "pip"), "--disable-pip-version-check", "install", "--quiet"]
    installed = subprocess.run(
        [*pip, str(source), "pytest", "pytest-xdist"], capture_output=True, text=True, timeout=280, check=False
    )
    if installed.returncode:
        pytest.skip(f"pip cannot install here: {installed.stderr.splitlines()[-1]}")
    (project / "stops").mkdir(parents=True)
    (project / "stops" / "app.py").write_text(APP)
    (project / "stops" / "Dockerfile").write_text('FROM scratch\nCOPY . .\nCMD ["python3"]\n')
    (project / "stops" / "good.yaml").write_text(scenario("good"))
    (project / "test_it.py").write_text(TESTS)
    selected = ("-k", "good or marked or a_grace")
    for workers in ("0", "2"):
        words = [str(place / "bin" / "pytest"), "--stop-harness-engine", "process", "-n", workers, *selected]
        done = subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=200, check=False)
        # Without workers the number of those that are left out stands between.
        assert re.search(r"1 failed, 3 passed,(?: 3 deselected,)? 1 error", done.stdout), done.stdout


def running(word: str) -> bool:
    """Whether a process has this in its command line that is no pytest."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if b"\0app.py\0" in words and word.encode() in words:
            return True
    return False


def wait_until(is_so: object) -> None:
    """Raises AssertionError where it is not within a minute."""
    assert callable(is_so)
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_pytest_loads_nothing_heavy_where_nothing_is_stopped(project: Project) -> None:
    """The plugin comes with the installation, so everybody's pytest pays for it. YAML files of others do not matter."""
    project.pytester.makepyfile(test_it="def test_other(): pass")
    (project.pytester.path / "data.yaml").write_text("version: 1\nname: a\n")
    project.pytester.makeconftest(
        """
        import sys

        def pytest_unconfigure():
            names = [name for name in sys.modules if name.startswith("stop_harness") or name in ("yaml", "pydantic")]
            print("LOADED", *sorted(names))
        """
    )
    (line,) = [line for line in project.pytest().stdout.lines if line.startswith("LOADED")]
    assert line.split()[1:] == [
        "stop_harness",
        "stop_harness._version",
        "stop_harness.errors",
        "stop_harness.pytest_plugin",
        "stop_harness.pytest_plugin.engines",
        "stop_harness.pytest_plugin.scenario_files",
        "stop_harness.pytest_plugin.session",
    ]
