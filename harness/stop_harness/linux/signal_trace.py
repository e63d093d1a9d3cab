"""When the stop signal was sent and when PID 1 began to exit, stamped by the kernel itself at its tracepoints.

The engine stamps both when it gets to it: on a busy machine up to 70 ms later (measured, 50 trials on two CPUs), and
half of that the kernel needs to take a container's namespaces apart. `signal:signal_generate` tells of kill(2) for PID
1, and of the SIGCHLD that its parent gets once its last thread is gone; `sched:sched_process_exit`, of the moment in
which its first thread begins to exit. Linux, root in the initial namespaces. Read by perf_event_open(2), whose events
end with this process, however it ends. Times are CLOCK_MONOTONIC in ns, pids the host's.

Sources: perf_event_open(2), fsopen and fsmount of <linux/mount.h>, kernel/signal.c, <trace/events/signal.h>.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import platform
import re
import struct
import threading
import time
from collections.abc import Iterator

from stop_harness.model import EXIT_BEGUN, NS_PER_MS, Clock, Event, EventKind
from stop_harness.records import dataclass

PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
FSOPEN, FSCONFIG, FSMOUNT, FSCONFIG_CMD_CREATE = 430, 431, 432, 6

SIGNALS, EXITS = "events/signal/signal_generate", "events/sched/sched_process_exit"
TRACING = "/sys/kernel/tracing"

PERF_TYPE_TRACEPOINT = 2
SAMPLE_TID, SAMPLE_TIME, SAMPLE_RAW = 1 << 1, 1 << 2, 1 << 10
DISABLED, USE_CLOCKID = 1 << 0, 1 << 25
CLOCK_MONOTONIC = 1
ATTRIBUTES = struct.Struct("=IIQQQQQIIQQQQIi")
"""struct perf_event_attr up to `clockid`, PERF_ATTR_SIZE_VER3."""
IOC_ENABLE, IOC_SET_FILTER = 0x2400, 0x40082406

RECORD_LOST, RECORD_SAMPLE = 2, 9
HEADER, SAMPLE = struct.Struct("=IHH"), struct.Struct("=IIQI")
"""type, flags, length; then process, thread, time, length of the raw part."""
DATA_HEAD, DATA_TAIL = 1024, 1032
RING_PAGES = 32
"""For each CPU: 1500 signals between two looks."""

KEPT_OPEN_S = 2.0
"""How long `unavailable` keeps a listener. Whoever listens for good a moment later need not wait then until the kernel
has taken a tracepoint out, 30 to 50 ms, and 10 ms more until it has got ready to follow single processes (measured)."""

MOST_CLEARING_NS = 200 * NS_PER_MS
"""From the exit of the first thread to the SIGCHLD: 1 ms idle, up to 70 ms under load. What takes longer is a program
whose other threads go on without the first one."""

CLOSING = "close tracepoint"
"""Name of the threads that wait for the kernel to let go of one."""

SIGCHLD, SI_USER, SI_TKILL = 17, 0, -6
CLD_EXITED, CLD_DUMPED = 1, 3
ENDING = (1, 2, 3, 6, 15)
"""SIGHUP, SIGINT, SIGQUIT, SIGABRT and SIGTERM: what a program raises to end itself. Runtimes send their own threads
other signals all the time (Go: SIGURG, the JVM: SIGUSR2)."""
FILTER = (
    f'(code == {SI_USER} && sig != {SIGCHLD}) || (sig == {SIGCHLD} && (comm == "containerd-shim" || comm == "conmon"))'
    f" || (code == {SI_TKILL} && ({' || '.join(f'sig == {number}' for number in ENDING)}))"
)
"""kill(2), the end of a container's PID 1, and raise(3) of what ends a program; other programs' children are none of
ours, and there may be many."""
MOST_HEARD = 20_000
"""Signals of a whole machine that are kept for one stop."""


@dataclass(frozen=True)
class Ends:
    """One stop: the call was about to be made, the stop signal was sent, PID 1 began to exit (None: not seen, or its
    other threads went on), PID 1 was gone. `by_signal`: it was ended by a signal, with or without a core dump."""

    called_ns: int
    sent_ns: int
    leaving_ns: int | None
    gone_ns: int
    by_signal: bool

    def events(self, stop_signal: int | None) -> tuple[Event, ...]:
        """As the timeline has them."""
        called = Event(EventKind.STOP_REQUESTED, self.called_ns, Clock.KERNEL, "stop call")
        sent = Event(EventKind.SIGNAL_SENT, self.sent_ns, Clock.KERNEL, "kernel: signal sent", stop_signal)
        gone = Event(EventKind.EXITED, self.gone_ns, Clock.KERNEL, "kernel: parent told")
        if self.leaving_ns is None:
            return called, sent, gone
        return called, sent, Event(EventKind.EXITED, self.leaving_ns, Clock.KERNEL, EXIT_BEGUN), gone


@dataclass(frozen=True)
class HeardSignal:
    """One signal: `number` with its siginfo `code` for process (or thread) `target`, from process `sender`."""

    at_ns: int
    sender: int
    target: int
    number: int
    code: int


class SignalWatch:
    """One container's PID 1 during its stop. Ask it once the engine says that PID 1 is gone."""

    def __init__(self, trace: SignalTrace, pid_one: int, exits: ExitWatch | None) -> None:
        self._trace, self.pid_one, self._exits = trace, pid_one, exits
        self.signals: list[HeardSignal] = []
        self._everywhere: list[HeardSignal] = []
        self.called_ns = time.monotonic_ns()
        self.complete = self._all = True

    def ends(self, stop_signal: int) -> Ends | None:
        """The first stop signal and the end of PID 1; None where the kernel's record has a gap or shows only one of
        them. Ends the watch."""
        self._trace.read()
        stops = [seen for seen in self.signals if seen.number == stop_signal and seen.code == SI_USER]
        sent = [seen.at_ns for seen in stops if seen.target == self.pid_one]
        left = [seen for seen in self.signals if seen.sender == self.pid_one and seen.number == SIGCHLD]
        left = [seen for seen in left if CLD_EXITED <= seen.code <= CLD_DUMPED]
        exits, self._exits = self._exits, None
        self._trace.forget(self)
        sent_ns, last = min(sent, default=None), max(left, key=lambda seen: seen.at_ns, default=None)
        leaving_ns = exits.begun(sent_ns, last.at_ns) if exits and sent_ns and last else None
        if exits is not None:
            exits.close()
        if not self.complete or sent_ns is None or last is None or last.at_ns < sent_ns:
            return None
        return Ends(self.called_ns, sent_ns, leaving_ns, last.at_ns, last.code != CLD_EXITED)

    def hear(self, seen: HeardSignal) -> None:
        """One more, of any process of the machine: whose it is may be known only once the stop is over."""
        if self.pid_one in {seen.target, seen.sender}:
            self.signals.append(seen)
        if seen.number == SIGCHLD:
            return
        if len(self._everywhere) < MOST_HEARD:
            self._everywhere.append(seen)
        else:
            self._all = False

    def heard(self) -> tuple[HeardSignal, ...] | None:
        """Every signal that a process of this machine was sent since the watch began, except for those that the kernel
        itself sent; None where some may be missing. Ask after `ends`."""
        return tuple(self._everywhere) if self.complete and self._all else None

    def abandon(self) -> None:
        """End the watch. Idempotent."""
        self._trace.forget(self)
        if self._exits is not None:
            self._exits.close()
            self._exits = None


