"""The simulated engine: scripted subjects in virtual time, so that a test of 120 s timeouts takes microseconds.

It follows the real stop sequence and puts on record what the engine it imitates would: that is what the tests of the
pipeline need. It proves nothing about any container.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from stop_harness import signals
from stop_harness.engines.interface import (
    EngineRecord,
    FaultMaker,
    PrepareProgress,
    ReadySigns,
    SubjectFailed,
    configure,
    not_ready,
    waited,
)
from stop_harness.errors import EngineError
from stop_harness.evidence import start_up
from stop_harness.log_pattern import LogPattern
from stop_harness.model import (
    NS_PER_MS,
    Clock,
    CommandSeen,
    Configuration,
    EngineInfo,
    Event,
    EventKind,
    FileSeen,
    LogTail,
    Problem,
    ProcessFate,
    ProcessInfo,
    Scenario,
    StopRecord,
    Trial,
    Vantage,
)

EXIT_CODE_SIGKILL = 128 + signals.SIGKILL


@dataclass(frozen=True)
class Script:
    """How a simulated subject behaves.

    `leaves_after_ns`: stop signal → exit, None: never by itself. `ready_after_ns` None: never ready. `runs_for_ns`:
    exits by itself that long after its start, None: not before it is stopped. `oom_after_ns`: the OOM killer strikes
    that long after the stop signal. What is declared: `health_check`, None without one, succeeds that long after the
    start; `ports` are listened at from `listens_after_ns` on, None: never. `handler_after_ns`: the only process has a
    handler for the stop signal from then on; None: no process is shown. `commands_that_hang`: of those that are run
    beside it. What is seen after the stop: `files` by path, `outputs` of commands, ports that are still taken in
    `accepts_after_stop`, and `next_start_takes_ns`, None: it never gets ready again. `start_problem` and `dies_at_stop`
    are the engine's failures.
    """

    leaves_after_ns: int | None = 0
    exit_code: int = 0
    exit_signal: int | None = None
    ready_after_ns: int | None = 0
    runs_for_ns: int | None = None
    oom_after_ns: int | None = None
    lost_processes: tuple[str, ...] | None = ()
    fates: tuple[ProcessFate, ...] | None = None
    log: str = ""
    health_check: int | None = None
    ports: tuple[int, ...] = ()
    listens_after_ns: int | None = 0
    handler_after_ns: int | None = None
    commands_that_hang: tuple[tuple[str, ...], ...] = ()
    start_problem: Problem | None = None
    dies_at_stop: bool = False
    files: tuple[tuple[str, bytes], ...] = ()
    outputs: tuple[tuple[tuple[str, ...], str], ...] = ()
    accepts_after_stop: tuple[int, ...] = ()
    next_start_takes_ns: int | None = 0


class SimulatedEngine:
    """Runs the scripts given by scenario name; a scenario without one behaves well."""

    def __init__(
        self,
        scripts: Mapping[str, Script] | None = None,
        *,
        observes_sigkill: bool = True,
        whole_seconds: bool = False,
    ) -> None:
        self._scripts = dict(scripts or {})
        self._observes_sigkill, self._whole_seconds = observes_sigkill, whole_seconds
        self.living: set[str] = set()
        """Trials whose subject has not been removed: empty after every run, or something was left behind."""

    def info(self) -> EngineInfo:
        """A perfect engine, or one that keeps its SIGKILL to itself."""
        return EngineInfo(
            name="simulated",
            product="simulated engine",
            version="1",
            host="virtual time",
            pid1_rules=True,
            whole_seconds=self._whole_seconds,
            observes_sigkill=self._observes_sigkill,
            reports_oom=True,
            runs_images=True,
            caveats=("nothing ran: the subject is a script",),
        )

    def cannot_run(self, scenario: Scenario) -> str | None:
        """A script is one container."""
        if scenario.faults:
            return "the simulated engine makes no faults"
        return "the simulated engine plays single containers" if scenario.subject.group is not None else None

    def configuration(self, scenario: Scenario) -> Configuration:
        """What the scenario says, and nothing else."""
        return configure(scenario, (), (), None)

    def reference(self) -> None:
        """None: nothing runs here."""

    def prepare(self, scenarios: tuple[Scenario, ...], progress: PrepareProgress) -> None:
        """Nothing to build."""

    def start(self, trial: Trial) -> SimulatedSubject:
        """A subject at virtual time zero."""
        script = self._scripts.get(trial.scenario.name, Script())
        if script.start_problem is not None:
            raise SubjectFailed(script.start_problem)
        self.living.add(trial.trial_id)
        return SimulatedSubject(trial, script, self)

    def abort(self) -> None:
        """Nothing waits: time is virtual."""

    def leftovers(self) -> None:
        """None: nothing outlives a harness here."""

    def close(self) -> tuple[str, ...]:
        """Nothing to end."""
        return ()


class SimulatedSubject:
    """One run of a script."""

    def __init__(self, trial: Trial, script: Script, engine: SimulatedEngine) -> None:
        self._trial, self._script, self._engine = trial, script, engine
        self._now_ns = 0
        self._events = [self._event(EventKind.STARTED, "script")]
        self._exit: tuple[int, int | None] | None = None
        self._oom = False
        asked = trial.scenario.stop.signal
        self.stop_signal: int | None = signals.number(asked) if asked else signals.SIGTERM
        self.stop_signal_source: str | None = "scenario" if asked else "default"

    def wait_started(self) -> None:
        """`start` has waited for it."""

    def wait_ready(self) -> None:
        """Advance to the moment of readiness."""
        script, readiness = self._script, self._trial.scenario.readiness
        if script.ready_after_ns is None or script.ready_after_ns > readiness.timeout_ns:
            self._advance(readiness.timeout_ns)
            raise not_ready(waited(readiness.timeout_ns, "the script"), {"": self.logs()})
        self._advance(script.ready_after_ns + readiness.delay_ns)
        self._events.append(self._event(EventKind.READY, "script"))

    def ready_signs(self) -> ReadySigns:
        """What the script declares."""
        ports = self._script.ports
        return ReadySigns(health_check=self._script.health_check is not None, ports=(ports,) if ports else ())

    def is_healthy(self) -> bool:
        """Whether that moment has come."""
        return self._script.health_check is not None and self._now_ns >= self._script.health_check

    def listening(self, declared: tuple[int, ...]) -> frozenset[int]:
        """The script's ports, once it listens."""
        since_ns = self._script.listens_after_ns
        return frozenset(self._script.ports if since_ns is not None and self._now_ns >= since_ns else ())

    def listens_at(self) -> tuple[str, ...] | None:
        """There is no network."""
        return None

    def takes_stop_signal(self) -> bool:
        """By the process table."""
        return start_up.takes(self.processes(), self.stop_signal)

    def sleep(self, duration_ns: int) -> None:
        """Advance the virtual clock."""
        self._advance(duration_ns)

    def is_running(self) -> bool:
        """Whether the script has not exited by itself."""
        return self._exit is None

    def processes(self) -> tuple[ProcessInfo, ...] | None:
        """The only one, where the script says when it has its handler."""
        since_ns = self._script.handler_after_ns
        if since_ns is None or self.stop_signal is None:
            return None
        caught = 1 << (self.stop_signal - 1) if self._now_ns >= since_ns else 0
        return (ProcessInfo(1, 0, "program", caught, 0, 0, 0, "S", "do_poll"),)

    def foreseen(self) -> tuple[tuple[ProcessInfo, ...] | None, int | None]:
        """Its own."""
        return self.processes(), self.stop_signal

    def connect(self, port: int, timeout_s: float) -> tuple[socket.socket, Vantage]:
        """A script listens nowhere."""
        raise ConnectionRefusedError(f"a simulated subject does not listen on port {port}")

    def wait_log(self, pattern: str, timeout_ns: int) -> None:
        """The script's log is there from the beginning."""
        if not LogPattern(pattern).found_in(self._script.log):
            raise not_ready(waited(timeout_ns, f"log line matching {pattern!r}"), {"": self.logs()})

    def execute(self, command: tuple[str, ...], timeout_ns: int) -> int | None:
        """Every command succeeds at once, or never ends."""
        if command in self._script.commands_that_hang:
            self._now_ns += timeout_ns
            return None
        return 0

    def hooks_first(self, ports: frozenset[int], over: Callable[[], None]) -> bool:
        """A script has none."""
        return False

    def faults(self) -> FaultMaker:
        """Nobody: `cannot_run` refuses all of them."""
        raise EngineError("a script has no faults")

    def stop(self, stop_timeout_ns: int) -> None:
        """The stop sequence: signal, wait up to the timeout, SIGKILL."""
        script = self._script
        self._events.append(self._event(EventKind.STOP_REQUESTED, "stop call"))
        if script.dies_at_stop:
            raise EngineError("the simulated engine died")
        if self._engine.info().observes_sigkill:
            self._events.append(self._event(EventKind.SIGNAL_SENT, "script", self.stop_signal))
        leaves_ns = script.leaves_after_ns
        if script.oom_after_ns is not None and script.oom_after_ns <= stop_timeout_ns:
            self._now_ns += script.oom_after_ns
            self._events.append(self._event(EventKind.OOM, "script"))
            self._oom = True
            leaves_ns = None if leaves_ns is None else max(0, leaves_ns - script.oom_after_ns)
            stop_timeout_ns -= script.oom_after_ns
        if leaves_ns is not None and leaves_ns <= stop_timeout_ns:
            self._now_ns += leaves_ns
            self._leave(script.exit_code, script.exit_signal)
        else:
            self._now_ns += stop_timeout_ns
            if self._engine.info().observes_sigkill:
                self._events.append(self._event(EventKind.SIGNAL_SENT, "script", signals.SIGKILL))
            self._now_ns += NS_PER_MS
            self._leave(EXIT_CODE_SIGKILL, signals.SIGKILL)
        self._events.append(self._event(EventKind.STOP_RETURNED, "stop call"))

    def end_now(self) -> bool:
        """A script shows no processes, so nobody is sure enough to ask."""
        return False

    def record(self) -> EngineRecord:
        """What the script recorded."""
        code, signal = self._exit if self._exit is not None else (None, None)
        lost = self._script.lost_processes if code != EXIT_CODE_SIGKILL else None
        fates = None if lost is None else self._script.fates
        return EngineRecord(StopRecord(tuple(self._events), code, signal, self._oom, lost_processes=lost, fates=fates))

    def logs(self) -> LogTail:
        """The script's log."""
        return LogTail(self._script.log)

    def stopped(self) -> SimulatedStopped:
        """By the script."""
        again = replace(self._script, ready_after_ns=self._script.next_start_takes_ns)
        return SimulatedStopped(self._script, SimulatedSubject(self._trial, again, self._engine))

    def abort(self) -> None:
        """Virtual time never blocks."""

    def keep(self) -> str | None:
        """Nothing ran."""
        return None

    def remove(self) -> None:
        """Off the list of the living."""
        self._engine.living.discard(self._trial.trial_id)

    def _advance(self, duration_ns: int) -> None:
        self._now_ns += duration_ns
        lives_ns = self._script.runs_for_ns
        if lives_ns is not None and self._now_ns >= lives_ns and self._exit is None:
            self._leave(self._script.exit_code, self._script.exit_signal)

    def _leave(self, code: int, signal: int | None) -> None:
        self._exit = (code, signal)
        self._events.append(self._event(EventKind.EXITED, "script"))

    def _event(self, kind: EventKind, source: str, signal: int | None = None) -> Event:
        return Event(kind, self._now_ns, Clock.VIRTUAL, source, signal)


class SimulatedStopped:
    """What a script shows after the stop."""

    def __init__(self, script: Script, again: SimulatedSubject) -> None:
        self._script, self._again = script, again

    def read_file(self, path: str, container: str | None) -> FileSeen:
        """By its path in the script."""
        content = dict(self._script.files).get(path)
        return FileSeen() if content is None else FileSeen(len(content), content)

    def run(self, command: tuple[str, ...], container: str | None, timeout_ns: int) -> CommandSeen:
        """The script's output; what it does not have cannot be run."""
        output = dict(self._script.outputs).get(command)
        return CommandSeen(127) if output is None else CommandSeen(0, output.encode())

    def accepts(self, port: int) -> bool:
        """By the script."""
        return port in self._script.accepts_after_stop

    def start_again(self) -> SimulatedSubject:
        """The script once more."""
        return self._again
