"""Why a process that got the stop signal, or has a handler for it, is still there at the stop timeout. Pure.

From outside such stops look the same: exit code 137. What tells them apart is what changed after the signal: the
process table, where the main thread sleeps, connections still held, and the program's own words.
"""

from __future__ import annotations

from dataclasses import dataclass

from stop_harness import signals
from stop_harness.evidence import log_hints, process_tree
from stop_harness.evidence.process_tree import Reaction, Tree, quoted, reaction
from stop_harness.model import NS_PER_MS, NS_PER_S, Cause, Observation, ProcessInfo, Request, RequestFate, TrafficKind

HELD_NS = NS_PER_S
"""A connection that is open this long after the signal was not closed because of it."""

OPEN_AT_DEADLINE_NS = NS_PER_S // 2
"""A request that ends this close to the stop timeout, or after it, was ended by SIGKILL."""

BUSY_NS = NS_PER_S // 5
"""CPU time since the signal from which on a program is at work: a sixth of the time until the late look, which is also
what a busy program gets of an overloaded machine. A server that only waits uses a few milliseconds."""

BUSY_AT_ONCE_NS = NS_PER_S // 10
"""The same where there was only the look right after the signal: a third of that time."""

IDLE_NS = 20 * NS_PER_MS
"""CPU time between two looks up to which nothing moved; the kernel counts it in steps of 10 ms."""

MIN_NAPS = 2
"""A program that goes on in short turns sleeps this often between the looks; one that resumes a long sleep does not."""

_SLEEPS = ("nanosleep",)
_LOCKS = ("futex",)
_MAIN_THREAD_HANDLES = frozenset({"python", "ruby", "perl", "php"})
"""Runtimes that run signal handlers in their main thread."""
_CHILDREN = ("do_wait", "kernel_wait", "wait4")


@dataclass(frozen=True)
class Scene:
    """One killed stop seen from the process that should have reacted. `late`: the last look after the signal, empty if
    there was none. `via`: how the signal got to `target`, as the beginning of a sentence."""

    seen: Observation
    before: Tree
    late: Tree
    target: ProcessInfo
    via: str
    signal: int

    @property
    def called(self) -> str:
        """`PID 1 is …, which`: the beginning of the evidence."""
        if self.via:
            return f"{self.via}{quoted(self.target)}"
        kind = "a shell that" if process_tree.is_shell(self.target) else "which"
        return f"PID 1 is {quoted(self.target)}, {kind}"

    @property
    def signal_name(self) -> str:
        return signals.name(self.signal)

    @property
    def target_late(self) -> ProcessInfo | None:
        """The target in the last look."""
        return self.late.find(self.target)

    @property
    def target_at_once(self) -> ProcessInfo | None:
        """The target a moment after the signal."""
        return self.at_once.find(self.target)

    @property
    def at_once(self) -> Tree:
        return Tree(self.seen.looks.after_signal or ())

    @property
    def looked_after(self) -> str:
        """When the last look was, in words."""
        return "a second later" if self.seen.looks.late is not None else "a moment later"

    @property
    def still_pending(self) -> bool:
        """The signal was sent, and nobody has taken it."""
        late = self.target_late
        return late is not None and bool((late.pending or 0) & (1 << (self.signal - 1)))


