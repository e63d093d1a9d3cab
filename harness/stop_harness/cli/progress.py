"""What a run shows while it runs: a live table on a terminal, plain lines elsewhere. Both write to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from stop_harness import units
from stop_harness.engines.interface import BuildOutput, Engine
from stop_harness.model import NS_PER_S, EngineInfo, Plan, Status, Trial, TrialResult
from stop_harness.wording import count_of, printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

LIVE_ROWS = 12
REFRESH_PER_S = 4
INTERRUPTED = "interrupted: ending the trials in flight; once more to leave at once"


def describe(info: EngineInfo) -> str:
    """`Docker Engine 20.10.24 at unix:///var/run/docker.sock`."""
    return f"{info.product} {info.version} ({info.host})"


def announcement(planned: Plan, jobs: int, engine: Engine) -> str:
    """What begins now, and on what."""
    trials = count_of(planned.count, "trial")
    if planned.count > len(planned.trials):
        trials += f" from {count_of(len(planned.trials), 'stop')}"
    return f"{describe(engine.info())}: {trials}, up to {jobs} at once"


class PlainProgress:
    """One line an event, for logs and pipes."""

    def __init__(self, *, verbose: bool = False) -> None:
        self.trials_begun = False
        self._verbose = verbose
        self._lock = threading.Lock()
        self._done = self._total = 0

    def note(self, text: str) -> None:
        """A sentence."""
        self._line(text)

    def preparing(self, what: str, state: str) -> None:
        """`drains-5s: building`."""
        if self._verbose or not isinstance(state, BuildOutput):
            self._line(f"{what}: {state}")

    def planned(self, planned: Plan, jobs: int, engine: Engine) -> None:
        """What begins now, and on what."""
        self.trials_begun = True
        self._total += planned.count
        self._line(announcement(planned, jobs, engine))
        for skip in (item for item in planned.skipped if item.twin is None):  # the summary has what was not tried
            self._line(f"skipped       {skip.scenario}: {skip.reason}")

    def step(self, running: Trial, step: str) -> None:
        """Too much for a log."""

    def ended(self, result: TrialResult) -> None:
        """The verdict in one line."""
        from stop_harness.renderers import terminal  # late: it is loaded beside the first start

        self._done += 1
        self._line(f"[{self._done}/{self._total}] {terminal.trial_line(result)}")

    def interrupted(self) -> None:
        """The first Ctrl-C, heard in the middle of anything: no lock is taken."""
        with contextlib.suppress(OSError):  # closed, or the terminal is gone
            os.write(2, f"\n{INTERRUPTED}\n".encode())

    def abandon(self) -> None:
        """The second one: there is nothing on the screen to take away."""

    def close(self) -> None:
        """Nothing is open."""

    def _line(self, text: str) -> None:
        with self._lock:
            print(printable(text), file=sys.stderr, flush=True)


class QuietProgress(PlainProgress):
    """What the user should know, and nothing of what goes as it should."""

    def preparing(self, what: str, state: str) -> None:
        """As it should."""

    def planned(self, planned: Plan, jobs: int, engine: Engine) -> None:
        """Remembered alone."""
        self.trials_begun = True

    def ended(self, result: TrialResult) -> None:
        """The summary tells of it."""


class LiveProgress:
    """A table of what is draining, for how long, until when; verdicts that are not `pass` scroll above it."""

    def __init__(self, *, colour: bool, verbose: bool = False) -> None:
        from rich.console import Console

        self.trials_begun = False
        self._verbose, self._interrupted, self._height = verbose, False, 0
        self._console: Console = Console(stderr=True, no_color=not colour, highlight=False)
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Trial, str, float]] = {}
        self._preparing: dict[str, str] = {}
        self._counts = dict.fromkeys(Status, 0)
        self._total = 0
        self._live: Live | None = None

    def note(self, text: str) -> None:
        """A sentence above the table."""
        self._print(text)

    def preparing(self, what: str, state: str) -> None:
        """A line of its own while images are made."""
        if isinstance(state, BuildOutput):
            if self._verbose:
                self._print(f"{what}: {state}")
            return
        with self._lock:
            self._preparing[what] = state
        self._start()

    def planned(self, planned: Plan, jobs: int, engine: Engine) -> None:
        """From images to trials."""
        self.trials_begun = True
        with self._lock:
            self._preparing.clear()
            self._total += planned.count
        self._print(announcement(planned, jobs, engine))
        self._start()

    def step(self, running: Trial, step: str) -> None:
        """A trial moves on."""
        with self._lock:
            self._running[running.trial_id] = (running, step, time.monotonic())

    def ended(self, result: TrialResult) -> None:
        """A trial leaves the table."""
        with self._lock:
            self._running.pop(result.observation.trial_id, None)
            self._counts[result.verdict.status] += 1
        if result.verdict.status is not Status.PASS:
            from stop_harness.renderers import terminal

            self._print(terminal.trial_line(result))

    def interrupted(self) -> None:
        """The first Ctrl-C, heard in the middle of anything: the table says so when it is drawn next."""
        self._interrupted = True

    def abandon(self) -> None:
        """The second one, where no lock may be waited for: take the table away, and give the cursor back."""
        if self._live is not None:
            with contextlib.suppress(OSError):
                os.write(2, b"\r\x1b[2K" + b"\x1b[1A\x1b[2K" * max(0, self._height - 1) + b"\x1b[?25h")

    def close(self) -> None:
        """Take the table off the screen. Idempotent."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _start(self) -> None:
        if self._live is None:
            from rich.live import Live

            self._live = Live(
                get_renderable=self._render, console=self._console, refresh_per_second=REFRESH_PER_S, transient=True
            )
            self._live.start()

    def _print(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(printable(text)))

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            running, preparing, counts = list(self._running.values()), dict(self._preparing), dict(self._counts)
        if preparing:
            busy = [f"{name} ({state})" for name, state in preparing.items() if state in {"building", "pulling"}]
            ready = len(preparing) - len(busy)
            self._height = 1
            return _one_row(f"images: {ready} ready; {', '.join(busy) or 'done'}")
        done = sum(counts.values())
        said = "   ".join(f"{n} {status}" for status, n in counts.items())
        header = _one_row(f"{done}/{self._total} trials   {said}")
        table = Table(box=None, pad_edge=False, show_header=False)
        for column in ("scenario", "step", "for", "until"):
            table.add_column(column, no_wrap=True, overflow="ellipsis", justify="right" if column == "for" else "left")
        now = time.monotonic()
        rank = sorted(running, key=lambda item: (item[1] != "stopping", item[2]))
        for trial, step, since in rank[:LIVE_ROWS]:
            own = trial.scenario.stop.own_timeouts
            name = trial.scenario.name + ("" if own else f" {units.format_duration(trial.stop_timeout_ns)}")
            left_s = trial.stop_timeout_ns / NS_PER_S - (now - since)
            until = f"SIGKILL in {left_s:.0f} s" if step == "stopping" and left_s > 0 and not own else ""
            table.add_row(Text(name), Text(step), f"{now - since:.0f} s", until)
        more = len(running) - LIVE_ROWS
        rows: list[RenderableType] = [header, table]
        rows += [_one_row(f"… and {more} more")] if more > 0 else []
        rows += [_one_row(INTERRUPTED)] if self._interrupted else []
        self._height = len(rows) - 1 + table.row_count
        return Group(*rows)


def _one_row(text: str) -> Text:
    from rich.text import Text

    return Text(text, overflow="ellipsis", no_wrap=True)
