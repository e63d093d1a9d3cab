"""What a stop came to, container by container. Pure.

Where the endpoint is `stop-harness ecs serve`, its engine's record decides. Elsewhere only ECS speaks: exit codes, and
three times of the task by two clocks. Then SIGKILL is at best inferred, and no container has a duration.
"""

from __future__ import annotations

from dataclasses import dataclass

from stop_harness import signals
from stop_harness.ecs_client.records import STOPPED, Container, Definition, Measured, Task
from stop_harness.evidence.lost_processes import listed
from stop_harness.model import NS_PER_MS, NS_PER_S, Outcome, SigkillEvidence

SIGKILL_EXIT_CODE = 128 + signals.SIGKILL
DEFAULT_STOP_TIMEOUT_S = 30
"""Amazon ECS: `stopTimeout`, "If the parameter isn't specified, then the default value of 30 seconds is used"."""

CLOCKS_APART_NS = NS_PER_S
"""How far `executionStoppedAt` may lie before what it shows: two clocks, and some agents give whole seconds."""

AT_THE_TIMEOUT_NS = 50 * NS_PER_MS
"""How far before the stop timeout "at the timeout" begins, by one engine's clock (docs/outcomes.md)."""

OUT_OF_MEMORY = "OutOfMemoryError"
"""How the reason of a container begins that the OOM killer struck."""

OTHER_STOP_SIGNALS = frozenset(128 + signals.NUMBERS[name] for name in ("HUP", "INT", "QUIT", "USR1", "USR2"))
"""Exit codes that are orderly where STOPSIGNAL says so, which ECS does not tell."""

BAD = (Outcome.KILLED, Outcome.OOM_KILLED, Outcome.CRASHED, Outcome.LOSSY)
"""The worst first."""


@dataclass(frozen=True)
class Sighting:
    """When polling saw a container STOPPED: how long after the answer to StopTask, and the error, which is earlier."""

    after_ns: int
    error_ns: int


@dataclass(frozen=True)
class ContainerStop:
    """How one container took the stop. `why` is the end of a sentence that begins with its name.

    `duration_ns`: from the stop signal to the exit, by the engine; None where nobody measured it.
    `stop_timeout_s`: None where the task definition could not be read.
    """

    name: str
    outcome: Outcome
    sigkill: SigkillEvidence
    exit_code: int | None
    why: str
    duration_ns: int | None = None
    seen: Sighting | None = None
    stop_timeout_s: int | None = None
    timeout_is_default: bool = False


@dataclass(frozen=True)
class TaskStop:
    """A task that has STOPPED. `took_ns` is from `stoppingAt` to `stoppedAt`, both by the clock of ECS.

    `execution_ns` is from `stoppingAt` to `executionStoppedAt`, the end of the first essential container: two clocks.
    """

    task: Task
    containers: tuple[ContainerStop, ...]
    by_engine: bool
    took_ns: int | None
    execution_ns: int | None
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst of its containers; graceful if at least one was stopped and all that were took it well."""
        outcomes = [item.outcome for item in self.containers]
        if bad := [outcome for outcome in BAD if outcome in outcomes]:
            return bad[0]
        if Outcome.INCONCLUSIVE in outcomes or self._ended_by_itself:
            return Outcome.INCONCLUSIVE
        return Outcome.GRACEFUL if Outcome.GRACEFUL in outcomes else Outcome.NOT_RUNNING

    @property
    def _ended_by_itself(self) -> bool:
        """An essential container had left before ECS was asked, and only the engine's record would tell which."""
        return not self.by_engine and self.task.stop_code == "EssentialContainerExited"


def of_task(
    before: Task,
    after: Task,
    definitions: dict[str, Definition] | None,
    records: dict[str, Measured] | None,
    sightings: dict[str, Sighting],
    *,
    drained: bool,
) -> TaskStop:
    """The stop of a task. `before`: StopTask's answer. `drained`: a load balancer let go of it before the signal."""
    had_ended = {
        item.name for item in before.containers if item.last_status == STOPPED and before.last_status != STOPPED
    }
    stops = []
    for item in after.containers:
        seen = sightings.get(item.name)
        record = (records or {}).get(item.name)
        if record is not None:
            stops.append(_by_engine(record, seen))
        else:
            definition = (definitions or {}).get(item.name)
            stops.append(_by_ecs(item, definition, after, seen, drained=drained, had_ended=item.name in had_ended))
    return TaskStop(
        task=after,
        containers=tuple(stops),
        by_engine=records is not None,
        took_ns=_span(after.stopping_at_ns, after.stopped_at_ns),
        execution_ns=_span(after.stopping_at_ns, after.execution_stopped_at_ns),
        notes=_notes(before, after),
    )


def _notes(before: Task, after: Task) -> tuple[str, ...]:
    notes = []
    if before.last_status == STOPPED:
        notes.append("The task had stopped before it was asked to; this is how.")
    if after.stop_code not in {None, "UserInitiated"}:
        notes.append(f"It was not this request that ended the task: its stopCode is {after.stop_code}.")
    return tuple(notes)


def _span(begin_ns: int | None, end_ns: int | None) -> int | None:
    return None if begin_ns is None or end_ns is None else end_ns - begin_ns


# ── by the engine's record ───────────────────────────────────────────────────────────────────────────────────────────


def _by_engine(it: Measured, seen: Sighting | None) -> ContainerStop:
    sigkill = it.sigkill
    timeout_ns = it.stop_timeout_s * NS_PER_S
    late = it.duration_ns is not None and it.duration_ns >= timeout_ns - AT_THE_TIMEOUT_NS
    if sigkill is SigkillEvidence.UNKNOWN and it.exit_code == SIGKILL_EXIT_CODE and late:
        sigkill = SigkillEvidence.INFERRED
    outcome, why = _measured_outcome(it, sigkill)
    return ContainerStop(
        it.name, outcome, sigkill, it.exit_code, why, it.duration_ns, seen, it.stop_timeout_s, timeout_is_default=False
    )


