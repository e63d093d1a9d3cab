"""An ssh server of the tests' own, for the user who runs them, and an `ssh` that knows its keys and nobody else's."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.free_port import free_port

START_PATIENCE_S = 60.0
SERVER_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"))

SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
"""

CLIENT = """
Host engine.test
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  HostKeyAlias engine.test
"""


def missing() -> str | None:
    """Why none can be had here, None if it can."""
    absent = [tool for tool in ("ssh", "ssh-keygen", "sshd", "setpriv") if shutil.which(tool, path=SERVER_PATH) is None]
    return f"an ssh server needs {', '.join(absent)}" if absent else None


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[Path]:
    """A folder for PATH; the `ssh` in it reaches the server by the name engine.test."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port = free_port()
    (folder / "known").write_text(f"engine.test {(folder / 'host.pub').read_text()}")
    (folder / "server").write_text(SERVER.format(port=port, folder=folder))
    (folder / "client").write_text(CLIENT.format(port=port, folder=folder, user=getpass.getuser()))
    (folder / "bin").mkdir()
    wrapper = folder / "bin" / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
    wrapper.chmod(0o755)
    program = shutil.which("sshd", path=SERVER_PATH)
    assert program is not None
    # It goes with the tests, however they end.
    command = ["setpriv", "--pdeathsig", "TERM", program, "-D", "-e", "-f", str(folder / "server")]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _await(port, server)
        yield folder / "bin"
    finally:
        server.terminate()
        server.wait()


def _await(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert server.poll() is None, "sshd ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return
