"""A container that somebody else started, during its stop: looked at, stopped, recorded; never removed.

It is stopped and recorded as any other. What differs is all here: nothing is made, nothing is removed, whatever
happens, and the engine may take it away itself as soon as it has ended (`--rm`), with its log and its state.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from stop_harness import signals
from stop_harness.engines.docker import reading, running, sdk
from stop_harness.engines.docker.engine_api import EngineApi
from stop_harness.engines.docker.running import RunningContainer
from stop_harness.engines.docker.stopped import in_network_of
from stop_harness.engines.docker.subject import LOG_LIMITS, DockerSubject
from stop_harness.engines.docker.timestamps import timestamp_ns
from stop_harness.engines.interface import ReadySigns, SubjectFailed
from stop_harness.errors import EngineError
from stop_harness.model import NS_PER_S, LogTail, Trial

if TYPE_CHECKING:
    from stop_harness.engines.docker.host import DockerHost
    from stop_harness.engines.docker.reaper import DockerReaper

LOG_ENDS_S = 2.0
"""For the rest of a log that is followed, once its container has ended."""


class ExistingSubject(DockerSubject):
    """The container that `subject.container` of the trial's scenario names.

    `owes`: it was stopped and is to be started again, which the reaper knows and does where we cannot. `not_started`:
    why it could not be started when that was tried last.
    """

    def __init__(self, trial: Trial, host: DockerHost, api: EngineApi, *, reaper: DockerReaper, **parts: Any) -> None:
        super().__init__(trial, host, api, **parts)
        assert trial.scenario.subject.container is not None
        self._container, self._reaper = trial.scenario.subject.container, reaper
        self._began_ns = 0
        self._followed: _FollowedLog | None = None
        self.owes = False
        self.not_started: str | None = None

    def attach(self) -> None:
        """Take it up as it runs. Raises SubjectFailed where it has ended since, EngineError where it is gone."""
        found = self._look(self._container.id)
        self._life = self._life_of(found.id, auto_remove=found.auto_remove)
        if not found.state.running:
            raise SubjectFailed(None, exit_code=found.state.exit_code)
        self._began_ns = timestamp_ns(found.started_at)
        self._events.begin_at(found.id, self._began_ns)
        wrapped = self._life.ask("inspect", self._api.client.containers.get, found.id)
        state = self._take_up(wrapped, in_network_of(wrapped.attrs, self._life, self._api))
        self.stop_signal = state.stop_signal or signals.SIGTERM
        self.stop_signal_source = "container" if state.stop_signal else "default"
        if found.auto_remove and not self._host.podman:
            self._followed = _FollowedLog(self._api, found.id)

    def _look(self, container_id: str) -> RunningContainer:
        return running.look(self._api, self._calls, container_id, same_kernel=self._host.same_kernel)

    def ready_signs(self) -> ReadySigns:
        """With the time for which it has been running, on the engine's clock where that is ours."""
        signs = super().ready_signs()
        return ReadySigns(
            signs.health_check, signs.health_patience_ns, signs.ports, max(0, time.time_ns() - self._began_ns)
        )

    def stop(self, stop_timeout_ns: int) -> None:
        """The engine's own stop call, after the promise to start it again where that is asked for."""
        if self._container.restart:
            self._reaper.owe(self._container.id, stop_timeout_ns / NS_PER_S)
            self.owes = True
        super().stop(stop_timeout_ns)

    def logs(self) -> LogTail:
        """Of one that the engine has removed, as far as it was followed."""
        if self._followed is not None and self._started.died:
            return self._followed.tail()
        return super().logs()

    def abort(self) -> None:
        """Whatever waits for the engine returns now. A stop that it has begun goes on."""
        self._aborted.set()
        self._calls.abort()

    def keep(self) -> str:
        """How it stands, for it is always kept."""
        name, client = self._container.name, "podman" if self._host.podman else "docker"
        if self.owes:
            return f"container {name} was told to stop; a helper starts it again as soon as it has ended"
        try:
            found = self._calls.run("inspect", self._api.inspect_container, self._container.id, cleans_up=True)
            state = reading.state_of(found)
        except (EngineError, *sdk.READING_ERRORS):
            return f"container {name}: the engine does not say how it stands; `{client} ps -a` may"
        if not state.running:
            return (
                f"container {name} has ended with exit code {state.exit_code}; `{client} start {name}` starts it again"
            )
        if self._life is not None and self._life.stop_called_ns is not None:
            return f"container {name} still runs: the engine was told to stop it, and does so by itself"
        return f"container {name} runs on: it was not told to stop"

    def remove(self) -> None:
        """Nothing of it: it is somebody else's. It is started again where that is owed, unless it is aborted: then its
        stop may still go on, and the reaper waits for its end."""
        if self._followed is not None:
            self._followed.close()
        if self._life is not None:
            self._life.let_go()
        if self.owes and not self._aborted.is_set():
            self._start_again()

    def _start_again(self) -> None:
        life = self._started
        try:
            if life.state().running:  # a stop that failed may yet come to its end
                return
            life.start()
        except EngineError as error:
            self.not_started = f"container {self._container.name} could not be started again: {error}"
            return
        self.owes = False
        self._reaper.paid(life.id)


class _FollowedLog:
    """The end of a log, kept while it is written: a container that the engine removes takes its log with it."""

    def __init__(self, api: Any, container_id: str) -> None:
        self._kept, self._lines = b"", 0
        self._truncated = False
        self._stream: Any = None
        self._thread = threading.Thread(target=self._read, args=(api, container_id), name="log", daemon=True)
        self._thread.start()

    def _read(self, api: Any, container_id: str) -> None:
        with contextlib.suppress(*sdk.READING_ERRORS):
            self._stream = api.logs(container_id, stream=True, follow=True, tail=LOG_LIMITS.lines)
            for chunk in self._stream:
                self._lines += chunk.count(b"\n")
                whole = self._kept + chunk
                self._kept = whole[-LOG_LIMITS.keep_bytes :]
                self._truncated |= len(whole) > len(self._kept) or self._lines >= LOG_LIMITS.lines

    def tail(self) -> LogTail:
        """What is kept, once the log has ended."""
        self._thread.join(LOG_ENDS_S)
        return LogTail(self._kept.decode(errors="replace"), self._truncated)

    def close(self) -> None:
        """Follow it no longer."""
        with contextlib.suppress(AttributeError, *sdk.READING_ERRORS):
            self._stream.close()
