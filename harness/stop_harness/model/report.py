"""What is reported, and what would help."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property

from stop_harness.model.compliance import Compliance, ComplianceStatus
from stop_harness.model.matrix import Resilience
from stop_harness.model.observation import EngineInfo, HookRecord, Observation
from stop_harness.model.outcome import Outcome
from stop_harness.model.reliability import ReliabilityClaim
from stop_harness.model.run import RunInfo, RunWarning
from stop_harness.model.scenario import EndedBy, Scenario, SkippedScenario
from stop_harness.model.statistics import ScenarioStatistics
from stop_harness.model.trend import Comparison
from stop_harness.model.verdict import Cause, Finding, SigkillEvidence, Status, Verdict
from stop_harness.model.waiver import Waiver, WaiverState, WaiverUse
from stop_harness.records import dataclass


@dataclass(frozen=True, slots=True)
class TrialResult:
    """An observation with today's verdict on it."""

    observation: Observation
    verdict: Verdict


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
class ContainerShare:
    """One container's part in the stop of its task.

    `signalled_after_ns`: the task's first stop signal → this one's. `duration_ns`: its signal → its exit. `share`: of
    the task's whole time, 0 to 1. All None where not known. `on_longest_chain`: it is on the chain of containers, each
    waiting for the one before, that the whole stop took as long as. `outcome` None: it had ended before the stop.
    `told` False: the stop of its group broke off before. `hooks`: what ran before its stop signal.
    `stop_timeout_ns` is what it had; `cut_from_ns`: its own stop timeout, where a Spot notice left less, else None.
    """

    name: str
    essential: bool
    waited_for: tuple[str, ...]
    stop_timeout_ns: int
    outcome: Outcome | None
    reason: str
    exit_code: int | None = None
    sigkill_evidence: SigkillEvidence | None = None
    signalled_after_ns: int | None = None
    duration_ns: int | None = None
    share: float | None = None
    on_longest_chain: bool = False
    cause: Cause | None = None
    told: bool = True
    hooks: tuple[HookRecord, ...] = ()
    cut_from_ns: int | None = None


@dataclass(frozen=True)
class TaskStop:
    """One stop of a whole task, container by container in the order in which they were told to stop.

    `total_ns`: from the first stop signal to the last exit, None where not known. `chain`: the containers, first to
    stop first, whose stop timeouts add up to `worst_case_ns`, the longest the task may take. `limit_ns` and
    `limit_name`: what the platform gives the whole task; None: it sets no limit. `ended_by`: who ended a task of ECS,
    with its own `stop_code` and `stopped_reason`, empty where it gave none; None: it is no task of ECS. `fix_first`:
    the container whose stop is worth mending first, and `advice` why; None where all is well. `of_pod`: the limit is
    the grace period of a pod, in which its hooks run as well.
    """

    trial_id: str
    scenario: str
    containers: tuple[ContainerShare, ...]
    total_ns: int | None
    chain: tuple[str, ...]
    worst_case_ns: int
    limit_ns: int | None
    limit_name: str
    fix_first: str | None = None
    advice: str = ""
    ended_by: EndedBy | None = None
    stop_code: str = ""
    stopped_reason: str = ""
    of_pod: bool = False


