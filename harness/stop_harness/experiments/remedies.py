"""Cause, configuration and process table → changes worth trying; a trial with one → what it did. Pure.

A remedy is only ever reported after it was tried (`remedy_search`): what should help and what helps differ too often.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from stop_harness import signals, units
from stop_harness.evidence import exec_form, process_tree
from stop_harness.experiments import paste
from stop_harness.model import (
    NS_PER_S,
    Configuration,
    Expectation,
    Observation,
    Outcome,
    ProcessInfo,
    Remedy,
    RemedyEffect,
    RemedyKind,
    RemedyTrial,
    Scenario,
    SignalDisposition,
    Status,
    TrialResult,
    TriedRemedy,
    Verdict,
)
from stop_harness.verdict import judge

INIT, SIGNAL, EXEC, TIMEOUT = RemedyKind.INIT, RemedyKind.STOP_SIGNAL, RemedyKind.EXEC_FORM, RemedyKind.STOP_TIMEOUT

KINDS: dict[str, tuple[RemedyKind, ...]] = {
    "pid1-no-handler": (SIGNAL, INIT),
    "shell-not-forwarding": (EXEC, INIT, SIGNAL),
    "handler-delayed": (EXEC, INIT, SIGNAL),
    "wrapper-swallows-signal": (EXEC, INIT, SIGNAL),
    "pid1-handler-noop": (INIT, SIGNAL),
    "reraise-lost": (INIT, SIGNAL),
    "waits-for-clients": (SIGNAL, TIMEOUT),
    "handler-hangs": (SIGNAL, TIMEOUT),
    "handler-too-slow": (TIMEOUT, SIGNAL),
    "handler-swallowed": (SIGNAL, TIMEOUT),
    "exit-blocked": (SIGNAL, TIMEOUT),
    "grace-too-short": (TIMEOUT,),
    "signal-ignored": (SIGNAL, INIT),
    "wrong-stopsignal": (SIGNAL, INIT, EXEC),
    "immediate-kill": (SIGNAL, INIT, EXEC),
    "crash-on-stop": (SIGNAL, INIT),
    "oom-on-stop": (SIGNAL,),
    "exited-before-stop": (),
    "child-killed-by-teardown": (EXEC, SIGNAL),
    "inner-kill": (EXEC, SIGNAL),
    "fast-drop": (SIGNAL, EXEC),
    "partial-drop": (SIGNAL,),
}
"""What may help against a cause, the likeliest first. A cause that is not here gets everything tried."""

NOT_CURABLE = frozenset({Outcome.GRACEFUL, Outcome.INCONCLUSIVE, Outcome.NOT_RUNNING})
"""Good, not measured, or over before the stop: no other stop would change that."""

STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGWINCH", "SIGUSR2", "SIGHUP", "SIGRTMIN+3")
"""Signals that some server stops on, in the order in which they are tried: Apache drains on WINCH, nginx and php-fpm on
QUIT, HAProxy on USR1, systemd shuts down on RTMIN+3."""

MAX_SIGNALS = 4
TIMEOUT_FACTORS = (2, 4)
LONGEST_TIMEOUT_NS = 120 * NS_PER_S
"""Longest stop timeout of Fargate; nobody should wait longer for a try."""

MAX_COMBINATIONS = 8


# ── Candidates ───────────────────────────────────────────────────────────────────────────────────────────────────────


def bad_stops(results: tuple[TrialResult, ...]) -> tuple[TrialResult, ...]:
    """The stops to find a remedy for: of each scenario the bad one with the longest stop timeout.

    Bad is any outcome that a remedy could change at the scenario's longest stop timeout, expected or not, and at a
    shorter one what failed its expectation: a slow container that is killed at 2 s, as expected, needs no cure.
    """
    longest: dict[str, int] = {}
    for result in results:
        seen = result.observation
        longest[seen.scenario] = max(longest.get(seen.scenario, 0), seen.stop_timeout_ns)
    chosen: dict[str, TrialResult] = {}
    for result in sorted(results, key=lambda item: item.observation.stop_timeout_ns):
        seen, judged = result.observation, result.verdict
        counts = seen.stop_timeout_ns == longest[seen.scenario] or judged.status is Status.FAIL
        if counts and judged.outcome not in NOT_CURABLE:
            chosen[seen.scenario] = result
    return tuple(chosen.values())


def candidates(scenario: Scenario, bad: TrialResult, configuration: Configuration) -> tuple[Remedy, ...]:
    """Single changes worth trying against one bad stop, the likeliest first."""
    seen, cause = bad.observation, bad.verdict.cause
    kinds = KINDS.get(cause.id, tuple(RemedyKind)) if cause else tuple(RemedyKind)
    wrapper = cause is not None and cause.id in {"wrapper-swallows-signal", "inner-kill"}
    made: list[Remedy] = []
    for kind in kinds:
        if kind is EXEC:
            made += _exec_forms(configuration, seen, wrapper=wrapper)
        elif kind is INIT and not scenario.subject.init and not _has_init(configuration, seen):
            made.append(Remedy("init", (INIT,), "an init as PID 1", init=True))
        elif kind is SIGNAL:
            made += _stop_signals(seen)
        elif kind is TIMEOUT:
            made += _timeouts(seen.stop_timeout_ns)
    return tuple(replace(remedy, lines=paste.lines(remedy, configuration)) for remedy in made)


def combinations(singles: tuple[Remedy, ...], bad: TrialResult, configuration: Configuration) -> tuple[Remedy, ...]:
    """Pairs of changes of different kinds, for a stop that no single one cured; at most `MAX_COMBINATIONS`."""
    seen = bad.observation
    pool = list(singles)
    if any(EXEC in remedy.kinds for remedy in singles):
        # Once the program is PID 1 its own handlers count, not those of the shell before it.
        pool = [remedy for remedy in pool if SIGNAL not in remedy.kinds] + list(_stop_signals(seen, of_program=True))
        if not any(INIT in remedy.kinds for remedy in pool) and not _has_init(configuration, seen):
            pool.append(Remedy("init", (INIT,), "an init as PID 1", init=True))
    ranked = sorted(pool, key=lambda remedy: (EXEC, INIT, SIGNAL, TIMEOUT).index(remedy.kinds[0]))
    pairs = (
        _together(first, second)
        for at, first in enumerate(ranked)
        for second in ranked[at + 1 :]
        if first.kinds != second.kinds
    )
    return tuple(
        replace(remedy, lines=paste.lines(remedy, configuration)) for remedy in islice(pairs, MAX_COMBINATIONS)
    )


def _together(first: Remedy, second: Remedy) -> Remedy:
    """Both changes at once; they are of different kinds, so neither overwrites the other."""
    return Remedy(
        id=f"{first.id}+{second.id}",
        kinds=first.kinds + second.kinds,
        title=f"{first.title} and {second.title}",
        init=first.init or second.init,
        stop_signal=first.stop_signal or second.stop_signal,
        entrypoint=first.entrypoint if first.entrypoint is not None else second.entrypoint,
        command=first.command if first.command is not None else second.command,
        stop_timeout_ns=first.stop_timeout_ns or second.stop_timeout_ns,
        assumption=" ".join(text for text in (first.assumption, second.assumption) if text),
    )


def _exec_forms(configuration: Configuration, seen: Observation, *, wrapper: bool) -> Iterable[Remedy]:
    found = exec_form.rewrites(configuration, seen.looks.before or (), wrapper=wrapper)
    for number, item in enumerate(found, start=1):
        name = "exec-form" if number == 1 else f"exec-form-{number}"
        yield Remedy(
            name,
            (EXEC,),
            item.title,
            entrypoint=item.entrypoint,
            command=item.command,
            assumption=item.assumption,
        )


def _stop_signals(seen: Observation, *, of_program: bool = False) -> Iterable[Remedy]:
    """Other signals that have a handler where they would arrive: PID 1, below an init its child, or, `of_program`, the
    program below the shells. Where nobody could look, the usual ones."""
    takers = exec_form.receivers(seen.looks.before or ())
    below = exec_form.program(seen.looks.before or (), wrapper=False)
    if of_program and below is not None:
        takers = (below,)
    names = [name for name in STOP_SIGNALS if signals.number(name) != seen.record.stop_signal]
    names = [name for name in names if _taken(name, takers)] if takers else names[:2]
    for name in names[:MAX_SIGNALS]:
        yield Remedy(f"stop-signal-{name}", (SIGNAL,), f"stop signal {name}", stop_signal=name)


def _taken(name: str, takers: tuple[ProcessInfo, ...]) -> bool:
    number = signals.number(name)
    return any(taker.disposition(number) is SignalDisposition.CAUGHT for taker in takers)


def _timeouts(stop_timeout_ns: int) -> Iterable[Remedy]:
    longer = (min(stop_timeout_ns * factor, LONGEST_TIMEOUT_NS) for factor in TIMEOUT_FACTORS)
    for value_ns in dict.fromkeys(value for value in longer if value > stop_timeout_ns):
        text = units.format_duration(value_ns)
        yield Remedy(f"stop-timeout-{text}", (TIMEOUT,), f"a stop timeout of {text}", stop_timeout_ns=value_ns)


def _has_init(configuration: Configuration, seen: Observation) -> bool:
    first = process_tree.Tree(seen.looks.before or ()).pid1
    named = configuration.arguments[:1] and exec_form.base_name(configuration.arguments[0]) in process_tree.INITS
    return bool(named) or (first is not None and process_tree.program(first) in process_tree.INITS)


# ── A trial with a remedy ────────────────────────────────────────────────────────────────────────────────────────────


def apply(scenario: Scenario, remedy: Remedy, stop_timeout_ns: int) -> Scenario:
    """The scenario with the remedy, to be stopped at `stop_timeout_ns` unless the remedy names another stop timeout.

    It is expected to be graceful, within the time and with the exit codes that the scenario accepts.
    """
    subject, stop = scenario.subject, scenario.stop
    if remedy.entrypoint is not None:
        subject = replace(subject, entrypoint=remedy.entrypoint, command=remedy.command)
    elif remedy.command is not None:
        subject = replace(subject, command=remedy.command)
    timeout_ns = remedy.stop_timeout_ns or stop_timeout_ns
    expected = scenario.expectation_at(stop_timeout_ns)
    graceful = Outcome.GRACEFUL in expected.outcomes
    return replace(
        scenario,
        subject=replace(subject, init=subject.init or remedy.init),
        stop=replace(stop, signal=remedy.stop_signal or stop.signal, timeouts_ns=(timeout_ns,)),
        expectations=(
            Expectation(
                within_ns=expected.within_ns if graceful and remedy.stop_timeout_ns is None else None,
                exit_codes=_accepted(expected.exit_codes, remedy) if graceful else None,
            ),
        ),
        repeat=1,
    )


def _accepted(exit_codes: tuple[int, ...] | None, remedy: Remedy) -> tuple[int, ...] | None:
    """A scenario's exit codes; one that accepts 128 + its stop signal accepts 128 + another one, too."""
    if exit_codes is None or remedy.stop_signal is None or not any(code > 128 for code in exit_codes):
        return exit_codes
    return (*exit_codes, 128 + signals.number(remedy.stop_signal))


