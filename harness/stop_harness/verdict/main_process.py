"""Sentences about a container's first process where that is not PID 1, because it shares the PID namespace of others.

The rules speak of PID 1, which it nearly always is. Here their words are made right by the evidence of the look before
the stop. Pure.
"""

from __future__ import annotations

import re
from dataclasses import replace

from stop_harness.evidence import process_tree
from stop_harness.evidence.process_tree import Tree
from stop_harness.model import Cause, Finding, Looks, StopFacts

_FIRST = re.compile(r"(?<!\()\bPID 1\b(?! of\b)")
"""`PID 1` as a name; not `sh (PID 1)`, which is a number, and not `PID 1 of its PID namespace`."""


def is_other(looks: Looks) -> bool:
    """Whether a look saw that the container's first process is not PID 1."""
    first = Tree(looks.before or ()).pid1
    return first is not None and not process_tree.is_spared(first)


def named(text: str, looks: Looks) -> str:
    """The sentence, with the right word for the first process."""
    if not is_other(looks):
        return text
    # The kernel ends what PID 1 leaves behind; here the engine's helper does (containerd's shim).
    return _FIRST.sub("the main process", text).replace("the kernel SIGKILLed", "the engine SIGKILLed")


def named_in(
    looks: Looks, facts: StopFacts, findings: list[Finding], cause: Cause | None
) -> tuple[StopFacts, list[Finding], Cause | None]:
    """The same of everything that a verdict says beside its reason."""
    if not is_other(looks):
        return facts, findings, cause
    return (
        replace(facts, sigkill_reason=named(facts.sigkill_reason, looks)),
        [replace(item, message=named(item.message, looks)) for item in findings],
        None if cause is None else replace(cause, evidence=named(cause.evidence, looks)),
    )
