"""`explore`: the search, with a function in the place of containers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations, islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness.experiments.explore import nearby, pairs, random_search, simpler, space, sweep, written
from stop_harness.experiments.explore.candidate import (
    Candidate,
    Fate,
    TriedCandidate,
    part_of_fault,
    scenario_of,
    words,
)
from stop_harness.experiments.explore.past_failures import PastFailures
from stop_harness.experiments.explore.result import Exploration
from stop_harness.experiments.explore.search import REPEATS, Limits, StopSearch
from stop_harness.experiments.explore.space import Space
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    FaultAction,
    FaultKind,
    Outcome,
    Scenario,
    TrafficKind,
    When,
)
from stop_harness.renderers.sections import explore_text
from stop_harness.scenario import scenario_file
from stop_harness.scenario import written as written_section
from stop_harness.scenario.faults import FaultSection
from tests.variants import only_long

WEB = scenario_file.parse(
    """
version: 1
name: web
subject: {image: web, tmpfs: ["/data:size=1m"]}
ready: {http: {port: 8000, path: /healthz}, delay: 1s}
stop: {timeouts: [30s, 10s]}
expect: [{outcome: graceful, within: 2s}]
"""
)

Bad = Callable[[Candidate], bool]


def everything(scenario: Scenario, drain_ns: int = NS_PER_S) -> Space:
    """The space of an engine that can make every fault."""
    return space.of(scenario, drain_ns, 15, lambda _scenario: None)


@dataclass
class Simulated:
    """Candidates fail where `bad` says so. `tried`: all of them, in their order."""

    bad: Bad
    drain_ns: int = NS_PER_S
    side_by_side: int = 2
    tried: list[Candidate] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def one(self, candidate: Candidate) -> TriedCandidate:
        """At once."""
        with self.lock:
            self.tried.append(candidate)
            fails = self.bad(candidate)
        fate, outcome = (Fate.BAD, Outcome.KILLED) if fails else (Fate.FINE, Outcome.GRACEFUL)
        slowed = sum(1 / (fault.amount or 1) for fault in candidate.faults if fault.kind is FaultKind.CPU)
        return TriedCandidate(candidate, fate, outcome, "simulated", took_ns=round(self.drain_ns * (1 + slowed / 10)))

    def several(self, candidates: Iterable[Candidate], *, thorough: bool = False) -> Iterator[TriedCandidate]:
        """One after the other."""
        return map(self.one, candidates)


def search(
    bench: Simulated,
    folder: Path,
    *,
    seed: int = 0,
    stops: int = 600,
    scenario: Scenario = WEB,
    within: Space | None = None,
) -> Exploration:
    """To its end. `within`: None: everything."""
    undisturbed = tuple(map(Candidate, space.graceful_timeouts(scenario)))
    limits = Limits(stops, lambda: False)
    past = PastFailures(folder, scenario)
    made = StopSearch(
        scenario.name,
        undisturbed,
        lambda _controls: within or everything(scenario),
        bench,
        limits,
        past,
        seed,
        lambda _text: None,
        lambda: False,
    )
    return made.run()


def kinds(candidate: Candidate) -> set[FaultKind]:
    """Of its faults."""
    return {fault.kind for fault in candidate.faults}


def cpu(candidate: Candidate) -> float:
    """The cores that it has; infinity where nobody limits them."""
    return min((fault.amount or 0 for fault in candidate.faults if fault.kind is FaultKind.CPU), default=float("inf"))


def clients(candidate: Candidate, kind: TrafficKind) -> int:
    """How many of a kind."""
    return sum(client.clients for client in candidate.traffic or () if client.kind is kind)


def second_signal_within(candidate: Candidate, least_ns: int) -> bool:
    """Whether one comes so long after the first, or later."""
    return any(
        fault.kind is FaultKind.SIGNAL and fault.moment.when is When.AFTER and fault.moment.offset_ns >= least_ns
        for fault in candidate.faults
    )


BUGS: dict[str, tuple[Bad, Callable[[Candidate], bool]]] = {
    "a start-up race of 300 ms": (
        lambda it: it.moment_ns is not None and it.moment_ns < 300 * NS_PER_MS,
        lambda it: not it.faults and it.traffic is None,
    ),
    "a drain that hangs with a keep-alive client": (
        lambda it: clients(it, TrafficKind.KEEP_ALIVE) > 0,
        lambda it: clients(it, TrafficKind.KEEP_ALIVE) == 1 and not it.faults and it.moment_ns is None,
    ),
    "a loss below 0.2 cores": (
        lambda it: cpu(it) < 0.2,
        lambda it: cpu(it) >= 0.1 and kinds(it) == {FaultKind.CPU} and it.traffic is None and it.moment_ns is None,
    ),
    "a second signal half a second after the first": (
        lambda it: second_signal_within(it, 500 * NS_PER_MS),
        lambda it: kinds(it) == {FaultKind.SIGNAL},
    ),
    "a full disk": (
        lambda it: FaultKind.DISK in kinds(it),
        lambda it: kinds(it) == {FaultKind.DISK} and it.traffic is None,
    ),
    "five clients of a kind, under a full disk": (
        lambda it: FaultKind.DISK in kinds(it) and clients(it, TrafficKind.IDLE) > 3,
        lambda it: kinds(it) == {FaultKind.DISK} and clients(it, TrafficKind.IDLE) == 5,
    ),
    "a window of 60 ms, shortly after readiness": (
        lambda it: it.moment_ns is not None and 30 * NS_PER_MS <= it.moment_ns < 90 * NS_PER_MS,
        lambda it: not it.faults and it.traffic is None,
    ),
    "a second signal in a window of 80 ms, and under little CPU": (
        lambda it: cpu(it) < 0.2 and second_signal_within(it, 0) and not second_signal_within(it, 80 * NS_PER_MS),
        lambda it: kinds(it) == {FaultKind.SIGNAL, FaultKind.CPU} and it.traffic is None,
    ),
    "a second signal 600 ms after the first, for 80 ms": (
        lambda it: second_signal_within(it, 600 * NS_PER_MS) and not second_signal_within(it, 680 * NS_PER_MS),
        lambda it: kinds(it) == {FaultKind.SIGNAL},
    ),
    "little CPU at the shorter stop timeout": (
        lambda it: cpu(it) < 0.12 and it.stop_timeout_ns == 10 * NS_PER_S,
        lambda it: kinds(it) == {FaultKind.CPU} and it.traffic is None and it.moment_ns is None,
    ),
    "dead name servers and a full disk": (
        lambda it: {FaultKind.DNS, FaultKind.DISK} <= kinds(it),
        lambda it: kinds(it) == {FaultKind.DNS, FaultKind.DISK} and it.traffic is None,
    ),
    "little CPU at a late moment": (
        lambda it: cpu(it) <= 0.3 and it.moment_ns is not None and it.moment_ns >= 1500 * NS_PER_MS,
        lambda it: cpu(it) >= 0.2 and it.moment_ns is not None and it.traffic is None,
    ),
}
"""What a program may do wrong, and what must be left of a candidate that shows it."""


@pytest.mark.parametrize("seed", [0, *only_long(1, 2)])
@pytest.mark.parametrize("bug", BUGS)
def test_a_failure_is_found_and_made_as_small_as_it_gets(bug: str, seed: int, tmp_path: Path) -> None:
    """Alone or in pairs, within the number of stops that five minutes have room for; and it still fails."""
    bad, smallest = BUGS[bug]
    found = search(Simulated(bad), tmp_path, seed=seed)
    assert found.finding is not None
    assert bad(found.finding.candidate)
    assert smallest(found.finding.candidate), words(found.finding.candidate)
    assert (found.finding.failed, found.finding.repeated) == (REPEATS, REPEATS)


def test_nothing_is_found_where_nothing_fails(tmp_path: Path) -> None:
    """Up to the limit of stops, and the longest shutdown is told."""
    found = search(Simulated(lambda _candidate: False), tmp_path, stops=150)
    assert found.finding is None
    assert found.problem is None
    assert 150 <= found.stops <= 155  # both seekers may have one in flight
    assert found.slowest is not None
    assert cpu(found.slowest.candidate) <= 0.1


def test_a_stop_that_fails_undisturbed_is_told_and_nothing_else_is_tried(tmp_path: Path) -> None:
    """There is nothing to search for then."""
    bench = Simulated(lambda candidate: candidate.stop_timeout_ns == 10 * NS_PER_S)
    found = search(bench, tmp_path)
    assert found.finding is not None
    assert found.finding.undisturbed
    assert (found.finding.failed, found.finding.repeated) == (3, 3)
    assert all(candidate.is_undisturbed for candidate in bench.tried)


def test_what_fails_once_and_not_again_is_no_finding(tmp_path: Path) -> None:
    """It is told as such, and the search goes on."""
    seen: list[Candidate] = []

    def once(candidate: Candidate) -> bool:
        seen.append(candidate)
        return FaultKind.DISK in kinds(candidate) and sum(FaultKind.DISK in kinds(item) for item in seen) == 1

    found = search(Simulated(once), tmp_path, stops=80)
    assert found.finding is None
    assert [kinds(item.candidate) for item in found.flukes] == [{FaultKind.DISK}]
    assert found.stops >= 80


def test_a_failure_beside_which_the_undisturbed_stop_fails_is_that_one_s(tmp_path: Path) -> None:
    """It passed three times at first, and is flaky, or the machine is too busy: nothing else would be to blame."""
    seen: list[Candidate] = []

    def later(candidate: Candidate) -> bool:
        seen.append(candidate)
        return kinds(candidate) == {FaultKind.DISK} or (candidate.is_undisturbed and len(seen) > 6)

    found = search(Simulated(later), tmp_path)
    assert found.finding is not None
    assert found.finding.undisturbed
    assert (found.finding.failed, found.finding.repeated) == (3, 3)


def test_a_flaky_failure_says_how_often(tmp_path: Path) -> None:
    """Three of five."""
    count = iter(range(10_000))

    def sometimes(candidate: Candidate) -> bool:
        return kinds(candidate) == {FaultKind.DISK} and next(count) % 5 in {0, 2, 4}

    found = search(Simulated(sometimes), tmp_path)
    assert found.finding is not None
    assert 3 <= found.finding.failed < found.finding.repeated == REPEATS


def test_what_failed_before_is_tried_first_and_forgotten_when_it_is_mended(tmp_path: Path) -> None:
    """The smallest of it, right behind the undisturbed stop."""
    first = search(Simulated(BUGS["a full disk"][0]), tmp_path)
    assert first.finding is not None
    again = Simulated(BUGS["a full disk"][0])
    assert search(again, tmp_path).finding is not None
    assert again.tried[6] == first.finding.candidate  # three times the stop at each of two timeouts
    search(Simulated(lambda _candidate: False), tmp_path, stops=20)
    assert PastFailures(tmp_path, WEB).all() == ()


def test_the_same_seed_tries_the_same(tmp_path: Path) -> None:
    """With one seeker; of several, which of them comes first is the machine's choice."""
    tried = []
    for number in range(2):
        bench = Simulated(lambda _candidate: False, side_by_side=1)
        search(bench, tmp_path / str(number), seed=7, stops=200)
        tried.append(bench.tried)
    assert tried[0] == tried[1]


