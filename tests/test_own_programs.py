"""The programs that run as containers of ours: small, static, and out of the source beside them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from stop_harness.engines.docker.program_container import PROGRAMS
from stop_harness.engines.small_elf import MACHINE_OF_ARCHITECTURE

NAMES = ("witness", "packets")


def test_the_programs_are_those_whose_sums_are_committed() -> None:
    """Each for every machine, in every installation."""
    lines = (PROGRAMS / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    wanted = {f"{name}-{machine}" for name in NAMES for machine in MACHINE_OF_ARCHITECTURE.values()}
    found = {name: hashlib.sha256((PROGRAMS / name).read_bytes()).hexdigest() for name in wanted}
    assert found == sums


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
@pytest.mark.parametrize("name", NAMES)
def test_a_program_is_small_static_and_for_its_machine(name: str, machine: str, number: int) -> None:
    """elf(5): e_machine, and no program header that names a loader."""
    program = (PROGRAMS / f"{name}-{machine}").read_bytes()
    assert program[:5] == b"\x7fELF\x02"
    assert int.from_bytes(program[18:20], "little") == number
    assert len(program) < 12_000
    start, count = int.from_bytes(program[32:40], "little"), int.from_bytes(program[56:58], "little")
    kinds = {int.from_bytes(program[start + 56 * i : start + 56 * i + 4], "little") for i in range(count)}
    assert 3 not in kinds  # PT_INTERP


def test_the_programs_come_out_of_their_source_byte_for_byte(tmp_path: Path) -> None:
    """Built again, elsewhere: `make programs` has the compiler that the committed ones were made with."""
    pytest.importorskip("ziglang", reason="the compiler is not installed: `make programs` does that")
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for file in (*PROGRAMS.glob("*.[ch]"), PROGRAMS / "build.py"):
        (copy / file.name).write_bytes(file.read_bytes())
    subprocess.run([sys.executable, "build.py"], cwd=copy, check=True)
    assert (copy / "SHA256SUMS").read_text() == (PROGRAMS / "SHA256SUMS").read_text()
