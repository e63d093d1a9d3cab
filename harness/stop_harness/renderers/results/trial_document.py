"""The section of results.json about one trial: what happened, and what it means. Times are seconds."""

from __future__ import annotations

from dataclasses import dataclass

from stop_harness.model import (
    Clock,
    EventKind,
    FaultAction,
    FaultKind,
    Outcome,
    ProblemKind,
    PropertyKind,
    ReadyBy,
    RequestFate,
    Severity,
    SigkillEvidence,
    SignalDisposition,
    Status,
    TrafficKind,
    Vantage,
)


@dataclass(frozen=True)
class FindingDocument:
    """One rule that applied to a trial."""

    rule: str
    """Id of the rule, as listed in docs/outcomes.md."""
    severity: Severity
    """error decides an outcome, warning deserves a look, note explains."""
    message: str


@dataclass(frozen=True)
class EventDocument:
    """One thing that happened, stamped by one clock."""

    event: EventKind
    at_s: float
    """Seconds after the event named by relative_to, on the same clock. Do not compare across clocks."""
    relative_to: EventKind
    """signal_sent (the stop signal) where this clock stamped it, else stop_requested, else this clock's first event."""
    clock: Clock
    source: str
    """The engine's own record that it was read from."""
    signal: str | None
    """Name of the signal; set for signal_sent only."""


@dataclass(frozen=True)
class FaultDocument:
    """One fault of the scenario, as it was. Times are seconds after the stop signal, or after the stop call where the
    engine tells no signals; negative is before."""

    kind: FaultKind
    action: FaultAction
    asked_for: str
    """What it is and when, in words."""
    planned_s: float | None
    """When it was to begin; null where only a line of the log tells."""
    asked_s: float | None
    """When the harness began with it; null where it never came to that."""
    begun_s: float | None
    """When its effect was known to be there; null where it never was."""
    ended_s: float | None
    """When it was known to be undone; null where it was done once, or ended with the container."""
    seen: str
    """How the effect is known."""
    problem: str | None
    """Why it was not there, or not undone; null where it was."""
    events: tuple[EventDocument, ...]
    """What the engine has on record of it; at_s as in the trial's timeline."""


@dataclass(frozen=True)
class ProcessDocument:
    """One process of the container just before the stop."""

    pid: int
    parent_pid: int
    command: str
    stop_signal_disposition: SignalDisposition | None
    """What it does with the stop signal, by its signal masks; null where the stop signal is not known. A hint, not a
    verdict."""


@dataclass(frozen=True)
class ReceivedSignalDocument:
    """One signal that a process was sent from the stop call on."""

    signal: str
    at_s: float | None
    """Seconds after the stop signal; null where that moment is not known."""
    sender: str | None
    """Name of the sender; null: it came from outside of the container."""
    sender_pid: int | None
    """The sender's pid inside the container; null: from outside, or not known."""


@dataclass(frozen=True)
class ProcessFateDocument:
    """What became of one process that lived when the stop began, or was born later. Pids are those inside the
    container, null where the process was gone before anybody could ask."""

    name: str
    command: str
    """Empty where not known."""
    pid: int | None
    parent_pid: int | None
    """0 for PID 1, and for what was started from outside."""
    born_later: bool
    stop_signal_disposition: SignalDisposition | None
    """What the stop signal would have met; null where nobody looked."""
    signals: tuple[ReceivedSignalDocument, ...] | None
    """null where nobody could hear them: that needs root on the engine's machine."""
    exit_code: int | None
    exit_signal: str | None
    """Signal that ended it; both null where its end was not seen."""
    by_teardown: bool
    """The kernel's SIGKILL ended it, because PID 1 had exited."""
    ended_at_s: float | None
    """Seconds after the stop signal; null where not known."""
    before_pid_1_s: float | None
    """From its end until PID 1 was gone; null where not known."""
    cpu_share: float | None
    """Of one CPU, just before the stop; null where nobody looked."""
    clients: int | None
    """Connections that it had accepted and held when the stop began; null where nobody looked."""


