"""Kubernetes manifests → the pod that is stopped."""

from __future__ import annotations

import base64
import json
import re
import string
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.cli import main
from stop_harness.errors import ScenarioError, StopHarnessError
from stop_harness.model import (
    NS_PER_S,
    POD_ADDRESS,
    GivenFile,
    Group,
    GroupKind,
    GroupVolume,
    Hook,
    HookKind,
    Member,
    Mount,
    MountKind,
    NotApplied,
    Probe,
    ProbeKind,
    Role,
)
from stop_harness.scenario import discovery
from stop_harness.scenario.container_keys import ANY, SLOWER
from stop_harness.scenario.kubernetes import documents, expansion, fields, quantities, shapes, workloads

FIELDS = json.loads((Path(__file__).parent / "kubernetes_fields.json").read_text())["fields"]


def pod(spec: str, *, before: str = "", name: str | None = None) -> workloads.KubernetesPod:
    """The pod of a manifest with this `spec`, in the indentation of YAML, after other documents."""
    head = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: shop\n  labels: {app: shop}\nspec:\n"
    body = "\n".join(f"  {line}" for line in spec.strip("\n").splitlines())
    return workloads.pod_of(f"{before}---\n{head}{body}\n", "pod.yaml", name)


def one(spec: str, before: str = "") -> Member:
    """The container `app` of a pod, whose other keys are these."""
    body = "\n".join(f"    {line}" for line in spec.strip("\n").splitlines())
    return pod(f"containers:\n  - name: app\n    image: shop:1\n{body}", before=before).group.member("app")


def mistakes(text: str, **chosen: object) -> list[str]:
    """What is said about a manifest that cannot be read."""
    with pytest.raises(ScenarioError) as caught:
        workloads.pod_of(text, "m.yaml", **chosen)  # type: ignore[arg-type]
    return list(caught.value.problems)


def mistakes_of(spec: str) -> list[str]:
    """What is said about a pod with one container."""
    with pytest.raises(ScenarioError) as caught:
        one(spec)
    return list(caught.value.problems)


# ── which pod ────────────────────────────────────────────────────────────────────────────────────────────────────────

