"""What became of every process of a subject, from the helper's looks and the kernel's exit statuses."""

from __future__ import annotations

import os
from typing import Any

from stop_harness import signals
from stop_harness.model import ProcessFate, ProcessInfo


def put_together(reply: dict[str, Any], stop_signal: int) -> tuple[ProcessFate, ...] | None:
    """What the helper's looks and the kernel's exit statuses say; nobody hears the signals here."""
    first, status = reply["first"], reply["wait_status"]
    if first is None or status is None or reply["fates"] is None:
        return None
    inside = {row["host_pid"]: row["pid"] for row in (first, *(item["row"] for item in reply["fates"]))}
    name = first["command"].split(maxsplit=1)[0].rpartition("/")[2]
    told = [
        {"row": first, "name": name, "status": status, "born_ns": None, "end_ns": 0, "with_pid_one": False},
        *sorted(reply["fates"], key=lambda item: -(item["end_ns"] or 0)),
    ]
    return tuple(_fate(item, inside, stop_signal) for item in told)


def _fate(item: dict[str, Any], inside: dict[int, int], stop_signal: int) -> ProcessFate:
    row, status = item["row"], item["status"]
    number = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
    masks = ProcessInfo(row["pid"], 0, "", row["caught"], row["ignored"], row["blocked"])
    return ProcessFate(
        name=item["name"],
        command=row["command"],
        pid=row["pid"],
        parent_pid=inside.get(row["host_parent"], 0),
        end_ns=item["end_ns"],
        born_ns=item["born_ns"],
        exit_code=None if status is None or number is not None else os.WEXITSTATUS(status),
        exit_signal=number,
        by_teardown=number == signals.SIGKILL and item["with_pid_one"],
        handling=masks.disposition(stop_signal),
        state=row["state"],
        waits_in=row["waits_in"],
        cpu_ns=row.get("cpu_ns"),
    )
