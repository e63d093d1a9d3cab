"""Cause, configuration and process table → changes worth trying, the likeliest first. Pure.

A remedy is only ever reported after it was tried (`remedy_search`): what should help and what helps differ too often.
What a try showed is judged in `effects`. Nothing is tried that has no chance by the record of the stop before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from stop_harness import signals, units
from stop_harness.evidence import exec_form, process_tree, runtimes, script_steps
from stop_harness.experiments import paste, place
from stop_harness.model import (
    NS_PER_S,
    Configuration,
    Expectation,
    LoadBalancer,
    Observation,
    Outcome,
    ProcessInfo,
    Remedy,
    RemedyKind,
    Scenario,
    SignalDisposition,
    Status,
    TrialResult,
)
from stop_harness.verdict import faults, traffic

DELAY = RemedyKind.STOP_DELAY
INIT, SIGNAL, EXEC, TIMEOUT = RemedyKind.INIT, RemedyKind.STOP_SIGNAL, RemedyKind.EXEC_FORM, RemedyKind.STOP_TIMEOUT

KINDS: dict[str, tuple[RemedyKind, ...]] = {
    "pid1-no-handler": (EXEC, SIGNAL, INIT),
    "shell-not-forwarding": (EXEC, INIT, SIGNAL),
    "handler-delayed": (EXEC, TIMEOUT),
    "wrapper-swallows-signal": (EXEC, INIT, SIGNAL),
    "signal-not-permitted": (EXEC,),
    "pid1-handler-noop": (EXEC, INIT, SIGNAL),
    "reraise-lost": (EXEC, INIT, SIGNAL),
    "waits-for-clients": (SIGNAL, TIMEOUT),
    "handler-hangs": (SIGNAL,),
    "handler-too-slow": (TIMEOUT, SIGNAL),
    "handler-swallowed": (EXEC, SIGNAL),
    "exit-blocked": (SIGNAL,),
    "grace-too-short": (TIMEOUT,),
    "signal-ignored": (EXEC, SIGNAL, INIT),
    "wrong-stopsignal": (SIGNAL, INIT, EXEC),
    "immediate-kill": (SIGNAL, INIT, EXEC),
    "crash-on-stop": (EXEC, SIGNAL, INIT),
    "oom-on-stop": (SIGNAL,),
    "exited-before-stop": (),
    "failed-before-stop": (),
    "cut-by-hook": (),
    **dict.fromkeys(faults.BY_FAULT, ()),
    "child-killed-by-teardown": (EXEC, SIGNAL),
    "inner-kill": (EXEC, SIGNAL),
    "fast-drop": (SIGNAL, EXEC),
    "partial-drop": (SIGNAL,),
    "closes-port-early": (DELAY,),
}
"""What may help against a cause, the likeliest first. A cause that is not here gets everything tried that its record
gives a chance."""

WRAPPED = frozenset(
    "signal-not-permitted wrapper-swallows-signal inner-kill pid1-no-handler pid1-handler-noop reraise-lost "
    "signal-ignored wrong-stopsignal handler-swallowed crash-on-stop child-killed-by-teardown fast-drop unknown".split()
)
"""Causes with which PID 1 may be a wrapper, also if it is no shell: a program below it may not have got the signal."""

NOT_CURABLE = frozenset({Outcome.GRACEFUL, Outcome.INCONCLUSIVE, Outcome.NOT_RUNNING})
"""Good, not measured, or over before the stop: no other stop would change that."""


def may_be_cured(result: TrialResult) -> bool:
    """Whether another stop could go better, of several containers that of one."""
    parts = result.verdict.containers or (result.verdict,)
    causes = [part.cause for part in parts if part.outcome not in NOT_CURABLE]
    lost_by_all = result.verdict.outcome not in NOT_CURABLE and not causes
    return lost_by_all or any(cause is None or KINDS.get(cause.id) != () for cause in causes)


STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGWINCH", "SIGUSR2", "SIGHUP", "SIGRTMIN+3")
"""Signals that some server stops on, in the order in which they are tried: Apache drains on WINCH, nginx and php-fpm on
QUIT, HAProxy on USR1, systemd shuts down on RTMIN+3."""

MAX_SIGNALS = 4
TIMEOUT_FACTORS = (2, 4)
"""Stop timeouts that are advised, in multiples of the one that was too short. Only the longest is tried: how long the
program needs then tells which of them is enough."""

TIMEOUT_MARGIN = 1.25
"""How much longer than the program needed a stop timeout must be to be advised: no two stops take the same time."""

LONGEST_TIMEOUT_NS = 120 * NS_PER_S
"""Longest stop timeout of Fargate; nobody should wait longer for a try."""

SHORTEST_TRY_NS = 10 * NS_PER_S
"""The longest stop timeout that is tried is no shorter: a program that ends sooner does not take that long, and on an
overloaded machine four times a second is no time."""

MAX_COMBINATIONS = 4

MAX_DELAYS = 6
"""Delays that are tried side by side; the shortest that loses nothing is the one to take."""


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


def candidates(
    scenario: Scenario, bad: TrialResult, configuration: Configuration, container: str | None = None
) -> tuple[Remedy, ...]:
    """Single changes worth trying against one bad stop, the likeliest first. `container`: the one of several that they
    are for, whose own result `bad` is."""
    seen, cause = bad.observation, bad.verdict.cause
    kinds = KINDS.get(cause.id, tuple(RemedyKind)) if cause else tuple(RemedyKind)
    made: list[Remedy] = []
    if scenario.load_balancer is not None and traffic.refused_late(seen.traffic):
        kinds = (DELAY, *(kind for kind in kinds if kind is not DELAY))
    for kind in (each for each in kinds if place.can_be_made(each, scenario, container)):
        if kind is EXEC:
            made += _exec_forms(configuration, bad)
        elif kind is INIT and not place.has_init(scenario, container) and not _has_init(configuration, seen):
            made.append(Remedy("init", (INIT,), "an init as PID 1", init=True))
        elif kind is DELAY and scenario.load_balancer is not None:
            made += _delays(scenario.load_balancer)
        elif kind is SIGNAL:
            made += _stop_signals(seen)
        elif kind is TIMEOUT and moves(bad):
            made += _longest_timeout(scenario, seen.stop_timeout_ns)
    form = scenario.subject.form
    return tuple(replace(remedy, lines=paste.lines(remedy, configuration, form)) for remedy in made)


def combinations(
    first: tuple[tuple[Remedy, TrialResult], ...],
    scenario: Scenario,
    configuration: Configuration,
    container: str | None = None,
) -> tuple[Remedy, ...]:
    """Pairs of changes for a stop that no single one cured: to each change what may help by its own try's record.

    `first`: single changes with what came of them, as `judge` has it. At most `MAX_COMBINATIONS`, the surest first.
    """
    made: dict[tuple[object, ...], Remedy] = {}
    tries_exec = any(EXEC in remedy.kinds for remedy, _ in first)
    tries_time = any(TIMEOUT in remedy.kinds for remedy, _ in first)
    over = {remedy.id for remedy, tried in first if tried.verdict.outcome in NOT_CURABLE}
    for remedy, tried in sorted(first, key=lambda item: tuple(RemedyKind).index(item[0].kinds[0])):
        if remedy.id in over:
            continue
        changed = with_change(configuration, remedy)
        with_first = apply(scenario, remedy, tried.observation.stop_timeout_ns, container)
        for second in candidates(with_first, tried, changed, container):
            if set(second.kinds) & set(remedy.kinds) or second.id in over or not _adds(second, tried):
                continue
            if EXEC in second.kinds and not tries_exec:  # what looks like a program was known to be a step of a script
                continue
            if tries_time and TIMEOUT in second.kinds + remedy.kinds and EXEC not in second.kinds + remedy.kinds:
                continue  # the same program with the longest timeout did not end: not again with another small change
            one, other = sorted((remedy, second), key=lambda item: _ORDER.index(item.kinds[0]))
            pair = _together(one, other)
            changes = (pair.init, pair.stop_signal, pair.entrypoint, pair.command, pair.stop_timeout_ns)
            made.setdefault(changes, replace(pair, lines=paste.lines(pair, configuration, scenario.subject.form)))
    return tuple(made.values())[:MAX_COMBINATIONS]


def _adds(second: Remedy, tried: TrialResult) -> bool:
    """Whether a second change has a chance: an init over a shell, and SIGINT to a shell without a trap for it, have
    none that they did not have alone."""
    looks = tried.observation.looks
    shells = [taker for taker in exec_form.receivers(looks.before or ()) if process_tree.is_shell(taker)]
    if second.kinds == (INIT,):
        return not shells
    if second.stop_signal is not None:
        number = signals.number(second.stop_signal)
        return all(process_tree.has_own_handler(shell, number) for shell in shells)
    return True


_ORDER = (EXEC, INIT, SIGNAL, TIMEOUT, DELAY)


def with_change(configuration: Configuration, remedy: Remedy) -> Configuration:
    """What the container runs with a remedy; an entrypoint of its own drops the image's command."""
    if remedy.entrypoint is not None:
        return replace(configuration, entrypoint=remedy.entrypoint, command=remedy.command or ())
    return configuration if remedy.command is None else replace(configuration, command=remedy.command)


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


