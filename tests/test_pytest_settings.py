"""Settings and waivers of a project, as its pytest honours them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import cast
from xml.etree import ElementTree

import pytest

from stop_harness.model import Status
from stop_harness.pytest_plugin import shown
from stop_harness.pytest_plugin.meeting_place import ItemOutcome
from tests.test_pytest_plugin import LOADED, Project, project, scenario
from tests.test_waivers import EARLIER, LATER, TODAY, WEB, failed, waiver

__all__ = ["project"]  # a fixture

pytest_plugins = ["pytester"]

WAIVERS = f"""
[[tool.stop-harness.waivers]]
scenario = "deaf"
outcome = "killed"
reason = "known since March"
expires = {LATER}

[[tool.stop-harness.waivers]]
scenario = "old"
outcome = "killed"
reason = "was to be mended"
expires = {EARLIER}

[[tool.stop-harness.waivers]]
scenario = "python3"
cause = "signal-ignored"
reason = "vendor program"
expires = {LATER}

[[tool.stop-harness.waivers]]
scenario = "sh"
outcome = "killed"
reason = "was to be mended, too"
expires = {EARLIER}
"""

OWN = f"waivers: [{{outcome: killed, reason: said in its file, expires: {LATER}}}]\n"

TESTS = """
import pytest

DEAF = {"command": ["python3", "stops/app.py", "deaf"], "ready_log": "up", "timeouts": [1]}

@pytest.mark.graceful_stop(**DEAF)
def test_marked():
    raise RuntimeError("the lines of the test run after a graceful stop only")

@pytest.mark.graceful_stop(**DEAF, within=0.5)
def test_marked_again():
    pass

@pytest.mark.graceful_stop(
    command=["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"], ready_log="up", timeouts=[1]
)
def test_marked_with_an_expired_one():
    pass

def test_strict(stop_harness):
    stop_harness.check(**DEAF).assert_graceful()

def test_gate(stop_harness):
    stop_harness.check(**DEAF).assert_passed()