class SignalTrace:
    """The signals of a whole machine, one ring buffer a CPU, read when somebody asks. `exits`: of single processes.
    Raises OSError where the kernel does not allow it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[int, SignalWatch] = {}
        self._rings: list[Ring] = []
        ((number, self._fields),) = tracepoints(SIGNALS)
        self.exits = ExitTrace()
        self._own_exit: ExitWatch | None = None
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            for cpu in online_cpus():
                self._rings.append(Ring(number, cpu=cpu, only=FILTER))
            self._own_exit = self.exits.watch(os.getpid())
            undo.pop_all()

    def files(self) -> tuple[int, ...]:
        """One listener of each tracepoint. Whoever has them open too waits for the kernel in our place: it takes a
        tracepoint out with the last one, which else would keep our process from ending, for 40 to 75 ms (measured)."""
        own_exit = () if self._own_exit is None else (self._own_exit.fileno(),)
        return (*(ring.fileno() for ring in self._rings[:1]), *own_exit)

    def watch(self, pid_one: int) -> SignalWatch:
        """Follow a container from now on."""
        watch = SignalWatch(self, pid_one, self.exits.watch(pid_one))
        self.read()
        with self._lock:
            self._watches[pid_one] = watch
        return watch

    def forget(self, watch: SignalWatch) -> None:
        """Follow it no longer."""
        with self._lock:
            if self._watches.get(watch.pid_one) is watch:
                del self._watches[watch.pid_one]

    def read(self) -> None:
        """Hand what has come since the last look to the watches that it is about."""
        with self._lock:
            for ring in self._rings:
                for sample in ring.records():
                    if sample is None:
                        for watch in self._watches.values():
                            watch.complete = False
                        continue
                    sender, at_ns, raw = sample
                    seen = HeardSignal(at_ns, sender, *(self._field(name, raw) for name in ("pid", "sig", "code")))
                    for watch in self._watches.values():
                        watch.hear(seen)

    def close(self) -> None:
        """End it. Idempotent."""
        with self._lock:
            for ring in self._rings:
                ring.close()
            self._rings = []
        if self._own_exit is not None:
            self._own_exit.close()

    def _field(self, name: str, raw: bytes) -> int:
        return int(struct.unpack_from("=i", raw, self._fields[name])[0])


class ExitTrace:
    """The exits of single processes. Raises OSError where the kernel does not allow it."""

    def __init__(self) -> None:
        ((self._number, _),) = tracepoints(EXITS)

    def watch(self, pid: int) -> ExitWatch | None:
        """Follow the first thread of a process from now on; None if it is gone."""
        try:
            return ExitWatch(Ring(self._number, pid=pid, pages=1))
        except OSError:
            return None


class ExitWatch:
    """The exit of one process. Costs one open file until `close`."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._seen_ns: list[int] = []

    def fileno(self) -> int:
        """Of the listener."""
        return self._ring.fileno()

    def begun(self, sent_ns: int, gone_ns: int) -> int | None:
        """When it began to exit, of what was sent a signal and then gone at these times; None where that was not seen,
        or its other threads went on without the first."""
        self._seen_ns += [record[1] for record in self._ring.records() if record is not None]
        return next((at_ns for at_ns in self._seen_ns if sent_ns <= at_ns <= gone_ns <= at_ns + MOST_CLEARING_NS), None)

    def close(self) -> None:
        """Idempotent."""
        self._ring.close()


