"""The docker SDK, loaded when something of it is first used: `sdk.errors.NotFound`, `except sdk.ENGINE_ERRORS`.

With requests and urllib3 it is a quarter of the imports of `check`, and a plain stop needs nothing of it
(`engine_api.py`). What follows `except` is looked up only when something was raised, so nobody is in the way of that.
"""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any

from stop_harness.errors import EngineError

CONNECTION_ERRORS = (OSError, EOFError)
"""What requests raises is an OSError, and so is what the SDK makes of an answer with an error."""

NONSENSE_ERRORS = (LookupError, TypeError, AttributeError, ValueError, struct.error)
"""What the SDK and we stumble over where an answer is not what the API says, or is cut."""

if TYPE_CHECKING:
    from docker import DockerClient, TLSConfig, errors, transport, types, utils

    ENGINE_ERRORS = (errors.DockerException, OSError, EOFError)
    """How the SDK says that the engine refused, or does not answer."""

    CALL_ERRORS = (EngineError, errors.DockerException, OSError, EOFError)
    """How a call that `Calls` performs may fail."""

    READING_ERRORS = (*ENGINE_ERRORS, *NONSENSE_ERRORS)
else:

    def __getattr__(name: str) -> object:
        if name.startswith("__"):  # which anybody asks of a module
            raise AttributeError(name)
        import docker  # the package first: its parts import each other, which two threads must not begin at two ends

        engine_errors = (docker.errors.DockerException, *CONNECTION_ERRORS)
        ours = {
            "ENGINE_ERRORS": engine_errors,
            "CALL_ERRORS": (EngineError, *engine_errors),
            "READING_ERRORS": (*engine_errors, *NONSENSE_ERRORS),
        }
        return ours[name] if name in ours else getattr(docker, name)


def hang_up(socket: Any) -> None:
    """Close what `attach_socket` or `exec_start` gave. Idempotent.

    The answer that it was taken out of comes first: of one whose socket was closed before it, Python 3.13 writes a
    traceback to standard error when it is thrown away (`HTTPResponse.close` flushes since then).
    """
    for one in (getattr(socket, "_response", None), socket):
        if one is not None:
            with contextlib.suppress(OSError, ValueError):
                one.close()


__all__ = [
    "CALL_ERRORS",
    "CONNECTION_ERRORS",
    "ENGINE_ERRORS",
    "NONSENSE_ERRORS",
    "READING_ERRORS",
    "DockerClient",
    "TLSConfig",
    "errors",
    "hang_up",
    "transport",
    "types",
    "utils",
]
