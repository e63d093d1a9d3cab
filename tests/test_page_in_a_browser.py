"""The report as a browser lays it out: no page is wider than the screen it is read on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import chromium
from stop_harness.model import Advice, Cause, Report, StoredRun, TrialResult, Twin
from stop_harness.renderers import html
from stop_harness.report import build
from stop_harness.scenario.standard_faults import STANDARD_FAULTS
from tests import reports_factory as factory
from tests.reports_factory import Sample, hostile_report, large_report, realistic_report
from tests.test_standard_faults import reported

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
    "made",
    [
        lambda: with_causes(realistic_report()),
        lambda: large_report(300),
        lambda: hostile_report("w" * 500),
        lambda: hostile_report("日本語 " * 40),
        reported,
    ],
    ids=["realistic", "long run", "one long word", "many words", "under faults"],
)
def test_no_page_is_wider_than_its_screen(
    browser: str, tmp_path: Path, made: Callable[[], Report], screen_px: int
) -> None:
    """On a phone, a tablet and a desktop, with everything open that can be opened, in the dark and without script."""
    text = html.render(made())
    page, without_script = tmp_path / "report.html", tmp_path / "without.html"
    page.write_text(text, encoding="utf-8")
    # Another hash is another script's: the browser does not run this one.
    without_script.write_text(text.replace("script-src 'sha256-", "script-src 'sha256-x"), encoding="utf-8")
    assert chromium.page_width(browser, page, screen_px) == screen_px
    assert chromium.page_width(browser, without_script, screen_px, dark=True) == screen_px


def under_every_fault() -> Report:
    """One scenario, under each standard fault."""
    web = factory.scenario(Sample("orders-api-with-a-long-name", "", 1.0, timeouts_s=(10,)))
    twins = [Twin(web.name, item.name) for item in STANDARD_FAULTS]
    scenarios = (web, *(replace(web, name=twin.name, twin=twin) for twin in twins))
    results = tuple(factory.trial(Sample(item.name, "", 1.0), 10) for item in scenarios)
    stored = StoredRun(factory.run_info(), scenarios, tuple(item.observation for item in results), len(results))
    return build.build(stored, tuple(item.verdict for item in results))


@pytest.mark.parametrize("screen_px", SCREENS_PX)
def test_every_standard_fault_is_seen_without_scrolling(browser: str, tmp_path: Path, screen_px: int) -> None:
    """On a phone each scenario is a card; on a desktop the columns are narrow enough."""
    page = tmp_path / "report.html"
    page.write_text(html.render(under_every_fault()), encoding="utf-8")
    assert chromium.hidden_px(browser, page, screen_px, ".scroll:has(.faults)") <= 1  # widths are rounded


@pytest.mark.parametrize("screen_px", SCREENS_PX)
def test_plots_are_read_without_scrolling_and_without_a_magnifying_glass(
    browser: str, tmp_path: Path, screen_px: int
) -> None:
    """A phone has drawings of its own, whose letters are no smaller than those of the others on a desktop."""
    page = tmp_path / "report.html"
    page.write_text(html.render(realistic_report(repeat=6)), encoding="utf-8")
    assert chromium.hidden_px(browser, page, screen_px, ".plot") <= 1
    assert chromium.smallest_letter_px(browser, page, screen_px, ".plot text") >= 7


PRINTED = """(() => {
  const closed = () => document.querySelectorAll(".mend details:not([open])").length;
  for (const element of document.querySelectorAll(".mend details")) element.open = false;
  const all = closed();
  dispatchEvent(new Event("beforeprint"));
  const printed = all - closed();
  dispatchEvent(new Event("afterprint"));
  return closed() === all ? printed : -1;
})()"""


def test_cures_are_on_paper_as_well(browser: str, tmp_path: Path) -> None:
    """Where nobody can open them; afterwards the page is as it was."""
    page = tmp_path / "report.html"
    text = html.render(with_causes(realistic_report()))
    page.write_text(text, encoding="utf-8")
    assert chromium.measured(browser, page, 1280, PRINTED) >= 1
