"""The table format of the AWS CLI: sections of boxes, one inside the other. Pure.

Written from what AWS CLI 2.9.19 prints, and compared with it by `tests/test_stop_task_formats.py`. Three steps: a value
becomes sections (`_sections`), sections get column widths (`_column_widths`), and rows become lines (`_lines`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

MAX_WIDTH_WITHOUT_TERMINAL = 80
CELL_MARGIN = 2
"""Blanks on either side of a cell's text."""

RESET, FRAME, VALUE = "\033[0m", "\033[2m\033[33m", "\033[1m\033[34m"


class TableError(Exception):
    """A value that has no table: rows of different lengths."""


@dataclass
class _Section:
    """A box: its title, how deep it lies, and its cells. `headers` None: it has none."""

    title: str
    depth: int
    headers: list[str] | None = None
    rows: list[list[str]] = field(default_factory=list)
    replaced: list[list[str]] = field(default_factory=list)
    """Headers that others took the place of, as in lists of lists of objects: columns stay as wide as they needed."""

    def add_row(self, cells: list[Any]) -> None:
        """Raises TableError if it has not as many cells as those before it."""
        columns = self.columns
        if columns is not None and len(cells) != columns:
            raise TableError(f"Row should have {columns} elements, instead it has {len(cells)}")
        self.rows.append([str(cell) for cell in cells])

    def set_headers(self, names: list[str]) -> None:
        """The line above the rows. Raises TableError if it has not as many cells as they."""
        if self.columns not in {None, len(names)}:
            raise TableError(f"{len(names)} names for {self.columns} columns")
        if self.headers is not None:
            self.replaced.append(self.headers)
        self.headers = names

    @property
    def columns(self) -> int | None:
        """None while nothing is in it."""
        first = self.headers if self.headers is not None else self.rows[0] if self.rows else None
        return None if first is None else len(first)

    @property
    def widths(self) -> list[int]:
        """What each column needs, with its margins."""
        cells = [*([self.headers] if self.headers else []), *self.replaced, *self.rows]
        return [max(_length(cell) for cell in column) + 2 * CELL_MARGIN for column in zip(*cells, strict=True)]

    @property
    def width(self) -> int:
        """What the section needs, with all borders."""
        return max(_length(self.title), sum(self.widths)) + 2 + 2 * self.depth


def render(title: str, value: Any, *, max_width: int = MAX_WIDTH_WITHOUT_TERMINAL, colour: bool = False) -> str:
    """A value as a table; empty for a value that is empty. Too wide for `max_width`: single rows stand upright."""
    sections = _sections(title, value, 0)
    if not sections:
        return ""
    if max(section.width for section in sections) > max_width:
        sections = [_upright(section) for section in sections]
    width = max(section.width for section in sections)
    lines = ["-" * width + "\n" + (RESET if colour else "")]
    for section in sections:
        frame = f"{FRAME}|{RESET}" if colour else "|"
        side = (frame * section.depth) if section.depth else ""
        after = RESET if colour else ""
        lines += [
            f"{side}{after}{line}{after}{side}{after}\n{after}"
            for line in _lines(section, width - 2 * section.depth, colour)
        ]
    return "".join(lines)


# ── a value as sections ──────────────────────────────────────────────────────────────────────────────────────────────


def _sections(title: str, value: Any, depth: int) -> list[_Section]:
    """The boxes of a value, outer before inner. Nothing empty, zero or false gets one."""
    if not value:
        return []
    found = [_Section(title, depth)]
    if isinstance(value, dict):
        _add_dict(found, value, depth)
    elif isinstance(value, list):
        _add_list(found, value, title, depth)
    return found


def _add_dict(found: list[_Section], value: dict[str, Any], depth: int) -> None:
    """One scalar stands beside its name, several below theirs; whatever is nested follows in boxes of its own."""
    scalars, nested = _keys([value])
    if len(scalars) == 1:
        found[-1].add_row([scalars[0], value[scalars[0]]])
    elif scalars:
        found[-1].set_headers(scalars)
        found[-1].add_row([value[key] for key in scalars])
    for key in nested:
        found += _sections(key, value[key], depth + 1)


