"""Stands between the harness and a real engine, understands as much HTTP/1.1 as it takes, and breaks some answers."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tests.faults.effects import (
    Answer,
    Change,
    Cut,
    Delay,
    Effect,
    Events,
    Garble,
    Hang,
    OomToldLate,
    Reset,
    Stall,
    line,
    set_to,
)

MARK = "STOP_HARNESS_FAULT"
"""A container with this variable in its environment is one whose requests fail, by the rules that its value names;
the others are bystanders."""

_MARKED = re.compile(MARK.encode() + rb"=(\w+)")

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Rule:
    """Which requests fail and how.

    `path`: a pattern for the whole path behind the version, without the query. `mark`: of the containers that it is
    about. `once_stopped`: only from the container's stop call on. `everybody`: bystanders' and the run's own requests
    too. `most`: at most so many requests.
    """

    method: str
    path: str
    effect: Effect
    mark: str = ""
    once_stopped: bool = False
    everybody: bool = False
    most: int | None = None


@dataclass
class _Message:
    """A request or an answer up to its body."""

    start: bytes
    headers: list[bytes]
    body: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        for item in self.headers:
            key, _, value = item.partition(b":")
            if key.strip().lower() == name:
                return value.strip()
        return None

    def head(self, *, without: tuple[bytes, ...] = (), more: tuple[bytes, ...] = ()) -> bytes:
        kept = [item for item in self.headers if item.partition(b":")[0].strip().lower() not in without]
        return b"\r\n".join([self.start, *kept, *more, b"", b""])


@dataclass
class FaultyEngine:
    """An engine that fails by `rules` until it is healed, at a unix socket or, as a remote one (`path` None), at a TCP
    port. A context manager."""

    engine_url: str
    path: Path | None
    rules: tuple[Rule, ...] = ()
    injected: Counter[str] = field(default_factory=Counter)
    """How many answers were broken so far, by the mark of the rule."""
    containers: list[str] = field(default_factory=list)
    """Ids of all that was created through here, in order."""

    def __post_init__(self) -> None:
        self._marks: dict[str, str] = {}
        self._stopped: set[str] = set()
        self.stops = 0
        self._used: dict[int, int] = {}
        self._exit_shown_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._open: tuple[socket.socket, ...] = ()
        self._closed = threading.Event()
        self._listener: subprocess.Popen[bytes] | None = None
        self._server = self._listen()

    @property
    def url(self) -> str:
        """For `DOCKER_HOST`."""
        host, port = ("", 0) if self.path else self._server.getsockname()
        return f"unix://{self.path}" if self.path else f"tcp://{host}:{port}"

    def __enter__(self) -> FaultyEngine:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.cut()

    def heal(self) -> None:
        """From now on every answer is the engine's own; whoever waits for one is hung up on."""
        self.rules = ()
        self._hang_up(*self._open)

    def cut(self) -> None:
        """Hang up on everybody and take no more calls."""
        self._closed.set()
        self._hang_up(self._server, *self._open)
        self._server.close()
        if self.path:
            self.path.unlink(missing_ok=True)
        if self._listener is not None:
            self._listener.communicate()  # it ends with its input
            self._listener = None

    @staticmethod
    def _hang_up(*connections: socket.socket) -> None:
        for each in connections:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        """Take calls again after a `cut`."""
        self._closed.clear()
        self._server = self._listen()

    def _listen(self) -> socket.socket:
        if self.path:
            server = socket.socket(socket.AF_UNIX)
            server.bind(str(self.path))
            self._listener = _listening_as_dockerd(server)
        else:
            server = socket.create_server(("127.0.0.1", 0), backlog=128)
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()
        return server

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        far = socket.socket(socket.AF_UNIX)
        with self._lock:
            self._open += (near, far)
        try:
            far.connect(self.engine_url.removeprefix("unix://"))
            requests, answers = near.makefile("rb"), far.makefile("rb")
            while (request := _read_head(requests)) is not None:
                request.body = _read_body(requests, request)
                if not self._one(request, near, far, answers):
                    return
        except OSError:
            return  # one of the two hung up
        finally:
            with self._lock:
                self._open = tuple(each for each in self._open if each not in {near, far})
            near.close()
            far.close()

    def _one(self, request: _Message, near: socket.socket, far: socket.socket, answers: BinaryIO) -> bool:
        """Pass one request on and its answer back. False: this connection is over."""
        method, target, _ = request.start.decode().split(" ", 2)
        path = re.sub(r"^/v[\d.]+", "", target.partition("?")[0])
        effect = self._effect(method, path, request)
        if isinstance(effect, Hang | Reset | Answer):
            if effect.forward:
                far.sendall(request.head() + request.body)
                _read_whole(answers)
            if isinstance(effect, Answer):
                near.sendall(_plain(effect.status, effect.body))
                return True
            if isinstance(effect, Hang):
                near.recv(1)  # until the client gives up
            return False
        if isinstance(effect, Delay):
            self._closed.wait(effect.seconds)
        far.sendall(request.head() + request.body)
        answer = _read_head(answers)
        if answer is None:
            return False
        if answer.start.split(b" ")[1] == b"101":
            near.sendall(answer.head())
            _pump_both(near, far, answers)
            return False
        if path == "/containers/create":
            answer.body = _read_body(answers, answer)
            self._note_created(request, answer)
            answer.body = self._changed(effect, path, answer.body)
            return _send(near, answer, effect)
        if isinstance(effect, Change | OomToldLate):
            answer.body = self._changed(effect, path, _read_body(answers, answer))
            return _send(near, answer, None)
        if path == "/events":
            return self._relay_events(near, answer, answers, effect)
        return _relay(near, answer, answers, effect)

    def _effect(self, method: str, path: str, request: _Message) -> Effect | None:
        found = _ID.search(path)
        container = found[0] if found else None
        mark = self._marks.get(container or "")
        if path == "/containers/create" and (asked := _MARKED.search(request.body)):
            mark = asked[1].decode()
        if method == "POST" and path.endswith("/stop") and container:
            self._stopped.add(container)
            self.stops += 1
        for number, rule in enumerate(self.rules):
            if isinstance(rule.effect, Events) or rule.method != method or not re.fullmatch(rule.path, path):
                continue  # events are changed one by one, by the mark of their container
            if not (rule.everybody or rule.mark == mark) or (rule.once_stopped and container not in self._stopped):
                continue
            with self._lock:
                if rule.most is not None and self._used.get(number, 0) >= rule.most:
                    continue
                self._used[number] = self._used.get(number, 0) + 1
                self.injected[rule.mark] += 1
            return rule.effect
        return None

    def _note_created(self, request: _Message, answer: _Message) -> None:
        with contextlib.suppress(ValueError, KeyError):
            container = str(json.loads(answer.body)["Id"])
            self.containers.append(container)
            if asked := _MARKED.search(request.body):
                self._marks[container] = asked[1].decode()

    def _changed(self, effect: Effect | None, path: str, body: bytes) -> bytes:
        if isinstance(effect, OomToldLate):
            told = set_to(self._shown_for_s(path, body) >= effect.seconds, "State", "OOMKilled")
            return told.applied(body)
        return effect.applied(body) if isinstance(effect, Change) else body

    def _shown_for_s(self, path: str, body: bytes) -> float:
        """How long ago an answer of this path first showed that SIGKILL ended the container; below zero: none did."""
        state = json.loads(body)["State"]
        if state["Running"] or state["ExitCode"] != 137:
            return -1.0
        now = time.monotonic()
        return now - self._exit_shown_at.setdefault(path, now)

    def _relay_events(self, near: socket.socket, answer: _Message, answers: BinaryIO, effect: Effect | None) -> bool:
        """The stream, event by event; a marked container's are changed by the rule."""
        near.sendall(answer.head())
        if isinstance(effect, Stall):
            near.recv(1)
            return False
        if isinstance(effect, Garble):
            near.sendall(_chunk(effect.prefix))
        sent, rest = 0, b""
        while (chunk := _read_chunk(answers)) is not None:
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            for text in filter(bytes.strip, lines):
                for out in self._event_lines(text):
                    if isinstance(effect, Cut) and sent + len(out) > effect.after_bytes:
                        near.sendall(_chunk(out[: effect.after_bytes - sent]))
                        return False
                    near.sendall(_chunk(out))
                    sent += len(out)
        near.sendall(b"0\r\n\r\n")
        return True

    def _event_lines(self, text: bytes) -> tuple[bytes, ...]:
        event = json.loads(text)
        mark = self._marks.get(event.get("Actor", {}).get("ID"))
        about = (rule for rule in self.rules if rule.everybody or rule.mark == mark)
        rule = next((rule for rule in about if isinstance(rule.effect, Events)), None)
        if rule is None or not isinstance(rule.effect, Events):
            return (text + b"\n",)
        if rule.effect.late_s:
            self._closed.wait(rule.effect.late_s)
        changed = rule.effect.change(event)
        if rule.effect.late_s or changed != (line(event),):
            self.injected[rule.mark] += 1
        return changed


