"""The calls to an engine, as the docker SDK has them. Where the engine has a socket file here, what every stop asks for
goes over plain connections that are kept open; all else is done by the SDK, which is loaded with its first call.

A check that passes so needs no SDK: 430 of 1,240 million instructions (measured by valgrind). What fails raises the
SDK's own errors, also here.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

from stop_harness.engines.docker import sdk
from stop_harness.engines.docker.address import Address, connect, socket_file
from stop_harness.engines.docker.http_connection import HTTP_ERRORS, HttpConnection

FRAME_HEADER_BYTES = 8
"""Before each piece of a log: from which output, three bytes of nothing, and its length (API, "Stream format")."""

PLAIN_SETTINGS = frozenset(
    {
        "command",
        "entrypoint",
        "environment",
        "init",
        "labels",
        "mem_limit",
        "memswap_limit",
        "network",
        "pids_limit",
        "ports",
        "stop_signal",
        "user",
        "working_dir",
    }
)
"""Arguments of the SDK's create call that are written into a request here."""


OF_EVERY_CONTAINER = {
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "AttachStdin": False,
    "AttachStdout": True,
    "AttachStderr": True,
    "NetworkDisabled": False,
}
"""What the SDK writes into every request where nothing else is asked for."""


def of(
    address: Address,
    version: str,
    timeout_s: float | None,
    *,
    make_client: Callable[[], sdk.DockerClient] | None = None,
) -> EngineApi:
    """`timeout_s`: of one read, None for ever. `make_client`: makes the SDK's client, if not as usual."""
    kind = EngineApi if socket_file(address) is None else PlainEngineApi
    return kind(address, version, timeout_s, make_client)


class EngineApi:
    """Every call by the SDK: `docker.APIClient` with a few calls more."""

    def __init__(
        self,
        address: Address,
        version: str,
        timeout_s: float | None,
        make_client: Callable[[], sdk.DockerClient] | None = None,
    ) -> None:
        self.address, self.version_in_use, self.timeout_s = address, version, timeout_s
        self._make_client = make_client or (lambda: connect(address, version=version, timeout_s=timeout_s))
        self._client: sdk.DockerClient | None = None
        self._lock = threading.Lock()

    @property
    def client(self) -> sdk.DockerClient:
        """The SDK's client, made when it is first needed."""
        with self._lock:
            if self._client is None:
                self._client = self._make_client()
            return self._client

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.client.api, name)

    def create(self, image: str, given: dict[str, Any]) -> str:
        """A container; gives its id. `given`: as `DockerClient.containers.create` takes it."""
        return str(self.client.containers.create(image, **given).id)

    def stop_within(self, container_id: str, stop_timeout_s: int, timeout_s: float | None) -> bool:
        """The engine's own stop call. False: it had exited already (304), which the SDK does not tell.

        `t` is always given: Podman 4 without it kills at once. `timeout_s`: how long an answer may take, None for ever.
        """
        return stop_by_sdk(self.client.api, container_id, stop_timeout_s, timeout_s)

    def events_since(self, since_s: int, filters: dict[str, Any]) -> Any:
        """Events as they come, until the stream is closed or breaks."""
        api: Any = self.client.api
        stream = api.events(since_s, filters=filters, decode=True)
        if stream._response.status_code != 200:  # the SDK takes an error for a stream without events
            stream.close()
            raise sdk.errors.APIError(f"status {stream._response.status_code}", stream._response)
        return stream

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            made, self._client = self._client, None
        if made is not None:
            made.close()


def stop_by_sdk(api: Any, container_id: str, stop_timeout_s: int, timeout_s: float | None) -> bool:
    """See `EngineApi.stop_within`."""
    url = api._url("/containers/{0}/stop", container_id)
    answer = api._post(url, params={"t": stop_timeout_s}, timeout=timeout_s)
    api._raise_for_status(answer)
    return int(answer.status_code) != 304


