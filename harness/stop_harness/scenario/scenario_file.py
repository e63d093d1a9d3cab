"""Text → Scenario. Every mistake is reported with file:line:column, the key, and what is allowed. Pure.

YAML is composed to nodes first, because nodes know where they stand; pydantic models then check keys, types and values
and give the JSON Schema (`schema`).
"""

from __future__ import annotations

import difflib
import posixpath
from dataclasses import replace
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from yaml.constructor import ConstructorError

from stop_harness import units
from stop_harness.errors import ScenarioError
from stop_harness.model import (
    DEFAULT_PIDS_LIMIT,
    ECS_STOP_TIMEOUT_S,
    NS_PER_S,
    Expectation,
    Outcome,
    Positions,
    Readiness,
    Scenario,
    StopPlan,
    Subject,
)
from stop_harness.scenario import traffic as scenario_traffic
from stop_harness.scenario.traffic import Preparations, PreparationSection, TrafficSection
from stop_harness.scenario.values import (
    Argv,
    Duration,
    Durations,
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

Key = str | int
Path = tuple[Key, ...]

MAX_NODES = 20_000
"""A scenario is a page of text; more nodes than this is an alias bomb or the wrong file."""

MAX_DEPTH = 12
"""The format needs five levels; an alias that contains itself has no end."""

RAW_TEXT = {("subject", "environment"), ("subject", "build_args")}
"""Mappings whose values are taken as written, so that `PORT: 8000` and `FLAG: yes` mean what they look like."""

HEADERS = ("traffic", "headers")
"""First and last key of the path to such a mapping, whichever client it belongs to."""


# ── The file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class SubjectSection(Section):
    """The container to stop."""

    image: Text | None = Field(None, description="Image to run; pulled when it is not there. Or `build`.")
    build: Text | None = Field(None, description="Folder with a Dockerfile, relative to the scenario file.")
    dockerfile: Text | None = Field(None, description="Dockerfile within the `build` folder. Default: Dockerfile.")
    build_args: dict[str, RawText] = Field({}, description="Build arguments of the Dockerfile.")
    entrypoint: Argv | None = Field(None, description="Replaces the image's ENTRYPOINT.")
    command: Argv | None = Field(None, description="Replaces the image's CMD.")
    environment: dict[str, RawText] = Field({}, description="Environment variables.")
    user: Text | None = Field(None, description="User to run as.")
    working_directory: Text | None = Field(None, description="Working directory in the container.")
    ports: Ports = Field({}, description="Container ports to publish, with a fixed host port or none for a free one.")
    init: bool = Field(False, description="Run under the engine's init (`docker run --init`).")
    memory: Size | None = Field(None, description="Memory limit; swap is not given on top.")
    pids_limit: PidsLimit = Field(
        DEFAULT_PIDS_LIMIT, description="Most processes and threads at once; -1: no limit, as the engine is set."
    )
    task_definition: Text | None = Field(
        None, description="JSON file with a task definition of Amazon ECS, relative to the scenario file."
    )
    images: dict[str, Text] = Field({}, description="Images to use instead of the task definition's, by container.")

    @model_validator(mode="after")
    def _one_source(self) -> SubjectSection:
        if [self.image, self.build, self.task_definition].count(None) != 2:
            raise ValueError("give exactly one of `image`, `build` and `task_definition`")
        if self.images and self.task_definition is None:
            raise ValueError("`images` goes with `task_definition`")
        if self.task_definition is not None and (inside := sorted(self.model_fields_set - _TASK_KEYS)):
            raise ValueError(f"`{inside[0]}` belongs into the task definition; beside it only `images` is allowed")
        if self.build is None and (self.dockerfile or self.build_args):
            raise ValueError("`dockerfile` and `build_args` go with `build`")
        return self


_TASK_KEYS = {"task_definition", "images"}


class HttpSection(Section):
    """A request that must be answered with a status below 400."""

    port: Port
    path: Annotated[str, StringConstraints(pattern="^/")] = "/"


class ReadySection(Section):
    """When the container counts as ready; every condition given must hold, then `delay` passes."""

    log: Pattern | None = Field(None, description="Regular expression found in the output; ^ and $ match at lines.")
    tcp: Port | None = Field(None, description="Port that accepts connections.")
    http: HttpSection | None = None
    healthcheck: bool = Field(False, description="The image's HEALTHCHECK reports healthy.")
    handler: bool = Field(False, description="PID 1, or the program below an init, takes the stop signal.")
    delay: Duration | None = Field(
        None, description="Time to wait after the conditions hold. Default: 0s, or 1s where no condition is given."
    )
    timeout: Duration = Field(30 * NS_PER_S, description="Not ready by then: the trial is inconclusive.")


class StopSection(Section):
    """How the container is stopped."""

    timeouts: Durations = Field(
        [ECS_STOP_TIMEOUT_S * NS_PER_S],
        description="Stop timeouts; one trial each. Default: 30s, or what each container of a task definition says.",
    )
    signal: Signal | None = Field(None, description="Stop signal. Default: the image's STOPSIGNAL, else SIGTERM.")
    after: Moments = Field([0], description="Moment of the stop after readiness; a list or range: one trial each.")

    @model_validator(mode="after")
    def _no_twins(self) -> StopSection:
        for key, values in (("timeouts", self.timeouts), ("after", self.after)):
            if len(set(values)) != len(values):
                raise ValueError(f"`{key}` names the same duration twice")
        return self


class ExpectSection(Section):
    """What a trial must come to."""

    outcome: Outcomes = Field([Outcome.GRACEFUL], description="One outcome or a list of accepted ones.")
    timeout: Duration | None = Field(None, description="Applies to this stop timeout only. Default: to all others.")
    within: Duration | None = Field(None, description="Longest accepted shutdown duration.")
    exit_codes: ExitCodes | None = Field(None, description="Accepted exit codes. Default: 0 and 128 + stop signal.")


ExpectList = Annotated[list[ExpectSection], Field(min_length=1)]
Expectations = Annotated[ExpectList, BeforeValidator(one_or_list, json_schema_input_type=ExpectList | ExpectSection)]


class ScenarioFile(Section):
    """A stop-harness scenario, version 1."""

    version: Literal[1]
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")] = Field(
        description="Lower-case letters, digits, dot, dash and underscore; unique within a run."
    )
    description: str = ""
    subject: SubjectSection
    ready: ReadySection = ReadySection()
    before_stop: Preparations = Field([], description="What is done between readiness and the stop.")
    traffic: TrafficSection = TrafficSection()
    stop: StopSection = StopSection()
    repeat: Annotated[int, Field(ge=1, le=10_000)] = Field(1, description="Repetitions, each in a fresh container.")
    expect: Expectations = Field([ExpectSection()], description="What the trials must come to.")

    @model_validator(mode="after")
    def _tasks_have_no_signal(self) -> ScenarioFile:
        if self.subject.task_definition is not None:
            if self.stop.signal is not None:
                raise ValueError("`stop.signal`: ECS has no such setting; STOPSIGNAL of the image decides")
            if self.before_stop or self.ready.handler:
                raise ValueError("`before_stop` and `ready.handler` cannot be done with a task definition")
        return self

    @field_validator("expect")
    @classmethod
    def _expectations_fit(cls, expect: list[ExpectSection], info: ValidationInfo) -> list[ExpectSection]:
        named = [section.timeout for section in expect]
        stop: StopSection | None = info.data.get("stop")  # None: it has mistakes of its own
        subject: SubjectSection | None = info.data.get("subject")
        of_task = subject is not None and subject.task_definition is not None
        for timeout in named:
            if named.count(timeout) > 1:
                where = "without `timeout`" if timeout is None else f"for timeout {units.format_duration(timeout)}"
                raise ValueError(f"two entries {where}; one is enough")
            if timeout is not None and stop is not None and "timeouts" not in stop.model_fields_set and of_task:
                raise ValueError("`timeout` goes with `stop.timeouts`; without it the task definition's own apply")
            if timeout is not None and stop is not None and timeout not in stop.timeouts:
                known = ", ".join(units.format_duration(value) for value in stop.timeouts)
                raise ValueError(
                    f"names timeout {units.format_duration(timeout)}, which `stop.timeouts` does not ({known})"
                )
        return expect


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a scenario file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ScenarioFile.model_json_schema()}


