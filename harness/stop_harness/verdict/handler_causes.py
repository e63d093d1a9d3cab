"""Why a process that got the stop signal, or has a handler for it, is still there at the stop timeout. Pure.

From outside such stops look the same: exit code 137. What tells them apart is what changed after the signal: the
process table, where the main thread sleeps, connections still held, and the program's own words.
"""

from __future__ import annotations

from stop_harness import signals
from stop_harness.evidence import log_hints, process_tree
from stop_harness.evidence.process_tree import Reaction, reaction
from stop_harness.model import NS_PER_S, Cause
from stop_harness.verdict import client_causes, fault_doubts, progress_causes
from stop_harness.verdict.killed_scene import FOR_A_CHILD, FOR_A_LOCK, Scene


def handler_cause(scene: Scene) -> Cause | None:
    """The first of these that the evidence supports; None if none is.

    The order goes from evidence that admits one reading (a stop timeout too short for anybody, a connection that was
    held) to evidence that needs the others excluded (it sleeps as before).
    """
    for rule in (
        _no_time,
        not_permitted,
        client_causes.held_connection,
        _fault_raised,
        _handler_gone,
        _child_ignores,
        _wrapper,
        client_causes.work_in_flight,
        client_causes.waits_for_a_session,
        _swallowed,
        progress_causes.frozen,
        progress_causes.busy,
        progress_causes.exit_blocked,
        progress_causes.stands_still,
        _own_words,
        progress_causes.children_leave,
        progress_causes.hangs,
        progress_causes.sleeps_on,
        client_causes.serves_on,
    ):
        found = rule(scene)
        if found is not None:
            return found if rule in _WITH_ANY_FAULT else fault_doubts.doubted(found, scene.seen)
    return None


def _no_time(scene: Scene) -> Cause | None:
    # Below a second a handler may be slow for the machine's reasons, and nothing can be said against the program.
    if scene.seen.stop_timeout_ns >= NS_PER_S:
        return None
    text = f"has a handler for {scene.signal_name}, and a stop timeout of {scene.seen.stop_timeout_ns / NS_PER_S:g} s"
    return Cause("grace-too-short", f"{scene.called} {text} leaves it no time")


def _fault_raised(scene: Scene) -> Cause | None:
    """Its handler for a fault is gone: it fell into it after the signal, reset it and raised the fault again."""
    late = scene.target_late
    if late is None or scene.via or not process_tree.is_spared(scene.target):
        return None
    for number in sorted(signals.FAULTS):
        if reaction(scene.target, number) is Reaction.CAUGHT and reaction(late, number) is Reaction.DEFAULT:
            text = f"had a handler for {signals.name(number)} that is gone {scene.looked_after}: it reset itself and"
            text = f"{scene.called} {text} raised the fault again, which the kernel drops for PID 1"
            line = log_hints.fault(scene.seen.looks.log_after_signal)
            return Cause("reraise-lost", text + (f"; it wrote {log_hints.shown(line)}" if line else ""))
    return None


def _handler_gone(scene: Scene) -> Cause | None:
    """Caught before, default now: the handler reset itself and raised the signal again."""
    late = scene.target_late
    # Where it is not PID 1, as behind an init, a signal that it raises again does end it.
    spared = not scene.via and process_tree.is_spared(scene.target)
    if late is None or not spared or reaction(scene.target, scene.signal) is not Reaction.CAUGHT:
        return None
    if reaction(late, scene.signal) is not Reaction.DEFAULT:
        return None
    text = f"{scene.called} had a handler for {scene.signal_name} that is gone {scene.looked_after}: it reset itself"
    line = log_hints.speaks_of_the_stop(scene.seen.looks.log_after_signal)
    if process_tree.program(scene.target) in process_tree.OWN_HANDLER:
        if line is not None:  # a handler of the program's own, meant for once: its work goes on
            return None
        text = f"{text} and raised the signal again, which the kernel drops for PID 1"
        return Cause("pid1-handler-noop", f"{text}; the handler was the runtime's own")
    # Whether it raised the signal, nobody saw: it may as well be meant for once, with what it asked for lost.
    said = f"; it wrote {log_hints.shown(line)}" if line is not None else ""
    text = f"{text}, and it either raised the signal again, which the kernel drops for PID 1, or had no effect{said}"
    return Cause("reraise-lost", text)


