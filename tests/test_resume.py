"""`run --resume`: a run that was killed, interrupted or lost its engine becomes what it would have been."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click import echo

from stop_harness.conductor import pipeline, resume, store
from stop_harness.conductor.exit_codes import FAIL, INTERRUPTED, PASS, USAGE
from stop_harness.conductor.open_engine import Chosen
from stop_harness.conductor.request import RunOptions, RunOutcome, RunRequest
from stop_harness.engines.simulated import Script, SimulatedEngine
from stop_harness.errors import StoreError, UnfinishedRun, UsageError
from stop_harness.model import NS_PER_S, Outcome, Problem, ProblemKind, RemedyTrial, Subject, TrialResult
from tests import test_pipeline
from tests.own_runs import COMMAND, Project, shell, surroundings, wait_until
from tests.test_cli import Answer, ask, clean_surroundings
from tests.variants import only_long

__all__ = ["ask", "clean_surroundings"]  # fixtures: the command in this process, and nothing from outside for it


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty project; no process of it may be alive at the end."""
    made = Project(tmp_path, f"s{uuid.uuid4().hex[:12]}")
    yield made
    wait_until(lambda: not made.processes(), "no process of the run is left")


# ── Killed ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("moments", [3, pytest.param(10, marks=pytest.mark.long)])
def test_a_run_that_is_killed_again_and_again_becomes_what_it_would_have_been(project: Project, moments: int) -> None:
    """kill -9 at random moments, each followed by a resumption: the outcomes of an undisturbed run, each once."""
    project.scenario("good", drain_s=0.2, repeat=8)
    project.scenario("bad", drain_s=0.1, code=3, repeat=6)
    wanted = {f"good@10s#{number}": Outcome.GRACEFUL for number in range(1, 9)}
    wanted |= {f"bad@10s#{number}": Outcome.CRASHED for number in range(1, 7)}
    chance = random.Random(9)
    line = project.run_line("--jobs", 1, "--seed", 7)
    counts = []
    for _ in range(moments):
        _kill_in_the_middle(project, line, chance)
        counts.append(len(project.outcomes()))
        line = f"{COMMAND} run --resume {project.run_directory()}"
    assert counts == sorted(counts)
    answer = shell(line, project)
    assert answer.code == FAIL, answer.err
    assert project.outcomes() == wanted
    assert "8 of 14 trials met their expectation; 6 failed" in answer.out
    assert shell(f"{COMMAND} judge {project.run_directory()}", project).code == FAIL
    results = json.loads((project.run_directory() / "results.json").read_text())
    assert len(results["trials"]) == 14


def _kill_in_the_middle(project: Project, line: str, chance: random.Random) -> None:
    """Begin, wait until the first new line of the journal or a container, and a little longer; kill."""
    process = subprocess.Popen(
        line.split(),
        cwd=project.folder,
        env=surroundings(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: project.processes() or process.poll() is not None, "a container runs")
        wait_until(lambda: list(project.reports.glob("2*/run.json")), "the plan is written")
        time.sleep(chance.uniform(0, 0.8))  # the moment is what is tried
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not project.processes(), "no process of the run is left")


def test_an_interrupted_run_is_resumed(project: Project) -> None:
    """SIGTERM: what was in flight is performed again, and the exit code is that of the containers."""
    project.scenario("good", drain_s=0.3, repeat=6)
    process = subprocess.Popen(
        project.run_line("--jobs", 2).split(),
        cwd=project.folder,
        env=surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    wait_until(lambda: list(project.reports.glob("2*/trials.jsonl")), "the first trial is in the journal")
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert f"resume: stop-harness run --resume {project.run_directory()}\n" in said
    answer = shell(f"{COMMAND} run --resume reports/latest", project)
    assert answer.code == PASS, answer.err
    assert (project.reports / "latest").resolve() == project.run_directory()
    assert list(project.outcomes().values()) == [Outcome.GRACEFUL] * 6


def test_a_run_with_a_full_disk_is_resumed(project: Project) -> None:
    """The report that could not be written is, and no stop is performed again."""
    project.scenario("good", repeat=3)
    assert shell(f"ulimit -f 24; {project.run_line()}", project).code == 4
    before = (project.run_directory() / store.JOURNAL_FILE).read_bytes()
    assert shell(f"{COMMAND} run --resume {project.run_directory()}", project).code == PASS
    assert (project.run_directory() / store.JOURNAL_FILE).read_bytes() == before
    assert (project.run_directory() / "report.html").is_file()


# ── What is performed again ──────────────────────────────────────────────────────────────────────────────────────────


def cut(directory: Path, keep: Callable[[TrialResult], bool]) -> None:
    """As if the run had been killed before these results were written."""
    stored, verdicts = store.read(directory)
    results = map(TrialResult, stored.observations, verdicts)
    store.RunDirectory(directory).keep_only(tuple(filter(keep, results)), ())


def resumed(
    directory: Path, engine: SimulatedEngine, change: Callable[[RunOptions], RunOptions] = lambda options: options
) -> tuple[RunOutcome, list[str]]:
    """Resume on an engine of the test's; the run, and which trials were performed."""
    resumption, options = resume.read(directory)
    request = resume.request(resumption, change(options), echo, ())
    heard = test_pipeline.Heard()
    done = pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(engine))
    return done, sorted({trial for trial, _ in heard.steps})


