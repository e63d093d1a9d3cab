"""Where a report points to: the lines that say what a container runs and how it is stopped.

They are looked up when a run begins, in the files as they are then, so that a stored run points to what was stopped.
"""

from __future__ import annotations

import contextlib
import posixpath
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stop_harness.errors import StopHarnessError
from stop_harness.model import ContainerLines, GroupKind, Origin, Scenario, ScenarioLines, SourceLine, Subject

if TYPE_CHECKING:
    from stop_harness.scenario.key_lines import Lines

MAX_FILE_BYTES = 1 << 20
"""A rendered chart may have many megabytes, and nobody edits one by hand."""


def with_lines(scenario: Scenario) -> Scenario:
    """The scenario with the lines that are found; a file that cannot be read has none."""
    return replace(scenario, lines=ScenarioLines(_expectation(scenario), _containers(scenario)))


def _expectation(scenario: Scenario) -> SourceLine | None:
    """What was not met: the line of `expect`, else that of the subject."""
    if scenario.source is None:
        return None
    known = scenario.positions.places
    key = next((key for key in ("expect", "subject", "name") if (key,) in known), "")
    return SourceLine(scenario.source, known.get((key,), (1, 1))[0], key or "scenario")


def _containers(scenario: Scenario) -> tuple[ContainerLines, ...]:
    subject, origin = scenario.subject, scenario.subject.origin
    if subject.task is not None and subject.task_file is not None:
        text = _text(subject.task_file)
        return tuple(_of_task(text, subject.task_file, item.name) for item in subject.task.containers)
    if subject.group is not None and origin is not None:
        alone = subject.group.stopped if origin.kind is GroupKind.COMPOSE else None
        members = (item for item in subject.group.members if alone in {None, item.name})
        return tuple(replace(_in_file(origin, item.name, item.subject), container=item.name) for item in members)
    if origin is not None and origin.name is not None:
        return (_in_file(origin, origin.name, subject),)
    return (_over(_in_scenario(scenario), _in_dockerfile(subject)),)


def _over(first: ContainerLines, second: ContainerLines) -> ContainerLines:
    """What the first says, else what the second does."""
    return ContainerLines(
        first.container,
        first.program or second.program,
        first.stop_signal or second.stop_signal,
        first.stop_timeout or second.stop_timeout,
    )


def _in_scenario(scenario: Scenario) -> ContainerLines:
    """What stands in the scenario's own file in place of the image's."""
    known, file = scenario.positions.places, scenario.source

    def place(*path: str) -> SourceLine | None:
        found = known.get(path)
        return None if found is None or file is None else SourceLine(file, found[0], ".".join(path))

    program = place("subject", "command") or place("subject", "entrypoint")
    if program is None and scenario.subject.build_directory is None:
        program = place("subject", "image")
    return ContainerLines("", program, place("stop", "signal"))


def _in_dockerfile(subject: Subject) -> ContainerLines:
    """The instructions of the stage that is built: what says the program, in shell form before exec form, else FROM."""
    if subject.build_directory is None:
        return ContainerLines()
    file = posixpath.normpath(posixpath.join(subject.build_directory, subject.dockerfile or "Dockerfile"))
    text = _text(file)
    from stop_harness.engines import dockerfile  # late: most containers come from an image

    try:
        image = dockerfile.read(text, subject.build_args, target=subject.target)
    except StopHarnessError:
        return ContainerLines()
    written = text.splitlines()

    def place(instruction: str) -> SourceLine | None:
        line = image.lines.get(instruction)
        return None if line is None else SourceLine(file, line, instruction)

    if subject.entrypoint == () and subject.command:  # neither ENTRYPOINT nor CMD is what runs
        return ContainerLines("", None, place("STOPSIGNAL"))
    programs = [found for found in (place("ENTRYPOINT"), place("CMD")) if found is not None]
    in_shell_form = [found for found in programs if "[" not in written[found.line - 1]]
    program = next(iter((*in_shell_form, *programs)), None) or place("FROM")
    return ContainerLines("", program, place("STOPSIGNAL"))


def _in_file(origin: Origin, name: str, subject: Subject) -> ContainerLines:
    """In the Compose file, of several the last that says it, or the manifest; then in the Dockerfile that it builds."""
    from stop_harness.scenario import key_lines  # late, as below: it reads YAML, and `check IMAGE` needs none

    found = ContainerLines(name if origin.kind is GroupKind.POD else "")
    for file in reversed(tuple(_files(origin))):
        if origin.kind is GroupKind.COMPOSE:
            found = _over(found, _of_service(key_lines.of_service(_text(file), name), file, name))
        else:
            found = _over(found, _of_pod(key_lines.of_container(_text(file), name, origin.workload), file, name))
    built = _in_dockerfile(subject)
    if found.program is not None and found.program.what.rpartition(".")[2] in _ONLY_NAMED and built.program is not None:
        found = replace(found, program=built.program)
    return _over(found, built)


_ONLY_NAMED = {"build", "image"}
"""Keys under which a Compose file names an image whose own program runs."""


def _of_service(found: Lines, file: str, service: str) -> ContainerLines:
    owner = f"services.{service}"
    return ContainerLines(
        program=_first(found, file, owner, "command", "entrypoint", "build", "image", ""),
        stop_signal=_first(found, file, owner, "stop_signal"),
        stop_timeout=_first(found, file, owner, "stop_grace_period"),
    )


def _of_pod(found: Lines, file: str, name: str) -> ContainerLines:
    return ContainerLines(
        name,
        program=_first(found, file, name, "command", "args", "image", ""),
        stop_timeout=_first(found, file, name, "terminationGracePeriodSeconds"),
    )


def _of_task(text: str, file: str, name: str) -> ContainerLines:
    """ECS has no setting for the stop signal."""
    from stop_harness.scenario import key_lines

    found = key_lines.of_container(text, name)
    program = _first(found, file, name, "entryPoint", "command", "image", "")
    return ContainerLines(
        name, program or SourceLine(file, 1, name), stop_timeout=_first(found, file, name, "stopTimeout")
    )


def _first(found: Lines, file: str, owner: str, *keys: str) -> SourceLine | None:
    """The first of the keys that is there; the empty one is the container itself."""
    for key in keys:
        line = found.get(key.replace("_", "").lower())
        if line is not None:
            return SourceLine(file, line, f"{owner}.{key}".rstrip("."))
    return None


def _files(origin: Origin) -> tuple[str, ...]:
    """The files themselves; Compose finds its own in a folder."""
    if origin.kind is not GroupKind.COMPOSE:
        return tuple(file for file in origin.files if file != "-")
    from stop_harness.scenario.compose import loading

    found: list[str] = []
    for file in origin.files:
        with contextlib.suppress(StopHarnessError):
            found += loading.files_of(file)
    return tuple(found)


def _text(file: str) -> str:
    """Empty where it cannot be read, or nobody wrote it by hand."""
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
        return data.decode("utf-8-sig") if len(data) <= MAX_FILE_BYTES else ""
    except (OSError, ValueError):
        return ""
