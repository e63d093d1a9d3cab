"""The order of a search: the undisturbed stop, what failed before, the usual, then whatever hypothesis draws.

The first candidate that fails is repeated, made smaller and repeated again; what fails once and not again is noted, and
the search goes on.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from stop_harness.experiments.explore import nearby, random_search, simpler
from stop_harness.experiments.explore.candidate import (
    Candidate,
    CandidateBench,
    Fate,
    Over,
    Part,
    TriedCandidate,
    first_bad,
    parts_of,
    words,
)
from stop_harness.experiments.explore.past_failures import PastFailures
from stop_harness.experiments.explore.result import BreakingStop, Exploration
from stop_harness.experiments.explore.space import BREATH_NS, Space

CONTROLS = 3
"""Repetitions of the undisturbed stop: what it loses in half of the stops is seen with seven of eight."""

REPEATS = 5
LEAST_FAILED = 3
"""Of the repetitions: the search tries hundreds of stops, and what seldom fails would come up in any of them."""

SHRINK_STOPS = 40
FLAKY_TRIES = 2

NEARLY = 6
SLOWER, SLOWER_NS = 1.3, 100_000_000
"""What is slower by less than that says nothing."""

NEAR_STOPS, NEAR_CONFIRMED = 24, 2
"""Beside what failed again, though too seldom: stops that are tried, and how many of them are repeated."""

DOUBTS = 2
"""So many stops that could not be judged because of one thing show that it cannot be made; one alone may be the
machine's doing, but for a client that came alone and of which the trial itself says that it was not kept."""


@dataclass(frozen=True)
class Limits:
    """When a search ends. `stops` None: as many as there is time for. `out_of_time`: whether it is."""

    stops: int | None
    out_of_time: Callable[[], bool]


