"""The containers of a scenario, each as a scenario of its own: of a group those of its members."""

from __future__ import annotations

from dataclasses import replace

from stop_harness.model import Member, Positions, Scenario


def container_names(member: Member) -> tuple[str, ...]:
    """`web`; of several `web-1`, `web-2`."""
    if member.replicas == 1:
        return (member.name,)
    return tuple(f"{member.name}-{number}" for number in range(1, member.replicas + 1))


def own_scenario(scenario: Scenario, member: Member) -> Scenario:
    """The scenario as if this member were all there is; its name is for messages."""
    stop = replace(scenario.stop, signal=scenario.stop.signal or member.stop_signal)
    positions = Positions.of_subject(member.place)
    return replace(
        scenario, name=f"{scenario.name}/{member.name}", positions=positions, subject=member.subject, stop=stop
    )


def tested(scenario: Scenario) -> Scenario:
    """The container that is stopped alone, as if it were all there is; of what is no such group, the scenario."""
    group = scenario.subject.group
    if group is None or group.stopped is None:
        return scenario
    return own_scenario(scenario, group.member(group.stopped))


def alone(scenario: Scenario) -> tuple[Scenario, ...]:
    """Each container of a scenario as if it were all there is."""
    group = scenario.subject.group
    return (scenario,) if group is None else tuple(own_scenario(scenario, member) for member in group.members)
