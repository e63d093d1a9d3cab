"""The Python API: what the command line can do, without printing and without an end of the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_type_hints

import click
import pytest

import stop_harness
from stop_harness.api import keywords
from stop_harness.api.exploring import ExploreKeywords
from stop_harness.cli.check import check as check_command
from stop_harness.cli.explore import explore as explore_command
from stop_harness.cli.run import run as run_command
from stop_harness.cli.watch import watch as watch_command

NOT_KEYWORDS = {
    "color",
    "github",
    "as_json",
    "quiet",
    "verbose",
    "predict",
    "sweep_start",
    "watch_files",
    "help",
    "_click_default_help",
}
"""Options that say what is printed, or stand for a function of their own."""

GRACEFUL = [
    sys.executable,
    "-c",
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
    "print('up', flush=True)\n"
    "while True: time.sleep(0.05)",
]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(100)",
]


HELP = ["-h", "--help"]
"""As in the whole program: click keeps the help option that a command's first context asks for."""


def names_of(command: click.Command) -> set[str]:
    """The parameters of a command, under the names that Python has for them."""
    context = click.Context(command, help_option_names=HELP)
    names = {item.name or "" for item in command.get_params(context)} - NOT_KEYWORDS
    places = {"names": {"image", "services", "container", "command"}, "task_images": {"images"}, "fault": {"faults"}}
    return set().union(*(places.get(name, {name}) for name in names))


def test_the_public_names_are_these() -> None:
    """Each is there, and nothing else is promised."""
    assert sorted(stop_harness.__all__) == dir(stop_harness)
    for name in stop_harness.__all__:
        assert getattr(stop_harness, name) is not None
    assert callable(stop_harness.run), "a subpackage of that name would hide the function"


def test_an_import_alone_loads_nothing_heavy() -> None:
    """A test suite that has the package installed pays for it when it is used."""
    code = "import sys, stop_harness; print(sorted(name for name in sys.modules if name.startswith('stop_harness')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "['stop_harness', 'stop_harness._version']"


def test_keywords_of_check_are_the_options_of_check() -> None:
    """An option without its keyword would be something that only the command line can do."""
    assert set(get_type_hints(keywords.CheckKeywords)) == names_of(check_command)


def test_keywords_of_run_are_the_options_of_run() -> None:
    """But for the paths, which are arguments, and --resume, which is a function."""
    assert set(get_type_hints(keywords.RunKeywords)) == names_of(run_command) - {"paths", "resume"}


def test_keywords_of_watch_are_the_options_of_watch() -> None:
    """But for what a loop over the stops does in Python; the command behind `--` is a keyword."""
    loops = {"on_bad_stop", "metrics_at"}
    assert set(get_type_hints(keywords.WatchKeywords)) == names_of(watch_command) - loops | {"command"}


def test_keywords_of_explore_are_the_options_of_explore() -> None:
    """But for the scenario, which is an argument; `for` is a word of Python's own."""
    options = names_of(explore_command) - {"scenario", "for_"} | {"for_s"}
    assert set(get_type_hints(ExploreKeywords)) == options


def test_absent_keywords_are_what_absent_options_are() -> None:
    """The defaults of both must not drift apart."""
    given = keywords.given(keywords.CheckKeywords, {}, "check")
    context = check_command.make_context("check", ["IMAGE"], help_option_names=HELP)
    for name, value in context.params.items():
        if name not in NOT_KEYWORDS | {"names", "task_images", "fault", "faults"}:
            assert given[name] == value, name


def test_a_graceful_stop_passes_its_assertions() -> None:
    """Its outcome, its duration, and no cause; the report's command line asks for the same."""
    result = stop_harness.check(command=GRACEFUL, ready_log="up", timeouts=[5, "10s"])
    result.assert_graceful(within=5)
    result.assert_passed()
    assert (result.outcome, result.cause, result.cure, result.passed) == ("graceful", None, None, True)
    assert [stop.stop_timeout_s for stop in result.stops] == [5, 10]
    assert all(stop.shutdown_duration_s is not None and stop.shutdown_duration_s < 5 for stop in result.stops)
    said = result.record.run.command_line
    assert said[:8] == ("stop-harness", "check", "--ready-log", "up", "--timeout", "5s", "--timeout", "10s")
    assert result.directory is None


