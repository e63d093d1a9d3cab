"""One service of a Compose file → a scenario."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.errors import ScenarioError, UsageError
from stop_harness.model import NS_PER_S, Scenario
from stop_harness.scenario import compose, scenario_file

FULL = """
services:
  web:
    build: {context: ./app, dockerfile: prod.Dockerfile, args: {LEVEL: 3}}
    command: python3 server.py --name "my server"
    entrypoint: ["/entry.sh", "now"]
    environment: {PORT: 8000, DEBUG: false, TOKEN: , HOME_OF: "${USER_NAME:-nobody}"}
    init: true
    user: 1000
    working_dir: /srv
    mem_limit: 64m
    pids_limit: 0
    stop_signal: SIGQUIT
    stop_grace_period: 1m30s
    ports: ["8000:8000"]
  db:
    image: postgres:${VERSION-16}
    environment: [PASSWORD=a=b, TOKEN]
    deploy: {resources: {limits: {memory: 1g, pids: 100}}}
"""


def read(text: str, service: str, environment: Mapping[str, str] | None = None) -> Scenario:
    """The scenario of a service in `folder/compose.yaml`."""
    return scenario_file.from_data(
        compose.service_data(text, service, "folder/compose.yaml", environment or {}), "check"
    )


def test_a_service_becomes_the_scenario_that_it_describes() -> None:
    """Everything that matters for a stop is taken over, relative to the Compose file."""
    found = read(FULL, "web", {"TOKEN": "secret"})
    subject = found.subject
    assert found.name == "web"
    assert subject.image is None
    assert subject.build_directory == "folder/app"
    assert subject.dockerfile == "prod.Dockerfile"
    assert subject.build_args == (("LEVEL", "3"),)
    assert subject.command == ("python3", "server.py", "--name", "my server")
    assert subject.entrypoint == ("/entry.sh", "now")
    assert dict(subject.environment) == {"PORT": "8000", "DEBUG": "false", "TOKEN": "secret", "HOME_OF": "nobody"}
    assert subject.init
    assert (subject.user, subject.working_directory) == ("1000", "/srv")
    assert subject.memory_bytes == 64 * 2**20
    assert subject.pids_limit is None
    assert found.stop.signal == "SIGQUIT"
    assert found.stop.timeouts_ns == (30 * NS_PER_S, 90 * NS_PER_S)


def test_a_service_of_an_image_is_stopped_at_composes_default_and_at_30_seconds() -> None:
    """10 s is what `docker compose down` gives it, 30 s what ECS would."""
    found = read(FULL, "db")
    assert found.subject.image == "postgres:16"
    assert dict(found.subject.environment) == {"PASSWORD": "a=b"}
    assert found.subject.memory_bytes == 2**30
    assert found.subject.pids_limit == 100
    assert found.stop.timeouts_ns == (10 * NS_PER_S, 30 * NS_PER_S)


@pytest.mark.parametrize(
    ("text", "environment", "wanted"),
    [
        ("$A", {"A": "x"}, "x"),
        ("${A}y", {"A": "x"}, "xy"),
        ("${A}y", {}, "y"),
        ("${A:-z}", {"A": ""}, "z"),
        ("${A-z}y", {"A": ""}, "y"),
        ("${A-z}", {}, "z"),
        ("$$A", {"A": "x"}, "$A"),
        ("a$", {}, "a$"),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, environment: dict[str, str], wanted: str) -> None:
    """Set, unset, empty, with a default, escaped."""
    found = read(f"services: {{a: {{image: '{text}'}}}}", "a", environment)
    assert found.subject.image == wanted


def test_a_variable_that_must_be_set_is_asked_for() -> None:
    """With the text that its author wrote."""
    with pytest.raises(UsageError, match="variable TAG is needed: name a release"):
        read("services: {a: {image: 'x:${TAG:?name a release}'}}", "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a Compose file: it has no `services`"),
        ("[1]", "not a Compose file"),
        ("services: {}", "not a Compose file"),
        ("services: {b: {image: a}, c: {image: a}}", "no service 'a'; services: b, c"),
        ("services: {a: 3}", "services.a: a mapping of keys is needed"),
        (
            "services: {a: {image: x, stop_grace_period: soon}}",
            "services.a.stop_grace_period: 'soon' is not a duration",
        ),
        ('services: {a: {image: x, command: "it\'s"}}', "services.a is not as Compose has it .No closing quotation"),
        ("services: {a: {build: 3}}", "services.a is not as Compose has it"),
        ("services: {a: {image: 2020-13-45}}", "not valid YAML: month must be in 1..12"),
        ("services: &s {a: *s}", "services.a is not as Compose has it"),
        ("{" * 3000, "not valid YAML"),
        ("services: [", "not valid YAML"),
        ("\0", "not valid YAML"),
    ],
)
def test_mistakes_in_a_compose_file_are_named(text: str, message: str) -> None:
    """With the file, never a traceback."""
    with pytest.raises(UsageError, match=rf"folder/compose\.yaml: .*{message}"):
        read(text, "a")


def test_a_service_without_image_and_build_is_refused() -> None:
    """There is nothing to run."""
    with pytest.raises(ScenarioError, match="give exactly one of `image`, `build` and `task_definition`"):
        read("services: {a: {}}", "a")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    (
        "image build command entrypoint environment init user working_dir mem_limit deploy stop_signal "
        "stop_grace_period"
    ).split()
)


@given(st.dictionaries(keys, values, max_size=5) | values, st.text())
def test_wrong_values_raise_nothing_but_a_message(service: object, noise: str) -> None:
    """Every key with a value of every type, and plain noise, is read or explained."""
    for text in (yaml.safe_dump({"services": {"a": service}}), noise):
        with contextlib.suppress(UsageError, ScenarioError):
            read(text, "a")
