"""A program of about 200 bytes that does nothing until SIGTERM or SIGINT: it holds the namespaces of a group.

Where the group shares a PID namespace it is PID 1 there, and inherits whatever loses its parent. It ignores SIGCHLD, so
that the kernel reaps those children for it (wait(2), NOTES); a wait loop would do the same in more code. It blocks the
signals that end it and takes them by rt_sigtimedwait(2), because the kernel drops what PID 1 has no handler for.

The pause program of Kubernetes (build/pause/linux/pause.c) keeps to the same rules: reap, and leave on SIGINT or
SIGTERM.
"""

from __future__ import annotations

import struct

from stop_harness.engines.small_elf import COPY_SP_TO_X0, PUSH_X9, SVC, aarch64_text, executable, put

_ENDING_SIGNALS = 1 << 14 | 1 << 1  # SIGTERM and SIGINT


def build(machine: str) -> bytes | None:
    """The file for `x86_64` or `aarch64`; None for any other machine."""
    return executable(machine, {"x86_64": _X86_64, "aarch64": _AARCH64})


_X86_64 = (
    b"\x6a\x00\x6a\x00\x6a\x00\x6a\x01\x48\x89\xe6"  # push {SIG_IGN, 0, 0, 0}, a struct sigaction; rsi = rsp
    b"\x6a\x11\x5f\x31\xd2\x6a\x08\x41\x5a\x6a\x0d\x58\x0f\x05"  # rt_sigaction(SIGCHLD, action, NULL, 8)
    b"\x68" + struct.pack("<I", _ENDING_SIGNALS) + b"\x48\x89\xe6"  # push the set; rsi = rsp
    b"\x31\xff\x31\xd2\x6a\x0e\x58\x0f\x05"  # rt_sigprocmask(SIG_BLOCK, set, NULL, 8)
    b"\x48\x89\xe7\x31\xf6\x31\xd2\xb8\x80\x00\x00\x00\x0f\x05"  # rt_sigtimedwait(set, NULL, NULL, 8)
    b"\x83\xf8\x00\x7e\xed"  # again, if it was interrupted: cmp eax, 0; jle
    b"\x31\xff\x6a\x3c\x58\x0f\x05"  # exit(0)
)


def _aarch64() -> bytes:
    # push {SIG_IGN, 0, 0, 0}, a struct sigaction: stp xzr, xzr, [sp, #-16]! and stp x9, xzr, [sp, #-16]!
    ignore = [0xA9BF7FFF, put(9, 1), 0xA9BF7FE9]
    act = [put(0, 17), COPY_SP_TO_X0 | 1, put(2, 0), put(3, 8), put(8, 134), SVC]
    block = [put(9, _ENDING_SIGNALS), PUSH_X9, put(0, 0), COPY_SP_TO_X0 | 1, put(2, 0), put(3, 8), put(8, 135), SVC]
    wait = [COPY_SP_TO_X0, put(1, 0), put(2, 0), put(3, 8), put(8, 137), SVC]
    again = [0xF100001F, 0x54000000 | (-(len(wait) + 1) & 0x7FFFF) << 5 | 0xD]  # cmp x0, #0; b.le to `wait`
    return aarch64_text(*ignore, *act, *block, *wait, *again, put(0, 0), put(8, 93), SVC)


_AARCH64 = _aarch64()
