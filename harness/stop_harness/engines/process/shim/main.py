"""The waiting parent of one subject: starts it as PID 1, signals it, waits for it, all on one clock in one process.

Run by `engines/process/engine.py` as its own process, one per trial, so that many trials in the harness do not
disturb each other's measurement. Standard library only, and re2 where a log is searched. Requests come in on standard
input, one JSON object a line; each gets one reply on standard output, except `kill`. The end of standard input means
that the harness died: the subject is killed. A second channel, where there is one, hands out sockets of the subject's
network namespace. (The marshal module instead of json would save 2 of the 25 ms that a start takes.)

Times are CLOCK_MONOTONIC in ns. A *wait status* is what waitpid(2) gives. Single-threaded for good reason: after
unshare(CLONE_NEWPID) the kernel refuses new threads (clone(2), EINVAL).
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import sys
import time

# Relative, because the helper process imports this folder alone: the package's own parts may import much.
from . import kernel
from .child import LINUX, become_companion, become_subject, trouble_of
from .ready import NS_PER_MS, READ_BYTES, Output, PortCheck, is_taken

TYPE_CHECKING = False  # the typing module costs 3 ms of each start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

REQUESTS, REPLIES = 0, 1

READY_INTERVAL_NS = 5 * NS_PER_MS
"""Between two looks at a port. A refused connect on the loopback costs about 20 µs."""
LOOK_INTERVAL_NS = 20 * NS_PER_MS
"""Longest time between two looks at the namespace's other processes during a stop; the first come after 1, 2, 4… ms."""
LEAVING_NS = 1_000 * NS_PER_MS
"""For PID 1 to be gone once the kernel refuses its namespace new processes."""


class SetupError(Exception):
    """One step of a start failed; `stage` names it for the harness."""

    def __init__(self, stage: str, number: int, message: str) -> None:
        super().__init__(f"{stage}: {message}")
        self.reply = {"failed": stage, "errno": number, "message": message}


