"""What was tried against a bad stop, as the command line prints it."""

from __future__ import annotations

from stop_harness.model import RemedyEffect
from stop_harness.renderers.sections import remedy_text
from stop_harness.renderers.sections.columns import DIM, GREEN, RED, YELLOW, Paint, hanging, wrapped
from stop_harness.wording import count_of, one_line, printable

_COLOURS = {RemedyEffect.CURES: GREEN, RemedyEffect.LOSES_WORK: RED, RemedyEffect.FAILS: DIM}

SHOWN_CURES = 2
"""Cures of one stop whose lines are printed; results.json and the HTML report have those of all."""


def lines(section: remedy_text.RemedySection, width: int, paint: Paint) -> list[str]:
    """Everything that was tried, the best first, with lines to paste for the first cures."""
    measured = all(item.effect is not RemedyEffect.NOT_MEASURED for item in section.remedies)
    what = "container" if section.container is None else "start of all, with this container changed"
    fresh = f" Each was tried on a fresh {what}:" if measured else ""
    of_it = "" if section.container is None else f"{one_line(section.container)}: "
    found = wrapped(of_it + section.headline + fresh, width)
    for number, remedy in enumerate(section.remedies):
        colour = _COLOURS.get(remedy.effect, YELLOW)
        found += hanging(remedy.mark, f"{remedy.title}: {remedy.result}", width, paint, colour)
        found += [line for note in remedy.notes for line in hanging("   note", note, width, paint, YELLOW)]
        for paste in remedy.lines if number < SHOWN_CURES else ():
            first, *rest = printable(paste.text).split("\n")
            found += [f"       {paste.place + ':':<21}{first}", *(" " * 28 + line for line in rest)]
    return found


def summary(section: remedy_text.RemedySection, width: int, paint: Paint) -> list[str]:
    """`cure  shell-form: exec form: graceful after 0.031 s, exit code 0`, or that there is none."""
    cures = [item for item in section.remedies if item.effect is RemedyEffect.CURES]
    if not cures:
        helps = next((item for item in section.remedies if item.effect is RemedyEffect.HELPS), None)
        best = "" if helps is None else f" {helps.title}: {' '.join((helps.result, *helps.notes))}"
        return hanging("no cure", f"{section.subject}: {section.headline}{best}", width, paint, YELLOW)
    more = f" (and {count_of(len(cures) - 1, 'other')})" if len(cures) > 1 else ""
    text = f"{section.subject}: {cures[0].title}: {cures[0].result}{more}"
    return hanging("cure", text, width, paint, GREEN)
