"""One stop with the longest timeout tells how the shorter ones would have ended: compared with stops that were."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import event, given, settings
from hypothesis import strategies as st

from stop_harness.cli import main
from stop_harness.conductor import pipeline, store, stored_runs
from stop_harness.conductor.open_engine import Chosen
from stop_harness.conductor.request import RunOutcome, RunRequest
from stop_harness.engines.simulated import Script, SimulatedEngine
from stop_harness.evidence import inference, stop_sequence
from stop_harness.evidence.stop_sequence import DEADLINE_TOLERANCE_NS
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    EngineInfo,
    EventKind,
    Observation,
    Outcome,
    Problem,
    ProblemKind,
    Request,
    RequestFate,
    Scenario,
    SigkillEvidence,
    Status,
    StopPlan,
    Subject,
    TaskRecord,
    TrafficKind,
    TrafficRecord,
    Trial,
    Verdict,
)
from stop_harness.plan import trials as plan
from stop_harness.plan.trials import Shard
from stop_harness.renderers import csv_table, html, junit, markdown, terminal
from stop_harness.renderers.results import results_json
from stop_harness.trial import perform as trial
from stop_harness.verdict import judge
from stop_harness.verdict.traffic import lost_requests
from tests import strategies
from tests.parts import changed
from tests.strategies import SIGKILL_DELAY_NS, Behaviour, Jitter, durations_ns, stop
from tests.test_pipeline import Heard, scenario

scripts = st.builds(
    Script,
    leaves_after_ns=st.none() | durations_ns(0, 40_000),
    exit_code=st.sampled_from([0, 0, 3, 137, 139, 143]),
    ready_after_ns=st.sampled_from([0] * 9 + [None]),
    runs_for_ns=st.none() | durations_ns(0, 200_000),
    oom_after_ns=st.none() | st.none() | durations_ns(0, 40_000),
    lost_processes=st.none() | st.just(()) | st.just(("worker",)),
    start_problem=st.sampled_from([None] * 9 + [Problem(kind, "why") for kind in ProblemKind]),
    dies_at_stop=st.sampled_from([False] * 9 + [True]),
)
timeouts = st.lists(durations_ns(0, 40_000), min_size=2, max_size=5, unique=True)


def run(engine: SimulatedEngine, item: Scenario, *, infer: bool, shard: Shard | None = None) -> RunOutcome:
    """A whole run in virtual time, performed or inferred."""
    heard = Heard()
    request = RunRequest((item,), "test", None, engine="simulated", infer=infer, jobs="2", shard=shard)
    return pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(engine))


def verdicts(done: RunOutcome) -> dict[str, Verdict]:
    """By trial id."""
    return {item.observation.trial_id: item.verdict for item in done.report.results}


@st.composite
def scripts_near_timeouts(draw: st.DrawFn) -> tuple[Script, tuple[int, ...]]:
    """Any script with any stop timeouts; half of the time something happens close to one of them."""
    script, limits = draw(scripts), tuple(draw(timeouts))
    near_ns = max(0, draw(st.sampled_from(limits)) + draw(st.integers(-70, 70)) * NS_PER_MS)
    match draw(st.integers(0, 3)):
        case 0:
            script = replace(script, leaves_after_ns=near_ns)
        case 1:
            script = replace(script, oom_after_ns=near_ns)
    if script.oom_after_ns is not None and script.leaves_after_ns is not None:  # whom it strikes is still there
        script = replace(script, leaves_after_ns=max(script.leaves_after_ns, script.oom_after_ns))
    return script, limits


@given(scripts_near_timeouts(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_derived_verdicts_are_those_of_performed_stops(drawn: tuple[Script, tuple[int, ...]], observes: bool) -> None:
    """Whatever the container does and whatever the stop timeouts: the same outcome, status and loss as if each stop had
    been performed; or nothing is said, and that only where something happened within the tolerance of the timeout."""
    script, limits_ns = drawn
    engine = SimulatedEngine({"a": script}, observes_sigkill=observes)
    item = replace(scenario("a"), stop=StopPlan(limits_ns))
    performed, inferred = verdicts(run(engine, item, infer=False)), run(engine, item, infer=True)
    assert verdicts(inferred).keys() == performed.keys()
    assert inferred.report.trials_planned == len(limits_ns)
    for result in inferred.report.results:
        seen, derived, real = result.observation, result.verdict, performed[result.observation.trial_id]
        assert (seen.derivation.derived_from is None) == (seen.stop_timeout_ns == max(limits_ns))
        if seen.problem is not None and seen.problem.kind is ProblemKind.NOT_DERIVABLE:
            moments = (script.leaves_after_ns, script.oom_after_ns, max(limits_ns))
            near = [at for at in moments if at is not None and _near(at, seen.stop_timeout_ns)]
            assert near or performed[_id(max(limits_ns))].outcome is Outcome.INCONCLUSIVE
            event("left open")
            continue
        event(
            f"{derived.outcome} at a {'performed' if seen.derivation.derived_from is None else 'derived'} stop timeout"
        )
        assert (derived.outcome, derived.status) == (real.outcome, real.status), seen.stop_timeout_ns
        evidence = derived.facts.sigkill_evidence
        if seen.derivation.derived_from is not None:
            assert evidence is not SigkillEvidence.OBSERVED
        if real.facts.sigkill_evidence is not SigkillEvidence.OBSERVED:
            assert evidence is real.facts.sigkill_evidence
        if real.outcome in {Outcome.GRACEFUL, Outcome.CRASHED, Outcome.LOSSY}:
            assert derived.facts.shutdown_duration_ns == real.facts.shutdown_duration_ns


def _near(at_ns: int, timeout_ns: int) -> bool:
    return abs(at_ns - timeout_ns) <= DEADLINE_TOLERANCE_NS + NS_PER_MS


def _id(timeout_ns: int) -> str:
    return plan.trial_id("a", timeout_ns, 0, 1)


# The stamps of real engines are late, early and rounded; the simulated engine's are not.

steady = st.builds(
    Behaviour,
    leaves_after_ns=st.none() | durations_ns(0, 40_000),
    exit_code=st.sampled_from([0, 3, 137, 139, 143]),
    oom_after_ns=st.none() | st.none() | durations_ns(0, 40_000),
)


@given(
    steady,
    st.tuples(st.integers(0, 40_000), st.integers(0, 40_000)),
    st.tuples(strategies.jitters, strategies.jitters),
    st.sampled_from(strategies.ENGINES),
    st.none() | st.integers(-80, 80),
)
@settings(max_examples=600, deadline=None)
def test_with_the_stamps_of_real_engines_a_derived_verdict_is_never_wrong(
    behaviour: Behaviour,
    timeouts_ms: tuple[int, int],
    jitters: tuple[Jitter, Jitter],
    engine: EngineInfo,
    near_ms: int | None,
) -> None:
    """Docker's, Podman's and the process engine's records, within their measured errors: where both the derived and the
    performed stop say something, they say the same; near the timeout at most one of them does."""
    long_ns, short_ns = max(timeouts_ms) * NS_PER_MS, min(timeouts_ms) * NS_PER_MS
    if near_ms is not None:
        behaviour = replace(behaviour, leaves_after_ns=max(0, short_ns + near_ms * NS_PER_MS))
    item = scenario("a")
    real = stop(behaviour, long_ns, engine, jitters[0]).observation
    performed = judge.judge(stop(behaviour, short_ns, engine, jitters[1]).observation, item)
    derived = judge.judge(inference.derive(real, short_ns, "a@short#1"), item)
    event(f"performed {performed.outcome}, derived {derived.outcome}")
    assert derived.facts.sigkill_evidence is not SigkillEvidence.OBSERVED
    if Outcome.INCONCLUSIVE not in {derived.outcome, performed.outcome}:
        assert (derived.outcome, derived.status) == (performed.outcome, performed.status)


# ── What stands in the record ────────────────────────────────────────────────────────────────────────────────────────


def observed(script: Script, *, timeout_s: float = 30, engine: SimulatedEngine | None = None) -> Observation:
    """One real stop on the simulated engine."""
    item = scenario("a", timeout_s)
    limit_ns = item.stop.timeouts_ns[0]
    engine = engine or SimulatedEngine({"a": script})
    return trial.perform(Trial("a@long#1", item, limit_ns, 0, 1), engine, trial.Interruption())


def derived(real: Observation, timeout_s: float) -> tuple[Observation, Verdict]:
    """The derived observation and its verdict."""
    seen = inference.derive(real, round(timeout_s * NS_PER_S), "a@short#1")
    return seen, judge.judge(seen, scenario("a"))


def test_a_derived_kill_names_the_stop_it_follows_from_and_has_no_end_of_its_own() -> None:
    """It exited after 12 s, so it would have been killed at 3 s: inferred, with the reason, and no exit on record."""
    seen, judged = derived(observed(Script(leaves_after_ns=12 * NS_PER_S)), 3)
    assert (judged.outcome, judged.status) == (Outcome.KILLED, Status.FAIL)
    assert judged.reason == "would have been SIGKILLed at 3 s; it exited by itself only later"
    assert judged.facts.sigkill_evidence is SigkillEvidence.INFERRED
    assert judged.facts.sigkill_reason == "in a@long#1 it exited 12 s after the stop signal"
    assert judged.facts.shutdown_duration_ns is None
    assert "derived" in {finding.rule for finding in judged.findings}
    assert judged.cause is not None
    assert judged.cause.id == "grace-too-short"
    assert (seen.trial_id, seen.derivation.derived_from, seen.stop_timeout_ns) == (
        "a@short#1",
        "a@long#1",
        3 * NS_PER_S,
    )
    assert EventKind.EXITED not in {item.kind for item in seen.record.events}


def test_a_stop_that_was_killed_at_the_longest_timeout_is_killed_at_each_shorter_one() -> None:
    """However long it would have taken, it was still there."""
    real = observed(Script(leaves_after_ns=None))
    assert judge.judge(real, scenario("a")).facts.sigkill_evidence is SigkillEvidence.OBSERVED
    for timeout_s in (0, 1, 10, 29):
        _, judged = derived(real, timeout_s)
        assert judged.outcome is Outcome.KILLED
        assert judged.facts.sigkill_evidence is SigkillEvidence.INFERRED
        assert "still running 30 s" in judged.facts.sigkill_reason
        assert judged.reason.endswith("; it was still there")


@pytest.mark.parametrize("offset_ms", [-50, -20, 0, 20, 50])
def test_who_leaves_at_the_stop_timeout_may_or_may_not_have_been_killed(offset_ms: int) -> None:
    """Nothing is said, and the reason has the measured time."""
    real = observed(Script(leaves_after_ns=3 * NS_PER_S + offset_ms * NS_PER_MS))
    _, judged = derived(real, 3)
    assert (judged.outcome, judged.status) == (Outcome.INCONCLUSIVE, Status.INCONCLUSIVE)
    assert "not-derivable" in {finding.rule for finding in judged.findings}
    assert "too close to the stop timeout" in judged.reason
    assert "it exited 3" in judged.reason or "it exited 2.9" in judged.reason


@pytest.mark.parametrize(("offset_ms", "outcome"), [(-51, Outcome.GRACEFUL), (51, Outcome.KILLED)])
def test_the_tolerance_ends_where_engines_are_certain(offset_ms: int, outcome: Outcome) -> None:
    """Engines send SIGKILL up to 35 ms late; the tolerance holds that with the error of the clocks."""
    assert SIGKILL_DELAY_NS[1] < DEADLINE_TOLERANCE_NS
    _, judged = derived(observed(Script(leaves_after_ns=3 * NS_PER_S + offset_ms * NS_PER_MS)), 3)
    assert judged.outcome is outcome


def test_an_oom_kill_after_the_shorter_timeout_did_not_come_to_pass() -> None:
    """The OOM killer struck at 12 s: at 3 s the engine would have been first, at 20 s it was the OOM killer."""
    real = observed(Script(leaves_after_ns=13 * NS_PER_S, oom_after_ns=12 * NS_PER_S))
    seen, judged = derived(real, 3)
    assert (judged.outcome, seen.record.oom_killed) == (Outcome.KILLED, False)
    assert derived(real, 20)[1].outcome is Outcome.OOM_KILLED
    assert derived(real, 12.5)[1].outcome is Outcome.OOM_KILLED, "it struck a helper, and PID 1 stayed"
    assert derived(real, 12)[1].outcome is Outcome.INCONCLUSIVE


def test_an_oom_kill_at_an_unknown_time_leaves_the_shorter_timeout_open() -> None:
    """The flag without the event: before or after, nobody knows."""
    real = observed(Script(leaves_after_ns=13 * NS_PER_S, oom_after_ns=12 * NS_PER_S))
    real = changed(real, events=tuple(item for item in real.record.events if item.kind is not EventKind.OOM))
    _, judged = derived(real, 3)
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "OOM killer" in judged.reason


def test_a_stop_without_a_known_duration_tells_nothing_about_shorter_ones() -> None:
    """It exited by itself, at some time within 30 s."""
    real = observed(Script(leaves_after_ns=NS_PER_S))
    ends = {EventKind.EXITED, EventKind.STOP_RETURNED}
    real = changed(real, events=tuple(item for item in real.record.events if item.kind not in ends))
    _, judged = derived(real, 3)
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "a@long#1, which it is derived from, does not tell" in judged.reason


def test_a_record_that_contradicts_itself_proves_no_shorter_kill() -> None:
    """It exited 5 s after its own stop timeout without SIGKILL: the record is wrong, not the container."""
    real = replace(observed(Script(leaves_after_ns=12 * NS_PER_S)), stop_timeout_ns=7 * NS_PER_S)
    assert derived(real, 3)[1].outcome is Outcome.INCONCLUSIVE


def test_stamps_of_a_cluster_prove_a_shorter_kill_only_well_before_its_own() -> None:
    """ECS may say seconds late that a container stopped: 137 after 30 s may have been an end of its own after 26 s."""
    engine = SimulatedEngine({"a": Script(leaves_after_ns=None)}, observes_sigkill=False)
    real = observed(Script(), engine=engine)
    events = tuple(replace(item, clock=Clock.ECS) for item in real.record.events)
    real = changed(real, events=events, exit_signal=None)
    assert judge.judge(real, scenario("a")).facts.sigkill_evidence is SigkillEvidence.INFERRED
    assert derived(real, 10)[1].outcome is Outcome.KILLED
    assert derived(real, 27)[1].outcome is Outcome.INCONCLUSIVE


def test_what_fast_ended_early_is_killed_at_every_shorter_timeout() -> None:
    """The evidence that it would never leave holds whatever the timeout."""
    real = observed(Script(leaves_after_ns=None))
    real = changed(real, cut_short="cut short 1.2 s after the stop signal: PID 1 has no handler")
    _, judged = derived(real, 10)
    assert judged.outcome is Outcome.KILLED
    assert judged.facts.sigkill_reason.startswith("cut short 1.2 s")
    assert judged.facts.sigkill_evidence is SigkillEvidence.INFERRED


def test_a_stop_signal_of_sigkill_is_not_observed_in_a_stop_that_was_not_performed() -> None:
    """The outcome is the same, the evidence is not."""
    item = replace(scenario("a"), stop=StopPlan((30 * NS_PER_S,), signal="SIGKILL"))
    engine = SimulatedEngine({"a": Script(leaves_after_ns=0, exit_code=137, exit_signal=9)})
    real = trial.perform(Trial("a@long#1", item, 30 * NS_PER_S, 0, 1), engine, trial.Interruption())
    assert judge.judge(real, item).facts.sigkill_evidence is SigkillEvidence.OBSERVED
    seen = inference.derive(real, 10 * NS_PER_S, "a@short#1")
    judged = judge.judge(seen, item)
    assert judged.outcome is Outcome.KILLED
    assert judged.facts.sigkill_evidence is SigkillEvidence.INFERRED


def test_the_expectation_of_each_stop_timeout_applies() -> None:
    """Killed at 3 s, as the scenario expects there."""
    from stop_harness.model import Expectation

    item = replace(
        scenario("a", 3, 30),
        expectations=(Expectation(), Expectation((Outcome.KILLED,), stop_timeout_ns=3 * NS_PER_S)),
    )
    done = run(SimulatedEngine({"a": Script(leaves_after_ns=12 * NS_PER_S)}), item, infer=True)
    assert {name: judged.status for name, judged in verdicts(done).items()} == {
        "a@3s#1": Status.PASS,
        "a@30s#1": Status.PASS,
    }


def test_requests_that_were_open_at_the_shorter_timeout_would_have_been_cut() -> None:
    """One was answered before, one was being answered, one waited, and one came later."""
    second = NS_PER_S
    request = Request(TrafficKind.HTTP, 1, RequestFate.COMPLETED, -2 * second, -second, status=200)
    early = replace(request, first_byte_at_ns=second, ended_at_ns=2 * second)
    answering = replace(request, client=2, first_byte_at_ns=second, ended_at_ns=8 * second)
    waiting = replace(request, client=3, first_byte_at_ns=7 * second, ended_at_ns=8 * second)
    later = replace(request, client=4, connected_at_ns=5 * second, sent_at_ns=5 * second, ended_at_ns=6 * second)
    real = replace(
        observed(Script(leaves_after_ns=12 * second)), traffic=TrafficRecord((early, answering, waiting, later))
    )
    seen, _ = derived(real, 3)
    assert seen.requests is not None
    assert [(item.client, item.fate) for item in seen.requests] == [
        (1, RequestFate.COMPLETED),
        (2, RequestFate.TRUNCATED),
        (3, RequestFate.NO_ANSWER),
    ]
    assert [item.client for item in lost_requests(seen.traffic)] == [2, 3]
    kept, _ = derived(real, 20)
    assert kept.requests == real.requests


# ── In a run ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Counting(SimulatedEngine):
    """Counts its stops."""

    stops = 0

    def start(self, trial: Trial):  # type: ignore[no-untyped-def] # as the engine does
        """One more."""
        self.stops += 1
        return super().start(trial)


def test_one_stop_a_repetition_and_moment_is_performed() -> None:
    """Three stop timeouts, two moments, four repetitions: 24 trials from 8 stops, all with the longest timeout."""
    item = scenario("a", 10, 2, 30, repeat=4)
    item = replace(item, stop=replace(item.stop, after_ns=(0, NS_PER_S)))
    engine = Counting({"a": Script(leaves_after_ns=5 * NS_PER_S)})
    done = run(engine, item, infer=True)
    assert engine.stops == 8
    assert len(done.report.results) == done.report.trials_planned == 24
    real = {
        seen.trial_id
        for seen in (result.observation for result in done.report.results)
        if not seen.derivation.derived_from
    }
    assert all("@30s" in name for name in real)
    assert {result.observation.derivation.derived_from for result in done.report.results} - {None} == real
    assert "missing-trials" not in {warning.rule for warning in done.report.warnings}


def test_compliance_and_advice_rest_on_stops_that_were_performed() -> None:
    """The derived ones add nothing to it, least of all an open one at another timeout."""
    engine = SimulatedEngine({"a": Script(leaves_after_ns=3 * NS_PER_S)})
    inferred = run(engine, scenario("a", 3, 10, 30, repeat=5), infer=True).report
    alone = run(engine, scenario("a", 30, repeat=5), infer=False).report
    assert verdicts(RunOutcome(inferred, None))["a@3s#1"].outcome is Outcome.INCONCLUSIVE
    assert inferred.compliance == alone.compliance
    assert inferred.advice == alone.advice
    assert "5 graceful stops" in inferred.advice[0].basis
    assert inferred.platforms == alone.platforms


def test_a_stored_run_with_derived_trials_is_judged_again_as_before(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Everything that a derived verdict needs is in the journal."""
    engine = SimulatedEngine({"a": Script(leaves_after_ns=5 * NS_PER_S)})
    heard = Heard()
    request = RunRequest((scenario("a", 1, 5, 30),), "test", tmp_path_factory.mktemp("run"), infer=True)
    done = pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(engine))
    assert done.directory is not None
    stored, then = store.read(done.directory)
    assert stored_runs.judge(stored) == then
    assert stored_runs.report_of(stored) == done.report
    assert {judged.outcome for judged in then} == {Outcome.KILLED, Outcome.INCONCLUSIVE, Outcome.GRACEFUL}


