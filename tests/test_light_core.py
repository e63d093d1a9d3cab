"""What `pip install stop-harness` brings is enough to stop, to judge and to report; what needs more says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from stop_harness.errors import EXTRAS, install_command

ROOT = Path(__file__).resolve().parent.parent

SUBJECT = "import signal; print('ready', flush=True); signal.sigwait({signal.SIGTERM})"
BLOCKED = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}}); {SUBJECT}"

MOST_MEGABYTES = 90
"""Of site-packages after `pip install stop-harness`, pip and setuptools left out."""

NOT_IN_THE_CORE = {"numpy", "scipy", *(package for packages in EXTRAS.values() for package in packages)}

WITHOUT_EXTRAS = f"""
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(NOT_IN_THE_CORE)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refused())
from stop_harness.cli.main import main
main()
"""


def harness(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command where no package of an extra can be imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )


def checked(reports: Path) -> Path:
    """The run directory of a graceful stop."""
    check = ("check", "--ready-log", "ready", "--timeout", "5s", "--report-dir", reports)
    done = harness(*check, "--", sys.executable, "-c", BLOCKED)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    return reports / "latest"


def test_a_stop_is_performed_judged_and_reported_without_any_extra(tmp_path: Path) -> None:
    """Every format but the plots, by `check` and again by `report`; `judge` and `trend` as well."""
    latest = checked(tmp_path)
    for command in ("judge", "report", "trend"):
        done = harness(command, latest)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    written = {file.name for file in latest.resolve().iterdir()}
    assert written == {
        "junit.xml",
        "report.html",
        "results.csv",
        "results.json",
        "results.sarif",
        "run.json",
        "summary.md",
        "trials.jsonl",
    }
    assert json.loads((latest / "results.json").read_text())["summary"]["pass"] == 1
    assert (tmp_path / "trend.html").is_file()


def test_a_report_without_plots_says_in_one_line_what_would_add_them(tmp_path: Path) -> None:
    """On standard error, and it is no failure."""
    done = harness("report", checked(tmp_path))
    assert done.stderr == f"no plots: drawing them needs stop-harness[report]: {install_command('report')}\n"
    assert done.returncode == 0


def test_a_quiet_run_without_plots_says_nothing_of_them(tmp_path: Path) -> None:
    """What does not bear on the answer; without `--quiet` it is the last line on standard error."""
    check = ("check", "--ready-log", "ready", "--timeout", "5s", "--report-dir", tmp_path)
    program = ("--", sys.executable, "-c", BLOCKED)
    assert harness(*check, "--quiet", *program).stderr == ""
    assert harness(*check, *program).stderr.splitlines()[-1].startswith("no plots: ")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("check", "--engine", "ecs", "image"), "engine ecs"),
        (("check", "--task-definition", ROOT / "scenarios" / "tasks" / "deaf-sidecar.json"), "a task definition"),
        (("ecs", "serve"), "ecs serve"),
        (("stop-task", "--task", "abc"), "stop-task"),
    ],
)
def test_what_needs_the_extra_ecs_says_what_to_install(arguments: tuple[str, ...], what: str) -> None:
    """One line, and exit code 2: nothing is wrong with a container or an engine."""
    done = harness(*arguments)
    assert done.stderr.splitlines() == [f"stop-harness: {what} needs stop-harness[ecs]: {install_command('ecs')}"]
    assert (done.returncode, done.stdout) == (2, "")


def test_a_run_of_which_only_some_scenarios_need_an_extra_runs_the_others(tmp_path: Path) -> None:
    """The others are skipped, with what to install; that keeps the run from passing, as every skipped scenario does."""
    if shutil.which("docker") is None:
        pytest.skip("no docker here")
    task = ROOT / "scenarios" / "tasks" / "deaf-sidecar.json"
    for name, subject in {
        "task": f"{{task_definition: {task}}}",
        "folder": f"{{build: {tmp_path}, command: [{sys.executable}, -c, {json.dumps(BLOCKED)}]}}",
    }.items():
        text = f"version: 1\nname: {name}\nsubject: {subject}\nready: {{log: ready}}\nstop: {{timeouts: [5s]}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /here\n")
    done = harness("run", tmp_path, "--report-dir", tmp_path / "reports")
    if "no container engine" in done.stderr:
        pytest.skip("no container engine answers")
    skipped = f"task: a task definition needs stop-harness[ecs]: {install_command('ecs')}"
    assert " ".join(f"skipped {skipped}".split()) in " ".join(done.stdout.split())
    assert done.returncode != 2, done.stderr


CLONE = {"url": "file:///", "dir_info": {"editable": True}}
HOW_INSTALLED = [
    (CLONE, "pip install -e '{clone}[ecs]'"),
    ({"url": "file:///", "dir_info": {}}, "pip install '{clone}[ecs]'"),
    (
        {"url": "https://host.test/it.git", "vcs_info": {"vcs": "git", "commit_id": "0"}},
        "pip install 'stop-harness[ecs] @ git+https://host.test/it.git'",
    ),
    ({"url": "file:///gone", "dir_info": {"editable": True}}, "pip install 'stop-harness[ecs]'"),
    (None, "pip install 'stop-harness[ecs]'"),
]
"""What pip wrote down, and the command that follows; `file:///` stands for a clone's folder."""


