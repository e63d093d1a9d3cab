"""What a scenario's files show before it runs, by rules of `docs/rules.md`. Pure.

What of them is not applied, and what a task definition or a manifest says about its own stop.
"""

from __future__ import annotations

import json
from typing import Any

from stop_harness.ecs import stop_timeouts
from stop_harness.evidence import exec_form
from stop_harness.model import (
    EngineInfo,
    Finding,
    GroupKind,
    NotApplied,
    Scenario,
    Severity,
    StaticFinding,
    TaskContainer,
    TaskDefinition,
)
from stop_harness.verdict.rules import RULES


def of_scenarios(scenarios: tuple[Scenario, ...], engine: EngineInfo | None = None) -> tuple[StaticFinding, ...]:
    """Of each scenario: what is not applied, then what its task definition or its manifest shows. `engine`: where it is
    stopped; None: it is only read."""
    return tuple(
        finding
        for scenario in scenarios
        for finding in (*_not_applied(scenario, engine), *_of_its_task(scenario), *_of_its_pod(scenario))
    )


def left_out(scenario: Scenario, engine: EngineInfo | None) -> tuple[NotApplied, ...]:
    """What of its file a scenario is stopped without on this engine. A cluster of Amazon ECS does everything that its
    task definitions ask for."""
    if engine is not None and engine.remote:
        return ()
    return tuple(item for item in scenario.not_applied if engine is None or not engine.applies(item))


def _not_applied(scenario: Scenario, engine: EngineInfo | None) -> tuple[StaticFinding, ...]:
    """One for each thing that its file asks for in vain: a warning where an outcome hangs on it, else a note, and
    where the engine decides it."""
    found = []
    for item in left_out(scenario, engine):
        severity = Severity.WARNING if item.doubts else Severity.NOTE
        text = f"not applied: {item.what}: {item.may_change}"
        if engine is None and item.limit_of_group:
            severity, text = Severity.NOTE, _by_engine(item)
        found.append(StaticFinding(scenario.name, Finding("not-applied", severity, text)))
    return tuple(found)


def _by_engine(item: NotApplied) -> str:
    """What is known of a limit of several containers together while nobody says which engine will have them."""
    where = "Docker runs with version 1 of cgroups and the driver cgroupfs"
    if item.of_memory:
        where += " and stop-harness as root"
    return f"depends on the engine: {item.what}: its containers share it where {where}, else each may use it all"


def _of_its_task(scenario: Scenario) -> tuple[StaticFinding, ...]:
    return () if scenario.subject.task is None else of_task(scenario.name, scenario.subject.task)


def _of_its_pod(scenario: Scenario) -> tuple[StaticFinding, ...]:
    group = scenario.subject.group
    if group is None or group.kind is not GroupKind.POD:
        return ()
    from stop_harness.verdict import pod_findings  # late: most runs have no pod

    return pod_findings.of_pod(scenario.name, group)


def of_task(scenario: str, task: TaskDefinition) -> tuple[StaticFinding, ...]:
    """Of one scenario's task definition, container by container, then of the task as a whole."""
    containers = {item["name"]: item for item in json.loads(task.document)["containerDefinitions"]}
    found: list[StaticFinding] = []

    def add(rule: str, message: str, container: str | None = None) -> None:
        found.append(StaticFinding(scenario, Finding(rule, RULES[rule].severity, message), container))

    for container in task.containers:
        name, own_s = container.name, container.own_stop_timeout_s
        allowed = stop_timeouts.FARGATE_STOP_TIMEOUT_S
        if own_s is not None and own_s <= 0:
            text = f"stopTimeout {own_s} counts as not set, so the default of 30 s applies"
            if own_s < 0:
                text = f"stopTimeout {own_s} is below 0, which ECS refuses"
            add("stop-timeout-out-of-range", text, name)
        elif own_s is not None and task.fargate and own_s not in allowed:
            text = f"stopTimeout {own_s} is outside of {allowed.start} to {allowed.stop - 1} s, which Fargate accepts"
            add("stop-timeout-out-of-range", text, name)
        if containers[name].get("firelensConfiguration"):
            pass  # AWS's own examples mark log routers essential, 42 of 43: without one, logs would be lost unseen
        elif container.essential and _is_sidecar(container, task) and _essentials(task) > 1:
            text = f"it serves {_listed(container.waits_for)} and is essential: when it ends, by whatever exit code, "
            add("essential-sidecar", text + "the whole task is stopped; `essential: false` keeps it running", name)
        elif "essential" not in containers[name] and (served := _ports_elsewhere(containers, name)):
            text = f"{_listed(served)} has the ports and this one none, yet it is essential by default: when it ends, "
            add("essential-sidecar", text + "the whole task is stopped; write `essential` to say which is meant", name)
        line = _shell_line(containers[name])
        if line is not None and not (containers[name].get("linuxParameters") or {}).get("initProcessEnabled"):
            text = f"a shell is PID 1 (`{line}`) and passes no signal on, unless it replaces itself; "
            add("init-process-missing", text + "initProcessEnabled is not set", name)
    from stop_harness.ecs.task_definition import (  # late: most runs have no task
        TASK_LIMIT_NAME,
        TASK_LIMIT_S,
        longest_chain,
    )

    names, total_s = longest_chain(task)
    if total_s > TASK_LIMIT_S:
        parts = " + ".join(f"{item} {_timeout_of(task, item)} s" for item in names)
        add("chain-exceeds-limit", f"stopping takes up to {total_s} s ({parts}), longer than {TASK_LIMIT_NAME}")
    return tuple(found)


def _is_sidecar(container: TaskContainer, task: TaskDefinition) -> bool:
    """Others depend on it, and it depends on none of them: a proxy, a log router, an agent."""
    serves = any(other.essential for other in task.containers if other.name in container.waits_for)
    return serves and not any(container.name in other.waits_for for other in task.containers)


def _ports_elsewhere(containers: dict[str, dict[str, Any]], name: str) -> tuple[str, ...]:
    """The containers that publish ports, if this one publishes none and none of them waits for it."""
    published = tuple(other for other, item in containers.items() if item.get("portMappings"))
    return () if name in published else published


def _essentials(task: TaskDefinition) -> int:
    return sum(container.essential for container in task.containers)


def _shell_line(container: dict[str, Any]) -> str | None:
    """The line that a shell as PID 1 waits for; None where there is no shell, or it hands over by `exec`."""
    words = (*(container.get("entryPoint") or ()), *(container.get("command") or ()))
    line = exec_form.shell_line(tuple(words))
    firsts = [command.split()[0] for command in exec_form.commands(line or "")]
    return None if not firsts or firsts[-1] == "exec" or "trap" in firsts else line


def _timeout_of(task: TaskDefinition, name: str) -> int:
    return next(item.stop_timeout_s for item in task.containers if item.name == name)


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
