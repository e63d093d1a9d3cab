"""How long `plan` says that a run will take."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness.conductor import pipeline, preview, store
from stop_harness.conductor.request import RunRequest
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Expectation,
    Outcome,
    Plan,
    Readiness,
    ReferenceStop,
    Scenario,
    StopPlan,
    Subject,
)
from stop_harness.plan import running_time, trials
from stop_harness.plan.running_time import CPU_OF_A_TRIAL_NS, LAST_STEPS_NS, Experience
from stop_harness.trial.perform import Interruption
from tests.silence import Silence
from tests.strategies import stop_plans

OVERHEAD_NS = CPU_OF_A_TRIAL_NS + LAST_STEPS_NS


def scenario(name: str, expected: Expectation, repeat: int = 1, timeout_s: int = 10) -> Scenario:
    """One with one stop timeout."""
    stop = StopPlan((timeout_s * NS_PER_S,))
    return Scenario(name, Subject(image="a"), stop=stop, repeat=repeat, expectations=(expected,))


AT_ONCE = scenario("leaves", Expectation(within_ns=NS_PER_S))
DRAINS = scenario("drains", Expectation(within_ns=4 * NS_PER_S))
KILLED = scenario("ignores", Expectation((Outcome.KILLED,)))


@given(st.lists(stop_plans(), max_size=5), st.integers(1, 20), st.integers(1, 8))
@settings(max_examples=60)
def test_an_estimate_is_within_its_bounds(stops: list[StopPlan], jobs: int, cpus: int) -> None:
    """At least the longest trial and its share of the work; at most everything one after the other."""
    scenarios = tuple(Scenario(f"s{number}", Subject(image="a"), stop=stop) for number, stop in enumerate(stops))
    planned = trials.expand(scenarios)
    found = running_time.estimate(planned, jobs=jobs, cpus=cpus)
    lengths = [trials.longest_ns(trial) + OVERHEAD_NS for trial in planned.trials]
    assert found.expected_ns <= found.at_most_ns
    assert max(lengths, default=0) <= found.at_most_ns <= sum(lengths)
    assert found.at_most_ns * jobs >= sum(lengths)
    assert found.at_most_ns * cpus >= CPU_OF_A_TRIAL_NS * len(lengths)


def test_one_trial_at_a_time_takes_the_sum_of_what_each_is_expected_to_take() -> None:
    """A kill takes the whole timeout, anything else `within`."""
    found = running_time.estimate(trials.expand((AT_ONCE, DRAINS, KILLED)), jobs=1, cpus=4)
    assert found.expected_ns == (1 + 4 + 10) * NS_PER_S + 3 * OVERHEAD_NS
    assert found.at_most_ns == 30 * NS_PER_S + 3 * OVERHEAD_NS
    assert found.known == 0


def test_what_a_run_showed_goes_before_what_is_expected() -> None:
    """The stop's duration by scenario and timeout, and the engine's own time by its reference stop."""
    slow = ReferenceStop(900 * NS_PER_MS, None, None, 80 * NS_PER_MS, 20 * NS_PER_MS)
    seen = Experience({("drains", 10 * NS_PER_S): 3 * NS_PER_S, ("leaves", 2 * NS_PER_S): 1}, slow)
    found = running_time.estimate(trials.expand((AT_ONCE, DRAINS)), jobs=1, cpus=1, experience=seen)
    assert found.expected_ns == (1 + 3) * NS_PER_S + 2 * (1200 * NS_PER_MS + LAST_STEPS_NS)
    assert found.known == 1


def test_the_engines_time_is_such_that_the_run_before_would_have_taken_as_long_as_it_did() -> None:
    """Its reference stop says 500 ms, its 100 trials on two CPUs show 700; what is far from that is not believed."""
    reference = ReferenceStop(400 * NS_PER_MS, None, None, 10 * NS_PER_MS, 90 * NS_PER_MS // 10)
    lengths = (NS_PER_S,) * 100
    for wall_s, cpu_ms in ((36.15, 700), (1000, 2 * 503), (1, 503 / 2)):
        seen = Experience({}, reference, lengths, round(wall_s * NS_PER_S))
        assert seen.cpu_of_a_trial_ns(100, 2) == pytest.approx(cpu_ms * NS_PER_MS, rel=0.01)


def test_others_on_the_machine_make_a_first_run_slower() -> None:
    """By the load average, as long as no earlier run shows how long it takes."""
    idle, busy = (Experience(load=load).cpu_of_a_trial_ns(50, 2) for load in (0, 8))
    assert busy == 2 * idle


def test_many_short_stops_take_the_time_of_their_starts() -> None:
    """Waits overlap, CPUs do not."""
    planned = trials.expand((replace(AT_ONCE, repeat=200),))
    found = running_time.estimate(planned, jobs=200, cpus=2)
    assert found.expected_ns == pytest.approx(100 * CPU_OF_A_TRIAL_NS + NS_PER_S + LAST_STEPS_NS)


def test_nothing_takes_no_time() -> None:
    """An empty plan, such as of a shard without trials."""
    assert running_time.estimate(Plan(()), jobs=5, cpus=2).at_most_ns == 0


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.namespaces
def test_a_run_takes_about_as_long_as_the_run_before_said_that_it_would(tmp_path: Path) -> None:
    """The embedded engine, 12 stops of 1 s and one of 3 s, twice: wide bounds, for the machine may be busy."""
    (tmp_path / "subject").mkdir()
    drains = "import signal, time, os; signal.signal(15, lambda *_: (time.sleep({}), os._exit(0)));"
    drains += " print('ready', flush=True)\nwhile True: time.sleep(0.05)"

    def sleeper(name: str, drain_s: int, repeat: int) -> Scenario:
        command = ("python3", "-c", drains.format(drain_s))
        subject = Subject(build_directory=str(tmp_path / "subject"), command=command)
        ready = Readiness(log="^ready$", timeout_ns=60 * NS_PER_S)
        return Scenario(name, subject, readiness=ready, stop=StopPlan((10 * NS_PER_S,)), repeat=repeat)

    scenarios = (sleeper("short", 1, 12), sleeper("long", 3, 1))
    request = RunRequest(scenarios, "walls", tmp_path / "reports", engine="process", jobs="4")
    pipeline.run(request, Silence(), Interruption())
    _, estimated = preview.plan_only(request)
    assert estimated.known == 13
    begun_ns = time.monotonic_ns()
    done = pipeline.run(request, Silence(), Interruption())
    assert 0.5 < estimated.expected_ns / (time.monotonic_ns() - begun_ns) < 1.5
    assert done.directory is not None
    assert store.elapsed_s(store.read(done.directory)[0].run) is not None
