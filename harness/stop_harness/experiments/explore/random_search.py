"""hypothesis draws candidates, and climbs to longer shutdowns and more losses. Needs the extra `explore`.

Several seekers run side by side, each a search of its own by a seed of its own; what one has tried, none tries again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings, target
from hypothesis import strategies as st

from stop_harness.experiments.explore.candidate import Candidate, Over, TriedCandidate
from stop_harness.experiments.explore.space import CLIENTS, CPUS, LATEST_NS, LEADS_NS, MOMENTS_NS, Space
from stop_harness.model import NS_PER_MS, Fault, FaultKind, TrafficClient

DRAWN_IN_A_ROUND = 24
"""Half of a round is drawn freely; then hypothesis climbs from the best of it."""

MOST_FAULTS, MOST_CLIENTS = 2, 2
STEP_NS = 10 * NS_PER_MS


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
    return st.one_of([_of_one_kind(several, space) for several in space.faults])


def _of_one_kind(several: tuple[Fault, ...], space: Space) -> st.SearchStrategy[Fault]:
    values = st.sampled_from(several)
    if several[0].kind is FaultKind.CPU:
        hundredths = st.integers(round(100 * CPUS[-1]), round(100 * CPUS[0]))
        values = values | hundredths.map(lambda share: replace(several[0], amount=share / 100))
    moments = st.sampled_from(space.moments_of(several[0]))
    return st.builds(lambda fault, moment: replace(fault, moment=moment), values, moments)


def seek(space: Space, look: Callable[[Candidate], TriedCandidate], *, first_seed: int, side_by_side: int) -> None:
    """Draw candidates and have each looked at until `look` raises Over, in every thread; or until nothing new comes.

    Raises whatever else `look` raises.
    """
    strategy = candidates(space)
    with ThreadPoolExecutor(side_by_side, thread_name_prefix="explore") as threads:
        seekers = [
            threads.submit(_seek, strategy, look, first_seed * side_by_side + number) for number in range(side_by_side)
        ]
    for seeker in seekers:
        seeker.result()


def _seek(strategy: st.SearchStrategy[Candidate], look: Callable[[Candidate], TriedCandidate], first_seed: int) -> None:
    new = threading.Event()
    known: set[Candidate] = set()

    def once(candidate: Candidate) -> None:
        if candidate not in known:
            known.add(candidate)
            new.set()
        tried = look(candidate)
        if tried.took_ns is not None:
            target(tried.took_ns / candidate.stop_timeout_ns, label="shutdown of the stop timeout")
        target(float(tried.lost), label="lost")

    rounds = 0
    try:
        while rounds == 0 or new.is_set():
            new.clear()
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
