"""What happened: the record of one trial, without any judgement."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.model.event import Clock, Event, EventKind
from stop_harness.model.fault import FaultRecord
from stop_harness.model.group import GroupKind
from stop_harness.model.process import ProcessFate, ProcessInfo
from stop_harness.model.property import PropertyRecord
from stop_harness.model.ready import ReadyBasis
from stop_harness.model.settings import NotApplied
from stop_harness.model.traffic_record import Request, TrafficRecord, Vantage
from stop_harness.model.watched import Watched
from stop_harness.records import dataclass


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """An engine as it answered, and what it can prove.

    `pid1_rules`: the subject is PID 1 of a PID namespace, so the kernel drops signals without a handler.
    `whole_seconds`: stop timeouts must be whole seconds. `observes_sigkill`: the engine reports its own SIGKILL.
    `reports_oom`: the engine's OOM flag can be trusted. `runs_images`: container images, memory limits and an init
    are available. `host` is how it was reached, for people. `proves_lost_processes`: it tells which processes PID 1 or
    others of the container took down with SIGKILL. `remote`: subjects run on other machines, so starting them costs
    nothing here.
    `cpu_count`, `memory_bytes`: of the engine's machine, None where it does not say.
    `stops_at_once`: so many stops it performs at the same time; more of them wait inside it, and their signals with
    them. None: no such limit is known.
    `limits_groups`: the CPU limit of a whole task holds for its containers together. `shares_memory`: its memory limit
    does, and whom the OOM killer struck at it is known.
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
    remote: bool = False
    cpu_count: int | None = None
    memory_bytes: int | None = None
    stops_at_once: int | None = None
    limits_groups: bool = False
    shares_memory: bool = False

    def applies(self, item: NotApplied) -> bool:
        """Whether it does what others leave out: a limit of several containers together."""
        return item.limit_of_group and (self.shares_memory if item.of_memory else self.limits_groups)


ASSUMED = "assumed"
"""`stop_signal_source` of a stop signal that nobody told."""

EXIT_BEGUN = "kernel: exit begun"
"""`source` of the event in which the kernel tells when the first thread of PID 1 began to exit: its files are open."""

DIE_EVENT = "die event"
"""`source` of an exit that only the engine's `die` event told, which comes late: the container is removed by then."""

MOST_NAMES = 10
"""Processes that are named where many were lost: a program that forks without end must not fill the journal."""


STOP_OF_A_GROUP = "stop of the group"
"""The `source` of a stop that was requested of a whole group, and of none of its containers by itself."""


class ProblemKind(StrEnum):
    """Why a trial says nothing about the container, or stopped short."""

    START_FAILED = "start_failed"
    """The engine could not start it for a reason that is not the command's (port taken, no such network)."""
    COMMAND_NOT_FOUND = "command_not_found"
    """The command does not exist or is not executable (exit codes 127 and 126)."""
    NOT_READY = "not_ready"
    ENGINE_FAILED = "engine_failed"
    INTERRUPTED = "interrupted"
    HARNESS_FAILED = "harness_failed"
    """An error of the harness itself that nobody expected, or no memory or threads for it."""
    HOOK_FAILED = "hook_failed"
    """A hook before the stop failed, so that the container was not told to stop."""
    NOT_DERIVABLE = "not_derivable"
    """It was not performed, and the longer stop that it is derived from leaves it open."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What kept a trial from being measured, in words for people."""

    kind: ProblemKind
    message: str


UNREADABLE_LOG = "(the log could not be read"
"""How the text begins that stands for a log which nobody could read."""


@dataclass(frozen=True, slots=True)
class LogTail:
    """The end of what the container wrote, decoded with replacement characters. `truncated`: there was more.

    `line_times_ns`: when each line of it was written, ns since the epoch by the engine's clock; None where the engine
    does not tell.
    """

    text: str = ""
    truncated: bool = False
    line_times_ns: tuple[int, ...] | None = None

    @property
    def readable(self) -> bool:
        """Whether it is what was written, and not the words for a log that could not be read."""
        return not (self.truncated and self.text.startswith(UNREADABLE_LOG))


