"""Remedies: which are tried, what they change, what is said of them; and the five cures on real containers."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness import signals
from stop_harness.conductor import exit_codes, pipeline, store, stored_runs
from stop_harness.conductor.exit_codes import FAIL, PASS
from stop_harness.conductor.open_engine import Chosen
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.simulated import Script, SimulatedEngine
from stop_harness.evidence import exec_form
from stop_harness.experiments import remedies
from stop_harness.model import (
    NS_PER_S,
    Cause,
    Configuration,
    Expectation,
    Looks,
    Observation,
    Outcome,
    ProcessInfo,
    Remedy,
    RemedyEffect,
    RemedyKind,
    Report,
    Scenario,
    SigkillEvidence,
    Status,
    StopFacts,
    StopPlan,
    StopRecord,
    Subject,
    TrialResult,
    TriedRemedy,
    Verdict,
)
from stop_harness.renderers.sections import remedy_text
from stop_harness.scenario import discovery
from tests.reports_factory import DOCKER
from tests.test_pipeline import Heard

SCENARIOS = Path(__file__).parent.parent / "scenarios"


def mask(*names: str) -> int:
    """A signal mask."""
    return sum(1 << signals.number(name) - 1 for name in names)


def process(pid: int, parent: int, command: str, *caught: str) -> ProcessInfo:
    """A process that catches some signals."""
    return ProcessInfo(pid, parent, command, mask(*caught), 0, 0)


def bad_stop(
    cause: str,
    *processes: ProcessInfo,
    outcome: Outcome = Outcome.KILLED,
    timeout_s: int = 10,
    status: Status = Status.FAIL,
    signal: str = "SIGTERM",
) -> TrialResult:
    """A stop that went wrong for a known reason."""
    seen = Observation(
        trial_id=f"a@{timeout_s}s#1",
        scenario="a",
        engine=DOCKER,
        stop_timeout_ns=timeout_s * NS_PER_S,
        stop_after_ns=0,
        repetition=1,
        started_at="",
        record=StopRecord(stop_signal=signals.number(signal)),
        looks=Looks(before=processes or None),
    )
    facts = StopFacts(SigkillEvidence.OBSERVED, "")
    return TrialResult(seen, Verdict(seen.trial_id, outcome, status, "", facts, cause=Cause(cause, "")))


def candidates(bad: TrialResult, configuration: Configuration) -> dict[str, Remedy]:
    """By id, in order."""
    scenario = Scenario("a", Subject(image="a"))
    return {remedy.id: remedy for remedy in remedies.candidates(scenario, bad, configuration)}


SHELL, PYTHON = process(10, 1, "/bin/sh -c python3 app.py"), process(11, 10, "python3 app.py", "SIGTERM", "SIGINT")
SHELL_FORM = Configuration(command=("/bin/sh", "-c", "python3 app.py"))


# ── Candidates ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_shell_form_becomes_a_list_of_words() -> None:
    """No assumption: what the shell would have made of the line is known."""
    found = candidates(bad_stop("shell-not-forwarding", SHELL, PYTHON), SHELL_FORM)
    assert next(iter(found)) == "exec-form"
    assert found["exec-form"].command == ("python3", "app.py")
    assert found["exec-form"].entrypoint is None
    assert not found["exec-form"].assumption
    assert "init" in found


def test_an_entrypoint_in_shell_form_is_replaced_with_its_command() -> None:
    """Its CMD was only `$0` of the shell; as an argument of the program it would be wrong."""
    configuration = Configuration(("/bin/sh", "-c", "python3 app.py"), ("ignored",))
    remedy = candidates(bad_stop("shell-not-forwarding", SHELL, PYTHON), configuration)["exec-form"]
    assert (remedy.entrypoint, remedy.command) == (("python3", "app.py"), None)
    dockerfile = next(line.text for line in remedy.lines if line.place == "Dockerfile")
    assert dockerfile == 'ENTRYPOINT ["python3", "app.py"]\nCMD []'


def test_a_script_is_left_out_with_a_warning() -> None:
    """The words of CMD are known, so their quotes are kept; what the script sets up is missing, and it is said."""
    script = process(10, 1, "/bin/sh ./entry.sh server --name big one")
    server = process(11, 10, "server --name big one", "SIGTERM")
    configuration = Configuration(("./entry.sh",), ("server", "--name", "big one"))
    remedy = candidates(bad_stop("shell-not-forwarding", script, server), configuration)["exec-form"]
    assert remedy.entrypoint == ("server", "--name", "big one")
    assert exec_form.SCRIPT_LEFT_OUT in remedy.assumption
    assert exec_form.QUOTES_LOST not in remedy.assumption


def test_a_handler_elsewhere_is_tried() -> None:
    """Only signals that PID 1 catches, and not the one that failed; SIGTERM first."""
    table = process(10, 1, "server", "SIGQUIT", "SIGTERM", "SIGCHLD")
    found = candidates(bad_stop("wrong-stopsignal", table, signal="SIGHUP"), Configuration(command=("server",)))
    assert [item.stop_signal for item in found.values() if item.stop_signal] == ["SIGTERM", "SIGQUIT"]


def test_one_longer_timeout_is_tried_four_times_as_long_and_never_above_two_minutes() -> None:
    """How long the program takes then tells whether less is enough. 120 s is the longest that Fargate allows."""
    table = process(10, 1, "server", "SIGTERM")
    configuration = Configuration(command=("server",))
    found = candidates(bad_stop("grace-too-short", table), configuration)
    assert list(found) == ["stop-timeout-40s"]
    long = candidates(bad_stop("grace-too-short", table, timeout_s=50), configuration)
    assert list(long) == ["stop-timeout-2m"]
    assert not candidates(bad_stop("grace-too-short", table, timeout_s=120), configuration)


def test_an_init_is_not_put_over_an_init() -> None:
    """The image's own counts."""
    table = (process(10, 1, "/usr/bin/tini -- server"), process(11, 10, "server", "SIGINT"))
    configuration = Configuration(("/usr/bin/tini", "--"), ("server",))
    found = candidates(bad_stop("unknown", *table), configuration)
    assert "init" not in found
    assert "stop-signal-SIGINT" in found


