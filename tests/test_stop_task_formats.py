"""The formatters against those of AWS CLI v2, on values of any shape, and what must hold without it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness.ecs_client import formats, table, yaml_1_2

PYTHON = "/usr/bin/python3"
"""That of the distribution, whose packages have the AWS CLI."""

ORACLE = Path(__file__).parent / "awscli_formatter.py"

Oracle = Callable[[str, Any, bool], str | None]

AWKWARD = (
    "|it's|a\nb|- x|yes|012|1.5|1e3|null|~|a: b| lead|trail |#c|tab\tq|2020-01-01|é\u00a0"
    "|\u2028|=|0x1f|on|'|\"|\\|{a}|[b]|*x|&y|!z|%p|@q|`r|> |,|?|--- a|...|\x7f|\u200b|😀|日本"
    "|1_000|12:30:45|.5|+1|<<|N|Off|long words long words long words long words long words long words"
).split("|")
NUMBERS = st.integers(-5, 10**6) | st.floats(-100, 100)
SCALARS = st.none() | st.booleans() | NUMBERS | st.sampled_from(AWKWARD) | st.text()
NAMES = st.sampled_from(["a", "bb", "name", "Zed", "exitCode", "ü"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES, inner, max_size=4)
        | st.lists(st.dictionaries(NAMES, inner, max_size=3), max_size=3)
    ),
    max_leaves=25,
)

CONTAINERS: list[Any] = [
    {"Name": name, "Code": code, "None": None, "Bindings": []} for name, code in (("app", 0), ("stuck", 137))
]
FOUND: list[Any] = [
    'it\'s "quoted"\nand ünï € 日本 on\ttwo lines: - yes',
    5,
    None,
    [],
    [["app", 0], ["stuck", 137]],
    CONTAINERS,
    {"a": {"containerOverrides": [], "cpu": "1"}, "b": [], "c": [[]], "d": "", "e": False},
]
"""By queries such as `task.version`, `task.tags` and `task.containers[].[name,exitCode]`."""


def _is_sound(value: Any) -> bool:
    """Whether no list that begins with an object holds an empty list or text: `[{}, []]` as a table is an accident."""
    if isinstance(value, dict):
        return all(_is_sound(item) for item in value.values())
    if not isinstance(value, list):
        return True
    begins_with_object = bool(value) and isinstance(value[0], dict)
    return all(_is_sound(item) and not (begins_with_object and item in ([], "")) for item in value)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    """What the CLI prints, None where it fails."""
    probe = subprocess.run(
        [PYTHON, "-c", "import awscli; print(awscli.__version__)"], capture_output=True, text=True, check=False
    )
    if not probe.stdout.startswith("2."):
        reason = f"{PYTHON} has no awscli 2 (Debian: apt-get install awscli)"
        if os.environ.get("STOP_HARNESS_REQUIRE_AWS_CLI"):
            pytest.fail(reason)
        pytest.skip(reason)
    process = subprocess.Popen([PYTHON, str(ORACLE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(format_: str, value: Any, colour: bool) -> str | None:
        stdin.write(json.dumps({"format": format_, "value": value, "colour": colour}) + "\n")
        stdin.flush()
        answer: str | None = json.loads(stdout.readline())
        return answer

    yield ask
    stdin.close()
    process.wait(30)
    stdout.close()


def _ours(format_: str, value: Any, colour: bool) -> str | None:
    try:
        return formats.render(format_, value, colour=colour)
    except formats.FormatError:
        return None


@pytest.mark.oracle
@pytest.mark.parametrize("format_", formats.FORMATS)
@pytest.mark.parametrize("value", [*FOUND, FOUND], ids=str)
def test_what_queries_find_is_printed_as_the_aws_cli_prints_it(oracle: Oracle, format_: str, value: Any) -> None:
    """Scalars, null, lists, objects, projections, nested lists; with colours."""
    printed = oracle(format_, value, True)
    assert printed is not None or (format_, value) in (("text", FOUND), ("table", FOUND))
    assert _ours(format_, value, True) == printed


@pytest.mark.oracle
@pytest.mark.parametrize("format_", formats.FORMATS)
@settings(max_examples=150)
@given(value=VALUES.filter(_is_sound), colour=st.booleans())
def test_any_value_is_printed_as_the_aws_cli_prints_it(oracle: Oracle, format_: str, value: Any, colour: bool) -> None:
    """Every shape that a query can make, with and without colours; and what cannot be shown fails in both."""
    assert _ours(format_, value, colour) == oracle(format_, value, colour)


@given(value=VALUES)
def test_json_and_yaml_say_the_value(value: Any) -> None:
    """Whoever reads them gets the same back."""
    shown = formats.render("json", value)
    assert value == {} or json.loads(shown) == value
    assert yaml_1_2.load(formats.render("yaml-stream", value) or "- {}") == [value]


@given(value=VALUES.filter(lambda value: isinstance(value, dict | list)), width=st.integers(1, 200))
def test_a_table_is_as_wide_everywhere(value: Any, width: int) -> None:
    """Unless text breaks lines, or is wider on a terminal than its characters."""
    try:
        lines = table.render("StopTask", value, max_width=width).splitlines()
    except table.TableError:
        return
    said = json.dumps(value, ensure_ascii=False)  # line breaks and other control characters are escaped in it
    if said.isascii() and said.isprintable() and "\\" not in said and len(lines) > 1:
        assert {line[0] for line in lines[1:]} <= {"|", "+"}
        assert {len(line) for line in lines} == {len(lines[0])}


def test_a_wide_table_stands_upright() -> None:
    """A single row below its headers becomes a column beside them."""
    task = {"taskArn": "arn:" + "x" * 60, "lastStatus": "STOPPED", "version": 5}
    assert "lastStatus |" in table.render("StopTask", task, max_width=200)
    assert "|  lastStatus|  STOPPED " in table.render("StopTask", task, max_width=80)


@pytest.mark.parametrize("text", ["yes", "no", "on", "12:30:45", "0o17x", "1_000_x"])
def test_yaml_is_read_by_version_1_2(text: str) -> None:
    """`yes` is a text, as the AWS CLI reads it; PyYAML alone would not agree."""
    assert yaml_1_2.load(f"reason: {text}") == {"reason": text}


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\t- x", "!!python/object:os.system {}", "\x00"])
def test_what_is_no_yaml_is_a_value_error(text: str) -> None:
    """Nothing of the library's own gets out, and nothing is constructed."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the library's
        yaml_1_2.load(text)
