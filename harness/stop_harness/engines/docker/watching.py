"""All containers of an engine, watched while others start and stop them.

One thread does everything: it waits for the engine's events, for the exit of each PID 1 (pidfd_open(2)), for SIGKILLs
that the kernel tells of, and for what is due. Nothing is done to any container.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from stop_harness import signals
from stop_harness.engines.docker import reading, running
from stop_harness.engines.docker.agenda import Agenda, together_s
from stop_harness.engines.docker.event_reader import EngineEvent, EventReader, StreamBroken, StreamResumed
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.plain_api import CONTAINER_ID, NotFound, PlainApi
from stop_harness.engines.docker.watched_container import KINDS, WatchedContainer
from stop_harness.engines.docker.watched_log import log_of_stop
from stop_harness.engines.docker.watched_table import WatchedTable
from stop_harness.errors import EngineError, UsageError
from stop_harness.evidence import watched_end
from stop_harness.evidence.watched_end import StopCall, WatchedEnd
from stop_harness.linux import proc
from stop_harness.linux.sigkill_trace import SentSigkill, SigkillTrace
from stop_harness.model import NS_PER_S, EndKind, EngineInfo

FIRST_LOOK_S, LOOK_EVERY_S = 1.0, 60.0
"""After its start a container is looked at, and then now and then: a program installs its handlers when it begins. A
look costs 0.1 to 0.3 ms for each process (measured)."""
ENGINE_LOOK_EVERY_S, ENGINE_LOOK_PAUSE_S = 600.0, 0.1
"""The same where the engine has to be asked, and between two such looks: each has its machine read all of /proc."""
SIGNAL_LOOK_S = 0.03
"""From the event of a stop signal to the look at whom it left there."""
GATHER_S, TELL_EVERY_S = 0.2, 1.0
"""While events come they are read this often, and ends told this often, many at a time: a wake-up and cold caches cost
several times what the work itself does. What comes after a while is not held up."""
LATE_LOOK_S = 1.0
"""From the stop signal to the look that shows whether anything has changed; as in a trial."""
STOP_TOLD_WITHIN_S = 3.0
"""From `die` to the `stop` event: 50 to 70 ms (measured), more on a busy machine."""
OOM_TOLD_WITHIN_S = 1.0
"""From `die` until the engine says that the OOM killer struck, where nobody else sent SIGKILL."""
GAP_CHECKED_AFTER_S = 1.0
"""From a new stream of events to the question who has ended meanwhile: what the engine tells again comes first."""
END_QUIET_S, END_PATIENCE_S = 0.2, 3.0
"""At the end: so long nothing must come, and so long is waited for the `die` of who has exited."""

MOST_TOLD = 256
"""Containers of which it is remembered that their end was told."""

PODMAN_REFUSED = (
    "watch needs Docker: Podman's events do not tell which signals a container was sent, so that a stop cannot be told "
    "from an exit; `stop-harness check` stops a container of Podman and judges that"
)


class EngineWatch:
    """From its making on nothing is missed. `labels`: `KEY` or `KEY=VALUE`, of the containers that are watched; all if
    empty. `note` is called with sentences about the watch itself. Raises EngineError, and UsageError for Podman."""

    def __init__(
        self, host: DockerHost, labels: Sequence[str] = (), note: Callable[[str], None] = lambda _: None
    ) -> None:
        if host.podman:
            raise UsageError(PODMAN_REFUSED)
        self.host, self._labels, self._note = host, tuple(labels), note
        self._lives: dict[str, WatchedContainer] = {}
        self._by_pid_one: dict[int, WatchedContainer] = {}
        self._given_by_image: dict[str, frozenset[str]] = {}
        self._agenda = Agenda()
        self._engine_looks: deque[WatchedContainer] = deque()
        self._found: deque[WatchedEnd] = deque()
        self._told: deque[str] = deque(maxlen=MOST_TOLD)
        self._ending_since: float | None = None
        self._telling_from = 0.0
        self._quiet_since = time.monotonic()
        self._api = PlainApi(host)
        self.calls_of: Callable[[str], tuple[StopCall, ...]] = lambda _container_id: ()
        """The stop calls of a container that were heard, by its id. Asked when it has ended."""
        self._trace: SigkillTrace | None = None
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._wake_up)
        self._reader = EventReader(host, self._selector, self._hear_all, labels)
        if host.same_kernel:
            with contextlib.suppress(OSError):  # then lost processes are not proved
                self._trace = SigkillTrace()
        for ring in self._trace.rings if self._trace is not None else ():
            self._selector.register(ring.fileno(), selectors.EVENT_READ, self._hear_sigkills)
        self.info: EngineInfo = replace(host.info, proves_lost_processes=self._trace is not None)
        self._agenda.note(0.0, self._hear_all)  # what came with the beginning of the stream is there already
        try:
            for container_id in self._running():
                self._take_in(container_id)
        except EngineError:
            self.close()
            raise

    @property
    def watched(self) -> int:
        """How many containers run."""
        return len(self._lives)

    def being_stopped(self) -> tuple[WatchedContainer, ...]:
        """Those that were sent their stop signal and have not exited. May be asked from any thread."""
        return tuple(item for item in tuple(self._lives.values()) if item.is_being_stopped)

    def ends(self) -> Iterator[WatchedEnd]:
        """Each end as soon as it is known what it was, until `finish` is called and what has ended by then is told."""
        while not self._is_finished():
            for key, _ in self._selector.select(self._agenda.due_in_s()):
                key.data()
            self._agenda.do_next()
            if self._found and (self._ending_since is not None or self._may_tell()):
                while self._found:
                    yield self._found.popleft()

    def finish(self) -> None:
        """Have `ends` come to its end. From any thread, and from a signal handler."""
        with contextlib.suppress(OSError):
            os.write(self._wake, b".")

    def close(self) -> None:
        """Listen no longer. Idempotent."""
        self._reader.close()
        self._api.close()
        for life in self._lives.values():
            life.forget_pid()
        if self._trace is not None:
            self._trace.close()
        self._selector.close()
        # Their numbers may soon be those of other files, and `finish` may still be called.
        ends, self._woken, self._wake = (self._woken, self._wake), -1, -1
        for end in ends:
            with contextlib.suppress(OSError):
                os.close(end)

    # ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _may_tell(self) -> bool:
        now = time.monotonic()
        if now < self._telling_from:
            return False
        self._telling_from = now + TELL_EVERY_S
        self._agenda.note(TELL_EVERY_S, lambda: None)  # for what is found until then
        return True

    def _wake_up(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)
        if self._ending_since is None:
            self._ending_since = self._quiet_since = time.monotonic()
            self._hear_all()
            self._agenda.note(END_QUIET_S, lambda: None)

    def _is_finished(self) -> bool:
        """Whether it is to end, and everything that has ended was told."""
        if self._ending_since is None:
            return False
        now = time.monotonic()
        awaited = any(life.has_exited for life in self._lives.values())
        if (awaited or now - self._quiet_since < END_QUIET_S) and now - self._ending_since < END_PATIENCE_S:
            self._agenda.note(END_QUIET_S / 2, lambda: None)
            return False
        for life in [life for life in self._lives.values() if life.died is not None]:
            self._settle(life)
        return not self._found

    # ── the engine's events ─────────────────────────────────────────────────────────────────────────────────────────

    def _hear_all(self) -> None:
        found = self._reader.take()
        if found:
            self._quiet_since = time.monotonic()
        # Without the kernel's word on who is killed, a look is needed at once; at the end nobody waits for more.
        may_wait = self._trace is not None and self._ending_since is None
        if self._reader.rest(more=bool(found) and may_wait):
            self._agenda.note(GATHER_S, self._hear_all)
        for item in found:
            if isinstance(item, EngineEvent):
                self._hear(item)
            elif isinstance(item, StreamBroken):
                self._note(f"the engine's events broke off ({item.reason}); trying again")
                for life in self._lives.values():
                    life.gap = True
            else:
                self._agenda.note(GAP_CHECKED_AFTER_S, lambda it=item: self._check_gap(it))  # type: ignore[misc]

    def _hear(self, event: EngineEvent) -> None:
        life = self._lives.get(event.container_id)
        if event.action == "start":
            if life is not None and life.started_with(event):
                return  # it was in the list of those that run
            if life is not None:  # its end was told and nothing more is waited for, or it was missed
                self._settle(life)
            self._take_in(event.container_id, event)
        elif life is None:
            self._hear_of_stranger(event)
        elif event.action in KINDS:
            life.hear(event)
            if event.action == "kill" and event.signal != signals.SIGKILL:
                self._look_at_signal(life, event.at_ns)
        elif event.action == "die":
            self._died(life, event)
        elif event.action == "rename":
            life.name = event.name
        elif event.action == "stop":
            life.stop_told = True
            if life.died is not None:
                self._settle(life)
        elif event.action == "destroy":
            self._settle(life)

    def _hear_of_stranger(self, event: EngineEvent) -> None:
        """Of a container that had ended when those that run were asked for, or was not heard to start. What is told of
        one after its end was told is nothing new."""
        if event.action != "die" or event.container_id in self._told:
            return
        self._take_in(event.container_id, event)
        self._settle(self._lives[event.container_id])

    def _died(self, life: WatchedContainer, event: EngineEvent) -> None:
        life.died = event
        self._hear_sigkills()
        if not life.is_told:
            self._agenda.note(STOP_TOLD_WITHIN_S, lambda: self._settle(life))
        elif life.may_be_oom:
            self._agenda.note(OOM_TOLD_WITHIN_S, lambda: self._settle(life))
        else:
            self._settle(life)

    def _settle(self, life: WatchedContainer, *, seen: bool | None = None) -> None:
        """Nothing more is waited for: say what its end was."""
        if life.over:
            return
        life.over = True
        self._drop(life)
        self._told.append(life.id)
        if not (life.left_orderly and life.exit_is_known):
            self._ask_after_end(life)
        known = life.life(seen=life.died is not None if seen is None else seen)
        known = replace(known, calls=self.calls_of(life.id))
        begun_ns = life.began_ns()
        if begun_ns is not None and not life.left_orderly and not life.removed:
            log = log_of_stop(self._api, life.id, begun_ns, known.exited.at_ns if known.exited is not None else None)
            if log is not None:
                known = replace(known, looks=replace(known.looks, log_after_signal=log.text, logs=log))
        self._found.append(watched_end.end(known, self.info))

    def _drop(self, life: WatchedContainer) -> None:
        if self._lives.get(life.id) is life:
            del self._lives[life.id]
        if life.pidfd is not None:
            self._selector.unregister(life.pidfd)
            life.forget_pid()
        if life.pid_one is not None and self._by_pid_one.get(life.pid_one) is life:
            del self._by_pid_one[life.pid_one]

    def _ask_after_end(self, life: WatchedContainer) -> None:
        try:
            life.described_after(reading.state_of(self._api.get(f"/containers/{life.id}/json")))
        except NotFound:
            life.removed = True
        except EngineError as error:
            self._note(str(error))

    # ── who runs ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _running(self) -> list[str]:
        query = {"filters": json.dumps({"label": self._labels})} if self._labels else {}
        return [str(item["Id"]) for item in self._api.get("/containers/json", **query)]

    def _take_in(self, container_id: str, event: EngineEvent | None = None) -> None:
        """Watch a container from now on."""
        name, image = (event.name, event.image) if event is not None else ("", "")
        since_ns = time.time_ns() if event is None else None
        life = WatchedContainer(container_id, name, image)
        try:
            answer = self._api.get(f"/containers/{container_id}/json")
            found = running.described(answer, same_kernel=self.host.same_kernel)
            if event is None and not found.state.running:
                return  # it has ended since the list was made, and its `die` is not ours to tell
            environment = self._given(answer)
            table = WatchedTable(found, self.host, self._api.get)
            life = WatchedContainer(
                container_id,
                name,
                image,
                found=found,
                table=table,
                environment=environment,
                heard_since_ns=since_ns,
            )
        except NotFound:
            if event is None:
                return
        self._lives[container_id] = life
        if life.pid_one is not None and life.processes is not None:
            life.processes.listened = self._trace is not None
            self._by_pid_one[life.pid_one] = life
        if life.processes is not None:
            self._agenda.note(
                together_s(FIRST_LOOK_S) if event is not None else 0.0, lambda: self._look(life), unless=life.is_past
            )
        if life.pidfd is not None:
            self._selector.register(life.pidfd, selectors.EVENT_READ, lambda: self._gone(life))

    def _gone(self, life: WatchedContainer) -> None:
        if life.pidfd is not None:
            self._selector.unregister(life.pidfd)
            life.gone()

    def _given(self, answer: dict[str, Any]) -> tuple[tuple[str, str], ...]:
        """The environment variables that are not the image's own."""
        image = str(answer.get("Image") or "")
        if image and image not in self._given_by_image:
            try:
                config = self._api.get(f"/images/{image}/json").get("Config") or {}
                self._given_by_image[image] = frozenset(map(str, config.get("Env") or ()))
            except (EngineError, AttributeError, TypeError):
                self._given_by_image[image] = frozenset()
        own = self._given_by_image.get(image, frozenset())
        pairs = [str(pair) for pair in (answer.get("Config") or {}).get("Env") or () if pair not in own]
        return tuple((name, value) for name, _, value in (pair.partition("=") for pair in pairs))

    def _check_gap(self, resumed: StreamResumed) -> None:
        """After a while in which nobody listened: who has ended, who has started, and what was missed."""
        try:
            running_now = self._running()
            for life in [life for life in self._lives.values() if life.gap and not life.over]:
                if life.id not in running_now or self._has_started_again(life):
                    self._settle(life)
            for container_id in running_now:
                if container_id not in self._lives:
                    self._take_in(container_id)
        except EngineError as error:
            self._note(str(error))
            return
        unseen = sum(end.kind is EndKind.UNSEEN for end in self._found)
        for life in self._lives.values():
            life.gap = resumed.missed and life.is_being_stopped
            if resumed.missed:
                life.heard_since_ns = time.time_ns()
        what = "nothing was missed: it told again what happened meanwhile"
        if resumed.missed:
            what = f"what happened meanwhile is not known{f'; {unseen} containers ended unseen' if unseen else ''}"
        self._note(f"the engine answers again after {resumed.silent_ns / NS_PER_S:.1f} s; {what}")

    def _has_started_again(self, life: WatchedContainer) -> bool:
        if life.found is None:
            return False
        answer = self._api.get(f"/containers/{life.id}/json")
        return running.described(answer, same_kernel=False).started_at != life.found.started_at

    # ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self, life: WatchedContainer) -> None:
        if life.processes is None:
            return
        if life.processes.table.by_engine:
            self._wait_for_engine_look(life)
            return
        life.look_between_stops()
        self._agenda.note(together_s(LOOK_EVERY_S), lambda: self._look(life), unless=life.is_past)

    def _wait_for_engine_look(self, life: WatchedContainer) -> None:
        self._engine_looks.append(life)
        if len(self._engine_looks) == 1:
            self._agenda.note(0.0, self._look_by_engine)

    def _look_by_engine(self) -> None:
        life = self._engine_looks[0]
        if life.processes is not None and not (life.over or life.has_exited):
            life.look_between_stops()
            self._agenda.note(ENGINE_LOOK_EVERY_S, lambda: self._look(life), unless=life.is_past)
        self._engine_looks.popleft()
        if self._engine_looks:
            self._agenda.note(ENGINE_LOOK_PAUSE_S, self._look_by_engine)

    def _look_at_signal(self, life: WatchedContainer, at_ns: int) -> None:
        processes = life.processes
        if processes is None or life.has_exited:
            return
        signal_ns = at_ns - (time.time_ns() - time.monotonic_ns())
        # Who leaves at once need not be looked at where the kernel tells whom that took along.
        first_s = SIGNAL_LOOK_S if processes.listened else 0.0
        since_s = (time.monotonic_ns() - signal_ns) / NS_PER_S
        self._agenda.note(first_s - since_s, lambda: processes.look_at_signal(signal_ns), unless=life.is_past)
        self._agenda.note(LATE_LOOK_S - since_s, processes.look_late, unless=life.is_past)

    def _hear_sigkills(self) -> None:
        if self._trace is None:
            return
        for sent in self._trace.read():
            self._struck(sent)
        if not self._trace.complete:
            self._trace.complete = True
            self._doubt(time.monotonic_ns())

    def _struck(self, sent: SentSigkill) -> None:
        """Whose process a SIGKILL has struck."""
        if sent.target in self._by_pid_one:
            return  # PID 1 itself: the engine's events have it
        if sent.by_kernel and sent.sender in self._by_pid_one:
            self._kill_of(self._by_pid_one[sent.sender], sent)
            return
        target, sender = (proc.text_of(pid, "cgroup") for pid in (sent.target, sent.sender))
        named = CONTAINER_ID.findall(target) or CONTAINER_ID.findall(sender)
        known = [self._lives[container_id] for container_id in named if container_id in self._lives]
        if not target:  # it is gone
            known += [it for it in self._by_pid_one.values() if it.processes and it.processes.knows(sent.target)]
        if known:
            self._kill_of(known[0], sent)
        elif not target and not sender and not sent.by_kernel:
            # What the kernel sends goes to the namespace of its sender, which is none of these.
            self._doubt(sent.at_ns)

    def _kill_of(self, life: WatchedContainer, sent: SentSigkill) -> None:
        if life.processes is not None:
            life.processes.kills.append(sent)

    def _doubt(self, at_ns: int) -> None:
        for life in self._lives.values():
            if life.processes is not None:
                life.processes.doubtful_ns.append(at_ns)
