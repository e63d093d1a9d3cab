"""What a container wrote from its stop signal to its exit, read after that."""

from __future__ import annotations

import struct

from stop_harness.engines.docker.log_times import StampedTail
from stop_harness.engines.docker.plain_api import PlainApi
from stop_harness.errors import EngineError
from stop_harness.model import NS_PER_S, LogTail

LINES, KEEP_BYTES = 100, 16 * 1024

_HEADER = struct.Struct(">BxxxI")
"""Before each part: 1 for standard output, 2 for standard error; its length (Docker Engine API, "Stream format")."""


WRITTEN_LATE_NS = NS_PER_S // 10
"""So long after the exit a last line may be stamped. Nobody who is started again writes earlier: a restart policy waits
for so long, and a container takes as long to start."""


def log_of_stop(api: PlainApi, container_id: str, since_ns: int, exited_ns: int | None) -> LogTail | None:
    """The last lines until its exit; None where the log cannot be read, such as with a driver that keeps none.

    `exited_ns` None: not known. A container that was started again goes on with the same log.
    """
    query = {"stdout": "1", "stderr": "1", "timestamps": "1", "since": _seconds(since_ns), "tail": str(LINES)}
    if exited_ns is not None:
        query["until"] = _seconds(exited_ns + WRITTEN_LATE_NS)
    try:
        body = api.read(f"/containers/{container_id}/logs", **query)
    except EngineError:
        return None
    tail = StampedTail(KEEP_BYTES)
    for message in _messages(body):
        tail.add(message)
    return tail.tail()


def _seconds(at_ns: int) -> str:
    return f"{at_ns // NS_PER_S}.{at_ns % NS_PER_S:09d}"


def _messages(body: bytes) -> list[bytes]:
    """Without the headers; a terminal's output has none."""
    parts, at = [], 0
    while at + _HEADER.size <= len(body):
        stream, length = _HEADER.unpack_from(body, at)
        if stream not in {0, 1, 2} or body[at + 1 : at + 4] != b"\0\0\0":
            return [body[:1], body[1:]]  # cut anywhere, as StampedTail knows those of a terminal
        parts.append(body[at + _HEADER.size : at + _HEADER.size + length])
        at += _HEADER.size + length
    return parts
