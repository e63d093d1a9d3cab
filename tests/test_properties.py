"""What a scenario expects to be true after a stop: how it is written, judged, recorded and shown."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stop_harness.engines.process.engine import PidNamespaceEngine
from stop_harness.engines.simulated import Script, SimulatedEngine
from stop_harness.errors import ScenarioError
from stop_harness.evidence import inference, properties
from stop_harness.model import (
    MOST_CONTENT_BYTES,
    NS_PER_S,
    UNREADABLE_LOG,
    CommandProperty,
    CommandSeen,
    Content,
    Expectation,
    FileProperty,
    FileSeen,
    LogProperty,
    LogTail,
    MessageCount,
    Outcome,
    PortProperty,
    Property,
    PropertyRecord,
    RestartProperty,
    Scenario,
    Status,
    Subject,
    TrafficClient,
    TrafficKind,
    TrialResult,
)
from stop_harness.plan import trials
from stop_harness.renderers import csv_table, html, junit, markdown, sarif, terminal
from stop_harness.renderers.results import results_json
from stop_harness.report.redaction import Redaction
from stop_harness.scenario import discovery, scenario_file
from stop_harness.trial import perform
from stop_harness.trial import properties as properties_of_a_trial
from stop_harness.trial.faults import Kept
from stop_harness.trial.perform import Interruption
from stop_harness.trial.traffic_messages import Outbox, count
from stop_harness.verdict import judge
from stop_harness.verdict import properties as properties_of_a_verdict
from tests.test_pipeline import run, scenario

JOURNAL = "/data/journal"
WHOLE = FileProperty(JOURNAL, Content(ends_with_newline=True))


def file_of(content: bytes) -> FileSeen:
    return FileSeen(len(content), content)


def held(content: Content, data: bytes) -> bool | None:
    return properties.of_file(FileProperty(JOURNAL, content), file_of(data)).held


# ── Judging what was seen ────────────────────────────────────────────────────────────────────────────────────────────


@given(data=st.binary(), text=st.text(min_size=1))
def test_contains_is_what_python_says_of_the_bytes(data: bytes, text: str) -> None:
    """In any bytes, also such as are no text; and a text is found in itself with anything around it."""
    try:
        wanted = text.encode()
    except UnicodeEncodeError:
        return
    assert held(Content(contains=text), data) is (wanted in data)
    assert held(Content(contains=text), data + wanted + data)


@given(data=st.binary())
def test_equals_holds_for_that_text_alone(data: bytes) -> None:
    """One byte more or less is another file."""
    text = data.decode("latin-1")
    same = text.encode()
    assert held(Content(equals=text), same)
    assert held(Content(equals=text), same + b"x") is False
    assert not same or held(Content(equals=text), same[:-1]) is False


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_a_json_text_that_is_cut_is_no_json(value: object) -> None:
    """What was written whole parses; without its last byte it does not, unless it is a number, which has no end."""
    whole = json.dumps([value], ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        whole.decode()
    except UnicodeDecodeError:  # a lone surrogate is no text
        assert held(Content(json=True), whole) is False
        return
    assert held(Content(json=True), whole)
    assert held(Content(json=True), whole[:-1]) is False


@pytest.mark.parametrize("text", [b"", b"NaN", b"{'a': 1}", b'{"a": 1}{', b"\xff", b"\xef\xbb\xbf{}"])
def test_what_only_looks_like_json_is_none(text: bytes) -> None:
    """RFC 8259 knows no NaN, no other quotes, nothing behind the value, no other encoding and no byte order mark."""
    assert held(Content(json=True), text) is False


def test_a_number_of_any_length_is_json() -> None:
    """Python has a limit, JSON has none."""
    assert held(Content(json=True), b"1" * 10_000)


def test_json_that_nobody_can_read_is_no_failure() -> None:
    """It may be whole: nested more deeply than the reader goes."""
    assert held(Content(json=True), b"[" * 100_000 + b"]" * 100_000) is None


@given(lines=st.lists(st.dictionaries(st.text(), st.integers()), min_size=1))
def test_a_journal_whose_last_line_is_cut_is_not_whole(lines: list[dict[str, int]]) -> None:
    """Every line of JSON, and each with its end."""
    whole = "".join(json.dumps(line) + "\n" for line in lines).encode()
    wanted = Content(json_lines=True, ends_with_newline=True)
    assert held(wanted, whole)
    assert held(wanted, whole[:-1]) is False
    assert held(Content(json_lines=True), whole[:-1])
    assert held(Content(json_lines=True), whole[:-2]) is False


def test_an_empty_file_has_no_line_with_an_end() -> None:
    """And says so."""
    record = properties.of_file(WHOLE, file_of(b""))
    assert (record.held, record.found) == (False, "file of 0 bytes: it is empty")


def test_every_condition_must_hold_and_each_that_does_not_is_named() -> None:
    """In one sentence, with the end of the file beside it."""
    asked = FileProperty(JOURNAL, Content(contains="b", matches="^c$", ends_with_newline=True))
    record = properties.of_file(asked, file_of(b"a\nb"))
    assert record.held is False
    assert record.found == "file of 3 bytes: no line matches '^c$' and its last line has no end"
    assert record.excerpt == "a\nb"


def test_a_missing_file_is_a_failure_unless_it_is_to_be_missing() -> None:
    """And the other way round; a folder counts as there, and has no content."""
    gone, folder = FileSeen(), FileSeen(4096, what="folder")
    assert properties.of_file(FileProperty(JOURNAL), gone).held is False
    assert properties.of_file(FileProperty(JOURNAL, exists=False), gone).held
    assert properties.of_file(FileProperty(JOURNAL, exists=False), folder).held is False
    assert properties.of_file(FileProperty(JOURNAL), folder).held
    assert properties.of_file(WHOLE, folder).held is False


def test_a_file_that_is_too_large_was_not_checked() -> None:
    """That it is there is known all the same."""
    large = FileSeen(MOST_CONTENT_BYTES + 1)
    assert properties.of_file(FileProperty(JOURNAL), large).held
    record = properties.of_file(WHOLE, large)
    assert record.held is None
    assert "16 MiB" in record.found


@pytest.mark.parametrize(
    ("since", "truncated", "before", "written", "expected"),
    [
        ("flushed\n", False, "", True, True),
        ("flushed\n", False, "", False, False),
        ("bye\n", False, "", True, False),
        ("bye\n", False, "", False, True),
        ("flushed\n", True, "", True, True),  # found is found, however much is lost
        ("bye\n", True, "", False, None),  # the beginning of what was written since the stop may be lost
        ("bye\n", True, "", True, None),
        ("bye\n", True, "ready\n", False, True),  # lost is only what came before the stop
        (None, False, "", True, None),
    ],
)
def test_a_line_of_the_log(
    since: str | None, *, truncated: bool, before: str, written: bool, expected: bool | None
) -> None:
    """What is found is found; that nothing is there needs all that was written since the stop."""
    logs = LogTail(before + (since or ""), truncated)
    assert properties.of_log(LogProperty("^flushed$", written=written), since, logs).held is expected


def test_a_log_that_could_not_be_read_has_no_lines_to_miss() -> None:
    """As with the logging driver `none`."""
    logs = LogTail(f"{UNREADABLE_LOG}: the driver does not support reading)", truncated=True)
    record = properties.of_log(LogProperty("Traceback", written=False), "", logs)
    assert (record.held, "does not support reading" in record.found) == (None, True)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (CommandSeen(0, b"42\n"), True),
        (CommandSeen(0, b"41\n"), False),
        (CommandSeen(1, b"42\n"), False),
        (CommandSeen(127, b""), None),
        (CommandSeen(None), None),
        (CommandSeen(0, b"42\n", cut=True), None),
    ],
)
def test_a_command_counts_when_it_was_run_to_its_end(seen: CommandSeen, expected: bool | None) -> None:
    """Another exit code is an answer; a program that is not there, a time that was too short and half an output are
    none."""
    asked = CommandProperty(("psql", "-c", "select …"), "db", content=Content(matches="^42$"))
    assert properties.of_command(asked, seen).held is expected


def test_a_restart_in_time_and_too_late() -> None:
    """The limit itself is in time."""
    asked = RestartProperty(NS_PER_S)
    assert properties.of_restart(asked, NS_PER_S).held
    assert properties.of_restart(asked, NS_PER_S + 1).held is False
    assert properties.of_restart(RestartProperty(), 10**12).held
    assert properties.of_restart(asked, None, "exited with code 1 before it was ready").held is False


@given(
    outcome=st.sampled_from(Outcome),
    status=st.sampled_from(Status),
    found=st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=4),
)
def test_properties_lower_a_status_and_never_raise_it(
    outcome: Outcome, status: Status, found: list[bool | None]
) -> None:
    """The outcome stays. A pass needs all of them; a failure needs one that does not hold, after a measured stop."""
    result = stopped(Script(), WHOLE)
    asked = tuple(FileProperty(f"/{number}") for number in range(len(found)))
    records = tuple(PropertyRecord(one, is_so, "seen") for one, is_so in zip(asked, found, strict=True))
    before = replace(result.verdict, outcome=outcome, status=status, findings=())
    after = properties_of_a_verdict.judged(
        before, replace(result.observation, properties=records), Expectation(after_stop=asked)
    )
    order = [Status.PASS, Status.INCONCLUSIVE, Status.FAIL]
    assert after.outcome is outcome
    assert order.index(after.status) >= order.index(status)
    assert (after.status is Status.PASS) == (status is Status.PASS and all(found))
    if after.status is Status.FAIL and status is not Status.FAIL:
        assert False in found
        assert outcome is not Outcome.INCONCLUSIVE
    assert {item.rule for item in after.findings} == (
        ({"property-failed"} if False in found else set()) | ({"property-unchecked"} if None in found else set())
    )


@given(
    sent=st.lists(st.booleans(), max_size=30),
    kept=st.sets(st.integers(0, 29)),
    noise=st.binary(max_size=20),
)
def test_a_message_is_lost_if_it_was_acknowledged_and_is_not_there(
    sent: list[bool], kept: set[int], noise: bytes
) -> None:
    """Whatever stands around the ids, and whatever else stands there: one that was not acknowledged may be missing."""
    box = Outbox(TrafficClient(TrafficKind.MESSAGES, 80, body=b'{"id": "{id}"}', path="/{id}"), "0123abcd", 7)
    there = b""
    lost = []
    for number, acknowledged in enumerate(sent):
        message = box.next()
        assert message.body is not None
        assert message.path.removeprefix("/").encode() in message.body
        box.answered(202 if acknowledged else 503)
        if number in kept:
            there += noise.replace(b"-", b"") + message.body
        elif acknowledged:
            lost.append(message.path.removeprefix("/"))
    acknowledged_ids = tuple(message for message, _ in box.acknowledged)
    asked = FileProperty(JOURNAL, Content(acknowledged=True))
    record = properties.of_file(asked, file_of(there), acknowledged_ids)
    assert record.held is (None if not any(sent) else not lost)
    if lost:
        assert f"{len(lost)} of {sum(sent)} acknowledged messages are lost, the first {lost[0]}" in record.found
    assert count([box], None) == MessageCount(len(sent), sum(sent), 0)


# ── How it is written ────────────────────────────────────────────────────────────────────────────────────────────────

HEAD = """version: 1
name: left
subject: {image: shop, tmpfs: [/run], ports: {80: 8080}}
expect:
  after_stop:
"""


def parsed(*lines: str, head: str = HEAD) -> tuple[Property, ...]:
    text = head + "".join(f"    - {line}\n" for line in lines)
    (expectation,) = scenario_file.parse(text, "left.yaml").expectations
    return expectation.after_stop


def test_what_can_be_written() -> None:
    """Every kind with its conditions, in the order of the file; and one alone needs no list."""
    assert parsed(
        "{file: /data//journal, ends_with_newline: true, json_lines: true, contains: '7', matches: '^{', equals: ''}",
        "{file: /run/../tmp/lock, exists: false}",
        "{log: '^flushed$'}",
        "{no_log: Traceback}",
        "{port_free: 80}",
        "{restart: true, ready_within: 10s}",
        "{command: [cat, /data/journal], exit_code: 3, json: true, timeout: 5s}",
    ) == (
        FileProperty(JOURNAL, Content(contains="7", matches="^{", equals="", ends_with_newline=True, json_lines=True)),
        FileProperty("/tmp/lock", exists=False),  # a path in a container
        LogProperty("^flushed$"),
        LogProperty("Traceback", written=False),
        PortProperty(80),
        RestartProperty(10 * NS_PER_S),
        CommandProperty(("cat", JOURNAL), exit_code=3, content=Content(json=True), timeout_ns=5 * NS_PER_S),
    )
    one = HEAD.rstrip() + " {file: /data/journal, exists: true}\n"
    assert scenario_file.parse(one).properties == (FileProperty(JOURNAL),)


@pytest.mark.parametrize(
    ("line", "place", "problem"),
    [
        ("{fil: /x}", "6:8", "did you mean `file`?"),
        ("{file: x}", "6:8", "an absolute path in the container is needed"),
        ("{file: /run/x}", "6:8", "/run is kept in memory and gone with the container"),
        ("{file: /x, log: y}", "6:7", "give exactly one of `file`, `log`, `no_log`, `command`, `port_free`"),
        ("{contains: y}", "6:7", "give exactly one of"),
        ("{file: /x, contains: ''}", "6:18", "contains"),
        ('{file: /x, equals: "a\\ud800"}', "6:18", "character 2 is no text"),
        ('{file: "/x\\0"}', "6:8", "an absolute path in the container is needed"),
        ("{log: y, json: true}", "6:7", "`json` goes with `file` and `command`"),
        ("{file: /x, exists: false, json: true}", "6:7", "leaves nothing that could have a content"),
        ("{file: /x, json: false}", "6:18", "only `true` has a meaning here"),
        ("{log: '('}", "6:8", "is not a regular expression"),
        ("{command: psql}", "6:8", "write it as a list of words"),
        ("{command: [psql]}", "6:8", "nothing runs in it: name another one with `in`, or `restart` it before"),
        ("{command: [psql], in: db}", "6:25", "`in` names a container of a group"),
        ("{restart: true, ready_within: 31s}", "6:23", "longer than `ready.timeout` (30s)"),
        ("{port_free: 99999}", "6:8", "needed: "),
        ("{file: /x, acknowledged: true}", "6:18", "it goes with `traffic.messages`"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(line: str, place: str, problem: str) -> None:
    """Before anything starts."""
    with pytest.raises(ScenarioError) as error:
        parsed(line)
    assert any(text.startswith(f"left.yaml:{place}: ") and problem in text for text in error.value.problems), (
        error.value.problems
    )


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (("{restart: true}", "{restart: true}"), "one `restart` is enough"),
        (("{restart: true}", "{port_free: 80}"), "write `port_free` before it"),
    ],
)
def test_the_order_counts(lines: tuple[str, ...], problem: str) -> None:
    """What stands behind a restart sees a container that runs."""
    with pytest.raises(ScenarioError, match=problem):
        parsed(*lines)


@pytest.mark.parametrize(
    ("subject", "line", "problem"),
    [
        ("task_definition: task.json", "{file: /x}", "cannot be checked of a task"),
        ("kubernetes: {file: pod.yaml}", "{file: /x}", "say with `in` whose `file` is meant"),
        ("compose: {file: c.yaml}", "{restart: true}", "only one container is stopped"),
        ("compose: {file: c.yaml, service: web}", "{command: [a]}", "nothing runs in it"),
    ],
)
def test_what_a_subject_does_not_show_is_refused(subject: str, line: str, problem: str) -> None:
    """With what would help."""
    with pytest.raises(ScenarioError, match=problem):
        parsed(line, head=f"version: 1\nname: left\nsubject: {{{subject}}}\nexpect:\n  after_stop:\n")


def test_messages_have_an_id_and_their_own_defaults() -> None:
    """A body or a path without an id would find no message again."""
    head = "version: 1\nname: left\nsubject: {image: shop}\ntraffic:\n  messages: "
    (given,) = scenario_file.parse(head + "{port: 80}\n").traffic
    assert (given.method, given.body, given.every_ns, given.path) == ("POST", b"{id}", NS_PER_S // 50, "/")
    assert scenario_file.parse(head + "{port: 80, path: '/{id}', body: x}\n").traffic[0].body == b"x"
    with pytest.raises(ScenarioError, match=r"`body` or `path` has to contain \{id\}"):
        scenario_file.parse(head + "{port: 80, body: x}\n")


def test_names_of_containers_are_looked_up_in_the_project(tmp_path: Path) -> None:
    """Where it was read: one that is not there, and the one that has ended."""
    (tmp_path / "compose.yaml").write_text(
        "services:\n  web: {image: shop, depends_on: [db]}\n  db: {image: postgres}\n"
    )
    (tmp_path / "left.yaml").write_text(
        "version: 1\nname: left\nsubject: {compose: {file: compose.yaml, service: web}}\nexpect:\n  after_stop:\n"
        "    - {command: [psql], in: database}\n    - {command: [psql], in: web}\n    - {log: x, in: db}\n"
        "    - {file: /x, in: db}\n"
    )
    with pytest.raises(ScenarioError) as error:
        discovery.load((tmp_path / "left.yaml",))
    found = [text.partition("left.yaml:")[2] for text in error.value.problems]
    assert [text.split(" ")[0] for text in found] == ["6:25:", "7:25:", "8:16:"]
    assert "the group has no container database; it has" in found[0]


def test_a_stored_scenario_is_read_back_as_it_was() -> None:
    """Kind by kind: a file is never taken for a command."""
    lines = ("{file: /x}", "{log: x}", "{port_free: 80}", "{restart: true}", "{command: [a]}")
    asked = scenario_file.parse(HEAD + "".join(f"    - {line}\n" for line in lines))
    adapter = TypeAdapter(Scenario)
    assert adapter.validate_json(adapter.dump_json(asked)) == replace(asked)


# ── What is performed ────────────────────────────────────────────────────────────────────────────────────────────────


def expecting(*asked: Property, outcome: Outcome = Outcome.GRACEFUL) -> Scenario:
    return scenario("left", 10, expect=Expectation((outcome,), after_stop=asked))


def stopped(script: Script, *asked: Property, outcome: Outcome = Outcome.GRACEFUL) -> TrialResult:
    """One stop of a script."""
    (result,) = run(SimulatedEngine({"left": script}), expecting(*asked, outcome=outcome)).report.results
    return result


def test_a_graceful_stop_that_leaves_half_a_line_fails() -> None:
    """The outcome says how it ended, the status that something is missing."""
    result = stopped(Script(files=((JOURNAL, b'{"id": 1}\n{"id":'),)), WHOLE)
    assert (result.verdict.outcome, result.verdict.status) == (Outcome.GRACEFUL, Status.FAIL)
    (finding,) = result.verdict.findings
    assert finding.rule == "property-failed"
    assert finding.message == (
        f"this does not hold after the stop: {JOURNAL} ends with a newline (file of 16 bytes: its last line has no end)"
    )
    (record,) = result.observation.properties
    assert record.excerpt.endswith('{"id":')
    assert record.checked_at_ns is not None


def test_a_stop_that_leaves_all_as_it_should_be_passes() -> None:
    """Each kind, the command in the container that runs again."""
    script = Script(files=((JOURNAL, b"{}\n"),), log="flushed\n", outputs=((("count",), "7\n"),))
    asked = (
        WHOLE,
        FileProperty("/lock", exists=False),
        PortProperty(80),
        RestartProperty(NS_PER_S * 10),
        CommandProperty(("count",), content=Content(equals="7\n")),
    )
    result = stopped(script, *asked)
    assert result.verdict.status is Status.PASS, result.verdict.findings
    assert [record.asked for record in result.observation.properties] == list(asked)


def test_a_crash_may_be_expected_and_its_files_whole() -> None:
    """Properties are looked at after every outcome."""
    killed = Script(leaves_after_ns=None, files=((JOURNAL, b"{}\n"),))
    assert stopped(killed, WHOLE, outcome=Outcome.KILLED).verdict.status is Status.PASS
    torn = replace(killed, files=((JOURNAL, b"{"),))
    assert stopped(torn, WHOLE, outcome=Outcome.KILLED).verdict.status is Status.FAIL


def test_what_could_not_be_checked_is_neither_pass_nor_failure() -> None:
    """A program that is not there says nothing; nor does a command after a start that did not succeed."""
    result = stopped(Script(), RestartProperty(), CommandProperty(("count",)))
    assert result.verdict.status is Status.INCONCLUSIVE
    assert [item.rule for item in result.verdict.findings] == ["property-unchecked"]
    stuck = stopped(Script(next_start_takes_ns=None), RestartProperty(), CommandProperty(("count",)))
    assert [record.held for record in stuck.observation.properties] == [False, None]
    assert stuck.verdict.status is Status.FAIL


def test_a_port_that_stays_taken_fails() -> None:
    """Somebody still accepts connections."""
    assert stopped(Script(accepts_after_stop=(80,)), PortProperty(80)).verdict.status is Status.FAIL


def test_of_several_stop_timeouts_each_has_its_own_properties() -> None:
    """Those of the entry that applies to it."""
    asked = replace(
        scenario("left", 1, 10),
        expectations=(
            Expectation(after_stop=(WHOLE,)),
            Expectation((Outcome.KILLED,), NS_PER_S, after_stop=(FileProperty("/lock"),)),
        ),
    )
    script = Script(leaves_after_ns=2 * NS_PER_S, files=((JOURNAL, b"{}\n"), ("/lock", b"")))
    results = run(SimulatedEngine({"left": script}), asked).report.results
    assert {result.observation.properties[0].asked for result in results} == {WHOLE, FileProperty("/lock")}
    assert all(result.verdict.status is Status.PASS for result in results)


def test_nothing_is_derived_of_a_stop_after_which_something_must_be_true() -> None:
    """`--infer` performs it; those that expect nothing are derived as ever, and claim nothing that was not seen."""
    asked = replace(
        scenario("left", 1, 5, 10),
        expectations=(Expectation(), Expectation(stop_timeout_ns=5 * NS_PER_S, after_stop=(WHOLE,))),
    )
    planned = {trial.stop_timeout_ns: trial.shorter_timeouts_ns for trial in trials.expand((asked,), infer=True).trials}
    assert planned == {10 * NS_PER_S: (NS_PER_S,), 5 * NS_PER_S: ()}
    seen = stopped(Script(files=((JOURNAL, b"{}\n"),)), WHOLE).observation
    derived = inference.derive(seen, NS_PER_S, "left@1s#1")
    assert derived.properties == ()
    verdict = judge.judge(derived, expecting(WHOLE))
    assert (verdict.outcome, verdict.status) == (Outcome.GRACEFUL, Status.INCONCLUSIVE)


def test_a_value_that_was_given_is_taken_out_of_what_was_found() -> None:
    """A file may repeat a password, as a log may; and what is expected may, in the record as in the scenario, so that
    they still belong together."""
    asked = FileProperty(JOURNAL, Content(equals="not hunter22"))
    seen = stopped(Script(files=((JOURNAL, b"token=hunter22\n"),)), asked).observation
    secret = replace(expecting(asked), subject=Subject(image="a", environment=(("TOKEN", "hunter22"),)))
    redaction = Redaction(b"key", (secret,))
    hidden, stored = redaction.observation(seen), redaction.scenario("left")
    assert "hunter22" in str(seen.properties)
    assert "hunter22" not in str(hidden.properties)
    assert "hunter22" not in str(stored)
    assert [record.asked for record in hidden.properties] == list(stored.properties)
    assert judge.judge(hidden, stored).status is Status.FAIL


def test_every_report_says_what_was_found() -> None:
    """The summary, the page, Markdown, JUnit XML, SARIF, CSV and results.json."""
    script = Script(files=((JOURNAL, b'{"id":'),))
    report = run(SimulatedEngine({"left": script}), expecting(WHOLE, FileProperty("/lock", exists=False))).report
    for text in (
        " ".join(terminal.summary(report).split()),
        html.render(report),
        markdown.render(report).replace("\\", ""),
        junit.render(report),
        sarif.render(report),
    ):
        assert "its last line has no end" in text
    assert "left: 1 of 2 properties hold, 1 does not" in " ".join(terminal.summary(report).split())
    assert "property-failed" in csv_table.render(report)
    (failure,) = ET.fromstring(junit.render(report)).iter("failure")  # our own
    assert failure.get("type") == "graceful"
    (trial,) = json.loads(results_json.render(report))["trials"]
    assert [item["holds"] for item in trial["properties"]] == [False, True]
    assert trial["properties"][0]["excerpt"] == '{"id":'
    assert trial["properties"][0]["kind"] == "file"


# ── The process engine ───────────────────────────────────────────────────────────────────────────────────────────────

WRITER = """
import os, signal, sys, time
def leave(*_):
    with open("journal", "a") as journal:
        journal.write('{"id": 1}\\n' if os.environ["MODE"] == "whole" else '{"id":')
    os.write(1, b"flushed\\n")  # not print: the signal may come while `ready` is being printed
    os._exit(0)
