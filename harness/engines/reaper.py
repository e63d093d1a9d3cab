"""Removes a run's containers and volumes when the harness dies without doing so itself, even by `kill -9`.

A small process of its own (no container, no image) that waits on a pipe whose other end the harness holds. The pipe
closes when the harness is gone, however it went; a harness that has cleaned up says so first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from harness.engines.docker_address import Address, connect

RUN_LABEL = "stop-harness.run"
"""Label on everything the harness makes on an engine; its value is the run id."""

OWNER_LABEL = "stop-harness.owner"
"""Label on containers and volumes only (an image's are inherited by anybody's container): `host/pid/start time`."""

DISMISSED = b"done"

SETTLE_S = 3.0
"""Starts that were on their way when the harness died may still land; look again for this long."""


class Reaper:
    """The harness's end: starts the process, and dismisses it after an orderly end."""

    def __init__(self, run_id: str, address: Address) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, run_id, address.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C at the terminal must not reach it
        )

    def dismiss(self) -> None:
        """The run is clean: nothing is left to remove."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.write(DISMISSED)
                self._process.stdin.close()
            except OSError:  # it was killed; there is nothing left to dismiss
                self._process.stdin = None
        self._process.wait()


def remove_run(address: Address, run_id: str | None, *, keep_living: bool = False) -> tuple[int, list[str]]:
    """Remove the containers of one run, or of every run (None), and then its volumes. Say (how many containers, what
    could not be removed).

    `keep_living`: leave those whose harness still runs on this machine.
    """
    from concurrent.futures import ThreadPoolExecutor

    import docker

    client = connect(address, timeout_s=30)
    label = OWNER_LABEL if run_id is None else f"{RUN_LABEL}={run_id}"
    found = client.api.containers(all=True, filters={"label": label})
    doomed = [item for item in found if not (keep_living and owner_lives(item["Labels"].get(OWNER_LABEL, "")))]

    def remove(item: dict[str, str]) -> str | None:
        try:
            client.api.remove_container(item["Id"], force=True, v=True)
        except docker.errors.NotFound:
            return None
        except docker.errors.APIError as error:
            # 409: somebody else is removing it at this moment
            conflict = error.response is not None and error.response.status_code == 409
            return None if conflict else f"{item['Id'][:12]}: {error.explanation}"
        return None

    with ThreadPoolExecutor(8) as pool:
        problems = [problem for problem in pool.map(remove, doomed) if problem]
    removed = len(doomed) - len(problems)
    problems += _remove_volumes(client.api, label, keep_living)
    client.close()
    return removed, problems


def _remove_volumes(api: Any, label: str, keep_living: bool) -> list[str]:
    """Those that carry the label; what could not be removed is said. Without `force`: in use is in use."""
    import docker

    problems = []
    for volume in api.volumes(filters={"label": label}).get("Volumes") or ():
        if keep_living and owner_lives((volume.get("Labels") or {}).get(OWNER_LABEL, "")):
            continue
        try:
            api.remove_volume(volume["Name"])
        except docker.errors.NotFound:
            continue
        except docker.errors.APIError as error:
            problems.append(f"volume {volume['Name']}: {error.explanation}")
    return problems


def remove_images(address: Address) -> int:
    """Remove the images that the harness built and no container uses, and say how many."""
    import docker

    client = connect(address)
    removed = 0
    for image in client.images.list(filters={"label": RUN_LABEL}):
        try:
            client.images.remove(str(image.id), force=True)
            removed += 1
        except docker.errors.APIError:  # in use by somebody's container
            continue
    client.close()
    return removed


def owner() -> str:
    """This process as the owner label writes it."""
    return f"{os.uname().nodename}/{os.getpid()}/{_start_time(os.getpid())}"


def owner_lives(text: str) -> bool:
    """Whether the process that an owner label names still runs here. Another machine's counts as alive: unknown."""
    host, _, rest = text.partition("/")
    pid, _, started = rest.partition("/")
    if host != os.uname().nodename:
        return bool(host)
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _start_time(int(pid)) == started


def _start_time(pid: int) -> str:
    """Start of a process in clock ticks, so that a reused pid is not mistaken for it; "" where there is no /proc."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def main() -> None:
    """Wait for the harness to go; clean up unless it said that it had."""
    if sys.stdin.buffer.read().endswith(DISMISSED):
        return
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            remove_run(Address.from_json(sys.argv[2]), sys.argv[1])
        except Exception:  # noqa: BLE001 - the engine may be restarting; only the deadline ends the attempts
            time.sleep(0.5)
        if time.monotonic() > deadline:
            return
        time.sleep(0.3)


if __name__ == "__main__":
    main()
