"""Paths → Scenarios: which files are scenarios, and what only a look at the disk can tell of them."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from stop_harness.errors import ScenarioError, UsageError
from stop_harness.model import (
    NS_PER_S,
    EndedBy,
    GroupKind,
    MountKind,
    Origin,
    Readiness,
    Scenario,
    SkippedScenario,
    StopPlan,
    Subject,
)
from stop_harness.scenario import env_file, file_kinds
from stop_harness.scenario import scenario_file as scenario_format

MAX_FILE_BYTES = 1 << 20

MAX_MANIFEST_BYTES = 16 << 20
"""A rendered chart with its CustomResourceDefinitions may have some megabytes."""

STANDARD_INPUT = "<standard input>"

MOST_NAME = 63
"""Characters of a scenario's name."""


@dataclass(frozen=True)
class Found:
    """What lies under some paths. `passed_over`: files of folders that look like scenarios and are none, with why."""

    scenarios: tuple[Scenario, ...]
    passed_over: tuple[SkippedScenario, ...] = ()


def load(paths: tuple[Path, ...]) -> tuple[Scenario, ...]:
    """The scenarios of `find`."""
    return find(paths).scenarios


def find(paths: tuple[Path, ...]) -> Found:
    """Every scenario under `paths`, in the order of the paths and, within a folder, of the file names.

    Raises UsageError where there is nothing to load, and ScenarioError with the mistakes of all files together.
    """
    problems: list[str] = []
    scenarios: dict[str, Scenario] = {}
    files, passed_over = _files(paths)
    for file in files:
        try:
            text = _read(file)
            _refuse_other_formats(text, file)
            scenario = scenario_format.parse(file_kinds.without_tabs(text), str(file))
            _check_disk(scenario)
            scenario = with_what_it_names(scenario)
        except ScenarioError as error:
            problems += error.problems
            continue
        twin = scenarios.setdefault(scenario.name, scenario)
        if twin is not scenario:
            where = scenario.location("name")
            problems.append(f"{where}: name: {scenario.name!r} is also the name of {twin.source}; names are unique")
    if problems:
        raise ScenarioError(tuple(problems))
    return Found(tuple(scenarios.values()), passed_over)


def find_all(paths: tuple[Path, ...], parameters: tuple[tuple[str, str], ...] = ()) -> tuple[Found, Found]:
    """The scenarios of `find`, and the task definitions among the files that are named, to look at: of a file that
    holds several, each."""
    tasks = tuple(path for path in paths if path.is_file() and _is_task(path))
    problems: list[str] = []
    found: list[Scenario] = []
    for path in tasks:
        try:
            found += _tasks_of(path, parameters)
        except ScenarioError as error:
            problems += error.problems
    others = tuple(path for path in paths if path not in tasks)
    scenarios = Found(())
    try:
        scenarios = find(others) if others else scenarios
    except ScenarioError as error:
        problems += error.problems
    if problems:
        raise ScenarioError(tuple(problems))
    return scenarios, Found(tuple(found))


def _is_task(path: Path) -> bool:
    text = _text_or_none(path)
    return text is not None and file_kinds.task_definition(text) is not None


def _tasks_of(path: Path, parameters: tuple[tuple[str, str], ...]) -> list[Scenario]:
    from stop_harness.ecs import task_forms

    names = task_forms.names(_read(path), str(path), parameters)
    subject = Subject(task_file=str(path), task_parameters=parameters)
    one = Scenario(str(path), subject, stop=StopPlan(own_timeouts=True))
    if len(names) == 1:
        return [with_task(one, to_look_at=True)]
    return [
        with_task(replace(one, name=f"{path}: {name}", subject=replace(subject, task_name=name)), to_look_at=True)
        for name in names
    ]


