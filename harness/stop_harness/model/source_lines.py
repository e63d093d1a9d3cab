"""Where people find what decides how a container stops: lines of their own files."""

from __future__ import annotations

from stop_harness.records import dataclass


@dataclass(frozen=True)
class SourceLine:
    """A line of a file. `line` counts from 1. `what`: what stands there, such as `CMD` or `stop_grace_period`."""

    file: str
    line: int
    what: str


@dataclass(frozen=True)
class ContainerLines:
    """Where the settings of one container stand. `container`: its name in its task or group; empty: it is alone.

    `program`: what PID 1 runs. `stop_signal`, `stop_timeout`: None where nobody names one, so that a default applies,
    or where the line is not known.
    """

    container: str = ""
    program: SourceLine | None = None
    stop_signal: SourceLine | None = None
    stop_timeout: SourceLine | None = None


@dataclass(frozen=True)
class ScenarioLines:
    """Of a scenario. `expectation`: its own line, None where there is no scenario file."""

    expectation: SourceLine | None = None
    containers: tuple[ContainerLines, ...] = ()
