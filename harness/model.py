"""The nouns, in the order in which they come into being: Scenario, Trial, Observation, Verdict, Report.

Every record is frozen. Quantities carry their unit in the name; times are integer nanoseconds in memory and
seconds in files and reports. This module imports the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

ECS_STOP_TIMEOUT_S = 30
"""Default stop timeout of Amazon ECS (`ECS_CONTAINER_STOP_TIMEOUT`); the line that compliance is measured against.
Source: AWS CLI reference, `ecs stop-task`."""


# ── 1. What the user asks for ────────────────────────────────────────────────────────────────────────────────────────


class Outcome(StrEnum):
    """What one trial came to; exactly one. `docs/outcomes.md` describes each."""

    GRACEFUL = "graceful"
    LOSSY = "lossy"
    KILLED = "killed"
    CRASHED = "crashed"
    OOM_KILLED = "oom_killed"
    NOT_RUNNING = "not_running"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Subject:
    """The container that is stopped. Exactly one of `image` and `build_directory` is set.

    `entrypoint` and `command` are None where the image's own apply. `ports` maps container port to a fixed host
    port, None meaning that the engine picks a free one. `memory_bytes` None means no limit.
    """

    image: str | None = None
    build_directory: str | None = None
    dockerfile: str | None = None
    build_args: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    environment: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    working_directory: str | None = None
    ports: tuple[tuple[int, int | None], ...] = ()
    init: bool = False
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Readiness:
    """When the subject counts as ready to be stopped: every condition that is given holds, then `delay_ns` passes.

    `log` is a regular expression searched in standard output and standard error. `http_path` belongs to
    `http_port`. `handler`: PID 1, or the program below an init, takes the stop signal, by the process table. Not ready
    within `timeout_ns` makes the trial inconclusive.
    """

    log: str | None = None
    tcp_port: int | None = None
    http_port: int | None = None
    http_path: str = "/"
    healthcheck: bool = False
    handler: bool = False
    delay_ns: int = 0
    timeout_ns: int = 30 * NS_PER_S

    @property
    def ports(self) -> tuple[int, ...]:
        """Container ports that must be reachable for the conditions to be checked."""
        return tuple(port for port in (self.tcp_port, self.http_port) if port is not None)


_BYTES_AS_HEX: Any = {"ser_json_bytes": "hex", "val_json_bytes": "hex"}
"""How a stored run writes bytes that need not be text."""


class TrafficKind(StrEnum):
    """What a traffic client does."""

    HTTP = "http"
    """Requests one after the other on fresh connections, the last of them in flight when the stop comes."""
    TCP = "tcp"
    """A conversation in raw bytes, the last answer outstanding when the stop comes."""
    IDLE = "idle"
    """A connection that is opened, optionally greeted, and then only held."""
    KEEP_ALIVE = "keep_alive"
    """A connection with one finished HTTP request, and a second one after the stop signal."""
    STREAM = "stream"
    """An HTTP answer that never ends."""
    NEW_CONNECTIONS = "new_connections"
    """A fresh connection with one HTTP request, again and again during the drain."""


@dataclass(frozen=True)
class Exchange:
    """One step of a raw conversation: bytes sent, then bytes that the answer must contain. None: nothing sent, or no
    answer awaited."""

    __pydantic_config__ = _BYTES_AS_HEX

    send: bytes | None = None
    expect: bytes | None = None


@dataclass(frozen=True)
class TrafficClient:
    """One kind of traffic against one port of the subject, by `clients` clients at once.

    `think_ns`: pause between two requests of a client. `lead_ns`: how long before the stop the request (or the last
    exchange) is sent that is to be in flight. `every_ns`: pause between new connections. `tls`: speak TLS, without
    checking the certificate unless `verify`. `timeout_ns`: an answer that takes longer counts as timed out.
    """

    __pydantic_config__ = _BYTES_AS_HEX

    kind: TrafficKind
    port: int
    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    exchanges: tuple[Exchange, ...] = ()
    clients: int = 1
    think_ns: int = 50 * NS_PER_MS
    lead_ns: int = 500 * NS_PER_MS
    every_ns: int = 100 * NS_PER_MS
    tls: bool = False
    verify: bool = False
    timeout_ns: int = 60 * NS_PER_S


@dataclass(frozen=True)
class Preparation:
    """A step between readiness and the stop: a command in the container, or a log line to wait for."""

    execute: tuple[str, ...] | None = None
    log: str | None = None


@dataclass(frozen=True)
class StopPlan:
    """How the subject is stopped. `signal` None means the image's STOPSIGNAL, else SIGTERM."""

    timeouts_ns: tuple[int, ...] = (ECS_STOP_TIMEOUT_S * NS_PER_S,)
    signal: str | None = None
    after_ns: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Expectation:
    """What a trial must come to for its status to be `pass`.

    `stop_timeout_ns` None: applies to every stop timeout that no other expectation names. `within_ns` None: any
    duration. `exit_codes` None: 0 and 128 + stop signal are accepted.
    """

    outcomes: tuple[Outcome, ...] = (Outcome.GRACEFUL,)
    stop_timeout_ns: int | None = None
    within_ns: int | None = None
    exit_codes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Scenario:
    """One scenario file. `source` is the path it came from, None where there was no file (`check IMAGE`)."""

    name: str
    subject: Subject
    description: str = ""
    readiness: Readiness = Readiness()
    stop: StopPlan = StopPlan()
    repeat: int = 1
    expectations: tuple[Expectation, ...] = (Expectation(),)
    traffic: tuple[TrafficClient, ...] = ()
    before_stop: tuple[Preparation, ...] = ()
    source: str | None = None

    @property
    def reached_ports(self) -> tuple[int, ...]:
        """Container ports that readiness and traffic connect to."""
        return tuple(sorted({*self.readiness.ports, *(client.port for client in self.traffic)}))

    def expectation_at(self, stop_timeout_ns: int) -> Expectation:
        """The expectation for one stop timeout: the one that names it, else the one that names none."""
        general = Expectation()
        for expectation in self.expectations:
            if expectation.stop_timeout_ns == stop_timeout_ns:
                return expectation
            if expectation.stop_timeout_ns is None:
                general = expectation
        return general


