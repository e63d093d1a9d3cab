"""Our witness as a container on the engine's machine, with the least rights that answer. docs/witness.md says why each.

It ends with its standard input, so that nothing of it is left even where the harness is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stop_harness.engines.docker import own_images, sdk
from stop_harness.engines.docker.witness_lines import PROTOCOL_VERSION, Message, Stream, WitnessStarted

if TYPE_CHECKING:
    from stop_harness.engines.docker.host import DockerHost

PROGRAMS = Path(__file__).parent / "witness_program"

PATIENCE_S = 10
"""For one answer of the engine while the witness is brought there. The run waits for it."""
START_PATIENCE_S = 10.0
"""From its start to its first line: 0.1 s measured, seconds on a crowded machine, and 1 s of waiting for the kernel
where that does not answer."""

MEMORY_BYTES = 64 << 20
"""It touches 0.2 MB, up to 40 MB where pids run to four millions."""

SPOKEN_BYTES = 64 * 1024


@dataclass(frozen=True)
class Rights:
    """User and capabilities, from none on."""

    user: str
    capabilities: tuple[str, ...]

    def __str__(self) -> str:
        added = " and ".join(self.capabilities) or "no capability"
        return f"user {self.user}, {added}"


LADDER = (Rights("65534", ()), Rights("0", ("NET_ADMIN",)))
"""The kernel answers anybody from Linux 6.6 on, and before that only who may administer the network: cn_proc.c."""


class WitnessFailed(Exception):
    """Why there is no witness, in words for people."""


class WitnessContainer:
    """A witness that listens: `read` and `send` are its standard output and input."""

    def __init__(self, client: Any, container_id: str, socket: Any, rights: Rights, image: str) -> None:
        self._client, self._id, self._response = client, container_id, socket
        self._socket = getattr(socket, "_sock", socket)
        self._socket.settimeout(None)
        self._sending = threading.Lock()
        self._stream = Stream()
        self._waiting: list[Message] = []
        self.rights, self.image = rights, image
        self.started: WitnessStarted | None = None

    @classmethod
    def start(cls, host: DockerHost, labels: dict[str, str]) -> WitnessContainer:
        """Bring it to the engine and try rights from none on. Raises WitnessFailed."""

        failures = (sdk.errors.DockerException, OSError, ValueError, EOFError)
        try:
            client = host.connect(timeout_s=PATIENCE_S)
        except failures as error:
            raise WitnessFailed(_words(error)) from None
        try:
            return _climb(cls, client, labels)
        except failures as error:
            client.close()
            raise WitnessFailed(_words(error)) from None
        except WitnessFailed:
            client.close()
            raise

    def describe(self) -> str:
        """For the record: which program, with which rights, on which kernel."""
        assert self.started is not None
        return f"{self.image}, {self.rights}, Linux {self.started.release}"

    def read(self, patience_s: float | None = None) -> list[Message]:
        """What has come; waits for it, and returns nothing after `patience_s`. Raises EOFError when it is gone,
        ValueError where it is not the witness that speaks, OSError."""
        if self._waiting:
            messages, self._waiting = self._waiting, []
            return messages
        pending = getattr(self._socket, "pending", lambda: 0)
        if not pending():
            poll = select.poll()
            poll.register(self._socket.fileno(), select.POLLIN)
            if not poll.poll(None if patience_s is None else patience_s * 1000):
                return []
        with self._sending:  # TLS: one of both at a time
            piece = self._socket.recv(SPOKEN_BYTES)
        if not piece:
            raise EOFError(self._stream.complaint.strip() or "it ended")
        return self._stream.take(piece)

    def send(self, command: str) -> None:
        """One command. Raises OSError."""
        with self._sending:
            self._socket.sendall(command.encode() + b"\n")

    def close(self) -> None:
        """End it, and wait until the engine has removed it. Idempotent."""

        with contextlib.suppress(sdk.errors.DockerException, OSError):
            self._client.api.remove_container(self._id, force=True)
        with contextlib.suppress(OSError):
            self._response.close()
        self._client.close()

    def await_start(self) -> None:
        """Take its first line. Raises WitnessFailed where the kernel does not answer it."""
        try:
            messages = self.read(START_PATIENCE_S)
        except EOFError as error:
            raise WitnessFailed(f"it does not run: {error}") from None
        first, self._waiting = (messages[0] if messages else None), messages[1:]
        if not isinstance(first, WitnessStarted) or first.version != PROTOCOL_VERSION:
            raise WitnessFailed(
                f"it said nothing within {START_PATIENCE_S:g} s" if not messages else "it speaks otherwise"
            )
        if first.error:
            what = f"{first.step}: {os.strerror(first.error)}"
            raise WitnessFailed(f"the kernel {first.release} does not answer ({what})")
        self.started = first


def _climb(cls: type[WitnessContainer], client: Any, labels: dict[str, str]) -> WitnessContainer:
    """The first that is acknowledged, from no rights on. Raises WitnessFailed with what each rung came to."""
    image = _image(client, labels)
    refusals = []
    for rights in LADDER:
        try:
            return _listening(cls, client, image, rights, labels)
        except WitnessFailed as refusal:
            refusals.append(f"with {rights}: {refusal}")
    raise WitnessFailed("; ".join(refusals))


def _listening(
    cls: type[WitnessContainer], client: Any, image: str, rights: Rights, labels: dict[str, str]
) -> WitnessContainer:
    """One that was acknowledged. Raises WitnessFailed, and what docker-py raises where the engine refuses."""
    api = client.api
    try:
        created = api.create_container(
            image, user=rights.user, stdin_open=True, labels=labels, host_config=_host_config(api, rights)
        )
    except sdk.errors.APIError as error:
        raise WitnessFailed(_words(error)) from None
    container = None
    try:
        # Before the start, so that nothing is missed.
        socket = api.attach_socket(created["Id"], params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        container = cls(client, created["Id"], socket, rights, image)
        api.start(created["Id"])
        container.await_start()
        return container
    except BaseException as error:
        with contextlib.suppress(sdk.errors.DockerException, OSError):
            api.remove_container(created["Id"], force=True)
        if isinstance(error, sdk.errors.APIError):
            raise WitnessFailed(_words(error)) from None
        raise


def _host_config(api: Any, rights: Rights) -> Any:
    return api.create_host_config(
        pid_mode="host",  # else the kernel ignores the request without a word
        network_mode="host",  # the kernel's end lives in the first network namespace
        userns_mode="host",
        cgroupns="host",
        cap_drop=["ALL"],
        cap_add=list(rights.capabilities),
        security_opt=["no-new-privileges"],
        read_only=True,
        auto_remove=True,
        mem_limit=MEMORY_BYTES,
        pids_limit=1,
        log_config={"type": "none"},  # what it hears has no business in a log
    )


def _image(client: Any, labels: dict[str, str]) -> str:
    """The name of the image with the program for this engine; imported once for each program. Raises WitnessFailed."""
    machine = own_images.machine(client.api)
    if not machine:
        raise WitnessFailed(f"there is none for the architecture {client.version().get('Arch')}")
    program = (PROGRAMS / f"witness-{machine}").read_bytes()
    return own_images.imported(client.api, "witness", program, labels, 'ENTRYPOINT ["/witness"]')


def _words(error: Exception) -> str:
    return " ".join(str(getattr(error, "explanation", None) or error).split())[:300]
