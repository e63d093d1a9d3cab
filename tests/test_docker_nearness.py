"""Whether containers' addresses can be reached, with a real network namespace beside ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from stop_harness.engines.docker import nearness

LINK, PATIENCE_S = f"near{os.getpid() % 100000}", 60.0


def ip(*words: str) -> None:
    """Raises where it fails."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def neighbour() -> Iterator[int]:
    """A process in a network namespace at the other end of a link, with a bridge of its own behind it."""
    if os.geteuid() or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("a network namespace and a link into it need root, ip and unshare")
    process = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
    try:
        ours, deadline = os.readlink("/proc/self/ns/net"), time.monotonic() + PATIENCE_S
        while os.readlink(f"/proc/{process.pid}/ns/net") == ours:
            assert time.monotonic() < deadline, "no namespace"
            time.sleep(0.01)
        inside = ["--net", "--target", str(process.pid), "ip"]
        ip("link", "add", LINK, "type", "veth", "peer", "name", "uplink", "netns", str(process.pid))
        ip("address", "add", "10.213.78.1/30", "dev", LINK)
        ip("link", "set", LINK, "up")
        for words in (
            "address add 10.213.78.2/30 dev uplink",
            "link set uplink up",
            "link add bridge0 type bridge",
            "address add 10.214.78.1/24 dev bridge0",
            "link set bridge0 up",
        ):
            subprocess.run(["nsenter", *inside, *words.split()], check=True, capture_output=True)
        yield process.pid
    finally:
        process.kill()
        process.communicate()
        subprocess.run(["ip", "link", "delete", LINK], check=False, capture_output=True)


def test_routes_must_lead_to_every_network_of_the_engine(neighbour: int) -> None:
    """A link alone is not enough; a route through it to the engine's bridge is."""
    assert not nearness._same_network(neighbour)
    assert not nearness._leads_to(neighbour)
    ip("route", "add", "10.214.79.0/24", "via", "10.213.78.2")
    assert not nearness._leads_to(neighbour), "the route leads past the bridge"
    ip("route", "add", "10.214.78.0/24", "via", "10.213.78.2")
    assert nearness._leads_to(neighbour)


def test_a_process_beside_us_is_in_our_network() -> None:
    """By any of its threads."""
    assert nearness._same_network(os.getpid())
    assert not nearness._leads_to(os.getpid())
