"""CSV for spreadsheets: one row a trial, or one row per scenario and stop timeout.

`stop_harness.report.tables` documents the columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stop_harness.model import Report
from stop_harness.report import tables
from stop_harness.wording import one_line

if TYPE_CHECKING:
    import pandas as pd


def render(report: Report) -> str:
    """One row a trial."""
    return _csv(tables.trials_table(report))


def render_summary(report: Report) -> str:
    """One row per scenario and stop timeout."""
    return _csv(tables.summary_table(report))


def _csv(table: pd.DataFrame) -> str:
    safe = table.apply(lambda column: column.map(_cell) if column.dtype in ("str", "object") else column)
    return str(safe.to_csv(index=False, lineterminator="\n"))


def _cell(value: object) -> object:
    """Text on one line, and never a formula.

    A spreadsheet computes a cell that starts with one of these, quoted or not; a leading apostrophe marks it as text
    (OWASP, CSV injection). Image names and log lines are not ours to trust.
    """
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
