"""The other pure parts of the ECS endpoint: stop timeouts, task definitions, identifiers, rollout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stop_harness.ecs import dependencies, stop_timeouts, task_size, unapplied
from stop_harness.ecs.dependencies import Condition
from stop_harness.ecs_endpoint import identifiers, rollout, validation
from stop_harness.ecs_endpoint.errors import EcsError
from stop_harness.ecs_endpoint.operations import placement
from stop_harness.ecs_endpoint.records import RestartPolicy
from stop_harness.model import Outcome
from tests.reports_factory import DOCKER

# ── stop timeouts ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 30), ("", 30), ("10m", 600), ("30s", 30), ("1m30s", 90), ("1.5m", 90), ("45", 30), ("abc", 30),
        (" 30s ", 30), ("0", 30), ("0s", 30), ("-0", 30), ("500ms", 1), ("1ms", 1), ("-5s", 1), ("1500ms", 1),
        ("24h", 86400), ("1h30m", 5400), (".5m", 30), ("2.s", 2), ("+3s", 3), ("1d", 30), ("s", 30), (".s", 30),
        ("-", 30), ("3000000h", 30), ("1e3s", 30), ("5µs", 1), ("5μs", 1), ("7000000us", 7), ("1ns", 1), ("٣s", 30),
    ],
)  # fmt: skip
def test_ecs_container_stop_timeout_as_the_agent_reads_it(value: str | None, seconds: int) -> None:
    """Go durations; zero and nonsense are the default, too little is raised to one second."""
    assert stop_timeouts.agent_stop_timeout_s(value) == seconds


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, ""), ("", ""), ("0s", ""), ("45s", ""), ("24h", ""),
        ("45", "30 s apply"), ("abc", "30 s apply"), (" 30s ", "30 s apply"),
        ("-5s", "1 s applies"), ("1ms", "1 s applies"),
    ],
)  # fmt: skip
def test_a_value_that_the_agent_does_not_take_as_it_is_is_warned_of(value: str | None, said: str) -> None:
    """With what applies instead; `0` and nothing mean the default, without a word."""
    found = stop_timeouts.agent_warning(value)
    assert (found or "").count(said) == 1 if said else found is None


@given(st.text(max_size=60))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    """Never anything else."""
    assert 1 <= stop_timeouts.agent_stop_timeout_s(text) <= 2**63


@pytest.mark.parametrize(
    ("own", "agent", "fargate", "seconds"),
    [
        (5, "10s", False, 5),
        (0, "10s", False, 10),
        (None, "10s", False, 10),
        (None, None, False, 30),
        (0, "9s", True, 30),
    ],
)
def test_the_containers_own_timeout_wins_and_zero_means_unset(
    own: int | None, agent: str | None, fargate: bool, seconds: int
) -> None:
    """Fargate has no agent variable."""
    assert stop_timeouts.effective_stop_timeout_s(own, agent, fargate=fargate) == seconds


def test_durations_are_printed_as_go_prints_them() -> None:
    """For the text of DockerTimeoutError."""
    assert [stop_timeouts.format_go_duration(value) for value in (30, 150, 3720)] == ["30s", "2m30s", "1h2m0s"]


# ── task definitions ─────────────────────────────────────────────────────────────────────────────────────────────────


def app(**more: Any) -> dict[str, Any]:
    """A container definition."""
    return {"name": "app", "image": "i", "memory": 10, **more}


def definition(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A request of RegisterTaskDefinition."""
    return {"family": "f", "containerDefinitions": list(containers), **more}


