"""What a report says: compliance, platforms, warnings, order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.errors import HarnessBug
from stop_harness.model import (
    NS_PER_S,
    Cause,
    ComplianceStatus,
    Outcome,
    Problem,
    ProblemKind,
    Report,
    RunWarning,
    Scenario,
    SkippedScenario,
    Subject,
    TrialResult,
)
from stop_harness.model.watched import TimeoutSource, Watched
from stop_harness.report import build
from stop_harness.report.platforms import IMAGE_SIGNAL, PLATFORMS
from tests.parts import changed
from tests.reports_factory import (
    DOCKER,
    SAMPLES,
    Sample,
    nanoseconds,
    realistic_report,
    report_of,
    scenario,
    stored_of,
    trial,
)

COMPLIANT, NON_COMPLIANT, INCONCLUSIVE = ComplianceStatus
ECS = 30 * NS_PER_S


def sample(needs_s: float | None, ends: Outcome = Outcome.GRACEFUL, signal: int = 15) -> Sample:
    return Sample("web", "A web server.", needs_s, ends, signal=signal)


def judged(*results: TrialResult, limit_s: float = 30) -> tuple[ComplianceStatus, str]:
    row = build.compliance("web", list(results), nanoseconds(limit_s))
    return row.status, row.reason


def measured(result: TrialResult, duration_s: float | None, after_s: float = 0) -> TrialResult:
    """The same trial with this shutdown duration, stopped this long after ready."""
    duration = None if duration_s is None else nanoseconds(duration_s)
    facts = replace(result.verdict.facts, shutdown_duration_ns=duration)
    observation = replace(result.observation, stop_after_ns=nanoseconds(after_s))
    return TrialResult(observation, replace(result.verdict, facts=facts))


# ── Compliance ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_graceful_stop_within_the_default_is_compliant_with_headroom() -> None:
    """Headroom is the default minus the longest graceful stop."""
    results = [measured(trial(sample(5), 30, repetition), duration) for repetition, duration in ((1, 5.0), (2, 6.5))]
    row = build.compliance("web", results, ECS)
    assert (row.status, row.headroom_ns) == (COMPLIANT, nanoseconds(23.5))


def test_a_graceful_stop_that_took_exactly_the_default_is_compliant() -> None:
    """The limit belongs to the time allowed."""
    row = build.compliance("web", [measured(trial(sample(5), 60), 30.0)], ECS)
    assert (row.status, row.headroom_ns) == (COMPLIANT, 0)


def test_a_graceful_stop_after_the_default_is_not_compliant() -> None:
    """With a longer stop timeout it exited by itself; ECS would have killed it."""
    assert judged(measured(trial(sample(40), 60), 40.02)) == (
        NON_COMPLIANT,
        "It needed 40.02 s to exit and would have been killed at 30 s.",
    )


def test_a_kill_at_the_default_or_later_is_not_compliant() -> None:
    """It was still running when ECS would have sent SIGKILL."""
    assert judged(trial(sample(None), 30))[0] is NON_COMPLIANT
    assert judged(trial(sample(None), 60))[0] is NON_COMPLIANT


def test_a_kill_at_a_shorter_timeout_alone_proves_nothing() -> None:
    """Killed at 10 s and never tried with 30 s: nobody knows whether it would have left at 12 s."""
    assert judged(trial(sample(12), 10)) == (
        INCONCLUSIVE,
        "It was killed at 10 s and never seen to exit within 30 s.",
    )


@pytest.mark.parametrize("cause", sorted(build.NEVER_BEGUN))
def test_a_kill_whose_cause_no_timeout_helps_is_not_compliant(cause: str) -> None:
    """Killed at 10 s, and nobody who would do something about it was told: nothing begins with 30 s either."""
    known = trial(sample(None), 10)
    known = replace(known, verdict=replace(known.verdict, cause=Cause(cause, "PID 1 has no handler")))
    assert judged(known) == (
        NON_COMPLIANT,
        "It was killed at 10 s, and no longer stop timeout helps: PID 1 has no handler.",
    )
    assert judged(known, trial(sample(12), 30))[0] is COMPLIANT


@pytest.mark.parametrize("cause", ["handler-hangs", "grace-too-short", "waits-for-clients", "unknown"])
def test_a_kill_of_what_has_begun_to_stop_stays_unknown(cause: str) -> None:
    """It may exit at 12 s."""
    begun = trial(sample(None), 10)
    begun = replace(begun, verdict=replace(begun.verdict, cause=Cause(cause, "it has begun")))
    assert judged(begun) == (INCONCLUSIVE, "It was killed at 10 s and never seen to exit within 30 s.")


def test_a_kill_at_a_shorter_timeout_is_explained_by_a_trial_with_the_default() -> None:
    """Killed at 2 s, left after 5 s when it was given 30 s: compliant."""
    assert judged(trial(sample(5), 2), trial(sample(5), 30))[0] is COMPLIANT


def test_a_kill_at_a_shorter_timeout_is_explained_by_a_longer_stop_below_the_default() -> None:
    """Killed at 2 s, left after 5 s when it was given 10 s: it needs no trial with 30 s."""
    assert judged(trial(sample(5), 2), trial(sample(5), 10))[0] is COMPLIANT


def test_a_kill_is_not_explained_by_a_trial_stopped_at_another_moment() -> None:
    """A container stopped at once may be idle, the same container stopped later may be busy."""
    killed = measured(trial(sample(5), 2), 2.0, after_s=8)
    assert judged(killed, trial(sample(5), 30))[0] is INCONCLUSIVE


def test_a_graceful_stop_of_unknown_duration_counts_as_its_stop_timeout() -> None:
    """It exited within its stop timeout, so that is the longest it can have taken."""
    unknown = measured(trial(sample(5), 10), None)
    assert build.compliance("web", [unknown], ECS).headroom_ns == nanoseconds(20)
    assert judged(measured(trial(sample(5), 60), None))[0] is INCONCLUSIVE


@pytest.mark.parametrize("outcome", [Outcome.LOSSY, Outcome.CRASHED, Outcome.OOM_KILLED])
@pytest.mark.parametrize("duration_s", [0.1, 45.0, None])
def test_a_stop_that_went_wrong_is_not_compliant_whenever_it_ended(outcome: Outcome, duration_s: float | None) -> None:
    """In time it lost work; too late it would have been killed."""
    assert judged(measured(trial(sample(5, outcome), 60), duration_s))[0] is NON_COMPLIANT


def test_a_container_that_was_not_running_is_inconclusive() -> None:
    """There was nothing to stop."""
    assert judged(trial(sample(None, Outcome.NOT_RUNNING), 30)) == (
        INCONCLUSIVE,
        "It was not running when the stop came.",
    )


def test_one_inconclusive_trial_is_doubt_and_one_failed_stop_is_proof() -> None:
    """Proof against outweighs doubt, doubt outweighs graceful stops."""
    good, unclear = trial(sample(5), 30), trial(sample(None, Outcome.INCONCLUSIVE), 30)
    assert judged(good, unclear)[0] is INCONCLUSIVE
    assert judged(good, unclear, trial(sample(5, Outcome.CRASHED), 30))[0] is NON_COMPLIANT


def test_the_reason_of_a_mixed_scenario_says_how_often_it_applied() -> None:
    """One of three trials was killed: the two that exited in time are mentioned."""
    reason = judged(trial(sample(5), 30), trial(sample(5), 30, 2), trial(sample(None), 30, 3))[1]
    assert reason == "It was still running 30 s after the stop signal and was killed (1 trial; 2 exited in time)."


def test_a_scenario_without_trials_is_inconclusive_and_says_why() -> None:
    """Skipped, in another shard, or just not run."""
    assert judged() == (INCONCLUSIVE, "No trial of it was run.")
    web = Scenario("web", Subject(image="web:1"))
    stored = stored_of([], (web,), (SkippedScenario("web", "no images here."),))
    assert build.build(stored, ()).compliance[0].reason == "It was skipped: no images here."
    stored = replace(stored, skipped=(), run=replace(stored.run, shard="2/4"))
    assert build.build(stored, ()).compliance[0].reason == "None of its trials is in shard 2/4."


_trials = st.builds(
    lambda needs, ends, limit, took, after: measured(trial(sample(needs, ends), limit), took, after),
    st.one_of(st.none(), st.floats(0.01, 100)),
    st.sampled_from(Outcome).filter(lambda outcome: outcome is not Outcome.KILLED),
    st.sampled_from([2, 5, 10, 30, 60, 120]),
    st.one_of(st.none(), st.floats(0.01, 130)),
    st.sampled_from([0, 3]),
)


@given(st.lists(_trials, max_size=6), st.floats(1, 130), st.floats(1, 130))
def test_a_longer_default_never_turns_compliant_into_not_compliant(
    results: list[TrialResult], one: float, other: float
) -> None:
    """More time cannot hurt a container that exited by itself in less."""
    shorter, longer = sorted((one, other))
    if judged(*results, limit_s=shorter)[0] is COMPLIANT:
        assert judged(*results, limit_s=longer)[0] is not NON_COMPLIANT


@given(st.lists(_trials, min_size=1, max_size=6), st.floats(1, 130))
def test_compliance_does_not_depend_on_the_order_of_trials(results: list[TrialResult], limit_s: float) -> None:
    """The status is a property of the set of trials."""
    assert judged(*results, limit_s=limit_s)[0] is judged(*reversed(results), limit_s=limit_s)[0]


@given(st.lists(_trials, max_size=6), st.floats(1, 130))
def test_compliant_means_a_graceful_stop_within_the_limit_and_headroom(
    results: list[TrialResult], limit_s: float
) -> None:
    """Headroom is given exactly where the scenario is compliant, and is never negative."""
    row = build.compliance("web", results, nanoseconds(limit_s))
    assert (row.headroom_ns is not None) == (row.status is COMPLIANT)
    assert row.headroom_ns is None or 0 <= row.headroom_ns <= row.default_timeout_ns
    assert row.reason.endswith(".")


# ── The whole report ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_results_and_scenarios_are_sorted_with_numbers_in_names_as_numbers() -> None:
    """drains-5s before drains-15s; a scenario's trials by stop timeout and repetition."""
    made = realistic_report(repeat=2)
    names = [item.name for item in made.scenarios]
    assert names.index("drains-5s") < names.index("drains-15s") < names.index("drains-40s")
    keys = [
        (result.observation.stop_timeout_ns, result.observation.repetition) for result in made.of_scenario("drains-5s")
    ]
    assert keys == sorted(keys)
    assert [row.scenario for row in made.compliance] == names