def run(engine: SimulatedEngine, parent: Path, *names: str, **options: object) -> RunOutcome:
    """A run of scenarios stopped with 2 s and 30 s, three times each."""
    scenarios = tuple(test_pipeline.scenario(name, 2, 30, repeat=3) for name in names)
    heard = test_pipeline.Heard()
    request = RunRequest(scenarios, "test", parent, engine="simulated", **options)  # type: ignore[arg-type]
    return pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(engine))


def test_only_what_is_missing_is_performed(tmp_path: Path) -> None:
    """And the report is the same, but for the order of its trials."""
    engine = SimulatedEngine({"late": Script(leaves_after_ns=12 * NS_PER_S)})
    whole = run(engine, tmp_path, "late", "good", seed=3)
    assert whole.directory is not None
    cut(whole.directory, lambda result: result.observation.repetition == 2)
    done, performed = resumed(whole.directory, engine)
    assert performed == sorted(
        f"{name}@{timeout}#{n}" for name in ("late", "good") for timeout in ("2s", "30s") for n in (1, 3)
    )
    assert test_pipeline.outcomes(done) == test_pipeline.outcomes(whole)
    assert done.report.run.run_id == whole.report.run.run_id
    assert len(done.report.run.resumed_at) == 1
    assert done.report.trials_planned == whole.report.trials_planned


@pytest.mark.parametrize("kind", [*list(ProblemKind)[:3], *only_long(*list(ProblemKind)[3:])])
def test_trials_that_say_nothing_of_the_container_are_performed_again(tmp_path: Path, kind: ProblemKind) -> None:
    """Interrupted, or the engine or the harness failed; a container that did not get ready stands as it is."""
    whole = run(SimulatedEngine({"bad": Script(start_problem=Problem(kind, "so"))}), tmp_path, "bad", "good")
    assert whole.directory is not None
    _, performed = resumed(whole.directory, SimulatedEngine())
    assert bool(performed) is (kind in resume.SAYS_NOTHING)


def test_what_follows_from_a_stop_that_stands_is_derived_without_another(tmp_path: Path) -> None:
    """`--infer`: killed between the line of a stop and those that follow from it."""
    engine = SimulatedEngine({"late": Script(leaves_after_ns=12 * NS_PER_S)})
    whole = run(engine, tmp_path, "late", infer=True)
    assert whole.directory is not None
    cut(whole.directory, lambda result: result.observation.derivation.derived_from is None)
    done, performed = resumed(whole.directory, engine)
    assert performed == []
    assert test_pipeline.outcomes(done) == test_pipeline.outcomes(whole)


def test_a_run_until_sure_gets_the_repetitions_that_it_lacks(tmp_path: Path) -> None:
    """As many stops in all as an undisturbed run, with the same ids."""
    engine = SimulatedEngine()
    whole = run(engine, tmp_path, "good", until_sure=True, max_repeat=40)
    assert whole.directory is not None
    cut(whole.directory, lambda result: result.observation.repetition % 5 != 0 and result.observation.repetition < 33)
    done, _ = resumed(whole.directory, engine)
    assert sorted(test_pipeline.outcomes(done)) == sorted(test_pipeline.outcomes(whole))


def test_a_run_that_ended_at_its_first_failure_is_over(tmp_path: Path) -> None:
    """`--fail-fast`: an undisturbed run would have performed no more either."""
    engine = SimulatedEngine({"bad": Script(leaves_after_ns=None)})
    whole = run(engine, tmp_path, "bad", "good", fail_fast=True, jobs="1")
    assert whole.directory is not None
    done, performed = resumed(whole.directory, engine)
    assert performed == []
    assert len(done.report.results) == len(whole.report.results)


