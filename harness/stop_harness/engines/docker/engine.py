"""The docker engine: any Docker Engine API. Calls go over plain connections or by the docker SDK (`engine_api.py`),
testcontainers' strategies wait for ports and health; the engine's own stop call stops the subject.

Podman's compatible API is the same class; its differences are marked `Podman` where they are handled. testcontainers'
`stop()` is never used: it is a forced remove, that is SIGKILL.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stop_harness.engines.docker import engine_api, names, sdk, stopped
from stop_harness.engines.docker.address import socket_file
from stop_harness.engines.docker.calls import GRACE_S, Calls, in_one_line, time_limit_s
from stop_harness.engines.docker.clearing import clear
from stop_harness.engines.docker.events import EventStream
from stop_harness.engines.docker.existing import ExistingSubject
from stop_harness.engines.docker.host import DockerHost, find
from stop_harness.engines.docker.images import Images
from stop_harness.engines.docker.members import alone, tested
from stop_harness.engines.docker.reaper import OWNER_LABEL, RUN_LABEL, DockerReaper, left_by_dead_runs, owner
from stop_harness.engines.docker.subject import DockerSubject
from stop_harness.engines.interface import WITNESS_CAVEAT, PrepareProgress
from stop_harness.errors import EngineError
from stop_harness.linux.process_connector import ProcessConnector
from stop_harness.linux.signal_trace import SignalTrace
from stop_harness.linux.silent_kills import Watches
from stop_harness.model import Configuration, EngineInfo, Group, MountKind, PortProperty, Scenario, Trial

if TYPE_CHECKING:
    from stop_harness.engines.docker.faults.image_contents import ImageContents
    from stop_harness.engines.docker.group_subject import GroupSubject
    from stop_harness.engines.docker.packet_container import Lacking


class DockerEngine:
    """A Docker or Podman engine, with one event stream and one reaper for the whole run."""

    def __init__(
        self, run_id: str, *, base_image: str | None = None, host: DockerHost | None = None, with_witness: bool = False
    ) -> None:
        self._host = host or find()
        self._wants_witness = with_witness
        self._witness_caveat: str | None = None
        self._labels = {RUN_LABEL: run_id}
        self._limit_s = time_limit_s()
        self._calls = Calls(self._host.url, self._limit_s)
        self._api = self._shared_api(self._limit_s + GRACE_S)
        self._images = Images(self._api, self._labels, base_image)
        self._run_id = run_id
        self._contents: dict[str, ImageContents] = {}
        self._lacking: Lacking | None = None
        self._events: EventStream | None = None
        self._reaper: DockerReaper | None = None
        self._connector: Watches | None = None
        self._trace: SignalTrace | None = None
        self._keeping = threading.Event()
        self._lock = threading.Lock()
        self._starting: set[DockerSubject | GroupSubject] = set()
        self._aborted = False
        self._unsure = self._makes_networks = False
        self._existing: tuple[str, ...] = ()
        self._taken_up: list[ExistingSubject] = []

    def _shared_api(self, timeout_s: float) -> engine_api.EngineApi:
        def make_client() -> sdk.DockerClient:
            from stop_harness.engines.docker.shared_client import shared_client  # late: with it comes the SDK

            return shared_client(self._host, timeout_s)

        return engine_api.of(self._host.address, self._host.api_version, timeout_s, make_client=make_client)

    def info(self) -> EngineInfo:
        """As the engine described itself when it was found, with what a witness adds."""
        info = self._host.info
        if self._witness_caveat is None:
            return info
        caveats = (*info.caveats, self._witness_caveat)
        return replace(info, proves_lost_processes=self._connector is not None, caveats=caveats)

    def cannot_run(self, scenario: Scenario) -> str | None:
        """Whole tasks, which go to a local ECS endpoint on the same engine; and files of this machine on another."""
        if scenario.subject.task is not None:
            return "a task definition needs an ECS endpoint"
        binds = any(mount.kind is MountKind.BIND for item in alone(scenario) for mount in item.subject.settings.mounts)
        if binds and socket_file(self._host.address) is None:
            return "files of this machine cannot be mounted: the engine is on another machine, or may be"
        ports = (item.port for item in scenario.properties if isinstance(item, PortProperty))
        taken = next(filter(None, (stopped.port_problem(tested(scenario), port) for port in ports)), None)
        if taken is not None or not scenario.faults:
            return taken
        from stop_harness.engines.docker.faults import image_contents, refusals  # late: most scenarios have none

        contents = self._contents.get(self._images.of(image_contents.made_in(scenario))) if self._contents else None
        return refusals.refusal(scenario, self._host, contents, self._tried)

    def _tried(self) -> Lacking | None:
        """Whether a container of ours can disturb the packets of others here: once, for the first scenario that asks
        for it. None: there is nobody yet who would remove it."""
        if self._lacking is None and self._reaper is not None:
            from stop_harness.engines.docker import packet_container

            self._lacking = packet_container.lacking(self._host, {**self._labels, OWNER_LABEL: owner()})
        return self._lacking

    def configuration(self, scenario: Scenario) -> Configuration:
        """The image's `Config`, with the scenario's settings in place of its own."""
        try:
            return self._images.configuration(tested(scenario))
        except sdk.ENGINE_ERRORS as error:
            raise EngineError(f"{self._host.url}: the image cannot be inspected: {in_one_line(error)}") from None

    def reference(self) -> Scenario | None:
        """An image of one file, made once and kept; None where nothing was prepared, or for another architecture, and
        where containers that run already are stopped: beside them nothing is started."""
        if self._events is None or self._existing:
            return None
        try:
            return self._images.reference()
        except sdk.ENGINE_ERRORS:
            return None

    def prepare(self, scenarios: tuple[Scenario, ...], progress: PrepareProgress) -> None:
        """Pull and build; then start listening and arm the reaper."""
        try:
            found = tuple(item.subject.container for item in scenarios)
            self._existing = tuple(container.id for container in found if container is not None)
            made = tuple(item for item in scenarios if item.subject.container is None)
            scenarios = tuple(part for item in made for part in alone(item))
            self._images.prepare(scenarios, progress)
            label = f"{RUN_LABEL}={self._run_id}"
            if self._host.same_kernel:
                with contextlib.suppress(OSError):  # then the engine's own stamps are all there is
                    self._trace = SignalTrace()
            holding = self._trace.files() if self._trace is not None else ()
            self._reaper = DockerReaper(self._run_id, self._host.address, holding=holding)
            labels = {**self._labels, OWNER_LABEL: owner()}
            names.check(self._api, scenarios, self._images.of, labels)
            self._contents = self._needed_contents(made, labels)
            # The engine's filters must hold together, and a run stops its own containers or those of others.
            ours = {"container": list(self._existing)} if self._existing else {"label": label}
            self._events = EventStream(self._host, **ours)
            if self._host.info.proves_lost_processes:
                with contextlib.suppress(OSError):  # then nothing is proved: lost_processes is None
                    self._connector = ProcessConnector()
            if self._wants_witness and self._connector is not None:
                self._witness_caveat = f"{WITNESS_CAVEAT}not needed, this kernel is listened to from here"
            elif self._wants_witness:
                from stop_harness.engines.docker import witness

                self._connector, said = witness.bring(self._host, labels)
                self._witness_caveat = WITNESS_CAVEAT + said
        except sdk.CONNECTION_ERRORS as error:
            raise EngineError(f"{self._host.url}: the engine stopped answering: {error}") from None
        except sdk.errors.APIError as error:
            raise EngineError(f"{self._host.url}: the images cannot be looked at: {in_one_line(error)}") from None

    def _needed_contents(self, scenarios: tuple[Scenario, ...], labels: dict[str, str]) -> dict[str, ImageContents]:
        if not any(item.faults for item in scenarios):
            return {}
        from stop_harness.engines.docker.faults import image_contents

        return image_contents.look(self._api, scenarios, self._host, self._images.of, labels)

    def start(self, trial: Trial) -> DockerSubject | GroupSubject:
        """Create and start the trial's container, or make what its group shares; take up one that runs already."""
        group = trial.scenario.subject.group
        subject = self._subject(trial) if group is None else self._group(trial, group)
        with self._lock:
            if self._aborted:
                raise EngineError("the run was interrupted")
            self._starting.add(subject)
        try:
            if isinstance(subject, ExistingSubject):
                subject.attach()
            elif isinstance(subject, DockerSubject):
                subject.start(self._images.of(trial.scenario), self._labels)
            else:
                subject.start(self._labels)
        except BaseException:
            self._unsure |= subject.unsure
            with contextlib.suppress(EngineError):  # `close` tries again
                subject.remove()
            raise
        finally:
            with self._lock:
                self._starting.discard(subject)
        return subject

    def _subject(self, trial: Trial) -> DockerSubject:
        assert self._events is not None, "prepare comes first"
        parts: dict[str, Any] = {
            "events": self._events,
            "connector": self._connector,
            "trace": self._trace,
            "keeping": self._keeping,
        }
        if self._contents and trial.scenario.faults:
            trial = self._told_the_time(trial)
        if trial.scenario.subject.container is None:
            return DockerSubject(trial, self._host, self._api, **parts)
        assert self._reaper is not None, "prepare comes first"
        subject = ExistingSubject(trial, self._host, self._api, reaper=self._reaper, **parts)
        self._taken_up.append(subject)
        return subject

    def _told_the_time(self, trial: Trial) -> Trial:
        """Where the clock of its container jumps, with what shows it another time."""
        from stop_harness.engines.docker.faults import clock

        contents = self._contents.get(self._images.of(trial.scenario))
        return trial if contents is None else clock.with_library(trial, contents)

    def _group(self, trial: Trial, group: Group) -> GroupSubject:
        from stop_harness.engines.docker.group_subject import GroupSubject  # late: most scenarios have one container

        self._makes_networks = True
        return GroupSubject(trial, group, self._host, self._api, make=self._subject, image_of=self._images.of)

    def abort(self) -> None:
        """Starts in flight fail now, and so do later ones."""
        with self._lock:
            self._aborted = True
            starting = tuple(self._starting)
        for subject in starting:
            subject.abort()

    def leftovers(self) -> str | None:
        """Containers whose harness is dead."""
        try:
            count = self._calls.run("the list of containers", left_by_dead_runs, self._api)
        except sdk.CALL_ERRORS:
            return None
        what = "1 container of a dead run is" if count == 1 else f"{count} containers of dead runs are"
        return f"{what} left on this engine; `stop-harness clean` removes them" if count else None

    def close(self) -> tuple[str, ...]:
        """Remove what is left of the run, unless it is kept, and end the helpers. What cannot be removed is left to the
        reaper, which goes on trying, and so is a container that is to be started again and could not be, for which
        EngineError is raised."""
        reaper, self._reaper = self._reaper, None
        left: tuple[str, ...] = ()
        for listener in (self._connector, self._trace):  # first: the kernel takes tens of milliseconds to let go
            if listener is not None:
                listener.close()
        if reaper is not None and not self._keeping.is_set():
            limit_s, hurry = self._limit_s, self._aborted
            _, left = clear(
                self._host, self._run_id, call_limit_s=limit_s, in_a_hurry=hurry, networks=self._makes_networks
            )
        if self._events is not None:
            self._events.close()
        owing = [subject for subject in self._taken_up if subject.owes]
        if reaper is not None and (left or self._unsure or owing) and not self._keeping.is_set():
            reaper.take_over()
        elif reaper is not None:
            reaper.dismiss()
        self._api.close()
        for subject in owing:
            if subject.not_started is not None:
                raise EngineError(f"{subject.not_started}; a helper goes on trying for a quarter of an hour")
        return left
