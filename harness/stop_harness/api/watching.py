"""`watch`: the stops that happen on an engine while a block of Python runs, judged one by one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

from stop_harness.api import keywords as kw
from stop_harness.api.log import LOG
from stop_harness.api.results import Judged, JudgedStop
from stop_harness.conductor import background, exit_codes, store, watched_run, watching
from stop_harness.errors import HarnessBug, UsageError
from stop_harness.model import NS_PER_S, Status, TimeoutSource
from stop_harness.report import watched
from stop_harness.report.watched import WatchTally

if TYPE_CHECKING:
    from stop_harness.engines.docker.watching import EngineWatch
    from stop_harness.report.watched import JudgedEnd


@dataclass(frozen=True)
class WatchedStop(JudgedStop):
    """One stop that somebody else asked for, and its verdict.

    `container`: its name. `container_id`: all 64 digits. `image`: as the container was started with it. `ended_at`:
    when PID 1 exited, in UTC; None where nobody told.
    """

    container: str
    container_id: str
    image: str
    ended_at: datetime | None

    @property
    def stop_timeout_source(self) -> TimeoutSource:
        """How the stop timeout is known, which no event names: `"sigkill"`, `"no_sigkill"`, `"call"`, `"container"` or
        `"engine"`; see docs/watch.md."""
        seen = self.record.observation.watched
        if seen is None:
            raise HarnessBug("the observation of a watched stop does not say who was watched")
        return seen.timeout_source


class WatchReport(Judged):
    """What a watch found; each container is a scenario of it."""

    def __str__(self) -> str:
        from stop_harness.renderers import watch_text

        tally, lines = WatchTally(), []
        for one in sorted(map(watched.of_result, self.record.results), key=lambda one: one.end.at_ns or 0):
            tally.add(one)
            if one.status is not Status.PASS:
                lines.append(watch_text.lines(one))
        lines += [f"{item.scenario}: {item.reason}\n" for item in self.record.skipped]
        return "".join((*lines, watch_text.summary(tally, store.elapsed_s(self.record.run) or 0.0)))


def watch(**keywords: Unpack[kw.WatchKeywords]) -> Watch:
    """Judge every stop that happens on the engine during a `with` block, as `stop-harness watch` does.

    Keywords are the options of that command; see `WatchKeywords`. Example:

        with stop_harness.watch() as watched:
            subprocess.run(["docker", "stop", "web"], check=True)
        watched.assert_graceful(within=5)

    With `command` exactly the stops are judged that the command asks for, and the block ends when it has ended. It
    touches no container. Raises UsageError for what cannot be meant and for Podman; where the block begins also
    EngineError where no engine answers, and StoreError for a `report_dir` that cannot be written to.
    """
    with kw.told_in_python():
        given = kw.given(kw.WatchKeywords, keywords, "watch")
        if keywords.get("command") is not None and not given["command"]:
            raise UsageError("watch(command=[]): a command has at least one word")
        watching.check_labels(given["labels"])
        return Watch(given["labels"], given["command"], given["report_dir"], share_report=given["share_report"])


class Watch:
    """The stops of a `with` block; made by `watch`.

    Iterating gives each stop as soon as it is judged, from the first on, and ends with the watch: where the command has
    ended, or where `finish` was called. A loop over the stops of a watch without either ends by `break`. Every stop is
    kept, so a watch of months is for the command line.
    """

    def __init__(
        self, labels: tuple[str, ...], command: tuple[str, ...], report_dir: Path | None, *, share_report: bool
    ) -> None:
        self._labels, self._words = labels, command
        self._report_dir, self._share_report = report_dir, share_report
        self._changed = threading.Condition()
        self._ended = False
        self._stops: list[WatchedStop] = []
        self._notes: list[str] = []
        self._tally = WatchTally()
        self._open = contextlib.ExitStack()
        self._engine: EngineWatch | None = None
        self._run: watched_run.WatchedRun | None = None
        self._command: watching.WatchedCommand | None = None
        self._command_code: int | None = None
        self._report: WatchReport | None = None
        self._listening: Future[None] | None = None

    def __enter__(self) -> Watch:
        if self._engine is not None:
            raise UsageError("a watch is for one `with` block; call watch() again")
        with kw.told_in_python(), contextlib.ExitStack() as undone:
            engine = undone.enter_context(watching.opened(self._labels, self._note))
            line = watched_run.command_line(self._labels, self._words)
            run = watched_run.WatchedRun(engine.info, line, self._report_dir, shared=self._share_report)
            with contextlib.ExitStack() as folder:
                folder.callback(run.abandon)
                if self._words:
                    self._command = watching.WatchedCommand(engine, self._words, to_stderr=False)
                self._listening = background.begin("stop-harness watch", lambda: self._listen(engine, run))
                folder.pop_all()
            self._engine, self._run, self._open = engine, run, undone.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what has ended to be judged, and for the command; one that still runs is killed if the block was
        left by an error."""
        engine, run, listening = self._begun()
        with self._open:
            try:
                if self._command is None or error is not None:
                    engine.finish()
                wait((listening,))
            finally:
                if self._command is not None:
                    self._command_code = self._command.close()
                engine.finish()
                wait((listening,))
            left = tuple(item.name for item in engine.being_stopped() if self._is_ours(item.id))
        if listening.exception() is not None:  # not all stops were heard of: there is nothing to assert
            run.abandon()
            if error is None:
                listening.result()
            return
        self._report = self._reported(run, left)

    def __iter__(self) -> Iterator[WatchedStop]:
        _, _, listening = self._begun()
        told = 0
        while self._waited_for(told):
            yield self._stops[told]
            told += 1
        listening.result()

    @property
    def stops(self) -> tuple[WatchedStop, ...]:
        """Every stop that was judged so far, in the order of their ends."""
        return tuple(self._stops)

    @property
    def ends(self) -> dict[str, int]:
        """How many containers ended so far, by the kind of end: `"stop"`, `"kill"`, `"exit"`, `"crash"`, `"oom_kill"`,
        `"outside"`, `"unseen"`; see docs/watch.md. A kind that has not happened is left out."""
        return {kind.value: count for kind, count in self._tally.kinds.items()}

    @property
    def command_exit_code(self) -> int | None:
        """Of the command; negative where a signal ended it. None: it has not ended, or there is none."""
        return self._command_code

    @property
    def report(self) -> WatchReport:
        """All stops, as the results of `check` and `run` are. Raises UsageError before the block has
        ended: the last stops are not judged before that."""
        if self._report is None:
            raise UsageError("the stops of a watch are all judged when its `with` block has ended, not before")
        return self._report

    def assert_graceful(self, within: float | str | None = None) -> None:
        """Raise NotGraceful unless every stop was graceful and took at most `within` (seconds, or a text such as
        `"500ms"`; None: at most its stop timeout). Raise NotJudged where that is in doubt: no container was stopped, an
        end was not seen, a container is still being stopped, or the command failed.

        Raises UsageError before the block has ended.
        """
        self.report.assert_graceful(within)

    def finish(self) -> None:
        """End the watch from another thread: loops over it end when what has ended by now is judged."""
        engine, _, _ = self._begun()
        engine.finish()

    def _begun(self) -> tuple[EngineWatch, watched_run.WatchedRun, Future[None]]:
        if self._engine is None or self._run is None or self._listening is None:
            raise UsageError("a watch begins with a block: with stop_harness.watch() as watched: …")
        return self._engine, self._run, self._listening

    def _waited_for(self, number: int) -> bool:
        """Whether there is a stop of this number, once that is known."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or number < len(self._stops))
            return number < len(self._stops)

    def _is_ours(self, container_id: str, at_ns: int | None = None) -> bool:
        return self._command is None or self._command.asked_for(container_id, at_ns)

    def _note(self, text: str) -> None:
        self._notes.append(text)
        LOG.warning("%s", text)

    def _listen(self, engine: EngineWatch, run: watched_run.WatchedRun) -> None:
        """In a thread of its own, from the beginning of the block to its end."""
        try:
            for one in watching.judged_ends(engine):
                if self._is_ours(one.end.container_id, one.end.at_ns):
                    run.take(one)
                    with self._changed:
                        self._tally.add(one)
                        self._stops += _stops(one)
                        self._changed.notify_all()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _reported(self, run: watched_run.WatchedRun, left: tuple[str, ...]) -> WatchReport:
        stored, built, problems = run.finished(left, self._note)
        doubts = watched_run.doubts(self._tally, self._command_code or 0)
        code = exit_codes.of_report(built)
        if problems:
            code = exit_codes.HARNESS
        elif code == exit_codes.PASS and doubts:
            code = exit_codes.INCONCLUSIVE
        return WatchReport(built, run.directory, tuple(self._notes), (*problems, *doubts), code, stored)


def _stops(one: JudgedEnd) -> list[WatchedStop]:
    """The end, if it is one of a stop."""
    if one.result is None:
        return []
    end, at_ns = one.end, one.end.at_ns
    ended_at = None if at_ns is None else datetime.fromtimestamp(at_ns / NS_PER_S, UTC)
    return [WatchedStop(one.result, end.container, end.container_id, end.image, ended_at)]