def handler_cause(scene: Scene) -> Cause | None:
    """The first of these that the evidence supports; None if none is.

    The order goes from evidence that admits one reading (a stop timeout too short for anybody, a connection that was
    held) to evidence that needs the others excluded (it sleeps as before).
    """
    for rule in (
        _no_time,
        _held_connection,
        _fault_raised,
        _handler_gone,
        _child_ignores,
        _wrapper,
        _work_in_flight,
        _not_permitted,
        _swallowed,
        _frozen,
        _busy,
        _exit_blocked,
        _stands_still,
        _own_words,
        _children_leave,
        _hangs,
        _sleeps_on,
    ):
        found = rule(scene)
        if found is not None:
            return found
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
    if late is None or scene.via:
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
    # Behind an init it is not PID 1, and a signal that it raises again does end it.
    if late is None or reaction(scene.target, scene.signal) is not Reaction.CAUGHT or scene.via:
        return None
    if reaction(late, scene.signal) is not Reaction.DEFAULT:
        return None
    text = f"had a handler for {scene.signal_name} that is gone {scene.looked_after}: it reset itself and raised the"
    text = f"{scene.called} {text} signal again, which the kernel drops for PID 1"
    if process_tree.program(scene.target) in process_tree.OWN_HANDLER:
        line = log_hints.speaks_of_the_stop(scene.seen.looks.log_after_signal)
        if line is not None:  # a handler of the program's own, meant for once: its work goes on
            return None
        return Cause("pid1-handler-noop", f"{text}; the handler was the runtime's own")
    return Cause("reraise-lost", text)


def _held_connection(scene: Scene) -> Cause | None:
    """It stops accepting and waits for a peer that keeps its connection."""
    held = [
        request for request in scene.seen.requests if (request.kind.held or request.only_held) and _held(request, scene)
    ]
    if held:
        kind = held[0].kind.value.replace("_", "-")
        text = f"a client still held its {kind} connection when SIGKILL came"
        return Cause("waits-for-clients", f"{scene.called} handles {scene.signal_name}, and {text}")
    # Not held to the end, but served on: the client got an answer after the signal without "Connection: close", and
    # the program waits for its next request.
    kept = [request for request in scene.seen.requests if _kept_alive(request)]
    late = scene.target_late
    if kept and late is not None and reaction(late, scene.signal) is Reaction.CAUGHT and "poll" in late.waits_in:
        text = f"handles {scene.signal_name}, and went on to serve a kept-alive connection, which it did not close"
        return Cause("waits-for-clients", f"{scene.called} {text}")
    line = log_hints.waits_for_clients(scene.seen.looks.log_after_signal)
    if line is not None:
        return Cause("waits-for-clients", f"{scene.called} wrote {log_hints.shown(line)} after the signal")
    return None


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
    waits = late is not None and target.waits_in.startswith(_CHILDREN) and late.waits_in.startswith(_CHILDREN)
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


def _work_in_flight(scene: Scene) -> Cause | None:
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


def _not_permitted(scene: Scene) -> Cause | None:
    """It wrote that it may not signal what it has started, and that is still there."""
    line = log_hints.may_not_signal(scene.seen.looks.log_after_signal)
    left = scene.late.descendants(scene.target_late) if scene.target_late is not None else ()
    if line is None or not left:
        return None
    text = f"has a handler for {scene.signal_name}, but may not signal {scene.late.name(left[0])}: it wrote"
    text = f"{text} {log_hints.shown(line)}; it needs the capability KILL, or the same user"
    return Cause("wrapper-swallows-signal", f"{scene.called} {text} (kill(2), EPERM)")


def _swallowed(scene: Scene) -> Cause | None:
    """It wrote of an error after the signal and went on."""
    line = log_hints.fault(scene.seen.looks.log_after_signal)
    late = scene.target_late
    if process_tree.is_shell(scene.target) and late is not None:
        return _trap_without_end(scene)
    if line is None or late is None or reaction(late, scene.signal) is not Reaction.CAUGHT:
        return None
    # Now in a lock where it was not before: it does not go on, it hangs, which `_hangs` says.
    if late.waits_in != scene.target.waits_in and late.waits_in.startswith(_LOCKS):
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


def _frozen(scene: Scene) -> Cause | None:
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


