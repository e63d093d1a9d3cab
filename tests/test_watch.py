"""`stop-harness watch`: every stop of real containers, whoever asked for it, is judged, and none is missed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stop_harness.conductor import watching as conducted
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.watching import EngineWatch
from stop_harness.errors import UsageError
from tests.own_runs import COMMAND, surroundings, wait_until
from tests.screen import on_terminal
from tests.watch_support import DEAF, FAILS, LEAVES_A_JOB, TRAPS, Containers, sees_kills, watching

AS_ROOT_HERE = "needs the kernel of the engine's machine"


def outcomes(objects: list[dict[str, object]]) -> Counter[object]:
    """How many stops came to what."""
    return Counter(item["outcome"] for item in objects if item["end"] == "stop")


@pytest.mark.alone  # the time of a SIGKILL tells the stop timeout, and a busy engine is late
@pytest.mark.docker
def test_every_stop_is_judged_whoever_asked_for_it(ours: Containers, docker_engine_host: DockerHost) -> None:
    """By a stop call, a restart, `--rm`; with duration, timeout and cause, and the reason on a line for people."""
    before = ours.run(TRAPS, name=f"{ours.label[-8:]}-before")
    with watching("--json", "--label", ours.label) as watch:
        deaf, again, gone = ours.run(DEAF), ours.run(TRAPS), ours.run(TRAPS, auto_remove=True)
        before.stop()
        deaf.stop(timeout=1)
        again.restart(timeout=5)
        gone.stop()
        ours.run(FAILS).stop()
        seen = {item["container_id"]: item for item in watch.wait_for(5)}
        assert watch.interrupt() == 1
    assert "5 stops" in " ".join(watch.err)
    assert seen[before.id]["container"] == before.name
    assert seen[before.id]["end"] == "stop"
    assert seen[before.id]["shutdown_duration_s"] < 5
    killed = seen[deaf.id]
    assert (killed["outcome"], killed["cause"], killed["sigkill"]) == ("killed", "pid1-no-handler", "observed"), killed
    assert (killed["stop_timeout_s"], killed["stop_timeout_source"]) == (1, "sigkill")
    assert 1 <= killed["shutdown_duration_s"] < 3
    if sees_kills(docker_engine_host):
        assert seen[before.id]["outcome"] == seen[again.id]["outcome"] == seen[gone.id]["outcome"] == "graceful"
    assert {item["exit_code"] for item in seen.values()} == {0, 3, 137}


@pytest.mark.docker
def test_what_is_no_stop_is_counted_apart(ours: Containers) -> None:
    """`docker kill`, `docker rm -f` and an exit by itself say nothing about how a container stops."""
    with watching("--json", "--label", ours.label) as watch:
        ours.run(DEAF).kill()
        ours.run(DEAF).remove(force=True)
        ours.run(["sh", "-c", "exit 5"])
        ours.run(["sh", "-c", "kill -SEGV $$; exit 139"])
        ends = watch.wait_for(4)
        assert watch.interrupt() == 0
    assert sorted(item["end"] for item in ends) == ["crash", "exit", "kill", "kill"]
    assert {item["outcome"] for item in ends} == {None}
    assert "0 stops. Beside them 1 crash, 1 exit by itself, 2 containers killed without a stop." in " ".join(watch.err)


@pytest.mark.docker
def test_processes_that_were_lost_silently_are_seen_without_anybody_asking_for_them(
    ours: Containers, docker_engine_host: DockerHost
) -> None:
    """By the kernel: a job that PID 1 leaves behind is a loss, the `sleep` of a script's loop is none."""
    if not sees_kills(docker_engine_host):
        pytest.skip(AS_ROOT_HERE)
    waits = ["sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 1 & wait $!; done"]
    with watching("--json", "--label", ours.label) as watch:
        job, script = ours.run(LEAVES_A_JOB), ours.run(waits)
        job.stop()
        script.stop()
        seen = {item["container_id"]: item for item in watch.wait_for(2)}
        assert watch.interrupt() == 1
    assert seen[job.id]["outcome"] == "lossy"
    assert any(name.startswith("cat (") for name in seen[job.id]["lost_processes"])
    assert seen[job.id]["cause"] == "child-killed-by-teardown"
    assert (seen[script.id]["outcome"], len(seen[script.id]["lost_processes"])) == ("graceful", 1)