def test_a_stop_that_needs_sigkill_fails_with_what_check_prints() -> None:
    """Cause and cure stand in the message, and as values."""
    result = stop_harness.check(command=STUBBORN, ready_log="up", timeouts=[1])
    assert result.outcome is stop_harness.Outcome.KILLED
    assert result.cause == "signal-ignored"
    assert result.cure
    with pytest.raises(stop_harness.NotGraceful) as caught:
        result.assert_graceful()
    assert str(caught.value) == str(result)
    assert "cause" in str(caught.value)
    assert caught.value.result is result


def test_graceful_but_too_late_is_not_within() -> None:
    """`within` is judged by the rule of scenario files."""
    result = stop_harness.check(command=GRACEFUL, ready_log="up", timeouts=[5])
    with pytest.raises(stop_harness.NotGraceful, match="too slow"):
        result.assert_graceful(within=0)
    result.assert_graceful(within="5s")


def test_a_time_that_was_given_to_check_holds_for_the_assertion_too() -> None:
    """Whoever says within=… once does not have to say it twice."""
    result = stop_harness.check(command=GRACEFUL, ready_log="up", timeouts=[5], within="0")
    with pytest.raises(stop_harness.NotGraceful, match="too slow"):
        result.assert_graceful()


def test_what_never_becomes_ready_is_not_judged() -> None:
    """Doubt is an error of its own, no pass and no failed assertion."""
    result = stop_harness.check(command=GRACEFUL, ready_log="never", ready_timeout=0.5)
    assert result.outcome is stop_harness.Outcome.INCONCLUSIVE
    with pytest.raises(stop_harness.NotJudged):
        result.assert_graceful()
    with pytest.raises(stop_harness.NotJudged):
        result.assert_passed()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"image": "web", "comand": ["x"]}, "no keyword 'comand'; did you mean 'command'?"),
        ({"image": "web", "command": "sleep 1"}, "a list of words"),
        ({"image": "web", "timeouts": 10}, "such as [10, 30]"),
        ({"image": "web", "timeouts": ["10"]}, "timeouts"),
        ({"image": "web", "init": "yes"}, "it is True or False"),
        ({"image": "web", "env": ["A=1"]}, "it takes a mapping"),
        ({"image": "web", "ready_http": "abc"}, "ready_http 'abc' is not of the form"),
        ({"image": "web", "ready_tcp": "80"}, "it takes a whole number"),
        ({"image": "web", "confidence": 2.0}, "between 0 and 1"),
        ({"image": "web", "traffic_tls": True}, "traffic_tls goes with a kind of traffic, such as traffic_http"),
        ({"image": "web", "build": "."}, "check takes one of image, build, compose"),
        ({}, "check needs one of image, build, compose"),
        ({"container": "shop/web"}, "an image is stopped by check(image=…)"),
        ({"image": "web", "max_time": 5}, "max_time is a limit of until_sure"),
        ({"image": "web", "env": {"A": None}}, "it takes a mapping"),
        ({"image": "web", "repeat": 0}, "repeat 0 is not a number from 1 to 10000"),
        ({"image": "web", "repeat": -1}, "repeat -1 is not a number from 1 to 10000"),
        ({"image": "web", "until_sure": True, "max_repeat": 0}, "max_repeat 0 is not a number from 1"),
        ({"image": "web", "timeouts": [float("nan")]}, "'nan' is not a duration"),
        ({"task_definition": "task.json", "ended_by": ["explosion"]}, "ended_by 'explosion' is none of stop-task"),
    ],
)
def test_mistakes_are_told_in_the_words_of_python(wrong: dict[str, object], said: str) -> None:
    """No option of the command line is named to somebody who wrote a keyword."""
    with pytest.raises((stop_harness.UsageError, stop_harness.ScenarioError)) as caught:
        stop_harness.check(**wrong)  # type: ignore[arg-type] # that is what is tried
    assert said in str(caught.value)
    assert "--" not in str(caught.value)


@pytest.mark.parametrize("function", [stop_harness.run, stop_harness.validate, stop_harness.read_run])
@pytest.mark.parametrize("wrong", [[], ["stops/"], None, 3])
def test_what_is_no_path_is_told(function: Callable[[object], object], wrong: object) -> None:
    """A list of paths is a likely mistake, and no reason for a TypeError from elsewhere."""
    with pytest.raises(stop_harness.UsageError, match=r"each path is an argument of its own, such as \w+\("):
        function(wrong)


