"""Faults that halt, signal or kill: the container as a whole, and single processes of it."""

from __future__ import annotations

import os
from functools import partial

from stop_harness import signals
from stop_harness.engines import process_faults
from stop_harness.engines.docker import reading, sdk
from stop_harness.engines.docker.calls import GRACE_S
from stop_harness.engines.docker.faults import freezer
from stop_harness.engines.docker.faults.scene import FaultScene, nothing
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.linux import proc
from stop_harness.model import Event, EventKind, Fault, FaultAction, When


def signal(scene: FaultScene, fault: Fault) -> Applied:
    """One more signal for PID 1: the one that is named, else the stop signal again."""
    if fault.signal is not None:
        return scene.send(signals.number(fault.signal))
    return scene.send(reading.state_of(scene.inspect()).stop_signal or signals.SIGTERM)


def stop(scene: FaultScene, fault: Fault) -> Applied:
    """A second stop call, or a kill or a removal in the middle of the stop, or nobody left who waits for its end."""
    if fault.action is FaultAction.KILL:
        return scene.send(signals.SIGKILL)
    if fault.action is FaultAction.REMOVE:
        return _remove(scene)
    if fault.action is FaultAction.CLIENT_GONE:
        if scene.stop_call is None:
            raise FaultNotApplied("the stop call has no connection of its own that could be cut")
        scene.stop_call.cut()
        return Applied("the connection of the stop call is closed", nothing)
    known = scene.known()
    wanted = reading.state_of(scene.inspect()).stop_signal or signals.SIGTERM
    answer_s = scene.stop_timeout_s + scene.calls.limit_s + GRACE_S
    again = partial(reading.stop, scene.api, scene.container_id, scene.stop_timeout_s, answer_s)
    scene.in_background("the second stop call", again, extra_s=scene.stop_timeout_s)
    told = scene.told(EventKind.SIGNAL_SENT, wanted, known)
    if told is None:
        raise FaultNotApplied("the engine has no signal of the second stop call on record")
    return Applied("kill event", nothing, [told], begun_ns=scene.stamped(told))


def _remove(scene: FaultScene) -> Applied:
    """`docker rm -f`. How it ended then stands in the engine's events alone."""
    known = scene.known()
    scene.life.expect_removal()
    scene.ask("the removal", partial(scene.api.remove_container, scene.container_id, force=True, v=True))
    told = scene.told(EventKind.SIGNAL_SENT, signals.SIGKILL, known)
    seen = "kill event, and it is removed" if told else "it is removed"
    return Applied(seen, nothing, [told] if told else [], begun_ns=scene.stamped(told))


def pause(scene: FaultScene, fault: Fault) -> Applied:
    """Frozen: by the engine during the stop. Before it only by the kernel's freezer, for a stop thaws what the engine
    has paused."""
    if fault.moment.when is When.BEFORE:
        return freezer.freeze(scene)
    known = scene.known()
    scene.ask("the pause", scene.api.pause, scene.container_id)
    told = scene.told(EventKind.PAUSED, None, known)
    applied = Applied("pause event" if told else "the engine's answer", nothing, [told] if told else [])

    def undo() -> int | None:
        before = scene.known()
        try:
            scene.calls.run("the unpause", scene.api.unpause, scene.container_id)
        except sdk.errors.APIError as error:
            if "not paused" not in str(error).lower() and scene.runs():
                raise FaultNotApplied(str(error)) from None
            thawed = [event for event in before if event.kind is EventKind.UNPAUSED]  # by a signal, or by SIGKILL
            applied.events.extend(thawed)
            return thawed[0].at_ns if thawed and scene.host.same_kernel else None
        over = scene.told(EventKind.UNPAUSED, None, before)
        applied.events.extend([over] if over else [])
        return None

    return Applied(applied.seen, undo, applied.events, begun_ns=scene.stamped(told))


def process(scene: FaultScene, fault: Fault) -> Applied:
    """SIGKILL, SIGSTOP or a signal by name for every process whose command line matches."""
    if scene.pid_one is None:
        raise FaultNotApplied("its processes can only be signalled on the engine's machine")
    try:
        others = proc.entered(scene.pid_one.pid, proc.status_of(scene.pid_one.pid))
    except OSError:
        others = []
    return process_faults.signalled(fault, [scene.pid_one.pid, *others], partial(_sent, scene))


def _sent(scene: FaultScene, pid: int, number: int) -> list[Event]:
    """By kill(2) where we may, else by the engine for PID 1, and by a shell in the container for others."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return []
    except PermissionError:
        inside = proc.namespace_pids(proc.status_of(pid))[-1:]
        if inside == [1]:
            return scene.send(number).events
        if not inside or scene.shell('kill -"$1" "$2"', str(number), str(inside[0])) != 0:
            raise FaultNotApplied("we may not signal it, and a shell in the container could not either") from None
    return []
