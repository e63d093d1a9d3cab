"""What the fates of one stop show to be lost, put together; and processes that left with an error, shells that were
ended before their next command, helpers that SIGKILL ended. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stop_harness import signals
from stop_harness.evidence import log_hints, process_tree
from stop_harness.evidence.asked_again import answered_once
from stop_harness.evidence.fate_scene import FateScene, as_row, fates_of, named, program
from stop_harness.evidence.process_fates import (
    BUSY_SHARE,
    ENDING_SIGNALS,
    FOR_A_CHILD,
    STARTERS,
    End,
    Grade,
    LostWork,
    asked_by_owner,
    crashed,
    defaulted,
    ended_by_default,
    ended_by_second,
    goes_on_for_ever,
    idle,
    prompt,
    sent_by_others,
    signals_the_group,
    without_end,
)
from stop_harness.model import NS_PER_MS, Observation, ProcessFate, SignalDisposition

COPIERS = frozenset({"cat", "logger"})
"""Programs that wait for input: the last of a log may be lost with them, or nobody writes to them at all."""

LISTENERS = frozenset({"socat", "nc", "ncat", "inotifywait", "inotifywatch", "fswatch"})
"""Programs that do nothing until something outside happens."""

_ON_ITS_OWN = re.compile(
    r"-LISTEN\b.*\bfork\b|\s-[a-z]*l[a-z]*\b|--listen\b|^\S*(?:inotifywait|inotifywatch|fswatch)\b"
)
"""What stands in the command line of one that waits for others to come."""

_NEXT_COMMAND = re.compile(r"(?:;|&&|\|\||\n)\s*(?!(?:exit|wait|true|:|done|fi)\b)\S")


@answered_once
def lost_work(seen: Observation) -> tuple[LostWork, ...]:
    """What the fates of one stop show, the surest first; empty where nobody saw them."""
    if not seen.record.fates or seen.record.stop_signal is None:
        return ()
    scene = FateScene(seen, fates_of(seen))
    found = [*ended_by_default(scene), *ended_by_second(scene), *crashed(scene), *_shells(scene)]
    known = [item.process for item in found]
    found += [item for item in _left_with_error(scene) if not any(item.process is other for other in known)]
    found += _killed_helpers(scene)
    return tuple(sorted(found, key=lambda item: -item.grade))


# ── Left with an error ───────────────────────────────────────────────────────────────────────────────────────────────


def _left_with_error(scene: FateScene) -> Iterator[LostWork]:
    """Processes that lived when the stop began and left by themselves, before PID 1, with an error that PID 1 hides.

    128 + n is what many exit with that have finished; others, such as socat, when they gave up.
    """
    for fate in scene.fates[1:]:
        code = fate.exit_code
        if not code or fate.born_ns is not None or not fate.end_ns or _of_a_child(scene, fate):
            continue
        owner = scene.parent(fate)
        by_signal = code - 128 in ENDING_SIGNALS
        if owner is None or (not by_signal and code == scene.seen.record.exit_code):
            continue
        sign = _gave_up(scene, fate, owner) if by_signal else _failed(scene, fate, owner)
        if sign is None:
            continue
        grade, why = sign
        sent = sent_by_others(fate)
        after = f", {_sent_ms(fate)} ms after {signals.name(sent[0].number)}" if sent else ""
        sender = f" from {sent[0].sender}" if sent and sent[0].sender else ""
        how = f"{named(fate)} left with exit code {code}{after}{sender}, which PID 1's exit code does not tell"
        yield LostWork(End.BY_ERROR, fate, owner, grade, how, why)


def _of_a_child(scene: FateScene, fate: ProcessFate) -> bool:
    """Whether a shell or wrapper only passes on how its command ended."""
    passes = process_tree.is_shell(as_row(fate)) or program(fate) in STARTERS
    codes = {child.exit_code or 128 + (child.exit_signal or 0) for child in scene.below(fate)[1:]}
    return passes and (fate.exit_code in codes)


def _sent_ms(fate: ProcessFate) -> int:
    return (sent_by_others(fate)[0].to_end_ns - (fate.end_ns or 0)) // NS_PER_MS


def _gave_up(scene: FateScene, fate: ProcessFate, owner: ProcessFate) -> tuple[Grade, str] | None:
    """Of one that left with 128 + n at once, below a program that was still finishing and had not asked it to."""
    unasked = not asked_by_owner(scene, fate, owner) and program(owner) not in STARTERS
    if not (unasked and prompt(fate) and (owner.end_ns or 0) < (fate.end_ns or 0)) or defaulted(owner):
        return None
    if (fate.cpu_share or 0) >= BUSY_SHARE or fate.state in {"R", "D"}:
        return Grade.LOST, "it was computing when the stop began"
    if line := log_hints.lost(scene.log) or log_hints.crash(scene.log):
        return Grade.LOST, f"after the signal the log says {log_hints.shown(line)}"
    if fate.opened or fate.served:
        return Grade.IN_DOUBT, "it had a connection of its own"
    return Grade.HINT, f"{named(owner)}, which had started it, was still finishing"


def _failed(scene: FateScene, fate: ProcessFate, owner: ProcessFate) -> tuple[Grade, str] | None:
    """Of one that left with a code which says that it failed."""
    heard = fate.signals is not None
    at_once = idle(fate) and (prompt(fate) or not heard)
    asked = asked_by_owner(scene, fate, owner)
    if asked is None:
        # Its program told it by other means, or nobody could hear who signalled it.
        asked = heard or not signals_the_group(scene, fate, owner)
    crash, fault = log_hints.crash(scene.log), log_hints.fault(scene.log) or log_hints.lost(scene.log)
    by_program = asked and program(owner) not in STARTERS
    if crash and not (at_once and by_program):
        return Grade.IN_DOUBT if by_program else Grade.LOST, f"after the signal the log says {log_hints.shown(crash)}"
    if by_program:
        return None  # It knows what it started, and what its children's codes mean.
    # One that got the signal and left with a code handled it, though the look came before its handler.
    handles = fate.handling in {SignalDisposition.CAUGHT, SignalDisposition.BLOCKED} or bool(sent_by_others(fate))
    if handles and not asked and not at_once:
        if fault:
            return Grade.LOST, f"after the signal the log says {log_hints.shown(fault)}"
        return Grade.IN_DOUBT, "it handles the signal and was not idle"
    return Grade.HINT, "nothing else shows that it was at work"


# ── Shells ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _shells(scene: FateScene) -> Iterator[LostWork]:
    """Shells that a signal ended by default while their program, which handles it, was still finishing.

    Nobody waits for that program any more, nobody may read what it writes, and what comes after it is never run.
    """
    for fate in scene.fates[1:]:
        waited = process_tree.is_shell(as_row(fate)) and FOR_A_CHILD in fate.waits_in and fate.born_ns is None
        if not (waited and defaulted(fate) and fate.end_ns):
            continue
        for child in scene.fates:
            longer = child.end_ns is not None and child.end_ns < fate.end_ns
            if scene.parent(child) is not fate or not longer or child.handling is not SignalDisposition.CAUGHT:
                continue
            number = fate.exit_signal or 0
            how = f"{signals.name(number)} ended {named(fate)} while {named(child)}, for which it waited, was finishing"
            if child.exit_code not in {None, 0, 128 + number}:
                yield LostWork(
                    End.BY_DEFAULT, fate, child, Grade.LOST, how, f"it left with exit code {child.exit_code}"
                )
            elif _has_next(fate, child):
                why = "the commands after it were not run"
                yield LostWork(End.BY_DEFAULT, fate, child, Grade.IN_DOUBT, how, why)


def _has_next(shell: ProcessFate, child: ProcessFate) -> bool:
    """Whether `sh -c 'program; more'` has something to do after its program."""
    words = child.command.split()
    at = shell.command.rfind(words[-1]) if words else -1
    return at >= 0 and not without_end(shell, 0) and bool(_NEXT_COMMAND.search(shell.command[at + len(words[-1]) :]))


# ── Ended by SIGKILL ─────────────────────────────────────────────────────────────────────────────────────────────────


@answered_once
def silently_killed(seen: Observation) -> bool:
    """Whether what SIGKILL ended silently was work, as far as is known; False where it was nothing but helpers.

    `while :; do sleep 1 & wait $!; done` is how a script waits for its trap, and `tail -f /dev/null` how it waits for
    ever: nobody misses those.
    """
    if not seen.record.lost_processes:
        return False
    scene = FateScene(seen, fates_of(seen))
    killed = _all_killed(scene)
    return killed is None or any(_weight(scene, fate)[0] is Grade.LOST for fate in killed)


def _all_killed(scene: FateScene) -> list[ProcessFate] | None:
    """Who SIGKILL ended; None where not all of them are known."""
    record, fates = scene.seen.record, scene.fates
    if not fates or record.fate_count is not None or not record.fates_complete:
        return None
    killed = [fate for fate in fates[1:] if fate.exit_signal == signals.SIGKILL]
    return killed if len(killed) == len(record.lost_processes or ()) else None


def _killed_helpers(scene: FateScene) -> Iterator[LostWork]:
    """Helpers that may have had something to do, where nothing but helpers was killed."""
    weighed = [(fate, *_weight(scene, fate)) for fate in _all_killed(scene) or ()]
    if any(grade is Grade.LOST for _, grade, _ in weighed):
        return
    for fate, grade, why in weighed:
        if grade is not None:
            how = f"SIGKILL ended {named(fate)} when PID 1 left"
            yield LostWork(End.KILLED, fate, scene.parent(fate), grade, how, why)


def _weight(scene: FateScene, fate: ProcessFate) -> tuple[Grade | None, str]:
    """What the SIGKILL of one process says; no grade: nothing."""
    owner, name = scene.parent(fate), program(fate)
    if name == "sleep" and owner is not None and process_tree.is_shell(as_row(owner)):
        return None, ""
    if (fate.cpu_share or 0) >= BUSY_SHARE or fate.served or fate.opened:
        return Grade.LOST, ""
    if name == "sleep":
        return (None if without_end(fate, scene.seen.stop_timeout_ns) else Grade.LOST), ""
    if process_tree.is_shell(as_row(fate)) and goes_on_for_ever(fate):
        steps = [item for item in scene.below(fate)[1:] if item.exit_signal == signals.SIGKILL]
        if steps and all(program(item) == "sleep" for item in steps) and not _has_trap(scene, fate, steps):
            return Grade.HINT, "it slept between two rounds of a loop"
    if name == "tail" and re.search(r"\s(?:-[a-zA-Z0-9]*[fF]|--follow)", fate.command):
        followed = not re.search(r"\s/dev/null$", fate.command.rstrip())
        return (Grade.HINT, "it followed a file, whose last lines may be missing") if followed else (None, "")
    if name in COPIERS and "pipe" in fate.waits_in:
        return Grade.IN_DOUBT, "it waited for input, and whether the last of it was still to come was not seen"
    if name in LISTENERS and _ON_ITS_OWN.search(fate.command) and idle(fate):
        return Grade.HINT, "it waited for something to happen"
    return Grade.LOST, ""


def _has_trap(scene: FateScene, shell: ProcessFate, steps: list[ProcessFate]) -> bool:
    """Whether a shell had a trap of its own for the stop signal, which SIGKILL did not let it finish, or ever run.

    A shell that was just forked has its parent's until it resets them, which it does before its first command. One that
    forks blocks its signals meanwhile: then the look before tells what it handles.
    """
    number, row = scene.seen.record.stop_signal or 0, scene.row(shell)
    if any(signals.NUMBERS[name] == number for name in process_tree.BROUGHT_ALONG.get(program(shell), ())):
        return False
    if shell.handling in {SignalDisposition.DEFAULT, SignalDisposition.IGNORED}:
        return False
    if row is not None and row.command == shell.command and row.caught & (1 << (number - 1)):
        return True
    caught = shell.handling is SignalDisposition.CAUGHT and shell.born_ns is None
    return caught and any(step.born_ns is None for step in steps)
