"""What the command line asks of a run, who hears what happens meanwhile, and what comes of it."""

from __future__ import annotations

import secrets
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from stop_harness.conductor import open_engine
from stop_harness.engines.interface import Engine
from stop_harness.model import (
    DEFAULT_GOAL,
    Plan,
    ReliabilityGoal,
    RemedyTrial,
    Report,
    Scenario,
    SkippedScenario,
    StoredRun,
    Trial,
    TrialResult,
    Waiver,
)
from stop_harness.plan import trials
from stop_harness.records import dataclass


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is to be done; stored with it, so that it can be resumed.

    `repeat` None: as each scenario says. `junitxml`, `sarif` None: only in the run directory. `until_sure`: repeat
    until `goal` is shown or out of reach, each stop at most `max_repeat` times (None: twice as often as is needed
    without a failure), and begin nothing more after `max_time_ns`. `baseline`: a run directory to compare with.
    `code_quality` None: it is not written.
    `show_values`: values of environment variables are kept in clear. `share_report`: what is written is readable by
    whom the umask lets, not by its owner only. `witness`: bring ours to an engine whose kernel is out of reach.
    """

    engine: str = "auto"
    jobs: str = "auto"
    repeat: int | None = None
    shard: trials.Shard | None = None
    seed: int | None = None
    fail_fast: bool = False
    fast: bool = False
    infer: bool = False
    goal: ReliabilityGoal = DEFAULT_GOAL
    until_sure: bool = False
    max_repeat: int | None = None
    max_time_ns: int | None = None
    keep: bool = False
    try_fixes: bool = False
    junitxml: Path | None = None
    sarif: Path | None = None
    code_quality: Path | None = None
    base_image: str | None = None
    witness: bool = False
    cluster: open_engine.TargetCluster | None = None
    baseline: Path | None = None
    fail_on_slower: bool = False
    show_values: bool = False
    share_report: bool = False


@dataclass(frozen=True)
class Resumption:
    """The part of an unfinished run that stands; see `conductor/resume.py`."""

    directory: Path
    stored: StoredRun
    results: tuple[TrialResult, ...]
    remedies: tuple[RemedyTrial, ...]

    @property
    def done(self) -> frozenset[str]:
        """Ids of the trials whose results stand."""
        return frozenset(result.observation.trial_id for result in self.results)


@dataclass(frozen=True)
class RunRequest(RunOptions):
    """What the command line asks for. `report_dir` None: nothing is written. `resumption` None: a new run.

    `passed_over`: files that look like scenarios and are none, and standard faults that say nothing about a scenario;
    they are reported as skipped, and as not tried. `engine_time`: measure the
    engine's own time also where no report is written. `waivers`: of the project and of the scenarios.
    `selected`: ids of the trials that are wanted; None: all of the scenarios.
    """

    scenarios: tuple[Scenario, ...]
    name: str
    report_dir: Path | None
    command_line: tuple[str, ...] = ()
    resumption: Resumption | None = None
    passed_over: tuple[SkippedScenario, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    engine_time: bool = False
    selected: frozenset[str] | None = None

    @property
    def options(self) -> RunOptions:
        """The part that is stored."""
        return RunOptions(**{field.name: getattr(self, field.name) for field in fields(RunOptions)})


class Listener(Protocol):
    """Hears what happens while it happens; the terminal is one. Called from several threads."""

    def note(self, text: str) -> None:
        """Something the user should know: a fallback, a kept container."""

    def preparing(self, what: str, state: str) -> None:
        """An image is pulled or built; a line that a build wrote is `engines.interface.BuildOutput`."""

    def planned(self, planned: Plan, jobs: int, engine: Engine) -> None:
        """Trials are about to begin; once a run, and again for each batch of repetitions until it is sure."""

    def step(self, running: Trial, step: str) -> None:
        """A trial begins a step."""

    def ended(self, result: TrialResult) -> None:
        """A trial is judged and in the journal."""


@dataclass(frozen=True)
class RunOutcome:
    """A finished run: what it says and where it lies (None: it was not to be written). `left_behind`: what of it could
    not be removed from the engine. `problems`: what else the harness could not do that it was asked for, in sentences.
    `stored`: what the report is made of; None where a run was put together otherwise.
    """

    report: Report
    directory: Path | None
    left_behind: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    stored: StoredRun | None = None


def new_run_id() -> str:
    """Unique, and readable in `docker ps --filter label=…`."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