class PlainEngineApi(EngineApi):
    """The same where the engine has a socket file, with plain connections for what every stop asks for."""

    def __init__(
        self,
        address: Address,
        version: str,
        timeout_s: float | None,
        make_client: Callable[[], sdk.DockerClient] | None = None,
    ) -> None:
        super().__init__(address, version, timeout_s, make_client)
        self._idle: list[HttpConnection] = []
        self._with_terminal: dict[str, bool] = {}

    def version(self, *, api_version: bool = True) -> Any:
        """`GET /version`."""
        return self._json("GET", "/version", versioned=api_version)

    def info(self) -> Any:
        """`GET /info`."""
        return self._json("GET", "/info")

    def inspect_image(self, image: str) -> Any:
        """`GET /images/NAME/json`."""
        return self._json("GET", f"/images/{quote(image, safe='/:')}/json")

    def inspect_container(self, container_id: str) -> Any:
        """`GET /containers/ID/json`."""
        found = self._json("GET", f"/containers/{quote(container_id, safe='/:')}/json")
        if isinstance(found, dict) and isinstance(found.get("Config"), dict):
            self._with_terminal[container_id] = bool(found["Config"].get("Tty"))
        return found

    def containers(self, *, all: bool = False, filters: dict[str, Any] | None = None) -> Any:  # as the SDK has it
        """`GET /containers/json`."""
        return self._json("GET", "/containers/json", {"all": int(all), **_filters(filters)})

    def volumes(self, filters: dict[str, Any] | None = None) -> Any:
        """`GET /volumes`."""
        return self._json("GET", "/volumes", _filters(filters))

    def create(self, image: str, given: dict[str, Any]) -> str:
        """`POST /containers/create`, where it is asked for no more than most are."""
        if not given.keys() <= PLAIN_SETTINGS or given.get("ports"):
            return super().create(image, given)
        made = self._json("POST", "/containers/create", body=creation(image, given))
        return str(made["Id"])

    def start(self, container_id: str) -> None:
        """`POST /containers/ID/start`."""
        self._answer("POST", f"/containers/{container_id}/start")

    def stop_within(self, container_id: str, stop_timeout_s: int, timeout_s: float | None) -> bool:
        """`POST /containers/ID/stop`."""
        query = {"t": stop_timeout_s}
        return self._answer("POST", f"/containers/{container_id}/stop", query, timeout_s=timeout_s)[0] != 304

    def remove_container(self, container_id: str, *, v: bool = False, force: bool = False) -> None:
        """`DELETE /containers/ID`."""
        self._answer("DELETE", f"/containers/{container_id}", {"v": v, "link": False, "force": force})
        self._with_terminal.pop(container_id, None)

    def logs(
        self,
        container_id: str,
        *,
        stream: bool = False,
        follow: bool = False,
        tail: int | str = "all",
        timestamps: bool = False,
        **more: Any,
    ) -> Any:
        """`GET /containers/ID/logs`, both outputs in pieces as they come."""
        if more or not stream:
            given = {"stream": stream, "follow": follow, "tail": tail, "timestamps": timestamps, **more}
            return self.client.api.logs(container_id, **given)
        if container_id not in self._with_terminal:
            self.inspect_container(container_id)
        query = {"stderr": 1, "stdout": 1, "timestamps": int(timestamps), "follow": int(follow), "tail": tail}
        connection = self._begun(f"/containers/{container_id}/logs", query)
        parts = connection.parts() if self._with_terminal.get(container_id) else _unframed(connection.parts())
        return Pieces(connection, parts)

    def events_since(self, since_s: int, filters: dict[str, Any]) -> Any:
        """`GET /events`."""
        connection = self._begun("/events", {"since": since_s, **_filters(filters)})
        return Pieces(connection, _objects(connection.parts()))

    def close(self) -> None:
        """Close what is open."""
        super().close()
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _json(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        *,
        body: dict[str, Any] | None = None,
        versioned: bool = True,
    ) -> Any:
        _, said = self._answer(method, path, query, body=body, versioned=versioned)
        try:
            return json.loads(said)
        except ValueError as error:
            raise OSError(f"{method} {path}: an answer that makes no sense ({error})") from None

    def _answer(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        *,
        body: dict[str, Any] | None = None,
        versioned: bool = True,
        timeout_s: float | None = -1,
    ) -> tuple[int, bytes]:
        """Status and body. Raises the SDK's errors, and OSError where there is no answer."""
        target = self._target(path, query, versioned=versioned)
        sent = None if body is None else json.dumps(body).encode()
        connection = self._connection(self.timeout_s if timeout_s == -1 else timeout_s)
        try:
            status, reason = connection.ask(method, target, sent)
            said = b"".join(connection.parts())
        except HTTP_ERRORS as error:
            connection.close()
            raise _no_answer(error) from None
        if connection.reusable:
            with self._lock:
                self._idle.append(connection)
        else:
            connection.close()
        if status >= 400:
            _refuse(status, reason, target, said)
        return status, said

    def _begun(self, path: str, query: dict[str, Any]) -> HttpConnection:
        """The connection of an answer that goes on."""
        target = self._target(path, query)
        connection = self._connection(self.timeout_s)
        try:
            status, reason = connection.ask("GET", target)
            if status != 200:
                _refuse(status, reason, target, b"".join(connection.parts()))
            connection.socket.settimeout(None)
        except BaseException as error:
            connection.close()
            if isinstance(error, HTTP_ERRORS):
                raise _no_answer(error) from None
            raise
        return connection

    def _target(self, path: str, query: dict[str, Any] | None, *, versioned: bool = True) -> str:
        words = f"?{urlencode(query)}" if query else ""
        return f"/v{self.version_in_use}{path}{words}" if versioned else f"{path}{words}"

    def _connection(self, timeout_s: float | None) -> HttpConnection:
        """One that was kept and is still open, else a new one."""
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            if kept is None:
                try:
                    return HttpConnection(self.address, timeout_s)
                except ValueError as error:
                    raise OSError(str(error)) from None
            if kept.reusable:
                kept.socket.settimeout(timeout_s)
                return kept
            kept.close()


