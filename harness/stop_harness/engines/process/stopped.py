"""A subject of the process engine after its stop: files of this machine, its port, and its next start."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from stop_harness.engines.interface import RunningSubject
from stop_harness.engines.process.connect import NamespaceSockets, connect
from stop_harness.errors import EngineError
from stop_harness.model import MOST_CONTENT_BYTES, CommandProperty, CommandSeen, FileSeen, Scenario

CONNECT_TIMEOUT_S = 3.0

KINDS_OF_FILES = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


class StoppedProcess:
    """`locate`: the place on this machine of an absolute path in the image. `again`: starts the same once more."""

    def __init__(
        self,
        locate: Callable[[str], str],
        sockets: NamespaceSockets | None,
        again: Callable[[], RunningSubject],
    ) -> None:
        self._locate, self._sockets, self._again = locate, sockets, again

    def read_file(self, path: str, container: str | None) -> FileSeen:
        """From the build folder where the image has it from there, else by its own path."""
        place = Path(self._locate(path))
        try:
            found = place.stat()
            what = KINDS_OF_FILES.get(stat.S_IFMT(found.st_mode), "file")
            if what != "file" or found.st_size > MOST_CONTENT_BYTES:
                return FileSeen(found.st_size, what=what)
            with place.open("rb") as opened:
                return FileSeen(found.st_size, opened.read(MOST_CONTENT_BYTES))
        except (FileNotFoundError, NotADirectoryError):
            return FileSeen()
        except OSError as error:
            raise EngineError(f"{place}: cannot be read: {error.strerror}") from None

    def run(self, command: tuple[str, ...], container: str | None, timeout_ns: int) -> CommandSeen:
        """Cannot be done: what runs beside a subject has its output thrown away."""
        raise EngineError(f"`{' '.join(command)}`: the process engine shows no output of commands")

    def accepts(self, port: int) -> bool:
        """In the network that the subject had: its own, which its helper keeps, or this machine's."""
        try:
            connect(self._sockets, port, CONNECT_TIMEOUT_S).close()
        except ConnectionRefusedError:
            return False
        except OSError as error:
            raise EngineError(f"port {port} neither accepts nor refuses a connection: {error}") from None
        return True

    def start_again(self) -> RunningSubject:
        """The same command with the same files, in new namespaces."""
        return self._again()


def refusal(scenario: Scenario) -> str | None:
    """Which property cannot be checked here; None: all can."""
    for asked in scenario.properties:
        if isinstance(asked, CommandProperty):
            return f"the process engine cannot run `{' '.join(asked.argv)}` after the stop; it needs a container engine"
    return None
