"""ECS through botocore: settings as the AWS CLI reads them, StopTask and what follows it, failures in its words."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore import UNSIGNED, exceptions
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp
from botocore.validate import ParamValidator

from stop_harness._version import VERSION
from stop_harness.ecs_client import formats
from stop_harness.ecs_client.failures import ClientFailure, Kind

OUR_SERVER = "stop-harness/"
"""How `stop-harness ecs serve` names itself in the Server header of its answers."""


@dataclass(frozen=True)
class Settings:
    """The options that say how ECS is reached. None: from the environment or ~/.aws. `*_timeout_s` 0: none."""

    endpoint_url: str | None = None
    verify_ssl: bool = True
    profile: str | None = None
    region: str | None = None
    sign: bool = True
    ca_bundle: str | None = None
    read_timeout_s: int | None = None
    connect_timeout_s: int | None = None
    debug: bool = False


class Ecs:
    """One session. Times in answers are texts or numbers, by `cli_timestamp_format`, as they will be printed."""

    def __init__(self, settings: Settings) -> None:
        if settings.endpoint_url is not None and "://" not in settings.endpoint_url:
            raise ClientFailure(
                Kind.USAGE,
                f'Bad value for --endpoint-url "{settings.endpoint_url}": scheme is missing.  '
                "Must be of the form http://<hostname>/ or https://<hostname>/",
            )
        self._settings = settings
        self._session = botocore.session.Session(profile=settings.profile)
        self._session.user_agent_name, self._session.user_agent_version = "stop-harness", VERSION
        if settings.debug:
            self._session.set_stream_logger("", logging.DEBUG, stream=sys.stderr)
        with _failures():
            self._config = self._session.get_scoped_config()
            parser = self._session.get_component("response_parser_factory")
            parser.set_parser_defaults(timestamp_parser=self._timestamp_parser())

    def output_format(self) -> str:
        """AWS_DEFAULT_OUTPUT, else `output` of the configuration, else json."""
        name = os.environ.get("AWS_DEFAULT_OUTPUT") or self._config.get("output") or "json"
        if name not in formats.FORMATS:
            raise ClientFailure(Kind.OTHER, f"Unknown output type: {name}")
        return str(name)

    def pager(self) -> str:
        """The command that shows long output on a terminal; empty for none."""
        for name in (os.environ.get("AWS_PAGER"), self._config.get("cli_pager"), os.environ.get("PAGER")):
            if name is not None:
                return str(name)
        return "less"

    def auto_prompt(self) -> str:
        """`on`, `on-partial` or `off`: AWS_CLI_AUTO_PROMPT, else `cli_auto_prompt` of the configuration."""
        return str(os.environ.get("AWS_CLI_AUTO_PROMPT") or self._config.get("cli_auto_prompt") or "off")

    def output_shape(self) -> Any:
        """Of StopTask, by botocore's model. Makes the client, so that a missing region is told here too."""
        return self._client.meta.service_model.operation_model("StopTask").output_shape

    def check(self, parameters: dict[str, Any]) -> None:
        """Raises ClientFailure for parameters that are missing, unknown, or no text."""
        shape = self._client.meta.service_model.operation_model("StopTask").input_shape
        report = ParamValidator().validate(parameters, shape)
        if report.has_errors():
            raise ClientFailure(Kind.USAGE, f"Parameter validation failed:\n{report.generate_report()}")

    def stop_task(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """StopTask's answer, `{"task": …}`."""
        return self._call("stop_task", parameters)

    def describe_task(self, cluster: str | None, task_arn: str) -> dict[str, Any] | None:
        """The task as it is now; None if ECS does not know it any more."""
        where = {} if cluster is None else {"cluster": cluster}
        tasks = self._call("describe_tasks", {**where, "tasks": [task_arn]}).get("tasks", [])
        return dict(tasks[0]) if tasks else None

    def container_definitions(self, task_definition_arn: str) -> list[dict[str, Any]]:
        """Of a task definition."""
        answer = self._call("describe_task_definition", {"taskDefinition": task_definition_arn})
        return list(answer["taskDefinition"].get("containerDefinitions", []))

    @property
    def url(self) -> str:
        """Where ECS answers."""
        return str(self._client.meta.endpoint_url).rstrip("/")

    @property
    def region(self) -> str:
        """Of the cluster."""
        return str(self._client.meta.region_name)

    def own_evidence(self, task_arn: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """(what `stop-harness ecs serve` is, the stop as it measured it); None where the endpoint is another, or does
        not answer."""
        if not self.is_ours:
            return None
        info, stop = self._own("info"), self._own(f"tasks/{task_arn.rpartition('/')[2]}")
        return None if info is None or stop is None else (info, stop)

    def own_processes(self, task_arn: str) -> dict[str, Any] | None:
        """By container the rows of its process table now, from `stop-harness ecs serve`; None as for `own_evidence`."""
        return self._own(f"tasks/{task_arn.rpartition('/')[2]}/processes") if self.is_ours else None

    @property
    def is_near(self) -> bool:
        """Whether the endpoint is on this machine, so that it may be our own."""
        return urlsplit(self.url).hostname in {"127.0.0.1", "localhost", "::1"}

    def _own(self, path: str) -> dict[str, Any] | None:
        url = f"{self.url}/stop-harness/{path}"
        verify = self._verify
        if verify is None:  # which the client reads as "as configured", and this as "no"
            verify = self._session.get_config_variable("ca_bundle") or True
        try:
            request = AWSRequest("GET", url, self._token_header()).prepare()
            answer = URLLib3Session(verify=verify, timeout=10).send(request)
            return dict(json.loads(answer.content)) if answer.status_code == 200 else None
        except (exceptions.BotoCoreError, ValueError):
            return None

    def _token_header(self) -> dict[str, str]:
        """The session token, where there is one: `ecs serve --token` asks for it here as well."""
        credentials = self._session.get_credentials() if self._settings.sign else None
        token = credentials.get_frozen_credentials().token if credentials else None
        return {"X-Amz-Security-Token": token} if token else {}

    is_ours = False
    """Whether the last answer came from `stop-harness ecs serve`."""

    def _call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        with _failures():
            answer = dict(getattr(self._client, operation)(**parameters))
        headers = answer.pop("ResponseMetadata", {}).get("HTTPHeaders", {})
        self.is_ours = str(headers.get("server", "")).startswith(OUR_SERVER)
        return answer

    @cached_property
    def _client(self) -> Any:
        settings, more = self._settings, {}
        if settings.read_timeout_s is not None:
            more["read_timeout"] = settings.read_timeout_s or None
        if settings.connect_timeout_s is not None:
            more["connect_timeout"] = settings.connect_timeout_s or None
        if not settings.sign:
            more["signature_version"] = UNSIGNED
        with _failures():
            return self._session.create_client(
                "ecs",
                region_name=settings.region,
                endpoint_url=settings.endpoint_url,
                verify=self._verify,
                config=Config(**more),
            )

    @property
    def _verify(self) -> bool | str | None:
        """None: as the environment and the configuration say."""
        return self._settings.ca_bundle if self._settings.verify_ssl else False

    def _timestamp_parser(self) -> Any:
        name = self._config.get("cli_timestamp_format", "iso8601")
        if name == "wire":
            return lambda value: value
        if name == "iso8601":
            return lambda value: parse_timestamp(value).isoformat()
        raise ClientFailure(
            Kind.CONFIGURATION,
            f'Unknown cli_timestamp_format value: {name}, valid values are "wire" or "iso8601"',
        )


@contextmanager
def _failures() -> Iterator[None]:
    """botocore's exceptions as ours."""
    try:
        yield
    except exceptions.NoRegionError as error:
        how = 'You can also configure your region by running "aws configure".'
        raise ClientFailure(Kind.CONFIGURATION, f"{error} {how}") from None
    except exceptions.NoCredentialsError as error:
        how = 'You can configure credentials by running "aws configure".'
        raise ClientFailure(Kind.CONFIGURATION, f"{str(error).rstrip('.')}. {how}") from None
    except exceptions.ParamValidationError as error:
        raise ClientFailure(Kind.USAGE, str(error)) from None
    except exceptions.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        raise ClientFailure(Kind.BROKEN_SERVICE if status >= 500 else Kind.REFUSED, str(error)) from None
    except (exceptions.ConnectionError, exceptions.HTTPClientError, ResponseParserError) as error:
        raise ClientFailure(Kind.UNREACHABLE, str(error)) from None
    except (exceptions.BotoCoreError, ValueError) as error:
        raise ClientFailure(Kind.OTHER, str(error)) from None
