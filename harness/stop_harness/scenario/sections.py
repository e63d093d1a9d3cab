"""The sections of a scenario file, as pydantic models: keys, types, defaults, and what goes with what. Pure."""

from __future__ import annotations

import posixpath
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from stop_harness import units
from stop_harness.model import (
    DEFAULT_PIDS_LIMIT,
    ECS_STOP_TIMEOUT_S,
    NS_PER_S,
    EndedBy,
    Outcome,
)
from stop_harness.scenario import plain
from stop_harness.scenario import traffic as scenario_traffic
from stop_harness.scenario.faults import FaultSection, refuse_contradictions
from stop_harness.scenario.properties import PropertySection
from stop_harness.scenario.setting_values import (
    Capabilities,
    Cpus,
    CpuShares,
    ExtraHosts,
    HealthCheckSection,
    Hostname,
    IpcNamespace,
    Labels,
    Mounts,
    Network,
    OneOrMoreTexts,
    PidNamespace,
    PlatformName,
    Security,
    Swap,
    Sysctls,
    TmpfsMounts,
    Ulimits,
    User,
)
from stop_harness.scenario.traffic import Preparations, PreparationSection, TrafficSection
from stop_harness.scenario.values import (
    Argv,
    Duration,
    Durations,
    Ending,
    ExitCodes,
    Moments,
    Outcomes,
    Pattern,
    PidsLimit,
    Port,
    Ports,
    RawText,
    Section,
    Signal,
    Size,
    Text,
    one_or_list,
)
from stop_harness.scenario.waivers import WaiverSection


class ComposeSection(Section):
    """A Compose project, or one service of it."""

    file: OneOrMoreTexts = Field(
        description="Compose file, or a folder with one, relative to the scenario file; of several the later ones are "
        "merged over the earlier."
    )
    service: Text | None = Field(
        None, description="The service that is stopped, while those that it needs run on. Default: all are stopped."
    )
    profiles: OneOrMoreTexts = Field([], description="Profiles that are active.")


class KubernetesSection(Section):
    """The pod of a Kubernetes manifest."""

    file: Text = Field(description="Manifest, relative to the scenario file: YAML or JSON, of one or several objects.")
    workload: Text | None = Field(
        None, description="Which of several: a name, or kind/name. Pods, Deployments and what else has a pod."
    )
    container: Text | None = Field(
        None, description="The container that is judged; the whole pod is stopped. Default: all of them are judged."
    )


