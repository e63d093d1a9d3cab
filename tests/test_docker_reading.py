"""What `inspect` of a Docker Engine API says, read once for trials and tasks."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.engines.docker.reading import PublishedPort, State, state_of
from stop_harness.errors import EngineError

RUNNING = {"Running": True, "ExitCode": 0, "Pid": 7, "StartedAt": "2026-11-23T11:32:00Z", "FinishedAt": None}
PORTS = {
    "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": "8081"}],
    "53/udp": [{"HostPort": "5353"}],
    "81/tcp": None,
    "82/tcp": [{"HostIp": "", "HostPort": ""}],
}


def read(**state: Any) -> State:
    """A container with this `State`, beside what every container has."""
    return state_of({"State": {**RUNNING, **state}, "Config": {}, "NetworkSettings": {"Ports": PORTS}, "Image": "id"})


def test_published_ports_are_those_that_have_a_port_of_the_machine() -> None:
    """A port may be published at several addresses, or exposed and published nowhere."""
    assert read().published == (
        PublishedPort(80, 8080, "tcp", "127.0.0.1"),
        PublishedPort(80, 8081, "tcp", "::1"),
        PublishedPort(53, 5353, "udp", ""),
    )


@pytest.mark.parametrize(
    ("health", "checks", "healthy"),
    [
        (None, False, None),
        ({"Status": "starting"}, True, None),
        ({"Status": "healthy"}, True, True),
        ({"Status": "unhealthy"}, True, False),
    ],
)
def test_health_is_what_the_check_said_last(health: Any, *, checks: bool, healthy: bool | None) -> None:
    """Nothing is said before the first check has ended, and where there is none."""
    state = read(Health=health)
    assert (state.checks_health, state.healthy) == (checks, healthy)


def test_a_container_has_exited_only_after_it_ran() -> None:
    """One that was created and never started does not run either."""
    created = read(Running=False, FinishedAt="0001-01-01T00:00:00Z")
    ended = read(Running=False, FinishedAt="2026-11-23T11:32:01.5Z", ExitCode=3, Error="no such file")
    assert not created.exited
    assert ended.exited
    assert (ended.exit_code, ended.error, read(Error="").error) == (3, "no such file", None)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["80/tcp", "x/y"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=6,
)
states = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("Running", "ExitCode", "Pid", "OOMKilled", "FinishedAt", "Health", "Error"), values)
)


@given(
    values
    | st.fixed_dictionaries(
        {"State": states.map(lambda state: {**RUNNING, **state}) | values, "Config": st.just({}) | values},
        optional={"NetworkSettings": st.fixed_dictionaries({}, optional={"Ports": values, "Networks": values})},
    )
)
def test_any_answer_is_read_or_refused_as_the_engines_mistake(answer: Any) -> None:
    """Whatever JSON an engine sends, it is a state or an EngineError."""
    with contextlib.suppress(EngineError):
        assert isinstance(state_of(answer), State)


@pytest.mark.parametrize("wrong", [{"Pid": float("inf")}, {"Running": "yes"}, {"ExitCode": None}, {"Health": [1]}])
def test_what_is_wrong_is_told_as_the_engines_mistake(wrong: dict[str, Any]) -> None:
    """With what was wrong; JSON as Python reads it knows infinity."""
    with pytest.raises(EngineError, match=r"makes no sense \(\w+Error: "):
        read(**wrong)
