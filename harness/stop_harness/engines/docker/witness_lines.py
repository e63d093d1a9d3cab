"""What the witness says, one line a message; `programs/witness.c` describes each."""

from __future__ import annotations

from dataclasses import dataclass

from stop_harness.linux.process_events import ProcessEvent

PROTOCOL_VERSION = 1

UNKNOWN_LEAVING = 2


@dataclass(frozen=True)
class WitnessStarted:
    """How far it came: `error` is the errno of `step`, 0 where it was acknowledged. `buffer_bytes`: for events that it
    has not read yet. `release`: of the kernel."""

    version: int
    step: str
    error: int
    buffer_bytes: int
    release: str


@dataclass(frozen=True)
class Named:
    """A living process. `pids`: in each PID namespace from the machine's on. `root` and `at_ns`: by a look, below this
    PID 1 at this time; 0 for one whose name alone is told."""

    pid: int
    threads: int
    pids: tuple[int, ...]
    name: str
    root: int = 0
    at_ns: int = 0


@dataclass(frozen=True)
class Heard:
    """An event. `leaving`: whether PID 1 had begun to exit when it was read, None where that was not looked up."""

    event: ProcessEvent
    leaving: bool | None


@dataclass(frozen=True)
class Answer:
    """To the command with this token."""

    token: int
    word: str


@dataclass(frozen=True)
class Missing:
    """Events are lost for good."""


Message = WitnessStarted | Named | Heard | Answer | Missing


def parse(line: bytes) -> Message:
    """One line without its end. Raises ValueError for anything that the witness would not say."""
    kind, _, rest = line.decode("utf-8", errors="replace").partition(" ")
    match kind:
        case "E":
            what, at_ns, leaving, *numbers = (int(word) for word in rest.split())
            if len(numbers) != 6:
                raise ValueError(f"an event of {len(numbers)} numbers")
            event = ProcessEvent(0, 0, what, 0, at_ns, tuple(numbers))
            return Heard(event, None if leaving == UNKNOWN_LEAVING else bool(leaving))
        case "P":
            root, pid, at, status = rest.split(" ", 3)
            return _named(int(pid), status, root=int(root), at_ns=int(at))
        case "N":
            named, status = rest.split(" ", 1)
            return _named(int(named), status)
        case "A":
            token, word = rest.split(" ")
            return Answer(int(token), word)
        case "O" if not rest:
            return Missing()
        case "H":
            version, step, error, buffer_bytes, release = rest.split(" ", 4)
            return WitnessStarted(int(version), step, int(error), int(buffer_bytes), release)
    raise ValueError(f"unknown message {line[:40]!r}")


def _named(pid: int, status: str, *, root: int = 0, at_ns: int = 0) -> Named:
    threads, pids, name = status.split(" ", 2)
    return Named(pid, int(threads), tuple(int(word) for word in pids.split(",")), name, root, at_ns)
