"""What a remedy did: the stop with it beside the bad stop and beside the same subject left alone. Pure.

A cure is what is left when nothing speaks against it. A stop that looks graceful is none where the program was ended
without its own handler, where it would have ended anyway, where a step of a script took the service's place, and where
nothing was at work although the bad stop had work in flight.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from stop_harness import signals
from stop_harness.evidence import exec_form, forecast, log_hints, process_tree, runtimes, script_steps
from stop_harness.evidence.launch import COPIERS
from stop_harness.evidence.process_fates import BUSY_SHARE
from stop_harness.evidence.process_tree import Reaction, Tree
from stop_harness.experiments import place, remedies
from stop_harness.experiments.bad_stop import BadStop
from stop_harness.model import (
    NS_PER_S,
    Looks,
    Observation,
    Outcome,
    ProcessInfo,
    Remedy,
    RemedyEffect,
    RemedyKind,
    RemedyTrial,
    Request,
    RequestFate,
    Scenario,
    SignalDisposition,
    Status,
    TrialResult,
    TriedRemedy,
    Verdict,
)
from stop_harness.units import format_duration

IDLE = "nothing was at work; this does not show that work survives"

TRIED_WITH = "tried with a stop timeout of "

SHORTEST = "the shortest of "

STOP_HANDLERS = tuple(signals.NUMBERS[name] for name in ("TERM", "INT", "QUIT"))
"""Signals whose handler is a program's own way to stop; the others it may handle for any purpose."""

CONTROL_MARGIN_NS = NS_PER_S
"""How much longer than the stop took the subject is left alone."""

LONGEST_CONTROL_NS = 30 * NS_PER_S
"""A subject that was left alone is waited for as long as the bad stop lived, but no longer than this."""


def judged(tried: RemedyTrial, stop: BadStop) -> TriedRemedy:
    """Today's verdict on a trial with a remedy."""
    timeout_ns, container = stop.whole.observation.stop_timeout_ns, stop.container
    changed = remedies.apply(stop.scenario, tried.remedy, timeout_ns, container)
    result = stop.judged(tried.observation, changed)
    of_it = replace(tried, observation=result.observation, control=place.container_seen(tried.control, container))
    effect, notes = _effect(of_it, result.verdict, stop)
    if effect is RemedyEffect.CURES and (worse := stop.worse_beside(tried.observation, changed)):
        effect, notes = RemedyEffect.HELPS, (worse,)
    return TriedRemedy(tried.trial_id, tried.remedy, result, effect, sentences(notes), container)


def sentences(notes: Iterable[str]) -> str:
    """`tried with a stop timeout of 4s. Nothing was at work`: the first one as it is, for the middle of a line."""
    first, *more = [note for note in notes if note] or [""]
    return ". ".join([first, *(note[:1].upper() + note[1:] for note in more)])


def needs_control(tried: RemedyTrial, stop: BadStop) -> bool:
    """Whether only the subject left alone can tell if the stop ended it."""
    return judged(tried, stop).effect is RemedyEffect.CURES


def control_ns(tried: RemedyTrial, bad: TrialResult, took_ns: int | None) -> int:
    """How long after readiness the subject has to be left alone.

    Longer than the stop took. Where something was left out of what the container starts, as long as the bad stop was
    alive: a step of a script ends in that time.
    """
    at_least_ns = tried.observation.stop_after_ns + (took_ns or 0) + CONTROL_MARGIN_NS
    if RemedyKind.EXEC_FORM not in tried.remedy.kinds:
        return at_least_ns
    lived_ns = bad.verdict.facts.shutdown_duration_ns or bad.observation.stop_timeout_ns
    return max(at_least_ns, tried.observation.stop_after_ns + min(lived_ns, LONGEST_CONTROL_NS))