_LISTEN = """
import ctypes, socket, sys
ctypes.CDLL(None).prctl(15, b"dockerd", 0, 0, 0)
socket.socket(fileno=int(sys.argv[1])).listen(128)
print(flush=True)
sys.stdin.read()
"""


def _listening_as_dockerd(server: socket.socket) -> subprocess.Popen[bytes]:
    """The kernel tells a client who has called listen(2): the harness knows an engine on its own machine by that."""
    command = [sys.executable, "-c", _LISTEN, str(server.fileno())]
    process = subprocess.Popen(command, pass_fds=[server.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


# ── as much HTTP as it takes ─────────────────────────────────────────────────────────────────────────────────────────


def _read_head(stream: BinaryIO) -> _Message | None:
    lines: list[bytes] = []
    while text := stream.readline():
        if text in {b"\r\n", b"\n"}:
            return _Message(lines[0], lines[1:]) if lines else None
        lines.append(text.rstrip(b"\r\n"))
    return None


def _is_chunked(message: _Message) -> bool:
    return (message.header(b"transfer-encoding") or b"").lower() == b"chunked"


def _read_body(stream: BinaryIO, message: _Message) -> bytes:
    if _is_chunked(message):
        parts = []
        while (chunk := _read_chunk(stream)) is not None:
            parts.append(chunk)
        message.headers = [item for item in message.headers if not item.lower().startswith(b"transfer-encoding")]
        message.headers.append(b"Content-Length: %d" % sum(map(len, parts)))
        return b"".join(parts)
    return stream.read(int(message.header(b"content-length") or 0))


def _read_chunk(stream: BinaryIO) -> bytes | None:
    size = int(stream.readline().split(b";")[0] or b"0", 16)
    data = stream.read(size)
    stream.readline()
    return data or None


def _read_whole(stream: BinaryIO) -> None:
    answer = _read_head(stream)
    if answer is not None:
        _read_body(stream, answer)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _plain(status: int, body: bytes) -> bytes:
    kind = b"application/json" if body[:1] in {b"{", b"["} else b"text/plain"
    empty = b"" if status in {204, 304} else b"Content-Type: %s\r\nContent-Length: %d\r\n" % (kind, len(body))
    return b"HTTP/1.1 %d Fault\r\n%s\r\n%s" % (status, empty, body)


def _send(near: socket.socket, answer: _Message, effect: Effect | None) -> bool:
    """A whole answer; False where it was cut."""
    length = b"Content-Length: %d" % len(answer.body)
    head = answer.head(without=(b"content-length", b"transfer-encoding"), more=(length,))
    if isinstance(effect, Cut):
        near.sendall(head + answer.body[: effect.after_bytes])
        return False
    near.sendall(head + answer.body)
    return True


def _relay(near: socket.socket, answer: _Message, answers: BinaryIO, effect: Effect | None) -> bool:
    """An answer of any length as it comes. False: this connection is over."""
    near.sendall(answer.head())
    chunked, length = _is_chunked(answer), answer.header(b"content-length")
    if not chunked and length is None:  # 204 and 304 have no body
        return True
    framed = _chunk if chunked else bytes
    if isinstance(effect, Garble):
        near.sendall(framed(effect.prefix))
    limit = effect.after_bytes if isinstance(effect, Cut | Stall) else None
    sent, left = 0, int(length or 0)
    while (data := _read_chunk(answers) if chunked else answers.read(min(left, 65536))) or (limit is not None):
        data = data or b""
        left -= len(data)
        if limit is not None and (sent + len(data) >= limit or not data):
            near.sendall(framed(data[: limit - sent]))
            if isinstance(effect, Stall):
                near.recv(1)
            return False
        near.sendall(framed(data))
        sent += len(data)
    if chunked:
        near.sendall(b"0\r\n\r\n")
    return True


def _pump_both(near: socket.socket, far: socket.socket, answers: BinaryIO) -> None:
    """A connection that was taken over (exec, attach): bytes both ways until one side ends."""

    def up() -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)

    threading.Thread(target=up, daemon=True).start()
    while data := answers.read1(65536):  # type: ignore[attr-defined] # a BufferedReader
        near.sendall(data)
