"""What a program did after the stop signal, by how its processes moved: it worked, slept, waited, stood still. Pure."""

from __future__ import annotations

from stop_harness.evidence import log_hints, process_tree
from stop_harness.evidence.process_tree import Tree
from stop_harness.model import NS_PER_MS, NS_PER_S, Cause, ProcessInfo
from stop_harness.verdict.killed_scene import FOR_A_CHILD, FOR_A_LOCK, FOR_TIME, Scene

BUSY_NS = NS_PER_S // 5
"""CPU time since the signal from which on a program is at work: a sixth of the time until the late look, which is also
what a busy program gets of an overloaded machine. A server that only waits uses a few milliseconds."""

BUSY_AT_ONCE_NS = NS_PER_S // 10
"""The same where there was only the look right after the signal: a third of that time."""

IDLE_NS = 20 * NS_PER_MS
"""CPU time between two looks up to which nothing moved; the kernel counts it in steps of 10 ms."""

LONG_SLEEP_NS = 2 * NS_PER_S
"""Less does not show that a program takes no notice of the stop for long: loops that look every second are common, and
so are handlers that wait a second for others."""

MIN_NAPS = 2
"""A program that goes on in short turns sleeps this often between the looks; one that resumes a long sleep does not."""

_MAIN_THREAD_HANDLES = frozenset({"python", "ruby", "perl", "php"})
"""Runtimes that run signal handlers in their main thread."""


def frozen(scene: Scene) -> Cause | None:
    """All its threads wait for locks, and nobody of them runs who could release one."""
    before, late, second = scene.target, scene.target_late, scene.target_at_once
    if late is None or (late.threads or 0) < 2 or not process_tree.is_frozen(late):
        return None
    if second is not late and process_tree.busy_ns(second, late) > IDLE_NS:
        return None
    threads = f"all {late.threads} threads"
    if not process_tree.is_frozen(before) or before.lock != late.lock:
        text = f"got {scene.signal_name}, and {scene.looked_after} {threads} wait for locks, none with a time limit"
        return Cause("handler-hangs", f"{scene.called} {text}: nobody is left to release one")
    # The runtimes that run a handler in the main thread come back to the same lock once it has returned.
    if process_tree.program(late) not in _MAIN_THREAD_HANDLES:
        return None
    text = f"has a handler for {scene.signal_name}, and {scene.looked_after} {threads} wait for locks as before"
    return Cause("handler-swallowed", f"{scene.called} {text}")


def busy(scene: Scene) -> Cause | None:
    """It works: its CPU time grows, or it waits for the disk."""
    late = scene.target_late
    if late is None:
        return None
    # Its main thread says that it exits and waits for another thread: what that one works at is not the shutdown.
    if late.waits_in.startswith(FOR_A_LOCK) and log_hints.says_it_exits(scene.seen.looks.log_after_signal):
        return None
    used_ns = process_tree.busy_ns(scene.target, late)
    # Without CPU times the state tells; what ran all the time may not have looked at its signal.
    woken = late.cpu_ns is None and late.state == "R" and scene.target.state != "R"
    # On an overloaded machine it gets little time, and stands in line for more at every look.
    in_line = used_ns > IDLE_NS and late.state == "R" and (scene.target_at_once or late).state == "R"
    if used_ns >= (BUSY_NS if scene.seen.looks.late is not None else BUSY_AT_ONCE_NS) or in_line:
        at_work = f"had used {used_ns / NS_PER_S:.2f} s of CPU time {scene.looked_after}"
    elif woken or late.state == "D":
        at_work = f"was {'busy' if woken else 'waiting for the disk'} {scene.looked_after}"
    else:
        return None
    text = f"handles {scene.signal_name}, {at_work}, and was not done at the stop timeout"
    if scene.target.state == late.state == "R" and not (scene.seen.looks.log_after_signal or "").strip():
        text += "; it was computing before the signal as well and has written nothing since: its handler may never run"
    return Cause("grace-too-short", f"{scene.called} {text}")


def exit_blocked(scene: Scene) -> Cause | None:
    """The main thread is done, or waits for another thread, and that one goes on."""
    late = scene.target_late
    if late is None or (late.threads or 1) < 2:
        return None
    others = f"{(late.threads or 2) - 1} other thread{'s' if (late.threads or 2) > 2 else ''} kept it alive"
    if late.state == "Z":  # a thread group whose leader has ended stays a zombie until its last thread ends
        return Cause("exit-blocked", f"{scene.called} has ended its main thread; {others}")
    if not late.waits_in.startswith(FOR_A_LOCK) or log_hints.works_on_shutdown(scene.seen.looks.log_after_signal):
        return None
    # A lock is where idle threads of a runtime wait, too. It counts only if the main thread came there after the
    # signal, or said that it exits. The JVM's main thread is in such a wait all the time.
    moved = scene.target.waits_in and not scene.target.waits_in.startswith(FOR_A_LOCK)
    line = log_hints.says_it_exits(scene.seen.looks.log_after_signal)
    if moved or (line and process_tree.program(late) in process_tree.RUNTIMES - {"java"}):
        text = f"got {scene.signal_name}, and its main thread waits for a lock {scene.looked_after}; {others}"
        words = f" (it wrote {log_hints.shown(line)})" if line else ""
        return Cause("exit-blocked", f"{scene.called} {text}{words}")
    return None


