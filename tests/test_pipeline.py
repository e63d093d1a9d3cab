"""Whole runs on the simulated engine: real stages, virtual time."""

from __future__ import annotations

import csv
import json
import re
import threading
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness.conductor import exit_codes, pipeline, store, stored_runs
from stop_harness.conductor.exit_codes import FAIL, INCONCLUSIVE, INTERRUPTED, PASS
from stop_harness.conductor.open_engine import Chosen
from stop_harness.conductor.request import RunOutcome, RunRequest
from stop_harness.engines.interface import Engine
from stop_harness.engines.simulated import Script, SimulatedEngine
from stop_harness.errors import EngineError, ScenarioError, StoreError, UsageError
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    EngineInfo,
    Expectation,
    Outcome,
    Plan,
    Preparation,
    Problem,
    ProblemKind,
    Readiness,
    Scenario,
    Status,
    StopPlan,
    Subject,
    Trial,
    TrialResult,
)
from stop_harness.plan import trials as plan
from stop_harness.plan.trials import Shard
from stop_harness.renderers import terminal
from stop_harness.scenario import scenario_file
from stop_harness.trial import scheduler
from stop_harness.trial.perform import Interruption
from tests.strategies import durations_ns


@dataclass
class Heard:
    """A listener that writes down what it hears; `at_end` is called with each result."""

    notes: list[str] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    steps: list[tuple[str, str]] = field(default_factory=list)
    results: list[TrialResult] = field(default_factory=list)
    interrupt_after: int | None = None
    interruption: Interruption = field(default_factory=Interruption)

    def note(self, text: str) -> None:
        """A sentence."""
        self.notes.append(text)

    def preparing(self, what: str, state: str) -> None:
        """An image."""

    def planned(self, planned: Plan, jobs: int, engine: Engine) -> None:
        """The plan."""
        self.plans.append(planned)

    def step(self, running: Trial, step: str) -> None:
        """A step of a trial."""
        self.steps.append((running.trial_id, step))

    def ended(self, result: TrialResult) -> None:
        """A result; the run is interrupted after as many as asked for."""
        self.results.append(result)
        if len(self.results) == self.interrupt_after:
            self.interruption.request()


def scenario(name: str, *timeouts_s: float, repeat: int = 1, expect: Expectation | None = None) -> Scenario:
    """A scenario stopped with these timeouts."""
    return Scenario(
        name,
        Subject(image="a"),
        readiness=Readiness(delay_ns=0, timeout_ns=20 * NS_PER_S),
        stop=StopPlan(tuple(round(value * NS_PER_S) for value in timeouts_s or (30,))),
        repeat=repeat,
        expectations=(expect or Expectation(),),
    )


def run(
    engine: Engine,
    *scenarios: Scenario,
    report_dir: Path | None = None,
    heard: Heard | None = None,
    jobs: str = "auto",
    shard: Shard | None = None,
    fail_fast: bool = False,
    seed: int | None = None,
) -> RunOutcome:
    """A whole run on an engine of the test's."""
    heard = heard or Heard()
    request = RunRequest(
        scenarios, "test", report_dir, jobs=jobs, shard=shard, fail_fast=fail_fast, seed=seed, engine="simulated"
    )
    return pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(engine))


def outcomes(done: RunOutcome) -> dict[str, Outcome]:
    """Outcome by trial id."""
    return {item.observation.trial_id: item.verdict.outcome for item in done.report.results}


def test_command_before_the_stop_has_as_long_as_its_step_says() -> None:
    """Else as long as the container has to get ready; afterwards the trial is inconclusive, and says why."""
    hangs = ("worker", "enqueue")
    steps = {"own": Preparation(hangs, timeout_ns=7 * NS_PER_S), "ready": Preparation(hangs)}
    asked = [replace(scenario(name), before_stop=(step,)) for name, step in steps.items()]
    done = run(SimulatedEngine({name: Script(commands_that_hang=(hangs,)) for name in steps}), *asked)
    reasons = {item.observation.scenario: item.verdict.reason for item in done.report.results}
    assert set(outcomes(done).values()) == {Outcome.INCONCLUSIVE}
    assert reasons["own"].startswith("`worker enqueue` before the stop had not ended after 7 s")
    assert reasons["ready"].startswith("`worker enqueue` before the stop had not ended after 20 s")


