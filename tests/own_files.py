"""The project's own files, for tests of how they are written."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "harness" / "stop_harness"


def files() -> list[Path]:
    """The modules of the package."""
    found = sorted(PACKAGE.rglob("*.py"))
    assert len(found) > 150
    return found
