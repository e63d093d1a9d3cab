"""What may vary around a stop: moments, clients, faults with their values, simplest and weakest first. Pure.

Not offered is what ends the program by itself, so that a failure would say nothing of it: SIGKILL, a limit of memory, a
halt without an end, a signal to its own processes; nor is what takes away all that a program may count on, such as that
it can start a thread or open a file. And a fault that itself cuts requests comes without clients.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, product

from stop_harness import signals
from stop_harness.experiments.explore.candidate import Candidate, Part, part_of_client, part_of_fault, scenario_of
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Fault,
    FaultAction,
    FaultKind,
    FaultMoment,
    Mount,
    MountKind,
    Outcome,
    Role,
    Scenario,
    TrafficClient,
    TrafficKind,
    When,
)
from stop_harness.scenario.faults import refuse_contradictions

MOMENTS_NS = tuple(ms * NS_PER_MS for ms in (0, 100, 200, 350, 500, 1000, 2000))
"""After readiness, for the first round: a window of 150 ms in the first half second is not missed."""
LATEST_NS = 3 * NS_PER_S

CPUS = (0.5, 0.2, 0.1, 0.05)
LATENCIES_NS = (50 * NS_PER_MS, 200 * NS_PER_MS, 500 * NS_PER_MS)
LOSSES = (0.05, 0.2)
"""Of the packets each way: with a fifth every third exchange of two has to be tried again, a second later each time."""
BANDWIDTHS = (1e6, 64e3)
"""Bits a second."""
LATE_NAMES_NS = (NS_PER_S, 3 * NS_PER_S)
PAUSES_NS = (200 * NS_PER_MS, 500 * NS_PER_MS, NS_PER_S)
OFFSETS_NS = (0, 50 * NS_PER_MS, 100 * NS_PER_MS, 250 * NS_PER_MS, 500 * NS_PER_MS, NS_PER_S)
LATEST_OFFSET_NS = 5 * NS_PER_S
LEADS_NS = (500 * NS_PER_MS, 50 * NS_PER_MS, 150 * NS_PER_MS, NS_PER_S)
CLIENTS = (1, 2, 5)

EARLY = FaultMoment(When.BEFORE, NS_PER_S)
"""Before clients begin: what is made just before the stop takes 50 ms and more, and a shorter request would be over."""

ONE_REQUEST_NS = 60 * NS_PER_S
"""A pause after which no client comes again before the stop is over, for the same reason."""

_ORDER = list(TrafficKind)

BREAKS_REQUESTS = frozenset({FaultKind.NETWORK, FaultKind.DEPENDENCY})
"""Under these a lost request would be the fault's doing, not the stop's. An answer that is late goes with the
container, too: what waits in its network namespace when that ends is lost."""

LOSE_NOTHING = frozenset({TrafficKind.IDLE, TrafficKind.KEEP_ALIVE})
"""Clients of which no request is counted as lost, so that they go with such faults: what hangs then is the server."""

_SAID_LATE = frozenset({FaultAction.LATENCY, FaultAction.LOSS, FaultAction.BANDWIDTH})
"""A bad network is bad from before the stop on: that it begins in the middle shows little more."""

BREATH_NS = 3 * NS_PER_S
"""A program that leaves at once gets this long before a search calls it hung; what it then calls so is repeated with
the scenario's own stop timeout."""

HTTP_KINDS = (TrafficKind.HTTP, TrafficKind.KEEP_ALIVE)
"""What every HTTP server has to bear. No new connections during the stop: one that the kernel had taken when the server
closes its socket is reset, which only a load balancer's timing makes a failure."""