# ── 2. What will be done ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Trial:
    """One stop of one fresh container. `trial_id` is stable: the same scenario gives the same ids on every machine."""

    trial_id: str
    scenario: Scenario
    stop_timeout_ns: int
    stop_after_ns: int
    repetition: int


@dataclass(frozen=True)
class SkippedScenario:
    """A scenario that the chosen engine cannot run, with the reason for people."""

    scenario: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a run will do, longest stop timeouts first within each scenario's trials."""

    trials: tuple[Trial, ...]
    skipped: tuple[SkippedScenario, ...] = ()


# ── 3. What happened ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class EngineInfo:
    """An engine as it answered, and what it can prove.

    `pid1_rules`: the subject is PID 1 of a PID namespace, so the kernel drops signals without a handler.
    `whole_seconds`: stop timeouts must be whole seconds. `observes_sigkill`: the engine reports its own SIGKILL.
    `reports_oom`: the engine's OOM flag can be trusted. `runs_images`: container images, memory limits and an init
    are available. `host` is how it was reached, for people. `proves_lost_processes`: it tells which processes PID 1 or
    others of the container took down with SIGKILL.
    """

    name: str
    product: str
    version: str
    host: str
    pid1_rules: bool
    whole_seconds: bool
    observes_sigkill: bool
    reports_oom: bool
    runs_images: bool
    caveats: tuple[str, ...] = ()
    proves_lost_processes: bool = False


class Clock(StrEnum):
    """Who stamped an event. Both ends of a duration come from one clock."""

    ENGINE = "engine"
    """Wall clock of the engine's machine, ns since the epoch."""
    KERNEL = "kernel"
    """CLOCK_MONOTONIC of the process that waits for PID 1."""
    HARNESS = "harness"
    """CLOCK_MONOTONIC of the harness; late by the way to the engine and back."""
    VIRTUAL = "virtual"
    """The simulated engine's clock."""


class EventKind(StrEnum):
    """Steps of one trial."""

    STARTED = "started"
    READY = "ready"
    STOP_REQUESTED = "stop_requested"
    SIGNAL_SENT = "signal_sent"
    OOM = "oom"
    EXITED = "exited"
    STOP_RETURNED = "stop_returned"


@dataclass(frozen=True)
class Event:
    """One thing that happened, stamped by one clock.

    `source` names the engine's own record ("kill event timeNano", "State.FinishedAt"). `signal` is set on
    `signal_sent`. The same step may stand in the timeline once per source.
    """

    kind: EventKind
    at_ns: int
    clock: Clock
    source: str
    signal: int | None = None