def test_exec_form_keeps_the_images_init() -> None:
    """`tini -g -- sh -c "…"` becomes `tini -g -- …`."""
    configuration = Configuration(("tini", "-g", "--"), ("sh", "-c", "server -v"))
    found = exec_form.rewrites(configuration, ())
    assert [(item.entrypoint, item.command) for item in found] == [(None, ("server", "-v"))]
    mixed = Configuration((), ("tini", "-g", "--", "sh", "-c", "server -v"))
    assert exec_form.rewrites(mixed, ())[0].entrypoint == ("tini", "-g", "--", "server", "-v")


@pytest.mark.parametrize(
    ("line", "rewritten"),
    [
        ("cd /srv && server", "cd /srv && exec server"),
        ("migrate; server > log 2>&1", "migrate; exec server > log 2>&1"),
        ('server --port "$PORT"', 'exec server --port "$PORT"'),
        ('echo "a;b" && server', 'echo "a;b" && exec server'),
    ],
)
def test_exec_goes_before_the_last_command_of_a_line(line: str, rewritten: str) -> None:
    """Where the shell is needed for something."""
    found = exec_form.rewrites(Configuration(command=("sh", "-c", line)), ())
    assert [item.command for item in found] == [("sh", "-c", rewritten)]


@pytest.mark.parametrize(
    "line", ["server | tee log", "(server)", "if true; then server; fi", "server &", "exec server $A"]
)
def test_exec_is_not_put_where_it_would_not_help(line: str) -> None:
    """A pipe, a subshell, a keyword, a background command; or it stands there."""
    assert not exec_form.rewrites(Configuration(command=("sh", "-c", line)), ())


WORDS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1, max_size=4)


@settings(deadline=None)
@given(WORDS)
def test_a_simple_line_means_the_same_without_a_shell(words: list[str]) -> None:
    """What is rewritten as a list of words is what a shell would have run; everything else is left to the shell."""
    found = exec_form.simple_words(shlex.join(words))
    assert found is None or list(found) == words


@settings(deadline=None)
@given(st.text(max_size=30))
def test_no_line_is_too_strange(line: str) -> None:
    """The parts make up the line."""
    head, last = exec_form.split_last(line)
    assert not last or line.rstrip() == head + last
    exec_form.simple_words(line)
    exec_form.rewrites(Configuration(command=("sh", "-c", line)), (SHELL, PYTHON))