# ── Parsing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def parse(text: str, source: str = "<text>") -> Scenario:
    """The scenario that `text` describes, with the positions of its keys.

    `source` is the file's path: it stands in messages, and `subject.build` is taken relative to its folder.
    Raises ScenarioError with every mistake found.
    """
    data, positions = _compose(text, source)
    try:
        file = ScenarioFile.model_validate(data)
    except ValidationError as error:
        found = sorted((positions.of(_where(detail)), _explain(detail)) for detail in error.errors())
        raise ScenarioError(tuple(f"{source}:{line}:{column}: {what}" for (line, column), what in found)) from None
    return replace(_scenario(file, source), positions=positions)


def from_data(data: dict[Any, Any], source: str) -> Scenario:
    """A scenario from plain data of the same form, for commands that need no file; `source` only names it in messages.

    `subject.build` is taken relative to the working directory. Raises ScenarioError.
    """
    try:
        file = ScenarioFile.model_validate(data)
    except ValidationError as error:
        raise ScenarioError(tuple(f"{source}: {_explain(detail)}" for detail in error.errors())) from None
    return replace(_scenario(file, ""), source=None)


def _scenario(file: ScenarioFile, source: str) -> Scenario:
    subject, ready, stop = file.subject, file.ready, file.stop
    folder = posixpath.dirname(source)

    def beside(path: str | None) -> str | None:
        return None if path is None else posixpath.normpath(posixpath.join(folder, path))

    return Scenario(
        name=file.name,
        description=file.description.strip(),
        source=source,
        subject=Subject(
            image=subject.image,
            build_directory=beside(subject.build),
            dockerfile=subject.dockerfile,
            build_args=tuple(subject.build_args.items()),
            entrypoint=_tuple(subject.entrypoint),
            command=_tuple(subject.command),
            environment=tuple(subject.environment.items()),
            user=subject.user,
            working_directory=subject.working_directory,
            ports=tuple(subject.ports.items()),
            init=subject.init,
            memory_bytes=subject.memory,
            pids_limit=_pids_limit(subject),
            task_file=beside(subject.task_definition),
            task_images=tuple(subject.images.items()),
        ),
        readiness=Readiness(
            log=ready.log,
            tcp_port=ready.tcp,
            http_port=ready.http.port if ready.http else None,
            http_path=ready.http.path if ready.http else "/",
            healthcheck=ready.healthcheck,
            handler=ready.handler,
            delay_ns=_ready_delay(ready),
            timeout_ns=ready.timeout,
        ),
        before_stop=scenario_traffic.preparations(file.before_stop),
        traffic=scenario_traffic.clients(file.traffic),
        stop=StopPlan(
            tuple(stop.timeouts),
            stop.signal,
            tuple(stop.after),
            own_timeouts=subject.task_definition is not None and "timeouts" not in stop.model_fields_set,
        ),
        repeat=file.repeat,
        expectations=tuple(
            Expectation(
                outcomes=tuple(section.outcome),
                stop_timeout_ns=section.timeout,
                within_ns=section.within,
                exit_codes=None if section.exit_codes is None else tuple(section.exit_codes),
            )
            for section in file.expect
        ),
    )