def _busy(scene: Scene) -> Cause | None:
    """It works: its CPU time grows, or it waits for the disk."""
    late = scene.target_late
    if late is None:
        return None
    # Its main thread says that it exits and waits for another thread: what that one works at is not the shutdown.
    if late.waits_in.startswith(_LOCKS) and log_hints.says_it_exits(scene.seen.looks.log_after_signal):
        return None
    used_ns = process_tree.busy_ns(scene.target, late)
    # Without CPU times the state tells; what ran all the time may not have looked at its signal.
    woken = late.cpu_ns is None and late.state == "R" and scene.target.state != "R"
    # On an overloaded machine it gets little time, and stands in line for more at every look.
    in_line = used_ns > IDLE_NS and late.state == "R" and (scene.target_at_once or late).state == "R"
    if used_ns >= (BUSY_NS if scene.seen.looks.late is not None else BUSY_AT_ONCE_NS) or in_line:
        at_work = f"used {used_ns / NS_PER_S:.2f} s of CPU time after it"
    elif woken or late.state == "D":
        at_work = f"was {'busy' if woken else 'waiting for the disk'} {scene.looked_after}"
    else:
        return None
    text = f"handles {scene.signal_name}, {at_work}, and was not done at the stop timeout"
    if scene.target.state == late.state == "R" and not (scene.seen.looks.log_after_signal or "").strip():
        text += "; it was computing before the signal as well and has written nothing since: its handler may never run"
    return Cause("grace-too-short", f"{scene.called} {text}")


def _exit_blocked(scene: Scene) -> Cause | None:
    """The main thread is done, or waits for another thread, and that one goes on."""
    late = scene.target_late
    if late is None or (late.threads or 1) < 2:
        return None
    others = f"{(late.threads or 2) - 1} other thread{'s' if (late.threads or 2) > 2 else ''} kept it alive"
    if late.state == "Z":  # a thread group whose leader has ended stays a zombie until its last thread ends
        return Cause("exit-blocked", f"{scene.called} has ended its main thread; {others}")
    if not late.waits_in.startswith(_LOCKS) or log_hints.works_on_shutdown(scene.seen.looks.log_after_signal):
        return None
    # A lock is where idle threads of a runtime wait, too. It counts only if the main thread came there after the
    # signal, or said that it exits. The JVM's main thread is in such a wait all the time.
    moved = scene.target.waits_in and not scene.target.waits_in.startswith(_LOCKS)
    line = log_hints.says_it_exits(scene.seen.looks.log_after_signal)
    if moved or (line and process_tree.program(late) in process_tree.RUNTIMES - {"java"}):
        text = f"got {scene.signal_name}, and its main thread waits for a lock {scene.looked_after}; {others}"
        words = f" (it wrote {log_hints.shown(line)})" if line else ""
        return Cause("exit-blocked", f"{scene.called} {text}{words}")
    return None


def _stands_still(scene: Scene) -> Cause | None:
    """It heard of the stop, and then all its threads wait for each other, without a time limit and without a peer."""
    late, line = scene.target_late, log_hints.speaks_of_the_stop(scene.seen.looks.log_after_signal)
    if late is None or line is None or not _unmoved(scene) or not process_tree.is_stuck(late):
        return None
    if len(scene.late.processes) > (2 if scene.via else 1):  # another process could wake it
        return None
    whole = f"all of its {late.threads} threads wait" if (late.threads or 0) > 1 else "its only thread waits"
    text = f"wrote {log_hints.shown(line)} after {scene.signal_name}, and {scene.looked_after} {whole} for a lock or"
    text = f"{text} a message from the same process, with no time limit and no CPU time used: nobody is left to wake it"
    return Cause("handler-hangs", f"{scene.called} {text}")


def _unmoved(scene: Scene) -> bool:
    """Whether it used no CPU time from the moment after the signal to the look a second later."""
    late, second = scene.target_late, scene.target_at_once
    if late is None or second is None or scene.seen.looks.late is None or None in {late.cpu_ns, second.cpu_ns}:
        return False
    return process_tree.busy_ns(second, late) <= IDLE_NS


def _own_words(scene: Scene) -> Cause | None:
    """It says that its shutdown is under way."""
    line = log_hints.works_on_shutdown(scene.seen.looks.log_after_signal)
    if line is None:
        return None
    text = f"wrote {log_hints.shown(line)} after {scene.signal_name} and was not done at the stop timeout"
    if _unmoved(scene):
        text += "; it used no CPU time meanwhile, so it waits for somebody, who may be slow or never come"
    return Cause("grace-too-short", f"{scene.called} {text}")