@settings(deadline=None)
@given(
    st.sampled_from([*remedies.KINDS, "unknown", "a-new-one"]),
    st.sampled_from([*remedies.KINDS, "unknown"]),
    st.sampled_from([2, 10, 30, 120]),
)
def test_every_candidate_changes_something_and_says_how(cause: str, second: str, timeout_s: int) -> None:
    """With lines to paste that their formats can read."""
    bad = bad_stop(cause, SHELL, PYTHON, timeout_s=timeout_s)
    scenario = Scenario("a", Subject(image="a"))
    singles = remedies.candidates(scenario, bad, SHELL_FORM)
    tried = tuple((item, bad_stop(second, SHELL, PYTHON, timeout_s=timeout_s)) for item in singles)
    pairs = remedies.combinations(tried, scenario, SHELL_FORM)
    assert len({item.id for item in singles + pairs}) == len(singles + pairs)
    assert len(pairs) <= remedies.MAX_COMBINATIONS
    for remedy in singles + pairs:
        changed = remedies.apply(scenario, remedy, timeout_s * NS_PER_S)
        assert (changed.subject, changed.stop) != (
            scenario.subject,
            replace(scenario.stop, timeouts_ns=(timeout_s * NS_PER_S,)),
        )
        assert set(remedy.kinds) <= set(RemedyKind)
        for line in remedy.lines:
            assert line.text
            if line.place == "ECS task definition":
                json.loads("{" + line.text + "}")
            if line.place in {"Compose", "Kubernetes"}:
                assert isinstance(yaml.safe_load(line.text), dict)


# ── Which stops, and what is said ────────────────────────────────────────────────────────────────────────────────────


def test_only_the_longest_bad_stop_is_repeated() -> None:
    """Killed at 2 s as expected and graceful at 30 s needs no cure; killed at 10 s and not expected to be does."""
    short = bad_stop("grace-too-short", timeout_s=2, status=Status.PASS)
    middle = bad_stop("grace-too-short", timeout_s=10)
    good = bad_stop("", timeout_s=30, outcome=Outcome.GRACEFUL, status=Status.PASS)
    assert remedies.bad_stops((short, good)) == ()
    assert remedies.bad_stops((short, middle, good)) == (middle,)
    assert remedies.bad_stops((short,)) == (short,)


@pytest.mark.parametrize("outcome", sorted(remedies.NOT_CURABLE))
def test_there_is_nothing_to_cure(outcome: Outcome) -> None:
    """Good, not measured, or over before the stop."""
    assert remedies.bad_stops((bad_stop("unknown", outcome=outcome),)) == ()


def test_exit_codes_of_a_scenario_follow_the_stop_signal() -> None:
    """One that accepts 143 accepts 130 after SIGINT; one that accepts 0 alone does not."""
    remedy = Remedy("x", (RemedyKind.STOP_SIGNAL,), "x", stop_signal="SIGINT")
    for codes, accepted in (((0, 143), (0, 143, 130)), ((0,), (0,)), (None, None)):
        scenario = Scenario("a", Subject(image="a"), expectations=(Expectation(exit_codes=codes),))
        assert remedies.apply(scenario, remedy, NS_PER_S).expectations[0].exit_codes == accepted


# ── Runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def simulated(tmp_path: Path | None, script: Script, timeout_s: int = 10) -> Report:
    """A run with remedies on the simulated engine."""
    scenario = Scenario("a", Subject(image="a"), stop=StopPlan((timeout_s * NS_PER_S,)))
    heard = Heard()
    request = RunRequest((scenario,), "test", tmp_path, engine="simulated", try_fixes=True)
    engine = SimulatedEngine({"a": script})
    done = pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(engine))
    assert not engine.living
    return done.report


def test_a_run_with_remedies_can_be_judged_again(tmp_path: Path) -> None:
    """They are kept beside the trials, in every report, and change no verdict and no exit code."""
    report = simulated(tmp_path, Script(leaves_after_ns=12 * NS_PER_S))
    assert report.remedies[0].remedy.id in {"stop-timeout-20s", "stop-timeout-40s"}
    assert report.remedies[0].effect is RemedyEffect.CURES
    assert exit_codes.of_report(report) == FAIL
    stored, _ = store.read(tmp_path / "latest")
    assert stored_runs.report_of(stored).remedies == report.remedies
    for name in ("results.json", "report.html", "summary.md"):
        assert "stop_grace_period: 20s" in (tmp_path / "latest" / name).read_text()


