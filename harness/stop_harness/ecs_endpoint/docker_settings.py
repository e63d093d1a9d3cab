"""A container definition as the arguments of docker-py's calls. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stop_harness.ecs_endpoint.containers import NS_PER_S, ContainerRequest, GroupRequest

MEBIBYTE = 1024 * 1024
LEAST_MEMORY_BYTES = 6 * MEBIBYTE
"""Docker 20.10 refuses less."""

LOOPBACK = "127.0.0.1"
"""Ports are published here only: a task definition must not open this machine to the network."""


def volume_prefix(run_id: str) -> str:
    """Begins the names of the engine's volumes behind task volumes that have no host path."""
    return f"stop-harness-{run_id}-"


def container_settings(request: ContainerRequest, joined: dict[str, str]) -> dict[str, Any]:
    """A container definition as arguments of the SDK's create call. `joined` as for `host_settings`."""
    it, shares = request.definition, "network_mode" in joined
    optional = {
        "command": it.get("command") or None,
        "entrypoint": it.get("entryPoint") or None,
        "user": it.get("user"),
        "working_dir": it.get("workingDirectory"),
        "hostname": None if shares else it.get("hostname"),
        "stdin_open": it.get("interactive"),
        "tty": it.get("pseudoTerminal"),
    }
    if request.publish_ports and not shares:
        optional["ports"] = [(item["containerPort"], item.get("protocol", "tcp")) for item in ports(it)]
    return {
        "image": it["image"],
        "name": request.name,
        "environment": {item["name"]: item.get("value", "") for item in it.get("environment", ())},
        "labels": {**it.get("dockerLabels", {}), **request.labels},
        "healthcheck": _health_check(it.get("healthCheck")),
        **{key: value for key, value in optional.items() if value is not None},
    }


def host_settings(request: ContainerRequest, prefix: str, joined: dict[str, str]) -> dict[str, Any]:
    """A container definition as arguments of the SDK's host configuration. `joined`: those by which it shares what its
    group shares, `network_mode` among them if that is its network."""
    it, shares = request.definition, "network_mode" in joined
    linux = it.get("linuxParameters", {})
    capabilities = linux.get("capabilities", {})
    memory_mib = it.get("memory") or request.memory_mib
    memory = max(memory_mib * MEBIBYTE, LEAST_MEMORY_BYTES) if memory_mib else None
    optional = {
        "init": linux.get("initProcessEnabled"),
        "mem_limit": memory,
        "memswap_limit": memory,  # instances of ECS have no swap
        "mem_reservation": it["memoryReservation"] * MEBIBYTE if it.get("memoryReservation") else None,
        "nano_cpus": request.nano_cpus,
        "cgroup_parent": joined.get("cgroup_parent"),
        "cpu_shares": max(it["cpu"], 2) if it.get("cpu") else None,
        "privileged": it.get("privileged"),
        "read_only": it.get("readonlyRootFilesystem"),
        "shm_size": linux["sharedMemorySize"] * MEBIBYTE if linux.get("sharedMemorySize") else None,
        "cap_add": capabilities.get("add"),
        "cap_drop": capabilities.get("drop"),
        "tmpfs": {item["containerPath"]: _tmpfs(item) for item in linux.get("tmpfs", ())} or None,
        "security_opt": it.get("dockerSecurityOptions"),
        "sysctls": _sysctls([it], of_network=None if not shares else False),
        "pid_mode": joined.get("pid_mode", request.pid_mode),
        "ipc_mode": joined.get("ipc_mode", request.ipc_mode),
        "network_mode": joined.get("network_mode", request.network_mode),
        **({} if shares else _names([it])),
        "ulimits": [{"Name": u["name"], "Soft": u["softLimit"], "Hard": u["hardLimit"]} for u in it.get("ulimits", ())],
        "links": None if shares else list(request.links) or None,
        "volumes_from": [f"{source}:{'ro' if read_only else 'rw'}" for source, read_only in request.volumes_from],
        "binds": _binds(request, prefix),
    }
    if request.publish_ports and not shares:
        optional["port_bindings"] = port_bindings([it])
    return {key: value for key, value in optional.items() if value}


def _tmpfs(item: dict[str, Any]) -> str:
    return ",".join([f"size={item['size']}m", *item.get("mountOptions", ())])