DRAINS_12_S = Script(leaves_after_ns=12 * NS_PER_S)
NEVER = Script(leaves_after_ns=None)


def test_a_run_judges_every_trial_and_takes_no_real_time() -> None:
    """Stop timeouts of 120 s, four minutes of containers, in a moment; nothing is left."""
    engine = SimulatedEngine({"drains": DRAINS_12_S, "never": NEVER})
    began = time.monotonic()
    done = run(engine, scenario("drains", 2, 30, 120), scenario("never", 120, repeat=2), scenario("good"))
    assert time.monotonic() - began < 10
    assert outcomes(done) == {
        "drains@2s#1": Outcome.KILLED,
        "drains@30s#1": Outcome.GRACEFUL,
        "drains@2m#1": Outcome.GRACEFUL,
        "never@2m#1": Outcome.KILLED,
        "never@2m#2": Outcome.KILLED,
        "good@30s#1": Outcome.GRACEFUL,
    }
    durations = {item.observation.trial_id: item.verdict.facts.shutdown_duration_ns for item in done.report.results}
    assert durations["drains@2m#1"] == 12 * NS_PER_S
    assert durations["never@2m#1"] == 120 * NS_PER_S + NS_PER_MS
    assert engine.living == set()
    assert done.directory is None


def test_each_trial_goes_through_its_steps_in_order() -> None:
    """Starting, waiting, stopping, removing: the same for every container."""
    heard = Heard()
    run(SimulatedEngine(), scenario("good"), heard=heard)
    assert [step for _, step in heard.steps] == ["starting", "waiting until ready", "stopping", "removing"]


def test_the_files_of_a_run_exist_and_agree_with_each_other(tmp_path: Path) -> None:
    """Journal, JSON, JUnit, CSV, Markdown, HTML and plots tell the same story."""
    scripts = {"late": DRAINS_12_S, "dies": Script(dies_at_stop=True), "crashes": Script(exit_code=139)}
    done = run(SimulatedEngine(scripts), *(scenario(name, 2, 30) for name in ("late", "dies", "crashes", "good")),
               report_dir=tmp_path)  # fmt: skip
    assert done.directory is not None
    assert {path.name for path in done.directory.iterdir()} == {
        "run.json", "trials.jsonl", "results.json", "junit.xml", "results.csv", "results.sarif", "summary.md",
        "report.html", "plots",
    }  # fmt: skip
    wanted = {
        (item.observation.scenario, item.observation.stop_timeout_ns / NS_PER_S): (
            item.verdict.outcome,
            item.verdict.status,
        )
        for item in done.report.results
    }
    trials = json.loads((done.directory / "results.json").read_text())["trials"]
    assert {(item["scenario"], item["stop_timeout_s"]): (item["outcome"], item["status"]) for item in trials} == wanted
    with (done.directory / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["scenario"], float(row["stop_timeout_s"])): (row["outcome"], row["status"]) for row in rows} == wanted
    cases = list(ET.parse(done.directory / "junit.xml").getroot().iter("testcase"))
    assert len(cases) == len(wanted)
    failures = [case for case in cases if case.find("failure") is not None]
    assert len(failures) == sum(status is Status.FAIL for _, status in wanted.values())
    assert len((done.directory / "trials.jsonl").read_text().splitlines()) == len(wanted)
    for name in ("summary.md", "report.html"):
        text = (done.directory / name).read_text()
        assert all(scenario in text for scenario, _ in wanted)
    assert list((done.directory / "plots").glob("*.svg"))
    assert (tmp_path / "latest").resolve() == done.directory.resolve()


