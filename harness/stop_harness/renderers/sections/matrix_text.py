"""Scenarios under standard faults, as rows, cells and sentences for every format. Pure."""

from __future__ import annotations

from stop_harness.model import NS_PER_MS, NS_PER_S, ComplianceStatus, Report, Resilience, Status, UnderFault
from stop_harness.records import dataclass
from stop_harness.scenario.standard_faults import STANDARD_FAULTS
from stop_harness.wording import (
    COMPLIANCE_MARKS,
    COMPLIANCE_WORDS,
    OUTCOME_WORDS,
    STATUS_MARKS,
    count_of,
    is_pod,
    one_line,
    seconds,
    timeout,
)

TITLE = "Under standard faults"
KEY = (
    "= ended as expected, ≠ did not, ? inconclusive, · over before the fault, – not tried. Times: what the stop took "
    "more than undisturbed."
)
NOTABLE_NS = 100 * NS_PER_MS
"""Single stops of the same container differ by some 10 ms."""
OVER_BEFORE = "over before it"
NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Cell:
    """One scenario under one fault. `style`: class of the style sheet, empty for what says nothing. `cost`: `+0.65 s`,
    empty where not known. `detail`: what it broke, or why it was not tried, a sentence; empty: neither. `trial_id`: of
    the stop to look at, empty without one."""

    fault: str
    mark: str
    style: str
    outcome: str
    took: str
    cost: str
    detail: str
    trial_id: str
    cost_ns: int = 0

    @property
    def notable(self) -> bool:
        """Whether it ended well and took more time than a busy machine explains."""
        return self.style == Status.PASS and self.cost_ns >= NOTABLE_NS


@dataclass(frozen=True)
class Row:
    """One scenario. `undisturbed`: `graceful, 0.64 s`. `worst_mark`, `worst_word`, `worst_style`: its compliance in the
    worst stop. `sentence`: how it stands undisturbed, and under which faults it stands so, too."""

    scenario: str
    mark: str
    style: str
    undisturbed: str
    worst_mark: str
    worst_word: str
    worst_style: str
    sentence: str
    cells: tuple[Cell, ...]

    @property
    def ends(self) -> list[tuple[str, str, str]]:
        """(mark, style, text) for each way in which stops did not end as expected, but for what the undisturbed one
        shows, too: `killed under a (> +2.1 s), b (> +2.0 s)`."""
        found: dict[tuple[str, str, str], list[str]] = {}
        for cell in self.broken:
            cost = f" ({cell.cost})" if cell.cost else ""
            found.setdefault((cell.mark, cell.style, cell.outcome), []).append(f"{cell.fault}{cost}")
        return [(mark, style, f"{outcome} under {', '.join(names)}") for (mark, style, outcome), names in found.items()]

    @property
    def costs(self) -> str:
        """`paused +0.62 s, cpu-starved +0.31 s`: what took noticeably more time and ended well, the most first."""
        told = sorted((cell for cell in self.cells if cell.notable), key=lambda cell: -cell.cost_ns)
        return ", ".join(f"{cell.fault} {cell.cost}" for cell in told)

    @property
    def broken(self) -> tuple[Cell, ...]:
        """Those that did not end as expected, and not as the undisturbed stop did."""
        return tuple(cell for cell in self.cells if cell.style in {Status.FAIL, Status.INCONCLUSIVE} and cell.detail)


def rows(report: Report) -> list[Row]:
    """One for each scenario; empty where no fault was asked for."""
    pods = {scenario.name for scenario in report.scenarios if is_pod(scenario)}
    return [_row(item, of_pod=item.scenario in pods) for item in report.resilience]


def columns(found: list[Row]) -> list[str]:
    """The faults of all rows, in the order of docs/faults.md; a fault of which there are several has them all."""
    names = dict.fromkeys(cell.fault for row in found for cell in row.cells)
    order = {fault.name: place for place, fault in enumerate(STANDARD_FAULTS)}

    def place(name: str) -> int:
        known = (at for fault, at in order.items() if name == fault or name.startswith(f"{fault}-"))
        return next(known, len(order))

    return sorted(names, key=place)


