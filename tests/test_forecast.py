"""Forecasts, and stops that are cut short: from tables of real containers, and never beyond what they show."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness import signals
from stop_harness.conductor import pipeline, preview
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker.host import DockerHost
from stop_harness.evidence.forecast import KNOWN_RIGHT, Expected, Forecast, beyond_doubt, forecast
from stop_harness.evidence.process_tree import Tree, program
from stop_harness.model import NS_PER_S, Outcome, Readiness, Scenario, SigkillEvidence, StopPlan, Subject
from stop_harness.renderers.sections import forecast_text
from stop_harness.trial.perform import Interruption
from tests import process_tables as recorded
from tests.process_tables import Table, tables
from tests.silence import Silence

TERM, WINCH = signals.SIGTERM, signals.NUMBERS["WINCH"]

FORECASTS: list[tuple[str, Table | None, int | None, Expected, str]] = [
    ("no handler", recorded.SLEEP, TERM, Expected.KILLED, "no handler for SIGTERM"),
    ("shell form", recorded.SHELL_FORM, TERM, Expected.KILLED, "has a handler that would never be run"),
    ("under an init", recorded.INIT_SLEEP, TERM, Expected.STOPS, "passes SIGTERM on"),
    ("under an init, a signal that does nothing", recorded.INIT_SLEEP, WINCH, Expected.KILLED, "default action"),
    ("init, script without exec", recorded.INIT_SHELL, TERM, Expected.STOPS, "would be killed unasked"),
    ("sigwait", recorded.SIGWAIT, TERM, Expected.STOPS, "waits for SIGTERM"),
    ("ignored", recorded.IGNORES, TERM, Expected.KILLED, "ignores SIGTERM"),
    ("blocked", recorded.BLOCKS, TERM, Expected.UNKNOWN, "blocks SIGTERM"),
    ("handler", recorded.HANDLER, TERM, Expected.STOPS, "has a handler"),
    ("node", recorded.NODE, TERM, Expected.UNKNOWN, "always has a handler"),
    ("npm", recorded.NPM, TERM, Expected.UNKNOWN, "always has a handler"),
    ("trap behind a foreground command", recorded.TRAP_FOREGROUND, TERM, Expected.UNKNOWN, "once `sleep 1000`"),
    ("SIGKILL", recorded.HANDLER, signals.SIGKILL, Expected.KILLED, "nothing can handle"),
    ("no table", None, TERM, Expected.UNKNOWN, "cannot be read"),
    ("unknown signal", recorded.SLEEP, None, Expected.UNKNOWN, "not known"),
]


@pytest.mark.parametrize(("_case", "rows", "signal", "expected", "words"), FORECASTS, ids=[row[0] for row in FORECASTS])
def test_recorded_tables_give_the_forecast_that_was_measured(
    _case: str, rows: Table | None, signal: int | None, expected: Expected, words: str
) -> None:
    found = forecast(rows, signal)
    assert found.expected is expected
    assert words in found.evidence


def test_a_default_action_that_may_be_a_sigwait_in_disguise_is_unknown() -> None:
    """Without the kernel's wait channel (rootless engine) a program of unknown kind may wait for the signal."""
    (row,) = recorded.GO
    blind = (replace(row, caught=0, waits_in=""),)
    assert forecast(blind, TERM).expected is Expected.UNKNOWN
    assert beyond_doubt(blind, blind, blind, TERM) is None


@given(tables, st.none() | st.integers(1, 64))
def test_a_forecast_is_total_and_pure(rows: Table | None, signal: int | None) -> None:
    assert forecast(rows, signal) == forecast(rows, signal)


@given(tables, tables, tables, st.integers(1, 64))
def test_cutting_short_is_total_and_needs_every_look(
    before: Table | None, second: Table | None, late: Table | None, signal: int
) -> None:
    if beyond_doubt(before, second, late, signal) is not None:
        assert all((before, second, late))


CERTAIN = [recorded.SLEEP, recorded.SHELL_FORM, recorded.IGNORES, recorded.BLOCKS_PENDING]


@pytest.mark.parametrize("rows", CERTAIN, ids=lambda rows: rows[0].command)
def test_a_signal_that_nobody_can_take_is_beyond_doubt(rows: Table) -> None:
    assert beyond_doubt(rows, rows, rows, TERM)


DOUBTFUL = [
    (recorded.HANDLER, recorded.HANDLER),
    (recorded.NODE, recorded.NODE_RESET),
    (recorded.HANDLER, recorded.HANDLER_RESET),
    (recorded.INIT_SLEEP, recorded.INIT_SLEEP),
    (recorded.SIGWAIT, recorded.SIGWAIT),
    (recorded.TRAP_FOREGROUND, recorded.TRAP_FOREGROUND),
    (recorded.BLOCKS, recorded.BLOCKS),
    (recorded.NPM, recorded.NPM),
]


