"""Messages with an id each, and which of them were acknowledged: a publisher that counts."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import replace

from stop_harness.model import MESSAGE_ID, MessageCount, TrafficClient

MOST_MESSAGES = 100_000
"""Of one client; the ids of all have to be looked for afterwards."""


def series() -> str:
    """Begins the ids of one trial, so that no other trial's messages are taken for its own where a file outlasts it."""
    return secrets.token_hex(4)


class Outbox:
    """The messages of one client. `sent`: how many were begun. `acknowledged`: the ids of those that were answered with
    a status from 200 to 299, with the moment of the answer (monotonic, ns)."""

    def __init__(self, spec: TrafficClient, series: str, client: int) -> None:
        self._spec, self._series, self._client = spec, series, client
        self.sent = 0
        self.acknowledged: list[tuple[str, int]] = []
        self._latest = ""

    @property
    def full(self) -> bool:
        """Whether there were enough."""
        return self.sent >= MOST_MESSAGES

    def next(self) -> TrafficClient:
        """What is to be sent, with a new id in its body and its path. All ids have one length, so that none begins
        another."""
        self.sent += 1
        self._latest = f"{self._series}-{self._client:04d}-{self.sent:07d}"
        body = None if self._spec.body is None else self._spec.body.replace(MESSAGE_ID, self._latest.encode())
        return replace(self._spec, body=body, path=self._spec.path.replace(MESSAGE_ID.decode(), self._latest))

    def answered(self, status: int | None) -> bool:
        """Whether this answer to the latest message acknowledges it."""
        acknowledged = status is not None and 200 <= status < 300
        if acknowledged:
            self.acknowledged.append((self._latest, time.monotonic_ns()))
        return acknowledged


def count(boxes: Iterable[Outbox], stop_ns: int | None) -> MessageCount | None:
    """What all clients together sent; None where there are none. `stop_ns`: the stop call, None: it never came."""
    known = tuple(boxes)
    if not known:
        return None
    moments = [moment for box in known for _, moment in box.acknowledged]
    late = 0 if stop_ns is None else sum(moment > stop_ns for moment in moments)
    return MessageCount(sum(box.sent for box in known), len(moments), late)
