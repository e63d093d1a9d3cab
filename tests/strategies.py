"""Hypothesis strategies shared by the tests of the pure parts: scenarios and the timelines of stops."""

from __future__ import annotations

import posixpath
import re
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import yaml
from hypothesis import strategies as st

from stop_harness import signals, units
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    ContainerSettings,
    Content,
    EngineInfo,
    Event,
    EventKind,
    Exchange,
    Expectation,
    FileProperty,
    HealthCheck,
    LogProperty,
    Mount,
    MountKind,
    Observation,
    Outcome,
    PortProperty,
    Preparation,
    Property,
    Readiness,
    Scenario,
    StopPlan,
    StopRecord,
    Subject,
    TrafficClient,
    TrafficKind,
    Ulimit,
)
from stop_harness.scenario import setting_values

SOURCE = "folder/file.yaml"
"""Where the generated scenarios are said to stand."""

SIGKILL_CODE = 128 + signals.SIGKILL


# ── Scenarios ────────────────────────────────────────────────────────────────────────────────────────────────────────


# A strategy is made once: what hypothesis has to find out about one takes longer than an example of it.


@cache
def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """None, or one of it."""
    return st.none() | strategy


@cache
def durations_ns(min_ms: int = 0, max_ms: int = 3_600_000) -> st.SearchStrategy[int]:
    """Whole milliseconds, in nanoseconds."""
    return st.integers(min_ms, max_ms).map(lambda value: value * NS_PER_MS)


names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
ports = st.integers(1, 65535)
words = st.lists(texts, min_size=1, max_size=4).map(tuple)
pairs = st.dictionaries(texts, st.text(st.characters(codec="utf-8"), max_size=20), max_size=3).map(
    lambda mapping: tuple(mapping.items())
)
signal_names = st.integers(1, signals.RTMAX).map(signals.name)
literals = texts.map(re.escape)
folders = names.filter(lambda name: name.strip("."))
users = st.from_regex(r"[a-z][a-z0-9-]{0,8}(:[0-9]{1,4})?", fullmatch=True)
exit_codes = st.lists(st.integers(0, 255), max_size=3).map(tuple)
published = st.dictionaries(ports, st.none() | ports, max_size=3)
volumes = st.lists(folders, max_size=2, unique=True)
capabilities = st.lists(st.sampled_from(sorted(setting_values.CAPABILITIES)), max_size=2)
soft_limits = st.dictionaries(st.sampled_from(sorted(setting_values.ULIMITS)), st.integers(0, 99), max_size=2)
nano_cpus = st.integers(1, 800).map(lambda hundredths: hundredths * 10_000_000)
memory_sizes = st.integers(1, 2**40)
pids_limits = st.integers(1, 4_194_304)
networks = st.sampled_from(["none", "host", "shop_default"])
health_checks = st.builds(HealthCheck, words.map(lambda found: ("CMD", *found)), durations_ns())
stop_timeouts = st.lists(durations_ns(), min_size=1, max_size=4, unique=True)
moments = st.lists(durations_ns(), min_size=1, max_size=3, unique=True)


@cache
@st.composite
def subjects(draw: st.DrawFn) -> Subject:
    """An image, or a build below the scenario's folder."""
    built = draw(st.booleans())
    return Subject(
        image=None if built else draw(texts),
        build_directory=f"folder/{draw(names.filter(lambda name: name.strip('.')))}" if built else None,
        dockerfile=draw(maybe(texts)) if built else None,
        build_args=draw(pairs) if built else (),
        entrypoint=draw(maybe(words)),
        command=draw(maybe(words)),
        environment=draw(pairs),
        user=draw(maybe(users)),
        working_directory=draw(maybe(texts)),
        ports=tuple(draw(published).items()),
        init=draw(st.booleans()),
        memory_bytes=draw(maybe(memory_sizes)),
        pids_limit=draw(maybe(pids_limits)),
        settings=draw(container_settings()),
    )


@cache
@st.composite
def container_settings(draw: st.DrawFn) -> ContainerSettings:
    """Of every kind of value that a setting can have, some."""
    targets = draw(volumes)
    return ContainerSettings(
        tty=draw(st.booleans()),
        mounts=tuple(Mount(MountKind.VOLUME, f"/{name}", name, draw(st.booleans())) for name in targets),
        cap_add=tuple(draw(capabilities)),
        ulimits=tuple(Ulimit(name, soft, soft + 1) for name, soft in draw(soft_limits).items()),
        nano_cpus=draw(maybe(nano_cpus)),
        network=draw(maybe(networks)),
        labels=tuple(pair for pair in draw(pairs) if not pair[0].startswith(setting_values.OURS)),
        healthcheck=draw(maybe(health_checks)),
    )


