"""Commands in a running container: `docker exec --detach`, and looks at the exit code until it is there.

Podman's differences: of a detached command, 4.3 never says that it has ended, and every version has exit code 0 of one
that could not be started. Attached ones are told right, so there its output is read, and thrown away.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from stop_harness.engines.docker import sdk
from stop_harness.engines.docker.calls import Calls, in_one_line
from stop_harness.errors import EngineError
from stop_harness.model import MOST_CONTENT_BYTES, NS_PER_MS, CommandSeen

FIRST_POLL_NS, EXECUTE_POLL_NS = 5 * NS_PER_MS, 50 * NS_PER_MS
"""Between the first two looks at the exit code of a command, and at most; each time twice as long, for most commands
end at once. To wait for its output instead would take its silence for the engine's."""

READ_BYTES = 64 * 1024

FRAME_HEAD_BYTES = 8
"""Of each piece of output: which stream, three zeros, and the length of what follows in four bytes, the highest first
(Docker Engine API, attach)."""

STANDARD_OUTPUT = 1


def execute(
    api: Any,
    calls: Calls,
    container_id: str,
    command: tuple[str, ...],
    *,
    timeout_ns: int,
    sleep: Callable[[int], None],
    attached: bool = False,
    output: bytearray | None = None,
    **settings: Any,
) -> int | None:
    """Its exit code; None: it had not ended so long after it was started, and goes on, for the API ends no command.
    Raises EngineError.

    `sleep`: lets nanoseconds pass. `attached`: for Podman. `output`: takes what it writes, in the API's frames, and a
    byte more than `MOST_CONTENT_BYTES` of them at most; None: nobody reads it. `settings`: further arguments of the
    SDK's `exec_create`.
    """
    start = partial(_start_attached, output=output) if attached or output is not None else _start_detached
    text = f"`{' '.join(command)}`"
    try:
        created = calls.run(text, lambda: api.exec_create(container_id, list(command), **settings))["Id"]
        told = calls.run(text, start, api, created)
        deadline_ns = time.monotonic_ns() + timeout_ns  # from here: a busy engine took 12 s to start a command
        poll_ns = FIRST_POLL_NS
        while True:
            may_be_over = told.is_set()  # before the look: what Podman says of a command that is yet to begin is a 0
            seen = calls.run(text, api.exec_inspect, created)
            if may_be_over and not seen["Running"] and seen["ExitCode"] is not None:
                return int(seen["ExitCode"])
            left_ns = deadline_ns - time.monotonic_ns()
            if left_ns <= 0:
                return None
            sleep(min(left_ns, poll_ns))
            poll_ns = min(2 * poll_ns, EXECUTE_POLL_NS)
    except sdk.ENGINE_ERRORS as error:
        raise EngineError(f"{text} cannot be run in the container: {in_one_line(error)}") from None


def _start_detached(api: Any, created: str) -> threading.Event:
    """From now on `inspect` tells whether it runs. Raises the SDK's errors."""
    told = threading.Event()
    told.set()
    # What cannot be started has its exit code all the same: 126 or 127, as in a shell.
    with contextlib.suppress(sdk.errors.APIError):
        api.exec_start(created, detach=True)
    return told


def with_output(api: Any, calls: Calls, container_id: str, command: tuple[str, ...], **given: Any) -> CommandSeen:
    """The same with what it writes. `given`: as `execute` takes it. Raises EngineError."""
    frames = bytearray()
    code = execute(api, calls, container_id, command, output=frames, **given)
    written = {True: bytearray(), False: bytearray()}
    at = 0
    while at + FRAME_HEAD_BYTES <= len(frames):
        head, at = frames[at : at + FRAME_HEAD_BYTES], at + FRAME_HEAD_BYTES
        length = int.from_bytes(head[4:])
        written[head[0] == STANDARD_OUTPUT] += frames[at : at + length]
        at += length
    cut = len(frames) > MOST_CONTENT_BYTES
    return CommandSeen(code, bytes(written[True]), bytes(written[False]), cut)


def _start_attached(api: Any, created: str, output: bytearray | None = None) -> threading.Event:
    """The event is set when its output has ended: only then it can have ended itself. Raises the SDK's errors."""
    stream, told = api.exec_start(created, socket=True), threading.Event()

    def read() -> None:
        connection = getattr(stream, "_sock", stream)
        with contextlib.suppress(OSError, ValueError):
            connection.settimeout(None)
            receive = _reader(stream) or connection.recv
            while piece := receive(READ_BYTES):
                if output is not None and len(output) <= MOST_CONTENT_BYTES:
                    output.extend(piece[: MOST_CONTENT_BYTES + 1 - len(output)])
        told.set()
        sdk.hang_up(stream)

    threading.Thread(target=read, name="output of a command", daemon=True).start()
    return told


def _reader(stream: Any) -> Callable[[int], bytes] | None:
    """What the SDK read the head of the answer with, and maybe the first of the output behind it."""
    try:
        buffered = stream._response.raw._fp.fp
        return buffered.read1 if callable(buffered.read1) else None
    except AttributeError:
        return None
