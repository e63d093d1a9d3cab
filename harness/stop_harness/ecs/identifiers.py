"""What a name may look like in Amazon ECS, and what an ARN consists of. Pure."""

from __future__ import annotations

import re

_NAME = re.compile(r"[a-zA-Z0-9\-_]{1,255}", re.ASCII)


def is_name(text: str) -> bool:
    """Whether it can name a cluster, a family, a container or a service."""
    return _NAME.fullmatch(text) is not None


def arn_parts(text: str) -> list[str] | None:
    """`['task', '<cluster>', '<id>']` of an ECS ARN; None for anything else."""
    fields = text.split(":", 5)
    if len(fields) != 6 or fields[0] != "arn" or fields[2] != "ecs":
        return None
    return fields[5].split("/")
