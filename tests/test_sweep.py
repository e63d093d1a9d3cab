"""The moment of the stop: ranges, readiness by the handler, and the window in which a stop signal is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness import signals
from stop_harness.engines.docker.engine import DockerEngine
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.interface import SubjectFailed
from stop_harness.engines.process.engine import PidNamespaceEngine
from stop_harness.engines.simulated import Script, SimulatedEngine, SimulatedSubject
from stop_harness.errors import ScenarioError
from stop_harness.experiments import start_sweep, start_window
from stop_harness.experiments.start_window import Moment, StopFate
from stop_harness.model import NS_PER_MS, NS_PER_S, ProcessInfo, Readiness, Scenario, Subject, Trial
from stop_harness.renderers.sections import start_sweep_text
from stop_harness.scenario import discovery, moments, scenario_file
from stop_harness.trial import handler_ready
from stop_harness.trial import perform as trial
from stop_harness.trial.perform import Interruption
from tests.silence import Silence

SCENARIOS = Path(__file__).parent.parent / "scenarios"


def parsed(after: str, ready: str = "{}") -> Scenario:
    """A scenario with this `stop.after` and `ready`."""
    text = f"version: 1\nname: a\nsubject: {{image: a}}\nready: {ready}\nstop: {{after: {after}}}\n"
    return scenario_file.parse(text, "a.yaml")


# ── Ranges ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("{from: 0s, to: 2s, steps: 5}", [0, 500, 1000, 1500, 2000]),
        ("{to: 1s, every: 250ms}", [0, 250, 500, 750, 1000]),
        ("{from: 1s, to: 2s, every: 600ms}", [1000, 1600]),
        ("[0s, 2s]", [0, 2000]),
        ("1s", [1000]),
    ],
)
def test_moments_are_a_duration_a_list_or_a_range(text: str, expected_ms: list[int]) -> None:
    """One trial each."""
    assert [value // NS_PER_MS for value in parsed(text).stop.after_ns] == expected_ms


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{from: 0s, to: 2s}", "one of `steps` and `every`"),
        ("{to: 2s, steps: 3, every: 1s}", "one of `steps` and `every`"),
        ("{from: 2s, to: 1s, steps: 3}", "not later than `from`"),
        ("{to: 2s, steps: 1}", "from 2 to 200"),
        ("{to: 2s, steps: 1000}", "from 2 to 200"),
        ("{to: 100s, every: 1ms}", "at most 200 moments"),
        ("{to: 2, steps: 3}", "is a duration"),
        ("{too: 2s, steps: 3}", "unknown key 'too'"),
        ("{to: 2ms, steps: 9}", "at least 1ms apart"),
    ],
)
def test_a_wrong_range_is_explained_where_it_stands(text: str, problem: str) -> None:
    """With what is allowed."""
    with pytest.raises(ScenarioError) as raised:
        parsed(text)
    assert "a.yaml:5:8: stop.after: " in str(raised.value)
    assert problem in str(raised.value)


@given(st.integers(0, 10_000), st.integers(200, 10_000), st.integers(2, moments.MAX_MOMENTS))
def test_steps_are_evenly_spaced_and_both_ends_are_among_them(first: int, length: int, steps: int) -> None:
    """In whole milliseconds."""
    found = moments.expand({"from": f"{first}ms", "to": f"{first + length}ms", "steps": steps})
    assert isinstance(found, list)
    values = [int(item.removesuffix("ms")) for item in found]
    assert (len(values), values[0], values[-1]) == (steps, first, first + length)
    assert max(later - earlier for earlier, later in pairwise(values)) <= length / (steps - 1) + 1


# ── Ready: handler ───────────────────────────────────────────────────────────────────────────────────────────────────


class Starting(SimulatedSubject):
    """A subject whose PID 1 has its handler from the third look on."""

    looks = 0

    def processes(self) -> tuple[ProcessInfo, ...] | None:
        """Docker's table, with an init above the program."""
        self.looks += 1
        caught = 1 << signals.SIGTERM - 1 if self.looks >= 3 else 0
        init = ProcessInfo(1, 0, "/sbin/docker-init -- server", 0, 0, 0)
        return init, ProcessInfo(7, 1, "server", caught, 0, 0)


