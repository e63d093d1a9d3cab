"""Options of `check --compose`: which services, which files, and what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from stop_harness.cli import check, main
from stop_harness.errors import StopHarnessError, UsageError
from stop_harness.model import NS_PER_S, GroupKind, Origin, Scenario
from stop_harness.scenario import compose_options
from stop_harness.wording import subject_name

PROJECT = """
services:
  web: {image: web, depends_on: [db], stop_grace_period: 20s}
  db: {image: db}
  debug: {image: debug, profiles: [debug]}
"""


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/compose.yaml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    for name in ("COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"):
        monkeypatch.delenv(name, raising=False)


def scenarios(*services: str, **options: Any) -> tuple[Scenario, ...]:
    """What `check --compose shop/compose.yaml` with these SERVICES and options stops."""
    given: dict[str, Any] = {
        str(item.name): () if item.multiple else None
        for item in check.check.get_params(click.Context(check.check))
        if isinstance(item, click.Option)
    }
    given.update(compose=("shop/compose.yaml",), services=services, **options)
    return compose_options.scenarios_of(given, (), {})


def test_every_service_is_stopped_by_itself_under_its_own_name() -> None:
    """Where none is named; those of a profile that is not active are not started either."""
    found = scenarios()
    assert [item.name for item in found] == ["web", "db"]
    assert [subject_name(item) for item in found] == ["web", "db"]
    assert found[0].stop.timeouts_ns == (20 * NS_PER_S, 30 * NS_PER_S)
    assert found[0].subject.origin == Origin(GroupKind.COMPOSE, ("shop/compose.yaml",), "web")


def test_a_profile_and_a_name_each_bring_a_service() -> None:
    """As with `docker compose up`."""
    assert [item.name for item in scenarios(profiles=("debug",))] == ["web", "db", "debug"]
    assert [item.name for item in scenarios("debug")] == ["debug"]


def test_down_stops_all_of_it_each_with_its_own_stop_timeout() -> None:
    """In one trial, which takes as long as those that wait for each other; `--timeout` is for all."""
    (found,) = scenarios(down=True)
    assert found.subject.group is not None
    assert (found.name, found.subject.group.stopped) == ("shop", None)
    assert (found.stop.own_timeouts, found.stop.timeouts_ns) == (True, (30 * NS_PER_S,))
    (given,) = scenarios(down=True, timeouts=("3s",))
    assert (given.stop.own_timeouts, given.stop.timeouts_ns) == (False, (3 * NS_PER_S,))


def test_options_change_the_service_that_is_stopped_and_no_other() -> None:
    """Its dependencies are as the file has them."""
    (found,) = scenarios("web", env=("A=b",), stop_signal="SIGINT")
    assert found.subject.group is not None
    assert found.subject.group.member("web").subject.environment == (("A", "b"),)
    assert found.subject.group.member("db").subject.environment == ()
    assert found.stop.signal == "SIGINT"


@pytest.mark.parametrize(
    ("services", "options", "said"),
    [
        ((), {"env": ("A=b",)}, "--env is about one container; name one SERVICE of web, db"),
        (("web", "db"), {"ready_tcp": 80}, "--ready-tcp is about one container; name one SERVICE of web, db"),
        ((), {"tty": True, "down": True}, "--tty is about one container; leave out --down, and name one SERVICE"),
        (("nope",), {}, "shop/compose.yaml:2:1: no service 'nope'; services: web, db, debug"),
    ],
)
def test_what_is_about_one_container_needs_one_service(
    services: tuple[str, ...], options: dict[str, Any], said: str
) -> None:
    """A project as a whole has somebody who becomes ready, but nobody whom a variable is given to."""
    with pytest.raises(UsageError) as refused:
        scenarios(*services, **options)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["web", "--down"], "--down goes with --compose"),
        (["web", "--profile", "x"], "--profile goes with --compose"),
        (["one", "two"], "check takes one IMAGE, not one, two; services of a Compose file go with --compose"),
        (["--compose", "shop/compose.yaml", "--build", "."], "not --build DIR and --compose FILE together"),
        (["--compose", "shop", "--predict"], "--predict is about one container; name one SERVICE"),
        (["--compose", "."], ".: no Compose file in this folder (looked for compose.yaml, "),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], said: str) -> None:
    """With exit code 2."""
    refused = CliRunner().invoke(main.cli, ["check", *arguments]).exception
    assert isinstance(refused, StopHarnessError)
    assert refused.exit_code == 2
    assert said in str(refused)