TEMPLATE: dict[str, Any] = {
    "spec": {"containers": [{"name": "app", "image": "shop:1"}], "terminationGracePeriodSeconds": 7}
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "Pod": ("v1", {"spec": TEMPLATE["spec"]}),
    **{
        kind: (version, {"spec": {"template": TEMPLATE}})
        for kind, version in {
            "Deployment": "apps/v1",
            "StatefulSet": "apps/v1",
            "DaemonSet": "apps/v1",
            "ReplicaSet": "apps/v1",
            "ReplicationController": "v1",
            "Job": "batch/v1",
        }.items()
    },
    "CronJob": ("batch/v1", {"spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_workload_has_its_pod(kind: str) -> None:
    """The pod of a Pod, or of the template of its controller."""
    version, rest = KINDS[kind]
    text = yaml.safe_dump({"apiVersion": version, "kind": kind, "metadata": {"name": "shop"}, **rest})
    group = workloads.pod_of(text, "m.yaml").group
    assert (group.kind, group.name, group.grace_ns) == (GroupKind.POD, "shop", 7 * NS_PER_S)
    assert [(member.name, member.subject.image, member.role) for member in group.members] == [
        ("app", "shop:1", Role.MAIN)
    ]


def test_the_kinds_that_have_a_pod_are_those_that_messages_name() -> None:
    """Two tables of kinds agree."""
    assert set(documents.WORKLOADS) == set(workloads.POD_AT) == set(KINDS)


def some(*called: str) -> str:
    """A file of workloads, such as `Deployment/web`."""
    parts = []
    for item in called:
        kind, _, name = item.partition("/")
        version, rest = KINDS[kind]
        parts.append(yaml.safe_dump({"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}))
    return "---\n".join(parts)


@pytest.mark.parametrize("chosen", ["web", "deployment/web", "deploy/web", "deployments/web", "deployment.apps/web"])
def test_of_several_workloads_one_is_chosen_as_kubectl_names_it(chosen: str) -> None:
    """By its name, or kind and name, in the spellings of kubectl."""
    assert workloads.pod_of(some("Job/migrate", "Deployment/web"), "m.yaml", chosen).group.name == "web"


@pytest.mark.parametrize(
    ("text", "chosen", "said"),
    [
        (
            some("Job/a", "Deployment/b"),
            None,
            "m.yaml:1:1: 2 workloads are in this file; choose one by --workload: job",
        ),
        (some("Job/a"), "b", "m.yaml:1:1: there is no workload 'b'; its workloads: job/a"),
        (some("Job/a", "Deployment/a"), "a", "'a' is the name of several: job/a at m.yaml:1:1, deployment/a at m."),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", None, "no workload is in this file"),
        ("kind: Pod\n", None, "m.yaml:1:1: no Kubernetes object: it needs `apiVersion` and `kind`"),
    ],
)
def test_what_cannot_be_chosen_is_named(text: str, chosen: str | None, said: str) -> None:
    """Several, none, an unknown one, and a name that two have."""
    assert said in mistakes(text, workload=chosen)[0]


def test_lists_and_json_are_read_like_documents() -> None:
    """`kubectl get -o yaml` gives a List; tools write JSON, with tabs."""
    items = [yaml.safe_load(part) for part in some("Job/a", "Deployment/b").split("---\n")]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent="\t")
    assert workloads.names(text, "m.json") == ("job/a", "deployment/b")
    item = {"metadata": {"name": "c"}, **KINDS["Deployment"][1]}
    typed = json.dumps({"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [item]})
    assert workloads.names(typed, "m.json") == ("deployment/c",)


def test_a_mistake_in_an_item_of_a_list_has_its_place() -> None:
    """Line and column in the file, and the path from its root."""
    text = "apiVersion: v1\nkind: List\nitems:\n  - apiVersion: v1\n    kind: Pod\n    metadata: {name: a}\n    spec:\n"
    text += "      containers:\n        - {name: app, image: 5}\n"
    assert mistakes(text) == [
        "m.yaml:9:23: items[0].spec.containers[0].image: text is needed, not 5, and Kubernetes refuses it; "
        "put it in quotes"
    ]


def test_objects_of_other_kinds_are_passed_over_in_a_line() -> None:
    """Custom resources with their group; also a custom one that is called Deployment."""
    before = "".join(
        f"---\napiVersion: {version}\nkind: {kind}\nmetadata:\n  labels: {{a: b}}\n  name: {name}\n"
        for version, kind, name in (
            ("networking.k8s.io/v1", "Ingress", "web"),
            ("argoproj.io/v1alpha1", "Rollout", "web"),
            ("example.com/v1", "Deployment", "web"),
            ("autoscaling/v2", "HorizontalPodAutoscaler", "web"),
        )
    )
    found = pod("containers: [{name: app, image: a}]", before=before).not_applied
    assert [item.what for item in found] == [
        "Ingress web, Rollout web (argoproj.io/v1alpha1), Deployment web (example.com/v1), HorizontalPodAutoscaler web"
    ]
    assert found[0].doubts == ()


def test_a_mistake_in_an_object_that_is_passed_over_keeps_nobody() -> None:
    """It is not read."""
    broken = "apiVersion: example.com/v1\nkind: Thing\nmetadata:\n  name: a\nspec: [1, 2\n"
    assert pod("containers: [{name: app, image: a}]", before=broken).group.name == "shop"


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{{- if .Values.enabled }}\napiVersion: v1\nkind: Pod\n{{- end }}\n", "m.yaml:1:1"),
        ("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Release.Name }}\n", "m.yaml:4:9"),
        ('apiVersion: v1\nkind: Pod\nmetadata:\n  {{- include "labels" . | nindent 2 }}\n', "m.yaml:4:3"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n    - name: app\n"
            '      image: "{{ .Values.image }}"\n',
            "m.yaml:7:7",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n    - name: app\n"
            '      image: a\n      args: ["--level={{ .Values.level }}"]\n',
            "m.yaml:8:14",
        ),
    ],
)
def test_a_template_that_is_not_rendered_is_named_with_its_line(text: str, place: str) -> None:
    """Whether it keeps the text from being YAML or stands in quotes; and what to do about it."""
    found = mistakes(text)[0]
    assert found.startswith(place)
    assert "is a template that is not rendered; render it first: helm template CHART" in found


def test_braces_that_are_meant_for_the_program_are_no_template() -> None:
    """Go templates in a ConfigMap, a variable or an argument are the program's own."""
    before = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  t: |\n    {{ range .Alerts }}\n    {{ end }}\n"
    )
    found = one('args: ["--format={{.Name}}"]\nenvFrom: [{configMapRef: {name: c}}]', before=before)
    assert found.subject.command == ("--format={{.Name}}",)
    assert dict(found.subject.environment)["t"].startswith("{{ range")


def test_an_image_that_nobody_filled_in_can_be_named_by_an_option() -> None:
    """`${IMAGE}` of envsubst, and a template in quotes."""
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n    - {name: app, image: '${IMAGE}'}\n"
    )
    assert "--image app=IMAGE" in mistakes(text)[0]
    assert workloads.pod_of(text, "m", images={"app": "mine"}).group.members[0].subject.image == "mine"
    assert "there is no container 'web'" in mistakes(text, images={"web": "mine", "app": "a"})[0]


# ── one container ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("spec", "entrypoint", "command"),
    [
        ("env: []", None, None),
        ("args: [a, b]", None, ("a", "b")),
        ("command: [serve]", ("serve",), None),
        ("command: [serve]\nargs: [a]", ("serve",), ("a",)),
        ("command: []\nargs: []", None, None),
    ],
)
def test_command_and_arguments_replace_what_they_replace(
    spec: str, entrypoint: tuple[str, ...] | None, command: tuple[str, ...] | None
) -> None:
    """`command` is the entrypoint and drops the image's CMD; `args` is the command."""
    subject = one(spec).subject
    assert (subject.entrypoint, subject.command) == (entrypoint, command)


def test_variables_come_from_everywhere_and_stand_for_each_other() -> None:
    """`envFrom` in order, then `env` over it; `$(NAME)` is what came before, unknown names stay, `$$` is a dollar."""
    secret = base64.b64encode(b"s3cret").decode()
    before = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: c}}
data: {{A: map, B: map}}
---
apiVersion: v1
kind: Secret
metadata: {{name: s}}
data: {{PASS: {secret}, B: {secret}}}
stringData: {{B: plain}}
"""
    found = one(
        """
envFrom: [{configMapRef: {name: c}}, {secretRef: {name: s}}, {configMapRef: {name: c}, prefix: P_}]
env:
  - {name: A, value: own}
  - {name: URL, value: "$(A)/$(B)/$(LATER)/$$(A)"}
  - {name: LATER, value: "5"}
  - {name: KEY, valueFrom: {secretKeyRef: {name: s, key: PASS}}}
  - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
  - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
  - {name: CPU, valueFrom: {resourceFieldRef: {resource: requests.cpu}}}