SIDE = {"name": "side", "image": "i", "memory": 10, "essential": False}
FARGATE = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"}


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (definition(), "Container definitions should not be empty."),
        (definition(app(essential=False)), "at least one essential"),
        (definition({"name": "a", "memory": 1}), "Container.image should not be null or empty."),
        (definition({"name": "a", "image": "i"}), "At least one of 'memory' or 'memoryReservation' must be specified."),
        (definition(app(), app()), "used more than once: app"),
        (definition(app(name="a\nb")), "Invalid container name"),
        (definition(app(), family="a b"), "Family contains invalid characters"),
        (definition(app(stopTimeout=-1)), "must not be negative"),
        (definition(app(restartPolicy={"enabled": True, "restartAttemptPeriod": 59})), "from 60 to 1800 seconds"),
        (definition(app(restartPolicy={"enabled": True, "restartAttemptPeriod": 1801})), "from 60 to 1800 seconds"),
        (definition(app(restartPolicy={"enabled": True, "ignoredExitCodes": [0] * 51})), "up to 50 codes"),
        (
            definition(app(dependsOn=[{"containerName": "x", "condition": "START"}])),
            "Cannot depend on container + 'x' because it does not exist",
        ),
        (
            definition(app(), app(name="b", dependsOn=[{"containerName": "app", "condition": "SUCCESS"}])),
            "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container",
        ),
        (definition(app(links=["side"]), {**SIDE, "links": ["app:web"]}), "cycle: app -> side -> app"),
        (definition(app(volumesFrom=[{"sourceContainer": "app"}])), "cycle: app -> app"),
        (
            definition(app(dependsOn=[{"containerName": "side", "condition": "HEALTHY"}]), SIDE),
            "condition HEALTHY can never be met",
        ),
        (definition(app(), runtimePlatform={"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}), "CTRL_SHUTDOWN"),
        (definition(app(stopTimeout=121), **FARGATE), "from 2 to 120 seconds, but was 121"),
        (definition(app(stopTimeout=1), **FARGATE), "from 2 to 120 seconds, but was 1"),
        (definition(app(), requiresCompatibilities=["FARGATE"]), "Fargate only supports network mode"),
    ],
)  # fmt: skip
def test_definitions_that_are_refused(request_: dict[str, Any], text: str) -> None:
    """ClientException, with the reason."""
    with pytest.raises(EcsError) as refusal:
        validation.validate(request_)
    assert refusal.value.code == "ClientException"
    assert text in refusal.value.message


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"enabled": False, "restartAttemptPeriod": 60}, None),
        ({"enabled": True}, RestartPolicy((), 300)),
        ({"enabled": True, "ignoredExitCodes": [0, 3], "restartAttemptPeriod": 1800}, RestartPolicy((0, 3), 1800)),
    ],
)
def test_a_restart_policy_counts_where_it_is_enabled(policy: dict[str, Any], expected: RestartPolicy | None) -> None:
    """With its defaults; it is emulated, so nothing is said about it."""
    request = definition(app(restartPolicy=policy))
    validation.validate(request)
    assert validation.specs(request["containerDefinitions"])[0].restart_policy == expected
    assert validation.not_emulated(request, DOCKER) == ()


def test_every_source_of_edges_counts() -> None:
    """dependsOn, links, volumesFrom and the log router of FireLens."""
    containers = [
        app(
            dependsOn=[{"containerName": "a", "condition": "HEALTHY"}],
            links=["b:alias"],
            volumesFrom=[{"sourceContainer": "c"}],
            logConfiguration={"logDriver": "awsfirelens"},
        ),
        {**SIDE, "name": "router", "firelensConfiguration": {"type": "fluentbit"}},
    ]
    assert dependencies.edges(containers[0], containers) == (
        ("a", Condition.HEALTHY),
        ("b", Condition.START),
        ("c", Condition.CREATE),
        ("router", Condition.START),
    )


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3)))
def test_a_cycle_is_found_if_there_is_one(graph: dict[str, list[str]]) -> None:
    """Against a search that visits everything."""
    graph = {name: [target for target in targets if target in graph] for name, targets in graph.items()}

    def reaches(begin: str, end: str, seen: frozenset[str] = frozenset()) -> bool:
        return any(
            next_ == end or (next_ not in seen and reaches(next_, end, seen | {next_})) for next_ in graph[begin]
        )

    cycle = dependencies.find_cycle(graph)
    assert bool(cycle) == any(reaches(name, name) for name in graph)
    assert all(target in graph[name] for name, target in pairwise(cycle))


NEEDS = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3))


@given(NEEDS)
def test_a_task_stops_in_the_opposite_order_of_its_start(needs: dict[str, list[str]]) -> None:
    """Who needs a container must be gone before it, once each, in the order of their names."""
    stops_after = dependencies.stops_after(needs)
    assert stops_after.keys() == needs.keys()
    for name, first in stops_after.items():
        assert list(first) == sorted(other for other in needs if name in needs[other])


# ── identifiers ──────────────────────────────────────────────────────────────────────────────────────────────────────

ID = "0123456789abcdef0123456789abcdef"
PREFIX = "arn:aws:ecs:us-east-1:123456789012:"
SEPARATORS = "Invalid identifier: Unexpected number of separators"
LENGTH = "taskId length should be one of [32,36]"


