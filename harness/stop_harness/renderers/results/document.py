"""The format of results.json: one dataclass a section; their docstrings are the documentation and the schema's texts.

Times are seconds. A field may be added within format version 1; one that disappears or changes its meaning raises it.
Text stands here as it was recorded, control characters and all: whoever shows it must escape it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stop_harness.model import (
    ClaimStatus,
    Clock,
    ComplianceStatus,
    EventKind,
    Outcome,
    ProblemKind,
    RemedyEffect,
    RequestFate,
    Severity,
    SigkillEvidence,
    SignalDisposition,
    Status,
    TrafficKind,
    Vantage,
)
from stop_harness.renderers.results.comparison import ComparisonDocument
from stop_harness.renderers.results.documented import Documented, WarningDocument

FORMAT_VERSION = 1


@dataclass(frozen=True)
class EngineDocument(Documented):
    """The engine as it answered, and what it can prove."""

    name: str
    """docker, process or simulated."""
    product: str
    version: str
    host: str
    """How it was reached, for people."""
    pid1_rules: bool
    """The container's first process is PID 1 of a PID namespace, so signals without a handler are dropped."""
    whole_seconds: bool
    """Stop timeouts must be whole seconds."""
    observes_sigkill: bool
    """It reports its own SIGKILL; where false, SIGKILL is inferred from exit code and time."""
    reports_oom: bool
    """Its OOM flag can be trusted."""
    runs_images: bool
    """It runs container images."""
    caveats: tuple[str, ...]
    proves_lost_processes: bool
    """It proves which processes were ended by SIGKILL although PID 1 left by itself."""


@dataclass(frozen=True)
class ReferenceDocument(Documented):
    """What the engine itself took to stop a program that leaves at once, before the trials. Never subtracted."""

    start_s: float
    signal_s: float | None
    """Stop call to stop signal; null where no clock saw both."""
    exit_s: float | None
    """Stop signal to exit of PID 1."""
    return_s: float | None
    """Exit of PID 1 to the return of the stop call."""
    removal_s: float


@dataclass(frozen=True)
class RunDocument(Documented):
    """Who ran what, where and when."""

    run_id: str
    name: str
    started_at: str
    """ISO 8601, UTC."""
    finished_at: str | None
    """ISO 8601, UTC; null where the run did not end by itself."""
    duration_s: float | None
    """null where the run did not end by itself, or was resumed."""
    harness_version: str
    machine: str
    cpu_count: int
    command_line: tuple[str, ...]
    shard: str | None
    """"I/N" where the run was one shard of a plan."""
    interrupted: bool
    until_sure: bool
    """Stops were repeated until their claims were shown or out of reach (`--until-sure`)."""
    reference: ReferenceDocument | None
    """null where it was not measured."""
    resumed_at: tuple[str, ...] = ()
    """ISO 8601, UTC: each time that the run was continued after an interruption (`run --resume`)."""


@dataclass(frozen=True)
class FindingDocument(Documented):
    """One rule that applied to a trial."""

    rule: str
    """Id of the rule, as listed in docs/outcomes.md."""
    severity: Severity
    """error decides an outcome, warning deserves a look, note explains."""
    message: str


@dataclass(frozen=True)
class EventDocument(Documented):
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
class ProcessDocument(Documented):
    """One process of the container just before the stop."""

    pid: int
    parent_pid: int
    command: str
    stop_signal_disposition: SignalDisposition | None
    """What it does with the stop signal, by its signal masks; null where the stop signal is not known. A hint, not a
    verdict."""


@dataclass(frozen=True)
class RequestDocument(Documented):
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


@dataclass(frozen=True)
class ProblemDocument(Documented):
    """What kept a trial from being measured."""

    kind: ProblemKind
    message: str


@dataclass(frozen=True)
class CauseDocument(Documented):
    """Why a stop was not graceful. Ids: docs/outcomes.md."""

    id: str
    evidence: str
    """One sentence."""


@dataclass(frozen=True)
class TrialDocument(Documented):
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
    """Processes killed because PID 1 left before them, of many the first ten; null where nobody looked."""
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
    lost_process_count: int | None = None
    """How many lost processes there were in all; null where nobody looked."""


@dataclass(frozen=True)
class ScenarioDocument(Documented):
    """One scenario of the run."""

    name: str
    description: str
    source: str | None
    """Path of the scenario file; null where there was none."""
    image: str | None
    build_directory: str | None
    task_definition: str | None
    """Path of the task definition; null where the subject is one container."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables that the scenario sets. Their values are digests, `hmac-sha256:` and 16 digits, which tell
    whether a value changed between two runs on one machine; in clear only with --show-values."""


