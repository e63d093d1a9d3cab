"""Durations and sizes as people write them: `500ms`, `2s`, `1m30s`, `64MiB`."""

from __future__ import annotations

import re
from fractions import Fraction

from harness.model import NS_PER_S

_DURATION_UNITS = {"ms": Fraction(1, 1000), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600)}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
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
    if not _DURATION.fullmatch(stripped):
        if stripped.startswith("-"):
            raise ValueError(f"{text!r} is negative; a duration is 0 or more, such as 500ms, 2s or 1m30s")
        raise ValueError(f"{text!r} is not a duration; write a number with a unit, such as 500ms, 2s or 1m30s")
    parts = _DURATION_PART.findall(stripped)
    return int(sum(Fraction(number) * _DURATION_UNITS[unit] for number, unit in parts) * NS_PER_S)


def format_duration(duration_ns: int) -> str:
    """The shortest way to write it that `parse_duration` reads back to the millisecond: `0s`, `500ms`, `1m30s`."""
    milliseconds = duration_ns // 1_000_000
    if milliseconds % 1000:
        return f"{milliseconds}ms" if milliseconds < 1000 else f"{milliseconds / 1000:g}s"
    seconds = milliseconds // 1000
    minutes, rest = divmod(seconds, 60)
    if minutes and rest:
        return f"{minutes}m{rest}s"
    return f"{minutes}m" if minutes else f"{seconds}s"


def parse_size(text: str) -> int:
    """Bytes of `64MiB`, `64m`, `1g`. Raises ValueError with what is allowed."""
    match = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _SIZE_UNITS:
        raise ValueError(f"{text!r} is not a size; write a whole number with a unit, such as 64MiB or 1GiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]
