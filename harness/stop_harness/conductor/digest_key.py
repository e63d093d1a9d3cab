"""The key of this machine and user, with which values are told apart without being written down."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

KEY_BYTES = 32


def path(environment: Mapping[str, str] | None = None) -> Path:
    """`$XDG_STATE_HOME/stop-harness/key`, by default below `~/.local/state` (XDG Base Directory Specification)."""
    given = (os.environ if environment is None else environment).get("XDG_STATE_HOME", "")
    # The specification: "All paths … must be absolute. If … relative … consider the path invalid and ignore it."
    state = Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"
    return state / "stop-harness" / "key"


def read_or_make(file: Path) -> tuple[bytes, str | None]:
    """The key, and None; or a key for this run alone and why there is no lasting one, in words for people."""
    try:
        return _read_or_make(file), None
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        return secrets.token_bytes(KEY_BYTES), f"{file}: {reason}"


def _read_or_make(file: Path) -> bytes:
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(secrets.token_bytes(KEY_BYTES))
            with contextlib.suppress(FileExistsError):  # of two runs that start together one is first
                os.link(fresh, file)  # whole or not at all
        finally:
            fresh.unlink()
    status = file.stat()
    if status.st_mode & 0o077:
        raise ValueError(f"others may read it; chmod 600 {file}, or remove it for a new one")
    key = file.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(f"it has {len(key)} bytes instead of {KEY_BYTES}; remove it for a new one")
    return key