def test_stops_that_cannot_be_judged_are_no_pass(tmp_path: Path) -> None:
    """More than half of them: then it says why."""

    class Doubtful(Simulated):
        def one(self, candidate: Candidate) -> TriedCandidate:
            tried = super().one(candidate)
            if candidate.is_undisturbed:
                return tried
            return replace(tried, fate=Fate.UNCLEAR, outcome=Outcome.INCONCLUSIVE, reason="the engine was busy")

    found = search(Doubtful(lambda _candidate: False), tmp_path, stops=60)
    assert found.finding is None
    assert found.problem is not None
    assert "the engine was busy" in found.problem


def test_what_nobody_could_repeat_is_no_finding(tmp_path: Path) -> None:
    """The engine answers no more once something has failed: that failed in 0 of 0 stops."""

    class Gone(Simulated):
        gone = False

        def one(self, candidate: Candidate) -> TriedCandidate:
            tried = super().one(candidate)
            if self.gone:
                return replace(tried, fate=Fate.UNCLEAR, outcome=Outcome.INCONCLUSIVE, reason="the engine is gone")
            self.gone = tried.fate is Fate.BAD
            return tried

    found = search(Gone(lambda candidate: cpu(candidate) < 0.2), tmp_path, stops=200)
    assert found.finding is None
    assert found.problem is not None
    assert "the engine is gone" in found.problem


