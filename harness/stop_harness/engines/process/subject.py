"""One subject of the process engine during one trial: started, made ready, stopped, recorded."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from stop_harness import signals
from stop_harness.engines.interface import (
    EngineRecord,
    ReadySigns,
    SubjectFailed,
    not_ready,
    waited,
    where_it_listens,
)
from stop_harness.engines.process import fates
from stop_harness.engines.process.client import ShimProcess
from stop_harness.engines.process.connect import connect
from stop_harness.engines.process.faults import ProcessFaults
from stop_harness.engines.process.stopped import StoppedProcess
from stop_harness.errors import EngineError
from stop_harness.evidence import start_up
from stop_harness.linux import listening, proc
from stop_harness.linux.signal_trace import ExitWatch
from stop_harness.model import (
    EXIT_BEGUN,
    NS_PER_S,
    Clock,
    Event,
    EventKind,
    LogTail,
    Problem,
    ProblemKind,
    ProcessInfo,
    Readiness,
    StopRecord,
    Vantage,
)

HEALTH_PATIENCE_NS = 30 * NS_PER_S
"""For one run of a health check. Docker's default `--timeout` of HEALTHCHECK."""


class ProcessSubject:
    """`RunningSubject`: nearly every method is one request to the helper process.

    `connect`, `processes` and `abort` may be called from any thread, also while `stop` blocks another.
    `watch_exit` gives the kernel's record of a process's exit, None where it cannot be had.
    """

    def __init__(
        self,
        watch_exit: Callable[[int | None], ExitWatch | None],
        on_removed: Callable[[ProcessSubject], None],
        shim: ShimProcess,
        readiness: Readiness,
        *,
        stop_signal: tuple[int, str],
        signs: ReadySigns,
        health_test: tuple[str, ...] | None,
        locate: Callable[[tuple[str, ...]], tuple[str, ...]],
        again: Callable[[], ProcessSubject],
        cleanup: contextlib.ExitStack,
    ) -> None:
        self.stop_signal: int | None = stop_signal[0]
        self.stop_signal_source: str | None = stop_signal[1]
        self._watch_exit, self._on_removed = watch_exit, on_removed
        self._shim = shim
        self._readiness = readiness
        self._signs, self._health_test = signs, health_test
        self._locate, self._again = locate, again
        self._next: ProcessSubject | None = None
        self._cleanup = cleanup
        self._aborted = False
        self._faults: ProcessFaults | None = None
        self._exit: ExitWatch | None = None

    def wait_started(self) -> None:
        """`start` has waited for it."""

    def wait_ready(self) -> None:
        """As `RunningSubject` says; the conditions are checked from inside the subject's network namespace."""
        readiness = self._readiness
        http = [(readiness.http_port, readiness.http_path)] if readiness.http_port is not None else []
        tcp = [readiness.tcp_port] if readiness.tcp_port is not None else []
        reply = self._shim.ask(
            {
                "do": "wait_ready",
                "tcp": tcp,
                "http": http,
                "delay_ns": readiness.delay_ns,
                "timeout_ns": readiness.timeout_ns,
            },
            readiness.timeout_ns + readiness.delay_ns,
        )
        self._check_waited(reply, readiness.timeout_ns)

    def _check_waited(self, reply: dict[str, Any], timeout_ns: int) -> None:
        """Raise what an end of waiting means that is none."""
        if self._aborted:
            raise SubjectFailed(Problem(ProblemKind.INTERRUPTED, "aborted before it was stopped"))
        if reply["exited"]:
            raise SubjectFailed(None, self.record().stop.exit_code)
        if reply["waiting"]:
            what = waited(timeout_ns, " and ".join(reply["waiting"]))
            port = self._readiness.tcp_port or self._readiness.http_port
            unreached = port is not None and any("port" in condition for condition in reply["waiting"])
            where = where_it_listens(port, self.listens_at()) if port is not None and unreached else ""
            raise not_ready(what + where, {"": self.logs()})

    def ready_signs(self) -> ReadySigns:
        """What its Dockerfile and its scenario declare."""
        return self._signs

    def is_healthy(self) -> bool:
        """By the check of its Dockerfile, run beside it."""
        if self._health_test is None:
            return False
        try:
            return self.execute(self._health_test, HEALTH_PATIENCE_NS) == 0
        except (EngineError, SubjectFailed):  # the check never ends, or the subject has: the trial finds out
            return False

    def listening(self, declared: tuple[int, ...]) -> frozenset[int]:
        """By /proc: on a network that others share a connection would not tell whose port it is."""
        pid = self._shim.subject
        return frozenset() if pid is None else listening.ports(pid, proc.living([pid])) or frozenset()

    def listens_at(self) -> tuple[str, ...] | None:
        """By /proc, in a network of its own; another one is full of others."""
        pid = self._shim.subject
        return listening.addresses_of(pid) if pid is not None and self._shim.sockets else None

    def takes_stop_signal(self) -> bool:
        """By the process table."""
        return start_up.takes(self.processes(), self.stop_signal)

    def sleep(self, duration_ns: int) -> None:
        """Returns early once the subject is gone."""
        self._shim.ask({"do": "sleep", "duration_ns": duration_ns}, duration_ns)

    def is_running(self) -> bool:
        """Whether PID 1 has not been reaped."""
        return bool(self._shim.ask({"do": "running"})["running"])

    def processes(self) -> tuple[ProcessInfo, ...] | None:
        """From `/proc/PID`, PID 1 first; pids as inside the namespace, the parent of PID 1 is 0."""
        rows = self._shim.process_rows()
        if rows is None:
            return None
        inside = {row.pop("host_pid"): row["pid"] for row in rows}
        return tuple(ProcessInfo(parent_pid=inside.get(row.pop("host_parent"), 0), **row) for row in rows)

    def foreseen(self) -> tuple[tuple[ProcessInfo, ...] | None, int | None]:
        """Its own."""
        return self.processes(), self.stop_signal

    def connect(self, port: int, timeout_s: float) -> tuple[socket.socket, Vantage]:
        """From the subject's network namespace if it has its own, which it has if the scenario names a port."""
        vantage = Vantage.NETWORK_NAMESPACE if self._shim.sockets else Vantage.HOST_NETWORK
        return connect(self._shim.sockets, port, timeout_s), vantage

    def wait_log(self, pattern: str, timeout_ns: int) -> None:
        """As `RunningSubject` says; of the output so far the last 256 KiB are searched."""
        reply = self._shim.ask({"do": "wait_log", "pattern": pattern, "timeout_ns": timeout_ns}, timeout_ns)
        self._check_waited(reply, timeout_ns)

    def execute(self, command: tuple[str, ...], timeout_ns: int) -> int | None:
        """Like `docker exec`: in the subject's namespaces, not below PID 1, and gone when PID 1 is.

        Its output is dropped; 127 and 126 as a shell numbers them. Raises SubjectFailed if the subject leaves.
        """
        text = f"`{' '.join(command)}`"
        request = {"do": "execute", "argv": self._locate(command), "timeout_ns": timeout_ns}
        reply = self._shim.ask(request, timeout_ns)
        if "failed" in reply:
            if reply["failed"] != "exec":
                raise EngineError(f"{text} cannot be run beside the subject ({reply['failed']}): {reply['message']}")
            return 127 if reply["errno"] in _NOT_FOUND else 126
        self._check_waited(reply | {"waiting": []}, 0)
        return None if reply["wait_status"] is None else _exit_code(reply["wait_status"])

    def hooks_first(self, ports: frozenset[int], over: Callable[[], None]) -> bool:
        """A process has none."""
        return False

    def faults(self) -> ProcessFaults:
        """By kill(2) and prlimit(2)."""
        if self._faults is None:
            assert self._shim.subject is not None
            self._faults = ProcessFaults(self._shim.subject, self.stop_signal or signals.SIGTERM)
        return self._faults

    def stop(self, stop_timeout_ns: int) -> None:
        """The helper signals, waits and kills by its own clock; this thread only waits for the end of it."""
        self._exit = self._watch_exit(self._shim.subject)
        told = self._faults.signalled if self._faults is not None else None
        request = {"do": "stop", "signal": self.stop_signal, "timeout_ns": stop_timeout_ns, "tell": told is not None}
        self._shim.ask(request, stop_timeout_ns, told)
        if self._faults is not None:
            self._faults.over()

    def record(self) -> EngineRecord:
        """The exit is the wait status of waitpid(2), so exit code and signal are told apart."""
        reply = self._shim.ask({"do": "record"})
        status = reply["wait_status"]
        events = [
            Event(EventKind(kind), at_ns, Clock.KERNEL, source, number)
            for kind, at_ns, source, number in reply["events"]
        ]
        stop = StopRecord(
            events=tuple(sorted((*events, *self._exit_begun(events)), key=lambda event: event.at_ns)),
            exit_code=None if status is None else _exit_code(status),
            exit_signal=os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None,
            lost_processes=None if reply["lost"] is None else tuple(reply["lost"]),
            suspected_processes=tuple(reply["suspected"]),
            fates=fates.put_together(reply, self.stop_signal or signals.SIGTERM) if reply["lost"] is not None else None,
            fates_complete=False,  # who lived only between two looks is not seen
            exited_before_stop=reply["exited_before_stop"],
        )
        return EngineRecord(stop)

    def _exit_begun(self, events: list[Event]) -> tuple[Event, ...]:
        """The kernel's own stamp, which does not wait until the helper gets a CPU; empty where there is none."""
        sent = [event.at_ns for event in events if event.kind is EventKind.SIGNAL_SENT]
        gone = [event.at_ns for event in events if event.kind is EventKind.EXITED]
        if self._exit is None or not sent or not gone:
            return ()
        begun_ns = self._exit.begun(min(sent), min(gone))
        return () if begun_ns is None else (Event(EventKind.EXITED, begun_ns, Clock.KERNEL, EXIT_BEGUN),)

    def logs(self) -> LogTail:
        """The last 16 KiB of standard output and error together."""
        reply = self._shim.ask({"do": "logs"})
        return LogTail(reply["text"], reply["truncated"])

    def stopped(self) -> StoppedProcess:
        """On this machine."""
        return StoppedProcess(lambda path: self._locate((path,))[0], self._shim.sockets, self._start_again)

    def _start_again(self) -> ProcessSubject:
        self._cleanup.close()  # its ports are free then, and so is its turn at them
        self._next = self._again()
        return self._next

    def abort(self) -> None:
        """SIGKILL; the record says that it was ours."""
        self._aborted = True
        if self._next is not None:
            self._next.abort()
        self.end_now()

    def end_now(self) -> bool:
        """SIGKILL, also while `stop` blocks another thread."""
        self._shim.tell({"do": "kill"})
        return True

    def keep(self) -> str | None:
        """A process leaves nothing to look at."""
        return None

    def remove(self) -> None:
        """End the helper, and with it the subject."""
        if self._next is not None:
            self._next.remove()
        if self._exit is not None:
            self._exit.close()
            self._exit = None
        self._cleanup.close()
        self._on_removed(self)


