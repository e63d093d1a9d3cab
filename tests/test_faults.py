"""Faults as they are asked for: in scenario files and on the command line, with what is wrong said where it stands."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness import wording
from stop_harness.errors import ScenarioError
from stop_harness.evidence import fault_words
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    Event,
    EventKind,
    Fault,
    FaultAction,
    FaultKind,
    FaultMoment,
    FaultRecord,
    LogTail,
    Outcome,
    Scenario,
    Subject,
    Verdict,
    When,
)
from stop_harness.plan import trials
from stop_harness.renderers import html_trials
from stop_harness.scenario import discovery, faults, scenario_file
from stop_harness.verdict import judge
from tests.strategies import DOCKER, Behaviour, Jitter, stop

HEAD = "version: 1\nname: a\nsubject: {image: a}\nstop: {timeouts: [10s]}\n"

READ = [
    ("{cpu: 0.2, at: with}", Fault(FaultKind.CPU, FaultAction.LIMIT, FaultMoment(When.WITH), amount=0.2)),
    (
        "{memory: {headroom: 8MiB}, at: 1s, for: 2s}",
        Fault(
            FaultKind.MEMORY,
            FaultAction.HEADROOM,
            FaultMoment(When.AFTER, NS_PER_S),
            for_ns=2 * NS_PER_S,
            amount=8 * 1024**2,
        ),
    ),
    (
        "{network: {latency: 200ms, port: 5432}, at: -2s}",
        Fault(
            FaultKind.NETWORK,
            FaultAction.LATENCY,
            FaultMoment(When.BEFORE, 2 * NS_PER_S),
            amount=200 * NS_PER_MS,
            port=5432,
        ),
    ),
    ("{network: {loss: 30%}}", Fault(FaultKind.NETWORK, FaultAction.LOSS, FaultMoment(), amount=0.3)),
    ("{signal: term}", Fault(FaultKind.SIGNAL, FaultAction.SEND, FaultMoment(When.AFTER), signal="SIGTERM")),
    (
        "{process: {signal: USR1, match: worker}, at: {log: bye}}",
        Fault(FaultKind.PROCESS, FaultAction.SEND, FaultMoment(When.LOG, log="bye"), target="worker", signal="SIGUSR1"),
    ),
    ("{stop: again}", Fault(FaultKind.STOP, FaultAction.AGAIN, FaultMoment(When.AFTER))),
    ("{dependency: {kill: db}}", Fault(FaultKind.DEPENDENCY, FaultAction.KILL, FaultMoment(), target="db")),
    (
        "{dependency: {slow: db, latency: 200ms}}",
        Fault(FaultKind.DEPENDENCY, FaultAction.LATENCY, FaultMoment(), amount=200 * NS_PER_MS, target="db"),
    ),
    (
        "{exec: [rm, -f, /x]}",
        Fault(FaultKind.EXEC, FaultAction.RUN, FaultMoment(When.AFTER), command=("rm", "-f", "/x")),
    ),
]


@pytest.mark.parametrize(("text", "fault"), READ, ids=[row[0] for row in READ])
def test_a_fault_is_read_with_its_moment_and_its_length(text: str, fault: Fault) -> None:
    """What lasts begins before the stop where nothing is said, what is done once after its signal."""
    assert scenario_file.parse(f"{HEAD}faults: [{text}]").faults == (fault,)


WRONG = [
    ("{cpu: 0}", "faults.0.cpu: 0 is not allowed; needed: a number from 0.01 to 1024"),
    ("{memory: 1MiB}", "faults.0.memory: '1MiB' is less than the 6MiB that engines take for a limit"),
    ("{}", "faults.0: one fault is needed, not nothing"),
    ("{cpu: 1, pids: 3}", "faults.0: one fault is needed, not `cpu` and `pids`"),
    ("{cpu: 1, att: with}", "faults.0.att: unknown key; did you mean `at`?"),
    ("{cpu: 1, at: soon}", "faults.0.at: 'soon' is no moment; needed: before, with, after, an offset"),
    ("{network: dead}", "faults.0.network: 'dead' is not allowed; needed: cut, reset, {latency: 200ms}"),
    ("{network: {latency: 0s}}", "0 changes nothing"),
    ("{network: {loss: 130%}}", "is no share of the packets"),
    ("{disk: {full: data}}", "'data' is not allowed; needed: an absolute path"),
    ("{process: {kill: '('}}", "is not a regular expression"),
    ("{dependency: {slow: db}}", "`slow` and `latency` go together, such as {slow: db, latency: 200ms}"),
    ("{dependency: {slow: db, latency: 0s}}", "0 changes nothing"),
    ("{dependency: {slow: db, latency: 1s}}, {dependency: {kill: db}}", "two faults of `dependency` at the same time"),
    ("{pause: false}", "needed: true; `for` says how long"),
    ("{signal: SIGTERM, for: 3s}", "`for` does not go with `signal` of this kind: it is done once"),
    ("{dependency: {kill: db}, for: 2s}", "`for` does not go with a dependency that is killed or stopped"),
    ("{dependency: {stop: db}, for: 2s}", "`for` does not go with a dependency that is killed or stopped"),
    ("{clock: 2s}", "'2s' cannot be told from a clock that is read late; needed: at least 5s, or -5s"),
    ("{cpu: 1, for: 0s}", "`for`: 0 is no length"),
    ("{pause: true, at: 10s}", "faults: `pause` at 10s is not within the stop timeout of 10s"),
    ("{stop: again, at: before}", "`stop: again` is about the stop: it cannot come before it"),
    ("{cpu: 1}, {cpu: 2, at: 1s}", "two faults of `cpu` at the same time; give the first one an end with `for`"),
    ("{pause: true, at: 1s}, {exec: [ls], at: 2s}", "faults: `exec` begins or ends while `pause` lasts"),
    ("{disk: {full: /a}, for: 1s}, {pause: true, at: 500ms, for: 1s}", "`disk` begins or ends while `pause` lasts"),
    ("{exec: ls}", "a command is needed, as a list of words"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[row[0] for row in WRONG])
def test_a_fault_that_cannot_be_meant_is_refused_where_it_stands(text: str, said: str) -> None:
    """With what is allowed."""
    with pytest.raises(ScenarioError) as caught:
        scenario_file.parse(f"{HEAD}faults: [{text}]", "a.yaml")
    assert "a.yaml:5:" in str(caught.value)
    assert said in str(caught.value)


def test_faults_one_after_the_other_do_not_contradict_each_other() -> None:
    """The first ends before the second begins; of several ports each has its own."""
    text = (
        "{cpu: 1, at: -2s, for: 1s}, {cpu: 2, at: 0s}, {network: {loss: 2%, port: 1}}, {network: {loss: 1%, port: 2}}"
    )
    assert len(scenario_file.parse(f"{HEAD}faults: [{text}]").faults) == 4


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("cpu=0.2@with", "{cpu: 0.2, at: with}"),
        ("pause@500ms:2s", "{pause: true, at: 500ms, for: 2s}"),
        ("network=latency:200ms,port:5432@-2s:5s", "{network: {latency: 200ms, port: 5432}, at: -2s, for: 5s}"),
        ("network=cut", "{network: cut}"),
        ("network=cut,port:53", "{network: {cut: true, port: 53}}"),
        ("process=kill:python3 -m worker@after", "{process: {kill: python3 -m worker}, at: after}"),
        ("exec=rm -f '/a b'@log:bye: now", "{exec: [rm, -f, /a b], at: {log: 'bye: now'}}"),
        ("signal=SIGINT@-1s", "{signal: SIGINT, at: -1s}"),
        ("disk=full:/data", "{disk: {full: /data}}"),
        ("process=signal:USR1,match:a,b@with", "{process: {signal: USR1, match: 'a,b'}, at: with}"),
    ],
)
def test_the_option_says_the_same_as_the_file(option: str, text: str) -> None:
    """One form for the shell, one for YAML."""
    data = {"version": 1, "name": "a", "subject": {"image": "a"}, "faults": [faults.option(option)]}
    assert scenario_file.from_data(data, "check").faults == scenario_file.parse(f"{HEAD}faults: [{text}]").faults


@given(st.text(max_size=40))
def test_no_text_of_an_option_ends_in_anything_but_a_fault_or_a_message(text: str) -> None:
    """Whatever somebody types."""
    with contextlib.suppress(ValueError):  # which is what its callers take for a message
        assert set(faults.option(text)) & set(FaultKind)


def test_a_scenario_file_with_faults_is_found_and_its_words_say_what_is_asked(tmp_path: Path) -> None:
    """From the disk, as `run` reads it."""
    path = tmp_path / "a.yaml"
    slow = "{dependency: {slow: db, latency: 200ms}}"
    path.write_text(f"{HEAD}faults: [{{cpu: 0.2, at: with, for: 5s}}, {{process: {{stop: a}}, at: 500ms}}, {slow}]\n")
    (found,) = discovery.load((path,))
    assert list(map(fault_words.asked, found.faults)) == [
        "cpu 0.2 with the stop for 5s",
        "process stop a 500ms after the stop signal",
        "dependency slow db by 200ms each way before the stop",
    ]


@given(st.integers(-2 * NS_PER_S, 2 * NS_PER_S) | st.integers(-NS_PER_MS, NS_PER_MS))
def test_no_time_is_minus_nothing(at_ns: int) -> None:
    """A fault that came 0.3 ms before the stop signal came with it, as far as three digits tell."""
    shown = (wording.signed_seconds, wording.seconds, wording.precise_seconds)
    for text in (*(show(at_ns) for show in shown), html_trials.moment(wording.to_seconds(at_ns))):
        number = re.sub(r"[^0-9+.−-]", "", text)
        assert not re.fullmatch(r"[-−+][0.]+", number), text
    assert str(wording.to_seconds(at_ns)) != "-0.0"
    record = FaultRecord(CPU, begun_ns=at_ns, ended_ns=at_ns)
    assert " -0.000 s" not in fault_words.course(record)


def test_nothing_is_derived_from_a_stop_under_faults() -> None:
    """Each stop timeout is performed."""
    scenario = scenario_file.parse(HEAD.replace("[10s]", "[10s, 20s]") + "faults: [{cpu: 1}]")
    assert len(trials.expand((scenario,), infer=True).trials) == 2
    assert len(trials.expand((replace(scenario, faults=()),), infer=True).trials) == 1


# ── the verdict ──────────────────────────────────────────────────────────────────────────────────────────────────────

CPU = Fault(FaultKind.CPU, FaultAction.LIMIT, FaultMoment(When.WITH), amount=0.2)
PAUSE = Fault(FaultKind.PAUSE, FaultAction.PAUSE, FaultMoment(When.AFTER))
KILL = Fault(FaultKind.STOP, FaultAction.KILL, FaultMoment(When.AFTER))
PLAIN = Scenario("a", Subject(image="a"))


@pytest.mark.parametrize("leaves_s", [1.0, None], ids=["exits", "never"])
def test_a_fault_that_was_not_there_never_lets_a_stop_pass(leaves_s: float | None) -> None:
    """Whatever the stop itself came to."""
    behaviour = Behaviour(None if leaves_s is None else round(leaves_s * NS_PER_S), 0, None)
    seen = stop(behaviour, 10 * NS_PER_S, DOCKER, Jitter()).observation
    record = FaultRecord(CPU, problem="the engine refused")
    found = judge.judge(replace(seen, faults=(record,)), PLAIN)
    assert (found.outcome, found.findings[0].rule) == (Outcome.INCONCLUSIVE, "fault-not-applied")
    assert "cpu 0.2 with the stop: the engine refused" in found.reason


def test_a_fault_that_was_there_is_said_and_decides_nothing() -> None:
    """A note with the measured times."""
    seen = stop(Behaviour(NS_PER_S, 0, None), 10 * NS_PER_S, DOCKER, Jitter()).observation
    record = FaultRecord(CPU, asked_ns=0, begun_ns=21 * NS_PER_MS, seen="read back")
    found = judge.judge(replace(seen, faults=(record,)), PLAIN)
    assert found.outcome is Outcome.GRACEFUL
    (note,) = [item for item in found.findings if item.rule == "under-fault"]
    assert "cpu 0.2 from +0.021 s until the end" in note.message


@pytest.mark.parametrize(("ended_s", "cause"), [(None, "halted-by-fault"), (10.2, "halted-by-fault"), (3.0, None)])
def test_only_a_fault_that_held_at_the_stop_timeout_explains_sigkill(ended_s: float | None, cause: str | None) -> None:
    """One that had ended by then does not."""
    seen = stop(Behaviour(None, 0, None), 10 * NS_PER_S, DOCKER, Jitter()).observation
    ended_ns = None if ended_s is None else round(ended_s * NS_PER_S)
    record = FaultRecord(PAUSE, asked_ns=0, begun_ns=NS_PER_S, ended_ns=ended_ns, seen="pause event")
    found = judge.judge(replace(seen, faults=(record,)), PLAIN)
    assert found.outcome is Outcome.KILLED
    assert found.cause is not None
    assert (found.cause.id == "halted-by-fault") is (cause is not None)


@pytest.mark.parametrize("ended_s", [None, 10.2, 3.1])
@pytest.mark.parametrize("fault", [CPU, PAUSE], ids=["cpu", "pause"])
def test_a_stop_that_was_killed_while_a_fault_outlasted_its_time_says_nothing(
    fault: Fault, ended_s: float | None
) -> None:
    """An engine that was too busy to undo it held the container, and nobody knows what that would have done."""
    seen = stop(Behaviour(None, 0, None), 10 * NS_PER_S, DOCKER, Jitter()).observation
    ended_ns = None if ended_s is None else round(ended_s * NS_PER_S)

    def judged(for_s: int) -> Verdict:
        lasts = replace(fault, for_ns=for_s * NS_PER_S)
        record = FaultRecord(lasts, asked_ns=0, begun_ns=NS_PER_S, ended_ns=ended_ns, seen="read back")
        return judge.judge(replace(seen, faults=(record,)), PLAIN)

    found = judged(2)
    if ended_s == 3.1:
        assert found.outcome is Outcome.KILLED
        return
    assert (found.outcome, found.findings[0].rule) == (Outcome.INCONCLUSIVE, "fault-not-applied")
    until = "until the end" if ended_s is None else "to +10.20 s"
    assert f"for 2s: it lasted from +1.00 s {until}, and was there at the stop timeout" in found.reason
    assert judged(60).outcome is Outcome.KILLED, "it was asked to be there then"


def test_the_sigkill_of_a_fault_is_not_taken_for_the_stop_timeouts() -> None:
    """Killed, early, by what the scenario asked for."""
    seen = stop(Behaviour(None, 0, None), 10 * NS_PER_S, DOCKER, Jitter()).observation
    begun = min(event.at_ns for event in seen.record.events if event.kind is EventKind.SIGNAL_SENT)
    kept = tuple(event for event in seen.record.events if event.signal != 9 and event.kind is not EventKind.EXITED)
    gone = Event(EventKind.EXITED, begun + NS_PER_S, Clock.ENGINE, "State.FinishedAt")
    sent = Event(EventKind.SIGNAL_SENT, begun + NS_PER_S, Clock.ENGINE, "kill event", 9)
    record = FaultRecord(KILL, asked_ns=NS_PER_S, begun_ns=NS_PER_S, seen="kill event", events=(sent,))
    killed = replace(seen, record=replace(seen.record, events=(*kept, gone)), faults=(record,))
    found = judge.judge(killed, PLAIN)
    assert (found.outcome, found.findings[0].rule) == (Outcome.KILLED, "killed-by-fault")
    assert found.cause is not None
    assert found.cause.id == "killed-by-fault"


INTERRUPTED = """Traceback (most recent call last):
  File "/app.py", line 11, in <module>
    time.sleep(1)
