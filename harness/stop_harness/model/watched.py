"""How a container ended that somebody else stopped, or that ended by itself, while the harness only watched."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.records import dataclass


class EndKind(StrEnum):
    """What a watched end was. Only a stop says how a container shuts down."""

    STOP = "stop"
    """The engine sent it a stop signal before it ended."""
    KILL = "kill"
    """The engine sent it SIGKILL, or another signal than its stop signal, and no stop was asked for: `docker kill`,
    `docker rm -f`."""
    EXIT = "exit"
    """It ended by itself: the engine sent it no signal."""
    CRASH = "crash"
    """It ended by itself, by a fault (SIGSEGV, SIGABRT, …)."""
    OOM_KILL = "oom_kill"
    """The OOM killer ended it, and no stop was under way."""
    OUTSIDE = "outside"
    """A signal ended it that the engine did not send, as by `kill` on the engine's machine."""
    UNSEEN = "unseen"
    """It ended, or its stop began, while the engine was not listened to."""


class TimeoutSource(StrEnum):
    """How the stop timeout of a watched stop is known; the engine's events do not name it."""

    SIGKILL = "sigkill"
    """From the stop signal to the SIGKILL that followed it."""
    NO_SIGKILL = "no_sigkill"
    """It exited later than by what is configured, and the engine sent no SIGKILL: the call had a longer one, of which
    the time it took, in whole seconds, is the least."""
    CONTAINER = "container"
    """The container's own (`--stop-timeout`); the stop call may have had another."""
    ENGINE = "engine"
    """The engine's default of 10 s; the stop call may have had another."""
    CALL = "call"
    """As it was asked for: the stop call passed through here. One that named none leaves it to the container and the
    engine."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What is peculiar to the observation of a stop that the harness did not ask for.

    `container`: its name. `image`: as it was started. `looked_ns`: how old the look at its processes was that stands
    for the moment before the stop; 0 for one that was taken as soon as the stop signal was heard of, None: nobody
    looked. `removed`: nothing could be asked about it any more when it had ended.
    """

    container: str
    image: str
    timeout_source: TimeoutSource
    looked_ns: int | None = None
    removed: bool = False