def _exit_code(wait_status: int) -> int:
    """As a shell and a container number it: 128 + n after signal n."""
    return 128 + os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else os.WEXITSTATUS(wait_status)


_NOT_FOUND = (errno.ENOENT, errno.ENOTDIR)


def check_started(reply: dict[str, Any], request: dict[str, Any]) -> None:
    """Raise what a failed start means; 127 and 126 as a shell and Docker number them."""
    if "failed" not in reply:
        return
    stage, number, message, program = reply["failed"], reply["errno"], reply["message"], request["argv"][0]
    if stage == "exec" and number in _NOT_FOUND:
        text = f"{program!r} is not on this machine (or its interpreter is not): {message}"
        raise SubjectFailed(Problem(ProblemKind.COMMAND_NOT_FOUND, text), 127)
    if stage == "exec" and number in (errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.EISDIR):
        text = f"{program!r} cannot be executed: {message}"
        raise SubjectFailed(Problem(ProblemKind.COMMAND_NOT_FOUND, text), 126)
    if stage == "namespaces":
        raise EngineError(f"the kernel refused the trial its namespaces: {message}")
    texts = {
        "port": f"port {message} is already taken on this machine, so its answer would say nothing about the subject",
        "directory": f"cannot change to the working directory {request['directory']}: {message}",
    }
    raise SubjectFailed(Problem(ProblemKind.START_FAILED, texts.get(stage, f"cannot start {program!r}: {message}")))