def _children_leave(scene: Scene) -> Cause | None:
    """Some of its processes have left since the signal, so the shutdown goes on."""
    below = scene.before.descendants(scene.target)
    gone = [each for each in below if scene.late.find(each) is None]
    left = [each for each in below if scene.late.find(each) is not None]
    if not scene.late.processes or not gone or not left:
        return None
    text = f"{len(gone)} of its {len(below)} processes left after {scene.signal_name}, and {scene.before.name(left[0])}"
    return Cause("grace-too-short", f"{scene.called} handles {scene.signal_name}: {text} was still at work")


def _hangs(scene: Scene) -> Cause | None:
    """The handler waits: for a lock that nobody else can release, or for a child."""
    late = scene.target_late
    if late is None or (not late.waits_in and late.state != "R"):
        return None
    start = f"{scene.called} got {scene.signal_name}, and {scene.looked_after}"
    moved = bool(scene.target.waits_in) and late.waits_in != scene.target.waits_in
    if late.waits_in.startswith(_LOCKS) and (moved or late.threads == 1):
        return Cause("handler-hangs", f"{start} its only thread waits for a lock, which nobody is left to release")
    # Waiting for a child is what many programs do all day; only where it began after the signal is it the handler.
    if late.waits_in.startswith(_CHILDREN) and moved:
        children = scene.late.children(late)
        working = next((each for each in children if _works(scene, each)), None)
        if working is not None:
            text = f"waits for {scene.late.name(working)}, which was at work {scene.looked_after}"
            return Cause("grace-too-short", f"{scene.called} got {scene.signal_name} and {text}")
        whom = f" {scene.late.name(children[0])}," if children else " a child,"
        return Cause("handler-hangs", f"{start} it waits for{whom} which stays")
    if (late.threads or 0) > (scene.target.threads or 0) > 0 and late.waits_in.startswith(_LOCKS):
        return Cause("handler-hangs", f"{start} its handler runs in a thread of its own and does not end")
    return None


def _works(scene: Scene, child: ProcessInfo) -> bool:
    """Whether a process of the last look has used CPU time since the first one that knows it."""
    at_once = Tree(scene.seen.looks.after_signal or ()).find(child)
    used_ns = process_tree.busy_ns(scene.before.find(child) or at_once, child)
    in_line = at_once is not None and at_once.state == child.state == "R"
    return used_ns >= BUSY_NS or (in_line and used_ns > IDLE_NS)


def _sleeps_on(scene: Scene) -> Cause | None:
    """It sleeps as before: a flag that is looked at after the sleep, or not at all."""
    late = scene.target_late
    if late is None or not any(word in late.waits_in for word in _SLEEPS):
        return None
    # It woke up again and again and slept again: the handler returned, and the loop took no notice.
    naps = _naps(scene)
    if naps is not None and naps >= MIN_NAPS:
        text = f"has a handler for {scene.signal_name}, and went on: it slept {naps} times within the next second"
        return Cause("handler-swallowed", f"{scene.called} {text}")
    # It began to sleep only after the signal: the sleep is in the handler.
    if scene.target.waits_in and not any(word in scene.target.waits_in for word in _SLEEPS):
        text = f"got {scene.signal_name}, and {scene.looked_after} it sleeps where it did not before"
        return Cause("handler-too-slow", f"{scene.called} {text}")
    text = f"has a handler for {scene.signal_name}, and {scene.looked_after} it sleeps as before"
    uninterrupted = ", without having run once in between" if naps == 0 else ""
    return Cause("handler-too-slow", f"{scene.called} {text}{uninterrupted}")


def _naps(scene: Scene) -> int | None:
    """How often the main thread went to sleep between the two looks after the signal; None where that is not known."""
    late, second = scene.target_late, Tree(scene.seen.looks.after_signal or ()).find(scene.target)
    if late is None or second is None or late is second or scene.seen.looks.late is None:
        return None
    return None if late.switches is None or second.switches is None else late.switches - second.switches
