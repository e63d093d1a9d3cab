"""Process tables, requests, log and facts → why a stop was not graceful. Pure. Unknown stays unknown.

One stop has one cause: the first that its evidence supports, in the order of `cause`. No rule knows an image, a server
or a path.
"""

from __future__ import annotations

from collections.abc import Callable

from stop_harness import signals
from stop_harness.evidence import log_hints, lost_work, process_tree
from stop_harness.evidence.lost_processes import KILLED_FROM_INSIDE, listed
from stop_harness.evidence.process_tree import Reaction, Tree, quoted, reaction
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Cause,
    Observation,
    Outcome,
    ProblemKind,
    ProcessInfo,
    RequestFate,
    StopFacts,
)
from stop_harness.verdict import fault_doubts, faults, traffic
from stop_harness.verdict.handler_causes import handler_cause, not_permitted
from stop_harness.verdict.killed_scene import Scene
from stop_harness.verdict.losses import cause_of_lost_work
from stop_harness.verdict.no_handler_causes import no_handler, shell_waits, trap
from stop_harness.wording import count_of

PROMPT_NS = 2 * NS_PER_S
"""A program that leaves sooner than this while a request is cut did not wait for it."""

OWN_CLOCK_NS = NS_PER_S
"""Nobody who waits for others gives them less."""

TIMED_SLEEP = "nanosleep"
"""Part of the names of the kernel's functions in which sleep(3) and its relatives wait."""

"""What the engines write behind a process that was SIGKILLed while PID 1 still stayed."""

UNKNOWN = "the evidence does not tell"


def cause(observation: Observation, facts: StopFacts, outcome: Outcome) -> Cause | None:
    """The one cause of a stop that was not graceful, with its evidence; None for a graceful or unmeasured one."""
    find = _BY_OUTCOME.get(outcome)
    if find is None:
        return None
    if outcome is Outcome.KILLED and (by_fault := faults.cause(observation)):
        return by_fault
    found = find(observation, facts)
    if found is None and outcome is Outcome.KILLED:
        return fault_doubts.doubted(Cause("unknown", UNKNOWN), observation)
    return found or Cause("unknown", UNKNOWN)


# ── Not killed by the engine ─────────────────────────────────────────────────────────────────────────────────────────


def _not_running(seen: Observation, _facts: StopFacts) -> Cause:
    if seen.problem is not None and seen.problem.kind is ProblemKind.COMMAND_NOT_FOUND:
        return Cause("command-not-found", seen.problem.message)
    last = log_hints.last_line(seen.looks.logs.text)
    words = f"; its last words: {log_hints.shown(last)}" if last else ""
    if seen.record.exit_code in {126, 127}:
        return Cause("command-not-found", f"PID 1 exited with code {seen.record.exit_code}{words}")
    code = "" if seen.record.exit_code is None else f" with exit code {seen.record.exit_code}"
    cause = "failed-before-stop" if seen.record.exit_code else "exited-before-stop"
    return Cause(cause, f"PID 1 had exited{code} before the stop signal{words}")


def _oom(seen: Observation, _facts: StopFacts) -> Cause:
    helper = seen.record.exit_code not in {None, 128 + signals.SIGKILL}
    victim = f"a process below PID 1, which exited with code {seen.record.exit_code}" if helper else "PID 1"
    return Cause("oom-on-stop", f"the kernel's OOM killer ended {victim}, during the stop")


def _crashed(seen: Observation, facts: StopFacts) -> Cause:
    if seen.record.left_untold:
        return _not_running(seen, facts)
    code, took = seen.record.exit_code, _after(facts)
    exited = f"exited with code {code}{took and ','}{took}"
    number = seen.record.exit_signal or (code - 128 if code and code > 128 else 0)
    if number in signals.FAULTS:
        line = log_hints.fault(seen.looks.log_after_signal)
        words = f"; after the signal it wrote {log_hints.shown(line)}" if line else ""
        return Cause("crash-on-stop", f"{signals.name(number)} ended PID 1{took} (exit code {code}){words}")
    tree = Tree(seen.looks.before or ())
    pid1 = tree.pid1
    if number == signals.SIGKILL and pid1 is not None and tree.children(pid1):
        text = f"{quoted(pid1)} {exited}: the code of a child ended by SIGKILL"
        return Cause("inner-kill", f"{text}, which neither the engine nor the OOM killer sent")
    if refused := log_hints.may_not_signal(seen.looks.log_after_signal):
        text = f"wrote {log_hints.shown(refused)} and {exited}; it needs the capability KILL, or"
        return Cause("signal-not-permitted", f"PID 1 {text} the same user (kill(2), EPERM)")
    line = log_hints.fault(seen.looks.log_after_signal) or log_hints.last_line(seen.looks.log_after_signal)
    words = f"; after the signal it wrote {log_hints.shown(line)}" if line else ""
    return Cause("crash-on-stop", f"PID 1 {exited}{words}")


