"""Scenarios under standard faults, on a terminal. Pure."""

from __future__ import annotations

from stop_harness.model import Report, Status
from stop_harness.renderers.sections import matrix_text
from stop_harness.renderers.sections.columns import DIM, GREEN, RED, YELLOW, Paint, columns_of, fit_middle, hanging

_COLOURS = {Status.PASS.value: GREEN, Status.FAIL.value: RED, Status.INCONCLUSIVE.value: YELLOW}
_NAME_WIDTH = 26


def summary(report: Report, width: int, paint: Paint) -> list[str]:
    """Of a run: a sentence for each scenario, what the faults broke and cost, and what was not tried. Why something
    broke stands with the trials that failed."""
    lines = []
    for row in matrix_text.rows(report):
        lines += hanging("under faults", f"{row.scenario}: {row.sentence}", width)
        for mark, style, text in row.ends:
            lines += [f"  {line}" for line in hanging(mark, text, width - 2, paint, _COLOURS[style])]
        if row.costs:
            lines += [f"  {line}" for line in hanging("took more", row.costs, width - 2)]
    for faults, why, scenarios in matrix_text.not_tried(report):
        who = f" ({scenarios})" if scenarios else ""
        lines += hanging(matrix_text.NOT_TRIED, f"{faults}: {why}{who}", width, paint, DIM)
    return lines


def table(row: matrix_text.Row, width: int, paint: Paint) -> list[str]:
    """Of one scenario: a line for each fault, with what it took and what it cost."""
    told = [cell for cell in row.cells if cell.outcome != matrix_text.NOT_TRIED]
    name = min(max((columns_of(cell.fault) for cell in told), default=0), _NAME_WIDTH)
    outcome = max((len(cell.outcome) for cell in told), default=0)
    took = max((len(cell.took) for cell in told), default=0)
    lines = hanging("under faults", row.sentence, width) if told else []
    for cell in told:
        label = fit_middle(cell.fault, name)
        label += " " * (name - columns_of(label))
        text = f"{cell.outcome:<{outcome}}  {cell.took:>{took}}  {cell.cost}"
        lines.append(f"    {paint(cell.mark, _COLOURS.get(cell.style, DIM))} {label}  {text}".rstrip())
        if cell.detail:
            lines += [f"  {line}" for line in hanging("  ", cell.detail, width - 2)]
    for cell in row.cells:
        if cell.outcome == matrix_text.NOT_TRIED:
            lines += hanging(matrix_text.NOT_TRIED, f"{cell.fault}: {cell.detail}", width, paint, DIM)
    return lines