@pytest.mark.docker
def test_nothing_is_missed_between_its_start_and_ctrl_c(ours: Containers) -> None:
    """Every `die` that the engine tells of another listener is an end that was told, also of those that end at once."""
    died: list[str] = []
    stream = ours.client.events(decode=True, filters={"type": "container", "event": "die", "label": ours.label})
    listener = threading.Thread(target=lambda: died.extend(item["Actor"]["ID"] for item in stream), daemon=True)
    listener.start()
    with watching("--json", "--label", ours.label) as watch:
        for _ in range(6):
            ours.run(["true"])
        living = [ours.run(TRAPS) for _ in range(6)]
        stops = [threading.Thread(target=item.stop) for item in living[:5]]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()
        watch.interrupt(signal.SIGTERM)
    wait_until(lambda: len(died) >= 11, "the engine has told of eleven ends")
    stream.close()
    told = watch.objects()
    assert Counter(item["container_id"] for item in told) == Counter(died)
    assert Counter(item["end"] for item in told) == {"exit": 6, "stop": 5}


@pytest.mark.docker
def test_a_command_is_run_for_each_bad_stop(ours: Containers, tmp_path: Path) -> None:
    """It gets the stop as JSON; a good stop is none of its business, and its failure ends nothing."""
    file = tmp_path / "bad.jsonl"
    with watching("--label", ours.label, "--exec", f"cat >> {file}; exit 7") as watch:
        good, bad = ours.run(TRAPS), ours.run(FAILS)
        good.stop()
        bad.stop()
        wait_until(lambda: any("ended with 7" in line for line in watch.err), "the command has run")
        assert watch.interrupt() == 1
    (told,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert (told["container"], told["outcome"], told["exit_code"]) == (bad.name, "crashed", 3)
    text = "\n".join(watch.out)
    assert f"✘ crashed       {bad.name} (" in text
    assert "What to mend first:" in text


@pytest.mark.docker
def test_a_terminal_shows_marks_above_what_is_being_stopped(ours: Containers) -> None:
    """The same as when it is no terminal: ✘, where the terminal takes it, and not its stand-in. Who is not root cannot
    tell a graceful stop, and anybody a crash."""
    done: list[str] = []

    def act(written: str, type_: Callable[[str], None]) -> None:
        if not done and "No stop so far" in written:
            done.append("stopped")
            ours.run(FAILS).stop()
        elif len(done) == 1 and "(1 crashed)" in written:
            done.append("ended")
            type_("\x03")

    code, written = on_terminal([COMMAND, "watch", "--label", ours.label, "--color", "never"], act)
    assert code == 1, written
    assert re.search(r"\d\d  ✘ crashed +\w+ \(", written)


@pytest.mark.docker
def test_values_of_the_environment_are_in_nothing_that_is_told(ours: Containers) -> None:
    """Not where the program repeats them, either."""
    says = ["sh", "-c", "trap 'echo it is $TOKEN; exit 3' TERM; echo ready; while :; do sleep 0.1; done", "topsecret-1"]
    says[2] = says[2].replace("it is", "error: cannot use")
    with watching("--label", ours.label) as watch:
        container = ours.run([*says[:3], "topsecret-1", "ready"], environment={"TOKEN": "topsecret-1"})
        container.stop()
        wait_until(lambda: any("crashed" in line for line in watch.out), "the stop is told")
        watch.interrupt()
    text = "\n".join(watch.out)
    assert "cannot use …" in text
    assert "topsecret" not in text


@pytest.mark.docker
def test_what_a_container_writes_when_it_is_started_again_is_not_of_its_stop(ours: Containers) -> None:
    """One log goes on over all of its runs."""
    with watching("--json", "--label", ours.label) as watch:
        again = ours.run(FAILS)
        again.restart()
        wait_until(lambda: again.logs().count(b"ready") == 2, "it handles the signal again")
        again.stop()
        told = watch.wait_for(2)
        watch.interrupt()
    assert [item["outcome"] for item in told] == ["crashed", "crashed"]
    assert not any("ready" in item["evidence"] for item in told)


@pytest.mark.docker
def test_podman_is_refused_in_a_sentence(docker_engine_host: DockerHost) -> None:
    """Its events have no signals."""
    with pytest.raises(UsageError, match="watch needs Docker: Podman's events do not tell"):
        EngineWatch(replace(docker_engine_host, podman=True), (), print)


def test_a_label_needs_a_key() -> None:
    """Before any engine is asked."""
    with pytest.raises(UsageError, match="a key is needed"):
        conducted.check_labels(["=web"])


def test_without_an_engine_it_says_so_and_ends_with_4() -> None:
    """No watch of nothing."""
    done = subprocess.run(
        [COMMAND, "watch"], env=surroundings(), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert "no Docker or Podman engine answers" in done.stderr