@cache
@st.composite
def stop_plans(draw: st.DrawFn) -> StopPlan:
    """One to four stop timeouts, one to three moments."""
    return StopPlan(
        timeouts_ns=tuple(draw(stop_timeouts)),
        signal=draw(maybe(signal_names)),
        after_ns=tuple(draw(moments)),
    )


contents = st.builds(
    Content,
    contains=st.none() | texts.filter(bool),
    matches=st.none() | literals,
    equals=st.none() | texts,
    ends_with_newline=st.booleans(),
    json=st.booleans(),
    json_lines=st.booleans(),
)
paths = st.text("abc/", min_size=1, max_size=8).map(lambda text: posixpath.normpath(f"/x/{text}"))
properties: st.SearchStrategy[tuple[Property, ...]] = st.lists(
    st.builds(FileProperty, paths, contents)
    | st.builds(FileProperty, paths, exists=st.just(False))
    | st.builds(LogProperty, literals, written=st.booleans())
    | st.builds(PortProperty, ports),
    max_size=3,
).map(tuple)
"""Those that need nothing else of the scenario."""


some_outcomes = st.lists(st.sampled_from(Outcome), min_size=1, max_size=3)


@st.composite
def expectations(draw: st.DrawFn, timeouts_ns: tuple[int, ...]) -> tuple[Expectation, ...]:
    """At most one for each stop timeout and one for all others."""
    named = draw(st.lists(st.sampled_from([None, *timeouts_ns]), min_size=1, unique=True))
    return tuple(
        Expectation(
            outcomes=tuple(draw(some_outcomes)),
            stop_timeout_ns=timeout_ns,
            within_ns=draw(maybe(durations_ns())),
            exit_codes=draw(maybe(exit_codes)),
            after_stop=draw(properties),
        )
        for timeout_ns in named
    )


@cache
@st.composite
def readinesses(draw: st.DrawFn) -> Readiness:
    """Any combination of conditions."""
    http = draw(maybe(ports))
    return Readiness(
        log=draw(maybe(literals)),
        tcp_port=draw(maybe(ports)),
        http_port=http,
        http_path="/" if http is None else "/" + draw(texts),
        healthcheck=draw(st.booleans()),
        delay_ns=draw(durations_ns()),
        timeout_ns=draw(durations_ns()),
    )


some_bytes = st.binary(min_size=1, max_size=8)
header_names = st.from_regex("X-[A-Za-z]{1,8}", fullmatch=True)
visible = st.characters(min_codepoint=33, max_codepoint=126)
header_values = st.text(visible, max_size=8)
headers = st.dictionaries(header_names, header_values, max_size=2)
url_paths = st.text(visible, max_size=10)
bodies = st.binary(max_size=8)
one_sided = st.builds(Exchange, some_bytes) | st.builds(Exchange, st.none(), some_bytes)
raw_exchanges = st.lists(one_sided | st.builds(Exchange, some_bytes, some_bytes), max_size=3)
messages = st.lists(st.builds(Exchange, bodies, st.none() | bodies), max_size=1)


@cache
@st.composite
def traffic_clients(draw: st.DrawFn) -> TrafficClient:
    """One client of any kind, with whatever applies to its kind."""
    kind = draw(st.sampled_from(TrafficKind))
    raw, tls = kind in {TrafficKind.TCP, TrafficKind.IDLE}, draw(st.booleans())
    exchanges = draw(raw_exchanges) if raw else []
    if kind is TrafficKind.TCP:
        exchanges.append(Exchange(draw(maybe(some_bytes)), draw(some_bytes)))
    http: dict[str, Any] = {}
    if not raw:
        http["path"] = "/" + draw(url_paths)
        http["headers"] = tuple(draw(headers).items())
    if not raw and kind is not TrafficKind.WEBSOCKET:
        http["method"] = draw(st.sampled_from(["GET", "POST"]))
        http["body"] = draw(maybe(bodies))
    if kind is TrafficKind.MESSAGES:
        http["body"] = b"{id}" + draw(bodies)
    if kind is TrafficKind.GRPC:
        http |= {"path": "/a.B/C", "method": "POST", "body": draw(bodies)}
    if kind is TrafficKind.WEBSOCKET:
        exchanges = draw(messages)
    pace: dict[str, Any] = {"think_ns": draw(durations_ns()), "lead_ns": draw(durations_ns())}
    every: dict[str, Any] = {"every_ns": draw(durations_ns(min_ms=10))}
    return TrafficClient(
        kind,
        draw(ports),
        **http,
        exchanges=tuple(exchanges),
        clients=draw(st.integers(1, 5000)),
        **(pace if kind.in_flight else {}),
        **(every if kind is TrafficKind.NEW_CONNECTIONS else {}),
        **({"lead_ns": pace["lead_ns"], **every} if kind is TrafficKind.MESSAGES else {}),
        tls=tls,
        verify=tls and draw(st.booleans()),
        timeout_ns=draw(durations_ns()),
    )


