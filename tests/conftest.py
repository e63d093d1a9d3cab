"""Engines for the tests, and the guard that nothing is left behind."""

from __future__ import annotations

import fcntl
import gc
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import docker
import pytest
from hypothesis import HealthCheck, settings

from stop_harness.engines.docker import host as docker_host
from stop_harness.engines.docker import reaper
from stop_harness.engines.docker.address import Address, Tls
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.process.engine import PidNamespaceEngine
from stop_harness.errors import EngineError
from tests import second_engine, ssh_server, tls_front, watch_support
from tests.tcp_engine import behind_tcp

ONLY_WITH = {
    "known_stops": "--known-stops",
    "servers": "--servers",
    "searches": "--searches",
    "oracle": "--oracles",
    "long": "--long",
}
"""Marks of tests that `make test` leaves out, and the options with which they run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """An option for each mark of tests that run only when they are asked for."""
    for mark, option in ONLY_WITH.items():
        parser.addoption(option, action="store_true", help=f"also run the tests marked {mark}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what nobody asked for; what needs the machine for itself comes last, so that it is waited for once.

    Whoever takes the engine as a fixture is a Docker test, before `-m` chooses.
    """
    for item in items:
        if "docker_engine_host" in getattr(item, "fixturenames", ()):
            item.add_marker("docker")
    unwanted = [mark for mark, option in ONLY_WITH.items() if not config.getoption(option)]
    left_out = [item for item in items if any(item.get_closest_marker(mark) for mark in unwanted)]
    config.hook.pytest_deselected(items=left_out)
    kept = _mixed([item for item in items if item not in left_out])
    items[:] = sorted(kept, key=_needs_the_machine)


LAST_SHARE = 0.1
"""Of a run, in which no more test that waits begins."""


def _mixed(items: list[pytest.Item]) -> list[pytest.Item]:
    """Files that wait for containers, evenly among those that compute, so that each fills the gaps of the other; the
    last ones compute, so that nobody waits for one long test in the end."""
    waiting = dict.fromkeys(item.path for item in items if item.get_closest_marker("docker"))
    computing = dict.fromkeys(item.path for item in items if item.path not in waiting)
    place = {path: (1 - LAST_SHARE) * number / len(waiting) for number, path in enumerate(waiting)}
    place |= {path: number / len(computing) for number, path in enumerate(computing)}
    return sorted(items, key=lambda item: place[item.path])


def pytest_collection_finish() -> None:
    """What was collected stays: to look for garbage in it again and again takes a twentieth of the pure tests' time."""
    gc.collect()
    gc.freeze()


