"""`stop-harness stop-task` and `aws ecs stop-task` with one environment, for comparison byte for byte."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from stop_harness.cli.stop_task import stop_task
from tests import aws_cli

NO_HOME = Path("/nonexistent")
INSTALLED = str(Path(sys.executable).parent / "stop-harness")


@dataclass(frozen=True)
class Printed:
    """What a command left behind."""

    stdout: bytes
    stderr: bytes
    code: int


def theirs(*arguments: str, **variables: str) -> Printed:
    """`aws ecs stop-task`. A variable of "" is left out."""
    return _printed(aws_cli.called(["ecs", "stop-task", *arguments], _environment(variables)))


def installed(*arguments: str, **variables: str) -> Printed:
    """`stop-harness stop-task --no-wait` as it is installed."""
    return run_installed("--no-wait", *arguments, **variables)


def run_installed(*arguments: str, **variables: str) -> Printed:
    """`stop-harness stop-task` as it is installed."""
    return _printed(aws_cli.started([INSTALLED, "stop-task", *arguments], _environment(variables)))


def on_a_terminal(*arguments: str) -> str:
    """What it writes on a terminal of its own."""
    environment = {**aws_cli.environment(NO_HOME, {}), "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    its_end, end = pty.openpty()
    try:
        command = [INSTALLED, "stop-task", *arguments]
        process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=environment)
        os.close(end)
        written = bytearray()
        while select.select([its_end], [], [], aws_cli.PATIENCE_S)[0]:
            try:
                block = os.read(its_end, 1 << 16)
            except OSError:  # its end is closed: it has left
                break
            written += block
        process.wait(aws_cli.PATIENCE_S)
    finally:
        os.close(its_end)
    return written.decode()


def ours(*arguments: str, **variables: str) -> Printed:
    """The same in this process, which is faster."""
    cleared: dict[str, str | None] = dict.fromkeys(os.environ)
    # With the help options of the whole command line: click keeps with a command those of whoever asks first.
    result = CliRunner(env={**cleared, **aws_cli.environment(NO_HOME, variables)}).invoke(
        stop_task, ["--no-wait", *arguments], prog_name="stop-harness stop-task", help_option_names=["-h", "--help"]
    )
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Printed(result.stdout_bytes, result.stderr_bytes, result.exit_code)


def same(*arguments: str, code: int = 0, **variables: str) -> str:
    """What both print on standard output; fails where they differ in anything."""
    said = theirs(*arguments, **variables)
    assert (ours(*arguments, **variables), said.code) == (said, code)
    return said.stdout.decode()


def _environment(variables: dict[str, str]) -> dict[str, str]:
    return {**aws_cli.environment(NO_HOME, variables), "LC_ALL": "C.UTF-8"}


def _printed(done: subprocess.CompletedProcess[bytes]) -> Printed:
    return Printed(done.stdout, done.stderr, done.returncode)
