"""A program of about 150 bytes that loops in as many processes as it was given words, its own name among them.

Nothing but SIGKILL ends it, as nobody needs it to end by itself: its container is removed.
"""

from __future__ import annotations

from stop_harness.engines.small_elf import SVC, aarch64_text, executable, put


def build(machine: str) -> bytes | None:
    """The file for `x86_64` or `aarch64`; None for any other machine."""
    return executable(machine, {"x86_64": _X86_64, "aarch64": _AARCH64})


_X86_64 = (
    b"\x48\x8b\x1c\x24"  # mov rbx, [rsp]: the number of words
    b"\x48\xff\xcb\x74\x09"  # again: dec rbx; jz loop
    b"\x6a\x39\x58\x0f\x05"  # fork()
    b"\x85\xc0\x75\xf2"  # test eax, eax; jnz again: the parent
    b"\xeb\xfe"  # loop: jmp loop
)


def _aarch64() -> bytes:
    fork = [put(0, 17), put(1, 0), put(2, 0), put(3, 0), put(4, 0), put(8, 220), SVC]  # clone(SIGCHLD, 0, 0, 0, 0)
    count = [0xF94003F3]  # ldr x19, [sp]: the number of words
    to_loop = len(fork) + 2
    again = [0xF1000673, 0x54000000 | to_loop << 5]  # subs x19, x19, #1; b.eq loop
    parent = [0xB5000000 | (-(len(again) + len(fork)) & 0x7FFFF) << 5]  # cbnz x0, again
    return aarch64_text(*count, *again, *fork, *parent, 0x14000000)  # loop: b loop


_AARCH64 = _aarch64()