def _needs_the_machine(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


# ── Tests side by side ───────────────────────────────────────────────────────────────────────────────────────────────

DEAR = ("tests/faults/test_faults.py", "tests/test_remedies.py")
"""Files whose fixture performs the runs that all of its tests look at."""


def _stay_together(nodeid: str) -> str:
    """Tests with the same answer are run by one worker, for another would have to perform the same runs again.

    Those of a file in `DEAR`, and those of the contract suite on one engine.
    """
    path, _, name = nodeid.partition("::")
    if path == "tests/test_contract.py":
        return re.sub(r".*\[([^-\]]+).*", r"contract \1", name)
    return path if path in DEAR else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """By that, the largest first. (`xdist_group` would say the same, but pytest-xdist 3.8 loses it with pytest 9.2.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):  # type: ignore[misc] # no types of its own
        def _split_scope(self, nodeid: str) -> str:
            return _stay_together(nodeid)

    return Together(config, log)


TURNS = pytest.StashKey[Path]()
"""Folder with the locks by which the workers of pytest-xdist take turns; none where there is one process."""


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each worker where the locks are."""
    node.workerinput["turns"] = str(node.config.stash[TURNS])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test marked `alone` waits until no other test runs, and none begins before it has ended.

    Around everything else, so that waiting counts for no timeout.
    """
    folder = getattr(item.config, "workerinput", {}).get("turns")
    if folder is None:
        return (yield)
    with open(f"{folder}/room", "w", encoding="ascii") as room:
        with open(f"{folder}/door", "w", encoding="ascii") as door:
            # Whoever waits for an empty room keeps the door shut: others would come in for ever.
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if _needs_the_machine(item) else fcntl.LOCK_SH)
        return (yield)


# A test takes its engine away with it: the reapers of its runs need not wait for that for a quarter of an hour.
os.environ.setdefault(reaper.PATIENCE_VARIABLE, "60")

# Other tests load the machine: how long an example takes says nothing about it. The same examples in every run: a rare
# one that fails is found by who looks for it (--hypothesis-profile=explore), not by whose change happens to be tested.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("explore", settings.get_profile("loaded"), derandomize=False)
settings.load_profile("loaded")


def pytest_configure(config: pytest.Config) -> None:
    """CI sets STOP_HARNESS_REQUIRE_DOCKER: then a missing engine is a failure, before any test can be skipped."""
    if os.environ.get("STOP_HARNESS_REQUIRE_DOCKER") and isinstance(_docker(), str):
        raise pytest.UsageError(f"STOP_HARNESS_REQUIRE_DOCKER is set, but {_docker()}")
    for number in (signal.SIGINT, signal.SIGQUIT):
        # A shell ignores them for what it starts in the background, and so would every command that a test interrupts.
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if _is_first(config):
        turns = tempfile.TemporaryDirectory(prefix="stop-harness-turns-")
        config.add_cleanup(turns.cleanup)
        config.stash[TURNS] = Path(turns.name)


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


@pytest.fixture
def client(docker_engine_host: DockerHost) -> Iterator[docker.DockerClient]:
    """The SDK, to look at the engine beside the harness."""
    found = docker_engine_host.connect()
    yield found
    found.close()


@pytest.fixture
def ours(client: docker.DockerClient) -> Iterator[watch_support.Containers]:
    """Containers of one test, by a label of their own."""
    with watch_support.containers(client) as found:
        yield found


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
    """When a process has run its tests, none of its own containers is left on the engine."""
    yield
    left = _our_containers(_is_mine)
    assert not left, f"containers left on the engine: {left}"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Another harness may have died here before: what it left is not the tests'."""
    if _is_first(session.config):
        session.config.stash[ORPHANS] = _our_containers(_is_an_orphan)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """After the whole suite, of all processes together: no container is left whose harness is dead.

    Those of commands that tests have started are meant. One process of several must not ask that: another may have just
    killed a command on purpose and wait for its containers to go.
    """
    before = session.config.stash.get(ORPHANS, None)
    if before is None:
        return
    deadline = time.monotonic() + REAPED_WITHIN_S
    while (left := _our_containers(_is_an_orphan) - before) and time.monotonic() < deadline:
        time.sleep(0.5)
    if left:
        session.config.stash[LEFT] = left
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say why it failed."""
    if left := config.stash.get(LEFT, None):
        terminalreporter.section("left behind", red=True)
        terminalreporter.line(f"containers of dead commands are left on the engine: {left}")


REAPED_WITHIN_S = 60
"""Somebody else's command may have been killed on this engine a moment ago, and its reaper be at work."""

ORPHANS, LEFT = pytest.StashKey[set[str]](), pytest.StashKey[set[str]]()


def _is_first(config: pytest.Config) -> bool:
    """Whether this is the first process: pytest-xdist's controller, or the only one."""
    return not hasattr(config, "workerinput")


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


def _is_mine(owner: str) -> bool:
    return owner == reaper.owner()


def _is_an_orphan(owner: str) -> bool:
    """Another harness may be at work on the same engine; what it owns while it lives is its own affair."""
    return not reaper.owner_lives(owner)


def _our_containers(whose: Callable[[str], bool]) -> set[str]:
    host = _docker()
    if isinstance(host, str):
        return set()

    client = host.connect()
    try:
        found = client.api.containers(all=True, filters={"label": "stop-harness.run"})
        return {str(item["Id"]) for item in found if whose(item["Labels"].get(reaper.OWNER_LABEL, ""))}
    finally:
        client.close()