@dataclass(frozen=True)
class ComplianceDocument(Documented):
    """One scenario against the default stop timeout of Amazon ECS."""

    scenario: str
    default_timeout_s: float
    status: ComplianceStatus
    headroom_s: float | None
    """Default minus longest graceful stop; null where not compliant."""
    reason: str


@dataclass(frozen=True)
class PlatformStatusDocument(Documented):
    """One scenario against one platform's default."""

    scenario: str
    status: ComplianceStatus
    reason: str | None


@dataclass(frozen=True)
class PlatformDocument(Documented):
    """A container platform's default and which scenarios it would let finish."""

    name: str
    stop_signal: str
    default_timeout_s: int
    note: str
    source: str
    checked: str | None
    """Day on which the default was compared with a stored copy of the source; null: not compared."""
    scenarios: tuple[PlatformStatusDocument, ...]


@dataclass(frozen=True)
class PasteDocument(Documented):
    """Lines to copy into a file."""

    place: str
    """Dockerfile, docker run, Compose, ECS task definition or Kubernetes."""
    text: str


@dataclass(frozen=True)
class RemedyDocument(Documented):
    """A change that was tried against a bad stop, and what it did."""

    scenario: str
    bad_trial_id: str
    """The trial that was repeated with the change."""
    remedy: str
    """Id of the change; two at once are joined by "+"."""
    title: str
    effect: RemedyEffect
    """cures: graceful. loses_work: in time, but processes or requests were cut off. unproved: it looks graceful, but
    processes were left behind and nobody saw how they ended."""
    note: str
    assumption: str
    """What the trial had to take for granted; empty if nothing."""
    lines: tuple[PasteDocument, ...]
    """Ways to make the change."""
    trial: TrialDocument


@dataclass(frozen=True)
class TimeoutAdviceDocument(Documented):
    """The stop timeout that a scenario's graceful stops suggest."""

    scenario: str
    recommended_timeout_s: float | None
    """null: too few graceful stops, or not all were graceful; basis says which."""
    basis: str


@dataclass(frozen=True)
class ContainerStopDocument(Documented):
    """One container of a task, in the order in which they were told to stop."""

    name: str
    essential: bool
    waited_for: tuple[str, ...]
    """Containers that had to be gone before it was told to stop."""
    stop_timeout_s: float
    outcome: Outcome | None
    """null: it had ended before the stop, or never ran."""
    reason: str
    exit_code: int | None
    sigkill_evidence: SigkillEvidence | None
    signalled_after_s: float | None
    """The task's first stop signal to this container's."""
    shutdown_duration_s: float | None
    """Its stop signal to its exit."""
    share: float | None
    """Of the whole stop's time, 0 to 1; containers that stop side by side add up to more than 1."""
    on_longest_chain: bool
    """The whole stop took as long as the chain of containers that it belongs to."""
    cause: CauseDocument | None


@dataclass(frozen=True)
class TaskStopDocument(Documented):
    """One stop of a whole task."""

    trial_id: str
    scenario: str
    containers: tuple[ContainerStopDocument, ...]
    total_s: float | None
    """First stop signal to last exit; null where not known."""
    chain: tuple[str, ...]
    """The containers, first to stop first, whose stop timeouts add up to worst_case_s."""
    worst_case_s: float
    limit_s: float
    limit_name: str
    """What the platform gives the whole task."""
    fix_first: str | None
    """The container whose stop is worth mending first; null where all is well."""
    advice: str


@dataclass(frozen=True)
class StaticFindingDocument(Documented):
    """What a task definition shows before it runs."""

    scenario: str
    container: str | None
    rule: str
    severity: Severity
    message: str


@dataclass(frozen=True)
class GracefulShareDocument(Documented):
    """How many of the stops at one stop timeout were graceful, with the exact binomial interval (95 %)."""

    stop_timeout_s: float
    graceful: int
    stops: int
    """Without those that say nothing: inconclusive, not running."""
    left_out: int
    """Those that say nothing."""
    share_low: float
    share_high: float


@dataclass(frozen=True)
class CutOffDocument(Documented):
    """Stops that were still running at their stop timeout, when SIGKILL came: right-censored observations."""

    after_s: float
    stops: int


