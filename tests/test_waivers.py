"""Known failures that are let pass for a time: verdicts stay, gates follow, doubt is never covered."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from stop_harness.conductor import exit_codes, pipeline, shards, store, stored_runs
from stop_harness.conductor.open_engine import Chosen
from stop_harness.conductor.request import RunOutcome, RunRequest
from stop_harness.engines.simulated import Script, SimulatedEngine
from stop_harness.errors import ScenarioError
from stop_harness.model import (
    Cause,
    ContainerVerdict,
    Expectation,
    Finding,
    Outcome,
    Report,
    Scenario,
    Severity,
    Status,
    Subject,
    TrialResult,
    Verdict,
    Waiver,
    WaiverState,
)
from stop_harness.renderers import code_quality, github, html, junit, markdown, sarif, terminal
from stop_harness.renderers.results import results_json
from stop_harness.scenario import project_waivers, scenario_file
from stop_harness.verdict import waivers
from tests import test_pipeline
from tests.own_runs import PYTHON
from tests.parts import changed
from tests.reports_factory import realistic_report
from tests.test_cli import Answer, ask, clean_surroundings

__all__ = ["ask", "clean_surroundings"]  # fixtures: the command in this process, and nothing from outside for it

SCHEMAS = Path(__file__).parent / "schemas"
NEVER = Script(leaves_after_ns=None)
TODAY, LATER, EARLIER = "2026-06-15", "2999-12-31", "2000-01-01"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(100)"


def waiver(**covers: Any) -> Waiver:
    """One that holds for long, unless it is said otherwise."""
    return Waiver(**{"reason": "known since March", "expires": LATER, "place": "pyproject.toml:4", **covers})


def errors(*rules: str) -> tuple[Finding, ...]:
    """Findings that are errors."""
    return tuple(Finding(rule, Severity.ERROR, rule) for rule in rules)


FACTS = realistic_report().results[0].verdict.facts


def failed(
    outcome: Outcome = Outcome.KILLED,
    rules: tuple[str, ...] = ("sigkill-needed",),
    cause: str | None = "signal-ignored",
    containers: tuple[ContainerVerdict, ...] = (),
    status: Status = Status.FAIL,
) -> TrialResult:
    """A trial of the scenario `web`."""
    seen = changed(realistic_report().results[0].observation, scenario="web", trial_id="web/10s/0s/1")
    why = Cause(cause, "it was seen") if cause else None
    return TrialResult(seen, Verdict(seen.trial_id, outcome, status, "because", FACTS, errors(*rules), why, containers))


def container(name: str, outcome: Outcome, *rules: str, cause: str | None = None) -> ContainerVerdict:
    """One of a task."""
    why = Cause(cause, "it was seen") if cause else None
    return ContainerVerdict(name, outcome, "because", FACTS, errors(*rules), why)


WEB = Scenario("web", Subject(image="web:1"))


def lets_pass(result: TrialResult, *several: Waiver, scenario: Scenario = WEB, day: str = TODAY) -> bool:
    """Whether they do."""
    return waivers.lets_pass(result, scenario, several, day)


# ── What is covered ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "covers",
    [
        {"outcome": Outcome.KILLED},
        {"rule": "sigkill-needed"},
        {"cause": "signal-ignored"},
        {"scenario": "web", "outcome": Outcome.KILLED},
        {"scenario": "w*", "cause": "signal-ignored", "rule": "sigkill-needed", "outcome": Outcome.KILLED},
    ],
    ids=str,
)
def test_a_failure_is_covered_by_what_is_known_of_it(covers: dict[str, Any]) -> None:
    """Outcome, rule or cause, and where a scenario is named its own."""
    assert lets_pass(failed(), waiver(**covers))


@pytest.mark.parametrize(
    "covers",
    [
        {"outcome": Outcome.CRASHED},
        {"rule": "lost-request"},
        {"cause": "wrong-stopsignal"},
        {"scenario": "other", "outcome": Outcome.KILLED},
        {"container": "proxy", "outcome": Outcome.KILLED},
        {"outcome": Outcome.KILLED, "cause": "wrong-stopsignal"},
        {"outcome": Outcome.KILLED, "rule": "lost-request"},
    ],
    ids=str,
)
def test_another_failure_is_not(covers: dict[str, Any]) -> None:
    """Everything that is named has to hold."""
    assert not lets_pass(failed(), waiver(**covers))


@pytest.mark.parametrize("status", [Status.PASS, Status.INCONCLUSIVE])
def test_only_failures_are_covered(status: Status) -> None:
    """Doubt stays, whatever the waiver says, and what passed needs none."""
    for outcome in Outcome:
        assert not lets_pass(failed(outcome, status=status), waiver(outcome=outcome), waiver(cause="signal-ignored"))


def test_a_day_of_its_own_is_the_last_on_which_it_holds() -> None:
    """And the next one is too late."""
    known = waiver(outcome=Outcome.KILLED, expires="2026-06-15")
    assert lets_pass(failed(), known, day="2026-06-15")
    assert not lets_pass(failed(), known, day="2026-06-16")


def test_a_rule_covers_only_itself() -> None:
    """A second one that was broken needs another waiver."""
    both = failed(Outcome.LOSSY, ("lost-request", "slow-stop"), None)
    assert not lets_pass(both, waiver(rule="lost-request"))
    assert lets_pass(both, waiver(rule="lost-request"), waiver(rule="slow-stop"))


def test_a_failure_that_broke_no_rule_has_a_rule_of_its_own() -> None:
    """It is the one that SARIF has for an outcome that was not expected."""
    graceful = failed(Outcome.GRACEFUL, (), None)
    assert lets_pass(graceful, waiver(rule="unexpected-outcome"))
    assert not lets_pass(graceful, waiver(rule="sigkill-needed"))


def test_in_a_task_every_bad_container_has_to_be_covered() -> None:
    """One after another, by one waiver or by several."""
    app, proxy = (
        container("app", Outcome.KILLED, "sigkill-needed"),
        container("proxy", Outcome.CRASHED, "crash-on-stop"),
    )
    fine = container("db", Outcome.GRACEFUL)
    result = failed(rules=("sigkill-needed", "crash-on-stop"), cause=None, containers=(app, proxy, fine))
    of_app, of_proxy = (
        waiver(container=name, outcome=found) for name, found in (("app", Outcome.KILLED), ("proxy", Outcome.CRASHED))
    )
    assert not lets_pass(result, of_app)
    assert not lets_pass(result, of_proxy)
    assert lets_pass(result, of_app, of_proxy)
    assert not lets_pass(result, of_app, replace(of_proxy, expires=EARLIER))


def test_a_container_in_doubt_is_never_covered() -> None:
    """Nobody knows what it would be a waiver of."""
    app, proxy = (
        container("app", Outcome.KILLED, "sigkill-needed"),
        container("proxy", Outcome.INCONCLUSIVE, "not-witnessed"),
    )
    result = failed(cause=None, containers=(app, proxy))
    assert not lets_pass(result, waiver(outcome=Outcome.KILLED), waiver(rule="not-witnessed"))


def test_what_is_wrong_with_a_task_as_a_whole_is_a_part_of_its_own() -> None:
    """A waiver of a container's end does not cover requests that the task lost."""
    app = container("app", Outcome.KILLED, "sigkill-needed")
    result = failed(rules=("sigkill-needed", "lost-request"), cause=None, containers=(app,))
    assert not lets_pass(result, waiver(container="app", outcome=Outcome.KILLED))
    assert lets_pass(result, waiver(container="app", outcome=Outcome.KILLED), waiver(rule="lost-request"))


