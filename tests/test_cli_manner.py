"""How runs are told: as JSON, quietly, with everything; help in groups; a terminal that is interrupted."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import click
import jsonschema
import pytest

from stop_harness.cli import option_groups
from stop_harness.cli.check import check as check_command
from stop_harness.cli.container_options import CONTAINER_OPTIONS
from stop_harness.cli.run import run as run_command
from stop_harness.conductor import store
from stop_harness.renderers.results import results_json
from tests.own_runs import PYTHON, STAYS, Project
from tests.screen import Screen, on_terminal
from tests.test_cli import COMMAND, Answer, ask, clean_surroundings, wait_until

__all__ = ["ask", "clean_surroundings"]  # fixtures: the command in this process, and nothing from outside for it

LEAVES = "import signal; print('ready', flush=True); signal.sigwait({signal.SIGTERM})"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(100)"


@pytest.fixture
def check(ask: Callable[..., Answer]) -> Callable[..., Answer]:
    """`check` of a Python program on the embedded engine."""

    def call(program: str, *options: str) -> Answer:
        return ask("check", "--ready-log", "ready", "--timeout", "2s", *options, "--", PYTHON, "-c", program)

    return call


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Where scenario files are written."""
    return Project(tmp_path, f"s{uuid.uuid4().hex[:12]}")


def test_run_as_json_prints_the_results_and_nothing_else(project: Project, ask: Callable[..., Answer]) -> None:
    """What `results.json` holds; progress and the place of the report are on standard error."""
    answer = ask("run", project.scenario("good", repeat=1), "--engine", "process", "--json")
    assert answer.code == 0, answer.err
    printed = json.loads(answer.out)
    jsonschema.validate(printed, results_json.schema())
    assert printed == json.loads(Path("reports/latest/results.json").read_text())
    assert "report.html" in answer.err


def test_a_quiet_run_that_passes_says_one_line(project: Project, ask: Callable[..., Answer]) -> None:
    """And nothing on standard error."""
    answer = ask("run", project.scenario("good", repeat=1), "--engine", "process", "-q")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "The trial met its expectation.\n"


def test_a_quiet_run_says_what_did_not_pass(project: Project, ask: Callable[..., Answer]) -> None:
    """Nothing of the scenario that did."""
    files = (project.scenario("good", repeat=1), project.scenario("bad", code=7, repeat=1))
    answer = ask("run", *files, "--engine", "process", "--quiet")
    assert (answer.code, answer.err) == (1, "")
    assert "fail  bad, stop timeout" in answer.out
    assert "good" not in answer.out
    assert answer.out.endswith("1 of 2 trials met its expectation; 1 failed.\n")


def test_a_quiet_check_says_its_answer(check: Callable[..., Answer]) -> None:
    """The first sentence of what it says else."""
    quiet, whole = check(STUBBORN, "-q"), check(STUBBORN)
    assert (quiet.code, whole.code, quiet.err) == (1, 1, "")
    assert quiet.out.startswith("✘ killed: ")
    assert whole.out.startswith(quiet.out)
    assert len(quiet.out) < len(whole.out) / 2


def test_what_the_user_should_know_is_said_quietly_too(ask: Callable[..., Answer]) -> None:
    """That no container engine answers decides what the answer is worth."""
    Path("scenario.yaml").write_text(f"version: 1\nname: w\nsubject: {{build: ., command: [{PYTHON}, -c, 'pass']}}\n")
    Path("Dockerfile").write_text("FROM scratch\n")
    answer = ask("run", "scenario.yaml", "-q")
    assert answer.err.startswith("no container engine (")


def test_quiet_and_verbose_are_opposites(check: Callable[..., Answer]) -> None:
    """Refused before anything starts."""
    answer = check(LEAVES, "-q", "-v")
    assert (answer.code, answer.out) == (2, "")
    assert "-q and -v say opposite things" in answer.err


def test_verbose_says_the_engines_own_time_also_without_a_report(check: Callable[..., Answer]) -> None:
    """`check` measures it then, which it does not otherwise."""
    assert "the engine's own time, for a program that exits at once: start " in check(LEAVES, "-v").err
    assert "the engine's own time" not in check(LEAVES).err