@dataclass(frozen=True)
class CurvePointDocument(Documented):
    """A step of the survival curve (Kaplan–Meier) with its pointwise 95 % interval."""

    after_s: float
    """Seconds after the stop signal."""
    still_running: float
    """Fraction still running from then on."""
    low: float
    high: float


@dataclass(frozen=True)
class PercentileDocument(Documented):
    """The shutdown duration by which so many percent of the stops have ended; bounds by order statistics (95 %)."""

    percent: int
    duration_s: float | None
    """null: too many stops were cut off before."""
    low_s: float | None
    """null: the sample is too small to bound it from below."""
    high_s: float | None
    """null: the sample is too small, or too many stops were cut off, to bound it from above."""


@dataclass(frozen=True)
class StillRunningDocument(Documented):
    """The survival curve at a platform's default stop timeout; null where no stop was watched for that long."""

    after_s: float
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class StatisticsDocument(Documented):
    """The stops of one scenario over all its stop timeouts. docs/statistics.md says how each number is computed."""

    scenario: str
    measured: int
    """Graceful stops of known duration."""
    cut_off: tuple[CutOffDocument, ...]
    left_out: dict[str, int]
    """Stops that have no duration of a graceful stop, by the reason."""
    graceful: tuple[GracefulShareDocument, ...]
    """One for each stop timeout that was tried and told something."""
    curve: tuple[CurvePointDocument, ...]
    """At most 200 steps; empty with fewer than five stops, as are the two below."""
    percentiles: tuple[PercentileDocument, ...]
    at_platform_defaults: tuple[StillRunningDocument, ...]


@dataclass(frozen=True)
class ClaimDocument(Documented):
    """What the stops show about all stops of one scenario, at one stop timeout and moment where only a graceful stop is
    expected. docs/confidence.md says how it is computed. Each holds by itself with its confidence, not all together."""

    scenario: str
    stop_timeout_s: float
    stop_after_s: float
    status: ClaimStatus
    """Whether at least `reliability` of the stops is graceful: shown, not shown (too few stops, or a failure among so
    few), or refuted with the same confidence."""
    confidence: float
    reliability: float
    """The fraction that was asked for, 0.99 by default."""
    stops: int
    """Stops that were judged."""
    failures: int
    derived: int
    """How many of the stops were not performed (`--infer`)."""
    undecided: int
    """More stops, which were inconclusive and do not count."""
    at_least: float
    """The fraction that the stops do show with this confidence: exact one-sided lower bound."""
    stops_needed: int
    """Stops in all that show `reliability` with no more failures than these, in a plan made beforehand."""
    statement: str


@dataclass(frozen=True)
class SkippedDocument(Documented):
    """A scenario that the engine cannot run."""

    scenario: str
    reason: str


@dataclass(frozen=True)
class SummaryDocument(Documented):
    """How many trials came to what."""

    trials_planned: int
    trials_run: int
    # `pass` is a keyword of Python, so the record says `passed` and `document` renames it.
    passed: int
    """Trials with status pass. Written as "pass"."""
    fail: int
    inconclusive: int
    outcomes: dict[str, int]
    """Number of trials for every outcome, zeros included."""


@dataclass(frozen=True)
class ResultsDocument(Documented):
    """The results of one run of stop-harness. Times are seconds."""

    format_version: int
    run: RunDocument
    engine: str
    """Name of the engine, such as docker; engine_info says more."""
    engine_info: EngineDocument
    summary: SummaryDocument
    compliance: tuple[ComplianceDocument, ...]
    platforms: tuple[PlatformDocument, ...]
    scenarios: tuple[ScenarioDocument, ...]
    trials: tuple[TrialDocument, ...]
    remedies: tuple[RemedyDocument, ...]
    """What was tried with --try-fixes, for each scenario the best first."""
    tasks: tuple[TaskStopDocument, ...]
    """Stops of whole tasks, container by container."""
    static_findings: tuple[StaticFindingDocument, ...]
    recommended_timeouts: tuple[TimeoutAdviceDocument, ...]
    statistics: tuple[StatisticsDocument, ...]
    """One for each scenario."""
    claims: tuple[ClaimDocument, ...]
    """One for each scenario, stop timeout and moment at which only a graceful stop is expected."""
    skipped: tuple[SkippedDocument, ...]
    warnings: tuple[WarningDocument, ...]
    comparison: ComparisonDocument | None
    """null: the run was not set beside a baseline."""
