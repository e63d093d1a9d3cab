"""What `ps` does not print of a container's processes, read from /proc where the engine is this machine's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.model import ProcessInfo

_SWITCHES = "voluntary_ctxt_switches"


def with_switches(processes: tuple[ProcessInfo, ...]) -> tuple[ProcessInfo, ...]:
    """The same processes with `switches` where /proc has them; `pid` must be the host's.

    An engine may be "local" and run in another machine or PID namespace all the same (Docker Desktop): a process
    counts only if /proc names its parent and its masks as the engine does.
    """
    return tuple(replace(process, switches=_switches(process)) for process in processes)


def _switches(process: ProcessInfo) -> int | None:
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return None
    status = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    try:
        same = int(status["PPid"]) == process.parent_pid and int(status["SigIgn"], 16) == process.ignored
        return int(status[_SWITCHES]) if same else None
    except (KeyError, ValueError):
        return None
