"""The keywords of `check` and `run`: the options of the command line in Python's types, and their way there."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol, TypedDict, get_origin, get_type_hints

from stop_harness.errors import ScenarioError, StopHarnessError, UsageError

Duration = float | str
"""Seconds, or a text with a unit such as `"500ms"`, `"10s"` or `"2m"`."""

StrPath = str | os.PathLike[str]


class HasContainer(Protocol):
    """A `DockerContainer` of testcontainers, or what is derived from it."""

    def get_wrapped_container(self) -> Any:
        """The docker SDK's container; None before its start."""


class IsContainer(Protocol):
    """A container of the docker SDK, or of another client whose containers have an `id`."""

    @property
    def id(self) -> str | None: ...


class EngineKeywords(TypedDict, total=False):
    """Keywords that `check` and `run` share.

    - `engine`: `"auto"`, `"docker"`, `"process"` or `"ecs"`.
    - `cluster`: the cluster of tasks, with `engine="ecs"`.
    - `run_task`: a JSON file with more input of RunTask, with `engine="ecs"`.
    - `jobs`: at most so many trials at once, or `"auto"`.
    - `repeat`: repeat each stop so many times.
    - `fast`: end a stop early if the process table shows how it would end.
    - `infer`: stop with the longest timeout only and derive what shorter ones would give.
    - `faults`: try every stop also under these standard faults: `"standard"` for all of them, or names.
    - `until_sure`: repeat stops until they are shown to be graceful.
    - `confidence`: how certain `until_sure` has to be, between 0 and 1.
    - `reliability`: what share of stops it has to show to be graceful, between 0 and 1.
    - `max_repeat`: give it up after so many repetitions.
    - `max_time`: begin no further repetition after this time.
    - `try_fixes`: try changes that may cure a bad stop.
    - `witness`: add a small container that sees every process of the engine's machine.
    - `keep`: keep the containers of trials that did not pass.
    - `report_dir`: write the report into a new folder in here; without it nothing is written.
    - `junitxml`, `sarif`, `code_quality`: also write JUnit XML, SARIF 2.1.0, or a report for GitLab, to this file.
    - `share_report`: let other users read the report, as far as the umask allows.
    - `show_values`: show the values of environment variables in the report.
    - `base_image`: replace the base image of Dockerfiles that have `ARG BASE_IMAGE`.
    """

    engine: str
    cluster: str
    run_task: StrPath
    jobs: int | str
    repeat: int
    fast: bool
    infer: bool
    faults: str | Sequence[str]
    until_sure: bool
    confidence: float
    reliability: float
    max_repeat: int
    max_time: Duration
    try_fixes: bool
    witness: bool
    keep: bool
    report_dir: StrPath
    junitxml: StrPath
    sarif: StrPath
    code_quality: StrPath
    share_report: bool
    show_values: bool
    base_image: str


class RunKeywords(EngineKeywords, total=False):
    """Keywords of `run` alone.

    - `shard`: run only one part, such as `"2/5"`.
    - `seed`: shuffle trials that last equally long.
    - `fail_fast`: end the run at the first failure.
    - `baseline`: a run directory; say what changed since that run.
    - `fail_on_slower`: a stop that is slower than in the baseline is a failure.
    """

    shard: str
    seed: int
    fail_fast: bool
    baseline: StrPath
    fail_on_slower: bool


class ResumeKeywords(TypedDict, total=False):
    """Keywords of `resume_run`: options that do not change what is run. Each is as it was where it is not given.

    - `jobs`: at most so many trials at once, or `"auto"`.
    - `keep`: keep the containers of trials that did not pass.
    - `junitxml`, `sarif`, `code_quality`: also write JUnit XML, SARIF 2.1.0, or a report for GitLab, to this file.
    - `baseline`: a run directory; say what changed since that run.
    - `fail_on_slower`: a stop that is slower than in the baseline is a failure.
    """

    jobs: int | str
    keep: bool
    junitxml: StrPath
    sarif: StrPath
    code_quality: StrPath
    baseline: StrPath
    fail_on_slower: bool


