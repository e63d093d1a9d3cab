"""What must be true after a stop, beyond its outcome, and what was found of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from stop_harness.records import dataclass

COMMAND_TIMEOUT_NS = 30 * 1_000_000_000
"""For a command that looks something up after a stop: `docker exec` of a database client takes a second or two."""


class PropertyKind(StrEnum):
    """What a property is about."""

    FILE = "file"
    LOG = "log"
    COMMAND = "command"
    PORT_FREE = "port_free"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Content:
    """What a file or the output of a command must be like; every condition that is given must hold.

    `contains`: text. `matches`: a regular expression, searched line by line. `equals`: all of it. `json`: it parses as
    one JSON text. `json_lines`: every line does. `ends_with_newline`: its last line was written whole; an empty file
    has none. `acknowledged`: every message of the scenario's traffic that was acknowledged stands in it, by its id.
    """

    contains: str | None = None
    matches: str | None = None
    equals: str | None = None
    ends_with_newline: bool = False
    json: bool = False
    json_lines: bool = False
    acknowledged: bool = False

    @property
    def asks(self) -> bool:
        """Whether there is any condition."""
        return self != Content()


@dataclass(frozen=True, slots=True)
class FileProperty:
    """A file of a container that has ended, by its absolute path there.

    `exists` False: there is no such file or folder. `container`: of which container of a group; None: of the one that
    is stopped.
    """

    path: str
    content: Content = Content()
    exists: bool = True
    container: str | None = None
    kind: Literal[PropertyKind.FILE] = PropertyKind.FILE


@dataclass(frozen=True, slots=True)
class LogProperty:
    """A line that a container writes from the stop on, or must not write (`written` False). `container`: of which
    container of a group that is stopped whole; None: of the one that is stopped."""

    pattern: str
    written: bool = True
    container: str | None = None
    kind: Literal[PropertyKind.LOG] = PropertyKind.LOG


@dataclass(frozen=True, slots=True)
class CommandProperty:
    """A command that is run after the stop, in another container of the group, which runs on, or (`container` None) in
    the stopped one once that was started again. `content`: of its standard output."""

    argv: tuple[str, ...]
    container: str | None = None
    exit_code: int = 0
    content: Content = Content()
    timeout_ns: int = COMMAND_TIMEOUT_NS
    kind: Literal[PropertyKind.COMMAND] = PropertyKind.COMMAND


@dataclass(frozen=True, slots=True)
class PortProperty:
    """Nobody accepts connections any more where the container's port was reached from its machine."""

    port: int
    kind: Literal[PropertyKind.PORT_FREE] = PropertyKind.PORT_FREE


@dataclass(frozen=True, slots=True)
class RestartProperty:
    """The same container, started again, becomes ready. `ready_within_ns` None: within the scenario's own patience."""

    ready_within_ns: int | None = None
    kind: Literal[PropertyKind.RESTART] = PropertyKind.RESTART


Property = FileProperty | LogProperty | CommandProperty | PortProperty | RestartProperty
"""Checked in the order in which they are written: what stands behind a restart sees the container that runs again."""


@dataclass(frozen=True, slots=True)
class PropertyRecord:
    """What was found of a property.

    `held` None: it could not be checked, and `found` says why. `found`: one sentence for people. `excerpt`: the end of
    the file or of the output, empty where there is none. `checked_at_ns`: from the return of the stop call, by which
    PID 1 had exited, to the end of the check; None: nothing was looked at.
    """

    asked: Property
    held: bool | None
    found: str
    excerpt: str = ""
    checked_at_ns: int | None = None


MOST_CONTENT_BYTES = 16 * 1024 * 1024
"""Of a file or an output that is looked at. What is larger is looked at by a command beside the data."""


@dataclass(frozen=True, slots=True)
class FileSeen:
    """A file as an engine found it. `content` None: there is no such file, it is a folder or something else that has no
    content (`what` says so), or it is larger than `MOST_CONTENT_BYTES`. `size_bytes` None: it does not exist."""

    size_bytes: int | None = None
    content: bytes | None = None
    what: str = "file"

    @property
    def exists(self) -> bool:
        """Whether anything is at that path."""
        return self.size_bytes is not None


@dataclass(frozen=True, slots=True)
class CommandSeen:
    """A command that was run. `exit_code` None: it had not ended in time. `output`: standard output, `errors`: standard
    error, together at most `MOST_CONTENT_BYTES`. `cut`: there was more."""

    exit_code: int | None
    output: bytes = b""
    errors: bytes = b""
    cut: bool = False