class Ring:
    """One tracepoint on one CPU, or in one thread. `only`: a filter in the kernel's words. `wakes`: it is readable, for
    poll(2), as soon as something has come."""

    def __init__(
        self,
        tracepoint: int,
        *,
        cpu: int = -1,
        pid: int = -1,
        pages: int = RING_PAGES,
        only: str = "",
        wakes: bool = False,
    ) -> None:
        self._size = pages * mmap.PAGESIZE
        sample = SAMPLE_TID | SAMPLE_TIME | SAMPLE_RAW
        attributes = ATTRIBUTES.pack(
            PERF_TYPE_TRACEPOINT, ATTRIBUTES.size, tracepoint, 1, sample, 0, DISABLED | USE_CLOCKID,
            int(wakes), *(0,) * 6, CLOCK_MONOTONIC,
        )  # fmt: skip
        close_on_exec = 8
        self._file = _call(PERF_EVENT_OPEN[platform.machine()], attributes, pid, cpu, -1, close_on_exec)
        self._map: mmap.mmap | None = None
        try:
            if only:
                fcntl.ioctl(self._file, IOC_SET_FILTER, only.encode() + b"\0")
            self._map = mmap.mmap(self._file, mmap.PAGESIZE + self._size)
            fcntl.ioctl(self._file, IOC_ENABLE)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """For poll(2)."""
        return self._file

    def records(self) -> Iterator[tuple[int, int, bytes] | None]:
        """(sending process, time, raw fields) of each signal; None where some were lost."""
        assert self._map is not None
        head, tail = struct.unpack_from("=QQ", self._map, DATA_HEAD)
        begin, end = tail % self._size, head % self._size
        ring = self._map[mmap.PAGESIZE :] if head > tail else b""
        data = ring[begin:end] if begin < end else ring[begin:] + ring[:end]
        struct.pack_into("=Q", self._map, DATA_TAIL, head)
        offset = 0
        while offset < len(data):
            kind, _, length = HEADER.unpack_from(data, offset)
            if kind == RECORD_LOST:
                yield None
            elif kind == RECORD_SAMPLE:
                sender, _, at_ns, raw_length = SAMPLE.unpack_from(data, offset + HEADER.size)
                raw = offset + HEADER.size + SAMPLE.size
                yield sender, at_ns, data[raw : raw + raw_length]
            offset += length

    def close(self) -> None:
        """Idempotent."""
        if self._map is not None:
            self._map.close()
            self._map = None
        # First forgotten, then closed: a second thread that closes would close whatever has the number by then.
        file, self._file = self._file, -1
        if file >= 0:
            _close_beside(file)