def with_task(scenario: Scenario, *, to_look_at: bool = False) -> Scenario:
    """The scenario with its task definition read from disk; any other scenario as it is. Raises ScenarioError.

    Where the scenario names no stop timeouts, those of the definition apply, and the trial's is the longest chain's. A
    container that has none gets what ECS_CONTAINER_STOP_TIMEOUT says, as `ecs serve` and the ECS agent read it.
    """
    subject = scenario.subject
    if subject.task_file is None:
        return scenario
    from stop_harness.ecs import stop_timeouts, task_definition, unapplied
    from stop_harness.ecs.task_forms import TaskChoice

    text, agent_value = _read(Path(subject.task_file)), os.environ.get(stop_timeouts.AGENT_VARIABLE)
    chosen = TaskChoice(subject.task_name, subject.task_parameters, to_look_at)
    task, known_later = task_definition.read(text, subject.task_file, dict(subject.task_images), chosen, agent_value)
    stop = scenario.stop
    if stop.own_timeouts:
        longest_s = task_definition.longest_chain(task)[1]
        if stop.ended_by is EndedBy.SPOT:
            longest_s = min(longest_s, task_definition.TASK_LIMIT_S)
        stop = replace(stop, timeouts_ns=(longest_s * NS_PER_S,))
    not_applied = (*unapplied.of_task(json.loads(task.document)), *known_later)
    # Parameters of a template may be passwords, and what became of them stands in the task.
    subject = replace(subject, task=task, task_parameters=())
    return replace(scenario, subject=subject, stop=stop, not_applied=not_applied)


def with_what_it_names(scenario: Scenario) -> Scenario:
    """The scenario with what it names on disk: its task definition, its Compose project or its pod, and files of its
    containers.
    Raises ScenarioError or UsageError."""
    scenario = with_pod(with_compose(with_task(scenario)))
    subject, folder = scenario.subject, Path(scenario.source or "").parent
    if subject.origin is not None:
        first = Path(subject.origin.files[0])
        folder = first if first.is_dir() else first.parent
    problems: list[str] = []
    if subject.group is None:
        subject = _with_files(subject, scenario, folder, problems)
    else:
        members = (
            replace(item, subject=_with_files(item.subject, scenario, folder, problems))
            for item in subject.group.members
        )
        subject = replace(subject, group=replace(subject.group, members=tuple(members)))
    if problems:
        raise ScenarioError(tuple(problems))
    return replace(scenario, subject=subject)


def with_compose(scenario: Scenario) -> Scenario:
    """The scenario with the services of its Compose files; any other, and one that was read, as it is."""
    origin = scenario.subject.origin
    if origin is None or origin.kind is not GroupKind.COMPOSE or scenario.subject != Subject(origin=origin):
        return scenario
    from stop_harness.scenario.compose import group, loading  # late: few scenarios have such files

    where = f"{scenario.location('subject', 'compose')}: subject.compose: "
    try:
        project = loading.load(origin.files, os.environ, origin.profiles)
        services = project.enabled if origin.name is None else (origin.name,)
        stopped = group.stopped(project.with_enabled(services), origin.name, services, loading.DISK)
    except (UsageError, ScenarioError) as error:
        raise ScenarioError(tuple(where + problem for problem in getattr(error, "problems", (str(error),)))) from None
    made = replace(scenario, subject=replace(stopped.subject, origin=origin))
    return group.with_stop(made, stopped, timeouts_given=not scenario.stop.own_timeouts)


def with_pod(scenario: Scenario) -> Scenario:
    """The scenario with the pod of its manifest, which is stopped with its own grace period where no stop timeouts are
    named; any other, and one that was read, as it is. Raises ScenarioError."""
    subject, origin = scenario.subject, scenario.subject.origin
    if origin is None or origin.kind is not GroupKind.POD or subject.group is not None:
        return scenario
    from stop_harness.scenario.kubernetes import workloads  # late: few scenarios have such files

    file = origin.files[0]
    text = _manifest(file, scenario)
    read = workloads.pod_of(
        text, STANDARD_INPUT if file == "-" else file, origin.workload, origin.name, dict(subject.task_images)
    )
    name = scenario.name
    if scenario.source is None:
        name = read.group.name[:MOST_NAME] or "pod"
    stop = scenario.stop
    if stop.own_timeouts:
        stop = replace(stop, timeouts_ns=(read.group.grace_ns,), own_timeouts=False)
    return replace(
        scenario, name=name, subject=replace(subject, group=read.group), stop=stop, not_applied=read.not_applied
    )