args: ["$(URL)", "$(LATER)", "$(PATH)"]
resources: {limits: {memory: 100M, cpu: 1500m}}
""",
        before,
    )
    assert dict(found.subject.environment) == {
        "A": "own",
        "B": "plain",
        "PASS": "s3cret",
        "P_A": "map",
        "P_B": "map",
        "URL": "own/plain/$(LATER)/$(A)",
        "LATER": "5",
        "KEY": "s3cret",
        "NAME": "shop",
        "LABEL": "shop",
        "IP": POD_ADDRESS,
        "LIMIT": "96",
        "CPU": "2",
    }
    assert found.subject.command == ("own/plain/$(LATER)/$(A)", "5", "$(PATH)")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("env: [{name: A, value: 5}]", "env[0].value: text is needed, not 5, and Kubernetes refuses it; put it in quo"),
        ("env: [{name: A, value: true}]", "env[0].value: text is needed, not True"),
        ("envFrom: [{secretRef: {name: s}}]", "envFrom[0].secretRef: there is no Secret 's' in pod.yaml, and without"),
        (
            "env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k}}}]",
            "env[0].valueFrom.configMapKeyRef: there is no ConfigMap 'c' in pod.yaml",
        ),
        ("env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.phase}}}]", "no pod has the field 'status.phase'"),
        ("volumeMounts: [{name: v, mountPath: /v}]", "volumeMounts[0].name: the pod has no volume 'v'; its volumes: n"),
        ("readinessProbe: {httpGet: {port: web}}", "readinessProbe.httpGet.port: container 'app' has no port 'web'"),
        ("readinessProbe: {httpGet: {port: 80}, exec: {command: [a]}}", "a probe has exactly one of exec, httpGet, tc"),
        ("lifecycle: {preStop: {}}", "preStop: a hook has exactly one of exec, httpGet, sleep and tcpSocket"),
        (
            "lifecycle: {preStop: {sleep: {seconds: 31}}}",
            "preStop.sleep.seconds: 31 is not allowed, and the API server refuses it: a hook sleeps no longer than "
            "terminationGracePeriodSeconds, 30 here",
        ),
        ("lifecycle: {postStart: {sleep: {seconds: 60}}}", "postStart.sleep.seconds: 60 is not allowed, and the API s"),
        ("lifecycle: {stopSignal: SIGNOPE}", "lifecycle.stopSignal: 'SIGNOPE' is not a signal"),
        (
            "lifecycle: {stopSignal: TERM}",
            "stopSignal: 'TERM' is not allowed; Kubernetes takes full names only: SIGTERM",
        ),
        ("lifecycle: {stopSignal: sigterm}", "stopSignal: 'sigterm' is not allowed; Kubernetes takes full names only"),
        ("lifecycle: {stopSignal: '15'}", "stopSignal: '15' is not allowed; Kubernetes takes full names only: SIGTERM"),
        ("restartPolicy: Alway", "restartPolicy: 'Alway' is not allowed; needed: Always, OnFailure or Never"),
        ("imagePullPolicy: always", "imagePullPolicy: 'always' is not allowed; needed: Always, IfNotPresent or Never"),
        ("ports: [{containerPort: 80, protocol: tcp}]", "protocol: 'tcp' is not allowed; needed: TCP, UDP or SCTP"),
        ("livenessProbe: {httpGet: {port: 80, scheme: http}}", "scheme: 'http' is not allowed; needed: HTTP or HTTPS"),
        ("securityContext: {runAsUser: root}", "runAsUser: 'root' is not allowed; needed: an integer"),
        ("resources: {limits: {memory: lots}}", "memory: 'lots' is no quantity; write it as 500m, 0.5, 64Mi or 1G"),
        ("ports: [{containerPort: 99999}]", "ports[0].containerPort: 99999 is not allowed; needed: less than or equa"),
        ("command: serve", "command: 'serve' is not allowed; needed: a list"),
        ("securityContext: {runAsNonRoot: true, runAsUser: 0}", "runAsNonRoot and runAsUser 0: a kubelet does not st"),
    ],
)
def test_a_mistake_is_named_with_its_place(spec: str, said: str) -> None:
    """File, line and column, the field's path, what is wrong and what is allowed."""
    found = mistakes_of(spec)
    assert len(found) == 1
    assert found[0].startswith("pod.yaml:11:")
    assert "spec.containers" in found[0]
    assert said in found[0]


@pytest.mark.parametrize(
    ("key", "value", "needed"),
    [
        ("restartPolicy", "Sometimes", "Always, OnFailure or Never"),
        ("dnsPolicy", "clusterFirst", "ClusterFirst, ClusterFirstWithHostNet, Default or None"),
    ],
)
def test_a_value_that_kubernetes_does_not_know_is_refused(key: str, value: str, needed: str) -> None:
    """Also of a field that changes nothing about the stop: the API server takes no such pod."""
    with pytest.raises(ScenarioError) as caught:
        pod(f"{key}: {value}\ncontainers: [{{name: app, image: a}}]")
    assert caught.value.problems == (f"pod.yaml:8:3: spec.{key}: {value!r} is not allowed; needed: {needed}",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("apiVersion: v1\nkind: [Pod]\n", "m.yaml:2:1: kind: text is needed, not ['Pod']"),
        ("apiVersion: [v1]\nkind: Pod\n", "m.yaml:1:1: apiVersion: text is needed, not ['v1']"),
        ("apiVersion: v1\nkind:\n", "m.yaml:2:1: kind: this field is required"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n",
            "m.yaml:4:8: spec.containers: at least one is needed",
        ),
        ("apiVersion: v1\nkind: List\nitems: [5]\n", "m.yaml:3:9: items[0].kind: this field is required"),
        ("apiVersion: v1\nkind: Pod\nmetadata: [1]\n", "m.yaml:3:1: metadata: a mapping is needed, not [1]"),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  template:\n    metadata: web\n"
            "    spec: {containers: [{name: a, image: b}]}\n",
            "m.yaml:6:5: spec.template.metadata: a mapping is needed, not 'web'",
        ),
        ("apiVersion: 1\nkind: Pod\nmetadata: {name: a}\n", "m.yaml:1:1: apiVersion: text is needed, not 1"),
        ("apiVersion: '1'\nkind: Pod\nmetadata: {name: a}\n", "m.yaml:1:1: apiVersion: '1' has no Pod; write v1"),
        ("kind: Job\napiVersion: v1\nmetadata: {name: a}\n", "m.yaml:2:1: apiVersion: 'v1' has no Job; write batch/v1"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {labels: {}}\n", "m.yaml:3:1: metadata: `name` is required"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n",
            "m.yaml:3:12: metadata.name: text is needed, not 7, and Kubernetes refuses it; put it in quotes",
        ),
    ],
)
def test_what_makes_an_object_is_of_its_type(text: str, said: str) -> None:
    """Kind, version and metadata: what the API server refuses is not passed over."""
    assert said in mistakes(text)


