"""How the shim tells that the subject is ready: by what it wrote and by what its ports answer. Never blocks.

Standard library only and imported by `pid_namespace_shim.py` in its own process.
"""

from __future__ import annotations

import errno
import os
import re
import time

TYPE_CHECKING = False  # the typing module costs 3 ms of each start
if TYPE_CHECKING:
    from typing import Any

NS_PER_MS = 1_000_000

LOG_TAIL_BYTES = 16 * 1024
"""What `logs` gives at most."""
READ_BYTES = 64 * 1024
"""One read of the subject's output: the capacity of a pipe, pipe(7)."""
SEARCH_OVERLAP_CHARACTERS = 8 * 1024
"""How much text before a new piece is searched again for the readiness pattern: a match may be this long."""
HTTP_ANSWER_NS = 5_000 * NS_PER_MS
"""After this long without an answer a readiness request is made anew."""


class PortCheck:
    """Asks whether something accepts connections on a loopback port and, with `path`, answers a GET below 400.

    Never blocks: `holds` goes one step further with each call, so that output is read and the harness heard meanwhile.
    """

    def __init__(self, port: int, path: str | None = None) -> None:
        self.port = port
        self.path = path
        self.name = f"tcp port {port}" if path is None else f"http port {port} path {path}"
        self._families = [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1")]
        self._socket: Any = None
        self._connected = False
        self._answer = b""
        self._give_up_ns = 0

    def holds(self) -> bool:
        """One step; True once the condition has been seen to hold."""
        try:
            if self._socket is not None and time.monotonic_ns() > self._give_up_ns:
                raise TimeoutError
            if not self._connected and not self._connect():
                return False
            if self.path is None or self._status_below_400():
                self.close()
                return True
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            self._families.reverse()
        return False

    def _connect(self) -> bool:
        import socket

        family, host = self._families[0]
        if self._socket is None:
            self._socket = socket.socket(getattr(socket, family), socket.SOCK_STREAM)
            self._socket.setblocking(False)
            self._answer = b""
            self._give_up_ns = time.monotonic_ns() + HTTP_ANSWER_NS
        code = self._socket.connect_ex((host, self.port))
        if code in (errno.EINPROGRESS, errno.EALREADY):
            return False
        if code not in (0, errno.EISCONN):
            raise OSError(code, os.strerror(code))
        # A connect to a free port of the ephemeral range can meet itself: TCP simultaneous open, RFC 9293, 3.5.
        if self._socket.getsockname() == self._socket.getpeername():
            raise OSError(errno.ECONNREFUSED, "met itself")
        self._connected = True
        if self.path is not None:
            request = f"GET {self.path} HTTP/1.1\r\nHost: localhost:{self.port}\r\nConnection: close\r\n\r\n"
            self._socket.sendall(request.encode())
        return True

    def _status_below_400(self) -> bool:
        piece = self._socket.recv(4096)
        self._answer += piece
        line = re.match(rb"HTTP/\d\S* (\d{3})", self._answer)
        if line and int(line[1]) < 400:
            return True
        if line or not piece:
            raise OSError(errno.EPROTO, "no answer below 400")
        return False

    def close(self) -> None:
        """Drop the connection; the next `holds` makes a new one."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._connected = None, False


class Output:
    """What the subject wrote: its end in memory, and whether the readiness pattern has occurred since the start."""

    def __init__(self, pattern: str | None) -> None:
        self.pattern = re.compile(pattern, re.MULTILINE) if pattern is not None else None
        self.matched = False
        self.total = 0
        self._tail = b""
        self._searched = ""

    def add(self, piece: bytes) -> None:
        """Keep the end, search the new piece."""
        self.total += len(piece)
        self._tail = (self._tail + piece)[-LOG_TAIL_BYTES:]
        if self.pattern is None or self.matched:
            return
        text = self._searched + piece.decode(errors="replace")
        self.matched = self.pattern.search(text) is not None
        if len(text) > SEARCH_OVERLAP_CHARACTERS:
            # Cut at a line's start where there is one, so that `^` keeps its meaning.
            text = text[-SEARCH_OVERLAP_CHARACTERS:]
            text = text.partition("\n")[2] or text
        self._searched = text

    def tail(self) -> dict[str, Any]:
        """Shape of `LogTail`."""
        return {"text": self._tail.decode(errors="replace"), "truncated": self.total > len(self._tail)}
