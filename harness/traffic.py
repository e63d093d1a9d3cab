"""Requests in flight while the stop happens, and what became of each."""

from __future__ import annotations

from harness.engines.interface import RunningSubject
from harness.model import Request, TrafficClient, Vantage


class Flow:
    """The traffic of one trial: begin, mark the stop, end; then `requests` and `vantage` are known."""

    def __init__(self, clients: tuple[TrafficClient, ...], subject: RunningSubject) -> None:
        self._clients, self._subject = clients, subject
        self.requests: tuple[Request, ...] | None = None
        self.vantage: Vantage | None = None

    def begin(self) -> None:
        """Start every client and return when all have in flight what is to be in flight at the stop."""

    def mark_stop(self) -> None:
        """The stop call is about to be made: time zero of every request."""

    def end(self) -> None:
        """The subject is gone: wait for the clients to notice and collect what they saw."""
