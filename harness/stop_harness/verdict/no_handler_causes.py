"""Why a process that should have reacted never ran a handler: it has none, or a shell stands before it. Pure."""

from __future__ import annotations

from stop_harness import signals
from stop_harness.evidence import process_tree, script_steps
from stop_harness.evidence.forecast import foreground_child
from stop_harness.evidence.process_tree import Reaction, reaction
from stop_harness.model import Cause, ProcessInfo
from stop_harness.verdict.killed_scene import Scene


def no_handler(scene: Scene) -> Cause | None:
    """The default action: dropped for PID 1, and for a signal whose default action is none."""
    signal, target, tree = scene.signal, scene.target, scene.before
    if not scene.via and process_tree.ends_by_default(target, signal):
        return None  # it should have ended by default: it had got a handler by then, or never got the signal
    below = tree.descendants(target)
    handlers = [each for each in below if reaction(each, signal) is Reaction.CAUGHT]
    if process_tree.is_shell(target) and below:
        return _script(scene) or _not_forwarded(scene, "does not pass signals on")
    if scene.via and signal not in process_tree.IGNORED_BY_DEFAULT:
        return None  # it should have ended by default: the init did not pass it on, or the table is too old
    other = _other_handler(scene)
    if other is not None:
        name = signals.name(other)
        return Cause("wrong-stopsignal", f"{scene.called} has a handler for {name}, but is sent {scene.signal_name}")
    if scene.seen.record.stop_signal_source in _CHOSEN and signal not in _USUAL and not handlers:
        return Cause("wrong-stopsignal", f"nobody in the container has a handler for {scene.signal_name}")
    late = scene.target_late
    if late is not None and reaction(late, signal) is Reaction.CAUGHT:
        text = f"{scene.called} had no handler yet when {scene.signal_name} came, and got one after it"
        return Cause("pid1-no-handler", text)
    lone = f"; {tree.name(handlers[0])} has one but never got the signal" if handlers else ""
    text = f"{scene.called} has no handler for {scene.signal_name}, and the kernel drops it for PID 1{lone}"
    return Cause("pid1-no-handler", text)


def _not_forwarded(scene: Scene, why: str) -> Cause:
    """A shell above the program: who has a handler and never got the signal."""
    tree, name = scene.before, scene.signal_name
    below = tree.descendants(scene.target)
    handlers = [each for each in below if reaction(each, scene.signal) is Reaction.CAUGHT]
    others = f" and {len(handlers) - MOST_HANDLERS} more" if len(handlers) > MOST_HANDLERS else ""
    if len(handlers) > 1:
        names = ", ".join(map(tree.name, handlers[:MOST_HANDLERS]))
        return Cause(
            "shell-not-forwarding", f"{scene.called} {why}; {names}{others} have handlers but never got {name}"
        )
    if handlers:
        return Cause(
            "shell-not-forwarding", f"{scene.called} {why}; {tree.name(handlers[0])} has a handler but never got {name}"
        )
    doubt = "if that is one step of several, the script is the program and needs a trap"
    return Cause("shell-not-forwarding", f"{scene.called} {why}; {tree.name(below[0])} never got {name}; {doubt}")


MOST_HANDLERS = 3


def _script(scene: Scene) -> Cause | None:
    """A shell that is itself the program: what runs below are steps of its script, none of which could be told to stop.

    That is known where they are commands that only wait or copy, or have ended by themselves while the shell went on.
    """
    steps = [each for each in scene.before.descendants(scene.target) if not process_tree.is_shell(each)]
    if scene.via or not steps:
        return None
    if not all(script_steps.is_step(scene.seen, scene.target, each) for each in steps):
        return None
    text = f"{scene.called} is itself the program and has no trap for {scene.signal_name}, which the kernel drops for"
    return Cause("pid1-no-handler", f"{text} PID 1; {scene.before.name(steps[0])} is a step of its script")


def shell_waits(scene: Scene) -> Cause | None:
    """SIGINT to a shell without a trap: while it waits it catches it, and then ends only if its command was ended by it
    (bash(1), SIGNALS). A trap for it cannot be told from that."""
    below = scene.before.descendants(scene.target)
    if not below:
        return None
    found = _script(scene)
    if found is not None:
        return found
    why = f"waits for its command and would end by {scene.signal_name} only if that one did"
    return _not_forwarded(scene, why)


_USUAL = frozenset(signals.NUMBERS[name] for name in ("TERM", "INT", "HUP", "QUIT"))

_CHOSEN = frozenset({"image", "scenario", "container"})
"""Sources of a stop signal that somebody named."""


def _other_handler(scene: Scene) -> int | None:
    """SIGTERM, if the target or somebody below handles that instead of the signal that was chosen."""
    if scene.signal == signals.SIGTERM or scene.seen.record.stop_signal_source not in _CHOSEN:
        return None
    caught = reaction(scene.target, signals.SIGTERM) is Reaction.CAUGHT
    return signals.SIGTERM if caught else None


def trap(scene: Scene) -> Cause | None:
    """A shell with a trap: it waits for its foreground command first."""
    # Between the look before and the signal it may have gone on to another command.
    at_once = scene.target_at_once
    tree, shell = (scene.before, scene.target) if at_once is None else (scene.at_once, at_once)
    foreground = foreground_child(tree, shell)
    if foreground is None or scene.late.find(foreground) is None:
        return None
    if script_steps.begun_after_signal(scene.seen, shell, foreground):
        return _trap_runs(scene, shell, foreground)
    text = f"{scene.called} has a trap for {scene.signal_name}, which runs only after {tree.name(foreground)}"
    return Cause("handler-delayed", f"{text} has ended; that went on")


def _trap_runs(scene: Scene, shell: ProcessInfo, command: ProcessInfo) -> Cause:
    """A shell that has started a command since the signal, and waits for it: its trap was not held up, it is slow."""
    trap, name = f"{scene.called} has a trap for {scene.signal_name}", scene.late.name(command)
    if script_steps.starts_again(scene.seen, shell, command):
        return Cause("handler-swallowed", f"{trap}; it went on to {name}, as before the signal")
    text = f"{trap}, which was not held up: {name} was started after the signal and went on {scene.looked_after}"
    # What only waits, as `tail -f` and `sleep infinity`, will not be done with more time either.
    endless = process_tree.program(command) in process_tree.PLAIN - {"sleep"} or command.command == "sleep infinity"
    return Cause("handler-hangs" if endless else "grace-too-short", text)
