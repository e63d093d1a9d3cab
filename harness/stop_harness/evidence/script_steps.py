"""Whether a shell is itself the program: what it starts are steps of its script, one after the other. Pure.

One look sees one of them, or none, and by its moment alone a script looks like a shell above its program. So the whole
record is asked: the looks, and how each process ended.
"""

from __future__ import annotations

from stop_harness import signals
from stop_harness.evidence import process_tree
from stop_harness.evidence.process_tree import Tree
from stop_harness.model import Observation, ProcessFate, ProcessInfo


def is_step(seen: Observation, shell: ProcessInfo, process: ProcessInfo) -> bool:
    """Whether a process below `shell` is known to be a step of its script.

    It is a command that only waits or copies, or it ended by itself while the shell stayed. One that has a handler for
    the stop signal is a service until the shell has started the same command again.
    """
    own = process_tree.has_own_handler(process, seen.record.stop_signal or 0)
    if process_tree.program(process) in process_tree.PLAIN and not own:
        return True
    if not _ended(seen, shell, process):
        return False
    return not own or any(each.command == process.command for each in came_later(seen, shell))


def came_later(seen: Observation, shell: ProcessInfo) -> tuple[ProcessFate, ...]:
    """What the shell has started since the stop signal, as far as the record of exits goes."""
    above = _fate(seen, shell)
    if above is None or above.pid is None:
        return ()
    return tuple(each for each in seen.record.fates or () if each.parent_pid == above.pid and each.born_ns is not None)


def begun_after_signal(seen: Observation, shell: ProcessInfo, process: ProcessInfo) -> bool:
    """Whether a shell is known to have started a command after it got the stop signal. It runs its trap before the next
    command, so this one belongs to the trap, or comes after it.

    Where nobody could hear when the signal came, the stop call stands for it, a few milliseconds earlier.
    """
    above = _fate(seen, shell)
    heard = (above.signals if above else None) or ()
    told_ns = max((item.to_end_ns for item in heard if item.number == seen.record.stop_signal), default=None)
    born_ns = _born_ns(seen, shell, process)
    return born_ns is not None and (told_ns is None or born_ns < told_ns)


def starts_again(seen: Observation, shell: ProcessInfo, process: ProcessInfo) -> bool:
    """Whether a shell had started the same command before, as it does from one round of a loop to the next."""
    earlier = [each.command for each in Tree(seen.looks.before or ()).children(shell) if each.pid != process.pid]
    above, born_ns = _fate(seen, shell), _born_ns(seen, shell, process) or 0
    for each in seen.record.fates or ():
        if above is not None and each.parent_pid == above.pid and (each.born_ns is None or each.born_ns > born_ns):
            earlier.append(each.command)
    return process.command in earlier


def _born_ns(seen: Observation, shell: ProcessInfo, process: ProcessInfo) -> int | None:
    return next((each.born_ns for each in came_later(seen, shell) if _is(seen, each, process)), None)


def works_in_steps(seen: Observation, process: ProcessInfo) -> bool:
    """Whether a program runs commands one after the other and waits for each, as a shell does; perl's system() is one
    way. Known where it did so at the look, or has started another since the stop signal."""
    waits = process.waits_in in {"do_wait", "kernel_wait4", "wait4"}
    return (waits and bool(Tree(seen.looks.before or ()).children(process))) or bool(came_later(seen, process))


def _ended(seen: Observation, shell: ProcessInfo, process: ProcessInfo) -> bool:
    """Whether it is gone by the last look or ended by itself before PID 1, in both cases while the shell stayed."""
    late = Tree(seen.looks.late or ())
    if late.find(shell) is not None and late.find(process) is None:
        return True
    fate, above = _fate(seen, process), _fate(seen, shell)
    if fate is None or above is None or fate.end_ns is None or above.end_ns is None or fate.by_teardown:
        return False
    return fate.end_ns > above.end_ns and fate.exit_signal != signals.SIGKILL


def _fate(seen: Observation, process: ProcessInfo) -> ProcessFate | None:
    """Of a process of the look before the stop."""
    for each in seen.record.fates or ():
        if _is(seen, each, process) and each.born_ns is None:
            return each
    return None


def _is(seen: Observation, fate: ProcessFate, process: ProcessInfo) -> bool:
    """Whether a fate is that of a process in a look: the engine prints its machine's pids, or the container's own."""
    inside = any(each.pid == 1 for each in seen.looks.before or ())
    return (fate.pid if inside else fate.host_pid) == process.pid
