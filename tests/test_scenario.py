"""Text → Scenario: what a file says is what comes out, and every mistake is explained where it stands."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stop_harness.errors import ScenarioError
from stop_harness.model import NS_PER_MS, NS_PER_S, Expectation, Outcome, Readiness, Scenario, StopPlan, Subject
from stop_harness.scenario import plain, scenario_file
from stop_harness.scenario.sections import SubjectSection
from tests.strategies import SOURCE, scenarios, yaml_of

SHIPPED = sorted((Path(__file__).parent.parent / "scenarios").glob("*.yaml"))
START = "version: 1\nname: web\nsubject: {image: web}\n"
"""The three lines that every scenario needs; mistakes are put in line 4."""

SCHEMA = jsonschema.Draft202012Validator(scenario_file.schema())

MISTAKES = {
    "unknown kind of traffic": ("traffic: {htp: {port: 1}}\n", "4:11: traffic.htp: unknown key; did you mean `http`?"),
    "unknown key of traffic": (
        "traffic:\n  http:\n    port: 1\n    pth: /\n",
        "7:5: traffic.http.0.pth: unknown key; did you mean `path`?",
    ),
    "unknown key of an exchange": (
        "traffic:\n  tcp: [{port: 1, exchanges: [{snd: a}]}]\n",
        "5:32: traffic.tcp.0.exchanges.0.snd: unknown key; did you mean `send`? allowed: send, expect",
    ),
    "traffic without a port": ("traffic: {http: {path: /}}\n", "4:11: traffic.http.0.port: this key is required"),
    "no byte": ('traffic: {tcp: {port: 1, send: "€"}}\n', "4:26: traffic.tcp.0.send: '€' is no byte; write bytes as {"),
    "no hexadecimal": (
        "traffic: {idle: {port: 1, send: {hex: xy}}}\n",
        "4:27: traffic.idle.0.send: pairs of hexadecimal digits are needed",
    ),
    "nothing expected": ("traffic: {tcp: {port: 1, send: a}}\n", "4:11: traffic.tcp.0: the last step needs `expect`"),
    "two conversations": (
        "traffic: {idle: {port: 1, send: a, exchanges: [{send: a}]}}\n",
        "4:11: traffic.idle.0: give either `exchanges` or `send` and `expect`",
    ),
    "space in a path": (
        'traffic: {http: {port: 1, path: "/a b"}}\n',
        "4:27: traffic.http.0.path: '/a b' is not allowed; needed: a path, which begins with /, in ASCII",
    ),
    "two lines in a header": (
        'traffic: {http: {port: 1, headers: {X-A: "a\\nb"}}}\n',
        "4:37: traffic.http.0.headers.X-A: 'a\\nb' is not allowed; needed: text in one line",
    ),
    "our own header": (
        "traffic: {http: {port: 1, headers: {content-length: 1}}}\n",
        "4:27: traffic.http.0.headers: content-length follows from `body`",
    ),
    "verify without tls": (
        "traffic: {stream: {port: 1, verify: true}}\n",
        "4:11: traffic.stream.0: `verify` goes with `tls: true`",
    ),
    "an answer to nothing": (
        "traffic: {websocket: {port: 1, expect: a}}\n",
        "4:11: traffic.websocket.0: `expect` goes with `send`",
    ),
    "a header of the handshake": (
        "traffic: {websocket: {port: 1, headers: {Upgrade: x}}}\n",
        "4:32: traffic.websocket.0.headers: Upgrade belongs to the protocol; leave it out",
    ),
    "a header that HTTP/2 has not": (
        "traffic: {http2: {port: 1, headers: {Connection: close}}}\n",
        "4:28: traffic.http2.0.headers: Connection belongs to the protocol; leave it out",
    ),
    "a call without a method": (
        "traffic: {grpc: {port: 1}}\n",
        "4:11: traffic.grpc.0.path: this key is required",
    ),
    "a path that is no method": (
        "traffic: {grpc: {port: 1, path: /Check}}\n",
        "4:27: traffic.grpc.0.path: '/Check' is not allowed; needed: /package.Service/Method",
    ),
    "a key of another kind": (
        "traffic: {websocket: {port: 1, body: x}}\n",
        "4:32: traffic.websocket.0.body: unknown key",
    ),
    "flood": (
        "traffic: {new_connections: {port: 1, every: 1ms}}\n",
        "4:38: traffic.new_connections.0.every: shorter than 10ms would be a load test",
    ),
    "empty step": ("before_stop: [{}]\n", "4:15: before_stop.0: give exactly one of `execute` and `log`"),
    "step in words": (
        "before_stop: {execute: touch x}\n",
        "4:15: before_stop.0.execute: write it as a list of words",
    ),
    "unknown key": ("redy: {}\n", "4:1: redy: unknown key; did you mean `ready`? allowed: version, name,"),
    "unknown key below": ("stop:\n  timeout: 2s\n", "5:3: stop.timeout: unknown key; did you mean `timeouts`?"),
    "unknown key in a list": (
        "expect:\n  - exit_code: 0\n",
        "5:5: expect.0.exit_code: unknown key; did you mean `exit_",
    ),
    "unknown key in http": (
        "ready: {http: {port: 1, pth: x}}\n",
        "4:25: ready.http.pth: unknown key; did you mean `path`?",
    ),
    "no near key": (
        "zzz: 1\n",
        "4:1: zzz: unknown key; allowed: version, name, description, subject, ready, before_st",
    ),
    "number as key": ("1: x\n", "4:1: 1: unknown key; allowed: version"),
    "key of pydantic's own": ('"[key]": x\n', "4:1: [key]: unknown key; allowed: version"),
    "required key": ("ready: {http: {path: /}}\n", "4:9: ready.http.port: this key is required"),
    "text for a number": ("repeat: often\n", "4:1: repeat: 'often' is not allowed; needed: whole number"),
    "truth for a number": ("repeat: true\n", "4:1: repeat: True is not allowed; needed: whole number"),
    "number for text": ("description: 7\n", "4:1: description: text is needed, not 7; put it in quotes"),
    "list for a section": ("stop: [2s]\n", "4:1: stop: a mapping of keys is needed, not ['2s']"),
    "nothing for a section": ("stop:\n", "4:1: stop: a mapping of keys is needed, not nothing"),
    "text for truth": (
        "ready: {healthcheck: maybe}\n",
        "4:9: ready.healthcheck: 'maybe' is not allowed; needed: boolean",
    ),
    "too small": ("repeat: 0\n", "4:1: repeat: 0 is not allowed; needed: greater than or equal to 1"),
    "port too large": (
        "ready: {tcp: 65536}\n",
        "4:9: ready.tcp: 65536 is not allowed; needed: less than or equal to 65535",
    ),
    "negative duration": ("stop: {timeouts: [-1s]}\n", "4:19: stop.timeouts.0: '-1s' is negative; a duration is 0 or"),
    "negative number": ("stop: {timeouts: -1}\n", "4:8: stop.timeouts.0: '-1' is negative"),
    "too fine": ("stop: {timeouts: 0.1ms}\n", "4:8: stop.timeouts.0: '0.1ms' is finer than a millisecond"),
    "no unit": ("stop: {timeouts: [2s, 30]}\n", "4:23: stop.timeouts.1: 30 has no unit; write 30s or 30ms"),
    "unit unknown": (
        "stop: {timeouts: 2d}\n",
        "4:8: stop.timeouts.0: '2d' is not a duration; write a number with a unit",
    ),
    "for ever": ("stop: {timeouts: 99999999999h}\n", "4:8: stop.timeouts.0: '99999999999h' is longer than 500h"),
    "thousands of digits": (
        f"stop: {{timeouts: {'9' * 5000}s}}\n",
        "…' is not a duration|is not a duration; write a number",
    ),
    "truth for a duration": ("ready: {delay: true}\n", "4:9: ready.delay: a duration is needed, such as 500ms"),
    "no timeouts": ("stop: {timeouts: []}\n", "4:8: stop.timeouts: the list is empty; at least one entry is needed"),
    "timeout twice": ("stop: {timeouts: [1m, 60s]}\n", "4:1: stop: `timeouts` names the same duration twice"),
    "signal": ("stop: {signal: SIGTRM}\n", "4:8: stop.signal: 'SIGTRM' is not a signal; write a name such as SIGTERM"),
    "signal 0": ("stop: {signal: 0}\n", "4:8: stop.signal: '0' is not a signal"),
    "outcome": (
        "expect: {outcome: gracefull}\n",
        "4:10: expect.0.outcome.0: 'gracefull' is not allowed; did you mean `grac",
    ),
    "exit code": (
        "expect: {exit_codes: 256}\n",
        "4:10: expect.0.exit_codes.0: 256 is not allowed; needed: less than or eq",
    ),
    "expected twice": ("expect:\n- {}\n- {}\n", "4:1: expect: two entries without `timeout`; one is enough"),
    "expected twice at": (
        "expect:\n- {timeout: 30s}\n- {timeout: 30s}\n",
        "4:1: expect: two entries for timeout 30s; one is enough",
    ),
    "expected, not tried": (
        "expect: {timeout: 3s}\n",
        "4:1: expect: names timeout 3s, which `stop.timeouts` does not (30s)",
    ),
    "regular expression": (
        'ready: {log: "("}\n',
        "4:9: ready.log: '(' is not a regular expression at its character 1: missing )",
    ),
    "endless repetition": (
        'ready: {log: "a{99999999999}"}\n',
        "4:9: ready.log: 'a{99999999999}' is not a regular expression at its character 2: ",
    ),
    "path": (
        "ready: {http: {port: 1, path: x}}\n",
        "4:25: ready.http.path: 'x' is not allowed; needed: a path",
    ),
    "duplicate key": ("repeat: 1\nrepeat: 2\n", "5:1: repeat: this key stands twice, first in line 4; remove one"),
    "name again": ("name: other\n", "4:1: name: this key stands twice, first in line 2; remove one"),
    "tab": (
        "ready:\n\ttcp: 1\n",
        "5:1: not valid YAML: found character '\\t' that cannot start any token; indent with sp",
    ),
    "open bracket": ("stop: {timeouts: [2s\n", "not valid YAML: "),
    "no such day": (
        "description: 2020-13-45\n",
        "4:14: not valid YAML: '2020-13-45' does not read as timestamp; put it in quo",
    ),
    "false tag": ("repeat: !!bool maybe\n", "4:9: not valid YAML: 'maybe' does not read as bool"),
    "foreign tag": (
        "description: !!python/object:os.system x\n",
        "4:14: not valid YAML: could not determine a constructor",
    ),
    "list as key": ("? [a]\n: b\n", "4:3: not valid YAML: a key is one word, not a list or a mapping"),
    "unknown alias": ("stop: *nowhere\n", "4:7: not valid YAML: found undefined alias 'nowhere'"),
    "second document": ("---\nversion: 1\n", "4:1: a second YAML document begins here; only one is"),
}
ONE_SOURCE = "3:1: subject: give exactly one of `image`, `build`, `task_definition`, `compose` and `kubernetes`"
SUBJECT_MISTAKES = {
    "nothing to run": ("{}", ONE_SOURCE),
    "two things to run": ("{image: a, build: b}", ONE_SOURCE),
    "dockerfile of an image": (
        "{image: a, dockerfile: b}",
        "3:1: subject: `dockerfile`, `target` and `build_args` go with `build`",
    ),
    "shell text": (
        "{image: a, command: run me}",
        '3:21: subject.command: write it as a list of words, such as ["/bin/sh"',
    ),
    "empty command": ("{image: a, command: []}", "3:21: subject.command: the list is empty; at least one"),
    "empty image": ("{image: ''}", "3:11: subject.image: it is empty; text is needed"),
    "environment list": ("{image: a, environment: [A=b]}", "3:21: subject.environment: a mapping of keys is needed"),
    "environment without value": (
        "{image: a, environment: {A: }}",
        "3:35: subject.environment.A: text is needed, not not",
    ),
    "port name": (
        "{image: a, ports: {http: 80}}",
        "3:29: subject.ports.http: 'http' is not allowed; needed: whole number",
    ),
    "port pairs": (
        "{image: a, ports: [[80, 81]]}",
        "3:21: subject.ports: write a list of ports, such as [8000], or a ma",
    ),
    "memory": (
        "{image: a, memory: lots}",
        "3:21: subject.memory: 'lots' is not a size; write a whole number with a uni",
    ),
    "pids limit": (
        "{image: a, pids_limit: 0}",
        "3:21: subject.pids_limit: 0 is not allowed; needed: a whole number from 1 to 4194304, or -1 for no limit",
    ),
    "memory, thousands of digits": (f"{{image: a, memory: '{'9' * 5000}'}}", "3:21: subject.memory: "),
}


def problems(text: str, source: str = "file.yaml") -> tuple[str, ...]:
    """What is said of a file with mistakes."""
    with pytest.raises(ScenarioError) as caught:
        scenario_file.parse(text, source)
    return caught.value.problems


@given(scenarios())
def test_a_scenario_written_as_yaml_reads_back_as_itself(wanted: Scenario) -> None:
    """Whatever a scenario file can say arrives in the record unchanged."""
    assert scenario_file.parse(yaml_of(wanted), SOURCE) == wanted


@given(scenarios())
@settings(max_examples=30)
def test_whatever_the_parser_accepts_the_schema_accepts(wanted: Scenario) -> None:
    """An editor that uses the schema never marks a file that runs."""
    assert not list(SCHEMA.iter_errors(_json_keys(yaml.safe_load(yaml_of(wanted)))))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_shipped_scenarios_satisfy_the_schema(file: Path) -> None:
    """The examples that people copy are valid for their editor too."""
    assert not list(SCHEMA.iter_errors(_json_keys(yaml.safe_load(file.read_text()))))


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("stop: {timeouts: 2s}\nexpect: {outcome: killed, exit_codes: 3}\n", True),
        ("stop: {timeouts: []}\n", False),
        ("expect: []\n", False),
        ("expect: {outcome: []}\n", False),
        ("expect: {outcome: gracefull}\n", False),
        ("expect: {exit_codes: 256}\n", False),
        ("repeat: 0\n", False),
    ],
)
def test_schema_and_parser_agree_on_single_values_and_empty_lists(text: str, valid: bool) -> None:
    """What stands for a list of one, and what is empty, is the same to the editor and to the command."""
    data = yaml.safe_load(START + text)
    assert SCHEMA.is_valid(data) is valid
    assert valid or problems(START + text)


def test_the_schema_accepts_numbers_and_truth_as_environment_values() -> None:
    """They are taken as written."""
    data = yaml.safe_load("{version: 1, name: a, subject: {image: a, environment: {P: 8000, F: yes}, ports: [80]}}")
    jsonschema.validate(data, scenario_file.schema())


def test_what_a_pattern_allows_is_said_in_words() -> None:
    """Nobody has to read a regular expression to learn what a name may be."""

    def patterns(value: object) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(patterns, value))
        if not isinstance(value, dict):
            return set()
        own = {value["pattern"]} if isinstance(value.get("pattern"), str) else set()
        return own.union(*map(patterns, value.values()))

    found = patterns(scenario_file.schema())
    assert len(found) > 3
    assert found <= plain.PATTERNS.keys()


def test_the_schema_is_a_schema_and_refuses_an_unknown_key() -> None:
    """It is valid JSON Schema 2020-12, and not one that accepts everything."""
    jsonschema.Draft202012Validator.check_schema(scenario_file.schema())
    with pytest.raises(jsonschema.ValidationError, match="redy"):
        jsonschema.validate({**yaml.safe_load(START), "redy": {}}, scenario_file.schema())


def test_the_shortest_scenario_means_what_the_reference_says() -> None:
    """30 s stop timeout, the image's own signal, graceful expected, stopped 1 s after its start, 4096 processes."""
    assert scenario_file.parse(START, SOURCE) == Scenario(
        name="web",
        subject=Subject(image="web", pids_limit=4096),
        readiness=Readiness(delay_ns=NS_PER_S, implied=True),
        stop=StopPlan((30 * NS_PER_S,), None, (0,)),
        repeat=1,
        expectations=(Expectation((Outcome.GRACEFUL,)),),
        source=SOURCE,
    )


