"""Build our programs for both machines, byte for byte the same on every computer: `make programs`.

The compiler is the one PyPI package of zig that `pyproject.toml` pins (extra `programs`): a C compiler for every target
with the kernel's headers, so that nothing depends on what is installed here. Writes `witness-x86_64`, `packets-x86_64`
and so on, and `SHA256SUMS`, into the folder that is named, by default its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = ("witness", "packets")
SUMS = "SHA256SUMS"
MACHINES = {"x86_64": "x86-linux-any", "aarch64": "aarch64-linux-any"}
"""Each machine and its folder among zig's kernel headers."""

FLAGS = (
    "-Os -static -nostdlib -ffreestanding -fno-builtin -fno-stack-protector -fno-unwind-tables "
    "-fno-asynchronous-unwind-tables -fomit-frame-pointer -std=c11 -Wall -Wextra -Werror "
    "-Wno-gnu-variable-sized-type-not-at-end -s -Wl,--build-id=none"
).split()
"""No C library, nothing that differs from one computer to another. The one warning that is off is about struct cn_msg
of the kernel, whose last member has no size."""


def build(folder: Path) -> None:
    """Compile into a folder. Raises CalledProcessError, the compiler's words are on stderr then."""
    package = importlib.util.find_spec("ziglang")
    if package is None or package.origin is None:
        raise SystemExit("the compiler is not installed: pip install -e '.[programs]', or `make programs`")
    headers = Path(package.origin).parent / "lib" / "libc" / "include"
    sums = []
    with tempfile.TemporaryDirectory() as cache:
        for name, (machine, own) in itertools.product(PROGRAMS, MACHINES.items()):
            program = folder / f"{name}-{machine}"
            includes = [word for kind in (own, "any-linux-any") for word in ("-isystem", str(headers / kind))]
            command = [sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-musl", *FLAGS, *includes]
            subprocess.run(  # nosec B603 # words, no shell
                [*command, "-o", str(program), f"{name}.c"],
                cwd=HERE,
                env={"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache, "PATH": "/usr/bin:/bin"},
                check=True,
            )
            sums.append(f"{hashlib.sha256(program.read_bytes()).hexdigest()}  {program.name}\n")
    (folder / SUMS).write_text("".join(sums))


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
