"""The tasks' containers on a Docker Engine API, removed by the reaper if the endpoint dies."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stop_harness import signals
from stop_harness.ecs import stop_timeouts
from stop_harness.ecs.host_access import host_access
from stop_harness.ecs_endpoint.containers import NS_PER_S, Binding, ContainerProblem, ContainerRequest, Exit, Inspected
from stop_harness.engines.docker import reaper
from stop_harness.errors import EngineError
from stop_harness.model import DEFAULT_PIDS_LIMIT, Clock, EngineInfo, Event, EventKind, LogTail, ProcessInfo

if TYPE_CHECKING:
    from stop_harness.engines.docker.host import DockerHost
    from stop_harness.linux.silent_kills import Watch, Watches

HTTP_TIMEOUT_S = 120
"""On top of the stop timeout: the agent's buffer of two minutes (docker_client.go:117)."""

LONGEST_TIMED_STOP_S = 1_000_000
"""A longer stop is waited for without a deadline: Python's sockets take no more than 2**31 ms."""

EVENT_PATIENCE_S = 3.0
"""How long the `die` event may come after the exit (engines/docker/subject.py)."""

WAIT_SLICE_S = 3600.0

LOG_KEEP_BYTES = 64 * 1024
LOG_LINES = 1000
LOG_READ_BYTES = LOG_LINES * 16 * 1024
"""The engine's log driver keeps a long line in pieces of 16 KiB, and counts those: this is all of `LOG_LINES`."""

MEBIBYTE = 1024 * 1024
LEAST_MEMORY_BYTES = 6 * MEBIBYTE
"""Docker 20.10 refuses less."""

LOOPBACK = "127.0.0.1"
"""Ports are published here only: a task definition must not open this machine to the network."""