def best_first(tried: Iterable[TriedRemedy]) -> tuple[TriedRemedy, ...]:
    """Cures first, those without a reservation before the others, single changes before pairs, small before large."""
    order = tuple(RemedyEffect)

    def rank(item: TriedRemedy) -> tuple[object, ...]:
        remedy = item.remedy
        code = item.result.observation.record.exit_code
        changed = (remedy.stop_delay_ns or 0, remedy.stop_timeout_ns or 0, _place(remedy.stop_signal), remedy.id)
        reserved = bool(item.note) and item.note != IDLE and not item.note.startswith((TRIED_WITH, SHORTEST))
        return order.index(item.effect), reserved, len(remedy.kinds), code != 0, bool(remedy.assumption), changed

    return tuple(sorted(tried, key=rank))


def compared(tried: Iterable[TriedRemedy]) -> tuple[TriedRemedy, ...]:
    """The tries of one bad stop, each in the light of the others.

    Where one of them shows that the program shuts down by a signal, exit code and all, an end by default is no cure.
    """
    items = _with_shortest_delay(tuple(tried))
    handled = [
        item.remedy.stop_signal
        for item in items
        if item.effect is RemedyEffect.CURES and item.remedy.stop_signal and not _by_signal(item.result.observation)
    ]
    if not handled:
        return items
    text = f"{handled[0]} lets the program shut down, and this ends it where it stands"
    return tuple(
        replace(item, effect=RemedyEffect.SKIPS_HANDLER, note=text)
        if item.effect is RemedyEffect.CURES and _felled(item.result.observation)
        else item
        for item in items
    )


def _with_shortest_delay(items: tuple[TriedRemedy, ...]) -> tuple[TriedRemedy, ...]:
    """The shortest delay before the stop signal that cures is said to be that, for a longer one does as well."""
    delays = [item for item in items if item.remedy.kinds == (RemedyKind.STOP_DELAY,)]
    cures = [item for item in delays if item.effect is RemedyEffect.CURES]
    if not cures:
        return items
    best = min(cures, key=lambda item: item.remedy.stop_delay_ns or 0)
    text = f"{SHORTEST}{len(delays)} that were tried" if len(delays) > 1 else ""
    return tuple(replace(item, note=sentences((text, item.note))) if item is best else item for item in items)


def _was_at_rest(tried: RemedyTrial, scenario: Scenario) -> str:
    """A delay is there for requests to come, whatever was at work."""
    of_delay = RemedyKind.STOP_DELAY in tried.remedy.kinds
    return IDLE if not of_delay and _idle(tried.observation, scenario) else ""


def _place(stop_signal: str | None) -> int:
    """Where a signal stands among those that are tried."""
    return remedies.STOP_SIGNALS.index(stop_signal) if stop_signal in remedies.STOP_SIGNALS else -1


def _effect(tried: RemedyTrial, made: Verdict, stop: BadStop) -> tuple[RemedyEffect, tuple[str, ...]]:
    """What the remedy did, and what has to be said beside it."""
    seen, scenario, bad = tried.observation, stop.scenario, stop.result
    if made.outcome is Outcome.INCONCLUSIVE:
        return RemedyEffect.NOT_MEASURED, ()
    if made.outcome is not Outcome.GRACEFUL:
        fails = RemedyEffect.LOSES_WORK if made.outcome is Outcome.LOSSY else RemedyEffect.FAILS
        worse = made.outcome is Outcome.NOT_RUNNING or made.outcome is Outcome.KILLED is not bad.verdict.outcome
        less = "" if worse else _less_lost(seen, bad.observation)
        return (RemedyEffect.HELPS, (less,)) if less else (fails, (_still_at_work(tried, made),))
    if made.status is not Status.PASS:
        return RemedyEffect.HELPS, ("in order, but later than the scenario accepts",)
    for effect, doubt in (
        (RemedyEffect.ENDS_ANYWAY, _ends_anyway(tried)),
        (RemedyEffect.SKIPS_HANDLER, _skips_handler(seen, bad)),
        (RemedyEffect.UNPROVED, _nobody_saw(seen) or _ends_a_script(seen, bad.observation)),
        (RemedyEffect.UNPROVED, _other_service(tried, scenario, bad)),
        (RemedyEffect.UNPROVED, _ended_by_signal(seen, bad)),
        (RemedyEffect.UNPROVED, _was_idle(seen, bad)),
        (RemedyEffect.UNPROVED, _by_chance(tried, stop)),
    ):
        if doubt:
            return effect, (doubt,)
    return RemedyEffect.CURES, (_reservation(seen), _fitted(tried), _was_at_rest(tried, scenario))