"""


def test_a_waived_failure_is_xfailed_with_its_reason_and_an_expired_waiver_fails(project: Project) -> None:
    """Of scenario files and marks; what a test asserts itself is strict, and nothing passes without a word."""
    deaf = {"argument": "deaf", "timeouts": "[1s]"}
    project.add(deaf=scenario("deaf", **deaf), old=scenario("old", **deaf), own=scenario("own", **deaf, more=OWN))
    (project.pytester.path / "pyproject.toml").write_text(WAIVERS)
    project.pytester.makepyfile(test_it=TESTS)
    done = project.pytest("-rx", "--junitxml", "junit.xml", "--stop-harness-report", "reports")
    done.assert_outcomes(xfailed=4, failed=3, passed=1)
    ended = "still running 1 s after SIGTERM*"
    done.stdout.fnmatch_lines_random(
        [
            f"XFAIL stops/deaf.yaml::deaf?1s? - deaf@*killed: *. known since March, waived until {LATER} (*toml:2)",
            f"XFAIL stops/own.yaml::own?1s? - own@*killed: *. said in its file, waived until {LATER} (*own.yaml:6)",
            f"XFAIL test_it.py::test_marked - *{ended} vendor program, waived until {LATER} (pyproject.toml:14)",
            f"XFAIL test_it.py::test_marked_again - *vendor program, waived until {LATER} (pyproject.toml:14)",
            "*_ old?1s? _*",
            "*_ test_strict _*",
            f"*expired  pyproject.toml:8: the waiver of old, killed expired on {EARLIER},*",
            f"python3@*killed: *{ended} vendor program, waived until {LATER} (pyproject.toml:14)",
        ]
    )
    text = done.stdout.str()
    assert "RuntimeError" not in text
    assert "  waived  " not in text  # beside what is strict
    assert text.count("expired  pyproject.toml:") == 2
    cases = {case.get("name"): case for case in ElementTree.parse(project.pytester.path / "junit.xml").iter("testcase")}
    skipped = cases["deaf[1s]"].find("skipped")
    assert skipped is not None
    assert f"known since March, waived until {LATER}" in (skipped.get("message") or "")
    results = json.loads((project.pytester.path / "reports/latest/results.json").read_text())
    assert results["summary"]["trials_run"] == 8
    names = ("deaf", "own", "python3", "python3 (2)", "python3 (3)", "python3 (4)")
    assert set(results["waived_trials"]) == {f"{name}@1s#1" for name in names}


@pytest.mark.parametrize(
    ("option", "came"),
    [
        (("--runxfail",), {"failed": 1}),
        pytest.param(("-p", "xdist", "-n", "1"), {"xfailed": 1}, marks=pytest.mark.long),
    ],
)
def test_the_options_of_pytest_count(project: Project, option: tuple[str, ...], came: dict[str, int]) -> None:
    """With `--runxfail` a waived failure is one, and no silent pass; a worker of pytest-xdist is told of waivers."""
    project.add(own=scenario("own", argument="deaf", timeouts="[1s]", more=OWN))
    project.pytest(*option).assert_outcomes(**came)


def test_only_what_is_known_to_be_good_passes() -> None:
    """A status that this plugin does not know is an error."""
    bad = failed()
    unknown = replace(bad, verdict=replace(bad.verdict, status=cast("Status", "undecided")))
    doubt = failed(status=Status.INCONCLUSIVE)
    for result in (unknown, doubt):
        assert shown.told(result, WEB, (waiver(rule="sigkill-needed"),), TODAY).outcome is ItemOutcome.ERROR
    assert {shown.told(failed(status=status), WEB, (), TODAY).outcome for status in Status} == {
        ItemOutcome.PASSED,
        ItemOutcome.FAILED,
        ItemOutcome.ERROR,
    }


@pytest.mark.long
def test_in_the_report_a_waiver_of_a_scenario_is_about_no_other_of_its_name(project: Project) -> None:
    """A test that stops an image of that name comes first; what it stops is another thing, which nobody waived."""
    project.add(own=scenario("python3", argument="deaf", timeouts="[1s]", more=OWN))
    project.pytester.makepyfile(test_it=TESTS)
    done = project.pytest("-k", "test_strict or python3", "--stop-harness-report", "reports")
    done.assert_outcomes(failed=1, xfailed=1, deselected=4)
    results = json.loads((project.pytester.path / "reports/latest/results.json").read_text())
    assert results["waived_trials"] == ["python3 (2)@1s#1"]


def test_settings_of_the_project_reach_scenario_files_marks_and_fixtures(project: Project) -> None:
    """The environment comes before the file, and a keyword of a test before both."""
    table = '[tool.stop-harness]\nengine = "process"\nrepeat = 3\nshow-values = true\nfail-fast = true\n'
    (project.pytester.path / "pyproject.toml").write_text(table)
    text = scenario("good").replace("good]}", "good], environment: {WORD: opensesame}}")
    project.add(good=text)
    project.pytester.makepyfile(
        test_it="""
        import pytest

        GOOD = {"command": ["python3", "stops/app.py", "good"], "ready_log": "up"}

        @pytest.mark.graceful_stop(**GOOD)
        def test_marked(graceful_stop):
            assert len(graceful_stop.stops) == 2

        def test_fixture(stop_harness):
            assert len(stop_harness.check(**GOOD, repeat=1).stops) == 1
        """
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STOP_HARNESS_REPEAT", "2")
        environment.setenv("STOP_HARNESS_SEED", "7")
        done = project.pytester.runpytest_subprocess(*LOADED, "-v", "--stop-harness-report", "reports", timeout=200)
    done.assert_outcomes(passed=4)
    done.stdout.fnmatch_lines(["stops/good.yaml::good?20s-1? PASSED*", "stops/good.yaml::good?20s-2? PASSED*"])
    written = (project.pytester.path / "reports/latest/run.json").read_text()
    assert "opensesame" in written
    assert '"name": "process"' in json.dumps(json.loads(written))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine = 'dcoker'", "engine 'dcoker' is not known; allowed: auto, docker, *"),
        ("waivers = [{reason = 'a'}]", "expires: *"),
        ("jobs = 'many'", "jobs *many*"),
    ],
)
def test_mistakes_of_settings_are_errors_of_scenario_files_and_marks(project: Project, text: str, said: str) -> None:
    """Nothing is stopped as if they were not there."""
    (project.pytester.path / "pyproject.toml").write_text(f"[tool.stop-harness]\n{text}\n")
    project.add(good=scenario("good"))
    mark = "@pytest.mark.graceful_stop(image='shop/web')"
    project.pytester.makepyfile(test_it=f"import pytest\n{mark}\ndef test_marked(): pass\n")
    done = project.pytester.runpytest_subprocess(*LOADED, "--continue-on-collection-errors", timeout=200)
    done.assert_outcomes(errors=2)
    assert "Traceback" not in done.stdout.str()
    done.stdout.fnmatch_lines([f"*{said}"])


@pytest.mark.docker
def test_the_base_image_reaches_what_is_built(project: Project) -> None:
    """By a scenario file and by a mark: without it there is no shell in the image."""
    (project.stops / "Dockerfile").write_text(
        "ARG BASE_IMAGE=scratch\nFROM ${BASE_IMAGE}\nCMD trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done\n"
    )
    base = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
    (project.pytester.path / "pyproject.toml").write_text(f'[tool.stop-harness]\nbase-image = "{base}"\n')
    project.add(good=scenario("good").replace(", command: [python3, app.py, good]", ""))
    mark = "@pytest.mark.graceful_stop(build='stops', ready_log='up')"
    project.pytester.makepyfile(test_it=f"import pytest\n{mark}\ndef test_marked(): pass\n")
    project.pytest("--stop-harness-engine", "docker").assert_outcomes(passed=2)
