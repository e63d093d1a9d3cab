"""What was found of a container → the commented scenario that `init` writes. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from stop_harness import units
from stop_harness.model import NS_PER_S

_COLUMN = 34
"""Where comments begin, so that they stand below each other."""

_DEFAULTS = {10 * NS_PER_S: "10s is Docker's default", 30 * NS_PER_S: "30s that of Amazon ECS"}

_PLAIN = re.compile(r"[A-Za-z./][A-Za-z0-9._/@:-]*[A-Za-z0-9/.]")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null"})


@dataclass(frozen=True)
class FoundLine:
    """A line that is filled in: `text` is YAML below the section that it belongs to, `origin` says where it was found.
    `offered`: it is written as a comment, for the reader to take."""

    text: str
    origin: str
    offered: bool = False


@dataclass(frozen=True)
class FoundStop:
    """What the files beside a scenario, or a running container, say of a stop.

    `subject` is never empty. `ready`, `signal`: empty and None where nothing was found. `timeouts`: nanoseconds with
    where they stand. `several`: more than one container is stopped, each with its own stop timeout, so that those are
    named and left in force.
    """

    name: str
    subject: tuple[FoundLine, ...]
    ready: tuple[FoundLine, ...] = ()
    signal: FoundLine | None = None
    timeouts: tuple[tuple[int, str], ...] = ()
    several: bool = False


def text_of(found: FoundStop | None) -> str:
    """The text of a scenario; None: nothing was found, and the reader fills it in."""
    return "\n".join(
        (
            _HEAD.format(name=found.name if found else "my-service"),
            _SUBJECT if found is None else _section("subject:", found.subject),
            _ready(found),
            _TRAFFIC,
            _stop(found),
            _TAIL if found is None or (not found.timeouts and not found.several) else _TAIL_OWN,
        )
    )


def scalar(value: str) -> str:
    """A text as YAML, in quotes where it would be read as something else."""
    plain = value in {".", ".."} or (_PLAIN.fullmatch(value) is not None and value.lower() not in _WORDS)
    return value if plain else json.dumps(value)


def _section(key: str, lines: tuple[FoundLine, ...]) -> str:
    return "\n".join((key, *map(_line, lines), ""))


def _line(line: FoundLine) -> str:
    text = f"  {'# ' if line.offered else ''}{line.text}"
    return f"{text:<{_COLUMN - 2}}  # {_in_one_line(line.origin)}" if line.origin else text


def _in_one_line(text: str) -> str:
    """A comment ends where its line does; names of files may hold anything."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _ready(found: FoundStop | None) -> str:
    if found is None or not found.ready:
        return _READY if found is None else _READY.replace("  log:", "  # log:")
    about = "# When is it ready to be stopped? All conditions given must hold. Others: log, tcp, http, healthcheck."
    return _section(f"{about}\nready:", (*found.ready, FoundLine("timeout: 30s", "")))


def _stop(found: FoundStop | None) -> str:
    if found is None:
        return _STOP
    if found.several:
        each = [FoundLine(f"its own: {units.format_duration(ns)}", at, offered=True) for ns, at in found.timeouts]
        about = "Each container has its own stop timeout; `stop.timeouts` replaces them:"
        lines = [
            f"# {about}",
            *(_line(line).removeprefix("  ") for line in each),
            "# stop:",
            "#   timeouts: [10s, 30s]",
        ]
        return "\n".join((*lines, ""))
    own = {ns: f"{units.format_duration(ns)}: {at}" for ns, at in found.timeouts}
    # Who asks for a longer one needs it: a shorter default would fail what is in order.
    said = {ns: text for ns, text in _DEFAULTS.items() if ns >= min(own, default=0)} | own
    listed = ", ".join(units.format_duration(ns) for ns in sorted(said))
    origin = "one trial each; " + "; ".join(said[ns] for ns in sorted(said))
    default = FoundLine("signal: SIGTERM", "default: the image's STOPSIGNAL, else SIGTERM", offered=True)
    return _section("stop:", (FoundLine(f"timeouts: [{listed}]", origin), found.signal or default))


_HEAD = """\
# A stop-harness scenario. Reference: docs/scenarios.md
version: 1
name: {name}
description: What a correct stop of this container looks like.
"""

_SUBJECT = """\
subject:
  image: my-service:latest        # or build: path/to/folder/with/Dockerfile
  # command: ["python3", "server.py"]
  # environment: {LOG_LEVEL: info}
  # init: true                    # run under an init, as `docker run --init`
  # memory: 256MiB
"""

_READY = """\
# When is it ready to be stopped? All conditions given must hold. Without any: its health check, its ports, else 1 s.
ready:
  log: "listening"                # regular expression in the output
  # tcp: 8000
  # http: {port: 8000, path: /healthz}
  # healthcheck: true
  timeout: 30s
"""

_TRAFFIC = """\
# What clients do meanwhile: a request that takes longer than 500 ms is in flight when the stop signal comes.
# traffic:
#   http: {port: 8000, path: "/report?year=2025", clients: 4}
"""

_STOP = """\
stop:
  timeouts: [10s, 30s]            # one trial each: Docker's default and that of Amazon ECS
  # signal: SIGTERM               # default: the image's STOPSIGNAL, else SIGTERM
"""

_TAIL = """\
repeat: 1

expect:
  - {outcome: graceful, within: 10s}
  # - {timeout: 10s, outcome: killed}   # a timeout may have an expectation of its own
"""

_TAIL_OWN = """\
repeat: 1

expect:
  - {outcome: graceful}           # `within: 8s` beside it says how long it may take
"""
