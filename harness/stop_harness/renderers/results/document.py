"""The format of results.json: one dataclass a section; their docstrings are the documentation and the schema's texts.

Times are seconds. A field may be added within format version 1; one that disappears or changes its meaning raises it.
Text stands here as it was recorded, control characters and all: whoever shows it must escape it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from stop_harness.model import (
    ComplianceStatus,
    EndedBy,
    GroupKind,
    Outcome,
    RemedyEffect,
    Severity,
    SigkillEvidence,
    WaiverState,
)
from stop_harness.renderers.results.comparison import ComparisonDocument
from stop_harness.renderers.results.documented import WarningDocument
from stop_harness.renderers.results.resilience_document import ResilienceDocument
from stop_harness.renderers.results.statistics_document import ClaimDocument, StatisticsDocument
from stop_harness.renderers.results.trial_document import CauseDocument, HookDocument, TrialDocument

FORMAT_VERSION = 1


@dataclass(frozen=True)
class EngineDocument:
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
    """It proves which processes were ended by SIGKILL although PID 1 exited by itself."""


@dataclass(frozen=True)
class ReferenceDocument:
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
class RunDocument:
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
    """"I/N" where the run was one shard of a plan, "1/3, 3/3" where some of them were merged."""
    interrupted: bool
    until_sure: bool
    """Stops were repeated until their claims were shown or out of reach (`--until-sure`)."""
    reference: ReferenceDocument | None
    """null where it was not measured."""
    resumed_at: tuple[str, ...] = ()
    """ISO 8601, UTC: each time that the run was continued after an interruption (`run --resume`)."""


@dataclass(frozen=True)
class OriginDocument:
    """Files that say what is stopped."""

    kind: GroupKind
    files: tuple[str, ...]
    name: str | None
    """The service or container that is stopped alone; null where all of them are."""


@dataclass(frozen=True)
class ContainerDocument:
    """A container that ran already when it was asked for; its image is that of the scenario."""

    name: str
    id: str
    started_at: str
    """ISO 8601, by the engine's clock."""
    auto_remove: bool
    """The engine removed it as soon as it ended (`--rm`)."""
    restart: bool
    """It was started again after each stop (`--restart`)."""


@dataclass(frozen=True)
class ScenarioDocument:
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
    origin: OriginDocument | None = None
    """The Compose files or manifests that it was read from; null where there are none."""
    own_stop_timeouts: bool = False
    """Each container has the stop timeout of its own definition. Wherever a stop_timeout_s stands for this scenario, it
    is then how long all of them together can take, and tells its stops from those of another moment."""
    container: ContainerDocument | None = None
    """Null where the container was started for the trial."""
    undisturbed: str | None = None
    """The scenario that this one is a copy of, under the standard fault `fault`; both null: it is no copy."""
    fault: str | None = None


@dataclass(frozen=True)
class ComplianceDocument:
    """One scenario against the default stop timeout of Amazon ECS."""

    scenario: str
    default_timeout_s: float
    status: ComplianceStatus
    headroom_s: float | None
    """Default minus longest graceful stop; null where not compliant."""
    reason: str
    cause: str | None = None
    """Id of the cause, as in docs/outcomes.md, of the stop that decides; null where there is none."""


@dataclass(frozen=True)
class PlatformStatusDocument:
    """One scenario against one platform's default."""

    scenario: str
    status: ComplianceStatus
    reason: str | None


@dataclass(frozen=True)
class PlatformDocument:
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
class PasteDocument:
    """Lines to copy into a file."""

    place: str
    """Dockerfile, docker run, Compose, ECS task definition or Kubernetes."""
    text: str


@dataclass(frozen=True)
class RemedyDocument:
    """A change that was tried against a bad stop, and what it did."""

    scenario: str
    bad_trial_id: str
    """The trial that was repeated with the change."""
    remedy: str
    """Id of the change; two at once are joined by "+"."""
    title: str
    effect: RemedyEffect
    """cures: graceful. helps: better than without it, but not whole. loses_work: in time, but something was cut off.
    unproved: it looks graceful, and the evidence does not show that it is; `note` says why. skips_handler: the
    program has a handler for a stop signal, and this ends it without that one. ends_anyway: left alone, the same
    subject exits by itself in that time. fails: no cure. not_measured: the trial says nothing."""
    note: str
    assumption: str
    """What the trial had to take for granted; empty if nothing."""
    lines: tuple[PasteDocument, ...]
    """Ways to make the change."""
    trial: TrialDocument
    """The repetition; of a task or a group what became of the container that was changed."""
    container: str | None = None
    """The container of a task or a group that was changed; null: there is only one."""


