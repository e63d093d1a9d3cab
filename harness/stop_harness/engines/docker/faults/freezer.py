"""The kernel's freezer, behind the engine's back: what it halts stays halted when the engine sends its stop signal.

On cgroup v1 a frozen process does not even end by SIGKILL before it is thawed; the engine thaws what it kills. The
state lives in the container's own cgroup and goes with it.
"""

from __future__ import annotations

import contextlib
import os
import time

from stop_harness.engines.docker.faults.scene import FaultScene
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.linux import proc

FROZEN_S = 5.0


def file_of(pid: int) -> tuple[str, str, str] | None:
    """(file, word that freezes, word that thaws) of the cgroup that a process is in; None where there is no freezer."""
    for line in proc.text_of(pid, "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "freezer":
            return f"/sys/fs/cgroup/freezer{path}/freezer.state", "FROZEN", "THAWED"
        if not controllers and os.path.exists(f"/sys/fs/cgroup{path}/cgroup.freeze"):
            return f"/sys/fs/cgroup{path}/cgroup.freeze", "1", "0"
    return None


def freeze(scene: FaultScene) -> Applied:
    """Needs root on the engine's machine."""
    found = file_of(scene.pid_one.pid) if scene.pid_one is not None else None
    if found is None:
        raise FaultNotApplied("the kernel's freezer is not at hand: that needs root on the engine's machine")
    path, frozen, thawed = found
    _write(path, frozen)
    deadline = time.monotonic() + FROZEN_S
    while not _is_frozen(path):
        if time.monotonic() > deadline:
            _write(path, thawed)
            raise FaultNotApplied(f"{path} did not come to say that it is frozen")
        time.sleep(0.001)

    def undo() -> None:
        with contextlib.suppress(FileNotFoundError, OSError):  # the cgroup is gone, and all that was frozen with it
            if os.path.exists(path):
                _write(path, thawed)

    return Applied(f"{path}: {frozen}", undo)


def _write(path: str, word: str) -> None:
    """By write(2) itself: a buffered file would tell of the kernel's refusal to nobody."""
    try:
        file = os.open(path, os.O_WRONLY)
    except OSError as error:
        raise FaultNotApplied(f"{path} cannot be written: {error.strerror}") from None
    try:
        os.write(file, word.encode())
    except OSError as error:
        raise FaultNotApplied(f"{path}: {word} was refused: {error.strerror}") from None
    finally:
        os.close(file)


def _is_frozen(path: str) -> bool:
    try:
        with open(path) as file:
            word = file.read().strip()
        if path.endswith("cgroup.freeze"):
            with open(f"{os.path.dirname(path)}/cgroup.events") as events:
                return "frozen 1" in events.read()
        return word == "FROZEN"
    except OSError:
        return False
