"""Our witness as a container on the engine's machine, with the least rights that answer; why each: docs/witness.md."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stop_harness.engines.docker import program_container, sdk
from stop_harness.engines.docker.program_container import ProgramContainer, words
from stop_harness.engines.docker.witness_lines import PROTOCOL_VERSION, Message, WitnessStarted, parse

if TYPE_CHECKING:
    from stop_harness.engines.docker.host import DockerHost

PATIENCE_S = 10
"""For one answer of the engine while the witness is brought there. The run waits for it."""
START_PATIENCE_S = 10.0
"""From its start to its first line: 0.1 s measured, seconds on a crowded machine, and 1 s of waiting for the kernel
where that does not answer."""


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

    def __init__(self, client: Any, program: ProgramContainer, rights: Rights, image: str) -> None:
        self._client, self._program = client, program
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
            raise WitnessFailed(words(error)) from None
        try:
            return _climb(cls, client, labels)
        except failures as error:
            client.close()
            raise WitnessFailed(words(error)) from None
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
        return [parse(line) for line in self._program.read(patience_s)]

    def send(self, command: str) -> None:
        """One command. Raises OSError."""
        self._program.send(command)

    def end(self) -> None:
        """Have the engine remove it: `read` comes to its end. Idempotent."""
        self._program.end()

    def close(self) -> None:
        """End it, and let go of it. Not while another thread reads. Idempotent."""
        self._program.close()
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
    image = program_container.image(client.api, "witness", labels)
    if image is None:
        raise WitnessFailed(f"there is none for the architecture {client.version().get('Arch')}")
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
    """One that was acknowledged. Raises WitnessFailed, and what docker-py raises where the engine does not answer."""
    try:
        program = ProgramContainer.start(
            client.api,
            image,
            labels,
            user=rights.user,
            capabilities=rights.capabilities,
            pid_mode="host",  # else the kernel ignores the request without a word
            network_mode="host",  # the kernel's end lives in the first network namespace
            userns_mode="host",
            cgroupns="host",
        )
    except sdk.errors.APIError as error:
        raise WitnessFailed(words(error)) from None
    try:
        container = cls(client, program, rights, image)
        container.await_start()
        return container
    except BaseException:
        program.close()
        raise
