"""Three thousand lost processes are a number and ten names, in the record and in every format."""

from __future__ import annotations

import json
from pathlib import Path

from stop_harness.conductor import open_engine, pipeline, store, stored_runs
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.simulated import Script, SimulatedEngine
from stop_harness.evidence.lost_processes import KILLED_FROM_INSIDE, first_names, listed
from stop_harness.model import Outcome, Readiness, Scenario, Subject
from stop_harness.renderers import html, markdown, terminal
from stop_harness.renderers.results import results_json
from stop_harness.trial.perform import Interruption
from tests.silence import Silence


def test_few_processes_are_named_and_many_are_counted() -> None:
    """The bound is ten names."""
    assert listed(("sh", "sleep")) == "sh, sleep"
    assert listed(tuple("abcdefghij")) == "a, b, c, d, e, f, g, h, i, j"
    assert listed(tuple("abcdefghijk")) == "11 processes (a, b, c, d, e, f, g, h, i, j and 1 more)"
    assert listed(("sleep",) * 10, 3000).startswith("3,000 processes (sleep, sleep")


def test_what_is_said_of_several_processes_is_said_once() -> None:
    """Who was killed by another process of the container, and when, also in the words of earlier records."""
    killed = [f"{name}, {KILLED_FROM_INSIDE} {ms} ms before PID 1 exited" for name, ms in (("a (PID 8)", 5), ("b", 3))]
    said = f"({KILLED_FROM_INSIDE}, 3 to 5 ms before PID 1 exited)"
    assert listed(killed) == f"a (PID 8), b {said}"
    assert listed(["sh", *killed]) == f"sh, and a (PID 8), b {said}"
    assert (
        listed([killed[0].replace("exited", "left")]) == f"a (PID 8) ({KILLED_FROM_INSIDE}, 5 ms before PID 1 exited)"
    )


def test_those_with_a_cause_of_their_own_are_kept_first() -> None:
    """A supervisor's SIGKILL is told from the end of the namespace by these words."""
    inside = f"worker, {KILLED_FROM_INSIDE}"
    assert first_names((*(["sleep"] * 20), inside))[:2] == (inside, "sleep")


def test_three_thousand_lost_processes_fill_no_report_and_no_journal(tmp_path: Path) -> None:
    """Ten names and the number everywhere."""
    lost = tuple(f"sleep-{number:04}" for number in range(3000))
    scenario = Scenario("bomb", Subject(image="x"), readiness=Readiness())
    engine = SimulatedEngine({"bomb": Script(leaves_after_ns=10**9, lost_processes=lost)})
    request = RunRequest((scenario,), "bomb", tmp_path)
    outcome = pipeline.run(request, Silence(), Interruption(), lambda *_: open_engine.Chosen(engine, None))
    (result,) = outcome.report.results
    assert result.verdict.outcome is Outcome.LOSSY
    assert result.observation.record.lost_processes == lost[:10]
    assert result.observation.record.lost_process_count == 3000
    assert outcome.directory is not None
    for path in (path for path in outcome.directory.rglob("*") if path.is_file()):
        assert b"sleep-0010" not in path.read_bytes(), path
    trial = json.loads(results_json.render(outcome.report))["trials"][0]
    assert (len(trial["lost_processes"]), trial["lost_process_count"]) == (10, 3000)
    text = terminal.summary(outcome.report, width=100, colour=False, unicode=True)
    for shown in (text, markdown.render(outcome.report), html.render(outcome.report, {})):
        assert "3,000 processes" in " ".join(shown.split())
    stored, verdicts = store.read(outcome.directory)
    assert stored_runs.judge(stored) == verdicts