class ProblemKind(StrEnum):
    """Why a trial says nothing about the container, or stopped short."""

    START_FAILED = "start_failed"
    """The engine could not start it for a reason that is not the command's (port taken, no such network)."""
    COMMAND_NOT_FOUND = "command_not_found"
    """The command does not exist or is not executable (exit codes 127 and 126)."""
    NOT_READY = "not_ready"
    ENGINE_FAILED = "engine_failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Problem:
    """What kept a trial from being measured, in words for people."""

    kind: ProblemKind
    message: str


@dataclass(frozen=True)
class LogTail:
    """The end of what the container wrote, decoded with replacement characters. `truncated`: there was more."""

    text: str = ""
    truncated: bool = False


class SignalDisposition(StrEnum):
    """What a process does with the stop signal, as its signal masks say. A hint, not a verdict."""

    CAUGHT = "caught"
    IGNORED = "ignored"
    BLOCKED = "blocked"
    DEFAULT = "default"


@dataclass(frozen=True)
class ProcessInfo:
    """One process of the container just before the stop.

    Source: `GET /containers/ID/top` with the signal-mask columns, or `/proc/PID/status`. Bit n-1 of a mask stands
    for signal n. `pid` is as the engine prints it: the host's for Docker, the container's for Podman. `pending`: sent
    to the process and not taken yet. `state`: `R`, `S`, `D`, `T`, `Z`. `waits_in`: the kernel function in which the
    main thread sleeps. `threads`: how many. `switches`: how often the main thread has gone to sleep so far. None and
    the empty string: not known.
    """

    pid: int
    parent_pid: int
    command: str
    caught: int
    ignored: int
    blocked: int
    pending: int | None = None
    state: str = ""
    waits_in: str = ""
    threads: int | None = None
    switches: int | None = None

    def disposition(self, signal: int) -> SignalDisposition:
        """What this process does with `signal`."""
        bit = 1 << (signal - 1)
        if self.blocked & bit:
            return SignalDisposition.BLOCKED
        if self.ignored & bit:
            return SignalDisposition.IGNORED
        if self.caught & bit:
            return SignalDisposition.CAUGHT
        return SignalDisposition.DEFAULT


class RequestFate(StrEnum):
    """What became of one request or connection."""

    COMPLETED = "completed"
    """The whole answer arrived."""
    TRUNCATED = "truncated"
    """The answer began and was cut."""
    RESET = "reset"
    """Accepted, then reset by the peer before any answer."""
    NO_ANSWER = "no_answer"
    """Accepted, then closed by the peer without an answer."""
    REFUSED = "refused"
    """The connection was never accepted."""
    TIMED_OUT = "timed_out"
    """No end within the client's own timeout, or still open when the trial ended."""


@dataclass(frozen=True)
class Request:
    """One request (or held connection) and its fate.

    Times are nanoseconds relative to the stop call, on the harness's monotonic clock; None: it did not come to that.
    `connected_at_ns`: the connection was accepted. `sent_at_ns`: the request was written whole. `status`: HTTP status;
    `status_before`: that of the same client's last answer before this request, None without one. `detail`: what the
    client saw, for people.
    """

    kind: TrafficKind
    client: int
    fate: RequestFate
    connected_at_ns: int | None = None
    sent_at_ns: int | None = None
    first_byte_at_ns: int | None = None
    ended_at_ns: int | None = None
    status: int | None = None
    status_before: int | None = None
    detail: str = ""


class Vantage(StrEnum):
    """Where the traffic came from; it decides which fates can be blamed on the container."""

    CONTAINER_ADDRESS = "container_address"
    """Straight to the container's own address: what its kernel refuses is refused."""
    NETWORK_NAMESPACE = "network_namespace"
    """From inside the subject's network namespace."""
    PUBLISHED_PORT = "published_port"
    """Through the engine's proxy, which accepts new connections for a container that no longer does."""
    HOST_NETWORK = "host_network"
    """The subject shares the network of this machine."""