def test_changes_that_were_tried_are_not_tried_again(tmp_path: Path) -> None:
    """`--try-fixes`: those that are missing are."""
    engine = SimulatedEngine({"bad": Script(leaves_after_ns=None)})
    whole = run(engine, tmp_path, "bad", try_fixes=True)
    assert whole.directory is not None
    stored, verdicts = store.read(whole.directory)
    assert len(stored.remedies) > 1
    kept: tuple[RemedyTrial, ...] = stored.remedies[:1]
    store.RunDirectory(whole.directory).keep_only(tuple(map(TrialResult, stored.observations, verdicts)), kept)
    _, performed = resumed(whole.directory, engine)
    assert performed == sorted(tried.observation.trial_id for tried in stored.remedies[1:])
    again, _ = store.read(whole.directory)
    ids = [tried.observation.trial_id for tried in again.remedies]
    assert sorted(ids) == sorted(tried.observation.trial_id for tried in stored.remedies)


def test_scenarios_are_those_of_the_run(tmp_path: Path) -> None:
    """A file that has changed since is said, and changes nothing."""
    file = tmp_path / "a.yaml"
    file.write_text("version: 1\nname: a\nsubject: {image: a}\n")
    from stop_harness.scenario import discovery

    (scenario,) = discovery.load((file,))
    heard = test_pipeline.Heard()
    request = RunRequest((scenario,), "test", tmp_path / "reports")
    done = pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(SimulatedEngine()))
    assert done.directory is not None
    file.write_text(file.read_text() + "repeat: 7\n")
    notes: list[str] = []
    resumption, options = resume.read(done.directory)
    again = resume.request(resumption, options, notes.append, ())
    assert again.scenarios == (scenario,)
    assert notes == [f"{file} has changed since; the run goes on with the scenario as it was"]


def test_a_build_folder_that_has_changed_is_said(tmp_path: Path) -> None:
    """What stands ran the old one, what follows the new one; what Python compiles beside it is no change."""
    program = tmp_path / "app" / "app.py"
    program.parent.mkdir()
    program.write_text("old")
    os.utime(program, (0, 0))
    subject = Subject(build_directory=str(program.parent))
    heard = test_pipeline.Heard()
    asked = RunRequest((replace(test_pipeline.scenario("a"), subject=subject),), "test", tmp_path / "reports")
    done = pipeline.run(asked, heard, heard.interruption, lambda _name, _run: Chosen(SimulatedEngine()))
    assert done.directory is not None
    (program.parent / "__pycache__").mkdir()
    (program.parent / "__pycache__" / "app.pyc").touch()
    notes: list[str] = []
    resume.request(*resume.read(done.directory), notes.append, ())
    assert notes == []
    program.write_text("new")
    resume.request(*resume.read(done.directory), notes.append, ())
    assert notes == [
        f"{program} has changed since the run began; the trials from here on run what {program.parent} holds now"
    ]


def test_a_report_says_when_its_run_was_resumed(tmp_path: Path) -> None:
    """For programs and for people, who are not told that it did not end."""
    whole = run(SimulatedEngine(), tmp_path, "good")
    assert whole.directory is not None
    cut(whole.directory, lambda _result: False)
    done, _ = resumed(whole.directory, SimulatedEngine())
    assert done.directory is not None
    (resumed_at,) = json.loads((done.directory / "results.json").read_text())["run"]["resumed_at"]
    page = (done.directory / "report.html").read_text()
    assert resumed_at in page
    assert "did not end by itself" not in page


# ── What cannot be resumed ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_is_not_over_cannot_be_resumed(tmp_path: Path) -> None:
    """Two would write one journal."""
    whole = run(SimulatedEngine(), tmp_path, "good")
    assert whole.directory is not None
    alive = store.RunDirectory(whole.directory)
    alive.lock()
    try:
        with pytest.raises(StoreError, match="is being written by a run that is not over"):
            resumed(whole.directory, SimulatedEngine())
    finally:
        alive.unlock()


def test_a_run_without_recorded_options_cannot_be_resumed(tmp_path: Path) -> None:
    """It says so in one line."""
    whole = run(SimulatedEngine(), tmp_path, "good")
    assert whole.directory is not None
    file = whole.directory / store.RUN_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), "options": None}))
    with pytest.raises(StoreError, match="did not record its options; run it again"):
        resume.read(whole.directory)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.yaml", "--resume", "RUN"], "takes no PATHS"),
        (["--resume", "RUN", "--repeat", "3"], "--repeat cannot be given with --resume"),
        (["--resume", "RUN", "--engine", "docker"], "--engine cannot be given with --resume"),
        (["--resume", "nowhere"], "nowhere is not a run directory"),
        ([], "Missing argument 'PATHS...'"),
    ],
)
def test_a_resumption_is_no_new_run(
    tmp_path: Path, ask: Callable[..., Answer], arguments: list[str], message: str
) -> None:
    """Options that change what is run are those of the run."""
    whole = run(SimulatedEngine(), tmp_path, "good")
    answer = ask("run", *(word.replace("RUN", str(whole.directory)) for word in arguments))
    assert answer.code == USAGE
    assert message in answer.err