def judged(tried: RemedyTrial, scenario: Scenario, bad_stop_timeout_ns: int) -> TriedRemedy:
    """Today's verdict on a trial with a remedy. `scenario` as the user wrote it."""
    seen = tried.observation
    made = judge.judge(seen, apply(scenario, tried.remedy, bad_stop_timeout_ns))
    effect, note = _effect(seen, made)
    return TriedRemedy(tried.trial_id, tried.remedy, TrialResult(seen, made), effect, note)


def best_first(tried: Iterable[TriedRemedy]) -> tuple[TriedRemedy, ...]:
    """Cures first, those without a reservation before the others, single changes before pairs, small before large."""
    order = tuple(RemedyEffect)

    def rank(item: TriedRemedy) -> tuple[object, ...]:
        remedy = item.remedy
        code = item.result.observation.record.exit_code
        changed = (remedy.stop_timeout_ns or 0, _place(remedy.stop_signal), remedy.id)
        return order.index(item.effect), bool(item.note), len(remedy.kinds), code != 0, bool(remedy.assumption), changed

    return tuple(sorted(tried, key=rank))


def _place(stop_signal: str | None) -> int:
    """Where a signal stands among those that are tried."""
    return STOP_SIGNALS.index(stop_signal) if stop_signal in STOP_SIGNALS else -1


