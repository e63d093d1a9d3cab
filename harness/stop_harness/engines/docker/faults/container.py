"""The faults of one container: made in it, and the moments that they hang on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from stop_harness import signals
from stop_harness.engines.docker import sdk
from stop_harness.engines.docker.calls import Calls
from stop_harness.engines.docker.container import ContainerLife
from stop_harness.engines.docker.events import EventStream
from stop_harness.engines.docker.faults import making
from stop_harness.engines.docker.faults.scene import FaultedContainer, FaultScene
from stop_harness.engines.docker.faults.stop_call import CuttableStop
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.interface import Applied, Held
from stop_harness.log_pattern import LogPattern
from stop_harness.model import NS_PER_S, Event, EventKind, Fault, FaultAction, Trial

LOOK_S = 0.002
"""Between two looks whether a line was written."""

LONGEST_LINE_BYTES = 64 * 1024


class ContainerFaults:
    """`events`: what the engine has on record of the faults so far."""

    def __init__(
        self,
        subject: FaultedContainer,
        host: DockerHost,
        *,
        api: Any,
        calls: Calls,
        events: EventStream,
        life: ContainerLife,
        trial: Trial,
    ) -> None:
        self._host, self._api, self._events, self._subject = host, api, events, subject
        self._known: tuple[Event, ...] = ()
        self._applied: list[Applied] = []
        cuts = any(fault.action is FaultAction.CLIENT_GONE for fault in trial.scenario.faults)
        stop_call = CuttableStop(host, life.wait) if cuts else None
        if stop_call is not None:
            life.stop_by = stop_call.call
        self._scene = FaultScene(
            subject.container_id,
            host,
            api,
            calls,
            events,
            subject.pid_one,
            subject,
            life,
            stop_call,
            stop_timeout_s=trial.stop_timeout_ns // NS_PER_S,
        )

    @property
    def events(self) -> tuple[Event, ...]:
        """In no order."""
        return tuple(event for applied in self._applied for event in applied.events)

    def hold(self, fault: Fault) -> Held | None:
        """A container of ours beside it takes a while to start, and waits then."""
        held = making.hold(self._scene, fault)
        return None if held is None else Held(lambda: self._made(held.release()), held.drop)

    def about_to_stop(self) -> None:
        """By the engine's events so far."""
        self._known = self._events.of(self._subject.container_id)

    def apply(self, fault: Fault) -> Applied:
        """Make it in this container."""
        return self._made(making.make(self._scene, fault))

    def _made(self, applied: Applied) -> Applied:
        self._applied.append(applied)
        return applied

    def wait_signalled(self, timeout_s: float) -> int | None:
        """By the engine's `kill` event. Its stamp is of our clock on this machine; else its arrival counts."""
        if not self._host.info.observes_sigkill:
            return None
        signal = self._subject.stop_signal or signals.SIGTERM
        known = (*self._known, *self.events)
        told = self._events.next_of(self._subject.container_id, EventKind.SIGNAL_SENT, signal, known, timeout_s)
        if told is None:
            return None
        return told.at_ns if self._host.same_kernel else time.time_ns()

    def listen(self, pattern: str) -> Callable[[threading.Event], bool]:
        """By the container's log: from now on where the engine's clock is ours, else from where its log ends when the
        engine is asked."""
        wanted, found = LogPattern(pattern), threading.Event()
        start: dict[str, Any] = {"since": time.time()} if self._host.same_kernel else {"tail": 0}
        call = partial(self._api.logs, self._subject.container_id, stream=True, follow=True, **start)
        stream = self._scene.ask("the log", call)
        threading.Thread(target=_read, args=(stream, wanted, found), name="log of a fault", daemon=True).start()

        def written(over: threading.Event) -> bool:
            try:
                while not found.is_set():
                    if over.wait(LOOK_S):
                        return found.is_set()
                return True
            finally:
                stream.close()

        return written

    def start_others_again(self) -> None:
        """A container knows of no others; see `GroupFaults`."""


def _read(stream: Any, wanted: LogPattern, found: threading.Event) -> None:
    """Set `found` when a whole line matches; end with the stream."""
    rest = b""
    try:
        for chunk in stream:
            lines, newline, tail = chunk.rpartition(b"\n")
            if newline and wanted.found_in(rest + lines):
                found.set()
                return
            rest = tail if newline else (rest + tail)[-LONGEST_LINE_BYTES:]
    except sdk.READING_ERRORS:
        return
