"""What a run shows while it runs: a live table on a terminal, plain lines elsewhere. Both write to standard error."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from stop_harness import units
from stop_harness.engines.interface import Engine
from stop_harness.model import NS_PER_S, EngineInfo, Plan, Status, Trial, TrialResult
from stop_harness.wording import count_of, printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

LIVE_ROWS = 12
REFRESH_PER_S = 4


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

    def __init__(self) -> None:
        self.trials_begun = False
        self._lock = threading.Lock()
        self._done = self._total = 0

    def note(self, text: str) -> None:
        """A sentence."""
        self._line(text)

    def preparing(self, what: str, state: str) -> None:
        """`drains-5s: building`."""
        self._line(f"{what}: {state}")

    def planned(self, planned: Plan, jobs: int, engine: Engine) -> None:
        """What begins now, and on what."""
        self.trials_begun = True
        self._total += planned.count
        self._line(announcement(planned, jobs, engine))
        for skip in planned.skipped:
            self._line(f"skipped       {skip.scenario}: {skip.reason}")

    def step(self, running: Trial, step: str) -> None:
        """Too much for a log."""

    def ended(self, result: TrialResult) -> None:
        """The verdict in one line."""
        from stop_harness.renderers import terminal  # late: it is loaded beside the first start

        self._done += 1
        self._line(f"[{self._done}/{self._total}] {terminal.trial_line(result)}")

    def close(self) -> None:
        """Nothing is open."""

    def _line(self, text: str) -> None:
        with self._lock:
            print(printable(text), file=sys.stderr, flush=True)


class LiveProgress:
    """A table of what is draining, for how long, until when; verdicts that are not `pass` scroll above it."""

    def __init__(self, *, colour: bool) -> None:
        from rich.console import Console

        self.trials_begun = False
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
            return Text(f"images: {ready} ready; {', '.join(busy) or 'done'}", overflow="ellipsis", no_wrap=True)
        done = sum(counts.values())
        header = Text(f"{done}/{self._total} trials   " + "   ".join(f"{n} {status}" for status, n in counts.items()))
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
        return Group(header, table, Text(f"… and {more} more" if more > 0 else ""))