@pytest.mark.parametrize(("before", "after"), DOUBTFUL, ids=lambda rows: rows[0].command)
def test_handlers_waiters_and_inits_are_never_cut_short(before: Table, after: Table) -> None:
    """A handler that is gone may have been meant for once: node's `process.once` and a drain, measured."""
    assert beyond_doubt(before, after, after, TERM) is None


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/bin/python3.11 -u app.py", "python"),
        ("-bash", "bash"),
        ("busybox sh -c x", "sh"),
        ("node /usr/lib/node_modules/npm/bin/npm-cli.js start", "npm"),
        ("worker: idle", "worker"),
        ("", ""),
    ],
)
def test_programs_are_known_by_their_name(command: str, name: str) -> None:
    (row,) = recorded.SLEEP
    assert program(replace(row, command=command)) == name


@given(tables)
def test_a_tree_ends_whatever_the_table_says(rows: Table | None) -> None:
    tree = Tree(rows or ())
    for row in tree.processes:
        assert len(tree.descendants(row)) <= len(tree.processes)


@pytest.mark.parametrize("expected", Expected)
def test_a_forecast_says_that_it_is_none_of_a_verdict(expected: Expected) -> None:
    found = Forecast(expected, "PID 1 is `x\x1b[31m`")
    text, data = forecast_text.render(found, "web"), json.loads(forecast_text.render_json(found))
    assert text.startswith("forecast, not measured: web ")
    assert data["measured"] is False
    assert "\x1b" not in text
    if expected in KNOWN_RIGHT:
        right, of = KNOWN_RIGHT[expected]
        assert f"right {right} times of {of}" in text
        assert (data["right_times"], data["of_times"]) == (right, of)


# ── On a real engine ─────────────────────────────────────────────────────────────────────────────────────────────────

IMAGE = "debian:bookworm-slim"
PERL_WAITS = "use POSIX; $|=1; my $s=POSIX::SigSet->new(15); sigprocmask(SIG_BLOCK,$s); print qq(ready\\n); sleep 100"


def scenario(name: str, *command: str, init: bool = False, **stop: int) -> Scenario:
    """A container of the base image; a second is enough for a shell or perl to start, on a busy machine, too."""
    return Scenario(
        name,
        Subject(image=IMAGE, command=command, init=init),
        readiness=Readiness(delay_ns=NS_PER_S),
        stop=StopPlan((stop.get("timeout_s", 30) * NS_PER_S,)),
    )


def request(*scenarios: Scenario, fast: bool = False) -> RunRequest:
    """A run on the docker engine that writes nothing."""
    return RunRequest(scenarios, "test", None, engine="docker", jobs="8", fast=fast)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (scenario("sleeps", "sleep", "1000"), Expected.KILLED),
        pytest.param(scenario("shell", "sh", "-c", "sleep 1000; true"), Expected.KILLED, marks=pytest.mark.long),
        pytest.param(scenario("init", "sleep", "1000", init=True), Expected.STOPS, marks=pytest.mark.long),
        (scenario("trap", "sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"), Expected.STOPS),
        (scenario("delayed", "sh", "-c", "trap 'exit 0' TERM; sleep 1000; true"), Expected.UNKNOWN),
        pytest.param(scenario("blocks", "perl", "-e", PERL_WAITS), Expected.UNKNOWN, marks=pytest.mark.long),
        pytest.param(scenario("gone", "true"), Expected.UNKNOWN, marks=pytest.mark.long),
    ],
    ids=lambda value: value.name if isinstance(value, Scenario) else "",
)
def test_docker_containers_are_forecast_without_a_stop(
    subject: Scenario, expected: Expected, docker_engine_host: DockerHost
) -> None:
    assert preview.forecast_stop(request(subject), Silence(), Interruption()).expected is expected


@pytest.mark.docker
@pytest.mark.parametrize("without_handler", [2, pytest.param(18, marks=pytest.mark.long)])
def test_containers_that_ignore_sigterm_are_gated_in_seconds(
    docker_engine_host: DockerHost, without_handler: int
) -> None:
    ignoring = [scenario(f"sleep-{number}", "sleep", "1000", timeout_s=300) for number in range(without_handler)]
    stubborn = [
        scenario("ignores", "sh", "-c", "trap '' TERM; sleep 1000; true", timeout_s=300),
        scenario("blocks", "perl", "-e", PERL_WAITS, timeout_s=300),
    ]
    report = pipeline.run(request(*ignoring, *stubborn, fast=True), Silence(), Interruption()).report
    for result in report.results:
        seen, judged = result.observation, result.verdict
        assert judged.outcome is Outcome.KILLED
        assert judged.facts.sigkill_evidence is SigkillEvidence.INFERRED
        assert judged.facts.shutdown_duration_ns is None
        assert "would have been SIGKILLed at 300 s" in judged.reason
        assert seen.derivation.cut_short is not None
        assert "cut-short" in {finding.rule for finding in judged.findings}


@pytest.mark.docker
def test_fast_lets_a_stop_that_is_under_way_run_its_course(docker_engine_host: DockerHost) -> None:
    slow = scenario("slow", "sh", "-c", "trap 'sleep 2; exit 0' TERM; sleep 1000 & wait", timeout_s=10)
    init = scenario("init", "sleep", "1000", init=True, timeout_s=10)
    report = pipeline.run(request(slow, init, fast=True), Silence(), Interruption()).report
    assert {result.observation.derivation.cut_short for result in report.results} == {None}
    assert Outcome.KILLED not in {result.verdict.outcome for result in report.results}
