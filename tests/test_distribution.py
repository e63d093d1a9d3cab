"""What is released: the image's stop, and the workflow that builds and publishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stop_harness.conductor import exit_codes
from stop_harness.engines import dockerfile
from tests.test_docs import ROOT

AS_PID_ONE = """
import sys, time
from stop_harness.cli import main
main._heed_stop_signal()
print("heeds", flush=True)
while True:
    time.sleep(0.05)  # a handler that runs just before one long sleep would leave it asleep
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a PID namespace")
def test_as_pid_one_the_command_leaves_at_a_stop_signal_while_it_is_still_starting() -> None:
    """The kernel drops a signal for PID 1 that has no handler, and an engine would wait for its whole timeout."""
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", AS_PID_ONE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "heeds\n"
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        os.kill(int(child), signal.SIGTERM)
        assert process.wait(timeout=30) == exit_codes.INTERRUPTED


def test_the_image_starts_the_command_itself() -> None:
    """In exec form: below a shell it would never hear of a stop, as the harness says of others."""
    image = dockerfile.read((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert (image.entrypoint, image.command, image.stop_signal) == (("stop-harness",), ("--help",), None)


def test_the_release_workflow_follows_the_schema_of_its_system() -> None:
    """As published by SchemaStore, which check-jsonschema brings along."""
    file = ROOT / ".github" / "workflows" / "release.yml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
