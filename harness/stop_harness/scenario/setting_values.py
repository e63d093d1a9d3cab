"""The values of a container's settings: what Compose writes in several ways, in one; and what is allowed. Pure.

Types for pydantic, as in `values`. Where the engine takes words of a fixed list, so do we: a capability that nobody
knows is a mistake in line 7, not a container that cannot be created.
"""

from __future__ import annotations

import difflib
import ipaddress
import posixpath
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from stop_harness import units
from stop_harness.model import NO_CHECK, HealthCheck, Mount, MountKind, Ulimit
from stop_harness.scenario.values import Duration, Section, Text, one_or_list

CAPABILITIES = frozenset(
    "ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH "
    "FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN "
    "NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT "
    "SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM".split()
)
"""capabilities(7), without `CAP_`, and ALL as the engines have it."""

ULIMITS = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
"""What Docker takes; setrlimit(2) has `as` as well."""

PLATFORMS = tuple(
    "linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/arm/v5 linux/386 linux/ppc64le linux/s390x linux/riscv64 "
    "linux/mips64le linux/loong64".split()
)
"""Linux only: a Windows container has no stop signal."""

SYSCTL = re.compile(r"(kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|(fs\.mqueue|net)\..+)")
"""What belongs to a container's own namespaces; `docker run` reference, `--sysctl`."""

SECURITY = re.compile(
    r"no-new-privileges(?:[:=](?:true|false))?|systempaths=unconfined|(?:label|apparmor)[:=]\S+|seccomp[:=].+"
)

HOSTNAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
USER = re.compile(r"[^:\s/]+(:[^:\s/]+)?")
NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
OURS = "stop-harness."
"""Begins the labels that are ours."""

CPU_SHARES = range(2, 262_145)
"""What cgroups take; Linux, kernel/sched/core.c, MIN_SHARES and MAX_SHARES."""

LEAST_NANO_CPUS = 10_000_000
"""0.01 CPU; Docker refuses less."""


def _text(value: object) -> object:
    """A name that looks like a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _matching(pattern: re.Pattern[str], needed: str) -> BeforeValidator:
    def check(value: object) -> object:
        value = _text(value)
        if isinstance(value, str) and not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is not allowed; needed: {needed}")
        return value

    return BeforeValidator(check)


def _capability(value: object) -> object:
    name = str(value).upper().removeprefix("CAP_")
    if not isinstance(value, str) or name not in CAPABILITIES:
        raise ValueError(f"{value!r} is no capability{_near(name, CAPABILITIES)}; allowed: {_listed(CAPABILITIES)}")
    return name


def _platform(value: object) -> object:
    if value not in PLATFORMS and value not in {"linux/arm64/v8", "linux/amd64/v1"}:
        near = _near(str(value), PLATFORMS)
        raise ValueError(f"{value!r} is no platform of a container{near}; allowed: {', '.join(PLATFORMS)}")
    return value


def _near(word: str, allowed: Any) -> str:
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _listed(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))


def _cpus(value: object) -> int:
    """CPUs → 10⁻⁹ CPUs."""
    number = isinstance(value, int | float | str) and not isinstance(value, bool)
    try:
        nano = round(float(str(value)) * 1e9) if number else 0
    except (ValueError, OverflowError):
        number = False
    if not number:
        raise ValueError(f"{value!r} is not allowed; needed: a number of CPUs, such as 0.5")
    if nano < LEAST_NANO_CPUS:
        raise ValueError(f"{value!r} is not allowed; needed: 0.01 CPU or more")
    return nano


def _cpu_shares(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in CPU_SHARES:
        needed = f"a whole number from {CPU_SHARES.start} to {CPU_SHARES.stop - 1}; 1024 is the usual weight"
        raise ValueError(f"{value!r} is not allowed; needed: {needed}")
    return value


def _swap(value: object) -> int:
    if value in {-1, "-1"} and not isinstance(value, bool):
        return -1
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("a size is needed, such as 256MiB, or -1 for as much swap as there is")
    return units.parse_size(str(value))


def _some_size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("a size is needed, such as 64MiB")
    return units.parse_size(str(value))


def _ulimits(value: object) -> object:
    """`{nofile: 1024}` or `{nofile: {soft: 1024, hard: 2048}}`."""
    if not isinstance(value, dict):
        raise ValueError("a mapping is needed, such as {nofile: 1024} or {nofile: {soft: 1024, hard: 2048}}")
    found = []
    for name, limit in value.items():
        if name not in ULIMITS:
            raise ValueError(f"{name!r} is no limit{_near(str(name), ULIMITS)}; allowed: {_listed(ULIMITS)}")
        parts = limit if isinstance(limit, dict) else {"soft": limit, "hard": limit}
        numbers = [number for number in (parts.get("soft"), parts.get("hard")) if type(number) is int and number >= -1]
        if set(parts) != {"soft", "hard"} or len(numbers) != 2:
            raise ValueError(f"{name}: a whole number is needed, -1 for no limit, or {{soft: …, hard: …}}")
        soft, hard = numbers
        if hard != -1 and (soft == -1 or soft > hard):
            raise ValueError(f"{name}: the soft limit {soft} is above the hard one, {hard}")
        found.append(Ulimit(name, soft, hard))
    return found


def _pairs(value: object, needed: str, signs: str = "=") -> list[tuple[str, str]]:
    """A mapping, or a list of `KEY=VALUE`, as Compose takes both."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        items = []
        for item in value:
            at = min((item.find(sign) for sign in signs if sign in item), default=-1)
            items.append((item, "") if at < 0 else (item[:at], item[at + 1 :]))
    else:
        raise ValueError(f"a mapping is needed, or a list, such as {needed}")
    if any(not isinstance(text, str | int | float) and text is not None for _, text in items):
        raise ValueError(f"texts or numbers are needed, such as {needed}")
    return [(str(key), _plain(text)) for key, text in items]


