"""`validate`: files that are read, and looked at, without anything being run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stop_harness.model import Scenario, SkippedScenario, StaticFinding


@dataclass(frozen=True)
class Validated:
    """Files without a mistake: how many scenarios, task definitions of Amazon ECS and pods of Kubernetes they hold.

    `findings`: what a task definition or a manifest shows before it runs, and what of it is not applied; no mistakes.
    `passed_over`: files that look like scenarios and are none, with the reason. `task_files`: where the task
    definitions stand.
    """

    scenarios: int
    task_definitions: int
    pods: int
    findings: tuple[StaticFinding, ...] = ()
    passed_over: tuple[SkippedScenario, ...] = ()
    task_files: tuple[str, ...] = ()


def of_paths(paths: tuple[Path, ...], parameters: tuple[tuple[str, str], ...] = ()) -> Validated:
    """`parameters`: of CloudFormation templates. Raises ScenarioError with every mistake, and UsageError where there is
    nothing to look at."""
    from stop_harness.scenario import discovery  # late: it reads YAML, with a model for every key
    from stop_harness.verdict import static_findings, waivers

    pods = {path: discovery.pods_of(path) for path in paths}
    others = tuple(path for path in paths if not pods[path])
    found, tasks = discovery.find_all(others, parameters)
    of_pods = tuple(pod for path in paths for pod in pods[path])
    scenarios: tuple[Scenario, ...] = (*found.scenarios, *tasks.scenarios, *of_pods)
    waivers.require_known(tuple(waiver for item in scenarios for waiver in item.waivers))
    return Validated(
        len(found.scenarios),
        len(tasks.scenarios),
        len(of_pods),
        static_findings.of_scenarios(scenarios),
        found.passed_over,
        tuple(dict.fromkeys(item.subject.task_file for item in tasks.scenarios if item.subject.task_file is not None)),
    )
