"""The values of scenario files: pydantic types that say what is needed when they are given something else. Pure."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from stop_harness import log_pattern, signals, units
from stop_harness.model import EndedBy, Outcome
from stop_harness.scenario import moments

MOST_PIDS = 4_194_304
"""The largest `pid_max` of Linux, proc_sys_kernel(5)."""


class Section(BaseModel):
    """A mapping of the file: no unknown keys, no guessing at types."""

    # Deferred: what is part of a larger section is built once, with it.
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


def _duration(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a duration is needed, such as 500ms, 2s or 1m30s")
    if not isinstance(value, str) and value > 0:
        raise ValueError(f"{value} has no unit; write {value}s or {value}ms")
    return units.parse_duration(str(value))


def _size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("a size is needed, such as 64MiB")
    return units.parse_size(str(value))


def pids_limit(value: object) -> int:
    """Most processes and threads, or -1. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not (value == -1 or 1 <= value <= MOST_PIDS):
        raise ValueError(f"{value!r} is not allowed; needed: a whole number from 1 to {MOST_PIDS}, or -1 for no limit")
    return value


def _signal(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("a signal is needed, such as SIGTERM")
    return signals.name(signals.number(str(value)))


def one_or_list(value: object) -> object:
    """A list, of one where one was given."""
    return value if isinstance(value, list) else [value]


def _argv(value: object) -> object:
    if isinstance(value, str):
        raise ValueError(f'write it as a list of words, such as ["/bin/sh", "-c", {value!r}]')
    return value


def _ports(value: object) -> object:
    if not isinstance(value, list):
        return value
    if any(isinstance(port, list | dict) for port in value):
        raise ValueError("write a list of ports, such as [8000], or a mapping to host ports, such as {8000: 18000}")
    return dict.fromkeys(value)


def _latin1(value: object) -> object:
    """Text as bytes, one a character, so that "\\x00" in double quotes is a zero byte."""
    if isinstance(value, str):
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError as error:
            raise ValueError(f"{value[error.start]!r} is no byte; write bytes as {{hex: …}}") from None
    return _hex(value)


def _utf8(value: object) -> object:
    return value.encode() if isinstance(value, str) else _hex(value)


def _hex(value: object) -> object:
    """`{hex: 00ff}`; bytes are what YAML's own `!!binary` gives."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, dict) or list(value) != ["hex"]:
        raise ValueError("text in quotes is needed, or {hex: …}")
    try:
        return bytes.fromhex(value["hex"])
    except (TypeError, ValueError):
        raise ValueError('pairs of hexadecimal digits are needed, in quotes, such as {hex: "00 ff 0a"}') from None


PidsLimit = Annotated[int, BeforeValidator(pids_limit), WithJsonSchema({"type": "integer", "minimum": -1})]
DURATION_SCHEMA = {"type": ["string", "integer"], "examples": ["500ms", "2s", "1m30s"]}
Duration = Annotated[int, BeforeValidator(_duration), WithJsonSchema(DURATION_SCHEMA)]
Size = Annotated[int, BeforeValidator(_size), WithJsonSchema({"type": ["string", "integer"], "examples": ["64MiB"]})]
Signal = Annotated[
    str, BeforeValidator(_signal), WithJsonSchema({"type": ["string", "integer"], "examples": ["SIGINT"]})
]
Pattern = Annotated[str, AfterValidator(log_pattern.check)]
Argv = Annotated[list[str], BeforeValidator(_argv), Field(min_length=1)]
Port = Annotated[int, Field(ge=1, le=65535)]
BYTES_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"hex": {"type": "string"}},
            "required": ["hex"],
            "additionalProperties": False,
        },
    ]
}
Bytes = Annotated[bytes, BeforeValidator(_latin1), Field(min_length=1), WithJsonSchema(BYTES_SCHEMA)]
AnyBytes = Annotated[bytes, BeforeValidator(_latin1), WithJsonSchema(BYTES_SCHEMA)]
TextBytes = Annotated[bytes, BeforeValidator(_utf8), WithJsonSchema(BYTES_SCHEMA)]
Text = Annotated[str, StringConstraints(min_length=1)]
RawText = Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"]})]
Ending = Annotated[EndedBy, Field(strict=False)]
AnOutcome = Annotated[Outcome, Field(strict=False)]
ExitCode = Annotated[int, Field(ge=0, le=255)]
OutcomeList = Annotated[list[AnOutcome], Field(min_length=1)]
Outcomes = Annotated[OutcomeList, BeforeValidator(one_or_list, json_schema_input_type=OutcomeList | AnOutcome)]
DurationList = Annotated[list[Duration], Field(min_length=1)]
Durations = Annotated[DurationList, BeforeValidator(one_or_list, json_schema_input_type=DurationList | Duration)]
MomentRange = Annotated[dict[str, Any], WithJsonSchema(moments.SCHEMA)]
Moments = Annotated[
    DurationList,
    BeforeValidator(one_or_list),
    BeforeValidator(moments.expand, json_schema_input_type=DurationList | Duration | MomentRange),
]
ExitCodes = Annotated[list[ExitCode], BeforeValidator(one_or_list, json_schema_input_type=list[ExitCode] | ExitCode)]
Ports = Annotated[
    dict[Port, Port | None], BeforeValidator(_ports, json_schema_input_type=dict[Port, Port | None] | list[Port])
]
