"""The report as a browser lays it out: no page is wider than the screen it is read on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import chromium
from stop_harness.model import Advice, Cause, Report, TrialResult
from stop_harness.renderers import html
from tests.reports_factory import hostile_report, large_report, realistic_report

pytestmark = pytest.mark.oracle

SCREENS_PX = (390, 768, 1280)


@pytest.fixture(scope="module")
def browser() -> str:
    found = chromium.find()
    if found is None:
        pytest.skip("no Chromium is installed")
    return found


def with_causes(report: Report) -> Report:
    """The same report with a cause and its cure in each trial, with lines to copy that are long."""
    cause = Cause("unknown", "PID 1 is `" + "very-long-name/" * 12 + "`", (Advice("Do it.", lines="x" * 300),))
    results = tuple(TrialResult(item.observation, replace(item.verdict, cause=cause)) for item in report.results)
    return replace(report, results=results)


@pytest.mark.parametrize("screen_px", SCREENS_PX)
@pytest.mark.parametrize(
    "report",
    [with_causes(realistic_report()), large_report(300), hostile_report("w" * 500), hostile_report("日本語 " * 40)],
    ids=["realistic", "long run", "one long word", "many words"],
)
def test_no_page_is_wider_than_its_screen(browser: str, tmp_path: Path, report: Report, screen_px: int) -> None:
    """On a phone, a tablet and a desktop, with everything open that can be opened, in the dark and without script."""
    text = html.render(report)
    page, without_script = tmp_path / "report.html", tmp_path / "without.html"
    page.write_text(text, encoding="utf-8")
    # Another hash is another script's: the browser does not run this one.
    without_script.write_text(text.replace("script-src 'sha256-", "script-src 'sha256-x"), encoding="utf-8")
    assert chromium.page_width(browser, page, screen_px) == screen_px
    assert chromium.page_width(browser, without_script, screen_px, dark=True) == screen_px
