"""docs/tutorial.md as a reader follows it: each command typed into a shell, one after the other, and its answer."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import ROOT

BLOCK = re.compile(r"^```(sh)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAID = re.compile(r"^[✔✘] \w+: shop|\[[a-z0-9-]+\]|^.* \d of \d requests completed|^All \d trials .*$", re.MULTILINE)
"""What of an answer is the same on every machine: outcome and name, causes, what became of requests."""


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_command_of_the_tutorial_gives_the_answer_that_follows_it(tmp_path: Path) -> None:
    """In an empty folder, in one shell, in their order."""
    blocks = BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"))
    folder = tmp_path
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    answer, answered = "", 0
    for language, text in blocks:
        if language == "sh":
            script = f"cd {shlex.quote(str(folder))}\n{text}\npwd >{shlex.quote(str(tmp_path / 'where'))}"
            done = subprocess.run(
                ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=300
            )
            answer, folder = done.stdout, Path((tmp_path / "where").read_text(encoding="utf-8").strip())
            continue
        expected = [" ".join(found.split()) for found in SAID.findall(text)]
        assert expected, text
        said = " ".join(answer.split())
        assert all(each in said for each in expected), (expected, done.stdout, done.stderr)
        answered += 1
    assert answered == 6
