"""A manifest → its workloads, and one of them → a pod. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stop_harness.errors import ScenarioError
from stop_harness.model import (
    NS_PER_S,
    ContainerSettings,
    Group,
    GroupKind,
    NotApplied,
    Role,
    SharedNamespaces,
)
from stop_harness.scenario.keys import Path, show
from stop_harness.scenario.kubernetes import containers, documents, fields, pod_resources, shapes, volumes
from stop_harness.scenario.kubernetes.documents import KubernetesObject, Manifest
from stop_harness.scenario.kubernetes.reading import PodFacts, Reading

POD_AT: dict[str, Path] = {
    "Pod": (),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"), ("spec", "template")
    ),
}
"""Kind → where its pod stands: `metadata` and `spec` below that."""

SHORT = {
    "po": "pod",
    "deploy": "deployment",
    "sts": "statefulset",
    "ds": "daemonset",
    "rs": "replicaset",
    "rc": "replicationcontroller",
    "cj": "cronjob",
}
"""Short names of kubectl."""

LEAST_GRACE_S = 1
"""A grace period of 0 or less is 1 s on the node; kubernetes/pkg/kubelet/pod_workers.go, calculateEffectiveGracePeriod.
What a container gets is never less than 2 s."""

MOST_HOSTNAME = 63


@dataclass(frozen=True)
class KubernetesPod:
    """A pod as it is stopped, and what its file asks for beyond it."""

    group: Group
    not_applied: tuple[NotApplied, ...] = ()


def names(text: str, source: str) -> tuple[str, ...]:
    """What `--workload` may name, such as `deployment/web`. Raises ScenarioError."""
    return tuple(item.called for item in _workloads(documents.read(text, source)))


def pod_of(
    text: str,
    source: str,
    workload: str | None = None,
    container: str | None = None,
    images: dict[str, str] | None = None,
) -> KubernetesPod:
    """The pod of a workload, of the only one where `workload` (a name or kind/name) is None. `container`: the one
    that is judged; the whole pod is stopped. `images`: images to use instead, by container.

    Raises ScenarioError with every mistake and its place.
    """
    manifest = documents.read(text, source)
    return _pod(manifest, _chosen(manifest, workload), container, images or {})


def _workloads(manifest: Manifest) -> list[KubernetesObject]:
    found = [item for item in manifest.objects if item.kind in POD_AT]
    if not found:
        others = f"; it has {', '.join(manifest.passed_over[:6])}" if manifest.passed_over else ""
        kinds = ", ".join(documents.WORKLOADS)
        raise ScenarioError((f"{manifest.source}:1:1: no workload is in this file{others}; needed: one of {kinds}",))
    return found


def _chosen(manifest: Manifest, workload: str | None) -> KubernetesObject:
    found = _workloads(manifest)
    called = ", ".join(dict.fromkeys(item.called for item in found))
    if workload is None:
        if len(found) > 1:
            text = f"{len(found)} workloads are in this file; choose one by --workload: {called}"
            raise ScenarioError((f"{manifest.source}:1:1: {text}",))
        return found[0]
    kind, _, name = workload.rpartition("/")
    kind = kind.lower().partition(".")[0]
    kind = SHORT.get(kind, kind.removesuffix("s") if kind.removesuffix("s") in _KINDS else kind)
    matching = [item for item in found if item.name == name and kind in {"", item.kind.lower()}]
    if not matching:
        raise ScenarioError((f"{manifest.source}:1:1: there is no workload {workload!r}; its workloads: {called}",))
    if len(matching) > 1:
        places = ", ".join(f"{item.called} at {item.place()}" for item in matching)
        raise ScenarioError((f"{matching[1].place()}: {workload!r} is the name of several: {places}",))
    return matching[0]


_KINDS = frozenset(kind.lower() for kind in POD_AT)


def _pod(
    manifest: Manifest, workload: KubernetesObject, container: str | None, images: dict[str, str]
) -> KubernetesPod:
    at = POD_AT[workload.kind]
    template = _below(workload, at)
    reading = Reading(manifest, workload, (*at, "spec"), _facts(workload, template))
    _refuse_templates(workload, reading)
    metadata = template.get("metadata") if isinstance(template, dict) and at else None
    if metadata is not None and not isinstance(metadata, dict):
        reading.problems.append(workload.said((*at, "metadata"), f"a mapping is needed, not {show(metadata)}"))
    given = template.get("spec") if isinstance(template, dict) else None
    if not isinstance(given, dict):
        raise ScenarioError((workload.said((*at, "spec"), "a pod has containers; this one has no `spec`"),))
    try:
        spec = shapes.PodSpec.model_validate(shapes.without_nulls(given))
    except ValidationError as error:
        raise ScenarioError(tuple(_explain(detail, workload, (*at, "spec")) for detail in error.errors())) from None
    group = _group(spec, reading, container, images)
    fields.report(spec, reading)
    if manifest.passed_over:
        what = ", ".join(manifest.passed_over[:8]) + (", …" if len(manifest.passed_over) > 8 else "")
        reading.not_applied(what, "nothing: they are passed over, no container of the pod has anything of them")
    if reading.problems:
        raise ScenarioError(tuple(dict.fromkeys(reading.problems)))
    return KubernetesPod(group, tuple(reading.left_out))


def _group(spec: shapes.PodSpec, reading: Reading, container: str | None, images: dict[str, str]) -> Group:
    if spec.os is not None and spec.os.name == "windows":
        reading.wrong(("os", "name"), "containers of Windows have no stop signal, and no Linux engine runs them")
    numbered = [
        *((item, ("initContainers", index), _role(item)) for index, item in enumerate(spec.init_containers)),
        *((item, ("containers", index), Role.MAIN) for index, item in enumerate(spec.containers)),
    ]
    all_containers = [item for item, _, _ in numbered]
    reading.resources, reading.shared = {item.name: item.resources for item in all_containers}, spec.resources
    for number, (item, path, _) in enumerate(numbered):
        if item.name in {other.name for other in all_containers[:number]}:
            reading.wrong((*path, "name"), f"two containers are called {item.name!r}")
    for name in images.keys() - set(reading.resources):
        known = ", ".join(reading.resources)
        text = f"there is no container {name!r} to replace the image of; containers: {known}"
        reading.problems.append(f"{reading.place(())}: {text}")
    pod = containers.Pod(
        spec,
        volumes.of_pod(spec, _claims(reading.workload), reading),
        images,
        _services(reading),
        weighed="cpu" in spec.resources.limits
        or any("cpu" in {**item.resources.limits, **item.resources.requests} for item in all_containers),
    )
    pod_resources.report(spec.resources, numbered, reading)
    members = tuple(containers.member(item, path, role, pod, reading) for item, path, role in numbered)
    if container is not None and all(item.name != container or item.role is Role.INIT for item in members):
        known = ", ".join(item.name for item in members if item.role is not Role.INIT)
        reading.problems.append(
            f"{reading.place(('containers',))}: there is no container {container!r}; containers: {known}"
        )
    return Group(
        GroupKind.POD,
        reading.workload.name,
        members,
        source=reading.manifest.source,
        stopped=container,
        grace_ns=max(LEAST_GRACE_S, spec.termination_grace_period_seconds) * NS_PER_S,
        volumes=tuple(pod.volumes.values()),
        shared=_shared(spec, reading),
    )


def _shared(spec: shapes.PodSpec, reading: Reading) -> SharedNamespaces:
    aliases = tuple((name, alias.ip) for alias in spec.host_aliases for name in alias.hostnames)
    hostname = (spec.hostname or reading.facts.name)[:MOST_HOSTNAME].rstrip("-.")
    sysctls = tuple((item.name, item.value) for item in spec.security_context.sysctls)
    return SharedNamespaces(
        network=not spec.host_network,
        pid=spec.share_process_namespace,
        ipc=not spec.host_i_p_c,
        settings=ContainerSettings(
            hostname=None if spec.host_network else hostname, extra_hosts=aliases, sysctls=sysctls
        ),
    )


def _role(item: shapes.Container) -> Role:
    return Role.SIDECAR if item.restart_policy == "Always" else Role.INIT


def _facts(workload: KubernetesObject, template: Any) -> PodFacts:
    """A pod of a controller is called NAME-0, as those of a StatefulSet are; the others have letters by chance."""
    metadata = template.get("metadata") if isinstance(template, dict) else None
    metadata = metadata if isinstance(metadata, dict) else {}
    spec = template.get("spec") if isinstance(template, dict) else None
    account = spec.get("serviceAccountName") if isinstance(spec, dict) else None
    return PodFacts(
        name=workload.name if workload.kind == "Pod" else f"{workload.name}-0",
        namespace=workload.namespace or "default",
        labels=_texts(metadata.get("labels")),
        annotations=_texts(metadata.get("annotations")),
        service_account=str(account or "default"),
    )


def _texts(value: Any) -> dict[str, str]:
    found = value if isinstance(value, dict) else {}
    return {str(key): str(text).lower() if isinstance(text, bool) else str(text) for key, text in found.items()}


def _claims(workload: KubernetesObject) -> tuple[str, ...]:
    claims = _below(workload, ("spec", "volumeClaimTemplates")) if workload.kind == "StatefulSet" else None
    found = claims if isinstance(claims, list) else []
    return tuple(str((_at(item, "metadata") or {}).get("name") or "") for item in found if isinstance(item, dict))


def _services(reading: Reading) -> tuple[tuple[str, tuple[shapes.Port, ...]], ...]:
    """(name, target ports) of the Services of the file whose selector the pod's labels meet."""
    found: list[tuple[str, tuple[shapes.Port, ...]]] = []
    namespace = reading.workload.namespace
    for service in reading.manifest.of_kind("Service"):
        spec = _below(service, ("spec",)) or {}
        selector = _texts(_at(spec, "selector"))
        ports = _at(spec, "ports")
        elsewhere = None not in {namespace, service.namespace} and namespace != service.namespace
        if not selector or elsewhere or not selector.items() <= dict(reading.facts.labels).items():
            continue
        targets = [port.get("targetPort", port.get("port")) for port in ports or [] if isinstance(port, dict)]
        found.append((service.name, tuple(target for target in targets if isinstance(target, int | str))))
    return tuple(found)


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _below(item: KubernetesObject, path: Path) -> Any:
    value: Any = item.data
    for part in path:
        value = _at(value, str(part))
    return value


