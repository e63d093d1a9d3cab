"""The engine's own record: one event stream for a whole run, sorted by container."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from typing import Any

from stop_harness import signals
from stop_harness.engines.docker import engine_api, sdk
from stop_harness.engines.docker.calls import Calls
from stop_harness.engines.docker.host import DockerHost
from stop_harness.errors import EngineError
from stop_harness.model import Clock, Event, EventKind

RELEVANT = {"kill", "die", "oom", "pause", "unpause"}
KINDS = {"oom": EventKind.OOM, "pause": EventKind.PAUSED, "unpause": EventKind.UNPAUSED}

BEGIN_LIMIT_S = 10.0
"""For the engine to begin its stream of events; it takes milliseconds."""

AGAIN_AFTER_S = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Pauses before a stream that broke is asked for again; the last one goes on being used."""


class EventStream:
    """Reads `GET /events` in a thread from before the first container starts until `close`.

    A stream that ends by itself is asked for again from where it ended: the engine keeps its last 256 events. It counts
    as `broken` all the same: from then on a missing event proves nothing. Raises EngineError where the engine does not
    begin to answer. `filters`: of the engine's API, `label` or `container`; without any, all containers are told of.
    """

    def __init__(self, host: DockerHost, **filters: str | list[str]) -> None:
        self._api = engine_api.of(host.address, host.api_version, BEGIN_LIMIT_S)
        self._filters = {"type": "container", **filters}
        self._calls = Calls(host.url, BEGIN_LIMIT_S)
        self._seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._begun_ns: dict[str, int] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._breaks = 0
        # A whole second in the past: Podman answers a fractional `since` with nothing (engines.md, part 1).
        self._since_s = int(time.time()) - 1
        self._stream = self._begin()
        self._thread = threading.Thread(target=self._read, name="engine events", daemon=True)
        self._thread.start()

    @property
    def broken(self) -> bool:
        """Whether the stream ever ended by itself."""
        return self._breaks > 0

    def of(self, container_id: str, *, until: str | None = None, patience_s: float = 0.0) -> tuple[Event, ...]:
        """The signals, pauses and OOM kills of one container, waiting up to `patience_s` for the action `until`, or
        until the stream breaks."""
        with self._changed:
            breaks = self._breaks
            self._changed.wait_for(lambda: self._breaks != breaks or self._has(container_id, until), timeout=patience_s)
            raw = list(self._seen.get(container_id, ()))
        return tuple(event for item in raw if (event := _event(item)) is not None)

    def next_of(
        self, container_id: str, kind: EventKind, signal: int | None, known: tuple[Event, ...], patience_s: float
    ) -> Event | None:
        """The first event of this kind, and signal, that is not among those that were known, as soon as it is told."""

        def told() -> Event | None:
            found = (_event(item) for item in self._seen.get(container_id, ()))
            return next((it for it in found if it and (it.kind, it.signal) == (kind, signal) and it not in known), None)

        with self._changed:
            breaks = self._breaks
            over = self._changed.wait_for(
                lambda: told() or self._breaks != breaks or self._has(container_id, "die"), timeout=patience_s
            )
            return told() if over else None

    def died(self, container_id: str) -> bool:
        """Whether the exit of a container is on record."""
        with self._changed:
            return self._has(container_id, "die")

    def exit_of(self, container_id: str) -> tuple[int, int] | None:
        """Exit code and time, in ns by the engine's clock, of its exit on record; the time is up to 330 ms late. None:
        no exit is."""
        with self._changed:
            for item in self._seen.get(container_id, ()):
                code = str((item["Actor"].get("Attributes") or {}).get("exitCode", ""))
                if item.get("Action") == "die" and code.isdecimal():
                    return int(code), int(item["timeNano"])
        return None

    def begin_at(self, container_id: str, at_ns: int) -> None:
        """Leave out what is told of a container before that time: it ran then for an earlier time, and ended."""
        with self._changed:
            self._begun_ns[container_id] = at_ns
            self._seen[container_id] = [item for item in self._seen[container_id] if item["timeNano"] >= at_ns]

    def forget(self, container_id: str) -> None:
        """Drop what was kept of a container that is dealt with."""
        with self._changed:
            self._seen.pop(container_id, None)

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._closing.set()
        try:  # noqa: SIM105 # `suppress` would load the SDK, here and below
            self._stream.close()
        except sdk.READING_ERRORS:  # the other side has closed it already: the SDK trips over its own missing socket
            pass
        self._thread.join(timeout=2)
        self._api.close()

    def _has(self, container_id: str, action: str | None) -> bool:
        return action is None or any(item.get("Action") == action for item in self._seen.get(container_id, ()))

    def _begin(self) -> Any:
        try:
            return self._calls.run("GET /events", self._api.events_since, self._since_s, self._filters)
        except sdk.errors.APIError as error:
            raise EngineError(f"GET /events answered with status {error.status_code}") from None

    def _read(self) -> None:
        """Until `close`: a stream that breaks and one that ends mean the same, and are begun again."""
        failures = 0
        while True:
            try:
                for item in self._stream:
                    failures = 0
                    self._keep(item)
            except sdk.READING_ERRORS:
                pass
            with self._changed:
                self._breaks += not self._closing.is_set()
                self._changed.notify_all()
            while not self._closing.wait(AGAIN_AFTER_S[min(failures, len(AGAIN_AFTER_S) - 1)]):
                failures += 1
                try:
                    self._stream = self._begin()
                    break
                except (EngineError, *sdk.READING_ERRORS):
                    continue
            else:
                return

    def _keep(self, item: Any) -> None:
        """An event that is about a container's end; anything else, also what is no event, is passed over."""
        if not isinstance(item, dict) or item.get("Action") not in RELEVANT:
            return
        actor, at_ns = item.get("Actor"), item.get("timeNano")
        if not isinstance(actor, dict) or not isinstance(actor.get("ID"), str) or not isinstance(at_ns, int):
            return
        with self._changed:
            self._since_s = max(self._since_s, at_ns // 1_000_000_000 - 1)
            old = at_ns < self._begun_ns.get(actor["ID"], 0)
            if not old and item not in self._seen[actor["ID"]]:  # a stream that was begun again tells some twice
                self._seen[actor["ID"]].append(item)
                self._changed.notify_all()


def _event(item: dict[str, Any]) -> Event | None:
    """A raw engine event as a timeline event; None for a kill without its signal (Podman's)."""
    action, at_ns = item["Action"], int(item["timeNano"])
    if action in KINDS:
        return Event(KINDS[action], at_ns, Clock.ENGINE, f"{action} event")
    if action == "die":
        return None  # logged after the clean-up, 20 to 300 ms late; `State.FinishedAt` is the exit
    attributes = item["Actor"].get("Attributes")
    with contextlib.suppress(ValueError):
        if isinstance(attributes, dict) and attributes.get("signal") is not None:
            return Event(EventKind.SIGNAL_SENT, at_ns, Clock.ENGINE, "kill event", signals.number(attributes["signal"]))
    return None
