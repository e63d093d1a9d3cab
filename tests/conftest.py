"""Engines for the tests, and the guard that nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import HealthCheck, settings
from stop_harness.engines.docker import host as docker_host
from stop_harness.engines.docker import reaper
from stop_harness.engines.docker.address import Address, Tls
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.process.engine import PidNamespaceEngine
from stop_harness.errors import EngineError

from tests import second_engine, ssh_server, tls_front
from tests.tcp_engine import behind_tcp


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--known-stops` adds the suite that builds and stops dozens of images."""
    parser.addoption("--known-stops", action="store_true", help="also run the tests marked known_stops")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the known stops out unless they are asked for."""
    if config.getoption("--known-stops"):
        return
    left_out = [item for item in items if item.get_closest_marker("known_stops")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


# A test takes its engine away with it: the reapers of its runs need not wait for that for a quarter of an hour.
os.environ.setdefault(reaper.PATIENCE_VARIABLE, "60")

# Other tests load the machine: how long an example takes says nothing about it.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")


def pytest_configure(config: pytest.Config) -> None:
    """CI sets STOP_HARNESS_REQUIRE_DOCKER: then a missing engine is a failure, before any test can be skipped."""
    if os.environ.get("STOP_HARNESS_REQUIRE_DOCKER") and isinstance(_docker(), str):
        raise pytest.UsageError(f"STOP_HARNESS_REQUIRE_DOCKER is set, but {_docker()}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot do, with the engine's or the kernel's own reason."""
    if item.get_closest_marker("docker") and isinstance(_docker(), str):
        pytest.skip(str(_docker()))
    if item.get_closest_marker("namespaces") and (reason := _no_namespaces()):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def docker_engine_host() -> DockerHost:
    """The Docker or Podman engine that the tests run on."""
    host = _docker()
    assert isinstance(host, DockerHost)
    return host


def _skip_for(reason: str | None) -> None:
    """Where CI wants an engine, only a user without rights may lack one."""
    if reason and os.environ.get("STOP_HARNESS_REQUIRE_DOCKER") and not reason.endswith("needs root"):
        pytest.fail(f"STOP_HARNESS_REQUIRE_DOCKER is set, but {reason}")
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def second_docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[second_engine.SecondEngine]:
    """One for all tests: it takes ten seconds to start."""
    _skip_for(second_engine.missing())
    with second_engine.second_engine(tmp_path_factory.mktemp("second-engine")) as engine:
        yield engine


@pytest.fixture(scope="session")
def engine_in_a_vm(second_docker: second_engine.SecondEngine) -> Address:
    """Behind a socket file of this machine, but with processes and a network of its own, as Docker Desktop's is."""
    return Address(second_docker.socket)


@pytest.fixture(scope="session")
def tls_engine(docker_engine_host: DockerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """The usual engine behind TLS, which wants a certificate of its clients."""
    folder = tmp_path_factory.mktemp("tls")
    public, private = tls_front.certificate(folder)
    with tls_front.tls_front(docker_engine_host.url, public, private, clients=public) as url:
        tls = Tls(str(public), str(public), str(private), verify=True)
        yield Address(url.replace("https://", "tcp://"), tls)


@pytest.fixture(scope="session")
def ssh_engine(docker_engine_host: DockerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """The usual engine behind ssh."""
    _skip_for(ssh_server.missing())
    with ssh_server.ssh_server(tmp_path_factory.mktemp("ssh")) as folder, pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        path = docker_engine_host.url.removeprefix("unix://")
        yield Address(f"ssh://engine.test{path}")


@pytest.fixture(scope="session")
def tcp_engine(docker_engine_host: DockerHost) -> Iterator[str]:
    """The same engine through TCP: its API without its kernel."""
    if not docker_engine_host.url.startswith("unix://"):
        pytest.skip("the engine is not behind a socket file")
    with behind_tcp(docker_engine_host.url.removeprefix("unix://")) as url:
        yield url


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """After the whole suite no container of a test run is left on the engine."""
    before = _our_containers()
    yield
    left = _our_containers() - before
    assert not left, f"containers left on the engine: {left}"


@cache
def _docker() -> DockerHost | str:
    try:
        return docker_host.find()
    except EngineError as error:
        return str(error)


@cache
def _no_namespaces() -> str | None:
    engine = PidNamespaceEngine("probe")
    try:
        return None if engine.info().pid1_rules else "this kernel gives no PID namespace here"
    finally:
        engine.close()


def _our_containers() -> set[str]:
    host = _docker()
    if isinstance(host, str):
        return set()

    client = host.connect()
    try:
        found = client.api.containers(all=True, filters={"label": "stop-harness.run"})
        mine = reaper.owner()
        owners = {str(item["Id"]): item["Labels"].get(reaper.OWNER_LABEL, "") for item in found}
        # Another harness may be at work on the same engine; what it owns is its own affair.
        return {name for name, owner in owners.items() if owner == mine or not reaper.owner_lives(owner)}
    finally:
        client.close()