def test_an_undisturbed_stop_that_cannot_be_judged_is_the_answer(tmp_path: Path) -> None:
    """Without it there is nothing to compare with."""

    class Doubtful(Simulated):
        def one(self, candidate: Candidate) -> TriedCandidate:
            return replace(super().one(candidate), fate=Fate.UNCLEAR, reason="it never got ready")

    found = search(Doubtful(lambda _candidate: False), tmp_path)
    assert found.problem == "it never got ready"
    assert found.stops == 6


def test_what_fails_too_seldom_is_looked_for_near_it(tmp_path: Path) -> None:
    """A window that is met at its edge: 20 ms later it fails each time."""
    count = iter(range(10_000))

    def near_100_ms(candidate: Candidate) -> bool:
        at_ms = -1 if candidate.moment_ns is None else candidate.moment_ns // NS_PER_MS
        return 105 <= at_ms <= 135 or (at_ms == 100 and next(count) % 5 in {0, 3})

    found = search(Simulated(near_100_ms), tmp_path, stops=80)
    assert found.finding is not None
    assert found.finding.candidate.moment_ns == 120 * NS_PER_MS
    assert found.finding.failed == REPEATS
    assert [item.candidate.moment_ns for item in found.flukes] == [100 * NS_PER_MS]


# ── the space ────────────────────────────────────────────────────────────────────────────────────────────────────────

