"""The engine's events of containers, as they come, without a gap that is not told.

The engine keeps its last 256 events in memory. A stream that breaks is asked for again from where it ended: where its
last event is among those that are told again, nothing was missed. An engine that was restarted has forgotten them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from selectors import EVENT_READ, BaseSelector
from typing import Any

from stop_harness import signals
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.line_stream import LineStream
from stop_harness.engines.docker.plain_api import PlainApi
from stop_harness.errors import EngineError
from stop_harness.model import NS_PER_S

ACTIONS = ("start", "kill", "die", "stop", "oom", "pause", "unpause", "rename", "destroy")
BEGIN_LIMIT_S = 60.0
"""For an engine to begin its answer; a busy one was seen to take 5 s."""
AGAIN_AFTER_S = (0.1, 0.5, 1.0, 2.0)
"""Pauses before a stream that broke is asked for again; the last one goes on being used."""
FIRST_EVENT_S = 1.0
"""For what the engine tells again when a stream was begun again."""
MOST_REMEMBERED = 512
"""Twice what the engine can tell again."""


@dataclass(frozen=True)
class EngineEvent:
    """One event. `at_ns`: timeNano. `signal`: of `kill`. `exit_code`: of `die`. `name` and `image`: the container's."""

    action: str
    container_id: str
    at_ns: int
    name: str
    image: str
    signal: int | None = None
    exit_code: int | None = None


@dataclass(frozen=True)
class StreamBroken:
    """From now on nothing is told. `reason`: for people."""

    reason: str


@dataclass(frozen=True)
class StreamResumed:
    """Events come again. `missed`: those between may be missing. `silent_ns`: how long nobody listened."""

    missed: bool
    silent_ns: int


class EventReader:
    """Listens from its making to `close`. Raises EngineError where the engine does not begin to answer.

    `selector`: of the thread that calls `take`; what may have something is registered there, with `heard`. `labels`:
    only containers that have all of them. A thread of its own works only while a stream that broke is asked for again.
    """

    def __init__(
        self, host: DockerHost, selector: BaseSelector, heard: Callable[[], None], labels: Sequence[str] = ()
    ) -> None:
        self._host, self._labels, self._selector, self._heard = host, tuple(labels), selector, heard
        self._known: deque[tuple[int, str, str]] = deque(maxlen=MOST_REMEMBERED)
        self._newest_ns = 0
        self._closing = threading.Event()
        self._again: _BegunAgain | None = None
        self._resting = False
        self._begun_ns = time.time_ns()
        # Docker begins its answer before it listens (moby, getEvents): what happens between is told again. An engine
        # elsewhere has a clock of its own, and Podman answers a fraction of a second with nothing.
        told_again = host.same_kernel and not host.podman
        self._stream: LineStream | None = self._begin(since_ns=self._begun_ns if told_again else None)
        selector.register(self._stream.fileno(), EVENT_READ, heard)

    def take(self) -> list[EngineEvent | StreamBroken | StreamResumed]:
        """What has come since the last call."""
        found: list[EngineEvent | StreamBroken | StreamResumed] = []
        if self._again is not None and self._stream is None:
            self._resume(self._again, found)
        if self._stream is not None:
            self._keep(self._stream.take(), found)
            if self._stream.broken is not None:
                self._break(self._stream, found)
        return found

    def rest(self, *, more: bool) -> bool:
        """With `more`, do not wake anybody until `take` and this were called again, and return True."""
        if self._stream is None:
            return False
        if more and not self._resting:
            self._selector.unregister(self._stream.fileno())
        elif self._resting and not more:
            self._selector.register(self._stream.fileno(), EVENT_READ, self._heard)
        self._resting = more
        return more

    def close(self) -> None:
        """End it. Idempotent."""
        if self._closing.is_set():
            return
        self._closing.set()
        if self._stream is not None:
            self.rest(more=True)
            self._stream.close()
        elif self._again is not None:
            self._selector.unregister(self._again.fileno())
            self._again.close()

    def _begin(self, *, since_ns: int | None) -> LineStream:
        filters = {"type": ["container"], "event": list(ACTIONS), "label": list(self._labels)}
        query = {"filters": json.dumps({key: value for key, value in filters.items() if value})}
        if since_ns is not None:
            query["since"] = f"{since_ns // NS_PER_S}.{since_ns % NS_PER_S:09d}"
        return PlainApi(self._host, timeout_s=BEGIN_LIMIT_S).stream("/events", **query)

    def _break(self, stream: LineStream, found: list[EngineEvent | StreamBroken | StreamResumed]) -> None:
        found.append(StreamBroken(stream.broken or ""))
        self.rest(more=True)
        stream.close()
        self._stream, self._resting = None, False
        since_ns = self._known[-1][0] if self._known else self._begun_ns
        self._again = _BegunAgain(lambda: self._begin(since_ns=since_ns), self._closing)
        self._selector.register(self._again.fileno(), EVENT_READ, self._heard)

    def _resume(self, again: _BegunAgain, found: list[EngineEvent | StreamBroken | StreamResumed]) -> None:
        """Whether the last event is told again. Where there was none before, or an engine that is as quiet now tells
        nothing, it cannot be known."""
        self._selector.unregister(again.fileno())
        self._again = None
        again.close()
        if again.stream is None:
            return
        first = _event(again.first[0]) if again.first else None
        seen = first is not None and bool(self._known) and _mark(first) == self._known[-1]
        found.append(StreamResumed(missed=not seen, silent_ns=time.monotonic_ns() - again.broke_ns))
        self._stream = again.stream
        self._keep(again.first, found)
        self._selector.register(self._stream.fileno(), EVENT_READ, self._heard)

    def _keep(self, lines: list[bytes], found: list[EngineEvent | StreamBroken | StreamResumed]) -> None:
        for event in map(_event, lines):
            if event is None:
                continue
            mark = _mark(event)
            # A stream that was begun again tells some twice, and the times of any two may stand in either order.
            if event.at_ns <= self._newest_ns and mark in self._known:
                continue
            self._newest_ns = max(self._newest_ns, event.at_ns)
            self._known.append(mark)
            found.append(event)


