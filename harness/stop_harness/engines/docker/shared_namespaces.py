"""What the containers of a group share: one network namespace, and where it is asked for one PID or IPC namespace.

A pause container of ours owns them, so that they outlive every container that joins. That is how the agents of Amazon
ECS (`~internal~ecs~pause`) and kubelets (the sandbox of a pod) do it. It carries the labels of the run, by which the
reaper removes it with everything else.

    pause = shared_namespaces.create(api, calls, labels, Shared(network=True, pid=True), name="…", ports={"80/tcp": …})
    pause.start()
    api.create_host_config(**pause.joined(), …)      # for each container of the group
    pause.remove()                                   # after all of them

What belongs to the network namespace can be said of its owner only: published ports, networks and aliases, host name,
DNS, `/etc/hosts`, and sysctls of `net.*`. Docker refuses all of it where it is said of a container that joins.

In a shared PID namespace the pause program is PID 1. No program of a container is, so that the kernel does not protect
any of them from signals that they have no handler for: SIGTERM ends such a program with exit code 143. Their orphans go
to the pause program, which reaps them. The kernel does not end what a container's main process leaves behind;
containerd's shim ends it by SIGKILL when it sees that the PID namespace is not the container's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from stop_harness.engines import pause_program
from stop_harness.engines.docker import own_images, sdk
from stop_harness.engines.docker.calls import CallFailed, Calls
from stop_harness.errors import EngineError
from stop_harness.linux import proc

MEMORY_BYTES = 64 << 20
"""The program touches one page. But runc begins as a process of the container, which holds 13 MB when the limit is set
(measured, 1.1.15 of Debian 13): with less the start fails every few times."""


@dataclass(frozen=True)
class Shared:
    """Which namespaces the containers of a group have in common."""

    network: bool = True
    pid: bool = False
    ipc: bool = False


class PauseContainer:
    """The container that owns the shared namespaces. Its methods raise EngineError where the engine fails."""

    def __init__(self, container_id: str, shared: Shared, api: Any, calls: Calls) -> None:
        self.id, self.shared = container_id, shared
        self._api, self._calls = api, calls

    def start(self) -> None:
        """From now on others can join."""
        self._ask("the start of the pause container", self._api.start, self.id)

    def joined(self) -> dict[str, Any]:
        """Arguments of the SDK's host configuration for a container that joins."""
        of = f"container:{self.id}"
        wanted = {"network_mode": self.shared.network, "pid_mode": self.shared.pid, "ipc_mode": self.shared.ipc}
        return {key: of for key, shared in wanted.items() if shared}

    def inspect(self) -> dict[str, Any]:
        """What the engine says of it: its addresses and its published ports are those of the whole group."""
        found: dict[str, Any] = self._ask("inspect", self._api.inspect_container, self.id)
        return found

    def cgroup(self) -> str:
        """Its cgroup, as `cgroup_parent` for those that join: what limits the pause container then limits all of them
        together, so it must have been created with `limits_group`. Only for engines that say `limits_groups`: with
        version 2 no cgroup has both processes and cgroups below it (cgroups(7), "no internal processes"), nor has one
        of systemd's scopes. Raises EngineError where /proc does not tell it."""
        pid = int((self.inspect().get("State") or {}).get("Pid") or 0)
        lines = [line.split(":", 2) for line in proc.text_of(pid, "cgroup").splitlines()]
        found = {path for _, controllers, path in lines if "cpu" in controllers.split(",")}
        path = found.pop() if len(found) == 1 else ""
        if not path.endswith(f"/{self.id}"):
            raise EngineError(f"{self._calls.url}: the cgroup of the pause container cannot be told")
        return path

    def address(self) -> str | None:
        """Its first IPv4 address; None where it has none."""
        networks = (self.inspect().get("NetworkSettings") or {}).get("Networks") or {}
        return next((str(item["IPAddress"]) for item in networks.values() if item.get("IPAddress")), None)

    def remove(self) -> None:
        """By force: the kernel ends every process that is left in a PID namespace which it owns. Gone is as good."""

        remove = partial(self._api.remove_container, self.id, force=True, v=True)
        try:
            self._calls.run("the removal of the pause container", remove, cleans_up=True)
        except sdk.errors.NotFound:
            return
        except sdk.ENGINE_ERRORS as error:
            response = getattr(error, "response", None)
            if response is None or response.status_code != 409:  # 409: somebody else is removing it at this moment
                raise CallFailed(self._calls.url, "the removal of the pause container", error) from None

    def _ask(self, what: str, call: Any, *arguments: Any) -> Any:
        try:
            return self._calls.run(what, call, *arguments)
        except sdk.ENGINE_ERRORS as error:
            raise CallFailed(self._calls.url, what, error) from None


def create(
    api: Any,
    calls: Calls,
    labels: dict[str, str],
    shared: Shared,
    *,
    name: str | None = None,
    ports: Mapping[str, Any] | None = None,
    host: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    limits_group: bool = False,
) -> PauseContainer:
    """A pause container that is not started yet.

    `labels`: of the run. `ports`: as docker-py's `port_bindings`, such as `{"80/tcp": ("127.0.0.1", None)}`. `host`:
    further arguments of its host configuration (`dns`, `extra_hosts`, `sysctls`, `network_mode`, `shm_size`).
    `settings`: further arguments of its creation (`hostname`, `networking_config`). `limits_group`: others are placed
    below its `cgroup`, where every limit counts for all of them together: it has none but those of `host`. Raises
    EngineError.
    """

    def make() -> str:
        program = pause_program.build(own_images.machine(api))
        if program is None:
            raise EngineError(
                "containers cannot share namespaces here: there is no pause program for this architecture"
            )
        image = own_images.imported(api, "pause", program, labels, 'ENTRYPOINT ["/pause"]')
        host_config = api.create_host_config(
            **{
                "mem_limit": None if limits_group else MEMORY_BYTES,
                "cap_drop": ["ALL"],
                "security_opt": ["no-new-privileges"],
                "read_only": True,
                "port_bindings": dict(ports or {}),
                **({"ipc_mode": "shareable"} if shared.ipc else {}),
                **(host or {}),
            }
        )
        exposed = [_exposed(port) for port in ports or ()]
        arguments = {"name": name, "labels": labels, "ports": exposed, **(settings or {})}
        return str(api.create_container(image, host_config=host_config, **arguments)["Id"])

    try:
        return PauseContainer(calls.run("the pause container", make), shared, api, calls)
    except sdk.ENGINE_ERRORS as error:
        raise CallFailed(calls.url, "the creation of the pause container", error) from None


def _exposed(port: str) -> tuple[int, str]:
    number, _, protocol = port.partition("/")
    return int(number), protocol or "tcp"