# ── The kernel's own description ─────────────────────────────────────────────────────────────────────────────────────


def tracepoints(*names: str) -> list[tuple[int, dict[str, int]]]:
    """Each tracepoint's number, and where its fields lie. Raises OSError."""
    if platform.system() != "Linux" or platform.machine() not in PERF_EVENT_OPEN:
        raise OSError(errno.ENOSYS, f"not to be had on {platform.system()} {platform.machine()}")
    directory = _tracing()
    try:
        return [(int(_read(directory, f"{name}/id")), _fields(_read(directory, f"{name}/format"))) for name in names]
    finally:
        os.close(directory)


def _fields(description: str) -> dict[str, int]:
    found = re.findall(r"field:[^;]*?(\w+)(?:\[\d+\])?;\s*offset:(\d+);", description)
    return {name: int(offset) for name, offset in found}


def _tracing() -> int:
    """The trace file system as a directory: where it is mounted, else one that is mounted nowhere."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.exists(f"{TRACING}/events"):
            return os.open(TRACING, os.O_DIRECTORY | os.O_CLOEXEC)
    close_on_exec = 1
    context = _call(FSOPEN, b"tracefs\0", close_on_exec)
    try:
        _call(FSCONFIG, context, FSCONFIG_CMD_CREATE, 0, 0, 0)
        return _call(FSMOUNT, context, close_on_exec, 0)
    finally:
        os.close(context)


def _read(directory: int, path: str) -> str:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(file, 65536).decode()
    finally:
        os.close(file)


def online_cpus() -> list[int]:
    """Their numbers. Raises OSError."""
    with open("/sys/devices/system/cpu/online", encoding="ascii") as file:
        ranges = [part.split("-") for part in file.read().strip().split(",")]
    return [cpu for first, *last in ranges for cpu in range(int(first), int(last[0] if last else first) + 1)]


def _close_beside(file: int) -> None:
    """Close a file in a thread: with its last listener a tracepoint is taken out, and for 20 to 40 ms (measured) the
    kernel waits until no CPU can be in it any more. There is nothing to do here with what comes of it."""
    try:
        threading.Thread(target=os.close, args=(file,), name=CLOSING, daemon=True).start()
    except RuntimeError:  # no more threads
        os.close(file)


def _call(number: int, *arguments: int | bytes) -> int:
    """A system call that Python has no name for. Raises OSError."""
    words = [ctypes.c_long(item) if isinstance(item, int) else ctypes.c_char_p(item) for item in arguments]
    result = int(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def unavailable() -> str | None:
    """Why this machine's kernel does not show its signals; None if it does. What is opened to find out stays open for
    `KEPT_OPEN_S`."""
    try:
        trace = SignalTrace()
    except OSError as error:
        return f"signal tracepoint: {error.strerror}"
    later = threading.Timer(KEPT_OPEN_S, trace.close)
    later.name, later.daemon = CLOSING, True
    try:
        later.start()
    except RuntimeError:  # no more threads
        trace.close()
    return None
