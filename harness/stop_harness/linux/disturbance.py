"""What becomes of packets, and of which ones. Pure.

Whoever disturbs them is told so: root on the engine's machine (`packet_faults`), or a container of ours
(`packet_container`).
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

LONGEST_BACKLOG_NS = 1_000_000_000
"""Of a link with a bandwidth: what would wait longer than that is lost, as in any router's buffer."""

Schedule = Callable[[int, bool, int], int | None]
"""Called as (bytes of a packet, whether it leaves, now). Returns when it may go on, by `time.monotonic_ns`; None: it is
lost."""


class CannotDisturb(Exception):
    """Why not, as a sentence."""


@dataclass(frozen=True)
class Course:
    """What a packet meets, one after the other: loss, a link with a bandwidth, a delay by the way that it goes.

    `lost`: their share. `bits_per_s`: each way; None: no limit. `jitter_ns`: each is late by up to so much more or
    less.
    """

    in_ns: int = 0
    out_ns: int = 0
    jitter_ns: int = 0
    lost: float = 0.0
    bits_per_s: float | None = None

    def schedule(self) -> Schedule:
        """For packets from now on."""
        free_ns = {True: 0, False: 0}

        def schedule(size: int, leaves: bool, now_ns: int) -> int | None:
            if self.lost and random.random() < self.lost:  # nosec B311 # no secret
                return None
            goes_ns = now_ns
            if self.bits_per_s is not None:
                begins_ns = max(now_ns, free_ns[leaves])
                if begins_ns - now_ns > LONGEST_BACKLOG_NS:
                    return None
                goes_ns = free_ns[leaves] = begins_ns + round(size * 8e9 / self.bits_per_s)
            return goes_ns + self._delay_ns(leaves)

        return schedule

    def _delay_ns(self, leaves: bool) -> int:
        delay_ns = self.out_ns if leaves else self.in_ns
        if not self.jitter_ns:
            return delay_ns
        least_ns, most_ns = max(0, delay_ns - self.jitter_ns), delay_ns + self.jitter_ns
        return random.randint(least_ns, most_ns)  # nosec B311 # no secret


def late(delay_ns: int, jitter_ns: int = 0) -> Course:
    """So much later each way, each by up to `jitter_ns` more or less."""
    return Course(in_ns=delay_ns, out_ns=delay_ns, jitter_ns=jitter_ns)


def late_answers(delay_ns: int) -> Course:
    """So much later on the way in alone."""
    return Course(in_ns=delay_ns)


def lossy(share: float) -> Course:
    """So many of them are lost."""
    return Course(lost=share)


def rationed(bits_per_s: float) -> Course:
    """A link with a bandwidth, each way."""
    return Course(bits_per_s=bits_per_s)


@dataclass(frozen=True)
class Packets:
    """Some packets of a network namespace: those that leave it, or those that come in.

    `loopback`: also on its loopback. `protocol`: `tcp` or `udp`; "": any. `from_port`, `to_port`: of these protocols;
    None: any. `source`, `destination`: a network of IPv4; None: any address, of IPv6, too.
    """

    leaves: bool
    loopback: bool = False
    protocol: str = ""
    from_port: int | None = None
    to_port: int | None = None
    source: ipaddress.IPv4Network | None = None
    destination: ipaddress.IPv4Network | None = None

    @property
    def any_version(self) -> bool:
        """Whether packets of IPv6 are among them."""
        return self.source is None and self.destination is None


def all_packets(port: int | None = None) -> tuple[Packets, ...]:
    """Every packet that comes in or goes out, but for the loopback. `port`: only what comes from or goes to that TCP or
    UDP port."""
    ways = (False, True)
    if port is None:
        return tuple(Packets(leaves) for leaves in ways)
    either = [Packets(leaves, protocol=protocol) for leaves in ways for protocol in ("tcp", "udp")]
    return tuple(one for item in either for one in (replace(item, from_port=port), replace(item, to_port=port)))


@dataclass(frozen=True)
class Disturbance:
    """A course for some packets. `but`: not for these among them."""

    course: Course
    only: tuple[Packets, ...]
    but: tuple[Packets, ...] = ()
