"""`stop-harness rerun`: what did not pass once more, with the files as they are now."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from stop_harness.conductor import store
from stop_harness.model import Outcome
from tests.own_runs import PYTHON, Project
from tests.test_cli import Answer, ask, clean_surroundings

__all__ = ["ask", "clean_surroundings"]  # fixtures: the command in this process, and nothing from outside for it

PASSES = (
    "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0)); print('ready', flush=True)\n"
    "while True: time.sleep(0.05)"
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Where scenario files are written."""
    return Project(tmp_path, f"s{uuid.uuid4().hex[:12]}")


def outcomes(directory: Path) -> dict[str, Outcome]:
    """Outcome by trial id."""
    return {verdict.trial_id: verdict.outcome for verdict in store.read(directory)[1]}


def test_only_what_did_not_pass_is_repeated_with_the_file_as_it_is_now(
    project: Project, ask: Callable[..., Answer]
) -> None:
    """The mended scenario passes; the run before stays as it was, and then nothing is left to repeat."""
    files = (project.scenario("good", repeat=1), project.scenario("bad", code=7, repeat=2))
    assert ask("run", *files, "--engine", "process", "--junitxml", "stops.xml").code == 1
    first = Path("reports/latest").resolve()
    Path("stops.xml").unlink()
    still = ask("rerun", "--failed")
    assert still.code == 1
    assert "repeating 2 of 3 trials of reports/" in still.err
    assert set(outcomes(Path("reports/latest")).values()) == {Outcome.CRASHED}
    project.scenario("bad", repeat=2)
    answer = ask("rerun", str(first), "--failed", "-q")
    assert (answer.code, answer.out) == (0, "All 2 trials met their expectation.\n")
    assert len(outcomes(first)) == 3
    assert not Path("stops.xml").exists()
    nothing = ask("rerun", "--failed")
    assert (nothing.code, nothing.out) == (0, "")
    assert "nothing to repeat: every trial of reports/latest passed" in nothing.err


def test_a_whole_run_is_repeated_without_failed(project: Project, ask: Callable[..., Answer]) -> None:
    """All of its trials."""
    assert ask("run", project.scenario("good", repeat=2), "--engine", "process").code == 0
    answer = ask("rerun")
    assert answer.code == 0
    assert "repeating 2 of 2 trials" in answer.err


def test_a_check_is_repeated_from_its_record(project: Project, ask: Callable[..., Answer]) -> None:
    """There is no file; its values are stored nowhere, which is said."""
    check = ("check", "--ready-log", "ready", "--timeout", "2s", "--report-dir", "reports")
    program = ("--", PYTHON, "-c", PASSES)
    assert ask(*check, *program).code == 0
    assert ask("rerun").code == 0
    assert ask(*check, "--env", "TOKEN=correct-horse", *program).code == 0
    refused = ask("rerun")
    assert (refused.code, refused.out) == (2, "")
    assert "values that were given there are stored nowhere" in refused.err


def test_what_cannot_be_repeated_is_named(project: Project, ask: Callable[..., Answer]) -> None:
    """No run, a scenario that has gone, stop timeouts that are others now."""
    none = ask("rerun", "--failed")
    assert (none.code, "reports/latest is not a run directory" in none.err) == (2, True), none.err
    file = project.scenario("bad", code=7, repeat=1)
    assert ask("run", file, "--engine", "process").code == 1
    text = file.read_text()
    file.write_text(text.replace("[10s]", "[3s]"))
    others = ask("rerun", "--failed")
    assert others.code == 2
    assert "none of the trials of reports/" in others.err
    assert f"stop-harness run {file}" in others.err
    file.write_text(text.replace("name: bad", "name: other"))
    gone = ask("rerun", "--failed")
    assert gone.code == 2
    assert "holds no scenario bad any more" in gone.err
    file.unlink()
    deleted = ask("rerun", "--failed")
    assert (deleted.code, deleted.err) == (
        2,
        f"stop-harness: {file} holds no scenario bad any more; nothing is left of it\n",
    )


def test_trials_that_were_not_performed_are_no_pass(project: Project, ask: Callable[..., Answer]) -> None:
    """Of a run that was cut short nothing failed; it says so, and does not exit with 0."""
    assert ask("run", project.scenario("good", repeat=2), "--engine", "process").code == 0
    journal = Path("reports/latest/trials.jsonl")
    journal.write_text(journal.read_text().splitlines()[0] + "\n")
    nothing = ask("rerun", "--failed")
    assert (nothing.code, nothing.out) == (3, "")
    assert "every trial of reports/latest that was performed passed; 1 of 2 was not" in nothing.err
