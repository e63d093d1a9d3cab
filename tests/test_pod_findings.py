"""What a manifest shows of the stop of its pod before it runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stop_harness.model import Scenario, Subject
from stop_harness.scenario.kubernetes import workloads
from stop_harness.verdict import static_findings
from stop_harness.verdict.pod_rules import POD_RULES
from stop_harness.verdict.rules import RULES

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "front"},
    "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]},
}


def found(container: dict[str, Any], spec: dict[str, Any] | None = None, *, served: bool = False) -> list[str]:
    """`rule: message` of each finding about a pod with this container."""
    containers = [{"name": "app", "image": "a", "ports": [{"containerPort": 80}], **container}]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shop", "labels": {"app": "shop"}},
        "spec": {"containers": containers, **(spec or {})},
    }
    items = [pod, SERVICE] if served else [pod]
    group = workloads.pod_of(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), "m.json").group
    first, *findings = static_findings.of_scenarios((Scenario("shop", Subject(group=group)),))
    assert (first.container, first.finding.rule) == (None, "not-applied")
    assert all(item.container == "app" and item.finding.message.startswith("m.json:1:") for item in findings)
    return [f"{item.finding.rule}: {item.finding.message.partition(': ')[2]}" for item in findings]


def hook(*command: str) -> dict[str, Any]:
    """A container with this command before its stop."""
    return {"lifecycle": {"preStop": {"exec": {"command": list(command)}}}}


SLEEP = {"lifecycle": {"preStop": {"sleep": {"seconds": 10}}}}


@pytest.mark.parametrize(
    ("container", "grace_s", "said"),
    [
        (
            hook("sleep", "30"),
            30,
            "preStop sleeps 30 s of the grace period of 30 s: it is cut off, and SIGKILL comes 2 s",
        ),
        (
            hook("/bin/sh", "-c", "sleep 1m; nginx -s quit"),
            30,
            "preStop sleeps 60 s of the grace period of 30 s: it is",
        ),
        (
            hook("sh", "-c", "sleep 5 && sleep 4.5"),
            10,
            "preStop sleeps 9.5 s of the grace period of 10 s; SIGKILL comes",
        ),
        (SLEEP, 10, "preStop sleeps 10 s of the grace period of 10 s: it is cut off"),
    ],
)
def test_a_hook_that_sleeps_through_the_grace_period_is_named(
    container: dict[str, Any], grace_s: int, said: str
) -> None:
    """Whether it is a sleep, a command, or a line for a shell; with what is left."""
    (finding,) = found(container, {"terminationGracePeriodSeconds": grace_s})
    assert finding.startswith("grace-shorter-than-pre-stop: ")
    assert said in finding


@pytest.mark.parametrize("container", [hook("sleep", "8"), hook("sh", "-c", "sleep $DELAY"), hook("/drain.sh"), {}])
def test_a_hook_that_leaves_time_is_not_named(container: dict[str, Any]) -> None:
    """Nor one that nobody knows the time of."""
    assert found(container, {"terminationGracePeriodSeconds": 10}) == []


@pytest.mark.parametrize(
    ("container", "awaits"),
    [
        ({}, False),
        (hook("nginx", "-s", "quit"), False),
        (hook("sh", "-c", "kill -TERM 1"), False),
        (hook("sleep", "5"), True),
        (hook("/bin/sh", "-c", "sleep 5; nginx -s quit"), True),
        (hook("/drain.sh"), True),
        ({"lifecycle": {"preStop": {"httpGet": {"port": 80}}}}, True),
        (SLEEP, True),
    ],
)
def test_what_a_service_sends_to_waits_until_its_endpoint_is_gone(container: dict[str, Any], awaits: bool) -> None:
    """A hook that sleeps, or may; without a Service nobody has to wait."""
    named = [item for item in found(container, served=True) if item.startswith("endpoint-removal-not-awaited")]
    assert bool(named) is not awaits
    assert found(container) == []
    if named:
        assert "Service front sends to it, and " in named[0]


@pytest.mark.parametrize(
    ("container", "said"),
    [
        (
            {"command": ["sh", "-c", "migrate && serve"]},
            "a shell is PID 1 (`sh -c migrate && serve`) and passes no sig",
        ),
        ({"args": ["/bin/bash", "-c", "serve"]}, "unless the image's ENTRYPOINT is an init"),
        ({"command": ["sh", "-c", "migrate && exec serve"]}, None),
        ({"command": ["sh", "-c", "trap 'kill $!' TERM; serve & wait"]}, None),
        ({"command": ["serve"]}, None),
    ],
)
def test_a_line_for_a_shell_is_named_unless_it_hands_over(container: dict[str, Any], said: str | None) -> None:
    """`exec` and `trap` are how it does."""
    named = found(container)
    assert [item.partition(":")[0] for item in named] == ([] if said is None else ["shell-form-command"])
    assert said is None or said in named[0]


def test_in_a_shared_pid_namespace_the_shell_is_not_pid_1() -> None:
    """It gets the signal all the same."""
    (finding,) = found({"command": ["sh", "-c", "serve"]}, {"shareProcessNamespace": True})
    assert "a shell gets the stop signal" in finding


@pytest.mark.parametrize(
    ("container", "said"),
    [
        (
            {"lifecycle": {"preStop": {"tcpSocket": {"port": 80}}}},
            "preStop: a tcpSocket hook cannot be performed; it fa",
        ),
        (
            hook("sleep 10"),
            "`sleep 10` is one word, and no program is called so; write a list of words; it fails, and the",
        ),
        (hook("sleep", "5", "&&", "nginx"), "`&&` is for a shell, and sleep gets it as it is; write [sh, -c, …]"),
        (hook("kill", "$(cat /run/pid)"), "`$(cat /run/pid)` is for a shell"),
        (hook(), "preStop: the command is empty"),
        (
            {"lifecycle": {"postStart": {"exec": {"command": ["a b"]}}}},
            "fails, and the container is killed and restarted",
        ),
    ],
)
def test_a_hook_that_cannot_run_is_named(container: dict[str, Any], said: str) -> None:
    """What a shell would do nobody does."""
    named = [item for item in found(container) if item.startswith("hook-cannot-run")]
    assert len(named) == 1
    assert said in named[0]


def test_a_stop_signal_of_the_manifest_is_named_as_new() -> None:
    """Most clusters send the image's."""
    (finding,) = found({"lifecycle": {"stopSignal": "SIGQUIT"}})
    assert finding.startswith("stop-signal-is-new: stopSignal SIGQUIT needs Kubernetes 1.33")


def test_the_rules_of_pods_are_rules() -> None:
    """With their documentation."""
    assert all(RULES[rule.id] is rule for rule in POD_RULES)
