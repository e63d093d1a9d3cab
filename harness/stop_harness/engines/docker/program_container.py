"""A container of one program of ours on the engine's machine, which is talked to by lines.

It ends with its standard input, so that nothing of it is left even where the harness is killed.
"""

from __future__ import annotations

import contextlib
import select
import threading
from pathlib import Path
from typing import Any

from stop_harness.engines.docker import own_images, sdk
from stop_harness.engines.docker.attached_lines import AttachedLines

PROGRAMS = Path(__file__).parent / "programs"

MEMORY_BYTES = 64 << 20
"""Our programs touch 0.2 MB, the witness up to 40 MB where pids run to four millions; runc begins as a process of the
container."""

PROCESSES = 64
"""Our programs are one each, but before them runc is the first process of the container, and has threads: with a limit
of 1 it ended before it had become the program in 3 of 1170 starts, with this one in none of 1080."""

SPOKEN_BYTES = 64 * 1024


class ProgramContainer:
    """One that was started, with its standard input and output."""

    def __init__(self, api: Any, container_id: str, response: Any) -> None:
        self._api, self._id, self._response = api, container_id, response
        self._socket = getattr(response, "_sock", response)
        self._socket.settimeout(None)
        self._sending = threading.Lock()
        self._lines = AttachedLines()

    @classmethod
    def start(
        cls, api: Any, image: str, labels: dict[str, str], *, user: str, capabilities: tuple[str, ...], **host: Any
    ) -> ProgramContainer:
        """With no rights but these, and nothing to write, to become or to start. `host`: more of the SDK's host
        configuration. Raises what the SDK raises; nothing is left then."""
        settings = api.create_host_config(
            cap_drop=["ALL"],
            cap_add=list(capabilities),
            security_opt=["no-new-privileges"],
            read_only=True,
            auto_remove=True,
            mem_limit=MEMORY_BYTES,
            pids_limit=PROCESSES,
            log_config={"type": "none"},  # what it says has no business in a log
            **host,
        )
        created = api.create_container(image, user=user, stdin_open=True, labels=labels, host_config=settings)["Id"]
        try:
            # Before the start, so that nothing is missed.
            response = api.attach_socket(created, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            made = cls(api, created, response)
            api.start(created)
        except BaseException:
            with contextlib.suppress(sdk.errors.DockerException, OSError):
                api.remove_container(created, force=True)
            raise
        return made

    def read(self, patience_s: float | None = None) -> list[bytes]:
        """The lines that have come; waits for some bytes, and returns nothing where none come within `patience_s`.
        Raises EOFError when it is gone, ValueError where something else speaks, OSError."""
        pending = getattr(self._socket, "pending", lambda: 0)
        if not pending():
            poll = select.poll()
            poll.register(self._socket.fileno(), select.POLLIN)
            if not poll.poll(None if patience_s is None else patience_s * 1000):
                return []
        with self._sending:  # TLS: one of both at a time
            piece = self._socket.recv(SPOKEN_BYTES)
        if not piece:
            raise EOFError(self._lines.complaint.strip() or "it ended")
        return self._lines.take(piece)

    def send(self, line: str) -> None:
        """One line, or several. Raises OSError."""
        with self._sending:
            self._socket.sendall(line.encode() + b"\n")

    def end(self) -> None:
        """Have the engine remove it, which ends what is read of it. Idempotent."""
        with contextlib.suppress(sdk.errors.DockerException, OSError):
            self._api.remove_container(self._id, force=True)

    def close(self) -> None:
        """End it, and close the connection to it. Not while another thread reads: the number of a closed file is soon
        that of another one, and TLS, which reads a record in two pieces by number, would read there. Idempotent."""
        self.end()
        sdk.hang_up(self._response)


def image(api: Any, name: str, labels: dict[str, str]) -> str | None:
    """The name of the image with a program for this engine; imported once for each program. None: there is none for its
    architecture. Raises what the SDK raises."""
    machine = own_images.machine(api)
    if not machine:
        return None
    program = (PROGRAMS / f"{name}-{machine}").read_bytes()
    return own_images.imported(api, name, program, labels, f'ENTRYPOINT ["/{name}"]')


def words(error: Exception) -> str:
    """What the engine or the program said, in one line."""
    return " ".join(str(getattr(error, "explanation", None) or error).split())[:300]
