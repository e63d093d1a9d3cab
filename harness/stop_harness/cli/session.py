"""A run as the terminal sees it: progress on standard error, and signals that end it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from stop_harness.cli import terminal_output
from stop_harness.conductor import exit_codes
from stop_harness.errors import UsageError
from stop_harness.records import dataclass

if TYPE_CHECKING:
    from stop_harness.cli.progress import LiveProgress, PlainProgress
    from stop_harness.conductor.request import RunOutcome, RunRequest
    from stop_harness.engines.docker.host import DockerHost
    from stop_harness.model import RunInfo
    from stop_harness.trial.perform import Interruption

ONE_HANG_UP_S = 1.0
"""The shell and then the kernel send SIGHUP when a terminal closes: within milliseconds, and it is one hang-up."""


def look_ahead(engine: str) -> Callable[[], DockerHost] | None:
    """Begin to look for the container engine, before the scenario is read, where that is what will be needed."""
    from stop_harness.conductor import open_engine

    return open_engine.look_ahead() if engine in {"auto", "docker"} else None


@dataclass(frozen=True)
class Manner:
    """How a run is told. `color`: as `--color`. `as_json`: standard output is for the results as JSON alone. `quiet`:
    no progress, and of the results the answer. `verbose`: also what builds write, and the engine's own time."""

    color: str
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    @classmethod
    def taken_from(cls, settings: dict[str, Any]) -> Manner:
        """Its options, which are then gone from the settings. Raises UsageError."""
        manner = cls(**{item.name: settings.pop(item.name) for item in fields(cls)})
        if manner.quiet and manner.verbose:
            raise UsageError("-q and -v say opposite things; give one of them")
        return manner


def perform(
    request: RunRequest,
    manner: Manner,
    find: Callable[[], DockerHost] | None = None,
    interruption: Interruption | None = None,
) -> RunOutcome:
    """A run with progress on standard error, a signal ending it cleanly, a second one at once.

    What the harness could not do that it was asked for is said at the end. `find`: what `look_ahead` gave.
    `interruption`: what hears of a signal, also of one that comes when the run is over.
    """
    from stop_harness.conductor import pipeline, ready_engine, write_report
    from stop_harness.trial.perform import Interruption

    request = replace(request, engine_time=manner.verbose)
    progress = progress_for(manner)
    interruption = interruption or Interruption()
    Interrupts(interruption, progress).install()
    try:
        opener = ready_engine.opener(request, find) if find is not None else None
        outcome = pipeline.run(request, progress, interruption, opener)
    finally:
        progress.close()
    if manner.verbose:
        click.echo(_engine_time(outcome.report.run), err=True)
    for problem in outcome.problems:
        click.echo(f"stop-harness: {problem}", err=True)
    if outcome.directory is not None and not manner.quiet and (without := write_report.without_plots()) is not None:
        click.echo(without, err=True)
    return outcome


def _engine_time(run: RunInfo) -> str:
    from stop_harness import wording

    if run.reference is None:
        return f"the engine's own time is not known: {run.engine.name} has no program for it that exits at once"
    return wording.reference_sentence(run.reference)


def ending_signals() -> tuple[signal.Signals, ...]:
    """SIGINT, SIGTERM, and SIGHUP unless it is ignored: that is how `nohup` asks to stay."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM, *(() if ignored else (signal.SIGHUP,)))


class Interrupts:
    """First Ctrl-C, SIGTERM or SIGHUP: no new trials, those in flight end now. Second: leave; the reaper cleans up."""

    def __init__(self, interruption: Interruption, progress: PlainProgress | LiveProgress) -> None:
        self._interruption, self._progress = interruption, progress
        self._hung_up_at = 0.0

    def install(self) -> None:
        """Take over the signals that end a run."""
        for number in ending_signals():
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._interruption.by_user:
            if number == signal.SIGHUP and time.monotonic() - self._hung_up_at < ONE_HANG_UP_S:
                return
            self._progress.abandon()
            os._exit(exit_codes.INTERRUPTED)
        if number == signal.SIGHUP:
            self._hung_up_at = time.monotonic()
        self._interruption.request()
        if not self._progress.trials_begun:
            raise KeyboardInterrupt
        self._progress.interrupted()


def progress_for(manner: Manner) -> PlainProgress | LiveProgress:
    """A live table on a terminal, lines elsewhere; where it is to be quiet, what the user should know alone."""
    from stop_harness.cli.progress import LiveProgress, PlainProgress, QuietProgress

    if manner.quiet:
        return QuietProgress()
    live = sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
    if live:
        return LiveProgress(colour=terminal_output.coloured(manner.color), verbose=manner.verbose)
    return PlainProgress(verbose=manner.verbose)


def lines_for(manner: Manner) -> PlainProgress:
    """Lines on a terminal, too: for what is no plan of trials, so that no table shows how far it is."""
    from stop_harness.cli.progress import PlainProgress, QuietProgress

    return QuietProgress() if manner.quiet else PlainProgress(verbose=manner.verbose)
