"""A container after its stop: its files, whether its port is free, and its next start; commands in those beside it.

Files come from the engine's archive call (`docker cp`), which works on a container that has ended and on an engine that
is elsewhere, with the container's volumes in their places.
"""

from __future__ import annotations

import contextlib
import io
import math
import posixpath
import socket
import tarfile
import threading
import time
from collections.abc import Callable
from typing import Any

from stop_harness.engines.docker import executing, reading, sdk
from stop_harness.engines.docker.calls import CallFailed, Calls
from stop_harness.engines.docker.container import ContainerLife
from stop_harness.engines.docker.engine_api import EngineApi
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.starting import LOOPBACK, Placement
from stop_harness.engines.interface import RunningSubject
from stop_harness.errors import EngineError
from stop_harness.model import MOST_CONTENT_BYTES, NS_PER_S, CommandSeen, FileSeen, Scenario, Trial

MOST_LINKS = 40
"""Symbolic links that lead to each other before it is a loop: Linux, path_resolution(7)."""

FOLDER, LINK = 1 << 31, 1 << 27
KINDS_OF_FILES = {FOLDER: "folder", LINK: "link", 1 << 26: "device", 1 << 25: "named pipe", 1 << 24: "socket"}
"""Bits of Go's os.FileMode, as the archive call tells them. No bit: a regular file."""

STAT_HEADER, HTTP_NOT_FOUND = "X-Docker-Container-Path-Stat", 404

OF_THE_KERNEL = ("/dev", "/proc", "/sys")
"""Mounted in every container while it runs."""

CONNECT_TIMEOUT_S = 3.0

PORT_PATIENCE_S = 1.0
"""The engine takes down what publishes a port while it ends the container."""

POLL_S = 0.05

APART_S, APART_ON_PODMAN_S = 0.25, 1.1
"""At least from the end of the stop to the next start, so that the lines of both can be told apart by their times.
Podman takes whole seconds."""


