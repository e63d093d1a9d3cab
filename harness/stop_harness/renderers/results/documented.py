"""What the sections of results.json share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WarningDocument:
    """A doubt about the run as a whole, with what to do about it."""

    rule: str
    message: str
    advice: str