def test_verdicts_of_other_trials_are_refused() -> None:
    """A verdict must never stand beside another trial's observation."""
    results = [trial(sample(5), 10), trial(sample(5), 30)]
    stored = stored_of(results, (scenario(sample(5)),))
    with pytest.raises(HarnessBug):
        build.build(stored, tuple(result.verdict for result in reversed(results)))


def test_every_platform_has_a_status_and_a_reason_for_every_scenario() -> None:
    """Statuses and reasons stand in the order of the scenarios."""
    made = realistic_report()
    assert [row.platform for row in made.platforms] == list(PLATFORMS)
    for row in made.platforms:
        assert len(row.statuses) == len(row.reasons) == len(made.scenarios)


def test_the_amazon_ecs_column_says_what_the_compliance_table_says() -> None:
    """Both are the same question."""
    made = realistic_report()
    assert made.platforms[0].statuses == tuple(row.status for row in made.compliance)


def platform_status(made: Report, platform: str) -> tuple[ComplianceStatus, str]:
    row = next(row for row in made.platforms if row.platform.name == platform)
    return row.statuses[0], row.reasons[0]


def test_a_platform_that_sends_another_signal_is_inconclusive() -> None:
    """A container stopped by SIGQUIT says nothing about Heroku, which always sends SIGTERM."""
    quits = sample(0.2, signal=3)
    made = report_of([trial(quits, 30)], (scenario(quits),))
    assert platform_status(made, "Heroku") == (INCONCLUSIVE, "It was stopped by SIGQUIT; Heroku sends SIGTERM.")
    assert platform_status(made, "Kubernetes")[0] is COMPLIANT