class SubjectSection(Section):
    """The container to stop."""

    image: Text | None = Field(None, description="Image to run; pulled when it is not there. Or `build`.")
    build: Text | None = Field(None, description="Folder with a Dockerfile, relative to the scenario file.")
    dockerfile: Text | None = Field(None, description="Dockerfile within the `build` folder. Default: Dockerfile.")
    target: Text | None = Field(None, description="Stage of the Dockerfile that is built. Default: the last.")
    build_args: dict[str, RawText] = Field({}, description="Build arguments of the Dockerfile.")
    entrypoint: Argv | None = Field(None, description="Replaces the image's ENTRYPOINT.")
    command: Argv | None = Field(None, description="Replaces the image's CMD.")
    environment: dict[str, RawText] = Field({}, description="Environment variables.")
    env_file: OneOrMoreTexts = Field([], description="Files of KEY=VALUE lines; `environment` wins over them.")
    user: User | None = Field(None, description="User to run as, or user:group, by name or number.")
    working_directory: Text | None = Field(
        None,
        description="Working directory in the container; `working_dir` is the same.",
        validation_alias=AliasChoices("working_directory", "working_dir"),
    )
    ports: Ports = Field({}, description="Container ports to publish, with a fixed host port or none for a free one.")
    init: bool = Field(False, description="Run under the engine's init (`docker run --init`).")
    memory: Size | None = Field(None, description="Memory limit; swap is not given on top.")
    pids_limit: PidsLimit = Field(
        DEFAULT_PIDS_LIMIT, description="Most processes and threads at once; -1: no limit, as the engine is set."
    )
    tty: bool = Field(False, description="Give it a terminal.")
    stdin_open: bool = Field(False, description="Keep its standard input open.")
    volumes: Mounts = Field([], description="Files and folders beside this file, volumes of its own, tmpfs.")
    tmpfs: TmpfsMounts = Field([], description="Paths that are kept in memory, such as /run.")
    read_only: bool = Field(False, description="Its root file system cannot be written to.")
    cap_add: Capabilities = Field([], description="Capabilities beyond the engine's default.")
    cap_drop: Capabilities = Field([], description="Capabilities of the default that it does not get.")
    security_opt: Security = Field([], description="Security options, such as no-new-privileges.")
    privileged: bool = Field(False, description="Every right on the engine's machine.")
    ulimits: Ulimits = Field([], description="Resource limits, such as {nofile: 1024}.")
    cpus: Cpus | None = Field(None, description="Most CPUs that it can use at once, such as 0.25.")
    cpu_shares: CpuShares | None = Field(None, description="Weight against other containers when CPUs are short.")
    memory_swap: Swap | None = Field(None, description="Memory and swap together; -1: as much swap as there is.")
    shm_size: Size | None = Field(None, description="Size of /dev/shm.")
    pid: PidNamespace | None = Field(None, description="`host`: it sees the processes of the engine's machine.")
    ipc: IpcNamespace | None = Field(None, description="IPC namespace.")
    network: Network | None = Field(None, description="`none`, `host`, `bridge`, or a network that the engine has.")
    hostname: Hostname | None = Field(None, description="Its host name.")
    extra_hosts: ExtraHosts = Field([], description="More names and addresses in its /etc/hosts.")
    healthcheck: HealthCheckSection | None = Field(None, description="A health check in place of the image's.")
    sysctls: Sysctls = Field([], description="Kernel parameters of its namespaces.")
    labels: Labels = Field([], description="Labels beside the harness's own.")
    platform: PlatformName | None = Field(None, description="Platform of the image, such as linux/arm64.")
    task_definition: Text | None = Field(
        None,
        description="File with a task definition of Amazon ECS, in any form that people have it in, relative to the "
        "scenario file.",
    )
    compose: ComposeSection | None = Field(None, description="A Compose project in place of a container of its own.")
    kubernetes: KubernetesSection | None = Field(None, description="A pod in place of a container of its own.")
    images: dict[str, Text] = Field(
        {}, description="Images to use instead of those of the task definition or the manifest, by container."
    )
    task_name: Text | None = Field(None, description="Which one, where the file has several task definitions.")
    parameters: dict[str, RawText] = Field({}, description="Parameters of the template that the task definition is in.")

    @property
    def read_from_files(self) -> bool:
        """Whether other files say how it runs, and with which stop timeouts it is stopped."""
        return (self.task_definition or self.compose or self.kubernetes) is not None

    @model_validator(mode="after")
    def _one_source(self) -> SubjectSection:
        sources = [self.image, self.build, self.task_definition, self.compose, self.kubernetes]
        if sources.count(None) != len(sources) - 1:
            raise ValueError("give exactly one of `image`, `build`, `task_definition`, `compose` and `kubernetes`")
        if self.compose is not None and (inside := sorted(self.model_fields_set - {"compose"})):
            raise ValueError(f"`{inside[0]}` belongs into the Compose file, or into a second one of `compose.file`")
        if self.kubernetes is not None and (inside := sorted(self.model_fields_set - {"kubernetes", "images"})):
            raise ValueError(f"`{inside[0]}` belongs into the manifest; beside it only `images` is allowed")
        for key in sorted(self.model_fields_set & _BESIDE_TASK) if self.task_definition is None else ():
            if key != "images" or self.kubernetes is None:
                raise ValueError(f"`{key}` goes with `task_definition`{' or `kubernetes`' if key == 'images' else ''}")
        outside = {"task_definition"} | _BESIDE_TASK
        if self.task_definition is not None and (inside := sorted(self.model_fields_set - outside)):
            allowed = "`images`, `parameters` and `task_name`"
            raise ValueError(f"`{inside[0]}` belongs into the task definition; beside it only {allowed} are allowed")
        if self.build is None and (self.dockerfile or self.build_args or self.target):
            raise ValueError("`dockerfile`, `target` and `build_args` go with `build`")
        return self

    @model_validator(mode="after")
    def _settings_fit(self) -> SubjectSection:
        swap = self.memory_swap
        if swap is not None and self.memory is None:
            raise ValueError("`memory_swap` goes with `memory`")
        if swap is not None and swap != -1 and swap < (self.memory or 0):
            raise ValueError("`memory_swap` is memory and swap together, so at least `memory`")
        targets = [posixpath.normpath(mount.target) for mount in (*self.volumes, *self.tmpfs)]
        if twice := next((target for target in targets if targets.count(target) > 1), None):
            raise ValueError(f"`volumes` and `tmpfs`: two mounts at {twice}")
        if self.network == "host" and any(name.startswith("net.") for name, _ in self.sysctls):
            raise ValueError("`sysctls`: net.* are those of the engine's machine where `network` is host")
        return self