@dataclass(frozen=True)
class Observation:
    """Everything one trial recorded; nothing in it says "graceful".

    `exit_code` is the container's (128 + n after signal n; Docker: `State.ExitCode`), None where it is not known or
    the container never ran. `exit_signal` is the signal that ended PID 1 where the engine can tell it from an exit
    code (the `process` engine: wait status), else None. `oom_killed` None: the engine cannot tell.
    `stop_signal` None: not known. `processes` (just before the stop), `processes_after_signal` (a moment after the
    stop signal) and `processes_late` (a second or so after it) None: not looked at or unreadable. `log_after_signal`:
    what it wrote from the stop on, None where that cannot be told from what it wrote before. `lost_processes`:
    processes ended by SIGKILL, though not by the engine's own, as the kernel's record proves; None where nobody could
    look. `suspected_processes`: seen alive just before PID 1 left, without proof of how they ended. `requests` None:
    there was no traffic. `cut_short`: the evidence on which `--fast` ended the trial before its stop timeout, None for
    a stop that ran its course.
    `complete` False: the engine's record has a gap (the event stream broke), so a missing event proves nothing.
    """

    trial_id: str
    scenario: str
    engine: EngineInfo
    stop_timeout_ns: int
    stop_after_ns: int
    repetition: int
    started_at: str
    stop_signal: int | None = None
    stop_signal_source: str | None = None
    events: tuple[Event, ...] = ()
    exit_code: int | None = None
    exit_signal: int | None = None
    oom_killed: bool | None = None
    exited_before_stop: bool = False
    complete: bool = True
    processes: tuple[ProcessInfo, ...] | None = None
    processes_after_signal: tuple[ProcessInfo, ...] | None = None
    processes_late: tuple[ProcessInfo, ...] | None = None
    log_after_signal: str | None = None
    lost_processes: tuple[str, ...] | None = None
    suspected_processes: tuple[str, ...] = ()
    requests: tuple[Request, ...] | None = None
    vantage: Vantage | None = None
    cut_short: str | None = None
    problem: Problem | None = None
    logs: LogTail = LogTail()
    load_average: float | None = None


# ── 4. What it means ─────────────────────────────────────────────────────────────────────────────────────────────────


class SigkillEvidence(StrEnum):
    """How we know whether SIGKILL ended the stop."""

    OBSERVED = "observed"
    INFERRED = "inferred"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class StopFacts:
    """The timeline read as facts, before any judgement.

    `shutdown_duration_ns`: stop signal sent → PID 1 exited, None where one end is missing. `duration_source` names
    both ends and their clock. `duration_error_ns` is the known error bound of that pair of sources, None if unknown.
    `sigkill_after_ns`: stop signal → SIGKILL, None if none was seen.
    """

    sigkill_evidence: SigkillEvidence
    sigkill_reason: str
    shutdown_duration_ns: int | None = None
    duration_source: str | None = None
    duration_error_ns: int | None = None
    sigkill_after_ns: int | None = None
    oom_during_stop: bool | None = None


class Severity(StrEnum):
    """How much a finding matters: `error` decides an outcome, `warning` deserves a look, `note` explains."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One rule that applied. `rule` is its id, documented in `docs/outcomes.md`."""

    rule: str
    severity: Severity
    message: str


class Status(StrEnum):
    """A trial against its expectation."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Cause:
    """Why a stop was not graceful: an id from `diagnosis.CAUSES` and the evidence in one sentence. `unknown` is one."""

    id: str
    evidence: str


@dataclass(frozen=True)
class Verdict:
    """The judgement of one observation. `reason` is one sentence that a person understands. `cause` None: graceful, or
    not measured."""

    trial_id: str
    outcome: Outcome
    status: Status
    reason: str
    facts: StopFacts
    findings: tuple[Finding, ...] = ()
    cause: Cause | None = None


# ── 5. What is reported ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class TrialResult:
    """An observation with today's verdict on it."""

    observation: Observation
    verdict: Verdict


class ComplianceStatus(StrEnum):
    """A subject against a platform's default stop timeout."""

    COMPLIANT = "compliant"
    NON_COMPLIANT = "non_compliant"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Compliance:
    """One scenario against one stop timeout. `headroom_ns` = timeout − longest graceful stop; None if not compliant."""

    scenario: str
    default_timeout_ns: int
    status: ComplianceStatus
    reason: str
    headroom_ns: int | None = None


@dataclass(frozen=True)
class Platform:
    """A container platform's default. `checked` is the day the number was compared with `source`, None: not checked."""

    name: str
    stop_signal: str
    default_timeout_s: int
    note: str
    source: str
    checked: str | None


@dataclass(frozen=True)
class PlatformRow:
    """Which scenarios a platform's default would let finish; `statuses` is in the order of `Report.scenarios`, and so
    is `reasons`, one sentence each (empty where nobody gave them)."""

    platform: Platform
    statuses: tuple[ComplianceStatus, ...]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunInfo:
    """Who ran what, where and when. Times are ISO 8601 in UTC; `finished_at` None: the run did not end by itself."""

    run_id: str
    name: str
    started_at: str
    engine: EngineInfo
    harness_version: str
    machine: str
    cpu_count: int
    command_line: tuple[str, ...] = ()
    shard: str | None = None
    finished_at: str | None = None
    interrupted: bool = False


