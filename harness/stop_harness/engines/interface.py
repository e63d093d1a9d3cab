"""The one narrow interface of every engine: start a subject, stop it by the real stop path, hand over its record."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from stop_harness.model import (
    NS_PER_S,
    Configuration,
    EngineInfo,
    LogTail,
    Problem,
    ProblemKind,
    ProcessInfo,
    Scenario,
    StopRecord,
    TaskRecord,
    Trial,
    Vantage,
)

PrepareProgress = Callable[[str, str], None]
"""Called as (scenario name or image, what is being done), from any thread."""


@dataclass(frozen=True)
class EngineRecord:
    """What an engine hands over after a stop.

    `stop` is without the stop signal and its source, which the subject tells in any case. `task`: the containers of a
    task that was stopped as a whole, whose own record `stop` then is. None: one container.
    """

    stop: StopRecord
    task: TaskRecord | None = None


WITNESS_CAVEAT = "witness: "
"""How the caveat of an engine begins that says which witness there is, or why there is none."""


SLOW_CAVEAT = "slow: "
"""How the caveat of an engine begins that took long to answer."""


class SubjectFailed(Exception):
    """The subject could not be started or did not become ready; carries what to put on record.

    `exit_code` is set where the subject ran and left before it was ready.
    """

    def __init__(self, problem: Problem | None, exit_code: int | None = None) -> None:
        super().__init__(problem.message if problem else f"exited with code {exit_code} before it was ready")
        self.problem = problem
        self.exit_code = exit_code


SHOWN_LOG_LINES = 5
"""Of a subject that did not get ready: what it wrote last is the best hint at what it waits for."""


def not_ready(why: str, logs: Mapping[str, LogTail]) -> SubjectFailed:
    """For a condition that did not come to hold, with the end of what was written.

    `logs`: by container of a task; of one container under ""; empty where nobody can read them.
    """
    shown = [why]
    for name, log in logs.items():
        lines = [line.strip() for line in log.text.splitlines() if line.strip()][-SHOWN_LOG_LINES:]
        whose = f"last output of {name}" if name else "its last output"
        shown.append(f"{whose}: {' | '.join(lines)}" if lines else f"{name or 'it'} wrote nothing")
    return SubjectFailed(Problem(ProblemKind.NOT_READY, "; ".join(shown)))


def waited(timeout_ns: int, what: str) -> str:
    """The `why` of `not_ready` for a condition that did not hold in time."""
    return f"not ready after {timeout_ns / NS_PER_S:g} s: waited for {what}"


LOOPBACK = ("127.", "[::1]")
"""How addresses begin that are reached from the same network namespace only."""


def where_it_listens(port: int, addresses: tuple[str, ...] | None) -> str:
    """`; it listens on 127.0.0.1:7000 only, …`, for a port that was not reached; empty where nobody knows."""
    if addresses is None:
        return ""
    here = [address for address in addresses if address.rpartition(":")[2] == str(port)]
    if here and all(address.startswith(LOOPBACK) for address in here):
        return (
            f"; it listens on {' and '.join(here)} only, which is reached from inside its network namespace alone: let "
            "it listen on 0.0.0.0, or run stop-harness as root on the engine's machine"
        )
    if here:
        return f"; it listens on {' and '.join(here)}"
    others = f", but at {', '.join(addresses)}" if addresses else ""
    return f"; nobody listens at that port{others}"


@dataclass(frozen=True)
class ReadySigns:
    """What is declared about a subject that tells when it is ready: by its image, Compose file or task definition.

    `health_check`: it has one that `is_healthy` can ask. `health_patience_ns`: how long after the start it may be
    before that says anything. `ports`: TCP ports, one group for each container of a task that declares any, for one
    port alone says nothing of the other containers.
    """

    health_check: bool = False
    health_patience_ns: int = 0
    ports: tuple[tuple[int, ...], ...] = ()


class RunningSubject(Protocol):
    """One started container (or process). Used by one thread; `abort` may be called from any other."""

    @property
    def stop_signal(self) -> int | None:
        """With which its stop begins; None: not known, or it is a task or group whose containers have one each."""

    @property
    def stop_signal_source(self) -> str | None:
        """Who chose it; None likewise."""

    def wait_started(self) -> None:
        """Return when it runs, where `start` does not wait for that; raise SubjectFailed when it never does."""

    def wait_ready(self) -> None:
        """Return when the scenario's readiness holds; raise SubjectFailed when it cannot or does not in time."""

    def ready_signs(self) -> ReadySigns:
        """What is declared about it, for a scenario that says nothing."""

    def is_healthy(self) -> bool:
        """Whether its health check succeeds now."""

    def listening(self, declared: tuple[int, ...]) -> frozenset[int]:
        """TCP ports at which it listens: all that the kernel shows, or, where that is out of reach, those of `declared`
        that accept a connection. Raises nothing: what cannot be seen is left out."""

    def listens_at(self) -> tuple[str, ...] | None:
        """Addresses with ports at which somebody listens there, for messages; None where that cannot be seen."""

    def takes_stop_signal(self) -> bool:
        """Whether somebody would take the stop signal now, of a task in each container; also where that cannot be
        seen."""

    def sleep(self, duration_ns: int) -> None:
        """Let time pass on the engine's clock, less if the subject is aborted."""

    def is_running(self) -> bool:
        """Whether PID 1 still runs."""

    def processes(self) -> tuple[ProcessInfo, ...] | None:
        """The process table with signal masks; None where it cannot be read."""

    def connect(self, port: int, timeout_s: float) -> tuple[socket.socket, Vantage]:
        """A connected TCP socket to a port of the subject from the best vantage there is. Raises OSError."""

    def wait_log(self, pattern: str, timeout_ns: int) -> None:
        """Return when a line of the whole output matches. Raises SubjectFailed when none does in time."""

    def execute(self, command: tuple[str, ...], timeout_ns: int) -> int | None:
        """Run a command inside the subject and return its exit code; None: it had not ended by then, and it is gone
        when the subject is. Raises EngineError where it cannot be done."""

    def stop(self, stop_timeout_ns: int) -> None:
        """The stop path: stop signal, wait, SIGKILL. Returns when the engine says it is over."""

    def end_now(self) -> bool:
        """SIGKILL for PID 1 while `stop` waits in another thread, which then returns; the record stays whole. Used
        where the rest of a stop is beyond doubt. False: the engine cannot do it, so that the stop runs its course."""

    def record(self) -> EngineRecord:
        """Everything the engine recorded, from start to exit. Call after `stop`, or once it has exited."""

    def logs(self) -> LogTail:
        """The end of the container's output, a bounded amount whatever was written."""

    def abort(self) -> None:
        """End it at once from another thread so that a blocked `stop` or `wait_ready` returns."""

    def keep(self) -> str | None:
        """Leave it for the user to look at, whatever the engine removes when it closes. Says its name and what to do
        with it, as a sentence; None: nothing of it outlasts the stop here, and it must be removed as always."""

    def remove(self) -> None:
        """Leave nothing behind. Idempotent; never raises for a subject that is already gone."""


