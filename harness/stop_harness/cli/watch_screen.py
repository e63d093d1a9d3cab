"""What `watch` shows: lines, and on a terminal below them who is being stopped right now, and what was counted."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import click

from stop_harness.cli import terminal_output
from stop_harness.model import NS_PER_S
from stop_harness.wording import one_line, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stop_harness.engines.docker.watching import EngineWatch
    from stop_harness.report.watched import JudgedEnd, WatchTally

LIVE_ROWS = 12
REFRESH_PER_S = 4


def screen_for(color: str, *, as_json: bool, has_command: bool) -> Screen:
    """A live table on a terminal, lines elsewhere and where a command has the terminal."""
    live = sys.stdout.isatty() and sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
    return LiveScreen(color) if live and not (as_json or has_command) else Screen(color, as_json)


class Screen:
    """Lines on standard output, sentences about the watch itself on standard error."""

    def __init__(self, color: str, as_json: bool = False) -> None:
        self._color, self._as_json = color, as_json
        self._began = time.monotonic()

    def begin(self, engine: EngineWatch) -> None:
        """What is watched from now on."""
        from stop_harness.cli.progress import describe
        from stop_harness.wording import count_of

        self._began = time.monotonic()
        running = count_of(engine.watched, "running container")
        self.note(f"watching {describe(engine.info)}: {running}")
        if not engine.info.proves_lost_processes:
            self.note(
                "who is SIGKILLed silently is not seen from here (it needs root on the engine's machine): a stop that "
                "may have lost other processes is inconclusive"
            )

    def note(self, text: str) -> None:
        """A sentence."""
        from stop_harness.wording import printable

        click.echo(f"stop-harness: {printable(text)}", err=True)

    def show(self, one: JudgedEnd, tally: WatchTally) -> None:
        """One end."""
        from stop_harness.renderers import watch_text

        if self._as_json:
            click.echo(watch_text.document(one))
        elif text := watch_text.lines(one, **terminal_output.style(self._color)):
            self._print(text)

    def say(self, text: str) -> None:
        """A line for people."""
        click.echo(printable(text), err=self._as_json)

    def close(self) -> None:
        """Nothing is open."""

    def report(self, tally: WatchTally, left: tuple[str, ...]) -> None:
        """The end."""
        from stop_harness.renderers import watch_text

        style = terminal_output.style(self._color)
        text = watch_text.report(tally, time.monotonic() - self._began, left, **style)
        if self._as_json:
            click.echo(text, nl=False, err=True, color=False)
        else:
            terminal_output.echo(text, self._color)

    def _print(self, text: str) -> None:
        terminal_output.echo(text, self._color)


class LiveScreen(Screen):
    """A table on standard error, verdicts on standard output above it."""

    def __init__(self, color: str) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(color)
        self._engine: EngineWatch | None = None
        self._tally: WatchTally | None = None
        colour = terminal_output.coloured(color)
        self._console: Console = Console(no_color=not colour, highlight=False)
        self._live = Live(
            get_renderable=self._render, console=self._console, refresh_per_second=REFRESH_PER_S, transient=True
        )

    def begin(self, engine: EngineWatch) -> None:
        """See `Screen.begin`."""
        super().begin(engine)
        self._engine = engine
        self._live.start()

    def note(self, text: str) -> None:
        """See `Screen.note`."""
        from rich.text import Text

        self._console.print(Text(printable(text)))

    def show(self, one: JudgedEnd, tally: WatchTally) -> None:
        """See `Screen.show`."""
        self._tally = tally
        super().show(one, tally)

    def close(self) -> None:
        """Take the table off the screen."""
        self._engine = None
        self._live.stop()

    def _print(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text.from_ansi(text.rstrip("\n")))

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        from stop_harness.renderers import watch_text

        if self._engine is None:
            return Text("")
        table = Table(box=None, pad_edge=False, show_header=False)
        for column in ("container", "image", "for"):
            table.add_column(column, no_wrap=True, overflow="ellipsis", justify="right" if column == "for" else "left")
        stopping = sorted(self._engine.being_stopped(), key=lambda item: item.last_signal_ns or 0)
        for item in stopping[:LIVE_ROWS]:
            since_s = (time.time_ns() - (item.began_ns() or time.time_ns())) / NS_PER_S
            table.add_row(Text(one_line(item.name)), Text(one_line(item.image)), f"stopping for {since_s:.0f} s")
        more = len(stopping) - LIVE_ROWS
        counts = watch_text.summary(self._tally, time.monotonic() - self._began) if self._tally else "No stop so far."
        running = f"{self._engine.watched} running, {len(stopping)} being stopped. {counts}"
        return Group(Text(running), table, Text(f"… and {more} more" if more > 0 else ""))
