"""What the readers of a pod share: the file, the pod's own facts, mistakes, and what is not applied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stop_harness.model import POD_ADDRESS, NotApplied, Outcome
from stop_harness.scenario.container_keys import ANY, STARTS
from stop_harness.scenario.keys import Path
from stop_harness.scenario.kubernetes import quantities, shapes
from stop_harness.scenario.kubernetes.documents import KubernetesObject, Manifest

NODE_NAME = "stop-harness"
NODE_ADDRESS = "127.0.0.1"
"""Stands for the node's address: what answers there on a node answers nobody here, and refuses at once."""
UID = "00000000-0000-4000-8000-000000000000"
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_GIVEN_BY_CLUSTERS = frozenset({"kube-root-ca.crt", "openshift-service-ca.crt"})
"""ConfigMaps that a cluster puts into every namespace."""


@dataclass(frozen=True)
class PodFacts:
    """What a pod knows of itself by the downward API."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    service_account: str

    def value_of(self, field_path: str) -> str | None:
        """The value of a `fieldRef`; None where no pod has such a field."""
        if (match := _SUBSCRIPT.fullmatch(field_path)) is not None:
            return (self.labels if match[1] == "labels" else self.annotations).get(match[2], "")
        return {
            "metadata.name": self.name,
            "metadata.namespace": self.namespace,
            "metadata.uid": UID,
            "metadata.labels": _lines(self.labels),
            "metadata.annotations": _lines(self.annotations),
            "spec.nodeName": NODE_NAME,
            "spec.serviceAccountName": self.service_account,
            "status.podIP": POD_ADDRESS,
            "status.podIPs": POD_ADDRESS,
            "status.hostIP": NODE_ADDRESS,
            "status.hostIPs": NODE_ADDRESS,
        }.get(field_path)


@dataclass
class Reading:
    """One pod of a file while it is read. `at`: path of its `spec` in the workload. `resources`: of each container,
    what `resourceFieldRef` may name; `shared`: of the pod itself.

    `problems` and `left_out` fill while it is read.
    """

    manifest: Manifest
    workload: KubernetesObject
    at: Path
    facts: PodFacts
    resources: Mapping[str, shapes.Resources] = field(default_factory=dict)
    shared: shapes.Resources = field(default_factory=shapes.Resources)
    problems: list[str] = field(default_factory=list)
    left_out: list[NotApplied] = field(default_factory=list)

    def wrong(self, path: Path, text: str) -> None:
        """A mistake in a field; `path` begins at the pod's `spec`."""
        self.problems.append(self.workload.said((*self.at, *path), text))

    def place(self, path: Path) -> str:
        """`file:line:column`."""
        return self.workload.place((*self.at, *path))

    def not_applied(self, what: str, may_change: str, doubts: tuple[Outcome, ...] = ()) -> None:
        """Something that stops are measured without; said once."""
        item = NotApplied(what, may_change, doubts)
        if item not in self.left_out:
            self.left_out.append(item)

    def contents(self, kind: str, name: str, optional: bool, path: Path) -> dict[str, bytes] | None:
        """The keys of a ConfigMap or Secret of the same file; None where there is none, which is said."""
        found = self.manifest.named(kind, name, self.workload.namespace)
        if found is not None:
            return self._contents_of(found)
        if optional:
            self.not_applied(f"{kind} {name} (optional)", "it is not in this file, and counts as missing", STARTS)
        elif kind == "ConfigMap" and name in _GIVEN_BY_CLUSTERS:
            self.not_applied(f"{kind} {name}", "a cluster puts it into every namespace; here it is missing", STARTS)
        else:
            self.wrong(
                path,
                f"there is no {kind} {name!r} in {self.manifest.source}, and without it the container never starts; "
                f"put its manifest into the same file, or several files into standard input: "
                f"cat FILE {kind.lower()}.yaml | stop-harness check --kubernetes - (documents are separated by ---)",
            )
        return None

    def _contents_of(self, item: KubernetesObject) -> dict[str, bytes]:
        contents: dict[str, bytes] = {}
        for section in ("data", "binaryData", "stringData"):
            if section == "stringData" and item.kind != "Secret":
                continue
            given = item.data.get(section) or {}
            if not isinstance(given, dict):
                self._of_object(item, (section,), "a mapping of keys to texts is needed")
                continue
            encoded = section == "binaryData" or (section == "data" and item.kind == "Secret")
            for key, value in given.items():
                text = "" if value is None else value
                if not isinstance(text, str):
                    problem = f"text is needed, not {text!r}, and Kubernetes refuses it; put it in quotes"
                    self._of_object(item, (section, key), problem)
                    continue
                try:
                    contents[str(key)] = shapes.decoded(text) if encoded else text.encode()
                except ValueError as error:
                    self._of_object(item, (section, key), str(error))
        return contents

    def _of_object(self, item: KubernetesObject, path: Path, text: str) -> None:
        problem = item.said(path, text)
        if problem not in self.problems:
            self.problems.append(problem)

    def field_value(self, ref: shapes.FieldRef, path: Path, *, whole_maps: bool = False) -> str | None:
        """What a `fieldRef` stands for; None with a message where it stands for nothing."""
        value = self.facts.value_of(ref.field_path)
        if value is None or (not whole_maps and ref.field_path in {"metadata.labels", "metadata.annotations"}):
            self.wrong((*path, "fieldPath"), f"no pod has the field {ref.field_path!r}")
            return None
        if ref.field_path.startswith("status.hostIP"):
            text = f"{NODE_ADDRESS} stands for the node's address, where nothing of the node answers"
            self.not_applied(ref.field_path, text, STARTS)
        return value

    def resource_value(self, ref: shapes.ResourceRef, own: str, path: Path) -> str | None:
        """What a `resourceFieldRef` stands for, as a whole number of its divisor."""
        name = ref.container_name or own
        section, _, resource = ref.resource.partition(".")
        resources = self.resources.get(name)
        if resources is None or section not in {"limits", "requests"} or not resource:
            self.wrong((*path, "resource"), f"{ref.resource!r} of container {name!r}: there is no such thing")
            return None
        given = resources.limits if section == "limits" else resources.requests
        amount = given.get(resource, resources.limits.get(resource) if section == "requests" else None)
        if amount is None:
            text = "without it the node's own size is told in Kubernetes; here the variable or file is missing"
            self.not_applied(f"{ref.resource} of container {name}", text, ANY)
            return None
        try:
            divisor = quantities.parse(ref.divisor) or 1
            return str(-(-quantities.parse(amount) // divisor))
        except ValueError:
            return None  # said where the quantity stands
        except ZeroDivisionError:
            return None

    def named(self, path: Path) -> str:
        """A path within the pod's `spec` with names for numbers, such as `containers[app].volumeDevices`."""
        value: Any = self.workload.data
        for part in self.at:
            value = value[part] if isinstance(value, dict) else {}
        text = ""
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                value = None
            if isinstance(part, int):
                name = value.get("name") if isinstance(value, dict) else None
                text += f"[{name if name is not None else part}]"
            else:
                text += f".{part}" if text else part
        return text


def _lines(values: Mapping[str, str]) -> str:
    """As the kubelet writes a whole map into a file; pkg/fieldpath/fieldpath.go, FormatMap."""
    quoted = {
        key: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, value in values.items()
    }
    return "\n".join(f'{key}="{quoted[key]}"' for key in sorted(quoted))
