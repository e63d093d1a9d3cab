"""Amazon ECS over boto3: throttling, RunTask in batches, one DescribeTasks loop for all tasks; what our endpoint adds.

Used by `engines/ecs/engine.py` only. Nothing here imports `ecs_endpoint`: a local endpoint is met on the wire, like
AWS itself.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from stop_harness.errors import EngineError

Json = dict[str, Any]

BATCH = 10
"""RunTask starts at most ten tasks a call; DescribeTasks describes at most a hundred (API reference)."""
DESCRIBED_AT_ONCE = 100

BATCH_WINDOW_S = 0.1
"""How long a first request waits for others that want the same task started."""

POLL_LOCAL_S, POLL_REMOTE_S = 0.2, 1.0
"""How often tasks are described. The service allows some 20 such calls a second for an account and region."""

THROTTLED = frozenset({"ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException"})
THROTTLED_FOR_S = 120.0
"""After that the trial is inconclusive."""

ATTEMPTS = 5
"""Of botocore for each call, over some seconds; throttling is waited for beyond that."""

MISSING_FOR_S = 30.0
"""A task that DescribeTasks does not find for so long is gone. The API is eventually consistent: a task may be missing
right after RunTask (API reference, RunTask)."""

SILENT_FOR_S = 60.0
"""A service that cannot be described for so long is gone."""

MAX_CONNECTIONS = 256
EVIDENCE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class EcsSettings:
    """Where tasks run. `endpoint_url` None: as boto3 finds it (AWS_ENDPOINT_URL_ECS, else AWS itself).

    `run_task`: members of RunTask's input beside the task definition, such as `launchType` and `networkConfiguration`.
    `own_endpoint`: the harness serves it itself, on this machine, for whoever has `token` and nobody else.
    """

    cluster: str = "default"
    endpoint_url: str | None = None
    run_task: Json = field(default_factory=dict)
    own_endpoint: bool = False
    token: str | None = None


class EcsApi:
    """A boto3 client whose mistakes are EngineErrors, and the few things that our own endpoint tells beside."""

    def __init__(self, settings: EcsSettings) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        config = Config(
            retries={"mode": "standard", "max_attempts": ATTEMPTS},
            max_pool_connections=MAX_CONNECTIONS,
            user_agent_extra="stop-harness",
        )
        given: Json = {"config": config, "endpoint_url": settings.endpoint_url}
        if settings.own_endpoint:
            keys = {"aws_access_key_id": "stop-harness", "aws_secret_access_key": "stop-harness"}  # nosec B105 # no password
            given |= {"region_name": "us-east-1", **keys, "aws_session_token": settings.token}
        self._own_token = settings.token
        self._session = boto3.session.Session()
        try:
            self._client = self._session.client("ecs", **given)
        except (BotoCoreError, ValueError) as error:
            text = str(error).rstrip(".")
            raise EngineError(f"ecs: {text}; the AWS CLI's settings apply (`aws configure`)") from None
        self.cluster = settings.cluster
        self.url = str(self._client.meta.endpoint_url)
        self.region = str(self._client.meta.region_name)

    def call(self, operation: str, **request: Any) -> Json:
        """An operation, such as `run_task`. Raises EngineError; EcsRefused where ECS says no."""
        from botocore.exceptions import BotoCoreError, ClientError

        deadline, wait_s = time.monotonic() + THROTTLED_FOR_S, 0.5
        while True:
            try:
                return dict(getattr(self._client, operation)(**request))
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if code not in THROTTLED or time.monotonic() + wait_s > deadline:
                    raise EcsRefused(operation, code, error.response["Error"].get("Message", "")) from None
            except BotoCoreError as error:
                raise EngineError(f"ecs at {self.url}: {error}") from None
            time.sleep(wait_s * random.uniform(0.5, 1.5))  # nosec B311 # no secret
            wait_s = min(2 * wait_s, 20.0)

    def mistakes(self, operation: str, request: Json) -> str:
        """What botocore's model of an operation says against its input; empty if nothing."""
        from botocore.validate import ParamValidator

        name = self._client.meta.method_to_api_mapping[operation]
        shape = self._client.meta.service_model.operation_model(name).input_shape
        report = str(ParamValidator().validate(request, shape).generate_report())
        return _TYPES.sub(_plain_types, report)

    def ours(self, path: str, method: str = "GET") -> Json | None:
        """`/stop-harness/<path>` of our own endpoint; None from anybody else, or if it does not answer."""
        import http.client

        where = urlsplit(self.url)
        if where.hostname not in {"127.0.0.1", "localhost", "::1"}:
            return None  # AWS is not asked for what only our endpoint has
        kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        connection = kind(where.hostname, where.port, timeout=EVIDENCE_TIMEOUT_S)
        try:
            connection.request(method, f"/stop-harness/{path}", headers=self._token_header())
            answer = connection.getresponse()
            body = answer.read()
            found = json.loads(body) if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return found if isinstance(found, dict) else None

    def _token_header(self) -> dict[str, str]:
        """The session token, where there is one: `ecs serve --token` asks for it here as well."""
        credentials = None if self._own_token else self._session.get_credentials()
        token = credentials.get_frozen_credentials().token if credentials else self._own_token
        return {"X-Amz-Security-Token": token} if token else {}


