"""Whom a program waited for that was stopped while it had clients. Pure."""

from __future__ import annotations

from stop_harness.evidence import log_hints
from stop_harness.evidence.process_tree import Reaction, reaction
from stop_harness.model import NS_PER_S, Cause, ProcessInfo, Request, RequestFate, TrafficKind
from stop_harness.verdict import progress_causes
from stop_harness.verdict.killed_scene import Scene

HELD_NS = NS_PER_S
"""A connection that is open this long after the signal was not closed because of it."""

OPEN_AT_DEADLINE_NS = NS_PER_S // 2
"""A request that ends this close to the stop timeout, or after it, was ended by SIGKILL."""


def held_connection(scene: Scene) -> Cause | None:
    """It stops accepting and waits for a peer that keeps its connection."""
    held = [
        request for request in scene.seen.requests if (request.kind.held or request.only_held) and _held(request, scene)
    ]
    if held:
        kind = held[0].kind.value.replace("_", "-")
        text = f"a client still held its {kind} connection when SIGKILL came{_after_a_crash(scene)}"
        return Cause("waits-for-clients", f"{scene.called} handles {scene.signal_name}, and {text}")
    # Not held to the end, but served on: the client got an answer after the signal without "Connection: close", and
    # the program waits for its next request.
    kept = [request for request in scene.seen.requests if _kept_alive(request)]
    late = scene.target_late
    if kept and late is not None and reaction(late, scene.signal) is Reaction.CAUGHT and "poll" in late.waits_in:
        text = f"handles {scene.signal_name}, and went on to serve a kept-alive connection, which it did not close"
        text += _after_a_crash(scene)
        return Cause("waits-for-clients", f"{scene.called} {text}")
    line = log_hints.waits_for_clients(scene.seen.looks.log_after_signal)
    if line is not None:
        return Cause("waits-for-clients", f"{scene.called} wrote {log_hints.shown(line)} after the signal")
    return None


def _after_a_crash(scene: Scene) -> str:
    """A main thread that an exception has ended waits for the threads that serve clients: mend that first."""
    line = log_hints.crash(scene.seen.looks.log_after_signal)
    return f"; it wrote {log_hints.shown(line)} in the meantime" if line else ""


def _held(request: Request, scene: Scene) -> bool:
    """Open long after the signal and until the end, not closed by the server in the meantime."""
    if request.connected_at_ns is None or request.connected_at_ns > 0:
        return False
    ended = request.ended_at_ns
    return ended is None or ended >= max(HELD_NS, scene.seen.stop_timeout_ns - OPEN_AT_DEADLINE_NS)


def _kept_alive(request: Request) -> bool:
    """Answered after the signal, with no word that the connection would be closed; the client then holds it."""
    answered = request.fate is RequestFate.COMPLETED and (request.ended_at_ns or 0) > 0
    return request.kind is TrafficKind.KEEP_ALIVE and answered and "Connection: close" not in request.detail


def work_in_flight(scene: Scene) -> Cause | None:
    """A request that was being worked on until SIGKILL."""
    open_until_end = [
        request
        for request in scene.seen.requests
        if request.kind.in_flight
        and not request.only_held
        and request.fate is not RequestFate.COMPLETED
        and request.sent_at_ns is not None
        and _held(request, scene)
    ]
    if not open_until_end:
        return None
    text = f"and a request was still without its answer {scene.seen.stop_timeout_ns / NS_PER_S:g} s later"
    return Cause("grace-too-short", f"{scene.called} handles {scene.signal_name}, {text}")


def waits_for_a_session(scene: Scene) -> Cause | None:
    """It speaks of the stop, and a process that it has for each client, as PostgreSQL and sshd have, serves one on."""
    text = scene.seen.looks.log_after_signal
    line, session = log_hints.speaks_of_the_stop(text), _session(scene)
    if line is None or session is None or log_hints.crash(text):
        return None
    said = f"wrote {log_hints.shown(line)} after {scene.signal_name}, and {scene.late.name(session)} still served"
    return Cause("waits-for-clients", f"{scene.called} {said} {_clients(session)} {scene.looked_after}")


def serves_on(scene: Scene) -> Cause | None:
    """Nothing else is known, and clients hold connections, to a process below it or to itself."""
    late, session = scene.target_late, _session(scene)
    speaks = log_hints.speaks_of_the_stop(scene.seen.looks.log_after_signal)
    if session is None and late is not None and late.clients and speaks and "poll" in late.waits_in:
        text = f"wrote {log_hints.shown(speaks)} after {scene.signal_name}, and {scene.looked_after} it still held"
        return Cause("waits-for-clients", f"{scene.called} {text} the connection of {_clients(late)}")
    if session is None:
        return None
    text = f"handles {scene.signal_name}, and {scene.looked_after} {scene.late.name(session)} still served"
    return Cause("waits-for-clients", f"{scene.called} {text} {_clients(session)}")


def _session(scene: Scene) -> ProcessInfo | None:
    """A process below the one that got the signal which has had a client from before the stop until the last look, and
    is not at work for it: whoever is needs time, and nobody to leave."""
    below = scene.late.descendants(scene.target_late) if scene.target_late is not None else ()
    idle = (each for each in below if scene.before.find(each) is not None and not progress_causes.works(scene, each))
    return next((each for each in idle if each.clients), None)


def _clients(process: ProcessInfo) -> str:
    return "a client" if process.clients == 1 else f"{process.clients} clients"
