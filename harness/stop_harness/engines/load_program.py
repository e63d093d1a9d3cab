"""A program of about 200 bytes that waits for SIGTERM, and then loops in as many processes as it was given words, its
own name among them.

It writes a line as soon as it waits: it blocks the signal and takes it by rt_sigtimedwait(2), because the kernel drops
what PID 1 has no handler for. Nothing but SIGKILL ends it then, as nobody needs it to end by itself: its container is
removed.
"""

from __future__ import annotations

import struct

from stop_harness.engines.small_elf import COPY_SP_TO_X0, PUSH_X9, SVC, aarch64_text, executable, put

_SIGTERM_BIT = 1 << 14
_WAITS = b"1\n"


def build(machine: str) -> bytes | None:
    """The file for `x86_64` or `aarch64`; None for any other machine."""
    return executable(machine, {"x86_64": _X86_64, "aarch64": _AARCH64})


_X86_64 = (
    b"\x48\x8b\x1c\x24"  # mov rbx, [rsp]: the number of words
    b"\x68" + struct.pack("<I", _SIGTERM_BIT) + b"\x48\x89\xe6"  # push the set; rsi = rsp
    b"\x31\xff\x31\xd2\x6a\x08\x41\x5a\x6a\x0e\x58\x0f\x05"  # rt_sigprocmask(SIG_BLOCK, set, NULL, 8)
    b"\x68" + _WAITS + b"\0\0\x48\x89\xe6"  # push the line; rsi = rsp
    b"\x6a\x01\x5f\x6a\x02\x5a\x89\xf8\x0f\x05\x58"  # write(1, line, 2); pop rax
    b"\x48\x89\xe7\x31\xf6\x31\xd2\xb8\x80\x00\x00\x00\x0f\x05"  # rt_sigtimedwait(set, NULL, NULL, 8)
    b"\x48\xff\xcb\x74\x09"  # again: dec rbx; jz loop
    b"\x6a\x39\x58\x0f\x05"  # fork()
    b"\x85\xc0\x75\xf2"  # test eax, eax; jnz again: the parent
    b"\xeb\xfe"  # loop: jmp loop
)


def _aarch64() -> bytes:
    count = [0xF94003F3]  # ldr x19, [sp]: the number of words
    block = [put(9, _SIGTERM_BIT), PUSH_X9, put(0, 0), COPY_SP_TO_X0 | 1, put(2, 0), put(3, 8), put(8, 135), SVC]
    line = int.from_bytes(_WAITS, "little")
    say = [put(9, line), PUSH_X9, put(0, 1), COPY_SP_TO_X0 | 1, put(2, len(_WAITS)), put(8, 64), SVC]
    wait = [COPY_SP_TO_X0 | 16 << 10, put(1, 0), put(2, 0), put(3, 8), put(8, 137), SVC]  # above the line: the set
    fork = [put(0, 17), put(1, 0), put(2, 0), put(3, 0), put(4, 0), put(8, 220), SVC]  # clone(SIGCHLD, 0, 0, 0, 0)
    to_loop = len(fork) + 2
    again = [0xF1000673, 0x54000000 | to_loop << 5]  # subs x19, x19, #1; b.eq loop
    parent = [0xB5000000 | (-(len(again) + len(fork)) & 0x7FFFF) << 5]  # cbnz x0, again
    return aarch64_text(*count, *block, *say, *wait, *again, *fork, *parent, 0x14000000)  # loop: b loop


_AARCH64 = _aarch64()
