"""Fates of processes as tests need them: a stop that took two seconds and went well, but for these."""

from __future__ import annotations

from dataclasses import replace

from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Observation,
    ProcessFate,
    ReceivedSignal,
    Scenario,
    SignalDisposition,
    Subject,
    Verdict,
)
from stop_harness.signals import SIGTERM
from stop_harness.verdict import judge
from tests.parts import changed
from tests.strategies import DOCKER, Behaviour, Jitter, stop

CAUGHT, DEFAULT = SignalDisposition.CAUGHT, SignalDisposition.DEFAULT
Fates = tuple[ProcessFate, ...]

PROVED = replace(DOCKER, proves_lost_processes=True)
TOOK_NS = 2 * NS_PER_S


def sent(number: int = SIGTERM, after_ms: int = 1, sender: int | None = 1, name: str = "tini") -> ReceivedSignal:
    """A signal, this long after the stop began."""
    return ReceivedSignal(number, TOOK_NS - after_ms * NS_PER_MS, sender, "" if sender is None else name)


def fate(pid: int, parent: int, command: str, **more: object) -> ProcessFate:
    """One that handles the signal, got it from PID 1, and left with code 0 when PID 1 did, unless said otherwise."""
    made = ProcessFate(
        command.split(maxsplit=1)[0].rpartition("/")[2], command, pid, parent, host_pid=1000 + pid, end_ns=NS_PER_MS,
        exit_code=0, handling=CAUGHT, signals=(sent(),), state="S", waits_in="do_sys_poll", cpu_share=0.0, served=0,
        opened=0, group=1007,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def ended(pid: int, parent: int, command: str, **more: object) -> ProcessFate:
    """One that the stop signal's default action ended at once."""
    default = {"handling": DEFAULT, "exit_code": None, "exit_signal": SIGTERM, "end_ns": TOOK_NS - 2 * NS_PER_MS}
    return fate(pid, parent, command, **default | more)


TINI = fate(1, 0, "tini -g -- python3 app.py", handling=DEFAULT, end_ns=0, signals=(sent(sender=None),), group=1001)
APP = fate(7, 1, "python3 app.py")
JOB = ended(8, 7, "sh -c 'sleep 4; echo done'", waits_in="do_wait")
SLEEP = ended(9, 8, "sleep 4", waits_in="hrtimer_nanosleep")
WORKER = ended(8, 7, "python3 worker.py")
BUSY = replace(WORKER, state="R", cpu_share=0.9)


def stopped(*fates: ProcessFate, log: str = "") -> Observation:
    """A stop that went well, but for its fates."""
    seen = stop(Behaviour(TOOK_NS, 0), 10 * NS_PER_S, PROVED, Jitter()).observation
    return changed(seen, lost_processes=(), fates=fates, log_after_signal=log)


def judged(*fates: ProcessFate, log: str = "") -> Verdict:
    """By the rules alone."""
    return judge.judge(stopped(*fates, log=log), Scenario("a", Subject(image="any")))


IDLE_WORKER = replace(WORKER, waits_in="pipe_read")
BASH = fate(7, 1, "/bin/bash /start.sh", waits_in="do_wait")
