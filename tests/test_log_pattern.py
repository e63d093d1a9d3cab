"""Patterns of users: what RE2 cannot do is refused in words, what it can means what Python's expressions mean."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.errors import ScenarioError
from stop_harness.log_pattern import LogPattern, PatternError, check
from stop_harness.scenario import scenario_file

REFUSED = {
    "(?=ready)": "lookahead is not to be had",
    "a(?!b)": "at its character 2: lookahead",
    "(?<=x)ready": "lookbehind",
    "(?<!x)ready": "lookbehind",
    r"(a)\1": r"at its character 4: a reference to a group",
    "(?P<n>a)(?P=n)": "a reference to a group",
    "(?>a)": "an atomic group",
    "a++b": "a possessive quantifier",
    "(?x) a": "verbose mode",
    r"ready\Z": r"write \z",
    "a{1001}": "at most 1000 repetitions",
    "((a{100}){100}){100}": "at most 1000 repetitions",
    "a{,5}": "at its character 2: {,5} is not to be had",
    "a{99999999999}": "at its character 2: {99999999999} is not to be had",
    "(": "missing )",
    "[a": "missing ]",
    "*": "no argument for repetition operator",
    "\ud800": "is not text at its character 1",
}


@pytest.mark.parametrize(("pattern", "message"), REFUSED.items(), ids=ascii)
def test_what_cannot_be_matched_in_linear_time_is_refused_in_words(
    pattern: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The part, where it stands and what is allowed; nothing of RE2's own goes to standard error."""
    with pytest.raises(PatternError) as refused:
        check(pattern)
    assert message in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_a_refused_pattern_of_a_file_has_its_place() -> None:
    """file:line:column, as every mistake."""
    text = "version: 1\nname: s\nsubject: {image: x}\nready:\n  log: 'up(?=!)'\n"
    with pytest.raises(ScenarioError) as refused:
        scenario_file.parse(text, "file.yaml")
    (problem,) = refused.value.problems
    assert problem.startswith("file.yaml:5:3: ready.log: 'up(?=!)' is not a regular expression at its character 3")
    text = "version: 1\nname: s\nsubject: {image: x}\nbefore_stop:\n  - log: '(a)\\1'\n"
    with pytest.raises(ScenarioError, match=r"file\.yaml:5:5: before_stop\.0\.log: "):
        scenario_file.parse(text, "file.yaml")


def test_warnings_of_pythons_expressions_do_not_reach_the_user() -> None:
    """`[[a]` is a possible nested set to Python, which says so on standard error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert LogPattern("[[a]b").found_in(b"x [b")


def test_lines_match_one_by_one() -> None:
    """`^` and `$` are a line's, carriage returns are not part of it, and bytes need not be text."""
    ready = LogPattern("^ready$")
    assert ready.found_in(b"starting\r\nready\r\nmore\r\n")
    assert ready.found_in(b"ready\r")
    assert not ready.found_in(b"ready soon\nnot ready")
    assert LogPattern("^.ready$").found_in(b"\xffready")
    assert LogPattern("^é+$").found_in("éé")


TERMINALS = [
    b"ready\r\n",
    b"ready\r\r\nmore",
    b"loading 10 %\rloading 99 %\rready\r\n",
    b"\x1b[2K\x1b[1G\x1b[32mready\x1b[0m\r\n",
    b"\x1b]0;title\x07ready",
    b"\rready",
]


@pytest.mark.parametrize("written", TERMINALS)
def test_what_only_a_terminal_sees_is_no_part_of_a_line(written: bytes) -> None:
    """Carriage returns begin the line again, and colours are not read; no empty lines come of it."""
    assert LogPattern("^ready$").found_in(written)
    assert not LogPattern("^read$").found_in(written)
    assert not LogPattern("^$").found_in(written.removesuffix(b"\n"))  # readers cut at the line's end


def test_a_pattern_may_name_what_a_terminal_hides() -> None:
    """It is looked for as it was written, first."""
    assert LogPattern(r"10 %\rready").found_in(b"10 %\rready")
    assert LogPattern(r"\x1b\[32mready").found_in(b"\x1b[32mready\x1b[0m")


parts = st.sampled_from(["a", "b", ".", "^", "$", "|", "(?:", ")", "*", "+", "?", "[ab]", "[^a]", r"\n", "{2}", "(?i)"])


@given(pattern=st.lists(parts, max_size=7).map("".join), text=st.text("ab\nA", max_size=12))
def test_what_both_engines_take_means_the_same_to_both(pattern: str, text: str) -> None:
    """Nobody's scenario changes its meaning in silence."""
    try:
        ours = LogPattern(pattern)
        pythons = re.compile(pattern, re.MULTILINE)
    except (PatternError, re.error):
        return
    assert ours.found_in(text) == (pythons.search(text) is not None)


@pytest.mark.parametrize("engine", ["process", pytest.param("docker", marks=pytest.mark.docker)])
def test_a_pattern_that_freezes_pythons_engine_only_times_out(engine: str) -> None:
    """Five thousand letters against `^(a+)+$`: not ready, inconclusive, and over within the time for readiness."""
    code = "import time; print('a' * 5000 + 'b', flush=True); time.sleep(600)"
    words = ["python3", "-c", code]
    subject = ["--", *words] if engine == "process" else ["debian:bookworm-slim", "--engine", engine, "--", *words]
    options = ["--ready-log", "^(a+)+$", "--ready-timeout", "1s", "--timeout", "1s"]
    done = subprocess.run(
        [sys.executable, "-m", "stop_harness", "check", *options, *subject],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "not ready" in done.stdout + done.stderr
