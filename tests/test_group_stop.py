"""The order in which the containers of a group start and stop, and how much time a kubelet gives each. Pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stop_harness.engines.docker.group_start import needs_of
from stop_harness.engines.docker.group_stop import pod_stop_s, waits_of
from stop_harness.engines.docker.members import container_names
from stop_harness.model import Dependency, Group, GroupKind, Member, Role, StartCondition, Subject

SUBJECT = Subject(image="app")


def _waits(group: Group) -> dict[str, tuple[str, ...]]:
    return waits_of(group, {name: member.name for member in group.members for name in container_names(member)})


def test_a_dependency_waits_for_every_replica_of_what_depends_on_it() -> None:
    """By whatever tie: depends_on, a joined namespace, borrowed volumes."""
    group = Group(
        GroupKind.COMPOSE,
        "shop",
        (
            Member("web", SUBJECT, replicas=2, waits_for=(Dependency("db", StartCondition.HEALTHY),)),
            Member("sidecar", SUBJECT, network_of="db"),
            Member("backup", SUBJECT, volumes_from=("db",)),
            Member("db", SUBJECT),
        ),
    )
    assert _waits(group) == {
        "web-1": (),
        "web-2": (),
        "sidecar": (),
        "backup": (),
        "db": ("web-1", "web-2", "sidecar", "backup"),
    }
    assert [need.condition for need in needs_of(group)["web"]] == [StartCondition.HEALTHY]


def test_what_is_not_in_the_group_is_waited_for_by_nobody() -> None:
    """A service of an inactive profile, with `required: false`."""
    group = Group(
        GroupKind.COMPOSE, "shop", (Member("web", SUBJECT, waits_for=(Dependency("debug", required=False),)),)
    )
    assert needs_of(group) == {"web": ()}
    assert _waits(group) == {"web": ()}


def test_in_a_pod_only_sidecars_wait() -> None:
    """For all main containers, and for the sidecar that started next; init containers start in their order."""
    roles = {"init": Role.INIT, "first": Role.SIDECAR, "second": Role.SIDECAR, "app": Role.MAIN, "other": Role.MAIN}
    group = Group(GroupKind.POD, "web", tuple(Member(name, SUBJECT, role=role) for name, role in roles.items()))
    assert _waits(group) == {
        "init": (),
        "first": ("second", "app", "other"),
        "second": ("app", "other"),
        "app": (),
        "other": (),
    }
    assert {name: [(it.member, it.condition) for it in needs] for name, needs in needs_of(group).items()} == {
        "init": [],
        "first": [("init", StartCondition.COMPLETED)],
        "second": [("first", StartCondition.STARTED)],
        "app": [("second", StartCondition.STARTED)],
        "other": [("app", StartCondition.STARTED)],
    }


def test_the_table_of_a_kubelets_grace_periods() -> None:
    """Kubernetes, kuberuntime_container.go: grace period, hook, what the stop gets."""
    table = [(30, 0.0, 30), (30, 10.2, 20), (30, 29.0, 2), (30, 30.0, 2), (30, 4.9, 26), (1, 0.0, 2), (1, 1.3, 2)]
    assert [pod_stop_s(grace_s, hook_s, 0) for grace_s, hook_s, _ in table] == [left_s for _, _, left_s in table]


@given(st.integers(1, 600), st.floats(0, 600), st.floats(0, 600))
def test_a_stop_in_a_pod_gets_two_seconds_at_least_and_the_grace_period_at_most(
    grace_s: int, hook_s: float, waited_s: float
) -> None:
    """Whatever was spent before; parts of seconds are spent by nobody."""
    left_s = pod_stop_s(grace_s, hook_s, waited_s)
    assert 2 <= left_s <= max(2, grace_s)
