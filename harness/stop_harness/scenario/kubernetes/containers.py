"""One container of a pod → a `Member`. Pure.

The numbers are those of the kubelet: kubernetes/pkg/kubelet/cm/helpers_linux.go for CPUs, container/helpers.go for
commands, kuberuntime/security_context.go for users.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from stop_harness import signals
from stop_harness.model import (
    DEFAULT_PIDS_LIMIT,
    NS_PER_S,
    ContainerSettings,
    GroupVolume,
    Hook,
    HookKind,
    Member,
    Probe,
    ProbeKind,
    Role,
    Subject,
)
from stop_harness.scenario.container_keys import STARTS
from stop_harness.scenario.keys import Path
from stop_harness.scenario.kubernetes import (
    documents,
    environment,
    expansion,
    pod_resources,
    quantities,
    shapes,
    volumes,
)
from stop_harness.scenario.kubernetes.reading import Reading

LEAST_SHARES, MOST_SHARES = 2, 262_144
LEAST_NANO_CPUS = 10_000_000
"""A quota below 1 ms in 100 ms is raised to that; cm/helpers_linux.go, `minQuotaPeriod`."""

NANO_PER_MILLI = 1_000_000
KNOWN_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage", "storage"})
_IMAGE = re.compile(r"[A-Za-z0-9][^\s{}$<>]*")


@dataclass
class Pod:
    """What the containers of a pod have in common. `images` replaces images by container name. `services`: (name,
    ports) of what sends the pod traffic. `weighed`: some container says how much CPU it needs.

    `volumes` fills with the folders that containers ask for.
    """

    spec: shapes.PodSpec
    volumes: dict[str, GroupVolume]
    images: Mapping[str, str]
    services: tuple[tuple[str, tuple[shapes.Port, ...]], ...] = ()
    weighed: bool = False


def member(given: shapes.Container, path: Path, role: Role, pod: Pod, reading: Reading) -> Member:
    """The container as it is started and stopped; mistakes and what is left out go to `reading`."""
    variables = environment.of(given, path, reading)
    if role is Role.INIT:
        _refuse_hooks(given, path, reading)
    security, of_pod = given.security_context, pod.spec.security_context
    command = tuple(expansion.expand(word, variables) for word in given.command)
    arguments = tuple(expansion.expand(word, variables) for word in given.args)
    groups = (*of_pod.supplemental_groups, *([] if of_pod.fs_group is None else [of_pod.fs_group]))
    return Member(
        name=given.name,
        subject=Subject(
            image=_image(given, path, pod.images, reading),
            entrypoint=command or None,
            command=arguments or None,
            environment=tuple(variables.items()),
            user=_user(security, of_pod, given.name, reading),
            working_directory=given.working_dir or None,
            ports=tuple((port.container_port, None) for port in given.ports if port.protocol == "TCP"),
            memory_bytes=pod_resources.limit("memory", quantities.bytes_of, given, path, reading),
            pids_limit=DEFAULT_PIDS_LIMIT,
            settings=_settings(given, path, pod, variables, reading),
        ),
        role=role,
        stop_signal=_stop_signal(given, path, reading),
        after_start=_hooks(given.lifecycle.post_start, given, (*path, "lifecycle", "postStart"), pod, reading),
        before_stop=_hooks(given.lifecycle.pre_stop, given, (*path, "lifecycle", "preStop"), pod, reading),
        started=_probe(given.startup_probe, given, (*path, "startupProbe"), reading),
        ready=_probe(given.readiness_probe, given, (*path, "readinessProbe"), reading),
        groups=tuple(map(str, groups)),
        not_as_root=_not_as_root(security, of_pod, path, reading),
        services=_services(given, pod) if role is not Role.INIT else (),
        place=reading.place(path),
    )


def _image(given: shapes.Container, path: Path, images: Mapping[str, str], reading: Reading) -> str:
    if given.name in images:
        return images[given.name]
    replace = f"or name another: --image {given.name}=IMAGE"
    image = given.image or ""
    if not image:
        reading.wrong(path, f"container {given.name!r} has no image; {replace}")
    elif "{{" in image:
        reading.wrong((*path, "image"), f"{documents.unrendered(image)}, {replace}")
    elif not _IMAGE.fullmatch(image):
        reading.wrong((*path, "image"), f"{image!r} is no image; fill it in first, {replace}")
    return image


def _settings(
    given: shapes.Container, path: Path, pod: Pod, variables: Mapping[str, str], reading: Reading
) -> ContainerSettings:
    security, spec = given.security_context, pod.spec
    cpu = pod_resources.limit("cpu", quantities.milli, given, path, reading)
    memory = pod_resources.limit("memory", quantities.bytes_of, given, path, reading)
    for name in sorted({*given.resources.limits, *given.resources.requests} - KNOWN_RESOURCES):
        what = f"{reading.named(path)}.resources ({name})"
        reading.not_applied(what, "a device or huge pages that it may need to start", STARTS)
    return ContainerSettings(
        tty=given.tty,
        stdin_open=given.stdin,
        mounts=volumes.mounts(
            given, path, pod.volumes, read_only=volumes.only_read(spec), environment=variables, reading=reading
        ),
        read_only=security.read_only_root_filesystem,
        cap_add=tuple(name.upper().removeprefix("CAP_") for name in security.capabilities.add),
        cap_drop=tuple(name.upper().removeprefix("CAP_") for name in security.capabilities.drop),
        security_opt=_security_options(security, spec.security_context, path, reading),
        privileged=security.privileged,
        nano_cpus=max(LEAST_NANO_CPUS, cpu * NANO_PER_MILLI) if cpu else None,
        cpu_shares=_shares(given, cpu, path, pod, reading),
        memory_swap_bytes=memory,
        pid="host" if spec.host_p_i_d else None,
        ipc="host" if spec.host_i_p_c else None,
    )


def _shares(given: shapes.Container, limit: int | None, path: Path, pod: Pod, reading: Reading) -> int | None:
    """Weight by the request, else by the limit. Where no container of the pod says anything they all weigh the same,
    and the weight of 2 that a node gives them would only set them against what else the engine runs."""
    at = (*path, "resources", "requests")
    request = pod_resources.quantity(given.resources.requests, "cpu", quantities.milli, at, reading)
    milli = limit if request is None else request
    if not pod.weighed:
        return None
    return min(MOST_SHARES, max(LEAST_SHARES, (milli or 0) * 1024 // 1000))


# ── Rights ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _user(security: shapes.ContainerSecurity, pod: shapes.PodSecurity, name: str, reading: Reading) -> str | None:
    user = pod.run_as_user if security.run_as_user is None else security.run_as_user
    group = pod.run_as_group if security.run_as_group is None else security.run_as_group
    if user is None:
        if group is not None:
            what = f"containers[{name}].securityContext.runAsGroup ({group})"
            reading.not_applied(what, "without runAsUser the image's user has its own group here", STARTS)
        return None
    return str(user) if group is None else f"{user}:{group}"


def _not_as_root(security: shapes.ContainerSecurity, pod: shapes.PodSecurity, path: Path, reading: Reading) -> bool:
    demanded = pod.run_as_non_root if security.run_as_non_root is None else security.run_as_non_root
    user = pod.run_as_user if security.run_as_user is None else security.run_as_user
    if demanded and user == 0:
        reading.wrong((*path, "securityContext"), "runAsNonRoot and runAsUser 0: a kubelet does not start that")
    return bool(demanded) and user is None


def _security_options(
    security: shapes.ContainerSecurity, pod: shapes.PodSecurity, path: Path, reading: Reading
) -> tuple[str, ...]:
    """Kubernetes runs containers without a seccomp profile unless one is asked for; Docker has one of its own."""
    options: list[str] = []
    seccomp = security.seccomp_profile or pod.seccomp_profile
    if seccomp is None or seccomp.type == "Unconfined":
        options.append("seccomp=unconfined")
    elif seccomp.type == "Localhost":
        what = f"{reading.named(path)}.securityContext.seccompProfile ({seccomp.localhost_profile})"
        reading.not_applied(what, "a file of the node; the engine's own profile stands for it", STARTS)
    app_armor = security.app_armor_profile or pod.app_armor_profile
    if app_armor is not None and app_armor.type == "Unconfined":
        options.append("apparmor=unconfined")
    elif app_armor is not None and app_armor.type == "Localhost":
        what = f"{reading.named(path)}.securityContext.appArmorProfile ({app_armor.localhost_profile})"
        reading.not_applied(what, "a profile of the node; the engine's own stands for it", STARTS)
    if security.allow_privilege_escalation is False:
        options.append("no-new-privileges:true")
    if security.proc_mount == "Unmasked":
        options.append("systempaths=unconfined")
    return () if security.privileged and options == ["seccomp=unconfined"] else tuple(options)


# ── Hooks, probes, signals ───────────────────────────────────────────────────────────────────────────────────────────


def _refuse_hooks(given: shapes.Container, path: Path, reading: Reading) -> None:
    """An init container that runs to its end has none; validation.go, validateInitContainers."""
    for key, value in (
        ("lifecycle", None if given.lifecycle == shapes.Lifecycle() else given.lifecycle),
        ("readinessProbe", given.readiness_probe),
        ("livenessProbe", given.liveness_probe),
        ("startupProbe", given.startup_probe),
    ):
        if value is not None:
            text = "an init container has none of its own, unless it is a sidecar: `restartPolicy: Always`"
            reading.wrong((*path, key), text)


def _stop_signal(given: shapes.Container, path: Path, reading: Reading) -> str | None:
    """Kubernetes takes full names only: pkg/apis/core/types.go, Signal."""
    written = given.lifecycle.stop_signal
    if written is None:
        return None
    try:
        name = signals.name(signals.number(written))
    except ValueError as error:
        reading.wrong((*path, "lifecycle", "stopSignal"), str(error))
        return None
    if _SIGNAL_NAME.fullmatch(written) is None:
        text = f"{written!r} is not allowed; Kubernetes takes full names only: {name}"
        reading.wrong((*path, "lifecycle", "stopSignal"), text)
    return name


_SIGNAL_NAME = re.compile("SIG[A-Z][A-Z0-9+-]*")


def _hooks(
    given: shapes.Handler | None, container: shapes.Container, path: Path, pod: Pod, reading: Reading
) -> tuple[Hook, ...]:
    """None or one. A hook's command is taken as it is: nobody expands `$(NAME)` in it."""
    if given is None:
        return ()
    if given.exec is not None:
        return (Hook(HookKind.EXEC, command=given.exec.command),)
    if given.sleep is not None:
        grace_s = pod.spec.termination_grace_period_seconds
        if given.sleep.seconds > grace_s:  # pkg/apis/core/validation/validation.go, validateSleepAction
            text = (
                f"{given.sleep.seconds} is not allowed, and the API server refuses it: a hook sleeps no longer than "
                f"terminationGracePeriodSeconds, {grace_s} here; raise that to {given.sleep.seconds} and what the "
                "container itself needs to stop, or sleep less"
            )
            reading.wrong((*path, "sleep", "seconds"), text)
        return (Hook(HookKind.SLEEP, sleep_ns=given.sleep.seconds * NS_PER_S),)
    http = given.http_get
    if http is None:
        return (Hook(HookKind.INVALID),)
    return (
        Hook(
            HookKind.HTTP,
            scheme=http.scheme.lower(),
            host=http.host or None,
            port=_port(http.port, container, (*path, "httpGet", "port"), reading),
            path=http.path if http.path.startswith("/") else f"/{http.path}",
            headers=tuple((header.name, header.value) for header in http.http_headers),
        ),
    )


