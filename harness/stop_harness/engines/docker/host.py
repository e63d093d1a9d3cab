"""Finding a Docker Engine API: `DOCKER_HOST`, the docker context, then the usual sockets of Docker and Podman."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from stop_harness.engines.docker import engine_api, sdk
from stop_harness.engines.docker.address import (
    ANY_VERSION,
    CONNECT_TIMEOUT_S,
    Address,
    chosen,
    connect,
    require_api_version,
)
from stop_harness.engines.docker.nearness import Nearness, of_socket
from stop_harness.engines.interface import SLOW_CAVEAT
from stop_harness.errors import ChosenEngineError, EngineError
from stop_harness.linux import oom_log, process_events, signal_trace
from stop_harness.model import EngineInfo
from stop_harness.records import dataclass

PROBE_TIMEOUT_S = 30
"""An engine that is reached and says nothing for so long is not there. On a busy machine `/info` alone was seen to take
more than 5 s (load 30 on two CPUs): a socket that accepts has somebody behind it, who is waited for."""

SLOW_S = 5.0
"""An engine that takes longer to say who it is gets a caveat."""

OLDEST_PODMAN_REPORTING_OOM = 5
"""Podman 4.3.1 always says OOMKilled=false on cgroup v1; 5.8.6 is right (measured)."""

SOCKETS_VARIABLE = "STOP_HARNESS_ENGINE_SOCKETS"
"""Socket files to try instead of the usual ones, separated by colons; set but empty: there is no container engine."""

PODMAN_WORKERS_PER_CPU, PODMAN_MORE_WORKERS = 3, 1
"""Podman's service performs this many stops and removals at the same time, each from its call to the exit of its
container (podman, cmd/podman/root.go: `--max-workers`, pkg/parallel). Measured on two CPUs: of 35 stops at once seven
signals left at once, the others when those seven containers were gone, up to 34 s later."""


@dataclass(frozen=True)
class DockerHost:
    """An engine that answered. `local`: container addresses can be reached directly. `same_kernel`: its containers'
    processes are in our /proc, and its wall clock is ours; so it is with `local`, and with a rootless engine here."""

    address: Address
    api_version: str
    info: EngineInfo
    local: bool
    podman: bool
    same_kernel: bool

    @property
    def root_near(self) -> bool:
        """Whether we may reach into its containers' processes and files from here."""
        return self.same_kernel and not self.podman and os.geteuid() == 0

    @property
    def url(self) -> str:
        """The address alone, for people."""
        return self.address.url

    def connect(self, *, timeout_s: float | None = 60, connections: int = 10) -> sdk.DockerClient:
        """See `docker_address.connect`; the API version is known."""
        return connect(self.address, version=self.api_version, timeout_s=timeout_s, connections=connections)


def candidates(environment: dict[str, str]) -> tuple[Address, ...]:
    """Addresses to try where the user named no engine, best first: the usual socket files that exist."""
    if (listed := environment.get(SOCKETS_VARIABLE)) is not None:
        return tuple(Address(f"unix://{path}") for path in listed.split(os.pathsep) if path)
    home, runtime = Path(environment.get("HOME", "/")), environment.get("XDG_RUNTIME_DIR")
    sockets = [
        Path("/var/run/docker.sock"),
        home / ".docker/run/docker.sock",
        *([Path(runtime) / "docker.sock", Path(runtime) / "podman/podman.sock"] if runtime else []),
        Path("/run/podman/podman.sock"),
        home / ".colima/default/docker.sock",
        home / ".orbstack/run/docker.sock",
    ]
    return tuple(Address(f"unix://{path}") for path in dict.fromkeys(sockets) if path.exists())


def find(environment: dict[str, str] | None = None) -> DockerHost:
    """The engine that the user named, else the first that answers.

    Raises ChosenEngineError where one was named (`DOCKER_HOST`, a docker context) and does not answer: the others are
    not tried then. Raises EngineError, with what was tried and what to do, where none was named and none answers.
    """
    environment = dict(os.environ) if environment is None else environment
    if (named := chosen(environment)) is not None:
        try:
            return probe(named)
        except EngineError as error:
            by = "" if named.context else "DOCKER_HOST: "
            raise ChosenEngineError(
                f"{by}no engine answers at {error}\n"
                "Start it, choose another (DOCKER_HOST, DOCKER_CONTEXT, `docker context use default`), or,\n"
                "for commands without an image, use --engine process."
            ) from None
    tried = []
    for address in candidates(environment):
        try:
            return probe(address)
        except EngineError as error:
            tried.append(str(error))
    if not tried:
        tried.append(
            f"{SOCKETS_VARIABLE} lists no socket"
            if SOCKETS_VARIABLE in environment
            else "no socket of Docker or Podman was found in the usual places"
        )
    raise EngineError(
        "no Docker or Podman engine answers:\n  "
        + "\n  ".join(tried)
        + "\nStart one (for example `systemctl start docker`), set DOCKER_HOST, or, for commands without an image, use "
        "--engine process."
    )


