"""Removes a run's containers, volumes and networks when the harness dies without doing so itself, even by `kill -9`;
and starts somebody else's container again that the harness had stopped and promised to start.

A small process of its own (no container, no image) that waits on a pipe whose other end the harness holds. The pipe
closes when the harness is gone, however it went; a harness that has cleaned up says so first. It stands in a session of
its own and is nobody's child, so that neither the end of a process group nor that of a process tree takes it along. An
engine that is away or refuses is asked again for a quarter of an hour.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

from stop_harness.linux import freezer

TYPE_CHECKING = False  # as type checkers know it: `typing` itself would be half of what this process imports
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from stop_harness.engines.docker.address import Address

RUN_LABEL = "stop-harness.run"
"""Label on everything the harness makes on an engine; its value is the run id."""

OWNER_LABEL = "stop-harness.owner"
"""Label on all but images, whose labels are inherited by anybody's container: `machine/pid/start time`."""

DISMISSED = b"done"

OWED, PAID = "owed", "paid"
"""Words to the process: of a container that is stopped and to be started again, with the seconds that its stop may
take; and of one that was."""

SETTLE_S = 3.0
"""Starts that were on their way when the harness died may still land: nothing is to be found for this long."""

PATIENCE_S = 15 * 60
"""For an engine that is away or refuses: longer than a machine takes to restart one, and then it is the next run's."""

PATIENCE_VARIABLE = "STOP_HARNESS_REAPER_PATIENCE"
"""Seconds in place of `PATIENCE_S`, for tests that leave an engine away for good."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.3, 10.0

LEAVES_S = 5.0
"""For the process to say that it has nothing left to do, once it was dismissed."""

HOLDS_S = 0.3
"""That long it stays after that, if it was given listeners to hold: most harnesses have ended by then. Else it leaves
at once, for in a container it would be killed with a harness that is the first process there."""

TRACKING = ("RUNNER_TRACKING_ID", "BUILD_ID", "JENKINS_NODE_COOKIE", "JENKINS_SERVER_COOKIE", "HUDSON_COOKIE")
"""By these variables the runners of GitHub Actions and Jenkins find what a step left behind, and kill it."""

CALL_LIMIT_S = 30.0


class DockerReaper:
    """The harness's end: starts the process; in the end dismisses it, or leaves to it what could not be removed."""

    def __init__(self, run_id: str, address: Address, *, holding: tuple[int, ...] = ()) -> None:
        """`holding`: files that the process has open too, for a moment longer than the run (`SignalTrace.files`)."""
        import subprocess  # nosec B404 # its one call is below
        import threading

        kept = {name: value for name, value in os.environ.items() if name not in TRACKING}
        package = sys.modules[__name__.partition(".")[0]].__file__
        assert package is not None
        places = (os.path.dirname(os.path.dirname(package)), *sys.path)
        path = os.pathsep.join(os.path.abspath(place) for place in places if place)
        self._process = subprocess.Popen(  # nosec B603 # words, no shell
            # Without `site`, for the path is given: a start takes 10 ms of CPU time, not 40.
            [sys.executable, "-P", "-S", "-m", __name__, run_id, address.to_json(), str(HOLDS_S if holding else 0)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,  # closes when it has nothing left to do: it is not our child, to be waited for
            stderr=subprocess.DEVNULL,
            pass_fds=holding,
            env={**kept, "PYTHONPATH": path},
            cwd="/",  # so that it keeps no folder in use
            start_new_session=True,  # Ctrl-C at the terminal must not reach it
        )
        # The one that we started leaves its place at once; nobody waits for it here, and it stays no zombie.
        with contextlib.suppress(RuntimeError):  # no thread can be started: a zombie until the run's end
            threading.Thread(target=self._process.wait, name="reaper-started", daemon=True).start()

    def owe(self, container_id: str, stop_timeout_s: float) -> None:
        """This container is stopped now, and is to be started again whatever becomes of us."""
        self._say(f"{OWED} {container_id} {stop_timeout_s}\n")

    def paid(self, container_id: str) -> None:
        """It was started again."""
        self._say(f"{PAID} {container_id}\n")

    def _say(self, line: str) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it was killed
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()

    def dismiss(self) -> None:
        """The run is clean: nothing is left to remove. Returns when the process is gone, or about to go."""
        import subprocess  # nosec B404 # for its error

        self._hang_up(DISMISSED)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=LEAVES_S)

    def take_over(self) -> None:
        """Something is left, or may be: the process removes it while we go on, or after we have left."""
        self._hang_up(b"")
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _hang_up(self, last_word: bytes) -> None:
        pipe, self._process.stdin = self._process.stdin, None
        if pipe is not None:
            with contextlib.suppress(OSError):  # it was killed; there is nobody left to tell
                pipe.write(last_word)
                pipe.close()
        self._process.wait()  # for the process that we started; it has left its place to the one that works