scripts = st.builds(
    Script,
    leaves_after_ns=st.none() | durations_ns(0, 40_000),
    exit_code=st.sampled_from([0, 0, 3, 137, 139, 143]),
    ready_after_ns=st.none() | durations_ns(0, 30_000),
    runs_for_ns=st.none() | durations_ns(0, 40_000),
    oom_after_ns=st.none() | durations_ns(0, 40_000),
    lost_processes=st.none() | st.just(()) | st.just(("worker",)),
    log=st.text(max_size=40),
    start_problem=st.none() | st.none() | st.builds(Problem, st.sampled_from(ProblemKind), st.text(min_size=1)),
    dies_at_stop=st.booleans(),
)


@given(
    st.dictionaries(st.sampled_from("abcde"), scripts, min_size=1, max_size=3),
    st.lists(st.integers(0, 40), min_size=1, max_size=3, unique=True),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_judging_a_stored_run_gives_the_first_verdicts_again(
    tmp_path_factory: pytest.TempPathFactory, scripts: dict[str, Script], timeouts_s: list[float], observes: bool
) -> None:
    """Record first, judge later: everything a verdict needs is in the journal."""
    engine = SimulatedEngine(scripts, observes_sigkill=observes)
    done = run(engine, *(scenario(name, *timeouts_s) for name in scripts), jobs="2")
    assert engine.living == set()
    assert len(done.report.results) == len(scripts) * len(timeouts_s) == done.report.trials_planned
    directory = store.RunDirectory.create(tmp_path_factory.mktemp("run"), "a")
    file = store.RunFile(store.FORMAT_VERSION, done.report.run, done.report.scenarios, done.report.trials_planned, ())
    directory.write_run(file)
    for result in done.report.results:
        directory.append(result)
    stored, then = store.read(directory.path)
    assert stored_runs.judge(stored) == then == tuple(result.verdict for result in done.report.results)
    assert stored_runs.report_of(stored) == done.report


def test_an_engine_that_dies_in_the_middle_makes_its_trials_inconclusive(tmp_path: Path) -> None:
    """Those that it could not finish, with its own words; the others keep their verdicts and the journal is whole."""
    engine = SimulatedEngine({"dies": Script(dies_at_stop=True)})
    done = run(engine, scenario("good", repeat=5), scenario("dies", repeat=5), report_dir=tmp_path)
    assert set(outcomes(done).values()) == {Outcome.GRACEFUL, Outcome.INCONCLUSIVE}
    broken = [item for item in done.report.results if item.observation.scenario == "dies"]
    assert {item.verdict.reason for item in broken} == {"the simulated engine died"}
    assert done.directory is not None
    assert len(store.read(done.directory)[0].observations) == 10
    assert engine.living == set()
    assert exit_codes.of_report(done.report) == INCONCLUSIVE


def test_a_container_that_never_becomes_ready_is_inconclusive_and_shows_its_log() -> None:
    """It was not stopped, so nothing is known of its stop; the log says why it did not start."""
    engine = SimulatedEngine({"never": Script(ready_after_ns=None, log="waiting for the database\n")})
    done = run(engine, scenario("never"))
    (result,) = done.report.results
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert (
        result.verdict.reason
        == "not ready after 20 s: waited for the script; its last output: waiting for the database"
    )
    assert result.observation.looks.logs.text == "waiting for the database\n"
    assert engine.living == set()


def test_a_container_that_was_gone_before_the_stop_is_told_from_one_that_was_stopped() -> None:
    """It exited by itself 5 ms after its start; the stop would have reported success."""
    done = run(SimulatedEngine({"gone": Script(runs_for_ns=0, exit_code=0)}), scenario("gone"))
    assert list(outcomes(done).values()) == [Outcome.NOT_RUNNING]
    assert exit_codes.of_report(done.report) == FAIL


@pytest.mark.parametrize("kind", [ProblemKind.START_FAILED, ProblemKind.COMMAND_NOT_FOUND])
def test_a_container_that_does_not_start_is_on_record(kind: ProblemKind) -> None:
    """With the engine's reason."""
    done = run(SimulatedEngine({"a": Script(start_problem=Problem(kind, "no such thing"))}), scenario("a"))
    assert done.report.results[0].verdict.reason == "no such thing"


def test_fail_fast_ends_the_run_at_the_first_failure() -> None:
    """One trial at a time: the first fails, no other begins, and the report says how many were planned."""
    heard = Heard()
    done = run(SimulatedEngine({"bad": NEVER}), scenario("bad", repeat=10), heard=heard, jobs="1", fail_fast=True)
    assert len(done.report.results) == 1
    assert done.report.trials_planned == 10
    assert {trial for trial, _ in heard.steps} == {"bad@30s#1"}
    assert exit_codes.of_report(done.report) == FAIL


def test_fail_fast_does_not_end_a_run_without_failures() -> None:
    """Inconclusive is no failure."""
    engine = SimulatedEngine({"dies": Script(dies_at_stop=True)})
    done = run(engine, scenario("dies"), scenario("good", repeat=3), jobs="1", fail_fast=True)
    assert len(done.report.results) == 4


def test_an_interruption_begins_no_further_trial_and_keeps_what_ended(tmp_path: Path) -> None:
    """Three trials ended, then Ctrl-C: their verdicts stand, the report is written, the exit code is 130."""
    engine, heard = SimulatedEngine(), Heard(interrupt_after=3)
    done = run(engine, scenario("good", repeat=50), heard=heard, jobs="1", report_dir=tmp_path)
    assert len(done.report.results) == 3
    assert {item.verdict.status for item in done.report.results} == {Status.PASS}
    assert done.report.run.interrupted
    assert engine.living == set()
    assert exit_codes.of_report(done.report) == INTERRUPTED
    assert done.directory is not None
    stored, _ = store.read(done.directory)
    assert (len(stored.observations), stored.trials_planned, stored.run.interrupted) == (3, 50, True)


def test_trials_in_flight_at_an_interruption_say_nothing_about_their_container() -> None:
    """Whatever they were doing: inconclusive, and removed."""
    engine, heard = SimulatedEngine({"bad": NEVER}), Heard(interrupt_after=1)
    done = run(engine, scenario("bad", repeat=50), heard=heard, jobs="8")
    first, *others = heard.results
    assert first.verdict.outcome is Outcome.KILLED
    assert {item.verdict.outcome for item in others} <= {Outcome.KILLED, Outcome.INCONCLUSIVE}
    assert len(others) < 49
    assert engine.living == set()
    assert exit_codes.of_report(done.report) == INTERRUPTED


def test_an_interruption_before_the_first_trial_leaves_an_empty_run(tmp_path: Path) -> None:
    """Nothing begins."""
    heard = Heard()
    heard.interruption.request()
    done = run(SimulatedEngine(), scenario("good"), heard=heard, report_dir=tmp_path)
    assert done.report.results == ()
    assert heard.steps == []
    assert exit_codes.of_report(done.report) == INTERRUPTED


class Limited(SimulatedEngine):
    """Cannot run scenarios of the name `big`."""

    def cannot_run(self, scenario: Scenario) -> str | None:
        """By name."""
        return "it is too big" if scenario.name == "big" else None


def test_a_scenario_that_the_engine_cannot_run_is_skipped_and_named() -> None:
    """It is in the report with its reason, and the others run."""
    done = run(Limited(), scenario("big", 2, 30), scenario("good"))
    assert [(skip.scenario, skip.reason) for skip in done.report.skipped] == [("big", "it is too big")]
    assert set(outcomes(done)) == {"good@30s#1"}
    assert exit_codes.of_report(done.report) == INCONCLUSIVE  # what was not run did not pass


def test_a_run_in_which_everything_is_skipped_is_no_pass(tmp_path: Path) -> None:
    """Nothing was proved."""
    done = run(Limited(), scenario("big"), report_dir=tmp_path)
    assert exit_codes.of_report(done.report) == INCONCLUSIVE
    assert done.directory is not None
    assert (done.directory / "report.html").is_file()


def test_a_shard_without_trials_is_reported_and_is_no_pass(tmp_path: Path) -> None:
    """One trial on many machines: all but one have nothing to do."""
    ran = [run(SimulatedEngine(), scenario("good"), shard=Shard(index, 9)) for index in range(1, 10)]
    assert sum(len(done.report.results) for done in ran) == 1
    index = next(index for index, done in enumerate(ran, start=1) if not done.report.results)
    done = run(SimulatedEngine(), scenario("good"), shard=Shard(index, 9), report_dir=tmp_path)
    assert exit_codes.of_report(done.report) == INCONCLUSIVE
    assert done.report.run.shard == f"{index}/9"


def test_the_same_run_in_shards_merges_to_the_same_results() -> None:
    """What three machines found together is what one finds alone."""
    engine = SimulatedEngine({"late": DRAINS_12_S})
    scenarios = (scenario("late", 2, 10, 30, repeat=3), scenario("good", repeat=3))
    whole = outcomes(run(engine, *scenarios))
    shards = [outcomes(run(engine, *scenarios, shard=Shard(index, 3))) for index in (1, 2, 3)]
    assert sum(map(len, shards)) == len(whole)
    assert {**shards[0], **shards[1], **shards[2]} == whole


def test_fractions_of_a_second_are_refused_where_the_engine_takes_none(tmp_path: Path) -> None:
    """Before anything starts, at the place in the file where they are written; no directory is left."""
    text = "version: 1\nname: a\nsubject: {image: a}\nstop:\n  timeouts: [1500ms]\n"
    item = scenario_file.parse(text, "a.yaml")
    engine = SimulatedEngine(whole_seconds=True)
    with pytest.raises(ScenarioError, match=r"a\.yaml:5:3: stop\.timeouts: stop timeout 1\.5s is not a whole number"):
        run(engine, item, report_dir=tmp_path / "reports")
    assert not (tmp_path / "reports").exists()
    assert list(outcomes(run(SimulatedEngine(), item)).values()) == [Outcome.GRACEFUL]


def test_an_engine_that_does_not_answer_leaves_no_report_directory(tmp_path: Path) -> None:
    """The error reaches the caller, the empty folder does not stay."""

    def none(_name: str, _run: str) -> Chosen:
        raise EngineError("no engine answers")

    with pytest.raises(EngineError, match="no engine answers"):
        pipeline.run(RunRequest((scenario("a"),), "a", tmp_path), Heard(), Interruption(), none)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_report_directory_is_refused_before_any_engine_is_asked() -> None:
    """Half an hour of trials must not end in `permission denied`."""
    with pytest.raises(StoreError, match="choose another place with --report-dir"):
        run(SimulatedEngine(), scenario("a"), report_dir=Path("/dev/null/x"), heard=Heard())


class Fallen(SimulatedEngine):
    """An engine that `auto` fell back to."""

    def info(self) -> EngineInfo:
        """With a caveat."""
        return replace(super().info(), caveats=("no images here",))


def test_falling_back_to_another_engine_is_said_with_what_it_cannot_prove() -> None:
    """In one line, with the reason."""
    heard = Heard()
    request = RunRequest((scenario("a"),), "a", None)
    pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(Fallen(), "no socket"))
    (note,) = heard.notes
    assert "no socket" in note
    assert "no images here" in note
    assert "\n" not in note


