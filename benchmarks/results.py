"""What was measured, section by section: kept in results.json, shown in results.md and docs/comparison.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RECORD, PAGE = HERE / "results.json", HERE / "results.md"
COMPARISON = HERE.parent / "docs/comparison.md"
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"

HEAD = """\
# Benchmarks

Written by `make benchmark`; [run.py](run.py), and the files beside it, say how each figure is taken. Medians unless
said otherwise; what is compared was measured in turns in the same run. A target is a ratio where it can be: seconds are
those of one machine.

Of 10, 100 and 300 containers 60 % leave at once, 25 % drain for 3 s, and 15 % ignore the stop signal until SIGKILL at
the stop timeout of 10 s. Each is one perl process, which takes 3 ms to start. All ways are given them in this order.
The scenario files say what is expected of each, and the harness starts those first that are expected to last longest.
The harness and testcontainers wait for the line `ready`; the docker commands and raw calls wait for nothing, so a
container may be told to stop before it listens, and then takes 10 s: the notes say how many did.
"""


@dataclass(frozen=True)
class Row:
    """One line of a table. `target` None: for comparison only."""

    what: str
    value: str
    target: str | None = None
    met: bool | None = None


@dataclass(frozen=True)
class Section:
    """One part of the benchmark. `numbers` are those of its figures that other tables use, by a name of their own;
    `text` replaces the table where another program wrote it."""

    name: str
    title: str
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class Place:
    """When and where a section was measured."""

    date: str
    machine: str
    engine: str
    load_average: float


def merge(section: Section, place: Place) -> dict[str, Any]:
    """Put a section into the record in place of its older self, and return the record."""
    record = read()
    record[section.name] = {**asdict(section), "place": asdict(place)}
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return record


def read() -> dict[str, Any]:
    """The record; empty where there is none."""
    return dict(json.loads(RECORD.read_text(encoding="utf-8"))) if RECORD.exists() else {}


def write_pages(record: dict[str, Any], order: Iterable[str]) -> None:
    """results.md whole, and the table of docs/comparison.md between its marks."""
    sections = [record[name] for name in order if name in record]
    PAGE.write_text(page(sections), encoding="utf-8")
    text = COMPARISON.read_text(encoding="utf-8")
    table = short_table(record)
    if table and BEGIN in text:
        COMPARISON.write_text(
            re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{table}\n{END}", text, flags=re.DOTALL), encoding="utf-8"
        )


def page(sections: list[dict[str, Any]]) -> str:
    """All sections; where and when stands once where it is the same for all."""
    parts, places = [HEAD], {_where(section["place"]) for section in sections}
    if len(places) == 1:
        load = max(section["place"]["load_average"] for section in sections)
        parts.append(f"{places.pop()} Load average before a section at most {load:.1f}.\n")
        places = set()
    for section in sections:
        parts.append(f"## {section['title']}\n")
        if places:
            parts.append(f"{_where(section['place'])}\n")
        if section["text"]:
            parts.append(section["text"].strip() + "\n")
        if section["rows"]:
            parts.append(_table(section["rows"]) + "\n")
        parts += [f"{note}\n" for note in section["notes"]]
    return "\n".join(parts)


def table_of(section: Section) -> str:
    """One section as it will stand on the page."""
    rows = [asdict(row) for row in section.rows]
    return "\n".join([f"## {section.title}", *([_table(rows)] if rows else []), section.text, *section.notes, ""])


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| | measured | target | met |", "|---|--:|--:|---|"]
    for row in rows:
        met = "" if row["met"] is None else "yes" if row["met"] else "**no**"
        lines.append(f"| {row['what']} | {row['value']} | {row['target'] or ''} | {met} |")
    return "\n".join(lines)


def _where(place: dict[str, Any]) -> str:
    return f"{place['date']}, {place['machine']}, {place['engine']}."


def short_table(record: dict[str, Any]) -> str:
    """A few lines for docs/comparison.md; empty while a section that it needs is missing."""
    if not {"one", "hundred", "serial", "flight", "reports", "start-up"} <= set(record):
        return ""
    one, hundred, serial, flight, reports, start = (
        record[name]["numbers"] for name in ("one", "hundred", "serial", "flight", "reports", "start-up")
    )
    loop_s, containers_s = serial["shell_loop_100_s"], serial["testcontainers_100_s"]
    ours_s, xargs_s, floor_s = hundred["harness_s"], hundred["xargs_s"], hundred["floor_s"]
    place = record["hundred"]["place"]
    lines = [
        f"{_where(place)} Load average before it {place['load_average']:.1f}.",
        "",
        "| | stop-harness | beside it |",
        "|---|--:|---|",
        f"| one stop, within a run | {one['trial_s']:.2f} s | {one['raw_s']:.2f} s: `docker run -d`, `stop`, `rm` |",
        f"| 100 containers: 60 leave at once, 25 drain for 3 s, 15 need SIGKILL at 10 s | {ours_s:.1f} s "
        f"| {xargs_s:.1f} s: the same commands by `xargs -P 100`, which judges nothing |",
        f"| | {loop_s / ours_s:.0f} times faster | {loop_s:.0f} s: the same commands in a loop |",
        f"| | {containers_s / ours_s:.0f} times faster | {containers_s:.0f} s: pytest with testcontainers |",
        f"| | {ours_s / floor_s:.2f} × | {floor_s:.1f} s: raw calls to the Engine API, all at once |",
        f"| {flight['in_flight']:.0f} trials in flight | {flight['peak_mb']:.0f} MB "
        f"| {flight['wrong']:.0f} wrong or inconclusive |",
        f"| report of 10,000 trials, five formats | {reports['all_s']:.1f} s, {reports['all_mb']:.0f} MB "
        f"| opens in Chromium in {reports['opened_s']:.2f} s |"
        if "opened_s" in reports
        else f"| report of 10,000 trials, five formats | {reports['all_s']:.1f} s, {reports['all_mb']:.0f} MB | |",
        f"| `stop-harness --help` | {start['help_s'] * 1000:.0f} ms "
        f"| {start['python_s'] * 1000:.0f} ms: `python -c pass` |",
    ]
    return "\n".join(lines)