def test_readiness_by_a_condition_adds_no_delay() -> None:
    """The second of patience is for containers that say nothing."""
    assert scenario_file.parse(START + "ready: {tcp: 80}\n").readiness.delay_ns == 0
    assert scenario_file.parse(START + "ready: {tcp: 80, delay: 200ms}\n").readiness.delay_ns == 200 * NS_PER_MS


def test_single_values_stand_for_lists_of_one() -> None:
    """`timeouts: 2s`, `outcome: killed` and `exit_codes: 3` need no brackets."""
    found = scenario_file.parse(START + "stop: {timeouts: 2s}\nexpect: {outcome: killed, exit_codes: 3}\n")
    assert found.stop.timeouts_ns == (2 * NS_PER_S,)
    assert found.expectations == (Expectation((Outcome.KILLED,), exit_codes=(3,)),)


def test_environment_values_are_taken_as_written() -> None:
    """`PORT: 8000`, `FLAG: yes` and `VERSION: 1.10` are text, as they would be in a shell."""
    found = scenario_file.parse(
        "version: 1\nname: a\nsubject: {image: a, environment: {P: 8000, F: yes, V: 1.10, D: 2020-13-45}}\n"
    )
    assert found.subject.environment == (("P", "8000"), ("F", "yes"), ("V", "1.10"), ("D", "2020-13-45"))