class CheckKeywords(EngineKeywords, total=False):
    """Keywords of `check` alone: what is stopped, how, and what is expected of it.

    What is stopped is one of `image`, `build` (a folder with a Dockerfile), `compose` (files) with `services`,
    `kubernetes` (a manifest), `task_definition` (of Amazon ECS), `container` (one that runs already), or a bare
    `command`.

    - `command`: the words of a command, in place of the image's.
    - `profiles`, `down`: profiles of the Compose file; stop the whole project.
    - `container`: one that runs already: its name or id, or an object of testcontainers or the docker SDK; with
      `kubernetes` the name of the one container of the pod that is judged.
    - `restart`: start that container again after each stop.
    - `workload`: which workload of the manifest.
    - `images`: other images for containers of the task or pod, by their names.
    - `task_name`, `parameters`: which task of the file; parameters of its CloudFormation template.
    - `ended_by`: how the task is ended: `"stop-task"`, `"scale-in"`, `"spot"`.
    - `timeouts`: SIGKILL comes after these times, one stop each; without any after 30 s.
    - `stop_signal`: in place of the image's.
    - `ready_log`: a regular expression; the container is ready when a line of its output matches.
    - `ready_tcp`: a port that accepts connections. `ready_http`: `PORT` or `"PORT/PATH"`.
    - `ready_healthcheck`: its HEALTHCHECK reports healthy. `ready_delay`: wait so much longer.
    - `ready_timeout`: give up if it is not ready by then; without it after 30 s.
    - `traffic_…`: clients of this kind at `PORT` or `"PORT/PATH"` while it stops, `clients` of each.
    - `traffic_message`, `traffic_tls`: what the WebSocket sends; speak TLS.
    - `through`: `"load_balancer"`, with `propagation`, `deregistration_delay`, `stop_delay`.
    - `faults`: a text names standard faults, as for `run`; a list says what goes wrong around each stop, such as
      `["cpu=0.2@with"]`, as `--fault` has it.
    - `within`: fail if the shutdown takes longer. `exit_codes`: accept these.
    - `env`, `init`, `memory`, `pids_limit` and all others: as the options of `docker run`.
    """

    image: str
    build: StrPath
    command: Sequence[str]
    compose: StrPath | Sequence[StrPath]
    services: Sequence[str]
    profiles: Sequence[str]
    down: bool
    kubernetes: StrPath
    container: str | HasContainer | IsContainer
    restart: bool
    workload: str
    task_definition: StrPath
    images: Mapping[str, str]
    task_name: str
    parameters: Mapping[str, str]
    ended_by: Sequence[str]
    timeouts: Sequence[Duration]
    stop_signal: str
    env: Mapping[str, str]
    init: bool
    memory: int | str
    pids_limit: int
    ready_log: str
    ready_tcp: int
    ready_http: int | str
    ready_healthcheck: bool
    ready_delay: Duration
    ready_timeout: Duration
    traffic_http: int | str
    traffic_http2: int | str
    traffic_grpc: str
    traffic_websocket: int | str
    traffic_sse: int | str
    traffic_stream: int | str
    traffic_keep_alive: int | str
    traffic_new_connections: int | str
    traffic_idle: int | str
    traffic_message: str
    traffic_tls: bool
    through: str
    propagation: Duration
    deregistration_delay: Duration
    stop_delay: Duration
    clients: int
    within: Duration
    exit_codes: Sequence[int]
    tty: bool
    interactive: bool
    user: str
    workdir: str
    env_file: Sequence[StrPath]
    volume: Sequence[str]
    tmpfs: Sequence[str]
    read_only: bool
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    security_opt: Sequence[str]
    privileged: bool
    ulimit: Mapping[str, str]
    cpus: float | str
    cpu_shares: int | str
    memory_swap: int | str
    shm_size: int | str
    pid: str
    ipc: str
    network: str
    hostname: str
    add_host: Sequence[str]
    sysctl: Mapping[str, str]
    label: Mapping[str, str]
    platform: str
    health_cmd: str
    health_interval: Duration
    health_timeout: Duration
    health_start_period: Duration
    health_retries: int
    no_healthcheck: bool


