"""One stop that ended in SIGKILL, seen from the process that should have reacted. Pure."""

from __future__ import annotations

from stop_harness import signals
from stop_harness.evidence import process_tree
from stop_harness.evidence.process_tree import Tree, quoted
from stop_harness.model import Observation, ProcessInfo
from stop_harness.records import dataclass

FOR_A_LOCK = ("futex",)
FOR_A_CHILD = ("do_wait", "kernel_wait", "wait4")
FOR_TIME = ("nanosleep",)
"""Beginnings, of the last any part, of the names of the kernel functions in which a process waits."""


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
        return f"{process_tree.called(self.target)} is {quoted(self.target)}, {kind}"

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