clients = st.lists(traffic_clients(), max_size=3)
patience = st.none() | durations_ns()
preparations = st.builds(Preparation, words, st.none(), patience) | st.builds(
    Preparation, st.none(), texts.map(re.escape), patience
)
steps = st.lists(preparations, max_size=2)


@cache
@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Anything that a scenario file can say."""
    stop = draw(stop_plans())
    return Scenario(
        name=draw(names),
        subject=draw(subjects()),
        description=draw(texts.map(str.strip)),
        readiness=draw(readinesses()),
        stop=stop,
        repeat=draw(st.integers(1, 10_000)),
        expectations=draw(expectations(stop.timeouts_ns)),
        traffic=tuple(sorted(draw(clients), key=_place_in_file)),
        before_stop=tuple(draw(steps)),
        source=SOURCE,
    )


def _place_in_file(client: TrafficClient) -> int:
    return list(TrafficKind).index(client.kind)


def yaml_of(scenario: Scenario) -> str:
    """The file that a person would write for it; written from the reference, not from the parser."""
    subject, ready, stop = scenario.subject, scenario.readiness, scenario.stop
    data = {
        "version": 1,
        "name": scenario.name,
        "description": scenario.description,
        "subject": _present(
            image=subject.image,
            build=subject.build_directory and subject.build_directory.removeprefix("folder/"),
            dockerfile=subject.dockerfile,
            build_args=dict(subject.build_args) or None,
            entrypoint=subject.entrypoint and list(subject.entrypoint),
            command=subject.command and list(subject.command),
            environment=dict(subject.environment) or None,
            user=subject.user,
            working_directory=subject.working_directory,
            ports=dict(subject.ports) or None,
            init=subject.init or None,
            memory=subject.memory_bytes,
            pids_limit=-1 if subject.pids_limit is None else subject.pids_limit,
            **_settings(subject.settings),
        ),
        "ready": _present(
            log=ready.log,
            tcp=ready.tcp_port,
            http=None if ready.http_port is None else {"port": ready.http_port, "path": ready.http_path},
            healthcheck=ready.healthcheck or None,
            delay=units.format_duration(ready.delay_ns),
            timeout=units.format_duration(ready.timeout_ns),
        ),
        "before_stop": [
            _present(
                execute=step.execute and list(step.execute),
                log=step.log,
                timeout=None if step.timeout_ns is None else units.format_duration(step.timeout_ns),
            )
            for step in scenario.before_stop
        ],
        "traffic": {
            str(kind): [_traffic(client) for client in scenario.traffic if client.kind is kind]
            for kind in dict.fromkeys(client.kind for client in scenario.traffic)
        },
        "stop": _present(
            timeouts=[units.format_duration(value) for value in stop.timeouts_ns],
            signal=stop.signal,
            after=[units.format_duration(value) for value in stop.after_ns],
        ),
        "repeat": scenario.repeat,
        "expect": [
            _present(
                outcome=[str(outcome) for outcome in item.outcomes],
                timeout=None if item.stop_timeout_ns is None else units.format_duration(item.stop_timeout_ns),
                within=None if item.within_ns is None else units.format_duration(item.within_ns),
                exit_codes=None if item.exit_codes is None else list(item.exit_codes),
                after_stop=[_property(asked) for asked in item.after_stop] or None,
            )
            for item in scenario.expectations
        ],
    }
    return yaml.safe_dump(data, sort_keys=False)


def _property(asked: Property) -> dict[str, Any]:
    """One entry of `after_stop`."""
    match asked:
        case FileProperty():
            given = asdict(asked.content)
            conditions = {key: value for key, value in given.items() if value not in {None, False}}
            return {"file": asked.path, **({} if asked.exists else {"exists": False}), **conditions}
        case LogProperty():
            return {"log" if asked.written else "no_log": asked.pattern}
        case PortProperty():
            return {"port_free": asked.port}
    raise AssertionError(asked)


def _settings(it: ContainerSettings) -> dict[str, Any]:
    """Keys of `subject`, in the forms that people write."""
    check = it.healthcheck
    return _present(
        tty=it.tty or None,
        volumes=[f"{mount.source}:{mount.target}{':ro' if mount.read_only else ''}" for mount in it.mounts] or None,
        cap_add=list(it.cap_add) or None,
        ulimits={limit.name: {"soft": limit.soft, "hard": limit.hard} for limit in it.ulimits} or None,
        cpus=None if it.nano_cpus is None else it.nano_cpus / 1e9,
        network=it.network,
        labels=dict(it.labels) or None,
        healthcheck=check and {"test": list(check.test), "interval": units.format_duration(check.interval_ns or 0)},
    )


def _traffic(client: TrafficClient) -> dict[str, Any]:
    """One entry below a kind of traffic; only keys that the kind has."""
    raw, web = client.kind in {TrafficKind.TCP, TrafficKind.IDLE}, client.kind is TrafficKind.WEBSOCKET
    call, paced = client.kind is TrafficKind.GRPC, client.kind.in_flight
    body = None if client.body is None else {"hex": client.body.hex()}
    message = client.exchanges[0] if web and client.exchanges else Exchange()
    return _present(
        port=client.port,
        clients=client.clients,
        tls=client.tls,
        verify=client.verify,
        timeout=units.format_duration(client.timeout_ns),
        path=None if raw else client.path,
        method=None if raw or web or call else client.method,
        headers=None if raw else dict(client.headers),
        body=None if call else body,
        message=body if call else None,
        send=None if message.send is None else {"hex": message.send.hex()},
        expect=None if message.expect is None else {"hex": message.expect.hex()},
        exchanges=[
            _present(
                send=None if step.send is None else step.send.decode("latin-1"),
                expect=None if step.expect is None else {"hex": step.expect.hex()},
            )
            for step in client.exchanges
            if raw
        ]
        or None,
        think=units.format_duration(client.think_ns) if paced else None,
        lead=units.format_duration(client.lead_ns) if paced or client.kind is TrafficKind.MESSAGES else None,
        every=units.format_duration(client.every_ns)
        if client.kind in {TrafficKind.NEW_CONNECTIONS, TrafficKind.MESSAGES}
        else None,
    )


def _present(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


# ── Stops ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def engine(
    name: str, *, observes_sigkill: bool = True, reports_oom: bool = True, pid1_rules: bool = True
) -> EngineInfo:
    """An engine by what it can prove."""
    return EngineInfo(
        name=name,
        product=name,
        version="1",
        host="here",
        pid1_rules=pid1_rules,
        whole_seconds=False,
        observes_sigkill=observes_sigkill,
        reports_oom=reports_oom,
        runs_images=True,
    )


DOCKER = engine("docker")
PODMAN = engine("podman", observes_sigkill=False)
PROCESS = engine("process", reports_oom=False)
ENGINES = (DOCKER, PODMAN, PROCESS)

STAMP_ERROR_NS = 10 * NS_PER_MS
"""Docker stamps its `kill` event up to 10 ms after the signal; see `stop_sequence.DEADLINE_TOLERANCE_NS`."""
EARLY_EXIT_STAMP_NS = 5 * NS_PER_MS
"""Podman's `FinishedAt` runs up to 5 ms early."""
SIGKILL_DELAY_NS = (10 * NS_PER_MS, 35 * NS_PER_MS)
"""Engines send SIGKILL this long after the deadline."""