WHOLE = everything(WEB)


@given(random_search.candidates(WHOLE))
def test_no_fault_that_cuts_requests_comes_with_clients_that_could_lose_one(candidate: Candidate) -> None:
    """What is lost then would not be the stop's doing. Clients of which nothing counts as lost may be there."""
    if kinds(candidate) & space.BREAKS_REQUESTS:
        assert {client.kind for client in candidate.traffic or ()} <= {TrafficKind.IDLE, TrafficKind.KEEP_ALIVE}


@given(random_search.candidates(WHOLE))
def test_nothing_is_drawn_that_ends_the_program_by_itself(candidate: Candidate) -> None:
    """No SIGKILL, no limit of memory, no halt without an end, no command of somebody's, no other clock."""
    of_itself = {FaultKind.MEMORY, FaultKind.PROCESS, FaultKind.STOP, FaultKind.EXEC, FaultKind.CLOCK}
    assert not kinds(candidate) & of_itself
    assert all(fault.for_ns for fault in candidate.faults if fault.kind is FaultKind.PAUSE)
    assert all(fault.signal != "SIGKILL" for fault in candidate.faults)


@given(random_search.candidates(WHOLE))
def test_going_down_ends(candidate: Candidate) -> None:
    """Each step is another candidate, and whichever is taken, some steps later there is none left."""
    seen = {candidate}
    while steps := [item for item in simpler.than(candidate, WHOLE) if item not in seen]:
        assert candidate not in steps
        candidate = steps[-1]
        seen.add(candidate)
        assert len(seen) < 60


@given(random_search.candidates(WHOLE), st.booleans())
def test_a_candidate_is_a_scenario_that_expects_as_much(candidate: Candidate, has_traffic: bool) -> None:
    """At its stop timeout, and without a limit of time."""
    made = scenario_of(candidate, WEB)
    assert made.stop.timeouts_ns == (candidate.stop_timeout_ns,)
    assert made.expectation_at(candidate.stop_timeout_ns).outcomes == (Outcome.GRACEFUL,)
    assert made.expectation_at(candidate.stop_timeout_ns).within_ns is None
    assert made.faults == candidate.faults
    if candidate.moment_ns is not None:
        assert (made.stop.after_ns, made.readiness.delay_ns) == ((candidate.moment_ns,), 0)


def test_few_stops_have_every_two_changes_together() -> None:
    """In a pass each pair of kinds is there, if it goes together; it is far shorter than a stop for each pair."""
    made = list(islice(pairs.passes(WHOLE, 1), 24))
    every = sorted({*(several[0].kind for several in WHOLE.faults), *(client.kind for client in WHOLE.clients)})
    for pair in combinations(every, 2):
        cuts_it = FaultKind.NETWORK in pair and TrafficKind.HTTP in pair
        in_what_is_frozen = {FaultKind.PAUSE, FaultKind.DISK} == set(pair)
        together = [item for item in made if set(pair) <= {*kinds(item), *(it.kind for it in item.traffic or ())}]
        assert bool(together) != (cuts_it or in_what_is_frozen), pair
    assert any(kinds(item) == {FaultKind.CPU, FaultKind.DNS} for item in made)