def test_a_container_that_is_expected_to_be_killed_needs_no_waiver() -> None:
    """Only what was not expected does."""
    expected = replace(WEB, expectations=(Expectation(outcomes=(Outcome.KILLED,)),))
    app, proxy = (
        container("app", Outcome.KILLED, "sigkill-needed"),
        container("proxy", Outcome.CRASHED, "crash-on-stop"),
    )
    result = failed(Outcome.CRASHED, ("crash-on-stop",), None, (app, proxy))
    assert lets_pass(result, waiver(container="proxy", outcome=Outcome.CRASHED), scenario=expected)
    assert not lets_pass(result, waiver(container="proxy", outcome=Outcome.CRASHED))


# ── The gate ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def run(*known: Waiver, report_dir: Path | None = None, repeat: int = 2, **options: Any) -> RunOutcome:
    """Scenarios `bad`, which is killed each time, and `good`, on the simulated engine."""
    heard = test_pipeline.Heard()
    made = (test_pipeline.scenario("bad", repeat=repeat), test_pipeline.scenario("good", repeat=repeat))
    request = RunRequest(made, "test", report_dir, engine="simulated", jobs="1", waivers=known, **options)
    engine = SimulatedEngine({"bad": NEVER, "in-doubt": Script(ready_after_ns=None)})
    return pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(engine))


