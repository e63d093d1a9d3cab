"""What changed between runs in words, for the formats that people read."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.model import Comparison, DurationChange, StatusChange, StopChange, StopId, StopSummary, TestResult
from stop_harness.records import dataclass
from stop_harness.wording import OUTCOME_WORDS, count_of, one_line, seconds, timeout

MAX_NAMES = 8


class Tone(StrEnum):
    """How good the news is; the values are style classes of the page."""

    GOOD = "compliant"
    BAD = "non_compliant"
    OPEN = "inconclusive"


@dataclass(frozen=True)
class News:
    """One thing that changed: a word, which stop, and how we know."""

    word: str
    tone: Tone
    stop: str
    basis: str


def news(comparison: Comparison) -> list[News]:
    """Everything that changed, the worst first. What is as it was is left out."""
    found = [
        News(word, tone, stop_name(change.stop), basis(change, of_status=of_status))
        for word, tone, changes, of_status in _groups(comparison)
        for change in changes
    ]
    found += [News("gone", Tone.OPEN, names, "not in this run") for names in _names(comparison.gone)]
    found += [News("new", Tone.OPEN, names, "not in the baseline") for names in _names(comparison.new)]
    return found


def _groups(comparison: Comparison) -> list[tuple[str, Tone, tuple[StopChange, ...], bool]]:
    """Word, tone, the stops that it is true of, and whether it is about their status; the worst first."""
    return [
        ("broke", Tone.BAD, comparison.with_status(StatusChange.BROKE), True),
        ("slower", Tone.BAD, slower(comparison), False),
        ("unclear", Tone.OPEN, comparison.with_status(StatusChange.UNCLEAR), True),
        ("unproved", Tone.OPEN, _differ_untold(comparison), False),
        ("cured", Tone.GOOD, comparison.with_status(StatusChange.CURED), True),
        ("faster", Tone.GOOD, faster(comparison), False),
    ]


@dataclass(frozen=True)
class StopBeside:
    """One stop in both runs, side by side; a side is empty where the run had no such stop. `word` and `why`: what
    changed and how we know, both empty where it is as it was."""

    stop: str
    before: str
    now: str
    word: str
    tone: Tone
    why: str


def side_by_side(comparison: Comparison) -> tuple[list[StopBeside], list[StopBeside]]:
    """Every stop of the two runs: those that changed, the worst first, then those that are as they were."""
    changed: dict[StopId, StopBeside] = {}
    for word, tone, changes, of_status in _groups(comparison):
        for change in changes:
            changed.setdefault(change.stop, _beside(change, word, tone, basis(change, of_status=of_status)))
    lone = [StopBeside(stop_name(stop), "–", "", "new", Tone.OPEN, "not in the baseline") for stop in comparison.new]
    lone += [StopBeside(stop_name(stop), "", "–", "gone", Tone.OPEN, "not in this run") for stop in comparison.gone]
    same = [_beside(change, "", Tone.OPEN, "") for change in comparison.changes if change.stop not in changed]
    return [*changed.values(), *lone], same


def _beside(change: StopChange, word: str, tone: Tone, why: str) -> StopBeside:
    return StopBeside(stop_name(change.stop), side(change.before), side(change.now), word, tone, one_line(why))


def side(side: StopSummary) -> str:
    """`graceful after 5.0 s`; of several `killed, 1 of 3 as expected, median 5.0 s`."""
    outcome = OUTCOME_WORDS[side.outcome]
    if side.trials == 1:
        return outcome if side.median_ns is None else f"{outcome} after {seconds(side.median_ns)}"
    median = "" if side.median_ns is None else f", median {seconds(side.median_ns)}"
    return f"{outcome}, {side.passed:,} of {side.trials:,} as expected{median}"


def slower(comparison: Comparison) -> tuple[StopChange, ...]:
    """Slower stops but those that broke, which is the same news in other words."""
    return tuple(
        change for change in comparison.with_duration(DurationChange.SLOWER) if change.status is not StatusChange.BROKE
    )


def faster(comparison: Comparison) -> tuple[StopChange, ...]:
    """Faster stops but those that were cured."""
    return tuple(
        change for change in comparison.with_duration(DurationChange.FASTER) if change.status is not StatusChange.CURED
    )


def _differ_untold(comparison: Comparison) -> tuple[StopChange, ...]:
    """Stops whose median differs, repeated too few times to rule out chance."""
    return tuple(change for change in comparison.with_duration(DurationChange.TOO_FEW) if change.differs)


def basis(change: StopChange, *, of_status: bool) -> str:
    """The sentence of one change, with its test."""
    text, test = (
        (change.status_basis, change.status_test) if of_status else (change.duration_basis, change.duration_test)
    )
    return f"{text} {test_text(test)}" if test else text


def test_text(test: TestResult) -> str:
    """`[Mann–Whitney U test, one-sided, p = 0.0021]`."""
    p_value = "p < 0.0001" if test.p_value < 0.0001 else f"p = {test.p_value:.2g}"
    return f"[{test.name}, {p_value}]"


def stop_name(stop: StopId) -> str:
    """`web at 10 s`, `web at 10 s, stopped 2 s after ready`."""
    moment = f", stopped {timeout(stop.stop_after_ns)} after ready" if stop.stop_after_ns else ""
    return f"{one_line(stop.scenario)} at {timeout(stop.stop_timeout_ns)}{moment}"


def _names(stops: tuple[StopId, ...]) -> list[str]:
    """All in one line, the first of them by name; nothing where there are none."""
    if not stops:
        return []
    names = [stop_name(stop) for stop in stops[:MAX_NAMES]]
    more = [f"{count_of(len(stops) - MAX_NAMES, 'more stop')}"] if len(stops) > MAX_NAMES else []
    return [", ".join([*names, *more])]


def headline(comparison: Comparison) -> str:
    """`Against the run of 2026-11-23T…: 1 broke, 2 slower; 40 stops are as they were.`"""
    counts = [
        (len(comparison.with_status(StatusChange.BROKE)), "broke"),
        (len(slower(comparison)), "slower"),
        (len(comparison.with_status(StatusChange.CURED)), "cured"),
        (len(faster(comparison)), "faster"),
        (len(comparison.new), "new"),
        (len(comparison.gone), "gone"),
    ]
    changed = ", ".join(f"{number:,} {word}" for number, word in counts if number) or "nothing changed"
    same = sum(_is_as_it_was(change) for change in comparison.changes)
    rest = f"; {count_of(same, 'stop')} as before" if same else ""
    return f"Against the run of {one_line(comparison.baseline.started_at)}: {changed}{rest}."


def _is_as_it_was(change: StopChange) -> bool:
    return change.status is StatusChange.SAME and change.duration not in {DurationChange.SLOWER, DurationChange.FASTER}


def too_few(comparison: Comparison) -> str:
    """That durations were repeated too few times to compare; empty where none were."""
    found = len(comparison.with_duration(DurationChange.TOO_FEW))
    return f"{count_of(found, 'stop')} repeated too few times to tell slower from chance (--repeat)." if found else ""


def plain(comparison: Comparison) -> str:
    """Headline and news as plain lines."""
    lines = [f"  {item.word}  {item.stop}: {one_line(item.basis)}" for item in news(comparison)]
    return "\n".join([headline(comparison), *lines])
