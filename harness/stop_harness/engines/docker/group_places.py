"""What the containers of a group share on the engine for one trial: networks, and volumes with what is given in them.

Each trial has its own. All of it carries the labels by which the reaper finds it.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import re
import tarfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from stop_harness.engines.docker import sdk, settings, shared_namespaces
from stop_harness.engines.docker.calls import CallFailed, Calls
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.settings import volume_name
from stop_harness.engines.docker.shared_namespaces import PauseContainer
from stop_harness.engines.docker.starting import hosts_behind
from stop_harness.engines.interface import SubjectFailed
from stop_harness.errors import EngineError
from stop_harness.model import (
    POD_ADDRESS,
    Attachment,
    Group,
    GroupVolume,
    Member,
    MountKind,
    Problem,
    ProblemKind,
    SharedNamespaces,
    Trial,
)

SUBNET_PATIENCE_S = 120.0
"""An engine has about thirty subnets for networks (`default-address-pools`); other trials give theirs back."""

SUBNET_POLL_S = 0.5

NO_SUBNET = ("address pool", "address pools")
"""In the refusal of an engine that has no subnet left."""

MADE_AT = "stop-harness-volume"
"""Where in its root a volume is mounted in the container that fills it, which never runs."""


Networks = tuple[tuple[str, tuple[str, ...]], ...]
"""As `Placement.networks` has them."""


class GroupPlaces:
    """The networks, volumes and namespaces of one trial's group. `names`: of each network, its name on the engine.

    `pause`: the container that owns the namespaces of a pod, and `address` where it is reached; None: there is none.
    `pod_address`: what the pod calls its own address, which is the machine's with `hostNetwork`.
    """

    def __init__(self, trial: Trial, group: Group, host: DockerHost, api: Any, calls: Calls) -> None:
        self._trial, self._group, self._host, self._api, self._calls = trial, group, host, api, calls
        self._networks: list[str] = []
        self._volumes: set[str] = set()
        self.names: dict[str, str] = {}
        self.pause: PauseContainer | None = None
        self.address: str | None = None
        self.pod_address = "127.0.0.1"

    def make(self, labels: Mapping[str, str], image: str, stopped: Any) -> None:
        """Networks, volumes with what they begin with, and the pause container.

        `image`: any that is on the engine; `stopped`: an event that ends a wait for a free subnet. Raises EngineError.
        """
        for network in self._group.networks:
            name = self._name(labels, network.name)
            self.names[network.name] = name
            self._make_network(name, internal=network.internal, labels=labels, stopped=stopped)
        own = {volume.name: volume for volume in self._group.volumes}
        mounts = [mount for member in self._group.members for mount in member.subject.settings.mounts]
        named = {mount.source for mount in mounts if mount.kind is MountKind.VOLUME and mount.source is not None}
        self._volumes = {self._name(labels, name) for name in named | own.keys()}
        for name in sorted(named | own.keys()):  # here, for Podman makes those of a mount without their labels
            self._make_volume(own.get(name) or GroupVolume(name), labels)
        if self._group.shared is not None:
            self._make_pause(self._group.shared, dict(labels))
        for volume in own.values():  # what is kept in memory is there while the pause container has it
            if _begins_with_something(volume):
                self._fill(volume, dict(labels), image)

    def of(self, attachments: tuple[Attachment, ...], names: tuple[str, ...]) -> Networks:
        """The places of a container in the group's networks. `names`: by which it is found in each."""
        return tuple(
            (self.names[it.network], tuple(dict.fromkeys((*names, *it.aliases))))
            for it in attachments
            if it.network in self.names
        )

    def hosts_behind(self, links: tuple[tuple[str, str], ...], networks: Networks) -> tuple[tuple[str, str], ...]:
        """See `starting.hosts_behind`; none on an engine that knows links. Raises EngineError."""
        if not links or not self._host.podman:
            return ()
        names = tuple(name for name, _ in networks)
        try:
            return self._calls.run("the addresses behind links", hosts_behind, links, names, self._api)
        except sdk.ENGINE_ERRORS as error:
            raise CallFailed(self._host.url, "the addresses behind links", error) from None

    def refuse_root(self, member: Member, image: str) -> None:
        """Where a pod says that nobody is to run as root, as a kubelet does (kuberuntime/security_context_others.go).
        Raises SubjectFailed."""
        if not member.not_as_root:
            return
        config = self._calls.run("the image's user", self._api.inspect_image, image).get("Config") or {}
        user = str(config.get("User") or "").partition(":")[0]
        if user.isdigit() and int(user) != 0:
            return
        why = "the image will run as root"
        if user and not user.isdigit():
            why = f"the image has the non-numeric user {user!r}, so that nobody can verify that it is not root"
        text = f"runAsNonRoot, and {why}: a kubelet does not start it (CreateContainerConfigError); set runAsUser"
        raise SubjectFailed(Problem(ProblemKind.START_FAILED, text))

    def remove(self) -> None:
        """What stays, because somebody uses it still, is removed at the run's end, by its label."""
        if self.pause is not None:
            with contextlib.suppress(EngineError):
                self.pause.remove()
        for volume in self._volumes:
            with contextlib.suppress(EngineError, *sdk.ENGINE_ERRORS):
                self._calls.run("the removal of a volume", self._api.remove_volume, volume, cleans_up=True)
        for network in self._networks:
            with contextlib.suppress(EngineError, *sdk.ENGINE_ERRORS):
                self._calls.run("the removal of a network", self._api.remove_network, network, cleans_up=True)
        self._volumes, self._networks = set(), []

    def _name(self, labels: Mapping[str, str], name: str) -> str:
        return volume_name(self._trial, dict(labels), name)

    def _make_network(self, name: str, *, internal: bool, labels: Mapping[str, str], stopped: Any) -> None:
        def create() -> str:
            made = self._api.create_network(name, driver="bridge", internal=internal, labels=dict(labels))
            return str(made["Id"])

        deadline = time.monotonic() + SUBNET_PATIENCE_S
        while True:
            try:
                self._networks.append(self._calls.run("the creation of a network", create))
                return
            except sdk.ENGINE_ERRORS as error:
                failed = CallFailed(self._host.url, "the creation of a network", error)
                wait = failed.reason is not None and any(word in failed.reason for word in NO_SUBNET)
                if not wait or time.monotonic() >= deadline or stopped.wait(SUBNET_POLL_S):
                    raise failed from None

    def _make_pause(self, shared: SharedNamespaces, labels: dict[str, str]) -> None:
        """With the published ports of all, and with what is kept in memory, which would be gone with its last user."""
        given = settings.arguments(shared.settings, self._trial, labels, self._host)
        host = {key: value for key in ("extra_hosts", "sysctls", "shm_size") if (value := given.get(key)) is not None}
        memory = [volume.name for volume in self._group.volumes if volume.tmpfs is not None]
        host["mounts"] = [
            {"Type": "volume", "Source": self._name(labels, name), "Target": f"/{MADE_AT}-{number}"}
            for number, name in enumerate(memory)
        ]
        ports: dict[str, int | None] = {
            str(port): at for member in self._group.members for port, at in member.subject.ports
        }
        if not self._host.local:
            ports = {**{str(port): None for port in self._trial.scenario.reached_ports}, **ports}
        own = {"hostname": shared.settings.hostname} if shared.settings.hostname and shared.network else {}
        wanted = shared_namespaces.Shared(network=shared.network, pid=shared.pid, ipc=shared.ipc)
        self.pause = shared_namespaces.create(
            self._api, self._calls, labels, wanted, ports=ports if shared.network else {}, host=host, settings=own
        )
        self.pause.start()
        self.address = self.pause.address()
        self.pod_address = self.address or self.pod_address

    def _make_volume(self, volume: GroupVolume, labels: Mapping[str, str]) -> None:
        name = self._name(labels, volume.name)
        options: dict[str, str] = {}
        if volume.tmpfs is not None:
            kept = in_pages(volume.tmpfs) if self._host.podman else volume.tmpfs
            options = {"type": "tmpfs", "device": "tmpfs", "o": kept}
        elif self._host.podman and _begins_with_something(volume):
            # Said here, it stays so; else its first user gets it, and the permissions are those of the image.
            options = {"o": f"uid=0,gid={volume.group_id or 0}"}

        def create() -> None:
            self._api.create_volume(name, driver="local", driver_opts=options or None, labels=dict(labels))

        self._run("the creation of a volume", create, volume)

    def _run(self, what: str, call: Callable[[], None], volume: GroupVolume) -> None:
        """Raises EngineError, and SubjectFailed where the engine refuses."""
        try:
            self._calls.run(what, call)
        except sdk.errors.APIError as error:
            failed = CallFailed(self._host.url, f"volume {volume.name}", error)
            raise SubjectFailed(Problem(ProblemKind.START_FAILED, str(failed))) from None
        except sdk.ENGINE_ERRORS as error:
            raise CallFailed(self._host.url, f"volume {volume.name}", error) from None

    def _fill(self, volume: GroupVolume, labels: dict[str, str], image: str) -> None:
        """By a container that is never started: the engine mounts its volumes for an archive. Podman does so where the
        archive is for the volume itself: below "/" it would take the volume's place for a folder of the image."""
        path, root = (f"/{MADE_AT}", ".") if self._host.podman else ("/", MADE_AT)
        mount = {"Type": "volume", "Source": self._name(labels, volume.name), "Target": f"/{MADE_AT}"}

        def fill() -> None:
            config = self._api.create_host_config(mounts=[mount])
            made = self._api.create_container(image, command=["-"], host_config=config, labels=labels)
            try:
                self._api.put_archive(made["Id"], path, _archive(volume, self.pod_address, root))
            finally:
                self._api.remove_container(made["Id"], force=True)

        self._run("the content of a volume", fill, volume)