def group_settings(request: GroupRequest, *, memory: bool) -> dict[str, Any]:
    """What a group shares, as arguments of `shared_namespaces.create`: a joined container may not say it itself.
    `memory`: its memory limit is one of those."""
    memory_bytes = max((request.memory_mib or 0) * MEBIBYTE, LEAST_MEMORY_BYTES) if memory else None
    definitions = request.definitions if request.network else ()
    shm_mib = max((it.get("linuxParameters", {}).get("sharedMemorySize", 0) for it in request.definitions), default=0)
    host = {
        **_names(definitions),
        "sysctls": _sysctls(definitions, of_network=True),
        "nano_cpus": request.nano_cpus,
        "mem_limit": memory_bytes,
        "memswap_limit": memory_bytes,
        "shm_size": shm_mib * MEBIBYTE if request.ipc else None,
    }
    hostname = next((it["hostname"] for it in definitions if it.get("hostname")), None)
    return {
        "ports": port_bindings(definitions) if request.publish_ports else {},
        "host": {key: value for key, value in host.items() if value},
        "settings": {"hostname": hostname} if hostname else {},
    }


def port_bindings(definitions: Iterable[dict[str, Any]]) -> dict[str, tuple[str, int | None]]:
    """Where the ports of these containers are published."""
    return {
        f"{item['containerPort']}/{item.get('protocol', 'tcp')}": (LOOPBACK, item.get("hostPort") or None)
        for it in definitions
        for item in ports(it)
    }


def _names(definitions: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """How host names are resolved, by these containers together."""
    hosts = {item["hostname"]: item["ipAddress"] for it in definitions for item in it.get("extraHosts", ())}
    found = {
        "dns": list(dict.fromkeys(server for it in definitions for server in it.get("dnsServers", ()))),
        "dns_search": list(dict.fromkeys(domain for it in definitions for domain in it.get("dnsSearchDomains", ()))),
        "extra_hosts": hosts,
    }
    return {key: value for key, value in found.items() if value}


def _sysctls(definitions: Iterable[dict[str, Any]], *, of_network: bool | None) -> dict[str, str] | None:
    """Those of the network namespace, or those of the others; None: all of them."""
    return {
        item["namespace"]: item["value"]
        for it in definitions
        for item in it.get("systemControls", ())
        if "value" in item and of_network in {None, item["namespace"].startswith("net.")}
    } or None


def ports(definition: dict[str, Any]) -> list[dict[str, Any]]:
    """Its mappings of one port each; those of a range (`containerPortRange`) get free ports of this machine."""
    found = []
    for item in definition.get("portMappings", ()):
        if "containerPort" in item:
            found.append(item)
        elif "containerPortRange" in item:
            first, _, last = item["containerPortRange"].partition("-")
            found += [{**item, "containerPort": port} for port in range(int(first), int(last or first) + 1)]
    return found


def volume_names(request: ContainerRequest, prefix: str) -> tuple[str, ...]:
    """The engine's volumes that a container mounts."""
    return tuple(source for source, _ in _mounts(request, prefix) if not source.startswith("/"))


def _binds(request: ContainerRequest, prefix: str) -> list[str]:
    return [
        f"{source}:{item['containerPath']}:{'ro' if item.get('readOnly') else 'rw'}"
        for source, item in _mounts(request, prefix)
    ]


def _mounts(request: ContainerRequest, prefix: str) -> list[tuple[str, dict[str, Any]]]:
    """(host path or name of the engine's volume, mount point) of each that names one of the task's volumes."""
    sources = {name: source if source.startswith("/") else prefix + source for name, source in request.volumes}
    return [
        (sources[item["sourceVolume"]], item)
        for item in request.definition.get("mountPoints", ())
        if item.get("sourceVolume") in sources and "containerPath" in item
    ]


def _health_check(check: dict[str, Any] | None) -> dict[str, Any]:
    """ECS ignores the image's HEALTHCHECK: without one in the definition there is none."""
    if not check:
        return {"test": ["NONE"]}
    return {
        "test": check["command"],
        "interval": check.get("interval", 30) * NS_PER_S,
        "timeout": check.get("timeout", 5) * NS_PER_S,
        "retries": check.get("retries", 3),
        "start_period": check.get("startPeriod", 0) * NS_PER_S,
    }
