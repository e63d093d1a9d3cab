"""Lines of a log with their times, as far as an engine tells them. Pure."""

from __future__ import annotations

from stop_harness.model import Clock, EventKind, Looks, Observation


def lines_of(text: str) -> list[str]:
    """As they are counted where lines have times: each ends with a line feed, the last one perhaps not."""
    return text.removesuffix("\n").split("\n") if text else []


def after_signal(looks: Looks) -> list[tuple[str, int | None]]:
    """What was written after the stop signal, each line with its time, ns since the epoch by the engine's clock; None:
    not on record."""
    lines, times = lines_of(looks.log_after_signal or ""), looks.logs.line_times_ns or ()
    # It is the end of the whole log. Where a value was masked that had a line end in it, nothing can be told any more.
    if not times or len(times) != len(lines_of(looks.logs.text)) or len(lines) > len(times):
        return [(line, None) for line in lines]
    return list(zip(lines, times[len(times) - len(lines) :], strict=True))


def seconds_after_signal(seen: Observation) -> tuple[float, ...] | None:
    """When each line of the end of its log was written, in seconds after the stop signal, negative before it. None
    where the engine does not tell both."""
    times = seen.looks.logs.line_times_ns
    sent = [
        event.at_ns
        for event in seen.record.events
        if event.kind is EventKind.SIGNAL_SENT and event.clock is Clock.ENGINE
    ]
    if not times or not sent or len(times) != len(lines_of(seen.looks.logs.text)):
        return None
    return tuple((at_ns - min(sent)) / 1e9 for at_ns in times)
