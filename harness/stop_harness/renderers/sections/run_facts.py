"""The run's facts: where, when and with what it was measured, and what that can prove. Pure."""

from __future__ import annotations

import shlex

from stop_harness.model import Observation, Report, RunInfo
from stop_harness.wording import count_of, one_line, precise_seconds, reference_sentence, run_duration_ns

TITLE = "The run"
COMMAND = "Command"


def facts(report: Report) -> list[tuple[str, str]]:
    """Label and value, for people; what is not known is left out."""
    run, took = report.run, run_duration_ns(report.run)
    engine = run.engine
    untold = "" if run.finished_at is not None and run.resumed_at else "did not end by itself"
    ran = f"{len(report.results):,} of {count_of(report.trials_planned, 'planned trial')}"
    found = [
        ("Engine", f"{engine.name}: {engine.product} {engine.version}, {engine.host}"),
        ("Started", run.started_at),
        ("Resumed", ", ".join(run.resumed_at)),
        ("Duration", untold if took is None else precise_seconds(took)),
        ("Trials", ran),
        ("Machine", f"{run.machine}, {count_of(run.cpu_count, 'CPU')}"),
        ("Engine's own time", reference_sentence(run.reference).partition(": ")[2] if run.reference else ""),
        (COMMAND, shlex.join(run.command_line)),
        ("Shard", run.shard or ""),
        ("Run", run.run_id),
        ("stop-harness", run.harness_version),
    ]
    return [(label, one_line(value)) for label, value in found if value]


def beside(baseline: RunInfo, now: RunInfo) -> list[tuple[str, str, str]]:
    """Label, and the fact of either run."""
    return [
        (label, one_line(then), one_line(later))
        for (label, then), (_, later) in zip(_compared(baseline), _compared(now), strict=True)
    ]


def _compared(run: RunInfo) -> list[tuple[str, str]]:
    took_ns = run_duration_ns(run)
    return [
        ("Started", run.started_at),
        ("Duration", "–" if took_ns is None else precise_seconds(took_ns)),
        ("Engine", f"{run.engine.name}: {run.engine.product} {run.engine.version}"),
        ("Machine", f"{run.machine}, {count_of(run.cpu_count, 'CPU')}"),
        ("stop-harness", run.harness_version),
        ("Run", run.run_id),
    ]


def proofs(report: Report) -> list[str]:
    """What this engine can prove and what it cannot, then its own caveats."""
    engine = report.run.engine
    watched = any(_saw_lost_processes(result.observation) for result in report.results)
    return [
        "The container's first process is PID 1: the kernel drops signals it has no handler for."
        if engine.pid1_rules
        else "The container's first process is not PID 1: a missing handler shows as a prompt exit here.",
        "SIGKILL is observed: the engine reports its own."
        if engine.observes_sigkill
        else "SIGKILL is inferred from exit code and time: the engine does not report its own.",
        "OOM kills are reported by the engine." if engine.reports_oom else "The engine cannot tell an OOM kill.",
        "It sees processes that are killed silently when PID 1 exits before them."
        if watched
        else "It does not see processes that are killed silently when PID 1 exits before them: "
        "a stop can look graceful and lose work.",
        *(["Stop timeouts are whole seconds."] if engine.whole_seconds else []),
        *(
            []
            if engine.runs_images
            else ["It runs commands, not images: no memory limit, no init, no network of its own."]
        ),
        *(one_line(caveat) for caveat in engine.caveats),
    ]


def _saw_lost_processes(seen: Observation) -> bool:
    """Whether it is on record which processes were killed silently; of a task or a group each container's record says
    so, and its own holds only what came to the whole."""
    containers = seen.task.containers if seen.task is not None else ()
    return any(record.lost_processes is not None for record in (seen.record, *(item.record for item in containers)))
