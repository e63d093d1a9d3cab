"""CSV for spreadsheets: one row a trial, or one row per scenario and stop timeout.

`stop_harness.report.tables` documents the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from stop_harness.model import Report
from stop_harness.report import tables
from stop_harness.wording import one_line


def render(report: Report) -> str:
    """One row a trial."""
    return _csv(tables.TrialRow._fields, tables.trial_rows(report))


def render_summary(report: Report) -> str:
    """One row per scenario and stop timeout."""
    return _csv(tables.SummaryRow._fields, tables.summary_rows(report))


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    """Text on one line, and never a formula.

    A spreadsheet computes a cell that starts with one of these, quoted or not; a leading apostrophe marks it as text
    (OWASP, CSV injection). Image names and log lines are not ours to trust.
    """
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