class Pieces:
    """What comes of an answer that goes on, until it ends, breaks, or is closed from anywhere: as the SDK's streams."""

    def __init__(self, connection: HttpConnection, parts: Iterator[Any]) -> None:
        self._connection, self._parts = connection, parts

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._parts
        except HTTP_ERRORS:
            return
        finally:
            self._connection.close()

    def close(self) -> None:
        """Idempotent."""
        self._connection.close()


def creation(image: str, given: dict[str, Any]) -> dict[str, Any]:
    """The request that the SDK makes of `PLAIN_SETTINGS`."""
    network = given.get("network")
    limits = {
        "Init": given.get("init"),
        "Memory": given.get("mem_limit"),
        "MemorySwap": given.get("memswap_limit"),
        "NetworkMode": network or "default",
        "PidsLimit": given.get("pids_limit"),
    }
    asked = {
        **OF_EVERY_CONTAINER,
        "Image": image,
        "Cmd": given.get("command"),
        "Entrypoint": given.get("entrypoint"),
        "Env": [f"{name}={value}" for name, value in given.get("environment", {}).items()] or None,
        "Labels": given.get("labels"),
        "StopSignal": given.get("stop_signal"),
        "User": given.get("user"),
        "WorkingDir": given.get("working_dir"),
        "HostConfig": {name: value for name, value in limits.items() if value is not None},
        "NetworkingConfig": {network: None} if network else None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _filters(filters: dict[str, Any] | None) -> dict[str, str]:
    """As the API has them: each a list."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in (filters or {}).items()}
    return {"filters": json.dumps(lists)} if lists else {}


def _unframed(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces of a log without the headers before them."""
    rest = b""
    for part in parts:
        rest += part
        while len(rest) >= FRAME_HEADER_BYTES:
            end = FRAME_HEADER_BYTES + int.from_bytes(rest[4:FRAME_HEADER_BYTES], "big")
            if len(rest) < end:
                break
            yield rest[FRAME_HEADER_BYTES:end]
            rest = rest[end:]


def _objects(parts: Iterator[bytes]) -> Iterator[Any]:
    """The JSON of each line."""
    rest = b""
    for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        yield from (json.loads(line) for line in lines if line.strip())


def _no_answer(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(f"what answers does not speak HTTP: {error}")


def _refuse(status: int, reason: str, target: str, said: bytes) -> NoReturn:
    """Raises what the SDK raises for such an answer."""
    import requests

    answer = requests.Response()
    answer.status_code, answer.reason, answer.url, answer._content = status, reason, f"http+docker://{target}", said
    try:
        answer.raise_for_status()
    except requests.HTTPError as error:
        sdk.errors.create_api_error_from_http_exception(error)
    raise AssertionError("raise_for_status raises for every status of 400 and more")
