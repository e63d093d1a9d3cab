"""AWS CLI v2 as a process, for the tests: found wherever it is on PATH, with nobody's configuration but ours."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
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
    command = [needed(), "ecs", *arguments]
    done = subprocess.run(
        command,
        env=environment(home, variables),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


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
