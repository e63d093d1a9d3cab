"""What all plots share. SVG text: transparent, in mid-tones that read on light and on dark, the same bytes for the same
report.

Text stays text, in the reader's sans-serif font. `INK` is the one neutral colour, so that a page can replace it by its
own (`renderers/html.py` does).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from io import StringIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stop_harness.errors import missing_extra

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#767676"
"""Contrast 4.5:1 on white and 4.6:1 on black: the grey that both themes can read."""
FONT = "DejaVu Sans"
"""What texts are measured with: matplotlib brings it along."""
WIDTH = 648.0
"""Points, as all sizes here are: the unit of the SVG files, which scale from there."""
NARROW = 268.0
"""The same for a phone, 358 px of its 390: the other width would leave letters of 4 pt there. Names stand above what
they name, and not beside it."""
EDGE = 4.0
"""What stays free at the edges of a figure."""
NAME_ABOVE = 12.0
"""What a name takes above its row."""
_TITLE, _TITLE_SIZE = 27.0, 10.0
_LEGEND_ROW, _LEGEND_COLUMNS, _LEGEND_SIZE = 14.0, 5, 9.0
_LEGEND_HANDLE, _LEGEND_GAP = 22.5, 18.0
"""What matplotlib leaves for a mark before its words, and between two columns: 2.5 and 2 times the size of letters."""
_LABEL_SIZE = 9.0
_LINE = 1.3
"""From one line of a text to the next, by the size of its letters."""


def unavailable() -> str | None:
    """Why there are no plots, in a sentence with what to do about it; None where they can be drawn."""
    error = missing_extra("report", "drawing them")
    return f"no plots: {error}" if error else None


def svg(draw: Callable[[float], Figure | None], name: str, wide: float = WIDTH) -> str | None:
    """One figure of this width as SVG without date, so that the same report gives the same bytes. None where there is
    nothing to draw, or nothing to draw it with."""
    if unavailable():
        return None
    import matplotlib

    settings: dict[Any, Any] = {
        "svg.hashsalt": name if wide == WIDTH else f"narrow {name}",  # a page has both
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.sans-serif": [FONT],
        "font.size": 9,
        "axes.unicode_minus": False,
        "text.parse_math": False,  # a `$` in a name is a dollar sign
    }
    with matplotlib.rc_context(settings):
        drawn = draw(wide)
        if drawn is None:
            return None
        text, metadata = StringIO(), {"Date": None, "Creator": None, "Type": None, "Format": None}
        with warnings.catch_warnings():
            # Text stays text: a character that the measuring font lacks is the reader's font's business.
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            # The layout by itself, which `savefig` would find by drawing everything once for nothing.
            if (layout := drawn.get_layout_engine()) is not None:
                _leave_out_of_layout(drawn)
                layout.execute(drawn)
                drawn.set_layout_engine(None)
            drawn.savefig(text, format="svg", transparent=True, metadata=metadata)
    return _tidy(text.getvalue())


def _leave_out_of_layout(drawn: Figure) -> None:
    """What lies within its axes needs no room of its own; to measure it is a third of the work of a layout."""
    for axes in drawn.axes:
        for artist in (*axes.lines, *axes.patches, *axes.collections):
            artist.set_in_layout(False)


def _tidy(text: str) -> str:
    """The font of the reader's system before the one matplotlib measured with, which is wider than most."""
    return text.replace(f"'{FONT}', sans-serif", f"system-ui, '{FONT}', sans-serif")


def figure(wide: float = WIDTH) -> tuple[Figure, Axes]:
    """An empty plot. Its other sizes are known once it is drawn: `arrange`."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(_inches(wide), 1))
    return drawn, _plain(drawn.add_axes((0, 0, 1, 1)))


def figures(height: float, rows: int, columns: int, wide: float = WIDTH) -> tuple[Figure, list[list[Axes]]]:
    """A grid of empty plots, this high altogether, which matplotlib lays out: it measures every text twice."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(_inches(wide), _inches(height)), layout="constrained")
    places = [[row * columns + at + 1 for at in range(columns)] for row in range(rows)]
    return drawn, [[_plain(drawn.add_subplot(rows, columns, place)) for place in line] for line in places]


def room(axes: Axes) -> float:
    """How wide the whole figure is."""
    return float(_figure(axes).get_figwidth()) * 72


def is_narrow(axes: Axes) -> bool:
    """Whether it is for a phone."""
    return room(axes) < (NARROW + WIDTH) / 2


