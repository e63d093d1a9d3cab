"""A command on a terminal of its own, and what is left on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS, ROWS = 80, 50
CONTROL = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


@dataclass
class Screen:
    """Lines of a screen that is high enough never to scroll, drawn by the few sequences that we and Rich write.

    Raises ValueError for a sequence that it does not know, so that no test is passed by what it overlooks.
    """

    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0
    cursor_shown: bool = True

    def draw(self, text: str) -> None:
        """Everything that was written."""
        at = 0
        for found in CONTROL.finditer(text):
            if found.start() != at:
                raise ValueError(f"not understood: {text[at : found.start()]!r}")
            at = found.end()
            arguments, command, control, plain = found.groups()
            if command:
                self._command(command, arguments)
            elif control:
                self._control(control)
            else:
                self._write(plain)

    def _command(self, command: str, arguments: str) -> None:
        number = int(arguments or 1) if arguments.isdecimal() or not arguments else 0
        match command, arguments:
            case "m", _:
                pass
            case "A", _:
                self.row = max(0, self.row - number)
            case "K", "2":
                self.lines[self.row] = ""
            case (("h" | "l"), "?25"):
                self.cursor_shown = command == "h"
            case _:
                raise ValueError(f"not understood: ESC [ {arguments} {command}")

    def _control(self, control: str) -> None:
        if control == "\r":
            self.column = 0
            return
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    def _write(self, text: str) -> None:
        for letter in text:
            if self.column == COLUMNS:
                self._control("\n")
                self.column = 0
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + letter + line[self.column + 1 :]
            self.column += 1

    @property
    def text(self) -> str:
        """What can be read."""
        return "\n".join(line.rstrip() for line in self.lines).strip("\n")


def on_terminal(
    command: Sequence[str | Path], act: Callable[[str, Callable[[str], None]], None], within_s: float = 120
) -> tuple[int, str]:
    """The exit code of a command, and all that it wrote on its terminal. `act` is called with what was written so far,
    whenever there is more, and with a function that types."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    environment.pop("CI", None)
    # A session of its own on this terminal: Ctrl-C reaches it as it reaches what a shell started.
    process = subprocess.Popen(["setsid", "--ctty", *command], stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    written, deadline = "", time.monotonic() + within_s
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                block = os.read(ours, 1 << 16)
            except OSError:  # its end is closed: it has left
                break
            if not block:
                break
            written += block.decode()
            act(written, lambda typed: _type(ours, typed))
        return process.wait(max(1, deadline - time.monotonic())), written
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _type(terminal: int, text: str) -> None:
    os.write(terminal, text.encode())
