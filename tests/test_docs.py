"""Docs are run: generated pages are current, examples parse, command lines exist, links lead somewhere, and the
committed report is what today's rules say about its record. No network, no engine."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from stop_harness.cli import main, options
from stop_harness.conductor import exit_codes, settings, store, stored_runs
from stop_harness.scenario import discovery, scenario_file

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "reports/example"
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/*.md", "docs/decisions/*.md", "scenarios/*.md", "reports/*.md", "benchmarks/*.md")
    for page in ROOT.glob(pattern)
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
USAGE = (ROOT / "docs/usage.md").read_text(encoding="utf-8")

MOST_README_WORDS = 1300
"""A page that is read to its end; the rest has pages of its own, to which it links."""

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(stop-harness [^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
SHELL_OPERATORS = {"|", "||", "&&", ";", ">", ">>"}


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(page and number, text) of each fenced block of a language."""
    for page in PAGES:
        found = (text for name, text in BLOCK.findall(page.read_text(encoding="utf-8")) if name == language)
        for number, text in enumerate(found, start=1):
            yield f"{page.relative_to(ROOT)}#{number}", text


def command_lines() -> Iterator[tuple[str, str]]:
    """(place, text) of each `stop-harness …` or `make …` in shell blocks, and each `stop-harness …` in running text."""
    for place, text in blocks("sh"):
        for line in text.splitlines():
            if line.startswith(("stop-harness ", "make ")):
                yield place, line
    for page in PAGES:
        prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for line in INLINE.findall(prose):
            yield str(page.relative_to(ROOT)), line


def words_of(line: str) -> list[str]:
    """The words of one command up to the first shell operator, without its comment."""
    words = shlex.split(line, comments=True)
    end = next((at for at, word in enumerate(words) if word in SHELL_OPERATORS), len(words))
    return words[:end]


def anchors(page: Path) -> set[str]:
    """Fragment identifiers of a page's headings, as GitHub makes them."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(text))
    return {title.strip().replace(" ", "-") for title in titles}


def load(path: Path) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_generated_pages_are_current() -> None:
    """`make docs` would change nothing."""
    assert load(ROOT / "docs/generate.py").stale() == []


@pytest.mark.parametrize(("place", "text"), list(blocks("yaml")))
def test_every_yaml_example_is_valid(place: str, text: str) -> None:
    """Scenarios are read by the real parser, other YAML is at least YAML."""
    assert yaml.safe_load(text)
    if text.startswith("version: 1"):
        scenario_file.parse(text, place)


def test_some_examples_are_scenarios() -> None:
    """The pattern above finds what it is meant to find."""
    assert sum(text.startswith("version: 1") for _, text in blocks("yaml")) >= 5


@pytest.mark.parametrize(("place", "line"), list(command_lines()))
def test_every_command_line_is_accepted(place: str, line: str) -> None:
    """Its subcommand, options and their values exist; a target of make is one of the Makefile's."""
    program, name, *arguments = words_of(line)
    if program == "make":
        assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), place
        return
    if name in {"--version", "--help", "--help-all"}:
        return
    assert name in COMMANDS, place
    if arguments:  # a bare name in running text, `stop-harness judge`, stands for the command as such
        command_of(name).make_context(name, arguments)


COMMANDS = main.cli.list_commands(click.Context(main.cli))


