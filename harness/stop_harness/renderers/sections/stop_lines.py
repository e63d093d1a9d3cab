"""What each stop timeout of a scenario came to, as parts of a line and as lines for a terminal. Pure."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from stop_harness import signals
from stop_harness.model import Outcome, TrialResult
from stop_harness.renderers.sections.columns import GREEN, RED, YELLOW, Paint, wrapped
from stop_harness.wording import OWN_TIMEOUTS, limit_word, outcome_words, requests_line, seconds, timeout

MAX_STOPS = 30
"""Trials of one scenario that `check` gives a line each; of more it says how many came to what."""


def parts(results: tuple[TrialResult, ...], *, own: bool) -> list[str]:
    """`2 s killed`, `10 s, 30 s graceful (5.0 s)`: neighbouring stop timeouts with the same outcomes together. With
    repetitions `30 s graceful ×3 (5.0 to 5.2 s)` or `30 s graceful ×2, killed ×1`. `own`: each container of a task had
    its own, so that the trial's, which is the longest that the task can take, is nobody's."""
    parts = []
    by_timeout = [
        (limit, list(group)) for limit, group in groupby(results, key=lambda result: result.observation.stop_timeout_ns)
    ]
    for outcomes, group in groupby(by_timeout, key=lambda item: _outcomes(item[1])):
        same = list(group)
        limits = OWN_TIMEOUTS if own else ", ".join(timeout(limit) for limit, _ in same)
        text = f"{limits} {outcomes}{_range([trial for _, trials in same for trial in trials])}"
        parts.append(text.replace(") (", ", "))
    return parts


def _outcomes(trials: list[TrialResult]) -> str:
    """`graceful`; of several trials `graceful ×2, killed ×1`."""
    counts = Counter(outcome_words(trial) for trial in trials)
    if len(trials) == 1:
        return next(iter(counts))
    return ", ".join(f"{outcome} ×{number}" for outcome, number in counts.most_common())


def _range(trials: list[TrialResult]) -> str:
    """` (5.0 s)` or ` (5.0 to 5.2 s)`; nothing where no duration is known, the outcomes differ, or SIGKILL set it."""
    outcomes = {trial.verdict.outcome for trial in trials}
    durations = [duration for trial in trials if (duration := trial.verdict.facts.shutdown_duration_ns) is not None]
    if not durations or len(outcomes) > 1 or Outcome.KILLED in outcomes:
        return ""
    low, high = seconds(min(durations)), seconds(max(durations))
    return f" ({high})" if low == high else f" ({low.removesuffix(' s')} to {high})"


def lines(results: tuple[TrialResult, ...], width: int, paint: Paint, *, own: bool) -> list[str]:
    """How each trial ended and, on lines of their own, what became of its requests. `own`: see `OWN_TIMEOUTS`."""
    limits = [timeout(result.observation.stop_timeout_ns) for result in results]
    column = max(map(len, limits), default=0)
    word = limit_word(results[0].observation) if results else ""
    titles = [OWN_TIMEOUTS if own else f"{word} {limit:>{column}}" for limit in limits]
    if len(results) > MAX_STOPS:
        title = "" if own else f"{word} "
        return [line for part in parts(results, own=own) for line in wrapped(f"  {title}{part}", width, "    ")]
    lines = []
    for title, result in zip(titles, results, strict=True):
        outcome = paint(outcome_text(result), _outcome_colour(result))
        lines.append(f"  {title}: {outcome}{_exit_text(result)}")
        indent = " " * (len(title) + 4)
        lines += [indent + line for line in wrapped(requests_line(result.observation.traffic), width - len(indent))]
    return lines


def outcome_text(result: TrialResult) -> str:
    """`graceful after 5.0 s`, `killed after 10.0 s`, `not running`."""
    duration = result.verdict.facts.shutdown_duration_ns
    return outcome_words(result) + ("" if duration is None else f" after {seconds(duration)}")


def _outcome_colour(result: TrialResult) -> str:
    if result.verdict.outcome is Outcome.INCONCLUSIVE:
        return YELLOW
    return GREEN if result.verdict.outcome is Outcome.GRACEFUL else RED


def _exit_text(result: TrialResult) -> str:
    seen = result.observation
    moment = f", stopped {timeout(seen.stop_after_ns)} after ready" if seen.stop_after_ns else ""
    unseen = seen.record.exit_code is None or (
        seen.derivation.derived_from is not None and seen.derivation.cut_short is not None
    )
    ended = "" if unseen else f", exit code {seen.record.exit_code}"
    if seen.record.exit_signal is not None:
        ended = f", ended by {signals.name(seen.record.exit_signal)}"
    return ended + moment
