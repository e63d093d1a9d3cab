"""Replace reports/example/ by a fresh run of the shipped scenarios on the docker engine (`make example`).

What would name the machine that made it is left out: the report directory comes from the environment, so that it does
not stand in the recorded command line, and the kernel is given by its version alone. The script refuses to publish a
run with failures, or one that names a path or a user of this machine.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from stop_harness.conductor import store, stored_runs, write_report

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "reports/example"
MAX_BYTES = 1_500_000


def main() -> int:
    """Run, anonymise, check, replace."""
    with tempfile.TemporaryDirectory(prefix="example-") as temporary:
        made = _run(Path(temporary))
        _anonymise(made)
        problems = _problems(made, temporary)
        if problems:
            print("\n".join(f"not published: {problem}" for problem in problems), file=sys.stderr)
            return 1
        shutil.rmtree(EXAMPLE, ignore_errors=True)
        shutil.copytree(made, EXAMPLE)
    print(f"wrote {EXAMPLE.relative_to(ROOT)}, {_size(EXAMPLE) // 1000} kB")
    return 0


def _run(report_dir: Path) -> Path:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STOP_HARNESS_")}
    for name in ("STOP_HARNESS_BASE_IMAGE",):
        if name in os.environ:
            environment[name] = os.environ[name]
    environment |= {"STOP_HARNESS_REPORT_DIR": str(report_dir), "STOP_HARNESS_ENGINE": "docker"}
    command = [sys.executable, "-m", "stop_harness", "run", "scenarios/"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return (report_dir / store.LATEST).resolve()


def _anonymise(made: Path) -> None:
    """Keep of the kernel's release only its version, and nothing of the host's name, and write the report again."""
    stored, _ = store.read(made)
    machine = re.sub(r"(\d+\.\d+\.\d+)-\S+", r"\1", stored.run.machine)
    stored = replace(stored, run=replace(stored.run, machine=machine, host_name=""))
    directory = store.RunDirectory(made)
    directory.write_run(
        store.RunFile(store.FORMAT_VERSION, stored.run, stored.scenarios, stored.trials_planned, stored.skipped)
    )
    write_report.write(stored_runs.report_of(stored), directory)


def _problems(made: Path, temporary: str) -> list[str]:
    """What speaks against committing the run."""
    # "root" is the user in most containers and a word of the language; a name of a person is neither.
    users = {getpass.getuser()} - {"root"}
    words = {str(ROOT), temporary, str(Path.home()) + "/", *users}
    if os.uname().nodename not in {"localhost", "vm"}:
        words.add(os.uname().nodename)
    found = [
        f"{path.relative_to(made)} contains {word!r}"
        for path in sorted(made.rglob("*"))
        if path.is_file()
        for word in sorted(words)
        if word in path.read_text(encoding="utf-8")
    ]
    if _size(made) > MAX_BYTES:
        found.append(f"{_size(made)} bytes are more than {MAX_BYTES}")
    return found


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
