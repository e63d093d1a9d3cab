"""The kernel's process events of the engine's machine, told by a container of ours there; see `linux/silent_kills.py`.

For engines whose kernel is out of reach: over TCP or SSH, in a virtual machine, or on an older kernel without root.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

from stop_harness.engines.docker.witness_container import WitnessContainer, WitnessFailed
from stop_harness.engines.docker.witness_lines import Answer, Heard, Message, Missing, Named
from stop_harness.linux.process_events import ProcessEvent
from stop_harness.linux.silent_kills import FollowedProcess, KillWatch, Watches

if TYPE_CHECKING:
    from stop_harness.engines.docker.host import DockerHost

ANSWER_PATIENCE_S = 5.0
"""For a look at a container, or for all that the kernel has said: some milliseconds and the way there and back."""


class Witness(Watches):
    """Hears through a container that was acknowledged, in a thread from its making to `close`."""

    def __init__(self, container: WitnessContainer) -> None:
        super().__init__()
        self._container = container
        self.started = container.started
        self._tokens = itertools.count(1)
        self._answers: dict[int, str] = {}
        self._leaving: bool | None = None
        self._thread = threading.Thread(target=self._listen, name="witness", daemon=True)
        self._thread.start()

    def watch(self, pid_one: int, *, container_id: str = "", jobs: bool = True) -> KillWatch | None:
        """See `Watches.watch`; on the engine's machine this pid's cgroup must name the container."""
        if not pid_one or not container_id:
            return None
        watch = self._begin(pid_one, 1)
        word = self._ask("W", f" {pid_one} {int(jobs)} {container_id}")
        if word in {"gone", "foreign"}:
            self.drop(watch)
            return None
        watch.looked_ns = time.monotonic_ns()
        if word != "ok":  # it starts processes faster than one can look, or nobody answers
            watch.complete = False
        return watch

    def drop(self, watch: KillWatch) -> None:
        """Follow a container no longer."""
        super().drop(watch)
        self._send(f"U {watch.pid_one}")

    def close(self) -> None:
        """End the container and the thread. Idempotent."""
        self._container.end()
        self._thread.join(timeout=2)
        if not self._thread.is_alive():  # else the engine has not ended it, and the thread still reads
            self._container.close()

    def _settle(self) -> None:
        self._ask("M", "")

    def _is_leaving(self, pid_one: int, event: ProcessEvent) -> bool:
        return self._leaving is not False

    # The stream

    def _ask(self, command: str, rest: str) -> str | None:
        """The answer to a command; None where none comes in time or ever again."""
        token = next(self._tokens)
        self._send(f"{command} {token}{rest}")
        deadline = time.monotonic() + ANSWER_PATIENCE_S
        with self._changed:
            while token not in self._answers and not self._broken and (left_s := deadline - time.monotonic()) > 0:
                self._changed.wait(left_s)
            return self._answers.pop(token, None)

    def _send(self, command: str) -> None:
        try:
            self._container.send(command)
        except (OSError, ValueError):  # ValueError: closed already
            self._miss(broken=True)

    def _listen(self) -> None:
        try:
            while True:
                messages = self._container.read()
                with self._changed:
                    for message in messages:
                        self._take(message)
                    self._changed.notify_all()
        except (OSError, EOFError, ValueError):
            self._miss(broken=True)

    def _take(self, message: Message) -> None:
        match message:
            case Heard(event, leaving):
                self._leaving = leaving
                self._apply(event)
            case Named(root=0):
                watch = self._owner.get(message.pid)
                if watch is not None and message.pid in watch.processes and message.pid not in watch.killed:
                    _name(watch.processes[message.pid], message, watch.depth)
            case Named():
                self._found(message)
            case Answer(token, word):
                self._answers[token] = word
            case Missing():
                self._miss()

    def _found(self, process: Named) -> None:
        """By a look. PID 1 itself comes first, and says how deep its namespace lies."""
        watch = self._owner.get(process.root)
        if watch is None:
            return
        if process.pid == process.root:
            watch.depth = len(process.pids) - 1
            _name(watch.first, process, watch.depth)
        elif process.pid not in self._owner:
            added = self._add(watch, process.pid, _label(process, watch.depth), process.at_ns)
            added.threaded = process.threads != 1
            _name(added, process, watch.depth)


def bring(host: DockerHost, labels: dict[str, str]) -> tuple[Witness | None, str]:
    """A witness on the engine, and which it is; or None, and why there is none. Raises nothing: the run goes on."""
    try:
        container = WitnessContainer.start(host, labels)
    except WitnessFailed as failure:
        return None, f"none, so that lost processes are not proved: {failure}"
    return Witness(container), container.describe()


def _name(process: FollowedProcess, told: Named, depth: int) -> None:
    process.inner = _inner(told, depth)
    process.label = _label(told, depth)


def _label(process: Named, depth: int) -> str:
    return f"{process.name} (PID {_inner(process, depth)})"


def _inner(process: Named, depth: int) -> int:
    """Its pid inside the container."""
    return process.pids[depth] if depth < len(process.pids) else process.pids[-1]