def test_a_config_map_that_is_optional_may_be_missing() -> None:
    """It is named, and so is a key that is not there."""
    before = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {A: a}\n"
    spec = """
containers:
  - name: app
    image: a
    envFrom: [{secretRef: {name: s, optional: true}}]
    env: [{name: K, valueFrom: {configMapKeyRef: {name: c, key: k, optional: true}}}]
"""
    found = pod(spec, before=before)
    assert found.group.members[0].subject.environment == ()
    assert [item.what for item in found.not_applied] == ["Secret s (optional)"]


def test_requests_and_limits_become_what_a_kubelet_makes_of_them() -> None:
    """Shares by the request, else by the limit; the quota by the limit; no swap."""
    found = one("resources: {requests: {cpu: 250m, memory: 1Gi}, limits: {cpu: '1.5', memory: 64Mi}}").subject
    settings = found.settings
    assert (settings.cpu_shares, settings.nano_cpus) == (256, 1_500_000_000)
    assert found.memory_bytes == settings.memory_swap_bytes == 64 * 2**20
    assert one("resources: {limits: {cpu: 2m}}").subject.settings.nano_cpus == 10_000_000
    assert one("resources: {limits: {cpu: 2m}}").subject.settings.cpu_shares == 2
    assert one("resources: {requests: {memory: 1Gi}}").subject.settings.cpu_shares is None


def limits_of(member: Member) -> tuple[int | None, int | None, int | None, int | None]:
    """CPU in 10⁻⁹, shares, memory and swap."""
    found = member.subject
    return found.settings.nano_cpus, found.settings.cpu_shares, found.memory_bytes, found.settings.memory_swap_bytes


POD_LIMITS = "resources: {limits: {cpu: 500m, memory: 64Mi}}\n"


def test_a_container_without_limits_has_those_of_its_pod() -> None:
    """As the kubelet does it: alone in its pod, it has them whole, and nothing is missing."""
    found = pod(f"{POD_LIMITS}containers: [{{name: app, image: a, resources: {{requests: {{memory: 1Mi}}}}}}]")
    assert limits_of(found.group.members[0]) == (500_000_000, 512, 64 * 2**20, 64 * 2**20)
    assert found.not_applied == ()


def test_a_container_keeps_the_limits_that_it_has_in_a_pod_with_more() -> None:
    """What it does not limit is the pod's; zero is no limit."""
    own = "resources: {limits: {cpu: 100m, memory: 0}}"
    found = pod(f"{POD_LIMITS}containers: [{{name: app, image: a, {own}}}]")
    assert limits_of(found.group.members[0]) == (100_000_000, 102, 64 * 2**20, 64 * 2**20)
    assert found.not_applied == ()


def test_what_containers_may_take_together_beyond_their_pods_limit_is_named() -> None:
    """No cgroup is around them here. Where their own limits keep them below it, none is missed; an init container has
    ended by then."""
    memory = "resources: {limits: {memory: 32Mi}}"
    found = pod(
        f"{POD_LIMITS}initContainers: [{{name: first, image: a}}]\n"
        f"containers: [{{name: a, image: a, {memory}}}, {{name: b, image: b, {memory}}}]"
    )
    assert [limits_of(member)[0] for member in found.group.members] == [500_000_000] * 3
    text = "each container is held to it, and together they may take more"
    assert found.not_applied == (NotApplied("spec.resources.limits.cpu (500m)", text, SLOWER),)


def test_other_resources_of_a_pod_are_named() -> None:
    """Huge pages, and whatever comes later."""
    found = pod("resources: {limits: {hugepages-2Mi: 4Mi}}\ncontainers: [{name: app, image: a}]")
    assert [item.what for item in found.not_applied] == ["spec.resources (hugepages-2Mi)"]


@pytest.mark.parametrize(
    ("whole", "own", "said"),
    [
        (
            "limits: {cpu: 1}",
            "limits: {cpu: 2}",
            "containers[0].resources.limits.cpu: 2 is more than the pod's limit, 1",
        ),
        (
            "requests: {memory: 1Mi}",
            "limits: {memory: 2Mi}",
            "resources.requests.memory: 1Mi is less than what the containers request together",
        ),
        (
            "limits: {cpu: much}",
            "limits: {cpu: 1}",
            "resources.limits.cpu: 'much' is no quantity; write it as 500m, 0.5, 64Mi or 1G",
        ),
    ],
)
def test_resources_of_a_pod_that_the_api_server_refuses_are_refused(whole: str, own: str, said: str) -> None:
    """With their line."""
    head = "apiVersion: v1\nkind: Pod\nmetadata: {name: shop}\nspec:\n"
    text = f"{head}  resources: {{{whole}}}\n  containers: [{{name: app, image: a, resources: {{{own}}}}}]\n"
    (problem,) = mistakes(text)
    assert problem.startswith("m.yaml:5:" if whole.startswith("requests") or "much" in whole else "m.yaml:6:")
    assert problem.endswith(f": spec.{said}")


