"""hypothesis draws candidates, and climbs to longer shutdowns and more losses. Needs the extra `explore`.

Several seekers run side by side, each a search of its own by a seed of its own; what one has tried, none tries again.
A seeker works in rounds: some points in time and some pairs of changes, of which each is tried by one seeker
alone, and then some candidates of hypothesis, a third of them near what almost failed by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings, target
from hypothesis import strategies as st

from stop_harness.experiments.explore import nearby, pairs, sweep
from stop_harness.experiments.explore.candidate import Candidate, Over, TriedCandidate
from stop_harness.experiments.explore.pairs import MOST_CLIENTS, MOST_FAULTS, STEP_NS
from stop_harness.experiments.explore.space import CLIENTS, CPUS, LATEST_NS, LEADS_NS, MOMENTS_NS, Space, lasts
from stop_harness.model import Fault, FaultKind, FaultMoment, TrafficClient, When

DRAWN_IN_A_ROUND = 16
"""Half of a round is drawn freely; then hypothesis climbs from the best of it."""

SWEPT_IN_A_ROUND, PAIRED_IN_A_ROUND = 6, 12


def candidates(space: Space) -> st.SearchStrategy[Candidate]:
    """Any candidate of the space, with up to two faults and two kinds of clients."""
    moment: st.SearchStrategy[int | None] = st.none()
    if space.moments:
        anywhere = st.integers(0, LATEST_NS // STEP_NS).map(lambda steps: steps * STEP_NS)
        moment = st.one_of(st.none(), st.sampled_from(MOMENTS_NS), anywhere)
    traffic: st.SearchStrategy[tuple[TrafficClient, ...] | None] = st.none()
    faults: st.SearchStrategy[tuple[Fault, ...]] = st.just(())
    if space.clients:
        several = st.lists(_client(space), min_size=1, max_size=MOST_CLIENTS, unique_by=lambda it: (it.kind, it.port))
        traffic = st.one_of(st.none(), several.map(tuple))
    if space.faults:
        of_kinds = st.lists(_fault(space), max_size=MOST_FAULTS, unique_by=lambda it: it.kind)
        faults = of_kinds.map(lambda found: tuple(sorted(found, key=lambda it: it.kind)))
    drawn = st.builds(Candidate, st.sampled_from(space.timeouts_ns), moment, traffic, faults)
    return drawn.map(space.sound).filter(space.allows)


def _client(space: Space) -> st.SearchStrategy[TrafficClient]:
    return st.builds(
        lambda client, clients, lead_ns: replace(
            client, clients=clients, lead_ns=lead_ns if client.kind.in_flight else client.lead_ns
        ),
        st.sampled_from(space.clients),
        st.sampled_from(CLIENTS),
        st.sampled_from(LEADS_NS) | st.integers(5, 100).map(lambda steps: steps * STEP_NS),
    )


def _fault(space: Space) -> st.SearchStrategy[Fault]:
    """Of each kind as often, whatever can be done to it."""
    kinds = {several[0].kind: [it for it in space.faults if it[0].kind is several[0].kind] for several in space.faults}
    return st.one_of([st.one_of([_of_one_kind(it, space) for it in alike]) for alike in kinds.values()])


def _of_one_kind(several: tuple[Fault, ...], space: Space) -> st.SearchStrategy[Fault]:
    values = st.sampled_from(several)
    if several[0].kind is FaultKind.CPU:
        hundredths = st.integers(round(100 * CPUS[-1]), round(100 * CPUS[0]))
        values = values | hundredths.map(lambda share: replace(several[0], amount=share / 100))
    return st.builds(lambda fault, moment: replace(fault, moment=moment), values, _fault_moment(several[0], space))


def _fault_moment(fault: Fault, space: Space) -> st.SearchStrategy[FaultMoment]:
    """The usual ones; and any, while an undisturbed stop would be under way, of what is short also the longest that was
    seen."""
    moments: st.SearchStrategy[FaultMoment] = st.sampled_from(space.moments_of(fault))
    for latest_ns in {space.drain_ns, space.drain_ns if lasts(fault) else space.reach_ns}:
        if latest_ns > STEP_NS and space.may_begin(fault, When.AFTER):
            anywhere = st.integers(0, (latest_ns - 1) // STEP_NS)
            moments |= anywhere.map(lambda steps: FaultMoment(When.AFTER, steps * STEP_NS))
    return moments


def near(nearly: tuple[Candidate, ...], space: Space) -> st.SearchStrategy[Candidate]:
    """Candidates that differ in one thing from one of these."""
    changes: list[st.SearchStrategy[Callable[[Candidate], Candidate]]] = []
    if space.faults:
        changes.append(_fault(space).map(lambda fault: lambda item: _with_fault(item, fault)))
    if space.clients:
        changes.append(_client(space).map(lambda client: lambda item: replace(item, traffic=(client,))))
    if space.moments:
        steps = st.integers(0, LATEST_NS // STEP_NS)
        changes.append(steps.map(lambda steps: lambda item: replace(item, moment_ns=steps * STEP_NS)))
    neighbours = tuple(neighbour for item in nearly for neighbour in nearby.to(item, space))
    drawn = st.builds(lambda item, change: space.sound(change(item)), st.sampled_from(nearly), st.one_of(changes))
    return (drawn | st.sampled_from(neighbours) if neighbours else drawn).filter(space.allows)


def _with_fault(candidate: Candidate, fault: Fault) -> Candidate:
    """In place of the one of its kind, else of the last one where there are enough."""
    others = [item for item in candidate.faults if item.kind is not fault.kind][: MOST_FAULTS - 1]
    return replace(candidate, faults=tuple(sorted((*others, fault), key=lambda item: item.kind)))


Known = Callable[[], tuple[Space, tuple[Candidate, ...]]]
"""What is known by now: the space, and what almost failed."""


def seek(known: Known, look: Callable[[Candidate], TriedCandidate], *, first_seed: int, side_by_side: int) -> None:
    """Draw candidates and have each looked at until `look` raises Over, in every thread; or until nothing new comes.

    Raises whatever else `look` raises.
    """
    space = known()[0]
    shared = (
        (_Shared(sweep.points(space, first_seed)), SWEPT_IN_A_ROUND),
        (_Shared(pairs.passes(space, first_seed)), PAIRED_IN_A_ROUND),
    )
    with ThreadPoolExecutor(side_by_side, thread_name_prefix="explore") as threads:
        seekers = [
            threads.submit(_seek, known, look, shared, first_seed * side_by_side + number)
            for number in range(side_by_side)
        ]
    for seeker in seekers:
        seeker.result()


class _Shared:
    """Candidates of which each seeker takes some."""

    def __init__(self, candidates: Iterator[Candidate]) -> None:
        self._candidates, self._lock = candidates, threading.Lock()

    def some(self, count: int) -> Iterator[Candidate]:
        """So many more; fewer at the end."""
        for _ in range(count):
            with self._lock:
                candidate = next(self._candidates, None)
            if candidate is None:
                return
            yield candidate


def _seek(
    known: Known,
    look: Callable[[Candidate], TriedCandidate],
    shared: tuple[tuple[_Shared, int], ...],
    first_seed: int,
) -> None:
    new = threading.Event()
    drawn: set[Candidate] = set()

    def once(candidate: Candidate) -> None:
        if candidate not in drawn:
            drawn.add(candidate)
            new.set()
        tried = look(candidate)
        if tried.took_ns is not None:
            target(tried.took_ns / candidate.stop_timeout_ns, label="shutdown of the stop timeout")
        target(float(tried.lost), label="lost")

    rounds = 0
    try:
        while rounds == 0 or new.is_set():
            new.clear()
            space, nearly = known()
            strategy = candidates(space)
            if nearly:  # one in three
                strategy = st.one_of(strategy, strategy, near(nearly, space))
            for source, count in shared:
                for candidate in source.some(count):
                    look(candidate)
            _a_round(strategy, once, first_seed + 1_000_003 * rounds)
            rounds += 1
    except Over:
        return


def _a_round(strategy: st.SearchStrategy[Candidate], once: Callable[[Candidate], None], its_seed: int) -> None:
    drawing = settings(
        max_examples=DRAWN_IN_A_ROUND,
        phases=(Phase.generate, Phase.target),
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        print_blob=False,
    )
    seed(its_seed)(drawing(given(strategy)(once)))()