_TYPES = re.compile(r", type: <class '[\w.]+'>, valid types: ((?:<class '[\w.]+'>(?:, )?)+)")

_TYPE_WORDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "decimal.Decimal": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "an object",
}


def _plain_types(found: re.Match[str]) -> str:
    """botocore's `type: <class 'str'>, valid types: <class 'int'>` as `needed: a whole number`."""
    names = re.findall(r"'([\w.]+)'", found[1])
    return "; needed: " + " or ".join(dict.fromkeys(_TYPE_WORDS.get(name, name) for name in names))


class EcsRefused(EngineError):
    """ECS answered with an error. `code` is its name, such as ClusterNotFoundException."""

    def __init__(self, operation: str, code: str, message: str) -> None:
        called = "".join(part.capitalize() for part in operation.split("_"))
        super().__init__(f"ecs: {called}: {code}: {message}")
        self.code, self.text = code, message


class NoRoom(EngineError):
    """RunTask placed fewer tasks than were asked for."""


class Launcher:
    """RunTask for many threads: those that want the same task started within a moment share one call."""

    def __init__(self, api: EcsApi, request: Json, started_by: str) -> None:
        self._api, self._request, self._started_by = api, request, started_by
        self._lock = threading.Lock()
        self._open: dict[str, _Batch] = {}

    def launch(self, definition: str, more: Json | None = None) -> Json:
        """One new task of a task definition (its ARN). `more`: members of RunTask that this definition needs. Raises
        NoRoom or EngineError."""
        with self._lock:
            batch = self._open.get(definition)
            place = 0 if batch is None else batch.count
            if batch is None:
                batch = self._open[definition] = _Batch()
            batch.count += 1
            if batch.count == BATCH:
                del self._open[definition]
                batch.full.set()
        if place:
            batch.done.wait()
        else:
            batch.full.wait(BATCH_WINDOW_S)
            with self._lock:
                if self._open.get(definition) is batch:
                    del self._open[definition]
            self._run(definition, batch, more or {})
        if batch.error is not None:
            raise batch.error
        if place < len(batch.tasks):
            return batch.tasks[place]
        failure = batch.failures[min(place - len(batch.tasks), len(batch.failures) - 1)] if batch.failures else {}
        reason = failure.get("reason") or "no reason given"
        detail = f" ({failure['detail']})" if failure.get("detail") else ""
        raise NoRoom(f"ecs: RunTask did not place the task in cluster {self._api.cluster}: {reason}{detail}")

    def _run(self, definition: str, batch: _Batch, more: Json) -> None:
        try:
            answer = self._api.call(
                "run_task",
                **{
                    **more,
                    **self._request,
                    "cluster": self._api.cluster,
                    "taskDefinition": definition,
                    "count": batch.count,
                    "startedBy": self._started_by,
                },
            )
            batch.tasks, batch.failures = list(answer["tasks"]), list(answer.get("failures", ()))
        except EngineError as error:
            batch.error = error
        finally:
            batch.done.set()


@dataclass
class _Batch:
    count: int = 0
    full: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    tasks: list[Json] = field(default_factory=list)
    failures: list[Json] = field(default_factory=list)
    error: EngineError | None = None