def _pids_limit(subject: SubjectSection) -> int | None:
    """A task definition has no such key; what runs it decides."""
    return None if subject.pids_limit == -1 or subject.task_definition is not None else subject.pids_limit


def _ready_delay(ready: ReadySection) -> int:
    """Without any condition a container is stopped 1 s after its start: most servers have their handlers by then, and
    a stop at once would measure the start-up race instead of the shutdown."""
    if ready.delay is not None:
        return ready.delay
    conditions = (ready.log, ready.tcp, ready.http, ready.healthcheck, ready.handler)
    return 0 if any(conditions) else NS_PER_S


def _tuple(words: list[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(words)


# ── YAML with positions ──────────────────────────────────────────────────────────────────────────────────────────────


def _compose(text: str, source: str) -> tuple[dict[Key, Any], Positions]:
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise ScenarioError((f"{source}:1:1: the file is empty; `stop-harness init` writes one to start from",))
        if not isinstance(root, yaml.MappingNode):
            raise ScenarioError((f"{source}:1:1: a scenario is a mapping of keys (version, name, subject, …)",))
        reader = _Reader(loader, source)
        data = reader.read(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        hint = "; indent with spaces, YAML allows no tabs there" if "'\\t'" in str(error.problem) else ""
        raise ScenarioError((f"{source}:{line}:{column}: not valid YAML: {error.problem}{hint}",)) from None
    except RecursionError:
        raise ScenarioError((f"{source}:1:1: nested too deeply; this is not a scenario",)) from None
    except yaml.YAMLError as error:
        raise ScenarioError((f"{source}:1:1: not valid YAML: {' '.join(str(error).split())}",)) from None
    if reader.problems:
        raise ScenarioError(tuple(reader.problems))
    assert isinstance(data, dict)
    return data, Positions(reader.places)


class _Loader(yaml.SafeLoader):
    """Merge keys (`<<`) double what they merge, so that they are bounded while they are merged."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MAX_NODES:
            raise ConstructorError(None, None, f"merged into more than {MAX_NODES} values", node.start_mark)


class _Reader:
    """Nodes → plain data, remembering where each key stands and collecting duplicate keys."""

    def __init__(self, loader: yaml.SafeLoader, source: str) -> None:
        self.loader, self.source = loader, source
        self.places: dict[Path, tuple[int, int]] = {}
        self.problems: list[str] = []
        self._count = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        if self._count > MAX_NODES or len(path) > MAX_DEPTH:
            problem = f"more than {MAX_NODES} values or {MAX_DEPTH} levels; this is not a scenario"
            raise ScenarioError((f"{self.source}:1:1: {problem}",))
        self.places.setdefault(path, _place(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        if (path[:-1] in RAW_TEXT or path[:1] + path[-2:-1] == HEADERS) and node.tag != "tag:yaml.org,2002:null":
            return node.value
        return self._construct(node)

    def _construct(self, node: yaml.Node) -> Any:
        """A plain value. PyYAML lets its own mistakes through for `2020-13-45` or `!!bool maybe`."""
        try:
            return self.loader.construct_object(node)
        except (ValueError, KeyError, AttributeError):
            kind = node.tag.rpartition(":")[2]
            problem = f"{_show(node.value)} does not read as {kind}; put it in quotes if text is meant"
            raise ConstructorError(None, None, problem, node.start_mark) from None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Key, Any]:
        seen: dict[Key, yaml.Mark] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key is one word, not a list or a mapping", key_node.start_mark)
            key = key_node.value
            if key in seen and key != "<<":
                mark = key_node.start_mark
                self.problems.append(
                    f"{self.source}:{mark.line + 1}:{mark.column + 1}: {key}: this key stands twice, "
                    f"first in line {seen[key].line + 1}; remove one"
                )
            seen[key] = key_node.start_mark
        self.loader.flatten_mapping(node)
        result: dict[Key, Any] = {}
        for key_node, value_node in node.value:
            key = self._construct(key_node)
            if not isinstance(key, str | int):
                key = str(key_node.value)
            self.places[(*path, key)] = _place(key_node)
            result[key] = self.read(value_node, (*path, key))
        return result


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _where(detail: ErrorDetails) -> Path:
    """The path of the offending key; pydantic appends "[key]" where a mapping's key itself is wrong."""
    path = detail["loc"]
    return path[:-1] if path[-1:] == ("[key]",) and detail["type"] != "extra_forbidden" else path


def _explain(detail: ErrorDetails) -> str:
    path = _where(detail)
    key = ".".join(str(part) for part in path) or "scenario"
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind in {"extra_forbidden", "invalid_key"}:
        return f"{key}: unknown key{_did_you_mean(str(path[-1]), _allowed_keys(path[:-1]))}"
    if kind == "missing":
        return f"{key}: this key is required"
    if kind == "value_error":
        return f"{key}: {context['error']}"
    if kind in {"enum", "literal_error"}:
        allowed = str(context["expected"]).replace(" or ", ", ").replace("'", "")
        return f"{key}: {_show(value)} is not allowed{_did_you_mean(str(value), allowed.split(', '))}"
    if kind == "string_type":
        return f"{key}: text is needed, not {_show(value)}; put it in quotes"
    if kind in {"model_type", "dict_type"}:
        return f"{key}: a mapping of keys is needed, not {_show(value)}"
    if kind == "string_pattern_mismatch":
        return f"{key}: {_show(value)} does not match {context['pattern']}"
    wanted = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ").replace("integer", "whole number")
    return f"{key}: {_show(value)} is not allowed; needed: {wanted}"


def _show(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _allowed_keys(path: Path) -> list[str]:
    """The keys of the section at `path`, found by walking the models as the data was walked."""
    model: Any = ScenarioFile
    for part in path:
        model = _SECTIONS.get(model, {}).get(str(part), model)
    return list(model.model_fields)


_SECTIONS: dict[Any, dict[str, type[Section]]] = {
    ScenarioFile: {
        "subject": SubjectSection,
        "ready": ReadySection,
        "before_stop": PreparationSection,
        "traffic": TrafficSection,
        "stop": StopSection,
        "expect": ExpectSection,
    },
    ReadySection: {"http": HttpSection},
    TrafficSection: scenario_traffic.SECTIONS,
    scenario_traffic.TcpTraffic: {"exchanges": scenario_traffic.ExchangeSection},
    scenario_traffic.IdleTraffic: {"exchanges": scenario_traffic.ExchangeSection},
}
"""Section, key → the section below."""


def _did_you_mean(word: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(word.lower(), allowed, n=1, cutoff=0.6)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"{hint or ';'} allowed: {', '.join(allowed)}"
