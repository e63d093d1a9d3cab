"""`[tool.stop-harness]` of the nearest pyproject.toml. The command line and `STOP_HARNESS_*` come before it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from harness.errors import UsageError


def load(start: Path, known: frozenset[str]) -> dict[str, Any]:
    """Settings by option name (`report_dir`). Raises UsageError for a key that no command knows."""
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return _read(file, known)
    return {}


def _read(file: Path, known: frozenset[str]) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("stop-harness", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from None
    settings = {str(key).replace("-", "_"): value for key, value in table.items()}
    unknown = sorted(set(settings) - known)
    if unknown:
        allowed = ", ".join(sorted(name.replace("_", "-") for name in known))
        raise UsageError(f"{file}: [tool.stop-harness] {unknown[0].replace('_', '-')}: unknown key; allowed: {allowed}")
    return settings
