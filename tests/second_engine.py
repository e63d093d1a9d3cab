"""A second Docker engine in mount, PID and network namespaces of its own: an engine inside a VM, but for the kernel.

As on Docker Desktop its socket file is here, its processes have other numbers, and its containers' addresses lead
nowhere; as with a VM, the ports that it publishes are those of another machine, here at the end of a veth pair.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stop_harness.linux import proc

_BLOCK = os.getpid() % (1 << 14) * 4
OURS, THEIRS = (f"10.213.{(_BLOCK + number) >> 8}.{(_BLOCK + number) & 255}" for number in (1, 2))
"""Both ends of the pair, a /30 for each process: other tests may run on this machine."""

PORT = 2375
START_PATIENCE_S = 60.0
ORDERLY_END_S = 3.0
"""An open connection holds dockerd up for 15 s."""
IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")

INSIDE = """
set -e
mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up
until ip link set {there} up 2>/dev/null; do sleep 0.05; done
ip address add {theirs}/30 dev {there}
trap 'kill -TERM $engine; wait $engine; exit' TERM
while :; do
  rm -f {folder}/pid
  dockerd --host unix://{folder}/docker.sock --host tcp://{theirs}:{port} --tls=false \\
    --data-root {folder}/data --exec-root {folder}/run --pidfile {folder}/pid &
  engine=$!
  wait $engine || true
done
"""


@dataclass(frozen=True)
class SecondEngine:
    """`socket`: a file in our file system. `tcp`: the same engine through the network. `host`: where its ports are.
    `keeper`: pid of the process that starts it again when it ends."""

    socket: str
    tcp: str
    host: str
    keeper: int

    def kill(self, number: int = signal.SIGKILL) -> None:
        """`kill -9` of the engine itself; it is back within seconds, and its containers are not. With SIGTERM it stops
        them first, as `systemctl restart docker` has it do."""
        (engine,) = (pid for pid in proc.children_of(self.keeper) if _name(pid) == "dockerd")
        os.kill(engine, number)


def missing() -> str | None:
    """Why no second engine can be had here, None if it can."""
    if os.geteuid():
        return "a second engine needs root"
    absent = [tool for tool in ("dockerd", "unshare", "setpriv", "ip", "iptables") if shutil.which(tool) is None]
    return f"a second engine needs {', '.join(absent)}" if absent else None


@contextlib.contextmanager
def second_engine(folder: Path) -> Iterator[SecondEngine]:
    """It has the base image of the first one. Everything is gone afterwards."""
    here, there = f"shu{os.getpid() % 100000}a", f"shu{os.getpid() % 100000}b"
    script = INSIDE.format(folder=folder, there=there, theirs=THEIRS, port=PORT)
    log = (folder / "log").open("wb")
    # However the tests end, unshare goes with them, with it the first process of its PID namespace, and so everything.
    engine = subprocess.Popen(
        [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--net",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            script,
        ],
        stdout=log,
        stderr=log,
    )
    try:
        _run("ip", "link", "add", here, "type", "veth", "peer", "name", there)
        _run("ip", "link", "set", there, "netns", str(_first_process(engine.pid)))
        _run("ip", "address", "add", f"{OURS}/30", "dev", here)
        _run("ip", "link", "set", here, "up")
        url = f"unix://{folder}/docker.sock"
        _await_answer(url, engine, folder / "log")
        subprocess.run(f"docker save {IMAGE} | docker --host {url} load -q", shell=True, check=True, timeout=300)
        yield SecondEngine(url, f"tcp://{THEIRS}:{PORT}", THEIRS, _first_process(engine.pid))
    finally:
        _end(engine)
        subprocess.run(["ip", "link", "delete", here], check=False, capture_output=True)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _name(pid: int) -> str:
    return proc.status_of(pid).get("Name", "")


def _end(engine: subprocess.Popen[bytes]) -> None:
    """dockerd is asked first; what is left goes with its PID 1, and the mounts with their namespace."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        os.kill(_first_process(engine.pid), signal.SIGTERM)
        engine.wait(timeout=ORDERLY_END_S)
    engine.kill()
    engine.wait()


def _first_process(unshare: int) -> int:
    deadline = time.monotonic() + START_PATIENCE_S
    children = Path(f"/proc/{unshare}/task/{unshare}/children")
    while not (found := children.read_text().split()):
        assert time.monotonic() < deadline, "unshare starts nothing"
        time.sleep(0.01)
    return int(found[0])


def _await_answer(url: str, engine: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    while subprocess.run(["docker", "--host", url, "version"], check=False, capture_output=True).returncode:
        hopeless = engine.poll() is not None or time.monotonic() > deadline
        assert not hopeless, log.read_text(errors="replace")[-2000:]
        time.sleep(0.1)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)