@pytest.mark.parametrize("text", [ID, f"{PREFIX}task/default/{ID}", f"{PREFIX}task/{ID}"])
def test_every_form_of_a_task_is_understood(text: str) -> None:
    """Bare, long, and the short form of before 2018."""
    assert identifiers.task_id(text, "default") == ("default", ID)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", LENGTH), ("", LENGTH), ("None", LENGTH), (ID + "\n", SEPARATORS), (ID + "\r", SEPARATORS),
        (f"a/b/{ID}", SEPARATORS), (f"{PREFIX}task/a/b/{ID}", SEPARATORS), (f"{PREFIX}service/default/x", SEPARATORS),
        (f"{PREFIX}cluster/default", SEPARATORS), ("arn:aws:s3:::bucket", SEPARATORS), ("../" + ID, SEPARATORS),
        (f"{PREFIX}task/other/{ID}", "Invalid identifier: Identifier is for cluster other. Your cluster is default"),
        (f"{PREFIX}task/default/abc", LENGTH),
    ],
)  # fmt: skip
def test_the_texts_of_bad_task_identifiers(text: str, message: str) -> None:
    """As ECS words them."""
    with pytest.raises(EcsError) as refusal:
        identifiers.task_id(text, "default")
    assert (refusal.value.code, refusal.value.message) == ("InvalidParameterException", message)


def test_an_arn_can_select_the_cluster_where_that_is_wanted() -> None:
    """As in the API's own example of StopTask."""
    found = identifiers.task_id(f"{PREFIX}task/other/{ID}", "default", arn_selects_cluster=True)
    assert found == ("other", ID)


def test_clusters_are_named_by_name_arn_or_not_at_all() -> None:
    """The default cluster; anything else is refused with the pattern."""
    texts = [None, "default", f"{PREFIX}cluster/default"]
    assert {identifiers.cluster_name(text) for text in texts} == {"default"}
    with pytest.raises(EcsError, match=r"Cluster must match \^\[a-zA-Z0-9\\-_\]\{1,255\}\$, but was a b"):
        identifiers.cluster_name("a b")


@given(st.text(max_size=80))
def test_any_text_is_an_identifier_or_refused(text: str) -> None:
    """Never another exception."""
    readers: list[Callable[[str], object]] = [
        identifiers.cluster_name,
        identifiers.task_definition,
        lambda it: identifiers.task_id(it, "default"),
        lambda it: identifiers.service_name(it, "default"),
    ]
    for read in readers:
        with contextlib.suppress(EcsError):
            read(text)


# ── rollout ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(
    desired=st.integers(0, 8),
    minimum=st.sampled_from([0, 50, 100]),
    maximum=st.sampled_from([150, 200]),
    flags=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12),
)
@example(desired=1, minimum=50, maximum=150, flags=[(False, True)])
def test_a_rollout_keeps_enough_and_ends(
    desired: int, minimum: int, maximum: int, flags: list[tuple[bool, bool]]
) -> None:
    """Never below the minimum, never above the maximum, and done after finitely many steps where both leave room."""
    members = tuple(rollout.ServiceTask(str(i), new, ready) for i, (new, ready) in enumerate(flags))
    least, most = -(-desired * minimum // 100), max(desired * maximum // 100, desired)
    for turn in range(60):
        move = rollout.next_move(desired, members, minimum_percent=minimum, maximum_percent=maximum)
        ready_before = sum(member.ready for member in members)
        kept = tuple(member for member in members if member.id not in move.stop)
        assert sum(member.ready for member in kept) >= min(least, ready_before)
        assert move.start == 0 or len(kept) + move.start <= most
        if not move.start and not move.stop and all(member.ready for member in members):
            break
        new = tuple(rollout.ServiceTask(f"n{turn}.{i}", True, False) for i in range(move.start))
        members = (*(replace(member, ready=True) for member in kept), *new)
    if desired and least == most:  # one task, 100 and 150 %: no task more, no task less; ECS waits for ever, too
        return
    assert len(members) == desired
    assert all(member.new for member in members)


@given(
    desired=st.integers(0, 8),
    minimum=st.sampled_from([0, 100]),
    flags=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=12),
)
def test_a_rollout_takes_no_protected_task(desired: int, minimum: int, flags: list[tuple[bool, bool, bool]]) -> None:
    """And whatever it would take, were they not there to choose from, it still takes of the others."""
    members = tuple(rollout.ServiceTask(str(i), *flag) for i, flag in enumerate(flags))
    move = rollout.next_move(desired, members, minimum_percent=minimum)
    taken = [member for member in members if member.id in move.stop]
    assert not any(member.protected for member in taken)
    if minimum == 0:
        others = [member for member in members if not member.protected]
        new = sum(member.new for member in members)
        surplus = min(max(0, new - desired), sum(member.new for member in others))
        assert len(taken) == sum(not member.new for member in others) + surplus


