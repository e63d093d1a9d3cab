"""What most checks name is read without the models of scenario files, and to the same scenario."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.errors import ScenarioError
from stop_harness.model import Scenario
from stop_harness.scenario import check_options, plain, scenario_file

TEXTS = st.sampled_from(["a", "b:1", "", "π", "\udcff", "-x"])
DURATIONS = st.sampled_from(["0", "0s", "500ms", "2s", "1m30s", "30s", "-1s", "2", "1.5ms", "", "many"])
PORTS = st.sampled_from([0, 1, 8000, 65535, 65536])
SIGNALS = st.sampled_from(["SIGTERM", "int", "3", "SIGRTMIN+3", "SIGNONE", ""])
PATTERNS = st.sampled_from(["^ready$", "(", "(?=x)", "", "\udcff"])
CODES = st.lists(st.sampled_from([0, 3, 143, 255, 256, -1]), min_size=1, max_size=2)


def section(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the keys, and seldom one that there is not."""
    return st.fixed_dictionaries({}, optional={**keys, "nonsense": st.nothing() | st.just(1)})


DATA = st.fixed_dictionaries(
    {
        "version": st.sampled_from([1, 1, 1, 2]),
        "name": st.sampled_from(["demo", "a.b-c_1", "0", "", "Demo", "-a", "a\n", "a" * 63, "a" * 64]),
        "subject": section(
            image=TEXTS,
            build=TEXTS,
            command=st.lists(TEXTS, max_size=2),
            environment=st.dictionaries(TEXTS, TEXTS, max_size=2),
            init=st.just(True),
            memory=st.sampled_from(["64MiB", "1g", "much", ""]),
            user=st.just("nobody"),
        ),
        "ready": section(
            log=PATTERNS,
            tcp=PORTS,
            http=st.fixed_dictionaries({"port": PORTS, "path": st.sampled_from(["/", "/a", "a"])}),
            healthcheck=st.just(True),
            delay=DURATIONS,
            timeout=DURATIONS,
        ),
        "stop": section(timeouts=st.lists(DURATIONS, min_size=1, max_size=3, unique=True), signal=SIGNALS),
        "expect": section(within=DURATIONS, exit_codes=CODES).map(lambda one: [one]),
    },
    optional={"traffic": st.just({"http": {"port": 80}})},
)


def by_models(data: dict[str, Any]) -> Scenario | None:
    """None where they find a mistake."""
    try:
        return scenario_file.from_data(data, "check", check_options.option_place)
    except ScenarioError:
        return None


@given(DATA)
def test_plain_data_is_read_as_the_models_read_it_or_left_to_them(data: dict[str, Any]) -> None:
    """Valid data and data with mistakes: no mistake passes, and nothing is read in another way."""
    made = plain.scenario_of(data)
    assert made is None or made == by_models(data)


@given(DATA)
def test_all_that_is_plain_and_right_is_read_without_the_models(data: dict[str, Any]) -> None:
    """What is not: `traffic`, `user`, and whatever else a check seldom names."""
    if "traffic" not in data and "user" not in data["subject"]:
        assert (plain.scenario_of(data) is None) is (by_models(data) is None)


EVERY_PLAIN_KEY = {
    "version": 1,
    "name": "demo",
    "subject": {"image": "demo:1", "command": ["run", "it"], "environment": {"A": "1"}, "init": True, "memory": "64m"},
    "ready": {"log": "^ready$", "tcp": 1, "http": {"port": 2, "path": "/"}, "healthcheck": True, "delay": "1s"},
    "stop": {"timeouts": ["2s", "10s"], "signal": "SIGINT"},
    "expect": [{"within": "1s", "exit_codes": [0, 3]}],
}


@pytest.mark.parametrize("subject", [EVERY_PLAIN_KEY["subject"], {"build": "images/../demo"}, {"image": "demo"}])
def test_every_plain_key_makes_the_same_scenario(subject: dict[str, Any]) -> None:
    """All at once, and none but what must be."""
    full = {**EVERY_PLAIN_KEY, "subject": subject}
    least = {"version": 1, "name": "demo", "subject": subject, "ready": {}, "stop": {}, "expect": [{}]}
    for data in (full, least):
        made = plain.scenario_of(data)
        assert made is not None
        assert made == by_models(data)


LEAVES = "import signal; signal.pthread_sigmask(0, {15}); print('ready', flush=True); signal.sigwait({15})"


def test_a_check_of_a_command_loads_neither_pydantic_nor_yaml(tmp_path: Path) -> None:
    """From the options to the verdict on the terminal."""
    code = (
        "import sys\n"
        "from stop_harness.cli import main\n"
        f"words = ['--ready-log', 'ready', '--timeout', '5s', '--', sys.executable, '-c', {LEAVES!r}]\n"
        "sys.argv = ['stop-harness', 'check', *words]\n"
        "main.perform()\n"
        "print('LOADED', sorted({'pydantic', 'yaml'} & set(sys.modules)))\n"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert "✔ graceful" in done.stdout, done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"
