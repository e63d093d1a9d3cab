"""A folder with a case.json → what is stopped, as a scenario, and what is known about it."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from stop_harness import units
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Exchange,
    Expectation,
    Outcome,
    Preparation,
    Readiness,
    Scenario,
    StopPlan,
    Subject,
    TrafficClient,
    TrafficKind,
)

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "STOP_HARNESS_KNOWN_STOPS"
IMAGES = "known-stops"

SETTLE_NS = 500 * NS_PER_MS
"""An open port or a log line may come before the signal handler; the known stops are about the stop, not the start."""
SLOW_S = 2
"""The slow answer takes this long, whatever the server."""
LEAD_NS = 800 * NS_PER_MS
"""How long before the stop the slow request is sent, so that it would end about 1.2 s after it."""
CLIENTS = 2


# ── case.json ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ReadyJson:
    """`ready`; times in seconds."""

    tcp: int | None = None
    log: str | None = None
    sleep: float = 0
    timeout: float = 30


@dataclass(frozen=True)
class ProbeJson:
    """`probe`: how the server is talked to. `slow` is the path of an answer that takes 2 s."""

    kind: str
    port: int
    slow: str | None = None
    fast: str | None = None
    script: str | None = None


@dataclass(frozen=True)
class ExpectJson:
    """What was measured twice with the same outcome."""

    outcomes: tuple[Outcome, ...]
    exit_codes: tuple[int, ...]
    engine_sigkill: bool
    oom_killed: bool
    shutdown_s: tuple[float, float]
    requests_in_flight: tuple[str, ...]
    processes_killed_silently: tuple[str, ...]


@dataclass(frozen=True)
class RunJson:
    """One stop. `cause` None: graceful, or lossy by design."""

    scenario: str
    stop_timeout_s: int
    expect: ExpectJson
    cause: str | None


@dataclass(frozen=True)
class CaseJson:
    """One image; only what is used here."""

    id: str
    run_args: tuple[str, ...]
    command: tuple[str, ...]
    ready: ReadyJson
    probe: ProbeJson | None
    before_stop: tuple[tuple[str, ...], ...]
    runs: tuple[RunJson, ...]


# ── One stop ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class KnownStop:
    """A scenario with a single trial, and what is known to come of it."""

    case: str
    scenario: Scenario
    known: ExpectJson
    cause: str | None

    @property
    def name(self) -> str:
        """Unique within the set."""
        return self.scenario.name

    @property
    def good(self) -> bool:
        """Whether `graceful` is among the right answers."""
        return Outcome.GRACEFUL in self.known.outcomes

    @property
    def requests_lost(self) -> int:
        """How many of the requests in flight are known to be cut."""
        return sum(not fate.startswith("completed") for fate in self.known.requests_in_flight)

    @property
    def killed_silently(self) -> bool:
        """Whether processes are known to have been SIGKILLed in a stop in which the engine sent no SIGKILL."""
        return bool(self.known.processes_killed_silently) and not self.known.engine_sigkill


def folder() -> Path:
    """Where the cases lie, whether or not there is anything."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else ROOT.parent / "shared" / "known-stops"


def load(directory: Path) -> tuple[KnownStop, ...]:
    """Every stop of every case; empty where the folder is missing."""
    adapter = TypeAdapter(CaseJson)
    files = sorted(directory.glob("*/case.json"))
    cases = (adapter.validate_json(file.read_bytes()) for file in files)
    return tuple(_known_stop(case, run) for case in cases for run in case.runs)


def image(case: str) -> str:
    """The image that `images.build` makes of a case."""
    return f"{IMAGES}/{case}"


def _known_stop(case: CaseJson, run: RunJson) -> KnownStop:
    """Exit codes are not handed to the judge: it has to find out by itself, as for an image nobody measured."""
    options = dict(_options(case.run_args))
    timeout_s = int(options.get("--stop-timeout", run.stop_timeout_s))
    scenario = Scenario(
        name=f"{case.id}-{run.scenario}-{timeout_s}s",
        subject=Subject(
            image=image(case.id),
            command=case.command or None,
            init="--init" in options,
            memory_bytes=units.parse_size(options["--memory"]) if "--memory" in options else None,
        ),
        readiness=_readiness(case.ready),
        stop=StopPlan((timeout_s * NS_PER_S,)),
        expectations=(Expectation(outcomes=run.expect.outcomes),),
        traffic=_traffic(case.probe, run.scenario),
        before_stop=tuple(_preparation(step) for step in case.before_stop),
    )
    return KnownStop(case.id, scenario, run.expect, run.cause)