# ── The subject ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Shim:
    """One subject from start to exit. Public methods answer the request of the same name with a reply.

    `sockets`: the channel on which the harness asks for sockets, -1 for none.
    """

    def __init__(self, sockets: int) -> None:
        self.requests: list[dict[str, Any]] = []
        self.events: list[tuple[str, int, str, int | None]] = []
        self.child: int | None = None
        self.wait_status: int | None = None
        self.lost: list[str] | None = None
        self.suspected: list[str] = []
        self.fates: list[dict[str, Any]] | None = None
        self.first: dict[str, Any] | None = None
        self.exited_before_stop = False
        self._started: dict[str, Any] = {}
        self._own_group = False
        self._companions: dict[int, int | None] = {}
        self._output = Output()
        self._output_end = -1
        self._unread = b""
        self._sockets = sockets
        self._woken, wake = os.pipe()
        for end in (self._woken, wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler there is no wake-up
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._poll = select.poll()
        for end in (self._woken, REQUESTS, sockets):
            if end >= 0:
                self._poll.register(end, select.POLLIN)

    # Waiting

    @property
    def exited(self) -> bool:
        """Whether PID 1 is gone and reaped."""
        return self.wait_status is not None

    def pump(self, until_ns: int | None = None) -> None:
        """Wait for something to happen, at most until `until_ns`, and deal with it; an exit first, as it is timed."""
        timeout_ms = None if until_ns is None else max(0.0, (until_ns - time.monotonic_ns()) / NS_PER_MS)
        ready = [end for end, _ in self._poll.poll(timeout_ms)]
        if self._woken in ready:
            os.read(self._woken, 4096)
            self._reap()
        if REQUESTS in ready:
            self._take_requests()
        if self._sockets in ready:
            self._give_socket()
        if self._output_end in ready:
            self._read_output()

    def pass_time(self, until_ns: int) -> None:
        """Pump until that time or the exit, whichever comes first."""
        while not self.exited and time.monotonic_ns() < until_ns:
            self.pump(until_ns)

    def _reap(self) -> None:
        """Take the status of every child that has ended; in a process group orphans are children, too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._companions:
                self._companions[pid] = status
            if pid == self.child and not self.exited:
                # Stamped first: whatever is done before this line would be added to the shutdown duration.
                self.events.append(("exited", time.monotonic_ns(), "waitpid(2) by the waiting parent", None))
                self.wait_status = status
                if self._own_group:
                    self._end_group()

    def _take_requests(self) -> None:
        piece = os.read(REQUESTS, READ_BYTES)
        if not piece:  # the end of standard input: the harness is gone
            self.die()
        *lines, self._unread = (self._unread + piece).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if request["do"] != "kill":
                self.requests.append(request)  # answered in turn; `kill` must not wait behind a `stop` that lasts
            elif self.child is not None and not self.exited:
                self._send(signal.SIGKILL, "kill(2) by the waiting parent, asked to end it at once")

    def _give_socket(self) -> None:
        """A fresh socket, not connected: to connect takes time, and this process has none. About 50 µs."""
        import socket

        try:
            with socket.socket(fileno=os.dup(self._sockets)) as channel:
                wanted = channel.recv(1)
                try:
                    with socket.socket(socket.AF_INET6 if wanted == b"6" else socket.AF_INET) as fresh:
                        socket.send_fds(channel, [b"\0"], [fresh.fileno()])
                except BrokenPipeError:
                    raise
                except OSError as error:
                    channel.send(bytes([error.errno or errno.EIO]))
        except OSError:  # the harness has closed its end
            self._poll.unregister(self._sockets)
            os.close(self._sockets)
            self._sockets = -1

    def _read_output(self) -> bool:
        """One read; False once there is nothing more for now."""
        try:
            piece = os.read(self._output_end, READ_BYTES)
        except BlockingIOError:
            return False
        if piece:
            self._output.add(piece)
            return True
        self._poll.unregister(self._output_end)
        os.close(self._output_end)
        self._output_end = -1
        return False

    def _drain(self) -> None:
        """Read what is left once the subject is gone: at most a few pipes full, in case somebody outside writes on."""
        for _ in range(64):
            if self._output_end < 0 or not self._read_output():
                return

    # Ending

    def _send(self, number: int, source: str) -> None:
        """Signal PID 1 by its host pid, noting the time just before. SIGKILL goes to a whole process group."""
        assert self.child is not None
        at_ns = time.monotonic_ns()
        if self._own_group and number == signal.SIGKILL:
            os.killpg(self.child, number)
        else:
            os.kill(self.child, number)
        self.events.append(("signal_sent", at_ns, source, number))

    def _end_group(self) -> None:
        """Do to the rest of a process group what the kernel does to the rest of a PID namespace."""
        assert self.child is not None
        if LINUX:  # asked before they are killed: afterwards nobody could tell who had still lived
            self.lost = self._living_orphans()
        for group in (self.child, *(pid for pid, status in self._companions.items() if status is None)):
            kill_if_there(os.killpg, group)
        while LINUX and (orphans := self._orphans()):
            for pid in orphans:
                kill_if_there(os.kill, pid)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    @staticmethod
    def _orphans() -> list[int]:
        """All that the subject left behind: as a subreaper we have inherited it."""
        try:
            return kernel.descendants_of(os.getpid())
        except OSError:
            return []

    def _living_orphans(self) -> list[str] | None:
        """Who still lived when the subject had exited; as PID 1 it would have taken them with it."""
        try:
            pids = kernel.descendants_of(os.getpid())
        except OSError:
            return None
        return [label for label in map(kernel.label_of, pids) if label]

    def die(self) -> NoReturn:
        """The harness is gone or has had enough: leave nothing behind."""
        if self.child is not None and not self.exited:
            if kill_if_there(os.kill, self.child):
                # Any child: PID 1 is not gone before its whole namespace is reaped, companions included.
                while os.waitpid(-1, 0)[0] != self.child:
                    pass
            if self._own_group:
                self._end_group()
        os._exit(0)

    # Requests

    def start(self, request: dict[str, Any]) -> dict[str, Any]:
        """Start `argv` (empty: only try whether it could be) in `directory` with `environment`.

        `namespaces`, `network`: whether to make them; `ports`: must be free; `log`: pattern to look for from the start.
        """
        self._started = request
        self._own_group = not request["namespaces"]
        within_user_namespace = False
        if request["namespaces"]:
            try:
                within_user_namespace = kernel.enter_namespaces(request["network"])
            except OSError as error:
                raise SetupError("namespaces", error.errno or 0, f"{error.filename}: {error.strerror}") from error
        elif LINUX:
            kernel.adopt_orphans()
        if not request["network"]:
            for port in filter(is_taken, request["ports"]):
                raise SetupError("port", errno.EADDRINUSE, str(port))
        if request["log"] is not None:
            self._output.look_for(request["log"])
        self._output_end, output = os.pipe()
        os.set_blocking(self._output_end, False)
        trouble_end, trouble = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            become_subject(request, output, trouble)
        os.close(output)
        os.close(trouble)
        failure = trouble_of(trouble_end)
        started_ns = time.monotonic_ns()
        self._poll.register(self._output_end, select.POLLIN)
        if failure:
            os.waitpid(self.child, 0)
            self.child = None
            return failure
        self.events.append(("started", started_ns, "exec(2) in the child", None))
        return {"pid": self.child, "user_namespace": within_user_namespace}

    def wait_ready(self, request: dict[str, Any]) -> dict[str, Any]:
        """Wait until all conditions have held, then `delay_ns`. `waiting`: what did not hold within `timeout_ns`."""
        deadline_ns = time.monotonic_ns() + request["timeout_ns"]
        checks = [PortCheck(port) for port in request["tcp"]] + [PortCheck(*http) for http in request["http"]]
        while not self.exited:
            checks = [check for check in checks if not check.holds()]
            waiting = [check.name for check in checks]
            if self._output.pattern is not None and not self._output.matched:
                waiting.append(f"log line matching {self._output.pattern.text!r}")
            now_ns = time.monotonic_ns()
            if not waiting:
                self.pass_time(now_ns + request["delay_ns"])
                break
            if now_ns >= deadline_ns:
                return {"exited": False, "waiting": waiting}
            self.pump(min(deadline_ns, now_ns + READY_INTERVAL_NS) if checks else deadline_ns)
        self._reap()
        if not self.exited:
            self.events.append(("ready", time.monotonic_ns(), "readiness seen by the waiting parent", None))
        return {"exited": self.exited, "waiting": []}

    def wait_log(self, request: dict[str, Any]) -> dict[str, Any]:
        """Wait until a whole line of the output, old or new, matches `pattern`. Replies as `wait_ready`."""
        deadline_ns = time.monotonic_ns() + request["timeout_ns"]
        self._output.look_for(request["pattern"])
        while not self.exited and not self._output.matched and time.monotonic_ns() < deadline_ns:
            self.pump(deadline_ns)
        self._reap()
        waiting = [] if self._output.matched else [f"log line matching {request['pattern']!r}"]
        return {"exited": self.exited, "waiting": waiting}

    def execute(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run `argv` beside the subject; `wait_status` None: not ended within `timeout_ns`."""
        self._reap()
        if self.child is None or self.exited:
            return {"exited": True}
        deadline_ns = time.monotonic_ns() + request["timeout_ns"]
        trouble_end, trouble = os.pipe()
        try:
            pid = os.fork()
        except OSError:  # ENOMEM: PID 1 is about to leave
            os.close(trouble_end)
            os.close(trouble)
            self.pass_time(time.monotonic_ns() + LEAVING_NS)
            if self.exited:
                return {"exited": True}
            raise
        if pid == 0:
            become_companion(self._started, request["argv"], self.child, trouble)
        os.close(trouble)
        self._companions[pid] = None
        failure = trouble_of(trouble_end)
        while self._companions[pid] is None and not self.exited and time.monotonic_ns() < deadline_ns:
            self.pump(deadline_ns)
        status = self._companions.pop(pid)
        if status is None and not self.exited:
            kill_if_there(os.killpg, pid)
        # A command that ended with PID 1, by the kernel's SIGKILL or for want of its namespace, failed for that reason.
        cut_off = status is None or status == signal.SIGKILL or (failure or {}).get("failed") == "namespaces"
        if cut_off and status is not None:  # by PID 1's end, which is known only after this one's?
            self.pass_time(time.monotonic_ns() + LEAVING_NS)
        if cut_off and self.exited:
            return {"exited": True}
        return failure or {"exited": False, "wait_status": status}

    def sleep(self, request: dict[str, Any]) -> dict[str, Any]:
        """Let `duration_ns` pass, less if the subject ends."""
        self.pass_time(time.monotonic_ns() + request["duration_ns"])
        return {}

    def running(self, request: dict[str, Any]) -> dict[str, Any]:
        """Whether PID 1 still runs."""
        self._reap()
        return {"running": self.child is not None and not self.exited}

    def stop(self, request: dict[str, Any]) -> dict[str, Any]:
        """The stop path: `signal`, wait `timeout_ns`, SIGKILL. Like Docker, timeout 0 still sends the stop signal.
        `tell`: a reply of its own says when it was sent, as soon as it was."""
        # In a process group nobody is SIGKILLed because the first process exits: `_end_group` tells who still lived.
        witness = None if self._own_group or self.child is None else kernel.NamespaceWitness(self.child)
        if witness is not None:
            witness.look()
        self._reap()  # right before the signal: a stop of nothing must not look like a prompt one
        if self.exited:
            self.exited_before_stop = True
            return {}
        self._send(request["signal"], "kill(2) by the waiting parent")
        sent_ns = self.events[-1][1]
        if request["tell"]:
            give({"signalled": sent_ns})
        self._wait_and_look(sent_ns, sent_ns + request["timeout_ns"], witness)
        self._reap()  # an exit at the last moment, whose SIGCHLD was not yet read, is no SIGKILL
        if not self.exited:
            self._send(signal.SIGKILL, "kill(2) by the waiting parent")
        while not self.exited:
            self.pump()
        if witness is not None:
            self.lost, self.suspected = witness.lost(self.events[-1][1])
            self.first, self.fates = witness.first, witness.fates
        return {}

    def _wait_and_look(self, sent_ns: int, deadline_ns: int, witness: kernel.NamespaceWitness | None) -> None:
        """Wait for the exit; look at the others after 1, 2, 4… ms, then every LOOK_INTERVAL_NS."""
        pause_ns = NS_PER_MS
        while witness is not None and not self.exited:
            look_ns = time.monotonic_ns() + pause_ns
            if look_ns >= deadline_ns:
                break
            self.pass_time(look_ns)
            before_ns = time.monotonic_ns()
            witness.look()
            cost_ns = time.monotonic_ns() - before_ns
            # Never more than a twentieth of the time is spent on looking, however many processes there are.
            pause_ns = max(min(2 * pause_ns, LOOK_INTERVAL_NS), 20 * cost_ns)
        self.pass_time(deadline_ns)

    def record(self, request: dict[str, Any]) -> dict[str, Any]:
        """Everything that happened so far."""
        self._reap()
        return {
            "events": self.events,
            "wait_status": self.wait_status,
            "lost": self.lost,
            "suspected": self.suspected,
            "first": self.first,
            "fates": self.fates,
            "exited_before_stop": self.exited_before_stop,
        }

    def logs(self, request: dict[str, Any]) -> dict[str, Any]:
        """The end of the output."""
        self._drain()
        return self._output.tail()


def kill_if_there(kill: Callable[[int, int], None], pid: int) -> bool:
    """SIGKILL; False if it is gone or not ours. macOS says EPERM where only zombies are left in a group."""
    try:
        kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def give(reply: dict[str, Any]) -> None:
    """Write one reply. Raises BrokenPipeError where the harness is gone."""
    line = json.dumps(reply).encode() + b"\n"
    while line:
        line = line[os.write(REPLIES, line) :]


def main() -> NoReturn:
    """Serve requests until standard input ends. Arguments: see `ShimProcess`."""
    sockets = int(sys.argv[3])
    if sockets >= 0:
        os.set_inheritable(sockets, False)
    shim = Shim(sockets)
    names = ("start", "wait_ready", "wait_log", "execute", "sleep", "running", "stop", "record", "logs")
    answer = {name: getattr(shim, name) for name in names}
    while True:
        while not shim.requests:
            shim.pump()
        request = shim.requests.pop(0)
        try:
            reply = answer[request["do"]](request)
        except SetupError as error:
            reply = error.reply
        except OSError as error:
            reply = {"error": f"{request['do']}: {error}"}
        try:
            give(reply)
        except BrokenPipeError:
            shim.die()
