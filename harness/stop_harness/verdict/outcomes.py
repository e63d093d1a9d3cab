"""How one container ended: the first rule that holds decides, and `graceful` is what is left. Pure."""

from __future__ import annotations

from stop_harness import signals, wording
from stop_harness.evidence import left_behind, log_hints, somebody_else, start_up, stop_sequence
from stop_harness.evidence.left_behind import LeftBehindFate
from stop_harness.model import (
    ASSUMED,
    Derivation,
    Expectation,
    Observation,
    Outcome,
    ProblemKind,
    SigkillEvidence,
    StopFacts,
    StopRecord,
)
from stop_harness.verdict import faults, losses, runtime_ending, traffic

_PROBLEM_RULES = {
    ProblemKind.COMMAND_NOT_FOUND: (Outcome.NOT_RUNNING, "command-not-found"),
    ProblemKind.NOT_READY: (Outcome.INCONCLUSIVE, "not-ready"),
    ProblemKind.START_FAILED: (Outcome.INCONCLUSIVE, "not-measured"),
    ProblemKind.ENGINE_FAILED: (Outcome.INCONCLUSIVE, "not-measured"),
    ProblemKind.INTERRUPTED: (Outcome.INCONCLUSIVE, "not-measured"),
    ProblemKind.HARNESS_FAILED: (Outcome.INCONCLUSIVE, "not-measured"),
    ProblemKind.HOOK_FAILED: (Outcome.INCONCLUSIVE, "hook-failed"),
    ProblemKind.NOT_DERIVABLE: (Outcome.INCONCLUSIVE, "not-derivable"),
}


def accepted_exit_codes(expectation: Expectation, stop_signal: int | None) -> frozenset[int]:
    """Exit codes that count as an orderly end. `stop_signal` None: nobody told; SIGTERM unless an image says other."""
    if expectation.exit_codes is not None:
        return frozenset(expectation.exit_codes)
    return frozenset({0, 128 + (signals.SIGTERM if stop_signal is None else stop_signal)})


UNTOLD_STOP_SIGNALS = frozenset(128 + signals.NUMBERS[name] for name in ("HUP", "INT", "QUIT", "USR1", "USR2"))
"""Exit codes that are orderly where the image's STOPSIGNAL says so, which not every engine can tell."""


def decided(observation: Observation, facts: StopFacts, expectation: Expectation) -> tuple[Outcome, str | None, str]:
    """(outcome, id of the rule that decided it, reason). The first case that holds decides."""
    problem = observation.problem
    if problem is not None:
        outcome, rule = _PROBLEM_RULES[problem.kind]
        return outcome, rule, problem.message
    record, derivation = observation.record, observation.derivation
    code, evidence, took = record.exit_code, facts.sigkill_evidence, facts.shutdown_duration_ns
    signal = _stop_began(record)
    if record.exited_before_stop:
        return faults.gone_before_the_stop(observation)
    if disturbed := _disturbed(observation, took):
        return disturbed
    if evidence is SigkillEvidence.UNKNOWN or code is None:
        return Outcome.INCONCLUSIVE, "evidence-missing", facts.sigkill_reason
    after = "" if took is None else f", {seconds(took)} after {signal}"
    if facts.oom_during_stop:
        return Outcome.OOM_KILLED, "oom-during-stop", f"the OOM killer struck during the stop; exit code {code}{after}"
    if evidence in {SigkillEvidence.OBSERVED, SigkillEvidence.INFERRED}:
        if record.stop_signal == signals.SIGKILL:
            return Outcome.KILLED, "sigkill-needed", "the stop signal is SIGKILL, which nothing can handle"
        if beside := _sigkill_may_not_be_its_own_fault(observation):
            return beside
        waited = seconds(observation.stop_timeout_ns)
        if derivation.cut_short is not None:
            why = derivation.cut_short if derivation.derived_from is None else _why_derived(derivation)
            return Outcome.KILLED, "sigkill-needed", f"would have been SIGKILLed at {waited}; {why}"
        text = f"still running {waited} after {signal}; ended by SIGKILL ({evidence}: {facts.sigkill_reason})"
        return Outcome.KILLED, "sigkill-needed", text
    if not record.left_untold and stop_sequence.left_late(observation, took):
        text = f"exited {after.removeprefix(', ')}, later than the stop timeout, yet without SIGKILL"
        return Outcome.INCONCLUSIVE, "evidence-missing", text
    asked_for = record.exit_signal is None and code in (expectation.exit_codes or ())
    if code == stop_sequence.EXIT_CODE_SIGKILL and not asked_for and stop_sequence.may_have_died_of_sigkill(record):
        return Outcome.INCONCLUSIVE, "killed-by-somebody", _killed_by_somebody(observation, after)
    if not observation.engine.pid1_rules and record.exit_signal == record.stop_signal:
        text = f"{signal} ended it by default, which the kernel does not do to PID 1 of a container"
        return Outcome.INCONCLUSIVE, "pid1-rules-not-reproduced", text
    return _by_exit(observation, facts, expectation, after)


