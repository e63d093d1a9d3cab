"""Servers that listen on 127.0.0.1 only: reached from inside their network namespace, else the message says where."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stop_harness.conductor import open_engine, pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker.engine import DockerEngine
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.interface import where_it_listens
from stop_harness.linux import listening
from stop_harness.model import Outcome, TrialResult, Vantage
from stop_harness.scenario import discovery
from stop_harness.trial.perform import Interruption
from tests.silence import Silence

SERVER = """
import http.server, signal, sys, threading, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        time.sleep(1.5 if self.path == "/slow" else 0)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

server = http.server.ThreadingHTTPServer((sys.argv[1], 8000), Handler)
server.daemon_threads = False
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
"""

TABLE = """
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1B58 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0B00007F:A0B1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
   3: 0100007F:1B58 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4 1 0 100 0 0 10 0
   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 5 1 0 1 0 0 1 0
"""
"""/proc/net/tcp and tcp6: two servers, Docker's name server, a connection, and a server for IPv6."""


@pytest.mark.skipif(sys.byteorder != "little", reason="the table is that of a little-endian machine")
def test_addresses_are_read_as_the_kernel_prints_them() -> None:
    """Without connections, and without the name server that Docker puts into a container."""
    assert listening.addresses(TABLE) == ("0.0.0.0:80", "127.0.0.1:7000", "[::1]:8080")


@pytest.mark.parametrize(
    ("port", "words"),
    [
        (7000, "; it listens on 127.0.0.1:7000 only, which is reached from inside its network namespace alone"),
        (80, "; it listens on 0.0.0.0:80"),
        (81, "; nobody listens at that port, but at 0.0.0.0:80, 127.0.0.1:7000"),
    ],
)
def test_the_message_says_where_it_listens(port: int, words: str) -> None:
    """At that port, else at which."""
    assert where_it_listens(port, ("0.0.0.0:80", "127.0.0.1:7000")).startswith(words)
    assert where_it_listens(port, ()) == "; nobody listens at that port"
    assert where_it_listens(port, None) == ""


def stop_of(tmp_path: Path, address: str, rest: str, host: DockerHost) -> TrialResult:
    """The server, in a container."""
    (tmp_path / "server.py").write_text(SERVER)
    command = json.dumps(["python3", "-u", "/server.py", address])
    (tmp_path / "Dockerfile").write_text(f"FROM debian:bookworm-slim\nCOPY server.py /server.py\nCMD {command}\n")
    text = f"version: 1\nname: loopback\nsubject: {{build: .}}\n{rest}\nstop: {{timeouts: 10s}}\n"
    (tmp_path / "it.yaml").write_text(text)

    def on_host(_name: str, run_id: str) -> open_engine.Chosen:
        return open_engine.Chosen(DockerEngine(run_id, host=host), None)

    request = RunRequest(discovery.load((tmp_path / "it.yaml",)), "loopback", None, engine="docker")
    (result,) = pipeline.run(request, Silence(), Interruption(), open_engine=on_host).report.results
    return result


@pytest.mark.docker
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may enter a network namespace")
@pytest.mark.parametrize("ready", ["tcp: 8000", "http: {port: 8000, path: /}"])
def test_readiness_and_traffic_from_inside_the_network_namespace(
    tmp_path: Path, ready: str, docker_engine_host: DockerHost
) -> None:
    """As if it listened everywhere."""
    if not docker_engine_host.same_kernel or docker_engine_host.podman:
        pytest.skip("the containers are not in the /proc of this machine")
    rest = f"ready: {{{ready}}}\ntraffic: {{http: {{port: 8000, path: /slow}}}}"
    result = stop_of(tmp_path, "127.0.0.1", rest, docker_engine_host)
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    assert result.observation.vantage is Vantage.NETWORK_NAMESPACE
    assert [request.status for request in result.observation.requests] == [200]


@pytest.mark.docker
def test_a_port_where_nobody_listens_refuses(tmp_path: Path, docker_engine_host: DockerHost) -> None:
    """Also in a container without IPv6, which has no ::1: that is no shortage of addresses on this machine."""
    rest = "ready: {delay: 1s}\ntraffic: {http: {port: 9999, path: /slow}}"
    result = stop_of(tmp_path, "127.0.0.1", rest, docker_engine_host)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert "port 9999 failed before the stop: connection refused" in result.verdict.reason


@pytest.mark.docker
@pytest.mark.parametrize(
    ("rest", "what"),
    [
        ("ready: {tcp: 8000, timeout: 2s}", "not ready after 2 s: waited for TCP port 8000"),
        pytest.param(
            "ready: {tcp: 8000, timeout: 2s}\ntraffic: {http: {port: 8000}}",
            "not ready after 2 s",
            marks=pytest.mark.long,
        ),
    ],
)
def test_where_it_cannot_be_entered_the_message_says_where_it_listens(
    tmp_path: Path, rest: str, what: str, docker_engine_host: DockerHost
) -> None:
    """As on an engine that is elsewhere: a command in the container tells."""
    elsewhere = replace(docker_engine_host, local=False, same_kernel=False)
    result = stop_of(tmp_path, "127.0.0.1", rest, elsewhere)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert what in result.verdict.reason
    assert "; it listens on 127.0.0.1:8000 only" in result.verdict.reason
