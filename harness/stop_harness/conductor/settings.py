"""`[tool.stop-harness]` of the nearest pyproject.toml. The command line and `STOP_HARNESS_*` come before it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stop_harness.errors import UsageError, plain_reason

if TYPE_CHECKING:
    from stop_harness.model import Waiver

ENVIRONMENT_PREFIX = "STOP_HARNESS_"
WAIVERS = "waivers"

SETTINGS = frozenset(
    {
        "engine",
        "report_dir",
        "jobs",
        "repeat",
        "junitxml",
        "sarif",
        "code_quality",
        "github",
        "fail_fast",
        "faults",
        "keep",
        "seed",
        "base_image",
        "witness",
        "color",
        "show_values",
        "share_report",
    }
)
"""Options that `[tool.stop-harness]` and the environment may set."""

COUNTS = frozenset({"repeat", "seed"})
FLAGS = frozenset({"fail_fast", "keep", "witness", "show_values", "share_report"})
"""Settings that are whole numbers, and that are true or false; all others are text."""

_FLAG_WORDS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}
"""As click reads them for the command line."""


def typed(
    start: Path, environment: Mapping[str, str], names: frozenset[str]
) -> tuple[dict[str, Any], tuple[Waiver, ...]]:
    """The settings of these names in Python's types, and waivers, for those who have no command line: of the
    environment, else of the project. Raises as `load` does, and UsageError for a value of another type."""
    project, waivers = load(start, SETTINGS)
    found = {}
    for name in sorted(names):
        variable = ENVIRONMENT_PREFIX + name.upper()
        if environment.get(variable):
            found[name] = _typed(name, environment[variable], variable)
        elif name in project:
            found[name] = _typed(name, project[name], f"[tool.stop-harness] {name.replace('_', '-')}")
    return found, waivers


def _typed(name: str, value: str | bool, where: str) -> Any:
    """Raises UsageError."""
    text = str(value).strip()
    if name in FLAGS:
        if text.lower() in _FLAG_WORDS:
            return _FLAG_WORDS[text.lower()]
        raise UsageError(f"{where}: {text!r} is neither true nor false")
    if isinstance(value, bool):
        raise UsageError(f"{where}: a value is needed, not {str(value).lower()}")
    if name not in COUNTS:
        return value
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{where}: {text!r} is no whole number") from None


def load(start: Path, known: frozenset[str]) -> tuple[dict[str, Any], tuple[Waiver, ...]]:
    """Settings by option name (`report_dir`), and waivers. Raises UsageError for a key that no command knows, and
    ScenarioError for waivers with mistakes."""
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return _read(file, known)
    return {}, ()


def _read(file: Path, known: frozenset[str]) -> tuple[dict[str, Any], tuple[Waiver, ...]]:
    import tomllib

    try:
        text = file.read_text(encoding="utf-8")
        table: Any = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {plain_reason(error)}") from None
    for key in ("tool", "stop-harness"):
        table = table.get(key, {})
        if not isinstance(table, dict):
            raise UsageError(f"{file}: {key}: a table is needed, such as [tool.stop-harness]")
    written = table.pop(WAIVERS, [])
    settings = {str(key).replace("-", "_"): value for key, value in table.items()}
    unknown = sorted(set(settings) - known)
    if unknown:
        allowed = ", ".join(sorted([WAIVERS, *(name.replace("_", "-") for name in known)]))
        raise UsageError(f"{file}: [tool.stop-harness] {unknown[0].replace('_', '-')}: unknown key; allowed: {allowed}")
    for name, value in settings.items():
        if not isinstance(value, str | int | float):
            key = name.replace("_", "-")
            raise UsageError(f"{file}: [tool.stop-harness] {key}: one value is needed, not {value!r}")
    # Numbers become text, as they would be on the command line; a flag stays true or false.
    values = {name: value if isinstance(value, bool) else str(value) for name, value in settings.items()}
    return values, _waivers(written, text, file) if written != [] else ()


def _waivers(written: object, text: str, file: Path) -> tuple[Waiver, ...]:
    from stop_harness.scenario import project_waivers  # late: most projects have none

    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    return project_waivers.of_project(written, text, str(shown))
