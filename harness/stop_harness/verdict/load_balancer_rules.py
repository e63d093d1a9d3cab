"""Rules for requests that come through a load balancer, which hears late of the stop. Pure."""

from __future__ import annotations

from stop_harness.model import Severity
from stop_harness.verdict.rule import Rule

LOAD_BALANCER_RULES = (
    Rule(
        "refused-while-deregistering",
        Severity.ERROR,
        "Requests that a load balancer still sends while the container stops are answered.",
        "A load balancer hears of the stop when the container does, or later, and sends new requests until it has. "
        "What is refused then is an error for whoever sent it. Serve on for that long before the port is closed, "
        "or let a preStop hook sleep before the stop signal. An answer of 502, 503 or 504 is passed on, and "
        "counts as refused where the same client had answers without error before the stop.",
        "Elastic Load Balancing, Target groups: deregistration delay (a target that ends the connection gives the "
        "client an error of the 500s); Kubernetes, Pod termination flow (endpoints are removed beside it); "
        "amazon-ecs-agent#2316",
        "A server that closes its port at once on SIGTERM, behind a load balancer that sends for 2 s more: exit "
        "code 0 after 0.1 s, and every request of those 2 s is refused.",
    ),
    Rule(
        "errors-before-stop",
        Severity.ERROR,
        "What a load balancer asks for is answered without error before the stop.",
        "A request that is answered with 502, 503 or 504 after the stop shows a refusal only if the same was served "
        "before. Ask for a path that the container answers by itself, or give it what it needs to.",
        "RFC 9110, 15.6",
        "A front end without its back end, which answers 503 to everything, before the stop and after it.",
    ),
    Rule(
        "deregistration-delay-short",
        Severity.WARNING,
        "No request runs longer than the load balancer's deregistration delay.",
        "The container was still at work on it, and the load balancer closed the connection. A longer delay lets "
        "it end.",
        "Elastic Load Balancing, Target groups: deregistration_delay.timeout_seconds",
        "A report that takes a minute, behind a target group with a deregistration delay of 30 s.",
    ),
    Rule(
        "serves-while-deregistering",
        Severity.NOTE,
        "It is said whether a container needs a delay before it closes its port.",
        "Every request was answered, without an error of the server, that the load balancer sent while it had not yet "
        "heard of the stop. It is said of graceful stops only.",
        "Kubernetes, Pod termination flow",
        "A server that serves on for 3 s after SIGTERM, behind a load balancer that sends for 2 s.",
    ),
)
