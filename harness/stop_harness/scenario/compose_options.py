"""`check --compose FILE [SERVICE…]`: options → one Scenario a service, or one of the whole project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stop_harness.errors import UsageError
from stop_harness.model import GroupKind, NotApplied, Origin, Scenario, TrafficKind
from stop_harness.scenario import check_options, container_keys, scenario_file
from stop_harness.scenario.compose import group, loading
from stop_harness.scenario.compose.project import Project

OF_ITS_STATE = {
    "ready_log": "--ready-log",
    "ready_tcp": "--ready-tcp",
    "ready_http": "--ready-http",
    "ready_healthcheck": "--ready-healthcheck",
    **{f"traffic_{kind}": f"--traffic-{kind.value.replace('_', '-')}" for kind in TrafficKind},
}
"""Options about what a container does; a whole project has somebody who does it."""


def scenarios_of(
    given: Mapping[str, Any], command: tuple[str, ...], environment: Mapping[str, str]
) -> tuple[Scenario, ...]:
    """Each service that is named, stopped alone among those whom it needs; of a file whose services are not named,
    each that it starts. With `--down` one scenario: these services and whom they need, all stopped.

    Raises UsageError or ScenarioError.
    """
    files, services = tuple(given["compose"]), tuple(dict.fromkeys(given["services"]))
    project = loading.load(files, environment, tuple(given["profiles"])).with_enabled(services)
    names = services or project.enabled
    if not names:
        raise UsageError(f"{project.file}: every service has a profile; choose by --profile, or name a SERVICE")
    _refuse_options(given, command, names)
    parts: tuple[str | None, ...] = (None,) if given["down"] else names
    found = tuple(_scenario(given, command, project, part, names) for part in parts)
    beside = loading.override_beside(files)
    if beside is None:
        return found
    text = f"it is read where the folder is named (--compose {project.folder or '.'}), not with a file alone, as by -f"
    return tuple(replace(item, not_applied=(*item.not_applied, NotApplied(beside, text))) for item in found)


def _scenario(
    given: Mapping[str, Any], command: tuple[str, ...], project: Project, service: str | None, names: tuple[str, ...]
) -> Scenario:
    def changed(subject: dict[str, Any]) -> tuple[dict[str, Any], scenario_file.Places]:
        in_files = group.places(project, service or "")

        def place(path: tuple[str | int, ...]) -> tuple[str, str]:
            key = str(path[1]) if len(path) > 1 else ""
            row = container_keys.BY_KEY.get(key)
            by_option = row is not None and row.option and given.get(container_keys.parameter(row))
            return check_options.option_place(path) if by_option else in_files(path)

        return check_options.with_options(subject, given, command), place

    stopped = group.stopped(project, service, names, loading.DISK, changed)
    data = check_options.stop_of(given, stopped.name, {"image": "stands-for-the-subject"})
    made = scenario_file.from_data(data, "check", check_options.option_place)
    origin = Origin(GroupKind.COMPOSE, tuple(given["compose"]), service, profiles=tuple(given["profiles"]))
    made = replace(made, subject=replace(stopped.subject, origin=origin))
    return group.with_stop(made, stopped, timeouts_given=bool(given["timeouts"]))


def _refuse_options(given: Mapping[str, Any], command: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Those of one container go with one service. Raises UsageError."""
    one = len(names) == 1 and not given["down"]
    about_one = {**check_options.OF_ONE_CONTAINER, **({} if given["down"] else OF_ITS_STATE)}
    used = [option for key, option in about_one.items() if given.get(key) not in (None, (), False)] + (
        ["a command"] if command else []
    )
    if used and not one:
        which = f"{'leave out --down, and ' if given['down'] else ''}name one SERVICE of {', '.join(names)}"
        raise UsageError(f"{used[0]} is about one container; {which}")
