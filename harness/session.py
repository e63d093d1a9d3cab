"""A run as the terminal sees it: progress on standard error, and signals that end it."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from harness import exit_codes, terminal_output

if TYPE_CHECKING:
    from harness.progress import LiveProgress, PlainProgress
    from harness.run_request import RunOutcome, RunRequest
    from harness.trial import Interruption


def perform(request: RunRequest, color: str) -> RunOutcome:
    """A run with progress on standard error, Ctrl-C and SIGTERM ending it cleanly, a second one at once."""
    from harness import pipeline
    from harness.trial import Interruption

    progress = progress_for(color)
    interruption = Interruption()
    Interrupts(interruption, progress).install()
    try:
        return pipeline.run(request, progress, interruption)
    finally:
        progress.close()


class Interrupts:
    """First Ctrl-C or SIGTERM: no new trials, those in flight end now. Second: leave; the reaper cleans up."""

    def __init__(self, interruption: Interruption, progress: PlainProgress | LiveProgress) -> None:
        self._interruption, self._progress = interruption, progress

    def install(self) -> None:
        """Take over SIGINT and SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._interruption.by_user:
            os._exit(exit_codes.INTERRUPTED)
        self._interruption.request()
        if not self._progress.trials_begun:
            raise KeyboardInterrupt
        os.write(2, b"\ninterrupted: ending the trials in flight; once more to leave at once\n")


def progress_for(color: str) -> PlainProgress | LiveProgress:
    """A live table on a terminal, lines elsewhere."""
    from harness.progress import LiveProgress, PlainProgress

    live = sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
    return LiveProgress(colour=terminal_output.coloured(color)) if live else PlainProgress()