def headline(report: Report) -> str:
    """`19 stops under standard faults: 1 of 2 compliant scenarios stay so under each; …`; empty where none was asked
    for."""
    tried = [row for row in report.resilience if row.tried]
    if not report.resilience:
        return ""
    if not tried:
        return "None of the standard faults that were asked for could be made."
    missed = sum(cell.missed for row in tried for cell in row.tried)
    stops = sum(cell.stops for row in tried for cell in row.tried) - missed
    if missed and not stops:
        each = "it" if missed == 1 else "each"
        return f"{count_of(missed, 'stop')} under standard faults, and {each} was over before its fault."
    said = f"{count_of(stops, 'stop')} under standard faults"
    said += f", and {missed} more that {'was' if missed == 1 else 'were'} over before theirs" if missed else ""
    met = [row for row in tried if any(cell.stops > cell.missed for cell in row.tried)]
    before = [row for row in met if row.undisturbed.status is ComplianceStatus.COMPLIANT]
    kept = [row for row in before if row.worst.status is ComplianceStatus.COMPLIANT]
    each = "each" if not missed else f"each that {'it' if len(before) == 1 else 'they'} met"
    if not before:
        return f"{said}; no scenario is compliant without them."
    if len(kept) == len(before):
        who = "the scenario stays" if len(before) == 1 else f"all {len(before)} compliant scenarios stay"
        return f"{said}: {who} compliant under {each}."
    others = ", ".join(_worst(row) for row in before if row not in kept)
    if len(before) == 1:
        return f"{said}: the scenario does not stay compliant under {each}; the worst is {others}."
    return f"{said}: {len(kept)} of {len(before)} compliant scenarios stay so under {each}; the worst are {others}."


def _worst(row: Resilience) -> str:
    """`web under paused`."""
    fault = next((cell.fault for cell in row.faults if cell.compliance is row.worst), "no fault")
    return f"{one_line(row.scenario)} under {one_line(fault)}"


def not_tried(report: Report) -> list[tuple[str, str, str]]:
    """(faults, why, scenarios) of what was not tried, in the order in which it comes up: equal reasons together."""
    faults: dict[tuple[str, str], list[str]] = {}
    for row in report.resilience:
        for cell in row.faults:
            if cell.not_tried is not None:
                faults.setdefault((one_line(cell.fault), one_line(cell.not_tried)), []).append(one_line(row.scenario))
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (fault, why), scenarios in faults.items():
        found.setdefault((why, tuple(scenarios)), []).append(fault)
    every = tuple(one_line(row.scenario) for row in report.resilience)
    return [
        (", ".join(names), why, "" if scenarios == every else ", ".join(scenarios))
        for (why, scenarios), names in found.items()
    ]


def as_undisturbed(report: Report) -> frozenset[str]:
    """Names of copies that ended as badly as their undisturbed twins and break no other rule: told once, with those."""
    return frozenset(
        cell.scenario for row in report.resilience for cell in row.faults if _same(cell, row) and cell.stops
    )


def _same(cell: UnderFault, row: Resilience) -> bool:
    if cell.status is Status.PASS or cell.broke:
        return False
    return (cell.status, cell.outcome) == (row.status, row.outcome)


def _row(item: Resilience, *, of_pod: bool) -> Row:
    took = "" if item.duration_ns is None else f", {seconds(item.duration_ns)}"
    return Row(
        scenario=one_line(item.scenario),
        mark=STATUS_MARKS[item.status] if item.status else "–",
        style=item.status.value if item.status else "",
        undisturbed=f"{OUTCOME_WORDS[item.outcome]}{took}" if item.outcome else "not in this run",
        worst_mark=COMPLIANCE_MARKS[item.worst.status],
        worst_word=COMPLIANCE_WORDS[item.worst.status],
        worst_style=item.worst.status.value,
        sentence=_as_expected(item) if of_pod else _compliance(item),
        cells=tuple(_cell(cell, item) for cell in item.faults),
    )


