"""The small processes that clean up after a killed harness: they leave no zombie, and hold what they were given."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stop_harness.engines.docker import reaper
from stop_harness.engines.docker.address import Address
from stop_harness.engines.ecs import reaper as ecs_reaper
from stop_harness.engines.ecs.api import EcsSettings

NOBODY = "http://127.0.0.1:9"


def zombies() -> list[int]:
    """Children of this process that have ended and were not waited for."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:  # it is gone
            continue
        if state == "Z" and int(parent) == os.getpid():
            found.append(int(name))
    return found


@pytest.mark.parametrize(
    "start",
    [
        lambda: reaper.DockerReaper("no-run", Address(NOBODY)),
        lambda: ecs_reaper.EcsReaper("nobody", "none", EcsSettings("none", NOBODY)),
    ],
    ids=["docker", "ecs"],
)
def test_the_process_that_starts_the_reaper_is_waited_for(start: Callable[[], reaper.DockerReaper]) -> None:
    """It ends as soon as it has started the one that works; then nothing of it is left."""
    before = set(zombies())
    started = start()
    try:
        deadline = time.monotonic() + 30
        while started._process.returncode is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert started._process.returncode == 0
        assert not set(zombies()) - before
    finally:
        started.dismiss()


def test_what_the_reaper_holds_is_let_go_of_a_moment_after_the_run() -> None:
    """The run's end does not wait for that: so the kernel takes its tracepoints out when the harness has ended."""
    reading, writing = os.pipe()
    try:
        started = reaper.DockerReaper("no-run", Address(NOBODY), holding=(writing,))
        os.close(writing)
        held_s = -time.monotonic()
        started.dismiss()
        assert select.select([reading], [], [], 0) == ([], [], []), "let go of before the harness could end"
        assert select.select([reading], [], [], 30) == ([reading], [], []), "still held"
        held_s += time.monotonic()
        assert os.read(reading, 1) == b""
        assert held_s >= reaper.HOLDS_S
    finally:
        os.close(reading)


@pytest.mark.parametrize("name", [reaper.__name__, ecs_reaper.__name__])
def test_a_reaper_that_holds_nothing_is_waited_for_until_it_ends(name: str) -> None:
    """In a container whose first process is the harness the kernel would kill what is left. Asked of the process at its
    last call: what the harness waits for is still open then."""
    program = f"""
import os, sys
from {name} import main
def end(code):
    os.fstat(1)
    os.write(2, b"waited for")
    leave(code)
leave, os._exit, os.fork = os._exit, end, lambda: 0
sys.argv = ["reaper", "no-run", "{{}}", "0"]
main()
"""
    words = [sys.executable, "-c", program]
    ended = subprocess.run(words, input=reaper.DISMISSED, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"waited for")


def test_machines_of_one_name_are_told_apart_on_an_engine_that_both_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another machine made is never taken for that of a dead run here, though no such process runs here. Of the
    machine's id only a checksum is told; where it has none its name stands for it."""
    (tmp_path / "here").write_text("7afb9d6740ab424b9ea58f88d940da5d\n")
    (tmp_path / "there").write_text("4dd06ba1b6d24c0c8a4a8d2c5c5e9a0f\n")
    (tmp_path / "empty").write_text("\n")
    names = {name: reaper.machine(str(tmp_path / name)) for name in ("here", "there", "empty", "missing")}
    assert len({*names.values()}) == 3
    assert names["empty"] == names["missing"] == os.uname().nodename
    assert "7afb9d67" not in names["here"]
    monkeypatch.setattr(reaper, "machine", lambda: names["here"])
    process, gone = os.getpid(), "1"
    assert not reaper.owner_lives(f"{names['here']}/{process}/{gone}")
    assert reaper.owner_lives(f"{names['there']}/{process}/{gone}")
    assert reaper.owner_lives(reaper.owner())