@dataclass(frozen=True, slots=True)
class StopRecord:
    """What the engine has on record of the stop of one container, from its start to its exit.

    `events`: the timeline, sorted by clock and time where it stands in an observation.

    `exit_code` is the container's: 128 + n after signal n; Docker: `State.ExitCode`. None: it is not known, or the
    container never ran. `exit_signal` is the signal that ended PID 1, where the engine can tell it from an exit code by
    a wait status or by what the kernel tells the parent; else None. `oom_killed` None: the engine cannot tell.

    `exited_before_stop`: the stop found nothing to stop; of a task's container: it had ended by itself before, as an
    init container has. `complete` False: the record has a gap, for example because the event stream broke, so that a
    missing event proves nothing.

    `lost_processes`: processes ended by SIGKILL, though not by the engine's own, as the kernel's record proves. Of many
    the first `MOST_NAMES`. None: nobody could look. `lost_process_count`: how many in all; None: all are named.
    `suspected_processes`: seen alive just before PID 1 exited, without proof of how they ended.

    `fates`: what became of every process, PID 1 among them, as the kernel's record of exits has it; of many the first
    `MOST_FATES`. None: nobody could look, the record has a gap, or it was made by a version that did not. `fate_count`:
    how many processes there were; None: all are in `fates`. `fates_complete` False: who lived only between two looks
    may be missing.

    `gone_beside`: containers of its group that were to run while this one was stopped, and did not, as sentences.
    `hooks`: what ran before its stop signal, of a service that is stopped alone; of a group the containers have theirs.

    `stop_signal`: the number of the signal that the stop begins with; None: nobody told. An image whose STOPSIGNAL says
    nothing else is sent SIGTERM. `stop_signal_source`: who chose it, such as the image or the scenario, or `ASSUMED`;
    None: not known.
    """

    events: tuple[Event, ...] = ()
    exit_code: int | None = None
    exit_signal: int | None = None
    oom_killed: bool | None = None
    exited_before_stop: bool = False
    complete: bool = True
    lost_processes: tuple[str, ...] | None = None
    lost_process_count: int | None = None
    suspected_processes: tuple[str, ...] = ()
    stop_signal: int | None = None
    stop_signal_source: str | None = None
    fates: tuple[ProcessFate, ...] | None = None
    fate_count: int | None = None
    fates_complete: bool = True
    gone_beside: tuple[str, ...] = ()
    hooks: tuple[HookRecord, ...] = ()

    @property
    def left_untold(self) -> bool:
        """Of a container of a group: it ended by itself while the others were stopped, before it was told to."""
        asked = [event.source for event in self.events if event.kind is EventKind.STOP_REQUESTED]
        sent = any(event.kind is EventKind.SIGNAL_SENT for event in self.events)
        return bool(asked) and set(asked) == {STOP_OF_A_GROUP} and not sent


@dataclass(frozen=True, slots=True)
class Looks:
    """What the harness saw of one container around its stop.

    Each process table is None where nobody looked or nobody could read it: `before` is just before the stop,
    `after_signal` a moment after the stop signal, `late` a second or so after it.

    `logs`: the end of what the container wrote in its whole life. `log_after_signal`: what it wrote from the stop on;
    None where that cannot be told from what it wrote before.

    `at_timeout`: shortly before the stop timeout, where the first look had shown nobody who takes the stop signal; None
    where the container was gone by then, as well.
    """

    before: tuple[ProcessInfo, ...] | None = None
    after_signal: tuple[ProcessInfo, ...] | None = None
    late: tuple[ProcessInfo, ...] | None = None
    log_after_signal: str | None = None
    logs: LogTail = LogTail()
    at_timeout: tuple[ProcessInfo, ...] | None = None


@dataclass(frozen=True, slots=True)
class Derivation:
    """Which part of a stop was concluded instead of waited for. All None: the stop was performed and ran its course.

    `derived_from`: id of the trial with a longer stop timeout that the whole record follows from (`--infer`); None: the
    stop was performed.

    `cut_short`: the evidence that SIGKILL would have ended a stop that nobody waited for, as a sentence: `--fast` ended
    it early, or it is derived. Where a derived stop is killed, the record has the exit code 137 that SIGKILL would have
    given.

    `would_exit_after_ns`: how long after the stop signal PID 1 exited in the longer stop that a killed one is
    derived from; None: not before SIGKILL.
    """

    derived_from: str | None = None
    cut_short: str | None = None
    would_exit_after_ns: int | None = None