def test_no_more_trials_run_at_once_than_asked_for() -> None:
    """`--jobs 3` means three; counted between start and removal."""
    most, living, lock = 0, 0, threading.Lock()
    barrier = threading.Barrier(3)

    def work(trial: Trial) -> str:
        nonlocal most, living
        with lock:
            living += 1
            most = max(most, living)
        barrier.wait(timeout=30)  # passes only when three are at work at the same time
        with lock:
            living -= 1
        return trial.trial_id

    trials = tuple(Trial(f"a#{number}", scenario("a"), 0, 0, number) for number in range(9))
    done = list(scheduler.run_all(trials, work, jobs=3, interrupted=lambda: False, on_interrupt=lambda: None))
    assert sorted(done) == sorted(trial.trial_id for trial in trials)
    assert most == 3


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "501", "1.5", "٣", "9" * 5000])
def test_a_malformed_number_of_jobs_is_refused(text: str) -> None:
    """With what is allowed."""
    with pytest.raises(UsageError, match="is neither `auto` nor a number from 1 to 500"):
        scheduler.parse_jobs(text, 10)


def test_auto_takes_no_more_jobs_than_trials() -> None:
    """And at least one, for a run without trials."""
    assert scheduler.parse_jobs("auto", 3) == 3
    assert scheduler.parse_jobs("auto", 0) == 1
    assert scheduler.parse_jobs("7", 3) == 7


