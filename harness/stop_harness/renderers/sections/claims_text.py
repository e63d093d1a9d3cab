"""What the stops show about all stops, as rows and words for every format. Pure."""

from __future__ import annotations

from stop_harness.model import ClaimStatus, Report, Status
from stop_harness.records import dataclass
from stop_harness.wording import one_line, timeout, timeouts_in_table

WORDS = {
    ClaimStatus.SHOWN: "shown",
    ClaimStatus.NOT_SHOWN: "not shown",
    ClaimStatus.REFUTED: "refuted",
}
STYLES = {ClaimStatus.SHOWN: Status.PASS, ClaimStatus.NOT_SHOWN: Status.INCONCLUSIVE, ClaimStatus.REFUTED: Status.FAIL}
MARKS = {ClaimStatus.SHOWN: "✔", ClaimStatus.NOT_SHOWN: "?", ClaimStatus.REFUTED: "✘"}


@dataclass(frozen=True)
class ClaimRow:
    """One statement. `place`: its stop timeout, and the stop moment where that is not readiness."""

    scenario: str
    place: str
    status: ClaimStatus
    statement: str

    @property
    def mark(self) -> str:
        return MARKS[self.status]

    @property
    def style(self) -> str:
        """Class of the style sheet: the colour of a trial's status."""
        return STYLES[self.status].value

    @property
    def word(self) -> str:
        return WORDS[self.status]


def rows(report: Report, scenario: str | None = None) -> list[ClaimRow]:
    """Statements worth a row: all that were asked for (`--until-sure`), else those on more than one stop. `scenario`
    None: of every one."""
    limit = timeouts_in_table(report)
    return [
        ClaimRow(
            scenario=one_line(claim.scenario),
            place=limit(claim.scenario, claim.stop_timeout_ns)
            + (f", stopped {timeout(claim.stop_after_ns)} after ready" if claim.stop_after_ns else ""),
            status=claim.status,
            statement=claim.statement,
        )
        for claim in report.claims
        if scenario in {None, claim.scenario} and (report.run.until_sure or claim.stops > 1)
    ]
