"""The answer to `check --sweep-start`: one line a moment, and the window. Pure."""

from __future__ import annotations

import json

from stop_harness.experiments.start_window import StopFate, Sweep
from stop_harness.wording import precise_seconds, printable, timeout, to_seconds

MARKS = {StopFate.HEARD: "✔", StopFate.LOST: "✘", StopFate.UNCLEAR: "?"}


def render(sweep: Sweep) -> str:
    """Lines for a terminal."""
    if sweep.problem is not None:
        return f"? {sweep.scenario}: {printable(sweep.problem)}\n"
    ready = "" if sweep.ready_ns is None else f", ready {precise_seconds(sweep.ready_ns)} after the start"
    limit = timeout(sweep.stop_timeout_ns)
    lines = [
        f"{sweep.scenario}: {len(sweep.moments)} stops of fresh containers, stop timeout {limit}, "
        f"{sweep.side_by_side} at once{ready}",
        "",
        *(f"  {MARKS[item.fate]} {item.at_ns / 1e9:8.3f} s  {printable(item.detail)}" for item in sweep.moments),
        "",
        headline(sweep),
    ]
    return "\n".join(lines) + "\n"


def headline(sweep: Sweep) -> str:
    """`A stop signal is lost from 0.05 s to 8.02–8.04 s after the start: a window of 7.97 to 8.04 s.`"""
    window = sweep.window
    if window is None:
        heard = sum(item.fate is StopFate.HEARD for item in sweep.moments)
        unclear = len(sweep.moments) - heard
        rest = f"; {unclear} could not be measured" if unclear else ""
        return f"No stop signal was lost: {heard} of {len(sweep.moments)} stops were heard{rest}."
    opens, closes = window.opens, window.closes
    earliest = f"the start on (earliest stop {precise_seconds(opens[1])})"
    first = earliest if opens[0] is None else _span(opens[0], opens[1])
    if closes[1] is None:
        return f"A stop signal is lost from {first} to the last moment that was tried, {precise_seconds(closes[0])}."
    least, most = window.width_ns
    width = f"{precise_seconds(least)} to {precise_seconds(most or 0)}"
    return (
        f"A stop signal is lost from {first} until {_span(*closes)} after the start call returned: a window of {width}."
    )


def render_json(sweep: Sweep) -> str:
    """The same for machines; times in seconds after the start call returned."""
    window = sweep.window
    document = {
        "scenario": sweep.scenario,
        "stop_timeout_s": to_seconds(sweep.stop_timeout_ns),
        "side_by_side": sweep.side_by_side,
        "ready_s": to_seconds(sweep.ready_ns),
        "problem": sweep.problem,
        "moments": [
            {"at_s": to_seconds(item.at_ns), "fate": item.fate.value, "detail": item.detail} for item in sweep.moments
        ],
        "window": window
        and {
            "last_heard_before_s": to_seconds(window.opens[0]),
            "first_lost_s": to_seconds(window.opens[1]),
            "last_lost_s": to_seconds(window.closes[0]),
            "first_heard_after_s": to_seconds(window.closes[1]),
            "width_at_least_s": to_seconds(window.width_ns[0]),
            "width_at_most_s": to_seconds(window.width_ns[1]),
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _span(low_ns: int, high_ns: int | None) -> str:
    """`8.02 to 8.04 s`."""
    return f"{precise_seconds(low_ns)} to {precise_seconds(high_ns or 0)}"