def started(kind: type[SimulatedSubject], timeout_ns: int) -> tuple[Trial, SimulatedSubject]:
    """A trial that waits for the handler, and its subject."""
    readiness = Readiness(handler=True, delay_ns=NS_PER_S, timeout_ns=timeout_ns)
    item = Trial("a", Scenario("a", Subject(image="a"), readiness=readiness), NS_PER_S, 0, 1)
    return item, kind(handler_ready.for_engine(item), Script(), SimulatedEngine())


def test_it_is_ready_when_the_program_below_the_init_has_its_handler() -> None:
    """And the delay comes after that, not before."""
    item, subject = started(Starting, 10 * NS_PER_S)
    subject.wait_ready()
    handler_ready.wait(item, subject)
    assert isinstance(subject, Starting)
    assert subject.looks == 3
    assert subject._now_ns == NS_PER_S + 2 * handler_ready.POLL_NS


def test_without_a_handler_it_is_not_ready_and_that_is_said() -> None:
    """Also where the table cannot be read."""
    item, subject = started(Starting, handler_ready.POLL_NS * 2)
    with pytest.raises(SubjectFailed, match="`server` has no handler for SIGTERM"):
        handler_ready.wait(item, subject)
    item, subject = started(SimulatedSubject, handler_ready.POLL_NS)
    with pytest.raises(SubjectFailed, match="cannot be read"):
        handler_ready.wait(item, subject)


# ── The window ───────────────────────────────────────────────────────────────────────────────────────────────────────


def tried(opens_ns: int, closes_ns: int, ready_ns: int) -> list[Moment]:
    """A sweep over a container that loses stops from `opens_ns` to `closes_ns`."""
    found: list[Moment] = []
    wanted = start_window.grid(ready_ns)
    while wanted and len(found) < start_window.MAX_TRIALS:
        for at in wanted:
            found.append(Moment(at, StopFate.LOST if opens_ns <= at < closes_ns else StopFate.HEARD, ""))
        wanted = start_window.refine(tuple(found))
    return found


