"""Standard output and error that are closed, full or read by nobody: writing to them never ends a run.

What cannot be written is dropped and remembered, so that it can be said elsewhere.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Outlet(io.FileIO):
    """The file below a standard stream. `problem`: why something could not be written; None: all of it was."""

    def __init__(self, descriptor: int, problem: OSError | None = None) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.problem = problem

    def write(self, data: Buffer, /) -> int:
        """As a file's, but what is not taken counts as written."""
        try:
            return super().write(data)
        except OSError as error:
            self.problem = self.problem or error
            return memoryview(data).nbytes


def guard() -> None:
    """Put an outlet below standard output and error. A closed one is opened on /dev/null first: the next file that the
    run opens would otherwise get its number, and with it what was meant for the terminal."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _guarded(sys.stdout, 1)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _guarded(sys.stderr, 2)


def _guarded(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:  # so Python says that it was closed
        closed = Outlet(os.open(os.devnull, os.O_WRONLY), OSError(errno.EBADF, "it is closed"))
        return io.TextIOWrapper(io.BufferedWriter(closed), encoding="utf-8", errors="backslashreplace")
    return io.TextIOWrapper(
        io.BufferedWriter(Outlet(descriptor)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=descriptor == 2 or stream.isatty(),
    )


def lost(stream: TextIO) -> OSError | None:
    """Why a stream did not take everything; None if it did, and for a reader that has left: it had what it wanted."""
    stream.flush()
    outlet = getattr(getattr(stream, "buffer", None), "raw", None)
    problem = outlet.problem if isinstance(outlet, Outlet) else None
    return None if problem is None or problem.errno == errno.EPIPE else problem


def forgive(stream: TextIO) -> None:
    """What was lost has been said elsewhere."""
    outlet = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(outlet, Outlet):
        outlet.problem = None
