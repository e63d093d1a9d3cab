"""Lines of a test's traceback that say something to its author."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType


def without_ours(raised: TracebackType | None) -> TracebackType | None:
    """The traceback down to where the test called stop-harness; None where no line of it is the test's own."""
    above: list[TracebackType] = []
    while raised is not None and not _is_of(raised, "stop_harness"):
        above.append(raised)
        raised = raised.tb_next
    if all(_is_of(each, "_pytest", "pluggy") for each in above):
        return None
    kept: TracebackType | None = None
    for each in reversed(above):
        kept = TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return kept


def _is_of(entry: TracebackType, *packages: str) -> bool:
    """Whether its line is of one of these packages."""
    folders = (str(Path(sys.modules[package].__file__ or "").parent) for package in packages)
    return entry.tb_frame.f_code.co_filename.startswith(tuple(folders))
