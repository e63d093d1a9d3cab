"""Who runs what, where, and since when: what a report says about a run as such."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime

from stop_harness._version import VERSION
from stop_harness.model import EngineInfo, RunInfo


def begun(run_id: str, name: str, engine: EngineInfo, command_line: tuple[str, ...]) -> RunInfo:
    """A run that begins now, on this machine."""
    return RunInfo(
        run_id=run_id,
        name=name,
        started_at=now(),
        engine=engine,
        harness_version=VERSION,
        machine=f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}",
        cpu_count=os.cpu_count() or 1,
        command_line=command_line,
        host_name=platform.node(),
    )


def now() -> str:
    """In the form of records."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
