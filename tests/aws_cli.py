"""AWS CLI v2 for the tests: found wherever it is on PATH, with nobody's configuration but ours.

Where `aws` is a script, one process answers many calls (tests/awscli_server.py); the self-contained program that Amazon
distributes is started for each.
"""

from __future__ import annotations

import atexit
import json
import os
import pty
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.ecs_support import CREDENTIALS

PATIENCE_S = 120
DEBIAN = "/usr/bin"
"""Where the distribution's package installs it; version 1 puts itself before it under the same name."""

SERVER = str(Path(__file__).with_name("awscli_server.py"))

NOTHING: Mapping[str, str] = MappingProxyType({})


@cache
def aws_v2() -> str | None:
    """The first `aws` on PATH that says it is version 2, None if there is none."""
    for folder in (*os.environ.get("PATH", "").split(os.pathsep), DEBIAN):
        found = shutil.which("aws", path=folder)
        if found is None:
            continue
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        if said.stdout.startswith("aws-cli/2."):
            return found
    return None


def needed() -> str:
    """AWS CLI v2; the test is skipped without it, or fails where CI says that it must be there."""
    found = aws_v2()
    if found is None:
        if os.environ.get("STOP_HARNESS_REQUIRE_AWS_CLI"):
            pytest.fail("STOP_HARNESS_REQUIRE_AWS_CLI is set, but there is no AWS CLI v2 on PATH")
        pytest.skip("AWS CLI v2 is not installed (Debian: apt-get install awscli)")
    return found


def environment(home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Credentials and a region, and no configuration of this machine's user. A value of "" leaves a variable out."""
    basis = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AWS_CONFIG_FILE": str(home / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": CREDENTIALS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS["aws_secret_access_key"],
        "AWS_DEFAULT_REGION": CREDENTIALS["region_name"],
    }
    return {key: value for key, value in {**basis, **variables}.items() if value}


def aws(
    home: Path, *arguments: str, code: int = 0, variables: Mapping[str, str] = NOTHING
) -> subprocess.CompletedProcess[str]:
    """`aws ecs …`, which must end with `code`."""
    done = called(["ecs", *arguments], environment(home, variables))
    answer = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    assert answer.returncode == code, answer.stdout + answer.stderr
    return answer


def called(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """`aws` with this environment alone; nothing is asserted of its exit code."""
    found = needed()
    server = _server(found)
    return server.call(arguments, environment) if server else started([found, *arguments], environment)


def started(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """A process from its start to its end."""
    return subprocess.run(
        command, env=environment, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=PATIENCE_S
    )


class Server:
    """One process for many calls, one at a time."""

    def __init__(self, interpreter: list[str]) -> None:
        self._process = subprocess.Popen(
            [*interpreter, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"LC_ALL": "C.UTF-8"}
        )
        self._one_at_a_time = threading.Lock()
        atexit.register(self.close)

    def call(self, arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
        """What the call left behind."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with self._one_at_a_time, tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            asked = {"arguments": arguments, "environment": environment, "folder": os.getcwd()}
            stdin.write(json.dumps({**asked, "out": str(out), "err": str(err)}) + "\n")
            stdin.flush()
            code = int(stdout.readline())
            return subprocess.CompletedProcess(["aws", *arguments], code, out.read_bytes(), err.read_bytes())

    def close(self) -> None:
        """No more calls: it ends, as its input does."""
        self._process.communicate(timeout=PATIENCE_S)


@cache
def _server(found: str) -> Server | None:
    """None where `aws` is no Python script."""
    with Path(found).open("rb") as file:
        first = file.readline(200)
    if not first.startswith(b"#!") or b"python" not in first:
        return None
    return Server(first[2:].decode().split())


def aws_on_a_terminal(home: Path, *arguments: str, keys: bytes = b"", variables: Mapping[str, str] = NOTHING) -> str:
    """What `aws ecs …` writes on a terminal of its own; `keys` are pressed every other second until it ends."""
    command = [needed(), "ecs", *arguments]
    ours, its = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=its,
        stdout=its,
        stderr=its,
        env=environment(home, {"TERM": "xterm", **variables}),
        start_new_session=True,
    )
    os.close(its)
    written, deadline, pressed_at = bytearray(), time.monotonic() + PATIENCE_S, 0.0
    try:
        while time.monotonic() < deadline:
            if written.endswith(b"\x1b[6n"):
                os.write(ours, b"\x1b[1;1R")  # where is the cursor?
            if keys and written and time.monotonic() - pressed_at > 2:
                os.write(ours, keys)
                pressed_at = time.monotonic()
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                block = os.read(ours, 1 << 16)
            except OSError:  # its end is closed: it has ended
                break
            if not block:
                break
            written += block
        assert process.wait(PATIENCE_S) == 0, written
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return written.decode(errors="replace")