# ── What speaks against a cure ───────────────────────────────────────────────────────────────────────────────────────


def _ends_anyway(tried: RemedyTrial) -> str:
    """PID 1 without a handler cannot have been ended by the signal; for others the control run tells."""
    control = tried.control
    if control is not None and control.record.exited_before_stop:
        return f"left alone, the same subject exits by itself within {format_duration(_rounded(control.stop_after_ns))}"
    seen, pid1 = tried.observation, Tree(tried.observation.looks.before or ()).pid1
    number = seen.record.stop_signal
    if pid1 is None or number is None or not seen.engine.pid1_rules or process_tree.is_init(pid1, number):
        return ""
    if process_tree.ends_by_default(pid1, number):
        return ""
    if process_tree.reaction(pid1, number) is not Reaction.DEFAULT or not forecast.sure_of_default(pid1):
        return ""
    return f"it has no handler for {signals.name(number)}, which the kernel drops for PID 1: it exited by itself"


def _rounded(value_ns: int) -> int:
    """Up to a tenth of a second, for reading."""
    tenth = NS_PER_S // 10
    return -(-value_ns // tenth) * tenth


def _skips_handler(seen: Observation, bad: TrialResult) -> str:
    """The program has a handler for a stop signal, and it was ended by another signal's default action, by the
    KeyboardInterrupt that python raises for SIGINT, or with the shell above it."""
    number = seen.record.stop_signal
    if number is None:
        return ""
    name = signals.name(number)
    for taker in (*_felled(seen), *_ended_below(seen)):
        others = [signal for signal in STOP_HANDLERS if process_tree.has_own_handler(taker, signal)]
        if others:
            text = f"the program has a handler for {signals.name(others[0])}"
            return f"{text}, and {name} ends it by default, without that one"
    first = bad.observation.record.stop_signal
    if first is None or number == first or not _handled(bad, first):
        return ""
    why = ""
    if seen.record.exit_code and any(map(runtimes.runtime, exec_form.receivers(seen.looks.before or ()))):
        why = f"ended it with exit code {seen.record.exit_code}, as its runtime does"
    elif log_hints.interrupted(seen.looks.log_after_signal):
        why = "ended it by KeyboardInterrupt"
    elif _by_signal(seen) and any(
        not process_tree.has_own_handler(taker, number) for taker in exec_form.receivers(seen.looks.before or ())
    ):
        why = "ended it by default"
    return f"{name} {why}; its handler for {signals.name(first)} was not run" if why else ""


def _handled(bad: TrialResult, signal: int) -> bool:
    """Whether the program has a handler for the stop signal of the bad stop, wherever it stands."""
    if bad.verdict.cause is not None and bad.verdict.cause.id == "pid1-handler-noop":
        return False
    return any(process_tree.has_own_handler(process, signal) for process in bad.observation.looks.before or ())


def _felled(seen: Observation) -> tuple[ProcessInfo, ...]:
    """Who is ended by the stop signal where it stands: it has no handler for it, and is not PID 1, whom the kernel
    spares."""
    number, tree = seen.record.stop_signal, Tree(seen.looks.before or ())
    return tuple(
        taker
        for taker in exec_form.receivers(seen.looks.before or ())
        if number
        and taker.disposition(number) is SignalDisposition.DEFAULT
        and (taker is not tree.pid1 or process_tree.ends_by_default(taker, number))
    )


def _ended_below(seen: Observation) -> tuple[ProcessInfo, ...]:
    """Who was ended by the stop signal's default action, as the kernel's record of exits has it."""
    ended = {
        pid
        for fate in seen.record.fates or ()
        if fate.exit_signal is not None and fate.exit_signal == seen.record.stop_signal
        for pid in (fate.pid, fate.host_pid)
    }
    return tuple(process for process in seen.looks.before or () if process.pid in ended)


def _by_signal(seen: Observation) -> bool:
    """Whether the exit code is that of an end by the stop signal."""
    number = seen.record.stop_signal
    return bool(number) and seen.record.exit_code == 128 + (number or 0)


def _nobody_saw(seen: Observation) -> str:
    """An init's child that the signal ended by default left somebody behind, and there is no record of them."""
    tree = Tree(seen.looks.before or ())
    left = [(taker, child) for taker in _felled(seen) for child in tree.children(taker)]
    if not left:
        return ""
    _, child = left[0]
    if seen.record.lost_processes is None:
        return f"nobody saw how {child.command!r} ended, which the stop signal never reached"
    return ""


def _ends_a_script(seen: Observation, bad: Observation) -> str:
    """The stop signal ended a shell without a trap, or a program that runs its steps as one: by default, or at the end
    of the command at hand, as shells do for SIGINT (bash(1), SIGNALS). Its next step is not done, whatever ran at the
    look.

    Whether a shell has a trap for SIGINT of its own cannot be seen; its exit code tells then.
    """
    number, before = seen.record.stop_signal, seen.looks.before or ()
    if number is None:
        return ""
    shells = [
        each
        for each in exec_form.signalled(before)
        if process_tree.is_shell(each) and not process_tree.has_own_handler(each, number)
    ]
    by_default = {each.pid for each in (*_felled(seen), *_ended_below(seen))}
    in_steps = {
        each.command
        for each in exec_form.receivers(bad.looks.before or ())
        if script_steps.works_in_steps(bad, each) and process_tree.program(each) not in process_tree.WRAPPERS
    }
    if any(each.pid in by_default for each in shells) or any(each.command in in_steps for each in _felled(seen)):
        return "the stop signal ends the script where it stands: what it was at is not finished"
    if shells and _by_signal(seen):
        return f"{signals.name(number)} ends the script between two of its steps, as no trap of it does"
    return ""


def _other_service(tried: RemedyTrial, scenario: Scenario, bad: TrialResult) -> str:
    """Something was left out of what the container starts, and nothing shows that the rest is its service."""
    if RemedyKind.EXEC_FORM not in tried.remedy.kinds or not tried.remedy.assumption:
        return ""
    seen, before = bad.observation, bad.observation.looks.before or ()
    tree, words = Tree(before), _words(tried.remedy)
    top = next(iter(exec_form.receivers(before)), None)
    program = next((process for process in before if process.command and words.endswith(process.command)), None)
    number = seen.record.stop_signal
    if top is not None and number and process_tree.is_shell(top) and process_tree.has_own_handler(top, number):
        return f"the script has a trap for {signals.name(number)}, which this leaves out"
    if top is not None and program is not None:
        others = [item for item in exec_form.beside(program, tree, top) if _is_service(item)]
        if others and program is not top:
            return f"the container also runs {process_tree.quoted(others[0])}, which this leaves out"
    ready = scenario.readiness
    shown = ready.log or ready.tcp_port or ready.http_port or ready.healthcheck or tried.observation.requests
    handles = any(program and process_tree.has_own_handler(program, number) for number in STOP_HANDLERS)
    if shown or handles or _lines_before(seen.looks) & _lines_before(tried.observation.looks):
        return ""
    return "nothing shows that this alone does what the container does: it may be a step of its script"


def _is_service(process: ProcessInfo) -> bool:
    return process_tree.program(process) not in process_tree.PLAIN | COPIERS


def _words(remedy: Remedy) -> str:
    return " ".join((*(remedy.entrypoint or ()), *(remedy.command or ())))


def _lines_before(looks: Looks) -> frozenset[str]:
    """What a subject wrote before the stop."""
    text = looks.logs.text.removesuffix(looks.log_after_signal or "")
    return frozenset(line.strip() for line in text.splitlines() if line.strip())


def _ended_by_signal(seen: Observation, bad: TrialResult) -> str:
    """It says by its exit code that another signal ended it, and it has a handler for the first one."""
    first, number = bad.observation.record.stop_signal, seen.record.stop_signal
    if first is None or number is None or number == first or not _by_signal(seen) or not _handled(bad, first):
        return ""
    text = f"the exit code says that {signals.name(number)} ended it"
    return f"{text}: see that it does then what its handler for {signals.name(first)} does"


def _was_idle(seen: Observation, bad: TrialResult) -> str:
    count = len(_in_flight(bad.observation))
    if not count or _in_flight(seen):
        return ""
    return f"nothing was in flight at this stop, and {count} requests were at the bad one"


def _by_chance(tried: RemedyTrial, stop: BadStop) -> str:
    """The stop is not bad each time."""
    outcomes = [stop.judged(seen, stop.scenario).verdict.outcome for seen in tried.unchanged]
    graceful = stop.graceful + outcomes.count(Outcome.GRACEFUL)
    measured = stop.measured + sum(outcome is not Outcome.INCONCLUSIVE for outcome in outcomes)
    if not graceful:
        return ""
    return f"{graceful} of {measured} such stops were graceful without a change, so one more shows nothing"


# ── What is said beside ──────────────────────────────────────────────────────────────────────────────────────────────


def _reservation(seen: Observation) -> str:
    if not _by_signal(seen):
        return ""
    name = signals.name(seen.record.stop_signal or 0)
    if _felled(seen):
        return f"{name} ends the program where it stands: it finishes nothing"
    return f"the exit code says that {name} ended it; see that it does what it has to do before"


def _fitted(tried: RemedyTrial) -> str:
    tried_ns, advised_ns = tried.observation.stop_timeout_ns, tried.remedy.stop_timeout_ns
    return "" if advised_ns in {None, tried_ns} else f"{TRIED_WITH}{format_duration(tried_ns)}"


def _still_at_work(tried: RemedyTrial, made: Verdict) -> str:
    """A longer stop timeout was not long enough for a program that works; how long would be, nobody can tell."""
    if RemedyKind.STOP_TIMEOUT not in tried.remedy.kinds or made.outcome is not Outcome.KILLED or made.cause is None:
        return ""
    if made.cause.id != "grace-too-short":
        return ""
    return "it was not done then either: it needs longer still, or is never done"


def _idle(seen: Observation, scenario: Scenario) -> bool:
    """Whether nobody gave the subject work, and it had none of its own."""
    at_work = (bool(fate.served) or (fate.cpu_share or 0) >= BUSY_SHARE for fate in seen.record.fates or ())
    return not _in_flight(seen) and not scenario.before_stop and not any(at_work)


def _in_flight(seen: Observation) -> tuple[Request, ...]:
    """Requests that were sent before the stop and not over at it."""
    return tuple(
        request
        for request in seen.requests
        if request.kind.in_flight
        and request.sent_at_ns is not None
        and request.sent_at_ns <= 0
        and (request.ended_at_ns is None or request.ended_at_ns > 0)
    )


def _less_lost(seen: Observation, bad: Observation) -> str:
    """In which way less is lost than in the bad stop; empty if in none."""
    first, now = _unanswered(bad), _unanswered(seen)
    if first > now and len(_in_flight(seen)) >= now:
        return f"{now} of {len(_in_flight(seen))} requests in flight had no answer; without the change {first}"
    was, are = bad.record.lost_process_count, seen.record.lost_process_count
    was = len(bad.record.lost_processes or ()) if was is None else was
    are = len(seen.record.lost_processes or ()) if are is None else are
    if first == now and 0 < are < was:
        return f"SIGKILL ended {are} of its processes; without the change {was}"
    return ""


def _unanswered(seen: Observation) -> int:
    return sum(request.fate is not RequestFate.COMPLETED for request in _in_flight(seen))
