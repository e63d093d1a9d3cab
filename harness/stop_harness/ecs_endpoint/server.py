"""The endpoint on HTTP: awsJson 1.1 by POST, the measured stops by GET, nothing for browsers or other machines.

A loopback server is reachable by any web page through DNS rebinding: a page's name is made to resolve to 127.0.0.1.
Hence the Host header must name a loopback address (or the address that the user chose to serve on). A page may also
send requests to 127.0.0.1 itself; its browser then says where it comes from, so Origin must be this endpoint's own.
With a token, every request carries it as the session token of its credentials, which AWS's clients send as they are.
"""

from __future__ import annotations

import hmac
import io
import ipaddress
import json
import random
import re
import socket
import socketserver
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stop_harness._version import VERSION
from stop_harness.ecs_endpoint import agent_api, fault_injection, own_resources, spot, wire
from stop_harness.ecs_endpoint.errors import EcsError, client_exception, quoted
from stop_harness.ecs_endpoint.operations import dispatch, services
from stop_harness.ecs_endpoint.regions import Regions
from stop_harness.ecs_endpoint.state import Endpoint
from stop_harness.ecs_endpoint.worker_threads import WorkerThreads

MAX_BODY_BYTES = 1024 * 1024
"""ECS takes task definitions of 64 KiB; nothing else is as long."""

LINGER_S, LINGER_BYTES = 2.0, 32 * 1024 * 1024
"""How much of a refused body is thrown away so that the client reads the refusal instead of a broken pipe."""

IDLE_TIMEOUT_S = 65
"""A connection that says nothing for longer is closed; clients keep theirs for 60 s at most."""

REQUEST_LIMIT_S = 20.0
"""From the first byte of a request to its last: a body of `MAX_BODY_BYTES` at 50 KiB/s. AWS gives no number."""

TOKEN_HEADER = "X-Amz-Security-Token"  # nosec B105 # no password
"""Where AWS's clients put the session token of temporary credentials, signed or not."""

POLL_S = 0.02
"""How often the server looks whether it is to end. With http.server's 0.5 s every end of an endpoint waits as long."""

TICK_S = 0.25
"""How often time passes for tasks and services."""


