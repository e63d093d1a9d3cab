"""Names, ids and ARNs: made in one place, read in every form that clients use, refused in ECS's own words. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stop_harness.ecs.identifiers import arn_parts, is_name
from stop_harness.ecs_endpoint.errors import client_exception, invalid_parameter, quoted

DEFAULT_CLUSTER = "default"
TASK_ID_LENGTHS = (32, 36)
"""Hexadecimal now, a UUID with dashes before 2018."""

_REVISION = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True)
class Arns:
    """ARNs of one account in one region, in the long form."""

    region: str
    account: str

    @property
    def _prefix(self) -> str:
        return f"arn:aws:ecs:{self.region}:{self.account}"

    def require_own(self, text: str | None) -> None:
        """Refuse an ARN of another region or account: what it names is not here, whatever its last part is. The words
        are those that ECS has for another cluster; its own for these are not published."""
        fields = (text or "").split(":", 5)
        if len(fields) != 6 or fields[0] != "arn":
            return
        for kind, theirs, ours in (("region", fields[3], self.region), ("account", fields[4], self.account)):
            if theirs != ours:
                message = f"Invalid identifier: Identifier is for {kind} {quoted(theirs)}. Your {kind} is {ours}"
                raise invalid_parameter(message)

    def cluster(self, name: str) -> str:
        """`…:cluster/<name>`."""
        return f"{self._prefix}:cluster/{name}"

    def container_instance(self, cluster: str, instance_id: str) -> str:
        """`…:container-instance/<cluster>/<id>`."""
        return f"{self._prefix}:container-instance/{cluster}/{instance_id}"

    def task(self, cluster: str, task_id: str) -> str:
        """`…:task/<cluster>/<id>`."""
        return f"{self._prefix}:task/{cluster}/{task_id}"

    def container(self, cluster: str, task_id: str, container_id: str) -> str:
        """`…:container/<cluster>/<task id>/<uuid>`."""
        return f"{self._prefix}:container/{cluster}/{task_id}/{container_id}"

    def task_definition(self, family: str, revision: int) -> str:
        """`…:task-definition/<family>:<revision>`."""
        return f"{self._prefix}:task-definition/{family}:{revision}"

    def service(self, cluster: str, name: str) -> str:
        """`…:service/<cluster>/<name>`."""
        return f"{self._prefix}:service/{cluster}/{name}"


def cluster_name(text: str | None) -> str:
    """From a name, an ARN or nothing: the default cluster."""
    if text is None:
        return DEFAULT_CLUSTER
    parts = arn_parts(text)
    name = parts[1] if parts and parts[0] == "cluster" and len(parts) == 2 else text
    if not is_name(name):
        raise invalid_parameter(rf"Cluster must match ^[a-zA-Z0-9\-_]{{1,255}}$, but was {quoted(text)}")
    return name


def task_id(text: str, cluster: str, *, arn_selects_cluster: bool = False) -> tuple[str, str]:
    """(cluster, id) from an id, a long or a short ARN.

    A long ARN of another cluster than the request's is refused, as ECS does; `arn_selects_cluster` follows the ARN.
    """
    separators = invalid_parameter("Invalid identifier: Unexpected number of separators")
    if any(character in text for character in "\r\n"):
        raise separators
    parts: list[str] | None = ["task", text]
    if text.startswith("arn:"):
        parts = arn_parts(text)
    if parts is None or parts[0] != "task" or len(parts) not in {2, 3} or "/" in parts[-1]:
        raise separators
    if len(parts) == 3 and parts[1] != cluster:
        if not arn_selects_cluster:
            raise invalid_parameter(
                f"Invalid identifier: Identifier is for cluster {quoted(parts[1])}. Your cluster is {cluster}"
            )
        cluster = cluster_name(parts[1])
    if len(parts[-1]) not in TASK_ID_LENGTHS:
        raise invalid_parameter("taskId length should be one of [32,36]")
    return cluster, parts[-1]


def container_instance_id(text: str, cluster: str) -> str:
    """From an id, a long or a short ARN; an ARN of another cluster is refused."""
    parts = arn_parts(text) if text.startswith("arn:") else ["container-instance", text]
    if parts is None or parts[0] != "container-instance" or len(parts) not in {2, 3} or "/" in parts[-1]:
        raise invalid_parameter("Invalid identifier: Unexpected number of separators")
    if len(parts) == 3 and parts[1] != cluster:
        raise invalid_parameter(
            f"Invalid identifier: Identifier is for cluster {quoted(parts[1])}. Your cluster is {cluster}"
        )
    return parts[-1]


def service_name(text: str, cluster: str) -> str:
    """From a name or an ARN."""
    parts = arn_parts(text) or ["service", text]
    if parts[0] != "service" or len(parts) not in {2, 3}:
        raise invalid_parameter("Invalid identifier: Unexpected number of separators")
    if len(parts) == 3 and parts[1] != cluster:
        raise invalid_parameter(
            f"Invalid identifier: Identifier is for cluster {quoted(parts[1])}. Your cluster is {cluster}"
        )
    return parts[-1]


def task_definition(text: str) -> tuple[str, int | None]:
    """(family, revision) from `family`, `family:revision` or an ARN; None: the latest active one."""
    parts = arn_parts(text)
    name = parts[1] if parts and parts[0] == "task-definition" and len(parts) == 2 else text
    family, colon, revision = name.partition(":")
    if is_name(family) and colon and not _REVISION.fullmatch(revision):
        raise client_exception(f"Invalid revision number. Number: {quoted(revision)}")
    if not is_name(family):
        raise client_exception(f"Invalid task definition identifier: {quoted(text)}")
    return family, int(revision) if colon else None
