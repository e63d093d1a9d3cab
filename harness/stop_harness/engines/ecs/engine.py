"""Engine `ecs`: subjects are tasks of an Amazon ECS cluster, stopped by StopTask. AWS, or our local endpoint.

ECS itself tells exit codes and a few time stamps; who ended a container is inferred from them. Where the local endpoint
answers, its measured stop is taken instead: the container engine's own events and times.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from stop_harness.engines.ecs.api import (
    POLL_LOCAL_S,
    POLL_REMOTE_S,
    EcsApi,
    EcsRefused,
    EcsSettings,
    Launcher,
    NoRoom,
    TaskWatch,
    stop_quietly,
    stop_run,
)
from stop_harness.engines.ecs.endings import MADE_HERE, SPOT_REQUEST, ending
from stop_harness.engines.ecs.reaper import EcsReaper
from stop_harness.engines.ecs.record import (
    engine_info,
    on_fargate,
    port_not_published,
    task_of,
    timeout_refused,
)
from stop_harness.engines.ecs.subject import EcsSubject
from stop_harness.engines.interface import PrepareProgress, SubjectFailed
from stop_harness.errors import BuildError, EngineError, UsageError
from stop_harness.model import (
    NS_PER_S,
    Configuration,
    EndedBy,
    EngineInfo,
    Problem,
    ProblemKind,
    Scenario,
    TaskDefinition,
    Trial,
)
from stop_harness.scenario.container_keys import refusal

NOT_TAKEN = frozenset({"ClientException", "InvalidParameterException"})
"""How ECS refuses a task definition, in difference to a lack of permissions or a mistake of its own."""


RUN_ENDED = "stop-harness: the run has ended"


class EcsEngine:
    """One run on one cluster. `on_close` ends what was started for it, such as a local endpoint; gives what it could
    not remove."""

    def __init__(
        self, run_id: str, settings: EcsSettings, on_close: Callable[[], tuple[str, ...]] = lambda: ()
    ) -> None:
        self._run_id, self._settings, self._on_close = run_id, settings, on_close
        self.api = EcsApi(settings)
        self._started_by = f"stop-harness-{run_id}"
        self._check_run_task()
        self._cluster_answers()
        self._ours = self.api.ours("info")
        self._info = engine_info(self._ours, self.api.url, self.api.cluster, self.api.region)
        self.launcher = Launcher(self.api, settings.run_task, self._started_by)
        self._on_spot = Launcher(self.api, {**settings.run_task, **SPOT_REQUEST}, self._started_by)
        self.watch = TaskWatch(self.api, POLL_LOCAL_S if self.local else POLL_REMOTE_S)
        self._reaper = None if settings.own_endpoint else EcsReaper(self._started_by, self.api.cluster, settings)
        self._definitions: dict[str, str] = {}
        self._registering = threading.Lock()
        self._lock = threading.Lock()
        self._living: set[str] = set()
        self._closed = False

    @property
    def local(self) -> bool:
        """Whether our own endpoint answers, so that its containers are on this machine."""
        return self._ours is not None

    def info(self) -> EngineInfo:
        """The cluster, and what can be proved on it."""
        return self._info

    def cannot_run(self, scenario: Scenario) -> str | None:
        """No folder can be built on a cluster, and only our own endpoint lets us near a container."""
        subject, ready = scenario.subject, scenario.readiness
        if subject.container is not None:
            return "a container that runs already is stopped by its own engine; `stop-harness stop-task` stops a task"
        if scenario.faults:
            return f"{scenario.location('faults')}: faults cannot be made on a cluster, only in containers of an engine"
        if subject.group is not None:
            return "a cluster of Amazon ECS runs tasks, no Compose projects or pods: give it a task definition"
        if subject.task is None and subject.image is None:
            return "a cluster runs images only: push the built image and name it"
        if subject.entrypoint == () and not subject.command:
            return "ECS cannot take away an image's ENTRYPOINT: give the command that is to run instead"
        if refused := refusal(subject, "ecs"):
            return refused
        if scenario.properties:
            return "`expect.after_stop` cannot be looked at: ECS shows no file of a container, and removes it by itself"
        if scenario.stop.ended_by is not EndedBy.STOP_TASK and not self._settings.own_endpoint:
            return MADE_HERE
        if scenario.stop.signal is not None:
            return "ECS has no setting for the stop signal; STOPSIGNAL of the image decides"
        if scenario.before_stop or ready.handler:
            return "nothing can be done inside a container of a cluster before the stop"
        check = subject.settings.healthcheck
        if ready.healthcheck and subject.task is None and not (check is not None and check.checks):
            return "ECS ignores an image's HEALTHCHECK; a task definition can have one of its own"
        if (ready.log or scenario.reached_ports) and not self.local:
            return "neither output nor ports of a container can be reached through ECS; use `ready: {delay: …}`"
        fargate = subject.task.fargate if subject.task is not None else on_fargate(self._settings.run_task)
        return port_not_published(scenario) or timeout_refused(scenario, fargate=fargate)

    def configuration(self, scenario: Scenario) -> Configuration:
        """What is known without the image."""
        return Configuration(scenario.subject.entrypoint or (), scenario.subject.command or (), None)

    def reference(self) -> None:
        """None: an image would have to be in a registry."""

    def prepare(self, scenarios: tuple[Scenario, ...], progress: PrepareProgress) -> None:
        """Register a task definition for every scenario and stop timeout. Raises BuildError where ECS refuses it."""
        for scenario in scenarios:
            for timeout_ns in scenario.stop.timeouts_ns:
                task = task_of(scenario, timeout_ns // NS_PER_S, self._settings.run_task)
                progress(scenario.name, f"registering task definition {task.family}")
                self._registered(scenario, task)

    def _registered(self, scenario: Scenario, task: TaskDefinition) -> str:
        """ARN of the task definition; one that was not prepared, as a remedy's, is registered now."""
        with self._registering:
            if task.document not in self._definitions:
                self._definitions[task.document] = self._register(scenario, task)
            return self._definitions[task.document]

    def _register(self, scenario: Scenario, task: TaskDefinition) -> str:
        document = json.loads(task.document)
        if mistakes := self.api.mistakes("register_task_definition", document):
            raise BuildError(f"{scenario.name}: the task definition cannot be registered: {mistakes}")
        try:
            answer = self.api.call("register_task_definition", **document)
        except EcsRefused as error:
            if error.code not in NOT_TAKEN:
                raise
            raise BuildError(f"{scenario.name}: {error}") from None
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def start(self, trial: Trial) -> EcsSubject:
        """RunTask."""
        task = task_of(trial.scenario, trial.stop_timeout_ns // NS_PER_S, self._settings.run_task)
        try:
            arn = self._registered(trial.scenario, task)
        except BuildError as error:
            raise SubjectFailed(Problem(ProblemKind.START_FAILED, str(error))) from None
        self.watch.check()
        how = ending(
            trial.scenario.stop.ended_by, task, self.api, self.launcher, self._on_spot, placement=self._placement(task)
        )
        try:
            started = how.launch(arn)
        except NoRoom as error:
            raise SubjectFailed(Problem(ProblemKind.ENGINE_FAILED, str(error))) from None
        with self._lock:
            self._living.add(started["taskArn"])
        self.watch.add(started)
        return EcsSubject(self, trial, task, started["taskArn"], how)

    def _placement(self, task: TaskDefinition) -> dict[str, Any]:
        """What our own endpoint, as ECS, has to be told of some tasks, and nobody else needs to say for it: that they
        run on Fargate, and a subnet. On a cluster of the user's, `--run-task` says it."""
        if not self._settings.own_endpoint:
            return {}
        awsvpc = json.loads(task.document).get("networkMode") == "awsvpc"
        network = {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-00000000"]}}}
        return {**({"launchType": "FARGATE"} if task.fargate else {}), **(network if awsvpc else {})}

    def stopped(self, arn: str) -> None:
        """A task that needs no more stopping."""
        with self._lock:
            self._living.discard(arn)

    def abort(self) -> None:
        """StopTask ends what waits for a task; a start itself has a time limit."""

    def leftovers(self) -> None:
        """None: a cluster is not asked for what it may be charged for."""

    def close(self) -> tuple[str, ...]:
        """Stop every task of the run and take back its task definitions. Idempotent."""
        with self._lock:
            if self._closed:
                return ()
            self._closed = True
        self.watch.close()
        left: tuple[str, ...] = ()
        if self._reaper is not None and self._all_stopped():
            self._take_back_definitions()
            self._reaper.dismiss()
        elif self._reaper is not None:
            left = (f"tasks that were started by {self._started_by} on cluster {self.api.cluster}",)
        return left + self._on_close()

    def _all_stopped(self) -> bool:
        """Stop what is left, by what ECS itself lists: a RunTask call whose answer was lost may have placed tasks too.

        False: something may go on running; the reaper tries again when the harness has ended.
        """
        try:
            if not stop_run(self.api, self._started_by, RUN_ENDED):
                return False
        except EcsRefused:  # without ecs:ListTasks only the tasks that are known can be stopped
            with self._lock:
                living = sorted(self._living)
            tried = [stop_quietly(self.api, arn, RUN_ENDED) for arn in living]
            return all(tried)
        except EngineError:
            return False
        return True

    def _take_back_definitions(self) -> None:
        for arn in self._definitions.values():
            try:
                self.api.call("deregister_task_definition", taskDefinition=arn)
                self.api.call("delete_task_definitions", taskDefinitions=[arn])
            except EcsRefused:  # without the permission it stays registered, which costs nothing
                continue
            except EngineError:
                return

    def _check_run_task(self) -> None:
        """Raises UsageError for input that RunTask does not have."""
        request = {**self._settings.run_task, "taskDefinition": "any"}
        if mistakes := self.api.mistakes("run_task", request):
            raise UsageError(f"--run-task: {mistakes}")

    def _cluster_answers(self) -> None:
        found = self.api.call("describe_clusters", clusters=[self.api.cluster])
        if not any(cluster.get("status") == "ACTIVE" for cluster in found.get("clusters", ())):
            raise EngineError(
                f"ecs at {self.api.url}: there is no active cluster {self.api.cluster!r} in {self.api.region}; "
                "name one with --cluster"
            )
