"""The engine's own record: one event stream for a whole run, sorted by container."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from typing import Any

import docker
import requests

from harness import signals
from harness.engines.docker_host import DockerHost
from harness.model import Clock, Event, EventKind

RELEVANT = {"kill", "die", "oom"}


class EventStream:
    """Reads `GET /events` in a thread from before the first container starts until `close`.

    `broken` turns True when the stream ends by itself: from then on a missing event proves nothing.
    """

    def __init__(self, host: DockerHost, label: str) -> None:
        self._client = host.connect().api
        self._seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._changed = threading.Condition()
        self._closing = False
        self.broken = False
        # A whole second in the past: Podman answers a fractional `since` with nothing (engines.md, part 1).
        self._stream = self._client.events(
            since=int(time.time()) - 1, filters={"type": "container", "label": label}, decode=True
        )
        self._thread = threading.Thread(target=self._read, name="engine events", daemon=True)
        self._thread.start()

    def of(self, container_id: str, *, until: str | None = None, patience_s: float = 0.0) -> tuple[Event, ...]:
        """The signals, OOM kills and exit of one container, waiting up to `patience_s` for the action `until`."""
        with self._changed:
            self._changed.wait_for(lambda: self.broken or self._has(container_id, until), timeout=patience_s)
            raw = list(self._seen.get(container_id, ()))
        return tuple(event for item in raw if (event := _event(item)) is not None)

    def died(self, container_id: str) -> bool:
        """Whether the exit of a container is on record."""
        with self._changed:
            return self._has(container_id, "die")

    def forget(self, container_id: str) -> None:
        """Drop what was kept of a container that is dealt with."""
        with self._changed:
            self._seen.pop(container_id, None)

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._closing = True
        # The other side may have closed it already; the SDK then trips over its own missing socket.
        with contextlib.suppress(AttributeError, OSError, docker.errors.DockerException):
            self._stream.close()
        self._thread.join(timeout=2)
        self._client.close()

    def _has(self, container_id: str, action: str | None) -> bool:
        return action is None or any(item.get("Action") == action for item in self._seen.get(container_id, ()))

    def _read(self) -> None:
        try:
            for item in self._stream:
                if item.get("Action") in RELEVANT:
                    with self._changed:
                        self._seen[item["Actor"]["ID"]].append(item)
                        self._changed.notify_all()
        except (docker.errors.DockerException, requests.RequestException, OSError, ValueError, AttributeError):
            pass  # a stream that breaks and one that ends mean the same: nothing more will come
        finally:
            with self._changed:
                self.broken = not self._closing
                self._changed.notify_all()


def _event(item: dict[str, Any]) -> Event | None:
    """A raw engine event as a timeline event; None for a kill without its signal (Podman's)."""
    action, at_ns = item["Action"], int(item["timeNano"])
    if action == "oom":
        return Event(EventKind.OOM, at_ns, Clock.ENGINE, "oom event")
    if action == "die":
        return None  # logged after the clean-up, 20 to 300 ms late; `State.FinishedAt` is the exit
    number = item["Actor"].get("Attributes", {}).get("signal")
    if number is None:
        return None
    return Event(EventKind.SIGNAL_SENT, at_ns, Clock.ENGINE, "kill event", signals.number(number))
