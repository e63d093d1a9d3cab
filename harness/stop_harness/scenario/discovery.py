"""Paths → Scenarios: which files are scenarios, and what only a look at the disk can tell of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from stop_harness.errors import ScenarioError, UsageError
from stop_harness.model import NS_PER_S, GroupKind, Origin, Readiness, Scenario, SkippedScenario, StopPlan, Subject
from stop_harness.scenario import file_kinds
from stop_harness.scenario import scenario_file as scenario_format
from stop_harness.scenario.named_files import (
    MAX_MANIFEST_BYTES,
    beginning,
    read,
    with_pod,
    with_task,
    with_what_it_names,
)


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
            scenario = of_text(read(file), file)
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


def of_text(text: str, file: Path) -> Scenario:
    """The scenario that a text is, as if it stood in `file`, which need not be there. Raises ScenarioError."""
    _refuse_other_formats(text, file)
    scenario = scenario_format.parse(file_kinds.without_tabs(text), str(file))
    _check_disk(scenario)
    return with_what_it_names(scenario)


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

    names = task_forms.names(read(path), str(path), parameters)
    subject = Subject(task_file=str(path), task_parameters=parameters)
    one = Scenario(str(path), subject, stop=StopPlan(own_timeouts=True))
    if len(names) == 1:
        return [with_task(one, to_look_at=True)]
    return [
        with_task(replace(one, name=f"{path}: {name}", subject=replace(subject, task_name=name)), to_look_at=True)
        for name in names
    ]


def pods_of(file: Path) -> tuple[Scenario, ...]:
    """Of a file of manifests, the pod of each workload with its own grace period; empty for any other file. Raises
    ScenarioError with the mistakes of all."""
    from stop_harness.scenario.kubernetes import documents, workloads

    text = read(file, MAX_MANIFEST_BYTES) if file.is_file() else ""
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
            what = "a link to nothing" if path.is_symlink() else "no such file or folder"
            raise UsageError(f"{path}: {what}")
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
        return beginning(file).decode("utf-8-sig", errors="replace")
    except OSError:
        return None


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
