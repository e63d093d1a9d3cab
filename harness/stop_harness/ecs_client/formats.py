"""The output formats of the AWS CLI. Pure: a value in, text out.

Written from what AWS CLI 2.9.19 prints, and compared with it by `tests/test_stop_task_formats.py`.
"""

from __future__ import annotations

import json
from typing import Any

from stop_harness.ecs_client import table, yaml_1_2

FORMATS = ("json", "text", "table", "yaml", "yaml-stream")
WIDTH_WITHOUT_TERMINAL = table.MAX_WIDTH_WITHOUT_TERMINAL
TITLE = "StopTask"
"""What the table format writes above an answer: the operation."""


class FormatError(Exception):
    """A value that a format cannot show, such as a list of objects and numbers as a table."""


def render(format_: str, value: Any, *, max_width: int = WIDTH_WITHOUT_TERMINAL, colour: bool = False) -> str:
    """A value in one of `FORMATS`. An empty object is nothing at all, in every format. Raises FormatError."""
    if value == {}:
        return ""
    if format_ == "table":
        try:
            return table.render(TITLE, value, max_width=max_width, colour=colour)
        except table.TableError as error:
            raise FormatError(str(error)) from None
    return {"json": _json, "text": _text, "yaml": _yaml, "yaml-stream": _yaml_stream}[format_](value)


def _json(value: Any) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False, default=_isoformat) + "\n"


def _isoformat(value: Any) -> str:
    return str(value.isoformat())


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _text(value: Any) -> str:
    """Lines of values between tabs. What lies in an object is led by its name in capitals."""
    lines: list[list[str]] = []
    _text_lines(value, None, lines)
    return "".join("\t".join(line) + "\n" for line in lines)


def _text_lines(value: Any, name: str | None, lines: list[list[str]]) -> None:
    if isinstance(value, dict):
        _text_object(value, name, _scalar_keys([value]), lines)
    elif not isinstance(value, list):
        lines.append([str(value)])
    elif any(isinstance(item, dict) for item in value):
        if not all(isinstance(item, dict) for item in value):
            raise FormatError("a list of objects and other values has no text form")
        for item in value:
            _text_object(item, name, _scalar_keys(value), lines)
    else:
        scalars = [str(item) for item in value if not isinstance(item, list)]
        if name is not None:
            lines += [[name.upper(), text] for text in scalars]
        elif scalars:
            lines.append(scalars)
        for item in value:
            if isinstance(item, list):
                _text_lines(item, name, lines)


def _text_object(value: dict[str, Any], name: str | None, scalar_keys: list[str], lines: list[list[str]]) -> None:
    """Its scalars on one line, empty where it has none of that name, then everything else."""
    if scalar_keys:
        lines.append([*([name.upper()] if name is not None else []), *(str(value.get(key, "")) for key in scalar_keys)])
    for key in sorted(value):
        if key not in scalar_keys:
            _text_lines(value[key], key, lines)


def _scalar_keys(items: list[dict[str, Any]]) -> list[str]:
    return sorted({key for item in items for key, value in item.items() if not isinstance(value, dict | list)})


# ── YAML ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _yaml(value: Any) -> str:
    """A bare scalar is written as JSON."""
    if isinstance(value, dict | list):
        return yaml_1_2.dump(value)
    return json.dumps(value, ensure_ascii=False) + "\n"


def _yaml_stream(value: Any) -> str:
    """A list of one document for each answer; StopTask has one."""
    return yaml_1_2.dump([value])
