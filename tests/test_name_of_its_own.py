"""The package has a name that no other has: neither a project's own folder `harness/` nor the package of that name on
PyPI gets in its way, nor does it get in theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMAND = str(Path(sys.executable).with_name("stop-harness"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a folder `harness/` of its own, which ends every process that takes it for ours."""
    (tmp_path / "harness" / "cli").mkdir(parents=True)
    (tmp_path / "harness" / "__init__.py").write_text("NAME = 'the project’s own'\n", encoding="utf-8")
    (tmp_path / "harness" / "cli" / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    (tmp_path / "test_it.py").write_text(
        "import harness\nimport stop_harness\n\n"
        "def test_both():\n    assert harness.NAME == 'the project’s own'\n    assert stop_harness.__version__\n",
        encoding="utf-8",
    )
    return tmp_path


def ran(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command in the project's folder, whose packages come before all others."""
    environment = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("words", [["--version"], ["check", "--help"]], ids=" ".join)
def test_the_command_runs_beside_a_package_named_harness(project: Path, words: list[str]) -> None:
    """As a console script and by `python -m`."""
    for command in ([COMMAND], [sys.executable, "-m", "stop_harness"]):
        done = ran(project, *command, *words)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.namespaces
def test_a_stop_is_performed_beside_a_package_named_harness(project: Path) -> None:
    """The helper processes of an engine find our modules, too."""
    done = ran(project, COMMAND, "check", "--engine", "process", "--timeout", "2s", "--", "sleep", "60")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1, done.stderr  # PID 1 without a handler


def test_the_project_s_own_tests_find_the_project_s_own_package(project: Path) -> None:
    """Both names can be imported in one process."""
    done = ran(project, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    assert done.returncode == 0, done.stdout


def test_what_is_installed_is_named_after_stop_harness_and_nothing_else(tmp_path: Path) -> None:
    """The wheel has one package, and the one that experiments of Chaos Toolkit name, so nothing of ours is ever
    imported by the name of another project."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True, timeout=60)
    subprocess.run([*build, str(source)], check=True, timeout=120, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"chaosstopharness", "stop_harness"}
    inside = zipfile.ZipFile(wheel).namelist()
    assert "stop_harness/engines/docker/programs/witness-x86_64" in inside
    assert "stop_harness/renderers/templates/report.html.j2" in inside