@dataclass(frozen=True)
class RunWarning:
    """A doubt about the run as a whole, with what to do about it."""

    rule: str
    message: str
    advice: str


@dataclass(frozen=True)
class StoredRun:
    """A run as read back from its directory, before it is judged. `trials_planned` counts what the plan held."""

    run: RunInfo
    scenarios: tuple[Scenario, ...]
    observations: tuple[Observation, ...]
    trials_planned: int
    skipped: tuple[SkippedScenario, ...] = ()
    remedies: tuple[RemedyTrial, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything a report says, and nothing of how it looks.

    `results` are sorted by scenario, timeout, moment, repetition; `compliance`, `advice` and `scenarios` are in the
    same order as each other. `remedies` are empty where none were tried, the best of each scenario first.
    """

    run: RunInfo
    scenarios: tuple[Scenario, ...]
    results: tuple[TrialResult, ...]
    compliance: tuple[Compliance, ...]
    platforms: tuple[PlatformRow, ...]
    trials_planned: int
    skipped: tuple[SkippedScenario, ...] = ()
    warnings: tuple[RunWarning, ...] = ()
    remedies: tuple[TriedRemedy, ...] = ()
    advice: tuple[TimeoutAdvice, ...] = ()

    def count(self, status: Status) -> int:
        """Number of trials with this status."""
        return sum(result.verdict.status is status for result in self.results)

    def of_scenario(self, name: str) -> tuple[TrialResult, ...]:
        """The results of one scenario, in report order."""
        return tuple(result for result in self.results if result.observation.scenario == name)


@dataclass(frozen=True)
class DoctorLine:
    """What `doctor` says about one engine. `info` None: it did not answer, `message` says why."""

    name: str
    info: EngineInfo | None
    message: str
    advice: str = ""


# ── 6. What would help ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class TimeoutAdvice:
    """The stop timeout that a scenario's graceful stops suggest. None: too few of them, or not all were graceful;
    `basis` says in a sentence what it rests on or what is missing."""

    scenario: str
    recommended_ns: int | None
    basis: str


@dataclass(frozen=True)
class Configuration:
    """What a container runs and how it is stopped: the image's settings with the scenario's in their place.

    `stop_signal` None: nobody names one, so SIGTERM is sent.
    """

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    stop_signal: str | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """What PID 1 is started with."""
        return self.entrypoint + self.command


class RemedyKind(StrEnum):
    """What can be changed from outside, without touching the program."""

    INIT = "init"
    STOP_SIGNAL = "stop_signal"
    EXEC_FORM = "exec_form"
    STOP_TIMEOUT = "stop_timeout"


@dataclass(frozen=True)
class Paste:
    """Lines to copy into the file of `place`, such as `Dockerfile` or `Compose`."""

    place: str
    text: str


@dataclass(frozen=True)
class Remedy:
    """A change, or two together. What is None, or False for `init`, stays as it is.

    `entrypoint` and `command` replace the image's as a scenario's would: an entrypoint without a command drops the
    image's command. `assumption`: what the trial had to take for granted, for people; empty if nothing.
    """

    id: str
    kinds: tuple[RemedyKind, ...]
    title: str
    init: bool = False
    stop_signal: str | None = None
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    stop_timeout_ns: int | None = None
    assumption: str = ""
    lines: tuple[Paste, ...] = ()


@dataclass(frozen=True)
class RemedyTrial:
    """What happened when the bad stop `trial_id` was repeated with a remedy; kept so that it can be judged again."""

    scenario: str
    trial_id: str
    remedy: Remedy
    observation: Observation


class RemedyEffect(StrEnum):
    """What a remedy did."""

    CURES = "cures"
    LOSES_WORK = "loses_work"
    """In time, but processes or requests were cut off."""
    UNPROVED = "unproved"
    """It looks graceful, but processes were left behind and nobody saw how they ended."""
    FAILS = "fails"
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True)
class TriedRemedy:
    """A remedy with today's verdict on its trial. `note`: what speaks against a cure, or explains; may be empty."""

    trial_id: str
    remedy: Remedy
    result: TrialResult
    effect: RemedyEffect
    note: str = ""

    @property
    def scenario(self) -> str:
        """The scenario whose bad stop was repeated."""
        return self.result.observation.scenario
