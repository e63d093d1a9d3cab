"""The run of a session: all trials of its scenario files, with one engine, in a thread of the session's own process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stop_harness import wording
from stop_harness.api import keywords
from stop_harness.conductor import asked, crash_report, pipeline, ready_engine
from stop_harness.errors import BuildError, ImageError, StopHarnessError
from stop_harness.model import Plan, Report, Scenario, StoredRun, Trial, TrialResult, Waiver
from stop_harness.pytest_plugin import shown
from stop_harness.pytest_plugin.meeting_place import POLL_S, ItemOutcome, ItemResult, MeetingPlace
from stop_harness.scenario import standard_faults
from stop_harness.trial import surroundings
from stop_harness.trial.perform import Interruption

if TYPE_CHECKING:
    from stop_harness.conductor.request import RunRequest
    from stop_harness.engines.interface import Engine
    from stop_harness.pytest_plugin.engines import EngineChoice


class SessionRun:
    """Performs the trials that the session asks for, and leaves at the meeting place what became of each.

    `keywords`: settings, as keywords of `stop_harness.run`, and `faults` as `--faults` has them. `waivers`: of the
    project. `keep` gets the finished run.
    `problems`: what the harness could not do, such as remove a container, in sentences.
    """

    def __init__(
        self,
        place: MeetingPlace,
        engine: EngineChoice,
        keywords: Mapping[str, Any],
        waivers: tuple[Waiver, ...],
        keep: Callable[[StoredRun, Report], None],
    ) -> None:
        self._place, self._engine, self._keep = place, engine, keep
        self._keywords, self._waivers = keywords, waivers
        self.problems: tuple[str, ...] = ()
        self._interruption = Interruption()
        self._trials_began = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, *, when_wanted: bool) -> None:
        """In a thread of its own. `when_wanted`: only as soon as somebody waits for a trial."""
        work = self._when_wanted if when_wanted else self._perform
        self._thread = threading.Thread(target=work, name="stop-harness", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Returns when nothing of the run is left. Trials that nobody has waited for yet are ended.

        An image that is built or pulled is not waited for: no container is there yet.
        """
        place = self._place
        if any(place.told(trial.trial_id) is None for trial in place.asked()):
            self._interruption.request()
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(POLL_S)  # with a limit, so that a second Ctrl-C is heard
            if self._interruption.requested and not self._trials_began.is_set():
                return

    def _when_wanted(self) -> None:
        waiting = threading.Event()
        while not self._place.is_wanted:
            if self._interruption.requested:
                return
            waiting.wait(POLL_S)
        self._perform()

    def _perform(self) -> None:
        rest = ItemResult(ItemOutcome.ERROR, "the session ended before this trial")
        try:
            self._engine.require()
            with surroundings.quick_turns():
                self._run(self._request())
        except StopHarnessError as error:
            skips = self._engine.is_reason_to_skip(error)
            rest = ItemResult(ItemOutcome.SKIPPED if skips else ItemOutcome.ERROR, str(keywords.in_python(error)))
        except BaseException as error:  # noqa: BLE001 - whatever it is: somebody waits for an answer
            rest = ItemResult(ItemOutcome.ERROR, f"a fault of stop-harness itself: {crash_report.note(error)}")
        finally:
            self._place.tell_rest(rest)

    def _run(self, request: RunRequest) -> None:
        """All at once. Where an image cannot be had, that is an error of its scenario alone, found by halving."""
        listener = _Listener(self._place, self._engine, request, self._trials_began)
        try:
            outcome = pipeline.run(request, listener, self._interruption)
        except (BuildError, ImageError) as error:
            half = len(request.scenarios) // 2
            if not half:
                listener.tell_all(ItemResult(ItemOutcome.ERROR, str(keywords.in_python(error))))
                return
            for part in (request.scenarios[:half], request.scenarios[half:]):
                if not self._interruption.requested:
                    self._run(replace(request, scenarios=part))
            return
        left_behind = (wording.left_behind_sentence(outcome.left_behind),) if outcome.left_behind else ()
        self.problems += (*outcome.problems, *left_behind)
        if outcome.stored is not None:
            self._keep(outcome.stored, outcome.report)

    def _request(self) -> RunRequest:
        """Of the trials that were selected, and of no other of their scenarios."""
        trials = self._place.asked()
        paths = tuple(dict.fromkeys(Path(trial.path) for trial in trials))
        settings = {name: value for name, value in self._keywords.items() if name != "faults"}
        given = keywords.given(keywords.RunKeywords, {**settings, "engine": self._engine.name}, "run")
        given |= {"faults": None, "waivers": self._waivers}
        request = asked.of_files(paths, given, ("pytest", *map(str, paths)))
        matrix = standard_faults.beside_faults(request.scenarios, self._keywords.get("faults"), each_applies=False)
        selected = frozenset(trial.trial_id for trial in trials)
        return replace(
            request,
            name="pytest",
            scenarios=matrix.scenarios,
            passed_over=(*request.passed_over, *matrix.not_tried),
            selected=selected,
        )


class _Listener:
    """Tells what becomes of each trial as it ends; see `conductor.request.Listener`."""

    def __init__(
        self, place: MeetingPlace, engine: EngineChoice, request: RunRequest, trials_began: threading.Event
    ) -> None:
        self._place, self._engine, self._request, self._trials_began = place, engine, request, trials_began
        self._day = ""
        self._hidden = pipeline.redaction_of(request, lambda _: None)  # the run itself says what there is to say

    def note(self, text: str) -> None:
        self._place.note(text)

    def preparing(self, what: str, state: str) -> None:
        pass

    def planned(self, planned: Plan, jobs: int, engine: Engine) -> None:
        """Tell of what this engine cannot run."""
        self._trials_began.set()
        self._day = datetime.now(UTC).date().isoformat()  # the run has begun, and by that day its report is made
        reasons = {item.scenario: item.reason for item in planned.skipped}
        for trial in ready_engine.expand(self._request).trials:
            if (reason := reasons.get(trial.scenario.name)) is not None:
                # A standard fault that cannot be made here is no missing engine.
                is_error = self._engine.required and trial.scenario.twin is None
                outcome = ItemOutcome.ERROR if is_error else ItemOutcome.SKIPPED
                self._place.tell(trial.trial_id, ItemResult(outcome, reason))

    def step(self, running: Trial, step: str) -> None:
        pass

    def ended(self, result: TrialResult) -> None:
        scenario: Scenario = self._hidden.scenario(result.observation.scenario)
        self._place.tell(result.observation.trial_id, shown.told(result, scenario, self._request.waivers, self._day))

    def tell_all(self, result: ItemResult) -> None:
        """The same of every trial."""
        for trial in ready_engine.expand(self._request).trials:
            self._place.tell(trial.trial_id, result)
