"""`stop_harness.watch`: the stops of a block of Python are judged, asserted and reported."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import stop_harness
from stop_harness.conductor import exit_codes
from stop_harness.conductor.watched_run import WatchedRun
from stop_harness.engines.docker.host import DockerHost
from stop_harness.evidence.watched_end import WatchedEnd
from stop_harness.model import EndKind
from stop_harness.report.watched import JudgedEnd
from tests.own_runs import COMMAND
from tests.reports_factory import DOCKER
from tests.watch_support import DEAF, FAILS, TRAPS, Containers, sees_kills

STOPS = "import docker, sys; [docker.from_env().containers.get(name).stop(timeout=5) for name in sys.argv[1:]]"


@pytest.mark.docker
def test_the_stops_of_a_block_are_judged(ours: Containers, capfd: pytest.CaptureFixture[str]) -> None:
    """All of them are there when it has ended; the assertion says which was bad, and why. Nothing is printed."""
    crashes = ours.run(FAILS)
    with stop_harness.watch(labels=[ours.label]) as watched:
        ours.run(["true"]).wait()
        crashes.stop()
        with pytest.raises(stop_harness.UsageError, match="when its `with` block has ended"):
            watched.assert_graceful()
    (stop,) = watched.stops
    assert (stop.container, stop.container_id, stop.exit_code) == (crashes.name, crashes.id, 3)
    assert stop.outcome is stop_harness.Outcome.CRASHED
    assert stop.ended_at is not None
    assert stop.stop_timeout_source == "engine"
    assert watched.ends == {"exit": 1, "stop": 1}
    with pytest.raises(stop_harness.NotGraceful) as caught:
        watched.assert_graceful()
    assert crashes.name in str(caught.value)
    assert "1 stop (1 crashed)" in str(caught.value)
    assert watched.report.exit_code == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.docker
def test_a_graceful_stop_passes_and_one_that_took_too_long_does_not(
    ours: Containers, docker_engine_host: DockerHost
) -> None:
    """`within` is that of `check`."""
    if not sees_kills(docker_engine_host):
        pytest.skip("without the kernel of the engine's machine every stop is in doubt")
    slow = ours.run(["sh", "-c", "trap 'sleep 0.6; exit 0' TERM; echo ready; while :; do sleep 0.1; done"])
    with stop_harness.watch(labels=[ours.label]) as watched:
        slow.stop()
    watched.assert_graceful()
    watched.assert_graceful(within="9s")
    with pytest.raises(stop_harness.NotGraceful, match=r"expected within 0\.500 s"):
        watched.assert_graceful(within=0.5)


@pytest.mark.docker
def test_no_stop_is_no_pass(ours: Containers) -> None:
    """Nor is a command that failed after a good one."""
    with stop_harness.watch(labels=[ours.label]) as watched:
        pass
    with pytest.raises(stop_harness.NotJudged, match="no container was stopped"):
        watched.assert_graceful()
    one = ours.run(TRAPS)
    with stop_harness.watch(command=[sys.executable, "-c", f"{STOPS}; sys.exit(7)", one.id]) as watched:
        pass
    assert watched.command_exit_code == 7
    assert [stop.container for stop in watched.stops] == [one.name]
    with pytest.raises(stop_harness.NotJudged, match="the command ended with exit code 7"):
        watched.assert_graceful()


@pytest.mark.docker
def test_a_loop_gets_exactly_the_stops_of_a_command_and_ends_with_it(ours: Containers) -> None:
    """What others stop meanwhile is none of them."""
    first, second, other = ours.run(TRAPS), ours.run(FAILS), ours.run(TRAPS)
    with stop_harness.watch(command=[sys.executable, "-c", STOPS, first.name, second.id[:12]]) as watched:
        other.stop()
        seen = [stop.container for stop in watched]
    assert seen == [first.name, second.name] == [stop.container for stop in watched]


@pytest.mark.docker
def test_a_loop_ends_where_another_thread_ends_the_watch(ours: Containers) -> None:
    """And a second loop begins with the first stop again."""
    one = ours.run(FAILS)
    with stop_harness.watch(labels=[ours.label]) as watched:
        one.stop()
        threading.Timer(0.5, watched.finish).start()
        assert [stop.container for stop in watched] == [one.name]
    assert [stop.container for stop in watched] == [one.name]


@pytest.mark.docker
def test_an_error_in_the_block_is_raised_and_ends_the_command(docker_engine_host: DockerHost) -> None:
    """It is not waited for."""
    assert docker_engine_host
    sleeps = [sys.executable, "-c", "import time; time.sleep(1000)"]
    with pytest.raises(ZeroDivisionError), stop_harness.watch(command=sleeps) as watched:
        _ = 1 / 0
    assert watched.command_exit_code == -9
    with pytest.raises(stop_harness.UsageError, match="for one `with` block"), watched:
        pass


@pytest.mark.docker
def test_a_report_is_written_that_can_be_judged_again(ours: Containers, tmp_path: Path) -> None:
    """Each container is a scenario of it, whatever image it is of; what it was given is not in it."""
    killed = ours.run([*DEAF[:2], f"{DEAF[2]}; : topsecret-2 ready"], environment={"TOKEN": "topsecret-2"})
    crashes = ours.run(FAILS)
    with stop_harness.watch(labels=[ours.label], report_dir=tmp_path) as watched:
        killed.stop(timeout=1)
        crashes.stop()
        crashes.start()
        crashes.stop()
    directory = watched.report.directory
    assert directory is not None
    results = json.loads((directory / "results.json").read_text())
    names = [item["name"] for item in results["scenarios"]]
    assert sorted(names) == sorted(f"{item.name} ({item.image.tags[0]})" for item in (killed, crashes))
    assert "topsecret" not in "".join(file.read_text() for file in directory.rglob("*") if file.is_file())
    assert (directory / "report.html").is_file()
    again = stop_harness.read_run(directory)
    assert [stop.record for stop in again.stops] == [stop.record for stop in watched.report.stops]
    assert len(again.of(f"{crashes.name} ({crashes.image.tags[0]})")) == 2


@pytest.mark.docker
def test_the_command_line_writes_the_same_report(ours: Containers, tmp_path: Path) -> None:
    """It says where; where nothing was watched, nothing is left behind."""
    one = ours.run(FAILS)
    line = [COMMAND, "watch", "--report-dir", str(tmp_path), "--"]
    done = subprocess.run(
        [*line, sys.executable, "-c", STOPS, one.id], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    (directory,) = [path for path in tmp_path.iterdir() if not path.is_symlink()]
    assert f"report: {directory / 'report.html'}" in done.stdout
    assert one.name in (directory / "results.json").read_text()
    subprocess.run([*line, "no-such-program-of-anybody"], capture_output=True, check=False, timeout=120)
    assert [path for path in tmp_path.iterdir() if not path.is_symlink()] == [directory]


def test_an_end_that_is_not_known_keeps_the_report_from_passing(tmp_path: Path) -> None:
    """A container that was still being stopped, and one whose end nobody saw, stand in the report, and are no pass."""
    unseen = JudgedEnd(WatchedEnd(EndKind.UNSEEN, "1" * 64, "web", "shop/web", None, None))
    run = WatchedRun(DOCKER, ("stop-harness", "watch"), tmp_path)
    run.take(unseen)
    _, built, problems = run.finished(("worker",), print)
    assert problems == ()
    assert [item.scenario for item in built.skipped] == ["web (shop/web)", "worker"]
    assert exit_codes.of_report(built) == exit_codes.INCONCLUSIVE
    assert run.directory is not None
    text = (run.directory / "summary.md").read_text()
    assert "was not listened to" in text
    assert "still being stopped" in text


def test_mistakes_are_told_before_anything_is_watched() -> None:
    """In the words of Python."""
    for wrong, said in (
        ({"label": ["a"]}, "did you mean 'labels'"),
        ({"labels": "a=b"}, "it takes a list"),
        ({"labels": ["=b"]}, "a key is needed"),
        ({"command": "docker stop web"}, "a list of words"),
        ({"command": []}, "at least one word"),
    ):
        with pytest.raises(stop_harness.UsageError) as caught:
            stop_harness.watch(**wrong)
        assert said in str(caught.value)
        assert "--" not in str(caught.value)
    with pytest.raises(stop_harness.UsageError, match="begins with a block"):
        next(iter(stop_harness.watch()))
