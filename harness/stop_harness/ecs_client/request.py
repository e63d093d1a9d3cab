"""What is sent: options over an input file, and the skeletons of both ends.

An option, also one inside an input file's place, may name a file: `file://path` (text) or `fileb://path` (bytes).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from stop_harness.ecs_client import yaml_1_2
from stop_harness.ecs_client.failures import ClientFailure, Kind

MEMBERS = {
    "cluster": "The short name or full Amazon Resource Name (ARN) of the cluster that hosts the task to stop.",
    "task": "[REQUIRED] The task ID or full Amazon Resource Name (ARN) of the task to stop.",
    "reason": "An optional message specified when a task is stopped.",
}
"""The input of StopTask, and what the reference says of each in one sentence."""

KNOWN_MEMBERS = frozenset(
    "task attachments id type status details name value attributes targetType targetId availabilityZone "
    "capacityProviderName clusterArn connectivity connectivityAt containerInstanceArn containers containerArn taskArn "
    "image imageDigest runtimeId lastStatus exitCode reason networkBindings bindIP containerPort hostPort protocol "
    "containerPortRange hostPortRange networkInterfaces attachmentId privateIpv4Address ipv6Address healthStatus "
    "managedAgents lastStartedAt cpu memory memoryReservation gpuIds createdAt desiredStatus enableExecuteCommand "
    "executionStoppedAt group inferenceAccelerators deviceName deviceType launchType overrides containerOverrides "
    "command environment environmentFiles resourceRequirements inferenceAcceleratorOverrides executionRoleArn "
    "taskRoleArn ephemeralStorage sizeInGiB platformVersion platformFamily pullStartedAt pullStoppedAt startedAt "
    "startedBy stopCode stoppedAt stoppedReason stoppingAt tags key taskDefinitionArn version".split()
)
"""Members of the answer that AWS CLI 2.9.19 knows. The output skeleton has no others, whatever ECS has added since; in
an answer they are shown."""


def parameters(options: Mapping[str, str | None], input_json: str | None, input_yaml: str | None) -> dict[str, Any]:
    """What is to be sent, unchecked: the members of the input, and over them the options that were given.

    Raises ClientFailure for an input that cannot be read, or for two of them.
    """
    if input_json is not None and input_yaml is not None:
        raise ClientFailure(Kind.USAGE, "Only one --cli-input- parameter may be specified.")
    given = {name: _value_of(name, text) for name, text in options.items() if text is not None}
    if input_json is not None:
        return {**_read("cli-input-json", "JSON", input_json), **given}
    if input_yaml is not None:
        return {**_read("cli-input-yaml", "YAML", input_yaml), **given}
    return given


def _read(option: str, language: str, text: str) -> dict[str, Any]:
    loaded = _value_of(option, text)
    try:
        value = json.loads(loaded) if language == "JSON" else yaml_1_2.load(loaded)
    except (ValueError, RecursionError):
        raise ClientFailure(Kind.USAGE, f"Error parsing parameter '{option}': Invalid {language} received.") from None
    if not isinstance(value, dict):
        raise ClientFailure(
            Kind.USAGE, f"Error parsing parameter '--{option}': Invalid type: expecting map, received {type(value)}"
        )
    return value


def _value_of(option: str, text: str) -> Any:
    """The text itself, or the contents of the file that it names."""
    for prefix in ("file://", "fileb://"):
        if text.startswith(prefix):
            path = Path(text.removeprefix(prefix)).expanduser()
            try:
                return path.read_text() if prefix == "file://" else path.read_bytes()
            except UnicodeDecodeError:
                raise _unreadable(option, text, "it is no text; fileb:// reads bytes") from None
            except OSError as error:
                raise _unreadable(option, text, str(error)) from None
    return text


def _unreadable(option: str, text: str, problem: str) -> ClientFailure:
    message = f"Error parsing parameter '--{option}': Unable to load paramfile {text}: {problem}"
    return ClientFailure(Kind.USAGE, message)


# ── skeletons ────────────────────────────────────────────────────────────────────────────────────────────────────────


def input_skeleton() -> str:
    """For `--cli-input-json`."""
    return json.dumps(dict.fromkeys(MEMBERS, ""), indent=4) + "\n"


def yaml_input_skeleton() -> str:
    """For `--cli-input-yaml`, with what each member is."""
    first, *others = (f"# {sentence}\n" for sentence in MEMBERS.values())
    comments = [f" {first}", *others]  # two blanks before the first, as the AWS CLI prints it
    return "".join(f"{name}: '' {comment}" for name, comment in zip(MEMBERS, comments, strict=True))


def output_skeleton(shape: Any) -> Any:
    """An answer of botocore's output shape, with the names of its members for values."""
    return _example(shape, shape.name)


def _example(shape: Any, name: str) -> Any:
    match shape.type_name:
        case "structure":
            return {key: _example(it, key) for key, it in shape.members.items() if key in KNOWN_MEMBERS}
        case "list":
            return [_example(shape.member, shape.member.name)]
        case "boolean":
            return True
        case "timestamp":
            return datetime(1970, 1, 1)
        case "string":
            return name
        case _:
            return 0
