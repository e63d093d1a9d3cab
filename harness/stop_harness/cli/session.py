"""A run as the terminal sees it: progress on standard error, and signals that end it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import click

from stop_harness.cli import exit_codes, terminal_output

if TYPE_CHECKING:
    from stop_harness.cli.progress import LiveProgress, PlainProgress
    from stop_harness.engines.docker.host import DockerHost
    from stop_harness.run.request import RunOutcome, RunRequest
    from stop_harness.trial.perform import Interruption

ONE_HANG_UP_S = 1.0
"""The shell and then the kernel send SIGHUP when a terminal closes: within milliseconds, and it is one hang-up."""


def look_ahead(engine: str) -> Callable[[], DockerHost] | None:
    """Begin to look for the container engine, before the scenario is read, where that is what will be needed."""
    from stop_harness.run import open_engine

    return open_engine.look_ahead() if engine in {"auto", "docker"} else None


def perform(request: RunRequest, color: str, find: Callable[[], DockerHost] | None = None) -> RunOutcome:
    """A run with progress on standard error, a signal ending it cleanly, a second one at once.

    What the harness could not do that it was asked for is said at the end. `find`: what `look_ahead` gave.
    """
    from stop_harness.run import pipeline, ready_engine
    from stop_harness.trial.perform import Interruption

    progress = progress_for(color)
    interruption = Interruption()
    Interrupts(interruption, progress).install()
    try:
        opener = ready_engine.opener(request, find) if find is not None else None
        outcome = pipeline.run(request, progress, interruption, opener)
    finally:
        progress.close()
    for problem in outcome.problems:
        click.echo(f"stop-harness: {problem}", err=True)
    return outcome


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
            os._exit(exit_codes.INTERRUPTED)
        if number == signal.SIGHUP:
            self._hung_up_at = time.monotonic()
        self._interruption.request()
        if not self._progress.trials_begun:
            raise KeyboardInterrupt
        with contextlib.suppress(OSError):  # closed, or the terminal is gone
            os.write(2, b"\ninterrupted: ending the trials in flight; once more to leave at once\n")


def progress_for(color: str) -> PlainProgress | LiveProgress:
    """A live table on a terminal, lines elsewhere."""
    from stop_harness.cli.progress import LiveProgress, PlainProgress

    live = sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
    return LiveProgress(colour=terminal_output.coloured(color)) if live else PlainProgress()