class TaskWatch:
    """The newest description of every task of the run, by one thread, in batches of a hundred."""

    def __init__(self, api: EcsApi, period_s: float) -> None:
        self._api, self.period_s = api, period_s
        self._changed = threading.Condition()
        self._tasks: dict[str, Json] = {}
        self._stopped_seen_ns: dict[str, dict[str, int]] = {}
        self._missing_since: dict[str, float] = {}
        self._live: set[str] = set()
        self._closing = False
        self._problem: EngineError | None = None
        self._thread = threading.Thread(target=self._poll, name="ecs watch", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises EngineError if the service is gone."""
        with self._changed:
            if self._problem is not None:
                raise self._problem

    def add(self, task: Json) -> None:
        """Follow a task from RunTask's answer on."""
        with self._changed:
            self._tasks[task["taskArn"]] = task
            self._live.add(task["taskArn"])
            self._changed.notify_all()

    def newest(self, arn: str) -> Json:
        """As last described."""
        with self._changed:
            return self._tasks[arn]

    def stopped_seen_ns(self, arn: str) -> dict[str, int]:
        """Container → when it was first seen STOPPED, CLOCK_MONOTONIC; at most one period late, and ECS's own delay."""
        with self._changed:
            return dict(self._stopped_seen_ns.get(arn, ()))

    def wait(self, arn: str, holds: Callable[[Json], bool], timeout_s: float, aborted: threading.Event) -> bool:
        """Whether `holds` came true of the task in time. Raises EngineError if the service is gone."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not holds(self._tasks[arn]):
                left_s = deadline - time.monotonic()
                if self._problem is not None:
                    raise self._problem
                if left_s <= 0 or aborted.is_set():
                    return False
                self._changed.wait(min(left_s, 1.0))
            return True

    def wake(self) -> None:
        """Waiters look again: one of them was aborted."""
        with self._changed:
            self._changed.notify_all()

    def drop(self, arn: str) -> None:
        """No longer of interest."""
        with self._changed:
            self._live.discard(arn)
            self._tasks.pop(arn, None)
            self._stopped_seen_ns.pop(arn, None)
            self._missing_since.pop(arn, None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=5)

    def _poll(self) -> None:
        last_answer = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._live)
                if self._closing:
                    return
                arns = sorted(self._live)
            try:
                for cluster, some in _by_cluster(arns, self._api.cluster).items():
                    for begin in range(0, len(some), DESCRIBED_AT_ONCE):
                        self._describe(cluster, some[begin : begin + DESCRIBED_AT_ONCE])
                last_answer = time.monotonic()
            except EngineError as error:
                if time.monotonic() - last_answer > SILENT_FOR_S or isinstance(error, EcsRefused):
                    with self._changed:
                        self._problem = error
                        self._changed.notify_all()
                    return
            with self._changed:
                self._changed.wait_for(lambda: self._closing, timeout=self.period_s)

    def _describe(self, cluster: str, arns: list[str]) -> None:
        answer = self._api.call("describe_tasks", cluster=cluster, tasks=arns)
        seen_ns = time.monotonic_ns()
        with self._changed:
            for task in answer["tasks"]:
                arn = task["taskArn"]
                if arn not in self._live:
                    continue
                self._tasks[arn] = task
                self._missing_since.pop(arn, None)
                for container in task.get("containers", ()):
                    if container.get("lastStatus") == "STOPPED":
                        self._stopped_seen_ns.setdefault(arn, {}).setdefault(container["name"], seen_ns)
                if task.get("lastStatus") in {"STOPPED", "DELETED"}:
                    self._live.discard(arn)
            for failure in answer.get("failures", ()):
                arn = str(failure.get("arn"))
                since = self._missing_since.setdefault(arn, time.monotonic())
                if arn in self._live and time.monotonic() - since > MISSING_FOR_S:
                    self._live.discard(arn)
                    self._tasks[arn] = {**self._tasks[arn], "lastStatus": "GONE"}
            self._changed.notify_all()


def _by_cluster(arns: list[str], chosen: str) -> dict[str, list[str]]:
    """Tasks by the cluster that their ARNs name; `chosen` for those of the short form, which name none."""
    found: dict[str, list[str]] = {}
    for arn in arns:
        parts = arn.rpartition(":task/")[2].split("/")
        found.setdefault(parts[0] if len(parts) == 2 else chosen, []).append(arn)
    return found


def evidence_path(arn: str, what: str = "", container: str | None = None) -> str:
    """Under `/stop-harness/`: the measured stop of a task, or its `logs` or `processes`."""
    task_id = arn.rpartition("/")[2]
    query = f"?container={quote(container)}" if container else ""
    return f"tasks/{task_id}{'/' + what if what else ''}{query}"


def stop_quietly(api: EcsApi, arn: str, reason: str) -> bool:
    """StopTask where nothing more can be done about a failure; whether it was taken."""
    with contextlib.suppress(EngineError):
        api.call("stop_task", cluster=api.cluster, task=arn, reason=reason)
        return True
    return False


def stop_run(api: EcsApi, started_by: str, reason: str) -> bool:
    """Stop the tasks that a run started and that are not stopping yet; whether each took it. Raises EngineError."""
    request: Json = {"cluster": api.cluster, "startedBy": started_by}
    taken = True
    while True:
        answer = api.call("list_tasks", **request)
        for arn in answer["taskArns"]:
            taken = stop_quietly(api, arn, reason) and taken
        if not answer.get("nextToken"):
            return taken
        request["nextToken"] = answer["nextToken"]
