"""`--until-sure`: how often a stop is repeated, what is said then, and how often that is wrong."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.conductor import exit_codes, pipeline, store, stored_runs
from stop_harness.conductor.exit_codes import FAIL, INCONCLUSIVE, PASS
from stop_harness.conductor.open_engine import Chosen
from stop_harness.conductor.request import RunOutcome, RunRequest
from stop_harness.engines.simulated import Script, SimulatedEngine, SimulatedSubject
from stop_harness.model import (
    NS_PER_S,
    ClaimStatus,
    Derivation,
    EngineInfo,
    Expectation,
    Observation,
    Outcome,
    ReliabilityClaim,
    ReliabilityGoal,
    Scenario,
    SigkillEvidence,
    Status,
    StopFacts,
    Trial,
    TrialResult,
    Verdict,
)
from stop_harness.plan import trials as plan
from stop_harness.renderers import html, markdown, terminal
from stop_harness.renderers.results import results_json
from stop_harness.report import claims, reliability
from stop_harness.report.claims import UntilSure
from tests.test_pipeline import Heard, scenario

ENGINE: EngineInfo = SimulatedEngine().info()
GRACEFUL = {
    Status.PASS: Outcome.GRACEFUL,
    Status.FAIL: Outcome.KILLED,
    Status.INCONCLUSIVE: Outcome.INCONCLUSIVE,
}


def result(status: Status, trial: Trial, *, derived: bool = False) -> TrialResult:
    """What a trial came to."""
    seen = Observation(
        trial.trial_id,
        trial.scenario.name,
        ENGINE,
        trial.stop_timeout_ns,
        trial.stop_after_ns,
        trial.repetition,
        started_at="",
        derivation=Derivation(derived_from="another" if derived else None),
    )
    facts = StopFacts(SigkillEvidence.NOT_SENT, "")
    return TrialResult(seen, Verdict(trial.trial_id, GRACEFUL[status], status, "", facts))


def said(
    passed: int, failed: int = 0, undecided: int = 0, *, goal: ReliabilityGoal | None = None, until_sure: bool = False
) -> ReliabilityClaim:
    """The statement about so many stops."""
    (trial,) = plan.expand((scenario("a"),)).trials
    statuses = [Status.PASS] * passed + [Status.FAIL] * failed + [Status.INCONCLUSIVE] * undecided
    results = [result(status, trial) for status in statuses]
    (claim,) = claims.shown_by(results, (trial.scenario,), goal or ReliabilityGoal(), until_sure=until_sure)
    return claim


# ── What is said ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("stops", "status", "statement"),
    [
        (
            (299, 0, 0),
            ClaimStatus.SHOWN,
            "With 95 % confidence at least 99 % of stops are graceful within 30 s: 299 stops, none failed.",
        ),
        (
            (3, 0, 0),
            ClaimStatus.NOT_SHOWN,
            "With 95 % confidence at least 36 % of stops are graceful within 30 s: 3 stops, none failed. 296 more "
            "stops without a failure would show 99 %.",
        ),
        (
            (298, 0, 2),
            ClaimStatus.NOT_SHOWN,
            "With 95 % confidence at least 98.9 % of stops are graceful within 30 s: 298 stops, none failed. 2 more "
            "stops could not be judged and do not count. 1 more stop without a failure would show 99 %.",
        ),
        (
            (119, 1, 0),
            ClaimStatus.NOT_SHOWN,
            "With 95 % confidence at least 96.1 % of stops are graceful within 30 s: 120 stops, 1 failed. To show 99 % "
            "in spite of 1 failure takes a new run of 473 stops (--repeat 473) with no more than that.",
        ),
        (
            (0, 1, 0),
            ClaimStatus.REFUTED,
            "With 95 % confidence fewer than 99 % of stops are graceful within 30 s: 1 stop, 1 failed.",
        ),
        (
            (472, 1, 0),
            ClaimStatus.SHOWN,
            "With 95 % confidence at least 99 % of stops are graceful within 30 s: 473 stops, 1 failed.",
        ),
        (
            (0, 0, 1),
            ClaimStatus.NOT_SHOWN,
            "No stop could be judged. 1 more stop could not be judged and does not count.",
        ),
    ],
)
def test_the_statement_says_what_is_shown_and_what_more_it_takes(
    stops: tuple[int, int, int], status: ClaimStatus, statement: str
) -> None:
    """One sentence for what the stops show, one for the rest of the way."""
    claim = said(*stops)
    assert (claim.status, claim.statement) == (status, statement)


def test_a_failure_is_not_outweighed_where_the_number_of_stops_depended_on_it() -> None:
    """473 stops with one failure show 99 % if they were planned, and not if they were stopped by what they showed."""
    assert said(472, 1).status is ClaimStatus.SHOWN
    assert said(472, 1, until_sure=True).status is ClaimStatus.NOT_SHOWN


def test_only_stop_timeouts_at_which_grace_is_expected_are_spoken_of() -> None:
    """A scenario that is expected to be killed, or may be, promises nothing."""
    item = replace(
        scenario("a", 1, 10, 30),
        expectations=(
            Expectation(),
            Expectation((Outcome.KILLED,), NS_PER_S),
            Expectation((Outcome.GRACEFUL, Outcome.LOSSY), 10 * NS_PER_S),
        ),
    )
    results = [result(Status.PASS, trial) for trial in plan.expand((item,)).trials]
    found = claims.shown_by(results, (item,), ReliabilityGoal(), until_sure=False)
    assert [claim.stop_timeout_ns for claim in found] == [30 * NS_PER_S]


def test_a_stop_that_must_be_quick_is_stated_with_its_own_limit() -> None:
    """`within: 5s` at 30 s: what passes left within 5 s."""
    item = replace(scenario("a"), expectations=(Expectation(within_ns=5 * NS_PER_S),))
    (trial,) = plan.expand((item,)).trials
    (claim,) = claims.shown_by([result(Status.PASS, trial)], (item,), ReliabilityGoal(), until_sure=False)
    assert "graceful within 5 s" in claim.statement


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.3684, "36 %"), (0.9474, "94.7 %"), (0.99, "99 %"), (0.98999, "98.9 %"), (0.99003, "99 %"), (0.9995, "99.95 %"),
     (0.5, "50 %"), (0.95, "95 %"), (0.999, "99.9 %"), (0.0, "0 %"), (1.0, "100 %"), (0.0001, "0 %")],
)  # fmt: skip
def test_fractions_are_rounded_down(fraction: float, text: str) -> None:
    """So that no sentence says more than was shown."""
    assert claims.percent(fraction) == text


@given(st.floats(0.001, 0.99999))
def test_a_printed_fraction_is_never_more_than_the_real_one(fraction: float) -> None:
    """Up to the noise of floating point."""
    assert float(claims.percent(fraction).removesuffix(" %")) / 100 <= fraction + 1e-9


# ── How often it is wrong ────────────────────────────────────────────────────────────────────────────────────────────

QUICK = ReliabilityGoal(0.9, 0.95)
"""45 stops instead of 299: thousands of runs take seconds."""


def until_sure(stop: Callable[[], Status], goal: ReliabilityGoal, jobs: int) -> ReliabilityClaim:
    """A run with so many stops in flight, of which any may end next."""
    planned = plan.expand((scenario("a"),)).trials
    sure, results, batch = UntilSure(planned, goal), [], iter(planned)
    while True:
        for trial in _in_flight(batch, jobs):
            results.append(result(stop(), trial))
            sure.count(results[-1])
        further = sure.next_trials()
        if not further:
            break
        batch = (trial for trial in further if sure.is_worth(trial))
    (claim,) = claims.shown_by(results, (planned[0].scenario,), goal, until_sure=True)
    return claim


def _in_flight(trials: Iterator[Trial], jobs: int) -> Iterator[Trial]:
    """As the scheduler draws them: always so many begun, one of them ending."""
    flying: list[Trial] = []
    while True:
        while len(flying) < jobs and (trial := next(trials, None)) is not None:
            flying.append(trial)
        if not flying:
            return
        yield flying.pop(0)


def runs(chance: float, jobs: int, number: int, undecided: float = 0.0) -> list[ReliabilityClaim]:
    """That many runs of a container that is so reliable, the same in every test run."""
    rng = random.Random(f"{chance} {jobs}")

    def stop() -> Status:
        if rng.random() < undecided:
            return Status.INCONCLUSIVE
        return Status.PASS if rng.random() < chance else Status.FAIL

    return [until_sure(stop, QUICK, jobs) for _ in range(number)]


def share(claims: list[ReliabilityClaim], status: ClaimStatus) -> float:
    """How many of the runs ended so."""
    return sum(claim.status is status for claim in claims) / len(claims)


@pytest.mark.long
@pytest.mark.parametrize(("jobs", "undecided"), [(1, 0.0), (16, 0.0), (16, 0.2)])
def test_a_container_that_is_just_not_reliable_enough_rarely_passes(jobs: int, undecided: float) -> None:
    """In at most 1 - confidence of the runs, and in as many as the plan allows for, not in none."""
    number, just_below = 1500, QUICK.reliability - 0.0005
    wrong = share(runs(just_below, jobs, number, undecided), ClaimStatus.SHOWN)
    allowed = 1 - QUICK.confidence
    noise = 3 * (allowed * (1 - allowed) / number) ** 0.5
    expected = just_below ** reliability.stops_needed(QUICK.confidence, QUICK.reliability)
    assert expected <= allowed
    assert abs(wrong - expected) <= noise


@pytest.mark.long
@pytest.mark.parametrize("jobs", [1, 4, 45])
def test_a_container_that_is_just_reliable_enough_is_rarely_refuted(jobs: int) -> None:
    """The other error has the same bound, however many stops were in flight at the first failure."""
    number, allowed = 1500, 1 - QUICK.confidence
    wrong = share(runs(QUICK.reliability + 0.0005, jobs, number), ClaimStatus.REFUTED)
    assert wrong <= allowed + 3 * (allowed * (1 - allowed) / number) ** 0.5


@pytest.mark.long
@pytest.mark.parametrize("jobs", [1, 16])
@pytest.mark.parametrize("chance", [0.5, 0.8, 0.93, 0.97])
def test_what_is_said_after_a_failure_holds_as_often_as_is_said(chance: float, jobs: int) -> None:
    """ "At least … %" is too much in at most 1 - confidence of the runs, though they ended because of a failure."""
    number, allowed = 800, 1 - QUICK.confidence
    wrong = sum(claim.at_least > chance for claim in runs(chance, jobs, number)) / number
    assert wrong <= allowed + 3 * (allowed * (1 - allowed) / number) ** 0.5


def test_a_container_that_never_fails_always_passes() -> None:
    """With exactly as many stops as are needed, whatever could not be judged."""
    found = runs(1.0, 16, 20, undecided=0.3)
    assert {claim.status for claim in found} == {ClaimStatus.SHOWN}
    assert {claim.stops for claim in found} == {reliability.stops_needed(QUICK.confidence, QUICK.reliability)}


# ── In a run ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Flaky(SimulatedEngine):
    """Subjects that behave well except in some repetitions."""

    def __init__(self, bad: dict[int, Script], leaves_after_ns: int = NS_PER_S) -> None:
        super().__init__()
        self.bad, self.good = bad, Script(leaves_after_ns=leaves_after_ns)
        self.started: list[Trial] = []

    def start(self, trial: Trial) -> SimulatedSubject:
        """The script of this repetition."""
        self.started.append(trial)
        self.living.add(trial.trial_id)
        return SimulatedSubject(trial, self.bad.get(trial.repetition, self.good), self)


NEVER, DIES = Script(leaves_after_ns=None), Script(dies_at_stop=True)
FEW = ReliabilityGoal(0.9, 0.9)
"""22 stops."""


def run(engine: Flaky, *scenarios: Scenario, report_dir: Path | None = None, **asked: object) -> RunOutcome:
    """A run until sure."""
    heard = Heard()
    request = RunRequest(scenarios, "test", report_dir, goal=FEW, until_sure=True, **asked)  # type: ignore[arg-type]
    return pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(engine))


def test_stops_are_repeated_until_they_are_enough(tmp_path: Path) -> None:
    """22 repetitions, numbered on; the report states it, and says the same again from the store."""
    engine = Flaky({})
    done = run(engine, scenario("a"), report_dir=tmp_path)
    assert [item.trial_id for item in sorted(engine.started, key=lambda item: item.repetition)] == [
        f"a@30s#{number}" for number in range(1, 23)
    ]
    (claim,) = done.report.claims
    assert (claim.status, claim.stops, claim.failures) == (ClaimStatus.SHOWN, 22, 0)
    assert "With 90 % confidence at least 90 % of stops are graceful within 30 s: 22 stops" in claim.statement
    assert done.report.trials_planned == 22
    assert exit_codes.of_report(done.report) == PASS
    assert engine.living == set()
    assert done.directory is not None
    assert stored_runs.report_of(store.read(done.directory)[0]) == done.report


def test_a_bad_stop_timeout_is_found_by_the_first_trial_and_not_repeated() -> None:
    """Killed at 1 s, graceful at 30 s: one stop with 1 s, 22 with 30 s."""
    engine = Flaky({}, leaves_after_ns=12 * NS_PER_S)
    done = run(engine, scenario("a", 1, 30))
    assert Counter(item.stop_timeout_ns // NS_PER_S for item in engine.started) == {1: 1, 30: 22}
    assert [claim.status for claim in done.report.claims] == [ClaimStatus.NOT_SHOWN, ClaimStatus.SHOWN]
    assert exit_codes.of_report(done.report) == FAIL


def test_the_first_failure_ends_the_repetitions() -> None:
    """It fails in its fifth repetition; no other begins."""
    engine = Flaky({5: NEVER})
    done = run(engine, scenario("a"), jobs="1")
    assert len(engine.started) == 5
    (claim,) = done.report.claims
    assert claim.failures == 1
    assert claim.status is ClaimStatus.NOT_SHOWN
    assert "takes a new run of 38 stops (--repeat 38)" in claim.statement
    assert exit_codes.of_report(done.report) == FAIL
    assert "missing-trials" not in {warning.rule for warning in done.report.warnings}


def test_repetitions_in_flight_beside_the_first_failure_still_end() -> None:
    """How many there are is the machine's affair; none of them is dropped, and they are fewer than were needed."""
    engine = Flaky({5: NEVER})
    done = run(engine, scenario("a"), jobs="3")
    assert 5 <= len(engine.started) == len(done.report.results) < 22