def _cell(cell: UnderFault, row: Resilience) -> Cell:
    fault = one_line(cell.fault)
    if cell.not_tried is not None:
        return Cell(fault, "–", "", NOT_TRIED, "", "", one_line(cell.not_tried), "")
    if cell.status is None or cell.outcome is None:
        return Cell(fault, "–", "", "not in this run", "", "", "", "")
    trial_id = one_line(cell.trial_id)
    if cell.too_fast:
        return Cell(fault, "·", "", OVER_BEFORE, "", "", "", trial_id)
    more = "> " if cell.cut_off else ""
    took = "" if cell.duration_ns is None else f"{more}{seconds(cell.duration_ns)}"
    cost = "" if cell.cost_ns is None else f"{more}{_signed(cell.cost_ns)}"
    detail = ""
    if cell.status is not Status.PASS:
        rules = f" [{', '.join(cell.broke)}]" if cell.broke else ""
        detail = "" if _same(cell, row) else f"{one_line(cell.reason)}{rules}"
    return Cell(
        fault,
        STATUS_MARKS[cell.status],
        cell.status.value,
        OUTCOME_WORDS[cell.outcome],
        took,
        cost,
        detail,
        trial_id,
        cell.cost_ns or 0,
    )


def _signed(duration_ns: int) -> str:
    """`+0.65 s`, `−0.02 s`; differences below a hundredth of a second are none."""
    text = f"{abs(duration_ns) / NS_PER_S:.{2 if abs(duration_ns) < NS_PER_S else 1}f} s"
    return f"{'+' if duration_ns >= 0 or not text.strip('0. s') else '−'}{text}"


# ── Sentences ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _compliance(item: Resilience) -> str:
    """`Compliant undisturbed, 29.4 s of 30 s to spare; also under a, b; the worst is a, 28.7 s to spare.`"""
    own = item.undisturbed
    spare = f", {seconds(own.headroom_ns)} of {timeout(own.default_timeout_ns)} to spare" if own.headroom_ns else ""
    parts = [f"{_capital(COMPLIANCE_WORDS[own.status])} undisturbed{spare}"]
    counted = [cell for cell in item.tried if cell.compliance is not None and not cell.too_fast]
    words = {
        ComplianceStatus.COMPLIANT: "also under" if own.status is ComplianceStatus.COMPLIANT else "compliant under",
        ComplianceStatus.NON_COMPLIANT: "not under" if own.status is ComplianceStatus.COMPLIANT else "nor under",
        ComplianceStatus.INCONCLUSIVE: "inconclusive under",
    }
    for status, word in words.items():
        names = [one_line(cell.fault) for cell in counted if cell.compliance and cell.compliance.status is status]
        if names:
            parts.append(f"{word} {_listed(names, item)}")
    parts += _over_before(item)
    worst = next((cell for cell in counted if cell.compliance is item.worst), None)
    if worst is not None and item.worst.headroom_ns is not None:
        parts.append(f"the worst is {one_line(worst.fault)}, {seconds(item.worst.headroom_ns)} to spare")
    return f"{'; '.join(parts)}."


def _as_expected(item: Resilience) -> str:
    """The same of a pod, which is asked for its own grace period."""
    counted = [cell for cell in item.tried if cell.status is not None and not cell.too_fast]
    words = {Status.PASS: "as expected under", Status.FAIL: "not under", Status.INCONCLUSIVE: "inconclusive under"}
    parts = []
    for status, word in words.items():
        names = [one_line(cell.fault) for cell in counted if cell.status is status]
        if names:
            parts.append(f"{word} {_listed(names, item)}")
    parts += _over_before(item)
    return f"{_capital('; '.join(parts))}." if parts else "No stop under a fault says anything."


def _listed(names: list[str], item: Resilience) -> str:
    """All of several need no names."""
    met = sum(cell.stops > cell.missed for cell in item.tried)
    that_it_met = " that it met" if any(cell.too_fast for cell in item.tried) else ""
    return f"all {met} faults{that_it_met}" if len(names) == met > 2 else ", ".join(names)


def _over_before(item: Resilience) -> list[str]:
    """`over before it: second-signal, stop-twice (1 of 3 stops)`: what the stop did not meet, or not always."""
    names = [
        one_line(cell.fault) + ("" if cell.too_fast else f" ({cell.missed} of {count_of(cell.stops, 'stop')})")
        for cell in item.tried
        if cell.missed
    ]
    return [f"{OVER_BEFORE}: {', '.join(names)}"] if names else []


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
