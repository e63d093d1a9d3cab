"""The form of a rule. Pure."""

from __future__ import annotations

from stop_harness.model import Severity
from stop_harness.records import dataclass


@dataclass(frozen=True)
class Rule:
    """A requirement with its id, as listed in `docs/rules.md`."""

    id: str
    severity: Severity
    requirement: str
    why: str
    source: str
    example: str