@dataclass(frozen=True)
class Space:
    """`timeouts_ns`: stop timeouts at which a graceful stop is expected, the longest first. `moments`: whether the stop
    may come at other moments. `clients`: one of each kind of traffic that may be there; `own_traffic`: the scenario's.
    `faults`: one list for each fault that can be made here, weakest first, each at its usual moment; `impossible`: when
    some of them cannot be made; `own_faults`: the scenario's. `drain_ns`: how long the undisturbed stop takes.
    `longest_ns`: how long any took so far that was fine. `left_out`: which faults cannot be made here at all, and why.
    """

    timeouts_ns: tuple[int, ...]
    moments: bool
    clients: tuple[TrafficClient, ...]
    faults: tuple[tuple[Fault, ...], ...]
    drain_ns: int
    own_traffic: tuple[TrafficClient, ...] = ()
    own_faults: tuple[Fault, ...] = ()
    longest_ns: int = 0
    impossible: frozenset[tuple[Part, When]] = frozenset()
    left_out: tuple[str, ...] = ()

    @property
    def undisturbed(self) -> tuple[Candidate, ...]:
        """The scenario's own stop, at each stop timeout."""
        return tuple(map(Candidate, self.timeouts_ns))

    def standard(self) -> tuple[Candidate, ...]:
        """The first round: each thing alone, at usual values; it finds most."""
        plain = Candidate(self.timeouts_ns[0])
        traffic = [replace(plain, traffic=(client,)) for client in self.clients]
        others = [replace(plain, traffic=(item,)) for client in self.clients for item in _other_clients(client)]
        moments = [replace(plain, moment_ns=at_ns) for at_ns in MOMENTS_NS] if self.moments else []
        faults = [_under(plain, fault) for several in self.faults for fault in _usual(several)]
        late = [
            _under(plain, replace(fault, moment=moment))
            for several in self.faults
            for fault in several[-1:]
            if fault.action not in _SAID_LATE
            for moment in self.moments_of(fault)[1:3]
        ]
        both = [
            candidate
            for item, several in product(traffic, self.faults)
            if _go_together(item.traffic, several[-1])
            for candidate in (replace(item, faults=(several[-1],)), *_short_request(item, several[-1]))
        ]
        every = chain(traffic, faults, moments, others, late, both)
        return tuple(filter(self.allows, dict.fromkeys(map(self.sound, every))))

    def allows(self, candidate: Candidate) -> bool:
        """Whether a scenario may ask for these faults together, and they can be made at their moments."""
        if not all(self.may_begin(fault, fault.moment.when) for fault in candidate.faults):
            return False
        try:
            refuse_contradictions((*self.own_faults, *candidate.faults), (candidate.stop_timeout_ns,))
        except ValueError:
            return False
        return True

    def may_begin(self, fault: Fault, when: When) -> bool:
        """Whether it can be made then: with Podman nothing is done to a container while it stops, and who is not root
        freezes none before its stop."""
        return (part_of_fault(fault), when) not in self.impossible

    def sound(self, candidate: Candidate) -> Candidate:
        """The same without what says nothing: clients whose requests a fault cuts, and changes that change nothing. Its
        clients come in the order of a scenario file."""
        traffic = candidate.traffic
        if traffic:
            traffic = tuple(sorted(traffic, key=lambda client: _ORDER.index(client.kind)))
        if any(fault.kind in BREAKS_REQUESTS for fault in candidate.faults):
            present = self.own_traffic if traffic is None else traffic
            traffic = tuple(client for client in present if client.kind in LOSE_NOTHING)
        return replace(candidate, traffic=None if traffic == self.own_traffic else traffic)

    def without(self, parts: Collection[Part]) -> Space:
        """Without these: a client that the server does not keep, a fault that cannot be made after all."""
        return replace(
            self,
            clients=tuple(item for item in self.clients if part_of_client(item) not in parts),
            faults=tuple(several for several in self.faults if part_of_fault(several[0]) not in parts),
        )

    def moments_of(self, fault: Fault) -> tuple[FaultMoment, ...]:
        """When it may begin, its usual moment first."""
        offsets = [offset_ns for offset_ns in OFFSETS_NS if offset_ns < self._latest_offset_ns]
        after = [FaultMoment(When.AFTER, offset_ns) for offset_ns in offsets]
        if fault.is_deed:
            middle = FaultMoment(When.AFTER, offsets[len(offsets) // 2])
            every = (middle, *after)
        else:
            early = () if fault.kind is FaultKind.PAUSE else (EARLY,)
            every = (fault.moment, FaultMoment(When.BEFORE), FaultMoment(When.WITH), *after, *early)
        return tuple(moment for moment in dict.fromkeys(every) if self.may_begin(fault, moment.when))

    @property
    def _latest_offset_ns(self) -> int:
        """A fault that begins later would find the program gone; clients make a stop longer."""
        return max(self.drain_ns, 150 * NS_PER_MS if self.clients else 1)

    @property
    def reach_ns(self) -> int:
        """Likewise, where something else makes the stop as long as it ever was."""
        return max(self._latest_offset_ns, min(self.longest_ns, LATEST_OFFSET_NS))


def lasts(fault: Fault) -> bool:
    """It stays to the end of the stop: what comes later meets it whenever it began, and early it is there for sure."""
    return not fault.is_deed and fault.for_ns is None


def _usual(several: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """The strongest, and one of medium strength where there are many."""
    return tuple(dict.fromkeys((several[-1], several[len(several) // 2])))


def _other_clients(client: TrafficClient) -> tuple[TrafficClient, ...]:
    """Many of them; and requests that are shorter than the usual lead would already be over."""
    later = tuple(replace(client, lead_ns=ns) for ns in LEADS_NS[1:3]) if client.kind.in_flight else ()
    return (*later, replace(client, clients=CLIENTS[-1]))


def _short_request(candidate: Candidate, fault: Fault) -> Iterator[Candidate]:
    """A request that is begun under the fault, and shortly before the stop."""
    traffic = candidate.traffic or ()
    if any(client.kind.in_flight for client in traffic) and fault.moment == FaultMoment(When.BEFORE):
        short = tuple(replace(client, lead_ns=min(LEADS_NS)) for client in traffic)
        yield replace(candidate, traffic=short, faults=(replace(fault, moment=EARLY),))


def _go_together(traffic: tuple[TrafficClient, ...] | None, fault: Fault) -> bool:
    return fault.kind not in BREAKS_REQUESTS or all(client.kind in LOSE_NOTHING for client in traffic or ())


def _under(candidate: Candidate, fault: Fault) -> Candidate:
    return replace(candidate, faults=(fault,))


def graceful_timeouts(scenario: Scenario) -> tuple[int, ...]:
    """Stop timeouts at which the scenario expects a graceful stop, the longest first."""
    wanted = [ns for ns in scenario.stop.timeouts_ns if Outcome.GRACEFUL in scenario.expectation_at(ns).outcomes]
    return tuple(sorted(set(wanted), reverse=True))


def of(
    scenario: Scenario, drain_ns: int, stop_signal: int | None, cannot_run: Callable[[Scenario], str | None]
) -> Space:
    """What may vary for this scenario on an engine. `drain_ns`, `stop_signal`: of its undisturbed stop."""
    timeouts_ns = graceful_timeouts(scenario)
    slack_ns = min(timeouts_ns) - drain_ns
    plain = Candidate(timeouts_ns[0])

    def can_be_made(fault: Fault) -> bool:
        return cannot_run(scenario_of(_under(plain, fault), scenario)) is None

    offered = tuple(_faults(scenario, slack_ns, stop_signal))
    faults = tuple(filter(None, (tuple(filter(can_be_made, several)) for several in offered)))
    without = [fault for *_, fault in offered if not any(part_of_fault(it[0]) == part_of_fault(fault) for it in faults)]
    moments = (FaultMoment(when) for when in (When.BEFORE, When.WITH, When.AFTER))
    at_moments = [replace(several[-1], moment=moment) for moment in moments for several in faults]
    ready = scenario.readiness
    conditions = (ready.log, ready.tcp_port, ready.http_port)
    return Space(
        timeouts_ns,
        moments=ready.implied or ready.healthcheck or ready.handler or any(item is not None for item in conditions),
        clients=tuple(_clients(scenario)),
        faults=faults,
        drain_ns=drain_ns,
        own_traffic=scenario.traffic,
        own_faults=scenario.faults,
        left_out=_left_out((it, cannot_run(scenario_of(_under(plain, it), scenario)) or "") for it in without),
        impossible=frozenset((part_of_fault(it), it.moment.when) for it in at_moments if not can_be_made(it)),
    )


def _left_out(faults: Iterable[tuple[Fault, str]]) -> tuple[str, ...]:
    """`network latency, network loss: root on the engine's machine is needed`, each reason once."""
    found: dict[str, list[str]] = {}
    for fault, reason in faults:
        plain = "" if fault.action in {FaultAction.LIMIT, FaultAction.PAUSE} else fault.action.replace("_", " ")
        port = f"of port {fault.port}" if fault.port is not None else ""
        words = " ".join(part for part in (fault.kind, plain, fault.target or "", port) if part)
        found.setdefault(_PLACE.sub("", reason), []).append(words)
    return tuple(f"{', '.join(names)}: {reason}" for reason, names in found.items())


_PLACE = re.compile(r"^.*?:\d+:\d+: `\w+`: ")
"""Of a fault in a scenario file, which these are not in."""


def _faults(scenario: Scenario, slack_ns: int, stop_signal: int | None) -> Iterator[tuple[Fault, ...]]:
    """One list for each, weakest first; without the kinds that the scenario has itself. None for a task of Amazon ECS,
    which its cluster stops."""
    if scenario.subject.task is not None:
        return
    name = signals.name(stop_signal or signals.number("SIGTERM"))
    after = FaultMoment(When.AFTER, 0)
    pauses = [for_ns for for_ns in PAUSES_NS if 3 * for_ns <= slack_ns]
    offered = (
        tuple(Fault(FaultKind.CPU, FaultAction.LIMIT, amount=cores) for cores in CPUS),
        (Fault(FaultKind.SIGNAL, FaultAction.SEND, after, signal=name),),
        *((Fault(FaultKind.DISK, FaultAction.FULL, target=path),) for path in _small_disks(scenario)),
        *((Fault(FaultKind.DISK, FaultAction.READ_ONLY, target=path),) for path in _writable(scenario)),
        *((fault,) for fault in _of_neighbours(scenario)),
        (Fault(FaultKind.NETWORK, FaultAction.CUT),),
        *((Fault(FaultKind.NETWORK, FaultAction.CUT, port=port),) for port in _ports(scenario)),
        (Fault(FaultKind.DNS, FaultAction.DEAD),),
        tuple(Fault(FaultKind.PAUSE, FaultAction.PAUSE, after, for_ns) for for_ns in pauses),
        tuple(Fault(FaultKind.NETWORK, FaultAction.LATENCY, amount=ns) for ns in LATENCIES_NS),
        tuple(Fault(FaultKind.NETWORK, FaultAction.LOSS, amount=share) for share in LOSSES),
        tuple(Fault(FaultKind.NETWORK, FaultAction.BANDWIDTH, amount=rate) for rate in BANDWIDTHS),
        tuple(Fault(FaultKind.DNS, FaultAction.LATE, amount=ns) for ns in LATE_NAMES_NS),
    )
    taken = {fault.kind for fault in scenario.faults}
    yield from (several for several in offered if several and several[0].kind not in taken)


def _ports(scenario: Scenario) -> list[int]:
    """At which it has clients: of one that is cut they are gone without a word."""
    ready = scenario.readiness
    known = (ready.http_port, ready.tcp_port, *(client.port for client in scenario.traffic))
    return list(dict.fromkeys(port for port in known if port is not None))


def _mounts(scenario: Scenario) -> tuple[Mount, ...]:
    """Of the container that is stopped, also where it is one of a group."""
    group = scenario.subject.group
    subject = scenario.subject if group is None else group.stopped is not None and group.member(group.stopped).subject
    return subject.settings.mounts if subject else ()


def _small_disks(scenario: Scenario) -> Iterator[str]:
    """Where it has a tmpfs with a size: nothing else is ever filled."""
    for mount in _mounts(scenario):
        if mount.kind is MountKind.TMPFS and "size=" in mount.options:
            yield mount.target


def _writable(scenario: Scenario) -> Iterator[str]:
    """Where it has a volume, a tmpfs or a folder of this machine that it may write to."""
    for mount in _mounts(scenario):
        if not mount.read_only and "ro" not in mount.options.split(","):
            yield mount.target


def _of_neighbours(scenario: Scenario) -> Iterator[Fault]:
    """Of a group of which one is stopped, the others go."""
    group = scenario.subject.group
    if group is None or group.stopped is None:
        return
    for member in group.members:
        if member.name != group.stopped and member.role is not Role.INIT:
            for action in (FaultAction.KILL, FaultAction.CUT, FaultAction.PAUSE):
                yield Fault(FaultKind.DEPENDENCY, action, target=member.name)


def _clients(scenario: Scenario) -> Iterator[TrafficClient]:
    """One of each kind that the scenario's ports take: its own first, then what any HTTP server has to bear."""
    if scenario.load_balancer is not None:
        return
    own: dict[tuple[TrafficKind, int], TrafficClient] = {}
    for client in scenario.traffic:
        own.setdefault((client.kind, client.port), replace(client, clients=1))
    yield from own.values()
    ready = scenario.readiness
    http = next((client for client in scenario.traffic if client.kind is TrafficKind.HTTP), None)
    if http is None and ready.http_port is not None:
        http = TrafficClient(TrafficKind.HTTP, ready.http_port, ready.http_path, think_ns=ONE_REQUEST_NS)
    if http is not None:
        for kind in HTTP_KINDS:
            if (kind, http.port) not in own:
                usual_ns = TrafficClient(kind, http.port).think_ns
                yield replace(http, kind=kind, clients=1, think_ns=http.think_ns if kind is http.kind else usual_ns)
    port = http.port if http is not None else ready.tcp_port
    if port is not None and (TrafficKind.IDLE, port) not in own:
        tls = http is not None and http.tls
        yield TrafficClient(TrafficKind.IDLE, port, tls=tls)
