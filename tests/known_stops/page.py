"""A measurement as Markdown: docs/known-stops.md and the README's line."""

from __future__ import annotations

from collections import Counter

from stop_harness.model import Outcome
from tests.known_stops.cases import ROOT
from tests.known_stops.measure import QUESTIONS, Measured, Measurement

PAGE = ROOT / "docs/known-stops.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- known stops: begin -->", "<!-- known stops: end -->"

INTRODUCTION = """\
# How right the verdicts are

The known stops are {images} images of real servers, workers and sample programs, with {stops} stops. What each comes to
was measured before, twice with the same outcome. The judge is told nothing of it: no accepted exit codes, no names; and
no rule names an image, a server or a path. Written by `make known-stops` on {date}, {product} {version}.
"""

NOTES = """\
An outcome is right if it is among those that the measurement allows: a few stops leave behind a helper that has nothing
to do, and may be called `lossy` or `graceful`. A request is lost if it was accepted and then cut. *Processes killed
silently* asks for SIGKILLs that the engine did not send, and only where the kernel's record could be read.
"""


def summary(measurement: Measurement) -> str:
    """A few lines for the terminal."""
    return "\n".join(f"{name}: {right} of {asked}" for name, (right, asked) in counts(measurement).items())


def counts(measurement: Measurement) -> dict[str, tuple[int, int]]:
    """(right, asked) per question, then the mistakes that must not happen."""
    answers = [measured.answers() for measured in measurement.stops]
    table = {
        name: (sum(found[name].right for found in answers if name in found), sum(name in found for found in answers))
        for name in QUESTIONS
    }
    bad = sum(not measured.stop.good for measured in measurement.stops)
    table["false `graceful`"] = (sum(measured.false_graceful for measured in measurement.stops), bad)
    return table


def wrong_outcomes(measurement: Measurement) -> list[str]:
    """Trials whose outcome is wrong, not merely undecided."""
    return [
        measured.result.observation.trial_id
        for measured in measurement.stops
        if "outcome" in measured.wrong() and not measured.inconclusive
    ]


def write(measurement: Measurement, loaded: Measurement | None) -> None:
    """Write the page, and the README's line between its marks."""
    PAGE.write_text(_page(measurement, loaded), encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    if BEGIN in text:
        before, _, rest = text.partition(BEGIN)
        block = f"{BEGIN}\n{_short(measurement)}{END}"
        README.write_text(before + block + rest.partition(END)[2], encoding="utf-8")


def _page(measurement: Measurement, loaded: Measurement | None) -> str:
    parts = [
        INTRODUCTION.format(
            images=len({measured.stop.case for measured in measurement.stops}),
            stops=len(measurement.stops),
            date=measurement.started_at[:10],
            product=measurement.engine.product,
            version=measurement.engine.version,
        ),
        _counts_table(measurement),
        "## Outcomes\n\n" + _matrix(measurement),
        "## Causes\n\n" + _causes(measurement),
        "## What is wrong\n\n" + _wrong(measurement),
        "## Under load\n\n" + _load(loaded),
        "## Every stop\n\n" + _every(measurement),
        NOTES,
    ]
    return "\n".join(parts)


def _short(measurement: Measurement) -> str:
    """One line; the README has no room for a table."""
    table = counts(measurement)
    (right, asked), (false, bad) = table["outcome"], table["false `graceful`"]
    told = f"{false or 'no'} bad stop{'s' if false > 1 else ''} of {bad} {'were' if false > 1 else 'was'}"
    return (
        f"{len(measurement.stops)} stops of real images whose outcome was known: right in {right} of {asked}, and "
        f"{told} called `graceful`.\n"
    )


def _counts_table(measurement: Measurement) -> str:
    rows = [f"| {name} | {right} of {asked} |" for name, (right, asked) in counts(measurement).items()]
    return "\n".join(["| question | right |", "|---|---|", *rows]) + "\n"


def _matrix(measurement: Measurement) -> str:
    """Rows: what is known. Columns: what the harness says. Right answers are bold."""
    cells = Counter((_known(measured), measured.outcome) for measured in measurement.stops)
    rows = sorted({known for known, _ in cells}, key=lambda known: list(Outcome).index(known[0]) + len(known) / 10)
    columns = [got for got in Outcome if any(cell == got for _, cell in cells)]
    lines = ["| known \\ said | " + " | ".join(f"`{got}`" for got in columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for known in rows:
        numbers = (_cell(cells[known, got], got in known) for got in columns)
        lines.append(f"| {' or '.join(f'`{outcome}`' for outcome in known)} | {' | '.join(numbers)} |")
    return "\n".join(lines) + "\n"


def _known(measured: Measured) -> tuple[Outcome, ...]:
    return tuple(sorted(measured.stop.known.outcomes, key=list(Outcome).index))


def _cell(number: int, right: bool) -> str:
    return "" if not number else f"**{number}**" if right else str(number)


def _causes(measurement: Measurement) -> str:
    asked = [answer for measured in measurement.stops if (answer := measured.answers().get("cause"))]
    lines = ["| known cause | stops | named rightly | else said |", "|---|---|---|---|"]
    for known in sorted({answer.known for answer in asked}):
        here = [answer for answer in asked if answer.known == known]
        other = Counter(answer.got for answer in here if not answer.right)
        said = ", ".join(f"{got} × {number}" for got, number in other.most_common())
        lines.append(f"| {known} | {len(here)} | {sum(answer.right for answer in here)} | {said} |")
    return "\n".join(lines) + "\n"


def _wrong(measurement: Measurement) -> str:
    rows = [
        f"| {measured.stop.name} | {question} | {answer.known} | {answer.got} |"
        for measured in measurement.stops
        for question, answer in measured.wrong().items()
    ]
    if not rows:
        return "Nothing in this run.\n"
    return "\n".join(["| stop | question | known | said |", "|---|---|---|---|", *rows]) + "\n"


def _load(loaded: Measurement | None) -> str:
    if loaded is None:
        return "Not measured.\n"
    wrong, undecided = wrong_outcomes(loaded), sum(measured.inconclusive for measured in loaded.stops)
    repetitions = max(measured.result.observation.repetition for measured in loaded.stops)
    right = len(loaded.stops) - len(wrong) - undecided
    text = (
        f"Each stop {repetitions} times on the same machine beside two busy loops: of {len(loaded.stops)} outcomes "
        f"{right} are right, {undecided} `inconclusive`, {len(wrong)} wrong"
    )
    return text + (f": {', '.join(wrong)}.\n" if wrong else ".\n")


def _every(measurement: Measurement) -> str:
    lines = ["| stop | outcome | shutdown (known) | cause |", "|---|---|---|---|"]
    for measured in measurement.stops:
        verdict = measured.result.verdict
        took = verdict.facts.shutdown_duration_ns
        low, high = measured.stop.known.shutdown_s
        seconds = "–" if took is None else f"{took / 1e9:.2f} s"
        cause = verdict.cause.id if verdict.cause else ""
        lines.append(f"| {measured.stop.name} | {measured.outcome} | {seconds} ({low:g} to {high:g} s) | {cause} |")
    return "\n".join(lines) + "\n"
