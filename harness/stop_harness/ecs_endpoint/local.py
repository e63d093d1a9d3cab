"""An endpoint for the harness's own use: on a free port of loopback, for as long as a run lasts."""

from __future__ import annotations

import os
import secrets

from stop_harness.ecs import stop_timeouts
from stop_harness.ecs_endpoint.containers import EndpointClock
from stop_harness.ecs_endpoint.docker_containers import DockerContainers
from stop_harness.ecs_endpoint.server import EcsServer
from stop_harness.ecs_endpoint.state import Endpoint, EndpointSettings
from stop_harness.engines.docker import host


def serve(run_id: str, *, with_witness: bool = False) -> EcsServer:
    """Serve on the local container engine; `close` removes every container. Raises EngineError if none answers.

    With a token that nobody else on this machine knows: whoever may use the endpoint may start containers.
    """
    containers = DockerContainers(run_id, host.find(), with_witness=with_witness)
    settings = EndpointSettings(agent_stop_timeout=os.environ.get(stop_timeouts.AGENT_VARIABLE))
    return EcsServer(Endpoint(containers, EndpointClock(), settings), token=secrets.token_urlsafe())
