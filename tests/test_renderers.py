"""Every format of the report: what it must hold, and that no text from a container or a scenario file breaks it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import tracemalloc
import xml.etree.ElementTree as ET
from dataclasses import is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stop_harness import wording
from stop_harness.model import (
    NS_PER_S,
    Cause,
    Finding,
    HookRecord,
    Outcome,
    Report,
    Request,
    RequestFate,
    Severity,
    Status,
    TrafficKind,
    TrafficRecord,
    TrialResult,
    Vantage,
)
from stop_harness.renderers import csv_table, html, html_trials, junit, markdown, terminal
from stop_harness.renderers.plots import marks, plots
from stop_harness.renderers.results import results_json
from stop_harness.renderers.sections import columns
from tests.reports_factory import (
    SAMPLES,
    Sample,
    hostile_report,
    large_report,
    realistic_report,
    report_of,
    scenario,
    trial,
)

EMPTY = report_of([], ())
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>&amp;",
    "]]>\x00\x0b\ufffe\ud800",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J",
    "=cmd|'/C calc'!A0",
    "a|b\n| c | `d` **e** @team",
    "{{ 7 * 7 }} {% raw %}",
    "[bold]x[/bold] $x^2$ \\frac",
    "\u202egpj.exe\u2066",
    "日本語 " * 40,
    "",
)

any_text = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=()), max_size=60))


@pytest.fixture(scope="module")
def realistic() -> Report:
    return realistic_report()


@pytest.fixture(scope="module")
def page(realistic: Report) -> str:
    return html.render(realistic)


def sample_named(name: str) -> Sample:
    return next(sample for sample in SAMPLES if sample.name == name)


def report_on(name: str) -> Report:
    """A report on one sample, as `check` makes it."""
    sample = sample_named(name)
    return report_of([trial(sample, limit) for limit in sample.timeouts_s], (scenario(sample),))


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("made", [realistic_report(repeat=2), EMPTY], ids=["realistic", "empty"])
def test_the_json_document_is_valid_against_its_schema(made: Report) -> None:
    """The schema is generated from the records that write the document."""
    schema = results_json.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(results_json.render(made)), schema)


def test_the_schema_refuses_an_unknown_outcome(realistic: Report) -> None:
    """Outcomes and statuses are enumerations, not any string."""
    document = json.loads(results_json.render(realistic))
    document["trials"][0]["outcome"] = "splendid"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, results_json.schema())


def test_the_schema_describes_its_fields() -> None:
    """A reader of the schema learns what null means without reading Python."""
    definitions = results_json.schema()["$defs"]
    assert (
        "null where one end is missing"
        in definitions["TrialDocument"]["properties"]["shutdown_duration_s"]["description"]
    )
    assert all("description" in definition for definition in definitions.values())


def test_every_record_of_the_document_has_a_docstring() -> None:
    """The records are the documentation of the format."""
    records = [item for item in vars(results_json).values() if is_dataclass(item) and isinstance(item, type)]
    assert len(records) >= 12
    assert all(record.__doc__ for record in records if record.__module__ == results_json.__name__)


def test_the_json_summary_counts_the_trials(realistic: Report) -> None:
    """Statuses and outcomes each add up to the trials that were run."""
    summary = json.loads(results_json.render(realistic))["summary"]
    assert summary["trials_run"] == summary["pass"] + summary["fail"] + summary["inconclusive"] == 45
    assert sum(summary["outcomes"].values()) == 45
    assert summary["outcomes"].keys() == {outcome.value for outcome in Outcome}


def test_event_times_count_from_the_stop_signal_on_the_same_clock(realistic: Report) -> None:
    """The engine's clock from its kill event; the harness's clock, which saw no signal, from the stop request."""
    trials = json.loads(results_json.render(realistic))["trials"]
    timeline = next(item["timeline"] for item in trials if item["trial_id"] == "drains-5s.t30s.r1")
    by_event = {event["event"]: event for event in timeline}
    assert (by_event["signal_sent"]["at_s"], by_event["signal_sent"]["signal"]) == (0, "SIGTERM")
    assert by_event["exited"]["at_s"] == pytest.approx(5.036)
    assert by_event["stop_returned"]["relative_to"] == "stop_requested"


@pytest.mark.parametrize("at_once", [1, 7, 45, 500])
def test_the_json_is_the_same_however_many_trials_are_made_at_once(
    realistic: Report, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces that are put together are the text that all of it at once would be."""
    monkeypatch.setattr(results_json, "TRIALS_AT_ONCE", at_once)
    text = results_json.render(realistic)
    document = results_json.document(realistic)
    assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2) + "\n"
    assert json.loads(text) == json.loads(json.dumps(document))
    assert len(document["trials"]) == 45