def test_ports_may_be_a_list() -> None:
    """`ports: [80, 81]` publishes both on free host ports."""
    found = scenario_file.parse("version: 1\nname: a\nsubject: {image: a, ports: [80, 81]}\n")
    assert found.subject.ports == ((80, None), (81, None))


def test_anchors_and_merge_keys_may_be_used() -> None:
    """YAML's own means against repetition work."""
    found = scenario_file.parse(START + "expect:\n- &fast {within: 1s}\n- {<<: *fast, timeout: 30s, outcome: killed}\n")
    assert [item.within_ns for item in found.expectations] == [NS_PER_S, NS_PER_S]


@pytest.mark.parametrize("source", ["a/b/file.yaml", "/a/b/file.yaml", "file.yaml"])
def test_a_build_folder_is_relative_to_the_file(source: str) -> None:
    """A scenario folder can be moved as a whole."""
    found = scenario_file.parse("version: 1\nname: a\nsubject: {build: ../web}\n", source)
    assert found.subject.build_directory == {"a/b/file.yaml": "a/web", "/a/b/file.yaml": "/a/web"}.get(source, "../web")


@pytest.mark.parametrize(("line", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_explained_where_it_stands(line: str, message: str) -> None:
    """file:line:column, the key, what is wrong and what is allowed, in one line."""
    (problem,) = problems(START + line)
    assert re.match(r"file\.yaml:\d+:\d+: ", problem)
    assert any(part in problem for part in message.split("|"))
    assert len(problem) < 300


@pytest.mark.parametrize(("subject", "message"), SUBJECT_MISTAKES.values(), ids=SUBJECT_MISTAKES.keys())
def test_a_mistake_in_the_subject_is_explained(subject: str, message: str) -> None:
    """The same for the section that says what to run."""
    (problem,) = problems(f"version: 1\nname: web\nsubject: {subject}\n")
    assert message in problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file.yaml:1:1: the file is empty; `stop-harness init` writes one"),
        ("# only a comment\n", "file.yaml:1:1: the file is empty"),
        ("just words\n", "file.yaml:1:1: a scenario is a mapping of keys"),
        ("- a\n- b\n", "file.yaml:1:1: a scenario is a mapping of keys"),
        ("\x00\x01\x02", "file.yaml:1:1: not valid YAML: unacceptable character"),
        ("version: 2\nname: a\nsubject: {image: a}\n", "file.yaml:1:1: version: 2 is not allowed; allowed: 1"),
        (
            "version: 1\nname: Web App\nsubject: {image: a}\n",
            "file.yaml:2:1: name: 'Web App' is not allowed; needed: lower",
        ),
        ("version: 1\nsubject: {image: a}\n", "file.yaml:1:1: name: this key is required"),
        ("version: 1\nname: a\n", "file.yaml:1:1: subject: this key is required"),
    ],
)
def test_a_file_that_is_no_scenario_is_explained(text: str, message: str) -> None:
    """Empty, not YAML, not a mapping, of another version, incomplete."""
    assert message in problems(text)[0]