def probe(address: Address) -> DockerHost:
    """Ask one address who it is. Raises EngineError with the reason if it does not answer."""
    began = time.monotonic()
    try:
        with contextlib.closing(_asking(address, ANY_VERSION)) as api:
            version = require_api_version(api.version(api_version=False))
        with contextlib.closing(_asking(address, str(version["ApiVersion"]))) as api:
            found = _describe(address, version, api.info())
    except (sdk.errors.DockerException, OSError, ValueError) as error:
        raise EngineError(f"{address}: {_short(error)}") from None
    took_s = time.monotonic() - began
    if took_s < SLOW_S:
        return found
    slow = f"{SLOW_CAVEAT}it took {took_s:.0f} s to say who it is; its machine is busy, and stops may be measured late"
    return replace(found, info=replace(found.info, caveats=(*found.info.caveats, slow)))


def _asking(address: Address, version: str) -> engine_api.EngineApi:
    patience = {"timeout_s": PROBE_TIMEOUT_S, "reached_within_s": CONNECT_TIMEOUT_S}
    return engine_api.of(
        address, version, PROBE_TIMEOUT_S, make_client=lambda: connect(address, version=version, **patience)
    )


def _describe(address: Address, version: dict[str, Any], info: dict[str, Any]) -> DockerHost:
    components = {part.get("Name"): part.get("Version") for part in version.get("Components") or ()}
    podman = "Podman Engine" in components
    number = str(components.get("Podman Engine") or version.get("Version") or "unknown")
    major = int(match[0]) if (match := re.match(r"\d+", number)) else 0
    rootless = any("rootless" in option for option in info.get("SecurityOptions") or ())
    near = _nearness(address, info)
    local = near.processes and near.network and not rootless
    caveats = []
    blind = process_events.unavailable() if near.processes else near.doubt
    if blind:
        caveats.append(f"how other processes end is not seen, so that no stop that may lose any is graceful: {blind}")
    late = signal_trace.unavailable() if near.processes else None
    if late:
        caveats.append(f"durations are by the engine's stamps, which are late on a busy machine: {late}")
    if podman:
        caveats.append("reports no kill events: SIGKILL is inferred from exit code 137 at the stop timeout")
        if major < OLDEST_PODMAN_REPORTING_OOM:
            caveats.append("does not report OOM kills")
    cpus = info.get("NCPU") or None
    stops_at_once = PODMAN_WORKERS_PER_CPU * cpus + PODMAN_MORE_WORKERS if podman and cpus else None
    if stops_at_once:
        caveats.append(f"performs {stops_at_once} stops at a time: more of them wait, and so do their signals")
    if rootless:
        caveats.append("rootless: memory limits may be ignored")
    # Only there can a cgroup have both processes and cgroups below it: shared_namespaces.PauseContainer.cgroup.
    cgroups = (info.get("CgroupDriver"), info.get("CgroupVersion"))
    limits_groups = near.processes and not podman and cgroups == ("cgroupfs", "1")
    engine = EngineInfo(
        name="docker",
        product="Podman" if podman else "Docker Engine",
        version=number,
        host=address.url,
        pid1_rules=True,
        whole_seconds=True,
        observes_sigkill=not podman,
        reports_oom=not podman or major >= OLDEST_PODMAN_REPORTING_OOM,
        runs_images=True,
        caveats=tuple(caveats),
        proves_lost_processes=near.processes and blind is None,
        cpu_count=cpus,
        memory_bytes=info.get("MemTotal") or None,
        stops_at_once=stops_at_once,
        limits_groups=limits_groups,
        # At a limit above several the engine reports an OOM kill of each; the kernel's log tells whose it was.
        shares_memory=limits_groups and oom_log.readable(),
    )
    return DockerHost(address, str(version["ApiVersion"]), engine, local, podman, near.processes)


def _nearness(address: Address, info: dict[str, Any]) -> Nearness:
    """Another kernel is another machine; the same release still has to be proved."""
    if not address.url.startswith("unix://") or platform.system() != "Linux":
        return Nearness(False, False, "it is reached through a network, not by a socket file of this kernel")
    if info.get("KernelVersion") != platform.release():
        return Nearness(False, False, f"the engine runs on another kernel, {info.get('KernelVersion')}")
    return of_socket(address.url.removeprefix("unix://"))


def _short(error: Exception) -> str:
    """The innermost cause in one line: docker-py wraps an errno in four layers of text."""
    text = str(error)
    if isinstance(error, PermissionError):
        return f"{error.strerror} (is your user in the docker group?)"
    if match := re.search(r"(FileNotFoundError|PermissionError|ConnectionRefusedError)\(\d+, '([^']+)'\)", text):
        return match[2] + (" (is your user in the docker group?)" if match[1] == "PermissionError" else "")
    if "timed out" not in text.lower() and (match := re.search(r"\[Errno -?\d+\] ([^'\"()\[\]]+)", text)):
        return match[1].strip()  # of urllib3, whose own words are for its developers
    if "connect timeout" in text.lower():
        return f"cannot be reached within {CONNECT_TIMEOUT_S} s"
    if "timed out" in text.lower():
        return f"no answer within {PROBE_TIMEOUT_S} s, although something accepts connections there"
    return " ".join(text.split())[:300]
