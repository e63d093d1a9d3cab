"""Whole tasks as lines for a terminal. Pure."""

from __future__ import annotations

from stop_harness.model import Outcome, Severity
from stop_harness.renderers.sections import task_text
from stop_harness.renderers.sections.columns import DIM, GREEN, RED, YELLOW, Paint, columns_of, fit, hanging

MARK = " ← fix first"
"""Beside the end of the container whose stop is worth mending first. Names and ends are cut, this is not."""


def task(section: task_text.TaskSection, width: int, paint: Paint) -> list[str]:
    """The containers of a task in the order of their stop, as a table; then by what, the chain, what to mend first."""
    heads = ("container", "after", "took", "share", "limit", "ended")
    cells = [(row.name, row.after, row.took, row.share, row.limit, row.ended) for row in section.rows]
    widths = [max(columns_of(line[column]) for line in (heads, *cells)) for column in range(5)]
    for_ended = max([24, *(columns_of(row.ended + MARK) for row in section.rows if row.fix_first)])
    widths[0] = min(widths[0], max(9, width - sum(widths[1:]) - 12 - for_ended))
    lines = ["", paint("  " + "  ".join([fit(heads[0], widths[0]), *_right(heads[1:5], widths[1:]), heads[5]]), DIM)]
    for row, line in zip(section.rows, cells, strict=True):
        mark = MARK if row.fix_first else ""
        colour = DIM if row.outcome is None else GREEN if row.outcome is Outcome.GRACEFUL else RED
        text = "  ".join([fit(line[0], widths[0]), *_right(line[1:5], widths[1:])])
        left = width - columns_of(text) - 4 - columns_of(mark)
        ended = row.ended if columns_of(row.ended) <= left else fit(row.ended, left)
        lines.append(f"  {text}  {paint(ended + mark, colour)}")
    lines += hanging("ended by", section.ended_by, width) if section.ended_by else []
    lines += hanging("budget" if section.of_pod else "chain", section.chain, width)
    return lines + (hanging("fix first", section.fix_first, width, paint, YELLOW) if section.fix_first else [])


def _right(cells: tuple[str, ...], widths: list[int]) -> list[str]:
    return [" " * (wanted - columns_of(cell)) + cell for cell, wanted in zip(cells, widths, strict=True)]


def summary(section: task_text.TaskSection, width: int, paint: Paint) -> list[str]:
    """`task  web: Each container's own stop timeout: 3 containers in 6.5 s. Fix first: proxy: …`"""
    first = f" Fix first: {section.fix_first}" if section.fix_first else ""
    return hanging(section.kind, f"{section.scenario}: {section.headline}{first}", width, paint, DIM)


def definition(findings: tuple[task_text.FindingText, ...], width: int, paint: Paint) -> list[str]:
    """What the task definition shows by itself."""
    colours = {Severity.ERROR: RED, Severity.WARNING: YELLOW, Severity.NOTE: DIM}
    return [
        line
        for item in findings
        for line in hanging(item.severity, f"{item.text} [{item.rule}]", width, paint, colours[item.severity])
    ]