def _lossy(seen: Observation, facts: StopFacts) -> Cause | None:
    tree, signal = Tree(seen.looks.before or ()), seen.record.stop_signal
    lost = (seen.record.lost_processes or ()) if lost_work.silently_killed(seen) else ()
    fates = [request.fate for request in seen.requests if request.kind.in_flight and not request.only_held]
    cut = sum(fate not in {RequestFate.COMPLETED, RequestFate.REFUSED, RequestFate.UNKNOWN} for fate in fates)
    cut = cut or len(traffic.lost_requests(seen.traffic))
    own_clock, took = _by_own_clock(seen, facts), facts.shutdown_duration_ns
    if lost:
        names = listed(lost, seen.record.lost_process_count)
        if own_clock is not None:
            return own_clock
        inside = any(KILLED_FROM_INSIDE in item for item in lost)
        if inside and cut and took is not None and took < OWN_CLOCK_NS:
            return Cause("fast-drop", f"{_reacts(tree, signal)} exited{_after(facts)} with requests in flight: {names}")
        if inside:
            return Cause("inner-kill", f"SIGKILL from inside the container ended {names}{_after(facts)}")
        text = f"{_leaver(tree, signal)} exited first{_after(facts)}, and the kernel SIGKILLed {names}"
        return Cause("child-killed-by-teardown", text)
    if cause := _closed_early(seen, facts) or _cut_by_hook(seen):
        return cause
    if cause := cause_of_lost_work(seen):
        return cause
    dropped = (own_clock or _dropped_below(tree, signal)) if seen.record.lost_processes is None else None
    if dropped is not None:
        return dropped
    if suspected := seen.record.suspected_processes:
        were = "was" if len(suspected) == 1 else "were"
        text = f"{_leaver(tree, signal)} exited{_after(facts)}, and just before {listed(suspected)} {were} there"
        return Cause("child-killed-by-teardown", text)
    finished = sum(
        request.fate is RequestFate.COMPLETED and (request.ended_at_ns or 0) > 0
        for request in seen.requests
        if request.kind.in_flight and not request.only_held
    )
    if finished and cut:
        text = f"{finished} of the requests in flight {'was' if finished == 1 else 'were'} answered after the signal"
        return Cause("partial-drop", f"{text}, {cut} {'was' if cut == 1 else 'were'} cut")
    if facts.shutdown_duration_ns is None or facts.shutdown_duration_ns < PROMPT_NS or cut:
        return Cause("fast-drop", f"{_reacts(tree, signal)} exited{_after(facts)} with requests in flight")
    return None


def _closed_early(seen: Observation, facts: StopFacts) -> Cause | None:
    """Nothing is lost but what a load balancer sent after it had been told of the stop."""
    late = traffic.refused_late(seen.traffic)
    if not late or seen.traffic is None or len(late) < len(traffic.lost_requests(seen.traffic)):
        return None
    by = seen.traffic.routed_by
    ended = [item.ended_at_ns for item in late if item.ended_at_ns is not None]
    if by is None or not ended:
        return None
    first = f"{max(0.0, (min(ended) - by.deregistered_at_ns) / NS_PER_S):.1f} s"
    text = f"the first of {count_of(len(late), 'request')} was turned away {first} after the deregistration"
    return Cause("closes-port-early", f"PID 1 exited{_after(facts)}; {text}")


def _cut_by_hook(seen: Observation) -> Cause | None:
    """Nothing is lost but what was cut before the stop call, while hooks ran."""
    lost = traffic.lost_requests(seen.traffic)
    if seen.traffic is None or not seen.traffic.hooks_took_ns or not lost:
        return None
    if any(item.ended_at_ns is None or item.ended_at_ns >= 0 for item in lost):
        return None
    were = "was" if len(lost) == 1 else "were"
    text = f"{count_of(len(lost), 'request')} in flight {were} cut while the hook before the stop ran"
    return Cause("cut-by-hook", f"{text}, before any stop signal was sent")


def _by_own_clock(seen: Observation, facts: StopFacts) -> Cause | None:
    """PID 1 began a timed sleep after the signal and left at its end, although somebody below was still at work."""
    before, late = Tree(seen.looks.before or ()).pid1, Tree(seen.looks.late or seen.looks.after_signal or ())
    took = facts.shutdown_duration_ns
    if before is None or late.pid1 is None or took is None or took < OWN_CLOCK_NS:
        return None
    below = late.descendants(late.pid1)
    if not below or TIMED_SLEEP not in late.pid1.waits_in or TIMED_SLEEP in before.waits_in:
        return None
    text = f"PID 1, {quoted(late.pid1)}, slept after the signal and exited{_after(facts)}"
    return Cause("inner-kill", f"{text}, while {late.name(below[0])} was still at work")


