"""A measured stop in words: its containers in a table, where the numbers are from, the verdict in a sentence. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from stop_harness.ecs_client.measure import BAD, ContainerStop, TaskStop
from stop_harness.model import Outcome, SigkillEvidence
from stop_harness.wording import OUTCOME_WORDS, count_of, precise_seconds, printable

RED, GREEN, YELLOW, BOLD, RESET = "\033[31m", "\033[32m", "\033[33m", "\033[1m", "\033[0m"
HEADERS = ("container", "took", "stop timeout", "exit code", "SIGKILL")
NOTHING = "–"

SIGKILL_WORDS = {evidence: evidence.value.replace("_", " ") for evidence in SigkillEvidence}


def render(stop: TaskStop, *, width: int = 80, colour: bool = False) -> str:
    """All of it, ending with the verdict."""
    blocks = [_table(stop), _wrapped(_sources(stop), width)]
    blocks += [_wrapped(note, width) for note in stop.notes]
    verdict = _wrapped(sentence(stop), width)
    blocks.append(f"{_colour(stop.outcome)}{verdict}{RESET}" if colour else verdict)
    return "\n\n".join(blocks) + "\n"


def sentence(stop: TaskStop) -> str:
    """`killed: app still ran at its stop timeout of 2 s and got SIGKILL.`"""
    outcome = stop.outcome
    word = "nothing was stopped" if outcome is Outcome.NOT_RUNNING else OUTCOME_WORDS[outcome]
    telling = [item for item in stop.containers if item.outcome is outcome] or list(stop.containers)
    if outcome is Outcome.GRACEFUL:
        all_of_them = "both" if len(telling) == 2 else f"all {len(telling)}"
        who = f"{printable(telling[0].name)} left" if len(telling) == 1 else f"{all_of_them} containers left"
        return f"{word}: {who} by {'itself' if len(telling) == 1 else 'themselves'}."
    if outcome is Outcome.INCONCLUSIVE and not any(item.outcome is outcome for item in stop.containers):
        return f"{word}: an essential container ended by itself, and ECS does not tell which."
    others = [item for item in stop.containers if item.outcome in BAD and item not in telling]
    return (
        f"{word}: " + "; ".join(f"{printable(item.name)} {printable(item.why)}" for item in [*telling, *others]) + "."
    )


def _table(stop: TaskStop) -> str:
    rows: list[tuple[str, ...]] = [HEADERS if stop.by_engine else ("container", "seen stopped", *HEADERS[2:])]
    rows += [_row(item, by_engine=stop.by_engine) for item in stop.containers]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(it: ContainerStop, *, by_engine: bool) -> tuple[str, ...]:
    took = NOTHING
    if by_engine and it.duration_ns is not None:
        took = precise_seconds(it.duration_ns).replace("less than ", "<")
    elif not by_engine and it.seen is not None:
        took = f"after {it.seen.after_ns / 1e9:.1f} s, −{it.seen.error_ns / 1e9:.1f} s"
    timeout = NOTHING if it.stop_timeout_s is None else f"{it.stop_timeout_s} s"
    return (
        printable(it.name),
        took,
        f"{timeout} (default)" if it.timeout_is_default else timeout,
        NOTHING if it.exit_code is None else str(it.exit_code),
        NOTHING if it.outcome is Outcome.NOT_RUNNING else SIGKILL_WORDS[it.sigkill],
    )


def _sources(stop: TaskStop) -> str:
    if stop.by_engine:
        return "Durations: from the stop signal to the exit, both by the container engine's clock."
    parts = []
    if stop.took_ns is not None:
        parts.append(
            f"The task took {precise_seconds(stop.took_ns)} from stoppingAt to stoppedAt, by the clock of ECS."
        )
    if stop.execution_ns is not None:
        parts.append(
            f"Its first essential container had ended {precise_seconds(stop.execution_ns)} after stoppingAt "
            "(executionStoppedAt): two clocks, that of its host and that of ECS."
        )
    parts.append(
        "ECS tells no durations of containers, nor who sent SIGKILL; when polling saw them stopped is no duration."
    )
    return " ".join(parts)


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, max(width, 40)))


def _colour(outcome: Outcome) -> str:
    return BOLD + (RED if outcome in BAD else GREEN if outcome is Outcome.GRACEFUL else YELLOW)


def live_line(containers: Sequence[tuple[str, str]], status: str, elapsed_s: float, width: int) -> str:
    """What a terminal shows meanwhile, cut to its width: `STOPPING for 12 s: app RUNNING, db STOPPED (0)`."""
    parts = ", ".join(f"{printable(name)} {state}" for name, state in containers)
    line = f"{status} for {elapsed_s:.0f} s: {parts}"
    return line if len(line) < width else line[: width - 2] + "…"


def heading(task_id: str, containers: int, *, stopped: bool) -> str:
    """What is followed."""
    return f"task {task_id}: {count_of(containers, 'container')}, {'had stopped' if stopped else 'asked to stop'}"
