"""What Podman does otherwise than Docker, in the way that is used there; any engine must take it so."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from stop_harness.conductor.request import new_run_id
from stop_harness.engines.docker import executing, own_images, reaper, sdk
from stop_harness.engines.docker.calls import Calls
from stop_harness.engines.docker.group_places import in_pages
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.starting import hosts_behind
from stop_harness.errors import EngineError
from stop_harness.model import NS_PER_S
from tests.variants import only_long

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")

LABELS = {reaper.OWNER_LABEL: reaper.owner()}


def sleep(duration_ns: int) -> None:
    """As a trial lets time pass."""
    threading.Event().wait(duration_ns / NS_PER_S)


@pytest.fixture
def api(docker_engine_host: DockerHost) -> Iterator[Any]:
    """Of the engine that answers."""
    client = docker_engine_host.connect()
    yield client.api
    client.close()


@pytest.fixture
def container(api: Any) -> Iterator[str]:
    """The id of one that runs."""
    labels = {**LABELS, reaper.RUN_LABEL: new_run_id()}
    made = api.create_container(BASE_IMAGE, ["sleep", "600"], labels=labels)["Id"]
    api.start(made)
    yield made
    api.remove_container(made, force=True)


@pytest.mark.docker
@pytest.mark.parametrize(
    "command", ["echo many words; exit 7", "no-such-program", *only_long("exit 0", "exit 3", "/etc/passwd")]
)
def test_an_attached_command_has_the_exit_code_of_a_detached_one(
    docker_engine_host: DockerHost, api: Any, container: str, command: str
) -> None:
    """Also one that cannot be started: 127 or 126, as in a shell (Docker 20.10 has 126 for one that is missing)."""
    words = ("sh", "-c", command) if " " in command else (command,)
    code = executing.execute(
        api,
        Calls(docker_engine_host.url, 60),
        container,
        words,
        timeout_ns=60 * NS_PER_S,
        sleep=sleep,
        attached=True,
    )
    assert code in ({int(command.rpartition(" ")[2])} if " " in command else {126, 127})


@pytest.mark.docker
def test_the_answer_behind_a_socket_is_closed_with_it(api: Any, container: str) -> None:
    """Of one that is left open Python 3.13 writes a traceback to standard error when it is thrown away."""
    socket = api.exec_start(api.exec_create(container, ["true"])["Id"], socket=True)
    answer = socket._response.raw
    assert not answer.closed
    sdk.hang_up(socket)
    sdk.hang_up(socket)
    assert answer.closed


@pytest.mark.docker
def test_an_attached_command_that_lasts_is_left_to_itself(
    docker_engine_host: DockerHost, api: Any, container: str
) -> None:
    """None, when its time is over."""
    words, patience_ns = ("sleep", "100"), NS_PER_S // 2
    calls = Calls(docker_engine_host.url, 60)
    found = executing.execute(api, calls, container, words, timeout_ns=patience_ns, sleep=sleep, attached=True)
    assert found is None


@pytest.mark.docker
def test_a_link_becomes_the_address_that_it_leads_to(api: Any, container: str) -> None:
    """Without an address there is nothing that it could become."""
    ((alias, address),) = hosts_behind([(container, "store")], ("no such network",), api)
    networks = api.inspect_container(container)["NetworkSettings"]["Networks"]
    assert alias == "store"
    assert [address] == [network["IPAddress"] for network in networks.values()]
    unstarted = api.create_container(BASE_IMAGE, ["sleep", "600"], labels=LABELS)["Id"]
    try:
        with pytest.raises(EngineError, match="the link to store: what it leads to has no address"):
            hosts_behind([(unstarted, "store")], (), api)
    finally:
        api.remove_container(unstarted, force=True)


@pytest.mark.docker
def test_a_program_is_imported_once_and_found_by_its_name(api: Any) -> None:
    """Podman 4.3 would call it `latest`."""
    program = new_run_id().encode()
    name = own_images.imported(api, "tried", program, LABELS, 'CMD ["/tried"]')
    try:
        made = api.inspect_image(name)["Id"]
        assert own_images.imported(api, "tried", program, LABELS, 'CMD ["/tried"]') == name
        assert api.inspect_image(name)["Id"] == made
    finally:
        api.remove_image(name, force=True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("size=1m", "nr_blocks=256"),
        ("mode=1777,size=4097", "mode=1777,nr_blocks=2"),
        ("size=2G,uid=3", "nr_blocks=524288,uid=3"),
        ("size=50%", "size=50%"),
        ("mode=700", "mode=700"),
    ],
)
def test_the_size_of_a_tmpfs_in_pages(given: str, expected: str) -> None:
    """Whole pages, and at least as much; a share of the memory has no other form."""
    assert in_pages(given) == expected
