"""Times as an engine writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from stop_harness.errors import EngineError
from stop_harness.model import NS_PER_S


def timestamp_ns(text: str) -> int:
    """Nanoseconds since the epoch of `2026-11-23T11:32:00.123456789Z` (or with an offset, Podman)."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", text)
    if match is None:
        raise EngineError(f"the engine gave a time of an unknown form: {text!r}")
    whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).astimezone(UTC)
    return int(whole.timestamp()) * NS_PER_S + int((match[2] or "0").ljust(9, "0"))
