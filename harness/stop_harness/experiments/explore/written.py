"""What was found → a scenario file that shows it again. Pure."""

from __future__ import annotations

import posixpath
import shlex
import textwrap
from dataclasses import replace
from typing import Any

import yaml

from stop_harness import units
from stop_harness.errors import UsageError
from stop_harness.experiments.explore.candidate import Candidate, scenario_of
from stop_harness.model import Positions, Scenario
from stop_harness.scenario import scenario_file, written
from stop_harness.scenario.positions import compose
from stop_harness.wording import one_line, printable

HEAD = "# Found by `stop-harness explore`"
"""How such a file begins, so that the next search may write it again."""

MOST_NAME = 56
"""Characters of the scenario's name that are kept: 63 are allowed."""

_FILES = ("build", "task_definition", "env_file")
_FILES_OF = ("compose", "kubernetes")


def text_of(original: str, source: str, target: str, candidate: Candidate, said: tuple[str, ...]) -> str:
    """The file. `original`: text of the scenario at `source`; `said`: what happened, for its head. Both paths are
    relative to the same folder, or absolute.

    Raises UsageError where the scenario names files that it cannot name from there.
    """
    data, _ = compose(original, source)
    before = scenario_file.parse(original, source)
    if before.stop.own_timeouts:  # they stand in the file that it names
        candidate = replace(candidate, stop_timeout_ns=before.stop.timeouts_ns[0])
    wanted = scenario_of(candidate, before)
    changed = _changed(dict(data), candidate, before)
    changed["subject"] = _from(dict(changed["subject"]), posixpath.dirname(source), posixpath.dirname(target))
    changed["description"] = f"{said[0]}."
    head = [HEAD, *(line for text in said for line in textwrap.wrap(printable(text), 110)), "", "It shows it again:"]
    head += [f"    stop-harness run {one_line(shlex.quote(target))}", "Once it is mended, keep it as a test."]
    body = yaml.safe_dump(changed, sort_keys=False, allow_unicode=True, width=110)
    text = "\n".join((head[0], *(f"# {line}".rstrip() for line in head[1:]))) + "\n" + body
    if _bare(scenario_file.parse(text, target)) != _bare(wanted):
        raise UsageError(f"{target}: what was found cannot be written there; write it beside {source}")
    return text


def _bare(scenario: Scenario) -> Scenario:
    """What makes its stop."""
    return replace(scenario, name="", description="", source=None, positions=Positions(), waivers=())


def _changed(data: dict[Any, Any], candidate: Candidate, before: Scenario) -> dict[Any, Any]:
    """The data of the candidate's stop, in the order of the original."""
    data["name"] = f"{before.name[:MOST_NAME].rstrip('-._')}-found"
    stop = dict(data.get("stop") or {})
    if not before.stop.own_timeouts:
        stop["timeouts"] = [units.format_duration(candidate.stop_timeout_ns)]
    after_ns = before.stop.after_ns[0] if candidate.moment_ns is None else candidate.moment_ns
    stop["after"] = [units.format_duration(after_ns)]
    data["stop"] = stop
    if candidate.moment_ns is not None and before.readiness.delay_ns and not before.readiness.implied:
        data["ready"] = {**data.get("ready", {}), "delay": "0s"}
    if candidate.traffic is not None:
        data["traffic"] = written.traffic(candidate.traffic)
    if candidate.faults:
        data["faults"] = [*(data.get("faults") or []), *map(written.fault, candidate.faults)]
    data["expect"] = [_expectation(data, candidate.stop_timeout_ns)]
    for key in (
        "repeat",
        "waivers",
        *(key for key in ("traffic", "expect") if key in data and data[key] in ({}, [{}])),
    ):
        data.pop(key, None)
    return data


def _expectation(data: dict[Any, Any], timeout_ns: int) -> dict[Any, Any]:
    """Of this stop timeout, without those for others, and without a limit of time."""
    given = data.get("expect") or [{}]
    sections = [dict(section) for section in (given if isinstance(given, list) else [given])]
    general = next((section for section in sections if "timeout" not in section), {})
    named = (item for item in sections if "timeout" in item and _ns(item["timeout"]) == timeout_ns)
    return {key: value for key, value in next(named, general).items() if key not in {"timeout", "within"}}


def _ns(duration: object) -> int:
    return units.parse_duration(str(duration))


def _from(subject: dict[Any, Any], source: str, target: str) -> dict[Any, Any]:
    """The subject with the paths of its files as they are called from the other folder."""
    if source == target:
        return subject

    def path(value: Any) -> Any:
        if isinstance(value, list):
            return list(map(path, value))
        return posixpath.relpath(posixpath.join(source, value), target or ".") if isinstance(value, str) else value

    for key in _FILES:
        if key in subject:
            subject[key] = path(subject[key])
    for key in _FILES_OF:
        if isinstance(subject.get(key), dict):
            subject[key] = {**subject[key], "file": path(subject[key]["file"])}
    return subject