def test_platforms_are_known_defaults_with_a_source() -> None:
    """Names are unique, numbers plausible, sources links, dates ISO 8601."""
    assert len({platform.name for platform in PLATFORMS}) == len(PLATFORMS)
    for platform in PLATFORMS:
        assert 1 <= platform.default_timeout_s <= 120
        assert platform.source.startswith("https://")
        assert platform.stop_signal == IMAGE_SIGNAL or platform.stop_signal.startswith("SIG")
        assert platform.checked is None or platform.checked == "2026-11-23"


# ── Warnings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def warnings_of(*results: TrialResult, planned: int | None = None, interrupted: bool = False) -> dict[str, RunWarning]:
    stored = stored_of(list(results), (Scenario("web", Subject(image="web:1")),))
    stored = replace(
        stored,
        trials_planned=len(results) if planned is None else planned,
        run=replace(stored.run, interrupted=interrupted),
    )
    made = build.build(stored, tuple(result.verdict for result in results))
    return {warning.rule: warning for warning in made.warnings}


def test_an_undisturbed_run_has_no_warnings() -> None:
    """A warning that is always there is not read."""
    assert realistic_report().warnings == ()


def test_missing_trials_are_a_warning() -> None:
    """A run that stopped early says how much of its plan is reported."""
    good = trial(sample(5), 30)
    assert warnings_of(good, planned=3).keys() == {"missing-trials"}
    assert "1 of 3 planned trials" in warnings_of(good, planned=3, interrupted=True)["missing-trials"].message