@dataclass(frozen=True)
class StaticFinding:
    """What a task definition shows before it runs. `container` None: it is about the whole task."""

    scenario: str
    finding: Finding
    container: str | None = None


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

    `results` are sorted by scenario, timeout, moment, repetition; `compliance`, `advice`, `statistics` and `scenarios`
    are in the same order as each other. `remedies` are empty where none were tried, the best of each scenario first.
    `comparison` None: there is no baseline. `waivers`: what became of each; `waived`: ids of the trials that failed and
    are let pass by them, alone or together.

    `results` are of all stops, also of those under standard faults, whose scenarios are `disturbed`; all else but
    `resilience` is about the undisturbed ones. `resilience`: empty where no standard fault was asked for.
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
    claims: tuple[ReliabilityClaim, ...] = ()
    tasks: tuple[TaskStop, ...] = ()
    static_findings: tuple[StaticFinding, ...] = ()
    statistics: tuple[ScenarioStatistics, ...] = ()
    comparison: Comparison | None = None
    waivers: tuple[WaiverUse, ...] = ()
    waived: frozenset[str] = frozenset()
    disturbed: tuple[Scenario, ...] = ()
    resilience: tuple[Resilience, ...] = ()

    @property
    def stopped(self) -> tuple[Scenario, ...]:
        """Those of all results."""
        return (*self.scenarios, *self.disturbed)

    @property
    def undisturbed(self) -> tuple[TrialResult, ...]:
        """The results without those under standard faults."""
        names = {scenario.name for scenario in self.disturbed}
        return tuple(result for result in self.results if result.observation.scenario not in names)

    def count(self, status: Status) -> int:
        """Number of trials with this status."""
        return sum(result.verdict.status is status for result in self.results)

    def of_scenario(self, name: str) -> tuple[TrialResult, ...]:
        """The results of one scenario, in report order."""
        return self._by_scenario.get(name, ())

    @cached_property
    def _by_scenario(self) -> dict[str, tuple[TrialResult, ...]]:
        """Sorted out once, for a page asks for every scenario."""
        found: dict[str, list[TrialResult]] = {}
        for result in self.results:
            found.setdefault(result.observation.scenario, []).append(result)
        return {name: tuple(results) for name, results in found.items()}

    def waivers_of(self, trial_id: str) -> tuple[Waiver, ...]:
        """The waivers that cover a failure, in their order."""
        return tuple(self._by_trial.get(trial_id, ()))

    @cached_property
    def _by_trial(self) -> dict[str, list[Waiver]]:
        """Likewise: one waiver may cover thousands of trials."""
        found: dict[str, list[Waiver]] = {}
        for use in self.waivers:
            if use.state is WaiverState.APPLIES:
                for trial_id in use.trials:
                    found.setdefault(trial_id, []).append(use.waiver)
        return found


@dataclass(frozen=True)
class DoctorLine:
    """What `doctor` says about one engine. `info` None: it did not answer, `message` says why. `insisted_on`: the user
    chose it, and `auto` takes no other instead."""

    name: str
    info: EngineInfo | None
    message: str
    advice: str = ""
    insisted_on: bool = False


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
    STOP_DELAY = "stop_delay"
    """Time between the deregistration at the load balancer and the stop signal."""


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
    stop_delay_ns: int | None = None
    assumption: str = ""
    lines: tuple[Paste, ...] = ()


@dataclass(frozen=True)
class RemedyTrial:
    """What happened when the bad stop `trial_id` was repeated with a remedy; kept so that it can be judged again.

    `control`: the same subject with the remedy, left alone for at least as long as the stop took, and only then
    stopped. None: none was needed, the run ended before, or the record is of a version that made none.

    `unchanged`: the bad stop repeated as it was, for one that the engine's SIGKILL did not end: whether it is bad each
    time.

    `container`: the one of a task or a group that was changed; None: there is only one.
    """

    scenario: str
    trial_id: str
    remedy: Remedy
    observation: Observation
    control: Observation | None = None
    unchanged: tuple[Observation, ...] = ()
    container: str | None = None


class RemedyEffect(StrEnum):
    """What a remedy did."""

    CURES = "cures"
    HELPS = "helps"
    """Better than without it, but not whole: less is lost, or it is in order and later than the scenario accepts."""
    LOSES_WORK = "loses_work"
    """In time, but processes or requests were cut off."""
    UNPROVED = "unproved"
    """It looks graceful, and the evidence does not show that it is: see `TriedRemedy.note`."""
    SKIPS_HANDLER = "skips_handler"
    """The program has a handler for a stop signal, and this ends it without that one being run."""
    ENDS_ANYWAY = "ends_anyway"
    """Left alone, the same subject exits by itself in that time: the stop did not end it."""
    FAILS = "fails"
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True)
class TriedRemedy:
    """A remedy with today's verdict on its trial. `note`: what speaks against a cure, or explains; sentences,
    may be empty. `container`: the one of a task or a group that was changed, whose own result then is `result`; None:
    there is only one."""

    trial_id: str
    remedy: Remedy
    result: TrialResult
    effect: RemedyEffect
    note: str = ""
    container: str | None = None

    @property
    def scenario(self) -> str:
        """The scenario whose bad stop was repeated."""
        return self.result.observation.scenario