def test_stops_that_say_nothing_are_made_up_for() -> None:
    """Three of the first 22 were lost with the engine: 25 in all. The run itself stays inconclusive."""
    engine = Flaky(dict.fromkeys((2, 3, 9), DIES))
    done = run(engine, scenario("a"))
    (claim,) = done.report.claims
    assert (claim.status, claim.stops, claim.undecided, len(engine.started)) == (ClaimStatus.SHOWN, 22, 3, 25)
    assert exit_codes.of_report(done.report) == INCONCLUSIVE


def test_stops_that_always_say_nothing_are_given_up() -> None:
    """After twice as many as are needed, or after `--max-repeat`."""
    always = dict.fromkeys(range(1, 100), DIES)
    assert len(run(Flaky(always), scenario("a")).report.results) == 44
    done = run(Flaky(always), scenario("a"), max_repeat=30)
    assert len(done.report.results) == 30
    assert done.report.claims[0].status is ClaimStatus.NOT_SHOWN
    assert exit_codes.of_report(done.report) == INCONCLUSIVE


def test_a_limit_that_is_too_low_is_said_before_and_after() -> None:
    """Ten stops cannot show it: the note says so, the statement says how many more would, and it is no pass."""
    heard = Heard()
    request = RunRequest((scenario("a"),), "test", None, goal=FEW, until_sure=True, max_repeat=10)
    done = pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(Flaky({})))
    assert any("too few to be sure" in note for note in heard.notes)
    assert len(done.report.results) == 10
    assert "12 more stops without a failure would show 90 %" in done.report.claims[0].statement
    assert exit_codes.of_report(done.report) == INCONCLUSIVE


