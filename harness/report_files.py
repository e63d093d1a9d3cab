"""The files of a report: every format into the run directory, and JUnit XML or SARIF at places of their own."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path

from harness import store
from harness.model import Report

HTML_FILE = "report.html"
JUNIT_FILE = "junit.xml"
SARIF_FILE = "results.sarif"

RENDERERS_NEED = ("matplotlib.backends.backend_svg", "matplotlib.figure", "pandas")
"""What the reports of every run import late, for the plots and the tables."""


def write(built: Report, directory: store.RunDirectory) -> None:
    """Every format into the run directory. Raises StoreError if it cannot be written."""
    from harness.renderers import csv_table, html, markdown, plots, results_json

    directory.write("results.json", results_json.render(built))
    write_junit(built, directory.path / JUNIT_FILE)
    write_sarif(built, directory.path / SARIF_FILE)
    directory.write("results.csv", csv_table.render(built))
    directory.write("summary.md", markdown.render(built))
    pictures = plots.render_all(built)
    for name, svg in pictures.items():
        directory.write(f"plots/{name}.svg", svg)
    directory.write(HTML_FILE, html.render(built, pictures))


def write_junit(built: Report, path: Path, *, shared: bool | None = None) -> None:
    """JUnit XML at a place of its own; `shared` as in `RunDirectory`. Raises StoreError."""
    from harness.renderers import junit

    store.RunDirectory(path.parent, shared=shared).write(path.name, junit.render(built))


def write_sarif(built: Report, path: Path, *, shared: bool | None = None) -> None:
    """SARIF at a place of its own, likewise. Raises StoreError."""
    from harness.renderers import sarif

    store.RunDirectory(path.parent, shared=shared).write(path.name, sarif.render(built))


def load_renderers() -> threading.Thread:
    """Beside the last stops, in a thread: what every report needs takes two seconds to import."""

    def load() -> None:
        for module in RENDERERS_NEED:
            importlib.import_module(module)

    thread = threading.Thread(target=load, name="load renderers", daemon=True)
    thread.start()
    return thread
