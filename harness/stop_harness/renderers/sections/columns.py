"""Lines for a terminal: wrapped, hanging under a label, measured in columns, painted in ANSI colours. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable

from stop_harness.wording import ASCII_MARKS, one_line

GREEN, RED, YELLOW, DIM, BOLD = "32", "31", "33", "2", "1"

NARROW = 72
"""Below this the name of a scenario has a line of its own."""

Paint = Callable[[str, str], str]
"""(text, colour) → text, in that colour or as it is."""


def plain(text: str, _colour: str) -> str:
    """Without colour."""
    return text


def coloured(text: str, colour: str) -> str:
    """In an SGR colour."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and text else text


def painter(colour: bool) -> Paint:
    """Whether to paint at all, decided once."""
    return coloured if colour else plain


def hanging(label: str, text: str, width: int, paint: Paint = plain, colour: str = "") -> list[str]:
    """`label  text`, the following lines indented under the text."""
    first, *rest = wrapped(one_line(text), width - columns_of(label) - 4) or [""]
    indent = " " * (columns_of(label) + 4)
    return [f"  {paint(label, colour)}  {first}".rstrip(), *(indent + line for line in rest)]


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of at most `width` columns, but never less than 20."""
    return textwrap.wrap(text, max(width, 20), subsequent_indent=indent, break_on_hyphens=False)


def columns_of(text: str) -> int:
    """Columns that a terminal gives the text: East Asian characters take two, combining ones none."""
    from rich.cells import cell_len

    return cell_len(text)


def fit(text: str, width: int) -> str:
    """Exactly `width` columns: padded, or cut with an ellipsis."""
    from rich.cells import set_cell_size

    return set_cell_size(text, width) if columns_of(text) <= width else set_cell_size(text, width - 1) + "…"


def ascii_only(text: str) -> str:
    """With stand-ins for marks that such a terminal cannot show."""
    return text.translate(ASCII_MARKS).encode("ascii", "replace").decode("ascii")


def fit_middle(text: str, width: int) -> str:
    """At most `width` columns, without its middle where it is longer: names of one family differ at their end."""
    if columns_of(text) <= width:
        return text
    keep, end = width - 1, ""
    for letter in reversed(text):
        if columns_of(letter + end) > keep // 2:
            break
        end = letter + end
    return fit(text, width - columns_of(end)).rstrip() + end


def flow(mark: str, name: str, parts: Iterable[tuple[str, str]], *, column: int, width: int, paint: Paint) -> list[str]:
    """Parts beside the mark (one column, painted) and the name, two spaces apart, as many on a line as fit.

    A name that is wider than `column`, and every name on a narrow terminal, has a line of its own.
    """
    indent = 4 if width < NARROW else 2 + column + 2
    alone = width < NARROW or columns_of(name) > column
    lines = [f"{mark} {fit_middle(name, width - 2)}", " " * indent] if alone else [f"{mark} {fit(name, column)}  "]
    used = indent
    for text, colour in parts:
        for piece in wrapped(text, width - indent):
            if used > indent and used + 2 + columns_of(piece) > width:
                lines.append(" " * indent)
                used = indent
            gap = "  " if used > indent else ""
            lines[-1] += gap + paint(piece, colour)
            used += len(gap) + columns_of(piece)
    return [line.rstrip() for line in lines]