_BESIDE_TASK = {"images", "parameters", "task_name"}


class HttpSection(Section):
    """A request that must be answered with a status below 400."""

    port: Port
    path: Annotated[str, StringConstraints(pattern=plain.PATH)] = "/"


class ReadySection(Section):
    """When the container counts as ready; every condition given must hold, then `delay` passes.

    Without any key but `timeout`: its health check, else its ports, else 1 s after its start; see docs/scenarios.md.
    """

    log: Pattern | None = Field(None, description="Regular expression found in the output; ^ and $ match at lines.")
    tcp: Port | None = Field(None, description="Port that accepts connections.")
    http: HttpSection | None = None
    healthcheck: bool = Field(False, description="The image's HEALTHCHECK reports healthy.")
    handler: bool = Field(False, description="PID 1, or the program below an init, takes the stop signal.")
    delay: Duration | None = Field(
        None, description="Time to wait after the conditions hold, or from the start where none is given."
    )
    timeout: Duration = Field(plain.READY_TIMEOUT_NS, description="Not ready by then: the trial is inconclusive.")


class StopSection(Section):
    """How the container is stopped."""

    timeouts: Durations = Field(
        [ECS_STOP_TIMEOUT_S * NS_PER_S],
        description="Stop timeouts; one trial each. Default: 30s, or what each container of a task definition says.",
    )
    signal: Signal | None = Field(None, description="Stop signal. Default: the image's STOPSIGNAL, else SIGTERM.")
    after: Moments = Field([0], description="Moment of the stop after readiness; a list or range: one trial each.")
    ended_by: Ending = Field(
        EndedBy.STOP_TASK,
        description="Who ends a task: StopTask, scale-in of its service, a Spot interruption.",
    )

    @model_validator(mode="after")
    def _no_twins(self) -> StopSection:
        for key, values in (("timeouts", self.timeouts), ("after", self.after)):
            if len(set(values)) != len(values):
                raise ValueError(f"`{key}` names the same duration twice")
        return self


PropertyList = list[PropertySection]
Properties = Annotated[
    PropertyList, BeforeValidator(one_or_list, json_schema_input_type=PropertyList | PropertySection)
]


class ExpectSection(Section):
    """What a trial must come to."""

    outcome: Outcomes = Field([Outcome.GRACEFUL], description="One outcome or a list of accepted ones.")
    timeout: Duration | None = Field(None, description="Applies to this stop timeout only. Default: to all others.")
    within: Duration | None = Field(None, description="Longest accepted shutdown duration.")
    exit_codes: ExitCodes | None = Field(None, description="Accepted exit codes. Default: 0 and 128 + stop signal.")
    after_stop: Properties = Field([], description="What must be true after the stop, whatever its outcome.")


ExpectList = Annotated[list[ExpectSection], Field(min_length=1)]


Expectations = Annotated[ExpectList, BeforeValidator(one_or_list, json_schema_input_type=ExpectList | ExpectSection)]


