"""`check --container NAME`: options → the scenario that stops a container that runs already. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stop_harness.errors import UsageError
from stop_harness.model import ExistingContainer, Scenario, Subject, TrafficKind
from stop_harness.scenario import check_options

GO_WITH_IT = frozenset(
    {
        *("container", "restart", "timeouts", "within", "exit_codes"),
        *(f"traffic_{kind}" for kind in TrafficKind),
        *("traffic_message", "traffic_tls", "clients"),
        *("through", "propagation", "deregistration_delay", "stop_delay"),
        *("engine", "cluster", "run_task", "jobs", "repeat", "fast", "infer", "witness", "keep", "base_image"),
        *("until_sure", "confidence", "reliability", "max_repeat", "max_time"),
        *("report_dir", "junitxml", "sarif", "code_quality", "github", "share_report", "show_values"),
    }
)
"""Options that make sense with a container that runs already, or are settings for all commands."""

OF_A_START = frozenset({"ready_log", "ready_tcp", "ready_http", "ready_healthcheck", "ready_delay", "ready_timeout"})
"""Options that make sense where it is started again."""

WHY_NOT = {
    "stop_signal": "the stop signal was chosen when it was started, by its image or by who started it",
    "try_fixes": "each change is tried on fresh containers: stop-harness check IMAGE --try-fixes",
}
"""Of other options, why they do not go with it."""


def names_existing(given: Mapping[str, Any]) -> bool:
    """Whether the options name a container that runs already. With a manifest they name one of its pod."""
    return given["container"] is not None and not given["kubernetes"]


def refuse(given: Mapping[str, Any], command: tuple[str, ...]) -> None:
    """Raises UsageError for what makes no sense with it."""
    name = given["container"]
    if given["engine"] not in {"auto", "docker"}:
        raise UsageError(f"--engine {given['engine']} does not go with --container, which is for Docker and Podman")
    allowed = GO_WITH_IT | OF_A_START if given["restart"] else GO_WITH_IT
    wrong = [key for key, value in given.items() if value not in (None, (), False) and key not in allowed]
    if wrong:
        why = WHY_NOT.get(wrong[0], "it is about the start of a container, and this one runs already")
        why += "; with --restart it would be started again" if wrong[0] in OF_A_START else ""
        raise UsageError(f"{check_options.option_of(wrong[0])} does not go with --container: {why}")
    if command:
        raise UsageError("a command does not go with --container: what runs already has its own")
    if not given["restart"] and (option := _asks_for_several_stops(given)) is not None:
        raise UsageError(
            f"{option} asks for several stops, and container {name!r} is stopped once: with --restart it is started "
            "again after each"
        )


def _asks_for_several_stops(given: Mapping[str, Any]) -> str | None:
    """The option that does. With `--infer` several stop timeouts need one stop."""
    if len(set(given["timeouts"])) > 1 and not given["infer"]:
        return "--timeout"
    if (given["repeat"] or 1) > 1:
        return "--repeat"
    return "--until-sure" if given["until_sure"] else None


def scenario(
    given: Mapping[str, Any],
    container: ExistingContainer,
    image: str,
    environment: tuple[tuple[str, str], ...],
    own_timeout_s: int | None,
) -> Scenario:
    """One stop of the container, with its own stop timeout where the options name none. Raises ScenarioError."""
    own = () if own_timeout_s is None else (f"{own_timeout_s}s",)
    with_timeout = {**given, "timeouts": given["timeouts"] or own}
    data = check_options.stop_of(with_timeout, check_options.slug(container.name), {"image": "existing"})
    made = check_options.of_data(data)
    return replace(
        made,
        description=f"The container {container.name}, made from {image}, which ran already.",
        subject=Subject(image=image, environment=environment, container=container),
    )
