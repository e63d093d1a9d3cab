"""`explore` on the samples in `explore/`: what is wrong with each is found, and nothing with its cured twin."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stop_harness.conductor import exit_codes
from stop_harness.scenario import scenario_file
from tests.test_cli import Answer, ask

__all__ = ["ask"]  # a fixture

SAMPLES = Path(__file__).resolve().parents[1] / "explore"

WHAT = {
    "start-race": "readiness",
    "keep-alive": "keep-alive client",
    "patience": "cpu 0.",
    "second-signal": "signal SIGTERM",
    "full-disk": "disk full /spool",
    "database-first": "dependency",
}
"""What each sample cannot bear, in the words of the finding."""

SERVERS = {
    "mosquitto": ("disk full /spool", "not left as expected"),
    "qbittorrent": ("readiness", "killed"),
    "radicale": ("idle client", "killed"),
    "thin": ("idle client", "killed"),
    "transmission": ("signal SIGTERM", "crashed"),
}
"""The same of servers from Debian's packages, and how their stops end then."""


def explore(folder: Path, name: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the result, of a search in a folder of its own."""
    command = (sys.executable, "-m", "stop_harness", "explore", str(SAMPLES / f"{name}.yaml"), "--json", *options)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    print(done.stderr)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


@pytest.mark.docker
def test_a_flush_that_fails_on_a_full_disk_is_found_and_shown_again(tmp_path: Path) -> None:
    """The file that is written fails in the same way when it is run."""
    file = tmp_path / "found.yaml"
    code, found = explore(tmp_path, "full-disk", "--seed", "1", "--write", str(file))
    assert code == exit_codes.FAIL
    assert found["finding"]["outcome"] == "crashed"
    assert found["finding"]["what"] == "under disk full /spool before the stop"
    assert found["finding"]["failed"] == found["finding"]["repeated"] == 5
    run = subprocess.run(
        (sys.executable, "-m", "stop_harness", "run", str(file), "-q", "--report-dir", str(tmp_path / "reports")),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == exit_codes.FAIL, run.stdout + run.stderr
    assert "exited with code 1" in run.stdout
    assert scenario_file.parse(file.read_text(encoding="utf-8")).faults


@pytest.mark.docker
@pytest.mark.long
def test_nothing_is_found_in_its_cured_twin(tmp_path: Path) -> None:
    """All of the first round."""
    code, found = explore(tmp_path, "full-disk-cured", "--seed", "1", "--stops", "18")
    assert code == exit_codes.PASS, found
    assert found["finding"] is None
    assert not list(SAMPLES.glob("*.found.yaml"))


@pytest.mark.docker
@pytest.mark.long
def test_an_orderly_end_that_leaves_the_wrong_thing_behind_is_told_as_that(tmp_path: Path) -> None:
    """By what does not hold: that it exited in time says nothing then."""
    text = (SAMPLES / "full-disk.yaml").read_text(encoding="utf-8").replace("images/", f"{SAMPLES}/images/")
    file = tmp_path / "leaves.yaml"
    file.write_text(text + "expect: {exit_codes: [0, 1], after_stop: {no_log: OSError}}\n", encoding="utf-8")
    command = (sys.executable, "-m", "stop_harness", "explore", str(file), "--seed", "1", "--write", "found.yaml")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == exit_codes.FAIL, done.stdout + done.stderr
    assert "not left as expected in 5 of 5 stops: under disk full /spool" in done.stdout
    assert "this does not hold after the stop: the log since the stop has no line matching 'OSError'" in done.stdout
    assert "does not hold" in (tmp_path / "found.yaml").read_text(encoding="utf-8")


@pytest.mark.docker
def test_ctrl_c_ends_a_search_and_leaves_nothing(tmp_path: Path) -> None:
    """With what it had come to. That no container is left, the suite looks for itself."""
    command = (sys.executable, "-m", "stop_harness", "explore", str(SAMPLES / "second-signal-cured.yaml"), "--json")
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("[8]"):
                break
        os.kill(running.pid, signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    assert running.returncode == exit_codes.INTERRUPTED
    assert json.loads(out)["interrupted"] is True


@pytest.mark.docker
@pytest.mark.searches
@pytest.mark.timeout(500)
@pytest.mark.parametrize("name", WHAT)
def test_what_is_wrong_with_a_sample_is_found(name: str, tmp_path: Path) -> None:
    """Within five minutes, and with nothing beside it."""
    code, found = explore(tmp_path, name, "--seed", "1", "--write", str(tmp_path / "found.yaml"))
    assert code == exit_codes.FAIL, found
    assert WHAT[name] in found["finding"]["what"]
    assert " and " not in found["finding"]["what"]


@pytest.mark.docker
@pytest.mark.searches
@pytest.mark.timeout(500)
@pytest.mark.parametrize("name", WHAT)
def test_nothing_is_wrong_with_a_cured_sample(name: str, tmp_path: Path) -> None:
    """For five minutes."""
    code, found = explore(tmp_path, f"{name}-cured", "--seed", "1", "--for", "5m")
    assert code == exit_codes.PASS, found


@pytest.mark.docker
@pytest.mark.searches
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SERVERS)
def test_what_is_wrong_with_a_server_of_debian_is_found(name: str, tmp_path: Path) -> None:
    """As docs/explore.md tells it. The first one waits for the image."""
    code, found = explore(tmp_path, f"servers/{name}", "--seed", "1", "--write", str(tmp_path / "found.yaml"))
    assert code == exit_codes.FAIL, found
    what, outcome = SERVERS[name]
    assert what in found["finding"]["what"]
    left = found["finding"]["after_stop"] is not None
    assert outcome == ("not left as expected" if left else found["finding"]["outcome"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((str(SAMPLES),), "explore searches one scenario"),
        ((str(SAMPLES / "patience.yaml"), "--for", "soon"), "--for: "),
        ((str(SAMPLES / "patience.yaml"), "--for", "0"), "--for 0: nothing would be searched"),
        ((str(SAMPLES / "patience.yaml"), "--write", str(SAMPLES / "README.md")), "no search has written it"),
        ((str(SAMPLES / "patience.yaml"), "--write", str(SAMPLES / "none" / "a.yaml")), "there is no folder"),
        ((str(SAMPLES.parent / "scenarios" / "12-ignores-sigterm.yaml"),), "this scenario expects none"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(
    ask: Callable[..., Answer], options: tuple[str, ...], message: str
) -> None:
    """With exit code 2 and what to do."""
    answer = ask("explore", *options)
    assert answer.code == exit_codes.USAGE
    assert message in answer.err
