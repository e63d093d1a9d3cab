"""A socket file of ours that leads to the engine, so that it is known which stops one command has asked for.

The command gets it as `DOCKER_HOST`. Bytes are passed on as they are, both ways, attached terminals and image builds
among them; only the first line of each request is read. A client sends its next request when the last one was answered,
as the docker CLI, Compose and the SDKs do: so a request begins where bytes of the client follow bytes of the engine.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from urllib.parse import parse_qs

from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.http_connection import connected
from stop_harness.errors import EngineError
from stop_harness.evidence.watched_end import StopCall

PIECE_BYTES = 1 << 16
FIRST_LINE = re.compile(
    rb"(?:POST /(?:v[\d.]+/)?containers/(?P<name>[^/? ]+)/(?P<what>stop|restart|kill)"
    rb"|DELETE /(?:v[\d.]+/)?containers/(?P<removed>[^/? ]+))(?:\?(?P<query>[^ ]*) | |\?)"
)


class ForwardingSocket:
    """Listens from its making to `close`. `asked` is called with the name or id of each container that a client wants
    stopped, killed, restarted or removed, before the engine is asked, and with the stop call, where it is one whose
    stop timeout can be read. Raises EngineError."""

    def __init__(self, host: DockerHost, asked: Callable[[str, StopCall | None], None]) -> None:
        self._host, self._asked = host, asked
        try:
            self._folder = tempfile.mkdtemp(prefix="stop-harness-watch-")
            self._path = os.path.join(self._folder, "engine.sock")
            self._server = socket.socket(socket.AF_UNIX)
            self._server.bind(self._path)
            self._server.listen(128)
        except OSError as error:
            raise EngineError(f"no socket file can be made for the command: {error.strerror}") from None
        threading.Thread(target=self._accept, name="forwarding", daemon=True).start()

    def environment(self) -> dict[str, str]:
        """Of a command that is to speak to the engine through this."""
        kept = {name: value for name, value in os.environ.items() if name not in _REPLACED}
        return {**kept, "DOCKER_HOST": f"unix://{self._path}"}

    def close(self) -> None:
        """Take no further connection; those that stand go on to their end."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), name="forwarded", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One connection, until both sides have ended it."""
        try:
            engine = connected(self._host.address, None)
        except (OSError, ValueError):
            client.close()
            return
        turn = _Turn()
        back = threading.Thread(target=_pass_on, args=(engine, client, turn.answered), name="forwarded", daemon=True)
        back.start()
        _pass_on(client, engine, lambda piece: self._read(turn.request(piece)))
        back.join()
        client.close()
        engine.close()

    def _read(self, begin: bytes) -> None:
        found = end_asked(begin, time.time_ns())
        if found is not None:
            self._asked(*found)


def end_asked(begin: bytes, at_ns: int) -> tuple[str, StopCall | None] | None:
    """(the container whose end a request asks for, the stop call) by the first line of a request; None: it asks for no
    end. A line that is cut, or a stop timeout that is no number, leave the call unknown."""
    found = FIRST_LINE.match(begin)
    if found is None:
        return None
    name = (found["name"] or found["removed"]).decode(errors="replace")
    if found["what"] not in {b"stop", b"restart"} or not found[0].endswith(b" "):
        return name, None
    given = parse_qs((found["query"] or b"").decode(errors="replace")).get("t", [])
    try:
        return name, StopCall(at_ns, int(given[0]) if given else None)
    except ValueError:
        return name, None


_REPLACED = frozenset({"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"})
"""Settings of the docker CLI that would lead past the socket."""


class _Turn:
    """Whose turn it is on one connection: a request begins after an answer."""

    def __init__(self) -> None:
        self._begins = True

    def request(self, piece: bytes) -> bytes:
        """The piece, if a request may begin with it; else nothing."""
        begins, self._begins = self._begins, False
        return piece if begins else b""

    def answered(self, _piece: bytes) -> None:
        self._begins = True


def _pass_on(source: socket.socket, target: socket.socket, seen: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            seen(piece)
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