def remove_run(
    address: Address,
    run_id: str | None,
    *,
    keep_living: bool = False,
    api_version: str | None = None,
    call_limit_s: float = CALL_LIMIT_S,
    networks: bool = True,
) -> tuple[int, list[str]]:
    """Remove the containers of one run, or of every run (None), then its volumes and networks. Say (how many
    containers, what could not be removed).

    `keep_living`: leave those whose harness still runs on this machine. `api_version`: None: it is asked. `networks`
    False: the run made none, and nobody needs to list them, for which Docker 20.10 locks all of them: beside many
    starts and removals that can be the end of it (libnetwork's `Networks`, found in its stacks).
    """
    from concurrent.futures import ThreadPoolExecutor

    from stop_harness.engines.docker import engine_api, sdk
    from stop_harness.engines.docker.address import ask_version

    version = api_version or str(ask_version(address, timeout_s=call_limit_s)["ApiVersion"])
    api = engine_api.of(address, version, call_limit_s)
    label = OWNER_LABEL if run_id is None else f"{RUN_LABEL}={run_id}"
    found = api.containers(all=True, filters={"label": label})
    doomed = [item for item in found if not (keep_living and owner_lives(item["Labels"].get(OWNER_LABEL, "")))]

    def remove(item: dict[str, str]) -> str | None:
        freezer.thaw_container(item["Id"])  # a fault may have frozen it, and nobody was left to undo that
        try:
            api.remove_container(item["Id"], force=True, v=True)
        except sdk.errors.NotFound:
            return None
        except sdk.errors.APIError as error:
            # 409: somebody else is removing it at this moment
            conflict = error.response is not None and error.response.status_code == 409
            return None if conflict else f"{item['Id'][:12]}: {error.explanation}"
        except OSError as error:
            return f"{item['Id'][:12]}: {error}"
        return None

    problems: list[str] = []
    left = doomed
    with ThreadPoolExecutor(8) as pool:
        while left:
            answers = list(zip(left, pool.map(remove, left), strict=True))
            problems = [problem for _, problem in answers if problem]
            if len(problems) in {0, len(left)}:
                break
            # Podman removes no container whose namespaces another one uses: that one has gone now.
            left = [item for item, problem in answers if problem]
    removed = len(doomed) - len(problems)
    volumes = api.volumes(filters={"label": label}).get("Volumes") or ()
    if volumes:
        problems += _remove_named("volume", volumes, api.remove_volume, keep_living)
    if networks:
        made = api.networks(filters={"label": label})
        problems += _remove_named("network", made, api.remove_network, keep_living)
    api.close()
    return removed, problems


def left_by_dead_runs(api: Any) -> int:
    """How many containers have an owner that runs no longer. Raises the SDK's errors."""
    found = api.containers(all=True, filters={"label": OWNER_LABEL})
    return sum(not owner_lives(item["Labels"].get(OWNER_LABEL, "")) for item in found)


def _remove_named(kind: str, found: Iterable[Any], remove: Callable[[str], object], keep_living: bool) -> list[str]:
    """Volumes or networks, as the engine lists them; what could not be removed is said. In use is in use."""
    import docker

    problems = []
    for item in found:
        if keep_living and owner_lives((item.get("Labels") or {}).get(OWNER_LABEL, "")):
            continue
        try:
            remove(item.get("Id") or item["Name"])  # a volume has no id
        except docker.errors.NotFound:
            continue
        except docker.errors.APIError as error:
            problems.append(f"{kind} {item['Name']}: {error.explanation}")
    return problems


