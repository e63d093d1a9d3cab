"""What goes wrong before or instead of an answer, in the classes of the AWS CLI's exit codes."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """(exit code of the AWS CLI, exit code of stop-harness): docs.aws.amazon.com, "CLI return codes"."""

    USAGE = (252, 2)
    CONFIGURATION = (253, 2)
    REFUSED = (254, 2)
    """ECS answered with an error that is the request's own: no such task, no permission."""
    BROKEN_SERVICE = (254, 4)
    """ECS answered with a failure of its own, HTTP 5xx."""
    UNREACHABLE = (255, 4)
    """Nobody answers, or something that is not ECS."""
    OTHER = (255, 2)
    """Settings that cannot be used, a query that cannot be answered, a format that cannot show it."""

    @property
    def aws_exit_code(self) -> int:
        """With `--no-wait`."""
        return self.value[0]

    @property
    def exit_code(self) -> int:
        """While a stop is followed and measured."""
        return self.value[1]


class ClientFailure(Exception):
    """A message for people, in the AWS CLI's words where it has some."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
