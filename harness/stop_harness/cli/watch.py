"""`stop-harness watch`: its options, and where it prints what. Everything else is imported when it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from stop_harness.cli import session
from stop_harness.cli.options import COLOR, REPORT_DIR, SHARE_REPORT, CommandBehind, options
from stop_harness.conductor import exit_codes
from stop_harness.errors import UsageError

if TYPE_CHECKING:
    from stop_harness.cli import watch_screen
    from stop_harness.conductor.stop_metrics import StopMetrics
    from stop_harness.conductor.watched_run import WatchedRun
    from stop_harness.conductor.watching import WatchedCommand
    from stop_harness.engines.docker.watching import EngineWatch
    from stop_harness.report.watched import JudgedEnd, WatchTally

EPILOG = """\b
Exit codes: 0 every stop was graceful, 1 one was not, 2 bad usage,
3 inconclusive: no bad stop, but one that could not be judged; or COMMAND
failed, or stopped nothing, 4 engine unreachable, or no report written.
Ctrl-C and SIGTERM are how a watch ends; 130 if they ended COMMAND."""


@click.command(
    cls=CommandBehind,
    epilog=EPILOG,
    short_help="Judge every stop on this engine, whoever asks for it.",
    options_metavar="[OPTIONS] [-- COMMAND...]",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="Watch only containers with this label. May be repeated: then with all of them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option(
    "--exec",
    "on_bad_stop",
    metavar="COMMAND",
    help="Run this in a shell for each bad stop, which it gets as JSON on standard input.",
)
@click.option(
    "--prometheus",
    "metrics_at",
    metavar="[HOST]:PORT",
    help="Serve the counts and durations of stops here, for Prometheus.",
)
@options(REPORT_DIR, SHARE_REPORT, COLOR)
@click.pass_context
def watch(
    context: click.Context,
    /,
    *,
    labels: tuple[str, ...],
    as_json: bool,
    on_bad_stop: str | None,
    metrics_at: str | None,
    report_dir: Path | None,
    share_report: bool,
    color: str,
) -> None:
    """Judge every stop on this engine, whoever asks for it: `docker stop`, Compose, a deployment, an agent.

    Watches until Ctrl-C, and touches no container. Then it prints a report.

    With COMMAND behind `--`, it judges exactly the stops that the command asks for, until it ends.

    \b
    stop-harness watch --label env=staging
    stop-harness watch -- docker compose down
    """
    from stop_harness.cli import watch_screen
    from stop_harness.conductor import watching

    watching.check_labels(labels)
    words = context.meta.get("command")
    if words is not None and not words:
        raise UsageError("a command is needed behind --, such as: stop-harness watch -- docker compose down")
    screen = watch_screen.screen_for(color, as_json=as_json, has_command=bool(words))
    with contextlib.ExitStack() as open_things:
        metrics = _metrics(metrics_at)
        engine = open_things.enter_context(watching.opened(labels, screen.note))
        takers = _takers(screen, on_bad_stop, metrics, open_things)
        record = _record(engine, labels, words or (), report_dir, shared=share_report) if report_dir else None
        if record is not None:
            open_things.callback(record.abandon)
            takers.append(record.take)
        ending = _Ending(engine)
        command: WatchedCommand | None = None
        command_code = 0
        screen.begin(engine)
        try:
            if words:
                command = ending.command = watching.WatchedCommand(engine, words, to_stderr=as_json)
            tally = _watched(engine, takers, command)
        finally:
            screen.close()
            if command is not None:
                command_code = command.close()
        left = tuple(item.name for item in engine.being_stopped() if command is None or command.asked_for(item.id))
        screen.report(tally, left)
        code = exit_codes.of_status(tally.status)
        if command is not None:
            code = _of_command(code, command_code, tally, left, screen, interrupted=ending.asked)
        if record is not None and not _written(record, left, screen) and code != exit_codes.INTERRUPTED:
            code = exit_codes.HARNESS
    sys.exit(code)


Taker = Callable[["JudgedEnd", "WatchTally"], None]
"""Who is told of each end, and of all that was counted with it."""


def _metrics(address: str | None) -> StopMetrics | None:
    """A mistake in the address is told before any engine is asked. None: nobody wants any."""
    if address is None:
        return None
    from stop_harness.conductor.stop_metrics import StopMetrics

    return StopMetrics(address)


def _takers(
    screen: watch_screen.Screen, on_bad_stop: str | None, metrics: StopMetrics | None, open_things: contextlib.ExitStack
) -> list[Taker]:
    """The screen, and what options ask for beside it. The engine is listened to already."""
    takers: list[Taker] = [screen.show]
    if metrics is not None:
        open_things.callback(metrics.close)
        screen.note(f"metrics for Prometheus: {metrics.serve()}")
        takers.append(lambda one, _: metrics.add(one))
    if on_bad_stop:
        from stop_harness.conductor.watching import BadStopCommand
        from stop_harness.model import Status
        from stop_harness.renderers import watch_text

        runner = BadStopCommand(on_bad_stop, screen.note)
        open_things.callback(runner.close)
        takers.append(lambda one, _: runner.run(watch_text.document(one)) if one.status is Status.FAIL else None)
    return takers


def _record(
    engine: EngineWatch, labels: tuple[str, ...], words: tuple[str, ...], report_dir: Path, *, shared: bool
) -> WatchedRun:
    from stop_harness.conductor import watched_run

    return watched_run.WatchedRun(engine.info, watched_run.command_line(labels, words), report_dir, shared=shared)


def _written(record: WatchedRun, left: tuple[str, ...], screen: watch_screen.Screen) -> bool:
    """Whether all of the report was, which is said."""
    from stop_harness.conductor import write_report

    *_, problems = record.finished(left, screen.note)
    for problem in problems:
        screen.note(problem)
    if record.directory is not None:
        screen.say(f"\nreport: {record.directory / write_report.HTML_FILE}")
    return not problems


def _watched(engine: EngineWatch, takers: list[Taker], command: WatchedCommand | None) -> WatchTally:
    from stop_harness.conductor import watching
    from stop_harness.report.watched import WatchTally
    from stop_harness.trial import surroundings

    tally = WatchTally()
    surroundings.keep_what_is_loaded()
    for one in watching.judged_ends(engine):
        if command is None or command.asked_for(one.end.container_id, one.end.at_ns):
            tally.add(one)
            for take in takers:
                take(one, tally)
    return tally


def _of_command(
    code: int,
    command_code: int,
    tally: WatchTally,
    left: tuple[str, ...],
    screen: watch_screen.Screen,
    *,
    interrupted: bool,
) -> int:
    """A stop that was bad counts first; no stop, and a command that failed on its way, are no pass."""
    if command_code and not interrupted:
        from stop_harness.conductor import watched_run

        screen.note(watched_run.failed_command(command_code))
    if not tally.kinds.total() and not left:  # what is left was said with the report
        screen.note(
            "the command stopped no container, or did not ask the engine that DOCKER_HOST names: "
            "then watch without a command, with --label"
        )
    if interrupted:
        return exit_codes.INTERRUPTED
    in_doubt = command_code or left or not tally.stops
    return exit_codes.INCONCLUSIVE if code == exit_codes.PASS and in_doubt else code


class _Ending:
    """First Ctrl-C, SIGTERM or SIGHUP: what has ended by now is still told. Second: leave at once.

    A command is passed the signal, and then waited for: it has yet to stop what it is stopping.
    """

    def __init__(self, engine: EngineWatch) -> None:
        self._engine, self._asked_at = engine, 0.0
        self.command: WatchedCommand | None = None
        for number in session.ending_signals():
            signal.signal(number, self._on_signal)

    @property
    def asked(self) -> bool:
        """Whether somebody wants an end."""
        return bool(self._asked_at)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_at and not (number == signal.SIGHUP and now - self._asked_at < session.ONE_HANG_UP_S):
            os._exit(exit_codes.INTERRUPTED)
        self._asked_at = self._asked_at or now
        if self.command is None:
            self._engine.finish()
        elif not (number == signal.SIGINT and sys.stdin.isatty()):  # Ctrl-C reaches it by itself
            self.command.pass_on(number)