def _add_list(found: list[_Section], items: list[Any], title: str, depth: int) -> None:
    """Rows to the last box: one an item, or an item's own items where it is a flat list."""
    if items and isinstance(items[0], dict):
        _add_dicts(found, items, title, depth)
        return
    for item in items:
        if not _is_nested(item):
            found[-1].add_row([item])
        elif any(_is_nested(inner) for inner in item):
            _add_list(found, list(item), "", 0)  # the AWS CLI forgets here how deep it is
        else:
            found[-1].add_row(list(item))


def _add_dicts(found: list[_Section], items: list[Any], title: str, depth: int) -> None:
    """All in one box; as soon as one of them holds more than scalars, each in a box of its own."""
    if not all(isinstance(item, dict) for item in items):
        raise TableError("a list of objects and other values has no table")
    scalars, nested = _keys(items)
    for index, item in enumerate(items):
        if index and nested:
            found.append(_Section(title, depth))
        if scalars and (nested or not index):
            found[-1].set_headers(scalars)
        found[-1].add_row([item.get(key, "") for key in scalars])
        for key in nested:
            found += _sections(key, item.get(key), depth + 1)


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def _keys(items: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The names of the scalars and of everything else, each in order."""
    scalars = {key for item in items for key, value in item.items() if not _is_nested(value)}
    nested = {key for item in items for key, value in item.items() if _is_nested(value)}
    return sorted(scalars), sorted(nested)


def _upright(section: _Section) -> _Section:
    """A single row below headers becomes a row for each header."""
    if section.headers is None or len(section.rows) != 1:
        return section
    pairs = zip(section.headers, section.rows[0], strict=True)
    return replace(section, headers=None, replaced=[], rows=[list(pair) for pair in pairs])


# ── widths ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _column_widths(needed: list[int], width: int) -> list[int]:
    """Columns that fill `width`, which includes their right borders and the leftmost one.

    All grow by the same factor; what rounding adds is taken from the first columns, what it drops goes to the last.
    """
    factor = width / sum(needed)
    scaled = [round(factor * one) for one in needed]
    while (missing := width - sum(scaled)) != 0:
        order = range(len(scaled)) if missing < 0 else reversed(range(len(scaled)))
        for index in list(order)[: abs(missing)]:
            scaled[index] += 1 if missing > 0 else -1
    return scaled


def _length(text: str) -> int:
    """Columns on a terminal."""
    return sum(2 if unicodedata.east_asian_width(character) in "FWA" else 1 for character in text)


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _lines(section: _Section, width: int, colour: bool) -> Iterator[str]:
    """The lines of a box of this outer width."""
    if section.title:
        yield _centred(section.title, width, "|")
    if section.columns == 0:
        return
    widths = _column_widths(section.widths, width) if section.widths else [width]
    border = "".join(("+" if not i else "") + "-" * (w - 1 - (not i)) + "+" for i, w in enumerate(widths))
    yield border
    if section.headers:
        yield "".join(_centred(*cell) for cell in _cells(section.headers, widths))
        yield border
    for row in section.rows:
        yield "".join(_value(*cell, colour) for cell in _cells(row, widths))
    if section.rows:
        yield border


def _cells(texts: list[str], widths: list[int]) -> list[tuple[str, int, str]]:
    """(text, width with its borders, left border); only the first column has a left border."""
    return [(text, width, "" if i else "|") for i, (text, width) in enumerate(zip(texts, widths, strict=True))]


def _centred(text: str, width: int, left: str) -> str:
    before = left + " " * (width // 2 - _length(text) // 2 - 1) + text
    return before + " " * (width - 1 - _length(before)) + "|"


def _value(text: str, width: int, left: str, colour: bool) -> str:
    """A cell of a row; its left margin goes first where there is no room."""
    needed = len(left) + CELL_MARGIN + _length(text) + 1
    margin = " " * CELL_MARGIN if needed <= width else ""
    blanks = " " * (width - len(left) - len(margin) - _length(text) - 1)
    return f"{left}{margin}{VALUE}{text}{RESET}{blanks}|" if colour else f"{left}{margin}{text}{blanks}|"