def test_a_trial_that_was_interrupted_was_not_performed() -> None:
    """It is in the journal, but says nothing of the container."""
    good = trial(sample(5), 30)
    cut = Problem(ProblemKind.INTERRUPTED, "the run was interrupted before this trial ended")
    lost = replace(good, observation=replace(good.observation, repetition=2, trial_id="lost", problem=cut))
    lost = replace(lost, verdict=replace(lost.verdict, trial_id="lost"))
    warning = warnings_of(good, lost, planned=2, interrupted=True)["missing-trials"]
    assert "1 of 2 planned trials were performed" in warning.message
    assert "stop-harness run --resume" in warning.advice


def test_an_overloaded_machine_is_a_warning() -> None:
    """8 CPUs and a load average of 30: durations include waiting for a CPU."""
    good = trial(sample(5), 30)
    loaded = TrialResult(replace(good.observation, load_average=30.0), good.verdict)
    warning = warnings_of(loaded)["overload"]
    assert "30.0" in warning.message
    assert warning.advice == "Use a quieter machine.", "one trial has no others beside it"
    other = replace(loaded.observation, trial_id="other", repetition=2)
    another = TrialResult(other, replace(loaded.verdict, trial_id="other"))
    assert "--jobs" in warnings_of(loaded, another)["overload"].advice
    somebody_else = Watched("web", "shop/web", TimeoutSource.CONTAINER)
    watched_stop = TrialResult(replace(loaded.observation, watched=somebody_else), loaded.verdict)
    assert "--jobs" not in warnings_of(watched_stop, another)["overload"].advice


def test_a_gap_in_the_record_and_a_failed_engine_are_warnings() -> None:
    """Neither says anything about the container."""
    good = trial(sample(5), 30)
    gap = TrialResult(changed(good.observation, complete=False), good.verdict)
    assert "incomplete-record" in warnings_of(gap)
    failed = replace(good.observation, problem=Problem(ProblemKind.ENGINE_FAILED, "gone"))
    assert "engine-failed" in warnings_of(TrialResult(failed, good.verdict))


def test_trials_of_different_engines_are_a_warning() -> None:
    """Durations of two engines do not compare."""
    podman = replace(DOCKER, product="Podman", version="4.3.1")
    assert (
        "Podman 4.3.1" in warnings_of(trial(sample(5), 30), trial(sample(5), 30, 2, podman))["several-engines"].message
    )


def test_a_stop_that_ends_differently_each_time_is_a_warning() -> None:
    """The same stop, once graceful and once killed, is a race."""
    made = warnings_of(trial(sample(5), 30), trial(sample(None), 30, 2))
    assert "web" in made["unstable"].message


def test_the_factory_covers_every_outcome() -> None:
    """The renderers are looked at with everything that can happen."""
    seen = {result.verdict.outcome for result in realistic_report().results}
    assert seen == set(Outcome)
    assert len(SAMPLES) == 17
