"""CPU and memory of a whole task, as task definitions write them. Pure."""

from __future__ import annotations

import re

CPU_UNITS = 1024
"""Of one CPU; Amazon ECS API, TaskDefinition.cpu."""

_CPUS = re.compile(r"\s*(\d*\.?\d+)\s*vcpus?\s*", re.IGNORECASE)
_GIGABYTES = re.compile(r"\s*(\d*\.?\d+)\s*gb\s*", re.IGNORECASE)


def nano_cpus(text: object) -> int | None:
    """`256` and `.25 vCPU` → 10⁻⁹ CPUs; None for what is neither, or nothing."""
    if found := _CPUS.fullmatch(str(text)):
        return round(float(found[1]) * 1e9) or None
    return int(str(text)) * 10**9 // CPU_UNITS or None if str(text).strip().isdecimal() else None


def mebibytes(text: object) -> int | None:
    """`512` and `0.5 GB` → MiB; None for what is neither, or nothing."""
    if found := _GIGABYTES.fullmatch(str(text)):
        return round(float(found[1]) * 1024) or None
    return int(str(text)) or None if str(text).strip().isdecimal() else None
