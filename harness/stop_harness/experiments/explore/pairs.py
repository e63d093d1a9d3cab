"""Several changes at once, so that few stops have every two of them together: most of what fails in no single change
fails in two, and what is too much in a finding is taken away later. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from stop_harness.experiments.explore.candidate import Candidate, Part, part_of_client
from stop_harness.experiments.explore.space import CLIENTS, EARLY, LATEST_NS, LEADS_NS, MOMENTS_NS, Space, lasts
from stop_harness.model import NS_PER_MS, Fault, FaultMoment, TrafficClient, When

MOST_FAULTS, MOST_CLIENTS = 2, 2
"""Of a candidate: with more of them it says little that it fails."""

STEP_NS = 10 * NS_PER_MS
MOMENT, SHORT_TIMEOUT = ("moment",), ("timeout",)

Pair = frozenset[Part]


def passes(space: Space, seed: int) -> Iterator[Candidate]:
    """One pass after the other, without an end; in each of them every two changes that go together meet: kinds of
    faults and of clients, another moment, a shorter stop timeout. In the first pass they are as strong as they get and
    at their usual moments, in all others chance says how strong and when; in all of them which fault of its kind it is.

    Ends where there are no two changes.
    """
    chance = random.Random(seed)  # nosec B311 # no secret
    number = 0
    while True:
        found = tuple(_Pass(space, chance, strongest=number == 0).candidates())
        if not found:
            return
        yield from found
        number += 1


@dataclass
class _Pass:
    space: Space
    chance: random.Random
    strongest: bool

    def candidates(self) -> Iterator[Candidate]:
        """As many as it takes; each begins with a pair that is missing, and then takes what adds the most pairs."""
        parts = self._parts()
        missing = {frozenset(pair) for pair in combinations(parts, 2) if self._fits(pair)}
        while missing:
            first = self.chance.choice(sorted(missing, key=sorted_words))
            chosen = tuple(first)
            while True:
                gains = [
                    (len({frozenset((part, other)) for other in chosen} & missing), self.chance.random(), part)
                    for part in parts
                    if part not in chosen and self._fits((*chosen, part))
                ]
                best = max(gains, key=lambda gain: gain[:2], default=(0, 0.0, MOMENT))
                if not best[0]:
                    break
                chosen = (*chosen, best[2])
            missing -= {frozenset(pair) for pair in combinations(chosen, 2)}
            yield self._made(chosen)

    def _parts(self) -> tuple[Part, ...]:
        """Whatever may be changed."""
        space = self.space
        parts: list[Part] = [*map(part_of_client, space.clients)]
        parts += dict.fromkeys(("fault", several[0].kind) for several in space.faults)
        parts += [MOMENT] if space.moments else []
        parts += [SHORT_TIMEOUT] if len(space.timeouts_ns) > 1 else []
        return tuple(parts)

    def _fits(self, parts: tuple[Part, ...]) -> bool:
        """Whether one candidate may have all of these, and none of them is without effect beside the others."""
        made = self._made(parts, usual=True)
        return (
            len(made.faults) <= MOST_FAULTS
            and len(made.traffic or ()) == sum(part[0] == "client" for part in parts) <= MOST_CLIENTS
            and self.space.allows(made)
        )

    def _made(self, parts: tuple[Part, ...], *, usual: bool = False) -> Candidate:
        """The candidate, with values. `usual`: none of them by chance."""
        space, plain = self.space, usual or self.strongest
        candidate = Candidate(space.timeouts_ns[0])
        if SHORT_TIMEOUT in parts:
            candidate = replace(candidate, stop_timeout_ns=space.timeouts_ns[-1])
        if MOMENT in parts:
            moment_ns = MOMENTS_NS[0] if plain else self._moment_ns()
            candidate = replace(candidate, moment_ns=moment_ns)
        traffic = tuple(self._client(item, plain) for item in space.clients if part_of_client(item) in parts)
        kinds = sorted(str(part[1]) for part in parts if part[0] == "fault")
        alike = ([several for several in space.faults if several[0].kind == kind] for kind in kinds)
        faults = tuple(self._fault(it[0] if usual else self.chance.choice(it), plain) for it in alike)
        candidate = replace(candidate, traffic=traffic or None, faults=faults)
        made = space.sound(candidate)
        return made if usual or space.allows(made) else self._made(parts, usual=True)

    def _moment_ns(self) -> int:
        """The first second counts as much as the rest."""
        latest_ns = self.chance.choice((1000 * NS_PER_MS, LATEST_NS))
        return self.chance.randrange(0, latest_ns + STEP_NS, STEP_NS)

    def _client(self, client: TrafficClient, plain: bool) -> TrafficClient:
        if plain:
            return replace(client, clients=CLIENTS[-1])
        lead_ns = self.chance.choice(LEADS_NS) if client.kind.in_flight else client.lead_ns
        return replace(client, clients=self.chance.choice(CLIENTS), lead_ns=lead_ns)

    def _fault(self, several: tuple[Fault, ...], plain: bool) -> Fault:
        if plain:
            return several[-1]
        fault = self.chance.choice(several[-2:])
        return replace(fault, moment=self._fault_moment(fault))

    def _fault_moment(self, fault: Fault) -> FaultMoment:
        """Half of them as usual, or early. Later than the undisturbed stop would be over only seldom: most stops are,
        and then nothing was tried."""
        space, chance = self.space, self.chance
        if chance.random() < 0.5:
            early = [EARLY, FaultMoment(When.BEFORE), FaultMoment(When.WITH)]
            early = [moment for moment in early if space.may_begin(fault, moment.when)]
            return chance.choice(early if lasts(fault) and early else list(space.moments_of(fault)))
        latest_ns = space.reach_ns if not lasts(fault) and chance.random() < 0.25 else space.drain_ns
        return FaultMoment(When.AFTER, chance.randrange(0, max(latest_ns, STEP_NS), STEP_NS))


def sorted_words(pair: Pair) -> list[str]:
    """For an order that is the same each time."""
    return sorted(map(str, pair))