def test_a_waived_failure_is_a_failure_and_lets_the_run_pass() -> None:
    """The verdict is the truth; the exit code is the gate."""
    done = run(waiver(scenario="bad", outcome=Outcome.KILLED))
    assert done.report.count(Status.FAIL) == 2
    assert len(done.report.waived) == 2
    assert exit_codes.of_run(done) == exit_codes.PASS
    (use,) = done.report.waivers
    assert (use.state, len(use.trials)) == (WaiverState.APPLIES, 2)


def test_an_expired_waiver_lets_nothing_pass_and_says_so() -> None:
    """In a sentence of its own, with the day, the place and the reason."""
    done = run(waiver(outcome=Outcome.KILLED, expires=EARLIER))
    assert exit_codes.of_run(done) == exit_codes.FAIL
    said = " ".join(terminal.summary(done.report).split())
    assert f"expired pyproject.toml:4: the waiver of killed expired on {EARLIER}, and 2 failures" in said
    assert "known since March" in said


def test_a_waiver_that_matches_nothing_is_told() -> None:
    """And changes nothing; those of scenarios that are not in this run are told in one sentence on the terminal."""
    others = (waiver(scenario="else*", rule="slow-stop"), waiver(scenario="goood"))
    done = run(waiver(scenario="good", outcome=Outcome.CRASHED), *others)
    assert exit_codes.of_run(done) == exit_codes.FAIL
    said, page = (" ".join(text.split()) for text in (terminal.summary(done.report), markdown.render(done.report)))
    assert "the waiver of good, crashed matches no failure of this run" in said
    told = (
        "unused waiver 2 waivers name no scenario that was stopped in this run: else*, slow-stop (pyproject.toml:4), "
    )
    told += "goood (pyproject.toml:4; did you mean `good`?)."
    assert told in said
    assert told in " ".join(terminal.short_summary(done.report).split())
    assert "the waiver of else*, slow-stop names no scenario that was stopped in this run".replace(
        "*", ""
    ) in page.replace("\\*", "").replace("*", "")


def test_a_run_of_all_that_waivers_name_is_not_told_of_them() -> None:
    """Nor one without any."""
    for known in ((), (waiver(scenario="bad", outcome=Outcome.KILLED),)):
        assert "no scenario" not in terminal.summary(run(*known).report)


def test_fail_fast_goes_on_after_a_waived_failure() -> None:
    """It ends the run at the first that is not."""
    assert len(run(waiver(outcome=Outcome.KILLED), fail_fast=True).report.results) == 4
    assert len(run(waiver(outcome=Outcome.CRASHED), fail_fast=True).report.results) == 1


def test_until_sure_stays_strict() -> None:
    """What is not shown to be graceful is not sure, waived or not."""
    done = run(waiver(outcome=Outcome.KILLED), until_sure=True, max_repeat=3)
    assert exit_codes.of_run(done) == exit_codes.INCONCLUSIVE


