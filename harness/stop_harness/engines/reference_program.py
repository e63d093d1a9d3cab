"""A program of about 200 bytes that says `ready`, waits for SIGTERM and leaves: the subject that costs nothing.

What its stop takes is the engine's own overhead. It needs no image, no shell and no compiler: an ELF file for Linux,
put together here by hand, as PID 1 or not. It blocks SIGTERM and takes it by rt_sigtimedwait(2), so that the kernel
does not drop it for want of a handler.

Sources: elf(5); system call numbers of <asm/unistd.h> and <asm-generic/unistd.h>.
"""

from __future__ import annotations

import struct

from stop_harness.model import NS_PER_S, Readiness, Scenario, StopPlan, Subject

READY = b"ready\n"
BASE = 0x400000
HEADERS = 64 + 56
SIGTERM_BIT = 1 << 14


def build(machine: str) -> bytes | None:
    """The file for `x86_64` or `aarch64`; None for any other machine."""
    if machine not in _MACHINES:
        return None
    number, code = _MACHINES[machine]
    text = code + READY
    size, entry = HEADERS + len(text), BASE + HEADERS
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64 bits, little endian, version 1
    header = struct.pack("<HHIQQQIHHHHHH", 2, number, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    readable_executable = 5
    segment = struct.pack("<IIQQQQQQ", 1, readable_executable, 0, BASE, BASE, size, size, 0x1000)
    return identity + header + segment + text


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
    def put(register: int, value: int) -> int:  # movz
        return 0xD2800000 | value << 5 | register

    call, address_of_stack = 0xD4000001, 0x910003E0  # svc #0; add x0, sp, #0
    block = [put(9, SIGTERM_BIT), 0xF81F0FE9, put(0, 0), address_of_stack | 1, put(2, 0), put(3, 8), put(8, 135), call]
    wait = [address_of_stack, put(1, 0), put(2, 0), put(3, 8), put(8, 137), call]
    leave = [put(0, 0), put(8, 93), call]
    after = [put(2, len(READY)), put(8, 64), call, *wait, *leave]
    here_to_text = (1 + len(after)) * 4  # adr x1, READY
    say = [put(0, 1), 0x10000001 | (here_to_text >> 2) << 5]
    return b"".join(struct.pack("<I", word) for word in (*block, *say, *after))


_MACHINES = {"x86_64": (62, _X86_64), "aarch64": (183, _aarch64())}