def test_plan_shows_which_stops_are_performed_and_what_is_derived_from_each() -> None:
    """And counts both; the estimated time is that of the stops."""
    done = CliRunner().invoke(main.cli, ["plan", "scenarios/02-drains-5s.yaml", "--infer", "--repeat", "2"])
    assert done.exit_code == 0, done.output
    assert [line for line in done.output.splitlines() if "#" in line] == [
        "drains-5s@30s#1  derives 10s, 2s",
        "drains-5s@30s#2  derives 10s, 2s",
    ]
    assert "6 trials from 2 stops" in done.output


def test_a_shard_holds_a_stop_with_all_that_is_derived_from_it() -> None:
    """Shards together give the whole run, and none performs a stop of another."""
    item, engine = scenario("a", 1, 10, 30, repeat=6), SimulatedEngine({"a": Script(leaves_after_ns=5 * NS_PER_S)})
    whole = verdicts(run(engine, item, infer=True))
    shards = [verdicts(run(engine, item, infer=True, shard=Shard(index, 3))) for index in (1, 2, 3)]
    assert sum(map(len, shards)) == len(whole)
    assert {**shards[0], **shards[1], **shards[2]} == whole


def test_nothing_is_derived_from_the_stop_of_a_task() -> None:
    """Its containers stop one after the other, so a kill of the first changes when the next is told to stop."""
    item = replace(scenario("a", 1, 30), subject=Subject(task_file="task.json"))
    assert [trial.shorter_timeouts_ns for trial in plan.expand((item,), infer=True).trials] == [(), ()]
    real = replace(observed(Script(leaves_after_ns=NS_PER_S)), task=TaskRecord("arn", ()))
    assert derived(real, 10)[1].outcome is Outcome.INCONCLUSIVE