@pytest.mark.docker
def test_verbose_shows_what_builds_write_without_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[..., Answer]
) -> None:
    """A build argument that the build repeats is masked, there and in the error of a build that fails."""
    monkeypatch.undo()  # the engine of this machine
    monkeypatch.chdir(tmp_path)
    word = uuid.uuid4().hex
    run = f"RUN echo {word} $TOKEN >&2"
    Path("Dockerfile").write_text(f"FROM debian:bookworm-slim\nARG TOKEN\n{run}\nCMD sleep 100\n")
    Path("fails").write_text(f"FROM debian:bookworm-slim\nARG TOKEN\n{run} && false\nCMD sleep 100\n")
    for name, more in (("web", ""), ("broken", ", dockerfile: fails")):
        subject = f"{{build: ., build_args: {{TOKEN: correct-horse}}{more}}}"
        Path(f"{name}.yaml").write_text(f"version: 1\nname: {name}\nsubject: {subject}\nstop: {{timeouts: [1s]}}\n")
    verbose = ask("run", "web.yaml", "-v", "--engine", "docker")
    assert f"web: {word} …" in verbose.err
    failed = ask("run", "broken.yaml", "--engine", "docker")
    assert failed.code == 2
    assert f"{word} …" in failed.err
    for answer in (verbose, failed):
        assert "correct-horse" not in answer.out + answer.err
    quiet = ask("run", "web.yaml", "--engine", "docker")
    assert word not in quiet.err


# ── reports/ ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_of_reports_that_we_make_is_ignored_by_git(tmp_path: Path) -> None:
    """Nothing of it is offered for a commit; a folder that was there is its owner's."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for parent in (tmp_path / "reports", theirs):
        store.RunDirectory.create(parent, "web")
    assert (tmp_path / "reports" / ".gitignore").read_text() == "*\n"
    assert not (theirs / ".gitignore").exists()


def test_a_run_that_could_not_begin_takes_the_folder_back(tmp_path: Path) -> None:
    """All that it made, and nothing else."""
    parent = tmp_path / "reports"
    store.RunDirectory.create(parent, "web").remove_if_empty()
    assert not parent.exists()
    first, second = (store.RunDirectory.create(parent, name) for name in ("web", "other"))
    first.remove_if_empty()
    assert second.path.is_dir()


# ── help ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", [check_command, run_command], ids=["check", "run"])
def test_every_option_has_its_group(command: click.Command) -> None:
    """Options of the container come from a table of their own; no other option may slip into their group."""
    context = click.Context(command, help_option_names=["-h", "--help"])
    for option in command.get_params(context):
        if isinstance(option, click.Option) and option not in CONTAINER_OPTIONS and "--help" not in option.opts:
            named = any(option.name in names.split() for names in option_groups.GROUPS.values())
            assert named, f"{option.opts[0]} has no group in cli/option_groups.py"


def test_help_of_check_is_in_groups(ask: Callable[..., Answer]) -> None:
    """Each option once, below its heading; nothing is lost beside the plain list."""
    out = ask("check", "--help").out
    titles = [line.removesuffix(":") for line in out.splitlines() if line.endswith(":") and line[:1].isalpha()]
    assert titles == [title for title in option_groups.GROUPS if title != "Plan"]
    listed = [line.split()[0].rstrip(",") for line in out.splitlines() if line.startswith("  -")]
    parameters = check_command.get_params(click.Context(check_command, help_option_names=["-h", "--help"]))
    expected = {item.opts[0] for item in parameters if isinstance(item, click.Option)} - {"--help"} | {"-h"}
    assert sorted(listed) == sorted(expected)
    assert "  [IMAGE" not in out, "an argument is no option"


# ── on a terminal ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_ctrl_c_leaves_no_table_on_the_screen(project: Project, times: int) -> None:
    """Whether the run is let end, or left at once: the table is gone, and the cursor is there."""
    file = project.scenario("stays", repeat=3)
    text = file.read_text().replace('"0", "0"]', f'"{STAYS}", "0"]').replace("[10s]", "[100s]")
    file.write_text(text)
    assert STAYS in text
    typed: list[str] = []

    def interrupt(written: str, type_: object) -> None:
        assert callable(type_)
        if "SIGKILL in" in written and not typed:
            typed.append("once")
            type_("\x03")
        elif times > 1 and len(typed) == 1 and "once more to leave at once" in written:
            typed.append("twice")
            type_("\x03")

    command = [*COMMAND, "run", str(file), "--engine", "process", "--jobs", "2"]
    code, written = on_terminal(command, interrupt)
    assert (code, len(typed)) == (130, times)
    screen = Screen()
    screen.draw(written)
    assert screen.cursor_shown
    assert "SIGKILL in" not in screen.text
    assert "stopping" not in screen.text
    assert ("report: " in screen.text) == (times == 1), screen.text
    wait_until(lambda: not project.processes(), "no process of the run is left")