class StoppedContainer:
    """A single container. `take_up`: has its subject learn anew how it runs."""

    def __init__(
        self,
        subject: RunningSubject,
        life: ContainerLife,
        api: EngineApi,
        *,
        calls: Calls,
        host: DockerHost,
        trial: Trial,
        take_up: Callable[[Any, Placement | None], object],
        ending: threading.Event,
    ) -> None:
        self._subject, self._life, self._api = subject, life, api
        self._calls, self._host, self._scenario = calls, host, trial.scenario
        self._take_up, self._ending = take_up, ending
        self._since = time.monotonic()
        self._in_memory: tuple[str, ...] | None = None

    def read_file(self, path: str, container: str | None) -> FileSeen:
        """By `GET /containers/ID/archive`, which shows nothing of what is kept in memory."""
        if self._in_memory is None:
            self._in_memory = self._kept_in_memory()
        real, stat = self._followed(path)
        place = next((each for each in self._in_memory if _is_below(real, each)), None)
        if place is not None:
            raise EngineError(f"{place} is kept in memory: nothing of it is left, and nothing is shown from outside")
        if stat is None:
            return FileSeen()
        what = next((word for bit, word in KINDS_OF_FILES.items() if stat["mode"] & bit), "file")
        size = int(stat["size"])
        if what != "file" or size > MOST_CONTENT_BYTES:
            return FileSeen(size, what=what)
        content = self._ask(real, lambda: _only_file(self._api.get_archive(self._life.id, real)[0]))
        return FileSeen(size, content)

    def _followed(self, path: str) -> tuple[str, dict[str, Any] | None]:
        """The path without symbolic links, and what is there, None: nothing. The engine follows those on the way, and
        tells nobody where it came to, on which depends whether it can know: so each part is asked for."""
        links, done, left = 0, "/", path.strip("/").split("/")
        stat: dict[str, Any] | None = None
        while left:
            done = posixpath.normpath(posixpath.join(done, left.pop(0)))
            stat = self._stat(done)
            if stat is not None and stat["mode"] & LINK:
                links += 1
                if links > MOST_LINKS:
                    raise EngineError(f"{path}: too many symbolic links")
                target = posixpath.normpath(posixpath.join(posixpath.dirname(done), stat["linkTarget"]))
                done, left = "/", [*target.strip("/").split("/"), *left]
            elif left and (stat is None or not stat["mode"] & FOLDER):
                return posixpath.join(done, *left), None
        return done, stat

    def _stat(self, path: str) -> dict[str, Any] | None:
        """What is at a path, a link itself and not where it leads to; None: nothing."""
        api: Any = self._api
        url = api._url("/containers/{0}/archive", self._life.id)

        def head() -> Any:
            answer = api.head(url, params={"path": path}, timeout=api.timeout)
            told = answer.headers.get(STAT_HEADER)
            if answer.status_code == HTTP_NOT_FOUND and told:  # Podman 5.4 says so of a link that leads into a volume
                link = sdk.utils.decode_json_header(told)
                if link["mode"] & LINK:
                    return link
            api._raise_for_status(answer)  # the SDK has no call that shows a file without sending it
            return sdk.utils.decode_json_header(answer.headers[STAT_HEADER])

        found: dict[str, Any] | None = self._ask(path, head)
        return found

    def _ask(self, path: str, call: Callable[[], Any]) -> Any:
        """The answer; None: there is no such file."""
        try:
            return self._calls.run(path, call)
        except sdk.errors.NotFound:
            self._life.state()  # raises where it is the container that is gone
            return None
        except (*sdk.ENGINE_ERRORS, tarfile.TarError) as error:
            raise CallFailed(self._host.url, f"reading {path}", error) from None

    def _kept_in_memory(self) -> tuple[str, ...]:
        """Where the container has a tmpfs, by itself or as a volume, and what the kernel shows."""
        found = self._life.ask("inspect", self._api.inspect_container, self._life.id)
        places = [*(found["HostConfig"].get("Tmpfs") or {}), *OF_THE_KERNEL]
        for mount in found.get("Mounts") or ():
            if mount["Type"] == "tmpfs" or (mount["Type"] == "volume" and self._is_in_memory(mount["Name"])):
                places.append(mount["Destination"])
        return tuple(map(posixpath.normpath, places))

    def _is_in_memory(self, volume: str) -> bool:
        found = self._life.ask("a volume", self._api.inspect_volume, volume)
        return (found.get("Options") or {}).get("type") == "tmpfs"

    def run(self, command: tuple[str, ...], container: str | None, timeout_ns: int) -> CommandSeen:
        """`docker exec`."""
        return executing.with_output(
            self._api,
            self._calls,
            self._life.id,
            command,
            timeout_ns=timeout_ns,
            sleep=self._sleep,
            attached=self._host.podman,
        )

    def _sleep(self, duration_ns: int) -> None:
        self._ending.wait(duration_ns / NS_PER_S)

    def accepts(self, port: int) -> bool:
        """At the port of the engine's machine, in whose network the container is or where it was published."""
        subject = self._scenario.subject
        outside = port if subject.settings.network == "host" else dict(subject.ports).get(port)
        if outside is None:
            raise EngineError(f"port {port} is not published at a port of its own")
        where, deadline = (self._machine(), outside), time.monotonic() + PORT_PATIENCE_S
        while _accepts(where):
            if time.monotonic() >= deadline or self._ending.wait(POLL_S):
                return True
        return False

    def _machine(self) -> str:
        from stop_harness.engines.docker.places import Places  # late: testcontainers is dear to import

        return Places(self._api.client, self._host).host()

    def start_again(self) -> RunningSubject:
        """`docker start`. What it wrote before is not taken for what it writes now."""
        found = self._life.ask("inspect", self._api.inspect_container, self._life.id)  # not of one that was removed
        ended_ns = reading.state_of(found).finished_at_ns or 0
        apart_s = APART_ON_PODMAN_S if self._host.podman else APART_S
        self._ending.wait(max(0.0, apart_s - (time.monotonic() - self._since)))
        # On the engine's clock the stop ended at `ended_ns`, and our own clock counts what has passed since.
        before_s = ended_ns / NS_PER_S + (time.monotonic() - self._since)
        self._life.start()
        wrapped = self._life.ask("inspect", self._api.client.containers.get, self._life.id)
        again = _StartedAgain(wrapped, math.floor(before_s) if self._host.podman else before_s)
        self._take_up(again, in_network_of(wrapped.attrs, self._life, self._api))
        return self._subject


