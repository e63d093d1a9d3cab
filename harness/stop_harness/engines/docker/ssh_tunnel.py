"""An engine behind ssh: one ssh for a whole run leads from a socket file of ours to the engine's on the other machine.

The docker CLI starts one `docker system dial-stdio` for each connection; with a connection for each trial in flight,
sshd would refuse many (MaxSessions 10, MaxStartups 10). A forwarded socket takes any number. Keys, jumps, ports and
names are ssh's own affair (`~/.ssh/config`, agent); as with the CLI, nothing is asked at the terminal.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S = 30
DEFAULT_SOCKET = "/var/run/docker.sock"
LONGEST_FOLDER = 60
"""A socket file's path has at most 104 bytes on macOS, 108 on Linux; our part of it has 38."""
READY = b"stop-harness: ready\n"

OPTIONS = (
    *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_TIMEOUT_S}", "-o", "ServerAliveInterval=15"),
    # A connection of ours alone: one that others share would outlive this ssh, or end under its feet.
    *("-o", "ExitOnForwardFailure=yes", "-o", "ControlMaster=no", "-o", "ControlPath=none"),
)

KEEPER = 'folder=$1; shift; "$@"; rm -rf -- "$folder"'
"""Removes the socket file after ssh, which ends when we do: its standard input is a pipe of ours."""


class Tunnel:
    """Open from its making until this process ends or the connection breaks. Raises OSError with ssh's own words."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        short = len(tempfile.gettempdir()) <= LONGEST_FOLDER
        elsewhere = None if short else "/tmp"  # nosec B108: mkdtemp makes a folder that is ours alone
        self._folder = tempfile.mkdtemp(prefix="stop-harness-ssh-", dir=elsewhere)
        theirs = where.path if where.path not in {"", "/"} else DEFAULT_SOCKET
        self.socket = str(Path(self._folder) / "engine.sock")
        quoted = shlex.quote(theirs)
        remote = f"test -S {quoted} || {{ echo there is no socket {quoted} >&2; exit 3; }}; exec cat"
        login = [*(("-l", where.username) if where.username else ()), *(("-p", str(where.port)) if where.port else ())]
        ssh = ["ssh", "-T", *OPTIONS, *login, "-L", f"{self.socket}:{theirs}", "--", str(where.hostname), remote]
        self._process = subprocess.Popen(  # nosec B603, B607 # found on PATH, as users mean it; words, no shell
            ["sh", "-c", KEEPER, "sh", self._folder, *ssh],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at the terminal must not reach it: the harness has yet to clean up
        )
        self._await_answer()

    def is_open(self) -> bool:
        """Whether ssh still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End ssh, which removes the socket file."""
        self._process.communicate()

    def _await_answer(self) -> None:
        """What we write comes back from the other side once the tunnel stands; what a login prints there is skipped."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(READY)
            self._process.stdin.flush()
        deadline, seen, block = time.monotonic() + CONNECT_TIMEOUT_S, b"", b"?"
        while block and READY not in seen and (left_s := deadline - time.monotonic()) > 0:
            if select.select([self._process.stdout], [], [], left_s)[0]:
                block = os.read(self._process.stdout.fileno(), 1 << 16)
                seen += block
        if READY not in seen:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            said = self._process.communicate()[1].decode(errors="replace").strip().splitlines()
            shutil.rmtree(self._folder, ignore_errors=True)
            reason = said[-1].removeprefix("ssh: ") if said else f"no answer within {CONNECT_TIMEOUT_S} s"
            raise ConnectionError(f"ssh: {reason}")


_open: dict[str, Tunnel] = {}
_lock = threading.Lock()


def socket_to(url: str) -> str:
    """The socket file that leads to the engine at `ssh://[USER@]HOST[:PORT][/PATH/OF/SOCKET]`. Raises OSError."""
    with _lock:
        tunnel = _open.get(url)
        if tunnel is None or not tunnel.is_open():
            tunnel = _open[url] = Tunnel(url)
        return tunnel.socket


def hostname(url: str) -> str:
    """The machine that a name stands for in `~/.ssh/config`: there are the ports that its engine publishes."""
    name = str(urlsplit(url).hostname)
    try:
        told = subprocess.run(["ssh", "-G", "--", name], capture_output=True, text=True, check=True, timeout=5).stdout  # nosec B603, B607 # found on PATH, as users mean it; words, no shell
    except (OSError, subprocess.SubprocessError):
        return name
    return next((line.split()[1] for line in told.splitlines() if line.startswith("hostname ")), name)