@dataclass(frozen=True, slots=True)
class HookRecord:
    """A hook that ran before a container was told to stop. `command`: what it did, for people. `reason`: why it failed,
    empty where it succeeded. `cut_off`: it had not ended when its time was over."""

    command: str
    took_ns: int
    reason: str = ""
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """One container of a task, or of a group that was stopped as a whole.

    `waits_for`: containers that had to be gone before this one was told to stop. `ran`: it was started. `reason`: ECS's
    own, such as `OutOfMemoryError: …`; empty where there is none. `hooks`: what ran before it was told to stop.
    `not_told`: why it never was, where a group's stop broke off before; None: it was.

    `cut_to_ns`: what the two minutes of a Spot notice had left of its stop timeout when it was told; None: all of it.
    """

    name: str
    essential: bool
    waits_for: tuple[str, ...]
    stop_timeout_ns: int
    record: StopRecord = StopRecord()
    looks: Looks = Looks()
    ran: bool = True
    reason: str = ""
    cut_to_ns: int | None = None
    hooks: tuple[HookRecord, ...] = ()
    not_told: str | None = None

    @property
    def limit_ns(self) -> int:
        """How long it had, from the stop signal to SIGKILL."""
        return self.stop_timeout_ns if self.cut_to_ns is None else self.cut_to_ns

    @property
    def had_to_be_stopped(self) -> bool:
        """Whether it still ran when the task was stopped."""
        return self.ran and not self.record.exited_before_stop


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What is on record of a stopped task of Amazon ECS, or of a group that was stopped as a whole.

    `group`: by whose rules the group was stopped; None: it is a task. `arn`, `stop_code` and `stopped_reason` are ECS's
    own; empty where it gave none, and of a group. `fargate`: Fargate's limits apply. `grace_ns`: of a pod, the budget
    of the whole stop; None: there is none. `begun_ns`: when that budget began, by the engine's clock; None: with the
    first stop signal, or it is not known. `about`: the container that the trial is about; None: all are.
    """

    arn: str
    containers: tuple[ContainerRecord, ...]
    fargate: bool = False
    stop_code: str = ""
    stopped_reason: str = ""
    group: GroupKind | None = None
    grace_ns: int | None = None
    begun_ns: int | None = None
    about: str | None = None

    @property
    def events(self) -> tuple[Event, ...]:
        """The stop of the task as a whole: from the first stop signal to the last exit, each clock by itself.

        Where an engine has no signal on record, its first stop call stands for it.
        """
        stopped = [item.record for item in self.containers if not item.record.exited_before_stop]
        seen = [event for record in stopped for event in record.events]
        found = []
        for clock in (Clock.ENGINE, Clock.HARNESS):
            here = sorted((event for event in seen if event.clock is clock), key=lambda event: event.at_ns)
            sent = [event for event in here if event.kind is EventKind.SIGNAL_SENT]
            called = [event for event in here if event.kind is EventKind.STOP_REQUESTED and clock is Clock.ENGINE]
            exited = [event for event in here if event.kind is EventKind.EXITED]
            begun = (sent or called)[:1]
            if self.begun_ns is not None:
                begun = [Event(EventKind.STOP_REQUESTED, self.begun_ns, clock, "begin of the grace period")]
                begun = begun if clock is Clock.ENGINE else []
            found += [*begun, *exited[-1:]]
        return tuple(found)

    @property
    def nothing_to_stop(self) -> bool:
        """Whether no container was left that the stop had to end."""
        return not any(item.had_to_be_stopped for item in self.containers)


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything one trial recorded; nothing in it says "graceful".

    `stop_after_ns`: from readiness to the stop. `started_at`: when the trial began, ISO 8601. `traffic` None: there was
    no traffic. `problem` None: the trial came to its end. `load_average`: of the machine of the harness over the last
    minute; None: unknown. `ready`: by what it counted as ready; None: it never did, or a version before that was
    recorded.

    `task`: the containers of the task, where a whole task was stopped. Each has a record and looks of its own. The
    trial's `record` is then that of the task as a whole: its events, and whether they are complete; exit codes, stop
    signals, process tables and logs are the containers'. None: one container was stopped. `own_timeouts`: each of them
    had its own stop timeout, and `stop_timeout_ns` is the longest that all of it can take. False, too, of a version
    before that was recorded.

    `properties`: what was found of each property that the scenario expects after this stop; empty where it expects
    none, where the trial did not come so far, and of a stop that is derived.

    `faults`: what became of each fault of the scenario, in its order; empty without any.

    `watched`: somebody else asked for the stop (`stop-harness watch`), and `stop_timeout_ns` is what its events tell.
    None: the harness did.
    """

    trial_id: str
    scenario: str
    engine: EngineInfo
    stop_timeout_ns: int
    stop_after_ns: int
    repetition: int
    started_at: str
    record: StopRecord = StopRecord()
    looks: Looks = Looks()
    traffic: TrafficRecord | None = None
    derivation: Derivation = Derivation()
    task: TaskRecord | None = None
    problem: Problem | None = None
    load_average: float | None = None
    ready: ReadyBasis | None = None
    own_timeouts: bool = False
    faults: tuple[FaultRecord, ...] = ()
    watched: Watched | None = None
    properties: tuple[PropertyRecord, ...] = ()

    @property
    def requests(self) -> tuple[Request, ...]:
        """The requests of its traffic; empty where there was none."""
        return self.traffic.requests if self.traffic is not None else ()

    @property
    def vantage(self) -> Vantage | None:
        """Where its traffic came from; None where there was none, or no client was ever connected."""
        return self.traffic.vantage if self.traffic is not None else None
