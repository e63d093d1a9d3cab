"""A judged stop in words: its containers in a table, where the numbers are from, the verdict in a sentence. Pure."""

from __future__ import annotations

import textwrap

from stop_harness.ecs_client.measure import Followed
from stop_harness.ecs_client.records import STOPPED
from stop_harness.model import ContainerRecord, ContainerVerdict, Observation, Outcome, SigkillEvidence, Verdict
from stop_harness.wording import OUTCOME_WORDS, precise_seconds, printable

RED, GREEN, YELLOW, BOLD, RESET = "\033[31m", "\033[32m", "\033[33m", "\033[1m", "\033[0m"
HEADERS = ("container", "took", "stop timeout", "exit code", "SIGKILL")
NOTHING = "–"

SIGKILL_WORDS = {evidence: evidence.value.replace("_", " ") for evidence in SigkillEvidence}


def render(followed: Followed, seen: Observation, verdict: Verdict, *, width: int = 80, colour: bool = False) -> str:
    """All of it, ending with the verdict."""
    blocks = [_table(followed, seen, verdict), _wrapped(_sources(followed), width)]
    blocks += [_wrapped(note, width) for note in _notes(followed)]
    last = _wrapped(sentence(verdict), width)
    blocks.append(f"{_colour(verdict.outcome)}{last}{RESET}" if colour else last)
    return "\n\n".join(blocks) + "\n"


def sentence(verdict: Verdict) -> str:
    """`killed: app: still running 2 s after SIGTERM; ended by SIGKILL (…)`, and every other container that failed."""
    if verdict.outcome is Outcome.NOT_RUNNING:
        return f"nothing was stopped: the task {printable(verdict.reason)}."
    word = OUTCOME_WORDS[verdict.outcome]
    telling = [item for item in verdict.containers if item.outcome is verdict.outcome]
    if not telling or (verdict.outcome is Outcome.GRACEFUL and len(telling) > 1):
        return f"{word}: {printable(verdict.reason)}."
    others = [item for item in verdict.containers if _failed(item.outcome) and item not in telling]
    others.sort(key=lambda item: -item.outcome.severity)
    parts = [f"{printable(item.name)}: {printable(item.reason)}" for item in [*telling, *others]]
    return f"{word}: {'; '.join(parts)}."


def _failed(outcome: Outcome) -> bool:
    return outcome.severity > Outcome.NOT_RUNNING.severity


def _table(followed: Followed, seen: Observation, verdict: Verdict) -> str:
    by_engine = followed.evidence is not None
    judged = {item.name: item for item in verdict.containers}
    containers = seen.task.containers if seen.task is not None else ()
    rows: list[tuple[str, ...]] = [HEADERS if by_engine else ("container", "seen stopped", *HEADERS[2:])]
    rows += [_row(followed, item, judged.get(item.name)) for item in containers]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(followed: Followed, it: ContainerRecord, judged: ContainerVerdict | None) -> tuple[str, ...]:
    definition = (followed.definitions or {}).get(it.name)
    timeout = f"{precise_seconds(it.stop_timeout_ns)}"
    if followed.evidence is None:
        timeout = NOTHING if definition is None else f"{timeout}{'' if definition.stop_timeout_s else ' (default)'}"
    return (
        printable(it.name),
        _took(followed, it, judged),
        timeout,
        NOTHING if it.record.exit_code is None else str(it.record.exit_code),
        NOTHING if judged is None else SIGKILL_WORDS[judged.facts.sigkill_evidence],
    )


def _took(followed: Followed, it: ContainerRecord, judged: ContainerVerdict | None) -> str:
    if followed.evidence is not None:
        duration_ns = judged.facts.shutdown_duration_ns if judged is not None else None
        return NOTHING if duration_ns is None else precise_seconds(duration_ns).replace("less than ", "<")
    after_ns = followed.sighted_after_ns(it.name)
    if after_ns is None:
        return NOTHING
    return f"after {after_ns / 1e9:.1f} s, −{followed.sightings[it.name].error_ns / 1e9:.1f} s"


def _sources(followed: Followed) -> str:
    if followed.evidence is not None:
        return "Durations: from the stop signal to the exit, both by the container engine's clock."
    task, parts = followed.after, []
    took_ns = _span(task.stopping_at_ns, task.stopped_at_ns)
    execution_ns = _span(task.stopping_at_ns, task.execution_stopped_at_ns)
    if took_ns is not None:
        parts.append(f"The task took {precise_seconds(took_ns)} from stoppingAt to stoppedAt, by the clock of ECS.")
    if execution_ns is not None:
        parts.append(
            f"Its first essential container had ended {precise_seconds(execution_ns)} after stoppingAt "
            "(executionStoppedAt): two clocks, that of its host and that of ECS."
        )
    parts.append(
        "ECS tells no durations of containers, nor who sent SIGKILL; when polling saw them stopped is an upper bound."
    )
    return " ".join(parts)


def _notes(followed: Followed) -> list[str]:
    notes = []
    if followed.before.last_status == STOPPED:
        notes.append("The task had stopped before it was asked to; this is how.")
    if followed.after.stop_code not in {None, "UserInitiated"}:
        notes.append(f"It was not this request that ended the task: its stopCode is {followed.after.stop_code}.")
    if followed.definitions is None and followed.evidence is None:
        notes.append(
            "The task definition could not be read, so that neither stop timeouts nor the order of the stop are known; "
            "it takes the permission ecs:DescribeTaskDefinition."
        )
    if followed.drained_until_ns is not None:
        notes.append("A load balancer let go of the task first (DEACTIVATING); that time is not the containers'.")
    if followed.evidence is not None:
        notes += [f"Not emulated: {printable(f'{it.what}: {it.may_change}')}." for it in followed.evidence.not_applied]
    return notes


def _span(begin_ns: int | None, end_ns: int | None) -> int | None:
    return None if begin_ns is None or end_ns is None else end_ns - begin_ns


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, max(width, 40)))


def _colour(outcome: Outcome) -> str:
    return BOLD + (RED if _failed(outcome) else GREEN if outcome is Outcome.GRACEFUL else YELLOW)
