"""What to change so that bad stops become graceful, in the words that every format shares. Pure.

Not tried: what was tried against this very container stands in `remedy_text`.
"""

from __future__ import annotations

from stop_harness.model import Advice, Cause
from stop_harness.records import dataclass
from stop_harness.wording import one_line, printable

GUIDE = "docs/field-guide.md"
"""Where the scenarios are that prove a piece of advice."""


@dataclass(frozen=True)
class AdviceText:
    """One piece of advice: its sentence, lines to copy (empty: none), and where both come from."""

    text: str
    lines: str
    basis: str


def pieces(cause: Cause) -> tuple[AdviceText, ...]:
    """The advice for one cause, the likeliest first."""
    return texts(cause.advice)


def texts(advice: tuple[Advice, ...]) -> tuple[AdviceText, ...]:
    """Each piece of advice in words."""
    return tuple(_text(item) for item in advice)


def _text(advice: Advice) -> AdviceText:
    whom = f"For {advice.program}: " if advice.program else ""
    proof = f"shown in {GUIDE}, {advice.proof}" if advice.proof else ""
    basis = "; ".join(part for part in (advice.source, proof) if part)
    return AdviceText(one_line(whom + advice.text), printable(advice.lines), one_line(basis))