def test_a_container_that_says_nothing_of_cpus_weighs_least_beside_one_that_does() -> None:
    """2, as on a node."""
    group = pod("containers: [{name: a, image: a, resources: {requests: {cpu: 1}}}, {name: b, image: b}]").group
    assert [member.subject.settings.cpu_shares for member in group.members] == [1024, 2]


def test_the_containers_security_context_wins_over_the_pods() -> None:
    """Users, groups, profiles, rights."""
    group = pod(
        """
securityContext: {runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000, supplementalGroups: [5000], runAsNonRoot: true,
  sysctls: [{name: net.core.somaxconn, value: "1024"}], seccompProfile: {type: RuntimeDefault}}
volumes: [{name: v, emptyDir: {}}]
containers:
  - {name: a, image: a}
  - name: b
    image: b
    securityContext: {runAsUser: 7, privileged: true, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false,
      capabilities: {add: [NET_ADMIN], drop: [ALL]}, seccompProfile: {type: Unconfined}, procMount: Unmasked}
"""
    ).group
    a, b = group.members
    assert (a.subject.user, a.groups, a.not_as_root) == ("1000:3000", ("5000", "2000"), False)
    assert a.subject.settings.security_opt == ()
    assert (b.subject.user, b.subject.settings.privileged, b.subject.settings.read_only) == ("7:3000", True, True)
    assert (b.subject.settings.cap_add, b.subject.settings.cap_drop) == (("NET_ADMIN",), ("ALL",))
    assert set(b.subject.settings.security_opt) == {
        "seccomp=unconfined",
        "no-new-privileges:true",
        "systempaths=unconfined",
    }
    assert group.volumes == (GroupVolume("v", group_id=2000, mode=0o777),)
    assert group.shared is not None
    assert group.shared.settings.sysctls == (("net.core.somaxconn", "1024"),)


def test_without_a_profile_there_is_none_and_a_user_is_needed_where_root_is_refused() -> None:
    """Kubernetes runs containers without seccomp, Docker with a profile of its own."""
    found = one("securityContext: {runAsNonRoot: true}")
    assert found.subject.settings.security_opt == ("seccomp=unconfined",)
    assert found.not_as_root


# ── hooks and probes ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_hooks_are_taken_as_they_are() -> None:
    """exec without expansion, httpGet with a named port, sleep, and tcpSocket, which cannot be performed."""
    ports = "ports: [{containerPort: 8080, name: web}]\nenv: [{name: A, value: a}]\n"
    cases = {
        'preStop: {exec: {command: [sleep, "$(A)"]}}': Hook(HookKind.EXEC, command=("sleep", "$(A)")),
        "preStop: {sleep: {seconds: 5}}": Hook(HookKind.SLEEP, sleep_ns=5 * NS_PER_S),
        "preStop: {tcpSocket: {port: 80}}": Hook(HookKind.INVALID),
        "preStop: {httpGet: {port: web, path: drain, scheme: HTTPS, httpHeaders: [{name: X, value: y}]}}": Hook(
            HookKind.HTTP, scheme="https", port=8080, path="/drain", headers=(("X", "y"),)
        ),
    }
    for text, hook in cases.items():
        assert one(f"{ports}lifecycle: {{{text}}}").before_stop == (hook,)
    assert one("lifecycle: {postStart: {exec: {command: [a]}}, stopSignal: SIGUSR1}").after_start == (
        Hook(HookKind.EXEC, command=("a",)),
    )
    assert one("lifecycle: {stopSignal: SIGRTMIN+3}").stop_signal == "SIGRTMIN+3"


def test_probes_have_kubernetes_defaults() -> None:
    """Readiness is `ready`, startup is `started`; an exec probe names literal variables only."""
    found = one(
        """
env: [{name: A, value: a}, {name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
readinessProbe: {exec: {command: [check, "$(A)", "$(N)"]}}
startupProbe: {grpc: {port: 9000, service: shop}, periodSeconds: 1, failureThreshold: 60, initialDelaySeconds: 2}
livenessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 5}
"""
    )
    assert found.ready == Probe(ProbeKind.EXEC, command=("check", "a", "$(N)"))
    assert found.started == Probe(
        ProbeKind.GRPC, port=9000, path="shop", period_ns=NS_PER_S, failures=60, initial_delay_ns=2 * NS_PER_S
    )


def test_only_sidecars_among_init_containers_have_hooks() -> None:
    """`restartPolicy: Always` makes one; an ordinary one runs to its end."""
    spec = """
initContainers:
  - {name: first, image: a}
  - {name: proxy, image: b, restartPolicy: Always, lifecycle: {preStop: {sleep: {seconds: 1}}}}
containers: [{name: app, image: c}]
"""
    group = pod(spec).group
    assert [(member.name, member.role) for member in group.members] == [
        ("first", Role.INIT),
        ("proxy", Role.SIDECAR),
        ("app", Role.MAIN),
    ]
    with pytest.raises(ScenarioError, match=r"pod\.yaml:\d+:\d+: spec\.initContainers\[0\]\.lifecycle: an init cont"):
        pod(spec.replace("name: first, image: a", "name: first, image: a, lifecycle: {preStop: {sleep: {seconds: 1}}}"))


