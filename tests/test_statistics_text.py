"""The statistics in every format."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import jsonschema
import pytest

from stop_harness.model import Percentile, Report, Share, StillRunning
from stop_harness.renderers import html, markdown, terminal
from stop_harness.renderers.plots import plots
from stop_harness.renderers.results import results_json
from stop_harness.renderers.sections import statistics_text
from tests.reports_factory import Sample, nanoseconds, realistic_report, report_of, scenario, trial
from tests.test_renderers import HOSTILE


def repeated(name: str = "web", needs_s: float | None = 5.0, stops: int = 20) -> Report:
    """One scenario, stopped at 2 s once and at 30 s many times."""
    sample = Sample(name, "", needs_s, timeouts_s=(2, 30))
    results = [trial(sample, 2), *(trial(sample, 30, repetition) for repetition in range(1, stops + 1))]
    return report_of(results, (scenario(sample, stops),))


def test_json_holds_the_statistics_of_every_scenario() -> None:
    """Counts, curve, percentiles and shares, valid against the schema."""
    document = json.loads(results_json.render(repeated()))
    jsonschema.validate(document, results_json.schema())
    (item,) = document["statistics"]
    assert (item["measured"], item["cut_off"], item["left_out"]) == (20, [{"after_s": 2.0, "stops": 1}], {})
    assert [value["percent"] for value in item["percentiles"]] == [50, 90, 95, 99]
    assert item["percentiles"][0]["low_s"] <= item["percentiles"][0]["duration_s"] <= item["percentiles"][0]["high_s"]
    assert (item["graceful"][1]["graceful"], item["graceful"][1]["stops"]) == (20, 20)
    assert item["at_platform_defaults"][-1] == {
        "after_s": 30.0,
        "share": 0.0,
        "low": 0.0,
        "high": pytest.approx(0.2, abs=0.1),
    }


def test_people_read_percentiles_with_their_intervals() -> None:
    """The same words in the Markdown, on the page, and after `check --repeat`."""
    made = repeated()
    assert "50 %: 5.0 s (5.0 s)" in markdown.render(made)
    page = html.render(made)
    assert "20 measured, 1 cut off at 2 s" in page
    assert "20 of 20 (83 to 100 %)" in page
    text = " ".join(terminal.check_verdict(made, width=100).split())
    assert "stops 20 measured, 1 cut off at 2 s: half ended within 5.0 s" in text
    assert "graceful 20 of 20 (83 to 100 %) at 30 s." in text


def test_a_run_without_repetitions_has_no_section_of_statistics() -> None:
    """Every stop once: the table of trials says it all."""
    made = realistic_report()
    assert statistics_text.rows(made) == []
    drawn = plots.render_all(made)
    assert "Shutdown durations</h2>" not in html.render(made, drawn)
    assert "### Shutdown durations" not in markdown.render(made)
    assert plots.SURVIVAL not in drawn


def test_the_page_draws_plots_once() -> None:
    """Plots that have been drawn for their files are taken for the page."""
    page = html.render(repeated(), {"outcomes": '<svg width="1">mine</svg>'})
    assert "mine" in page
    assert page.count("<svg ") == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_names_are_text_in_the_statistics_too(text: str) -> None:
    """Neither the plot nor the table breaks."""
    made = repeated(text, stops=6)
    drawn = plots.render_all(made)
    ET.fromstring(drawn[plots.SURVIVAL])
    assert "<img" not in html.render(made, drawn)
    rows = [line for line in markdown.render(made).splitlines() if " measured" in line]
    assert len(rows) == 1


@pytest.mark.parametrize("needs_s", [None, 0.00001, 5.0, 3000.0])
@pytest.mark.parametrize("stops", [1, 4, 5, 50])
def test_the_curve_is_drawn_whatever_the_durations(needs_s: float | None, stops: int) -> None:
    """All cut off, too quick for the axis, ordinary, longer than every stop timeout; from five stops on."""
    drawn = plots.render_all(repeated(needs_s=needs_s, stops=stops))
    assert (plots.SURVIVAL in drawn) == (stops + 1 >= 5)


def test_many_curves_are_limited_and_the_plot_says_so() -> None:
    """Twenty-four panels; the table has them all."""
    samples = tuple(Sample(f"s{number}", "", 1.0, timeouts_s=(10,)) for number in range(30))
    drawn = plots.render_all(realistic_report(samples, repeat=5))[plots.SURVIVAL]
    assert "first 24 of 30 scenarios" in drawn


def test_an_unknown_bound_is_not_a_number() -> None:
    """Words instead of NaN, infinity or a dash that could mean nothing."""
    five, six = nanoseconds(5), nanoseconds(6)
    assert statistics_text.percentile(Percentile(50, five, five, six)) == "5.0 s (5.0 to 6.0 s)"
    assert statistics_text.percentile(Percentile(95, five, five, None)) == "5.0 s (5.0 s or more)"
    assert statistics_text.percentile(Percentile(99, None, six, None)) == "not reached (6.0 s or more)"
    assert statistics_text.percentile(Percentile(50, five, None, None)) == "5.0 s"
    assert statistics_text.still_running(StillRunning(six, None, None, None)) == "not known"
    assert statistics_text.share(Share(1, 1, 0.025, 1)) == "1 of 1"
    assert statistics_text.share(Share(999, 1000, 0.9945, 0.99997)) == "999 of 1,000 (99 to >99 %)"