@dataclass(frozen=True)
class RequestDocument:
    """One request or held connection that was open at the stop call, or begun after it. Times are seconds after the
    stop call, null where it did not come to that."""

    kind: TrafficKind
    client: int
    """Counts from 1."""
    fate: RequestFate
    lost: bool
    """It counts as lost: accepted, sent whole, and then cut, by a server that owed it an answer."""
    connected_at_s: float | None
    sent_at_s: float | None
    first_byte_at_s: float | None
    ended_at_s: float | None
    status: int | None
    """HTTP status."""
    status_before: int | None
    """HTTP status of the same client's last answer before this request."""
    detail: str
    """What the client saw, for people."""
    ends_by_close: bool = False
    """Nothing but the close of the connection marks the end of the answer."""
    unended: bool = False
    """An event stream whose last chunk did not come, although its last event was whole."""
    body_bytes: int | None = None
    """Bytes of the answer's body that arrived; null where they were not counted."""
    body_bytes_before: int | None = None
    """Bytes of the last whole answer to the same request before the stop; null without one."""


@dataclass(frozen=True)
class LoadBalancerDocument:
    """A load balancer that sent the requests, and when it was told of the stop, relative to the stop call."""

    propagation_s: float
    deregistration_delay_s: float
    stop_delay_s: float
    deregistered_at_s: float


@dataclass(frozen=True)
class MissingTrafficDocument:
    """Traffic that was asked for and of which nothing was open when the stop was called."""

    kind: TrafficKind
    port: int
    reason: str
    """Why, for people; empty where nobody knows."""


@dataclass(frozen=True)
class ProblemDocument:
    """What kept a trial from being measured."""

    kind: ProblemKind
    message: str


@dataclass(frozen=True)
class AdviceDocument:
    """What to change so that the next stop is graceful. It was not tried on this container."""

    text: str
    program: str
    """The program or runtime it is for; empty for any."""
    lines: str
    """Code or settings to copy; empty for none."""
    source: str
    """Where it is written down."""
    proof: str
    """The scenario of docs/field-guide.md that shows it; empty where it could not be tried there."""


@dataclass(frozen=True)
class ReadyDocument:
    """By what the container counted as ready to be stopped."""

    by: ReadyBy
    """conditions: what the scenario asks for. Where it asks for nothing: health_check, port, handler (it had none at
    first), or time, by which nothing is known."""
    after_start_s: float | None
    """From its start; null where not known."""
    ports: tuple[int, ...]
    """Where it listened, as far as that was looked for."""
    silent_ports: tuple[int, ...]
    """Declared ports at which nobody listened for as long as was waited."""
    unhealthy: bool
    """It has a health check, which did not succeed for as long as was waited."""
    sentence: str


@dataclass(frozen=True)
class HookDocument:
    """A hook before the stop of a container."""

    command: str
    took_s: float
    reason: str
    """Why it failed; empty where it did not."""
    cut_off: bool
    """It had not ended when its time was over."""


@dataclass(frozen=True)
class MessagesDocument:
    """Messages that were sent before and during the stop."""

    sent: int
    acknowledged: int
    """How many of them were answered with a status from 200 to 299."""
    acknowledged_late: int
    """How many of these after the stop call."""


@dataclass(frozen=True)
class PropertyDocument:
    """Something that must be true after the stop (`expect.after_stop`), and what was found of it."""

    kind: PropertyKind
    expected: str
    """What must be true, for people."""
    holds: bool | None
    """null: it could not be checked, and found says why."""
    found: str
    """One sentence."""
    excerpt: str
    """The end of the file or of the output, at most 300 characters; empty where there is none."""
    checked_after_s: float | None
    """Seconds after the return of the stop call, by which PID 1 had exited; null where nobody looked."""


@dataclass(frozen=True)
class CauseDocument:
    """Why a stop was not graceful. Ids: docs/outcomes.md."""

    id: str
    evidence: str
    """One sentence."""
    advice: tuple[AdviceDocument, ...] = ()
    """What to do about it: first for the shape of the process tree, then for the programs that were seen."""