def _options(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """The options of `docker run` that occur. `--memory-swap` equals `--memory`, which is what the harness does."""
    found, rest = [], list(words)
    while rest:
        option = rest.pop(0)
        if option not in {"--init", "--memory", "--memory-swap", "--stop-timeout"}:
            raise ValueError(f"run_args: {option} is not translated")
        found.append((option, "" if option == "--init" else rest.pop(0)))
    return found


def _readiness(ready: ReadyJson) -> Readiness:
    return Readiness(
        log=ready.log,
        tcp_port=ready.tcp,
        delay_ns=int(2 * ready.sleep * NS_PER_S) + SETTLE_NS,  # twice: `sleep` was measured on a quiet machine
        timeout_ns=int(ready.timeout * NS_PER_S),
    )


def _preparation(step: tuple[str, ...]) -> Preparation:
    verb, *words = step
    if verb == "exec":
        return Preparation(execute=tuple(words))
    if verb == "waitlog":
        return Preparation(log=words[0])
    raise ValueError(f"before_stop: {verb} is not translated")


# ── Traffic ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _traffic(probe: ProbeJson | None, scenario: str) -> tuple[TrafficClient, ...]:
    if scenario == "idle":
        return ()
    if probe is None:
        raise ValueError(f"scenario {scenario} needs a probe")
    if scenario == "keepalive":
        return (TrafficClient(TrafficKind.KEEP_ALIVE, probe.port, path=probe.fast or "/"),)
    if scenario == "openclient":
        return (_held(probe),)
    if scenario in {"inflight", "slow5"}:
        return _in_flight(probe, SLOW_S if scenario == "inflight" else 5)
    raise ValueError(f"scenario {scenario} is not translated")


def _held(probe: ProbeJson) -> TrafficClient:
    """A client that has connected, said what its protocol says first, and now waits."""
    exchanges = (_PG_GREETING,) if probe.kind == "pg" else ()
    return TrafficClient(TrafficKind.IDLE, probe.port, exchanges=exchanges)


def _in_flight(probe: ProbeJson, slow_s: int) -> tuple[TrafficClient, ...]:
    """Requests that are being worked on when the stop comes. A database client keeps its connection afterwards."""
    if probe.kind == "http":
        path = (probe.slow or "/") + ("" if slow_s == SLOW_S else f"?s={slow_s}")
        return (TrafficClient(TrafficKind.HTTP, probe.port, path=path, clients=CLIENTS, lead_ns=LEAD_NS),)
    if probe.kind == "pg":
        return (_talking(probe, _PG_GREETING, _pg_query(slow_s)), _held(probe))
    if probe.kind == "fcgi":
        return (_talking(probe, _fcgi_request(probe.script or "")),)
    raise ValueError(f"probe {probe.kind} is not translated")


def _talking(probe: ProbeJson, *exchanges: Exchange) -> TrafficClient:
    return TrafficClient(TrafficKind.TCP, probe.port, exchanges=exchanges, clients=CLIENTS, lead_ns=LEAD_NS)


def _pg_message(kind: bytes, body: bytes) -> bytes:
    """PostgreSQL, "Message Formats": type, length with itself, body."""
    return kind + struct.pack("!i", 4 + len(body)) + body


_PG_PROTOCOL_3 = struct.pack("!i", 196608)
_PG_GREETING = Exchange(
    send=_pg_message(b"", _PG_PROTOCOL_3 + b"user\0postgres\0database\0postgres\0\0"),
    expect=_pg_message(b"Z", b"I"),  # ReadyForQuery, idle
)


def _pg_query(slow_s: int) -> Exchange:
    sql = f"select 7 from pg_sleep({slow_s})"
    return Exchange(send=_pg_message(b"Q", sql.encode() + b"\0"), expect=_pg_message(b"C", b"SELECT 1\0"))


def _fcgi_request(script: str) -> Exchange:
    """FastCGI 1.0, one GET: BEGIN_REQUEST (responder, close afterwards), PARAMS, end of PARAMS, end of STDIN."""
    parameters = {
        "SCRIPT_FILENAME": script,
        "SCRIPT_NAME": script,
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/slow",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    pairs = b"".join(bytes([len(name), len(value)]) + (name + value).encode() for name, value in parameters.items())
    records = ((1, struct.pack("!HB5x", 1, 0)), (4, pairs), (4, b""), (5, b""))
    send = b"".join(struct.pack("!BBHHBx", 1, kind, 1, len(body), 0) + body for kind, body in records)
    return Exchange(send=send, expect=b"ok\n")