def _leaver(tree: Tree, signal: int | None) -> str:
    """Who left although others were still at work: the child that an init passes the signal on to, else PID 1."""
    pid1 = tree.pid1
    if pid1 is None or signal is None:
        return "PID 1"
    if not process_tree.is_init(pid1, signal) or not tree.children(pid1):
        return f"PID 1, {quoted(pid1)},"
    child = tree.children(pid1)[0]
    how = "" if reaction(child, signal) is not Reaction.DEFAULT else f", which {signals.name(signal)} ended by default,"
    return f"{quoted(child)}{how}"


def _dropped_below(tree: Tree, signal: int | None) -> Cause | None:
    """Without the kernel's record: an init's child that the signal ended by default, with somebody at work below."""
    pid1 = tree.pid1
    if pid1 is None or signal is None or not process_tree.is_init(pid1, signal):
        return None
    for child in tree.children(pid1)[:1]:
        below = tree.descendants(child)
        if below and reaction(child, signal) is Reaction.DEFAULT:
            text = f"{signals.name(signal)} ended {quoted(child)} by default, and {tree.name(below[0])} was still there"
            return Cause("child-killed-by-teardown", text)
    return None


def _reacts(tree: Tree, signal: int | None) -> str:
    """Who got the signal and what it does with it."""
    pid1 = tree.pid1
    if pid1 is None or signal is None:
        return "PID 1"
    target = pid1
    if process_tree.is_init(pid1, signal) and tree.children(pid1):
        target = tree.children(pid1)[0]
    name = signals.name(signal)
    if reaction(target, signal) is Reaction.DEFAULT:
        return f"{quoted(target)} has no handler: {name} ended it by default; it"
    if process_tree.is_shell(target) and not process_tree.has_own_handler(target, signal):
        return f"{quoted(target)} has no trap that can be seen, and"
    return f"{quoted(target)} handles {name} and"


def _after(facts: StopFacts) -> str:
    took = facts.shutdown_duration_ns
    if took is None:
        return ""
    return f" {took / NS_PER_S:.2f} s after the signal" if took >= 5 * NS_PER_MS else " at once"


# ── Killed by the engine ─────────────────────────────────────────────────────────────────────────────────────────────


REFUTED_BY_LEAVING = frozenset({"handler-hangs", "exit-blocked", "handler-swallowed"})
"""What cannot be the cause where a longer stop saw it leave."""


def _killed(seen: Observation, _facts: StopFacts) -> Cause | None:
    found = _stayed(seen)
    if seen.derivation.would_exit_after_ns is None or (found is not None and found.id not in REFUTED_BY_LEAVING):
        return found
    return Cause("grace-too-short", "PID 1 exited by itself where it was given more time")


def _stayed(seen: Observation) -> Cause | None:
    signal = seen.record.stop_signal
    if signal == signals.SIGKILL:
        return Cause("immediate-kill", "the stop signal is SIGKILL, which nothing can handle")
    before = Tree(seen.looks.before or ())
    pid1 = before.pid1
    if pid1 is None or signal is None:
        return None
    late = Tree(seen.looks.late or seen.looks.after_signal or ())
    target, via = _who_should_react(before, pid1, signal)
    scene = Scene(seen, before, late, target, via, signal)
    match reaction(target, signal):
        case Reaction.IGNORED:
            return Cause("signal-ignored", f"{scene.called} ignores {scene.signal_name}")
        case Reaction.BLOCKED if scene.still_pending:
            text = f"{scene.called} blocks {scene.signal_name}, which is still pending {scene.looked_after}"
            return Cause("signal-ignored", text)
        case Reaction.DEFAULT:
            return no_handler(scene)
        case Reaction.CAUGHT if process_tree.is_shell(target) and not process_tree.has_own_handler(target, signal):
            return shell_waits(scene)
        case Reaction.CAUGHT if process_tree.is_shell(target):
            return not_permitted(scene) or trap(scene) or handler_cause(scene)
    return handler_cause(scene)


def _who_should_react(tree: Tree, pid1: ProcessInfo, signal: int) -> tuple[ProcessInfo, str]:
    """(the process that the engine's signal is meant for, how it gets there): PID 1, or the child of its init."""
    children = tree.children(pid1)
    if process_tree.is_init(pid1, signal) and children:
        return children[0], f"the init {quoted(pid1)} passes {signals.name(signal)} on; "
    return pid1, ""


_BY_OUTCOME: dict[Outcome, Callable[[Observation, StopFacts], Cause | None]] = {
    Outcome.NOT_RUNNING: _not_running,
    Outcome.OOM_KILLED: _oom,
    Outcome.CRASHED: _crashed,
    Outcome.LOSSY: _lossy,
    Outcome.KILLED: _killed,
}
