"""Which of the files that pytest comes across are scenarios. Most are not, and they are not read any further."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

LOOKED_AT_BYTES = 1 << 20
"""The keys of a scenario stand in its first part."""


def is_scenario(path: Path, *, is_named: bool) -> bool:
    """Whether a file says a version and a subject as scenarios do. One that ends with `.json` is one only if it was
    named.

    Warns of one that was meant as a scenario and is none, for nobody would miss it.
    """
    if path.suffix == ".json" and not is_named:
        return False
    try:
        with path.open("rb") as file:
            data = file.read(LOOKED_AT_BYTES)
    except OSError:
        return False
    if b"subject" not in data:
        return False
    from stop_harness.scenario import file_kinds  # late: it reads YAML

    text = data.decode("utf-8-sig", errors="replace")
    if file_kinds.says_version_and_subject(text):
        return True
    if (kind := file_kinds.kind_of(text)).was_meant:
        said = f"this file is no scenario: {kind.why_not}"
        warnings.warn_explicit(said, pytest.PytestCollectionWarning, str(path), lineno=1)
    return False