# ── volumes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_volumes_begin_with_what_kubernetes_puts_into_them() -> None:
    """ConfigMaps, Secrets, fields of the pod, several in one; with their permissions; nobody writes to them."""
    before = """
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {a.conf: "x"}
binaryData: {b.bin: AAE=}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {token: t}
"""
    spec = """
volumes:
  - {name: conf, configMap: {name: c, defaultMode: 0400}}
  - {name: one, secret: {secretName: s, items: [{key: token, path: in/token, mode: 0600}]}}
  - name: all
    projected:
      defaultMode: 0o440
      sources:
        - {configMap: {name: c, items: [{key: a.conf, path: a}]}}
        - {downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
        - {serviceAccountToken: {path: token}}
  - {name: work, emptyDir: {}}
  - {name: mem, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
containers:
  - name: app
    image: a
    env: [{name: SUB, value: me}]
    volumeMounts:
      - {name: conf, mountPath: /etc/a.conf, subPath: a.conf}
      - {name: work, mountPath: /work, subPathExpr: logs/$(SUB)}
      - {name: mem, mountPath: /mem, readOnly: true}
"""
    found = pod(spec, before=before)
    conf, single, everything, work, memory = found.group.volumes
    assert set(conf.files) == {GivenFile("a.conf", b"x", 0o400), GivenFile("b.bin", b"\0\1", 0o400)}
    assert single.files == (GivenFile("in/token", b"t", 0o600),)
    assert everything.files == (GivenFile("a", b"x", 0o440), GivenFile("labels", b'app="shop"', 0o440))
    assert (work.mode, work.folders) == (0o777, ("logs/me",))
    assert memory.tmpfs == "mode=777,size=1048576"
    assert found.group.members[0].subject.settings.mounts == (
        Mount(MountKind.VOLUME, "/etc/a.conf", "conf", read_only=True, subpath="a.conf"),
        Mount(MountKind.VOLUME, "/work", "work", subpath="logs/me"),
        Mount(MountKind.VOLUME, "/mem", "mem", read_only=True),
    )
    assert [item.what for item in found.not_applied] == ["volumes[all].projected.sources[2].serviceAccountToken"]


@pytest.mark.parametrize(
    ("source", "doubtful"),
    [
        ("persistentVolumeClaim: {claimName: c}", False),
        ("hostPath: {path: /var/run}", True),
        ("nfs: {server: a, path: /}", True),
        ("csi: {driver: d}", True),
    ],
)
def test_a_volume_of_elsewhere_has_an_empty_folder_in_its_place(source: str, doubtful: bool) -> None:
    """It is named. A claim is as empty when it is new; anything else may hold what the program needs."""
    found = pod(f"volumes: [{{name: v, {source}}}]\ncontainers: [{{name: app, image: a}}]")
    assert found.group.volumes == (GroupVolume("v", mode=0o777),)
    assert [bool(item.doubts) for item in found.not_applied] == [doubtful]


def test_a_stateful_set_has_the_volumes_of_its_claims() -> None:
    """By the name of the template; its first pod is called NAME-0."""
    spec = {
        "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "db",
                        "image": "db",
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                        "env": [{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    }
                ]
            }
        },
    }
    text = json.dumps({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec})
    found = workloads.pod_of(text, "m.json")
    assert found.group.volumes == (GroupVolume("data", mode=0o777),)
    assert found.group.members[0].subject.environment == (("ME", "db-0"),)
    assert [item.what for item in found.not_applied] == ["volumeClaimTemplates[data]"]


# ── the pod ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("written", "grace_s"), [("", 30), ("5", 5), ("0", 1), ("-3", 1), ("300", 300)])
def test_the_grace_period_is_what_a_node_makes_of_it(written: str, grace_s: int) -> None:
    """30 s where nothing is said; 0 or less is 1 s."""
    line = f"terminationGracePeriodSeconds: {written}\n" if written else ""
    assert pod(f"{line}containers: [{{name: app, image: a}}]").group.grace_ns == grace_s * NS_PER_S


def shared_of(spec: str) -> Group:
    """A pod of one container with other keys."""
    return pod(f"{spec}\ncontainers: [{{name: app, image: a}}]").group


def test_namespaces_are_shared_as_the_pod_says() -> None:
    """Network and IPC always; processes where it is asked for; the node's where it is asked for."""
    shared = shared_of("shareProcessNamespace: true\nhostAliases: [{ip: 10.0.0.1, hostnames: [db, db.local]}]").shared
    assert shared is not None
    assert (shared.network, shared.pid, shared.ipc) == (True, True, True)
    assert shared.settings.hostname == "shop"
    assert shared.settings.extra_hosts == (("db", "10.0.0.1"), ("db.local", "10.0.0.1"))
    group = shared_of("hostNetwork: true\nhostPID: true\nhostIPC: true")
    assert group.shared is not None
    assert (group.shared.network, group.shared.ipc, group.shared.settings.hostname) == (False, False, None)
    assert (group.members[0].subject.settings.pid, group.members[0].subject.settings.ipc) == ("host", "host")
    assert (named := shared_of("hostname: db").shared) is not None
    assert named.settings.hostname == "db"


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: front}
spec: {selector: {app: shop}, ports: [{port: 80, targetPort: web}]}
"""


def test_services_of_the_file_are_known_to_the_containers_they_send_to() -> None:
    """By selector and target port."""
    spec = """
containers:
  - {name: app, image: a, ports: [{containerPort: 8080, name: web}]}
  - {name: metrics, image: b, ports: [{containerPort: 9090}]}