def _effect(seen: Observation, made: Verdict) -> tuple[RemedyEffect, str]:
    """What the remedy did, and what has to be said beside it."""
    if made.outcome is Outcome.INCONCLUSIVE:
        return RemedyEffect.NOT_MEASURED, ""
    if made.outcome is Outcome.LOSSY:
        return RemedyEffect.LOSES_WORK, ""
    if made.outcome is not Outcome.GRACEFUL:
        return RemedyEffect.FAILS, ""
    if made.status is not Status.PASS:
        return RemedyEffect.FAILS, "in order, but later than the scenario accepts"
    number = seen.record.stop_signal
    takers = exec_form.receivers(seen.looks.before or ())
    felled = [taker for taker in takers if number and taker.disposition(number) is SignalDisposition.DEFAULT]
    tree = process_tree.Tree(seen.looks.before or ())
    left = [child for taker in felled for child in tree.children(taker)]
    if left and seen.record.lost_processes is None:
        note = f"nobody saw how {left[0].command!r} ended, which the stop signal never reached"
        return RemedyEffect.UNPROVED, note
    if number and seen.record.exit_code == 128 + number:
        name = signals.name(number)
        if felled:
            return RemedyEffect.CURES, f"{name} ends the program where it stands: it finishes nothing"
        return RemedyEffect.CURES, f"the exit code says that {name} ended it; see that it does what it has to do before"
    return RemedyEffect.CURES, ""
