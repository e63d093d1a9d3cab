"""Plain data → Scenario where it has only what most checks have: no models, and no pydantic. Pure.

To load pydantic with the models of every key costs a fifth of the CPU time of a check of an image, which names an image
and a timeout. The functions below take those keys as their parameters. They know no mistakes: what they do not take is
read by the models in `scenario_file`, which say what is wrong. Tests compare both.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from stop_harness import log_pattern, signals, units
from stop_harness.model import DEFAULT_PIDS_LIMIT, NS_PER_S, Expectation, Readiness, Scenario, StopPlan, Subject

NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
"""Of a scenario."""

PATH, TARGET, GRPC_PATH, METHOD = "^/", r"^/[!-~]*$", r"^/[!-.0-~]+/[!-.0-~]+$", "^[A-Z]+$"
HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
HEADER_VALUE = r"^([!-~\x80-\xff]([ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?$"

PATTERNS = {
    NAME: "lower-case letters, digits and . _ -, at most 63, with a letter or a digit first",
    PATH: "a path, which begins with /",
    TARGET: "a path, which begins with /, in ASCII and without spaces",
    GRPC_PATH: "/package.Service/Method",
    METHOD: "capital letters, such as POST",
    HEADER_NAME: "letters, digits and -, without spaces and colons",
    HEADER_VALUE: "text in one line, without spaces at its ends, in Latin-1",
}
"""What each means, for people."""

READY_TIMEOUT_NS = 30 * NS_PER_S
"""Where a scenario says nothing else."""


def scenario_of(data: Mapping[str, Any]) -> Scenario | None:
    """What `scenario_file.from_data` makes of the same data; None: it has other keys or values, or a mistake."""
    try:
        return _scenario(**data)
    except (TypeError, ValueError):
        return None


def readiness(
    *,
    log: str | None = None,
    tcp_port: int | None = None,
    http_port: int | None = None,
    http_path: str = "/",
    healthcheck: bool = False,
    handler: bool = False,
    delay_ns: int | None = None,
    timeout_ns: int = READY_TIMEOUT_NS,
) -> Readiness:
    """The conditions of a scenario. Where it gives none, and no delay (None), the image has to tell when it is ready.

    Such a container is not stopped sooner than 1 s after its start: most servers have their handlers by then, and a
    stop at once would measure the start-up race instead of the shutdown.
    """
    implied = delay_ns is None and not any((log, tcp_port, http_port, healthcheck, handler))
    delay_ns = delay_ns if delay_ns is not None else NS_PER_S if implied else 0
    return Readiness(log, tcp_port, http_port, http_path, healthcheck, handler, delay_ns, timeout_ns, implied)


def _scenario(
    *, version: int, name: str, subject: dict[str, Any], ready: dict[str, Any], stop: dict[str, Any], expect: list[Any]
) -> Scenario:
    (expected,) = expect
    _require(version == 1 and re.fullmatch(NAME, name))
    return Scenario(
        name=name,
        subject=_subject(**subject),
        readiness=_ready(**ready),
        stop=_stop(**stop),
        expectations=(_expectation(**expected),),
    )


def _subject(
    *,
    image: str | None = None,
    build: str | None = None,
    command: list[str] | None = None,
    environment: Mapping[str, str] | None = None,
    init: bool = False,
    memory: str | None = None,
) -> Subject:
    _require((image is None) is not (build is None) and image != "" and build != "" and command != [])
    environment = environment or {}
    for text in (image or build or "", *(command or ()), *environment, *environment.values()):
        text.encode()  # bytes of the command line that are no UTF-8 are no text to the models
    return Subject(
        image=image,
        build_directory=None if build is None else posixpath.normpath(build),
        command=None if command is None else tuple(command),
        environment=tuple(environment.items()),
        init=init,
        memory_bytes=None if memory is None else units.parse_size(memory),
        pids_limit=DEFAULT_PIDS_LIMIT,
    )


def _ready(
    *,
    log: str | None = None,
    tcp: int | None = None,
    http: dict[str, Any] | None = None,
    healthcheck: bool = False,
    delay: str | None = None,
    timeout: str | None = None,
) -> Readiness:
    http_port, http_path = _http(**http) if http is not None else (None, "/")
    return readiness(
        log=None if log is None else log_pattern.check(log),
        tcp_port=None if tcp is None else _port(tcp),
        http_port=http_port,
        http_path=http_path,
        healthcheck=healthcheck,
        delay_ns=None if delay is None else units.parse_duration(delay),
        timeout_ns=READY_TIMEOUT_NS if timeout is None else units.parse_duration(timeout),
    )


def _http(*, port: int, path: str) -> tuple[int, str]:
    _require(path.startswith("/"))
    return _port(port), path


def _port(number: int) -> int:
    _require(1 <= number <= 65535)
    return number


def _stop(*, timeouts: list[str] | None = None, signal: str | None = None) -> StopPlan:
    plan = StopPlan(signal=None if signal is None else signals.name(signals.number(signal)))
    if timeouts is None:
        return plan
    timeouts_ns = tuple(map(units.parse_duration, timeouts))
    _require(timeouts_ns and len(set(timeouts_ns)) == len(timeouts_ns))
    return StopPlan(timeouts_ns, plan.signal)


def _expectation(*, within: str | None = None, exit_codes: list[int] | None = None) -> Expectation:
    _require(all(0 <= code <= 255 for code in exit_codes or ()))
    return Expectation(
        within_ns=None if within is None else units.parse_duration(within),
        exit_codes=None if exit_codes is None else tuple(exit_codes),
    )


def _require(condition: object) -> None:
    """Raises ValueError unless it is true."""
    if not condition:
        raise ValueError
