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


@pytest.mark.parametrize("case", REPORTS)
def test_every_text_is_within_the_figure_and_covers_no_other(case: str) -> None:
    """Names of rows, titles, ticks, durations, and what the marks mean."""
    drawn = plots.render_all(REPORTS[case])
    assert len(drawn) == 4
    for name, svg in drawn.items():
        width, height = map(float, re.findall(r'viewBox="0 0 (\S+) (\S+)"', svg)[0])
        assert width == drawing.WIDTH
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