def test_a_graceful_container_is_left_alone(tmp_path: Path) -> None:
    """Nothing is tried, no journal is written."""
    report = simulated(tmp_path, Script())
    assert report.remedies == ()
    assert not (tmp_path / "latest" / store.REMEDIES_FILE).exists()
    assert exit_codes.of_report(report) == PASS


def test_what_was_not_measured_does_not_count_as_tried(tmp_path: Path) -> None:
    """Neither among the cures nor among what failed."""
    report = simulated(tmp_path, Script(leaves_after_ns=None))
    lost = tuple(replace(item, effect=RemedyEffect.NOT_MEASURED) for item in report.remedies)
    cures = replace(report.remedies[0], effect=RemedyEffect.CURES)
    (section,) = remedy_text.sections(replace(report, remedies=(cures, *lost)))
    count = len(lost)
    assert section.headline == f"1 of 1 change that was tried cures it ({count} more could not be measured)."
    (section,) = remedy_text.sections(replace(report, remedies=lost))
    assert section.headline == f"{count} {'change' if count == 1 else 'changes'} could not be measured."


def test_what_does_not_help_is_said_not_to() -> None:
    """A container that never leaves: every change that was tried is listed, none is called a cure."""
    report = simulated(None, Script(leaves_after_ns=None))
    (section,) = remedy_text.sections(report)
    assert section.headline.startswith("None of ")
    assert {item.effect for item in section.remedies} == {RemedyEffect.FAILS}
    assert not any(item.lines for item in section.remedies)
    assert any(len(item.remedy.kinds) == 2 for item in report.remedies)


CURED = {
    "shell-form": ("07-shell-form.yaml", RemedyKind.EXEC_FORM),
    "entrypoint-without-exec": ("08-entrypoint-without-exec.yaml", RemedyKind.EXEC_FORM),
    "pid1-without-handler": ("05-pid1-without-handler.yaml", RemedyKind.STOP_SIGNAL),
    "wrong-stop-signal": ("16-wrong-stop-signal.yaml", RemedyKind.STOP_SIGNAL),
    "drains-5s": ("02-drains-5s.yaml", RemedyKind.STOP_TIMEOUT),
}


@pytest.fixture(scope="module")
def tried() -> dict[str, tuple[TriedRemedy, ...]]:
    """The five shipped samples, stopped with 4 s, and what was tried, by scenario."""
    scenarios = discovery.load(tuple(SCENARIOS / file for file, _ in CURED.values()))
    short = tuple(
        replace(item, stop=replace(item.stop, timeouts_ns=(4 * NS_PER_S,)), expectations=(Expectation(),))
        for item in scenarios
    )
    heard = Heard()
    request = RunRequest(short, "remedies", None, engine="docker", try_fixes=True)
    report = pipeline.run(request, heard, heard.interruption).report
    return {name: tuple(item for item in report.remedies if item.scenario == name) for name in CURED}


@pytest.mark.docker
@pytest.mark.parametrize("name", CURED)
def test_the_cure_is_found_and_measured(tried: dict[str, tuple[TriedRemedy, ...]], name: str) -> None:
    """On a real container, with its duration and lines to paste."""
    cures = [item for item in tried[name] if item.effect is RemedyEffect.CURES and CURED[name][1] in item.remedy.kinds]
    assert cures, [(item.remedy.id, item.result.verdict.reason) for item in tried[name]]
    assert cures[0].result.verdict.facts.shutdown_duration_ns is not None
    assert cures[0].remedy.lines


@pytest.mark.docker
def test_an_init_over_a_script_is_never_called_a_cure(tried: dict[str, tuple[TriedRemedy, ...]]) -> None:
    """It leaves at once, and the program is SIGKILLed: proved where the kernel's record is at hand, else not proved. A
    busy machine may leave a gap in the record, and then nothing is measured."""
    for name in ("shell-form", "entrypoint-without-exec"):
        (init,) = (item for item in tried[name] if item.remedy.id == "init")
        if init.effect is RemedyEffect.NOT_MEASURED:
            assert "has a gap" in init.result.verdict.reason
        else:
            assert init.effect in {RemedyEffect.LOSES_WORK, RemedyEffect.UNPROVED}
