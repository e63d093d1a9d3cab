"""`env` and `envFrom` of a container → its variables. Pure.

Order and expansion are those of the kubelet: `envFrom` first, a later one wins; then `env`, where `$(NAME)` stands for
what came before (kubernetes/pkg/kubelet/kubelet_pods.go, makeEnvironmentVariables).
"""

from __future__ import annotations

from stop_harness.scenario.keys import Path
from stop_harness.scenario.kubernetes import expansion, shapes
from stop_harness.scenario.kubernetes.reading import Reading


def of(container: shapes.Container, path: Path, reading: Reading) -> dict[str, str]:
    """The variables of a container; mistakes go to `reading`."""
    found: dict[str, str] = {}
    for index, source in enumerate(container.env_from):
        found.update(_whole(source, (*path, "envFrom", index), reading))
    for index, variable in enumerate(container.env):
        here = (*path, "env", index)
        if "=" in variable.name:
            reading.wrong((*here, "name"), f"{variable.name!r}: no name of a variable has a `=` in it")
            continue
        value: str | None = variable.value or ""
        if variable.value_from is not None and not variable.value:
            value = _elsewhere(variable.value_from, container.name, (*here, "valueFrom"), reading)
        elif variable.value:
            value = expansion.expand(variable.value, found)
        if value is not None:
            found[variable.name] = value
    return found


def literal(container: shapes.Container) -> dict[str, str]:
    """The variables that commands of probes may name: those whose values are written down
    (kubernetes/pkg/kubelet/container/helpers.go, ExpandContainerCommandOnlyStatic)."""
    return {item.name: item.value or "" for item in container.env if item.value_from is None}


def _whole(source: shapes.VariablesFrom, path: Path, reading: Reading) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, kind, ref in (
        ("configMapRef", "ConfigMap", source.config_map_ref),
        ("secretRef", "Secret", source.secret_ref),
    ):
        if ref is None:
            continue
        contents = reading.contents(kind, ref.name, ref.optional, (*path, key)) or {}
        for name, value in contents.items():
            text = _text(value, f"{kind} {ref.name}, key {name}", (*path, key), reading)
            if name and "=" not in name and text is not None:
                found[source.prefix + name] = text
    return found


def _elsewhere(given: shapes.ValueFrom, container: str, path: Path, reading: Reading) -> str | None:
    if given.field_ref is not None:
        return reading.field_value(given.field_ref, (*path, "fieldRef"))
    if given.resource_field_ref is not None:
        return reading.resource_value(given.resource_field_ref, container, (*path, "resourceFieldRef"))
    for key, kind, ref in (
        ("configMapKeyRef", "ConfigMap", given.config_map_key_ref),
        ("secretKeyRef", "Secret", given.secret_key_ref),
    ):
        if ref is None:
            continue
        here = (*path, key)
        contents = reading.contents(kind, ref.name, ref.optional, here)
        if contents is None:
            return None
        if ref.key not in contents:
            if not ref.optional:
                known = ", ".join(sorted(contents)) or "none"
                reading.wrong((*here, "key"), f"{kind} {ref.name!r} has no key {ref.key!r}; its keys: {known}")
            return None
        return _text(contents[ref.key], f"{kind} {ref.name}, key {ref.key}", here, reading)
    if not given.model_extra:
        reading.wrong(path, "needed: one of fieldRef, resourceFieldRef, configMapKeyRef and secretKeyRef")
    return None


def _text(value: bytes, what: str, path: Path, reading: Reading) -> str | None:
    """A variable is text, to the container runtime interface as well."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        reading.wrong(path, f"{what}: no text, so it cannot be a variable; mount it as a file")
        return None
    return text
