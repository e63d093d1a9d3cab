"""Calls over plain connections: the requests, answers and errors of the docker SDK, without the docker SDK."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import docker
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness.engines.docker import engine_api
from stop_harness.engines.docker.address import Address
from stop_harness.engines.docker.engine_api import EngineApi, PlainEngineApi
from stop_harness.engines.docker.host import DockerHost

VERSION = "1.41"
DEFAULTS_OF_THE_SDK = {("limit", "-1"), ("size", "0"), ("trunc_cmd", "0"), ("link", "False")}
"""What the SDK says in so many words, and the API takes for granted."""


class Engine:
    """What listens at a socket file, keeps each request, and answers all of them alike until told otherwise."""

    def __init__(self, file: Path) -> None:
        self.address = Address(f"unix://{file}")
        self.answer = answer(200, b"{}")
        self.requests: list[tuple[str, str, frozenset[tuple[str, str]], Any]] = []
        self.connections = 0
        self.hang_up, self.hung_up = False, threading.Semaphore(0)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(file))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file, contextlib.suppress(OSError):
            while line := file.readline():
                method, target, _ = line.decode().split()
                length = 0
                while header := file.readline().strip().lower():
                    if header.startswith(b"content-length:"):
                        length = int(header.partition(b":")[2])
                body = file.read(length)
                where = urlsplit(target)
                query = frozenset(parse_qsl(where.query)) - DEFAULTS_OF_THE_SDK
                self.requests.append((method, where.path, query, json.loads(body) if body else None))
                connection.sendall(self.answer)
                if self.hang_up:
                    connection.shutdown(socket.SHUT_RDWR)
                    self.hung_up.release()

    def close(self) -> None:
        """Nobody listens any more."""
        self._listener.close()


def answer(status: int, body: bytes, *headers: str) -> bytes:
    """An answer as an engine writes it."""
    lines = [f"HTTP/1.1 {status} Some Reason", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    if status in {204, 304}:
        lines = lines[:1]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """One of those."""
    made = Engine(tmp_path / "engine.sock")
    yield made
    made.close()


def both(engine: Engine) -> tuple[EngineApi, EngineApi]:
    """By the SDK alone, and by plain connections."""
    plain = engine_api.of(engine.address, VERSION, 5)
    assert isinstance(plain, PlainEngineApi)
    return EngineApi(engine.address, VERSION, 5), plain


CALLS: dict[str, tuple[Any, bytes]] = {
    "version": (lambda api: api.version(api_version=False), b'{"ApiVersion": "1.41"}'),
    "info": (lambda api: api.info(), b'{"NCPU": 2}'),
    "inspect_image": (lambda api: api.inspect_image("some/image:tag"), b'{"Id": "sha256:1"}'),
    "inspect_container": (lambda api: api.inspect_container("abc"), b'{"Id": "abc", "Config": {"Tty": false}}'),
    "containers": (lambda api: api.containers(all=True, filters={"label": "a=b"}), b'[{"Id": "abc"}]'),
    "volumes": (lambda api: api.volumes(filters={"label": "a=b"}), b'{"Volumes": null}'),
    "start": (lambda api: api.start("abc"), b""),
    "stop": (lambda api: api.stop_within("abc", 10, 20), b""),
    "remove": (lambda api: api.remove_container("abc", v=True, force=True), b""),
}


@pytest.mark.parametrize("name", CALLS)
def test_requests_and_answers_are_those_of_the_sdk(name: str, engine: Engine) -> None:
    """Method, path, query, body; and what is given back."""
    call, said = CALLS[name]
    engine.answer = answer(200, said) if said else answer(204, b"")
    by_sdk, plainly = (call(api) for api in both(engine))
    assert plainly == by_sdk
    assert engine.requests[0] == engine.requests[1]


names, texts = st.text("ab_/:.", min_size=1, max_size=5), st.text(max_size=6)
words = st.lists(texts, max_size=3)
plain_settings = st.fixed_dictionaries(
    {"environment": st.dictionaries(names, texts, max_size=2), "ports": st.just({}), "labels": st.just({"a": "b"})},
    optional={
        "command": words,
        "entrypoint": words,
        "user": texts,
        "working_dir": texts,
        "stop_signal": texts,
        "init": st.just(True),
        "pids_limit": st.integers(1, 9),
        "mem_limit": st.integers(1, 1 << 40),
        "memswap_limit": st.integers(1, 1 << 40),
        "network": names,
    },
)


@settings(deadline=None, max_examples=100)
@given(given_settings=plain_settings)
def test_a_container_is_asked_for_as_by_the_sdk(given_settings: dict[str, Any]) -> None:
    """Every setting that is written here."""
    asked: list[Any] = []

    class Recording(docker.APIClient):
        """Sends nothing."""

        def _post_json(self, url: str, data: Any, **_more: Any) -> Any:
            asked.append({key: value for key, value in data.items() if value is not None})
            raise ConnectionError

    client = docker.DockerClient(base_url="unix:///nowhere", version=VERSION)
    client.api = Recording(base_url="unix:///nowhere", version=VERSION)
    with contextlib.suppress(ConnectionError):
        client.containers.create("image", **given_settings)
    assert [engine_api.creation("image", given_settings)] == asked


def test_other_settings_are_left_to_the_sdk(engine: Engine) -> None:
    """Ports among them: they are written in two places of a request."""
    engine.answer = answer(201, b'{"Id": "abc"}')
    for given_settings in ({"read_only": True}, {"ports": {"80": None}}):
        by_sdk, plainly = (api.create("image", given_settings) for api in both(engine))
        assert plainly == by_sdk == "abc"
    assert [request[:2] for request in engine.requests[:2]] == [
        ("POST", f"/v{VERSION}/containers/create"),
        ("GET", f"/v{VERSION}/containers/abc/json"),
    ]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, b'{"message": "No such container: abc"}'),
        (404, b'{"message": "no such image: abc"}'),
        (409, b'{"message": "removal is already in progress"}'),
        (500, b"no JSON at all"),
    ],
)
def test_errors_are_those_of_the_sdk(status: int, said: bytes, engine: Engine) -> None:
    """Their class, their status, and what the engine said."""
    engine.answer = answer(status, said)
    raised = []
    for api in both(engine):
        with pytest.raises(docker.errors.APIError) as caught:
            api.inspect_container("abc")
        raised.append((type(caught.value), caught.value.status_code, caught.value.explanation))
    assert raised[0] == raised[1]
    with pytest.raises(docker.errors.APIError, match=str(status)):
        both(engine)[1].events_since(0, {})


def test_a_stop_of_what_had_exited_is_told(engine: Engine) -> None:
    """304 has no body, and the connection can be used again."""
    engine.answer = answer(304, b"")
    api = both(engine)[1]
    assert [api.stop_within("abc", 10, None) for _ in range(3)] == [False] * 3
    assert engine.connections == 1


def test_a_connection_that_the_engine_has_closed_is_not_used_again(engine: Engine) -> None:
    """A request is never sent twice, so it must not be sent to nobody."""
    api = both(engine)[1]
    engine.hang_up = True
    for number in (1, 2, 3):
        assert api.info() == {}
        assert engine.connections == number
        assert engine.hung_up.acquire(timeout=30)
    assert len(engine.requests) == 3


CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"\0\xff\n", CUT])
def test_what_is_no_answer_is_a_failed_connection(said: bytes, engine: Engine) -> None:
    """Whatever listens there. A stream that is cut has ended."""
    engine.answer, engine.hang_up = said, True
    plain = both(engine)[1]
    with pytest.raises(OSError):  # noqa: PT011 # each system has its own words
        plain.info()
    if said == CUT:
        assert list(plain.events_since(0, {})) == []
    else:
        with pytest.raises(OSError):  # noqa: PT011 # as above
            plain.events_since(0, {})


def test_json_that_is_none_is_a_failed_connection(engine: Engine) -> None:
    """So that the call fails, and not the harness."""
    engine.answer = answer(200, b"{not json")
    with pytest.raises(OSError, match="an answer that makes no sense"):
        both(engine)[1].info()


def test_nobody_listens(tmp_path: Path) -> None:
    """The error is the system's."""
    with pytest.raises(FileNotFoundError):
        engine_api.of(Address(f"unix://{tmp_path}/none"), VERSION, 5).info()