@pytest.mark.parametrize(
    ("document", "what", "doubtful"),
    [
        ({"networkMode": "awsvpc"}, (), None),
        ({"networkMode": "awsvpc", "two": True}, (), None),
        ({"networkMode": "host"}, ("networkMode (host)",), Outcome.NOT_RUNNING),
        ({"pidMode": "task", "ipcMode": "task"}, (), None),
        ({"pidMode": "host"}, (), None),
        ({"cpu": "256"}, (), None),
        ({"cpu": "256", "two": True}, ("cpu (256 for the whole task)",), Outcome.GRACEFUL),
        ({"memory": "512"}, (), None),
        ({"memory": "512", "two": True}, ("memory (512 for the whole task)",), None),
        ({"taskRoleArn": "arn:x"}, ("taskRoleArn",), Outcome.NOT_RUNNING),
        ({"executionRoleArn": "arn:x", "placementConstraints": [{}]}, (), None),
        (
            {"volumes": [{"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}, {"name": "own"}]},
            ("volumes (data): efsVolumeConfiguration",),
            Outcome.GRACEFUL,
        ),
        ({"secrets": [{}]}, ("containerDefinitions (app).secrets",), Outcome.GRACEFUL),
        ({"logConfiguration": {"logDriver": "awslogs"}}, ("containerDefinitions (app).logConfiguration",), None),
        (
            {"linuxParameters": {"devices": [{}]}},
            ("containerDefinitions (app).linuxParameters.devices",),
            Outcome.CRASHED,
        ),
        ({"ulimits": [{}], "dockerSecurityOptions": ["x"], "systemControls": [{}]}, (), None),
    ],
)
def test_what_is_not_applied_of_a_task_definition_is_named(
    document: dict[str, Any], what: tuple[str, ...], doubtful: Outcome | None
) -> None:
    """What a stop may hang on, by the outcomes that may be others; what is applied, or changes nothing, is not."""
    of_container = {
        "secrets",
        "logConfiguration",
        "linuxParameters",
        "ulimits",
        "dockerSecurityOptions",
        "systemControls",
    }
    inside = {key: value for key, value in document.items() if key in of_container}
    other = [app(name="other")] if document.get("two") else []
    whole = {key: value for key, value in document.items() if key not in of_container and key != "two"}
    found = unapplied.of_task({**definition(app(**inside), *other), **whole})
    assert tuple(item.what for item in found) == what
    assert all((doubtful in item.doubts) if doubtful else not item.doubts for item in found)
    assert all(item.may_change for item in found)


@pytest.mark.parametrize(
    ("strategy", "count", "names"),
    [
        ([("FARGATE_SPOT", 0, 0)], 2, ["FARGATE_SPOT"] * 2),
        ([("FARGATE", 1, 1), ("FARGATE_SPOT", 0, 3)], 5, ["FARGATE"] + ["FARGATE_SPOT"] * 3 + ["FARGATE"]),
        ([("mine", 0, 1), ("yours", 0, 1)], 4, ["mine", "yours", "mine", "yours"]),
        ([("mine", 0, 1), ("never", 0, 0)], 2, ["mine", "mine"]),
    ],
)
def test_a_strategy_says_where_tasks_run(strategy: list[tuple[str, int, int]], count: int, names: list[str]) -> None:
    """First its base, then by weight; Fargate's providers run tasks on Fargate."""
    given = [{"capacityProvider": name, "base": base, "weight": weight} for name, base, weight in strategy]
    found = placement.placed({"capacityProviderStrategy": given}, count)
    assert sorted(item["capacityProviderName"] for item in found) == sorted(names)
    assert all(
        item["launchType"] == ("FARGATE" if "FARGATE" in item["capacityProviderName"] else "EC2") for item in found
    )


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"launchType": "EC2", "names": ["FARGATE"]}, "both a launch type and capacity provider strategy"),
        ({"names": ["a", "a"]}, "duplicate"),
        ({"names": ["a", "FARGATE"]}, "mix of capacity providers"),
        ({"names": ["a", "b"]}, "weight that is greater than 0"),
    ],
)
def test_strategies_that_are_refused(request_: dict[str, Any], text: str) -> None:
    """InvalidParameterException, with the reason."""
    strategy = [{"capacityProvider": name} for name in request_.pop("names")]
    with pytest.raises(EcsError, match=text):
        placement.placed({**request_, "capacityProviderStrategy": strategy}, 1)


@pytest.mark.parametrize(
    ("cpu", "nano", "memory", "mib"),
    [
        ("256", 250_000_000, "512", 512),
        (".25 vCPU", 250_000_000, "0.5 GB", 512),
        ("2 vcpu", 2_000_000_000, "1gb", 1024),
        ("many", None, "", None),
        ("0", None, None, None),
    ],
)
def test_sizes_of_a_task(cpu: str, nano: int | None, memory: str | None, mib: int | None) -> None:
    """In the forms that ECS takes; anything else is no limit here."""
    assert (task_size.nano_cpus(cpu), task_size.mebibytes(memory)) == (nano, mib)
