"""`--watch-files`: the same check or run again, whenever a file changes that it is made of."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from stop_harness.cli import session, terminal_output
from stop_harness.conductor import changes, exit_codes
from stop_harness.errors import BuildError, ImageError, ScenarioError, StopHarnessError, UsageError
from stop_harness.wording import count_of, one_line

if TYPE_CHECKING:
    from stop_harness.conductor.request import RunRequest
    from stop_harness.model import Report
    from stop_harness.trial.perform import Interruption

POLL_S = 0.5
"""How long somebody who has saved a file waits at most before anything happens."""
SHARE_OF_CPU = 0.05
"""A folder that takes long to look at is looked at less often."""
SETTLE_S = 0.2
"""Nothing may change for so long before a try begins: a checkout or a formatter writes many files one by one."""
MOST_TURNS = 50
"""So often at most: what never settles is tried as it is."""
MOST_NAMES = 3

MENDED_BY_AN_EDIT = (ScenarioError, BuildError, ImageError)
"""Errors of the first try that are waited on; others are of the command line or of this machine."""


@dataclass(frozen=True)
class Tried:
    """A try that came to its end. `code`: with which it alone would have exited."""

    report: Report
    code: int


@dataclass(frozen=True)
class Repeated:
    """What is tried again and again.

    `ask` reads the files and gives the request; both functions raise StopHarnessError. `named`: the files and folders
    that the command line names, which are waited for where `ask` cannot read them.
    """

    ask: Callable[[], RunRequest]
    perform: Callable[[RunRequest, Interruption], Tried]
    named: changes.Sources


def keep_trying(work: Repeated, manner: session.Manner) -> int:
    """Try until Ctrl-C; gives the exit code of the last try, or of an interrupted one where that came in the middle.

    Raises UsageError where no file can change, and the first error of the first try that no edit can mend.
    """
    return _Tries(work, manner).run()


class _Tries:
    def __init__(self, work: Repeated, manner: session.Manner) -> None:
        self._work, self._manner = work, manner
        self._named = self._sources = replace(work.named, streams=changes.streams())
        self._last: Report | None = None
        self._code = exit_codes.USAGE
        self._name = ""
        self._written = changes.WrittenByTries()
        self._told: set[Path] = set()

    def run(self) -> int:
        number = 1
        while True:
            try:
                before = self._try(first=number == 1)
                edited = self._wait(before)
            except _Over:
                click.echo(err=True)
                return self._code
            number += 1
            self._say_what_is_tried(edited, number)

    def _try(self, *, first: bool) -> changes.Stamps:
        """Gives how the files were when it began."""
        before = self._sources.stamps()
        try:
            request = self._work.ask()
            self._name = request.name
            self._sources = changes.of_request(request, self._named)
            if not self._sources:
                raise UsageError(
                    "--watch-files waits for a file to change, and an image alone has none: use --build DIR"
                )
            now = self._sources.stamps()
            before = now | {path: stamp for path, stamp in before.items() if path in now}
            self._perform(request)
        except StopHarnessError as error:
            if first and not isinstance(error, MENDED_BY_AN_EDIT):
                raise
            click.echo(f"stop-harness: {error}", err=True)
            self._code = error.exit_code
        return before

    def _perform(self, request: RunRequest) -> None:
        """A try that says what has become different. Raises _Over where a signal came meanwhile."""
        from stop_harness.trial.perform import Interruption

        interruption = Interruption()
        tried = self._work.perform(request, interruption)
        _take_signals()
        self._code = tried.code
        if interruption.by_user:  # in the middle, or when all was over but for the printing
            raise _Over
        self._say_difference(tried.report)
        self._last = tried.report

    def _wait(self, before: changes.Stamps) -> tuple[Path, ...]:
        """Until a file is another than before the try, and all is quiet; gives which. Raises _Over at a signal."""
        _take_signals()
        now, took_s = self._look()
        own = self._written.of(changes.changed(before, now))
        self._say_what_is_waited_for(own, count_of(len(now), "file"))
        if own:
            time.sleep(SETTLE_S)  # what was said may be on its way into one of them, as through tee
            now, took_s = self._look()
            before = {path: stamp for path, stamp in before.items() if path not in own}
            before |= {path: now[path] for path in own if path in now}
        while True:
            edited = changes.changed(before, now)
            if edited:
                now = self._settled(now)
                edited = changes.changed(before, now)
            if edited:  # not put back meanwhile
                return edited
            time.sleep(max(POLL_S, took_s / SHARE_OF_CPU))
            now, took_s = self._look()

    def _settled(self, now: changes.Stamps) -> changes.Stamps:
        for _ in range(MOST_TURNS):
            time.sleep(SETTLE_S)
            later, _took_s = self._look()
            if later == now:
                break
            now = later
        return now

    def _look(self) -> tuple[changes.Stamps, float]:
        """How the files are, and how long that took."""
        began = time.thread_time()
        return self._sources.stamps(), time.thread_time() - began

    def _say_what_is_tried(self, edited: tuple[Path, ...], number: int) -> None:
        names = ", ".join(map(_shown, edited[:MOST_NAMES]))
        more = f" and {len(edited) - MOST_NAMES} more" if len(edited) > MOST_NAMES else ""
        line = "──" if terminal_output.unicode() else "--"
        name = f" of {one_line(self._name)}" if self._name else ""
        click.echo(f"\n{line} {datetime.now():%H:%M:%S}  {names}{more} changed: try {number}{name}", err=True)

    def _say_what_is_waited_for(self, own: tuple[Path, ...], files: str) -> None:
        for path in (path for path in own if path not in self._told):
            self._told.add(path)
            click.echo(f"{_shown(path)} changes during every try, and is not waited for while one lasts", err=True)
        if not self._manner.quiet:
            click.echo(f"\nwaiting for a change of {files}; Ctrl-C ends with exit code {self._code}", err=True)

    def _say_difference(self, report: Report) -> None:
        if self._last is None:
            return
        from stop_harness.renderers.sections import last_try_text

        style = terminal_output.style(self._manner.color)
        coloured = style["colour"] and not self._manner.as_json
        text = last_try_text.render(self._last, report, width=style["width"], colour=coloured)
        click.echo(f"\n{text}", err=True, nl=False, color=coloured)


def of_check(given: Mapping[str, Any], command: tuple[str, ...]) -> changes.Sources:
    """What the options of `check` name, of which a bare command has the folder that it runs in. Raises UsageError for
    what no file changes."""
    from stop_harness.scenario import check_options, existing_options

    if existing_options.names_existing(given):
        raise UsageError("--watch-files does not go with --container: that is what it is, whatever becomes of a file")
    if given["kubernetes"] == "-":
        raise UsageError("--watch-files does not go with --kubernetes -: standard input can be read once; name a file")
    if check_options.is_bare(given) and command:
        return changes.Sources().and_context(Path(given["workdir"] or "."))
    named = [*given["compose"], *filter(None, (given["kubernetes"], given["task_definition"])), *given["env_file"]]
    sources = changes.of_paths(map(Path, named))
    return sources if given["build"] is None else sources.and_context(Path(given["build"]))


class _Over(KeyboardInterrupt):
    """A signal that ends the session came between two tries."""


def _take_signals() -> None:
    """From here to the next try, which has its own way with them."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise _Over

    for number in session.ending_signals():
        signal.signal(number, interrupt)


def _shown(path: Path) -> str:
    """As it would be typed here."""
    here = Path(os.path.realpath(Path.cwd()))
    return one_line(str(path.relative_to(here) if path.is_relative_to(here) else path))