class DockerContainers:
    """One run of the endpoint on one engine: a client, an event stream, a reaper.

    `pids_limit`: processes and threads of each container, -1 for no limit. No member of a task definition says it.
    `say`: is told what a container takes of the machine, before it is created. `with_witness`: bring one to an engine
    whose kernel is out of reach.
    """

    def __init__(
        self,
        run_id: str,
        host: DockerHost,
        pids_limit: int = DEFAULT_PIDS_LIMIT,
        say: Callable[[str], None] = lambda _: None,
        *,
        with_witness: bool = False,
    ) -> None:
        import docker

        from stop_harness.engines.docker.events import EventStream

        self._run_id, self._host, self._pids_limit, self._say = run_id, host, pids_limit, say
        self._api = self._client(HTTP_TIMEOUT_S)
        self._unhurried = self._client(None)
        self._labels = {reaper.RUN_LABEL: run_id, reaper.OWNER_LABEL: reaper.owner()}
        self._digests: dict[str, str | None] = {}
        self._closing = threading.Event()
        self._pids_one: dict[str, tuple[int, bool]] = {}
        self._called_ns: dict[str, int] = {}
        self._connector: Watches | None = None
        self._info = host.info
        self._watches: dict[str, Watch] = {}
        if host.info.proves_lost_processes:
            from stop_harness.linux.process_connector import ProcessConnector

            with contextlib.suppress(OSError):  # then nothing is proved: lost_processes is None
                self._connector = ProcessConnector()
        if with_witness and self._connector is None:
            self._bring_witness()
        try:
            self._reaper = reaper.Reaper(run_id, host.address)
            self._events = EventStream(host, f"{reaper.RUN_LABEL}={run_id}")
        except (docker.errors.DockerException, OSError) as error:
            raise EngineError(f"{host.url}: the engine stopped answering: {error}") from None

    def has_image(self, image: str) -> bool:
        """On the engine already."""
        import docker

        try:
            self._api.inspect_image(image)
        except docker.errors.ImageNotFound:
            return False
        except _engine_errors() as error:
            raise ContainerProblem("CannotPullContainerError", _text(error)) from None
        return True

    def pull(self, image: str) -> None:
        """From its registry, with the engine's own credentials."""
        from docker.utils import parse_repository_tag

        repository, tag = parse_repository_tag(image)
        try:
            self._unhurried.pull(repository, tag=tag or "latest")
            self._api.inspect_image(image)
        except _engine_errors() as error:
            raise ContainerProblem("CannotPullContainerError", _text(error)) from None

    def create(self, request: ContainerRequest) -> str:
        """With the labels of the run, so that nothing is left behind."""
        if self._closing.is_set():
            raise ContainerProblem("CannotCreateContainerError", "the endpoint is shutting down")
        settings, host = container_settings(request), host_settings(request, volume_prefix(self._run_id))
        settings["labels"].update(self._labels)
        paths = {name: source for name, source in request.volumes if source.startswith("/")}
        for sentence in host_access([request.definition], paths):
            self._say(sentence)
        try:
            for name in volume_names(request, volume_prefix(self._run_id)):
                self._api.create_volume(name, labels=self._labels)
            settings["host_config"] = self._api.create_host_config(**host, pids_limit=self._pids_limit)
            created = self._api.create_container(**settings)
        except _engine_errors(TypeError, ValueError) as error:
            raise ContainerProblem("CannotCreateContainerError", _text(error)) from None
        return str(created["Id"])

    def start(self, runtime_id: str) -> None:
        """What the engine recorded of an earlier run is forgotten: `wait` is for the end of this one."""
        self._events.forget(runtime_id)
        self._called_ns.pop(runtime_id, None)
        try:
            self._api.start(runtime_id)
        except _engine_errors() as error:
            raise ContainerProblem("CannotStartContainerError", _text(error)) from None

    def inspect(self, runtime_id: str) -> Inspected:
        """NetworkSettings.Ports, Config.StopSignal, and the image's RepoDigests."""
        state = self._inspect(runtime_id)
        ports = state.get("NetworkSettings", {}).get("Ports") or {}
        bindings = (
            Binding(int(number), int(where["HostPort"]), protocol, where["HostIp"])
            for port, published in ports.items()
            for number, _, protocol in [port.partition("/")]
            for where in published or ()
        )
        self._pids_one[runtime_id] = (int(state.get("State", {}).get("Pid") or 0), "Health" in state.get("State", {}))
        own = _signal_number(state.get("Config", {}).get("StopSignal"))
        return Inspected(
            image_digest=self._image_digest(state.get("Image", "")),
            bindings=tuple(bindings),
            stop_signal=own or signals.SIGTERM,
            stop_signal_source="image" if own else "default",
        )

    def _image_digest(self, image_id: str) -> str | None:
        """Of the registry, where the image came from one. Asked once an image."""
        if image_id not in self._digests:
            try:
                digests = self._api.inspect_image(image_id).get("RepoDigests") or []
            except _engine_errors(ValueError):
                return None
            self._digests[image_id] = str(digests[0]).rpartition("@")[2] if digests else None
        return self._digests[image_id]

    def healthy(self, runtime_id: str) -> bool | None:
        """State.Health.Status; None while starting."""
        state = self._inspect(runtime_id).get("State", {})
        return {"healthy": True, "unhealthy": False}.get(state.get("Health", {}).get("Status"))

    def wait(self, runtime_id: str) -> Exit:
        """By the event stream; by the engine's wait call once the stream is broken. Then State."""
        while not (self._events.broken or self._events.died(runtime_id)):
            self._events.of(runtime_id, until="die", patience_s=WAIT_SLICE_S)
        if not self._events.died(runtime_id):
            with contextlib.suppress(*_engine_errors()):
                self._unhurried.wait(runtime_id)
        return self._exit(runtime_id)

    def stop(self, runtime_id: str, stop_timeout_s: int) -> None:
        """`POST /containers/ID/stop?t=…`; 304 (exited already) is no error."""
        import docker
        import requests

        self._watch_processes(runtime_id)
        self._called_ns.setdefault(runtime_id, time.time_ns())
        client = self._api if stop_timeout_s < LONGEST_TIMED_STOP_S else self._unhurried
        try:
            client.stop(runtime_id, timeout=stop_timeout_s)
        except docker.errors.NotFound:
            problem = ContainerProblem("CannotStopContainerError", f"Container not found: {runtime_id}", final=True)
            raise problem from None
        except requests.ReadTimeout:
            waited = stop_timeouts.format_go_duration(stop_timeout_s + HTTP_TIMEOUT_S)
            text = f"Could not transition to stopped; timed out after waiting {waited}"
            raise ContainerProblem("DockerTimeoutError", text) from None
        except _engine_errors() as error:
            raise ContainerProblem("CannotStopContainerError", _text(error)) from None

    def _watch_processes(self, runtime_id: str) -> None:
        """From before the stop signal on; a health check's processes are nobody's loss."""
        pid_one, health_checked = self._pids_one.get(runtime_id, (0, False))
        if self._connector is not None and pid_one and runtime_id not in self._watches:
            watch = self._connector.watch(pid_one, container_id=runtime_id, jobs=not health_checked)
            if watch is not None:
                self._watches[runtime_id] = watch

    def logs(self, runtime_id: str) -> LogTail:
        """The last lines that its log driver kept."""
        from stop_harness.engines.docker import reading

        return reading.log_tail(
            self._api,
            runtime_id,
            lines=LOG_LINES,
            keep_bytes=LOG_KEEP_BYTES,
            read_bytes=LOG_READ_BYTES,
            from_begin=self._host.podman,
        )

    def processes(self, runtime_id: str) -> tuple[ProcessInfo, ...] | None:
        """The engine's `ps`."""
        from stop_harness.engines.docker import reading

        return reading.processes(self._api, runtime_id, self._host)

    def engine(self) -> EngineInfo:
        """As it described itself when it was found, with what a witness adds."""
        return self._info

    def answers(self) -> bool:
        """`GET /_ping`."""
        try:
            return bool(self._api.ping())
        except _engine_errors():
            return False

    def remove(self, runtime_id: str) -> None:
        """With its anonymous volumes."""
        with contextlib.suppress(*_engine_errors()):
            self._api.remove_container(runtime_id, force=True, v=True)
        self._events.forget(runtime_id)
        self._pids_one.pop(runtime_id, None)
        self._called_ns.pop(runtime_id, None)
        watch = self._watches.pop(runtime_id, None)
        if watch is not None:  # its stop call found it gone already
            watch.abandon()

    def close(self) -> tuple[str, ...]:
        """Remove the run's containers and volumes, and say what could not be; the reaper goes on trying. Creations on
        their way may still land: it is looked again until nothing was found."""
        from stop_harness.engines.docker.calls import time_limit_s
        from stop_harness.engines.docker.clearing import clear

        self._closing.set()
        removed, left = 1, tuple[str, ...]()
        while removed and not left:
            removed, left = clear(self._host.url, self._host.address, self._run_id, call_limit_s=time_limit_s())
        self._events.close()
        if self._connector is not None:
            self._connector.close()
        if left:
            self._reaper.take_over()
        else:
            self._reaper.dismiss()
        self._api.close()
        self._unhurried.close()
        return left

    def _bring_witness(self) -> None:
        from stop_harness.engines.docker import witness
        from stop_harness.engines.interface import WITNESS_CAVEAT

        self._connector, said = witness.bring(self._host, self._labels)
        proved, caveats = self._connector is not None, (*self._info.caveats, WITNESS_CAVEAT + said)
        self._info = dataclasses.replace(self._info, proves_lost_processes=proved, caveats=caveats)

    def _client(self, timeout_s: int | None) -> Any:
        return self._host.connect(timeout_s=timeout_s, connections=100).api

    def _inspect(self, runtime_id: str) -> dict[str, Any]:
        try:
            return dict(self._api.inspect_container(runtime_id))
        except _engine_errors():
            return {}

    def _exit(self, runtime_id: str) -> Exit:
        """State, recorded only when it does not run and FinishedAt is set (docker_client.go:969)."""
        events = self._events.of(runtime_id, until="die", patience_s=0 if self._events.broken else EVENT_PATIENCE_S)
        called_ns = self._called_ns.get(runtime_id)
        if called_ns is not None and self._host.same_kernel and not self._host.info.observes_sigkill:
            # Podman reports no signals; one machine has one wall clock, so the stop begins with our call.
            events = (Event(EventKind.STOP_REQUESTED, called_ns, Clock.ENGINE, "stop call"), *events)
        complete = not self._events.broken and self._events.died(runtime_id)
        complete = complete and self._host.info.observes_sigkill
        watch = self._watches.pop(runtime_id, None)
        lost = watch.lost() if watch is not None else None
        from stop_harness.engines.docker import oom
        from stop_harness.engines.docker.reading import NEVER, timestamp_ns

        state = self._inspect(runtime_id).get("State")
        if state is None:
            reason = f"CannotInspectContainerError: Container not found: {runtime_id}"
            return Exit(None, None, reason=reason, events=events, complete=complete, lost_processes=lost)
        finished = str(state.get("FinishedAt") or NEVER)
        ended = not state["Running"] and not finished.startswith(NEVER)
        error = state.get("Error") or None
        oom_killed = bool(state.get("OOMKilled"))
        unsaid = ended and not oom_killed and oom.may_be_unreported(int(state["ExitCode"]), events)
        if unsaid and self._host.info.reports_oom:
            oom_killed = oom.reported(
                lambda: bool(self._inspect(runtime_id).get("State", {}).get("OOMKilled")),
                lambda: self._events.of(runtime_id),
                self._closing,
            )
            events = (*events, *(it for it in self._events.of(runtime_id) if it not in events))
        return Exit(
            exit_code=int(state["ExitCode"]) if ended else None,
            finished_at_ns=timestamp_ns(finished) if ended else None,
            oom_killed=oom_killed,
            reason=f"DockerStateError: {error}" if error else None,
            events=events,
            complete=complete,
            lost_processes=lost,
        )


