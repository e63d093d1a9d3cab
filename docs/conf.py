"""The documentation site, by Sphinx: `make site` builds it into build/site.

The pages are those that a code host shows, with the same relative links. So the source is the whole repository: a link
to a page leads to that page of the site, a link to any other file lets it be downloaded.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "stop-harness"
author = "the stop-harness contributors"
html_title = "stop-harness"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/**.md",
    "explore/README.md",
    "scenarios/README.md",
    "reports/README.md",
    "reports/example/summary.md",
    "benchmarks/*.md",
]
exclude_patterns = [".*", "build", "harness", "tests"]
nitpicky = True
myst_heading_anchors = 4  # as deep as links of the pages go
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
suppress_warnings = ["myst.header"]  # a summary is made to be a part of other pages, so it begins at H2
smartquotes = False  # they would make a dash of the two before an option
html_copy_source = False
html_show_sphinx = False

INDEXES = (root_doc, "docs/decisions")
"""Pages that consist of links to others: these are the navigation."""

PAGE_LINK = re.compile(r"\]\(([^)#\s:]+\.md)\)")
TOCTREE = "\n```{{toctree}}\n:hidden:\n{caption}\n{pages}\n```\n"
FRONT_DOOR = '<!doctype html><title>stop-harness</title><meta http-equiv="refresh" content="0; url=docs/index.html">\n'


def setup(app: Sphinx) -> None:
    """What Sphinx calls first."""
    app.connect("source-read", add_navigation)
    app.connect("build-finished", add_front_door)


def add_navigation(_app: Sphinx, document: str, content: list[str]) -> None:
    """Under each heading of an index the pages that it links to become one part of the site's navigation.

    They are not written as a toctree, because a code host would show that as a block of code.
    """
    if document not in INDEXES:
        return
    parts = re.split(r"^(?=## )", content[0], flags=re.MULTILINE)
    content[0] = "".join(part + _toctree(part) for part in parts)


def _toctree(part: str) -> str:
    pages = PAGE_LINK.findall(part)
    if not pages:
        return ""
    heading = re.match(r"## (.+)\n", part)
    return TOCTREE.format(caption=f":caption: {heading[1]}\n" if heading else "", pages="\n".join(pages))


def add_front_door(app: Sphinx, failure: Exception | None) -> None:
    """The pages lie in docs/, so the folder that is published needs an index.html that leads there."""
    if failure is None:
        Path(app.outdir, "index.html").write_text(FRONT_DOOR, encoding="utf-8")
