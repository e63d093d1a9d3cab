"""What is read of a pod, field by field, as pydantic models. Pure.

Names, types and defaults are those of the Kubernetes API, v1.36 (pkg/apis/core/v1/types.go and defaults.go). As there,
a text is not a number and `null` is nothing. A field that has no place here is kept in `model_extra`, and named in
reports by `fields`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from stop_harness.scenario.keys import Path

RESTART_POLICIES = ("Always", "OnFailure", "Never")
Name = Annotated[str, StringConstraints(min_length=1)]
Port = int | str
"""A number, or the name of one of the container's ports."""


class ApiObject(BaseModel):
    """A mapping of a manifest."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True, frozen=True, alias_generator=to_camel)

    def unread(self, path: Path = ()) -> Iterator[tuple[Path, type[ApiObject], Any]]:
        """(path, the shape that has it, value) of each field that has no place here."""
        for key, value in (self.model_extra or {}).items():
            yield (*path, key), type(self), value
        for name, field in type(self).model_fields.items():
            value, alias = getattr(self, name), str(field.alias)
            if isinstance(value, ApiObject):
                yield from value.unread((*path, alias))
            elif isinstance(value, tuple):
                for index, item in enumerate(value):
                    if isinstance(item, ApiObject):
                        yield from item.unread((*path, alias, index))


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _port(value: Any) -> Any:
    if isinstance(value, int) and not 1 <= value <= 65535:
        raise ValueError(f"{value} is no port; needed: 1 to 65535, or the name of a port")
    return value


def one_of(*allowed: str) -> BeforeValidator:
    """A text that is one of these; empty is as if it were not there, and takes the default."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and value and value not in allowed:
            raise ValueError(not_one_of(value, allowed))
        return value

    return BeforeValidator(check)


def not_one_of(value: str, allowed: tuple[str, ...]) -> str:
    """The message about a value that Kubernetes does not know."""
    return f"{value!r} is not allowed; needed: {', '.join(allowed[:-1])} or {allowed[-1]}"


Texts = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_tuple)]
PortOrName = Annotated[Port, BeforeValidator(_port)]
Quantity = str | int | float


# ── Hooks and probes ─────────────────────────────────────────────────────────────────────────────────────────────────


class Exec(ApiObject):
    """A command in the container, without a shell."""

    command: Texts = ()


class NameAndValue(ApiObject):
    """A header, or a kernel parameter."""

    name: Name
    value: str


class HttpGet(ApiObject):
    """A GET request."""

    port: PortOrName
    path: str = "/"
    host: str | None = None
    scheme: Annotated[str, one_of("HTTP", "HTTPS")] = "HTTP"
    http_headers: Annotated[tuple[NameAndValue, ...], BeforeValidator(_tuple)] = ()


class TcpSocket(ApiObject):
    """A connection."""

    port: PortOrName
    host: str | None = None


class Grpc(ApiObject):
    """A call of grpc.health.v1.Health."""

    port: int
    service: str = ""


class Sleep(ApiObject):
    """A pause."""

    seconds: Annotated[int, Field(ge=0)]


class Handler(ApiObject):
    """What a hook does: exactly one of these."""

    exec: Exec | None = None
    http_get: HttpGet | None = None
    sleep: Sleep | None = None
    tcp_socket: TcpSocket | None = None

    @model_validator(mode="after")
    def _one(self) -> Handler:
        if [self.exec, self.http_get, self.sleep, self.tcp_socket].count(None) != 3:
            raise ValueError("a hook has exactly one of exec, httpGet, sleep and tcpSocket")
        return self


class Lifecycle(ApiObject):
    """Hooks, and the stop signal of newer versions."""

    pre_stop: Handler | None = None
    post_start: Handler | None = None
    stop_signal: str | None = None


class ProbeShape(ApiObject):
    """A probe: exactly one of exec, httpGet, tcpSocket and grpc."""

    exec: Exec | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    grpc: Grpc | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None

    @model_validator(mode="after")
    def _one(self) -> ProbeShape:
        if [self.exec, self.http_get, self.tcp_socket, self.grpc].count(None) != 3:
            raise ValueError("a probe has exactly one of exec, httpGet, tcpSocket and grpc")
        return self


# ── Environment ──────────────────────────────────────────────────────────────────────────────────────────────────────


class KeyOf(ApiObject):
    """A key of a ConfigMap or Secret."""

    name: str = ""
    key: Name
    optional: bool = False


class FieldRef(ApiObject):
    """A field of the pod."""

    field_path: Name
    api_version: str = "v1"


class ResourceRef(ApiObject):
    """A request or limit of a container."""

    resource: Name
    container_name: str | None = None
    divisor: Quantity = "0"


class ValueFrom(ApiObject):
    """Where a variable has its value from."""

    field_ref: FieldRef | None = None
    resource_field_ref: ResourceRef | None = None
    config_map_key_ref: KeyOf | None = None
    secret_key_ref: KeyOf | None = None


class Variable(ApiObject):
    """An environment variable."""

    name: Name
    value: str | None = None
    value_from: ValueFrom | None = None


class Reference(ApiObject):
    """A whole ConfigMap or Secret."""

    name: str = ""
    optional: bool = False


class VariablesFrom(ApiObject):
    """Every key of a ConfigMap or Secret as a variable."""

    prefix: str = ""
    config_map_ref: Reference | None = None
    secret_ref: Reference | None = None


# ── Volumes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Item(ApiObject):
    """One file of a volume."""

    key: Name
    path: Name
    mode: int | None = None


Items = Annotated[tuple[Item, ...], BeforeValidator(_tuple)]


class ConfigMapFiles(Reference):
    """A ConfigMap as files."""

    items: Items = ()
    default_mode: int | None = None