def test_no_answer_within_the_time_limit(engine: Engine) -> None:
    """As long as it was given, or as the call has it."""
    engine.answer = b""
    api = engine_api.of(engine.address, VERSION, 0.05)
    with pytest.raises(TimeoutError):
        api.info()
    with pytest.raises(TimeoutError):
        api.stop_within("abc", 10, 0.05)


@pytest.mark.parametrize("cut", [1, 3, 8, 9, 1000])
def test_pieces_of_a_log_come_whole_however_they_are_sent(cut: int, engine: Engine) -> None:
    """Each has a header of eight bytes, which may be cut anywhere."""
    said = [b"ready\n", b"", b"x" * 300, b"end"]
    framed = b"".join(b"\1\0\0\0" + len(text).to_bytes(4, "big") + text for text in said)
    chunks = [framed[at : at + cut] for at in range(0, len(framed), cut)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    api = both(engine)[1]
    engine.answer = answer(200, b'{"Config": {"Tty": false}}')
    api.inspect_container("abc")
    engine.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    assert list(api.logs("abc", stream=True)) == said


def test_events_come_one_by_one_until_they_are_closed_from_elsewhere(engine: Engine) -> None:
    """Then the stream ends, as the SDK's does."""
    event = b'{"Action": "die"}\n{"Action": "start"}\n'
    engine.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(event), event)
    stream = both(engine)[1].events_since(0, {"label": "a=b"})
    events = iter(stream)
    assert [next(events)["Action"], next(events)["Action"]] == ["die", "start"]
    timer = threading.Timer(0.1, stream.close)
    timer.start()
    assert list(events) == []
    timer.join()
    assert engine.requests[0][:2] == ("GET", f"/v{VERSION}/events")


@pytest.mark.docker
@pytest.mark.parametrize("terminal", [False, True])
def test_logs_are_those_of_the_sdk(terminal: bool, docker_engine_host: DockerHost) -> None:
    """Of an engine, with a terminal and without, followed and not."""
    host = docker_engine_host
    client = host.connect()
    program = "echo one; echo two >&2; printf three"
    made = client.containers.create("debian:bookworm-slim", ["sh", "-c", program], tty=terminal)
    try:
        made.start()
        made.wait()
        plain = engine_api.of(host.address, host.api_version, 30)
        some: tuple[dict[str, Any], ...] = ({"tail": 2}, {"follow": True}, {"timestamps": True})
        for options in some:
            by_sdk = b"".join(made.logs(stream=True, **{"follow": False, **options}))
            assert b"".join(plain.logs(made.id, stream=True, **options)) == by_sdk != b""
        plain.close()
    finally:
        made.remove(force=True)
        client.close()
