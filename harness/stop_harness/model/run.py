"""One run: who ran what, where and when, and what is doubtful about it as a whole."""

from __future__ import annotations

from stop_harness.model.observation import EngineInfo
from stop_harness.model.reliability import DEFAULT_GOAL, ReliabilityGoal
from stop_harness.model.waiver import Waiver
from stop_harness.records import dataclass


@dataclass(frozen=True)
class ReferenceStop:
    """What the engine itself takes: the stop of a subject that leaves at once. For comparison, never subtracted.

    `start_ns`, `removal_ns`: the engine's calls. `signal_ns`: stop call → stop signal. `exit_ns`: stop signal → PID 1
    exited. `return_ns`: PID 1 exited → return of the stop call. None: no clock saw both ends.
    """

    start_ns: int
    signal_ns: int | None
    exit_ns: int | None
    return_ns: int | None
    removal_ns: int


@dataclass(frozen=True)
class RunInfo:
    """Who ran what, where and when. Times are ISO 8601 in UTC; `finished_at` None: the run did not end by itself.

    `until_sure`: stops were repeated until `goal` was shown or out of reach. `reference` None: not measured.
    `resumed_at`: when the run was continued after it had been interrupted or killed (`run --resume`).
    `digest_key`: names the key that the digests of values were made with (`report/redaction.py`); None: nothing is
    hidden. `shard`: `2/5`, or `1/5, 2/5` where some were merged; None: all of the run. `host_name`: of the machine that
    ran the harness; empty: not recorded. `waivers`: those of the project and of its scenarios, as they were when it
    began.
    """

    run_id: str
    name: str
    started_at: str
    engine: EngineInfo
    harness_version: str
    machine: str
    cpu_count: int
    command_line: tuple[str, ...] = ()
    shard: str | None = None
    finished_at: str | None = None
    interrupted: bool = False
    goal: ReliabilityGoal = DEFAULT_GOAL
    until_sure: bool = False
    reference: ReferenceStop | None = None
    digest_key: str | None = None
    resumed_at: tuple[str, ...] = ()
    host_name: str = ""
    waivers: tuple[Waiver, ...] = ()


@dataclass(frozen=True)
class RunWarning:
    """A doubt about the run as a whole, with what to do about it."""

    rule: str
    message: str
    advice: str