class ScenarioFile(Section):
    """A stop-harness scenario, version 1."""

    version: Literal[1]
    name: Annotated[str, StringConstraints(pattern=plain.NAME)] = Field(
        description="Lower-case letters, digits, dot, dash and underscore; unique within a run."
    )
    description: str = ""
    subject: SubjectSection
    ready: ReadySection = ReadySection()
    before_stop: Preparations = Field([], description="What is done between readiness and the stop.")
    traffic: TrafficSection = TrafficSection()
    stop: StopSection = StopSection()
    faults: list[FaultSection] = Field([], description="What goes wrong around the stop, made by the harness.")
    repeat: Annotated[int, Field(ge=1, le=10_000)] = Field(1, description="Repetitions, each in a fresh container.")
    expect: Expectations = Field([ExpectSection()], description="What the trials must come to.")
    waivers: list[WaiverSection] = Field([], description="Known failures that are let pass until a day.")

    @model_validator(mode="after")
    def _tasks_have_no_signal(self) -> ScenarioFile:
        if self.subject.task_definition is not None:
            if self.stop.signal is not None:
                raise ValueError("`stop.signal`: ECS has no such setting; STOPSIGNAL of the image decides")
            if self.before_stop or self.ready.handler:
                raise ValueError("`before_stop` and `ready.handler` cannot be done with a task definition")
        elif self.stop.ended_by is not EndedBy.STOP_TASK:
            raise ValueError("`stop.ended_by` goes with `subject.task_definition`: it is about tasks of Amazon ECS")
        return self

    @field_validator("faults")
    @classmethod
    def _faults_fit(cls, faults: list[Any], info: ValidationInfo) -> list[Any]:
        stop: StopSection | None = info.data.get("stop")  # None: it has mistakes of its own
        subject: SubjectSection | None = info.data.get("subject")
        if stop is None or subject is None:
            return faults
        if faults and subject.task_definition is not None:
            raise ValueError("a task of Amazon ECS is stopped by its cluster, where they cannot be made")
        own = subject.read_from_files and "timeouts" not in stop.model_fields_set
        refuse_contradictions(tuple(item.made() for item in faults), () if own else tuple(stop.timeouts))
        return faults

    @field_validator("expect")
    @classmethod
    def _expectations_fit(cls, expect: list[ExpectSection], info: ValidationInfo) -> list[ExpectSection]:
        named = [section.timeout for section in expect]
        stop: StopSection | None = info.data.get("stop")  # None: it has mistakes of its own
        subject: SubjectSection | None = info.data.get("subject")
        named_elsewhere = subject is not None and subject.read_from_files
        for timeout in named:
            if named.count(timeout) > 1:
                where = "without `timeout`" if timeout is None else f"for timeout {units.format_duration(timeout)}"
                raise ValueError(f"two entries {where}; one is enough")
            if timeout is not None and stop is not None and "timeouts" not in stop.model_fields_set and named_elsewhere:
                raise ValueError("`timeout` goes with `stop.timeouts`; without it those of its own file apply")
            if timeout is not None and stop is not None and timeout not in stop.timeouts:
                known = ", ".join(units.format_duration(value) for value in stop.timeouts)
                raise ValueError(
                    f"names timeout {units.format_duration(timeout)}, which `stop.timeouts` does not ({known})"
                )
        return expect


def allowed_keys(path: tuple[str | int, ...]) -> list[str]:
    """The keys of the section at `path`, found by walking the models as the data was walked."""
    model: Any = ScenarioFile
    for part in path:
        model = _SECTIONS.get(model, {}).get(str(part), model)
    return [field.alias or name for name, field in model.model_fields.items()]


_SECTIONS: dict[Any, dict[str, type[Section]]] = {
    ScenarioFile: {
        "subject": SubjectSection,
        "ready": ReadySection,
        "before_stop": PreparationSection,
        "traffic": TrafficSection,
        "stop": StopSection,
        "faults": FaultSection,
        "expect": ExpectSection,
        "waivers": WaiverSection,
    },
    SubjectSection: {"healthcheck": HealthCheckSection, "compose": ComposeSection, "kubernetes": KubernetesSection},
    ReadySection: {"http": HttpSection},
    ExpectSection: {"after_stop": PropertySection},
    TrafficSection: scenario_traffic.SECTIONS,
    scenario_traffic.TcpTraffic: {"exchanges": scenario_traffic.ExchangeSection},
    scenario_traffic.IdleTraffic: {"exchanges": scenario_traffic.ExchangeSection},
}
"""Section, key → the section below."""
