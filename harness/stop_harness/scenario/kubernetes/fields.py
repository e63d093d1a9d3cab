"""Fields of a pod that are not applied, and what that may change about its stop. Pure.

The reference is the Kubernetes API, v1.36: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/
"""

from __future__ import annotations

import difflib
from typing import Any

from stop_harness.model import Outcome
from stop_harness.scenario.container_keys import ANY, STARTS
from stop_harness.scenario.kubernetes import shapes
from stop_harness.scenario.kubernetes.reading import Reading

NOT_APPLIED: dict[type[shapes.ApiObject], dict[str, tuple[str, tuple[Outcome, ...]]]] = {
    shapes.PodSpec: {
        "dnsConfig": ("whom it finds by name when it starts and stops", STARTS),
        "dnsPolicy": ("whom it finds by name when it starts and stops", STARTS),
        "ephemeralContainers": ("they are added to a pod that runs, and are none of its containers here", ()),
        "hostUsers": ("which user of the machine it is", ()),
        "hostnameOverride": ("how it names itself", ()),
        "resourceClaims": ("devices that it may need to start", STARTS),
        "runtimeClassName": ("how signals reach it, where the class has another runtime", ANY),
    },
    shapes.Container: {"volumeDevices": ("a device that it may need to start", STARTS)},
    shapes.Resources: {"claims": ("devices that it may need to start", STARTS)},
    shapes.EmptyDir: {"mode": ("what it can write", STARTS)},
    shapes.ConfigMapFiles: {"defaultUser": ("what it can read", STARTS)},
    shapes.SecretFiles: {"defaultUser": ("what it can read", STARTS)},
    shapes.Projected: {"defaultUser": ("what it can read", STARTS)},
    shapes.DownwardFiles: {"defaultUser": ("what it can read", STARTS)},
    shapes.DownwardFile: {"user": ("what it can read", STARTS)},
    shapes.HttpGet: {"protocol": ("by which protocol it is asked", ())},
    shapes.Grpc: {"mode": ("how it is asked", ())},
    shapes.Item: {"user": ("what it can read", STARTS)},
    shapes.ValueFrom: {"fileKeyRef": ("a variable that an init container writes; it is missing here", ANY)},
}
"""Object of the API → field → (what it may change, outcomes that may be others)."""

PLACEMENT = frozenset(
    "affinity nodeName nodeSelector preemptionPolicy priority priorityClassName schedulerName schedulingGates "
    "schedulingGroup tolerations topologySpreadConstraints overhead evictionResponders".split()
)
"""Where and when the pod runs, and who else has to leave; said in one line."""

WITHOUT_EFFECT: dict[type[shapes.ApiObject], frozenset[str]] = {
    shapes.PodSpec: frozenset(
        "activeDeadlineSeconds enableServiceLinks imagePullSecrets readinessGates restartPolicy serviceAccount "
        "setHostnameAsFQDN".split()
    ),
    shapes.Container: frozenset(
        "imagePullPolicy resizePolicy restartPolicyRules stdinOnce terminationMessagePath "
        "terminationMessagePolicy".split()
    ),
    shapes.ContainerPort: frozenset({"hostIP", "hostPort"}),
    shapes.ContainerSecurity: frozenset({"seLinuxOptions", "windowsOptions"}),
    shapes.PodSecurity: frozenset(
        "fsGroupChangePolicy seLinuxChangePolicy seLinuxOptions supplementalGroupsPolicy windowsOptions".split()
    ),
    shapes.VolumeMount: frozenset({"mountPropagation", "recursiveReadOnly", "bindMountOptions"}),
}
"""Fields that change nothing about the stop of one pod on one machine."""

_BY_THEIR_READER = (shapes.Volume, shapes.Source)
"""Sources of volumes; `volumes` names each."""

_AS_USUAL: dict[str, tuple[Any, ...]] = {"dnsPolicy": ("ClusterFirst", "Default"), "hostUsers": (True,)}
"""Values by which nothing is asked for."""

VALUES: dict[tuple[type[shapes.ApiObject], str], tuple[str, ...]] = {
    (shapes.PodSpec, "restartPolicy"): shapes.RESTART_POLICIES,
    (shapes.PodSpec, "dnsPolicy"): ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    (shapes.PodSpec, "preemptionPolicy"): ("PreemptLowerPriority", "Never"),
    (shapes.Container, "imagePullPolicy"): ("Always", "IfNotPresent", "Never"),
    (shapes.Container, "terminationMessagePolicy"): ("File", "FallbackToLogsOnError"),
}
"""Values of fields that are not read; with any other the API server refuses the pod, which is then never stopped."""

INJECTED = {
    "sidecar.istio.io/inject": "Istio",
    "linkerd.io/inject": "Linkerd",
    "vault.hashicorp.com/agent-inject": "Vault",
    "instrumentation.opentelemetry.io/inject-java": "OpenTelemetry",
    "instrumentation.opentelemetry.io/inject-python": "OpenTelemetry",
    "instrumentation.opentelemetry.io/inject-nodejs": "OpenTelemetry",
    "dapr.io/enabled": "Dapr",
}
"""Annotations and labels by which the cluster adds a container that no file shows."""


def report(spec: shapes.PodSpec, reading: Reading) -> None:
    """Name what a pod asks for and does not get."""
    placement: list[str] = []
    for path, shape, value in spec.unread():
        key = str(path[-1])
        empty = value in (None, [], {}, "")
        if shape in _BY_THEIR_READER or (empty and _is_known(key, shape)) or value in _AS_USUAL.get(key, ()):
            continue
        allowed = VALUES.get((shape, key), ())
        if allowed and value not in allowed:
            reading.wrong(path, shapes.not_one_of(value, allowed))
            continue
        found = NOT_APPLIED.get(shape, {}).get(key)
        if found is not None:
            said = f" ({value})" if isinstance(value, str | int) else ""
            reading.not_applied(reading.named(path) + said, *found)
        elif shape is shapes.PodSpec and key in PLACEMENT:
            placement.append(key)
        elif not _is_known(key, shape):
            text = f"no field of Kubernetes that is known here{_near(key, shape)}"
            reading.not_applied(reading.named(path), text, () if empty else ANY)
    if placement:
        reading.not_applied(", ".join(placement), "nothing: they say where and when the pod runs")
    for key, what in INJECTED.items():
        if (reading.facts.annotations.get(key) or reading.facts.labels.get(key)) in {"true", "enabled", "1"}:
            text = f"the container or the files that {what} adds to the pod are not in this file, and are missing"
            reading.not_applied(key, text, STARTS)
    account, token = spec.service_account_name, spec.automount_service_account_token
    if account not in {None, "", "default"} and token is not False:
        text = "there is no API server, and no token for it: what asks it fails"
        reading.not_applied(f"serviceAccountName ({account})", text, STARTS)


def _is_known(key: str, shape: type[shapes.ApiObject]) -> bool:
    """Whether it is a field of Kubernetes, of which nothing is read."""
    placement = PLACEMENT if shape is shapes.PodSpec else frozenset[str]()
    return key in {*NOT_APPLIED.get(shape, ()), *WITHOUT_EFFECT.get(shape, ()), *placement}


def _near(key: str, shape: type[shapes.ApiObject]) -> str:
    known = [str(field.alias) for field in shape.model_fields.values()]
    known += [*NOT_APPLIED.get(shape, {}), *WITHOUT_EFFECT.get(shape, ())]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
    return f"; is `{near[0]}` meant?" if near else ""