class StoppedGroup:
    """A group of which one container was stopped, or all. `named`: makes the container of this name, None: of the one
    that was stopped alone; raises EngineError where there is none."""

    def __init__(self, group: RunningSubject, named: Callable[[str | None], StoppedContainer]) -> None:
        self._group, self._named = group, named
        self._looked_at: dict[str | None, StoppedContainer] = {}

    def read_file(self, path: str, container: str | None) -> FileSeen:
        """Of a container that has ended, or runs on."""
        return self._of(container).read_file(path, None)

    def run(self, command: tuple[str, ...], container: str | None, timeout_ns: int) -> CommandSeen:
        """In a container that runs on, or was started again."""
        return self._of(container).run(command, None, timeout_ns)

    def accepts(self, port: int) -> bool:
        """Of the one that was stopped."""
        return self._of(None).accepts(port)

    def start_again(self) -> RunningSubject:
        """The one that was stopped, in its place among the others."""
        self._of(None).start_again()
        return self._group

    def _of(self, container: str | None) -> StoppedContainer:
        if container not in self._looked_at:
            self._looked_at[container] = self._named(container)
        return self._looked_at[container]


class _StartedAgain:
    """The SDK's container whose log begins with its latest start."""

    def __init__(self, wrapped: Any, since_s: float) -> None:
        self._wrapped, self._since_s = wrapped, since_s

    def logs(self, **given: Any) -> Any:
        """Of this run only."""
        return self._wrapped.logs(since=self._since_s, **given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


def in_network_of(inspected: dict[str, Any], life: ContainerLife, api: EngineApi) -> Placement | None:
    """The container whose network one shares (`--network container:NAME`), and where that is reached now; None: it is
    in networks of its own, or in none."""
    kind, _, other = str((inspected.get("HostConfig") or {}).get("NetworkMode") or "").partition(":")
    if kind != "container":
        return None
    state = reading.state_of(life.ask("inspect", api.inspect_container, other))
    return Placement(network_of=other, address=LOOPBACK if state.in_host_network else state.address)


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _only_file(stream: Any) -> bytes:
    """The content of the one file of an archive."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        for member in archive:
            if (content := archive.extractfile(member)) is not None:
                return content.read()
    raise EngineError("the engine's archive has no file in it")


def _accepts(where: tuple[str, int]) -> bool:
    """Whether a connection comes about; EngineError where neither that nor a refusal is the answer."""
    try:
        with contextlib.closing(socket.create_connection(where, timeout=CONNECT_TIMEOUT_S)):
            return True
    except ConnectionRefusedError:
        return False
    except OSError as error:
        raise EngineError(f"{where[0]}:{where[1]} neither accepts nor refuses a connection: {error}") from None


def port_problem(scenario: Scenario, port: int) -> str | None:
    """Why nobody can see whether a port of a container is free again; None where it can be seen."""
    subject = scenario.subject
    if subject.settings.network == "host" or dict(subject.ports).get(port) is not None:
        return None
    return (
        f"`port_free: {port}`: the container has this port for itself, so it is free when that has ended; what can "
        f"stay taken is a port of the engine's machine, by `subject.ports: {{{port}: …}}` or `network: host`"
    )