"""
    group = pod(spec, before=SERVICE).group
    assert [member.services for member in group.members] == [("front",), ()]
    assert pod(spec, before=SERVICE.replace("app: shop", "app: other")).group.members[0].services == ()


def test_one_container_may_be_stopped_alone() -> None:
    """It is named, and an unknown one is a mistake that lists those that there are."""
    text = some("Deployment/web")
    assert workloads.pod_of(text, "m.yaml", container="app").group.stopped == "app"
    assert "there is no container 'web'; containers: app" in mistakes(text, container="web")[0]


def not_applied(spec: str) -> tuple[NotApplied, ...]:
    """What a pod with one container asks for in vain."""
    return pod(f"{spec}\ncontainers: [{{name: app, image: a}}]").not_applied


def test_a_field_that_nobody_knows_is_named_even_when_it_is_empty() -> None:
    """It changes nothing, but whoever wrote it meant another."""
    found = pod("containers: [{name: app, image: a, livenessprobe: {}}]").not_applied
    (probe,) = (item for item in found if "livenessprobe" in item.what)
    assert probe.what == "containers[app].livenessprobe"
    assert probe.may_change.endswith("; is `livenessProbe` meant?")
    assert probe.doubts == ()


def test_what_is_not_applied_is_named_with_what_it_may_change() -> None:
    """Where it runs in one line; a field that nobody knows with the one that may be meant, and everything in doubt."""
    assert [
        item.what for item in not_applied("nodeSelector: {a: b}\ntolerations: [{key: a}]\npriorityClassName: x")
    ] == ["nodeSelector, tolerations, priorityClassName"]
    (typo,) = not_applied("terminationGracePeriodSecond: 60")
    assert typo == NotApplied(
        "terminationGracePeriodSecond",
        "no field of Kubernetes that is known here; is `terminationGracePeriodSeconds` meant?",
        ANY,
    )
    assert [item.what for item in not_applied("runtimeClassName: gvisor")] == ["runtimeClassName (gvisor)"]
    assert [item.what for item in not_applied("serviceAccountName: operator")] == ["serviceAccountName (operator)"]
    assert not_applied("serviceAccountName: operator\nautomountServiceAccountToken: false") == ()
    assert not_applied("dnsPolicy: ClusterFirst\nrestartPolicy: Always\nimagePullSecrets: [{name: a}]") == ()


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_kubernetes_is_read_or_told(name: str) -> None:
    """No field of the API is unknown here: none is called a mistake, and none is passed over in silence."""
    shape = getattr(shapes, name)
    if shape in {shapes.Volume, shapes.Source}:  # `volumes` names every source that it has no place for
        return
    known = {str(field.alias) for field in shape.model_fields.values()}
    known |= {key for base in shape.__mro__ for key in fields.NOT_APPLIED.get(base, ())}
    known |= fields.WITHOUT_EFFECT.get(shape, frozenset())
    known |= fields.PLACEMENT if shape is shapes.PodSpec else frozenset()
    assert set(FIELDS[name]) <= known


# ── pure parts ───────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 10**12), st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E2"]))
def test_quantities_are_exact(number: int, suffix: str) -> None:
    """Decimal and binary suffixes, and exponents; rounded up to whole bytes and thousandths."""
    factor: dict[str, int | Fraction] = {
        "": 1,
        "m": Fraction(1, 1000),
        "k": 10**3,
        "M": 10**6,
        "G": 10**9,
        "e3": 1000,
        "E2": 100,
    }
    factor |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    exact = quantities.parse(f"{number}{suffix}")
    assert exact == number * factor[suffix]
    assert 0 <= quantities.bytes_of(f"{number}{suffix}") - exact < 1
    assert 0 <= quantities.milli(f"{number}{suffix}") - exact * 1000 < 1


@pytest.mark.parametrize("text", ["", "x", "1 Mi", "1mi", "--1", "1e99", "Mi", "1" * 50])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    """With how one is written."""
    with pytest.raises(ValueError, match="is no quantity"):
        quantities.parse(text)


def slow_expand(text: str, known: dict[str, str]) -> str:
    """The expansion of Kubernetes, character by character, as its source has it."""
    out, at = "", 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            out, at = out + text[at], at + 1
        elif text[at + 1] == "$":
            out, at = out + "$", at + 2
        elif text[at + 1] == "(" and (end := text.find(")", at)) >= 0:
            name = text[at + 2 : end]
            out, at = out + known.get(name, f"$({name})"), end + 1
        else:
            out, at = out + text[at : at + 2], at + 2
    return out


@given(st.text(alphabet="$()AB ", max_size=20))
def test_expansion_is_that_of_kubernetes(text: str) -> None:
    """Compared with its own algorithm, written out."""
    known = {"A": "one", "AB": "$(A)"}
    assert expansion.expand(text, known) == slow_expand(text, known)


def problems_of(text: str) -> tuple[str, ...]:
    """Whatever is said about a text."""
    try:
        workloads.pod_of(text, "m.yaml")
    except ScenarioError as error:
        return error.problems
    return ()


@given(st.lists(st.text(string.printable, max_size=30), max_size=4))
def test_any_text_is_a_pod_or_a_mistake_with_its_place(parts: list[str]) -> None:
    """Never anything else."""
    text = "\n---\n".join(parts)
    assert all(problem.startswith("m.yaml:") for problem in problems_of(text))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70_000) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(sorted(FIELDS["Container"])), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS["PodSpec"])), JSON_VALUES, max_size=4))
def test_any_spec_is_a_pod_or_a_mistake_with_its_place(extra: dict[str, object]) -> None:
    """Values of every type in every field."""
    spec = {"containers": [{"name": "app", "image": "a"}], **extra}
    text = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec})
    assert all(problem.startswith("m.yaml:") for problem in problems_of(text))


# ── the command line and scenario files ──────────────────────────────────────────────────────────────────────────────

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 7
      containers:
        - {name: app, image: "shop:1", command: [sh, -c, serve]}
"""


