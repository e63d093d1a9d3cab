"""The container that a fault is made in, and how the engine is asked about it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from stop_harness import signals
from stop_harness.engines.docker import sdk
from stop_harness.engines.docker.calls import CallFailed, Calls, in_one_line
from stop_harness.engines.docker.container import ContainerLife
from stop_harness.engines.docker.events import EventStream
from stop_harness.engines.docker.faults.stop_call import CuttableStop
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.host_processes import PidOne
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.errors import EngineError
from stop_harness.model import Event, EventKind

TOLD_S = 5.0
"""For the engine to tell of what it has done; it takes 2 ms idle and some 100 under load."""

GONE = "it was gone already"
"""Why a fault was not made, where the container had ended by itself."""

HALF_WAY = frozenset({"stopping", "paused"})
"""Podman does not call it running then."""


class FaultedContainer(Protocol):
    """What of a container's subject is used. `run`: a command in it, with further settings of the API's exec; None: it
    did not end in time."""

    stop_signal: int | None
    pid_one: PidOne | None

    @property
    def container_id(self) -> str: ...
    def run(self, command: tuple[str, ...], timeout_ns: int, **settings: Any) -> int | None: ...


@dataclass(frozen=True)
class FaultScene:
    """One container. `pid_one`: its first process as this machine's /proc shows it; None where that is another
    machine's. `stop_call`: of a stop that can be cut; None: nothing of the trial cuts it."""

    container_id: str
    host: DockerHost
    api: Any
    calls: Calls
    events: EventStream
    pid_one: PidOne | None
    subject: FaultedContainer
    life: ContainerLife
    stop_call: CuttableStop | None
    stop_timeout_s: int

    @property
    def is_root_here(self) -> bool:
        """Whether we may do everything to its processes."""
        return self.pid_one is not None and os.geteuid() == 0

    def ask(self, what: str, call: Callable[..., Any], *arguments: Any, extra_s: float = 0.0) -> Any:
        """One call to the engine. Raises FaultNotApplied where it refuses, and where the container ended before it."""
        try:
            return self.calls.run(what, call, *arguments, extra_s=extra_s)
        except sdk.ENGINE_ERRORS as error:
            refused = str(CallFailed(self.host.url, what, error)) if self.runs() else GONE
            raise FaultNotApplied(refused) from None

    def in_background(self, what: str, call: Callable[..., Any], *, extra_s: float) -> None:
        """A call whose answer is not waited for, as it takes as long as the stop."""

        def wait() -> None:
            with contextlib.suppress(*sdk.CALL_ERRORS):
                self.calls.run(what, call, extra_s=extra_s)

        threading.Thread(target=wait, name=what, daemon=True).start()

    def inspect(self) -> dict[str, Any]:
        """What the engine says of the container now."""
        found: dict[str, Any] = self.ask("inspect", self.api.inspect_container, self.container_id)
        return found

    def host_config(self) -> dict[str, Any]:
        """Its limits and places, as the engine has them now."""
        found: dict[str, Any] = self.inspect().get("HostConfig") or {}
        return found

    def runs(self) -> bool:
        """Whether there is anything left to undo."""
        if self.events.died(self.container_id):
            return False
        if self.pid_one is not None:
            return self.pid_one.lives()
        try:
            state = self.calls.run("inspect", self.api.inspect_container, self.container_id)["State"]
            return bool(state["Running"]) or state.get("Status") in HALF_WAY
        except (*sdk.CALL_ERRORS, LookupError, TypeError):
            return False

    def update(self, values: dict[str, int]) -> None:
        """Change its limits. Not by the SDK, which knows neither NanoCpus nor PidsLimit."""
        url = self.api._url("/containers/{0}/update", self.container_id)

        def post() -> None:
            self.api._raise_for_status(self.api._post_json(url, data=values))

        self.ask("the update", post)

    def shell(self, script: str, *words: str, timeout_s: float = 30.0, user: str = "0") -> int:
        """A script in the container, as root; its exit code. `user`: "" for the container's own. Raises FaultNotApplied
        where that cannot be run."""
        try:
            code = self.subject.run(("/bin/sh", "-c", script, "sh", *words), round(timeout_s * 1e9), user=user)
        except EngineError as error:
            raise FaultNotApplied(f"no command could be run in the container: {in_one_line(error)}") from None
        if code in {126, 127} and not self.runs():  # so Docker says of a command that the end of the container overtook
            raise FaultNotApplied("it was gone before a command had run in it")
        if code in {126, 127}:
            raise FaultNotApplied("it needs a shell in the image, and what a shell calls")
        if code is None:
            raise FaultNotApplied(f"a command in the container had not ended after {timeout_s:g} s")
        return code

    def undo_while_it_runs(self, undo: Callable[[], None]) -> None:
        """Raises the FaultNotApplied of `undo`, unless the container has left meanwhile, which has taken all along."""
        if not self.runs():
            return
        try:
            undo()
        except FaultNotApplied:
            if self.runs():
                raise

    def undo_by_shell(self, script: str, *words: str) -> bool:
        """The same to undo something. False: it was not done, for who has left meanwhile has taken it along."""
        if not self.runs():
            return False
        try:
            code = self.shell(script, *words)
        except FaultNotApplied:
            if self.runs():
                raise
            return False
        if code != 0 and self.runs():
            raise FaultNotApplied(f"`{script}` exited with code {code} in the container")
        return code == 0

    # ── what the engine tells ───────────────────────────────────────────────────────────────────────────────────────

    def known(self) -> tuple[Event, ...]:
        """What the engine has told of it so far."""
        return self.events.of(self.container_id)

    def told(self, kind: EventKind, signal: int | None, known: tuple[Event, ...]) -> Event | None:
        """The engine's record of what was just done; None where it tells of nothing of the kind."""
        return self.events.next_of(self.container_id, kind, signal, known, TOLD_S)

    def stamped(self, told: Event | None) -> int | None:
        """When it happened, where the engine's clock is ours."""
        return told.at_ns if told is not None and self.host.same_kernel else None

    def send(self, signal: int) -> Applied:
        """`docker kill --signal`, and the engine's record of it."""
        known = self.known()
        self.ask(f"sending {signals.name(signal)}", partial(self.api.kill, self.container_id, signal=signal))
        if not self.host.info.observes_sigkill:  # it tells of no signals at all
            return Applied("the engine's answer", nothing)
        told = self.told(EventKind.SIGNAL_SENT, signal, known)
        if told is None:
            raise FaultNotApplied(f"the engine answered, but has no {signals.name(signal)} on record")
        return Applied("kill event", nothing, [told], begun_ns=self.stamped(told))


def nothing() -> None:
    """The undoing of a deed that is done."""