def test_the_sweep_comes_ever_closer() -> None:
    """Every 25 ms in the end, and nothing twice; moments of what lasts are left out."""
    points = list(sweep.points(WHOLE, 1))
    assert len(points) == len(set(points))
    assert {item.moment_ns for item in points} >= set(range(0, NS_PER_S, 25 * NS_PER_MS))
    assert {kind for item in points for kind in kinds(item)} == {FaultKind.SIGNAL, FaultKind.PAUSE}


@given(random_search.candidates(WHOLE))
def test_what_is_near_is_within_the_space(candidate: Candidate) -> None:
    """Never weaker than itself where it is harder, never beyond what is searched."""
    for item in nearby.to(candidate, WHOLE):
        assert item != candidate
        assert WHOLE.allows(item)
        assert cpu(item) >= space.CPUS[-1]
        assert item.moment_ns is None or 0 <= item.moment_ns <= space.LATEST_NS
        late = [fault.moment.offset_ns for fault in item.faults if fault.moment.when is When.AFTER]
        assert all(offset_ns < WHOLE.reach_ns for offset_ns in late) or item.faults == candidate.faults


def test_more_latency_is_stronger_and_more_cores_are_weaker() -> None:
    """What is made smaller goes to the weak end of each."""
    latency = next(it for it in WHOLE.faults if it[0].action is FaultAction.LATENCY)
    cores = next(it for it in WHOLE.faults if it[0].kind is FaultKind.CPU)
    for several in (latency, cores):
        weaker = simpler.than(Candidate(30 * NS_PER_S, faults=(several[-1],)), WHOLE)
        assert {item.faults[0].amount for item in weaker} >= {fault.amount for fault in several[:-1]}
        assert not any(
            several[-1] in item.faults for item in simpler.than(Candidate(30 * NS_PER_S, faults=(several[0],)), WHOLE)
        )


def test_what_the_engine_cannot_make_is_not_offered() -> None:
    """By its own answer, which is asked for each fault alone."""
    without = space.of(WEB, NS_PER_S, 15, lambda made: "no" if kinds_of(made) & {FaultKind.CPU} else None)
    assert FaultKind.CPU not in {several[0].kind for several in without.faults}
    assert FaultKind.SIGNAL in {several[0].kind for several in without.faults}


def test_what_was_not_searched_is_told_with_the_reason(tmp_path: Path) -> None:
    """Each reason once, without a place in a file: nobody has written that fault into one."""

    def cannot_run(made: Scenario) -> str | None:
        return (
            "/a b.yaml:1:1: `network`: root is needed" if kinds_of(made) & {FaultKind.NETWORK, FaultKind.DNS} else None
        )

    bench = Simulated(lambda _candidate: False)
    found = search(bench, tmp_path, stops=30, within=space.of(WEB, NS_PER_S, 15, cannot_run))
    (sentence,) = found.left_out
    assert sentence.startswith("network cut, ")
    assert sentence.endswith(", dns late: root is needed")
    assert f"  not searched: {sentence}\n" in explore_text.render(found)


@settings(max_examples=50)
@given(st.data())
def test_no_fault_is_drawn_at_a_moment_at_which_it_cannot_be_made(data: st.DataObject) -> None:
    """As by who is not root: a pause before the stop; and with Podman whatever comes after it."""

    def cannot_run(made: Scenario) -> str | None:
        frozen = any(fault.kind is FaultKind.PAUSE and fault.moment.when is When.BEFORE for fault in made.faults)
        late = any(fault.kind is FaultKind.CPU and fault.moment.when is not When.BEFORE for fault in made.faults)
        return "no" if frozen or late else None

    within = space.of(WEB, NS_PER_S, 15, cannot_run)
    assert {FaultKind.PAUSE, FaultKind.CPU} <= {several[0].kind for several in within.faults}
    drawn = data.draw(random_search.candidates(within))
    seen = [*within.standard(), drawn, *nearby.to(drawn, within), *simpler.than(drawn, within)]
    assert [candidate for candidate in seen if cannot_run(scenario_of(candidate, WEB)) is not None] == []


