"""The tasks' containers on a Docker Engine API, removed by the reaper if the endpoint dies."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from stop_harness import signals
from stop_harness.ecs import stop_timeouts
from stop_harness.ecs.host_access import host_access
from stop_harness.ecs_endpoint.containers import (
    Binding,
    ContainerProblem,
    ContainerRequest,
    Exit,
    GroupRequest,
    Inspected,
    Machine,
)
from stop_harness.ecs_endpoint.docker_settings import (
    MEBIBYTE,
    container_settings,
    group_settings,
    host_settings,
    ports,
    volume_names,
    volume_prefix,
)
from stop_harness.engines.docker import packet_container, reading, reaper, sdk, shared_namespaces, witness
from stop_harness.engines.docker.calls import GRACE_S, CallFailed, Calls, NoAnswer, time_limit_s
from stop_harness.engines.docker.clearing import clear
from stop_harness.engines.docker.container import ContainerGone, ContainerLife, LogLimits
from stop_harness.engines.docker.events import EventStream
from stop_harness.engines.docker.reading import State
from stop_harness.engines.docker.shared_namespaces import PauseContainer, Shared
from stop_harness.engines.docker.starting import hosts_behind
from stop_harness.engines.interface import WITNESS_CAVEAT
from stop_harness.errors import EngineError
from stop_harness.linux import network_namespace, packet_faults, proc
from stop_harness.linux.disturbance import CannotDisturb, Disturbance
from stop_harness.linux.process_connector import ProcessConnector
from stop_harness.model import DEFAULT_PIDS_LIMIT, Clock, EngineInfo, Event, EventKind, LogTail, ProcessInfo

if TYPE_CHECKING:
    from stop_harness.engines.docker.host import DockerHost
    from stop_harness.linux.silent_kills import Watches

AGENT_LIMIT_S = 120.0
"""For an answer of the engine, on top of the stop timeout: the agent's buffer of two minutes (docker_client.go:117).
STOP_HARNESS_ENGINE_TIMEOUT sets another."""

LOG_LINES = 1000
LOG_LIMITS = LogLimits(lines=LOG_LINES, keep_bytes=64 * 1024, read_bytes=LOG_LINES * 16 * 1024)
"""The engine's log driver keeps a long line in pieces of 16 KiB, and counts those: this is all of `LOG_LINES`."""


