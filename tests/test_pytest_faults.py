"""Scenario files under standard faults in pytest: each copy a test of its own, and what does not apply skipped."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from stop_harness.model import StoredRun, Twin
from stop_harness.pytest_plugin import session_report
from tests import reports_factory as factory
from tests.reports_factory import Sample
from tests.test_pytest_plugin import Project, project, scenario

__all__ = ["project"]

pytest_plugins = ["pytester"]

APP = """
import signal, sys, time
seen = []
def end(*_):
    seen.append(1)
    if sys.argv[1] == "locks-up" and len(seen) > 1:
        time.sleep(60)
    if sys.argv[1] != "quick":
        time.sleep(2)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True:
    time.sleep(0.05)  # a handler that runs just before one long sleep would leave it asleep
"""
"""`quick` is over before a second signal, `sound` does not mind it, and `locks-up` does."""


def test_each_copy_is_a_test_and_what_cannot_be_made_is_skipped_with_its_reason(project: Project) -> None:
    """Beside its undisturbed twin; the report has the matrix."""
    (project.stops / "app.py").write_text(APP)
    project.add(
        **{name: scenario(name, argument=name, timeouts="[5s]") for name in ("quick", "sound")},
        locked=scenario("locked", argument="locks-up", timeouts="[5s]"),
    )
    options = ["--stop-harness-faults", "second-signal,paused,tmpfs-full", "--stop-harness-report", "reports"]
    done = project.pytest(*options, "--junitxml", "junit.xml", "-rs", "-v")
    done.assert_outcomes(passed=5, failed=1, skipped=6)
    said = " ".join(done.stdout.str().split())
    assert "stops/locked.yaml::locked+second-signal[5s] FAILED" in said
    assert "not tried: it has no tmpfs with a size, and nothing else is ever filled" in said
    assert "the process engine makes faults of fds, process, signal alone" in said
    assert re.search(r"✘ killed: .*locked", said)
    cases = {case.get("name"): case for case in ElementTree.parse(project.pytester.path / "junit.xml").iter("testcase")}
    results = json.loads((project.pytester.path / "reports/latest/results.json").read_text())
    found = {row["scenario"]: {cell["fault"]: cell for cell in row["faults"]} for row in results["resilience"]}
    for name in ("quick", "sound"):  # on a busy machine `quick` may not be quick enough
        case = cases[f"{name}+second-signal[5s]"]
        told = {item.get("name"): item.get("value") for item in case.iter("property")}
        assert told["stop_fault"] == "second-signal"
        assert ("stop_over_before_fault" in told) == found[name]["second-signal"]["over_before"]
    assert not found["sound"]["second-signal"]["over_before"]
    assert found["locked"]["second-signal"]["outcome"] == "killed"
    assert found["sound"]["paused"]["not_tried"]


def test_only_the_copies_that_are_selected_are_stopped(project: Project) -> None:
    """As any test."""
    (project.stops / "app.py").write_text(APP)
    project.add(sound=scenario("sound", argument="sound", timeouts="[5s]"))
    done = project.pytest("--stop-harness-faults", "second-signal", "-k", "second-signal")
    done.assert_outcomes(passed=1, deselected=1)


def test_without_the_option_scenario_files_are_stopped_undisturbed(project: Project) -> None:
    """Also where the settings of the project ask for faults: they are those of `run`."""
    (project.pytester.path / "pyproject.toml").write_text('[tool.stop-harness]\nfaults = "standard"\n')
    project.add(web=scenario("web"))
    project.pytest("--collect-only", "-q").stdout.fnmatch_lines(["stops/web.yaml::web[[]20s[]]", "1 test collected*"])


def test_a_fault_that_is_none_is_refused_at_once(project: Project) -> None:
    """Before anything is collected."""
    done = project.pytest("--stop-harness-faults", "standart")
    assert "--stop-harness-faults: 'standart' is no standard fault; did you mean standard?" in done.stderr.str()
    assert done.ret == pytest.ExitCode.USAGE_ERROR


def test_in_the_report_of_a_session_a_copy_stays_with_its_twin(tmp_path: Path) -> None:
    """Also where another test has stopped a container of the same name."""
    web, twin = factory.scenario(Sample("web", "", 1.0, timeouts_s=(10,))), Twin("web", "paused")
    copy = replace(web, name=twin.name, twin=twin)
    results = [factory.trial(Sample(name, "", 1.0), 10) for name in ("web", twin.name)]
    stored = StoredRun(
        factory.run_info(), (web, copy), tuple(item.observation for item in results), trials_planned=len(results)
    )
    first, second = session_report._with_names_of_their_own((stored, stored))
    assert [item.name for item in first.scenarios] == ["web", "web+paused"]
    assert [item.name for item in second.scenarios] == ["web (2)", "web (2)+paused"]
    assert second.scenarios[1].twin == Twin("web (2)", "paused")
    assert [item.scenario for item in second.observations] == ["web (2)", "web (2)+paused"]