@dataclass
class StopSearch:
    """One search. `space_of`: what may vary, by the stops of the undisturbed scenario. `interrupted`: the user wants it
    to end."""

    scenario: str
    undisturbed: tuple[Candidate, ...]
    space_of: Callable[[tuple[TriedCandidate, ...]], Space]
    bench: CandidateBench
    limits: Limits
    past: PastFailures
    seed: int
    note: Callable[[str], None]
    interrupted: Callable[[], bool]
    _seen: dict[Candidate, TriedCandidate] = field(default_factory=dict)
    _flukes: list[TriedCandidate] = field(default_factory=list)
    _suspects: list[TriedCandidate] = field(default_factory=list)
    _stops: int = 0
    _unclear: int = 0
    _passed_by: int = 0
    _impossible: set[Part] = field(default_factory=set)
    _judged: Counter[Part] = field(default_factory=Counter)
    _doubted: Counter[Part] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> Exploration:
        """To the first failure that comes back, or to the limits."""
        self.note(f"the undisturbed stop, {CONTROLS} times")
        controls = self._several([item for item in self.undisturbed for _ in range(CONTROLS)], thorough=True)
        if bad := [item for item in controls if item.fate is Fate.BAD]:
            same = [item for item in controls if item.candidate == bad[0].candidate]
            failed = sum(item.fate is Fate.BAD for item in same)
            return self._result(BreakingStop(bad[0].candidate, bad[0], failed, len(same), bad[0].candidate))
        fine = tuple(item for item in controls if item.fate is Fate.FINE)
        if {item.candidate for item in fine} != set(self.undisturbed):
            return self._result(problem=None if self.interrupted() else controls[0].reason)
        space = self.space_of(fine)
        return replace(self._result(self._found(space)), left_out=space.left_out)

    # ── rounds ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _found(self, space: Space) -> BreakingStop | None:
        known = [item for item in self.past.all() if item.stop_timeout_ns in space.timeouts_ns]
        if known:
            self.note(f"what failed before: {len(known)}")
            finding = self._in_order(known, space)
            for item in known:
                if item in self._seen and self._seen[item].fate is Fate.FINE:
                    self.past.remove(item)
            if finding is not None:
                return finding
        standard = space.standard()
        self.note(f"one thing after the other: {len(standard)} stops")
        if (finding := self._in_order(standard, space)) is not None:
            return finding
        return self._at_random(space)

    def _in_order(self, candidates: Iterable[Candidate], space: Space) -> BreakingStop | None:
        """In waves, so that a failure early in the order is not followed by all the rest."""
        left = list(candidates)
        while (left := [item for item in left if not parts_of(item) & self._impossible]) and not self._is_over():
            wave, left = left[: 2 * self.bench.side_by_side], left[2 * self.bench.side_by_side :]
            results = self._several(wave)
            while (bad := first_bad(results, wave)) is not None:
                if (finding := self._confirmed(bad, space)) is not None:
                    return finding
                wave.remove(bad.candidate)
        return None

    def _at_random(self, space: Space) -> BreakingStop | None:
        number = 0
        while not self._is_over():
            self.note("at random")
            self._suspects.clear()
            random_search.seek(
                lambda: self._known(space),
                self._look,
                first_seed=self.seed + 7919 * number,
                side_by_side=self.bench.side_by_side,
            )
            if not self._suspects:
                return None
            for suspect in sorted(self._suspects, key=_size):
                if (finding := self._confirmed(suspect, space)) is not None:
                    return finding
            number += 1
        return None

    def _known(self, space: Space) -> tuple[Space, tuple[Candidate, ...]]:
        """The space as it is known by now; and what almost failed, which is what failed once, and of each mixture the
        slowest, where it was slower than the undisturbed stop."""
        with self._lock:
            seen, gone = tuple(self._seen.values()), frozenset(self._impossible)
            flukes = tuple(item.candidate for item in self._flukes)
        fine = sorted((item for item in seen if item.fate is Fate.FINE), key=_nearness, reverse=True)
        least = (space.drain_ns * SLOWER + SLOWER_NS) / space.timeouts_ns[0]
        of_mixtures: dict[frozenset[Part], Candidate] = {}
        for item in fine:
            if _nearness(item) >= least and not item.candidate.is_undisturbed:
                of_mixtures.setdefault(parts_of(item.candidate), item.candidate)
        longest_ns = max((item.took_ns or 0 for item in fine), default=0)
        nearly = (*flukes, *list(of_mixtures.values())[:NEARLY])
        found = [item for item in dict.fromkeys(nearly) if not parts_of(item) & gone]
        return replace(space.without(gone), longest_ns=longest_ns), tuple(found)

    def _look(self, candidate: Candidate) -> TriedCandidate:
        """One that hypothesis has drawn. Raises Over."""
        with self._lock:
            known = self._seen.get(candidate)
        if known is not None:
            return known
        if self._suspects or self._is_over():
            raise Over
        tried = self.bench.one(candidate)
        self._record(tried)
        if tried.fate is Fate.BAD:
            self._suspects.append(tried)
            raise Over
        return tried

    # ── a failure ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _confirmed(self, bad: TriedCandidate, space: Space, *, look_near: bool = True) -> BreakingStop | None:
        """The failure repeated, made as small as it gets, and repeated; None where it does not come back. The
        undisturbed stop is repeated beside it: where that fails now, it is no matter of what disturbs it."""
        self.note(f"{bad.said}: {words(bad.candidate)}; {REPEATS} times more, beside {CONTROLS} undisturbed ones")
        found = self._repeated(bad, bad.candidate)
        if found.undisturbed:
            return found
        if not found.repeated and not self.interrupted():
            self.note("none of them could be judged: not taken for a failure")
            return None
        if found.repeated and not found.failed and (slowest_ns := self._took_ns(bad.candidate)) >= BREATH_NS:
            self.note(f"it is only slow, {slowest_ns / 1e9:.1f} s: no failure")
            return None
        if found.repeated and found.failed < min(LEAST_FAILED, found.repeated):
            self._flukes.append(bad)
            self.note(f"it failed in {found.failed} of {found.repeated}: not taken for a failure")
            return self._near(bad, space) if found.failed and look_near else None
        self.past.add(bad.candidate)
        path = self._path_down(found.seen, space, tries=1 if found.failed == found.repeated else FLAKY_TRIES)
        while len(path) > 1 and not self.interrupted():
            smaller = self._repeated(path.pop(), bad.candidate)
            if smaller.undisturbed:  # the machine has become too busy to tell
                continue
            if smaller.failed >= LEAST_FAILED and 2 * smaller.failed >= found.failed:
                self.past.remove(bad.candidate)
                self.past.add(smaller.candidate)
                return smaller
        return found

    def _took_ns(self, candidate: Candidate) -> int:
        """Of the last stop of it that counts."""
        known = self._seen.get(candidate)
        return known.took_ns or 0 if known is not None and known.fate is Fate.FINE else 0

    def _near(self, bad: TriedCandidate, space: Space) -> BreakingStop | None:
        """A failure of the same kind that comes back more often: the window that was met at its edge, a little more of
        what was almost too much."""
        steps = [item for item in nearby.to(bad.candidate, space) if self._may_fail(item)][: NEAR_STOPS // 2]
        if not steps or self._is_over():
            return None
        self.note(f"near it: {len(steps)} others, twice each")
        results = self._several([item for item in steps for _ in range(2)])
        counts = Counter(item.candidate for item in results if item.fate is Fate.BAD)
        for candidate, _ in counts.most_common(NEAR_CONFIRMED):
            worst = next(item for item in results if item.candidate == candidate and item.fate is Fate.BAD)
            if (finding := self._confirmed(worst, space, look_near=False)) is not None:
                return finding
        return None

    def _repeated(self, bad: TriedCandidate, first: Candidate) -> BreakingStop:
        """How often it fails; of the undisturbed stop, where that fails beside it."""
        undisturbed = Candidate(bad.candidate.stop_timeout_ns)
        results = self._several([bad.candidate] * REPEATS + [undisturbed] * CONTROLS, thorough=True)
        if beside := [item for item in results if item.candidate == undisturbed and item.fate is Fate.BAD]:
            return _counted(undisturbed, results, undisturbed, beside[0])
        return _counted(bad.candidate, results, first, bad)

    def _path_down(self, bad: TriedCandidate, space: Space, tries: int) -> list[TriedCandidate]:
        """Failures, each one step smaller than the one before. `tries`: of each smaller candidate; what is flaky is not
        known to be as expected because it was once."""
        path, left = [bad], SHRINK_STOPS
        while left > 0 and not self.interrupted():
            steps = [item for item in simpler.than(path[-1].candidate, space) if self._may_fail(item, flaky=tries > 1)]
            known = first_bad(list(self._seen.values()), steps)
            smaller = None
            while known is None and smaller is None and steps and left > 0 and not self.interrupted():
                size = max(1, 2 * self.bench.side_by_side // tries)
                wave, steps = steps[:size], steps[size:]
                self.note(f"smaller: {'; '.join(words(item) for item in wave[:3])}{', …' if len(wave) > 3 else ''}")
                smaller = first_bad(self._several([item for item in wave for _ in range(tries)]), wave)
                left -= tries * len(wave)
            found = known or smaller
            if found is None:
                break
            path.append(found)
        return path

    def _may_fail(self, candidate: Candidate, *, flaky: bool = False) -> bool:
        """It is not known to be as expected, nor to have failed by chance. `flaky`: it may have been as expected by
        chance."""
        known = self._seen.get(candidate)
        return (
            known is None
            or (known.fate is Fate.BAD and known not in self._flukes)
            or (flaky and known.fate is Fate.FINE)
        )

    # ── the count ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _several(self, candidates: list[Candidate], *, thorough: bool = False) -> list[TriedCandidate]:
        results = []
        for tried in self.bench.several(candidates, thorough=thorough):
            self._record(tried)
            results.append(tried)
        return results

    def _record(self, tried: TriedCandidate) -> None:
        took = "" if tried.took_ns is None else f" after {tried.took_ns / 1e9:.2f} s"
        with self._lock:
            self._stops += 1
            self._unclear += tried.fate is Fate.UNCLEAR
            self._passed_by += tried.fate is Fate.PASSED_BY
            before = self._seen.get(tried.candidate)
            if before is None or before.fate is not Fate.BAD or (tried.thorough and not before.thorough):
                self._seen[tried.candidate] = tried
            self._learn(tried)
            number = self._stops
        why = f"; {tried.reason}" if tried.fate is Fate.UNCLEAR else ""
        said = "over before that" if tried.fate is Fate.PASSED_BY else tried.said
        self.note(f"[{number}] {said}{took}: {words(tried.candidate)}{why}")

    def _learn(self, tried: TriedCandidate) -> None:
        """What this container does not let be made is not tried again: a client that it does not keep, a fault that was
        never there. What came about at times, as where a server closes a connection a little later, is so as long as it
        is doubted more often."""
        parts = parts_of(tried.candidate)
        if tried.fate is Fate.PASSED_BY:  # the program had left before: nobody knows
            return
        for part in parts:
            alone = len(parts) == 1
            if part in tried.absent:  # the trial says so; of a fault that may be the machine's doing
                self._doubted[part] += DOUBTS if alone and tried.candidate.traffic else 1
            elif tried.fate is not Fate.UNCLEAR:
                self._judged[part] += 1
            elif alone and tried.candidate.traffic:
                self._doubted[part] += 1
            if self._doubted[part] >= DOUBTS and self._doubted[part] > self._judged[part]:
                self._impossible.add(part)

    def _is_over(self) -> bool:
        full = self.limits.stops is not None and self._stops >= self.limits.stops
        return full or self.limits.out_of_time() or self.interrupted()

    def _result(self, finding: BreakingStop | None = None, problem: str | None = None) -> Exploration:
        judged = [item for item in self._seen.values() if item.fate in {Fate.FINE, Fate.PASSED_BY}]
        if finding is None and problem is None and not self.interrupted() and 2 * self._unclear > self._stops:
            unclear = next(item for item in self._seen.values() if item.fate is Fate.UNCLEAR)
            problem = f"{self._unclear} of {self._stops} stops could not be judged, such as: {unclear.reason}"
        return Exploration(
            self.scenario,
            self.seed,
            self._stops,
            self._unclear,
            finding,
            problem,
            tuple(self._flukes),
            max(judged, key=lambda item: item.took_ns or 0, default=None),
            self.interrupted(),
            self._passed_by,
        )


def _counted(
    candidate: Candidate, results: list[TriedCandidate], first: Candidate, seen: TriedCandidate
) -> BreakingStop:
    """How often it failed among these. `seen`: how it failed before, where it did not fail again."""
    told = [item for item in results if item.candidate == candidate and item.fate is not Fate.UNCLEAR]
    failed = [item for item in told if item.fate is Fate.BAD]
    return BreakingStop(candidate, (*failed, seen)[0], len(failed), len(told), first)


def _nearness(tried: TriedCandidate) -> float:
    """How near a stop that was fine came to SIGKILL, without the time that it was frozen; 1 and more where it lost
    something that is forgiven."""
    frozen_ns = sum(fault.for_ns or 0 for fault in tried.candidate.faults)
    return tried.lost + max(0, (tried.took_ns or 0) - frozen_ns) / tried.candidate.stop_timeout_ns


def _size(tried: TriedCandidate) -> tuple[int, str]:
    """Fewer changes first."""
    item = tried.candidate
    return len(item.faults) + len(item.traffic or ()) + (item.moment_ns is not None), words(item)