def pods_of(file: Path) -> tuple[Scenario, ...]:
    """Of a file of manifests, the pod of each workload with its own grace period; empty for any other file. Raises
    ScenarioError with the mistakes of all."""
    from stop_harness.scenario.kubernetes import documents, workloads

    text = _read(file, MAX_MANIFEST_BYTES) if file.is_file() else ""
    if not documents.looks_like_one(text) and not file_kinds.meant_as_manifest(text):
        return ()
    scenarios, problems = list[Scenario](), dict[str, None]()
    by_itself = Readiness(implied=True, delay_ns=NS_PER_S)
    for called in workloads.names(text, str(file)):
        origin = Origin(GroupKind.POD, (str(file),), workload=called)
        try:
            whole = Scenario(called, Subject(origin=origin), readiness=by_itself, stop=StopPlan(own_timeouts=True))
            scenarios.append(replace(with_pod(whole), name=called))
        except ScenarioError as error:
            problems.update(dict.fromkeys(error.problems))
    if problems:
        raise ScenarioError(tuple(problems))
    return tuple(scenarios)


def _manifest(file: str, scenario: Scenario) -> str:
    """The text of a manifest; `-`: what comes from standard input, such as a rendered chart."""
    if file == "-":
        data = sys.stdin.buffer.read(MAX_MANIFEST_BYTES + 1)
        return _text_of(data, STANDARD_INPUT, MAX_MANIFEST_BYTES)
    if scenario.source is not None and not Path(file).is_file():
        where = scenario.location("subject", "kubernetes", "file")
        raise ScenarioError((f"{where}: subject.kubernetes.file: there is no file {file}",))
    return _read(Path(file), MAX_MANIFEST_BYTES)


def _with_files(subject: Subject, scenario: Scenario, folder: Path, problems: list[str]) -> Subject:
    """A container with what its settings name on disk: variables of `env_file`, seccomp profiles, and bind mounts,
    which have to be inside `folder`."""
    settings = subject.settings
    pairs: dict[str, str] = {}
    for index, file in enumerate(settings.env_files):
        try:
            pairs.update(env_file.pairs(_read(Path(file)), file, os.environ))
        except ScenarioError as error:
            where = f"{scenario.location('subject', 'env_file', index)}: subject.env_file: "
            problems += [where + problem.removeprefix(f"{file}:1:1: ") for problem in error.problems]
    for index, mount in enumerate(settings.mounts):
        if mount.kind is MountKind.BIND and (problem := _not_mountable(mount.source or "", folder)):
            problems.append(f"{scenario.location('subject', 'volumes', index)}: subject.volumes: {problem}")
    options = tuple(_security_option(option, scenario, folder, problems) for option in settings.security_opt)
    environment = tuple({**pairs, **dict(subject.environment)}.items())
    settings = replace(settings, security_opt=options)
    return replace(subject, environment=environment, settings=settings)


def _not_mountable(source: str, folder: Path) -> str | None:
    """Why a path must not or cannot be mounted; links are followed, so that none leads out of the folder."""
    if source.startswith("~") or not Path(source).resolve().is_relative_to(folder.resolve()):
        return (
            f"{source} is outside of {folder.resolve()}; only what lies there is mounted, so that a scenario cannot "
            "reach the rest of this machine: copy it there"
        )
    return None if Path(source).exists() else f"there is no file or folder {source}"


def _security_option(option: str, scenario: Scenario, folder: Path, problems: list[str]) -> str:
    """A profile of seccomp is sent as text, as Docker's own client does it."""
    name, _, value = option.partition("=" if "=" in option else ":")
    if name != "seccomp" or value == "unconfined":
        return option
    where = f"{scenario.location('subject', 'security_opt')}: subject.security_opt: seccomp: "
    path = folder / value
    if problem := _not_mountable(str(path), folder):
        problems.append(where + problem)
        return option
    try:
        return f"seccomp={json.dumps(json.loads(_read(path)))}"
    except ScenarioError as error:
        problems.extend(where + problem for problem in error.problems)
    except ValueError as error:
        problems.append(f"{where}{path}: not valid JSON: {error}")
    return option


