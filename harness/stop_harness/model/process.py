"""The processes of one container: as a look saw each of them, and what became of each."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.records import dataclass

MOST_FATES = 50
"""Processes whose fates are kept of one container: a program that forks without end must not fill the journal."""


class SignalDisposition(StrEnum):
    """What a process does with the stop signal, as its signal masks say. A hint, not a verdict."""

    CAUGHT = "caught"
    IGNORED = "ignored"
    BLOCKED = "blocked"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process of the container just before the stop.

    Source: `GET /containers/ID/top` with the signal-mask columns, or `/proc/PID/status`. Bit n-1 of a mask stands
    for signal n. `pid` is as the engine prints it: the host's for Docker, the container's for Podman. `pending`: sent
    to the process and not taken yet. `state`: `R`, `S`, `D`, `T`, `Z`. `waits_in`: the kernel function in which the
    main thread sleeps. `threads`: how many. `switches`: how often the main thread has gone to sleep so far.

    `cpu_ns`: CPU time that all its threads have used so far, in steps of 10 ms. `locked_threads`: how many threads wait
    for a lock without a time limit (futex(2)). `lock`: the address of the lock for which the main thread waits so; 0 if
    it waits for none. `polling_threads`: how many wait without a time limit for descriptors by which nobody outside the
    process could wake them. Source: /proc/PID/stat, /proc/PID/task/*/syscall, /proc/PID/fd. None and the empty string:
    not known.

    `clients`: connections that others have opened to it and that its parent does not hold, as far as was looked for
    after the stop signal: /proc/PID/fd, /proc/PID/net/tcp and unix.

    `is_pid1`: whether it is PID 1 of the PID namespace that it is in itself. Only such a process is spared the signals
    that it has no handler for. The first process of a container is none where the container shares the PID namespace of
    others. Source: NSpid in /proc/PID/status, else `HostConfig.PidMode`; None: not known.
    """

    pid: int
    parent_pid: int
    command: str
    caught: int
    ignored: int
    blocked: int
    pending: int | None = None
    state: str = ""
    waits_in: str = ""
    threads: int | None = None
    switches: int | None = None
    cpu_ns: int | None = None
    locked_threads: int | None = None
    lock: int | None = None
    polling_threads: int | None = None
    clients: int | None = None
    is_pid1: bool | None = None

    def disposition(self, signal: int) -> SignalDisposition:
        """What this process does with `signal`."""
        bit = 1 << (signal - 1)
        if self.blocked & bit:
            return SignalDisposition.BLOCKED
        if self.ignored & bit:
            return SignalDisposition.IGNORED
        if self.caught & bit:
            return SignalDisposition.CAUGHT
        return SignalDisposition.DEFAULT


@dataclass(frozen=True, slots=True)
class ReceivedSignal:
    """One signal that a process was sent. Source: the kernel's tracepoint `signal:signal_generate`.

    `to_end_ns`: from then until PID 1 was gone. `sender_pid`: the sender's pid inside the container; None: it came from
    outside, which is the engine or somebody else on its machine. `sender`: the sender's name, empty where not known.
    """

    number: int
    to_end_ns: int
    sender_pid: int | None = None
    sender: str = ""


@dataclass(frozen=True, slots=True)
class ProcessFate:
    """What became of one process: how it ended, and what it was doing when the stop began.

    `name`: the kernel's, at most 15 characters. `command`: the command line; empty: not known. `pid` and `parent_pid`
    as inside the container, the parent's 0 for what was started from outside (`docker exec`); None: it ended before
    anybody could ask. `host_pid`: on the engine's machine, None where that is not the same kernel's.

    `end_ns`: from its own end until PID 1 was gone, by the kernel's clock; 0 for PID 1, None: it was not seen.
    `born_ns`: likewise from its birth; None: it lived when the stop began. `exit_code` or `exit_signal`: how it ended,
    both None where nobody told. `by_teardown`: SIGKILL ended it because PID 1 exited.

    `handling`: what the stop signal would have met when the stop began, or when it was born; None: nobody looked.
    `signals`: what it was sent from the stop call on, in order; None: nobody could hear that (it needs root).

    At work or not, when the stop began, each None where nobody looked. `state` and `waits_in` as in `ProcessInfo`,
    empty where not known. `cpu_share`: of one CPU since the look before; `cpu_ns`: CPU time since its birth.
    `served`: connections that were accepted at a port where the container listens, held by this process and not by
    its parent. `opened`: other established connections, likewise. `group`: its process group; only whether two are
    the same says anything. `loops`: whether the script that a shell runs from a file has a loop without end; None:
    it runs none, or nobody could read it.
    """

    name: str
    command: str = ""
    pid: int | None = None
    parent_pid: int | None = None
    host_pid: int | None = None
    end_ns: int | None = None
    born_ns: int | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    by_teardown: bool = False
    handling: SignalDisposition | None = None
    signals: tuple[ReceivedSignal, ...] | None = None
    state: str = ""
    waits_in: str = ""
    cpu_share: float | None = None
    cpu_ns: int | None = None
    served: int | None = None
    opened: int | None = None
    group: int | None = None
    loops: bool | None = None