def test_a_stored_run_is_judged_by_the_waivers_and_the_day_that_it_had(tmp_path: Path) -> None:
    """`report` and `judge` come to the same years later, and shards bring theirs along."""
    done = run(waiver(scenario="bad", outcome=Outcome.KILLED), report_dir=tmp_path)
    assert done.directory is not None
    stored, _ = store.read(done.directory)
    again = stored_runs.report_of(shards.merge((stored,)))
    assert again.waived == done.report.waived
    assert exit_codes.of_report(again) == exit_codes.PASS
    expired = replace(stored, run=replace(stored.run, started_at="3000-01-01T00:00:00.000+00:00"))
    assert exit_codes.of_report(stored_runs.report_of(expired)) == exit_codes.FAIL


# ── Reports ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def waived() -> Report:
    """`bad` is waived; another waiver matches nothing."""
    return run(waiver(scenario="bad", outcome=Outcome.KILLED), waiver(scenario="good", rule="slow-stop")).report


def test_junit_skips_the_case_with_the_reason(waived: Report) -> None:
    """By the schema of Jenkins; no failure is counted."""
    import xmlschema

    text = junit.render(waived)
    xmlschema.XMLSchema(str(SCHEMAS / "junit-10.xsd")).validate(text)
    root = ET.fromstring(text)
    suite = next(item for item in root if item.get("name") == "bad")
    assert (root.get("failures"), suite.get("failures"), suite.get("skipped")) == ("0", "0", "2")
    said = [item.get("message", "") for item in suite.iter("skipped")]
    assert len(said) == 2
    assert all("killed" in text and f"known since March, waived until {LATER}" in text for text in said)


def test_sarif_suppresses_it_externally(waived: Report) -> None:
    """With the justification; every other result has an empty list, for the standard wants all or none to have one."""
    document = json.loads(sarif.render(waived))
    jsonschema.validate(document, json.loads((SCHEMAS / "sarif-schema-2.1.0.json").read_text()))
    results = document["runs"][0]["results"]
    suppressed = [item for item in results if item["suppressions"]]
    assert suppressed
    for item in suppressed:
        assert item["kind"] == "fail"
        ((one),) = item["suppressions"]
        assert (one["kind"], one["status"]) == ("external", "accepted")
        assert "known since March" in one["justification"]
    assert not [item for item in results if item["kind"] == "fail" and not item["suppressions"]]


def test_without_waivers_sarif_speaks_of_no_suppressions() -> None:
    """A list of none would say that somebody looked."""
    assert "suppressions" not in sarif.render(run().report)


def test_annotations_and_code_quality_are_milder(waived: Report) -> None:
    """A notice instead of an error, an information instead of something critical, each with the reason."""
    lines = github.render(waived).splitlines()
    assert any(line.startswith("::notice ") and "Known since March" in line for line in lines)
    assert not any(line.startswith("::error ") for line in lines)
    assert any(line.startswith("::warning ") and "unused waiver" in line for line in lines)
    entries = json.loads(code_quality.render(waived))
    assert {item["severity"] for item in entries} == {"info"}
    assert all("Known since March" in item["description"] for item in entries)


@pytest.mark.parametrize(
    "render", [terminal.summary, terminal.check_verdict, terminal.short_summary, markdown.render, html.render]
)
def test_people_read_what_is_waived_until_when_and_why(waived: Report, render: Any) -> None:
    """And that a waiver is for nothing."""
    text = " ".join(render(waived).split())
    assert f"bad, killed: 2 failures until {LATER}. known since March (pyproject.toml:4)" in text
    assert "the waiver of good, slow-stop matches no failure of this run" in text


class Counted(tuple[str, ...]):
    """Trials of a waiver that count how often somebody goes through all of them."""

    passes = 0

    def __iter__(self) -> Iterator[str]:
        Counted.passes += 1
        return super().__iter__()

    def __contains__(self, wanted: object) -> bool:
        return any(wanted == trial_id for trial_id in self)


@pytest.mark.parametrize(
    "render", [junit.render, sarif.render, github.render, code_quality.render, markdown.render, terminal.summary]
)
def test_no_failure_is_looked_for_in_its_waiver(render: Any) -> None:
    """A waiver may cover thousands of trials: going through them for each would be thousands times as much."""

    def passes(times: int) -> int:
        report = run(waiver(scenario="bad", outcome=Outcome.KILLED), repeat=times).report
        uses = tuple(replace(use, trials=Counted(use.trials)) for use in report.waivers)
        assert len(report.waived) == len(uses[0].trials) == times
        Counted.passes = 0
        render(replace(report, waivers=uses))
        return Counted.passes

    assert passes(1) == passes(8)