def _child_ignores(scene: Scene) -> Cause | None:
    """A shell with a trap, or a wrapper, whose one child ignores what it is sent."""
    children = scene.before.children(scene.target)
    # Only of a shell or a wrapper is it known that it waits for its child; any other program may have its own reasons.
    starts_others = process_tree.is_shell(scene.target) or process_tree.program(scene.target) in process_tree.WRAPPERS
    if not starts_others or len(children) != 1 or scene.late.find(children[0]) is None:
        return None
    if reaction(children[0], scene.signal) is not Reaction.IGNORED:
        return None
    text = f"has a handler for {scene.signal_name}, but {scene.before.name(children[0])} ignores it"
    return Cause("signal-ignored", f"{scene.called} {text}")


def _wrapper(scene: Scene) -> Cause | None:
    """It catches the signal and stays, and what it started never got it."""
    target, tree = scene.target, scene.before
    children = tree.children(target)
    if not children or process_tree.is_shell(target):
        return None
    late = scene.target_late
    waits = late is not None and target.waits_in.startswith(FOR_A_CHILD) and late.waits_in.startswith(FOR_A_CHILD)
    if process_tree.program(target) not in process_tree.WRAPPERS and not (waits and len(children) == 1):
        return None
    # If anybody below has gone since, somebody did tell them; if a child ignores the signal, passing it on is no cure.
    below = tree.descendants(target)
    if scene.late.processes and any(scene.late.find(each) is None for each in below):
        return None
    if any(reaction(each, scene.signal) is Reaction.IGNORED for each in children):
        return None
    workers = [each for each in below if not process_tree.is_shell(each)] or list(below)
    text = f"catches {scene.signal_name} and does not pass it on; {tree.name(workers[-1])} is still there"
    return Cause("wrapper-swallows-signal", f"{scene.called} {text} {scene.looked_after}")


def not_permitted(scene: Scene) -> Cause | None:
    """It wrote that it may not signal what it has started, and that is still there."""
    line = log_hints.may_not_signal(scene.seen.looks.log_after_signal)
    left = scene.late.descendants(scene.target_late) if scene.target_late is not None else ()
    if line is None or not left:
        return None
    text = f"has a handler for {scene.signal_name}, but may not signal {scene.late.name(left[0])}: it wrote"
    text = f"{text} {log_hints.shown(line)}; it needs the capability KILL, or the same user"
    return Cause("signal-not-permitted", f"{scene.called} {text} (kill(2), EPERM)")


def _swallowed(scene: Scene) -> Cause | None:
    """It wrote of an error after the signal and went on."""
    line = log_hints.fault(scene.seen.looks.log_after_signal)
    late = scene.target_late
    if process_tree.is_shell(scene.target) and late is not None:
        return _trap_without_end(scene)
    if line is None or late is None or reaction(late, scene.signal) is not Reaction.CAUGHT:
        return None
    # Now in a lock where it was not before: it does not go on, it hangs, which `hangs` says.
    if late.waits_in != scene.target.waits_in and late.waits_in.startswith(FOR_A_LOCK):
        return None
    text = f"has a handler for {scene.signal_name}, wrote {log_hints.shown(line)} after it, and went on"
    return Cause("handler-swallowed", f"{scene.called} {text}")


def _trap_without_end(scene: Scene) -> Cause | None:
    """A shell has started another command since the signal, so its trap was run, and did not end it."""
    # What it was at in the look before may have ended before the signal came.
    tree = scene.before if scene.seen.looks.late is None or scene.target_at_once is None else scene.at_once
    then, now = tree.children(scene.target), scene.late.children(scene.target)
    changed = then and now and not {each.pid for each in then} & {each.pid for each in now}
    if not changed:
        return None
    text = f"has a trap for {scene.signal_name}; it went on to {scene.late.name(now[0])} {scene.looked_after}"
    return Cause("handler-swallowed", f"{scene.called} {text}")


def _own_words(scene: Scene) -> Cause | None:
    """It says that its shutdown is under way."""
    line = log_hints.works_on_shutdown(scene.seen.looks.log_after_signal)
    if line is None:
        return None
    text = f"wrote {log_hints.shown(line)} after {scene.signal_name} and was not done at the stop timeout"
    if progress_causes.unmoved(scene):
        text += "; it used no CPU time meanwhile, so it waits for somebody, who may be slow or never come"
    return Cause("grace-too-short", f"{scene.called} {text}")


_WITH_ANY_FAULT = frozenset({_no_time, not_permitted, _fault_raised, _handler_gone, _child_ignores})
"""They read what no fault does to a program: how it handles its signals, and what it may do."""
