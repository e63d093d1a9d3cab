"""What is read from a Docker Engine API in the same way by all who use one: times, the end of a log, process tables."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import docker
import requests

from harness.engines import docker_processes
from harness.engines.docker_host import DockerHost
from harness.engines.docker_proc import with_switches
from harness.errors import EngineError
from harness.model import NS_PER_S, LogTail

NEVER = "0001-01-01"
"""Begins the time of what has not happened."""

CONNECTION_ERRORS = (requests.RequestException, OSError, EOFError)
READING_ERRORS = (docker.errors.DockerException, *CONNECTION_ERRORS)


def timestamp_ns(text: str) -> int:
    """Nanoseconds since the epoch of `2026-11-23T11:32:00.123456789Z` (or with an offset, Podman)."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", text)
    if match is None:
        raise EngineError(f"the engine gave a time of an unknown form: {text!r}")
    whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).astimezone(UTC)
    return int(whole.timestamp()) * NS_PER_S + int((match[2] or "0").ljust(9, "0"))


def log_tail(api: Any, container_id: str, *, lines: int, keep_bytes: int, read_bytes: int) -> LogTail:
    """The last `lines`, at most `keep_bytes` of them, reading at most `read_bytes`."""
    kept, read, truncated = b"", 0, False
    try:
        stream = api.logs(container_id, stream=True, follow=False, tail=lines)
        for chunk in stream:
            read += len(chunk)
            kept = kept + chunk
            if len(kept) > keep_bytes:
                kept, truncated = kept[-keep_bytes:], True
            if read > read_bytes:
                stream.close()
                break
    except READING_ERRORS:
        return LogTail("(the log could not be read)", truncated=True)
    text = kept.decode("utf-8", errors="replace")
    return LogTail(text, truncated or text.count("\n") >= lines)


def processes(api: Any, container_id: str, host: DockerHost) -> docker_processes.Table | None:
    """`GET /containers/ID/top` with signal masks; None where the engine's `ps` cannot do it or nothing runs."""
    try:
        answer = api.top(container_id, ps_args=f"-eo {docker_processes.PS_COLUMNS}")
    except READING_ERRORS:
        return None
    table = docker_processes.table(answer)
    if table is not None and host.local and not host.podman:
        table = with_switches(table)
    return table
