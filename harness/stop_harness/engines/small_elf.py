"""ELF files for Linux of a few hundred bytes, put together by hand: programs that need no compiler, shell or C library.

Sources: elf(5); system call numbers of <asm/unistd.h> and <asm-generic/unistd.h>.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

MACHINE_OF_ARCHITECTURE = {"amd64": "x86_64", "arm64": "aarch64"}
"""What a container engine calls an architecture, and what the kernel calls it."""

_NUMBERS = {"x86_64": 62, "aarch64": 183}  # e_machine
_BASE = 0x400000
_HEADERS = 64 + 56
_READABLE_EXECUTABLE = 5


def executable(machine: str, texts: Mapping[str, bytes]) -> bytes | None:
    """A static program that begins at the first byte of its text; None for a machine that `texts` has none for."""
    text = texts.get(machine)
    if text is None or machine not in _NUMBERS:
        return None
    size = _HEADERS + len(text)
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64 bits, little endian, version 1
    header = struct.pack("<HHIQQQIHHHHHH", 2, _NUMBERS[machine], 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, _READABLE_EXECUTABLE, 0, _BASE, _BASE, size, size, 0x1000)
    return identity + header + segment + text


# Instructions of aarch64, as the words that `aarch64_text` packs.

SVC = 0xD4000001
"""The system call whose number is in x8."""

COPY_SP_TO_X0 = 0x910003E0
"""`add x0, sp, #0`; with the number of another register added, to that one."""

PUSH_X9 = 0xF81F0FE9
"""`str x9, [sp, #-16]!`"""


def put(register: int, value: int) -> int:
    """`movz xN, #value`; the value has 16 bits."""
    return 0xD2800000 | value << 5 | register


def aarch64_text(*words: int) -> bytes:
    """The bytes of a row of instructions."""
    return b"".join(struct.pack("<I", word) for word in words)
