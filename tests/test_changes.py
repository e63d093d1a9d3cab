"""Which files a check or a run is made of, and which of them have changed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.conductor import asked, changes
from stop_harness.conductor.changes import FileTree, Sources, WrittenByTries
from stop_harness.errors import UsageError
from stop_harness.model import Cause, TrialResult
from stop_harness.renderers.sections import last_try_text
from tests.test_cli import clean_surroundings
from tests.test_trend import report, stop, stops

__all__ = ["clean_surroundings"]  # a fixture that every test here needs

SETTINGS = {"engine": "auto", "jobs": "auto", "repeat": None, "keep": False, "junitxml": None, "base_image": None}


def written(*paths: str) -> None:
    """Files of a line each, with their folders."""
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a\n")


def names(sources: Sources) -> set[str]:
    """What counts, as it is seen from here."""
    return {str(path.relative_to(Path.cwd())) for path in sources.stamps()}


def request_of(*paths: str, report_dir: str | None = None) -> Sources:
    """What a run of these scenarios is made of."""
    named = changes.of_paths(map(Path, paths))
    where = None if report_dir is None else Path(report_dir)
    request = asked.of_files(tuple(map(Path, paths)), {**SETTINGS, "report_dir": where}, ())
    return changes.of_request(request, named)


def test_a_build_context_without_what_is_not_sent_counts() -> None:
    """As `.dockerignore` says, with its exceptions; what tools and editors leave there is nobody's edit."""
    written("app/Dockerfile", "app/main.py", "app/lib/a.py", "app/docs/a.md", "app/docs/keep.md", "app/data/big.bin")
    written("app/.git/HEAD", "app/node_modules/x/index.js", "app/lib/__pycache__/a.pyc")
    written("app/main.py~", "app/.main.py.swp", "app/4913")
    Path("app/.dockerignore").write_text("# what is not sent\ndocs\n!docs/keep.md\ndata\n")
    found = names(Sources().and_context(Path("app")))
    assert found == {"app/Dockerfile", "app/main.py", "app/lib/a.py", "app/docs/keep.md", "app/.dockerignore"}


def test_a_scenario_counts_with_everything_that_it_names() -> None:
    """Its file, its context, files of variables and what is mounted; not the reports that a run writes."""
    written(
        "stops/app/Dockerfile", "stops/app/main.py", "stops/web.env", "stops/conf/web.conf", "stops/reports/x/r.html"
    )
    Path("stops/web.env").write_text("A=1\n")
    Path("stops/web.yaml").write_text(
        "version: 1\nname: web\nsubject: {build: app, env_file: web.env, volumes: ['./conf:/etc/web']}\n"
    )
    everything = {"stops/web.yaml", "stops/app/Dockerfile", "stops/app/main.py", "stops/web.env", "stops/conf/web.conf"}
    assert names(request_of("stops/web.yaml", report_dir="stops/reports")) == everything
    written("stops/other.txt", "stops/notes.yml")
    assert names(changes.of_paths([Path("stops")])) == {"stops/web.yaml", "stops/notes.yml"}


def test_files_beside_a_compose_file_count() -> None:
    """`.env`, files of variables and included files mostly lie there, and are on no record."""
    written("shop/web/Dockerfile", "shop/web/main.py", "shop/.env", "shop/deep/er/file")
    Path("shop/compose.yaml").write_text("services: {web: {build: web}}\n")
    Path("stop.yaml").write_text("version: 1\nname: web\nsubject: {compose: {file: shop/compose.yaml, service: web}}\n")
    found = names(request_of("stop.yaml"))
    assert found == {"stop.yaml", "shop/compose.yaml", "shop/.env", "shop/web/Dockerfile", "shop/web/main.py"}


