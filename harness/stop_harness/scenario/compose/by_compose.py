"""A project as Compose itself reads it: `docker compose config --format json`.

It knows all that its own version knows. Its output has every `$` doubled (docker/compose, cmd/compose/config.go).
"""

from __future__ import annotations

import json
import os
import re
import subprocess  # nosec B404 # the arguments are ours; no shell
from dataclasses import dataclass
from functools import cache
from typing import Any

COMMANDS = (("docker", "compose"), ("docker-compose",))
"""The plugin of Docker's client, and the program of its own; Debian's package docker-compose has both."""

TIMEOUT_S = 30
"""It reads files and asks no engine: a tenth of a second on an idle machine."""

_FETCHES_NOTHING = {"COMPOSE_EXPERIMENTAL_GIT_REMOTE": "false", "COMPOSE_EXPERIMENTAL_OCI_REMOTE": "false"}
"""What `include` and `extends` name on the network is not fetched, as by our own reader."""


@dataclass(frozen=True)
class ComposeAnswer:
    """`project`: what the files say, None if Compose refuses them, for the reason in `refusal`. `version`: whose."""

    version: str
    project: dict[str, Any] | None
    refusal: str = ""


def ask(files: tuple[str, ...]) -> ComposeAnswer | None:
    """What Compose makes of the files, with the services of every profile; None where there is none that can say it."""
    found = installed()
    if found is None:
        return None
    command, version = found
    names = [word for file in files for word in ("-f", file)]
    answer = _run((*command, *names, "--profile", "*", "config", "--format", "json"))
    if answer is None:
        return None
    if answer.returncode:
        return ComposeAnswer(version, None, _reason(answer.stderr))
    try:
        project = json.loads(answer.stdout)
    except ValueError:
        return None
    return ComposeAnswer(version, _with_single_dollars(project))


@cache
def installed() -> tuple[tuple[str, ...], str] | None:
    """The command of a Compose that writes JSON (version 2 and later), and its version."""
    for command in COMMANDS:
        answer = _run((*command, "version", "--short"))
        version = answer.stdout.strip().removeprefix("v") if answer is not None and not answer.returncode else ""
        if re.match(r"([2-9]|\d\d)\.", version):
            return command, version
    return None


def _run(command: tuple[str, ...]) -> subprocess.CompletedProcess[str] | None:
    environment = {**os.environ, **_FETCHES_NOTHING}
    for name in ("COMPOSE_FILE", "COMPOSE_PROFILES"):  # said by options
        environment.pop(name, None)
    try:
        return subprocess.run(  # nosec B603 # see above
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _reason(text: str) -> str:
    """Its own sentence, without the warnings before it."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("time=")]
    text = " ".join(" ".join(lines).split())
    return re.sub(r"^validating \S+: ", "", text) or "it says nothing"


def place_in(refusal: str) -> tuple[str, ...]:
    """The path of the key that a refusal is about: `services.web.volumes must be a list`; empty where it names none."""
    key = re.search(r"\bservices(?:\.([\w-]+)|\[([\w-]+)\])((?:\.\w+)*)", refusal)
    if key is not None:
        return ("services", key[1] or key[2], *filter(None, key[3].split(".")))
    service = re.search(r'service "([^"]+)"', refusal)
    return ("services", service[1]) if service is not None else ()


def _with_single_dollars(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_single_dollars(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_single_dollars(item) for item in value]
    return value.replace("$$", "$") if isinstance(value, str) else value
