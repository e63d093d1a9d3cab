"""A subject against the default stop timeout of a platform."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.model.verdict import Cause
from stop_harness.records import dataclass


class ComplianceStatus(StrEnum):
    """A subject against a platform's default stop timeout."""

    COMPLIANT = "compliant"
    NON_COMPLIANT = "non_compliant"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Compliance:
    """One scenario against one stop timeout. `headroom_ns` = timeout − longest graceful stop; None if not compliant.

    `cause`: why the stop that decides was not graceful; None: all were, or nobody knows of a cause.
    """

    scenario: str
    default_timeout_ns: int
    status: ComplianceStatus
    reason: str
    headroom_ns: int | None = None
    cause: Cause | None = None
