"""The files of a report: every format into the run directory, and JUnit XML or SARIF at places of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stop_harness.conductor import crash_report, store
from stop_harness.errors import StoreError
from stop_harness.model import Report
from stop_harness.trial import surroundings

if TYPE_CHECKING:
    from stop_harness.renderers import html

HTML_FILE = "report.html"
JUNIT_FILE = "junit.xml"
SARIF_FILE = "results.sarif"


def write(built: Report, directory: store.RunDirectory) -> tuple[str, ...]:
    """Every format into the run directory, each whether or not the others could be. Gives what failed, in sentences."""
    from stop_harness.renderers import csv_table, html, markdown
    from stop_harness.renderers.results import results_json

    attempts = _Attempts(directory)
    attempts.make("results.json", lambda: results_json.pieces(built))
    attempts.make(JUNIT_FILE, lambda: _junit(built))
    attempts.make(SARIF_FILE, lambda: _sarif(built))
    attempts.make("results.csv", lambda: csv_table.render(built))
    attempts.make("summary.md", lambda: markdown.render(built))
    pictures, for_phones = attempts.draw(built)
    for name, svg in pictures.items():
        attempts.make(f"plots/{name}.svg", partial(str, svg))
    attempts.make(HTML_FILE, lambda: html.pieces(built, pictures, for_phones))
    return tuple(attempts.problems)


def write_elsewhere(
    built: Report,
    junitxml: Path | None,
    sarif: Path | None,
    code_quality: Path | None = None,
    *,
    shared: bool | None = None,
) -> tuple[str, ...]:
    """JUnit XML, SARIF and the code quality report at places of their own, None: not asked for.

    `shared` as in `RunDirectory`. Gives what failed, in sentences.
    """
    problems: list[str] = []
    for path, render in ((junitxml, _junit), (sarif, _sarif), (code_quality, _code_quality)):
        if path is not None:
            attempts = _Attempts(store.RunDirectory(path.parent, shared=shared))
            attempts.make(path.name, partial(render, built))
            problems += attempts.problems
    return tuple(problems)


class _Attempts:
    """Files made one by one; what went wrong with each is kept."""

    def __init__(self, directory: store.RunDirectory) -> None:
        self._directory = directory
        self.problems: list[str] = []

    def make(self, name: str, render: Callable[[], str | Iterable[str | bytes]]) -> None:
        """One file."""
        try:
            self._directory.write(name, render())
        except StoreError as error:
            self.problems.append(str(error))
        except Exception as error:  # noqa: BLE001 - a fault in one format must not cost the others
            self.problems.append(f"{name} could not be made: {crash_report.note(error)}")

    def draw(self, built: Report) -> tuple[html.Pictures, html.Pictures]:
        """The pictures; none where they cannot be drawn."""
        try:
            from stop_harness.renderers import html

            surroundings.require_room_for_libraries()
            return html.draw(built)
        except MemoryError as error:  # no fault of ours
            self.problems.append(f"the plots could not be drawn: {error or 'no memory'}")
        except Exception as error:  # noqa: BLE001 - without memory or threads their library fails in its own ways
            self.problems.append(f"the plots could not be drawn: {crash_report.note(error)}")
        return {}, {}


def _junit(built: Report) -> str:
    from stop_harness.renderers import junit

    return junit.render(built)


def _sarif(built: Report) -> str:
    from stop_harness.renderers import sarif

    return sarif.render(built)


def _code_quality(built: Report) -> str:
    from stop_harness.renderers import code_quality

    return code_quality.render(built)


def without_plots() -> str | None:
    """Why the reports have no plots, with what to do about it; None where they have."""
    from stop_harness.renderers.plots import drawing

    return drawing.unavailable()