def stands_still(scene: Scene) -> Cause | None:
    """It heard of the stop, and then all its threads wait for each other, without a time limit and without a peer."""
    late, line = scene.target_late, log_hints.speaks_of_the_stop(scene.seen.looks.log_after_signal)
    if late is None or line is None or not unmoved(scene) or not process_tree.is_stuck(late):
        return None
    if len(scene.late.processes) > (2 if scene.via else 1):  # another process could wake it
        return None
    whole = f"all of its {late.threads} threads wait" if (late.threads or 0) > 1 else "its only thread waits"
    text = f"wrote {log_hints.shown(line)} after {scene.signal_name}, and {scene.looked_after} {whole} for a lock or"
    text = f"{text} a message from the same process, with no time limit and no CPU time used: nobody is left to wake it"
    return Cause("handler-hangs", f"{scene.called} {text}")


def unmoved(scene: Scene) -> bool:
    """Whether it used no CPU time from the moment after the signal to the look a second later."""
    late, second = scene.target_late, scene.target_at_once
    if late is None or second is None or scene.seen.looks.late is None or None in {late.cpu_ns, second.cpu_ns}:
        return False
    return process_tree.busy_ns(second, late) <= IDLE_NS


def children_leave(scene: Scene) -> Cause | None:
    """Some of its processes have left since the signal, so the shutdown goes on."""
    below = scene.before.descendants(scene.target)
    gone = [each for each in below if scene.late.find(each) is None]
    left = [each for each in below if scene.late.find(each) is not None]
    if not scene.late.processes or not gone or not left:
        return None
    text = f"{len(gone)} of its {len(below)} processes left after {scene.signal_name}, and {scene.before.name(left[0])}"
    return Cause("grace-too-short", f"{scene.called} handles {scene.signal_name}: {text} was still at work")


def hangs(scene: Scene) -> Cause | None:
    """The handler waits: for a lock that nobody else can release, or for a child."""
    late = scene.target_late
    if late is None or (not late.waits_in and late.state != "R"):
        return None
    start = f"{scene.called} got {scene.signal_name}, and {scene.looked_after}"
    moved = bool(scene.target.waits_in) and late.waits_in != scene.target.waits_in
    if late.waits_in.startswith(FOR_A_LOCK) and (moved or late.threads == 1):
        return Cause("handler-hangs", f"{start} its only thread waits for a lock, which nobody is left to release")
    # Waiting for a child is what many programs do all day; only where it began after the signal is it the handler.
    if late.waits_in.startswith(FOR_A_CHILD) and moved:
        children = scene.late.children(late)
        working = next((each for each in children if works(scene, each)), None)
        if working is not None:
            text = f"waits for {scene.late.name(working)}, which was at work {scene.looked_after}"
            return Cause("grace-too-short", f"{scene.called} got {scene.signal_name} and {text}")
        whom = f" {scene.late.name(children[0])}," if children else " a child,"
        return Cause("handler-hangs", f"{start} it waits for{whom} which stays")
    if (late.threads or 0) > (scene.target.threads or 0) > 0 and late.waits_in.startswith(FOR_A_LOCK):
        return Cause("handler-hangs", f"{start} its handler runs in a thread of its own and does not end")
    return None


def works(scene: Scene, child: ProcessInfo) -> bool:
    """Whether a process of the last look has used CPU time since the first one that knows it."""
    at_once = Tree(scene.seen.looks.after_signal or ()).find(child)
    used_ns = process_tree.busy_ns(scene.before.find(child) or at_once, child)
    in_line = at_once is not None and at_once.state == child.state == "R"
    return used_ns >= BUSY_NS or (in_line and used_ns > IDLE_NS)


def sleeps_on(scene: Scene) -> Cause | None:
    """It sleeps as before: a flag that is looked at after the sleep, or not at all."""
    late, at_once = scene.target_late, scene.target_at_once
    if late is None or not _sleeps(late):
        return None
    naps = _naps(scene)
    again = naps is not None and naps >= MIN_NAPS
    began = bool(scene.target.waits_in) and not _sleeps(scene.target)
    # It woke up again and again and slept again: the handler returned, and the loop took no notice. A loop that also
    # waits for something else is seldom met asleep in both looks after the signal and not before.
    if again and not (began and at_once is not None and _sleeps(at_once)):
        text = f"has a handler for {scene.signal_name}, and went on: it slept {naps} times within the next second"
        return Cause("handler-swallowed", f"{scene.called} {text}")
    # It began to sleep only after the signal: the sleep is in the handler, which is at its work.
    if began:
        often = f", {naps} times within that second" if again else ""
        text = (
            f"got {scene.signal_name}, and {scene.looked_after} it sleeps where it did not before{often}: its shutdown"
        )
        return Cause("grace-too-short", f"{scene.called} {text} was under way and not done at the stop timeout")
    if scene.seen.stop_timeout_ns < LONG_SLEEP_NS:
        text = f"has a handler for {scene.signal_name}, and slept when a stop timeout of"
        text = (
            f"{text} {scene.seen.stop_timeout_ns / NS_PER_S:g} s was over: too soon to tell a long sleep from a short"
        )
        return Cause("grace-too-short", f"{scene.called} {text} one")
    text = f"has a handler for {scene.signal_name}, and {scene.looked_after} it sleeps as before"
    uninterrupted = ", without having run once in between" if naps == 0 else ""
    return Cause("handler-too-slow", f"{scene.called} {text}{uninterrupted}")


def _sleeps(process: ProcessInfo) -> bool:
    return any(word in process.waits_in for word in FOR_TIME)


def _naps(scene: Scene) -> int | None:
    """How often the main thread went to sleep between the two looks after the signal; None where that is not known."""
    late, second = scene.target_late, Tree(scene.seen.looks.after_signal or ()).find(scene.target)
    if late is None or second is None or late is second or scene.seen.looks.late is None:
        return None
    return None if late.switches is None or second.switches is None else late.switches - second.switches
