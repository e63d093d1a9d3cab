"""Durations and sizes as people write them: `500ms`, `2s`, `1m30s`, `1h`, `64MiB`."""

from __future__ import annotations

import re

from stop_harness.model import NS_PER_MS, NS_PER_S

MAX_DURATION_NS = 500 * 3600 * NS_PER_S
"""500h. Waiting goes through poll(2), which takes no more than 2**31 ms (24.8 days)."""

MAX_TEXT = 40
"""Python refuses to read numbers of thousands of digits, with a message of its own."""

_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+)(?:\.(\d+))?(ms|s|m|h)")
_SIZE_UNITS = {
    **dict.fromkeys(("", "b"), 1),
    **dict.fromkeys(("k", "kb", "kib"), 1024),
    **dict.fromkeys(("m", "mb", "mib"), 1024**2),
    **dict.fromkeys(("g", "gb", "gib"), 1024**3),
}
"""Docker's own reading: every unit is binary, `m` and `MiB` alike."""


def parse_duration(text: str) -> int:
    """Nanoseconds of `500ms`, `2s`, `1.5s`, `1m30s`, `1h` or `0`. Raises ValueError with what is allowed."""
    stripped = text.strip()
    if stripped == "0":
        return 0
    if len(stripped) > MAX_TEXT or not _DURATION.fullmatch(stripped):
        if stripped.startswith("-"):
            raise ValueError(f"{text!r} is negative; a duration is 0 or more, such as 500ms, 2s or 1m30s")
        shown = text[:MAX_TEXT]
        raise ValueError(f"{shown!r} is not a duration; write a number with a unit, such as 500ms, 2s or 1m30s")
    parts = _DURATION_PART.findall(stripped)
    # Exact, and in whole numbers: `fractions` would be a hundredth of what a check takes.
    digits = max(len(decimals) for _, decimals, _ in parts)
    finest = sum(int(whole + decimals.ljust(digits, "0")) * _MILLISECONDS[unit] for whole, decimals, unit in parts)
    one: int = 10**digits
    milliseconds, rest = divmod(finest, one)
    if rest:
        raise ValueError(f"{text!r} is finer than a millisecond, which no engine can promise")
    if milliseconds * NS_PER_MS > MAX_DURATION_NS:
        raise ValueError(f"{text!r} is longer than {MAX_DURATION_NS // NS_PER_S // 3600}h")
    return milliseconds * NS_PER_MS


def format_duration(duration_ns: int) -> str:
    """How `parse_duration` reads it back: `0s`, `500ms`, `2.5s`, `1m30s`, `1h`. Whole milliseconds; the rest is
    dropped."""
    minutes, rest = divmod(duration_ns // NS_PER_MS, 60_000)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return format_in_minutes(duration_ns)
    return f"{hours}h" + (f"{minutes}m" if minutes else "") + (_format_seconds(rest) if rest else "")


def format_in_minutes(duration_ns: int) -> str:
    """The same without hours: `120m`. Ids of trials are made of these, so that they may never change."""
    milliseconds = duration_ns // NS_PER_MS
    if milliseconds < 1000 and milliseconds:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    if not minutes:
        return _format_seconds(rest)
    return f"{minutes}m" + (_format_seconds(rest) if rest else "")


def _format_seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}".rstrip("0").rstrip(".") + "s"


def parse_size(text: str) -> int:
    """Bytes of `64MiB`, `64m`, `1g`. Raises ValueError with what is allowed."""
    match = re.fullmatch(r"([0-9]{1,15})\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _SIZE_UNITS:
        raise ValueError(f"{text[:MAX_TEXT]!r} is not a size; write a whole number with a unit, such as 64MiB or 1GiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]