def test_a_stop_that_could_not_be_measured_is_not_measured_at_any_timeout() -> None:
    """The engine died: inconclusive everywhere, in its own words."""
    done = run(SimulatedEngine({"a": Script(dies_at_stop=True)}), scenario("a", 1, 30), infer=True)
    assert {judged.reason for judged in verdicts(done).values()} == {"the simulated engine died"}
    assert {judged.outcome for judged in verdicts(done).values()} == {Outcome.INCONCLUSIVE}


def test_evidence_of_a_derived_record_is_never_observed_whatever_it_holds() -> None:
    """Also for a record that was put together by hand."""
    real = observed(Script(leaves_after_ns=None))
    facts = stop_sequence.facts(changed(real, derived_from="another"))
    assert facts.sigkill_evidence is SigkillEvidence.INFERRED


def test_a_derived_trial_is_marked_in_every_format() -> None:
    """Nobody can take it for a stop that was performed."""
    engine = SimulatedEngine({"a": Script(leaves_after_ns=12 * NS_PER_S)})
    built = run(engine, scenario("a", 3, 20, 30), infer=True).report
    trials = {item["trial_id"]: item["derived_from"] for item in results_json.document(built)["trials"]}
    assert trials == {"a@3s#1": "a@30s#1", "a@20s#1": "a@30s#1", "a@30s#1": None}
    rows = list(csv.DictReader(io.StringIO(csv_table.render(built))))
    assert [row["derived_from"] for row in rows] == ["a@30s#1", "a@30s#1", ""]
    properties = ET.fromstring(junit.render(built)).iter("property")
    derived = [item.get("value") for item in properties if item.get("name", "").endswith(".derived_from")]
    assert derived == ["a@30s#1", "a@30s#1"]
    for text in (markdown.render(built), html.render(built)):
        assert "killed (derived)" in text
        assert "graceful (derived)" in text
    lines = terminal.summary(built)
    assert "3 s killed (derived)" in lines
    assert "20 s graceful (derived, 12.0 s)" in lines
    assert "30 s graceful (12.0 s)" in lines
    checked = terminal.check_verdict(built)
    assert "stop timeout  3 s: killed (derived)\n" in checked, "an exit code that nobody saw is not shown as seen"
    assert [terminal.trial_line(result).count("(derived)") for result in built.results] == [1, 1, 0]
