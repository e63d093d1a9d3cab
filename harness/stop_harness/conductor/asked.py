"""What is asked for, by options of the command line or keywords of Python → the request of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stop_harness import units
from stop_harness.conductor import existing_container
from stop_harness.conductor.open_engine import TargetCluster, find_docker
from stop_harness.conductor.request import RunRequest
from stop_harness.errors import UsageError
from stop_harness.model import ReliabilityGoal, Scenario
from stop_harness.plan.trials import Shard
from stop_harness.scenario import check_options, existing_options, named_files, standard_faults
from stop_harness.trial import scheduler

if TYPE_CHECKING:
    from stop_harness.engines.docker.host import DockerHost

MOST = {"repeat": 10_000, "max_repeat": 100_000}
"""Options that are counts, and how often they let a stop be repeated."""


def of_files(paths: tuple[Path, ...], settings: Mapping[str, Any], command_line: tuple[str, ...]) -> RunRequest:
    """The scenarios under some paths. `settings`: the options of `run`. Raises UsageError or ScenarioError."""
    from stop_harness.scenario import discovery  # late, and Compose below: they read YAML, with a model for every key

    found = discovery.find(paths)
    name = found.scenarios[0].name if len(found.scenarios) == 1 else paths[0].resolve().name
    asked = request_of(found.scenarios, name, settings, command_line)
    return replace(asked, passed_over=(*asked.passed_over, *found.passed_over))


def of_check(
    given: Mapping[str, Any],
    command: tuple[str, ...],
    command_line: tuple[str, ...],
    *,
    engine_named: bool,
    find: Callable[[], DockerHost] = find_docker,
) -> RunRequest:
    """What the options of `check` name, `command` being what stands behind `--`. `engine_named`: the engine was chosen
    for this very check, and is no setting that is meant for others. `find`: gives the engine that is asked about a
    container that runs already. Raises UsageError or ScenarioError, of such a container also EngineError."""
    scenarios = tuple(named_files.with_what_it_names(item) for item in _checked(given, command, find))
    settings = dict(given)
    if existing_options.names_existing(given):
        # It is one, kept in any case, and known to the engine that was asked.
        settings |= {"engine": "docker", "jobs": "1", "keep": False}
    if check_options.is_bare(given):
        if engine_named and given["engine"] not in {"auto", "process"}:
            raise UsageError(
                f"--engine {given['engine']} needs an image: stop-harness check IMAGE -- COMMAND; a command alone runs "
                "on the engine `process`"
            )
        settings["engine"] = "process"
    return request_of(scenarios, _name_of(scenarios), settings, command_line)


def _checked(
    given: Mapping[str, Any], command: tuple[str, ...], find: Callable[[], DockerHost]
) -> tuple[Scenario, ...]:
    """One, but for the services of a Compose project and the ways to end a task. Raises UsageError or ScenarioError."""
    check_options.refuse_mixtures(given, command)
    if existing_options.names_existing(given):
        return (existing_container.scenario_of(given, command, find),)
    if not given["compose"]:
        return check_options.by_ending(check_options.scenario_of(given, command), given["ended_by"])
    from stop_harness.scenario import compose_options

    return compose_options.scenarios_of(given, command, dict(os.environ))


def _name_of(scenarios: tuple[Scenario, ...]) -> str:
    """Of the run: that of its scenario, or of the folder whose services these are."""
    origin = scenarios[0].subject.origin
    if len(scenarios) == 1 or origin is None:
        return scenarios[0].name
    file = Path(origin.files[0]).resolve()
    return (file if file.is_dir() else file.parent).name or scenarios[0].name


def request_of(
    scenarios: tuple[Scenario, ...], name: str, settings: Mapping[str, Any], command_line: tuple[str, ...]
) -> RunRequest:
    """What the options ask for. Raises UsageError."""
    given = settings.get("cluster") or settings.get("run_task")
    if given and settings["engine"] != "ecs":
        raise UsageError("--cluster and --run-task go with --engine ecs")
    scheduler.parse_jobs(settings["jobs"], 1)  # a mistake is refused before anything starts
    for option, most in MOST.items():
        number = settings.get(option)
        if number is not None and not 1 <= number <= most:
            raise UsageError(f"--{option.replace('_', '-')} {number} is not a number from 1 to {most}")
    waivers = (*settings.get("waivers", ()), *(waiver for item in scenarios for waiver in item.waivers))
    if waivers:
        from stop_harness.verdict.waivers import require_known  # late: it knows every rule

        require_known(waivers)
    shard = settings.get("shard")
    matrix = standard_faults.beside_faults(scenarios, settings.get("faults"))
    target = TargetCluster(settings.get("cluster"), settings.get("run_task"))
    return RunRequest(
        scenarios=matrix.scenarios,
        passed_over=matrix.not_tried,
        name=name,
        report_dir=settings["report_dir"],
        engine=settings["engine"],
        jobs=settings["jobs"],
        repeat=settings["repeat"],
        shard=Shard.parse(shard) if shard else None,
        seed=settings.get("seed"),
        fail_fast=settings.get("fail_fast", False),
        fast=settings.get("fast", False),
        infer=settings.get("infer", False),
        **_certainty(settings),
        keep=settings["keep"],
        try_fixes=settings.get("try_fixes", False),
        junitxml=settings["junitxml"],
        sarif=settings.get("sarif"),
        code_quality=settings.get("code_quality"),
        base_image=settings["base_image"],
        witness=settings.get("witness", False),
        baseline=settings.get("baseline"),
        fail_on_slower=settings.get("fail_on_slower", False),
        cluster=target if settings["engine"] == "ecs" else None,
        command_line=command_line,
        show_values=settings.get("show_values", False),
        share_report=settings.get("share_report", False),
        waivers=waivers,
    )


def _certainty(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that say how certain is certain enough. Raises UsageError."""
    until_sure, max_time = settings.get("until_sure", False), settings.get("max_time")
    if until_sure and settings.get("shard"):
        raise UsageError("--until-sure counts the stops of one run; it cannot be used with --shard")
    for name in ("max_repeat", "max_time"):
        if settings.get(name) is not None and not until_sure:
            raise UsageError(f"--{name.replace('_', '-')} is a limit of --until-sure; name both, or use --repeat")
    try:
        max_time_ns = None if max_time is None else units.parse_duration(max_time)
    except ValueError as error:
        raise UsageError(f"--max-time: {error}") from None
    return {
        "goal": ReliabilityGoal(settings.get("confidence", 0.95), settings.get("reliability", 0.99)),
        "until_sure": until_sure,
        "max_repeat": settings.get("max_repeat"),
        "max_time_ns": max_time_ns,
    }
