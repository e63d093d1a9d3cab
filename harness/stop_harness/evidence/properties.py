"""What was seen after a stop → whether each property of the scenario holds. Pure.

Three values: it holds, it does not, or it could not be checked. Where a part of what would have to be seen is missing,
only what that part cannot change is said: a line that was found is found, however much of a log is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from stop_harness.log_pattern import LogPattern
from stop_harness.model import (
    MOST_CONTENT_BYTES,
    CommandProperty,
    CommandSeen,
    Content,
    FileProperty,
    FileSeen,
    LogProperty,
    LogTail,
    PortProperty,
    Property,
    PropertyRecord,
    RestartProperty,
)
from stop_harness.wording import count_of, precise_seconds

EXCERPT_LETTERS = 300
"""Of a file or an output, its end: there is what a stop broke off."""

MOST_MIB = MOST_CONTENT_BYTES // 1024**2


# ── What was asked, in words ─────────────────────────────────────────────────────────────────────────────────────────


def words(asked: Property) -> str:
    """`/data/journal ends with a newline`, `port 8080 is free`: what must be true, for people."""
    match asked:
        case FileProperty():
            where = asked.path if asked.container is None else f"{asked.path} of {asked.container}"
            if not asked.exists:
                return f"{where} does not exist"
            return f"{where} {_listed(_demands(asked.content)) if asked.content.asks else 'exists'}"
        case LogProperty():
            whose = "" if asked.container is None else f" of {asked.container}"
            said = "has a line" if asked.written else "has no line"
            return f"the log{whose} since the stop {said} matching {asked.pattern!r}"
        case CommandProperty():
            where = "the container that was started again" if asked.container is None else asked.container
            exits = f"exits with {asked.exit_code}"
            output = [f"its output {_listed(_demands(asked.content))}"] if asked.content.asks else []
            return f"`{' '.join(asked.argv)}` in {where} {_listed([exits, *output])}"
        case PortProperty():
            return f"port {asked.port} is free"
        case RestartProperty():
            limit = "" if asked.ready_within_ns is None else f" within {precise_seconds(asked.ready_within_ns)}"
            return f"it gets ready again after a restart{limit}"


def _demands(content: Content) -> list[str]:
    said = []
    if content.equals is not None:
        said.append(f"is {_quoted(content.equals)}")
    if content.contains is not None:
        said.append(f"contains {_quoted(content.contains)}")
    if content.matches is not None:
        said.append(f"has a line matching {content.matches!r}")
    if content.ends_with_newline:
        said.append("ends with a newline")
    if content.json:
        said.append("is JSON")
    if content.json_lines:
        said.append("has JSON in every line")
    if content.acknowledged:
        said.append("has every message that was acknowledged")
    return said


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")


# ── What was seen ────────────────────────────────────────────────────────────────────────────────────────────────────


def unchecked(asked: Property, why: str) -> PropertyRecord:
    """It could not be checked."""
    return PropertyRecord(asked, None, why)


def of_file(asked: FileProperty, seen: FileSeen, acknowledged: tuple[str, ...] = ()) -> PropertyRecord:
    """Whether a file is as it should be. `acknowledged`: ids of messages that were."""
    if not asked.exists:
        there = f"it is there: a {seen.what} of {_bytes(seen.size_bytes or 0)}"
        return PropertyRecord(asked, not seen.exists, there if seen.exists else "there is none", _excerpt(seen.content))
    if not seen.exists:
        return PropertyRecord(asked, False, "there is no such file")
    found = f"{seen.what} of {_bytes(seen.size_bytes or 0)}"
    if not asked.content.asks:
        return PropertyRecord(asked, True, found, _excerpt(seen.content))
    if seen.content is None:
        if seen.what != "file":
            return PropertyRecord(asked, False, f"it is a {seen.what}")
        return unchecked(asked, f"{found}, of which no more than {MOST_MIB} MiB are read; look at it with a `command`")
    return _of_content(asked, asked.content, seen.content, found, acknowledged)


def of_command(asked: CommandProperty, seen: CommandSeen, acknowledged: tuple[str, ...] = ()) -> PropertyRecord:
    """Whether a command ended as it should, with the output that it should have. `acknowledged`: as of a file."""
    if seen.exit_code is None:
        waited = precise_seconds(asked.timeout_ns)
        return unchecked(asked, f"the command had not ended after {waited}; give it more with `timeout`")
    said = _excerpt(seen.output) or _excerpt(seen.errors)
    if seen.exit_code != asked.exit_code:
        # Exit codes of a shell and of `docker exec` where there is no such program: nothing was looked up then.
        if seen.exit_code in {126, 127}:
            return PropertyRecord(asked, None, f"it could not be run, exit code {seen.exit_code}", said)
        return PropertyRecord(asked, False, f"it exited with {seen.exit_code}", said)
    found = f"it exited with {seen.exit_code}"
    if not asked.content.asks:
        return PropertyRecord(asked, True, found, said)
    if seen.cut:
        return unchecked(asked, f"its output has more than {MOST_MIB} MiB; let the command select what matters")
    return _of_content(
        asked, asked.content, seen.output, f"{found} after {_bytes(len(seen.output))} of output", acknowledged
    )


def of_log(asked: LogProperty, since: str | None, logs: LogTail) -> PropertyRecord:
    """Whether a line was written. `since`: from the stop on, None where that cannot be told. `logs`: the end of all."""
    if not logs.readable:
        return unchecked(asked, logs.text[1:-1])
    if since is None:
        return unchecked(asked, "which lines were written from the stop on cannot be told")
    pattern = LogPattern(asked.pattern)
    line = next((line for line in since.splitlines() if pattern.found_in(line)), None)
    if line is None and not pattern.found_in(since):  # a pattern may span lines
        # What is kept is the end of the log: where it begins after the stop did, the beginning is missing.
        whole = not logs.truncated or len(since) < len(logs.text)
        if not whole:
            return unchecked(asked, "so much was written since the stop that the first of it was not kept")
        found = f"no such line among {count_of(len(since.splitlines()), 'line')} since the stop"
        return PropertyRecord(asked, not asked.written, found, _excerpt(since.encode(errors="replace")))
    return PropertyRecord(asked, asked.written, "it was written", (line or "")[:EXCERPT_LETTERS])


def of_port(asked: PortProperty, *, accepts: bool) -> PropertyRecord:
    """Whether a port is free."""
    found = "somebody accepts connections there" if accepts else "connections are refused"
    return PropertyRecord(asked, not accepts, found)


def of_restart(asked: RestartProperty, took_ns: int | None, why: str = "") -> PropertyRecord:
    """Whether the next start got ready. `took_ns` None: it did not, and `why` says how that showed."""
    if took_ns is None:
        return PropertyRecord(asked, False, why)
    in_time = asked.ready_within_ns is None or took_ns <= asked.ready_within_ns
    return PropertyRecord(asked, in_time, f"ready {precise_seconds(took_ns)} after the start")


def _of_content(
    asked: FileProperty | CommandProperty, wanted: Content, content: bytes, found: str, acknowledged: tuple[str, ...]
) -> PropertyRecord:
    excerpt = _excerpt(content, from_the_end=wanted.equals is None)
    unmet, unclear = [], []
    for demand, check in _CHECKS.items():
        if (value := getattr(wanted, demand)) in {None, False}:
            continue
        try:
            problem = check(content, value)
        except RecursionError:
            unclear.append("it is nested too deeply to be read as JSON")
            continue
        if problem is not None:
            unmet.append(problem)
    if wanted.acknowledged and not acknowledged:
        unclear.append("no message was acknowledged, so none can be missing")
    elif wanted.acknowledged:
        there = {match.decode() for match in _ID.findall(content)}
        found += f" with {count_of(len(there & {*acknowledged}), 'message')}"
        if lost := [message for message in acknowledged if message not in there]:
            unmet.append(f"{len(lost):,} of {len(acknowledged):,} acknowledged messages are lost, the first {lost[0]}")
    if unmet:
        return PropertyRecord(asked, False, f"{found}: {_listed(unmet)}", excerpt)
    if unclear:
        return PropertyRecord(asked, None, f"{found}: {_listed(unclear)}", excerpt)
    return PropertyRecord(asked, True, found, excerpt)


_ID = re.compile(rb"[0-9a-f]{8}-[0-9]{4}-[0-9]{7}")
"""Of a message; all have one length (`trial.traffic_messages`)."""


def _contains(content: bytes, text: str) -> str | None:
    return None if text.encode() in content else f"it does not contain {_quoted(text)}"


def _matches(content: bytes, pattern: str) -> str | None:
    return None if LogPattern(pattern).found_in(content) else f"no line matches {pattern!r}"


def _equals(content: bytes, text: str) -> str | None:
    wanted = text.encode()
    if content == wanted:
        return None
    alike = next((at for at, (one, other) in enumerate(zip(content, wanted, strict=False)) if one != other), None)
    at = min(len(content), len(wanted)) if alike is None else alike
    return f"it is not {_quoted(text)}, and differs from byte {at + 1:,} on"


def _ends_with_newline(content: bytes, _: bool) -> str | None:
    if not content:
        return "it is empty"
    return None if content.endswith(b"\n") else "its last line has no end"


def _json(content: bytes, _: bool) -> str | None:
    problem = _not_json(content)
    return None if problem is None else f"it is not JSON: {problem}"


def _json_lines(content: bytes, _: bool) -> str | None:
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip() and (problem := _not_json(line)) is not None:
            return f"line {number:,} is not JSON: {problem}"
    return None


def _not_json(content: bytes) -> str | None:
    """Why not, by RFC 8259; None where it is."""
    try:
        # Numbers stay text: Python refuses to make a number of more than 4,300 digits, and JSON has no such limit.
        json.loads(content.decode(), parse_constant=_no_json, parse_int=str, parse_float=str)
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1:,} is not UTF-8"
    except json.JSONDecodeError as error:
        return f"{error.msg[:1].lower()}{error.msg[1:]}, line {error.lineno:,}, column {error.colno:,}"
    except ValueError as error:
        return str(error)
    return None


def _no_json(word: str) -> Any:
    raise ValueError(f"{word} is no value of JSON")


_CHECKS: dict[str, Callable[[bytes, Any], str | None]] = {
    "equals": _equals,
    "contains": _contains,
    "matches": _matches,
    "ends_with_newline": _ends_with_newline,
    "json": _json,
    "json_lines": _json_lines,
}
"""Condition → what is wrong with a content, None where it is met."""


def _excerpt(content: bytes | None, *, from_the_end: bool = True) -> str:
    if content is None:
        return ""
    some = 4 * EXCERPT_LETTERS
    text = (content[-some:] if from_the_end else content[:some]).decode(errors="replace")
    return text[-EXCERPT_LETTERS:] if from_the_end else text[:EXCERPT_LETTERS]


def _bytes(size: int) -> str:
    return "1 byte" if size == 1 else f"{size:,} bytes"