def _files(paths: tuple[Path, ...]) -> tuple[tuple[Path, ...], tuple[SkippedScenario, ...]]:
    """Files named are taken as they are; folders are searched for *.yaml and *.yml that are scenarios. What was meant
    to be one under another name is passed over, and named."""
    files: dict[Path, None] = {}
    passed_over: dict[Path, SkippedScenario] = {}
    for path in paths:
        if path.is_dir():
            kinds = _kinds(path)
            scenarios = [file for file, kind in kinds.items() if kind.is_scenario]
            looks_like = {file: kind for file, kind in kinds.items() if kind.why_not}
            if not scenarios:
                raise UsageError(_nothing_in(path, looks_like))
            files.update(dict.fromkeys(scenarios))
            for file, kind in looks_like.items():
                reason = f"passed over: {kind.why_not}"
                passed_over[file] = SkippedScenario(str(file), reason, by_choice=not kind.was_meant)
        elif path.exists():
            files[path] = None
        else:
            raise UsageError(f"{path}: no such file or folder")
    return tuple(files), tuple(item for file, item in passed_over.items() if file not in files)


def _kinds(folder: Path) -> dict[Path, file_kinds.FileKind]:
    """What each file of a folder is that may be a scenario. Other endings than .yaml and .yml are looked at only to
    name what would be passed over in silence."""
    kinds = {}
    for file in sorted(folder.rglob("*")):
        ending = file.suffix.lower()
        if ending not in {".yaml", ".yml", ".json"} or not file.is_file():
            continue
        text = _text_or_none(file)
        searched = file.suffix in {".yaml", ".yml"}
        kinds[file] = file_kinds.kind_of(text) if searched else file_kinds.kind_elsewhere(text, file.suffix)
    return kinds


def _nothing_in(folder: Path, looks_like: dict[Path, file_kinds.FileKind]) -> str:
    """What to do about a folder without scenarios."""
    passed_over = "".join(f"\n{file}: passed over: {kind.why_not}" for file, kind in looks_like.items())
    return (
        f"{folder}: no scenario in this folder (looked for *.yaml and *.yml with a `version:` key); "
        f"`stop-harness init` writes one to start from{passed_over}"
    )


def _text_or_none(file: Path) -> str | None:
    """None: it cannot be read; reading it again gives the error its message."""
    try:
        return _beginning(file).decode("utf-8-sig", errors="replace")
    except OSError:
        return None


def _beginning(file: Path, most: int = MAX_FILE_BYTES) -> bytes:
    """One byte more than is allowed: a device may have no end."""
    with file.open("rb") as opened:
        return opened.read(most + 1)


def _read(file: Path, most: int = MAX_FILE_BYTES) -> str:
    try:
        data = _beginning(file, most)
    except OSError as error:
        raise ScenarioError((f"{file}:1:1: cannot be read: {error.strerror}",)) from None
    return _text_of(data, str(file), most)


def _text_of(data: bytes, file: str, most: int) -> str:
    if len(data) > most:
        raise ScenarioError((f"{file}:1:1: larger than {most >> 20} MiB; this is not a scenario",))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ScenarioError((f"{file}:{line}:1: not UTF-8 text",)) from None


def _refuse_other_formats(text: str, file: Path) -> None:
    """Files that people have beside a scenario, and what to do with them. Raises ScenarioError."""
    other = file_kinds.other_format(text, str(file))
    if other is not None:
        raise ScenarioError((f"{file}:1:1: {other}",))


def _check_disk(scenario: Scenario) -> None:
    directory, task_file = scenario.subject.build_directory, scenario.subject.task_file
    if task_file is not None and scenario.source is not None and not Path(task_file).is_file():
        where = scenario.location("subject", "task_definition")
        raise ScenarioError((f"{where}: subject.task_definition: there is no file {task_file}",))
    if directory is None or scenario.source is None:
        return
    dockerfile = scenario.subject.dockerfile
    if not Path(directory).is_dir():
        where = scenario.location("subject", "build")
        raise ScenarioError((f"{where}: subject.build: {directory} is not a folder",))
    if not (Path(directory) / (dockerfile or "Dockerfile")).is_file():
        key = "dockerfile" if dockerfile else "build"
        where = scenario.location("subject", key)
        raise ScenarioError((f"{where}: subject.{key}: there is no {dockerfile or 'Dockerfile'} in {directory}",))
