"""A refusal in ECS's own form."""

from __future__ import annotations

MAX_QUOTED = 200
"""Characters of the client's own text that a message repeats."""


class EcsError(Exception):
    """`code` becomes `__type`, `message` the message. Nothing of ours ends in a 500: those are bugs."""

    def __init__(self, code: str, message: str, *, status: int = 400, connection_unusable: bool = False) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status
        self.connection_unusable = connection_unusable


def invalid_parameter(message: str) -> EcsError:
    """InvalidParameterException."""
    return EcsError("InvalidParameterException", message)


def client_exception(message: str) -> EcsError:
    """ClientException."""
    return EcsError("ClientException", message)


def quoted(text: str) -> str:
    """The client's text, cut."""
    return text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + "…"