@dataclass(frozen=True)
class Behaviour:
    """A subject, whatever stop timeout it is given.

    `leaves_after_ns` None: never by itself. `oom_after_ns`: the OOM killer ends PID 1 that long after the stop signal,
    if it is still there.
    """

    leaves_after_ns: int | None
    exit_code: int = 0
    oom_after_ns: int | None = None


@dataclass(frozen=True)
class Jitter:
    """How far the stamps of one stop are off, within what was measured."""

    signal_stamp_ns: int = 0
    exit_stamp_ns: int = 0
    sigkill_delay_ns: int = SIGKILL_DELAY_NS[0]
    sigkill_stamp_ns: int = 0
    call_late_ns: int = 0
    dies_after_ns: int = NS_PER_MS


@dataclass(frozen=True)
class Stop:
    """A stop as it really went, and what the engine put on record of it."""

    observation: Observation
    ended_by_sigkill: bool
    ended_by_oom: bool
    really_took_ns: int


behaviours = st.builds(
    Behaviour,
    leaves_after_ns=st.none() | durations_ns(0, 40_000),
    exit_code=st.sampled_from([0, 1, 3, 137, 139, 143, 255]) | st.integers(0, 255),
    oom_after_ns=st.none() | st.none() | durations_ns(0, 40_000),
)
jitters = st.builds(
    Jitter,
    signal_stamp_ns=st.integers(0, STAMP_ERROR_NS),
    exit_stamp_ns=st.integers(-EARLY_EXIT_STAMP_NS, 0),
    sigkill_delay_ns=st.integers(*SIGKILL_DELAY_NS),
    sigkill_stamp_ns=st.integers(0, STAMP_ERROR_NS),
    call_late_ns=st.integers(14 * NS_PER_MS, 115 * NS_PER_MS),
    dies_after_ns=st.integers(0, 5 * NS_PER_MS),
)
stop_timeouts_ns = durations_ns(0, 40_000)