def remove_images(address: Address) -> int:
    """Remove the images that the harness built and no container uses, and say how many."""
    import docker

    from stop_harness.engines.docker.address import connect

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
    return f"{machine()}/{os.getpid()}/{_start_time(os.getpid())}"


def machine(id_file: str = "/etc/machine-id") -> str:
    """Which machine this is, for an engine that several of them use: many have the same name. Of its id only a checksum
    is told, as machine-id(5) asks for; one without an id has its name alone."""
    import zlib

    try:
        with open(id_file, "rb") as file:
            unique = file.read().strip()
    except OSError:
        unique = b""
    name = os.uname().nodename
    return f"{name}+{zlib.crc32(unique):08x}" if unique else name


def owner_lives(text: str) -> bool:
    """Whether the process that an owner label names still runs here. Another machine's counts as alive: unknown."""
    where, _, rest = text.partition("/")
    pid, _, started = rest.partition("/")
    if where != machine():
        return bool(where)
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


def clean_up(address: Address, run_id: str) -> None:
    """Remove what the run left until nothing more turns up, or the patience with the engine is at its end."""
    deadline = time.monotonic() + float(os.environ.get(PATIENCE_VARIABLE) or PATIENCE_S)
    pause_s, clean_since = FIRST_PAUSE_S, None
    while time.monotonic() < deadline:
        try:
            removed, problems = remove_run(address, run_id)
        except Exception as error:  # noqa: BLE001 - the engine may be away for a while; only the deadline ends this
            removed, problems = 0, [str(error)]
        now = time.monotonic()
        if problems:
            pause_s, clean_since = min(2 * pause_s, LONGEST_PAUSE_S), None
        else:
            pause_s, clean_since = FIRST_PAUSE_S, now if removed or clean_since is None else clean_since
            if now - clean_since >= SETTLE_S:
                return
        time.sleep(pause_s)


def owed(said: str) -> dict[str, float]:
    """What is still to be started, of all that the harness said: id → seconds that its stop may take."""
    found: dict[str, float] = {}
    for words in (line.split() for line in said.splitlines()):
        if words[:1] == [OWED] and len(words) == 3:
            found[words[1]] = float(words[2])
        elif words[:1] == [PAID] and len(words) == 2:
            found.pop(words[1], None)
    return found


def start_again(address: Address, container_id: str, stop_timeout_s: float) -> None:
    """Start a container as soon as its stop is over, unless it is gone, or runs on for longer than a stop takes."""
    import docker

    from stop_harness.engines.docker.address import connect

    begun = time.monotonic()
    patience_s = float(os.environ.get(PATIENCE_VARIABLE) or PATIENCE_S)
    while time.monotonic() < begun + stop_timeout_s + patience_s:
        with contextlib.suppress(Exception):  # the engine may be away for a while; only the deadline ends this
            client = connect(address, timeout_s=CALL_LIMIT_S)
            try:
                if not client.api.inspect_container(container_id)["State"]["Running"]:
                    client.api.start(container_id)
                    return
            except docker.errors.NotFound:
                return
            finally:
                client.close()
            if time.monotonic() > begun + stop_timeout_s + CALL_LIMIT_S:
                return
        time.sleep(FIRST_PAUSE_S)


def main() -> None:
    """Wait for the harness to go; clean up unless it said that it had."""
    if os.fork():
        os._exit(0)  # the one that works has no parent from here on
    said = sys.stdin.buffer.read()
    if said.endswith(DISMISSED):
        if hold_s := float(sys.argv[3]):
            os.close(sys.stdout.fileno())  # the harness waits for this
            time.sleep(hold_s)
        os._exit(0)  # where nothing is held, this closes it: a process that is ending can be killed no more
    import threading

    from stop_harness.engines.docker.address import Address  # late: most are dismissed

    address = Address.from_json(sys.argv[2])
    for container_id, stop_timeout_s in owed(said.decode(errors="replace")).items():
        threading.Thread(target=start_again, args=(address, container_id, stop_timeout_s)).start()
    clean_up(address, sys.argv[1])


if __name__ == "__main__":
    main()
