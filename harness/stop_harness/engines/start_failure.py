"""Why a container did not start: its own command cannot be run, or its engine lacks something of its own. Pure.

Both read alike: `exec: "nft": executable file not found in $PATH` is what runc says of a command that the image does
not have, and what Podman says of the firewall tool that its own machine does not have. Only the former is the
container's: there the runtime speaks of the *container process*, and what it could not run is the first word of the
container's own entrypoint and command. tests/start_failures.json holds what the engines really say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stop_harness.engines.interface import SubjectFailed
from stop_harness.model import Problem, ProblemKind

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""As a shell numbers them, and Docker's `State.ExitCode`; Podman leaves 0 there."""

_CONTAINER_PROCESS = re.compile(r'container process(?: caused)?: (?:[^"]*: )?exec: "(?P<word>[^"]+)": ')
"""runc, below Docker and Podman; `caused` before runc 1.1."""

_CRUN = re.compile(
    r"crun: (?:executable file `(?P<word>[^`]+)` not found|open executable: |"
    r"the path `(?P<path>[^`]+)` (?:exists but it is not executable|is not a regular file))"
)
"""1.8 does not name what it may not open."""

_NOT_EXECUTABLE = re.compile(
    r"permission denied|operation not permitted|exec format error|is a directory|not executable|not a regular file",
    re.IGNORECASE,
)

_HELPERS = (
    re.compile(r'exec: "([^"]+)": executable file not found'),
    re.compile(r'unable to execute "?([^":]+)"?: No such file'),
    re.compile(r"fork/exec ([^:\s]+): no such file"),
    re.compile(r"binary not found on the host: stat ([^:\s]+):"),
    re.compile(r"could not find ([\w-]+)[,:]"),
)
"""How engines name a program of their own that is missing."""

_PACKAGES = {
    "containerd-shim-runc-v2": "containerd",
    "docker-init": "tini (which brings docker-init)",
    "docker-proxy": "docker.io",
    "newgidmap": "uidmap",
    "newuidmap": "uidmap",
    "nft": "nftables",
    "pasta": "passt",
}
"""Debian's, where the package is not called as the program is."""

_OPAQUE = (
    (
        re.compile(r"conmon failed: exit status|write child: broken pipe"),
        "its monitor could not run the container runtime: is runc or crun installed where the engine runs?",
    ),
    (
        re.compile(r"netavark: No such file or directory"),
        "netavark did not find its firewall tool: install iptables where the engine runs",
    ),
)
"""Of Podman, which does not name what it misses (measured by taking it away)."""


def explain(message: str, command: Sequence[str] | None) -> SubjectFailed:
    """What an engine's refusal to start a container means.

    `command`: the container's entrypoint and command, as one; None: not known. COMMAND_NOT_FOUND only for that
    command, with 127 or 126; everything else is the engine's: START_FAILED, with what to install where it is known.
    """
    text = " ".join(message.split())
    code = missing_command(text, command)
    if code is not None:
        reason = (
            text.rpartition("container process: ")[2]
            .removeprefix("error during container init: ")
            .removesuffix(": unknown")
        )
        return SubjectFailed(Problem(ProblemKind.COMMAND_NOT_FOUND, f"it never ran: {reason}"), exit_code=code)
    advice = _advice(text)
    return SubjectFailed(Problem(ProblemKind.START_FAILED, f"{text} – {advice}" if advice else text))


def missing_command(text: str, command: Sequence[str] | None = None) -> int | None:
    """127 or 126 where `text` says that the container's own command cannot be run; None where it says anything else."""
    found = _CONTAINER_PROCESS.search(text) or _CRUN.search(text)
    if found is None:
        return None
    named = next((word for word in found.groupdict().values() if word), None)
    # By the last part: crun names a relative path as an absolute one. Another word is an init of the engine's.
    if named and command is not None and _program(named) != _program(next(iter(command), "")):
        return None
    return NOT_EXECUTABLE if _NOT_EXECUTABLE.search(text, found.start()) else NOT_FOUND


def _program(path: str) -> str:
    return path.rpartition("/")[2]


def _advice(text: str) -> str:
    """Which program of its own the engine lacks and what brings it; empty where that is not known."""
    for pattern in _HELPERS:
        if found := pattern.search(text):
            name = _program(found[1])
            return f"the engine lacks its own {name}: install {_PACKAGES.get(name, name)} where the engine runs"
    return next((f"the engine: {advice}" for pattern, advice in _OPAQUE if pattern.search(text)), "")