def command_of(name: str) -> click.Command:
    """The command itself, from the file that it is in."""
    command = main.cli.get_command(click.Context(main.cli), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_has_help(name: str) -> None:
    """--help works, and says what the command does in a sentence."""
    result = CliRunner().invoke(main.cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert command_of(name).get_short_help_str().strip()
    assert re.search(rf"(stop-harness |`){name}\b", USAGE), "docs/usage.md does not list it"


def test_the_help_of_every_command_is_printed_at_once() -> None:
    """`--help-all` is what each command's `--help` says, those of the group `ecs` included."""
    result = CliRunner().invoke(main.cli, ["--help-all"])
    assert result.exit_code == 0, result.output
    for words in ([], *([name] for name in COMMANDS), ["ecs", "serve"]):
        assert CliRunner().invoke(main.cli, [*words, "--help"]).output.rstrip() in result.output


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    """docs/index.md and the pages that it links to lead to every other; the site is built from their lists of links."""
    index = ROOT / "docs/index.md"
    seen, found = set(), [index]
    while found:
        page = found.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            if page in {index, ROOT / "docs/decisions.md"}:
                links = LINK.findall(page.read_text(encoding="utf-8"))
                found += [(page.parent / link.partition("#")[0]).resolve() for link in links]
    assert set(PAGES) <= seen


def test_the_readme_can_be_read_to_its_end() -> None:
    """At most 1,300 words, with its examples and tables."""
    assert len(README.split()) <= MOST_README_WORDS


def test_every_decision_is_on_a_page_that_the_index_names() -> None:
    """The index links to each page of decisions and holds none itself."""
    index = (ROOT / "docs/decisions.md").read_text(encoding="utf-8")
    linked = {ROOT / "docs" / target for target in LINK.findall(index)}
    assert linked == set((ROOT / "docs/decisions").glob("*.md"))
    assert "**" not in index


def test_exit_codes_are_those_of_the_command_line() -> None:
    """The README's table, the generated page and --help name the same numbers."""
    it = exit_codes
    codes = {it.PASS, it.FAIL, it.USAGE, it.INCONCLUSIVE, it.HARNESS, it.INTERRUPTED}
    table = README.partition("| exit code | meaning |")[2].partition("\n\n")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes
    assert {code.number for code in exit_codes.EXIT_CODES} == codes
    assert {int(code) for code in re.findall(r"\b(\d+) [a-z]", options.EXIT_CODES_HELP)} == codes


def test_usage_page_lists_every_setting() -> None:
    """What `[tool.stop-harness]` and the environment may set."""
    listed = USAGE.partition("These can be set:")[2].partition(".\n")[0]
    assert {name.replace("-", "_") for name in re.findall(r"`([a-z-]+)`", listed)} == settings.SETTINGS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """Files exist, and so do the headings that links point to."""
    for link in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if fragment:
            assert fragment in anchors(target), f"{page.name}: {link}"


# ── The committed report ─────────────────────────────────────────────────────────────────────────────────────────────


def test_example_is_judged_today_as_it_was_then() -> None:
    """The same outcome, status and evidence for every trial of the stored record."""
    stored, then = store.read(EXAMPLE)
    now = stored_runs.judge(stored)
    assert [(v.trial_id, v.outcome, v.status, v.facts.sigkill_evidence) for v in now] == [
        (v.trial_id, v.outcome, v.status, v.facts.sigkill_evidence) for v in then
    ]


def test_example_results_follow_the_published_schema() -> None:
    """docs/results.schema.json describes results.json."""
    schema = json.loads((ROOT / "docs/results.schema.json").read_text(encoding="utf-8"))
    results = json.loads((EXAMPLE / "results.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(results, schema, cls=jsonschema.Draft202012Validator)


def test_example_holds_every_shipped_scenario() -> None:
    """`make example` was run after the last scenario was added or changed its stop timeouts."""
    shipped = {item.name: item.stop.timeouts_ns for item in discovery.load((ROOT / "scenarios",))}
    stored, _ = store.read(EXAMPLE)
    assert {item.name: item.stop.timeouts_ns for item in stored.scenarios} == shipped
    assert {item.scenario for item in stored.observations} == set(shipped)


def test_example_is_whole() -> None:
    """Every file of a report is there, and none names the machine that made it."""
    names = {path.name for path in EXAMPLE.iterdir()}
    assert names == {
        "run.json",
        "trials.jsonl",
        "results.json",
        "junit.xml",
        "results.csv",
        "results.sarif",
        "summary.md",
        "report.html",
        "plots",
    }
    assert {path.suffix for path in (EXAMPLE / "plots").iterdir()} <= {".svg", ".png"}
    stored, _ = store.read(EXAMPLE)
    for item in stored.scenarios:
        for path in (item.source, item.subject.build_directory):
            assert path is None or not Path(path).is_absolute()
