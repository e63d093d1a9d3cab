"""TCP connections to a subject, from the inside of its network namespace where it has one."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time

HOSTS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
"""A subject may listen on one of them only; the second is tried where the first refuses."""

SOCKET_PATIENCE_S = 10
"""For the helper to hand out a socket; it takes 50 µs, or some ms while it looks at many processes."""


_CLOSE_ON_EXEC = socket.MSG_CMSG_CLOEXEC if sys.platform == "linux" else 0
_DESCRIPTOR_BYTES = 4


class NamespaceSockets:
    """The harness's end of the channel on which a helper hands out sockets of its network namespace.

    A socket belongs for good to the namespace of the process that made it (network_namespaces(7)), so whoever gets it
    by SCM_RIGHTS connects within that namespace, without a right to enter it. Safe for many threads at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._channel, self.far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(SOCKET_PATIENCE_S)

    def make(self, family: int) -> socket.socket:
        """A TCP socket, not connected. ConnectionRefusedError once the helper is gone, as the subject is then, too."""
        with self._lock:
            if self._closed:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "the subject has been removed")
            try:
                self._channel.send(b"6" if family == socket.AF_INET6 else b"4")
                # Not recv_fds(): that one loses the flags (seen with 3.11.7).
                answer, ancillary, _, _ = self._channel.recvmsg(1, socket.CMSG_SPACE(_DESCRIPTOR_BYTES), _CLOSE_ON_EXEC)
            except TimeoutError:
                self._shut()  # its answer may come yet and must not be taken for the next one's
                raise
            except ConnectionError:
                answer, ancillary = b"", []
        for _, _, data in ancillary:
            return socket.socket(fileno=int.from_bytes(data[:_DESCRIPTOR_BYTES], sys.byteorder))
        if not answer:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "the subject's helper is gone")
        raise OSError(answer[0], "the helper could not make a socket")

    def close(self) -> None:
        """Idempotent. Call once the helper has ended, so that nobody waits for its answer."""
        with self._lock:
            self._shut()
        self.far_end.close()

    def _shut(self) -> None:
        self._closed = True
        self._channel.close()


def connect(sockets: NamespaceSockets | None, port: int, timeout_s: float) -> socket.socket:
    """Connect to a loopback port, the machine's where there are no `sockets`; the timeout stays set. Raises OSError."""
    deadline = time.monotonic() + timeout_s
    refusal: OSError | None = None
    for family, host in HOSTS:
        fresh: socket.socket | None = None
        try:
            fresh = sockets.make(family) if sockets else socket.socket(family, socket.SOCK_STREAM)
            fresh.settimeout(max(0.001, deadline - time.monotonic()))
            fresh.connect((host, port))
            # A connect to a free port of the ephemeral range can meet itself: TCP simultaneous open, RFC 9293, 3.5.
            if fresh.getsockname() == fresh.getpeername():
                raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        except OSError as error:
            if fresh is not None:
                fresh.close()
            refusal = refusal or error
            if not isinstance(error, ConnectionRefusedError):
                break
        else:
            fresh.settimeout(timeout_s)
            return fresh
    assert refusal is not None
    raise refusal