@pytest.mark.parametrize(("written", "command"), HOW_INSTALLED)
def test_an_extra_is_installed_as_the_rest_was(written: dict[str, object] | None, command: str, tmp_path: Path) -> None:
    """The package lies in a folder of its own, with pip's note beside it."""
    clone, packages = tmp_path / "my clone", tmp_path / "lib" / "site-packages"
    clone.mkdir()
    (clone / "pyproject.toml").touch()
    shutil.copytree(ROOT / "harness" / "stop_harness", packages / "stop_harness")
    about = packages / "stop_harness-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stop-harness\nVersion: 0\n")
    if written is not None:
        written = {**written, "url": clone.as_uri() if written["url"] == "file:///" else written["url"]}
        (about / "direct_url.json").write_text(json.dumps(written))
    program = f"import sys; sys.path.insert(0, {str(packages)!r}); from stop_harness import errors; "
    program += "print(errors.install_command('ecs'))"
    for folder, shown in ((tmp_path, str(clone)), (clone, ".")):
        done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
        assert done.stdout == command.format(clone=shown) + "\n"


def test_stop_task_in_the_place_of_the_aws_cli_exits_as_that_does() -> None:
    """252, bad usage."""
    done = harness("stop-task", "--task", "abc", "--no-wait")
    assert (done.returncode, done.stderr.strip()) == (
        252,
        f"stop-task needs stop-harness[ecs]: {install_command('ecs')}",
    )


@pytest.mark.long
def test_the_core_is_small_and_works_as_it_is_installed(tmp_path: Path) -> None:
    """A fresh environment with nothing but what pip brings. Skipped where pip reaches no packages."""
    place, project = tmp_path / "venv", tmp_path / "project"
    venv.create(place, with_pip=True)
    shutil.copytree(ROOT / "harness", project / "harness", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    pip = [str(place / "bin" / "pip"), "--disable-pip-version-check", "install", "--quiet", str(project)]
    installed = subprocess.run(pip, capture_output=True, text=True, timeout=280, check=False)
    if installed.returncode:
        pytest.skip(f"pip cannot install here: {installed.stderr.splitlines()[-1]}")
    (packages,) = place.glob("lib/python*/site-packages")
    tools = ("pip", "setuptools", "pkg_resources")
    own = [folder for folder in packages.iterdir() if not folder.name.startswith(tools)]
    files = (file for folder in own for file in ([folder] if folder.is_file() else folder.rglob("*")))
    size = sum(file.stat().st_size for file in files if file.is_file())
    assert size <= MOST_MEGABYTES << 20, f"{size >> 20} MB"
    there = {folder.name for folder in own}
    assert not there & NOT_IN_THE_CORE
    command = [str(place / "bin" / "stop-harness"), "check", "--ready-log", "ready", "--timeout", "5s"]
    subject = ["--", sys.executable, "-c", BLOCKED]
    done = subprocess.run([*command, *subject], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_report_parses_no_source(tmp_path: Path) -> None:
    """CPython before 3.11.8 may raise SystemError in `ast.parse` while another thread parses, too, and a thread loads
    matplotlib while reports are written. Audit hooks know `ast.parse` by its file name."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from stop_harness.conductor import pipeline, store, write_report\n"
        "report = pipeline.report_of(store.read(Path(sys.argv[1]))[0])\n"
        "parsed = []\n"
        "def heard(event, arguments):\n"
        "    if event == 'compile' and arguments[1] == '<unknown>':\n"
        "        parsed.append(arguments[0])\n"
        "sys.addaudithook(heard)\n"
        "from stop_harness.renderers.plots import drawing\n"
        "drawing.unavailable = lambda: 'left out'\n"
        "assert write_report.write(report, store.RunDirectory(Path(sys.argv[2]))) == ()\n"
        "assert not parsed, parsed\n"
        "from stop_harness.renderers.results import results_json\n"
        "results_json.schema()\n"
        "assert parsed, 'the schema is made from docstrings'\n"
    )
    words = [sys.executable, "-c", code, str(ROOT / "reports" / "example"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