def test_the_counts_name_what_is_waived(waived: Report) -> None:
    """Beside what failed, so that nobody takes it for a pass."""
    assert "2 failed (2 waived)" in terminal.summary(waived)
    assert "fail  bad" not in terminal.summary(waived)
    document = results_json.document(waived)
    jsonschema.validate(json.loads(results_json.render(waived)), results_json.schema())
    assert (document["summary"]["fail"], document["summary"]["waived"]) == (2, 2)
    assert document["waived_trials"] == tuple(document["waivers"][0]["trials"])


# ── How they are written ─────────────────────────────────────────────────────────────────────────────────────────────

SCENARIO = "version: 1\nname: web\nsubject: {image: web}\nwaivers:\n  - "


def test_a_scenario_brings_waivers_with_their_places() -> None:
    """The scenario is its own; a date may be written plainly or as text."""
    text = f"{SCENARIO}{{outcome: killed, reason: a, expires: 2026-12-31}}\n"
    text += "  - {rule: slow-stop, reason: b, expires: '2027-01-01'}\n"
    first, second = scenario_file.parse(text, "stops/web.yaml").waivers
    assert first == Waiver(
        reason="a", expires="2026-12-31", place="stops/web.yaml:5", scenario="web", outcome=Outcome.KILLED
    )
    assert (second.expires, second.place, second.rule) == ("2027-01-01", "stops/web.yaml:6", "slow-stop")


@pytest.mark.parametrize(
    ("entry", "message"),
    {
        "{outcome: killed, expires: 2026-12-31}": r"a\.yaml:5:5: waivers\.0\.reason: this key is required",
        "{outcome: killed, reason: ' ', expires: 2026-12-31}": r"a\.yaml:5:23: waivers\.0\.reason: it is empty; text",
        "{outcome: killed, reason: a}": r"a\.yaml:5:5: waivers\.0\.expires: this key is required",
        "{outcome: killed, reason: a, expires: soon}": r"expires: soon is no day; a date such as 2026-12-31 is needed",
        "{outcome: killed, reason: a, expires: 20261231}": r"20261231 is no day",
        "{reason: a, expires: 2026-12-31}": r"a\.yaml:5:5: .*say which failure is known: `outcome`, `rule` or `cause`",
        "{outcome: inconclusive, reason: a, expires: 2026-12-31}": r"is doubt, and a waiver covers failures only",
        "{outcome: kiled, reason: a, expires: 2026-12-31}": r"did you mean `killed`\?",
        "{outcom: killed, reason: a, expires: 2026-12-31}": r"unknown key; did you mean `outcome`\?",
        "{scenario: b, outcome: killed, reason: a, expires: 2026-12-31}": r"scenario: unknown key",
    }.items(),
)
def test_a_mistake_in_a_scenario_is_named_at_its_place(entry: str, message: str) -> None:
    """As any other mistake of the file."""
    with pytest.raises(ScenarioError, match=message):
        scenario_file.parse(SCENARIO + entry + "\n", "a.yaml")


PROJECT = """\
[tool.stop-harness]
engine = "process"

[[tool.stop-harness.waivers]]
scenario = "web-*"
outcome = "killed"
reason = "known"
expires = 2026-12-31

[[tool.stop-harness.waivers]]
rule = "slow-stop"
reason = "known, too"
expires = "2027-01-31"
"""


def of_project(text: str) -> tuple[Waiver, ...]:
    """As the command line reads them."""
    import tomllib

    return project_waivers.of_project(tomllib.loads(text)["tool"]["stop-harness"]["waivers"], text, "pyproject.toml")


