"""Volumes of a pod and their places in its containers → `GroupVolume` and `Mount`. Pure.

Sources: kubernetes/pkg/volume (emptydir, configmap, secret, projected, downwardapi).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import replace

from stop_harness.model import GivenFile, GroupVolume, Mount, MountKind, Outcome
from stop_harness.scenario.container_keys import ANY, STARTS
from stop_harness.scenario.keys import Path
from stop_harness.scenario.kubernetes import expansion, quantities, shapes
from stop_harness.scenario.kubernetes.reading import Reading

WRITABLE = 0o777
"""Permissions of the root of an emptyDir; kubernetes/pkg/volume/emptydir/empty_dir.go, `perm`."""

FILE_MODE = 0o644

STAND_INS: dict[str, tuple[str, tuple[Outcome, ...]]] = {
    "persistentVolumeClaim": ("an empty folder stands for it, as for a claim that is new", ()),
    "volumeClaimTemplates": ("an empty folder stands for it, as for a claim that is new", ()),
    "ephemeral": ("an empty folder stands for it, as for a claim that is new", ()),
    "hostPath": ("a folder of the node; an empty one stands for it, which is nobody else's", ANY),
    "image": ("an empty folder stands for the image", STARTS),
}
"""What is not mounted, by the key of its source. Every other source is somebody's file system."""

_ELSEWHERE = ("an empty folder stands for it", ANY)


def of_pod(spec: shapes.PodSpec, claims: Iterable[str], reading: Reading) -> dict[str, GroupVolume]:
    """Every volume by its name, files included. `claims`: those of `volumeClaimTemplates`, which win."""
    found: dict[str, GroupVolume] = {}
    for index, volume in enumerate(spec.volumes):
        path: Path = ("volumes", index)
        if volume.name in found:
            reading.wrong((*path, "name"), f"two volumes are called {volume.name!r}")
        found[volume.name] = _read(volume, path, reading)
    for name in claims:
        reading.not_applied(f"volumeClaimTemplates[{name}]", *STAND_INS["volumeClaimTemplates"])
        found[name] = GroupVolume(name, mode=WRITABLE)
    group = spec.security_context.fs_group
    return {name: replace(volume, group_id=group) for name, volume in found.items()}


def mounts(
    container: shapes.Container,
    path: Path,
    volumes: dict[str, GroupVolume],
    *,
    read_only: frozenset[str],
    environment: Mapping[str, str],
    reading: Reading,
) -> tuple[Mount, ...]:
    """The mounts of a container. A folder that a `subPath` names is added to its volume, as the kubelet makes it."""
    found: list[Mount] = []
    for index, mount in enumerate(container.volume_mounts):
        here = (*path, "volumeMounts", index)
        if mount.name not in volumes:
            known = ", ".join(volumes) or "none"
            reading.wrong((*here, "name"), f"the pod has no volume {mount.name!r}; its volumes: {known}")
            continue
        target = posixpath.normpath(posixpath.join("/", mount.mount_path))
        if any(other.target == target for other in found):
            reading.wrong((*here, "mountPath"), f"two mounts at {target}")
            continue
        subpath = mount.sub_path or expansion.expand(mount.sub_path_expr, environment)
        subpath = posixpath.normpath(subpath) if subpath else ""
        if subpath.startswith(("/", "..")):
            reading.wrong((*here, "subPath"), f"{subpath!r} leads out of the volume")
            continue
        subpath = "" if subpath == "." else subpath
        volume = volumes[mount.name]
        is_file = any(file.path == subpath for file in volume.files)
        in_files = any(file.path.startswith(f"{subpath}/") for file in volume.files)
        if subpath and not is_file and not in_files and subpath not in volume.folders:
            volumes[mount.name] = replace(volume, folders=(*volume.folders, subpath))
        found.append(
            Mount(MountKind.VOLUME, target, mount.name, mount.read_only or mount.name in read_only, subpath=subpath)
        )
    return tuple(found)


def only_read(spec: shapes.PodSpec) -> frozenset[str]:
    """Volumes that nobody can write to: those that Kubernetes fills."""
    return frozenset(
        volume.name
        for volume in spec.volumes
        if any((volume.config_map, volume.secret, volume.downward_a_p_i, volume.projected))
    )