class SecretFiles(ApiObject):
    """A Secret as files; in a projected volume it is called `name`."""

    secret_name: str = ""
    name: str = ""
    optional: bool = False
    items: Items = ()
    default_mode: int | None = None


class DownwardFile(ApiObject):
    """A field of the pod as a file."""

    path: Name
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceRef | None = None
    mode: int | None = None


class DownwardFiles(ApiObject):
    """Fields of the pod as files."""

    items: Annotated[tuple[DownwardFile, ...], BeforeValidator(_tuple)] = ()
    default_mode: int | None = None


class Source(ApiObject):
    """A part of a projected volume."""

    config_map: ConfigMapFiles | None = None
    secret: SecretFiles | None = None
    downward_a_p_i: Annotated[DownwardFiles | None, Field(alias="downwardAPI")] = None


class Projected(ApiObject):
    """Several sources in one volume."""

    sources: Annotated[tuple[Source, ...], BeforeValidator(_tuple)] = ()
    default_mode: int | None = None


class EmptyDir(ApiObject):
    """An empty folder that lives as long as the pod."""

    medium: str = ""
    size_limit: Quantity | None = None


class Volume(ApiObject):
    """A volume of the pod."""

    name: Name
    empty_dir: EmptyDir | None = None
    config_map: ConfigMapFiles | None = None
    secret: SecretFiles | None = None
    downward_a_p_i: Annotated[DownwardFiles | None, Field(alias="downwardAPI")] = None
    projected: Projected | None = None


class VolumeMount(ApiObject):
    """A place of a volume in a container."""

    name: Name
    mount_path: Name
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False


# ── Containers and pods ──────────────────────────────────────────────────────────────────────────────────────────────


class Resources(ApiObject):
    """Requests and limits."""

    limits: dict[str, Quantity] = {}
    requests: dict[str, Quantity] = {}


class Capabilities(ApiObject):
    """Rights beside or below the runtime's default."""

    add: Texts = ()
    drop: Texts = ()


class Profile(ApiObject):
    """A profile of seccomp or AppArmor."""

    type: Annotated[str, one_of("RuntimeDefault", "Unconfined", "Localhost")]
    localhost_profile: str | None = None


class Security(ApiObject):
    """What a pod and a container may both say; the container's own wins."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    seccomp_profile: Profile | None = None
    app_armor_profile: Profile | None = None


class ContainerSecurity(Security):
    """securityContext of a container."""

    privileged: bool = False
    allow_privilege_escalation: bool | None = None
    read_only_root_filesystem: bool = False
    capabilities: Capabilities = Capabilities()
    proc_mount: Annotated[str | None, one_of("Default", "Unmasked")] = None


class PodSecurity(Security):
    """securityContext of a pod."""

    fs_group: int | None = None
    supplemental_groups: Numbers = ()
    sysctls: Annotated[tuple[NameAndValue, ...], BeforeValidator(_tuple)] = ()


class ContainerPort(ApiObject):
    """A port that a container says to listen at."""

    container_port: Annotated[int, Field(ge=1, le=65535)]
    name: str | None = None
    protocol: Annotated[str, one_of("TCP", "UDP", "SCTP")] = "TCP"


class Container(ApiObject):
    """A container of a pod."""

    name: Name
    image: str | None = None
    command: Texts = ()
    args: Texts = ()
    working_dir: str | None = None
    env: Annotated[tuple[Variable, ...], BeforeValidator(_tuple)] = ()
    env_from: Annotated[tuple[VariablesFrom, ...], BeforeValidator(_tuple)] = ()
    ports: Annotated[tuple[ContainerPort, ...], BeforeValidator(_tuple)] = ()
    volume_mounts: Annotated[tuple[VolumeMount, ...], BeforeValidator(_tuple)] = ()
    resources: Resources = Resources()
    security_context: ContainerSecurity = ContainerSecurity()
    lifecycle: Lifecycle = Lifecycle()
    readiness_probe: ProbeShape | None = None
    startup_probe: ProbeShape | None = None
    liveness_probe: ProbeShape | None = None
    restart_policy: Annotated[str | None, one_of(*RESTART_POLICIES)] = None
    stdin: bool = False
    tty: bool = False


class HostAlias(ApiObject):
    """Names of an address."""

    ip: Name
    hostnames: Texts = ()


class Os(ApiObject):
    """The operating system that the pod is for."""

    name: Annotated[str, one_of("linux", "windows")]


Containers = Annotated[tuple[Container, ...], BeforeValidator(_tuple)]


class PodSpec(ApiObject):
    """The `spec` of a pod."""

    containers: Annotated[Containers, Field(min_length=1)]
    init_containers: Containers = ()
    volumes: Annotated[tuple[Volume, ...], BeforeValidator(_tuple)] = ()
    termination_grace_period_seconds: int = 30
    share_process_namespace: bool = False
    host_network: bool = False
    host_p_i_d: Annotated[bool, Field(alias="hostPID")] = False
    host_i_p_c: Annotated[bool, Field(alias="hostIPC")] = False
    host_aliases: Annotated[tuple[HostAlias, ...], BeforeValidator(_tuple)] = ()
    hostname: str | None = None
    subdomain: str | None = None
    resources: Resources = Resources()
    security_context: PodSecurity = PodSecurity()
    service_account_name: str | None = None
    automount_service_account_token: bool | None = None
    os: Os | None = None


def without_nulls(value: Any) -> Any:
    """`null` is nothing in Kubernetes, wherever it stands."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def decoded(text: str) -> bytes:
    """Base64 as Secrets have it. Raises ValueError."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64; write plain text under `stringData`") from None
