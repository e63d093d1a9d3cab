"""The harness's end of one helper process: start it, ask it, and leave nothing of it behind."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import os
import platform
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stop_harness.engines.process.connect import NamespaceSockets
from stop_harness.engines.process.shim import kernel
from stop_harness.errors import EngineError
from stop_harness.model import NS_PER_MS, NS_PER_S

SHIM_START = "import sys; sys.path += sys.argv[1].split(':'); from shim import main; main.main()"
"""Imported rather than run as a file, so that Python takes the compiled code from its cache: 10 ms less."""

REPLY_PATIENCE_NS = 60 * NS_PER_S
"""How much later than due a reply may come before the helper counts as stuck; the machine may be loaded."""

CLOSE_PATIENCE_S = 10
"""For the helper to end after its input did; it then only has to SIGKILL and reap."""


@dataclass(frozen=True)
class NamespaceProbe:
    """What the kernel gives. `user_namespace`: only by way of one. `reason`: why no PID namespace, None if there is."""

    pid_namespace: bool
    user_namespace: bool
    network_namespace: bool
    reason: str | None = None


def probe(python: str = sys.executable) -> NamespaceProbe:
    """Try it: 20 to 40 ms. Nothing is left behind."""
    if sys.platform != "linux":
        return NamespaceProbe(False, False, False, f"{platform.system()} has no PID namespaces")
    reason = "unknown"
    for network in (True, False):
        shim = ShimProcess("probe", python)
        try:
            reply = shim.ask(start_request(argv=(), namespaces=True, network=network))
        finally:
            shim.close()
        if "pid" in reply:
            return NamespaceProbe(True, bool(reply["user_namespace"]), network)
        reason = str(reply["message"])
    return NamespaceProbe(False, False, False, f"the kernel refuses namespaces: {reason}")


class ShimProcess:
    """One helper process. Threads that ask take turns; `tell`, `process_rows` and `sockets` wait for nobody.

    `own_network`: the helper will have a network namespace, so `sockets` are to be had from it.
    """

    def __init__(self, label: str, python: str, *, own_network: bool = False) -> None:
        self.sockets = NamespaceSockets() if own_network else None
        far_end = self.sockets.far_end.fileno() if self.sockets else -1
        command = [python, "-IS", "-c", SHIM_START, _module_path(), f"stop-harness:{label}", str(far_end)]
        pipe = subprocess.PIPE
        try:
            # A session of its own: Ctrl-C at the terminal must not hit it.
            self._process = subprocess.Popen(  # nosec B603 # words, no shell
                command,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                bufsize=0,
                start_new_session=True,
                pass_fds=(far_end,) if self.sockets else (),
            )
        except OSError as error:
            if self.sockets:
                self.sockets.close()
            raise EngineError(f"the process engine's helper does not start: {error}") from error
        if self.sockets:
            self.sockets.far_end.close()  # so that the helper's end of it ends with the helper
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._replies, select.POLLIN)
        self._unread = b""
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._closed = False
        self._subject: int | None = None
        self._subject_pidfd: int | None = None

    def tell(self, request: dict[str, Any]) -> None:
        """Send without waiting for a reply; nothing happens if the helper is gone."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            line = b"" if self._closed else json.dumps(request).encode() + b"\n"
            while line:
                line = line[self._requests.write(line) or 0 :]

    def ask(
        self, request: dict[str, Any], takes_ns: int = 0, signalled: Callable[[int], None] | None = None
    ) -> dict[str, Any]:
        """Send and return the reply, due after `takes_ns`. `signalled`: of a stop that is to `tell`, called with the
        monotonic time of its signal. Raises EngineError if the helper fails or is stuck."""
        with self._asking:
            self.tell(request)
            deadline_ns = time.monotonic_ns() + takes_ns + REPLY_PATIENCE_NS
            reply: dict[str, Any] = json.loads(self._line(deadline_ns, request))
            if signalled is not None and "signalled" in reply:
                signalled(reply["signalled"])
                reply = json.loads(self._line(deadline_ns, request))
        if "error" in reply:
            raise EngineError(f"the process engine failed: {reply['error']}")
        self._watch(reply.get("pid"))
        return reply

    def _line(self, deadline_ns: int, request: dict[str, Any]) -> bytes:
        while b"\n" not in self._unread:
            left_ms = (deadline_ns - time.monotonic_ns()) / NS_PER_MS
            if left_ms <= 0 or self._closed or not self._poll.poll(left_ms):
                self._process.kill()
                raise EngineError(f"the process engine's helper did not answer {request['do']!r} in time")
            piece = os.read(self._replies.fileno(), 65536)
            if not piece:
                raise EngineError(f"the process engine's helper died: {self._last_words()}")
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def process_rows(self) -> list[dict[str, Any]] | None:
        """The subject's process table, read here so that it can be had during a stop and costs the helper nothing."""
        if sys.platform != "linux" or self._subject is None:
            return None
        return kernel.process_table(self._subject, self._process.pid)

    @property
    def subject(self) -> int | None:
        """Its pid here; None before it was started."""
        return self._subject

    def _watch(self, pid: int | None) -> None:
        """Keep hold of a subject for the case that somebody kills the helper alone.

        The kernel then kills the subject (PDEATHSIG), unless it has changed its user id meanwhile: prctl(2).
        """
        if pid is not None:
            self._subject = pid
            if hasattr(os, "pidfd_open"):
                with contextlib.suppress(OSError):
                    self._subject_pidfd = os.pidfd_open(pid)

    def _last_words(self) -> str:
        assert self._process.stderr is not None
        code = self._process.wait(CLOSE_PATIENCE_S)
        text = self._process.stderr.read().decode(errors="replace").strip()
        return text.splitlines()[-1] if text else f"exit status {code}"

    def close(self) -> None:
        """End the helper, which kills and reaps the subject. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._requests.close()
        try:
            self._process.wait(CLOSE_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._subject_pidfd is not None:
            if self._process.returncode != 0:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(self._subject_pidfd, signal.SIGKILL)
            os.close(self._subject_pidfd)
        if self.sockets:
            self.sockets.close()
        for end in (self._process.stdout, self._process.stderr):
            if end is not None:
                end.close()


@cache
def _module_path() -> str:
    """Where the helper finds its modules and re2; `-IS` keeps it from everything else that is installed."""
    re2 = importlib.util.find_spec("re2")
    here = Path(__file__).parent
    folders = [here, here.parents[1]]  # the folder `shim`, and the root of the package, where `log_pattern` is
    if re2 is not None and re2.origin is not None:  # only a log pattern needs it
        folders.append(Path(re2.origin).parents[1])
    return ":".join(map(str, folders))


def start_request(
    *,
    argv: tuple[str, ...],
    namespaces: bool,
    network: bool,
    directory: str = "/",
    environment: tuple[tuple[str, str], ...] = (),
    ports: tuple[int, ...] = (),
    log: str | None = None,
    program: bytes | None = None,
) -> dict[str, Any]:
    """A start, see `Shim.start`. An empty `argv` only tries whether namespaces are to be had. `program`: the
    executable itself, where `argv` names no file."""
    return {
        "do": "start",
        "argv": argv,
        "namespaces": namespaces,
        "network": network,
        "directory": directory,
        "environment": environment,
        "ports": ports,
        "log": log,
        "program": None if program is None else base64.b64encode(program).decode(),
    }
