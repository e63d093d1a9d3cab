"""Waivers as they are written. Pure."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from stop_harness.model import Outcome, Waiver
from stop_harness.scenario.values import Section


def _day(given: object) -> date:
    """YAML and TOML have dates of their own; a number would else be taken for seconds since 1970."""
    if isinstance(given, date) and not isinstance(given, datetime):
        return given
    try:
        return date.fromisoformat(given if isinstance(given, str) else "")
    except ValueError:
        raise ValueError(f"{given} is no day; a date such as 2026-12-31 is needed") from None


Day = Annotated[date, BeforeValidator(_day)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class WaiverSection(Section):
    """A known failure of this scenario that keeps no run from passing until a day."""

    reason: Words = Field(description="Why it is let pass, for those who read the report.")
    expires: Day = Field(description="The last day on which it holds, in UTC, such as 2026-12-31.")
    container: Words | None = Field(None, description="Covers this container of a task, project or pod. Default: any.")
    outcome: Outcome | None = Field(None, strict=False, description="The outcome that is known.")
    rule: Words | None = Field(None, description="The rule that is known to be broken.")
    cause: Words | None = Field(None, description="The cause that is known.")

    @model_validator(mode="after")
    def _says_what_is_known(self) -> WaiverSection:
        if self.outcome is None and self.rule is None and self.cause is None:
            raise ValueError("say which failure is known: `outcome`, `rule` or `cause`")
        if self.outcome is Outcome.INCONCLUSIVE:
            raise ValueError("`outcome: inconclusive` is doubt, and a waiver covers failures only")
        return self

    def made(self, place: str, scenario: str | None) -> Waiver:
        """The waiver, which is written at this place."""
        return Waiver(
            reason=" ".join(self.reason.split()),
            expires=self.expires.isoformat(),
            place=place,
            scenario=scenario,
            container=self.container,
            outcome=self.outcome,
            rule=self.rule,
            cause=self.cause,
        )