def _plain(axes: Axes) -> Axes:
    axes.tick_params(colors=INK, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
        spine.set_linewidth(0.6)
    return axes


def arrange(
    axes: Axes,
    height: float,
    title: str,
    marks: Sequence[Artist] = (),
    *,
    left: float = EDGE,
    right: float = EDGE,
    top: float = 0,
    bottom: float = 0,
) -> None:
    """The sizes of a plot of this height, the room for its labels around it, its title above them at the left, and
    below them what its marks mean."""
    figure, wide = _figure(axes), room(axes)
    lines = wrapped(title, _TITLE_SIZE, wide - 2 * EDGE)
    top += _TITLE + _LINE * _TITLE_SIZE * (len(lines) - 1)
    bottom += EDGE + _LEGEND_ROW * -(-len(marks) // _columns(marks, wide))
    whole = top + height + bottom
    figure.set_size_inches(_inches(wide), _inches(whole))
    axes.set_position((left / wide, bottom / whole, (wide - left - right) / wide, height / whole))
    at = max(EDGE, min(left, wide - EDGE - max(width(line, _TITLE_SIZE) for line in lines)))
    for number, line in enumerate(lines):
        down = 12 + _LINE * _TITLE_SIZE * number
        figure.text(at / wide, 1 - down / whole, line, color=INK, fontsize=_TITLE_SIZE)
    if marks:
        legend(axes, marks)


def write(axes: Axes, x: float, y: float, text: str, size: float, **how: Any) -> None:
    """A text at this place of the plot. It is the figure's, for one of an `Axes` gets a clip path of its own."""
    _figure(axes).text(x, y, text, **{"transform": axes.transData, "color": INK, "fontsize": size, **how})


def beside(axes: Axes, texts: Sequence[str], rows: Sequence[float], end: float, size: float) -> None:
    """A text for each row, whose right end is so far from the left edge of the figure. No ticks: these have five parts
    each."""
    from matplotlib.transforms import blended_transform_factory

    place = blended_transform_factory(_figure(axes).transFigure, axes.transData)
    axes.set_yticks([])
    for text, row in zip(texts, rows, strict=True):
        write(axes, end / room(axes), row, text, size, transform=place, ha="right", va="center")


def above(axes: Axes, texts: Sequence[str], rows: Sequence[float], size: float) -> None:
    """A text for each row, from the left edge of the figure on; as much of it as there is room for."""
    from matplotlib.transforms import blended_transform_factory

    place = blended_transform_factory(_figure(axes).transFigure, axes.transData)
    axes.set_yticks([])
    for text, row in zip(texts, rows, strict=True):
        shown = fitted(text, size, room(axes) - 2 * EDGE)
        write(axes, EDGE / room(axes), row, shown, size, transform=place, va="center")


def name_rows(axes: Axes, names: Sequence[str], rows: Sequence[float], size: float, least: float = EDGE) -> float:
    """A name for each row, at its left; where the figure is narrow, half a row above it. The room that they take at the
    left, `least` or more."""
    if is_narrow(axes):
        above(axes, names, [row - 0.5 for row in rows], size)
        return least
    left = max(max(width(name, size) for name in names) + 2 * EDGE + 2, least)
    beside(axes, names, rows, left - EDGE - 2, size)
    return left


def x_label(axes: Axes, text: str, left: float, right: float) -> float:
    """What the axis shows, below its middle, in lines that have room. How much more they take than one line."""
    middle = (left + room(axes) - right) / 2
    lines = wrapped(text, _LABEL_SIZE, 2 * min(middle, room(axes) - middle) - 2 * EDGE)
    axes.set_xlabel("\n".join(lines), color=INK)
    return _LINE * _LABEL_SIZE * (len(lines) - 1)


def legend(axes: Axes, handles: Sequence[Artist]) -> None:
    """What the marks mean, under the plot."""
    _figure(axes).legend(
        handles=handles,
        loc="outside lower left",
        ncols=_columns(handles, room(axes)),
        frameon=False,
        labelcolor=INK,
        handletextpad=0.5,
    )


def _columns(handles: Sequence[Artist], wide: float) -> int:
    """As many as have room. matplotlib fills each from the top, the first ones with one more where it must be."""
    if wide >= WIDTH:
        return _LEGEND_COLUMNS
    words = [_LEGEND_HANDLE + width(str(handle.get_label()), _LEGEND_SIZE) for handle in handles]
    for columns in range(min(_LEGEND_COLUMNS, len(words)), 1, -1):
        rows, more = divmod(len(words), columns)
        begins = [at * rows + min(at, more) for at in range(columns + 1)]
        widest = [max(words[begin:end]) for begin, end in pairwise(begins)]
        if sum(widest) + _LEGEND_GAP * (columns - 1) <= wide - 4 * EDGE:
            return columns
    return 1


def wrapped(text: str, size: float, wide: float) -> list[str]:
    """Lines that have room, broken between words."""
    lines: list[str] = []
    for word in text.split():
        if lines and width(f"{lines[-1]} {word}", size) <= wide:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def width(text: str, size: float) -> float:
    """Of a text, in points: matplotlib's font is wider than those that readers have. It draws nothing to know it."""
    return size * sum(map(_advance, text))


def fitted(text: str, size: float, room: float) -> str:
    """As much of a text as has room."""
    if width(text, size) <= room:
        return text
    while text and width(text + "…", size) > room:
        text = text[:-1]
    return text + "…"


@cache
def _advance(character: str) -> float:
    """In ems. A character that the font lacks is as wide as the font is high: Chinese ones and emoji are."""
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.ft2font import LoadFlags

    font = get_font(findfont(FontProperties(family=["sans-serif"])))
    if not font.get_char_index(ord(character)):
        return 1.0
    return font.load_char(ord(character), LoadFlags.NO_SCALE).horiAdvance / font.units_per_EM


def _figure(axes: Axes) -> Figure:
    return axes.get_figure(root=True)  # type: ignore[return-value] # every axes here has its figure


def _inches(points: float) -> float:
    return points / 72