def test_a_project_brings_waivers_with_their_places() -> None:
    """Each at the line of its header."""
    first, second = of_project(PROJECT)
    assert (first.scenario, first.outcome, first.expires, first.place) == (
        "web-*",
        Outcome.KILLED,
        "2026-12-31",
        "pyproject.toml:4",
    )
    assert (second.scenario, second.rule, second.place) == (None, "slow-stop", "pyproject.toml:10")


def test_waivers_may_be_a_list_in_one_place() -> None:
    """Its line is theirs."""
    text = '[tool.stop-harness]\njobs = 1\nwaivers = [{cause = "signal-ignored", reason = "a", expires = 2026-12-31}]\n'
    assert of_project(text)[0].place == "pyproject.toml:3"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('outcome = "killed"', 'outcome = "kiled"', r"pyproject\.toml:6: waivers\.outcome: .*did you mean `killed`\?"),
        ('reason = "known"', 'reason = ""', r"pyproject\.toml:7: waivers\.reason: it is empty; text is needed"),
        ('reason = "known"', "", r"pyproject\.toml:4: waivers\.reason: this key is required"),
        ("expires = 2026-12-31", "expires = 1", r"pyproject\.toml:8: waivers\.expires: 1 is no day"),
        ("expires = 2026-12-31", "expires = 2026-12-31\nuntil = 1", r"pyproject\.toml:9: waivers\.until: unknown key"),
        ('rule = "slow-stop"', "", r"pyproject\.toml:10: waivers: say which failure is known"),
        ('scenario = "web-*"', "scenario = 3", r"pyproject\.toml:5: waivers\.scenario: text is needed, not 3"),
    ],
)
def test_a_mistake_in_a_project_is_named_with_its_line(old: str, new: str, message: str) -> None:
    """TOML's reader tells none; it is looked for below the header."""
    with pytest.raises(ScenarioError, match=message):
        of_project(PROJECT.replace(old, new))


def test_a_rule_or_a_cause_that_does_not_exist_is_refused() -> None:
    """It would never match, and nobody would notice."""
    with pytest.raises(
        ScenarioError, match=r"pyproject\.toml:4: waivers: there is no rule `slow-stob`; did you mean `slow-stop`"
    ):
        waivers.require_known((waiver(rule="slow-stob"),))
    with pytest.raises(ScenarioError, match=r"there is no cause `nonsense`; docs/rules\.md"):
        waivers.require_known((waiver(cause="nonsense"),))


# ── As a user ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.namespaces
def test_run_and_check_follow_waivers_of_project_and_scenario(ask: Callable[..., Answer]) -> None:
    """Exit code 0 while they hold, 1 when the day is over, 2 for a mistake."""
    Path("Dockerfile").write_text("FROM scratch\n")
    text = f"version: 1\nname: web\nsubject:\n  build: .\n  command: {json.dumps([PYTHON, '-c', STUBBORN])}\n"
    text += "ready: {log: ready}\nstop: {timeouts: [1s]}\n"
    own = "waivers: [{cause: signal-ignored, reason: known, expires: %s}]\n"
    Path("web.yaml").write_text(text + own % LATER)
    assert ask("run", "web.yaml", "--engine", "process").code == 0
    Path("web.yaml").write_text(text + own % EARLIER)
    late = ask("run", "web.yaml", "--engine", "process")
    assert late.code == 1
    assert "expired  web.yaml:8: the waiver of web, signal-ignored expired" in " ".join(late.out.split(" ")).replace(
        "\n", " "
    )
    project = f'[[tool.stop-harness.waivers]]\noutcome = "killed"\nreason = "of the project"\nexpires = {LATER}\n'
    Path("pyproject.toml").write_text(project)
    command = ("check", "--ready-log", "ready", "--timeout", "1s", "--", PYTHON, "-c", STUBBORN)
    answer = ask(*command)
    assert answer.code == 0
    assert answer.out.startswith("✘ killed: ")
    assert "waived" in answer.out
    Path("pyproject.toml").write_text(project.replace("outcome", "outcom"))
    wrong = ask(*command)
    assert (wrong.code, wrong.out) == (2, "")
    assert "pyproject.toml:2: waivers.outcom: unknown key; did you mean `outcome`?" in wrong.err