def test_auto_takes_as_many_jobs_as_the_engines_machine_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 on two CPUs with 24 GiB and 20,000 files; fewer with little memory, hungry containers or few files."""
    files = [20_000]
    monkeypatch.setattr("resource.getrlimit", lambda _what: (files[0], files[0]))
    machine = scheduler.Room(cpus=2, memory_bytes=24 << 30)
    assert scheduler.parse_jobs("auto", 1_000, machine) == 300
    assert scheduler.parse_jobs("auto", 1_000, replace(machine, memory_bytes=1 << 30)) == 16
    assert scheduler.parse_jobs("auto", 1_000, replace(machine, cpus=64)) == 384
    hungry = replace(scenario("good"), subject=Subject(image="a", memory_bytes=3 << 30))
    room = scheduler.room_for(replace(SimulatedEngine().info(), memory_bytes=24 << 30), plan.expand((hungry,)).trials)
    assert scheduler.parse_jobs("auto", 1_000, room) == 6
    files[0] = 1024
    assert scheduler.parse_jobs("auto", 1_000, machine) == 96


# ── What check says first ────────────────────────────────────────────────────────────────────────────────────────────

HEADLINES = {
    "graceful": (Script(leaves_after_ns=NS_PER_S), 30, None, PASS, "✔ graceful: a exited within 1 s of SIGTERM, 29 s"),
    "as expected": (
        Script(leaves_after_ns=40 * NS_PER_S), 60, None, PASS, "= graceful: a exited within 40 s of SIGTERM\\."
    ),
    "killed at 1 s": (NEVER, 1, None, FAIL, "✘ killed: a was still running 1 s after SIGTERM; .*inconclusive"),
    "too slow": (
        DRAINS_12_S, 30, Expectation(within_ns=NS_PER_S), FAIL, "✘ too slow: a\\. Took 12 s, expected within 1 s\\."
    ),
    "crashed": (Script(exit_code=3), 30, None, FAIL, "✘ crashed: a\\. Exited with code 3"),
    "not ready": (Script(ready_after_ns=None), 30, None, INCONCLUSIVE, "\\? inconclusive: a\\. "),
}  # fmt: skip


@pytest.mark.parametrize(("script", "timeout_s", "expect", "code", "first"), HEADLINES.values(), ids=HEADLINES.keys())
def test_the_first_line_of_check_agrees_with_the_exit_code(
    script: Script, timeout_s: float, expect: Expectation | None, code: int, first: str
) -> None:
    """✔ and = are 0, ✘ is 1 and ? is 3, also where nothing is known about Amazon ECS."""
    report = run(SimulatedEngine({"it": script}), scenario("it", timeout_s, expect=expect)).report
    assert exit_codes.of_report(report) == code
    text = " ".join(terminal.check_verdict(report, width=200).split())
    assert re.match(first, text), text