def _plain(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _sysctls(value: object) -> object:
    found = _pairs(value, "[net.core.somaxconn=1024]")
    for name, text in found:
        if not SYSCTL.fullmatch(name) or not text:
            allowed = "net.*, fs.mqueue.*, kernel.msg*, kernel.sem and kernel.shm*, each with a value"
            raise ValueError(f"{name!r} cannot be set for one container; allowed: {allowed}")
    return found


def _labels(value: object) -> object:
    found = _pairs(value, "{com.example.team: shop}")
    if ours := [name for name, _ in found if name.startswith(OURS) or not name]:
        raise ValueError(f"{ours[0]!r} is not allowed; labels that begin with {OURS} are the harness's own")
    return found


def _extra_hosts(value: object) -> object:
    """Address last: `name:address` has colons in an IPv6 address as well."""
    found = [(name, text.strip("[]")) for name, text in _pairs(value, '["db:10.0.0.5"]', "=:")]
    for name, text in found:
        if not HOSTNAME.fullmatch(name.replace("_", "-")):
            raise ValueError(f"{name!r} is no name of a host; write name:address")
        try:
            if text != "host-gateway":
                ipaddress.ip_address(text)
        except ValueError:
            raise ValueError(f"{name}: {text!r} is no address; an IP address is needed, or host-gateway") from None
    return found


class _LongMount(Section):
    """A mount in Compose's long form."""

    type: MountKind = Field(strict=False)
    target: Text
    source: Text | None = None
    read_only: bool = False
    size: Annotated[int, BeforeValidator(_some_size), WithJsonSchema({"type": ["string", "integer"]})] | None = Field(
        None, description="Of a tmpfs."
    )
    mode: int | None = Field(None, description="Of a tmpfs: its rights, such as 01777.")

    @model_validator(mode="after")
    def _goes_together(self) -> _LongMount:
        if self.type is not MountKind.TMPFS and (self.size is not None or self.mode is not None):
            raise ValueError("`size` and `mode` are those of a tmpfs")
        if self.type is MountKind.TMPFS and self.source is not None:
            raise ValueError("a tmpfs has no `source`")
        if self.type is MountKind.BIND and self.source is None:
            raise ValueError("a bind mount needs a `source`")
        return self


def _mounts(value: object) -> object:
    value = one_or_list(value)
    return [_mount(item) for item in value] if isinstance(value, list) else value


def _mount(value: object) -> Mount:
    if isinstance(value, dict):
        long = _LongMount.model_validate(value)
        options = [f"size={long.size}"] if long.size is not None else []
        options += [f"mode={long.mode:o}"] if long.mode is not None else []
        return _checked(Mount(long.type, long.target, long.source, long.read_only, ",".join(options)))
    if not isinstance(value, str) or not value:
        raise ValueError('write source:target or source:target:ro, such as "./conf:/etc/app:ro", or a mapping')
    parts = value.split(":")
    if len(parts) == 1:
        return _checked(Mount(MountKind.VOLUME, value))
    source, target, *rest = parts
    flags = set(",".join(rest).split(",")) - {""}
    if len(rest) > 1 or flags - _FLAGS:
        raise ValueError(f"{value!r} is not of the form source:target[:ro]; allowed behind it: {_listed(_FLAGS)}")
    kind = MountKind.BIND if source.startswith((".", "/", "~")) else MountKind.VOLUME
    return _checked(Mount(kind, target, source, "ro" in flags))


_FLAGS = frozenset({"ro", "rw", "z", "Z", "cached", "delegated", "consistent", "nocopy"})
"""Behind a short mount: what names no right is for SELinux or Docker Desktop, and changes nothing here."""


def _checked(mount: Mount) -> Mount:
    if not mount.target.startswith("/") or posixpath.normpath(mount.target) in {"/", "//"}:
        raise ValueError(f"{mount.target!r} is not allowed; needed: an absolute path in the container, below /")
    if mount.kind is MountKind.VOLUME and mount.source is not None and not VOLUME.fullmatch(mount.source):
        raise ValueError(
            f"{mount.source!r} is no name of a volume (letters, digits, _ . -); a path begins with ./, such as "
            f"./{mount.source}"
        )
    return mount


def _tmpfs(value: object) -> object:
    """`/run` or `/run:size=64m,mode=1777`."""
    value, found = one_or_list(value), []
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, str):
            raise ValueError('a path in the container is needed, such as /run or "/run:size=64m"')
        target, _, options = item.partition(":")
        found.append(_checked(Mount(MountKind.TMPFS, target, options=options)))
    return found