def command(*arguments: str, text: str | None = None) -> tuple[int, str]:
    """(exit code, what was said) of the command line."""
    answer = CliRunner().invoke(main.cli, arguments, input=text)
    if answer.exception is not None and not isinstance(answer.exception, SystemExit | StopHarnessError):
        raise answer.exception
    said = answer.output + (str(answer.exception) if isinstance(answer.exception, StopHarnessError) else "")
    code = answer.exception.exit_code if isinstance(answer.exception, StopHarnessError) else answer.exit_code
    return code, said


def test_validate_reads_a_manifest(tmp_path: Path) -> None:
    """Each of its pods, with what it shows before it runs; a mistake has its place."""
    file = tmp_path / "web.yaml"
    file.write_text(DEPLOYMENT)
    code, said = command("validate", str(file))
    assert (code, "1 pod is valid" in said) == (0, True)
    assert f"warning: deployment/web: container app: {file}:10:11: a shell is PID 1 (`sh -c serve`)" in said
    file.write_text(DEPLOYMENT.replace("image:", "imag:"))
    code, said = command("validate", str(file))
    assert code == 2
    assert f"{file}:10:11: spec.template.spec.containers[0]: container 'app' has no image" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("apiVersion: v1\n\tkind: Pod\n", ":2:1: not valid YAML: "),
        ("apiVersion: v1\nkind: [Pod]\n", ":2:1: kind: text is needed, not ['Pod']"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a\n", "not valid YAML: "),
    ],
)
def test_validate_names_the_mistake_of_a_manifest_that_cannot_be_read(tmp_path: Path, text: str, said: str) -> None:
    """With its line, instead of the command that was just called."""
    file = tmp_path / "web.yaml"
    file.write_text(text)
    code, answer = command("validate", str(file))
    assert code == 2
    assert said in answer
    assert "stop-harness validate" not in answer


def test_run_names_a_manifest_and_what_takes_it(tmp_path: Path) -> None:
    """It is no scenario."""
    file = tmp_path / "web.yaml"
    file.write_text(DEPLOYMENT)
    code, said = command("run", str(file))
    assert code == 2
    assert (
        f"this is a Kubernetes manifest, not a scenario; to stop its pod: stop-harness check --kubernetes {file}"
        in said
    )


def test_a_scenario_names_a_pod(tmp_path: Path) -> None:
    """It is stopped with its own grace period, unless the scenario says others; images are replaced by container."""
    (tmp_path / "web.yaml").write_text(DEPLOYMENT)
    file = tmp_path / "scenario.yaml"
    head = "version: 1\nname: pod\nsubject:\n  kubernetes: {file: web.yaml, workload: web, container: app}\n"
    file.write_text(head + "  images: {app: mine}\n")
    (found,) = discovery.load((file,))
    assert found.stop.timeouts_ns == (7 * NS_PER_S,)
    assert found.subject.group is not None
    assert (found.subject.group.stopped, found.subject.group.members[0].subject.image) == ("app", "mine")
    file.write_text(head + "stop: {timeouts: [2s, 30s]}\n")
    (found,) = discovery.load((file,))
    assert found.stop.timeouts_ns == (2 * NS_PER_S, 30 * NS_PER_S)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("  environment: {A: a}\n", "`environment` belongs into the manifest; beside it only `images` is allowed"),
        ("  image: a\n", "give exactly one of `image`, `build`, `task_definition`, `compose` and `kubernetes`"),
    ],
)
def test_what_goes_beside_a_pod_is_said(tmp_path: Path, more: str, said: str) -> None:
    """Only images."""
    file = tmp_path / "scenario.yaml"
    file.write_text(f"version: 1\nname: pod\nsubject:\n  kubernetes: {{file: web.yaml}}\n{more}")
    with pytest.raises(ScenarioError, match=re.escape(said)):
        discovery.load((file,))


def test_a_manifest_that_is_not_there_has_the_scenarios_line(tmp_path: Path) -> None:
    """The key that names it."""
    file = tmp_path / "scenario.yaml"
    file.write_text("version: 1\nname: pod\nsubject:\n  kubernetes: {file: web.yaml}\n")
    with pytest.raises(ScenarioError, match=r"scenario\.yaml:4:16: subject\.kubernetes\.file: there is no file"):
        discovery.load((file,))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--kubernetes", "-", "--env", "A=a"), "--env is about one container; write it into the manifest"),
        (("--kubernetes", "-", "--", "serve"), "a command is about one container; write it into the manifest"),
        (("--kubernetes", "-", "app", "web"), "check stops the whole pod"),
        (("--workload", "web", "image"), "--workload goes with --kubernetes"),
        (("--kubernetes", "-", "--build", "."), "check takes one of"),
        (("--kubernetes", "-", "nobody"), "<standard input>:9:7: there is no container 'nobody'; containers: app"),
        (("--kubernetes", "-", "--workload", "job/web"), "<standard input>:1:1: there is no workload 'job/web'"),
    ],
)
def test_what_check_cannot_do_with_a_manifest_is_said(arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, before any engine is asked; the text comes from standard input."""
    code, answer = command("check", *arguments, text=DEPLOYMENT)
    assert (code, said in answer) == (2, True), answer
