"""What of a folder is sent to a build: everything that its `.dockerignore` does not name."""

from __future__ import annotations

from pathlib import Path

from stop_harness.engines.docker import sdk

IGNORE_FILE = ".dockerignore"


def matcher(directory: Path, dockerfile: str) -> sdk.utils.build.PatternMatcher:
    """Matches the paths below the folder that are not sent. A Dockerfile is always sent. Raises OSError."""
    ignore = directory / IGNORE_FILE
    lines = ignore.read_text(errors="replace").splitlines() if ignore.is_file() else []
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return sdk.utils.build.PatternMatcher([*patterns, f"!{dockerfile}"])
