"""By what a container counted as ready, whether its stop met its start-up, and what a later stop might change. Pure."""

from __future__ import annotations

from stop_harness import signals
from stop_harness.evidence import exec_form, process_tree
from stop_harness.evidence.process_tree import Reaction, Tree, quoted, reaction
from stop_harness.model import NS_PER_S, Looks, Observation, Outcome, ProcessInfo, ReadyBasis, ReadyBy
from stop_harness.wording import precise_seconds

LEAST_NS = NS_PER_S
"""From the start to the stop, where the scenario does not say when the container is ready."""

WAYS_TO_SAY = "say when it is ready: `--ready-log`, `--ready-tcp`, `--ready-delay`, or `ready` in a scenario"

_NONE_YET = frozenset({Reaction.DEFAULT, Reaction.IGNORED})
_THERE = frozenset({Reaction.CAUGHT, Reaction.AWAITED})


def takes(processes: tuple[ProcessInfo, ...] | None, signal: int | None) -> bool:
    """Whether somebody takes the stop signal; also where that cannot be seen, for then no other look helps."""
    if signal is None or not processes:
        return True
    return any(_takes(process, signal) for process in exec_form.receivers(processes))


def _takes(process: ProcessInfo, signal: int) -> bool:
    """Whether a process has a handler, or waits for the signal by sigwait(3) or signalfd(2) and so keeps it blocked.

    One that is blocked and not waiting says nothing: shells block all signals for the moment in which they fork, and
    without a trap they drop this one then. Measured: half of 60 starts by a bash script showed that within 0.35 s.
    """
    met = reaction(process, signal)
    if met is Reaction.BLOCKED:
        return process.state != "R" and not process_tree.is_shell(process)
    return met in _THERE


def late_handler(looks: Looks, signal: int | None) -> str | None:
    """Whoever had no handler for the signal when it came and has one at the last look, quoted; None where nobody is.

    It is the same process, perhaps with another program in it: a start script replaces itself with what it starts.
    """
    last = next((table for table in (looks.at_timeout, looks.late, looks.after_signal) if table), None)
    if signal is None or not looks.before or last is None:
        return None
    met = {process.pid: reaction(process, signal) for process in exec_form.receivers(looks.before)}
    then = {process.pid: process for process in Tree(last).processes}
    return next(
        (
            quoted(then[pid])
            for pid, earlier in met.items()
            if earlier in _NONE_YET and pid in then and reaction(then[pid], signal) in _THERE
        ),
        None,
    )


def too_early(seen: Observation) -> str | None:
    """Why a stop that ended in SIGKILL says nothing about the container: its handler came later, and nobody had said
    when it is ready. None where that is not so; where the scenario says when, a late handler is the container's."""
    if seen.ready is None or seen.ready.by in _NOT_A_START or seen.record.stop_signal is None:
        return None
    who = late_handler(seen.looks, seen.record.stop_signal)
    if who is None:
        return None
    name = signals.name(seen.record.stop_signal)
    moment = "before it was ready" if seen.ready.after_start_ns is None else f"{_at(seen.ready)} after its start"
    return f"stopped {moment}, when {who} had no handler for {name} yet; it had one later, so {WAYS_TO_SAY}"


def before_its_handler(seen: Observation) -> str | None:
    """Why a stop that a runtime ended with an exit code of its own says nothing about the container: a program that is
    still starting ends just so, and nobody had said when it is ready. None where somebody had."""
    if seen.ready is None or _is_said(seen.ready):
        return None
    moment = "before it was ready" if seen.ready.after_start_ns is None else f"{_at(seen.ready)} after its start"
    return f"stopped {moment} and ended by its runtime; a handler of its own may come later, so {WAYS_TO_SAY}"


def met(seen: Observation) -> bool:
    """Whether the stop met the start-up, of one container of a task at least; None of them had to end in SIGKILL."""
    if seen.ready is None or seen.ready.by in _NOT_A_START:
        return False
    parts = [(seen.looks, seen.record.stop_signal)]
    if seen.task is not None:
        parts = [(item.looks, item.record.stop_signal) for item in seen.task.containers if item.had_to_be_stopped]
    return any(late_handler(looks, signal) is not None for looks, signal in parts)


def sentence(basis: ReadyBasis) -> str:
    """By what it counted as ready, as a part of a sentence."""
    after = "" if basis.after_start_ns is None else f" {_at(basis)} after its start"
    missed = [f"nobody listened at the declared {_ports(basis.silent_ports)}"] if basis.silent_ports else []
    missed += ["its health check did not succeed"] if basis.unhealthy else []
    why_not_known = " and ".join(missed) or "nothing says when it is ready (`ready`, a health check, EXPOSE)"
    told = {
        ReadyBy.CONDITIONS: f"ready{after}, as the scenario says",
        ReadyBy.HEALTH_CHECK: f"ready{after}, when its health check succeeded",
        ReadyBy.PORT: f"ready{after}, when it listened at {_ports(basis.ports)}",
        ReadyBy.FOUND: f"ready: it had been running for {_at(basis)}",
    }
    if basis.by in told:
        return "; ".join([told[basis.by], *missed])
    how = "when it had its handler" if basis.by is ReadyBy.HANDLER else "by time"
    return f"stopped{after}, {how}: {why_not_known}"


def doubt(seen: Observation, outcome: Outcome) -> str | None:
    """The basis of a stop that may have come before the container was ready, with what a later one might change; None
    where it was ready, or the outcome says nothing about a stop."""
    if seen.ready is None or _is_said(seen.ready) or outcome not in _WHAT_MIGHT_CHANGE:
        return None
    return f"{sentence(seen.ready)}; {_WHAT_MIGHT_CHANGE[outcome]}"


def _is_said(basis: ReadyBasis) -> bool:
    """Whether the scenario or the image says when it is ready, and nothing that the image says was missed."""
    if basis.by in {ReadyBy.HEALTH_CHECK, ReadyBy.PORT}:
        return not basis.silent_ports and not basis.unhealthy
    return basis.by in _NOT_A_START


_NOT_A_START = frozenset({ReadyBy.CONDITIONS, ReadyBy.FOUND})
"""Somebody said when it is ready, or it had long been: what its stop meets is not its start."""

_WHAT_MIGHT_CHANGE = {
    Outcome.GRACEFUL: "a later stop might take longer, or have work to lose",
    Outcome.LOSSY: "a later stop might lose more, or less",
    Outcome.KILLED: "a later stop might meet a handler that is not there yet",
    Outcome.CRASHED: "a later stop might end otherwise",
}


def _at(basis: ReadyBasis) -> str:
    return precise_seconds((basis.after_start_ns or 0) // 10_000_000 * 10_000_000)


def _ports(ports: tuple[int, ...]) -> str:
    return f"port{'' if len(ports) == 1 else 's'} {', '.join(map(str, ports))}"
