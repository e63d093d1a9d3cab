"""A forecast of `check --predict`, for people and for programs. Never a verdict, and it says so."""

from __future__ import annotations

import json
import textwrap

from stop_harness.evidence.forecast import KNOWN_RIGHT, Forecast
from stop_harness.wording import one_line, printable


def render(forecast: Forecast, subject: str, *, width: int = 80) -> str:
    """`forecast, not measured: NAME would be SIGKILLed.`, the evidence, and how often that was right."""
    known = KNOWN_RIGHT.get(forecast.expected)
    verb = f"{forecast.expected.value}" if known else "may stop or be SIGKILLed: unknown"
    paragraphs = [f"forecast, not measured: {one_line(subject)} {verb}.", f"{one_line(forecast.evidence)}."]
    if known:
        right, of = known
        paragraphs.append(f"Such a forecast was right {right} times of {of}; only a stop proves it.")
    return "".join(
        textwrap.fill(text, width, initial_indent=indent, subsequent_indent="  ", break_on_hyphens=False) + "\n"
        for text, indent in zip(paragraphs, ("", "  ", "  "), strict=False)
    )


def render_json(forecast: Forecast) -> str:
    """One JSON object. `right_times` and `of_times`: its known record, null for unknown."""
    right, of = KNOWN_RIGHT.get(forecast.expected, (None, None))
    document = {
        "forecast": forecast.expected.name.lower(),
        "evidence": printable(forecast.evidence),
        "measured": False,
        "right_times": right,
        "of_times": of,
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
