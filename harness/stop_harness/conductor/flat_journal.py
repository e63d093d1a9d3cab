"""Journals written before an observation had named parts: their lines in today's form. Pure.

Until format 1 of `run.json` every field of a record stood in the observation itself, or in the container of a task.
Format 2 has the parts of `model/observation.py`. A line is told by its form, not by the number in `run.json`, because
a resumed run may hold lines of both.
"""

from __future__ import annotations

from typing import Any

RECORD = (
    "events",
    "exit_code",
    "exit_signal",
    "oom_killed",
    "exited_before_stop",
    "complete",
    "lost_processes",
    "lost_process_count",
    "suspected_processes",
    "stop_signal",
    "stop_signal_source",
)
LOOKS = {
    "processes": "before",
    "processes_after_signal": "after_signal",
    "processes_late": "late",
    "log_after_signal": "log_after_signal",
    "logs": "logs",
}
DERIVATION = {
    "derived_from": "derived_from",
    "cut_short": "cut_short",
    "would_leave_after_ns": "would_exit_after_ns",
}
TRAFFIC = ("requests", "vantage")


def has_parts(line: bytes) -> bool:
    """Whether a line is surely in today's form, by its bytes: within a text of JSON every quote is escaped, so that
    this is a key and its value."""
    return b'"record":{' in line


def with_parts(line: object) -> object:
    """The JSON of a journal's line, whose observation has parts. What is in today's form is given back as it is, and so
    is what has no form at all, for the reader of journals says what is wrong with it.

    A field that is missing in an old line is left out, so that it has its default, as it had then.
    """
    observation = line.get("observation") if isinstance(line, dict) else None
    if not isinstance(line, dict) or not isinstance(observation, dict) or "record" in observation:
        return line
    return line | {"observation": _observation(observation)}


def _observation(observation: dict[str, Any]) -> dict[str, Any]:
    task = observation.get("task")
    if isinstance(task, dict) and isinstance(task.get("containers"), list):
        task = task | {"containers": [_container(item) for item in task["containers"]]}
    traffic = None
    if observation.get("requests") is not None:
        traffic = _picked(observation, TRAFFIC)
    return (
        _rest(observation)
        | _record_and_looks(observation)
        | {
            "traffic": traffic,
            "derivation": _renamed(observation, DERIVATION),
            "task": task,
        }
    )


def _container(container: object) -> object:
    """A container of a task; `ended_before_stop` was its word for `exited_before_stop`."""
    if not isinstance(container, dict):
        return container
    renamed = {("exited_before_stop" if name == "ended_before_stop" else name): it for name, it in container.items()}
    return _rest(renamed) | _record_and_looks(renamed)


def _record_and_looks(flat: dict[str, Any]) -> dict[str, Any]:
    return {"record": _picked(flat, RECORD), "looks": _renamed(flat, LOOKS)}


def _picked(flat: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: flat[name] for name in names if name in flat}


def _renamed(flat: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {new: flat[old] for old, new in names.items() if old in flat}


def _rest(flat: dict[str, Any]) -> dict[str, Any]:
    """What belongs to the trial, or the container, itself."""
    moved = {*RECORD, *LOOKS, *DERIVATION, *TRAFFIC}
    return {name: value for name, value in flat.items() if name not in moved}