def test_a_plan_that_expects_no_grace_repeats_nothing_and_says_so() -> None:
    """Expected to be killed, and killed: one trial, no claim, and a note."""
    heard, item = Heard(), scenario("a", expect=Expectation((Outcome.KILLED,)))
    request = RunRequest((item,), "test", None, goal=FEW, until_sure=True)
    engine = Flaky({}, leaves_after_ns=50 * NS_PER_S)
    done = pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(engine))
    assert len(done.report.results) == 1
    assert done.report.claims == ()
    assert any("nothing is repeated" in note for note in heard.notes)
    assert exit_codes.of_report(done.report) == PASS


def test_no_repetition_begins_when_the_time_is_up() -> None:
    """The plan itself is carried out; what goes beyond it is not begun."""
    done = run(Flaky({}), scenario("a", repeat=3), max_time_ns=0)
    assert len(done.report.results) == 3
    assert done.report.claims[0].status is ClaimStatus.NOT_SHOWN


def test_one_real_stop_counts_for_each_timeout_that_is_derived_from_it() -> None:
    """22 stops with 30 s show it for 5 s, 10 s and 30 s; 1 s is killed each time, and says so."""
    engine = Flaky({}, leaves_after_ns=3 * NS_PER_S)
    done = run(engine, scenario("a", 1, 5, 10, 30), infer=True)
    assert len(engine.started) == 22
    found = {claim.stop_timeout_ns // NS_PER_S: claim for claim in done.report.claims}
    assert {limit: claim.status for limit, claim in found.items()} == {
        1: ClaimStatus.REFUTED,
        5: ClaimStatus.SHOWN,
        10: ClaimStatus.SHOWN,
        30: ClaimStatus.SHOWN,
    }
    assert [found[limit].derived for limit in (5, 10, 30)] == [22, 22, 0]
    assert "22 stops (22 derived), none failed" in found[5].statement


def test_fail_fast_ends_a_run_until_sure_too() -> None:
    """No further batch begins."""
    engine = Flaky({1: NEVER})
    done = run(engine, scenario("a"), scenario("b", 10), jobs="1", fail_fast=True)
    assert len(done.report.results) == len(engine.started) == 1


def test_each_moment_of_the_stop_is_repeated_for_itself() -> None:
    """Stops at readiness and a second later are different stops."""
    item = scenario("a")
    item = replace(item, stop=replace(item.stop, after_ns=(0, NS_PER_S)))
    done = run(Flaky({}), item)
    assert [(claim.stop_after_ns, claim.stops) for claim in done.report.claims] == [(0, 22), (NS_PER_S, 22)]


def test_a_run_without_the_option_states_what_its_repetitions_show() -> None:
    """Three of them, by the usual goal."""
    heard = Heard()
    request = RunRequest((scenario("a", repeat=3),), "test", None)
    done = pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(Flaky({})))
    (claim,) = done.report.claims
    assert "at least 36 % of stops" in claim.statement
    assert exit_codes.of_report(done.report) == PASS


