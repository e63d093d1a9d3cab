"""The kernel's record of signals, against children that die in known ways. The parent calls itself as containerd's."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stop_harness.linux import signal_trace
from stop_harness.linux.signal_trace import SignalTrace
from stop_harness.model import NS_PER_MS, NS_PER_S
from tests.open_files import open_files, opened_since

pytestmark = pytest.mark.skipif(signal_trace.unavailable() is not None, reason=str(signal_trace.unavailable()))

PR_SET_NAME = 15
SELF_MADE = (
    "import signal, time; signal.signal(15, lambda *_: {}); print('ready', flush=True); "
    # A signal that comes just before a sleep begins is handled after it.
    "[time.sleep(0.05) for _ in range(1200)]"
)


@pytest.fixture
def trace() -> Iterator[SignalTrace]:
    """Open for one test; and this thread has the name of a container's parent."""
    before = Path("/proc/thread-self/comm").read_text(encoding="ascii").strip()
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NAME, b"containerd-shim")
    opened = SignalTrace()
    yield opened
    opened.close()
    libc.prctl(PR_SET_NAME, before.encode())


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """This process and its children keep to one CPU: the kernel tells of a loss with the next signal there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def child(on_sigterm: str) -> subprocess.Popen[str]:
    """A process that does this when SIGTERM comes, ready for it."""
    started = subprocess.Popen([sys.executable, "-c", SELF_MADE.format(on_sigterm)], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def test_both_ends_of_a_stop_lie_where_they_happened(trace: SignalTrace) -> None:
    """Sent at the kill(2), left when it had slept 0.2 s, gone before it was reaped; not ended by a signal."""
    with child("(time.sleep(0.2), exit(137))") as subject:
        watch = trace.watch(subject.pid)
        before = time.monotonic_ns()
        subject.send_signal(signal.SIGTERM)
        after = time.monotonic_ns()
        assert subject.wait(30) == 137
        reaped = time.monotonic_ns()
        ends = watch.ends(signal.SIGTERM)
    assert ends is not None
    assert before <= ends.sent_ns <= after
    assert ends.leaving_ns is not None
    assert ends.sent_ns + 200 * NS_PER_MS <= ends.leaving_ns <= ends.gone_ns <= reaped
    assert not ends.by_signal


def test_an_end_by_sigkill_is_told_from_exit_code_137(trace: SignalTrace) -> None:
    """The kernel tells the parent how it ended."""
    with child("None") as subject:
        watch = trace.watch(subject.pid)
        subject.send_signal(signal.SIGTERM)
        subject.kill()
        subject.wait(30)
        ends = watch.ends(signal.SIGTERM)
    assert ends is not None
    assert ends.by_signal


def test_a_stop_without_its_signal_has_no_ends(trace: SignalTrace) -> None:
    """Half a record proves nothing: SIGKILL only, and another signal than the one that was asked for."""
    with child("exit(0)") as subject:
        watch = trace.watch(subject.pid)
        subject.kill()
        subject.wait(30)
        assert watch.ends(signal.SIGTERM) is None


def test_a_first_thread_that_leaves_before_the_others_is_not_the_exit(trace: SignalTrace) -> None:
    """The process goes on for a second without it: only the SIGCHLD says when it was gone."""
    threads = "__import__('threading').Thread(target=lambda: (time.sleep(1), __import__('os')._exit(0))).start()"
    with child(f"({threads}, __import__('ctypes').CDLL(None).pthread_exit(None))") as subject:
        watch = trace.watch(subject.pid)
        subject.send_signal(signal.SIGTERM)
        subject.wait(30)
        ends = watch.ends(signal.SIGTERM)
    assert ends is not None
    assert ends.leaving_ns is None
    assert ends.gone_ns - ends.sent_ns > NS_PER_S


@pytest.mark.alone  # the rings are the machine's: whoever else follows a stop just then has a gap, too
def test_a_record_with_a_gap_is_no_record(trace: SignalTrace, one_cpu: None) -> None:
    """More signals than the rings hold between two looks: nothing is claimed, and later stops are seen again."""
    with child("exit(0)") as subject:
        watch = trace.watch(subject.pid)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        try:
            for _ in range(20_000):
                os.kill(os.getpid(), signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        subject.send_signal(signal.SIGTERM)
        subject.wait(30)
        assert watch.ends(signal.SIGTERM) is None
    stopped(trace)  # the kernel tells of the loss only now
    assert stopped(trace)


def stopped(trace: SignalTrace) -> bool:
    """One more stop, and whether it was seen."""
    with child("exit(0)") as subject:
        watch = trace.watch(subject.pid)
        subject.send_signal(signal.SIGTERM)
        subject.wait(30)
        return watch.ends(signal.SIGTERM) is not None


def test_nothing_stays_open(trace: SignalTrace) -> None:
    """A watch that is asked, one that is given up, and one of a process that is gone leave no file behind."""
    before = open_files()
    with child("exit(0)") as subject:
        trace.watch(subject.pid).abandon()
        watch = trace.watch(subject.pid)
        subject.send_signal(signal.SIGTERM)
        subject.wait(30)
        watch.ends(signal.SIGTERM)
    assert trace.watch(subject.pid).ends(signal.SIGTERM) is None
    assert not opened_since(before)


def test_what_was_opened_to_find_out_is_kept_for_a_moment_and_then_closed() -> None:
    """Who listens for good right after it does not wait for the kernel; nothing stays open."""
    before = open_files()
    assert signal_trace.unavailable() is None
    assert signal_trace.CLOSING in {thread.name for thread in threading.enumerate()}
    assert not opened_since(before)
