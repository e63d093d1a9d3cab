"""What goes wrong around a stop because the harness makes it: the fault that is asked for, and what it really did."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.model.event import Event
from stop_harness.records import dataclass


class FaultKind(StrEnum):
    """What is disturbed; the keys of a fault in a scenario file."""

    CPU = "cpu"
    MEMORY = "memory"
    PAUSE = "pause"
    NETWORK = "network"
    DEPENDENCY = "dependency"
    DISK = "disk"
    PROCESS = "process"
    SIGNAL = "signal"
    STOP = "stop"
    CLOCK = "clock"
    DNS = "dns"
    FDS = "fds"
    PIDS = "pids"
    EXEC = "exec"


class FaultAction(StrEnum):
    """What is done to it. Which of them goes with which kind, and what `amount` and `target` mean, its text says."""

    LIMIT = "limit"
    """cpu: `amount` cores at most; memory: bytes; fds, pids: how many."""
    LOAD = "load"
    """cpu: `amount` busy loops beside it."""
    HEADROOM = "headroom"
    """memory: a limit of what it uses and `amount` bytes more."""
    PAUSE = "pause"
    """pause, dependency: frozen."""
    CUT = "cut"
    """network: nothing comes or goes."""
    LATENCY = "latency"
    """network, dependency: `amount` ns more each way."""
    LOSS = "loss"
    """network: `amount` of all packets, from 0 to 1."""
    BANDWIDTH = "bandwidth"
    """network: `amount` bits a second."""
    RESET = "reset"
    """network: open connections are reset."""
    KILL = "kill"
    """dependency, process: SIGKILL; stop: `docker kill` in the middle."""
    STOP = "stop"
    """dependency: stopped with a timeout of 0 s; process: SIGSTOP."""
    SEND = "send"
    """signal, process: the signal `signal`."""
    FULL = "full"
    """disk: nothing more can be written at `target`."""
    READ_ONLY = "read_only"
    """disk: the mount at `target` cannot be written to."""
    AGAIN = "again"
    """stop: a second stop call."""
    CLIENT_GONE = "client_gone"
    """stop: the connection of the stop call is cut."""
    REMOVE = "remove"
    """stop: `docker rm -f` in the middle."""
    RESTART_ENGINE = "restart_engine"
    JUMP = "jump"
    """clock: `amount` ns forward, or back."""
    DEAD = "dead"
    """dns: no answer."""
    LATE = "late"
    """dns: an answer `amount` ns late."""
    RUN = "run"
    """exec: `command` in the container."""


class When(StrEnum):
    """From where the moment of a fault is counted."""

    BEFORE = "before"
    """It is in effect when the stop is called, or begins so long before that."""
    WITH = "with"
    """It begins together with the stop call: which of both comes first, the record tells."""
    AFTER = "after"
    """It begins with the stop signal, or so long after it."""
    LOG = "log"
    """It begins when a line is written during the stop."""


@dataclass(frozen=True, slots=True)
class FaultMoment:
    """When a fault begins. `offset_ns`: how long before the stop call, or after the stop signal; 0 for the others.
    `log`: the regular expression of `When.LOG`."""

    when: When = When.BEFORE
    offset_ns: int = 0
    log: str | None = None

    @property
    def planned_ns(self) -> int | None:
        """Relative to the stop signal; None where only a line of the log tells."""
        if self.when is When.LOG:
            return None
        return -self.offset_ns if self.when is When.BEFORE else self.offset_ns


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a scenario. `for_ns`: how long it lasts; None: until the end of the stop, or it is a single deed.

    `amount`: by its action, see there. `target`: a container of the group, a path in the container, or a regular
    expression for a command line. `signal`: the name of one; None, of a signal: the stop signal again. `port`: of the
    network, None: all of them. `command`: what is run.

    `may_miss`: a stop that is over before the fault's moment is judged as it was, without it; else it is inconclusive.
    """

    kind: FaultKind
    action: FaultAction
    moment: FaultMoment = FaultMoment()
    for_ns: int | None = None
    amount: float | None = None
    target: str | None = None
    signal: str | None = None
    port: int | None = None
    command: tuple[str, ...] = ()
    may_miss: bool = False

    @property
    def is_deed(self) -> bool:
        """It is done once, and there is nothing to undo: a signal cannot be taken back."""
        if self.kind in {FaultKind.SIGNAL, FaultKind.STOP, FaultKind.EXEC}:
            return True
        if self.kind is FaultKind.NETWORK:
            return self.action is FaultAction.RESET
        return self.kind is FaultKind.PROCESS and self.action is not FaultAction.STOP

    @property
    def takes_dependency(self) -> bool:
        """Another container of the group is gone until the stop is over."""
        return self.kind is FaultKind.DEPENDENCY and self.action in {FaultAction.KILL, FaultAction.STOP}


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """What became of one fault. Times are ns relative to the stop signal, or to the stop call where the engine tells no
    signals; negative is before.

    `asked_ns`: when the harness began with it. `begun_ns`: when its effect was known to be there. Both None: it never
    came to that. `ended_ns`: when it was known to be undone; None: it was a deed, or it ended with the container.
    `seen`: how the effect is known. `problem`: why it was not applied, or not undone, as a sentence; None: neither.

    `events`: what the engine has on record of it. `killed`: pids, inside the container, of the processes that it ended.
    The stop's own record is without both: nobody lost what a fault took.
    """

    fault: Fault
    asked_ns: int | None = None
    begun_ns: int | None = None
    ended_ns: int | None = None
    seen: str = ""
    problem: str | None = None
    events: tuple[Event, ...] = ()
    killed: tuple[int, ...] = ()