@dataclass(frozen=True)
class TrialDocument:
    """One stop of one fresh container."""

    trial_id: str
    scenario: str
    engine: str
    """Name of the engine that ran this trial."""
    engine_version: str
    stop_timeout_s: float
    stop_after_s: float
    """Time between ready and the stop."""
    repetition: int
    """Counts from 1."""
    started_at: str
    stop_signal: str | None
    """Such as SIGTERM; null where not known."""
    stop_signal_source: str | None
    outcome: Outcome
    status: Status
    """The outcome against the scenario's expectation."""
    reason: str
    """One sentence."""
    sigkill_evidence: SigkillEvidence
    sigkill_reason: str
    exit_code: int | None
    """128 + n after signal n; null where not known."""
    exit_signal: str | None
    """Signal that ended PID 1, where the engine can tell it from an exit code."""
    oom_killed: bool | None
    """null where the engine cannot tell."""
    shutdown_duration_s: float | None
    """Stop signal sent to PID 1 exited; null where one end is missing. After a kill the container needed longer."""
    shutdown_duration_source: str | None
    """Both ends of the duration and their clock."""
    shutdown_duration_error_s: float | None
    """Known error bound of the duration; null where not known."""
    sigkill_after_s: float | None
    """Stop signal to SIGKILL; null where no SIGKILL was seen."""
    exited_before_stop: bool
    complete: bool
    """false: the engine's record has a gap, so that a missing event proves nothing."""
    cause: CauseDocument | None
    """Why it was not graceful; null for a graceful or unmeasured stop."""
    cut_short: str | None
    """The evidence that SIGKILL would have ended a stop that nobody waited for: `--fast` ended it early, or it is
    derived; null for a stop that ran its course."""
    derived_from: str | None
    """Id of the trial with a longer stop timeout that this one follows from (`--infer`); null: it was performed."""
    findings: tuple[FindingDocument, ...]
    timeline: tuple[EventDocument, ...]
    processes: tuple[ProcessDocument, ...] | None
    """null where nobody looked or the table was unreadable."""
    lost_processes: tuple[str, ...] | None
    """Processes killed because PID 1 exited before them, of many the first ten; null where nobody looked."""
    requests: tuple[RequestDocument, ...] | None
    """null where there was no traffic; empty where nothing was in flight."""
    vantage: Vantage | None
    """Where the traffic came from; null without traffic."""
    problem: ProblemDocument | None
    log_tail: str
    """End of what the container wrote, with replacement characters where it was not UTF-8."""
    log_truncated: bool
    load_average: float | None
    """1-minute load average of the engine's machine; null where not known."""
    log_line_times_s: tuple[float, ...] | None = None
    """When each line of `log_tail` was written, in seconds after the stop signal by the engine's clock, negative before
    it; null where the engine does not tell."""
    lost_process_count: int | None = None
    """How many lost processes there were in all; null where nobody looked."""
    fates: tuple[ProcessFateDocument, ...] | None = None
    """What became of every process, PID 1 first, of many the first 50; null where nobody could see it."""
    fate_count: int | None = None
    """How many processes there were in all; null where nobody could see it."""
    ready_basis: ReadyDocument | None = None
    """null where it never was ready, and in records from before that was written down."""
    load_balancer: LoadBalancerDocument | None = None
    """What the requests came through; null where they came straight to the container."""
    missing_traffic: tuple[MissingTrafficDocument, ...] = ()
    """Traffic of the scenario of which nothing was open at the stop."""
    own_stop_timeouts: bool = False
    """Each container had the stop timeout of its own definition, which is in `tasks`. stop_timeout_s is then how long
    all of them together can take, and no container had it."""
    hooks: tuple[HookDocument, ...] = ()
    """What ran before the stop signal of a service that was stopped alone (pre_stop of Compose); those of a group that
    was stopped as a whole are in `tasks`, container by container."""
    properties: tuple[PropertyDocument, ...] = ()
    """What must be true after this stop; empty where the scenario says nothing, and for a stop that was not performed
    to its end."""
    faults: tuple[FaultDocument, ...] = ()
    """What went wrong around the stop because the scenario asked for it; empty where it asked for nothing."""
    messages: MessagesDocument | None = None
    """null without traffic of messages."""
