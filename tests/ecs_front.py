"""A proxy before an ECS endpoint that counts its operations and answers some of them itself: throttled, out of room."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Answer = tuple[int, dict[str, Any]]
Rule = Callable[[str, int, dict[str, Any]], Answer | None]
"""(operation, how often it has been called, its input) → what to answer instead of the endpoint; None: ask it."""

THROTTLED: Answer = (400, {"__type": "ThrottlingException", "message": "Rate exceeded"})


class Front:
    """Forwards to `behind`. `calls`: operations by name; `requests`: their inputs; `gone`: every connection is cut."""

    def __init__(self, behind: str, rule: Rule = lambda *_: None, host: str = "127.0.0.1") -> None:
        self.behind, self.rule = urlsplit(behind), rule
        self.calls: Counter[str] = Counter()
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.gone = threading.Event()
        self._lock = threading.Lock()
        self._http = _Server((host, 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://{host}:{self._http.server_address[1]}"

    def count(self, operation: str, request: dict[str, Any]) -> int:
        """How often it was called, this time included."""
        with self._lock:
            self.calls[operation] += 1
            self.requests.append((operation, request))
            return self.calls[operation]

    def close(self) -> None:
        """Stop listening."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@contextmanager
def front(behind: str, rule: Rule = lambda *_: None, host: str = "127.0.0.1") -> Iterator[Front]:
    """A proxy that is closed afterwards."""
    made = Front(behind, rule, host)
    try:
        yield made
    finally:
        made.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves in the middle is no news."""


def _handler(owner: Front) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            """An operation: the rule's answer, else the endpoint's."""
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
            request = json.loads(body or b"{}")
            count = owner.count(operation, request)
            told = None if owner.gone.is_set() else owner.rule(operation, count, request)
            if told is not None:
                self._send(told[0], json.dumps(told[1]).encode())
            else:
                self._forward(body)

        def do_GET(self) -> None:
            """What our endpoint tells beside ECS."""
            self._forward(None)

        def _forward(self, body: bytes | None) -> None:
            if owner.gone.is_set():
                self.close_connection = True
                return
            connection = HTTPConnection(owner.behind.hostname or "", owner.behind.port or 80, timeout=60)
            try:
                kept = {key: value for key, value in self.headers.items() if key.lower() not in {"host", "connection"}}
                connection.request(self.command, self.path, body, kept)
                answer = connection.getresponse()
                self._send(answer.status, answer.read())
            finally:
                connection.close()

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Handler
