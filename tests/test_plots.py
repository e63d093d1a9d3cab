"""Where the texts stand in the plots of a report, whose sizes are computed and not found by a layout."""

from __future__ import annotations

import re
from itertools import combinations
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

from stop_harness.renderers.plots import drawing, plots
from tests.reports_factory import Sample, realistic_report


class Text(NamedTuple):
    """What it says and what it covers, in points from the top left corner."""

    words: str
    left: float
    top: float
    right: float
    bottom: float


def samples(*names: str, needs_s: float = 1.0, timeouts_s: tuple[float, ...] = (2, 30)) -> tuple[Sample, ...]:
    return tuple(Sample(name, "", needs_s, timeouts_s=timeouts_s) for name in names)


REPORTS = {
    "wide names": realistic_report(samples("W" * 40, "停" * 40, "@" * 20, "a"), repeat=3),
    "more stop timeouts than words have room for": realistic_report(
        samples("web", "worker", timeouts_s=tuple(range(1, 20)))
    ),
    "more stop timeouts than fit": realistic_report(
        samples("one", timeouts_s=tuple(range(2, 70))) + samples("two", timeouts_s=(2, 30, 1200.5)), repeat=2
    ),
    "one scenario": realistic_report(samples("a", timeouts_s=(30,)), repeat=5),
    "more rows than fit": realistic_report(samples(*(f"service-{number}" for number in range(70))), repeat=3),
    "two rows of marks": realistic_report(repeat=3),
    "durations of every size": realistic_report(
        (
            *samples("quick", needs_s=0.0002, timeouts_s=(0, 0.001, 30)),
            *samples("slow", needs_s=3000, timeouts_s=(0, 0.001, 3600)),
            *samples("limit", needs_s=900, timeouts_s=(667, 1000)),
            *samples("more", needs_s=900, timeouts_s=(667, 1000)),
        ),
        repeat=4,
    ),
}


@pytest.mark.parametrize("wide", [drawing.WIDTH, drawing.NARROW], ids=["page", "phone"])
@pytest.mark.parametrize("case", REPORTS)
def test_every_text_is_within_the_figure_and_covers_no_other(case: str, wide: float) -> None:
    """Names of rows, titles, ticks, durations, and what the marks mean."""
    drawn = plots.render_all(REPORTS[case], wide)
    assert len(drawn) >= 3
    for name, svg in drawn.items():
        width, height = map(float, re.findall(r'viewBox="0 0 (\S+) (\S+)"', svg)[0])
        assert width == wide
        texts = texts_of(svg)
        assert len(texts) > 3
        beyond = [it for it in texts if it.left < 0 or it.right > width or it.top < 0 or it.bottom > height]
        assert beyond == [], name
        assert [pair for pair in combinations(texts, 2) if _overlap(*pair)] == [], name


def texts_of(svg: str) -> list[Text]:
    """As wide as in the font that matplotlib measures with; as high as its capitals and descents."""
    found = []
    for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        words, attributes = element.text or "", element.attrib
        size = float(re.findall(r"([\d.]+)px", attributes["style"])[0])
        moved = re.findall(r"translate\(([\d.]+) ([\d.]+)\)", attributes["transform"])  # each of several lines
        x, y = map(float, moved[0] if moved else (attributes["x"], attributes["y"]))
        wide = drawing.width(words, size)
        anchor = re.findall(r"text-anchor: (\w+)", attributes["style"]) or ["start"]
        left = x - wide * {"start": 0, "middle": 0.5, "end": 1}[anchor[0]]
        if upright := re.findall(
            r"translate\(([\d.]+) ([\d.]+)\) rotate\(-90\)|rotate\(-90 ([\d.]+) ([\d.]+)\)", attributes["transform"]
        ):
            x, y = (float(item) for item in upright[0] if item)
            found.append(Text(words, x - 0.73 * size, y - wide, x + 0.24 * size, y))
        else:
            found.append(Text(words, left, y - 0.73 * size, left + wide, y + 0.24 * size))
    return found


def _overlap(one: Text, other: Text) -> bool:
    return one.left < other.right and other.left < one.right and one.top < other.bottom and other.top < one.bottom


def test_widths_are_those_of_the_font_and_of_a_square_where_it_has_no_character() -> None:
    """A Chinese character is one; matplotlib takes it for an empty box, three fifths as wide."""
    from matplotlib.textpath import TextPath

    words = "WAVE, wave: 30 s"
    kerned = TextPath((0, 0), words, size=100).get_extents().width
    assert kerned < drawing.width(words, 100) < 1.05 * kerned
    assert drawing.width("停" * 32, 8) == 32 * 8


def test_a_text_is_cut_to_the_room_it_has() -> None:
    """With an ellipsis, which counts."""
    assert drawing.fitted("停" * 32, 8, 88) == "停" * 10 + "…"
    assert drawing.fitted("web", 8, 88) == "web"


def outcomes_of(case: str, wide: float = drawing.WIDTH) -> list[str]:
    """The texts of the plot of outcomes."""
    return [text.words for text in texts_of(plots.render_all(REPORTS[case], wide)["outcomes"])]


def test_outcomes_are_words_where_they_have_room_and_marks_that_are_explained_where_not() -> None:
    """A word that is cut off, or runs into the next, says nothing; no outcome is told by its colour alone."""
    roomy = outcomes_of("one scenario")
    assert "graceful 5/5" in roomy
    assert "graceful" not in roomy, "words need no explanation"
    tight = outcomes_of("more stop timeouts than words have room for")
    assert tight.count("graceful") == 1, "beside its mark"
    assert [text for text in tight if text.endswith(" s")] == [f"{limit} s" for limit in range(1, 20)]


def test_of_too_many_stop_timeouts_those_are_shown_that_most_scenarios_have() -> None:
    """And it is said how many there are; none is so narrow that nothing can be seen."""
    shown = outcomes_of("more stop timeouts than fit", drawing.NARROW)
    assert "2 s" in shown
    assert "30 s" in shown, "both were tried with it"
    assert "1200.5 s" not in shown
    assert "of 69 stop timeouts)" in " ".join(shown)


def test_a_phone_is_shown_no_letter_that_cannot_be_read() -> None:
    """390 px leave 358 to a plot: letters of 7 pt are there as large as they are drawn, 9 px and more."""
    for svg in plots.render_all(REPORTS["two rows of marks"], drawing.NARROW).values():
        sizes = [float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", svg)]
        assert min(sizes) * 358 / drawing.NARROW >= 9