def _exec_forms(configuration: Configuration, bad: TrialResult) -> Iterable[Remedy]:
    """The program without what stands before it. None if it was only a step: it is gone while who started it stays."""
    seen, cause = bad.observation, bad.verdict.cause
    table = seen.looks.before or ()
    cause_id = "unknown" if cause is None else cause.id
    wrapper, replaced = cause_id in WRAPPED, cause_id == "child-killed-by-teardown"
    if _is_step(seen, exec_form.program(table, seen.record.stop_signal, wrapper=wrapper)):
        return
    found = exec_form.rewrites(configuration, table, signal=seen.record.stop_signal, wrapper=wrapper, replaced=replaced)
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


def _is_step(seen: Observation, program: ProcessInfo | None) -> bool:
    """Whether what looked like the program of a shell came and went while the shell stayed."""
    first = process_tree.Tree(seen.looks.before or ()).pid1
    if program is None or first is None or not process_tree.is_shell(first):
        return False
    return script_steps.is_step(seen, first, program)


def _stop_signals(seen: Observation) -> Iterable[Remedy]:
    """Other signals that have a handler where they would arrive: PID 1, or below an init its child. Where nobody could
    look, the usual ones."""
    takers = exec_form.receivers(seen.looks.before or ())
    most = 1 if _wraps(seen) else MAX_SIGNALS
    names = [name for name in STOP_SIGNALS if signals.number(name) != seen.record.stop_signal]
    names = [name for name in names if _taken(name, takers, seen)] if takers else names[:2]
    for name in names[:most]:
        yield Remedy(f"stop-signal-{name}", (SIGNAL,), f"stop signal {name}", stop_signal=name)