def _stop_began(record: StopRecord) -> str:
    """What a container's time is counted from, in words."""
    if record.left_untold:
        return "the stop of its group began and before it was told to"
    return "the stop signal" if record.stop_signal is None else signals.name(record.stop_signal)


def _disturbed(observation: Observation, took_ns: int | None) -> tuple[Outcome, str, str] | None:
    """(outcome, rule, reason) where something beside the stop went on that decides, or leaves it open."""
    if missing := faults.not_applied(observation, took_ns):
        return Outcome.INCONCLUSIVE, "fault-not-applied", missing
    if others := somebody_else.deed(observation):
        return Outcome.INCONCLUSIVE, "killed-by-somebody", others
    if gone := observation.record.gone_beside:
        return Outcome.INCONCLUSIVE, "dependency-gone", f"not all that it needs ran on: {' and '.join(gone)}"
    if text := faults.killed(observation):
        return Outcome.KILLED, "killed-by-fault", text
    return None


def _sigkill_may_not_be_its_own_fault(observation: Observation) -> tuple[Outcome, str, str] | None:
    """(outcome, rule, reason) where the stop came before it could react, or a fault outlasted its time."""
    if early := start_up.too_early(observation):
        return Outcome.INCONCLUSIVE, "stopped-too-early", early
    if late := faults.overstayed(observation):
        return Outcome.INCONCLUSIVE, "fault-not-applied", late
    return None


def _killed_by_somebody(observation: Observation, after: str) -> str:
    """Not from within: the kernel drops a SIGKILL for PID 1 that comes from its own PID namespace."""
    oom = "" if observation.engine.reports_oom else " (this engine does not tell the OOM killer from others)"
    if observation.record.exit_signal is None:
        return f"exit code 137{after}, as after a SIGKILL that neither the engine nor the OOM killer sent{oom}"
    return f"somebody's SIGKILL ended it{after}: the engine sent none, and no OOM kill is on record{oom}"


def _why_derived(derivation: Derivation) -> str:
    """In the same words for every repetition; the evidence names the stop and its time."""
    return "it was still there" if derivation.would_exit_after_ns is None else "it exited by itself only later"


def _by_exit(
    observation: Observation, facts: StopFacts, expectation: Expectation, after: str
) -> tuple[Outcome, str | None, str]:
    """PID 1 exited by itself: with an accepted code, by a fault, or leaving work behind."""
    record = observation.record
    code, lost = record.exit_code, losses.losses(observation)
    accepted = code in accepted_exit_codes(expectation, record.stop_signal)
    accepted = accepted or (expectation.exit_codes is None and code in faults.exit_codes(observation))
    by_runtime = (
        not accepted and expectation.exit_codes is None and runtime_ending.ended_by_the_signal(observation, facts)
    )
    if not accepted and not by_runtime:
        if code in UNTOLD_STOP_SIGNALS and expectation.exit_codes is None and not _knows_stop_signal(record):
            name = signals.name(code - 128)
            text = f"ended by {name}{after}; orderly only if that is its image's STOPSIGNAL, which nobody told"
            return Outcome.INCONCLUSIVE, "evidence-missing", text
        unaccepted = _unaccepted_exit(record, after)
        # A proved loss says more than a code that is merely unusual; a fault says more than a loss.
        explains = expectation.exit_codes is not None or log_hints.fault(observation.looks.log_after_signal)
        if not lost or explains or unaccepted[1] != "exit-code-not-accepted" or code == 137:
            return unaccepted
    if lost:
        return Outcome.LOSSY, losses.rule(observation), f"exited with code {code}{after}, but {' and '.join(lost)}"
    if not after:
        text = f"exited with code {code}, but no clock saw both the stop and the exit: it may have been late"
        return Outcome.INCONCLUSIVE, "evidence-missing", text
    left = f"exited with code {code}{after}"
    if by_runtime and (early := start_up.before_its_handler(observation)):
        return Outcome.INCONCLUSIVE, "stopped-too-early", f"{left}, but {early}"
    if unproved := _without_proof(observation, facts, left):
        return unproved
    if work := losses.in_doubt(observation):
        return Outcome.INCONCLUSIVE, "work-in-doubt", f"{left}, but {work}"
    if doubt := traffic.unclear(observation.traffic):
        return Outcome.INCONCLUSIVE, doubt[0], f"{left}, but {doubt[1]}"
    return Outcome.GRACEFUL, None, left