KeyboardInterrupt
"""


@pytest.mark.parametrize(
    ("log", "outcome"), [("interrupted, all saved\n", Outcome.GRACEFUL), (INTERRUPTED, Outcome.CRASHED)]
)
def test_who_ends_by_the_signal_of_a_fault_is_graceful_unless_it_failed(log: str, outcome: Outcome) -> None:
    """SIGINT, then SIGTERM: 130 says which one it heeded. A KeyboardInterrupt that nobody catches is no shutdown."""
    sigint = Fault(FaultKind.SIGNAL, FaultAction.SEND, FaultMoment(), signal="SIGINT")
    seen = stop(Behaviour(NS_PER_S // 100, 130, None), 10 * NS_PER_S, DOCKER, Jitter()).observation
    record = FaultRecord(sigint, asked_ns=-NS_PER_MS, begun_ns=-NS_PER_MS, seen="kill event")
    looks = replace(seen.looks, log_after_signal=log)
    found = judge.judge(replace(seen, looks=looks, faults=(record,)), PLAIN)
    assert found.outcome is outcome


@pytest.mark.parametrize(("log", "outcome"), [("all saved\n", Outcome.NOT_RUNNING), (INTERRUPTED, Outcome.CRASHED)])
def test_who_fails_by_the_signal_of_a_fault_has_failed_also_before_the_stop(log: str, outcome: Outcome) -> None:
    """SIGINT may end a program some milliseconds before SIGTERM is sent, or after it: the verdict is the same."""
    sigint = Fault(FaultKind.SIGNAL, FaultAction.SEND, FaultMoment(), signal="SIGINT")
    seen = stop(Behaviour(NS_PER_S // 100, 130, None), 10 * NS_PER_S, DOCKER, Jitter()).observation
    record = FaultRecord(sigint, asked_ns=-NS_PER_MS, begun_ns=-NS_PER_MS, seen="kill event")
    looks = replace(seen.looks, logs=LogTail(log))
    gone = replace(seen.record, exited_before_stop=True)
    found = judge.judge(replace(seen, record=gone, looks=looks, faults=(record,)), PLAIN)
    assert found.outcome is outcome