class HealthCheckSection(Section):
    """A health check in place of the image's, as Compose has it."""

    test: Annotated[
        list[str] | str | None,
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
    ] = Field(None, description='A line for a shell, or [CMD, …], [CMD-SHELL, "…"], [NONE].')
    interval: Duration | None = Field(None, description="Time between two checks. Default: the engine's, 30s.")
    timeout: Duration | None = Field(None, description="A check that takes longer has failed. Default: 30s.")
    start_period: Duration | None = Field(None, description="Failures in this time do not count. Default: 0s.")
    retries: Annotated[int, Field(ge=1)] | None = Field(None, description="So many failures: unhealthy. Default: 3.")
    disable: bool = Field(False, description="No health check, whatever the image has.")

    @model_validator(mode="after")
    def _has_a_test(self) -> HealthCheckSection:
        if self.disable and self.test not in (None, [NO_CHECK]):
            raise ValueError("`disable` takes no `test` beside it")
        if not self.disable:
            if not self.test and not self.model_fields_set - {"test", "disable"}:
                raise ValueError("`test` is required, or `disable: true`, or times for the image's own check")
            if isinstance(self.test, list) and self.test and self.test[0] not in {"CMD", "CMD-SHELL", NO_CHECK}:
                raise ValueError(f"`test` begins with CMD, CMD-SHELL or NONE, not {self.test[0]!r}")
            if isinstance(self.test, list) and len(self.test) == 1 and self.test[0] != NO_CHECK:
                raise ValueError(f"`test`: a command is needed behind {self.test[0]}")
        return self

    def made(self) -> HealthCheck:
        """As a record."""
        if self.disable:
            return HealthCheck((NO_CHECK,))
        if self.test is None:
            return HealthCheck((), self.interval, self.timeout, self.start_period, self.retries)
        test = ("CMD-SHELL", self.test) if isinstance(self.test, str) else tuple(self.test)
        return HealthCheck(test, self.interval, self.timeout, self.start_period, self.retries)


