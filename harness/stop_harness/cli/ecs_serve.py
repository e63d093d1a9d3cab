"""`stop-harness ecs serve`: options and what is printed. Everything else is imported when it runs."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import uuid
from types import FrameType
from typing import TYPE_CHECKING

import click

from stop_harness.cli import options, session
from stop_harness.conductor import exit_codes
from stop_harness.errors import require_extra

if TYPE_CHECKING:
    from stop_harness.ecs_endpoint.server import EcsServer

USE = """\
export AWS_ENDPOINT_URL_ECS={url}
export AWS_ACCESS_KEY_ID=stop-harness AWS_SECRET_ACCESS_KEY=stop-harness AWS_DEFAULT_REGION={region}

aws ecs list-tasks --endpoint-url {url}
"""

USE_SESSION = """\
export AWS_SESSION_TOKEN=…  # what --token is
"""


@click.group(cls=options.Commands)
def ecs() -> None:
    """Amazon ECS on this machine."""


@ecs.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Listen on this port.  [default: a free one]"
)
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Listen on this address.  [default: 127.0.0.1]")
@click.option("--allow-remote", is_flag=True, help="Allow an address that other machines can reach.")
@click.option(
    "--token",
    envvar="STOP_HARNESS_ECS_TOKEN",
    show_envvar=True,
    metavar="TOKEN",
    help="Answer only requests with this token; clients set AWS_SESSION_TOKEN.",
)
@click.option(
    "--region",
    envvar=["AWS_REGION", "AWS_DEFAULT_REGION"],
    default="us-east-1",
    metavar="NAME",
    help="Answer as this region who signs for none.  [default: us-east-1]",
)
@click.option(
    "--account",
    callback=lambda _context, _option, value: _account(value),
    metavar="DIGITS",
    help="Answer as this account.  [default: 123456789012]",
)
@click.option(
    "--stop-timeout",
    envvar="ECS_CONTAINER_STOP_TIMEOUT",
    show_envvar=True,
    metavar="DURATION",
    help="Stop containers without stopTimeout after this time (10s, 1m30s).  [default: 30s]",
)
@click.option(
    "--pids-limit",
    callback=options.pids_limit,
    envvar="ECS_TASK_PIDS_LIMIT",
    show_envvar=True,
    metavar="N",
    help="Limit processes and threads of each container; -1 sets no limit.  [default: 4096]",
)
@click.option(
    "--arn-selects-cluster", is_flag=True, help="Use the cluster of a task's ARN where a request names another."
)
@click.option(
    "--events", "events_file", metavar="FILE", help="Append every change to this file, as EventBridge's events (JSON)."
)
def serve(
    *,
    port: int,
    host: str,
    allow_remote: bool,
    token: str | None,
    region: str,
    account: str | None,
    stop_timeout: str | None,
    pids_limit: int | None,
    arn_selects_cluster: bool,
    events_file: str | None,
) -> None:
    """Serve the ECS API; tasks run as containers of the local engine.

    Ctrl-C, SIGTERM or SIGHUP ends it and removes every container that it started. It exits with 4 if some of them
    could not be removed. A second Ctrl-C ends it at once, and a helper process removes them.
    """
    require_extra("ecs", "ecs serve")
    from stop_harness.ecs import stop_timeouts
    from stop_harness.ecs_endpoint import server
    from stop_harness.ecs_endpoint.containers import EndpointClock
    from stop_harness.ecs_endpoint.docker_containers import DockerContainers
    from stop_harness.ecs_endpoint.events import listen
    from stop_harness.ecs_endpoint.state import DEFAULT_ACCOUNT, Endpoint, EndpointSettings
    from stop_harness.engines.docker import host as docker_host
    from stop_harness.errors import UsageError
    from stop_harness.model import DEFAULT_PIDS_LIMIT

    _check_reach(host, token, allow_remote=allow_remote)
    _check_token(token)
    if warning := stop_timeouts.agent_warning(stop_timeout):
        _warn(warning)
    settings = EndpointSettings(
        region,
        account or DEFAULT_ACCOUNT,
        agent_stop_timeout=stop_timeout,
        arn_selects_cluster=arn_selects_cluster,
    )
    events = None if events_file is None else _EventsFile(events_file)
    ending = _Ending()
    for number in session.ending_signals():
        signal.signal(number, ending.on_signal)
    limit = DEFAULT_PIDS_LIMIT if pids_limit is None else pids_limit
    containers = DockerContainers(f"ecs-{uuid.uuid4().hex[:12]}", docker_host.find(), limit, _warn)
    endpoint = Endpoint(containers, EndpointClock(), settings)
    if events is not None:
        listen(endpoint, events.write)
    try:
        serving = server.EcsServer(endpoint, host, port, token=token)
    except (OSError, OverflowError) as error:
        endpoint.close()
        raise UsageError(f"cannot serve on {host} port {port}: {getattr(error, 'strerror', error)}") from None
    _wait(serving, region, ending, with_token=token is not None)


class _Ending:
    """Whether a signal asked for the end.

    No threading.Event: its lock is not reentrant, and a signal may come while another one sets it or the main thread
    begins to wait. SimpleQueue.put is made for that.
    """

    def __init__(self) -> None:
        self._asked, self._wakes = False, queue.SimpleQueue[int]()

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """The second one ends the process, but for SIGHUP: a terminal that closes sends two of those."""
        if self._asked and number != signal.SIGHUP:
            os._exit(exit_codes.INTERRUPTED)
        self._asked = True
        self._wakes.put(number)

    def wait(self) -> None:
        """Until there was a signal. In slices: a wait without end would keep it from its handler."""
        while not self._asked:
            with contextlib.suppress(queue.Empty):
                self._wakes.get(timeout=1)


class _EventsFile:
    """`--events`: each line is in the file before the next one. Raises UsageError where it cannot be written.

    Only its owner may read it: overrides of a task hold values of environment variables.
    """

    def __init__(self, path: str) -> None:
        from stop_harness.errors import UsageError

        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (OSError, ValueError) as error:
            raise UsageError(f"--events {path}: {getattr(error, 'strerror', None) or error}") from None
        self._path, self._warned = path, False

    def write(self, line: str) -> None:
        """A full disk costs events, never the endpoint; it is said once."""
        try:
            os.write(self._file, line.encode())
        except OSError as error:
            if not self._warned:
                self._warned = True
                _warn(f"--events {self._path}: {error.strerror}; events are missing from here on")


def _account(text: str | None) -> str | None:
    """Twelve digits, as every account of AWS has."""
    if text is not None and not (len(text) == 12 and text.isascii() and text.isdigit()):
        raise click.BadParameter(f"{text!r} is no account: twelve digits are needed", param_hint="--account")
    return text


def _warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def _check_reach(host: str, token: str | None, *, allow_remote: bool) -> None:
    """An address that other machines reach has to be asked for, and is warned of."""
    from stop_harness.ecs_endpoint import server
    from stop_harness.errors import UsageError

    if server.is_loopback(host):
        return
    if not allow_remote:
        raise UsageError(
            f"--host {host} can be reached from other machines, and whoever reaches it can start containers here. "
            "Add --allow-remote if that is meant."
        )
    who = "anybody who reaches {host}" if token is None else "whoever reaches {host} and hears or has the token"
    click.echo(f"warning: {who.format(host=host)} can start containers on this machine", err=True)


def _check_token(token: str | None) -> None:
    """It must be able to stand in a header."""
    from stop_harness.errors import UsageError

    if token is not None and not (token and token.isascii() and token.isprintable() and token == token.strip()):
        raise UsageError("--token: needed are printable ASCII characters without spaces around them")


def _wait(serving: EcsServer, region: str, ending: _Ending, *, with_token: bool) -> None:
    from stop_harness import wording

    click.echo(f"ECS endpoint: {serving.url}")
    click.echo((USE_SESSION if with_token else "") + USE.format(url=serving.url, region=region))
    click.echo("Ctrl-C ends it and removes its containers.")
    try:
        ending.wait()
    finally:
        left = serving.close()
    if left:
        click.echo(wording.left_behind_sentence(left), err=True)
        sys.exit(exit_codes.HARNESS)
