"""A program of about 200 bytes that says `ready`, waits for SIGTERM and leaves: the subject that costs nothing.

What its stop takes is the engine's own overhead. It needs no image, no shell and no compiler, as PID 1 or not. It
blocks SIGTERM and takes it by rt_sigtimedwait(2), so that the kernel does not drop it for want of a handler.
"""

from __future__ import annotations

import struct

from stop_harness.engines.small_elf import COPY_SP_TO_X0, PUSH_X9, SVC, aarch64_text, executable, put
from stop_harness.model import NS_PER_S, Readiness, Scenario, StopPlan, Subject

READY = b"ready\n"
SIGTERM_BIT = 1 << 14


def build(machine: str) -> bytes | None:
    """The file for `x86_64` or `aarch64`; None for any other machine."""
    return executable(machine, {name: code + READY for name, code in _CODE.items()})


def scenario(subject: Subject) -> Scenario:
    """Its stop, wherever it lies."""
    ready = Readiness(log=f"^{READY.decode().strip()}$", timeout_ns=5 * NS_PER_S)
    return Scenario("reference", subject, readiness=ready, stop=StopPlan((2 * NS_PER_S,), "SIGTERM"))


_X86_64 = (
    b"\x68" + struct.pack("<I", SIGTERM_BIT) + b"\x48\x89\xe6"  # push the set; rsi = rsp
    b"\x31\xff\x31\xd2\x6a\x08\x41\x5a\x6a\x0e\x58\x0f\x05"  # rt_sigprocmask(SIG_BLOCK, set, NULL, 8)
    b"\x48\x8d\x35\x1f\x00\x00\x00\x6a\x01\x5f\x6a\x06\x5a\x89\xf8\x0f\x05"  # write(1, READY, 6)
    b"\x48\x89\xe7\x31\xf6\x31\xd2\xb8\x80\x00\x00\x00\x0f\x05"  # rt_sigtimedwait(set, NULL, NULL, 8)
    b"\x31\xff\x6a\x3c\x58\x0f\x05"  # exit(0)
)


def _aarch64() -> bytes:
    block = [put(9, SIGTERM_BIT), PUSH_X9, put(0, 0), COPY_SP_TO_X0 | 1, put(2, 0), put(3, 8), put(8, 135), SVC]
    wait = [COPY_SP_TO_X0, put(1, 0), put(2, 0), put(3, 8), put(8, 137), SVC]
    leave = [put(0, 0), put(8, 93), SVC]
    after = [put(2, len(READY)), put(8, 64), SVC, *wait, *leave]
    here_to_text = (1 + len(after)) * 4  # adr x1, READY
    say = [put(0, 1), 0x10000001 | (here_to_text >> 2) << 5]
    return aarch64_text(*block, *say, *after)


_CODE = {"x86_64": _X86_64, "aarch64": _aarch64()}
