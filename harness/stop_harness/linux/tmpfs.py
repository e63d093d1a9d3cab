"""A tmpfs of another mount namespace, written to from here: the process whose namespace it is needs no program for it.

A path in a container is the container's to choose, and its links are not followed: each part of the path is opened by
itself, and what is found must be a tmpfs that the kernel lists as mounted at that very path.
"""

from __future__ import annotations

import errno
import os

from stop_harness.linux import mounts

BLOCK = bytes(1 << 20)

MODE, READABLE = 0o600, 0o644


class NotThere(Exception):
    """Why it cannot be reached from here, as a sentence; nothing was written."""


def fill(pid: int, target: str, name: str) -> None:
    """Write a file of that name at the top of the tmpfs which the namespace of `pid` has at `target`, until nothing
    more can be written. Raises NotThere; OSError where it is not full in the end."""
    directory = _opened(pid, target)
    try:
        _fill(directory, name)
    finally:
        os.close(directory)


def remove(pid: int, target: str, name: str) -> None:
    """Remove that file. Raises NotThere, and OSError."""
    directory = _opened(pid, target)
    try:
        os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)


def put(pid: int, target: str, name: str, content: bytes) -> None:
    """Have a file of that name at the top of it hold `content`, from one moment to the next; everybody may read it.
    Raises NotThere, and OSError."""
    directory = _opened(pid, target)
    try:
        made = f"{name}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(made, flags, MODE, dir_fd=directory)
        try:
            os.write(file, content)
            os.fchmod(file, READABLE)
        finally:
            os.close(file)
        os.rename(made, name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        os.close(directory)


def _fill(directory: int, name: str) -> None:
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name, flags, MODE, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # somebody has filled it already
            return
        raise NotThere(f"no file can be made in it: {error.strerror}") from None
    try:
        size = len(BLOCK)
        while size:
            try:
                os.write(file, BLOCK[:size])
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2  # less than that may still fit
    finally:
        os.close(file)


def _opened(pid: int, target: str) -> int:
    """The directory, which is the top of a tmpfs. Raises NotThere."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        found = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in filter(None, target.split("/")):
            if part in {".", ".."}:
                os.close(found)
                raise NotThere(f"{target} is not written out")
            above = found
            try:
                found = os.open(part, flags, dir_fd=above)
            finally:
                os.close(above)
    except OSError as error:
        raise NotThere(f"{target} cannot be opened: {error.strerror}") from None
    at = mounts.mounted_at(pid, target)
    device = os.fstat(found).st_dev
    if at is None or at.kind != "tmpfs" or at.device != (os.major(device), os.minor(device)):
        os.close(found)
        raise NotThere(f"{target} is no tmpfs of its own")
    return found