def test_the_pieces_of_the_json_are_made_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes them holds a part of the file at a time, not the file."""
    made = large_report(1000)
    monkeypatch.setattr(results_json, "TRIALS_AT_ONCE", 20)
    size = len(results_json.render(made).encode())
    tracemalloc.start()
    try:
        longest = max(len(piece) for piece in results_json.pieces(made))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert longest < size / 10
    assert peak < size / 2


def test_unknown_numbers_are_null_and_never_nan(realistic: Report) -> None:
    """NaN is not JSON."""
    text = results_json.render(realistic)
    assert "NaN" not in text
    trials = json.loads(text, parse_constant=pytest.fail)["trials"]
    assert next(item for item in trials if item["outcome"] == "inconclusive")["shutdown_duration_s"] is None


@given(any_text)
@settings(max_examples=30, deadline=None)
def test_json_keeps_any_text_as_it_was(text: str) -> None:
    """What was recorded comes back unchanged, and the file can be written as UTF-8."""
    document = json.loads(results_json.render(hostile_report(text)).encode("utf-8"))
    assert document["trials"][0]["log_tail"] == text
    assert document["trials"][0]["reason"] == text


# ── JUnit ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_junit_has_a_suite_a_scenario_and_a_case_a_trial(realistic: Report) -> None:
    """Counts in the root, the suites and the cases agree."""
    root = ET.fromstring(junit.render(realistic))
    assert len(root.findall("testsuite")) == 18
    assert len(root.findall(".//testcase")) == 46 == int(root.get("tests", ""))
    assert len(root.findall(".//failure")) == realistic.count(Status.FAIL) == int(root.get("failures", ""))
    assert len(root.findall(".//error")) == realistic.count(Status.INCONCLUSIVE) == int(root.get("errors", ""))
    assert len(root.findall(".//skipped")) == 1 == sum(int(suite.get("skipped", "")) for suite in root)


def test_junit_tells_failure_from_inconclusive(realistic: Report) -> None:
    """A failure is typed by its outcome, doubt is an error of type inconclusive."""
    root = ET.fromstring(junit.render(realistic))
    failure = root.find("testsuite[@name='crash-on-stop']/testcase/failure")
    error = root.find("testsuite[@name='never-ready']/testcase/error")
    assert failure is not None
    assert error is not None
    assert (failure.get("type"), error.get("type")) == ("crashed", "inconclusive")


def test_junit_names_a_case_by_its_stop_timeout(realistic: Report) -> None:
    """The name is stable from run to run; the class name is the scenario."""
    case = ET.fromstring(junit.render(realistic)).find(".//testcase[@classname='drains-5s']")
    assert case is not None
    assert case.get("name") == "stop timeout 2 s, repetition 1"
    assert case.findtext("system-out") == "SIGTERM received, draining\ndrained\n"


@given(any_text)
@settings(max_examples=60, deadline=None)
def test_junit_is_well_formed_xml_whatever_the_text(text: str) -> None:
    """Characters that XML 1.0 cannot hold are replaced; the rest is escaped."""
    root = ET.fromstring(junit.render(hostile_report(text)).encode("utf-8"))
    assert len(root.findall(".//testcase")) == 4
    log = root.findtext(".//system-out") or ""
    assert log == wording.printable(text)


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_summary_says_what_trials_that_passed_warn_of(realistic: Report) -> None:
    """Nobody opens the details of what is green. Of a trial that did not pass the reason says more."""
    warning = Finding("unanswered-request", Severity.WARNING, "3 requests had no answer when the client gave up")
    note = Finding("non-zero-exit", Severity.NOTE, "a note is no warning")

    def warned(result: TrialResult) -> TrialResult:
        return replace(result, verdict=replace(result.verdict, findings=(warning, note)))

    report = replace(realistic, results=tuple(map(warned, realistic.results)))
    passed = [item for item in report.of_scenario("drains-5s") if item.verdict.status is Status.PASS]
    assert len(passed) == 3
    text = "drains-5s, 3 trials: 3 requests had no answer when the client gave up"
    for made in (terminal.summary(report, width=200), markdown.render(report), html.render(report)):
        assert text in made
        assert "a note is no warning" not in made.split("Details")[0].split('<div id="details">')[0]
    suites = {suite.get("name"): suite for suite in ET.fromstring(junit.render(report))}
    properties = suites["drains-5s"].findall("properties/property[@name='warning']")
    assert [item.get("value") for item in properties] == [f"{text} [unanswered-request]"]
    summary = json.loads(results_json.render(report))["summary"]
    (found,) = [item for item in summary["passing_warnings"] if item["scenario"] == "drains-5s"]
    assert (found["rule"], found["trials"]) == (warning.rule, [item.observation.trial_id for item in passed])
    failed = [item for item in report.results if item.verdict.status is not Status.PASS]
    assert failed
    named = {trial for item in summary["passing_warnings"] for trial in item["trials"]}
    assert not named & {item.observation.trial_id for item in failed}


def test_csv_has_one_row_a_trial_and_seconds(realistic: Report) -> None:
    """Read back with a plain CSV reader."""
    rows = list(csv.DictReader(io.StringIO(csv_table.render(realistic))))
    assert len(rows) == 45
    row = next(row for row in rows if row["trial_id"] == "drains-5s.t30s.r1")
    assert (row["stop_timeout_s"], row["shutdown_duration_s"], row["exit_code"]) == ("30.0", "5.036", "0")


def test_csv_summary_has_one_row_per_scenario_and_stop_timeout() -> None:
    """Repetitions share a row."""
    rows = list(csv.DictReader(io.StringIO(csv_table.render_summary(realistic_report(repeat=3)))))
    assert len(rows) == 45
    assert {row["trials"] for row in rows} == {"3"}


def test_csv_of_an_empty_run_is_a_header() -> None:
    """A spreadsheet opens it all the same."""
    assert csv_table.render(EMPTY).startswith("trial_id,scenario,")


@given(any_text)
@settings(max_examples=60, deadline=None)
@example("\t=1+1")
@example("-2+3")
def test_no_csv_cell_is_a_formula(text: str) -> None:
    """A cell of text never starts with a character that a spreadsheet computes."""
    for render in (csv_table.render, csv_table.render_summary):
        rows = list(csv.reader(io.StringIO(render(hostile_report(text)))))
        for cell in (cell for row in rows[1:] for cell in row):
            assert not cell.startswith(("=", "+", "@", "\t", "\r"))
            assert not cell.startswith("-") or float(cell) < 0
        assert len({len(row) for row in rows}) == 1


# ── Markdown ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_markdown_starts_with_the_verdict(realistic: Report) -> None:
    """The first sentence answers the question; the tables follow."""
    text = markdown.render(realistic)
    assert "**7 of 18 scenarios are compliant with the Amazon ECS default of 30 s; 7 are not" in text
    assert "| ✔ compliant | drains-5s | 25.0 s |" in text
    assert "- Skipped: needs-images" in text


def test_markdown_stays_small_and_shows_what_did_not_pass_first() -> None:
    """GitHub cuts a step summary at 1 MiB; trials that passed are left out before those that did not."""
    text = markdown.render(large_report(5000))
    assert len(text.encode()) < 100_000
    assert "200 of 4,995 trials" in text
    assert "| = pass |" not in text


@given(any_text)
@settings(max_examples=60, deadline=None)
def test_markdown_tables_keep_their_columns_whatever_the_text(text: str) -> None:
    """Every row of a table has as many unescaped bars as its header, and no HTML but ours."""
    made = markdown.render(hostile_report(text))
    widths: set[int] = set()
    for line in made.splitlines():
        if line.startswith("|"):
            widths.add(len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)))
        else:
            assert len(widths) <= 1
            widths = set()
    assert set(re.findall(r"<[^>]*>", made)) <= {
        "<details>",
        "<summary>",
        "</summary>",
        "</details>",
        "<sub>",
        "</sub>",
    }
    assert "@team" not in made


# ── Terminal ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_SGR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_summary_fits_the_terminal(realistic: Report, width: int) -> None:
    """No line is wider than the terminal, so none is wrapped by it."""
    text = terminal.summary(realistic, width=width, colour=True)
    assert max(columns.columns_of(_SGR.sub("", line)) for line in text.splitlines()) <= width


def test_the_summary_says_what_each_stop_timeout_came_to(realistic: Report) -> None:
    """Neighbouring stop timeouts with the same outcome stand together."""
    text = terminal.summary(realistic, width=120, colour=False)
    assert "= drains-5s          2 s killed  10 s, 30 s graceful (5.0 s)  ✔ compliant, 25.0 s of 30 s to spare" in text
    assert "7 of 18 scenarios are compliant" in text
    assert "skipped  needs-images" in text


LONG_NAMES = ["billing-service-worker-drains-2s", "billing-service-worker-drains-30s", "a" * 60 + "-last"]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_long_names_are_told_apart_in_the_summary(realistic: Report, width: int) -> None:
    """A name that fits the line is whole, one that does not keeps its end: names of one family differ there."""
    renamed = dict(zip([scenario.name for scenario in realistic.scenarios], LONG_NAMES, strict=False))
    report = replace(
        realistic,
        scenarios=tuple(replace(item, name=renamed.get(item.name, item.name)) for item in realistic.scenarios),
        compliance=tuple(
            replace(row, scenario=renamed.get(row.scenario, row.scenario)) for row in realistic.compliance
        ),
        results=(),
        skipped=(),
    )
    lines = terminal.summary(report, width=width, colour=False).splitlines()
    shown = [line.split(maxsplit=1)[1] for line in lines if "billing" in line or line.endswith("-last")]
    assert shown[:2] == LONG_NAMES[:2]
    assert (shown[2] == LONG_NAMES[2]) is (len(LONG_NAMES[2]) + 2 <= width)
    assert max(columns.columns_of(line) for line in lines) <= width


def test_trials_that_fail_for_the_same_reason_are_explained_once(realistic: Report) -> None:
    """Two stop timeouts, one reason: one paragraph."""
    text = terminal.summary(realistic, width=120, colour=False)
    assert text.count("had already exited") == 1
    assert "daemonised, stop timeout 10 s, 30 s:" in text


def test_colour_changes_nothing_but_colour(realistic: Report) -> None:
    """Without its escape sequences the coloured text is the plain text."""
    for render in (terminal.summary, terminal.check_verdict):
        assert _SGR.sub("", render(realistic, width=80, colour=True)) == render(realistic, width=80, colour=False)


def test_the_ascii_fallback_is_ascii(realistic: Report) -> None:
    """For terminals that cannot show the marks."""
    assert terminal.summary(realistic, unicode=False).isascii()
    assert terminal.check_verdict(realistic, unicode=False).isascii()


@given(any_text)
@settings(max_examples=60, deadline=None)
def test_no_text_controls_the_terminal(text: str) -> None:
    """Without colour there is no control character in the output but the line feed."""
    made = hostile_report(text)
    lines = [terminal.trial_line(result) for result in made.results]
    whole = "\n".join([terminal.summary(made, width=60), terminal.check_verdict(made, width=60), *lines])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", whole)
    assert all("\n" not in line for line in lines)
    whole.encode("utf-8")


def test_no_mark_of_success_stands_beside_not_compliant(realistic: Report) -> None:
    """A stop that was expected to end in SIGKILL, and did, has the mark of its expectation and that of compliance."""
    texts = (terminal.summary(realistic, width=120), markdown.render(realistic), junit.render(realistic))
    lines = [line for text in texts for line in text.splitlines() if "not compliant" in line]
    assert any(line.startswith("= ignores-sigterm") for line in lines)
    assert not [line for line in lines if "✔" in line]


def test_check_says_graceful_in_one_sentence() -> None:
    """Who, how long, and how much time was left."""
    first = terminal.check_verdict(report_on("handles-sigterm"), width=200).splitlines()[0]
    assert first == (
        "✔ graceful: handles-sigterm:latest exited within 0.148 s of SIGTERM, "
        "29.85 s before Amazon ECS would have sent SIGKILL."
    )


def test_check_says_who_sent_sigkill_and_how_we_know() -> None:
    """The stop timeout, the engine and the evidence; then findings and the end of the log."""
    text = terminal.check_verdict(report_on("shell-form"), width=200)
    assert text.startswith(
        "✘ killed: shell-form:latest was still running 30 s after SIGTERM; Docker Engine sent SIGKILL (observed)."
    )
    assert "stop timeout 30 s: killed after 30.0 s, exit code 137" in text
    assert "evidence  SIGKILL was observed" in text
    assert "[shell-is-pid1]" in text
    assert "INFO listening on 0.0.0.0:8000" in text


def test_check_says_its_answer_once() -> None:
    """No finding repeats the answer, and the line about Amazon ECS leaves the cause to its own line."""
    made = report_on("shell-form")
    result = made.results[-1]
    cause = Cause("pid1-no-handler", "PID 1 has no handler for SIGTERM, and the kernel drops it for PID 1")
    needed = Finding("sigkill-needed", Severity.ERROR, result.verdict.reason)
    others = (item for item in result.verdict.findings if item.rule != needed.rule)
    verdict = replace(result.verdict, cause=cause, findings=(needed, *others))
    why = f"It was killed at 2 s, and no longer stop timeout helps: {cause.evidence}."
    row = replace(made.compliance[0], reason=why)
    seen = replace(result.observation, stop_timeout_ns=2 * NS_PER_S)
    text = terminal.check_verdict(replace(made, results=(TrialResult(seen, verdict),), compliance=(row,)), width=200)
    assert text.count(cause.evidence) == 1
    assert "no longer stop timeout helps.\n" in text
    assert "[sigkill-needed]" not in text
    assert "[shell-is-pid1]" in text


def test_check_does_not_claim_what_it_does_not_know() -> None:
    """Never ready: inconclusive, with the reason, and nothing of a SIGKILL in a stop that was not asked for."""
    text = terminal.check_verdict(report_on("never-ready"), width=200)
    assert text.startswith("? inconclusive: never-ready:latest. Not ready within 20 s")
    assert "evidence" not in text


def test_a_progress_line_is_one_line_and_gives_a_reason_only_where_needed(realistic: Report) -> None:
    """pass needs no reason."""
    lines = {result.observation.trial_id: terminal.trial_line(result) for result in realistic.results}
    assert lines["drains-5s.t30s.r1"] == "pass          drains-5s, stop timeout 30 s: graceful after 5.0 s"
    assert lines["daemonised.t10s.r1"].endswith("not running: had already exited with code 0 before the stop")


# ── Plots ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_report_gives_the_same_plots(realistic: Report) -> None:
    """No date, no random ids: a committed report does not change for nothing."""
    first = plots.render_all(realistic)
    assert first == plots.render_all(realistic_report())
    assert first.keys() == {"outcomes", "shutdown-durations", "timelines"}, "no scenario has five stops"
    for svg in first.values():
        ET.fromstring(svg)
        assert "<dc:date>" not in svg


def test_plots_stay_small_with_thousands_of_trials() -> None:
    """Points become one picture; timelines are limited and say so."""
    drawn = plots.render_all(large_report(5000))
    assert all(len(svg) < 500_000 for svg in drawn.values())
    assert "(60 of 4,995 trials)" in drawn["timelines"]


def test_a_plot_with_nothing_to_show_is_left_out() -> None:
    """No trials, no plots; trials without durations, an outcome matrix only."""
    assert plots.render_all(EMPTY) == {}
    assert plots.render_all(report_on("never-ready")).keys() == {"outcomes"}


@pytest.mark.parametrize("text", HOSTILE)
def test_plots_are_well_formed_whatever_the_names(text: str) -> None:
    """Names are text, never markup or mathematics."""
    for svg in plots.render_all(hostile_report(text)).values():
        ET.fromstring(svg)


def test_every_duration_stands_where_it_is_and_within_the_axis() -> None:
    """Trials of one row are moved apart across the axis of seconds, never along it; the shortest is not cut."""
    import numpy as np

    durations_s = {"quick": 0.0002, "web": 0.004, "slow": 29.9}
    samples = [Sample(name, "", took, timeouts_s=(30,)) for name, took in durations_s.items()]
    results = [exactly(trial(item, 30, number), item.needs_s or 0) for item in samples for number in range(1, 5)]
    figure = plots._durations(report_of(results, tuple(map(scenario, samples))))
    assert figure is not None
    figure.draw_without_rendering()
    (axes,) = figure.axes
    marks = [line for line in axes.lines if line.get_linestyle() == "None" and line.get_marker() != "|"]
    points = [(float(x), float(y)) for line in marks for x, y in np.asarray(line.get_xydata())]
    assert {round(x, 9) for x, _ in points} == {0.001, 0.004, 29.9}
    assert len({(x, round(y, 6)) for x, y in points}) == len(results) == 12, "none hides another"
    low, high = axes.get_xlim()
    assert low < 0.001
    assert high > 30
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels[0] == "≤ 0.001 s", "what is shorter is drawn there, and the axis says so"
    names = [text.get_text() for text in figure.texts]
    assert [name for name in names if name in durations_s] == sorted(durations_s)


def exactly(result: TrialResult, took_s: float) -> TrialResult:
    """The same trial with this shutdown duration."""
    facts = replace(result.verdict.facts, shutdown_duration_ns=round(took_s * NS_PER_S))
    return replace(result, verdict=replace(result.verdict, facts=facts))


def test_plots_take_extreme_stop_timeouts() -> None:
    """A stop timeout of 0 on a logarithmic axis, and one of an hour."""
    sample = Sample("extreme", "", 3000.0, timeouts_s=(0, 0.001, 3600))
    made = report_of([trial(sample, limit) for limit in sample.timeouts_s], (scenario(sample),))
    assert len(plots.render_all(made)) == 3


# ── HTML ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_VOID = {"area", "br", "hr", "img", "input", "link", "meta", "use", "path", "image", "wbr"}


class Page(HTMLParser):
    """Elements, attributes and the text of scripts, read the way a browser reads them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data


