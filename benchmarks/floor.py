"""The least that stopping a mix of containers can cost: four calls each to the Engine API, and nothing else.

    python benchmarks/floor.py SOCKET FILE

FILE holds one line of JSON a container: what to create, and its stop timeout. One thread and one connection a
container, all at once; nothing is read but the answers, nothing is judged. Standard library only.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any

API = "/v1.40"


class Connection(http.client.HTTPConnection):
    """HTTP over the engine's socket, kept alive."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON, None without one. Raises RuntimeError."""
        text = None if body is None else json.dumps(body)
        self.request(method, API + path, text, {"Content-Type": "application/json"} if text else {})
        answer = self.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content!r}")
        return json.loads(content) if content else None


def stop_one(path: str, create: dict[str, Any], stop_timeout_s: int) -> None:
    """Create, start, stop, remove."""
    connection = Connection(path)
    container = connection.call("POST", "/containers/create", create)["Id"]
    connection.call("POST", f"/containers/{container}/start")
    connection.call("POST", f"/containers/{container}/stop?t={stop_timeout_s}")
    connection.call("DELETE", f"/containers/{container}?v=1")
    connection.close()


def main() -> int:
    """All at once; 1 if any of them failed."""
    path, lines = sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()
    failed: list[str] = []

    def work(line: str) -> None:
        try:
            stop_one(path, **json.loads(line))
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            failed.append(str(error))

    threads = [threading.Thread(target=work, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("\n".join(failed))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
