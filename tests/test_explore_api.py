"""`explore` from Python, and the report of a search: on the embedded engine, whose faults are signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import stop_harness

PROGRAM = """
import signal, sys, time
def stop(number, frame):
    signal.signal(signal.SIGTERM, AGAIN)
    time.sleep(0.6)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
while True:
    time.sleep(0.05)  # a handler that runs just before one long sleep would leave it asleep
"""
LEAVES, HEEDS_ONE = PROGRAM.replace("AGAIN", "lambda *_: sys.exit(3)"), PROGRAM.replace("AGAIN", "signal.SIG_IGN")
"""At a second signal the one leaves its work alone, with a code of its own; the other goes on with it."""


def scenario(folder: Path, program: str) -> Path:
    """A file with it, and the folder that it builds."""
    image, file = folder / "image", folder / "drains.yaml"
    image.mkdir()
    (image / "main.py").write_text(program)
    (image / "Dockerfile").write_text('FROM scratch\nWORKDIR /app\nCOPY . .\nENTRYPOINT ["python3", "main.py"]\n')
    file.write_text("version: 1\nname: drains\nsubject: {build: image}\nready: {log: '^up$'}\nstop: {timeouts: [5s]}\n")
    return file


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_is_found_is_told_and_written_and_reported(tmp_path: Path) -> None:
    """How often it fails, the least that it takes, the scenario that shows it, and a report with its stops beside the
    undisturbed ones, which the other commands read."""
    file = scenario(tmp_path, LEAVES)
    found = stop_harness.explore(file, engine="process", for_s=60, seed=1, report_dir=tmp_path / "reports")
    assert (found.answer, found.outcome, found.exit_code) == ("found", stop_harness.Outcome.CRASHED, 1)
    assert found.what is not None
    assert "signal SIGTERM" in found.what
    assert 3 <= found.failed <= found.repeated <= 5
    assert found.scenario_file == tmp_path / "drains.found.yaml"
    assert not found.undisturbed
    assert found.seed == 1
    with pytest.raises(stop_harness.NotGraceful, match="crashed in"):
        found.assert_nothing_found()
    of_it = found.report.of("drains-found")
    assert sum(stop.status == "fail" for stop in of_it) == found.failed
    assert all(stop.outcome == "graceful" for stop in found.report.of("drains"))
    assert found.report.directory is not None
    assert (found.report.directory / "report.html").is_file()
    stored = stop_harness.read_run(found.report.directory)
    assert [stop.trial_id for stop in stored.stops] == [stop.trial_id for stop in found.report.stops]
    again = stop_harness.rerun(found.report.directory, failed=True)
    assert {stop.scenario for stop in again.stops} == {"drains-found"}
    assert again.exit_code == 1


def test_nothing_found_passes_and_writes_no_scenario(tmp_path: Path) -> None:
    """The report has the undisturbed stops."""
    found = stop_harness.explore(scenario(tmp_path, HEEDS_ONE), engine="process", stops=8, seed=1)
    found.assert_nothing_found()
    assert (found.answer, found.what, found.outcome, found.scenario_file) == ("nothing", None, None, None)
    assert found.stops >= 8
    assert {stop.scenario for stop in found.report.stops} == {"drains"}
    assert found.report.passed
    assert json.loads(found.to_json())["answer"] == "nothing"
    assert str(found).startswith("✔ drains: ")


def test_a_stop_that_fails_undisturbed_is_found_as_that(tmp_path: Path) -> None:
    """There is no other scenario to write."""
    stubborn = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(99)"
    )
    found = stop_harness.explore(scenario(tmp_path, stubborn), engine="process", seed=1)
    assert (found.answer, found.undisturbed, found.what) == ("found", True, "undisturbed")
    assert found.scenario_file is None
    assert len(found.report.stops) == found.repeated == 3


def test_what_never_becomes_ready_is_not_judged(tmp_path: Path) -> None:
    """An error of its own, no failed assertion."""
    found = stop_harness.explore(scenario(tmp_path, "print('down')"), engine="process", seed=1)
    assert (found.answer, found.exit_code) == ("not_judged", 3)
    with pytest.raises(stop_harness.NotJudged):
        found.assert_nothing_found()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"for_s": "soon"}, "for_s"),
        ({"stops": 0}, "stops 0"),
        ({"seed": -1}, "seed -1"),
        ({"forever": True}, "no keyword 'forever'"),
    ],
)
def test_mistakes_are_told_in_words_of_python(keywords: dict[str, object], message: str, tmp_path: Path) -> None:
    """Before anything starts, and without a folder left behind."""
    file = scenario(tmp_path, HEEDS_ONE)
    with pytest.raises(stop_harness.UsageError, match=message):
        stop_harness.explore(file, report_dir=tmp_path / "reports", **keywords)  # type: ignore[arg-type] # mistakes
    assert not (tmp_path / "reports").exists()


@pytest.mark.long
def test_the_command_writes_the_same_report(tmp_path: Path) -> None:
    """And says where, beside the result as JSON."""
    command = (sys.executable, "-m", "stop_harness", "explore", str(scenario(tmp_path, LEAVES)), "--engine", "process")
    options = ("--seed", "1", "--json", "--report-dir", str(tmp_path / "reports"))
    done = subprocess.run((*command, *options), capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["answer"] == "found"
    results = json.loads((tmp_path / "reports" / "latest" / "results.json").read_text(encoding="utf-8"))
    assert {item["name"] for item in results["scenarios"]} == {"drains", "drains-found"}
    assert "report.html" in done.stderr


@pytest.mark.parametrize(("letters", "mark"), [("utf-8", "✔"), ("ascii", "+")])
def test_a_terminal_without_marks_gets_stand_ins(tmp_path: Path, letters: str, mark: str) -> None:
    """As every command prints them: `?` is the mark of what is inconclusive, and no stand-in for any other."""
    command = (sys.executable, "-m", "stop_harness", "explore", str(scenario(tmp_path, HEEDS_ONE)), "--stops", "1")
    environment = {**os.environ, "PYTHONIOENCODING": letters}
    done = subprocess.run(
        (*command, "--engine", "process"), capture_output=True, check=False, timeout=120, env=environment
    )
    assert done.stdout.decode().startswith(f"{mark} drains: no stop was found")


def test_an_answer_that_standard_output_does_not_take_goes_to_standard_error(tmp_path: Path) -> None:
    """A search of minutes is not lost to a full disk, as no run is."""
    command = (sys.executable, "-m", "stop_harness", "explore", str(scenario(tmp_path, HEEDS_ONE)), "--stops", "1")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            (*command, "--engine", "process"), stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    assert "drains: no stop was found that fails" in done.stderr