@settings(deadline=None)
@given(st.integers(100, 20_000), st.floats(0, 0.5), st.floats(0.7, 1))
def test_both_edges_of_the_window_are_found(ready_ms: int, opens: float, closes: float) -> None:
    """As sharp as promised, in no more trials than promised."""
    ready_ns = ready_ms * NS_PER_MS
    opens_ns, closes_ns = round(opens * ready_ns), round(closes * ready_ns)
    found = tried(opens_ns, closes_ns, ready_ns)
    window = start_window.window(tuple(found))
    if window is None:
        assert closes_ns - opens_ns < max(start_window.MARGIN_NS, ready_ns // 4) + ready_ns  # between two of the grid
        return
    last_lost, heard = window.closes
    assert heard is not None
    assert last_lost < closes_ns <= heard
    assert (window.opens[0] or 0) <= opens_ns <= window.opens[1]
    assert len(found) <= start_window.MAX_TRIALS + 2 * start_window.REFINEMENT
    least, most = window.width_ns
    assert most is not None
    assert least <= closes_ns - opens_ns <= most


def test_a_fuzzy_end_is_reported_as_wide_as_it_is() -> None:
    """Heard at 7.9 s and lost at 8.0 s: the end lies somewhere between 7.8 and 8.1 s."""
    at = {7.8: StopFate.LOST, 7.9: StopFate.HEARD, 8.0: StopFate.LOST, 8.1: StopFate.HEARD}
    found = tuple(Moment(round(second * NS_PER_S), fate, "") for second, fate in at.items())
    window = start_window.window(found)
    assert window is not None
    assert window.closes == (round(7.8 * NS_PER_S), round(8.1 * NS_PER_S))
    assert window.opens == (None, round(7.8 * NS_PER_S))


def test_no_window_is_no_window() -> None:
    """Nothing to refine."""
    found = (Moment(0, StopFate.HEARD, ""), Moment(1, StopFate.UNCLEAR, ""))
    assert start_window.window(found) is None
    assert start_window.refine(found) == ()


# ── Sweeps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class RacingSubject(SimulatedSubject):
    """Installs its handler 8 s after its start, like the shipped sample."""

    def __init__(self, item: Trial, engine: SimulatedEngine) -> None:
        super().__init__(item, Script(ready_after_ns=None), engine)
        self._waited = item.scenario.readiness.delay_ns != 0

    def wait_ready(self) -> None:
        """Ready with the handler, or at once where nothing is to be waited for."""
        self._script = Script(ready_after_ns=8 * NS_PER_S if self._waited else 0)
        super().wait_ready()

    def stop(self, stop_timeout_ns: int) -> None:
        """A stop before 8 s is lost."""
        if self._now_ns < 8 * NS_PER_S:
            self._script = replace(self._script, leaves_after_ns=None)
        super().stop(stop_timeout_ns)


class RacingEngine(SimulatedEngine):
    """Starts such subjects."""

    def start(self, trial: Trial) -> SimulatedSubject:
        """One of them."""
        return RacingSubject(trial, self)


def test_a_sweep_finds_the_window_of_a_late_handler() -> None:
    """To half a percent, and says with which stop timeout."""
    item = Scenario("late", Subject(image="a"), readiness=Readiness(delay_ns=1))
    bench = start_sweep.Bench(RacingEngine(), Interruption(), Silence().note, 4)
    sweep = start_sweep.run(item, bench)
    assert sweep.window is not None
    assert sweep.stop_timeout_ns == start_sweep.SHORT_TIMEOUT_NS
    assert sweep.window.closes[0] < 8 * NS_PER_S <= (sweep.window.closes[1] or 0)
    text = start_sweep_text.render(sweep)
    assert "A stop signal is lost from the start on" in text
    assert text.count("✘") + text.count("✔") == len(sweep.moments) <= start_window.MAX_TRIALS
    assert json.loads(start_sweep_text.render_json(sweep))["window"]["first_lost_s"] == 0


def test_a_container_that_is_never_graceful_is_not_swept() -> None:
    """Then there is no window to find, and twenty containers are not killed for nothing."""
    item = Scenario("never", Subject(image="a"), readiness=Readiness(delay_ns=0))
    engine = SimulatedEngine({"never": Script(leaves_after_ns=None)})
    sweep = start_sweep.run(item, start_sweep.Bench(engine, Interruption(), Silence().note, 4))
    assert sweep.moments == ()
    assert sweep.problem is not None
    assert "not graceful" in start_sweep_text.render(sweep)


def handler_outcome(engine: DockerEngine | PidNamespaceEngine) -> str:
    """The sample that installs its handler after 8 s, stopped as soon as it has it."""
    (sample,) = discovery.load((SCENARIOS / "14-stop-during-start.yaml",))
    item = replace(sample, readiness=Readiness(handler=True, timeout_ns=60 * NS_PER_S))
    try:
        engine.prepare((item,), lambda _what, _state: None)
        seen = trial.perform(Trial("handler", item, 20 * NS_PER_S, 0, 1), engine, Interruption())
    finally:
        engine.close()
    return f"{seen.record.exit_code} {seen.problem}"


@pytest.mark.docker
def test_docker_waits_for_the_handler(docker_engine_host: DockerHost) -> None:
    """The stop that is lost after the line "starting" is heard."""
    assert handler_outcome(DockerEngine("handler", host=docker_engine_host)) == "0 None"


@pytest.mark.namespaces
def test_the_process_engine_waits_for_the_handler() -> None:
    """The same, without Docker."""
    assert handler_outcome(PidNamespaceEngine("handler")) == "0 None"