def _read(volume: shapes.Volume, path: Path, reading: Reading) -> GroupVolume:
    if volume.empty_dir is not None:
        return _empty(volume.name, volume.empty_dir, (*path, "emptyDir"), reading)
    files: list[GivenFile] = []
    projected = volume.projected
    if volume.config_map is not None:
        files += _config_map(volume.config_map, (*path, "configMap"), None, reading)
    elif volume.secret is not None:
        files += _secret(volume.secret, (*path, "secret"), None, reading)
    elif volume.downward_a_p_i is not None:
        files += _downward(volume.downward_a_p_i, (*path, "downwardAPI"), None, reading)
    elif projected is not None:
        for index, source in enumerate(projected.sources):
            files += _source(source, (*path, "projected", "sources", index), projected.default_mode, reading)
    else:
        source_key = next(iter(volume.model_extra or {}), "emptyDir")
        if source_key != "emptyDir":
            reading.not_applied(f"volumes[{volume.name}].{source_key}", *STAND_INS.get(source_key, _ELSEWHERE))
        return GroupVolume(volume.name, mode=WRITABLE)
    return GroupVolume(volume.name, tuple({file.path: file for file in files}.values()), mode=0o755)


def _empty(name: str, given: shapes.EmptyDir, path: Path, reading: Reading) -> GroupVolume:
    if given.medium == "Memory":
        options = f"mode={WRITABLE:o}"
        if given.size_limit is not None:
            try:
                options += f",size={quantities.bytes_of(given.size_limit)}"
            except ValueError as error:
                reading.wrong((*path, "sizeLimit"), str(error))
        return GroupVolume(name, tmpfs=options)
    if given.medium:
        reading.not_applied(f"volumes[{name}].emptyDir.medium ({given.medium})", "it is on disk here", STARTS)
    return GroupVolume(name, mode=WRITABLE)


def _source(given: shapes.Source, path: Path, mode: int | None, reading: Reading) -> list[GivenFile]:
    if given.config_map is not None:
        return _config_map(given.config_map, (*path, "configMap"), mode, reading)
    if given.secret is not None:
        return _secret(given.secret, (*path, "secret"), mode, reading)
    if given.downward_a_p_i is not None:
        return _downward(given.downward_a_p_i, (*path, "downwardAPI"), mode, reading)
    key = next(iter(given.model_extra or {}), "")
    reading.not_applied(f"{reading.named(path)}.{key}", "a file that it may need to start is missing", STARTS)
    return []


def _config_map(given: shapes.ConfigMapFiles, path: Path, mode: int | None, reading: Reading) -> list[GivenFile]:
    contents = reading.contents("ConfigMap", given.name, given.optional, path)
    return _files(contents, given.items, given.optional, mode=given.default_mode or mode, path=path, reading=reading)


def _secret(given: shapes.SecretFiles, path: Path, mode: int | None, reading: Reading) -> list[GivenFile]:
    contents = reading.contents("Secret", given.secret_name or given.name, given.optional, path)
    return _files(contents, given.items, given.optional, mode=given.default_mode or mode, path=path, reading=reading)


def _files(
    contents: dict[str, bytes] | None,
    items: tuple[shapes.Item, ...],
    optional: bool,
    *,
    mode: int | None,
    path: Path,
    reading: Reading,
) -> list[GivenFile]:
    if contents is None:
        return []
    if not items:
        return [GivenFile(key, value, mode or FILE_MODE) for key, value in contents.items()]
    files: list[GivenFile] = []
    for index, item in enumerate(items):
        here = (*path, "items", index)
        if not _inside(item.path):
            reading.wrong((*here, "path"), f"{item.path!r} leads out of the volume")
        elif item.key in contents:
            files.append(GivenFile(posixpath.normpath(item.path), contents[item.key], item.mode or mode or FILE_MODE))
        elif not optional:
            known = ", ".join(sorted(contents)) or "none"
            reading.wrong((*here, "key"), f"there is no key {item.key!r}; its keys: {known}")
    return files


def _downward(given: shapes.DownwardFiles, path: Path, mode: int | None, reading: Reading) -> list[GivenFile]:
    files: list[GivenFile] = []
    for index, item in enumerate(given.items):
        here = (*path, "items", index)
        value: str | None = None
        if not _inside(item.path):
            reading.wrong((*here, "path"), f"{item.path!r} leads out of the volume")
        elif item.field_ref is not None:
            value = reading.field_value(item.field_ref, (*here, "fieldRef"), whole_maps=True)
        elif item.resource_field_ref is not None:
            value = reading.resource_value(item.resource_field_ref, "", (*here, "resourceFieldRef"))
        if value is not None:
            mode_of_file = item.mode or given.default_mode or mode or FILE_MODE
            files.append(GivenFile(posixpath.normpath(item.path), value.encode(), mode_of_file))
    return files


def _inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")
