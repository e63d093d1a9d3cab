"""What to mend first: causes over all scenarios of a run, with their cures, before the table that names each cause."""

from __future__ import annotations

import json
from dataclasses import replace

from stop_harness.model import (
    Advice,
    Cause,
    ContainerVerdict,
    Outcome,
    Remedy,
    RemedyEffect,
    RemedyKind,
    Report,
    Status,
    TrialResult,
    TriedRemedy,
)
from stop_harness.renderers import html, markdown
from stop_harness.renderers.results import results_json
from stop_harness.report import mending
from tests.reports_factory import Sample, report_of, scenario, trial

HANDLER = Advice("Handle the stop signal.", source="signal(7)")
PYTHON = Advice("Set a flag on SIGTERM.", "Python", "signal.signal(signal.SIGTERM, on_stop)")
EXEC = Advice("Write it in exec form.", lines='CMD ["program"]')
SCRIPT = Advice("`exec` the program at the end of the script.")
DEAF = Cause("pid1-no-handler", "PID 1 is `app`, which has no handler", (HANDLER,))
DEAF_PYTHON = replace(DEAF, evidence="PID 1 is `python3`, which has no handler", advice=(HANDLER, PYTHON))
SHELL = Cause("shell-not-forwarding", "PID 1 is `sh -c app`, a shell", (EXEC,))
UNKNOWN = Cause("unknown", "the evidence does not tell", (Advice("Look at the log."),))


def stopped(name: str, cause: Cause | None, limits_s: tuple[float, ...] = (30,), status: Status = Status.FAIL) -> list[
    TrialResult
]:  # fmt: skip
    """A scenario that is killed at each stop timeout, for this cause."""
    sample = Sample(name, "", None, timeouts_s=limits_s)
    made = [trial(sample, limit) for limit in limits_s]
    return [TrialResult(item.observation, replace(item.verdict, status=status, cause=cause)) for item in made]


def report(*groups: list[TrialResult]) -> Report:
    samples = [Sample(group[0].observation.scenario, "", None, timeouts_s=(30,)) for group in groups]
    return report_of([result for group in groups for result in group], tuple(map(scenario, samples)))


def test_the_cause_behind_most_scenarios_comes_first() -> None:
    """With all its scenarios under one cure where that begins alike, and each program's own part after it."""
    made = report(stopped("a", SHELL), stopped("b", DEAF), stopped("c", UNKNOWN), stopped("d", DEAF_PYTHON))
    first, second, last = mending.first(made)
    assert (first.cause, first.scenarios, first.heals) == ("pid1-no-handler", ("b", "d"), 2)
    (cure,) = first.cures
    assert cure.advice == (HANDLER, PYTHON)
    assert [stop.evidence for stop in cure.stops] == [DEAF.evidence, DEAF_PYTHON.evidence]
    assert (second.cause, last.cause) == ("shell-not-forwarding", "unknown")


def test_one_cause_may_need_two_cures() -> None:
    """A shell of a Dockerfile's CMD and one of a script are mended in different lines."""
    script = replace(SHELL, advice=(SCRIPT,))
    (found,) = mending.first(report(stopped("a", SHELL), stopped("b", script)))
    assert [(cure.advice, [stop.scenario for stop in cure.stops]) for cure in found.cures] == [
        ((EXEC,), ["a"]),
        ((SCRIPT,), ["b"]),
    ]


def test_what_is_not_expected_comes_before_what_is() -> None:
    """Of two causes of one scenario each: a stop that is expected to be bad can wait."""
    made = report(stopped("a", SHELL, status=Status.PASS), stopped("b", DEAF))
    assert [item.cause for item in mending.first(made)] == ["pid1-no-handler", "shell-not-forwarding"]


def test_a_kill_that_a_short_stop_timeout_was_expected_to_bring_is_nothing_to_mend() -> None:
    """What counts is the longest stop timeout, and what failed."""
    good = Sample("slow", "", 5.0, timeouts_s=(30,))
    short = stopped("slow", SHELL, limits_s=(2,), status=Status.PASS)
    made = report_of([*short, trial(good, 30)], (scenario(good),))
    assert mending.first(made) == ()
    failed = report_of([*stopped("slow", SHELL, limits_s=(2,)), trial(good, 30)], (scenario(good),))
    assert [item.cause for item in mending.first(failed)] == ["shell-not-forwarding"]


def test_a_task_with_two_causes_is_healed_by_neither_alone() -> None:
    """Both are named, and each says that the other one is needed, too."""
    (result,) = stopped("task", None)
    facts = result.verdict.facts
    containers = tuple(
        ContainerVerdict(name, Outcome.KILLED, "still running", facts, cause=cause)
        for name, cause in (("app", SHELL), ("proxy", DEAF))
    )
    task = [TrialResult(result.observation, replace(result.verdict, containers=containers))]
    found = mending.first(report(task, stopped("web", DEAF)))
    assert [(item.cause, item.heals, len(item.scenarios)) for item in found] == [
        ("pid1-no-handler", 1, 2),
        ("shell-not-forwarding", 0, 1),
    ]
    page = html.render(report(task, stopped("web", DEAF)), {})
    assert "It also needs the cure of pid1-no-handler." in page


def test_a_cure_that_was_tried_is_named_with_what_it_did() -> None:
    """Beside the advice, on the page and in the summary; what did not cure is left to its own section."""
    bad = stopped("web", SHELL)
    made = report(bad)
    good = trial(Sample("web", "", 0.1, timeouts_s=(30,)), 30)
    cures = TriedRemedy(
        bad[0].observation.trial_id, Remedy("exec", (RemedyKind.EXEC_FORM,), "exec form"), good, RemedyEffect.CURES
    )
    fails = replace(cures, remedy=Remedy("init", (RemedyKind.INIT,), "an init"), effect=RemedyEffect.FAILS)
    made = replace(made, remedies=(cures, fails))
    (found,) = mending.first(made)
    assert found.cures[0].stops[0].cured_by == (cures,)
    for text in (html.render(made, {}), markdown.render(made)):
        part = text.partition("What to mend first")[2].partition("Against the Amazon")[0]
        assert "✔ exec form: graceful after" in part


def test_page_and_summary_answer_then_mend_then_show_the_table_with_causes_then_the_run() -> None:
    """The order in which a reader needs them; the cause stands where the symptom would be the same in each row."""
    made = report(stopped("a", DEAF), stopped("b", SHELL), stopped("c", SHELL))
    for text in (html.render(made, {}), markdown.render(made)):
        marks = ("None of 3 trials", "What to mend first", "Against the Amazon", "The run")
        places = [text.index(mark) for mark in marks]
        assert places == sorted(places)
        table = text[places[2] : places[3]]
        assert table.count("a shell.") == 2
        assert table.count("It was still running 30 s after the stop signal and was killed.") == 3
    assert 'href="#cause-pid1-no-handler"' in html.render(made, {})
    rows = json.loads(results_json.render(made))["compliance"]
    assert [row["cause"] for row in rows] == ["pid1-no-handler", "shell-not-forwarding", "shell-not-forwarding"]
