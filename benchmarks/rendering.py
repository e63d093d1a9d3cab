"""Render one format of a made-up run of many trials, in a process of its own, and print what it cost as JSON.

    python -m benchmarks.rendering FORMAT TRIALS FILE

FORMAT is a name of `FORMATS`, or `none`: the run is made up and nothing is rendered.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.measure import memory_bytes
from stop_harness.conductor import store
from stop_harness.model import Report
from stop_harness.trial import surroundings
from tests.reports_factory import large_report

WITH_PLOTS, WITHOUT_PLOTS = ALL = ("all five in one process", "all five in one process, without plots")


def _json(report: Report) -> Iterable[bytes]:
    from stop_harness.renderers.results import results_json

    return results_json.pieces(report)


def _junit(report: Report) -> str:
    from stop_harness.renderers import junit

    return junit.render(report)


def _csv(report: Report) -> str:
    from stop_harness.renderers import csv_table

    return csv_table.render(report)


def _markdown(report: Report) -> str:
    from stop_harness.renderers import markdown

    return markdown.render(report)


def _html(report: Report) -> Iterable[str]:
    from stop_harness.renderers import html

    return html.pieces(report)


def _html_without_plots(report: Report) -> Iterable[str]:
    from stop_harness.renderers import html

    return html.pieces(report, {})


FORMATS: dict[str, Callable[[Report], str | Iterable[str | bytes]]] = {
    "JSON": _json,
    "JUnit": _junit,
    "CSV": _csv,
    "Markdown": _markdown,
    "HTML": _html,
}


def main() -> None:
    """Seconds (with imports, as in a run), the process's largest resident memory and what of it was there before."""
    name, trials, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    surroundings.economise()  # as every command does
    report, directory = large_report(trials), store.RunDirectory(file.parent)
    before_bytes, begun, cpu_begun = memory_bytes()[1], time.monotonic(), time.process_time()
    chosen = {
        WITH_PLOTS: tuple(FORMATS.values()),
        WITHOUT_PLOTS: (*list(FORMATS.values())[:-1], _html_without_plots),
        **{name: (render,) for name, render in FORMATS.items()},
    }.get(name, ())
    for render in chosen:
        directory.write(file.name, render(report))
    took_s, cpu_s = time.monotonic() - begun, time.process_time() - cpu_begun
    print(
        json.dumps(
            {
                "trials": len(report.results),
                "seconds": took_s,
                "cpu_seconds": cpu_s,
                "peak_bytes": memory_bytes()[1],
                "before_bytes": before_bytes,
                "file_bytes": file.stat().st_size if chosen else 0,
            }
        )
    )


if __name__ == "__main__":
    main()