def test_many_mistakes_are_reported_together_in_the_order_of_the_file() -> None:
    """Nobody mends a file one run at a time."""
    text = "version: 1\nnaem: a\nsubject: {image: 7}\nstop:\n  timeouts: [2, -1s]\n  signal: NO\nrepeat: 0\n"
    found = problems(text)
    assert [re.sub(r"file\.yaml:(\d+).*?: ([\w.]+): .*", r"\1 \2", line) for line in found] == [
        "1 name",
        "2 naem",
        "3 subject.image",
        "5 stop.timeouts.0",
        "5 stop.timeouts.1",
        "6 stop.signal",
        "7 repeat",
    ]


@pytest.mark.parametrize(
    "bomb",
    [
        "stop: &a [*a]\n",
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
        "stop: " + "{<<: [&x " * 40 + "{k: v}" + ", *x]}" * 40 + "\n",
        "stop: " + "[" * 2000,
        "stop: " + "[" * 50 + "]" * 50 + "\n",
        "stop: {timeouts: [" + "1s, " * 25_000 + "]}\n",
    ],
    ids=["contains itself", "billion laughs", "merge keys", "never closed", "deep", "long"],
)
def test_a_bomb_is_refused_before_it_goes_off(bomb: str) -> None:
    """A page that unfolds into gigabytes ends in a message; without bounds some of these would take for ever."""
    cpu_s = time.process_time()
    assert problems(START + bomb)[0].startswith("file.yaml:")
    assert time.process_time() - cpu_s < 20