def _wraps(seen: Observation) -> bool:
    """Whether the receiver is a wrapper above the program that handles the stop signal. Its handlers are not the
    program's, and it treats other signals as it does this one: one try is enough to see that."""
    before, number = seen.looks.before or (), seen.record.stop_signal
    program = exec_form.program(before, number, wrapper=True)
    if program is None or number is None or program.disposition(number) is not SignalDisposition.CAUGHT:
        return False
    return not any(process_tree.is_shell(taker) for taker in exec_form.receivers(before))


_USUAL = frozenset({"SIGTERM", "SIGINT", "SIGQUIT"})


def _taken(name: str, takers: tuple[ProcessInfo, ...], seen: Observation) -> bool:
    """A handler of its own, or one of its runtime that ends it. A shell that waits for a program takes SIGINT too, and
    does nothing unless the program ends. Go and ruby catch nearly every signal, which says nothing: of those only the
    usual ones are tried."""
    number, ends = signals.number(name), name in {"SIGTERM", "SIGINT"}
    tree = process_tree.Tree(seen.looks.before or ())
    return any(
        taker.disposition(number) is SignalDisposition.CAUGHT
        for taker in takers
        if name in _USUAL or runtimes.runtime(taker) is None
        if process_tree.has_own_handler(taker, number) or (ends and not _waits_for_program(tree, taker))
    )


def _waits_for_program(tree: process_tree.Tree, taker: ProcessInfo) -> bool:
    steps = process_tree.PLAIN
    return process_tree.is_shell(taker) and any(
        process_tree.program(child) not in steps for child in tree.children(taker)
    )


def moves(bad: TrialResult) -> bool:
    """Whether a longer stop timeout has a chance: the record shows work that goes on, or leaves it open."""
    seen, cause = bad.observation, bad.verdict.cause
    if seen.derivation.would_exit_after_ns is not None or cause is None:
        return True
    tree = process_tree.Tree(seen.looks.before or ())
    match cause.id:
        case "waits-for-clients":  # ours never leave
            return not any(request.kind.held for request in seen.requests)
        case "handler-delayed":
            return tree.pid1 is not None and any(map(_ends_soon, tree.descendants(tree.pid1)))
        case "unknown":
            return seen.looks.late is None or seen.looks.late != seen.looks.after_signal
    return True


def _ends_soon(process: ProcessInfo) -> bool:
    """`sleep 7`: the trap that waits for it is run then."""
    words = process.command.split()
    return process_tree.program(process) == "sleep" and words[-1:] != ["infinity"]