def really(behaviour: Behaviour, stop_timeout_ns: int, jitter: Jitter) -> tuple[int, int, bool, bool]:
    """(when PID 1 ended after the stop signal, exit code, by the engine's SIGKILL, by the OOM killer)."""
    ends = [(stop_timeout_ns + jitter.sigkill_delay_ns + jitter.dies_after_ns, SIGKILL_CODE, True, False)]
    if behaviour.leaves_after_ns is not None:
        ends.append((behaviour.leaves_after_ns, behaviour.exit_code, False, False))
    if behaviour.oom_after_ns is not None:
        ends.append((behaviour.oom_after_ns, SIGKILL_CODE, False, True))
    return min(ends, key=lambda end: end[0])


def stop(behaviour: Behaviour, stop_timeout_ns: int, engine: EngineInfo, jitter: Jitter) -> Stop:
    """The stop sequence as every engine runs it, recorded as this engine records it."""
    took_ns, code, sigkill, oom = really(behaviour, stop_timeout_ns, jitter)
    kernel = engine.name == "process"
    signalled_ns = 1_000 * NS_PER_S
    sigkill_ns = stop_timeout_ns + jitter.sigkill_delay_ns
    clock = Clock.KERNEL if kernel else Clock.ENGINE
    blur = Jitter() if kernel else jitter
    events = [
        Event(EventKind.STOP_REQUESTED, 5 * NS_PER_S, Clock.HARNESS, "stop call"),
        Event(
            EventKind.STOP_RETURNED, 5 * NS_PER_S + took_ns + jitter.call_late_ns, Clock.HARNESS, "stop call returned"
        ),
        Event(EventKind.EXITED, signalled_ns + took_ns + blur.exit_stamp_ns, clock, "exit"),
    ]
    if not kernel:
        events.append(Event(EventKind.STOP_REQUESTED, signalled_ns - 10 * NS_PER_MS, clock, "stop call"))
    if engine.observes_sigkill:
        at_ns = signalled_ns + blur.signal_stamp_ns
        events.append(Event(EventKind.SIGNAL_SENT, at_ns, clock, "kill event", signals.SIGTERM))
        if sigkill_ns < took_ns or sigkill:
            at_ns = signalled_ns + sigkill_ns + blur.sigkill_stamp_ns
            events.append(Event(EventKind.SIGNAL_SENT, at_ns, clock, "kill event", signals.SIGKILL))
    if oom and engine.reports_oom:
        events.append(Event(EventKind.OOM, signalled_ns + took_ns, clock, "oom event"))
    observation = Observation(
        trial_id="a@1s#1",
        scenario="a",
        engine=engine,
        stop_timeout_ns=stop_timeout_ns,
        stop_after_ns=0,
        repetition=1,
        started_at="2026-11-23T12:00:00.000+00:00",
        record=StopRecord(
            stop_signal=signals.SIGTERM,
            events=tuple(sorted(events, key=lambda event: (event.clock, event.at_ns))),
            exit_code=code,
            exit_signal=signals.SIGKILL if kernel and (sigkill or oom) else None,
            oom_killed=oom if engine.reports_oom else None,
            lost_processes=(),
        ),
    )
    return Stop(observation, sigkill, oom, took_ns)


@st.composite
def stops(
    draw: st.DrawFn, engines: tuple[EngineInfo, ...] = ENGINES, behaviours: st.SearchStrategy[Behaviour] = behaviours
) -> Stop:
    """Any stop that the stop sequence allows, on any kind of engine; half of them near the deadline."""
    timeout_ns = draw(stop_timeouts_ns)
    behaviour = draw(behaviours)
    if draw(st.booleans()):
        near_ns = max(0, timeout_ns + draw(st.integers(-60, 60)) * NS_PER_MS)
        behaviour = Behaviour(near_ns, behaviour.exit_code, behaviour.oom_after_ns)
    return stop(behaviour, timeout_ns, draw(st.sampled_from(engines)), draw(jitters))