def embedded(text: str) -> dict[str, Any]:
    """The data that the page's script reads."""
    data: dict[str, Any] = json.loads(Page(text).scripts[0])
    return data


def test_the_page_answers_first_and_shows_every_part(page: str) -> None:
    """Headline, compliance, run, plots, platforms, trials, in this order."""
    places = [
        page.index(f">{title}")
        for title in ("7 of 18", "Against the Amazon", "The run<", "Plots<", "Against the defaults", "Trials</h2>")
    ]
    assert places == sorted(places)
    assert "What to mend first" not in page, "no verdict of this report has a cause"
    assert "Recommended stop timeouts" not in page, "no scenario was stopped often enough for one"


def test_the_page_fetches_nothing(page: str) -> None:
    """No element that loads anything, no address in the style; links are the platforms' sources."""
    parsed = Page(page)
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in parsed.elements}
    for tag, attributes in parsed.elements:
        assert "src" not in attributes
        assert tag == "a" or "href" not in attributes or str(attributes["href"]).startswith("#")
        address = attributes.get("xlink:href") or "#"
        assert address.startswith(("#", "data:image/png"))
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_nothing_has_to_be_hovered_over(page: str, realistic: Report) -> None:
    """A phone has no pointer: what each mark against another platform rests on can be opened below."""
    parsed = Page(page)
    assert not [tag for tag, attributes in parsed.elements if "title" in attributes]
    below = page.partition("Why, scenario by scenario")[2].partition("Stop signals, settings and sources")[0]
    names = [scenario.name for scenario in realistic.scenarios]
    assert re.findall(r"<h3>(.*?)</h3>", below) == names
    reasons = {reason for row in realistic.platforms for reason in row.reasons}
    assert len(reasons) > 20
    assert all(reason in below for reason in reasons)
    assert below.count("Kubernetes") == len(names), "each platform has one reason a scenario"


