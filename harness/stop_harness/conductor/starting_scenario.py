"""The folder in which `init` is called, or a running container → the commented scenario that it writes.

    files ─▶ candidates, a Dockerfile first ─▶ what the first says that makes a valid scenario ─▶ text

Each candidate is read by the reader that `check` has for it, and the text of a scenario is read back before it is
taken, so that what `init` writes passes `validate`. What cannot be read is told, and the next one is tried.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stop_harness.conductor import existing_container, source_lines
from stop_harness.errors import ScenarioError, StopHarnessError, UsageError
from stop_harness.model import (
    ECS_STOP_TIMEOUT_S,
    NS_PER_S,
    GroupKind,
    Member,
    Origin,
    Probe,
    ProbeKind,
    Role,
    Scenario,
    SourceLine,
    StopPlan,
    Subject,
)
from stop_harness.scenario import check_options, discovery, file_kinds, key_lines, named_files
from stop_harness.scenario.compose import loading
from stop_harness.scenario.starting_text import FoundLine, FoundStop, scalar, text_of

if TYPE_CHECKING:
    from stop_harness.engines.docker.host import DockerHost

_ENDINGS = frozenset({".yaml", ".yml", ".json"})

_DOCKERFILE = re.compile(r"Containerfile|Dockerfile\.(?!.*dockerignore$).+|[^.].*\.Dockerfile")
"""Other names of a Dockerfile."""

_OF_ANOTHER_NAME = "Dockerfile of another name"
"""Its rank among candidates: it is one of several, or a Compose file names it and says more."""

MOST_FILES = 200
"""Files of a folder that are looked into, and folders; a folder of data is no project."""

MOST_NAMED = 5
CHART = "Chart.yaml"


@dataclass(frozen=True)
class StartingText:
    """`text` of the scenario. `origin`: what it was filled in from, empty where nothing was found. `notes`: what was
    not taken, with why and how it would be."""

    text: str
    origin: str = ""
    notes: tuple[str, ...] = ()


Found = Callable[[Path], FoundStop]
"""The path of the scenario, to which paths in it are relative → what a file says. Raises StopHarnessError."""


@dataclass(frozen=True)
class _Candidate:
    file: Path
    kind: str
    read: Found


def of_folder(folder: Path, target: Path, chosen: Path | None = None) -> StartingText:
    """The scenario for what lies in `folder`, to be written to `target`. `chosen`: the file to take, and no other.

    Raises UsageError where a chosen file is missing or is none of these, and what its reader raises. What is merely
    found and cannot be read is a note.
    """
    if chosen is not None:
        return _taken(_of_file(chosen, must=True), target)
    candidates, notes = _candidates(folder)
    taken: StartingText | None = None
    for candidate in candidates:
        if taken is not None:
            notes.append(
                f"not taken: {candidate.file} ({candidate.kind}); --from {shlex.quote(str(candidate.file))} takes it"
            )
            continue
        try:
            taken = _taken(candidate, target)
        except StopHarnessError as error:
            notes.append(f"not taken: {candidate.file} ({candidate.kind}): {_first_line(error)}")
    if taken is None:
        taken = StartingText(text_of(None))
        notes += _elsewhere(folder)
    return replace(taken, notes=tuple(notes))


def of_container(name: str, target: Path, find: Callable[[], DockerHost]) -> StartingText:
    """The scenario for what a container runs that is there already; it is only looked at. Raises UsageError, and
    EngineError where no engine answers."""
    from stop_harness.engines.docker import running
    from stop_harness.engines.docker.calls import Calls, time_limit_s

    name = name.removeprefix("/")
    if not existing_container.NAME.fullmatch(name):
        raise UsageError(f"--container {name!r} is no name or id of a container")
    host = find()
    client = host.connect()
    try:
        calls = Calls(host.url, time_limit_s())
        found = running.look(client.api, calls, name, same_kernel=host.same_kernel)
        given = running.given_beside_image(found, client.api, calls)
    except running.NoSuchContainer as error:
        raise UsageError(str(error)) from None
    finally:
        client.close()
    where = f"container {found.name}: "
    # Values may be secrets: only their names are written.
    names = FoundLine(f"environment: {{{', '.join(f'{key}: …' for key, _ in given)}}}", f"{where}given to it", True)
    runs = f"in place of the image's; {where}`docker inspect` shows what it runs"
    command = FoundLine("command: [word, word]", runs, True)
    subject = (FoundLine(f"image: {scalar(found.image)}", f"{where}Image"), command, *([names] if given else []))
    ready = [FoundLine("healthcheck: true", f"{where}Healthcheck")] if found.has_health_check else []
    ready += [FoundLine(f"tcp: {port}", f"{where}ExposedPorts", bool(ready)) for port in found.ports[:1]]
    signal = found.stop_signal and FoundLine(f"signal: {scalar(found.stop_signal)}", f"{where}StopSignal")
    timeout = found.stop_timeout_s
    timeouts = () if timeout is None else ((timeout * NS_PER_S, f"{where}StopTimeout"),)
    stop = FoundStop(check_options.slug(found.name), subject, tuple(ready), signal or None, timeouts)
    return StartingText(_read_back(stop, target), f"container {found.name}")


def _taken(candidate: _Candidate, target: Path) -> StartingText:
    return StartingText(_read_back(candidate.read(target), target), str(candidate.file))


def _read_back(found: FoundStop, target: Path) -> str:
    text = text_of(found)
    discovery.of_text(text, target)
    return text


def _first_line(error: StopHarnessError) -> str:
    return (error.problems[0] if isinstance(error, ScenarioError) else str(error)).splitlines()[0]


# ── What lies there ──────────────────────────────────────────────────────────────────────────────────────────────────


def _candidates(folder: Path) -> tuple[list[_Candidate], list[str]]:
    """Those of a folder, in the order in which they are taken, and what could not be looked into."""
    notes: list[str] = []
    compose = [folder / name for name in loading.NAMES if (folder / name).is_file()][:1]
    named = sorted(path for path in folder.iterdir() if _DOCKERFILE.fullmatch(path.name))
    first = [path for path in (folder / "Dockerfile", *compose, *named) if path.is_file()]
    others = sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS and _may_be_one(path))
    skipped = {*compose, *(folder / name for name in loading.OVERRIDES)}
    found: list[_Candidate] = []
    for path in (*first, *(path for path in others[:MOST_FILES] if path not in skipped)):
        try:
            candidate = _of_file(path, must=path in first)
        except ScenarioError as error:
            notes.append(f"not taken: {_first_line(error)}")
            continue
        found += [] if candidate.kind == "" else [candidate]
    order = ("Dockerfile", "Compose file", _OF_ANOTHER_NAME, "task definition", "Kubernetes manifest")

    def rank(item: _Candidate) -> int:
        another = item.kind == "Dockerfile" and item.file.name != "Dockerfile"
        return order.index(_OF_ANOTHER_NAME if another else item.kind)

    return sorted(found, key=rank), notes


def _elsewhere(folder: Path) -> list[str]:
    """What to do about a folder with nothing to fill a scenario in from, in sentences: what lies one level below."""
    if (folder / CHART).is_file():
        return [
            f"{CHART}: a chart of Helm; helm template . > rendered.yaml makes a manifest, --from rendered.yaml takes it"
        ]
    found: list[_Candidate] = []
    for below in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))[
        :MOST_FILES
    ]:
        with contextlib.suppress(OSError):
            found += _candidates(below)[0]
    if not found:
        return ["nothing found to fill it in from: no Dockerfile, Compose file, task definition or Kubernetes manifest"]
    named = [
        f"nothing found here, but {item.file} ({item.kind}); --from {shlex.quote(str(item.file))} takes it"
        for item in found[:MOST_NAMED]
    ]
    return named + ([f"and {len(found) - MOST_NAMED} more in folders below"] if len(found) > MOST_NAMED else [])


def _may_be_one(path: Path) -> bool:
    """Whether a file is worth a look; one of many megabytes is data."""
    try:
        return path.is_file() and path.stat().st_size <= named_files.MAX_MANIFEST_BYTES
    except OSError:
        return False


def _of_file(path: Path, *, must: bool) -> _Candidate:
    """What a file is, with its reader. Raises ScenarioError where it cannot be read, UsageError where it `must` be
    something and is nothing of these."""
    text = named_files.read(path, named_files.MAX_MANIFEST_BYTES)
    kind = ""
    if file_kinds.is_manifest(text):
        kind = "Kubernetes manifest"
    elif file_kinds.task_definition(text) is not None:
        kind = "task definition"
    elif path.name in loading.NAMES or (path.suffix != ".json" and "services" in file_kinds.top_keys(text)):
        kind = "Compose file"
    elif path.suffix.lower() not in _ENDINGS:
        kind = "Dockerfile"
    if not kind and must:
        known = "Dockerfile, Compose file, ECS task definition or Kubernetes manifest"
        raise UsageError(f"{path}: this is no {known}")
    readers: dict[str, Callable[[Path, str, Path], FoundStop]] = {
        "Dockerfile": _dockerfile,
        "Compose file": _compose,
        "task definition": _task,
        "Kubernetes manifest": _pod,
    }
    return _Candidate(path, kind, lambda target: readers[kind](path, text, target))


def _beside(target: Path, path: Path) -> str:
    """A path as it stands in the scenario."""
    return scalar(Path(os.path.relpath(path, target.parent)).as_posix())


# ── Dockerfile ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _dockerfile(path: Path, text: str, target: Path) -> FoundStop:
    from stop_harness.conductor import build_folder
    from stop_harness.engines import dockerfile

    folder = build_folder.of(path, text, Path())

    def built_in(place: Path, origin: str, named: str, *, offered: bool = False) -> Iterator[FoundLine]:
        yield FoundLine(f"build: {_beside(target, place)}", origin, offered)
        within = Path(os.path.relpath(path.resolve(), place.resolve())).as_posix()
        if within != "Dockerfile":
            yield FoundLine(f"dockerfile: {scalar(within)}", named, offered)

    subject = [*built_in(folder.path, folder.origin, f"{path}: within that folder")]
    for other in folder.others:
        subject += built_in(other, "or there, in place of the above: what it copies lies there, too", "", offered=True)
    if folder.arguments:
        pairs = ", ".join(f"{scalar(name)}: {json.dumps(value)}" for name, value in folder.arguments)
        subject.append(FoundLine(f"build_args: {{{pairs}}}", folder.origin))
    if folder.target is not None:
        subject.append(FoundLine(f"target: {scalar(folder.target)}", folder.origin))
    if dockerfile.read(text, target=folder.target).lines.keys().isdisjoint({"CMD", "ENTRYPOINT"}):
        subject.append(FoundLine("command: [word, word]", f"{path}: no CMD; its base image may have one", True))
    name = check_options.slug(folder.path.resolve().name)
    ready, signal = _image(str(path), text, folder.arguments, folder.target)
    return FoundStop(name, tuple(subject), ready, signal)


def _image(
    file: str, text: str, build_args: tuple[tuple[str, str], ...] = (), stage: str | None = None
) -> tuple[tuple[FoundLine, ...], FoundLine | None]:
    """When a container of it is ready, and its stop signal. Raises BuildError for a Dockerfile that builds nowhere."""
    from stop_harness.engines import dockerfile

    image = dockerfile.read(text, build_args, target=stage)

    def at(instruction: str) -> str:
        return f"{file}:{image.lines[instruction]}: {instruction}"

    def exposed(port: int) -> str:
        """Of several EXPOSE the one that names the port; `lines` has the last."""
        written = re.compile(rf"\s*EXPOSE\s.*\b{port}\b", re.IGNORECASE)
        named = [line for line, words in enumerate(text.splitlines(), start=1) if written.match(words)]
        last = image.lines["EXPOSE"]
        return f"{file}:{max((line for line in named if line <= last), default=last)}: EXPOSE"

    ready = [FoundLine("healthcheck: true", at("HEALTHCHECK"))] if image.health_test is not None else []
    ready += [FoundLine(f"tcp: {port}", exposed(port), bool(ready)) for port in image.ports[:1]]
    if image.stop_signal is None:
        return tuple(ready), None
    return tuple(ready), FoundLine(f"signal: {scalar(image.stop_signal)}", at("STOPSIGNAL"))


# ── Files of several containers ──────────────────────────────────────────────────────────────────────────────────────


def _read(subject: Subject) -> Scenario:
    """What the files say by themselves, with the lines on which it stands."""
    made = named_files.with_what_it_names(Scenario("starting", subject, stop=StopPlan(own_timeouts=True)))
    return source_lines.with_lines(made)


def _said(line: SourceLine | None, file: Path) -> str:
    return f"{file}" if line is None else f"{line.file}:{line.line}: {line.what.rpartition('.')[2]}"


def _compose(path: Path, text: str, target: Path) -> FoundStop:
    override = loading.override_beside((str(path),))
    files = (path, *([path.parent / override] if override else []))
    project = loading.load(tuple(map(str, files)), os.environ)
    names = project.enabled
    telling = ("build", "ports", "expose", "depends_on")
    name = next((name for key in telling for name in names if project.services[name].get(key)), names[0])
    origin = Origin(GroupKind.COMPOSE, tuple(map(str, files)), name)
    read = _read(Subject(origin=origin))
    alone = read.subject.alone
    assert alone is not None  # a service was named
    lines = {key: f"{file}:{line}" for file in files for key, line in _of_service(file, name).items()}
    listed = ", ".join(_beside(target, file) for file in files)
    others = f"; also there: {', '.join(item for item in names if item != name)}" if len(names) > 1 else ""
    subject = (
        FoundLine("compose:", ""),
        FoundLine(f"  file: {listed if len(files) == 1 else f'[{listed}]'}", f"{path}: Compose file"),
        FoundLine(f"  service: {scalar(name)}", f"{lines.get('', path)}{others}"),
    )
    ready, signal = _built(alone)
    check = alone.settings.healthcheck
    if check is not None:
        ready = tuple(line for line in ready if line.text != "healthcheck: true")
        if check.checks:
            ready = (FoundLine("healthcheck: true", f"{lines.get('healthcheck', path)}: healthcheck"),)
    key = next((key for key in ("ports", "expose") if key in lines), "")
    ports = [port for port, _ in alone.ports]
    if ports and not any(line.text == f"tcp: {port}" for port in ports for line in ready):
        # Where the service listens is said by who runs it; an image may EXPOSE what it does not use here.
        ready = tuple(line for line in ready if not line.text.startswith("tcp: "))
        ready += (FoundLine(f"tcp: {ports[0]}", f"{lines.get(key, path)}: {key or 'ports'}", bool(ready)),)
    group = read.subject.group
    own = read.stop.signal if group is None else group.member(name).stop_signal
    if own is not None:
        signal = FoundLine(f"signal: {scalar(own)}", f"{lines.get('stopsignal', path)}: stop_signal")
    timeouts: tuple[tuple[int, str], ...] = ()
    if "stopgraceperiod" in lines:
        own_ns = min(set(read.stop.timeouts_ns) - {30 * NS_PER_S}, default=30 * NS_PER_S)
        timeouts = ((own_ns, f"{lines['stopgraceperiod']}: stop_grace_period"),)
    return FoundStop(check_options.slug(name), subject, ready, signal, timeouts)


def _of_service(file: Path, name: str) -> key_lines.Lines:
    return key_lines.of_service(loading.read_text(str(file)), name)


def _built(subject: Subject) -> tuple[tuple[FoundLine, ...], FoundLine | None]:
    """What the Dockerfile of a service says; nothing where it has none that can be read."""
    if subject.build_directory is None:
        return (), None
    path = Path(subject.build_directory, subject.dockerfile or "Dockerfile")
    try:
        return _image(str(path), named_files.read(path), subject.build_args, subject.target)
    except StopHarnessError:
        return (), None


def _task(path: Path, text: str, target: Path) -> FoundStop:
    from stop_harness.ecs import task_forms

    names = task_forms.names(text, str(path), ())
    several = len(names) > 1
    read = _read(Subject(task_file=str(path), task_name=names[0] if several else None))
    task = read.subject.task
    assert task is not None  # it was read
    subject = [FoundLine(f"task_definition: {_beside(target, path)}", f"{path}: {names[0]}")]
    if several:
        subject.append(FoundLine(f"task_name: {scalar(names[0])}", f"{path}: also there: {', '.join(names[1:])}"))
    ready: list[FoundLine] = []
    for item in json.loads(task.document)["containerDefinitions"]:
        lines = key_lines.of_container(text, item["name"])

        def at(key: str, lines: key_lines.Lines = lines) -> str:
            line = lines.get(key.lower())
            return f"{path}:{line}: {key}" if line else f"{path}: {key}"

        if item.get("healthCheck"):
            ready = [FoundLine("healthcheck: true", at("healthCheck"))]
            break
        ports = [it["containerPort"] for it in item.get("portMappings") or () if it.get("containerPort")]
        ready += [FoundLine(f"tcp: {port}", at("portMappings")) for port in ports[:1] if not ready]
    by_name = {item.container: item for item in read.lines.containers}
    timeouts = tuple(
        (item.own_stop_timeout_s * NS_PER_S, f"{_said(by_name[item.name].stop_timeout, path)} of {item.name}")
        for item in task.containers
        if item.own_stop_timeout_s is not None
    )
    if not timeouts:
        timeouts = ((ECS_STOP_TIMEOUT_S * NS_PER_S, "default of Amazon ECS"),)
    name = check_options.slug(task.family)
    return FoundStop(name, tuple(subject), tuple(ready), None, timeouts, several=len(task.containers) > 1)


def _pod(path: Path, text: str, target: Path) -> FoundStop:
    from stop_harness.scenario.kubernetes import workloads

    names = workloads.names(text, str(path))
    if not names:
        raise UsageError(f"{path}: no object in it has a pod")
    several = len(names) > 1
    read = _read(Subject(origin=Origin(GroupKind.POD, (str(path),), workload=names[0] if several else None)))
    group = read.subject.group
    assert group is not None  # it was read
    subject = [FoundLine("kubernetes:", ""), FoundLine(f"  file: {_beside(target, path)}", f"{path}: {names[0]}")]
    if several:
        subject.append(FoundLine(f"  workload: {scalar(names[0])}", f"{path}: also there: {', '.join(names[1:])}"))
    staying = [item for item in group.members if item.role is not Role.INIT]
    main = next(item for item in staying if item.role is Role.MAIN)
    if len(staying) > 1:
        listed = ", ".join(item.name for item in staying)
        subject.append(FoundLine(f"  container: {scalar(main.name)}", f"{path}: of {listed}; without it: all", True))
    lines = key_lines.of_container(text, main.name, names[0])
    grace = next((item.stop_timeout for item in read.lines.containers if item.container == main.name), None)
    timeouts = ((group.grace_ns, "default of Kubernetes" if grace is None else _said(grace, path)),)
    signal = None
    if main.stop_signal is not None and len(staying) == 1:
        at = f"{path}:{lines.get('lifecycle', 1)}: lifecycle.stopSignal"
        signal = FoundLine(f"signal: {scalar(main.stop_signal)}", at)
    return FoundStop(
        check_options.slug(group.name), tuple(subject), tuple(_probed(main, path, lines)), signal, timeouts
    )


def _probed(member: Member, path: Path, lines: key_lines.Lines) -> Iterator[FoundLine]:
    """The readiness probe, as far as a scenario can say it; one that asks otherwise counts as it stands."""
    probe = member.ready
    if probe is None:
        return
    at = f"{path}:{lines.get('readinessprobe', 1)}: readinessProbe"
    if probe.kind is ProbeKind.TCP and probe.host is None:
        yield FoundLine(f"tcp: {probe.port}", at)
    elif probe.kind is ProbeKind.HTTP and _is_plain(probe):
        yield FoundLine(f"http: {{port: {probe.port}, path: {json.dumps(probe.path)}}}", at)
    else:
        yield FoundLine("log: listening", f"in place of the readiness probe, which counts without it ({at})", True)


def _is_plain(probe: Probe) -> bool:
    return probe.host is None and probe.scheme == "http" and not probe.headers