def test_what_the_command_prints_into_a_watched_folder_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop-harness check --build . --watch-files > check.log`."""
    written("Dockerfile", "check.log")
    status = Path("check.log").stat()
    monkeypatch.setattr(os, "fstat", lambda _number: status)
    sources = replace(Sources().and_context(Path()), streams=changes.streams())
    assert names(sources) == {"Dockerfile"}


@pytest.mark.parametrize("edit", ["write", "make", "remove", "chmod", "replace"])
def test_every_kind_of_edit_is_a_change(edit: str) -> None:
    """Also a script that becomes executable, and a file that an editor puts in the place of the old one."""
    written("app/a.sh", "app/b.sh")
    sources = Sources((FileTree(Path("app")),))
    before = sources.stamps()
    assert changes.changed(before, sources.stamps()) == ()
    file = Path("app/a.sh").resolve()
    match edit:
        case "write":
            file.write_text("another\n")
        case "make":
            file = file.with_name("c.sh")
            file.write_text("a\n")
        case "remove":
            file.unlink()
        case "chmod":
            file.chmod(0o755)
        case "replace":
            fresh = Path("app/.a.sh.swp")
            fresh.write_text("b\n")
            fresh.rename(file)
    assert changes.changed(before, sources.stamps()) == (file,)


def test_a_folder_with_too_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it."""
    monkeypatch.setattr(changes, "MOST_FILES", 2)
    written("app/1", "app/2", "app/3")
    with pytest.raises(UsageError, match=r"app holds more than 2 files, .*\.dockerignore"):
        Sources((FileTree(Path("app")),)).stamps()


@given(st.lists(st.sets(st.sampled_from("abc")), max_size=12))
def test_only_what_changes_in_every_try_is_taken_for_the_programs_own(tries: list[set[str]]) -> None:
    """A file counts unless it changed during this try and the two before it."""
    written_by = WrittenByTries()
    for number, during in enumerate(tries):
        last = tries[max(0, number - 2) : number + 1]
        own = set.intersection(*last) if len(last) == 3 else set()
        assert {str(path) for path in written_by.of(map(Path, during))} == own


# ── what is said of the difference ───────────────────────────────────────────────────────────────────────────────────


def because(result: TrialResult, cause: str) -> TrialResult:
    """The stop, with a cause of that id."""
    return TrialResult(result.observation, replace(result.verdict, cause=Cause(cause, "")))


def said(then: list[TrialResult], now: list[TrialResult]) -> str:
    """In one line."""
    return last_try_text.render(report(*then), report(*now), width=200).rstrip("\n")


def test_what_a_stop_came_to_stands_beside_what_it_was() -> None:
    """Its outcome, its duration, its cause; and whether it is as it was."""
    killed = because(stop(None), "pid1-no-handler")
    assert (
        said([killed], [stop(0.2)])
        == "  since the last try  web at 10 s: was killed (pid1-no-handler), is graceful after 0.20 s"
    )
    assert said([killed], [because(stop(None), "signal-ignored")]).endswith(
        "was killed (pid1-no-handler), is killed (signal-ignored)"
    )
    assert said([killed], [killed]) == "  since the last try  web at 10 s: killed (pid1-no-handler), as before"
    assert said([stop(5)], [stop(0.2)]).endswith("was graceful after 5.0 s, is graceful after 0.20 s")


def test_some_milliseconds_are_no_difference() -> None:
    """Two starts of the same container differ by more."""
    assert said([stop(0.01)], [stop(0.06)]).endswith("graceful after 0.06 s, as before")


def test_several_stops_are_counted_where_they_are_as_before() -> None:
    """Only what changed has a line, also one stop of several repetitions, and what was added or left out."""
    then = [*stops([None, None, 1], name="a"), stop(1, name="b"), stop(1, name="c"), stop(1, name="gone")]
    now = [*stops([1, None, 1], name="a"), stop(1, name="b"), stop(1, name="c"), stop(1, name="new")]
    lines = said(then, now).splitlines()
    assert [line.removeprefix("  since the last try  ") for line in lines] == [
        "a at 10 s: was killed, 1 of 3 as expected, is graceful, 2 of 3 as expected, median 1.0 s",
        "new at 10 s: is new",
        "gone at 10 s: was not stopped this time",
        "2 stops as before",
    ]


@pytest.mark.parametrize(("then", "now", "colour"), [(None, 1, "32"), (1, None, "31"), (5, 1, "33")])
def test_better_is_green_and_worse_is_red(then: float | None, now: float | None, colour: str) -> None:
    """By what was not as expected; another duration alone is neither."""
    text = last_try_text.render(report(stop(then)), report(stop(now)), colour=True)
    assert text.startswith(f"  \x1b[{colour}m")