yaml_like = st.lists(
    st.sampled_from([*"a1:-[]{}&*!|>'\"%@`?,#<\n\t ~.é\x00=+_", "<<: ", "stop: ", "!!int ", "? ", "&x ", "*x "])
).map("".join)


@given(yaml_like | st.text() | st.binary().map(lambda data: data.decode("latin-1")))
@example("!!timestamp x: 1")
@example("'=': =")
def test_arbitrary_text_raises_nothing_but_a_scenario_error(text: str) -> None:
    """Noise in place of a file is the user's mistake, never a crash of ours."""
    with contextlib.suppress(ScenarioError):
        scenario_file.parse(text)
    with contextlib.suppress(ScenarioError):
        scenario_file.parse(START + text)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)
sections = ("version", "name", "description", "subject", "ready", "stop", "repeat", "expect", "traffic", "before_stop")
keys = st.sampled_from((*sections, "image", "build", "command", "environment", "ports", "memory", "init", "entrypoint"))
keys |= st.sampled_from(("log", "tcp", "http", "port", "path", "timeouts", "timeout", "signal", "after", "outcome"))
keys |= st.sampled_from(tuple(SubjectSection.model_fields))
keys |= st.sampled_from(("idle", "keep_alive", "stream", "exchanges", "send", "expect", "execute", "headers", "body"))