class WatchKeywords(TypedDict, total=False):
    """Keywords of `watch`.

    - `command`: the words of a command that is run meanwhile; exactly the stops that it asks for are judged.
    - `labels`: judge only stops of containers with all of these: `"KEY=VALUE"`, or `"KEY"`.
    - `report_dir`: write the report into a new folder in here; without it nothing is written.
    - `share_report`: let other users read the report, as far as the umask allows.
    """

    command: Sequence[str]
    labels: Sequence[str]
    report_dir: StrPath
    share_report: bool


OPTIONS = {
    "timeouts": "--timeout",
    "exit_codes": "--exit-code",
    "profiles": "--profile",
    "parameters": "--parameter",
    "images": "--image",
    "faults": "--fault",
    "stop_signal": "--signal",
    "for_s": "--for",
}
"""The option of the command line that a keyword stands for, where it is not the keyword with other dashes."""

_DEFAULTS: dict[str, Any] = {"engine": "auto", "jobs": "auto", "confidence": 0.95, "reliability": 0.99, "for_s": "5m"}
_PLACES = {"image": "IMAGE", "services": "SERVICE", "command": "--"}
"""Keywords that have no option: they stand in a place of the command line."""
_PLACE_WORDS = {"IMAGE": "image", "a command behind `--`": "command"}