def kinds_of(scenario: Scenario) -> set[FaultKind]:
    """Of its faults."""
    return {fault.kind for fault in scenario.faults}


@pytest.mark.parametrize("absent", [True, False])
def test_a_client_that_the_server_does_not_keep_is_not_tried_again(tmp_path: Path, *, absent: bool) -> None:
    """Where the trial says so, once is enough; a doubt of another kind may be the machine's, and counts twice. No draw
    has it, and no fault is tried beside it."""
    doubted = ("client", TrafficKind.KEEP_ALIVE, 8000)

    class WithoutKeepAlive(Simulated):
        def one(self, candidate: Candidate) -> TriedCandidate:
            tried = super().one(candidate)
            if not clients(candidate, TrafficKind.KEEP_ALIVE):
                return tried
            gone = frozenset({doubted}) if absent else frozenset()
            return replace(tried, fate=Fate.UNCLEAR, outcome=Outcome.INCONCLUSIVE, reason="closed", absent=gone)

    bench = WithoutKeepAlive(lambda _candidate: False)
    search(bench, tmp_path, stops=300)
    with_it = [number for number, item in enumerate(bench.tried) if clients(item, TrafficKind.KEEP_ALIVE)]
    # The wave that it is part of has begun by then; a second doubt comes with more of these clients.
    assert 0 < len(with_it) <= (1 if absent else 6)
    assert len(bench.tried) > 290


def test_a_fault_that_is_never_there_is_not_tried_again(tmp_path: Path) -> None:
    """After two stops with it alone. One that was there is not given up because a stop under it cannot be judged."""

    class WithoutDisk(Simulated):
        def one(self, candidate: Candidate) -> TriedCandidate:
            tried = super().one(candidate)
            disks = frozenset(part_of_fault(fault) for fault in candidate.faults if fault.kind is FaultKind.DISK)
            if not disks and cpu(candidate) >= 0.2:
                return tried
            return replace(tried, fate=Fate.UNCLEAR, outcome=Outcome.INCONCLUSIVE, absent=disks)

    bench = WithoutDisk(lambda _candidate: False)
    search(bench, tmp_path, stops=300)
    assert 0 < sum(FaultKind.DISK in kinds(item) for item in bench.tried) <= 6
    assert sum(FaultKind.CPU in kinds(item) for item in bench.tried) > 10


def test_what_comes_too_late_is_not_given_up(tmp_path: Path) -> None:
    """That a program was gone before a fault came says nothing of the fault: it is tried at other moments."""

    class Quick(Simulated):
        def one(self, candidate: Candidate) -> TriedCandidate:
            tried = super().one(candidate)
            late = [fault for fault in candidate.faults if fault.moment.when is not When.BEFORE]
            if not late:
                return tried
            return replace(tried, fate=Fate.PASSED_BY, absent=frozenset(map(part_of_fault, late)))

    bench = Quick(lambda candidate: FaultKind.DISK in kinds(candidate) and clients(candidate, TrafficKind.HTTP) > 0)
    assert search(bench, tmp_path, stops=300).finding is not None
    found = search(Quick(lambda _candidate: False), tmp_path, stops=100)
    assert found.passed_by > 0
    assert f", {found.passed_by} over before what was to disturb them; --seed" in explore_text.render(found)


def test_what_is_only_slow_is_neither_found_nor_called_a_fluke(tmp_path: Path) -> None:
    """It was given up before its time, and fine when it had all of it."""

    class Slow(Simulated):
        def one(self, candidate: Candidate) -> TriedCandidate:
            tried = super().one(candidate)
            if FaultKind.DISK not in kinds(candidate):
                return tried
            return replace(tried, fate=Fate.BAD, outcome=Outcome.KILLED, thorough=False)

        def several(self, candidates: Iterable[Candidate], *, thorough: bool = False) -> Iterator[TriedCandidate]:
            for item in candidates:
                tried = self.one(item)
                is_slow = thorough and tried.fate is Fate.BAD
                slow = replace(tried, fate=Fate.FINE, outcome=Outcome.GRACEFUL, took_ns=7 * NS_PER_S, thorough=True)
                yield slow if is_slow else tried

    found = search(Slow(lambda _candidate: False), tmp_path, stops=100)
    assert (found.finding, found.flukes) == (None, ())
    assert found.slowest is not None
    assert kinds(found.slowest.candidate) == {FaultKind.DISK}


