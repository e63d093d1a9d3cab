"""One endpoint for each region that clients sign for, as AWS has them: what is in one is not seen in another.

All run their containers on the same engine. A request that is not signed, or for something that is no region, is one of
the endpoint's own region.
"""

from __future__ import annotations

import re
import threading
from dataclasses import replace

from stop_harness.ecs_endpoint.state import Endpoint

_SCOPE = re.compile(r"Credential=[^/,\s]+/[0-9]{8}/([a-z]{2}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2})/ecs/aws4_request")
"""Of a Signature Version 4: the access key, the day, the region and the service."""

MOST_REGIONS = 64
"""AWS has about forty. More are somebody's mistake, and get the endpoint's own."""


class Regions:
    """`own`: the endpoint of whoever signs for no region."""

    def __init__(self, own: Endpoint) -> None:
        self.own = own
        self._lock = threading.Lock()
        self._others: dict[str, Endpoint] = {}

    def all(self) -> tuple[Endpoint, ...]:
        """Those that were asked for so far, the own one first."""
        with self._lock:
            return (self.own, *self._others.values())

    def signed_for(self, authorization: str | None) -> Endpoint:
        """By the Authorization header of a request."""
        match = _SCOPE.search(authorization or "")
        if match is None or match[1] == self.own.settings.region:
            return self.own
        with self._lock:
            if match[1] not in self._others and len(self._others) < MOST_REGIONS:
                self._others[match[1]] = self._made(match[1])
            return self._others.get(match[1], self.own)

    def holding(self, target: str) -> Endpoint:
        """The one with the task or the container instance whose id is in a path."""
        for endpoint in self.all():
            with endpoint.agent.lock:
                instances = (name for cluster in endpoint.clusters.values() for name in cluster.instances)
                if any(name in target for name in (*endpoint.agent.runs, *instances)):
                    return endpoint
        return self.own

    def _made(self, region: str) -> Endpoint:
        settings = replace(self.own.settings, region=region)
        made = Endpoint(self.own.agent.containers, self.own.clock, settings)
        made.listener = self.own.listener.of(made)
        made.agent.answers_first.close()  # clients of all regions share one machine
        made.agent.answers_first = self.own.agent.answers_first
        made.agent.api_url = self.own.agent.api_url
        return made