def _longest_timeout(scenario: Scenario, stop_timeout_ns: int) -> Iterable[Remedy]:
    value_ns = min(max(stop_timeout_ns * TIMEOUT_FACTORS[-1], SHORTEST_TRY_NS), LONGEST_TIMEOUT_NS)
    if value_ns > stop_timeout_ns:
        yield _timeout(scenario, value_ns)


def _timeout(scenario: Scenario, value_ns: int) -> Remedy:
    title = place.limit_title(scenario, value_ns)
    return Remedy(f"stop-timeout-{units.format_duration(value_ns)}", (TIMEOUT,), title, stop_timeout_ns=value_ns)


def _delays(balancer: LoadBalancer) -> Iterable[Remedy]:
    """Whole seconds, as a preStop hook sleeps them, up to one more than the load balancer sends; of many some."""
    longest_s = -(-balancer.propagation_ns // NS_PER_S) + 1
    shortest_s = min(balancer.stop_delay_ns // NS_PER_S + 1, longest_s)
    step_s = -(-(longest_s - shortest_s + 1) // MAX_DELAYS)
    for delay_s in (*range(shortest_s, longest_s, step_s), longest_s):
        title = f"{delay_s} s between the deregistration and the stop signal"
        yield Remedy(f"stop-delay-{delay_s}s", (DELAY,), title, stop_delay_ns=delay_s * NS_PER_S)


def fitted(
    remedy: Remedy, scenario: Scenario, bad_timeout_ns: int, took_ns: int | None, configuration: Configuration
) -> Remedy:
    """A longer stop timeout cut to what is needed: the shortest multiple of the old one in which the program, which
    took `took_ns` with the longest, would have ended with a margin. Any other remedy as it is."""
    if remedy.stop_timeout_ns is None or took_ns is None or remedy.kinds[-1] is not TIMEOUT:
        return remedy
    enough = (bad_timeout_ns * factor for factor in TIMEOUT_FACTORS)
    value_ns = next((value for value in enough if took_ns * TIMEOUT_MARGIN <= value), remedy.stop_timeout_ns)
    if value_ns >= remedy.stop_timeout_ns:
        return remedy
    shorter, tried = _timeout(scenario, value_ns), _timeout(scenario, remedy.stop_timeout_ns)
    made = replace(
        remedy,
        id=remedy.id.replace(tried.id, shorter.id),
        title=remedy.title.replace(tried.title, shorter.title),
        stop_timeout_ns=value_ns,
    )
    return replace(made, lines=paste.lines(made, configuration, scenario.subject.form))


def _has_init(configuration: Configuration, seen: Observation) -> bool:
    first = process_tree.Tree(seen.looks.before or ()).pid1
    named = configuration.arguments[:1] and exec_form.base_name(configuration.arguments[0]) in process_tree.INITS
    return bool(named) or (first is not None and process_tree.program(first) in process_tree.INITS)


# ── A trial with a remedy ────────────────────────────────────────────────────────────────────────────────────────────


def apply(scenario: Scenario, remedy: Remedy, stop_timeout_ns: int, container: str | None = None) -> Scenario:
    """The scenario with the remedy, to be stopped at `stop_timeout_ns` unless the remedy names another stop timeout.

    It is expected to be graceful, within the time and with the exit codes that the scenario accepts.
    """
    repeated = replace(scenario, stop=replace(scenario.stop, timeouts_ns=(stop_timeout_ns,)))
    expected = scenario.expectation_at(stop_timeout_ns)
    graceful = Outcome.GRACEFUL in expected.outcomes
    return replace(
        place.changed(repeated, container, remedy),
        load_balancer=_delayed(scenario.load_balancer, remedy.stop_delay_ns),
        expectations=(
            Expectation(
                within_ns=expected.within_ns if graceful and remedy.stop_timeout_ns is None else None,
                exit_codes=_accepted(expected.exit_codes, remedy) if graceful else None,
            ),
        ),
        repeat=1,
    )


def _delayed(balancer: LoadBalancer | None, stop_delay_ns: int | None) -> LoadBalancer | None:
    return balancer if balancer is None or stop_delay_ns is None else replace(balancer, stop_delay_ns=stop_delay_ns)


def _accepted(exit_codes: tuple[int, ...] | None, remedy: Remedy) -> tuple[int, ...] | None:
    """A scenario's exit codes; one that accepts 128 + its stop signal accepts 128 + another one, too."""
    if exit_codes is None or remedy.stop_signal is None or not any(code > 128 for code in exit_codes):
        return exit_codes
    return (*exit_codes, 128 + signals.number(remedy.stop_signal))