@dataclass(frozen=True)
class _Group:
    """A pause container, and the arguments of the host configuration by which others share what is its.
    `shares_memory`: one memory limit holds for all of them."""

    pause: PauseContainer
    joined: dict[str, str]
    shares_memory: bool


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
        self._run_id, self._host, self._pids_limit, self._say = run_id, host, pids_limit, say
        self._limit_s = time_limit_s(AGENT_LIMIT_S)
        self._calls = Calls(host.url, self._limit_s)
        self._api = host.connect(timeout_s=self._limit_s + GRACE_S, connections=100).api
        self._labels = {reaper.RUN_LABEL: run_id, reaper.OWNER_LABEL: reaper.owner()}
        self._digests: dict[str, str | None] = {}
        self._closing = threading.Event()
        self._lives: dict[str, ContainerLife] = {}
        self._groups: dict[str, _Group] = {}
        self._joined: dict[str, tuple[str, frozenset[int]]] = {}
        """Container → the group whose network it shares, and its own ports of that."""
        self._connector: Watches | None = None
        self._info = host.info
        if host.info.proves_lost_processes:
            with contextlib.suppress(OSError):  # then nothing is proved: lost_processes is None
                self._connector = ProcessConnector()
        if with_witness and self._connector is None:
            self._bring_witness()
        try:
            self._reaper = reaper.DockerReaper(run_id, host.address)
            self._events = EventStream(host, label=f"{reaper.RUN_LABEL}={run_id}")
        except sdk.ENGINE_ERRORS as error:
            raise EngineError(f"{host.url}: the engine stopped answering: {error}") from None

    def has_image(self, image: str) -> bool:
        """On the engine already."""
        from docker import errors

        try:
            self._calls.run("the image", self._api.inspect_image, image)
        except errors.ImageNotFound:
            return False
        except sdk.CALL_ERRORS as error:
            raise ContainerProblem("CannotPullContainerError", _text(error)) from None
        return True

    def pull(self, image: str) -> None:
        """From its registry, with the engine's own credentials; it takes as long as it takes."""
        from docker import utils

        repository, tag = utils.parse_repository_tag(image)
        try:
            self._api.pull(repository, tag=tag or "latest")
            self._calls.run("the image", self._api.inspect_image, image)
        except sdk.CALL_ERRORS as error:
            raise ContainerProblem("CannotPullContainerError", _text(error)) from None

    def open_group(self, request: GroupRequest) -> str:
        """A pause container of ours. Where its cgroup can hold others, its limits are those of the whole group."""
        shared = Shared(request.network, request.pid, request.ipc)
        labels = {**request.labels, **self._labels}
        calls = Calls(self._host.url, self._limit_s)
        memory = bool(request.memory_mib) and self._info.shares_memory
        limits = (bool(request.nano_cpus) and self._info.limits_groups) or memory
        settings = group_settings(request, memory=memory)
        try:
            made = shared_namespaces.create(
                self._api, calls, labels, shared, name=request.name, limits_group=limits, **settings
            )
            made.start()
            joined = made.joined()
            if limits:
                joined["cgroup_parent"] = made.cgroup()
        except EngineError as error:
            raise ContainerProblem("CannotCreateContainerError", _text(error)) from None
        self._groups[made.id] = _Group(made, joined, shares_memory=memory)
        return made.id

    def create(self, request: ContainerRequest) -> str:
        """With the labels of the run, so that nothing is left behind."""
        if self._closing.is_set():
            raise ContainerProblem("CannotCreateContainerError", "the endpoint is shutting down")
        joined = self._groups[request.group].joined if request.group else {}
        settings = container_settings(request, joined)
        host = host_settings(request, volume_prefix(self._run_id), joined)
        settings["labels"].update(self._labels)
        paths = {name: source for name, source in request.volumes if source.startswith("/")}
        for sentence in host_access([request.definition], paths):
            self._say(sentence)
        try:
            for name in volume_names(request, volume_prefix(self._run_id)):
                self._calls.run("a volume's creation", partial(self._api.create_volume, name, labels=self._labels))
            if self._host.podman and (links := host.pop("links", ())):
                behind = self._calls.run("the addresses behind links", hosts_behind, links, (), self._api)
                host["extra_hosts"] = {**dict(behind), **host.get("extra_hosts", {})}
            settings["host_config"] = self._api.create_host_config(**host, pids_limit=self._pids_limit)
            created = self._calls.run("the creation", self._create, settings)
        except NoAnswer:
            raise self._timed_out("created") from None
        except (*sdk.CALL_ERRORS, TypeError, ValueError) as error:
            raise ContainerProblem("CannotCreateContainerError", _text(error)) from None
        group = self._groups[request.group] if request.group else None
        self._lives[created] = self._life(created, group.pause.id if group and group.shares_memory else None)
        if request.group and "network_mode" in joined:
            self._joined[created] = (
                request.group,
                frozenset(item["containerPort"] for item in ports(request.definition)),
            )
        return created

    def _create(self, settings: dict[str, Any]) -> str:
        from docker import errors

        try:
            return str(self._api.create_container(**settings)["Id"])
        except (TypeError, ValueError) as error:  # the SDK looks at what the definition says before it asks
            raise errors.InvalidArgument(str(error)) from None

    def _life(self, runtime_id: str, memory_of: str | None = None) -> ContainerLife:
        """What follows the container; a new one where it is removed already, for which the engine's answer is that."""
        return self._lives.get(runtime_id) or ContainerLife(
            runtime_id,
            self._host,
            self._api,
            calls=Calls(self._host.url, self._limit_s),
            events=self._events,
            ending=self._closing,
            watches=self._connector,
            memory_of=memory_of,
        )

    def start(self, runtime_id: str) -> None:
        """What the engine recorded of an earlier run is forgotten: `wait` is for the end of this one."""
        try:
            self._life(runtime_id).start()
        except NoAnswer:
            raise self._timed_out("started") from None
        except EngineError as error:
            raise ContainerProblem("CannotStartContainerError", _text(error)) from None

    def inspect(self, runtime_id: str) -> Inspected:
        """NetworkSettings.Ports, Config.StopSignal, and the image's RepoDigests."""
        try:
            state = self._life(runtime_id).state()
        except EngineError:
            return Inspected()
        published, address = state.published, state.address
        if runtime_id in self._joined:
            group, own = self._joined[runtime_id]
            network = self._network_of(group)
            published = tuple(port for port in network.published if port.container_port in own) if network else ()
            address = network.address if network else None
        return Inspected(
            address=address,
            image_digest=self._image_digest(state.image_id),
            bindings=tuple(
                Binding(port.container_port, port.host_port, port.protocol, port.host_ip) for port in published
            ),
            stop_signal=state.stop_signal or signals.SIGTERM,
            stop_signal_source="image" if state.stop_signal else "default",
        )

    def _network_of(self, group: str) -> State | None:
        """Its pause container has the address and the published ports."""
        try:
            return reading.state_of(self._groups[group].pause.inspect())
        except (KeyError, EngineError):
            return None

    def disturb(self, runtime_id: str, disturbance: Disturbance) -> Callable[[], None]:
        """By root on the engine's machine, else by a container of ours in that network."""
        group = self._groups.get(runtime_id)
        owner = group.pause.id if group is not None else runtime_id
        if not self._host.root_near or packet_faults.why_not() is not None:
            return packet_container.disturb(self._host, f"container:{owner}", self._labels, disturbance)
        try:
            found = reading.state_of(group.pause.inspect()) if group is not None else self._life(runtime_id).state()
            if not proc.is_first_process_of(found.pid, owner):
                raise ContainerProblem("CannotDisturbNetworkError", "it is not running")
            return packet_faults.disturb(network_namespace.opened(found.pid), disturbance)
        except (KeyError, EngineError) as error:
            raise ContainerProblem("CannotInspectContainerError", str(error)) from None
        except OSError as error:
            raise CannotDisturb(f"the task's network namespace cannot be entered: {error.strerror}") from None

    def _image_digest(self, image_id: str) -> str | None:
        """Of the registry, where the image came from one. Asked once an image."""
        if image_id not in self._digests:
            try:
                found = self._calls.run("the image", self._api.inspect_image, image_id)
                digests = found.get("RepoDigests") or []
            except (*sdk.CALL_ERRORS, AttributeError):
                return None
            self._digests[image_id] = str(digests[0]).rpartition("@")[2] if digests else None
        return self._digests[image_id]

    def healthy(self, runtime_id: str) -> bool | None:
        """State.Health.Status; None while starting."""
        try:
            return self._life(runtime_id).state().healthy
        except EngineError:
            return None

    def wait(self, runtime_id: str) -> Exit:
        """By the event stream; by the engine's wait call once the stream is broken. Then State."""
        life = self._life(runtime_id)
        life.wait()
        try:
            end = life.end()
        except EngineError as error:
            gone = isinstance(error, ContainerGone)
            reason = f"CannotInspectContainerError: {f'Container not found: {runtime_id}' if gone else error}"
            events, complete = life.events()
            told = Exit(None, None, reason=reason, events=events, complete=complete, lost_processes=life.lost())
        else:
            # Recorded only when it does not run and FinishedAt is set (docker_client.go:969).
            state = end.state
            told = Exit(
                exit_code=state.exit_code if state.exited else None,
                finished_at_ns=state.finished_at_ns if state.exited else None,
                oom_killed=state.oom_killed,
                reason=f"DockerStateError: {state.error}" if state.error else None,
                events=end.events,
                complete=end.complete,
                lost_processes=end.lost_processes,
                fates=end.fates,
                fate_count=None if end.fates is None or end.fate_count == len(end.fates) else end.fate_count,
            )
        return self._with_own_call(life, told)

    def _with_own_call(self, life: ContainerLife, told: Exit) -> Exit:
        """Podman reports no signals: it proves nothing by a missing one. One machine has one wall clock, so there the
        stop begins with our call."""
        if self._host.info.observes_sigkill:
            return told
        events = told.events
        if life.stop_called_ns is not None and self._host.same_kernel:
            events = (Event(EventKind.STOP_REQUESTED, life.stop_called_ns, Clock.ENGINE, "stop call"), *events)
        return dataclasses.replace(told, events=events, complete=False)

    def stop(self, runtime_id: str, stop_timeout_s: int) -> None:
        """`POST /containers/ID/stop?t=…`; 304 (exited already) is no error."""
        life = self._life(runtime_id)
        life.follow_stop()
        try:
            life.stop(stop_timeout_s)
        except ContainerGone:
            problem = ContainerProblem("CannotStopContainerError", f"Container not found: {runtime_id}", final=True)
            raise problem from None
        except NoAnswer:
            raise self._timed_out("stopped", stop_timeout_s) from None
        except EngineError as error:
            raise ContainerProblem("CannotStopContainerError", _text(error)) from None

    def _timed_out(self, transition: str, extra_s: int = 0) -> ContainerProblem:
        waited = stop_timeouts.format_go_duration(round(extra_s + self._limit_s))
        text = f"Could not transition to {transition}; timed out after waiting {waited}"
        return ContainerProblem("DockerTimeoutError", text)

    def logs(self, runtime_id: str) -> LogTail:
        """The last lines that its log driver kept."""
        return self._life(runtime_id).logs(LOG_LIMITS)

    def processes(self, runtime_id: str) -> tuple[ProcessInfo, ...] | None:
        """From /proc where the engine is on this machine, else by its `ps`."""
        try:
            return self._life(runtime_id).processes()
        except EngineError:
            return None

    def engine(self) -> EngineInfo:
        """As it described itself when it was found, with what a witness adds."""
        return self._info

    def machine(self) -> Machine:
        """`GET /info`."""
        try:
            found = self._calls.run("the machine", self._api.info)
        except sdk.CALL_ERRORS as error:
            raise EngineError(f"{self._host.url}: the engine stopped answering: {error}") from None
        memory_mib = int(found.get("MemTotal") or 0) // MEBIBYTE
        return Machine(int(found.get("NCPU") or 0), memory_mib, str(found.get("Architecture") or "x86_64"))

    def host_address(self) -> str | None:
        """The gateway of the engine's bridge; Docker names none once it was restarted, and means the first address."""
        try:
            found = self._calls.run("the bridge", self._api.inspect_network, "bridge")
            for item in found.get("IPAM", {}).get("Config") or ():
                network = ipaddress.ip_network(item["Subnet"])
                if network.version == 4:
                    return str(item.get("Gateway") or network[1])
        except (*sdk.CALL_ERRORS, KeyError, ValueError, IndexError):
            return None
        return None

    def answers(self) -> bool:
        """`GET /_ping`."""
        try:
            return bool(self._calls.run("the ping", self._api.ping))
        except sdk.CALL_ERRORS:
            return False

    def remove(self, runtime_id: str) -> None:
        """With its anonymous volumes. What cannot be removed is tried again by `close`."""
        group = self._groups.pop(runtime_id, None)
        with contextlib.suppress(EngineError):
            if group is not None:
                group.pause.remove()
            else:
                self._life(runtime_id).remove()
        self._joined.pop(runtime_id, None)
        self._events.forget(runtime_id)
        self._lives.pop(runtime_id, None)

    def close(self) -> tuple[str, ...]:
        """Remove the run's containers and volumes, and say what could not be; the reaper goes on trying. Creations on
        their way may still land: it is looked again until nothing was found."""
        self._closing.set()
        removed, left = 1, tuple[str, ...]()
        while removed and not left:
            removed, left = clear(self._host, self._run_id, call_limit_s=self._limit_s)
        self._events.close()
        if self._connector is not None:
            self._connector.close()
        if left or self._calls.unknown:  # what was asked for and not answered may still be created
            self._reaper.take_over()
        else:
            self._reaper.dismiss()
        self._api.close()
        return left

    def _bring_witness(self) -> None:
        self._connector, said = witness.bring(self._host, self._labels)
        proved, caveats = self._connector is not None, (*self._info.caveats, WITNESS_CAVEAT + said)
        self._info = dataclasses.replace(self._info, proves_lost_processes=proved, caveats=caveats)


def _text(error: Exception) -> str:
    """Docker's own text, as the agent passes it on."""
    own = error.reason if isinstance(error, CallFailed) else getattr(error, "explanation", None)
    return f"Error response from daemon: {own}" if own else " ".join(str(error).split())