def test_the_policy_allows_this_script_and_no_other(page: str) -> None:
    """The hash in the Content-Security-Policy is that of the inline script, byte for byte."""
    parsed = Page(page)
    policy = next(str(item["content"]) for tag, item in parsed.elements if tag == "meta" and "http-equiv" in item)
    digest = base64.b64encode(hashlib.sha256(parsed.scripts[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert not any(name.startswith("on") for _, item in parsed.elements for name in item)


def opened(text: str) -> dict[str | None, str]:
    """Id → what opens under a trial, as it stands in the page."""
    parts = re.split(r'<details class="trial" id="([^"]*)">', text.partition('<div id="details">')[2])[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_trial_is_on_the_page_with_its_details(page: str, realistic: Report) -> None:
    """Up to 500 trials carry everything that was recorded, and open without script."""
    trials = embedded(page)["trials"]
    ids = [result.observation.trial_id for result in realistic.results]
    assert [item["id"] for item in trials] == ids
    bodies = opened(page)
    assert list(bodies) == ids
    crash = next(item["id"] for item in trials if item["outcome"] == "crashed")
    assert ">SIGTERM\n*** ␀ abort\n</pre>" in bodies[crash]


def test_with_many_trials_the_details_are_of_those_that_did_not_pass() -> None:
    """The page says how many carry their details; each has its row."""
    made = large_report(900)
    text = html.render(made, {})
    trials = embedded(text)["trials"]
    assert len(trials) == 900
    bodies = opened(text)
    assert len(bodies) == html_trials.MAX_DETAILS
    assert all(item["id"] in bodies for item in trials if item["status"] != "pass")
    assert "500 of 900 trials carry their details" in text


@pytest.mark.parametrize("at_once", [2, 50])
def test_the_page_is_the_same_in_pieces_of_any_size(
    realistic: Report, page: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put together they are what is written at once."""
    monkeypatch.setattr(html, "PARTS_AT_ONCE", at_once)
    pieces = list(html.pieces(realistic))
    assert "".join(pieces) == page
    assert len(pieces) > 100 / at_once


def test_a_long_run_has_a_table_of_contents(page: str) -> None:
    """Every entry leads to what is on the page; each scenario to its first trial that was not as expected."""
    made = large_report(200)
    text = html.render(made, {})
    contents = text.partition("Contents</h2>")[2].partition("</nav>")[0]
    anchors = re.findall(r'href="#([^"]+)"', contents)
    assert len(anchors) == len(set(anchors)) > 20
    assert all(f'id="{anchor}"' in text for anchor in anchors)
    assert set(re.findall(r'<h2 id="([^"]+)"', text)) - {"contents-title"} <= set(anchors)
    assert '<a href="#ignores-sigterm.t2s.r1">ignores-sigterm</a>' in contents
    assert "Contents</h2>" not in page


def test_a_run_without_trials_still_gives_a_page() -> None:
    """Nothing was run: the page says so."""
    assert "No scenario was run." in html.render(EMPTY)


@given(any_text)
@settings(max_examples=20, deadline=None)
@example(HOSTILE[0])
@example(HOSTILE[1])
def test_no_text_breaks_out_of_the_page(text: str) -> None:
    """Two scripts, balanced elements, no element that a name or a log brought along."""
    made = html.render(hostile_report(text))
    parsed = Page(made)
    assert len(parsed.scripts) == 2
    assert parsed.open == []
    assert "alert(1)" not in parsed.scripts[1]
    assert "img" not in {tag for tag, _ in parsed.elements}
    made.encode("utf-8")


# ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("duration_ns", "shown", "precise"),
    [
        (4_000_000, "0.004 s", "0.004 s"),
        (123_456_789, "0.12 s", "0.123 s"),
        (5 * NS_PER_S, "5.0 s", "5 s"),
        (30_020_000_000, "30.0 s", "30.02 s"),
        (300_000, "<0.001 s", "less than 0.001 s"),
    ],
)
def test_durations_are_written_for_tables_and_for_sentences(duration_ns: int, shown: str, precise: str) -> None:
    """A table rounds; a sentence about a limit of 30 s must not round 30.02 s away."""
    assert (wording.seconds(duration_ns), wording.precise_seconds(duration_ns)) == (shown, precise)
    assert wording.within(duration_ns) == precise.removeprefix("less than ")


def test_the_length_of_a_run_is_unknown_where_its_times_are() -> None:
    """Interrupted, or not ISO 8601."""
    run = realistic_report().run
    assert wording.run_duration_ns(run) == 221 * NS_PER_S
    assert wording.run_duration_ns(replace(run, finished_at=None)) is None
    assert wording.run_duration_ns(replace(run, started_at="yesterday")) is None


@given(st.text(st.characters(exclude_categories=())))
def test_printable_text_is_printable_and_stays_so(text: str) -> None:
    """No control characters but line feed and tab, and a second pass changes nothing."""
    safe = wording.printable(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", safe)
    assert wording.printable(safe) == safe


def test_a_long_unfinished_escape_sequence_does_not_take_for_ever() -> None:
    """A container can write a million escape characters."""
    assert wording.printable("\x1b]" * 500_000) == ""
    assert "␛" in wording.printable("\x1b[" * 200_000)


def test_the_words_cover_every_outcome() -> None:
    """A new outcome needs a word, a meaning, a colour and a marker."""
    for table in (wording.OUTCOME_WORDS, wording.OUTCOME_MEANINGS, marks.OUTCOME_COLOURS, marks.OUTCOME_MARKERS):
        assert set(table) == set(Outcome)


# ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def report_with_requests() -> Report:
    """One lossy trial: of three requests one was answered, one reset, one closed by a hostile server."""
    made = report_on("child-left-behind")
    whole = Request(TrafficKind.HTTP, 1, RequestFate.COMPLETED, -510_000_000, -500_000_000, 2, 3, 200, None, "200")
    others = (
        replace(whole, client=2, fate=RequestFate.RESET, detail="reset by the peer"),
        replace(whole, client=3, fate=RequestFate.NO_ANSWER, first_byte_at_ns=None, detail=HOSTILE[0]),
        Request(TrafficKind.IDLE, 4, RequestFate.NO_ANSWER, -1, None, None, 5),
    )
    seen = replace(made.results[0].observation, traffic=TrafficRecord((whole, *others), Vantage.CONTAINER_ADDRESS))
    return replace(made, results=(replace(made.results[0], observation=seen),))


LINE = "1 of 3 requests completed (1 reset, 1 no answer); idle: 1 closed"


def test_every_format_says_what_became_of_the_requests() -> None:
    """One line for people, the counts for tables, every request with its times for programs and for the page."""
    made = report_with_requests()
    (row,) = json.loads(results_json.render(made))["trials"]
    assert [item["lost"] for item in row["requests"]] == [False, True, True, False]
    assert (row["requests"][0]["sent_at_s"], row["vantage"]) == (-0.5, "container_address")
    (cells,) = csv.DictReader(io.StringIO(csv_table.render(made)))
    assert (cells["requests_in_flight"], cells["requests_lost"]) == ("3", "2")
    assert LINE in markdown.render(made)
    assert f'.requests" value="{LINE}"' in junit.render(made)
    assert LINE in " ".join(terminal.check_verdict(made, width=200).split())
    page = html.render(made)
    assert "straight to the container" in page
    assert "no answer (lost)" in page
    assert HOSTILE[0] not in page


def test_the_line_on_requests_says_when_there_were_none() -> None:
    """No traffic is not the same as nothing in flight."""
    seen = report_on("handles-sigterm").results[0].observation
    assert wording.requests_line(seen.traffic) == ""
    assert wording.requests_line(TrafficRecord(())) == "no request in flight"


def test_what_ran_before_the_stop_signal_of_a_service_is_told() -> None:
    """With how long it took: an orchestrator waits for it before the stop begins."""
    sample = SAMPLES[0]
    made = trial(sample, sample.timeouts_s[0])
    record = replace(made.observation.record, hooks=(HookRecord("sleep 2", 2 * NS_PER_S + NS_PER_S // 10),))
    result = replace(made, observation=replace(made.observation, record=record))
    report = report_of([result], (scenario(sample),))
    told = f"Before its stop signal, {result.observation.scenario} ran `sleep 2` (2.1 s)"
    assert f"{told}." in " ".join(terminal.check_verdict(report).split())
    assert f'.before_stop" value="{told}."' in junit.render(report)
    assert told in markdown.render(report).replace("\\", "")