def given(kind: type, keywords: Mapping[str, Any], function: str) -> dict[str, Any]:
    """The keywords in the form in which the command line hands its options over, with its defaults.

    Raises UsageError for a keyword that `kind`, one of the classes above, does not have, or of another type.
    """
    hints = get_type_hints(kind)
    for name in keywords:
        if name not in hints:
            near = get_close_matches(name, hints, 1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; it takes {', '.join(hints)}"
            raise UsageError(f"{function}() has no keyword {name!r}{meant}")
    found: dict[str, Any] = {}
    for name, hint in hints.items():
        value = keywords.get(name)
        found[name] = _absent(name, hint) if value is None else _read(name, hint, value, function)
    return found


def paths(given: tuple[object, ...], function: str) -> tuple[Path, ...]:
    """Arguments without a keyword. Raises UsageError for what is no path, such as a list of them."""
    for item in given:
        if not isinstance(item, str | os.PathLike):
            raise UsageError(
                f'{function}({item!r}): each path is an argument of its own, such as {function}("stops/", "web.yaml"); '
                "a list is given with a star"
            )
    return tuple(map(Path, given))  # type: ignore[arg-type] # each was looked at


def command_line(function: str, keywords: Mapping[str, Any]) -> tuple[str, ...]:
    """The command that asks for the same, for the report to show."""
    words, last = ["stop-harness", function], []
    for name, value in keywords.items():
        if value is None or value is False:
            continue
        if name == "command":
            last = ["--", *map(str, value)]
            continue
        if name == "faults" and value and (function == "run" or isinstance(value, str)):
            words += ["--faults", value if isinstance(value, str) else ",".join(value)]
            continue
        for text in _texts(name, value):
            words += [text] if name in _PLACES else [option_of(name)] if value is True else [option_of(name), text]
    return (*words, *last)


def option_of(name: str) -> str:
    """`--ready-http` of `ready_http`."""
    return _PLACES.get(name) or OPTIONS.get(name) or "--" + name.replace("_", "-")


def in_python(error: StopHarnessError) -> StopHarnessError:
    """The error with the names of keywords in place of those of options."""
    by_option = {option: name for name, option in OPTIONS.items()}

    def keyword(match: re.Match[str]) -> str:
        option = match[0].partition(" ")[0]
        return by_option.get(option) or option.removeprefix("--").replace("-", "_")

    def said(text: str) -> str:
        text = re.sub(r"stop-harness check IMAGE\b(?! --)", "check(image=…)", text)
        text = re.sub(r"\bIMAGE\b|a command behind `--`", lambda match: _PLACE_WORDS[match[0]], text)
        return re.sub(r"(?<![\w-])--[a-z][a-z0-9-]*( (?:DIR|FILE)\b)?", keyword, text)

    if isinstance(error, ScenarioError):
        return ScenarioError(tuple(map(said, error.problems)))
    return UsageError(said(str(error))) if type(error) is UsageError else error


@contextmanager
def told_in_python() -> Iterator[None]:
    """Errors name keywords instead of options."""
    try:
        yield
    except StopHarnessError as error:
        raised = in_python(error)
        if raised is error:
            raise
        raise raised from None


def _absent(name: str, hint: Any) -> Any:
    if name in _DEFAULTS:
        return _DEFAULTS[name]
    return False if hint is bool else () if _is_several(name, hint) else None


def _is_several(name: str, hint: Any) -> bool:
    return name in {"compose", "faults"} or get_origin(hint) in (Sequence, Mapping)


def _read(name: str, hint: Any, value: Any, function: str) -> Any:
    """One keyword's value as the option's. Raises UsageError."""
    if (name == "compose" and isinstance(value, str | os.PathLike)) or (name == "faults" and isinstance(value, str)):
        value = (value,)
    if not _fits(name, hint, value):
        raise UsageError(f"{function}({name}={value!r}): {_allowed(name, hint)}")
    if isinstance(value, Mapping):
        return tuple(f"{key}={item}" for key, item in value.items())
    if _is_several(name, hint):
        return tuple(value) if name == "exit_codes" else tuple(_text(name, item) for item in value)
    if name in PATHS:
        return Path(value)
    return value if isinstance(value, bool) or hint in (int, float) else _text(name, value)


def _fits(name: str, hint: Any, value: Any) -> bool:
    """Whether it is of the type that the keyword takes; what it says is for the scenario's reader to judge."""
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    if get_origin(hint) is Mapping:
        return isinstance(value, Mapping) and all(isinstance(item, str | int | float) for item in value.values())
    if _is_several(name, hint):
        return isinstance(value, Sequence) and not isinstance(value, str)
    if hint is int:
        return isinstance(value, int)
    if hint is float:
        return isinstance(value, float) and 0 < value < 1
    if hint is str or hint == StrPath:
        return isinstance(value, str) or (hint == StrPath and isinstance(value, os.PathLike))
    return isinstance(value, str | int | float)


PATHS = frozenset({"report_dir", "junitxml", "sarif", "code_quality", "run_task", "baseline", "write"})
"""Keywords that the command line reads as paths."""

DURATIONS = frozenset(
    {
        "timeouts",
        "ready_delay",
        "ready_timeout",
        "for_s",
        "propagation",
        "deregistration_delay",
        "stop_delay",
        "within",
        "max_time",
        "health_interval",
        "health_timeout",
        "health_start_period",
    }
)


def duration_text(value: Any) -> str:
    """`10s` of 10 and `0.5s` of 0.5; a text as it is, and what can be no time in a form that is none either."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.9f}".rstrip("0").rstrip(".") + "s"
    return f"{value}s" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _text(name: str, value: Any) -> str:
    """Of a time with its unit; of a path its name."""
    if name in DURATIONS:
        return duration_text(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        return tuple(f"{key}={item}" for key, item in value.items())
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return tuple(_text(name, item) for item in value) if several else (_text(name, value),)


def _allowed(name: str, hint: Any) -> str:
    """What a keyword takes, in a sentence."""
    if hint is bool:
        return "it is True or False"
    if get_origin(hint) is Mapping:
        return 'it takes a mapping, such as {"KEY": "value"}'
    if name == "timeouts":
        return "it takes a list of seconds or durations, such as [10, 30]"
    if name == "command":
        return 'it takes a list of words, such as ["python3", "server.py"]; shlex.split makes one of a text'
    if name == "faults":
        return 'it takes names of standard faults, such as "standard" or "cpu-starved", or a list'
    if _is_several(name, hint):
        return "it takes a list"
    if hint is float:
        return "it takes a number between 0 and 1"
    if hint is str or hint == StrPath:
        return "it takes a text" if hint is str else "it takes a path"
    return "it takes a whole number" if hint is int else "it takes a text or a number"
