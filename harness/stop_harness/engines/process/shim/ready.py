"""How the shim tells that the subject is ready: by what it wrote and by what its ports answer. Never blocks.

Standard library and re2 only; imported by `engines/process/shim/main.py` in its own process.
"""

from __future__ import annotations

import errno
import os
import time

TYPE_CHECKING = False  # the typing module costs 3 ms of each start
if TYPE_CHECKING:
    from typing import Any

if TYPE_CHECKING or __package__ != "shim":
    from stop_harness.log_pattern import LogPattern
else:  # in the helper process, which knows nothing of the package; see `SHIM_START` in engines/process/client.py
    from log_pattern import LogPattern

NS_PER_MS = 1_000_000

LOG_TAIL_BYTES = 16 * 1024
"""What `logs` gives at most."""
READ_BYTES = 64 * 1024
"""One read of the subject's output: the capacity of a pipe, pipe(7)."""
KEPT_BYTES = 256 * 1024
"""How much of the output's end is kept, for `wait_log` to search what was written before it was asked."""
LONGEST_LINE_BYTES = 64 * 1024
"""A line longer than this is not a ready line; only its end is looked at. As on the docker engine."""
HTTP_ANSWER_NS = 5_000 * NS_PER_MS
"""After this long without an answer a readiness request is made anew."""


def is_taken(port: int) -> bool:
    """Whether somebody on this machine already accepts connections there: readiness would mean them."""
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


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
        status = _status(self._answer)
        if status is not None and status < 400:
            return True
        if status is not None or not piece:
            raise OSError(errno.EPROTO, "no answer below 400")
        return False

    def close(self) -> None:
        """Drop the connection; the next `holds` makes a new one."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._connected = None, False


def _status(answer: bytes) -> int | None:
    """Of an HTTP answer that has begun; None: not there yet, or no HTTP."""
    protocol, _, rest = answer.partition(b" ")
    return int(rest[:3]) if protocol.startswith(b"HTTP/") and len(rest) >= 3 and rest[:3].isdigit() else None


class Output:
    """What the subject wrote: its end in memory, and whether a whole line of it matched the pattern looked for."""

    def __init__(self) -> None:
        self.pattern: LogPattern | None = None
        self.matched = False
        self._total = 0
        self._kept = bytearray()
        self._searched = 0  # of all bytes ever written; up to here only whole lines

    def look_for(self, pattern: str) -> None:
        """Look for another pattern, from the first whole line that is kept."""
        self.pattern, self.matched = LogPattern(pattern), False
        dropped = self._total - len(self._kept)
        self._searched = dropped and dropped + self._kept.find(b"\n") + 1
        self._search(0)

    def add(self, piece: bytes) -> None:
        """Keep the end, search the lines that are now whole."""
        self._total += len(piece)
        self._kept += piece
        del self._kept[:-KEPT_BYTES]
        self._search(max(0, len(self._kept) - len(piece)))

    def _search(self, new: int) -> None:
        """Search what is whole and not searched yet; no line's end can be before `new`.

        A line that is not ended yet must wait: `^ready$` would match the beginning of "ready soon".
        """
        end = self._kept.rfind(b"\n", new)
        if self.pattern is None or self.matched or end < 0:
            return
        dropped = self._total - len(self._kept)
        start = max(0, self._searched - dropped, self._kept.find(b"\n", new) - LONGEST_LINE_BYTES)
        if end < start:  # the line whose beginning was dropped
            return
        self.matched = self.pattern.found_in(bytes(self._kept[start:end]))
        self._searched = dropped + end + 1

    def tail(self) -> dict[str, Any]:
        """Shape of `LogTail`."""
        tail = self._kept[-LOG_TAIL_BYTES:]
        return {"text": tail.decode(errors="replace"), "truncated": self._total > len(tail)}
