"""Exit codes with which a runtime ends by the stop signal, told from those of a program that failed. Pure."""

from __future__ import annotations

from stop_harness.evidence import log_hints, process_tree, runtimes
from stop_harness.evidence.process_tree import Tree
from stop_harness.model import (
    NS_PER_S,
    Looks,
    Observation,
    ProcessInfo,
    RequestFate,
    SignalDisposition,
    StopFacts,
)

RUNTIME_ENDINGS = {runtimes.GO: 2, runtimes.RUBY: 1}
"""Exit codes of runtimes that catch the stop signal by themselves. At their end they raise it again; it is dropped for
PID 1, and they leave with this code. A handler of the program's own adds nothing to the signals they catch."""

PROMPT_NS = NS_PER_S
"""A runtime that only ends itself takes milliseconds; a program that fails in its own shutdown often takes longer."""


def ended_by_the_signal(observation: Observation, facts: StopFacts) -> bool:
    """Whether the exit code is how a runtime ends by the stop signal, not the program's report of a failure.

    All of this must be on record: PID 1 itself caught the signal and is such a runtime; what it wrote after it speaks
    of no error; and it left at once, or after having answered what was in flight. A missing record is no evidence.
    """
    pid1, signal = Tree(observation.looks.before or ()).pid1, observation.record.stop_signal
    if pid1 is None or signal is None or not observation.engine.pid1_rules or process_tree.is_shell(pid1):
        return False
    if observation.record.exit_code is None or observation.record.exit_code != _runtime_ending(pid1):
        return False
    if pid1.disposition(signal) is not SignalDisposition.CAUGHT or not _wrote_no_error(observation.looks):
        return False
    took = facts.shutdown_duration_ns
    answered = any(
        request.fate is RequestFate.COMPLETED and (request.ended_at_ns or 0) > 0
        for request in observation.requests
        if request.kind.in_flight and not request.only_held
    )
    return took is not None and (took < PROMPT_NS or answered)


def _wrote_no_error(looks: Looks) -> bool:
    """Whether what it wrote from the stop on is known and speaks of no error.

    Where that part of the log cannot be told apart, as in a task, all that it ever wrote stands for it. An empty log is
    no evidence then: it may be that nobody could read it.
    """
    if looks.log_after_signal is not None:
        return not log_hints.fault(looks.log_after_signal)
    return bool(looks.logs.text) and not looks.logs.truncated and not log_hints.fault(looks.logs.text)


def _runtime_ending(process: ProcessInfo) -> int | None:
    """The exit code with which the runtime of a process ends as PID 1."""
    return RUNTIME_ENDINGS.get(runtimes.runtime(process) or "")
