"""What a stop under faults is judged by. Pure."""

from __future__ import annotations

from stop_harness.model import Severity
from stop_harness.verdict.rule import Rule

FAULT_RULES = (
    Rule(
        "fault-not-applied",
        Severity.ERROR,
        "Every fault that the scenario asks for is there at its time, and undone after it.",
        "A stop without it does not show what the fault does to a stop. It counts as applied when its effect was seen: "
        "the engine's event, a value that was read back, the kernel's own state.",
        "the scenario's `faults`",
        "`{signal: SIGTERM, at: 5s}`, and the container had exited after 0.2 s.",
    ),
    Rule(
        "killed-by-fault",
        Severity.ERROR,
        "PID 1 ends before a fault of the scenario kills it.",
        "`stop: kill` is the SIGKILL of an impatient operator: what had not been done by then is lost.",
        "the scenario's `faults`; the engine's `kill` event",
        "`{stop: kill, at: 1s}`, and the shutdown takes 3 s.",
    ),
    Rule(
        "under-fault",
        Severity.NOTE,
        "It is said what went wrong around a stop because the scenario asked for it.",
        "Shutdown durations and outcomes under faults are not those of an undisturbed stop.",
        "the scenario's `faults`; times as they were measured",
        "`{cpu: 0.2, at: with}`: the quota was there 0.02 s after the stop signal, until the end.",
    ),
)
