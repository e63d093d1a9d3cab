"""The section `expect.after_stop` of a scenario file, and the records it becomes. Pure."""

from __future__ import annotations

import posixpath
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from stop_harness.model import (
    COMMAND_TIMEOUT_NS,
    CommandProperty,
    Content,
    FileProperty,
    LogProperty,
    PortProperty,
    Property,
    RestartProperty,
)
from stop_harness.scenario.values import Argv, Duration, ExitCode, Pattern, Port, Section, Text

KINDS = ("file", "log", "no_log", "command", "port_free", "restart")
"""One of them says what a property is about."""

OF_CONTENT = ("contains", "matches", "equals", "ends_with_newline", "json", "json_lines", "acknowledged")
"""Conditions on a file, or on the standard output of a command."""

GOES_WITH = {
    "exists": ("file",),
    **dict.fromkeys(OF_CONTENT, ("file", "command")),
    "exit_code": ("command",),
    "timeout": ("command",),
    "ready_within": ("restart",),
    "in": ("file", "command", "log", "no_log"),
}


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path or posixpath.normpath(path) == "/":
        raise ValueError("an absolute path in the container is needed, such as /data/journal")
    return path


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start + 1} is no text that a file could hold") from None
    return text


def _only_true(given: bool) -> bool:
    if not given:
        raise ValueError("only `true` has a meaning here; leave it out otherwise")
    return given


Letters = Annotated[str, AfterValidator(_utf8)]
AbsolutePath = Annotated[Letters, AfterValidator(_absolute), WithJsonSchema({"type": "string", "pattern": "^/"})]
OnlyTrue = Annotated[bool, AfterValidator(_only_true), WithJsonSchema({"const": True})]


class PropertySection(Section):
    """Something that must be true after the stop: one of `file`, `log`, `no_log`, `command`, `port_free` and `restart`,
    with its conditions. They are checked in their order."""

    file: AbsolutePath | None = Field(None, description="Absolute path of a file in the container that has ended.")
    log: Pattern | None = Field(None, description="Regular expression found in what it writes from the stop on.")
    no_log: Pattern | None = Field(None, description="Regular expression not found in what it writes from the stop on.")
    command: Argv | None = Field(
        None, description="Command to run after the stop, in another container (`in`), or behind `restart` in this one."
    )
    port_free: Port | None = Field(None, description="Port of the container at which nobody accepts connections now.")
    restart: OnlyTrue | None = Field(None, description="The same container, started again, becomes ready.")
    exists: bool | None = Field(None, description="Of `file`; false: there must be no such file.")
    contains: Annotated[Letters, Field(min_length=1)] | None = Field(
        None, description="Text that the file or the output contains."
    )
    matches: Pattern | None = Field(None, description="Regular expression that a line of it matches.")
    equals: Letters | None = Field(None, description="All of its text.")
    ends_with_newline: OnlyTrue | None = Field(None, description="Its last line was written whole.")
    json_: OnlyTrue | None = Field(None, alias="json", description="All of it parses as one JSON text.")
    json_lines: OnlyTrue | None = Field(None, description="Each of its lines parses as JSON.")
    acknowledged: OnlyTrue | None = Field(
        None, description="Every message of `traffic.messages` that was acknowledged stands in it."
    )
    exit_code: ExitCode | None = Field(None, description="Of `command`. Default: 0.")
    timeout: Duration | None = Field(None, description="For how long `command` may run. Default: 30s.")
    ready_within: Duration | None = Field(None, description="Of `restart`. Default: `ready.timeout`.")
    in_: Text | None = Field(None, alias="in", description="The container of the group. Default: the stopped one.")

    @property
    def given(self) -> list[str]:
        """The keys that are there, as they are written."""
        return [key.rstrip("_") for key in self.model_fields_set]

    @model_validator(mode="after")
    def _one_kind(self) -> PropertySection:
        kinds = [kind for kind in KINDS if kind in self.given]
        if len(kinds) != 1:
            raise ValueError(f"give exactly one of {', '.join(f'`{kind}`' for kind in KINDS)}")
        for key in sorted(self.given):
            if key in GOES_WITH and kinds[0] not in GOES_WITH[key]:
                *others, last = (f"`{kind}`" for kind in GOES_WITH[key])
                raise ValueError(f"`{key}` goes with {', '.join(others)}{' and ' if others else ''}{last}")
        if self.exists is False and self._content().asks:
            raise ValueError("`exists: false` leaves nothing that could have a content")
        return self

    def _content(self) -> Content:
        return Content(
            contains=self.contains,
            matches=self.matches,
            equals=self.equals,
            ends_with_newline=bool(self.ends_with_newline),
            json=bool(self.json_),
            json_lines=bool(self.json_lines),
            acknowledged=bool(self.acknowledged),
        )

    def made(self) -> Property:
        """The record."""
        if self.file is not None:
            path = posixpath.normpath(self.file)
            return FileProperty(path, self._content(), exists=self.exists is not False, container=self.in_)
        if self.command is not None:
            return CommandProperty(
                tuple(self.command),
                container=self.in_,
                exit_code=self.exit_code or 0,
                content=self._content(),
                timeout_ns=COMMAND_TIMEOUT_NS if self.timeout is None else self.timeout,
            )
        if self.port_free is not None:
            return PortProperty(self.port_free)
        if self.restart is not None:
            return RestartProperty(self.ready_within)
        pattern = self.log if self.log is not None else self.no_log
        assert pattern is not None
        return LogProperty(pattern, written=self.log is not None, container=self.in_)
