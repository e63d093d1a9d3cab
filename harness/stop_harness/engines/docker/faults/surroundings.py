"""Faults of what a container has around it: its disks, names, descriptors; and a command in it."""

from __future__ import annotations

import errno
import os
import time
from functools import partial

from stop_harness.engines import process_faults
from stop_harness.engines.docker.faults.scene import FaultScene, nothing
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.errors import EngineError
from stop_harness.linux import mounts, tmpfs
from stop_harness.model import NS_PER_S, Fault

FILLER = ".stop-harness-full"
"""Name of the file that fills a tmpfs."""

DEAD_ADDRESS = "192.0.2.1"
"""Of a network for documentation (RFC 5737): nobody answers there."""

BUSY_S, LOOK_S = 0.5, 0.001
"""For files that are open for a moment, and between two looks whether there is one."""

EXEC_LIMIT_NS = 60 * NS_PER_S


def disk_full(scene: FaultScene, fault: Fault) -> Applied:
    """Fill a tmpfs of the container's own. Nothing else is ever filled: that would be the engine's own disk."""
    assert fault.target is not None
    if scene.is_root_here and (applied := _filled_from_here(scene, fault.target)) is not None:
        return applied
    path = f"{fault.target.rstrip('/')}/{FILLER}"
    script = 'cat /dev/zero > "$1" 2>/dev/null && exit 9; ! { echo more >> "$1"; } 2>/dev/null'
    if scene.shell(script, path) != 0:
        raise FaultNotApplied(f"{fault.target} could not be filled: it can still be written to")

    def undo() -> None:
        scene.undo_by_shell('rm -f "$1"', path)

    return Applied("a further write failed", undo)


def _filled_from_here(scene: FaultScene, target: str) -> Applied | None:
    """By root on the engine's machine, which takes no shell of the image; None where that has no way to it."""
    pid_one = scene.pid_one
    assert pid_one is not None
    try:
        tmpfs.fill(pid_one.pid, target, FILLER)
    except tmpfs.NotThere:
        return None
    except OSError as error:
        raise FaultNotApplied(f"{target} could not be filled: {error.strerror}") from None

    def undo() -> None:
        if pid_one.lives():
            try:
                tmpfs.remove(pid_one.pid, target, FILLER)
            except (tmpfs.NotThere, OSError) as error:
                if pid_one.lives():
                    raise FaultNotApplied(f"{target} could not be emptied: {error}") from None

    return Applied("a further write failed", undo)


def read_only(scene: FaultScene, fault: Fault) -> Applied:
    """One mount of the container, in its own namespace: a volume's files stay writable for everybody else."""
    assert fault.target is not None
    target, pid_one = fault.target, scene.pid_one
    if not scene.is_root_here or pid_one is None:
        raise FaultNotApplied("mounts of a container can only be changed by root on the engine's machine")

    def make(*, read_only: bool) -> None:
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                return mounts.set_read_only(pid_one.pid, target, read_only=read_only)
            except mounts.NotMounted:
                raise FaultNotApplied(f"nothing is mounted at {target}") from None
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise FaultNotApplied(f"{target} could not be mounted anew: {error.strerror}") from None
                if time.monotonic() > deadline:
                    raise FaultNotApplied(
                        f"a file in {target} is open for writing, and the kernel makes no such mount read-only"
                    ) from None
            time.sleep(LOOK_S)

    def undo() -> None:
        scene.undo_while_it_runs(partial(make, read_only=False))

    before = mounts.mounted_at(pid_one.pid, target)
    if before is not None and "ro" in before.options:
        raise FaultNotApplied(f"{target} is mounted read-only already")
    make(read_only=True)
    found = mounts.mounted_at(pid_one.pid, target)
    if found is None or "ro" not in found.options:
        raise FaultNotApplied(f"{target} is still mounted for writing, or the container was gone")
    return Applied("mounted read-only, as the kernel lists it", undo)


def dns_dead(scene: FaultScene, fault: Fault) -> Applied:
    """Names are asked of an address where nobody answers; libraries read the file anew by themselves."""
    place = scene.inspect().get("ResolvConfPath")
    if not scene.is_root_here or not place or not os.path.exists(place):  # an engine with a root of its own
        script = 'cp /etc/resolv.conf /tmp/.stop-harness-dns && echo "nameserver $1" > /etc/resolv.conf'
        if scene.shell(script, DEAD_ADDRESS) != 0:
            raise FaultNotApplied("/etc/resolv.conf could not be written in the container")
        back = "cat /tmp/.stop-harness-dns > /etc/resolv.conf; rm -f /tmp/.stop-harness-dns"

        undone: list[bool] = []

        def undo_inside() -> None:
            undone.append(scene.undo_by_shell(back))

        def give_back() -> None:
            """The engine writes the file anew at each start, but for one that several containers have together."""
            if not any(undone) and str(scene.host_config().get("NetworkMode")).startswith("container:"):
                raise FaultNotApplied("/etc/resolv.conf is that of another container, and was not written back in time")

        return Applied("/etc/resolv.conf written", undo_inside, give_back=give_back)
    before = _content(place)
    _rewrite(place, f"nameserver {DEAD_ADDRESS}\n")

    def undo() -> None:
        if os.path.exists(place):
            _rewrite(place, before)

    return Applied("/etc/resolv.conf written on the engine's machine", undo)


def _content(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        raise FaultNotApplied(f"{path}: {error.strerror}") from None


def _rewrite(path: str, text: str) -> None:
    """In place: the container has this very file mounted."""
    try:
        with open(path, "r+") as file:
            file.write(text)
            file.truncate()
    except OSError as error:
        raise FaultNotApplied(f"{path}: {error.strerror}") from None


def fds(scene: FaultScene, fault: Fault) -> Applied:
    """The soft limit of every process that is there: the hard one could not be raised again."""
    if not scene.is_root_here or scene.pid_one is None:
        raise FaultNotApplied("limits of a process can only be changed by root on the engine's machine")
    return process_faults.short_of_descriptors(fault, [scene.pid_one.pid])


def execute(scene: FaultScene, fault: Fault) -> Applied:
    """A command in the container, which has to succeed."""
    text = " ".join(fault.command)
    try:
        code = scene.subject.run(fault.command, EXEC_LIMIT_NS)
    except EngineError as error:
        raise FaultNotApplied(str(error)) from None
    if code != 0:
        how = "had not ended after 60 s" if code is None else f"exited with code {code}"
        raise FaultNotApplied(f"`{text}` {how}")
    return Applied("exit code 0", nothing)
