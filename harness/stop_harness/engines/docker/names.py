"""Names in a scenario that only the engine and the image can tell: users, groups, networks. Before anything runs."""

from __future__ import annotations

import io
import tarfile
from typing import Any

from stop_harness.engines.docker import sdk
from stop_harness.errors import ScenarioError
from stop_harness.model import Scenario

OF_EVERY_ENGINE = frozenset({"bridge", "none", "host"})

MOST_NAMES = 12
"""Of an image's users that a message lists."""

LARGEST_FILE_BYTES = 1 << 20


def check(api: Any, scenarios: tuple[Scenario, ...], image_of: Any, labels: dict[str, str]) -> None:
    """Raises ScenarioError for users, groups and networks that do not exist, and the SDK's errors.

    `image_of`: the image of a scenario, `labels`: of the container in which its files are looked at, which never runs.
    """
    problems = []
    for scenario in scenarios:
        network = scenario.subject.settings.network
        if network is not None and network not in OF_EVERY_ENGINE:
            problems += _network_problem(api, scenario, network)
        if scenario.subject.user is not None:
            problems += _user_problems(api, scenario, scenario.subject.user, image_of(scenario), labels)
    if problems:
        raise ScenarioError(tuple(problems))


def _network_problem(api: Any, scenario: Scenario, name: str) -> list[str]:
    known = [str(item["Name"]) for item in api.networks()]
    if name in known:
        return []
    where = scenario.location("subject", "network")
    return [f"{where}: subject.network: the engine has no network {name!r}; it has {', '.join(sorted(known))}"]


def _user_problems(api: Any, scenario: Scenario, user: str, image: str, labels: dict[str, str]) -> list[str]:
    """A number needs no name: the engine takes any."""
    asked = [
        (what, file, name)
        for what, file, name in zip(("user", "group"), ("/etc/passwd", "/etc/group"), user.split(":"), strict=False)
        if not name.isdecimal()
    ]
    if not asked:
        return []
    problems = []
    container = api.create_container(image, command=["-"], labels=labels)["Id"]
    try:
        for what, file, name in asked:
            known = _names(api, container, file)
            if name not in known:
                others = ", ".join(known[:MOST_NAMES]) + (", …" if len(known) > MOST_NAMES else "")
                there = f"{file} of the image has {others}" if known else f"the image has no {file}"
                where = scenario.location("subject", "user")
                problems.append(
                    f"{where}: subject.user: there is no {what} {name!r}: {there}; a number is always taken"
                )
    finally:
        api.remove_container(container, force=True, v=True)
    return problems


def _names(api: Any, container: str, path: str) -> list[str]:
    """First fields of a file's lines; empty where there is no such file."""
    try:
        stream, _ = api.get_archive(container, path)
    except sdk.errors.NotFound:
        return []
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        member = next((item for item in archive if item.isfile() and item.size <= LARGEST_FILE_BYTES), None)
        file = archive.extractfile(member) if member is not None else None
        lines = file.read().decode(errors="replace").splitlines() if file is not None else []
    return [line.partition(":")[0] for line in lines if ":" in line]
