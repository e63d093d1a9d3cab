"""The lines of an answer that goes on, read without waiting: whoever has other things to wait for polls its socket."""

from __future__ import annotations

import socket
import ssl

PIECE_BYTES = 1 << 16


class LineStream:
    """`connection`: whose next bytes are those of the body, after `begun`, which was read already. `chunked`: they come
    in chunks (RFC 9112, 7.1), else to the end of the connection. It belongs to this from now on.

    `broken`: why nothing comes any more, for people; None while it goes on.
    """

    def __init__(self, connection: socket.socket, begun: bytes, *, chunked: bool) -> None:
        self._connection, self._chunked = connection, chunked
        self._raw, self._body = begun, b""
        self._length: int | None = None
        self.broken: str | None = None
        connection.setblocking(False)

    def fileno(self) -> int:
        """For poll(2). What was begun is there without its being readable: `take` once before polling it."""
        return self._connection.fileno()

    def take(self) -> list[bytes]:
        """The whole lines that have come since the last call, also where it has broken after them."""
        try:
            self._read()
            if self._chunked:
                self._unpack()
            else:
                self._body, self._raw = self._body + self._raw, b""
        except ValueError:
            self.broken = "an answer that makes no sense"
        *lines, self._body = self._body.split(b"\n")
        return lines

    def close(self) -> None:
        """End it. Idempotent."""
        self._connection.close()

    def _read(self) -> None:
        """What is there."""
        try:
            while piece := self._connection.recv(PIECE_BYTES):
                self._raw += piece
                # A socket of TLS may hold more that was decrypted already, of which poll(2) knows nothing.
                if len(piece) < PIECE_BYTES and not isinstance(self._connection, ssl.SSLSocket):
                    return
            self.broken = "it ended the stream"
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self.broken = str(error) or type(error).__name__

    def _unpack(self) -> None:
        """Move what is in whole and half chunks to the body. Raises ValueError for what is no chunk."""
        while self._raw:
            if self._length is None:
                line, found, rest = self._raw.partition(b"\r\n")
                if not found:
                    return
                self._length, self._raw = int(line.partition(b";")[0], 16), rest
                if self._length == 0:
                    self.broken = "it ended the stream"
                    return
            elif self._length > 0:
                part, self._raw = self._raw[: self._length], self._raw[self._length :]
                self._body += part
                self._length -= len(part)
            elif len(self._raw) < 2:
                return
            else:  # the line end after a chunk
                self._raw, self._length = self._raw[2:], None