@given(st.dictionaries(keys, json_like | st.dictionaries(keys, json_like, max_size=4), max_size=5))
def test_wrong_values_for_right_keys_raise_nothing_but_a_scenario_error(data: dict[str, object]) -> None:
    """Every key with a value of every type is read or explained, with a position."""
    text = yaml.safe_dump({**yaml.safe_load(START), **data})
    with contextlib.suppress(ScenarioError):
        scenario_file.parse(text, "f.yaml")
        return
    assert all(re.match(r"f\.yaml:\d+:\d+: ", problem) for problem in problems(text, "f.yaml"))


@given(scenarios(), st.sampled_from(["name", "subject", "stop"]))
@settings(max_examples=20)
def test_location_finds_a_key_of_a_valid_scenario(wanted: Scenario, key: str) -> None:
    """Mistakes found later, on the disk or by the engine, point at the file too."""
    text = yaml_of(wanted)
    lines = text.splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if text.startswith(f"{key}:"))
    assert scenario_file.parse(text, "f.yaml").location(key) == f"f.yaml:{line}:1"


@given(scenarios())
@settings(max_examples=20)
def test_positions_are_neither_stored_nor_part_of_what_a_scenario_says(wanted: Scenario) -> None:
    """They are for messages: the stored scenario equals the parsed one, and only knows its name for a place."""
    parsed = scenario_file.parse(yaml_of(wanted), SOURCE)
    records = TypeAdapter(Scenario)
    stored = records.validate_json(records.dump_json(parsed))
    assert stored == parsed
    assert "positions" not in records.dump_python(parsed)
    assert stored.location("name") == f"scenario {wanted.name}"


def _json_keys(data: object) -> object:
    """What JSON makes of the data: keys are text."""
    if isinstance(data, dict):
        return {str(key): _json_keys(value) for key, value in data.items()}
    return [_json_keys(item) for item in data] if isinstance(data, list) else data