def _measured_outcome(it: Measured, sigkill: SigkillEvidence) -> tuple[Outcome, str]:
    if not it.ran:
        return Outcome.NOT_RUNNING, "never ran"
    if not it.stop_was_called:
        return Outcome.NOT_RUNNING, "had ended before it was stopped"
    if it.exit_code is None:
        return Outcome.INCONCLUSIVE, "has no exit code on record"
    if it.oom_killed:
        return Outcome.OOM_KILLED, "was struck by the OOM killer"
    if sigkill in {SigkillEvidence.OBSERVED, SigkillEvidence.INFERRED}:
        return Outcome.KILLED, f"still ran at its stop timeout of {it.stop_timeout_s} s and got SIGKILL"
    if sigkill is SigkillEvidence.UNKNOWN:
        return (
            Outcome.INCONCLUSIVE,
            f"left with exit code {it.exit_code}; whether SIGKILL was sent is not on record",
        )
    orderly = {0, 128 + (signals.SIGTERM if it.stop_signal is None else it.stop_signal)}
    if it.exit_code not in orderly:
        return Outcome.CRASHED, f"left by itself with exit code {it.exit_code}"
    if it.lost_processes:
        return Outcome.LOSSY, f"left in time, but SIGKILL ended {listed(it.lost_processes, it.lost_process_count)}"
    return Outcome.GRACEFUL, "left by itself"


# ── by what ECS tells ────────────────────────────────────────────────────────────────────────────────────────────────


def _by_ecs(
    it: Container, definition: Definition | None, task: Task, seen: Sighting | None, *, drained: bool, had_ended: bool
) -> ContainerStop:
    timeout_s = None
    if definition is not None:
        timeout_s = definition.stop_timeout_s or DEFAULT_STOP_TIMEOUT_S
    if it.exit_code == SIGKILL_EXIT_CODE and not had_ended and not _out_of_memory(it):
        outcome, sigkill, why = _exit_137(definition, timeout_s, task, drained=drained)
    else:
        outcome, why = _told_outcome(it, task, had_ended=had_ended)
        # PID 1 that ends with another code was not ended by SIGKILL.
        sigkill = SigkillEvidence.UNKNOWN if outcome is Outcome.INCONCLUSIVE else SigkillEvidence.NOT_SENT
        if _out_of_memory(it) or it.exit_code is None:
            sigkill = SigkillEvidence.UNKNOWN
    return ContainerStop(
        name=it.name,
        outcome=outcome,
        sigkill=sigkill,
        exit_code=it.exit_code,
        why=why,
        seen=seen,
        stop_timeout_s=timeout_s,
        timeout_is_default=definition is not None and definition.stop_timeout_s is None,
    )


def _out_of_memory(it: Container) -> bool:
    return (it.reason or "").startswith(OUT_OF_MEMORY)


def _told_outcome(it: Container, task: Task, *, had_ended: bool) -> tuple[Outcome, str]:
    if had_ended:
        return Outcome.NOT_RUNNING, "had ended before the task was stopped"
    if _out_of_memory(it):
        return Outcome.OOM_KILLED, "was struck by the OOM killer"
    if it.exit_code is None:
        if task.started_at_ns is None:
            return Outcome.NOT_RUNNING, "never ran"
        return Outcome.INCONCLUSIVE, "has no exit code" + (f": {it.reason}" if it.reason else "")
    if it.exit_code in {0, 128 + signals.SIGTERM}:
        return Outcome.GRACEFUL, "left by itself"
    if it.exit_code in OTHER_STOP_SIGNALS:
        name = signals.name(it.exit_code - 128)
        return Outcome.INCONCLUSIVE, f"ended by {name}; graceful only if that is its image's STOPSIGNAL"
    return Outcome.CRASHED, f"left with exit code {it.exit_code}"


def _exit_137(
    definition: Definition | None, timeout_s: int | None, task: Task, *, drained: bool
) -> tuple[Outcome, SigkillEvidence, str]:
    """137 is SIGKILL's, whoever sent it, or a program's own. By ECS at the stop timeout: inferred, where it can be.

    It can for an essential container that nothing holds back: it got its signal at `stoppingAt` and was there at least
    until `executionStoppedAt`.
    """
    span_ns = _span(task.stopping_at_ns, task.execution_stopped_at_ns)
    unknown = SigkillEvidence.UNKNOWN
    whoever = "ended with exit code 137; whether by SIGKILL at its stop timeout"
    if definition is None or timeout_s is None:
        return Outcome.KILLED, unknown, f"{whoever} is unknown: the task definition could not be read"
    if not definition.essential or definition.has_dependents or span_ns is None or drained:
        return Outcome.KILLED, unknown, f"{whoever} is unknown: ECS gives no time for its end"
    if span_ns < timeout_s * NS_PER_S - CLOCKS_APART_NS:
        if definition.stop_timeout_s is None:
            text = f"{whoever} is unknown: the container instance may have a shorter one than {timeout_s} s"
            return Outcome.KILLED, unknown, text
        text = f"{whoever} is unknown: the first essential container ended before its {timeout_s} s"
        return Outcome.KILLED, unknown, text
    text = f"was there at its stop timeout of {timeout_s} s and ended with exit code 137: SIGKILL, inferred"
    return Outcome.KILLED, SigkillEvidence.INFERRED, text
