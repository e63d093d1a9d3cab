"""What the clients of a trial share, and what each keeps of a request under way."""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from stop_harness.model import LoadBalancer, RequestFate, TrafficClient
from stop_harness.trial import traffic_messages
from stop_harness.trial.traffic_wire import AnswerSeen, Closed, NotProcessed, Wire

OWN_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL})
"""What this machine lacks says nothing about the server: such a request has no fate."""


@dataclass
class Sheet:
    """One request under way; times are monotonic, in ns, None: it has not come to that."""

    connected_ns: int | None = None
    sent_ns: int | None = None
    first_byte_ns: int | None = None
    ended_ns: int | None = None
    fate: RequestFate | None = None
    answer: AnswerSeen = field(default_factory=AnswerSeen)
    before: AnswerSeen = field(default_factory=AnswerSeen)
    """The same client's last whole answer before this request."""
    detail: str = ""

    def end(self, error: BaseException | None, detail: str = "") -> None:
        """The end of it: whole, or by an error."""
        self.ended_ns = time.monotonic_ns()
        self.fate = RequestFate.COMPLETED if error is None else self._fate_of(error)
        self.detail = detail if error is None else describe(error)

    def _fate_of(self, error: BaseException) -> RequestFate:
        if self.connected_ns is None or isinstance(error, NotProcessed):
            return RequestFate.REFUSED
        if isinstance(error, TimeoutError | asyncio.CancelledError):
            return RequestFate.TIMED_OUT
        if self.first_byte_ns is not None:
            return RequestFate.TRUNCATED
        return RequestFate.RESET if isinstance(error, ConnectionError) else RequestFate.NO_ANSWER


def describe(error: BaseException) -> str:
    """What a client saw, for people."""
    if isinstance(error, asyncio.CancelledError):
        return "still open when the trial ended"
    if isinstance(error, Closed):
        return f"closed by the peer{f': {error}' if str(error) else ''}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionAbortedError):
        return str(error)
    if isinstance(error, ConnectionError):
        return "reset by the peer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is not accepted: {error.verify_message}; `verify: false` takes any"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "timed out"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@dataclass
class Stage:
    """What all clients of a trial share.

    `connect` connects a wire, or raises OSError. `stop_ns`: the stop call (monotonic, ns), None before it; where hooks
    come first (preStop of a pod), their end.
    """

    connect: Callable[[TrafficClient, Wire], Awaitable[None]]
    longest_lead_ns: int
    stop_ns: int | None = None
    hooks_ns: int | None = None
    """When the stop began with hooks (monotonic, ns); None: not yet, or there are none."""
    balancer: LoadBalancer | None = None
    deregistered_ns: int | None = None
    """When a load balancer was told that the container goes (monotonic, ns); None: not yet, or there is none."""
    curtain: asyncio.Event = field(default_factory=asyncio.Event)
    """Everybody is connected: requests may begin."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """The stop has begun, with its hooks where there are some."""
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    cut: bool = False
    """The load balancer's deregistration delay is over."""
    series: str = field(default_factory=traffic_messages.series)
    """Begins the ids of all messages."""

    @property
    def since_ns(self) -> int | None:
        """From when on every request counts: the deregistration, else the first hook, else the stop call."""
        known = (self.deregistered_ns, self.hooks_ns, self.stop_ns)
        return next((moment for moment in known if moment is not None), None)

    @property
    def in_hooks(self) -> bool:
        """Whether hooks run before the stop call: clients go on, and what is served to them has no part in the stop."""
        return self.hooks_ns is not None and self.stop_ns is None

    @property
    def withdraws_ns(self) -> int | None:
        """When the load balancer sends nothing new any more; None: that is not known yet."""
        if self.balancer is None or self.deregistered_ns is None:
            return None
        return self.deregistered_ns + self.balancer.propagation_ns

    @property
    def still_sends(self) -> bool:
        """Whether a load balancer was told, and has not heard."""
        return self.withdraws_ns is not None and not self.withdrawn

    @property
    def withdrawn(self) -> bool:
        """Whether that has come."""
        return self.withdraws_ns is not None and time.monotonic_ns() >= self.withdraws_ns
