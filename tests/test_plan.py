"""Scenarios → Trials: how many, in which order, with which ids, and on which machine."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.errors import UsageError
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Expectation,
    Outcome,
    Plan,
    Readiness,
    Scenario,
    SkippedScenario,
    StopPlan,
    Subject,
)
from stop_harness.plan import trials
from stop_harness.plan.trials import Shard
from tests.strategies import durations_ns, stop_plans


@st.composite
def small_scenarios(draw: st.DrawFn) -> tuple[Scenario, ...]:
    """Up to five scenarios with a handful of trials each."""
    return tuple(
        Scenario(
            name=name,
            subject=Subject(image="a"),
            readiness=Readiness(delay_ns=draw(durations_ns(0, 5_000))),
            stop=draw(stop_plans()),
            repeat=draw(st.integers(1, 4)),
        )
        for name in draw(st.lists(st.sampled_from("abcdefgh"), max_size=5, unique=True))
    )


def ids(planned: Plan) -> list[str]:
    """The ids in the order of the plan."""
    return [trial.trial_id for trial in planned.trials]


def scenario(*timeouts_s: float, after_ms: tuple[int, ...] = (0,), repeat: int = 1, name: str = "a") -> Scenario:
    """A scenario with these stop timeouts."""
    timeouts_ns = tuple(round(value * NS_PER_S) for value in timeouts_s)
    stop = StopPlan(timeouts_ns, None, tuple(value * NS_PER_MS for value in after_ms))
    return Scenario(name, Subject(image="a"), stop=stop, repeat=repeat)


@given(small_scenarios(), st.none() | st.integers(1, 4))
def test_a_plan_holds_every_combination_once(scenarios: tuple[Scenario, ...], repeat: int | None) -> None:
    """Stop timeouts × moments × repetitions of each scenario, each with an id of its own."""
    planned = trials.expand(scenarios, repeat=repeat)
    counts = [len(item.stop.timeouts_ns) * len(item.stop.after_ns) * (repeat or item.repeat) for item in scenarios]
    assert len(planned.trials) == sum(counts)
    assert len(set(ids(planned))) == len(planned.trials)


def test_ids_are_stable_and_readable() -> None:
    """They stand in stored runs and in other people's dashboards."""
    planned = trials.expand((scenario(2, 90, after_ms=(0, 500), repeat=2, name="drains-5s"),))
    assert ids(planned) == [
        "drains-5s@1m30s+500ms#1",
        "drains-5s@1m30s+500ms#2",
        "drains-5s@1m30s#1",
        "drains-5s@1m30s#2",
        "drains-5s@2s+500ms#1",
        "drains-5s@2s+500ms#2",
        "drains-5s@2s#1",
        "drains-5s@2s#2",
    ]


@given(small_scenarios(), st.none() | st.integers())
def test_the_longest_trials_come_first(scenarios: tuple[Scenario, ...], seed: int | None) -> None:
    """So that the rest runs beside them; with and without a seed."""
    lengths = [trials.longest_ns(trial) for trial in trials.expand(scenarios, seed=seed).trials]
    assert lengths == sorted(lengths, reverse=True)


def test_of_equal_trials_those_expected_to_last_longest_come_first() -> None:
    """SIGKILL is expected after the whole stop timeout, a graceful end `within` some time, or at once."""
    quick, slow, stuck = (scenario(10, name=name) for name in ("quick", "slow", "stuck"))
    slow = replace(slow, expectations=(Expectation(within_ns=4 * NS_PER_S),))
    stuck = replace(stuck, expectations=(Expectation((Outcome.KILLED,)),))
    longer = scenario(11, name="longer")
    assert ids(trials.expand((quick, slow, stuck, longer))) == [
        "longer@11s#1",
        "stuck@10s#1",
        "slow@10s#1",
        "quick@10s#1",
    ]


@given(small_scenarios(), st.integers())
def test_a_seed_only_shuffles_and_always_in_the_same_way(scenarios: tuple[Scenario, ...], seed: int) -> None:
    """`--seed` changes the order among equals, never what runs."""
    shuffled = ids(trials.expand(scenarios, seed=seed))
    assert sorted(shuffled) == sorted(ids(trials.expand(scenarios)))
    assert shuffled == ids(trials.expand(scenarios, seed=seed))


def test_a_seed_does_shuffle() -> None:
    """Ten equal trials do not all stay where they were, whatever the seed."""
    scenarios = (scenario(2, repeat=10),)
    assert len({tuple(ids(trials.expand(scenarios, seed=seed))) for seed in range(20)}) > 10


@given(small_scenarios(), st.integers(1, 7))
def test_shards_partition_the_plan(scenarios: tuple[Scenario, ...], count: int) -> None:
    """Every trial runs on exactly one machine, in the order of the whole plan."""
    whole = ids(trials.expand(scenarios))
    shards = [ids(trials.expand(scenarios, shard=Shard(index, count))) for index in range(1, count + 1)]
    assert sorted(chain.from_iterable(shards)) == sorted(whole)
    assert all(shard == [trial_id for trial_id in whole if trial_id in set(shard)] for shard in shards)


@given(small_scenarios(), stop_plans(), st.integers(1, 5))
def test_adding_a_scenario_moves_no_other_trial(scenarios: tuple[Scenario, ...], stop: StopPlan, count: int) -> None:
    """Shards are cut by the trial's id alone, so that caches and histories of each machine stay valid."""
    more = (*scenarios, Scenario("new", Subject(image="a"), stop=stop))
    for index in range(1, count + 1):
        before = ids(trials.expand(scenarios, shard=Shard(index, count)))
        after = ids(trials.expand(more, shard=Shard(index, count)))
        assert before == [trial_id for trial_id in after if not trial_id.startswith("new@")]


def test_shards_share_the_work() -> None:
    """A hash that put everything into one shard would partition too."""
    sizes = [len(trials.expand((scenario(1, repeat=400),), shard=Shard(index, 4)).trials) for index in range(1, 5)]
    assert min(sizes) > 60


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2", "1/ 2", "01/2", "1/99999", "١/٢"]
)
def test_a_malformed_shard_is_refused(text: str) -> None:
    """The message says the form and gives an example."""
    with pytest.raises(UsageError, match="not of the form I/N with I from 1 to N, such as 2/5"):
        Shard.parse(text)


def test_a_shard_reads_back_as_it_was_written() -> None:
    """Its text stands in the report."""
    assert str(Shard.parse("2/5")) == "2/5"
    assert Shard.parse("2/5") == Shard(2, 5)


@given(small_scenarios())
def test_skipped_scenarios_have_no_trials_and_stay_on_record(scenarios: tuple[Scenario, ...]) -> None:
    """What the engine cannot run is named with its reason, not silently missing."""
    skipped = tuple(SkippedScenario(item.name, "no images here") for item in scenarios[:1])
    planned = trials.expand(scenarios, skipped=skipped)
    assert planned.skipped == skipped
    assert {trial.scenario.name for trial in planned.trials} == {item.name for item in scenarios[1:]}


def test_a_fraction_of_a_second_is_named_where_the_engine_wants_whole_ones() -> None:
    """The text names the timeout; whole seconds are no problem."""
    assert trials.whole_seconds_problem(scenario(1, 2, 60)) is None
    problem = trials.whole_seconds_problem(replace(scenario(1), stop=StopPlan((NS_PER_S, 2_500 * NS_PER_MS))))
    assert problem is not None
    assert problem.startswith("stop timeout 2.5s is not a whole number of seconds")