def _knows_stop_signal(record: StopRecord) -> bool:
    return record.stop_signal is not None and record.stop_signal_source != ASSUMED


def _without_proof(observation: Observation, facts: StopFacts, left: str) -> tuple[Outcome, str, str] | None:
    """The outcome where nobody proved what became of the other processes; None where nobody can have been lost."""
    engine, behind = observation.engine, left_behind.left_behind(observation, facts.shutdown_duration_ns)
    if observation.record.lost_processes is not None or behind.fate is LeftBehindFate.NOBODY_THERE:
        return None
    if engine.proves_lost_processes:
        text = f"{left}, but the kernel's record of its other processes has a gap"
        return Outcome.INCONCLUSIVE, "evidence-missing", text
    if behind.fate is LeftBehindFate.NO_LOOK and (engine.remote or not engine.pid1_rules):
        # A cluster shows its processes to nobody, and says so among its caveats; outside a PID namespace nobody is
        # SIGKILLed when the first process leaves, and a finding says that a container is another matter.
        return None
    count, them = len(behind.processes), left_behind.names(behind.processes)
    if behind.fate is LeftBehindFate.SURELY_LOST and engine.pid1_rules:
        text = f"the process table leaves no other reading than that SIGKILL ended {them} (suspected, not proved)"
        return Outcome.LOSSY, "lost-process", f"{left}, but {text}"
    verb = "process was" if count == 1 else "processes were"
    text = f"{count} other {verb} there ({them}), and whether SIGKILL ended "
    text += f"{'it' if count == 1 else 'them'} was not seen"
    if behind.fate is LeftBehindFate.NO_LOOK:
        text = "nobody could see whether it had other processes, which SIGKILL ends when PID 1 exits"
    ways = WAYS_TO_SEE if engine.runs_images else WAYS_TO_SEE_WITHOUT_IMAGES
    ways = WAYS_TO_SEE_WATCHED if observation.watched is not None else ways
    return Outcome.INCONCLUSIVE, "not-witnessed", f"{left}, but {text}; to see it: {ways}"


WAYS_TO_SEE = "run stop-harness on the engine's machine, as root or with Linux 6.6 or newer, or use --witness"
"""Each of them gives the kernel's record of exits."""
WAYS_TO_SEE_WATCHED = "run stop-harness on the engine's machine, as root"
"""The same of a stop that was only watched."""
WAYS_TO_SEE_WITHOUT_IMAGES = "use Linux 6.15 or newer with PID namespaces, or a container engine"
"""The same without a container engine."""


def _unaccepted_exit(record: StopRecord, after: str) -> tuple[Outcome, str, str]:
    """PID 1 exited with a code that nobody accepts."""
    code = record.exit_code
    fault = record.exit_signal or (code - 128 if code and code > 128 else 0)
    if fault in signals.FAULTS:
        text = f"crashed with {signals.name(fault)}, exit code {code}{after}"
        return Outcome.CRASHED, "crash-on-stop", text
    return Outcome.CRASHED, "exit-code-not-accepted", f"exited with code {code}{after}, which is not accepted"


def seconds(duration_ns: int | None) -> str:
    """`0.012 s`, `5.03 s`, `10 s`: three digits are enough to read and to compare."""
    return "an unknown time" if duration_ns is None else wording.precise_seconds(duration_ns)
