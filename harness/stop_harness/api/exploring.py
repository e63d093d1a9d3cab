"""`explore`: a search for the stop that breaks, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from stop_harness.api import keywords as kw
from stop_harness.api.calls import LoggingListener, waivers_of_project, watched
from stop_harness.api.log import LOG
from stop_harness.api.results import NotGraceful, NotJudged, RunReport
from stop_harness.conductor import asked, exit_codes, exploring, stored_runs, write_report
from stop_harness.experiments.explore.result import Exploration, SearchAnswer
from stop_harness.model import Outcome

if TYPE_CHECKING:
    from stop_harness.experiments.explore.result import BreakingStop


class ExploreKeywords(TypedDict, total=False):
    """Keywords of `explore`.

    - `for_s`: search for so long; without it five minutes.
    - `stops`: begin nothing new after so many stops.
    - `seed`: draw what is random by it; without it another each time.
    - `write`: write what was found to this scenario file; without it to `NAME.found.yaml` beside the searched one.
    - `engine`: `"auto"`, `"docker"`, `"process"` or `"ecs"`.
    - `jobs`: at most so many stops at once, or `"auto"`.
    - `report_dir`: write a report of the stops that count into a new folder in here.
    - `share_report`: let other users read the report, as far as the umask allows.
    - `show_values`: show the values of environment variables in the report.
    - `base_image`: replace the base image of Dockerfiles that have `ARG BASE_IMAGE`.
    """

    for_s: kw.Duration
    stops: int
    seed: int
    write: kw.StrPath
    engine: str
    jobs: int | str
    report_dir: kw.StrPath
    share_report: bool
    show_values: bool
    base_image: str


@dataclass(frozen=True)
class ExploreResult:
    """What `explore` came to.

    `record`: all of the search. `report`: the undisturbed stops and the repetitions of what was found, as `run` gives
    them; it can be written afterwards. `scenario_file`: what was found, as a scenario that shows it again; None: there
    was nothing to write. `notes`: what was said meanwhile. `problems`: what the harness itself could not do.
    `exit_code`: with which the command line would end: 0 nothing was found, 1 a stop was found that fails, 3 too little
    could be judged, 4 the harness failed.
    """

    record: Exploration
    report: RunReport
    scenario_file: Path | None
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    exit_code: int

    @property
    def answer(self) -> SearchAnswer:
        """`"found"`, `"nothing"`, or `"not_judged"` where too little could be judged."""
        return self.record.answer

    @property
    def what(self) -> str | None:
        """The least that it takes, such as `"under disk full /spool before the stop"`; `"undisturbed"` where the
        scenario's own stop fails. None: nothing was found."""
        from stop_harness.experiments.explore.candidate import words

        return words(self._finding.candidate) if self._finding else None

    @property
    def outcome(self) -> Outcome | None:
        """Of the stop that was found, such as `"killed"`. None: nothing was."""
        return self._finding.seen.outcome if self._finding else None

    @property
    def reason(self) -> str:
        """Why that stop is what it is, or why too little could be judged, in a sentence; empty where nothing was
        found."""
        return self._finding.seen.reason if self._finding else self.record.problem or ""

    @property
    def failed(self) -> int:
        """How often it failed when it was repeated; 0 where nothing was found."""
        return self._finding.failed if self._finding else 0

    @property
    def repeated(self) -> int:
        """How often it was repeated and could be judged."""
        return self._finding.repeated if self._finding else 0

    @property
    def undisturbed(self) -> bool:
        """What was found is the scenario's own stop: it is to be mended first, and nothing else was searched."""
        return self._finding is not None and self._finding.undisturbed

    @property
    def stops(self) -> int:
        """How many stops were performed."""
        return self.record.stops

    @property
    def seed(self) -> int:
        """By which was drawn what is random."""
        return self.record.seed

    @property
    def _finding(self) -> BreakingStop | None:
        return self.record.finding

    def assert_nothing_found(self) -> None:
        """Raise NotGraceful where a stop was found that fails, NotJudged where too little could be judged. Nothing
        found is no proof: see docs/explore.md."""
        if self.answer is SearchAnswer.FOUND:
            raise NotGraceful(str(self), self.report)
        if self.answer is not SearchAnswer.NOTHING or self.problems:
            raise NotJudged("\n".join((*self.problems, str(self))), self.report)

    def to_json(self) -> str:
        """What `--json` prints."""
        from stop_harness.renderers.sections import explore_text

        return explore_text.render_json(self.record)

    def __str__(self) -> str:
        from stop_harness.renderers.sections import explore_text

        return explore_text.render(self.record).rstrip("\n")


def explore(scenario: kw.StrPath, /, **keywords: Unpack[ExploreKeywords]) -> ExploreResult:
    """Search for a stop of this scenario file that is not graceful, as `stop-harness explore` does.

    Keywords are the options of that command; see `ExploreKeywords`. What is found is written as a scenario file, as the
    command does. Example:

        stop_harness.explore("stops/web.yaml", for_s=120).assert_nothing_found()

    Raises UsageError and ScenarioError for what cannot be searched, MissingExtra without the extra `explore`, and as
    `check` does. Ctrl-C ends the stops in flight, has their containers removed, and is then raised as
    KeyboardInterrupt.
    """
    listener = LoggingListener()
    with kw.told_in_python():
        given = kw.given(ExploreKeywords, keywords, "explore")
        files = kw.paths((scenario,), "explore")
        wanted = exploring.Wanted.of(given["for_s"], given["stops"], given["seed"])
        write = given["write"]
        settings = {**given, "repeat": None, "keep": False, "junitxml": None, "waivers": waivers_of_project()}
        request = asked.of_files(files, settings, (*kw.command_line("explore", keywords), str(scenario)))
        exploring.scenario_of_request(request)
        from stop_harness.conductor import explored_run  # late: what it searches with comes with the extra

        done = watched(
            lambda interruption: explored_run.explore(
                request, wanted, write, listener, interruption, progress=lambda text: LOG.info("%s", text)
            )
        )
        if done.directory is not None and (without := write_report.without_plots()) is not None:
            listener.note(without)
        built, notes = stored_runs.report_of(done.stored), tuple(listener.notes)
        code = exit_codes.of_report(built)
        report = RunReport(built, done.directory, notes, done.problems, code, done.stored)
        return ExploreResult(done.search, report, done.file, notes, done.problems, done.exit_code)