def test_a_check_with_hidden_values_is_run_again(tmp_path: Path) -> None:
    """Its values are in no file, in whatever folder one stands."""
    plain = test_pipeline.scenario("good", 2)
    secret = replace(plain, source=None, subject=replace(plain.subject, environment=(("TOKEN", "secret"),)))
    heard = test_pipeline.Heard()
    request = RunRequest((secret,), "check", tmp_path, engine="simulated")
    done = pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(SimulatedEngine()))
    assert done.directory is not None
    with pytest.raises(UsageError, match=r"came from `check`.*run that `check` again"):
        resume.request(*resume.read(done.directory), echo, ())


# ── Killed in its first second ───────────────────────────────────────────────────────────────────────────────────────

UNFINISHED = {
    "no run.json": (store.RUN_FILE, None),
    "empty run.json": (store.RUN_FILE, ""),
    "run.json of nothing": (store.RUN_FILE, "{}"),
    "no journal": (store.JOURNAL_FILE, None),
    "empty journal": (store.JOURNAL_FILE, ""),
    "half a line": (store.JOURNAL_FILE, '{"observation": {"tri'),
}
"""What a kill in the first second leaves: a file, and what it holds; None: it is not there."""


def unfinished(parent: Path, damage: str) -> Path:
    """A run directory like that."""
    directory = run(SimulatedEngine(), parent, "good").directory
    assert directory is not None
    stored, _ = store.read(directory)
    running = replace(stored.run, finished_at=None)
    file = store.RunFile(store.FORMAT_VERSION, running, stored.scenarios, stored.trials_planned, stored.skipped)
    store.RunDirectory(directory).write_run(file)
    name, text = UNFINISHED[damage]
    if text is None:
        (directory / name).unlink()
    else:
        (directory / name).write_text(text)
    return directory


@pytest.mark.parametrize("damage", [*list(UNFINISHED)[:2], *only_long(*list(UNFINISHED)[2:])])
def test_a_run_killed_in_its_first_second_is_passed_over(tmp_path: Path, damage: str) -> None:
    """With one line; alone it is bad usage, with the reason."""
    killed = unfinished(tmp_path / "killed", damage)
    whole = run(SimulatedEngine(), tmp_path / "whole", "good").directory
    assert whole is not None
    notes: list[str] = []
    ((stored, _),) = store.read_several((killed, whole), notes.append)
    assert stored == store.read(whole)[0]
    (note,) = notes
    assert note.startswith(f"passed over: {killed}")
    with pytest.raises(UnfinishedRun) as caught:
        store.read_several((killed,), notes.append)
    assert caught.value.exit_code == USAGE
    assert str(killed) in str(caught.value)


@pytest.mark.parametrize("command", ["report", "trend", "judge"])
def test_the_commands_pass_over_what_was_killed_in_its_first_second(
    tmp_path: Path, ask: Callable[..., Answer], command: str
) -> None:
    """Among others; alone they refuse it."""
    killed = unfinished(tmp_path / "killed", "no run.json")
    alone = ask(command, killed)
    assert alone.code == USAGE
    assert "is not a run directory: run.json: No such file" in alone.err
    if command != "judge":
        whole = run(SimulatedEngine(), tmp_path / "whole", "good").directory
        answer = ask(command, killed, whole)
        assert answer.code == PASS, answer.err
        assert len(re.findall(r"^passed over: ", answer.err, re.MULTILINE)) == 1


def test_a_journal_that_names_an_unknown_scenario_is_refused_with_its_line(tmp_path: Path) -> None:
    """It belongs to another run."""
    whole = run(SimulatedEngine(), tmp_path, "good")
    assert whole.directory is not None
    journal = whole.directory / store.JOURNAL_FILE
    first, second, *rest = journal.read_text().splitlines()
    journal.write_text("\n".join([first, second.replace('"scenario":"good"', '"scenario":"other"'), *rest]) + "\n")
    with pytest.raises(StoreError, match=r"trials\.jsonl:2: scenario 'other' is none of those in run\.json"):
        store.read(whole.directory)