# ── In every format ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_format_states_what_was_reached(tmp_path: Path) -> None:
    """Terminal, Markdown, HTML and JSON: each scenario and stop timeout with its statement."""
    done = run(Flaky({}, leaves_after_ns=3 * NS_PER_S), scenario("a", 1, 10, 30), infer=True)
    report = done.report
    statements = [claim.statement for claim in report.claims]
    assert len(statements) == 3
    summary, checked = (" ".join(draw(report).split()) for draw in (terminal.summary, terminal.check_verdict))
    pages = markdown.render(report), html.render(report)
    told = results_json.document(report)["claims"]
    assert [item["statement"] for item in told] == statements
    assert [(item["stop_timeout_s"], item["status"], item["stops"], item["derived"]) for item in told] == [
        (1, "refuted", 22, 22),
        (10, "shown", 22, 22),
        (30, "shown", 22, 0),
    ]
    for statement in statements:
        assert all(statement in text for text in (summary, checked, *pages))
    assert "✘ refuted a, stop timeout 1 s: With" in summary
    assert results_json.document(report)["run"]["until_sure"] is True
    jsonschema.validate(json.loads(results_json.render(report)), results_json.schema())


def test_a_hundred_stops_do_not_fill_the_terminal() -> None:
    """`check` counts them by stop timeout; derived kills are explained once, not for each repetition."""
    done = run(Flaky({}, leaves_after_ns=3 * NS_PER_S), scenario("a", 1, 10, 30), infer=True)
    checked, summary = terminal.check_verdict(done.report), terminal.summary(done.report)
    assert "1 s killed (derived) ×22" in checked
    assert len(checked.splitlines()) < 40
    assert summary.count("would have been SIGKILLed at 1 s") == 1


def test_a_single_stop_is_not_commented() -> None:
    """ "At least 5 %" after one stop is true and helps nobody; the JSON has it."""
    heard = Heard()
    request = RunRequest((scenario("a"),), "test", None)
    report = pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(Flaky({}))).report
    assert "confidence" not in terminal.check_verdict(report) + terminal.summary(report) + markdown.render(report)
    assert "How certain that is" not in html.render(report)
    assert len(results_json.document(report)["claims"]) == 1


# ── On the command line ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-repeat", "5"], "--max-repeat is a limit of --until-sure"),
        (["--max-time", "5s"], "--max-time is a limit of --until-sure"),
        (["--until-sure", "--shard", "1/2"], "it cannot be used with --shard"),
        (["--until-sure", "--max-time", "soon"], "--max-time: 'soon' is not a duration"),
        (["--until-sure", "--confidence", "1"], "--confidence"),
        (["--until-sure", "--reliability", "99"], "--reliability"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: list[str], message: str) -> None:
    """Before anything starts, with what is allowed."""
    done = subprocess.run(
        [sys.executable, "-m", "stop_harness", "run", "scenarios/01-handles-sigterm.yaml", *options],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