def _refuse_templates(workload: KubernetesObject, reading: Reading) -> None:
    """A value in quotes is valid YAML with a template in it. Images are looked at where they are read, for they may be
    replaced."""

    def walk(value: Any, path: Path) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, (*path, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, (*path, index))
        elif isinstance(value, str) and path[-1:] != ("image",) and documents.is_template(value):
            reading.problems.append(workload.said(path, documents.unrendered(value)))

    walk(workload.data, ())


def _explain(detail: ErrorDetails, workload: KubernetesObject, at: Path) -> str:
    path: Path = tuple(part for part in detail["loc"] if part not in {"int", "str", "float", "[key]"})
    kind, value = detail["type"], detail["input"]
    whole = (*at, *path)
    if kind == "missing":
        return workload.said(whole, "this field is required")
    if kind == "too_short":
        return workload.said(whole, "at least one is needed")
    if kind == "value_error":
        return workload.said(whole, str(detail.get("ctx", {})["error"]))
    if kind == "string_type":
        return workload.said(whole, f"text is needed, not {show(value)}, and Kubernetes refuses it; put it in quotes")
    if kind in {"model_type", "dict_type"}:
        return workload.said(whole, f"a mapping is needed, not {show(value)}")
    wanted = detail["msg"].removeprefix("Input should be ").replace("a valid tuple", "a list")
    wanted = wanted.replace("a valid integer", "an integer")
    return workload.said(whole, f"{show(value)} is not allowed; needed: {wanted.replace('a valid ', 'a ')}")
