"""A container of ours in the network of another one, whose program disturbs packets there: for engines whose machine we
are not root on. docs/faults.md says what it may; `programs/packets.c` says what it is told and answers.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stop_harness.engines.docker import program_container, sdk
from stop_harness.engines.docker.program_container import ProgramContainer, words
from stop_harness.linux.disturbance import CannotDisturb, Course, Disturbance, Packets, all_packets, late

if TYPE_CHECKING:
    from stop_harness.engines.docker.host import DockerHost

PROTOCOL_VERSION = 1

CAPABILITIES = ("NET_ADMIN",)
"""In the network that it is in, and nowhere else."""

ENGINE_PATIENCE_S = 60.0
"""For one answer of the engine while the container is brought there; it takes 0.2 s where nothing else does."""
START_PATIENCE_S = 10.0
"""From its start to its first line."""
ANSWER_PATIENCE_S = 10.0
"""For some messages to the kernel and their answers: 1 ms, the way there and back, and a busy machine."""

NUMBERS = {"": 0, "tcp": 6, "udp": 17}
"""Of IP protocols."""

_LACKING = {
    "netfilter": "nothing that changes packets (nfnetlink)",
    "queue": "no packet queues (nfnetlink_queue)",
    "batch": "no nf_tables",
    "table": "no nf_tables",
    "chain": "no nf_tables for packets that come in and go out",
    "rule": "no rule that puts packets into a queue (nft_queue, or nft_compat and xt_NFQUEUE)",
    "connections": "no list of connections (inet_diag)",
    "list-of-connections": "no list of connections (tcp_diag)",
    "reset": "no reset of somebody else's connections (CONFIG_INET_DIAG_DESTROY)",
}
"""What a kernel has where a step fails."""


class PacketContainer:
    """One that waits for what it is told. For one thread at a time."""

    def __init__(self, client: Any, program: ProgramContainer) -> None:
        self._client, self._program = client, program
        self._tokens = itertools.count(1)
        self._lines: list[bytes] = []
        self._release = ""

    @classmethod
    def start(cls, host: DockerHost, network: str, labels: dict[str, str]) -> PacketContainer:
        """In a network: `container:ID`, or `none` for one of its own. Raises CannotDisturb."""
        try:
            client = host.connect(timeout_s=ENGINE_PATIENCE_S)
            try:
                return cls._started(client, network, labels)
            except BaseException:
                client.close()
                raise
        except (sdk.errors.DockerException, OSError, ValueError) as error:
            raise CannotDisturb(f"a container of ours in its network cannot be started: {words(error)}") from None

    @classmethod
    def _started(cls, client: Any, network: str, labels: dict[str, str]) -> PacketContainer:
        image = program_container.image(client.api, "packets", labels)
        if image is None:
            raise CannotDisturb(f"there is no program for the architecture {client.version().get('Arch')}")
        rights: dict[str, Any] = {"user": "0", "capabilities": CAPABILITIES}
        program = ProgramContainer.start(client.api, image, labels, **rights, network_mode=network)
        try:
            made = cls(client, program)
            made._await_start()
            return made
        except BaseException:
            program.close()
            raise

    def _await_start(self) -> None:
        kind, version, step, number, release = _fields(self._line(START_PATIENCE_S), 5)
        if (kind, version) != ("H", str(PROTOCOL_VERSION)):
            raise CannotDisturb("the container of ours in its network speaks otherwise")
        self._release = release
        self._refuse(step, int(number))

    def disturb(self, disturbance: Disturbance) -> int:
        """From now on. How many rules the kernel has for it, by its own list. Raises CannotDisturb."""
        rules = [*(_rule(item, queued=False) for item in disturbance.but), *map(_rule, disturbance.only)]
        return self._ask("D", _course(disturbance.course), before=rules)

    def undo(self) -> None:
        """Return when the kernel has no rule of it any more, by its own list. Raises CannotDisturb."""
        self._ask("U")

    def reset(self, port: int | None = None) -> int:
        """Reset the connections that are there, or those of a port, for both of their ends. How many there were. Raises
        CannotDisturb."""
        return self._ask("K", str(port or 0))

    def close(self) -> None:
        """End it, and what it does. Idempotent."""
        self._program.close()
        self._client.close()

    def _ask(self, what: str, given: str = "", *, before: list[str] | None = None) -> int:
        token = str(next(self._tokens))
        try:
            self._program.send("\n".join([*(before or ()), f"{what} {token} {given}"]))
        except OSError as error:
            raise CannotDisturb(f"the container of ours in its network does not listen: {words(error)}") from None
        kind, its, word, *rest = self._line(ANSWER_PATIENCE_S).split()
        if (kind, its) != ("A", token) or word not in {"ok", "error"}:
            raise CannotDisturb("the container of ours in its network speaks otherwise")
        if word == "error":
            self._refuse(rest[0], int(rest[1]))
        return int(rest[0])

    def _line(self, patience_s: float) -> str:
        """The next one. Raises CannotDisturb."""
        deadline = time.monotonic() + patience_s
        try:
            while not self._lines:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise CannotDisturb(f"the container of ours in its network said nothing within {patience_s:g} s")
                self._lines = self._program.read(left_s)
        except (OSError, EOFError, ValueError) as error:
            raise CannotDisturb(f"the container of ours in its network is gone: {words(error)}") from None
        return self._lines.pop(0).decode("utf-8", errors="replace")

    def _refuse(self, step: str, number: int) -> None:
        """Raises CannotDisturb where a step has failed."""
        if not number:
            return
        lacking, why = _LACKING.get(step), os.strerror(number)
        if number in {errno.EPERM, errno.EACCES}:
            raise CannotDisturb(f"a container of ours may not do that on this engine ({step}: {why})")
        if lacking is None:
            raise CannotDisturb(f"{step.replace('-', ' ')}: {why}")
        raise CannotDisturb(f"the engine's kernel, {self._release}, has {lacking}: {why}")


def disturb(host: DockerHost, network: str, labels: dict[str, str], disturbance: Disturbance) -> Callable[[], None]:
    """By one that is there for this alone. Returns what ends it, once. Both raise CannotDisturb."""
    container = PacketContainer.start(host, network, labels)
    try:
        container.disturb(disturbance)
    except BaseException:
        container.close()
        raise

    def undo() -> None:
        try:
            container.undo()
        finally:
            container.close()

    return undo


@dataclass(frozen=True)
class Lacking:
    """Why packets cannot be `disturbed` on an engine, or connections be `reset`, as sentences; None: that is done."""

    disturbed: str | None = None
    reset: str | None = None


def lacking(host: DockerHost, labels: dict[str, str]) -> Lacking:
    """Tried in a network that nobody else is in."""
    try:
        container = PacketContainer.start(host, "none", labels)
    except CannotDisturb as error:
        return Lacking(str(error), str(error))
    disturbed = reset = None
    try:
        try:
            container.disturb(Disturbance(late(1), all_packets(port=1)))
            container.undo()
        except CannotDisturb as error:
            disturbed = str(error)
        try:
            container.reset()
        except CannotDisturb as error:
            reset = str(error)
    finally:
        container.close()
    return Lacking(disturbed, reset)


def _course(course: Course) -> str:
    rate = 0 if course.bits_per_s is None else max(1, round(course.bits_per_s))
    return f"{course.in_ns} {course.out_ns} {course.jitter_ns} {round(course.lost * 1e9)} {rate}"


def _rule(packets: Packets, *, queued: bool = True) -> str:
    end, port = (1, packets.from_port) if packets.from_port is not None else (2, packets.to_port)
    side, network = (1, packets.source) if packets.source is not None else (2, packets.destination)
    numbers = [int(queued), int(packets.leaves), int(packets.loopback), NUMBERS[packets.protocol]]
    numbers += [0, 0] if port is None else [end, port]
    numbers += [0, 0, 0] if network is None else [side, int(network.network_address), network.prefixlen]
    return f"R {' '.join(map(str, numbers))}"


def _fields(line: str, count: int) -> list[str]:
    found = line.split(maxsplit=count - 1)
    return found if len(found) == count else [""] * count