def _one_of(*allowed: str, why: str = "") -> BeforeValidator:
    def check(value: object) -> object:
        if value not in allowed:
            raise ValueError(f"{value!r} is not allowed; allowed: {', '.join(allowed)}{why}")
        return value

    return BeforeValidator(check)


def _security(value: object) -> object:
    if not isinstance(value, str) or not SECURITY.fullmatch(value):
        allowed = "no-new-privileges, seccomp=unconfined, seccomp=FILE, apparmor=…, label=…, systempaths=unconfined"
        raise ValueError(f"{value!r} is not allowed; allowed: {allowed}")
    return value.replace("no-new-privileges=", "no-new-privileges:")


_LIST_OR_MAP = {"type": ["object", "array"]}

User = Annotated[
    Text, _matching(USER, "user or user:group, by name or number"), WithJsonSchema({"type": ["string", "integer"]})
]
Capabilities = Annotated[list[Annotated[str, BeforeValidator(_capability)]], BeforeValidator(one_or_list)]
Security = Annotated[list[Annotated[str, BeforeValidator(_security)]], BeforeValidator(one_or_list)]
PlatformName = Annotated[
    str, BeforeValidator(_platform), WithJsonSchema({"type": "string", "examples": list(PLATFORMS)})
]
Cpus = Annotated[int, BeforeValidator(_cpus), WithJsonSchema({"type": ["number", "string"], "minimum": 0.01})]
CpuShares = Annotated[
    int,
    BeforeValidator(_cpu_shares),
    WithJsonSchema({"type": "integer", "minimum": CPU_SHARES.start, "maximum": CPU_SHARES.stop - 1}),
]
Swap = Annotated[
    int, BeforeValidator(_swap), WithJsonSchema({"type": ["string", "integer"], "examples": ["256MiB", -1]})
]
Ulimits = Annotated[list[Ulimit], BeforeValidator(_ulimits), WithJsonSchema({"type": "object"})]
Sysctls = Annotated[list[tuple[str, str]], Field(strict=False), BeforeValidator(_sysctls), WithJsonSchema(_LIST_OR_MAP)]
Labels = Annotated[list[tuple[str, str]], Field(strict=False), BeforeValidator(_labels), WithJsonSchema(_LIST_OR_MAP)]
ExtraHosts = Annotated[
    list[tuple[str, str]], Field(strict=False), BeforeValidator(_extra_hosts), WithJsonSchema(_LIST_OR_MAP)
]
Mounts = Annotated[
    list[Mount], BeforeValidator(_mounts), WithJsonSchema({"type": "array", "items": {"type": ["string", "object"]}})
]
TmpfsMounts = Annotated[
    list[Mount],
    BeforeValidator(_tmpfs),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
PidNamespace = Annotated[
    str,
    _one_of("host", why="; one of another container has no meaning where each trial has a container of its own"),
    WithJsonSchema({"enum": ["host"]}),
]
IpcNamespace = Annotated[
    str,
    _one_of("none", "private", "shareable", "host"),
    WithJsonSchema({"enum": ["none", "private", "shareable", "host"]}),
]
Network = Annotated[
    str,
    _matching(NETWORK, "bridge, none, host, or the name of a network that the engine has"),
    WithJsonSchema({"type": "string", "examples": ["none", "host"]}),
]
Hostname = Annotated[str, _matching(HOSTNAME, "letters, digits, hyphens and dots"), WithJsonSchema({"type": "string"})]
OneOrMoreTexts = Annotated[list[Text], BeforeValidator(one_or_list, json_schema_input_type=list[Text] | Text)]
