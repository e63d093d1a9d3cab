"""The Python API over runs that are on disk, and over the waivers of a project: what `rerun`, `judge`, `report`,
`trend` and `validate` do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import stop_harness
from tests.own_runs import PYTHON, Project
from tests.test_api import STUBBORN
from tests.test_cli import clean_surroundings

__all__ = ["clean_surroundings"]  # a fixture that every test here needs

WAIVER = """
[tool.stop-harness]
engine = "docker"

[[tool.stop-harness.waivers]]
scenario = "{scenario}"
outcome = "{outcome}"
reason = "known"
expires = 2999-12-31
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Where scenario files are written."""
    return Project(tmp_path, "api-stored")


def run(*files: Path, **keywords: object) -> stop_harness.RunReport:
    """On the engine `process`, with a report in `reports`."""
    return stop_harness.run(*files, engine="process", report_dir="reports", **keywords)  # type: ignore[arg-type]


def test_only_what_did_not_pass_is_repeated(project: Project) -> None:
    """With the file as it is now, and into a run of its own; then nothing is left, which is a note and a pass."""
    first = run(project.scenario("good", repeat=1), project.scenario("bad", code=7, repeat=2))
    assert first.exit_code == 1
    project.scenario("bad", repeat=2)
    again = stop_harness.rerun(failed=True)
    again.assert_passed()
    assert [stop.scenario for stop in again.stops] == ["bad", "bad"]
    assert again.directory != first.directory
    assert again.record.run.command_line == ("stop-harness", "rerun", "reports/latest", "--failed")
    nothing = stop_harness.rerun(failed=True)
    assert (nothing.passed, len(nothing.stops)) == (True, 2)
    assert nothing.notes == ("nothing to repeat: every trial of reports/latest passed",)
    assert len(stop_harness.rerun().stops) == 2


def test_what_cannot_be_repeated_is_raised(project: Project) -> None:
    """No run; and a scenario whose file is gone, with what is left."""
    with pytest.raises(stop_harness.StoreError, match="reports/latest is not a run directory"):
        stop_harness.rerun()
    good, bad = project.scenario("good", repeat=1), project.scenario("bad", repeat=1)
    run(good, bad)
    bad.unlink()
    with pytest.raises(stop_harness.UsageError) as caught:
        stop_harness.rerun()
    said = f"{bad} holds no scenario bad any more; run what is left: stop-harness run {good}"
    assert str(caught.value) == said


def test_a_waiver_of_the_project_lets_a_run_pass(project: Project) -> None:
    """As on the command line, by `run`, `check` and `rerun`; the settings beside it are of the command line alone."""
    Path("pyproject.toml").write_text(WAIVER.format(scenario="bad", outcome="crashed"))
    bad = project.scenario("bad", code=7, repeat=1)
    found = run(bad)
    assert (found.exit_code, found.outcome) == (0, "crashed")
    assert found.record.waived
    found.assert_passed()
    with pytest.raises(stop_harness.NotGraceful):
        found.assert_graceful()
    assert stop_harness.rerun(failed=True).exit_code == 0
    Path("pyproject.toml").write_text(WAIVER.format(scenario="python*", outcome="killed"))
    assert run(bad).exit_code == 1
    stop_harness.check(command=STUBBORN, ready_log="up", timeouts=[1]).assert_passed()


def test_a_mistake_in_the_waivers_of_a_project_is_raised(project: Project) -> None:
    """Before anything is stopped."""
    Path("pyproject.toml").write_text(WAIVER.format(scenario="bad", outcome="kiled"))
    with pytest.raises(
        stop_harness.ScenarioError, match=r"pyproject.toml:7: waivers\.outcome: .*did you mean `killed`"
    ):
        run(project.scenario("bad", repeat=1))


def test_a_stored_run_is_read_compared_and_written_again(project: Project, tmp_path: Path) -> None:
    """It can be written again where it was, or elsewhere as a run of its own; `to_json` gives what it writes."""
    baseline = run(project.scenario("web", code=7, repeat=1))
    now = run(project.scenario("web", repeat=1))
    assert baseline.directory is not None
    assert now.directory is not None
    read = stop_harness.read_run(now.directory, baseline=baseline.directory, fail_on_slower=True)
    assert read.record.comparison is not None
    assert read.exit_code == 0
    (now.directory / "report.html").unlink()
    assert stop_harness.read_run(now.directory).write() == now.directory
    assert (now.directory / "report.html").is_file()
    elsewhere = stop_harness.read_run(now.directory).write(tmp_path / "elsewhere")
    assert elsewhere.parent == tmp_path / "elsewhere"
    assert stop_harness.read_run(elsewhere).outcome == "graceful"
    assert json.loads((elsewhere / "results.json").read_text()) == json.loads(now.to_json())


@pytest.mark.namespaces
def test_a_check_that_went_wrong_can_be_written_afterwards(tmp_path: Path) -> None:
    """Only a bad stop deserves a folder; without a place there is none."""
    result = stop_harness.check(command=[PYTHON, "-c", "import time; time.sleep(100)"], ready_delay=0.2, timeouts=[1])
    with pytest.raises(stop_harness.UsageError, match="needs a place"):
        result.write()
    folder = result.write(tmp_path / "reports")
    assert stop_harness.read_run(folder).outcome == "killed"
    assert (tmp_path / "reports" / ".gitignore").is_file()
    assert (tmp_path / "reports" / "latest").resolve() == folder
    with pytest.raises(stop_harness.StoreError, match="has no record of how it was asked for"):
        stop_harness.rerun(folder)


CHANGED = "changed: web@10s#1: graceful (pass) is now crashed (fail)"


def changed_since(project: Project) -> Path:
    """A run whose only verdict was another one when it was stored."""
    directory = run(project.scenario("web", code=7, repeat=1)).directory
    assert directory is not None
    journal = directory / "trials.jsonl"
    trial = json.loads(journal.read_text())
    trial["verdict"] |= {"outcome": "graceful", "status": "pass"}
    journal.write_text(json.dumps(trial) + "\n")
    return directory


def test_verdicts_that_changed_since_are_notes(project: Project) -> None:
    """As `judge` prints them."""
    assert stop_harness.read_run(changed_since(project)).notes == (CHANGED,)


@pytest.mark.parametrize("configured", [False, True], ids=["no logging", "logging"])
def test_notes_are_printed_by_those_alone_who_configure_logging(project: Project, configured: bool) -> None:
    """Without that a program's standard error is its own; nothing of logging's last resort reaches it."""
    logging = "import logging; logging.basicConfig(); " if configured else ""
    code = f"{logging}import stop_harness; print(stop_harness.read_run({str(changed_since(project))!r}).notes[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{CHANGED}\n"
    assert done.stderr == (f"WARNING:stop_harness:{CHANGED}\n" if configured else "")


def test_runs_are_one_trend(project: Project, tmp_path: Path) -> None:
    """As a record, and as a page where one is asked for."""
    runs = [run(project.scenario("web", code=code, repeat=1)).directory for code in (7, 0)]
    page = tmp_path / "trend.html"
    found = stop_harness.trend(*filter(None, runs), output=page)
    assert [point.outcome for point in found.series[0].points] == ["crashed", "graceful"]
    assert "web" in page.read_text()
    with pytest.raises(stop_harness.UsageError, match=r"trend\(\) needs run directories"):
        stop_harness.trend()


def test_an_interrupted_run_is_finished_with_options_of_its_own(project: Project) -> None:
    """Those that do not change what is run; another is refused."""
    report = run(project.scenario("web", repeat=2))
    assert report.directory is not None
    journal = report.directory / "trials.jsonl"
    journal.write_text(journal.read_text().splitlines()[0] + "\n")
    with pytest.raises(stop_harness.UsageError, match=r"resume_run\(\) has no keyword 'repeat'"):
        stop_harness.resume_run(report.directory, repeat=3)  # type: ignore[call-arg] # that is what is tried
    done = stop_harness.resume_run(report.directory, junitxml="stops.xml", jobs=1)
    assert (len(done.stops), done.passed) == (2, True)
    assert Path("stops.xml").is_file()


def test_files_of_every_kind_are_validated(project: Project) -> None:
    """Task definitions and manifests as well, with what they show; a mistake is raised."""
    Path("pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"
        "spec: {terminationGracePeriodSeconds: 1, containers: [{name: web, image: shop/web}]}\n"
    )
    Path("task.json").write_text(
        json.dumps(
            {"family": "web", "containerDefinitions": [{"name": "web", "image": "shop/web", "stopTimeout": 200}]}
        )
    )
    found = stop_harness.validate(project.scenario("web"), "pod.yaml", "task.json")
    assert (found.scenarios, found.pods, found.task_definitions) == (1, 1, 1)
    assert found.task_files == ("task.json",)
    assert {item.scenario for item in found.findings} >= {"pod/web", "task.json"}
    Path("web.yaml").write_text("version: 1\nname: web\nsubject: {}\n")
    with pytest.raises(stop_harness.ScenarioError, match=r"web\.yaml:3"):
        stop_harness.validate("web.yaml")
    with pytest.raises(stop_harness.UsageError, match="needs paths"):
        stop_harness.validate()