def volume_prefix(run_id: str) -> str:
    """Begins the names of the engine's volumes behind task volumes that have no host path."""
    return f"stop-harness-{run_id}-"


def container_settings(request: ContainerRequest) -> dict[str, Any]:
    """A container definition as arguments of the SDK's create call."""
    it = request.definition
    optional = {
        "command": it.get("command") or None,
        "entrypoint": it.get("entryPoint") or None,
        "user": it.get("user"),
        "working_dir": it.get("workingDirectory"),
        "hostname": it.get("hostname"),
        "stdin_open": it.get("interactive"),
        "tty": it.get("pseudoTerminal"),
    }
    if request.publish_ports:
        optional["ports"] = [(item["containerPort"], item.get("protocol", "tcp")) for item in _ports(request)]
    return {
        "image": it["image"],
        "name": request.name,
        "environment": {item["name"]: item.get("value", "") for item in it.get("environment", ())},
        "labels": {**it.get("dockerLabels", {}), **request.labels},
        "healthcheck": _health_check(it.get("healthCheck")),
        **{key: value for key, value in optional.items() if value is not None},
    }


def host_settings(request: ContainerRequest, prefix: str) -> dict[str, Any]:
    """A container definition as arguments of the SDK's host configuration."""
    it = request.definition
    linux = it.get("linuxParameters", {})
    capabilities = linux.get("capabilities", {})
    memory = max(it["memory"] * MEBIBYTE, LEAST_MEMORY_BYTES) if it.get("memory") else None
    optional = {
        "init": linux.get("initProcessEnabled"),
        "mem_limit": memory,
        "memswap_limit": memory,  # instances of ECS have no swap
        "mem_reservation": it["memoryReservation"] * MEBIBYTE if it.get("memoryReservation") else None,
        "cpu_shares": max(it["cpu"], 2) if it.get("cpu") else None,
        "privileged": it.get("privileged"),
        "read_only": it.get("readonlyRootFilesystem"),
        "shm_size": linux["sharedMemorySize"] * MEBIBYTE if linux.get("sharedMemorySize") else None,
        "cap_add": capabilities.get("add"),
        "cap_drop": capabilities.get("drop"),
        "tmpfs": {item["containerPath"]: f"size={item['size']}m" for item in linux.get("tmpfs", ())} or None,
        "dns": it.get("dnsServers"),
        "dns_search": it.get("dnsSearchDomains"),
        "extra_hosts": {item["hostname"]: item["ipAddress"] for item in it.get("extraHosts", ())} or None,
        "ulimits": [{"Name": u["name"], "Soft": u["softLimit"], "Hard": u["hardLimit"]} for u in it.get("ulimits", ())],
        "links": list(request.links) or None,
        "volumes_from": [f"{source}:{'ro' if read_only else 'rw'}" for source, read_only in request.volumes_from],
        "binds": _binds(request, prefix),
    }
    if request.publish_ports:
        optional["port_bindings"] = {
            f"{item['containerPort']}/{item.get('protocol', 'tcp')}": (LOOPBACK, item.get("hostPort") or None)
            for item in _ports(request)
        }
    return {key: value for key, value in optional.items() if value}


def _ports(request: ContainerRequest) -> list[dict[str, Any]]:
    return [item for item in request.definition.get("portMappings", ()) if "containerPort" in item]


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


def _engine_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    import docker
    import requests

    return (docker.errors.DockerException, requests.RequestException, OSError, *more)


def _signal_number(text: object) -> int | None:
    """Of a STOPSIGNAL; what is no signal counts as none (moby, container.go: StopSignal)."""
    try:
        return signals.number(str(text)) if text else None
    except ValueError:
        return None


def _text(error: Any) -> str:
    """Docker's own text, as the agent passes it on."""
    explanation = getattr(error, "explanation", None)
    return f"Error response from daemon: {explanation}" if explanation else " ".join(str(error).split())