def test_only_what_can_be_made_is_left() -> None:
    """A kind of client at its port, a fault with all its values."""
    disks = {("fault", FaultKind.DISK, action, "/data", None) for action in (FaultAction.FULL, FaultAction.READ_ONLY)}
    left = WHOLE.without({("client", TrafficKind.KEEP_ALIVE, 8000), *disks})
    assert len(left.clients) == len(WHOLE.clients) - 1
    assert FaultKind.DISK not in {several[0].kind for several in left.faults}
    assert len(left.faults) == len(WHOLE.faults) - 2


def test_without_a_port_there_are_no_clients_and_without_a_condition_no_other_moment() -> None:
    """Before a program says that it is ready every stop may be lost, which is no news."""
    made = scenario_file.parse("{version: 1, name: a, subject: {image: a}, ready: {delay: 2s}}")
    found = everything(made)
    assert found.clients == ()
    assert not found.moments
    assert all(item.moment_ns is None and not item.traffic for item in found.standard())


ANY_FAULT = st.sampled_from(
    [
        {"cpu": 0.25, "at": "with"},
        {"cpu": {"load": 4}, "for": "2s"},
        {"memory": "64MiB"},
        {"memory": {"headroom": "8MiB"}, "at": "-2s"},
        {"pause": True, "at": "500ms", "for": "1.5s"},
        {"network": "cut"},
        {"network": {"cut": True, "port": 5432}},
        {"network": {"latency": "200ms"}, "at": {"log": "^bye"}},
        {"network": {"loss": "30%"}},
        {"network": {"bandwidth": "64kbit", "port": 80}},
        {"dependency": {"kill": "db"}},
        {"disk": {"full": "/data"}},
        {"disk": {"read_only": "/data"}, "at": "-1s"},
        {"process": {"signal": "SIGUSR1", "match": "worker"}},
        {"process": {"stop": "worker"}},
        {"signal": "SIGINT", "at": "100ms"},
        {"stop": "again", "at": "1s"},
        {"dns": "dead"},
        {"fds": 16},
        {"pids": 8},
        {"exec": ["/bin/true"]},
    ]
)


@given(ANY_FAULT)
def test_a_fault_is_written_as_it_is_read(data: dict[str, object]) -> None:
    """Whatever its form."""
    fault = FaultSection.model_validate(data).made()
    assert FaultSection.model_validate(written_section.fault(fault)).made() == fault


@settings(max_examples=25)
@given(random_search.candidates(WHOLE))
def test_what_was_found_is_written_as_the_scenario_that_shows_it(candidate: Candidate) -> None:
    """With its stop, clients and faults; from another folder the files of its subject are called otherwise."""
    for target in ("shop/web.found.yaml", "found.yaml"):
        text = written.text_of(FILE, "shop/web.yaml", target, candidate, ("killed in 5 of 5 stops", "still running"))
        made = scenario_file.parse(text, target)
        assert made.name == "web-found"
        assert made.subject.build_directory == "shop/image"
        assert made.stop.timeouts_ns == (candidate.stop_timeout_ns,)
        assert text.startswith(written.HEAD)


FILE = """
version: 1
name: web
subject: {build: image, tmpfs: ["/data:size=1m"]}
ready: {http: {port: 8000, path: /healthz}, delay: 1s}
stop: {timeouts: [30s, 10s]}
repeat: 3
expect:
  - {outcome: graceful, within: 2s}
  - {timeout: 10s, outcome: [graceful, lossy]}
"""


@pytest.mark.parametrize("drain_ms", [0, 5, 300, 5000])
def test_no_fault_begins_when_the_program_is_known_to_be_gone(drain_ms: int) -> None:
    """Offsets stay within the undisturbed stop, or what clients make of it."""
    found = everything(WEB, drain_ms * NS_PER_MS)
    moments = [moment for several in found.faults for moment in found.moments_of(several[0])]
    latest = max(moment.offset_ns for moment in moments if moment.when is When.AFTER)
    assert latest <= max(drain_ms, 150) * NS_PER_MS
