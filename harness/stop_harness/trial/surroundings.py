"""What the machine gives the harness itself: threads, memory, files. A limit on them is no reason to lose a run."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import sys
import threading
from collections.abc import Iterator

SHORTAGES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""What fork(2), mmap(2) and open(2) say where there is no more; of EAGAIN a socket without an answer is another case,
which the engines handle themselves."""

STACK_BYTES = 512 << 10
"""Of a thread, where address space is limited: the default of 8 MiB each is far more than any of ours uses."""

LIBRARIES_BYTES = 160 << 20
"""Address space that numpy and matplotlib take; measured: 118 MiB, with one thread of OpenBLAS."""

M_ARENA_MAX = -8
"""mallopt(3). Each arena, one a thread, reserves 64 MiB of address space."""


OBJECTS_PER_COLLECTION = 50_000
"""New objects that may have come together before the garbage collector looks for cycles among them, instead of 700. At
start-up nothing is garbage, and looking for it after every few functions took a tenth of the time; nothing of ours
leaves many cycles behind."""


OBJECTS_OF_STORED_RUNS = 2_000_000
"""The same for a command that reads stored runs, says something of them and ends: all that it reads stays until then.
Looking through it again and again took a tenth of the time of a report of 10,000 trials, which are 600,000 objects."""

SWITCH_S = 0.0005
"""After which a thread that computes lets another one go on, instead of 5 ms. One that talks to an engine waits for it
several times a call: 12 ms a call beside a thread that computes, with this 2 ms (measured)."""


class Shortage(Exception):
    """The machine gives no more, as an engine said in words."""


def is_shortage(error: BaseException) -> bool:
    """Whether the machine, or a limit on this process, gives no more threads, processes, memory or files."""
    if isinstance(error, OSError):
        return error.errno in SHORTAGES
    return isinstance(error, MemoryError | Shortage) or (isinstance(error, RuntimeError) and says_shortage(str(error)))


def says_shortage(message: str) -> bool:
    """Whether an error's text names one: of Python for threads, of fork(2) for processes."""
    return "can't start new thread" in message or os.strerror(errno.EAGAIN) in message


@contextlib.contextmanager
def quick_turns() -> Iterator[None]:
    """Threads take turns more quickly while the block runs, in a process that is not the harness's own."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, SWITCH_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def economise() -> None:
    """Before the first thread: fewer collections, quicker turns, and where `ulimit -v` limits address space, no more
    than is needed."""
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    sys.setswitchinterval(SWITCH_S)
    # As many threads as there are CPUs gain nothing here, and end the process where so many cannot be started.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not _is_limited():
        return
    import ctypes  # late: few are limited

    threading.stack_size(STACK_BYTES)
    allocator = ctypes.CDLL(None)
    if hasattr(allocator, "mallopt"):  # not in musl
        allocator.mallopt(M_ARENA_MAX, 1)


def expect_stored_runs() -> None:
    """Before any is read, in a process that does nothing else: hardly any collections."""
    gc.set_threshold(OBJECTS_OF_STORED_RUNS)


def keep_what_is_loaded() -> None:
    """Before a long wait for many small things: what is there by now, which is nearly all code, is never looked through
    for garbage again. That was a seventh of the time of a watch."""
    gc.collect()
    gc.freeze()


def require_room_for_libraries() -> None:
    """Raise MemoryError where numpy and its like do not fit: OpenBLAS would end the process, with exit code 1."""
    if not _is_limited() or "numpy" in sys.modules:
        return
    import mmap

    try:
        mmap.mmap(-1, LIBRARIES_BYTES, prot=mmap.PROT_READ).close()
    except OSError:
        needed = LIBRARIES_BYTES >> 20
        raise MemoryError(f"plots need {needed} MiB of address space more; see `ulimit -v`") from None


def _is_limited() -> bool:
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