@dataclass(frozen=True)
class TimeoutAdviceDocument:
    """The stop timeout that a scenario's graceful stops suggest."""

    scenario: str
    recommended_timeout_s: float | None
    """null: too few graceful stops, or not all were graceful; basis says which."""
    basis: str


@dataclass(frozen=True)
class ContainerStopDocument:
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
    cut_from_s: float | None = None
    """Its own stop timeout, where a Spot notice left less: that is stop_timeout_s then; null where it had all of it."""
    hooks: tuple[HookDocument, ...] = ()
    """What ran before its stop signal: preStop of a pod, pre_stop of Compose."""


@dataclass(frozen=True)
class TaskStopDocument:
    """One stop of a whole task."""

    trial_id: str
    scenario: str
    containers: tuple[ContainerStopDocument, ...]
    total_s: float | None
    """First stop signal to last exit; null where not known."""
    chain: tuple[str, ...]
    """The containers, first to stop first, whose stop timeouts add up to worst_case_s."""
    worst_case_s: float
    limit_s: float | None
    limit_name: str
    """What the platform gives the whole; limit_s is null where it sets no limit."""
    fix_first: str | None
    """The container whose stop is worth mending first; null where all is well."""
    advice: str
    ended_by: EndedBy | None = None
    """Who ended it: somebody's StopTask, the service scheduler's scale-in, a Spot interruption. null: it is no task of
    Amazon ECS."""
    stop_code: str = ""
    """As ECS gave it, as is stopped_reason; empty where it gave none."""
    stopped_reason: str = ""


@dataclass(frozen=True)
class StaticFindingDocument:
    """What a task definition shows before it runs."""

    scenario: str
    container: str | None
    rule: str
    severity: Severity
    message: str


@dataclass(frozen=True)
class SkippedDocument:
    """A scenario that the engine cannot run."""

    scenario: str
    reason: str


@dataclass(frozen=True)
class PassingWarningDocument:
    """A warning of trials that passed."""

    scenario: str
    rule: str
    message: str
    trials: tuple[str, ...]
    """Ids of the trials."""


@dataclass(frozen=True)
class WaiverDocument:
    """A known failure that is let pass until a day."""

    reason: str
    expires: str
    """The last day on which it holds, in UTC."""
    place: str
    """Where it is written: file and line."""
    scenario: str | None
    container: str | None
    outcome: Outcome | None
    rule: str | None
    cause: str | None
    state: WaiverState
    in_run: bool
    """false: no scenario that it names was stopped in this run."""
    trials: tuple[str, ...]
    """Ids of the failures that it covers or, if it has expired, would cover."""


@dataclass(frozen=True)
class SummaryDocument:
    """How many trials came to what."""

    trials_planned: int
    trials_run: int
    passed: Annotated[int, Field(serialization_alias="pass")]  # `pass` is a keyword of Python
    """Trials with status pass. Written as "pass"."""
    fail: int
    inconclusive: int
    outcomes: dict[str, int]
    """Number of trials for every outcome, zeros included."""
    passing_warnings: tuple[PassingWarningDocument, ...] = ()
    """What trials with status pass warn of."""
    waived: int = 0
    """How many of those with status fail are let pass by waivers."""


@dataclass(frozen=True)
class ResultsDocument:
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
    waivers: tuple[WaiverDocument, ...] = ()
    waived_trials: tuple[str, ...] = ()
    """Ids of the trials that failed and are let pass."""
    resilience: tuple[ResilienceDocument, ...] = ()
    """One for each scenario that was to be stopped under standard faults (`--faults`). All sections but this one,
    scenarios and trials are about undisturbed stops."""
