"""`[tool.stop-harness]` of pyproject.toml."""

from __future__ import annotations

from pathlib import Path

import pytest
from click import Command, Context, Option, ParamType

from stop_harness.cli.main import cli
from stop_harness.conductor import settings
from stop_harness.errors import UsageError

KNOWN = frozenset({"engine", "report_dir", "jobs", "fail_fast"})


def load(folder: Path, text: str) -> dict[str, object]:
    """What a pyproject.toml with this text sets."""
    (folder / "pyproject.toml").write_text(text)
    return settings.load(folder, KNOWN)[0]


def test_settings_are_read_by_the_options_names(tmp_path: Path) -> None:
    """Dashes as on the command line, or underscores; numbers and flags as TOML writes them."""
    text = '[tool.stop-harness]\nengine = "process"\nreport-dir = "out"\njobs = 4\nfail_fast = true\n'
    assert load(tmp_path, text) == {"engine": "process", "report_dir": "out", "jobs": "4", "fail_fast": True}


@pytest.mark.parametrize("text", ["", "[project]\nname = 'a'\n", "[tool.other]\nx = 1\n", "[tool.stop-harness]\n"])
def test_a_pyproject_without_our_table_sets_nothing(tmp_path: Path, text: str) -> None:
    """Most have none."""
    assert load(tmp_path, text) == {}


def test_the_nearest_pyproject_counts(tmp_path: Path) -> None:
    """As with other tools: from the working directory upwards, the first that exists."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    load(tmp_path, "[tool.stop-harness]\njobs = 1\n")
    assert settings.load(below, KNOWN) == ({"jobs": "1"}, ())
    load(tmp_path / "a", "[project]\n")
    assert settings.load(below, KNOWN) == ({}, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.stop-harness]\njbos = 1\n", r"jbos: unknown key; allowed: engine, fail-fast, jobs, report-dir"),
        ("[tool.stop-harness\n", "cannot be read: "),
        ("[tool]\nstop-harness = 3\n", r"stop-harness: a table is needed, such as \[tool.stop-harness\]"),
        ("tool = 3\n", "tool: a table is needed"),
        ("[tool.stop-harness]\nreport-dir = ['a']\n", r"report-dir: one value is needed, not \['a'\]"),
        ("[tool.stop-harness.jobs]\na = 1\n", "jobs: one value is needed"),
    ],
)
def test_mistakes_are_named_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    """A setting that is not understood must not be silently without effect."""
    with pytest.raises(UsageError, match=rf"pyproject\.toml: .*{message}"):
        load(tmp_path, text)


def test_settings_without_a_command_line_have_pythons_types(tmp_path: Path) -> None:
    """The environment comes first, an empty variable says nothing, and only what is asked for is given."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.stop-harness]\njobs = 4\nrepeat = 2\nkeep = true\nwitness = false\nreport-dir = 'out'\n"
    )
    environment = {"STOP_HARNESS_JOBS": "", "STOP_HARNESS_REPEAT": "3", "STOP_HARNESS_KEEP": "no"}
    found = settings.typed(tmp_path, environment, frozenset({"jobs", "repeat", "keep", "witness", "seed"}))
    assert found == ({"jobs": "4", "repeat": 3, "keep": False, "witness": False}, ())


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("keep = 'maybe'", {}, r"\[tool.stop-harness\] keep: 'maybe' is neither true nor false"),
        ("repeat = 'often'", {}, r"\[tool.stop-harness\] repeat: 'often' is no whole number"),
        ("base-image = true", {}, r"\[tool.stop-harness\] base-image: a value is needed, not true"),
        ("", {"STOP_HARNESS_REPEAT": "2.5"}, "STOP_HARNESS_REPEAT: '2.5' is no whole number"),
        ("", {"STOP_HARNESS_KEEP": "2"}, "STOP_HARNESS_KEEP: '2' is neither true nor false"),
    ],
)
def test_settings_of_another_type_are_refused(
    tmp_path: Path, text: str, environment: dict[str, str], message: str
) -> None:
    """Where they are set is named."""
    (tmp_path / "pyproject.toml").write_text(f"[tool.stop-harness]\n{text}\n")
    with pytest.raises(UsageError, match=message):
        settings.typed(tmp_path, environment, settings.SETTINGS)


def _command(name: str) -> Command:
    """One of the command line."""
    found = cli.get_command(Context(cli), name)
    assert found is not None
    return found


def test_the_command_line_reads_numbers_and_flags_alike() -> None:
    """The types that stand beside the names are those of the options."""
    params = [item for command in ("run", "check") for item in _command(command).params]
    flags = {item.name for item in params if isinstance(item, Option) and item.is_flag}
    counts = {item.name for item in params if isinstance(item.type, ParamType) and item.type.name.startswith("integer")}
    assert flags & settings.SETTINGS == settings.FLAGS
    assert counts & settings.SETTINGS == settings.COUNTS


def test_a_pyproject_that_is_no_text_is_named(tmp_path: Path) -> None:
    """Not UTF-8."""
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        settings.load(tmp_path, KNOWN)
