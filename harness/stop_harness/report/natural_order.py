"""The order of names in a report. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

NAMES_KEPT = 4096
"""A run sorts each of its trials by the name of its scenario."""


@lru_cache(maxsize=NAMES_KEPT)
def natural(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Sort key under which `drains-5s` stands before `drains-15s`; the name itself breaks ties."""
    parts = re.split(r"([0-9]+)", name)
    return tuple(
        (int(part) if part.isdigit() and part.isascii() and len(part) < 20 else 0, part) for part in parts
    ), name
