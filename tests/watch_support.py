"""`stop-harness watch` as a process, and containers for it to watch."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

from stop_harness.engines.docker.host import DockerHost
from stop_harness.linux.sigkill_trace import SigkillTrace
from tests.own_runs import COMMAND, wait_until

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
LABEL = "stop-harness.test"

TRAPS = ["sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"]
DEAF = ["sh", "-c", "echo ready; exec sleep 1000"]
LEAVES_A_JOB = ["sh", "-c", "trap 'exit 0' TERM; cat /dev/zero >/dev/null & echo ready; while :; do sleep 0.1; done"]
FAILS = ["sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done"]


def sees_kills(host: DockerHost) -> bool:
    """Whether a watch is told by the kernel who is SIGKILLed: as root, on the engine's machine."""
    try:
        SigkillTrace().close()
    except OSError:
        return False
    return host.same_kernel


@dataclass
class Containers:
    """Of one test, by a label of their own."""

    client: docker.DockerClient
    label: str = field(default_factory=lambda: f"{LABEL}=watch-{uuid.uuid4().hex[:8]}")
    made: list[Any] = field(default_factory=list)

    def run(self, command: list[str], *, stop_timeout: int | None = None, **settings: Any) -> Any:
        """Started, and ready where its command says so. `stop_timeout`: seconds, its own; None: it has none."""
        key, _, value = self.label.partition("=")
        labels = {key: value}
        if stop_timeout is None:
            made = self.client.containers.run(BASE_IMAGE, command, detach=True, labels=labels, **settings)
        else:  # which the SDK's `run` does not take
            created = self.client.api.create_container(BASE_IMAGE, command, labels=labels, stop_timeout=stop_timeout)
            made = self.client.containers.get(created["Id"])
            made.start()
        self.made.append(made)
        if "ready" in command[-1]:
            next(line for line in made.logs(stream=True) if b"ready" in line)
        return made

    def remove(self) -> None:
        """All of them."""
        for made in self.made:
            try:
                made.remove(force=True, v=True)
            except docker.errors.APIError:
                continue


@contextmanager
def containers(client: docker.DockerClient) -> Iterator[Containers]:
    """Removed at the end."""
    found = Containers(client)
    try:
        yield found
    finally:
        found.remove()


class WatchProcess:
    """The command, from the moment on in which it misses nothing. `before`: a command that runs it."""

    def __init__(
        self, *arguments: str, environment: dict[str, str] | None = None, before: tuple[str, ...] = ()
    ) -> None:
        self.process = subprocess.Popen(
            [*before, COMMAND, "watch", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._threads = [
            threading.Thread(target=_collect, args=(self.process.stdout, self.out), daemon=True),
            threading.Thread(target=_collect, args=(self.process.stderr, self.err), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def wait_begun(self) -> None:
        """Until it says that it watches."""
        wait_until(lambda: any("watching" in line for line in self.err) or self.ended, "it watches")
        assert not self.ended, self.err

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    def objects(self) -> list[dict[str, Any]]:
        """The lines of `--json` so far."""
        return [json.loads(line) for line in self.out]

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        """Until so many ends were told."""
        wait_until(lambda: len(self.out) >= count, f"{count} ends are told; so far {self.out}, {self.err}")
        return self.objects()

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """Ctrl-C; its exit code."""
        if not self.ended:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        code = self.process.wait(timeout=60)
        for thread in self._threads:
            thread.join(timeout=10)
        assert "Traceback" not in "".join([*self.out, *self.err])
        return code


def _collect(stream: Any, into: list[str]) -> None:
    for line in stream:
        into.append(line.rstrip("\n"))


@contextmanager
def watching(*arguments: str, **settings: Any) -> Iterator[WatchProcess]:
    """It is killed at the end, if it has not ended by itself."""
    found = WatchProcess(*arguments, **settings)
    try:
        found.wait_begun()
        yield found
    finally:
        if not found.ended:
            found.process.kill()
            found.wait()


class CuttableFront:
    """A socket file that leads to the engine's, and can be cut off from it and joined again."""

    def __init__(self, folder: Path, engine: str) -> None:
        self._path, self._engine = folder / "front.sock", engine
        self._open: list[socket.socket] = []
        self._server: socket.socket | None = None
        self.join()

    @property
    def url(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self._path}"

    def join(self) -> None:
        """Take connections."""
        self._path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self._path))
        self._server.listen(64)
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def cut(self) -> None:
        """End all that there are, and take none."""
        server, self._server = self._server, None
        for each in (server, *self._open):
            if each is not None:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        if server is not None:
            server.close()
        self._path.unlink(missing_ok=True)

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self._engine)
                self._open += [client, engine]
                for source, target in ((client, engine), (engine, client)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
