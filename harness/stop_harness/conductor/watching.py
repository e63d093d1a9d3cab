"""`watch`: an engine is opened, its containers' ends are judged one by one, and handed on."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess  # nosec B404
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stop_harness.errors import UsageError

if TYPE_CHECKING:
    from stop_harness.engines.docker.watching import EngineWatch
    from stop_harness.evidence.watched_end import StopCall
    from stop_harness.report.watched import JudgedEnd

EXEC_LIMIT_S = 60
"""For one run of the command of `--exec`."""
EXEC_PATIENCE_S = 10.0
"""At the end, for those that are not done."""
MOST_WAITING = 1000
"""Bad stops whose command is yet to come: one that hangs must not fill the memory."""


@contextmanager
def opened(labels: Sequence[str], note: Callable[[str], None]) -> Iterator[EngineWatch]:
    """The engine that `DOCKER_HOST` or a docker context names, else the first that answers; nothing is missed from
    here on. Raises EngineError, and UsageError for Podman."""
    from stop_harness.engines.docker import host
    from stop_harness.engines.docker.watching import EngineWatch

    watch = EngineWatch(host.find(), labels, note)
    try:
        yield watch
    finally:
        watch.close()


def judged_ends(watch: EngineWatch) -> Iterator[JudgedEnd]:
    """Each end, judged, until `watch.finish` is called."""
    from stop_harness.report import watched

    for end in watch.ends():
        yield watched.judged(end)


class WatchedCommand:
    """A command whose stops are told from all others, because it speaks to the engine through a socket of ours.

    It runs from the making of this on; when it has ended, so does the watch. `to_stderr`: its standard output goes
    there. Raises EngineError, and UsageError for a command that cannot be run.
    """

    def __init__(self, watch: EngineWatch, command: Sequence[str], *, to_stderr: bool) -> None:
        from stop_harness.engines.docker.forwarding import ForwardingSocket

        self._watch, self._asked_ns = watch, dict[str, int]()
        self._calls: dict[str, tuple[StopCall, ...]] = {}
        watch.calls_of = lambda container_id: self._calls.get(container_id, ())
        self._socket = ForwardingSocket(watch.host, self._ask)
        try:
            self._process = subprocess.Popen(  # nosec B603 # the user's own command; words, no shell
                list(command), env=self._socket.environment(), stdout=2 if to_stderr else None
            )
        except OSError as error:
            self._socket.close()
            raise UsageError(f"{command[0]}: {error.strerror}; the command is run without a shell") from None
        threading.Thread(target=self._wait, name="command", daemon=True).start()

    def asked_for(self, container_id: str, at_ns: int | None = None) -> bool:
        """Whether the command had asked for the end of a container, by that time (None: so far)."""
        asked_ns = self._asked_ns.get(container_id)
        return asked_ns is not None and (at_ns is None or at_ns >= asked_ns)

    def pass_on(self, number: int) -> None:
        """Send it a signal that we were sent."""
        with contextlib.suppress(OSError):
            self._process.send_signal(number)

    def close(self) -> int:
        """Its exit code; negative where a signal ended it. It is killed if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        code = self._process.wait()
        self._socket.close()
        return code

    def _ask(self, name: str, call: StopCall | None) -> None:
        from stop_harness.engines.docker import plain_api

        # The engine is asked who that is: what it has told of names, and of new containers, may be unread yet.
        container_id = plain_api.id_of(self._watch.host, name)
        if container_id is None:
            return
        self._asked_ns.setdefault(container_id, time.time_ns())
        if call is not None:
            self._calls[container_id] = (*self._calls.get(container_id, ()), call)

    def _wait(self) -> None:
        self._process.wait()
        self._watch.finish()


def check_labels(labels: Sequence[str]) -> None:
    """Raise UsageError for what is no `KEY` or `KEY=VALUE`."""
    for label in labels:
        if not label.partition("=")[0].strip():
            raise UsageError(f"--label {label!r}: a key is needed, KEY=VALUE or KEY alone")


class BadStopCommand:
    """Runs a shell command for each bad stop, one at a time, in a thread of its own. It gets the stop as JSON on its
    standard input. `note` is called with what went wrong."""

    def __init__(self, command: str, note: Callable[[str], None]) -> None:
        self._command, self._note = command, note
        self._waiting: queue.Queue[str | None] = queue.Queue(maxsize=MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="exec", daemon=True)
        self._thread.start()

    def run(self, document: str) -> None:
        """Have it run for one stop."""
        try:
            self._waiting.put_nowait(document)
        except queue.Full:
            self._note(f"--exec: {MOST_WAITING} stops wait for `{self._command}`; one more is left out")

    def close(self) -> None:
        """Wait for what is under way, though not for ever."""
        try:
            self._waiting.put(None, timeout=EXEC_PATIENCE_S)
        except queue.Full:
            return
        self._thread.join(EXEC_PATIENCE_S)
        if self._thread.is_alive():
            self._note(f"--exec: `{self._command}` had not ended after {EXEC_PATIENCE_S:g} s, and is left alone")

    def _work(self) -> None:
        while (document := self._waiting.get()) is not None:
            try:
                done = subprocess.run(  # nosec B603 # the user's own command, in the shell that users expect
                    ["/bin/sh", "-c", self._command],
                    input=document.encode() + b"\n",
                    timeout=EXEC_LIMIT_S,
                    env=dict(os.environ),
                    check=False,
                )
            except subprocess.TimeoutExpired:
                self._note(f"--exec: `{self._command}` had not ended after {EXEC_LIMIT_S} s and was killed")
            except OSError as error:
                self._note(f"--exec: `{self._command}`: {error.strerror}")
            else:
                if done.returncode:
                    self._note(f"--exec: `{self._command}` ended with {done.returncode}")
