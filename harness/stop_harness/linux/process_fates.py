"""What became of every process of a container, put together from what the kernel told of exits and of signals."""

from __future__ import annotations

import os
import signal

from stop_harness.linux.signal_trace import SI_TKILL, HeardSignal
from stop_harness.linux.silent_kills import FollowedProcess, KillWatch
from stop_harness.model import MOST_FATES, ProcessFate, ProcessInfo, ReceivedSignal, SignalDisposition

UNKNOWN_PROCESS = -1


def put_together(watch: KillWatch, heard: tuple[HeardSignal, ...] | None, stop_signal: int) -> tuple[ProcessFate, ...]:
    """The fates of a watch whose stop is over, PID 1 first, then in the order of their ends, at most `MOST_FATES`.

    `heard`: every signal on that machine from the stop call on; None: nobody could hear them all.
    """
    end_ns = watch.pid_one_left_ns
    assert end_ns is not None, "a watch that is over has seen PID 1 exit"
    by_birth = sorted((watch.first, *watch.kept), key=lambda process: process.since_ns)
    received = None if heard is None else _by_receiver(by_birth, heard, end_ns)
    # Of many, those that a stop may have lost are kept first: who lived when it began, and whom a signal ended.
    others = sorted(watch.kept, key=lambda process: (process.newborn, not (process.status or 0) & 0x7F))[
        : MOST_FATES - 1
    ]
    others.sort(key=lambda process: (process.end_ns or end_ns, process.since_ns))
    return tuple(
        _fate(watch, process, end_ns, stop_signal, None if received is None else received[id(process)])
        for process in (watch.first, *others)
    )


def _fate(
    watch: KillWatch,
    process: FollowedProcess,
    end_ns: int,
    stop_signal: int,
    signals: tuple[ReceivedSignal, ...] | None,
) -> ProcessFate:
    work = None if process.newborn else watch.work.get(process.pid)
    status, killed = process.status, watch.killed.get(process.pid)
    by_signal = status is not None and os.WIFSIGNALED(status)
    return ProcessFate(
        name=process.name,
        command=process.command,
        pid=process.inner,
        parent_pid=_parent(watch, process),
        host_pid=process.pid,
        end_ns=None if process.end_ns is None else max(0, end_ns - process.end_ns),
        born_ns=max(0, end_ns - process.since_ns) if process.newborn else None,
        exit_code=None if status is None or by_signal else os.WEXITSTATUS(status),
        exit_signal=os.WTERMSIG(status) if status is not None and by_signal else None,
        by_teardown=by_signal and killed is not None and not killed.within,
        handling=_handling(process, stop_signal),
        signals=signals,
        state=work.state if work else "",
        waits_in=work.waits_in if work else "",
        cpu_share=_cpu_share(watch, process.pid),
        cpu_ns=work.cpu_ns if work else None,
        served=work.served if work else None,
        opened=work.opened if work else None,
        group=work.group if work else None,
        loops=work.loops if work else None,
    )


def _parent(watch: KillWatch, process: FollowedProcess) -> int | None:
    """Inside the container; 0 for PID 1, and for what was started from outside."""
    if process is watch.first:
        return 0
    known = [watch.first, *watch.kept]
    found = [other.inner for other in known if other.pid == process.parent and other.since_ns <= process.since_ns]
    if found:
        return found[-1]
    return 0 if process.parent is not None and not process.newborn else None


def _handling(process: FollowedProcess, stop_signal: int) -> SignalDisposition | None:
    if process.masks is None:
        return None
    caught, ignored, blocked = process.masks
    return ProcessInfo(process.pid, 0, "", caught, ignored, blocked).disposition(stop_signal)


def _cpu_share(watch: KillWatch, pid: int) -> float | None:
    """Of one CPU, between the look before and the one when the stop began."""
    work, before = watch.work.get(pid), watch.cpu_before.get(pid)
    if work is None or before is None or work.cpu_ns is None or work.at_ns <= before[0]:
        return None
    return round(max(0, work.cpu_ns - before[1]) / (work.at_ns - before[0]), 3)


def _by_receiver(
    by_birth: list[FollowedProcess], heard: tuple[HeardSignal, ...], end_ns: int
) -> dict[int, tuple[ReceivedSignal, ...]]:
    """The signals that each process was sent; by `id`, because a pid may be used twice."""

    def alive(pid: int, at_ns: int) -> FollowedProcess | None:
        """Whoever had this pid then: a pid is used again only after its owner's end."""
        return next((it for it in reversed(by_birth) if it.pid == pid and it.since_ns <= at_ns), None)

    received: dict[int, list[ReceivedSignal]] = {id(process): [] for process in by_birth}
    for each in sorted(heard, key=lambda item: item.at_ns):
        # tgkill(2) names a thread, and is what raise(3) sends to its own process.
        target = alive(each.sender if each.code == SI_TKILL else each.target, each.at_ns)
        if target is None or each.number == signal.SIGCHLD or each.at_ns > (target.end_ns or end_ns):
            continue
        sender = alive(each.sender, each.at_ns)
        received[id(target)].append(
            ReceivedSignal(
                number=each.number,
                to_end_ns=max(0, end_ns - each.at_ns),
                sender_pid=None if sender is None else UNKNOWN_PROCESS if sender.inner is None else sender.inner,
                sender="" if sender is None else sender.name,
            )
        )
    return {owner: tuple(items) for owner, items in received.items()}