if os.path.exists("journal") and os.environ["MODE"] == "once":
    sys.exit("a journal from before")
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
while True:
    time.sleep(0.05)  # not pause(): a signal just before it would wait for the next one
"""


def on_this_machine(
    folder: Path, mode: str, *asked: Property, program: str = WRITER, traffic: tuple[TrafficClient, ...] = ()
) -> TrialResult:
    (folder / "writer.py").write_text(program)
    given = scenario_file.from_data(
        {
            "version": 1,
            "name": "left",
            "subject": {
                "build": str(folder),
                "command": ["python3", "writer.py"],
                "environment": {"MODE": mode},
            },
            "ready": {"log": "^ready$", "timeout": "20s"},
            "stop": {"timeouts": ["10s"]},
        },
        "test",
    )
    given = replace(given, expectations=(Expectation(after_stop=asked),), traffic=traffic)
    engine = PidNamespaceEngine("expect-test")
    try:
        assert engine.cannot_run(given) is None
        engine.prepare((given,), lambda _name, _what: None)
        (trial,) = trials.expand((given,)).trials
        seen = perform.perform(trial, engine, Interruption())
    finally:
        engine.close()
    return TrialResult(seen, judge.judge(seen, given))


@pytest.mark.namespaces
def test_the_process_engine_looks_at_this_machine(tmp_path: Path) -> None:
    """The file that the command wrote, its log, a port that nobody has, and its next start."""
    journal = str(tmp_path / "journal")
    result = on_this_machine(
        tmp_path,
        "whole",
        FileProperty(journal, Content(json_lines=True, ends_with_newline=True)),
        LogProperty("^flushed$"),
        PortProperty(18_080),
        RestartProperty(20 * NS_PER_S),
    )
    held = [record.held for record in result.observation.properties]
    assert held == [True] * 4, (result.observation.properties, result.verdict.reason)
    assert result.verdict.status is Status.PASS


@pytest.mark.namespaces
def test_the_process_engine_finds_what_is_torn_and_a_next_start_that_fails(tmp_path: Path) -> None:
    """Half a line, and a program that refuses to start where it finds it."""
    journal = str(tmp_path / "journal")
    result = on_this_machine(
        tmp_path, "once", FileProperty(journal, Content(ends_with_newline=True)), RestartProperty(20 * NS_PER_S)
    )
    torn, again = result.observation.properties
    assert (torn.held, again.held) == (False, False), result.observation.properties
    assert "exited with code 1 before it was ready" in again.found
    assert result.verdict.status is Status.FAIL


QUEUE = """
import os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
taken = 0
class Take(BaseHTTPRequestHandler):
    def do_POST(self):
        global taken
        message, taken = self.rfile.read(int(self.headers["Content-Length"])), taken + 1
        if os.environ["MODE"] == "whole" or taken < 3:
            with open("orders", "ab") as orders:
                orders.write(message + b"\\n")
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("", 18471), Take)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print("ready", flush=True)
server.serve_forever()
"""


@pytest.mark.namespaces
@pytest.mark.parametrize("mode", ["whole", "torn"])
def test_a_queue_that_forgets_what_it_acknowledged(tmp_path: Path, mode: str) -> None:
    """Every answer was whole, so that no request is lost; only who counts the messages sees it."""
    asked = FileProperty(str(tmp_path / "orders"), Content(acknowledged=True))
    traffic = (TrafficClient(TrafficKind.MESSAGES, 18471, method="POST", body=b"{id}", every_ns=NS_PER_S // 100),)
    result = on_this_machine(tmp_path, mode, asked, program=QUEUE, traffic=traffic)
    (record,) = result.observation.properties
    assert result.observation.traffic is not None
    messages = result.observation.traffic.messages
    assert messages is not None
    assert messages.acknowledged > 3, messages
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    assert record.held is (mode == "whole"), record
    assert result.verdict.status is (Status.PASS if mode == "whole" else Status.FAIL)
    assert not any(item.rule == "no-request-in-flight" for item in result.verdict.findings)


def test_an_engine_that_cannot_look_says_so_before_anything_starts() -> None:
    """The process engine runs no command afterwards."""
    asked = replace(
        expecting(RestartProperty(), CommandProperty(("count",))), subject=Subject(build_directory=".", command=("x",))
    )
    assert "cannot run `count` after the stop" in (PidNamespaceEngine("expect-test").cannot_run(asked) or "")


def test_after_an_interruption_nothing_more_is_looked_at() -> None:
    """And nothing is claimed."""
    asked = expecting(WHOLE)
    (trial,) = trials.expand((asked,)).trials
    subject = SimulatedEngine({"left": Script(files=((JOURNAL, b"{}\n"),))}).start(trial)
    seen = stopped(Script(), WHOLE).observation
    (record,) = properties_of_a_trial.check(
        trial,
        subject,
        seen,
        stopped_ns=0,
        make_ready=lambda _: None,
        acknowledged=(),
        give_back=lambda: (),
        given_up=lambda: True,
    )
    assert (record.held, record.found) == (None, "the run was interrupted")


def test_what_a_fault_has_left_is_not_held_against_the_next_start() -> None:
    """What would be run with it is not run. A file is what the stop has left, and a command beside it has nothing of a
    fault in the container that was stopped."""
    count, beside = CommandProperty(("count",)), CommandProperty(("count",), "db")
    asked = expecting(WHOLE, RestartProperty(), count, beside)
    (trial,) = trials.expand((asked,)).trials
    script = Script(files=((JOURNAL, b"{}\n"),), outputs=((("count",), "7\n"),))
    subject = SimulatedEngine({"left": script}).start(trial)
    subject.stop(trial.stop_timeout_ns)
    seen = stopped(script, WHOLE).observation
    calls = []

    def give_back(kept: Kept) -> tuple[Kept, ...]:
        calls.append(kept)
        return (kept,)

    for in_another, expected in ((False, [True, None, None, True]), (True, [True, None, None, None])):
        calls.clear()
        found = properties_of_a_trial.check(
            trial,
            subject,
            seen,
            stopped_ns=0,
            make_ready=lambda _: None,
            acknowledged=(),
            give_back=partial(give_back, Kept("pids 1 could not be taken back", beside=in_another)),
            given_up=lambda: False,
        )
        assert [record.held for record in found] == expected, found
        assert found[1].found == "pids 1 could not be taken back"
        assert len(calls) == 1