def _probe(given: shapes.ProbeShape | None, container: shapes.Container, path: Path, reading: Reading) -> Probe | None:
    if given is None:
        return None
    known = environment.literal(container)
    kind, command, port, http = ProbeKind.EXEC, tuple[str, ...](), 0, given.http_get
    scheme, host, url, headers = "http", None, "/", tuple[tuple[str, str], ...]()
    if given.exec is not None:
        command = tuple(expansion.expand(word, known) for word in given.exec.command)
    elif http is not None:
        kind, scheme, host = ProbeKind.HTTP, http.scheme.lower(), http.host or None
        port = _port(http.port, container, (*path, "httpGet", "port"), reading)
        url = http.path if http.path.startswith("/") else f"/{http.path}"
        headers = tuple((header.name, header.value) for header in http.http_headers)
    elif given.tcp_socket is not None:
        kind, host = ProbeKind.TCP, given.tcp_socket.host or None
        port = _port(given.tcp_socket.port, container, (*path, "tcpSocket", "port"), reading)
    elif given.grpc is not None:
        kind, port, url = ProbeKind.GRPC, given.grpc.port, given.grpc.service
    return Probe(
        kind,
        command=command,
        scheme=scheme,
        host=host,
        port=port,
        path=url,
        headers=headers,
        initial_delay_ns=given.initial_delay_seconds * NS_PER_S,
        period_ns=max(1, given.period_seconds) * NS_PER_S,
        timeout_ns=max(1, given.timeout_seconds) * NS_PER_S,
        successes=max(1, given.success_threshold),
        failures=max(1, given.failure_threshold),
    )


def _port(given: shapes.Port, container: shapes.Container, path: Path, reading: Reading) -> int:
    """A number, or that of the container's port of this name."""
    if isinstance(given, int):
        return given
    named = {port.name: port.container_port for port in container.ports if port.name}
    if given in named:
        return named[given]
    if given.isdigit() and 1 <= int(given) <= 65535:
        return int(given)
    known = ", ".join(named) or "none has a name"
    reading.wrong(path, f"container {container.name!r} has no port {given!r}; its ports: {known}")
    return 0


def _services(given: shapes.Container, pod: Pod) -> tuple[str, ...]:
    """Services that send to a port of this container; in a pod of one container that names none, to any port."""
    ports = {port.container_port for port in given.ports} | {port.name for port in given.ports}
    alone = len(pod.spec.containers) == 1 and not ports and given in pod.spec.containers
    return tuple(name for name, targets in pod.services if alone or ports & set(targets))