class Engine(Protocol):
    """A place where subjects run. `info` is asked once; `close` ends helpers and removes what is left of the run."""

    def info(self) -> EngineInfo:
        """What answered and what it can prove. Raises EngineError if nothing answers."""

    def cannot_run(self, scenario: Scenario) -> str | None:
        """Why this engine cannot run the scenario, None if it can. No side effects."""

    def configuration(self, scenario: Scenario) -> Configuration:
        """What the scenario's container runs and how it is stopped. Call after `prepare`. Raises EngineError."""

    def reference(self) -> Scenario | None:
        """A subject that leaves at once, at hand without a registry. Call after `prepare`; None where there is none."""

    def prepare(self, scenarios: tuple[Scenario, ...], progress: PrepareProgress) -> None:
        """Build and pull what the scenarios need, once. Raises BuildError or EngineError."""

    def start(self, trial: Trial) -> RunningSubject:
        """Create and start a fresh subject.

        Raises SubjectFailed for the subject's mistakes and EngineError for the engine's.
        """

    def abort(self) -> None:
        """Make starts in flight fail soon, where they wait for somebody else; from another thread."""

    def leftovers(self) -> str | None:
        """What dead runs of this machine have left there, as a sentence with what to do; None: nothing that shows."""

    def close(self) -> tuple[str, ...]:
        """Remove everything of this run and end helpers. Idempotent. Says what could not be removed."""


def configure(
    scenario: Scenario, entrypoint: tuple[str, ...], command: tuple[str, ...], stop_signal: str | None
) -> Configuration:
    """An image's settings with the scenario's in their place; a scenario's entrypoint drops the image's command."""
    subject = scenario.subject
    if subject.entrypoint is not None:
        entrypoint, command = subject.entrypoint, () if subject.entrypoint else command
    return Configuration(
        entrypoint=entrypoint,
        command=command if subject.command is None else subject.command,
        stop_signal=scenario.stop.signal or stop_signal or None,
    )