class _BegunAgain:
    """Asks for a stream again, in a thread, until there is one or `closing` is set. `fileno` is readable then.

    `first`: the lines that it began with, for which it is waited a little.
    """

    def __init__(self, begin: Callable[[], LineStream], closing: threading.Event) -> None:
        self._begin, self._closing = begin, closing
        self.broke_ns = time.monotonic_ns()
        self.stream: LineStream | None = None
        self.first: list[bytes] = []
        self._read, self._write = os.pipe()
        self._thread = threading.Thread(target=self._work, name="engine events again", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """For poll(2)."""
        return self._read

    def close(self) -> None:
        """Wait for the thread, though not for an engine that accepts and says nothing."""
        self._thread.join(timeout=2)
        if not self._thread.is_alive():
            os.close(self._read)

    def _work(self) -> None:
        try:
            failures = 0
            while not self._closing.wait(AGAIN_AFTER_S[min(failures, len(AGAIN_AFTER_S) - 1)]):
                failures += 1
                with contextlib.suppress(EngineError):
                    stream = self._begin()
                    self.first = _awaited(stream)
                    self.stream = stream
                    break
            if self._closing.is_set() and self.stream is not None:
                self.stream.close()
        finally:
            os.close(self._write)  # the other end is readable now


def _awaited(stream: LineStream) -> list[bytes]:
    """The lines that a stream begins with; none where nothing comes in time."""
    deadline = time.monotonic() + FIRST_EVENT_S
    while not (lines := stream.take()) and stream.broken is None:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([stream], [], [], left_s)[0]:
            break
    return lines


def _mark(event: EngineEvent) -> tuple[int, str, str]:
    return event.at_ns, event.container_id, event.action


def _event(line: bytes) -> EngineEvent | None:
    """An event that is about a container; None for anything else, also for what is no event."""
    try:
        item: Any = json.loads(line)
        action, at_ns, actor = item["Action"], item["timeNano"], item["Actor"]
        attributes = actor.get("Attributes") or {}
        number = attributes.get("signal")
        code = attributes.get("exitCode")
        if action not in ACTIONS or not isinstance(at_ns, int):
            return None
        return EngineEvent(
            action=str(action),
            container_id=str(actor["ID"]),
            at_ns=at_ns,
            name=str(attributes.get("name") or ""),
            image=str(attributes.get("image") or ""),
            signal=signals.number(str(number)) if action == "kill" and number is not None else None,
            exit_code=int(code) if action == "die" and code is not None else None,
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
