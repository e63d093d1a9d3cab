"""The one narrow interface of every engine: start a subject, stop it by the real stop path, hand over its record."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Protocol

from stop_harness.model import (
    NS_PER_S,
    CommandSeen,
    Configuration,
    EngineInfo,
    Event,
    Fault,
    FileSeen,
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
from stop_harness.records import dataclass

PrepareProgress = Callable[[str, str], None]
"""Called as (scenario name or image, what is being done), from any thread; what a build writes is `BuildOutput`."""


class BuildOutput(str):
    """A line that a build wrote, where otherwise the state of a preparation is told: many people do not want those."""

    __slots__ = ()


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
    port alone says nothing of the other containers. `running_for_ns`: how long it had been running when it was asked
    for; 0 for one that was started for the trial.
    """

    health_check: bool = False
    health_patience_ns: int = 0
    ports: tuple[tuple[int, ...], ...] = ()
    running_for_ns: int = 0


class StoppedSubject(Protocol):
    """What can be looked at after a stop. Used by the thread of the trial, once its record was handed over. Every
    method raises EngineError where the engine fails or cannot do it. `container`: the name of another container of the
    group; None: the one that was stopped."""

    def read_file(self, path: str, container: str | None) -> FileSeen:
        """A file by its absolute path in the container; links are followed there."""

    def run(self, command: tuple[str, ...], container: str | None, timeout_ns: int) -> CommandSeen:
        """A command in a container that runs, with its output."""

    def accepts(self, port: int) -> bool:
        """Whether somebody accepts connections where a port of the container was reached from its machine."""

    def start_again(self) -> RunningSubject:
        """The same container, started again, as the subject to wait for. Removed with the one that was stopped."""


class FaultNotApplied(Exception):
    """A fault that was asked for did not come about, or could not be undone; says why, as a sentence."""


@dataclass(frozen=True)
class Applied:
    """A fault whose effect is there. `seen`: how that is known. `undo`: ends it and returns when it is known to be
    gone; a subject that is gone has taken it along. It raises FaultNotApplied, and may be called from any thread. What
    it returns is when the fault had ended, by `time.time_ns` of this machine, where that was before it returned; None:
    it was not, or nobody knows when.

    `events`: what the engine has on record of it so far, its undoing included; none of it is the stop's own. `killed`:
    pids, inside the container, of the processes that it ended. `begun_ns`: when the effect began, by `time.time_ns` of
    this machine, where the engine has that on record; None: when `apply` returned, at the latest.

    `give_back`: of a subject that has ended, takes out of its settings what the fault has left there, so that its next
    start is without it. None: nothing of the fault outlasts the subject. It is called once the stop is on record, has
    nothing to do where `undo` came before the end, and raises FaultNotApplied where the engine refuses.
    """

    seen: str
    undo: Callable[[], int | None]
    events: list[Event] = field(default_factory=list)
    killed: tuple[int, ...] = ()
    begun_ns: int | None = None
    give_back: Callable[[], None] | None = None


@dataclass(frozen=True)
class Held:
    """A fault of which everything is at hand, and nothing disturbs yet. `release`: makes it, as `FaultMaker.apply`
    does. `drop`: takes it away again where it never came to that."""

    release: Callable[[], Applied]
    drop: Callable[[], None]


class FaultMaker(Protocol):
    """Makes faults in one subject. Its methods are called from any thread, also while the subject is being stopped."""

    def hold(self, fault: Fault) -> Held | None:
        """Have at hand what would be late if it was made at its moment; None: nothing of this kind would. Raises
        FaultNotApplied or EngineError."""

    def about_to_stop(self) -> None:
        """What the engine has on record by now is none of the stop's."""

    def apply(self, fault: Fault) -> Applied:
        """Make a fault, and return when its effect is there. Raises FaultNotApplied or EngineError."""

    def wait_signalled(self, timeout_s: float) -> int | None:
        """When the stop signal was sent, by `time.time_ns` of this machine, as soon as it was. None: it was not by
        then, or the engine tells nobody."""

    def listen(self, pattern: str) -> Callable[[threading.Event], bool]:
        """From now on, wait for a line that matches. What is returned tells, as soon as one was written, that it was;
        False once the event that it is given is set. Raises FaultNotApplied or EngineError."""

    def start_others_again(self) -> None:
        """Start what ran beside the subject until a fault ended it, and return when it is as it was. Called once the
        stop is on record. Raises FaultNotApplied or EngineError."""


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

    def foreseen(self) -> tuple[tuple[ProcessInfo, ...] | None, int | None]:
        """`processes` and `stop_signal` of the one container whose stop can be foreseen: of a pod, which is stopped
        whole, the one that is named, or its only one."""

    def connect(self, port: int, timeout_s: float) -> tuple[socket.socket, Vantage]:
        """A connected TCP socket to a port of the subject from the best vantage there is. Raises OSError."""

    def wait_log(self, pattern: str, timeout_ns: int) -> None:
        """Return when a line of the whole output matches. Raises SubjectFailed when none does in time."""

    def execute(self, command: tuple[str, ...], timeout_ns: int) -> int | None:
        """Run a command inside the subject and return its exit code; None: it had not ended by then, and it is gone
        when the subject is. Raises EngineError where it cannot be done."""

    def hooks_first(self, ports: frozenset[int], over: Callable[[], None]) -> bool:
        """Whether hooks run between the call of `stop` and the stop signal of those that have these ports. Then `over`
        is called when the last of these hooks has ended, from any thread. Call before `stop`."""

    def faults(self) -> FaultMaker:
        """Who makes faults in it, of an engine that refuses none of them (`Engine.cannot_run`)."""

    def stop(self, stop_timeout_ns: int) -> None:
        """The stop path: stop signal, wait, SIGKILL. Returns when the engine says it is over."""

    def end_now(self) -> bool:
        """SIGKILL for PID 1 while `stop` waits in another thread, which then returns; the record stays whole. Used
        where the rest of a stop is beyond doubt. False: the engine cannot do it, so that the stop runs its course."""

    def record(self) -> EngineRecord:
        """Everything the engine recorded, from start to exit. Call after `stop`, or once it has exited."""

    def logs(self) -> LogTail:
        """The end of the container's output, a bounded amount whatever was written."""

    def stopped(self) -> StoppedSubject:
        """For looks after the stop; of scenarios that expect something then, which `cannot_run` has let pass."""

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
        """Why this engine cannot run the scenario, None if it can. No side effects. Asked again after `prepare`, for
        only images tell what some faults need."""

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
