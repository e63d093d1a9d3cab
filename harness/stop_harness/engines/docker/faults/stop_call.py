"""A stop call on a connection of its own, which can be cut while the engine goes on with the stop."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

from stop_harness.engines.docker import sdk
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.http_connection import connected
from stop_harness.engines.interface import FaultNotApplied

SENT_S = 5.0
"""For the stop call to be on its way, where it is to be cut at once."""


class CuttableStop:
    """`wait`: returns when the container has ended."""

    def __init__(self, host: DockerHost, wait: Callable[[], None]) -> None:
        self._host, self._wait = host, wait
        self._sent = threading.Event()
        self._connection: socket.socket | None = None
        self._cut = False

    def call(self, _api: Any, container_id: str, stop_timeout_s: int, timeout_s: float | None) -> bool:
        """As `reading.stop`, and with the same errors; once it is cut it returns when the container has ended."""
        connection = http.client.HTTPConnection("docker")
        connection.sock = self._connection = connected(self._host.address, timeout_s)
        try:
            path = f"/v{self._host.api_version}/containers/{container_id}/stop?t={stop_timeout_s}"
            connection.request("POST", path, headers={"Content-Length": "0"})
            self._sent.set()
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            if not self._cut:
                raise
            self._wait()
            return True
        finally:
            self._connection = None
            connection.close()
        if answer.status >= 400:
            with contextlib.suppress(ValueError, AttributeError):
                said = json.loads(said).get("message", "")
            kind = sdk.errors.NotFound if answer.status == 404 else sdk.errors.APIError
            raise kind(f"status {answer.status}", explanation=str(said))
        return answer.status != 304

    def cut(self) -> None:
        """Close it. Raises FaultNotApplied where it was answered already."""
        self._sent.wait(SENT_S)
        connection = self._connection
        if connection is None:
            raise FaultNotApplied("the stop call was answered already")
        self._cut = True
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            raise FaultNotApplied("the stop call was answered already") from None
