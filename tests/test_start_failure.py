"""Whose fault a failed start is, over what engines really said.

start_failures.json was collected from Docker 20.10, 26.1 and 28.5 and Podman 4.3, 5.4 and 5.8, below them runc and
crun: with commands that do not exist or cannot be run, and with one helper of the engine's after the other taken away.
`code`: 127 or 126 where the container's command is to blame. `lacks`: the helper that was taken away.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.engines import start_failure
from stop_harness.engines.ecs import ready
from stop_harness.engines.interface import SubjectFailed
from stop_harness.model import ProblemKind

SAID: list[dict[str, Any]] = json.loads((Path(__file__).parent / "start_failures.json").read_text(encoding="utf-8"))
NAMELESS = {
    "conmon failed: exit status 1",
    "write child: broken pipe",
    "netavark: No such file or directory (os error 2)",
}
"""What Podman says without naming the helper that it misses."""


def kind(failure: SubjectFailed) -> ProblemKind:
    """Of a failure that is a problem."""
    assert failure.problem is not None
    return failure.problem.kind


@pytest.mark.parametrize("said", SAID, ids=lambda said: f"{said['engine']}, {said['runtime']}: {said['situation']}")
def test_only_the_containers_own_command_is_the_containers_fault(said: dict[str, Any]) -> None:
    """Everything else is the engine's, in the engine's words and with what to install; and so through ECS."""
    failure = start_failure.explain(said["text"], said["command"])
    assert failure.exit_code == said["code"]
    assert failure.problem is not None
    if said["code"] is not None:
        assert kind(failure) is ProblemKind.COMMAND_NOT_FOUND
        assert failure.problem.message.startswith("it never ran: ")
    else:
        assert kind(failure) is ProblemKind.START_FAILED
        assert failure.problem.message.startswith(" ".join(said["text"].split()))
    if said["lacks"] is not None:
        named = f"lacks its own {said['lacks']}: install" in failure.problem.message
        assert named or (said["text"] in NAMELESS and "install" in failure.problem.message)
    reason = f"CannotStartContainerError: Error response from daemon: {said['text']}"
    task = {"stopCode": "TaskFailedToStart", "stoppedReason": "x", "containers": [{"name": "app", "reason": reason}]}
    assert kind(ready.why_it_ended(task, {"app"})) is kind(failure)


@pytest.mark.parametrize("said", [said for said in SAID if said["lacks"]], ids=lambda said: said["text"][:60])
def test_a_command_of_a_helpers_name_is_not_the_helper(said: dict[str, Any]) -> None:
    """The engine lacks its own nft, and the container was to run one, too: it never came to that."""
    failure = start_failure.explain(said["text"], [said["lacks"]])
    assert (kind(failure), failure.exit_code) == (ProblemKind.START_FAILED, None)


def test_an_init_that_is_missing_is_the_engines() -> None:
    """The engine puts it before the command, and mounts it into the container."""
    text = 'runc create failed: unable to start container process: exec: "/sbin/docker-init": stat: no such file'
    assert kind(start_failure.explain(text, ["web", "--port=80"])) is ProblemKind.START_FAILED
    assert kind(start_failure.explain(text, ["/sbin/docker-init"])) is ProblemKind.COMMAND_NOT_FOUND


def test_runtimes_before_runc_1_1_say_it_in_other_words() -> None:
    """As Docker 20.10 did before Debian 12."""
    text = (
        "OCI runtime create failed: container_linux.go:380: starting container process caused: "
        'exec: "servr": executable file not found in $PATH: unknown'
    )
    assert start_failure.missing_command(text, ["servr"]) == start_failure.NOT_FOUND


@given(st.text(), st.none() | st.lists(st.text(), max_size=3))
def test_any_text_is_explained(text: str, command: list[str] | None) -> None:
    """Whatever an engine says, somebody is told; without the runtime's words nothing is held against a container."""
    failure = start_failure.explain(text, command)
    assert failure.problem is not None
    if "container process" not in text and "crun" not in text:
        assert kind(failure) is ProblemKind.START_FAILED