@pytest.mark.parametrize("no_time", [float("nan"), float("inf"), -1, True, "5", b"5s", [5], 10**400])
def test_a_time_that_is_none_is_a_mistake_and_no_verdict(no_time: object) -> None:
    """An assertion that silently passes for it would assert nothing."""
    result = stop_harness.check(command=GRACEFUL, ready_log="up", timeouts=[5])
    with pytest.raises(stop_harness.UsageError, match="within="):
        result.assert_graceful(within=no_time)  # type: ignore[arg-type] # that is what is tried


def test_every_keyword_that_is_a_time_takes_seconds() -> None:
    """`cpus` alone has the type of a time and is none."""
    hints = {**get_type_hints(keywords.CheckKeywords), **get_type_hints(ExploreKeywords)}
    times = {name for name, hint in hints.items() if hint in (keywords.Duration, Sequence[keywords.Duration])}
    assert times - {"cpus"} == keywords.DURATIONS


def test_scenarios_run_from_python(tmp_path: Path) -> None:
    """Stops by scenario, and the report where one is asked for."""
    folder = tmp_path / "stops"
    folder.mkdir()
    for name, expected in (("good", "graceful"), ("bad", "killed")):
        script = (GRACEFUL if name == "good" else STUBBORN)[2]
        (folder / f"{name}.py").write_text(script)
        (folder / f"{name}.yaml").write_text(
            f"version: 1\nname: {name}\nsubject: {{build: ., command: [python3, {name}.py]}}\n"
            f"ready: {{log: up}}\nstop: {{timeouts: [1s]}}\nexpect: [{{outcome: {expected}}}]\n"
        )
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY . .\nCMD ["python3"]\n')
    report = stop_harness.run(folder, engine="process", report_dir=tmp_path / "reports")
    assert report.passed
    report.assert_passed()
    assert [stop.outcome for stop in (*report.of("good"), *report.of("bad"))] == ["graceful", "killed"]
    assert report.directory is not None
    assert (report.directory / "report.html").is_file()
    with pytest.raises(stop_harness.NotGraceful):
        report.assert_graceful()  # an expected SIGKILL is as expected, and not graceful
    assert [stop.outcome for stop in stop_harness.read_run(report.directory).stops] == ["killed", "graceful"]
    assert stop_harness.validate(folder) == stop_harness.Validated(scenarios=2, task_definitions=0, pods=0)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """A library that prints spoils the output of its host."""
    stop_harness.check(command=GRACEFUL, ready_log="up")
    assert capfd.readouterr() == ("", "")


def test_it_can_be_called_from_any_thread() -> None:
    """Signal handlers, which only the main thread may set, are left to the host."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(stop_harness.check(command=GRACEFUL, ready_log="up").outcome))
    before = signal.getsignal(signal.SIGTERM), sys.getswitchinterval()
    thread.start()
    thread.join(60)
    assert found == ["graceful"]
    assert (signal.getsignal(signal.SIGTERM), sys.getswitchinterval()) == before


def test_ctrl_c_ends_the_stop_and_is_raised() -> None:
    """The subject ends while its host, which may catch KeyboardInterrupt, lives on."""
    code = (
        "import stop_harness\n"
        "try:\n"
        "    stop_harness.check(command=['python3', '-c', \"import time; print('here'); time.sleep(1234.5)\"],\n"
        "                       ready_log='never', ready_timeout=60)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', flush=True)\n"
        "input()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as host:
        child = _wait_for_process_with("time.sleep(1234.5)", host.pid)
        os.kill(host.pid, signal.SIGINT)
        assert host.stdout is not None
        assert host.stdout.readline() == "interrupted\n"
        deadline = time.monotonic() + 30
        while Path(f"/proc/{child}").exists():  # SIGKILL was sent; a busy machine takes its time
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert host.poll() is None
        host.communicate("\n", timeout=60)


def _wait_for_process_with(text: str, host: int) -> int:
    """The pid of the process that is started below `host` with this in its command line."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue
            if text.encode() in words and b"stop_harness" not in words and int(entry.name) != host:
                return int(entry.name)
        time.sleep(0.05)
    raise AssertionError("the subject was not started")
