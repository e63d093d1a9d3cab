"""Every SIGKILL on this machine, as the kernel generates it: who is struck, in whose name, and when.

Where PID 1 of a PID namespace exits, the kernel SIGKILLs each process that is left in it, in PID 1's own name
(zap_pid_ns_processes, kernel/pid_namespace.c). A filter in the kernel lets nothing but signal 9 through, so that
listening costs nothing while nobody is killed. The process connector tells more, but wakes its listener for every fork
and exit on the machine. Linux, root in the initial namespaces. Times are CLOCK_MONOTONIC in ns, pids the host's.
"""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass

from stop_harness.linux.signal_trace import SIGNALS, Ring, online_cpus, tracepoints

RUNTIMES = ("runc", "crun")
FILTER = " && ".join(["sig == 9", *(f'COMM != "{name}"' for name in RUNTIMES)])
"""`COMM` is the sender's name (Documentation/trace/events.rst). What a runtime of containers sends is an engine's own
SIGKILL for a PID 1, of which the engine tells by itself, and the runtime is gone before anybody could ask who it was.
"""
RING_PAGES = 8
"""For each CPU: 400 SIGKILLs at once, of a container with as many processes."""

SI_KERNEL = 128
DELIVERED = 0
"""TRACE_SIGNAL_DELIVERED of <trace/events/signal.h>. Whoever is dead already, or dying, is sent none."""
NAME_BYTES = 16


@dataclass(frozen=True)
class SentSigkill:
    """One SIGKILL. `name`: of the process that is struck, as the kernel has it. `sender`: in whose name it was sent.
    `by_kernel`: the kernel sent it by itself, because PID 1 exited or memory was short."""

    at_ns: int
    sender: int
    target: int
    name: str
    by_kernel: bool


class SigkillTrace:
    """One ring buffer a CPU. Raises OSError where the kernel does not allow it. `complete` False: some were lost."""

    def __init__(self) -> None:
        self.complete = True
        self.rings: list[Ring] = []
        ((number, self._fields),) = tracepoints(SIGNALS)
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            for cpu in online_cpus():
                self.rings.append(Ring(number, cpu=cpu, pages=RING_PAGES, only=FILTER, wakes=True))
            undo.pop_all()

    def read(self) -> list[SentSigkill]:
        """What has come since the last call, in the order of time."""
        found = []
        for ring in self.rings:
            for sample in ring.records():
                if sample is None:
                    self.complete = False
                elif self._field("result", sample[2]) == DELIVERED:
                    found.append(self._sent(*sample))
        return sorted(found, key=lambda sent: sent.at_ns)

    def close(self) -> None:
        """End it. Idempotent."""
        for ring in self.rings:
            ring.close()
        self.rings = []

    def _sent(self, sender: int, at_ns: int, raw: bytes) -> SentSigkill:
        at = self._fields["comm"]
        name = raw[at : at + NAME_BYTES].partition(b"\0")[0].decode(errors="replace")
        return SentSigkill(at_ns, sender, self._field("pid", raw), name, self._field("code", raw) == SI_KERNEL)

    def _field(self, name: str, raw: bytes) -> int:
        return int(struct.unpack_from("=i", raw, self._fields[name])[0])
