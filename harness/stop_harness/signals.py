"""Linux signals by name and number. A table of our own: the harness may run on another system than the container."""

from __future__ import annotations

import re

NUMBERS = {
    name: number
    for number, name in enumerate(
        (
            "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN "
            "TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
        ).split(),
        start=1,
    )
}
"""Name without SIG → number on x86-64 and arm64, signal(7). Real-time signals follow from RTMIN = 34 (glibc)."""

_NAMES = {number: name for name, number in NUMBERS.items()}

ALIASES = {"CLD": "CHLD", "IOT": "ABRT", "POLL": "IO"}
"""Other names of the same signals, signal(7); Docker and Kubernetes know them, too."""

RTMIN, RTMAX = 34, 64
SIGTERM, SIGKILL = NUMBERS["TERM"], NUMBERS["KILL"]
FAULTS = frozenset(NUMBERS[name] for name in ("ILL", "TRAP", "ABRT", "BUS", "FPE", "SEGV", "SYS"))
"""Signals that the kernel or the C library raises for a fault of the program itself."""


def number(text: str) -> int:
    """The number of a signal written as Docker allows it: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`.

    Raises ValueError, with what is allowed, for anything else.
    """
    name = text.strip().upper().removeprefix("SIG")
    name = ALIASES.get(name, name)
    if name in NUMBERS:
        return NUMBERS[name]
    value = 0
    if re.fullmatch(r"[0-9]{1,2}", name):
        value = int(name)
    elif match := re.fullmatch(r"RTMIN(?:\+([0-9]{1,2}))?", name):
        value = RTMIN + int(match[1] or 0)
    elif match := re.fullmatch(r"RTMAX(?:-([0-9]{1,2}))?", name):
        value = RTMAX - int(match[1] or 0)
    if 1 <= value <= RTMAX:
        return value
    raise ValueError(f"{text[:40]!r} is not a signal; write a name such as SIGTERM or SIGRTMIN+3, or a number 1 to 64")


def name(value: int) -> str:
    """`SIGTERM` for 15; `SIGRTMIN+3` for 37; `SIG32` for one of the two that the C library keeps to itself.

    `number` reads it back. `signal 99` for a number that is none.
    """
    if value in _NAMES:
        return f"SIG{_NAMES[value]}"
    if RTMIN <= value <= RTMAX:
        return "SIGRTMIN" if value == RTMIN else f"SIGRTMIN+{value - RTMIN}"
    if max(NUMBERS.values()) < value < RTMIN:
        return f"SIG{value}"
    return f"signal {value}"