def in_pages(options: str) -> str:
    """Options of a tmpfs with its size in pages: Podman 4.3 takes `size` for a quota on its disk (tmpfs(5))."""
    kept = []
    for option in options.split(","):
        key, _, value = option.partition("=")
        size = re.fullmatch(r"(\d+)([kmg]?)", value, re.IGNORECASE)
        if key == "size" and size is not None:
            bytes_ = int(size[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[size[2].lower()]
            option = f"nr_blocks={-(-bytes_ // mmap.PAGESIZE)}"  # noqa: PLW2901
        kept.append(option)
    return ",".join(kept)


def _begins_with_something(volume: GroupVolume) -> bool:
    return bool(volume.files or volume.folders) or (volume.group_id, volume.mode) != (None, None)


def _archive(volume: GroupVolume, address: str, root: str) -> bytes:
    """The volume's root, its folders and its files. With a group of its own, as `fsGroup` has it: what is made in there
    belongs to that group as well (setgid). `address`: of the pod, which its files may name. `root`: its name in the
    archive."""
    group = volume.group_id or 0
    written, folders = io.BytesIO(), set[str]()
    with tarfile.open(fileobj=written, mode="w") as tar:

        def add(name: str, kind: bytes, mode: int, content: bytes = b"") -> None:
            entry = tarfile.TarInfo(os.path.join(root, name))
            entry.type, entry.mode, entry.gid, entry.size = kind, mode, group, len(content)
            entry.mtime = int(time.time())
            tar.addfile(entry, io.BytesIO(content))

        folder_mode = (0o2775 if volume.group_id is not None else 0o755) | (volume.mode or 0)
        if volume.group_id is not None or volume.mode is not None:
            add("", tarfile.DIRTYPE, folder_mode)
        wanted = [f"{folder}/" for folder in volume.folders] + [file.path for file in volume.files]
        for parts in (path.split("/") for path in wanted):
            for depth in range(1, len(parts)):
                folder = "/".join(parts[:depth])
                if folder not in folders:
                    folders.add(folder)
                    add(folder, tarfile.DIRTYPE, folder_mode)
        for file in volume.files:
            content = file.content.replace(POD_ADDRESS.encode(), address.encode())
            add(file.path, tarfile.REGTYPE, file.mode, content)
    return written.getvalue()