class EcsServer:
    """An endpoint that listens. `close` removes its containers. `token`: what requests must carry; None: nothing."""

    def __init__(self, endpoint: Endpoint, host: str = "127.0.0.1", port: int = 0, *, token: str | None = None) -> None:
        self.endpoint, self.token = endpoint, token
        self._regions = Regions(endpoint)
        self._http = _Http((host, port), self._regions, host, token)
        self._for_containers = _served_to_containers(self._regions)
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._http.serve_forever, args=(POLL_S,), daemon=True, name="ecs endpoint"),
            threading.Thread(target=self._tick, daemon=True, name="ticker"),
        ]
        if self._for_containers is not None:
            serve = self._for_containers.serve_forever
            self._threads.append(threading.Thread(target=serve, args=(POLL_S,), daemon=True, name="agent API"))
        for thread in self._threads:
            thread.start()

    @property
    def url(self) -> str:
        """For `--endpoint-url`."""
        host, port = self._http.server_address[:2]
        text = host if isinstance(host, str) else host.decode()
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(text, f"[{text}]" if ":" in text else text)  # nosec B104 # compared, not bound
        return f"http://{shown}:{port}"

    def close(self) -> tuple[str, ...]:
        """Stop listening, then remove everything. Gives what could not be removed. Idempotent."""
        if self._ended.is_set():
            return ()
        self._ended.set()
        for server in filter(None, (self._http, self._for_containers)):
            server.shutdown()
            server.server_close()
        for endpoint in self._regions.all():
            endpoint.agent.close()
        return self.endpoint.close()

    def _tick(self) -> None:
        while not self._ended.wait(self.endpoint.clock.real_s(TICK_S)):
            for endpoint in self._regions.all():
                try:
                    endpoint.agent.tick()
                    spot.take_away(endpoint)
                    services.reconcile(endpoint)
                except Exception:  # noqa: BLE001 - a mistake of ours in one service must not stop time for all others
                    traceback.print_exc()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(
        self,
        address: tuple[str, int],
        regions: Regions,
        host: str,
        token: str | None,
        handler: type[BaseHTTPRequestHandler] | None = None,
    ) -> None:
        self.regions, self.chosen_host, self.token = regions, host, token
        self._threads_of_connections = WorkerThreads()
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler or _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A connection gets a thread that an earlier one has left, if there is one."""
        self._threads_of_connections.run(partial(self.process_request_thread, request, client_address))

    def server_close(self) -> None:
        """Idle threads end, too."""
        super().server_close()
        self._threads_of_connections.close()

    def server_bind(self) -> None:
        """Without HTTPServer's reverse look-up of our own name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.chosen_host, int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves in the middle is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Incoming(io.RawIOBase):
    """What a client sends. The socket's own timeout starts again with every byte, so that a client which sends one now
    and then would keep its thread for ever. Raises TimeoutError."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self._deadline: float | None = None

    def wait_for_request(self) -> None:
        """Nothing of the next request has come yet."""
        self._deadline = None

    def readable(self) -> bool:
        """It is for reading only."""
        return True

    def readinto(self, buffer: Any) -> int:
        """What has come, at least a byte; 0 at the end."""
        left_s = IDLE_TIMEOUT_S if self._deadline is None else self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        count = self._connection.recv_into(buffer)
        if self._deadline is None:
            self._deadline = time.monotonic() + REQUEST_LIMIT_S
        return count


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    server_version = f"stop-harness/{VERSION}"
    sys_version = ""
    timeout = IDLE_TIMEOUT_S
    content_type = wire.CONTENT_TYPE
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024  # an answer leaves in one piece

    def setup(self) -> None:
        """Requests are read against the clock."""
        super().setup()
        self._incoming = _Incoming(self.connection)
        self.rfile.close()
        self.rfile = io.BufferedReader(self._incoming)

    def handle_one_request(self) -> None:
        """The next one may be long in coming, and then has to be whole in time."""
        self._incoming.wait_for_request()
        super().handle_one_request()

    def do_POST(self) -> None:
        """An operation of ECS, or a Spot interruption."""
        self._answer(self._interruption if self.path.startswith(own_resources.PREFIX) else self._operation)

    def do_GET(self) -> None:
        """What this endpoint tells beside ECS."""
        self._answer(self._resource)

    def _operation(self) -> bytes:
        body = self._body()
        endpoint = self.server.regions.signed_for(self.headers.get("Authorization"))
        return dispatch.call(endpoint, self.headers.get("X-Amz-Target"), body)

    def _interruption(self) -> bytes:
        self._body()
        return json.dumps(own_resources.post(self.server.regions.holding(self.path), self.path)).encode()

    def _resource(self) -> bytes:
        return json.dumps(own_resources.get(self.server.regions.holding(self.path), self.path)).encode()

    def _answer(self, work: Callable[[], bytes]) -> None:
        with self.server.regions.own.agent.answers_first.answering():
            status, body = self._result(work)
            self.connection.settimeout(IDLE_TIMEOUT_S)
            self._send(status, body)
        if self.close_connection:
            self._linger()

    def _result(self, work: Callable[[], bytes]) -> tuple[int, bytes]:
        """Status and body, also of a mistake of ours: never a traceback over the wire."""
        status = 200
        try:
            self._check_sender()
            body = work()
        except EcsError as error:
            status, body = error.status, wire.render_error(error)
            self.close_connection = self.close_connection or error.connection_unusable
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - the traceback belongs into the terminal of `ecs serve`
            traceback.print_exc()
            message = "stop-harness failed; its terminal says how. Please report it."
            status, body = 500, wire.render_error(EcsError("ServerException", message))
        return status, body

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("x-amzn-RequestId", str(uuid.UUID(int=random.getrandbits(128), version=4)))  # nosec B311 # no secret
        self.send_header("Content-Type", self.content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _check_sender(self) -> None:
        """By a name of this endpoint, from no page of another site, with the token if there is one."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if not is_allowed_host(host, self.server.chosen_host):
            raise _denied(f"Host {quoted(host)!r} is not this endpoint: use a loopback address, such as 127.0.0.1.")
        if origin is not None and origin != f"http://{host}":
            raise _denied(f"Origin {quoted(origin)!r} is a page of another site; this endpoint is for none.")
        if self.server.token is not None and not hmac.compare_digest(
            self.headers.get(TOKEN_HEADER, "").encode(errors="replace"), self.server.token.encode()
        ):
            raise _denied("The token of this endpoint is missing or wrong: set AWS_SESSION_TOKEN to what --token was.")

    def _length(self) -> int:
        """Content-Length, checked before anything is read."""
        text = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers:
            raise _unreadable("Transfer-Encoding is not supported: send Content-Length", 411)
        if not (text.isascii() and text.isdigit()):
            raise _unreadable("Content-Length is not a number", 400)
        if len(text) > 12 or int(text) > MAX_BODY_BYTES:
            raise _unreadable(f"The request is too long: at most {MAX_BODY_BYTES} bytes are read.", 413)
        return int(text)

    def _body(self) -> bytes:
        length = self._length()
        body = self.rfile.read(length)
        if len(body) < length:
            raise _unreadable("The request ended before its Content-Length", 400)
        return body

    def handle_expect_100(self) -> bool:
        """Refuse a long body before it is sent."""
        try:
            self._length()
        except EcsError:
            return True  # the refusal itself is the answer
        return super().handle_expect_100()

    def _linger(self) -> None:
        """What is still coming is read and dropped for a moment: closing at once would destroy the answer."""
        import contextlib

        deadline, left = time.monotonic() + LINGER_S, LINGER_BYTES
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER_S)
            while left > 0 and time.monotonic() < deadline and (block := self.connection.recv(65536)):
                left -= len(block)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Requests that are not HTTP as we speak it: in ECS's form too."""
        del explain
        self.close_connection = True
        status = 405 if code == 501 else code
        self._send(status, wire.render_error(client_exception(quoted(message or "The request cannot be read."))))

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the terminal of `ecs serve` is for people."""


class _AgentHandler(_Handler):
    """For containers: the agent's own API by ids that only they know, and no operation of ECS."""

    content_type = "application/json"

    def do_GET(self) -> None:
        """What protects the task."""
        self._answer_container()

    def do_PUT(self) -> None:
        """Protect it, or do so no more."""
        self._answer_container()

    def do_POST(self) -> None:
        """Make its network bad, or good again."""
        if not fault_injection.serves(self.path):
            self.send_error(405)
            return
        try:
            status, answer = fault_injection.call(self.server.regions.all(), self.path, self._body())
        except EcsError as error:
            self.close_connection = True
            status, answer = error.status, {"Error": error.message}
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - the traceback belongs into the terminal of `ecs serve`
            traceback.print_exc()
            status, answer = 500, {"Error": "stop-harness failed; its terminal says how."}
        self._send(status, json.dumps(answer).encode())

    def _answer_container(self) -> None:
        try:
            status, answer = agent_api.call(self.server.regions.all(), self.command, self.path, self._body())
        except EcsError as error:
            self.close_connection = True
            status, answer = error.status, agent_api.refused(error.code, error.message)
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - the traceback belongs into the terminal of `ecs serve`
            traceback.print_exc()
            status, answer = 500, agent_api.refused("ServerException", "stop-harness failed; its terminal says how.")
        self._send(status, json.dumps(answer).encode())


def _served_to_containers(regions: Regions) -> _Http | None:
    """At this machine's address on the engine's bridge; None where the engine's machine is another."""
    agent = regions.own.agent
    address = agent.containers.host_address()
    try:
        server = _Http((address, 0), regions, address, None, _AgentHandler) if address else None
    except OSError:
        return None
    if server is not None:
        agent.api_url = f"http://{address}:{server.server_port}"
    return server


def _denied(message: str) -> EcsError:
    return EcsError("AccessDeniedException", message, status=403, connection_unusable=True)


def _unreadable(message: str, status: int) -> EcsError:
    code = "RequestEntityTooLargeException" if status == 413 else "SerializationException"
    return EcsError(code, message, status=status, connection_unusable=True)


def is_allowed_host(header: str, chosen: str) -> bool:
    """Whether a Host header names a loopback address, or the address that was chosen with `--host`.

    When that is not loopback, any literal address passes: rebinding needs a name.
    """
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:@/\s]+)(?::[0-9]{1,5})?", header)
    if match is None:
        return False
    name = match[1].strip("[]").lower()
    if name in {"localhost", chosen.lower()}:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not is_loopback(chosen)


def is_loopback(host: str) -> bool:
    """Whether an address to serve on is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
