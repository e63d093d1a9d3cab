"""`[tool.stop-harness]` of the nearest pyproject.toml. The command line and `STOP_HARNESS_*` come before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stop_harness.errors import UsageError


def load(start: Path, known: frozenset[str]) -> dict[str, Any]:
    """Settings by option name (`report_dir`). Raises UsageError for a key that no command knows."""
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return _read(file, known)
    return {}


def _read(file: Path, known: frozenset[str]) -> dict[str, Any]:
    import tomllib

    try:
        table: Any = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from None
    for key in ("tool", "stop-harness"):
        table = table.get(key, {})
        if not isinstance(table, dict):
            raise UsageError(f"{file}: {key}: a table is needed, such as [tool.stop-harness]")
    settings = {str(key).replace("-", "_"): value for key, value in table.items()}
    unknown = sorted(set(settings) - known)
    if unknown:
        allowed = ", ".join(sorted(name.replace("_", "-") for name in known))
        raise UsageError(f"{file}: [tool.stop-harness] {unknown[0].replace('_', '-')}: unknown key; allowed: {allowed}")
    for name, value in settings.items():
        if not isinstance(value, str | int | float):
            key = name.replace("_", "-")
            raise UsageError(f"{file}: [tool.stop-harness] {key}: one value is needed, not {value!r}")
    # Numbers become text, as they would be on the command line; a flag stays true or false.
    return {name: value if isinstance(value, bool) else str(value) for name, value in settings.items()}
