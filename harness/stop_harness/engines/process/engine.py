"""The embedded engine: the scenario's command as PID 1 of its own PID namespace on this machine, no set-up needed.

Each trial has its own small helper process (`engines/process/shim/main.py`), which is the subject's parent and does all
the timing. Where the kernel gives no namespaces (macOS, many CI containers) the command runs in a process group, and
`info` says that the rules of PID 1 are not reproduced. Limits: USER and RUN of a Dockerfile have no effect, files lie
where this machine has them, and with a port in its readiness or traffic the subject sees a loopback network only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import pwd
import re
import shlex
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from stop_harness import signals
from stop_harness.engines import dockerfile, reference_program
from stop_harness.engines.dockerfile import ImageDefaults
from stop_harness.engines.interface import PrepareProgress, StopRecord, SubjectFailed, configure
from stop_harness.engines.process.client import Probe, ShimProcess, probe, start_request
from stop_harness.engines.process.connect import connect
from stop_harness.errors import BuildError, EngineError
from stop_harness.linux.signal_trace import EXIT_BEGUN, ExitTrace, ExitWatch
from stop_harness.model import (
    NS_PER_S,
    Clock,
    Configuration,
    EngineInfo,
    Event,
    EventKind,
    LogTail,
    Problem,
    ProblemKind,
    ProcessInfo,
    Readiness,
    Scenario,
    Subject,
    Trial,
    Vantage,
)

TELLS_EXITS_SINCE = (6, 15)
"""The Linux whose pidfds tell how any process ended: PIDFD_INFO_EXIT."""

PORT_PATIENCE_S = 600
"""How long a trial waits for its turn at a port of this machine; longer than a stop with the longest timeout."""

EXECUTE_PATIENCE_S = 600
"""For a command beside the subject, which has no timeout of its own."""

REFERENCE = Subject(build_directory="/proc", command=("stop-harness-reference",))
"""The reference subject: its program comes with the request, and no Dockerfile is where it runs."""


class PidNamespaceEngine:
    """`Engine` on this machine. `force_process_group`: do without namespaces even where there are some.

    `python` runs the helper processes.
    """

    def __init__(self, run_id: str, *, force_process_group: bool = False, python: str = sys.executable) -> None:
        self._run_id = run_id
        self._python = python
        self._force_process_group = force_process_group
        self._probe: Probe | None = None
        self._lock = threading.Lock()
        self._subjects: set[ProcessSubject] = set()
        self._ports: dict[int, threading.Lock] = {}
        self._images: dict[Subject, ImageDefaults] = {}
        self._exits: ExitTrace | None = None
        with contextlib.suppress(OSError):  # then the waiting parent's stamp is all there is
            self._exits = ExitTrace()
        self._reference: bytes | None = None

    def info(self) -> EngineInfo:
        """Always answers; `caveats` say what is missing."""
        probed = self._probed()
        caveats = ["No image, file system or cgroup isolation: the command runs on this machine's own files."]
        if not probed.pid_namespace:
            caveats.append(
                "The rules of PID 1 are not reproduced: a stop signal without a handler ends the process here and "
                f"would be dropped in a container ({probed.reason})."
            )
        if not probed.network_namespace:
            caveats.append("Trials share this machine's network, those that need the same port take turns.")
        return EngineInfo(
            name="process",
            product="embedded process engine",
            version=platform.release(),
            host="this machine",
            pid1_rules=probed.pid_namespace,
            whole_seconds=False,
            observes_sigkill=True,
            reports_oom=False,
            runs_images=False,
            caveats=tuple(caveats),
            proves_lost_processes=probed.pid_namespace and _linux() >= TELLS_EXITS_SINCE,
        )

    def cannot_run(self, scenario: Scenario) -> str | None:
        """What this engine lacks for the scenario. A program that is not installed here is a failed start instead."""
        subject = scenario.subject
        if subject.task is not None:
            return "the process engine runs no task definitions; they need a container engine"
        if subject.build_directory is None:
            return "the process engine runs no images, only `build:` directories with this machine's programs"
        if subject.init:
            return "the process engine has no init"
        if subject.memory_bytes is not None:
            return "the process engine cannot limit memory"
        if scenario.readiness.healthcheck:
            return "the process engine runs no health checks"
        if subject.user is not None and not _is_present_user(subject.user):
            return f"the process engine cannot change to user {subject.user!r}"
        with contextlib.suppress(BuildError):
            if not _program(subject, self._image(subject)):
                return "no command is known: neither the scenario nor the Dockerfile names one"
        return None

    def configuration(self, scenario: Scenario) -> Configuration:
        """What the Dockerfile sets, with the scenario's settings in its place."""
        image = self._image(scenario.subject)
        return configure(scenario, image.entrypoint or (), image.command or (), image.stop_signal)

    def reference(self) -> Scenario | None:
        """The tiny program, which is a file nowhere; None on other machines than it is made for."""
        self._reference = reference_program.build(platform.machine()) if sys.platform == "linux" else None
        return None if self._reference is None else reference_program.scenario(REFERENCE)

    def prepare(self, scenarios: tuple[Scenario, ...], progress: PrepareProgress) -> None:
        """Read the Dockerfiles. Raises BuildError for one that cannot be read."""
        for scenario in scenarios:
            if _dockerfile(scenario.subject).is_file():
                progress(scenario.name, "reading the Dockerfile")
            self._image(scenario.subject)

    def start(self, trial: Trial) -> ProcessSubject:
        """Start the command. Raises SubjectFailed or EngineError as `Engine.start` says."""
        scenario = trial.scenario
        image = self._image(scenario.subject)
        stop_signal = _stop_signal(scenario.stop.signal, image.stop_signal)
        probed = self._probed()
        ports = tuple(sorted({*scenario.readiness.ports, *(client.port for client in scenario.traffic)}))
        own_network = bool(ports) and probed.network_namespace
        with contextlib.ExitStack() as cleanup:
            for port in () if own_network else ports:
                cleanup.callback(self._take_turn(port).release)
            shim = ShimProcess(f"{self._run_id}/{trial.trial_id}", self._python, own_network=own_network)
            cleanup.callback(shim.close)
            request = start_request(
                argv=_on_this_machine(_program(scenario.subject, image), image, scenario.subject),
                namespaces=probed.pid_namespace,
                network=own_network,
                directory=_directory(scenario.subject, image),
                environment=_environment(scenario.subject, image),
                ports=ports,
                log=scenario.readiness.log,
                program=self._reference if scenario.subject == REFERENCE else None,
            )
            _check_started(shim.ask(request), request)
            locate = partial(_on_this_machine, image=image, subject=scenario.subject)
            subject = ProcessSubject(
                self, shim, scenario.readiness, stop_signal=stop_signal, locate=locate, cleanup=cleanup.pop_all()
            )
        with self._lock:
            self._subjects.add(subject)
        return subject

    def watch_exit(self, pid: int | None) -> ExitWatch | None:
        """The kernel's record of a process's exit, where it can be had."""
        return self._exits.watch(pid) if self._exits is not None and pid is not None else None

    def forget(self, subject: ProcessSubject) -> None:
        """A subject was removed."""
        with self._lock:
            self._subjects.discard(subject)

    def abort(self) -> None:
        """Nothing waits for anybody else: a start here takes milliseconds."""

    def leftovers(self) -> None:
        """None: nothing outlives a harness here."""

    def close(self) -> tuple[str, ...]:
        """Remove what still runs."""
        with self._lock:
            subjects = tuple(self._subjects)
        for subject in subjects:
            subject.remove()
        return ()

    def _probed(self) -> Probe:
        with self._lock:
            if self._force_process_group:
                self._probe = Probe(False, False, False, "a process group was asked for")
            if self._probe is None:
                self._probe = probe(self._python)
            return self._probe

    def _take_turn(self, port: int) -> threading.Lock:
        with self._lock:
            turn = self._ports.setdefault(port, threading.Lock())
        if not turn.acquire(timeout=PORT_PATIENCE_S):
            text = f"port {port} of this machine has been held by another trial for {PORT_PATIENCE_S} s"
            raise SubjectFailed(Problem(ProblemKind.START_FAILED, text))
        return turn

    def _image(self, subject: Subject) -> ImageDefaults:
        """What the subject's Dockerfile sets, nothing where there is none; read once."""
        with self._lock:
            if subject not in self._images:
                self._images[subject] = _read_dockerfile(subject)
            return self._images[subject]


# ── One subject ──────────────────────────────────────────────────────────────────────────────────────────────────────


class ProcessSubject:
    """`RunningSubject`: nearly every method is one request to the helper process.

    `connect`, `processes` and `abort` may be called from any thread, also while `stop` blocks another.
    """

    def __init__(
        self,
        engine: PidNamespaceEngine,
        shim: ShimProcess,
        readiness: Readiness,
        *,
        stop_signal: tuple[int, str],
        locate: Callable[[tuple[str, ...]], tuple[str, ...]],
        cleanup: contextlib.ExitStack,
    ) -> None:
        self.stop_signal: int | None = stop_signal[0]
        self.stop_signal_source: str | None = stop_signal[1]
        self._engine = engine
        self._shim = shim
        self._readiness = readiness
        self._locate = locate
        self._cleanup = cleanup
        self._aborted = False
        self._exit: ExitWatch | None = None

    def wait_started(self) -> None:
        """`start` has waited for it."""

    def wait_ready(self) -> None:
        """As `RunningSubject` says; the conditions are checked from inside the subject's network namespace."""
        readiness = self._readiness
        http = [(readiness.http_port, readiness.http_path)] if readiness.http_port is not None else []
        tcp = [readiness.tcp_port] if readiness.tcp_port is not None else []
        reply = self._shim.ask(
            {
                "do": "wait_ready",
                "tcp": tcp,
                "http": http,
                "delay_ns": readiness.delay_ns,
                "timeout_ns": readiness.timeout_ns,
            },
            readiness.timeout_ns + readiness.delay_ns,
        )
        self._check_waited(reply, readiness.timeout_ns)

    def _check_waited(self, reply: dict[str, Any], timeout_ns: int) -> None:
        """Raise what an end of waiting means that is none."""
        if self._aborted:
            raise SubjectFailed(Problem(ProblemKind.INTERRUPTED, "aborted before it was stopped"))
        if reply["exited"]:
            raise SubjectFailed(None, self.record().exit_code)
        if reply["waiting"]:
            message = f"not ready within {timeout_ns / NS_PER_S:g} s; waited for {' and '.join(reply['waiting'])}"
            raise SubjectFailed(Problem(ProblemKind.NOT_READY, message + self._last_lines()))

    def _last_lines(self) -> str:
        lines = [line for line in self.logs().text.splitlines() if line.strip()][-5:]
        return "; last output: " + " | ".join(lines) if lines else "; it wrote nothing"

    def sleep(self, duration_ns: int) -> None:
        """Returns early once the subject is gone."""
        self._shim.ask({"do": "sleep", "duration_ns": duration_ns}, duration_ns)

    def is_running(self) -> bool:
        """Whether PID 1 has not been reaped."""
        return bool(self._shim.ask({"do": "running"})["running"])

    def processes(self) -> tuple[ProcessInfo, ...] | None:
        """From `/proc/PID`, PID 1 first; pids as inside the namespace, the parent of PID 1 is 0."""
        rows = self._shim.process_rows()
        if rows is None:
            return None
        inside = {row.pop("host_pid"): row["pid"] for row in rows}
        return tuple(ProcessInfo(parent_pid=inside.get(row.pop("host_parent"), 0), **row) for row in rows)

    def connect(self, port: int, timeout_s: float) -> tuple[socket.socket, Vantage]:
        """From the subject's network namespace if it has its own, which it has if the scenario names a port."""
        vantage = Vantage.NETWORK_NAMESPACE if self._shim.sockets else Vantage.HOST_NETWORK
        return connect(self._shim.sockets, port, timeout_s), vantage

    def wait_log(self, pattern: str, timeout_ns: int) -> None:
        """As `RunningSubject` says; of the output so far the last 256 KiB are searched."""
        reply = self._shim.ask({"do": "wait_log", "pattern": pattern, "timeout_ns": timeout_ns}, timeout_ns)
        self._check_waited(reply, timeout_ns)

    def execute(self, command: tuple[str, ...]) -> int:
        """Like `docker exec`: in the subject's namespaces, not below PID 1, and gone when PID 1 is.

        Its output is dropped; 127 and 126 as a shell numbers them. Raises SubjectFailed if the subject leaves.
        """
        text = f"`{' '.join(command)}`"
        request = {"do": "execute", "argv": self._locate(command), "timeout_ns": EXECUTE_PATIENCE_S * NS_PER_S}
        reply = self._shim.ask(request, EXECUTE_PATIENCE_S * NS_PER_S)
        if "failed" in reply:
            if reply["failed"] != "exec":
                raise EngineError(f"{text} cannot be run beside the subject ({reply['failed']}): {reply['message']}")
            return 127 if reply["errno"] in _NOT_FOUND else 126
        self._check_waited(reply | {"waiting": []}, 0)
        if reply["wait_status"] is None:
            raise EngineError(f"{text} beside the subject did not end within {EXECUTE_PATIENCE_S} s")
        return _exit_code(reply["wait_status"])

    def stop(self, stop_timeout_ns: int) -> None:
        """The helper signals, waits and kills by its own clock; this thread only waits for the end of it."""
        self._exit = self._engine.watch_exit(self._shim.subject)
        self._shim.ask({"do": "stop", "signal": self.stop_signal, "timeout_ns": stop_timeout_ns}, stop_timeout_ns)

    def record(self) -> StopRecord:
        """The exit is the wait status of waitpid(2), so exit code and signal are told apart."""
        reply = self._shim.ask({"do": "record"})
        status = reply["wait_status"]
        events = [
            Event(EventKind(kind), at_ns, Clock.KERNEL, source, number)
            for kind, at_ns, source, number in reply["events"]
        ]
        return StopRecord(
            events=tuple(sorted((*events, *self._exit_begun(events)), key=lambda event: event.at_ns)),
            exit_code=None if status is None else _exit_code(status),
            exit_signal=os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None,
            oom_killed=None,
            complete=True,
            lost_processes=None if reply["lost"] is None else tuple(reply["lost"]),
            suspected_processes=tuple(reply["suspected"]),
            exited_before_stop=reply["exited_before_stop"],
        )

    def _exit_begun(self, events: list[Event]) -> tuple[Event, ...]:
        """The kernel's own stamp, which does not wait until the helper gets a CPU; empty where there is none."""
        sent = [event.at_ns for event in events if event.kind is EventKind.SIGNAL_SENT]
        gone = [event.at_ns for event in events if event.kind is EventKind.EXITED]
        if self._exit is None or not sent or not gone:
            return ()
        begun_ns = self._exit.begun(min(sent), min(gone))
        return () if begun_ns is None else (Event(EventKind.EXITED, begun_ns, Clock.KERNEL, EXIT_BEGUN),)

    def logs(self) -> LogTail:
        """The last 16 KiB of standard output and error together."""
        reply = self._shim.ask({"do": "logs"})
        return LogTail(reply["text"], reply["truncated"])

    def abort(self) -> None:
        """SIGKILL; the record says that it was ours."""
        self._aborted = True
        self.end_now()

    def end_now(self) -> bool:
        """SIGKILL, also while `stop` blocks another thread."""
        self._shim.tell({"do": "kill"})
        return True

    def remove(self) -> None:
        """End the helper, and with it the subject."""
        if self._exit is not None:
            self._exit.close()
            self._exit = None
        self._cleanup.close()
        self._engine.forget(self)


def _linux() -> tuple[int, ...]:
    """The kernel's version, as far as two numbers go."""
    return tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])


def _exit_code(wait_status: int) -> int:
    """As a shell and a container number it: 128 + n after signal n."""
    return 128 + os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else os.WEXITSTATUS(wait_status)


# ── From scenario and Dockerfile to a start request ──────────────────────────────────────────────────────────────────


_NOT_FOUND = (errno.ENOENT, errno.ENOTDIR)


def _check_started(reply: dict[str, Any], request: dict[str, Any]) -> None:
    """Raise what a failed start means; 127 and 126 as a shell and Docker number them."""
    if "failed" not in reply:
        return
    stage, number, message, program = reply["failed"], reply["errno"], reply["message"], request["argv"][0]
    if stage == "exec" and number in _NOT_FOUND:
        text = f"{program!r} is not on this machine (or its interpreter is not): {message}"
        raise SubjectFailed(Problem(ProblemKind.COMMAND_NOT_FOUND, text), 127)
    if stage == "exec" and number in (errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.EISDIR):
        text = f"{program!r} cannot be executed: {message}"
        raise SubjectFailed(Problem(ProblemKind.COMMAND_NOT_FOUND, text), 126)
    if stage == "namespaces":
        raise EngineError(f"the kernel refused the trial its namespaces: {message}")
    texts = {
        "port": f"port {message} is already taken on this machine, so its answer would say nothing about the subject",
        "directory": f"cannot change to the working directory {request['directory']}: {message}",
    }
    raise SubjectFailed(Problem(ProblemKind.START_FAILED, texts.get(stage, f"cannot start {program!r}: {message}")))


def _dockerfile(subject: Subject) -> Path:
    return Path(subject.build_directory or ".", subject.dockerfile or "Dockerfile")


def _read_dockerfile(subject: Subject) -> ImageDefaults:
    """A missing Dockerfile is an error only where the scenario names it: a directory and a command are enough here."""
    path = _dockerfile(subject)
    try:
        return dockerfile.read(path.read_text(encoding="utf-8"), subject.build_args, _host_environment())
    except FileNotFoundError as error:
        if subject.dockerfile is None and Path(subject.build_directory or ".").is_dir():
            return ImageDefaults()
        raise BuildError(f"{path}: there is no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"{path}: cannot be read: {error}") from error
    except BuildError as error:
        raise BuildError(f"{path}: {error}") from error


def _program(subject: Subject, image: ImageDefaults) -> tuple[str, ...]:
    """ENTRYPOINT and CMD as Docker joins them: a scenario's entrypoint drops the image's command, too."""
    entrypoint = image.entrypoint if subject.entrypoint is None else subject.entrypoint
    inherited = image.command if subject.entrypoint is None else None
    command = inherited if subject.command is None else subject.command
    return (*(entrypoint or ()), *(command or ()))


_PATH_IN_TEXT = re.compile(r"(?<![^\s'\"`=:;&|()<>])/[^\s'\"`=:;&|()<>]+")


def _on_this_machine(words: tuple[str, ...], image: ImageDefaults, subject: Subject) -> tuple[str, ...]:
    """The image's paths within `words` (also in shell text) as paths in the build directory, where the file exists."""
    return tuple(_located(word, image, subject) for word in words)


def _located(word: str, image: ImageDefaults, subject: Subject) -> str:
    build_directory = os.path.abspath(subject.build_directory or ".")

    def find(path: str) -> str:
        places = (os.path.join(build_directory, place) for place in image.in_context(path))
        return next((os.path.normpath(place) for place in places if os.path.exists(place)), path)

    if find(word) != word:
        return find(word)
    is_shell_text = re.search(r"\s", word) is not None

    def replaced(match: re.Match[str]) -> str:
        place = find(match[0])
        # What is not found stays as it is: quoted, the `$` in /proc/$$/status would lose its meaning.
        return shlex.quote(place) if is_shell_text and place != match[0] else place

    return _PATH_IN_TEXT.sub(replaced, word)


def _directory(subject: Subject, image: ImageDefaults) -> str:
    """The build directory stands for WORKDIR; a `working_directory` inside it for the place below."""
    build_directory = os.path.abspath(subject.build_directory or ".")
    wanted = subject.working_directory
    if wanted is None:
        return build_directory
    if not wanted.startswith("/"):
        return os.path.join(build_directory, wanted)
    return _located(wanted, image, subject)


def _host_environment() -> tuple[tuple[str, str], ...]:
    """PATH, HOME and LANG of this machine; PATH without our own virtual environment, which is not the subject's."""
    ours = {os.path.join(place, "bin") for place in (os.environ.get("VIRTUAL_ENV"),) if place}
    if sys.prefix != sys.base_prefix:
        ours.add(os.path.join(sys.prefix, "bin"))
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    kept = os.pathsep.join(place for place in path if place.rstrip("/") not in ours)
    others = tuple((name, os.environ[name]) for name in ("HOME", "LANG") if name in os.environ)
    return (("PATH", kept), *others)


def _environment(subject: Subject, image: ImageDefaults) -> tuple[tuple[str, str], ...]:
    of_image = ((name, _located(value, image, subject)) for name, value in image.environment)
    return tuple((dict(_host_environment()) | dict(of_image) | dict(subject.environment)).items())


def _is_present_user(user: str) -> bool:
    name = user.partition(":")[0]
    if name.isdigit():
        return int(name) == os.geteuid()
    try:
        return pwd.getpwnam(name).pw_uid == os.geteuid()
    except KeyError:
        return False


def _stop_signal(of_scenario: str | None, of_image: str | None) -> tuple[int, str]:
    """The stop signal's number and where it comes from. Raises SubjectFailed for a name that is none."""
    for name, source in ((of_scenario, "scenario"), (of_image, "image")):
        if name is not None:
            try:
                return signals.number(name), source
            except ValueError as error:
                problem = Problem(ProblemKind.START_FAILED, f"stop signal of the {source}: {error}")
                raise SubjectFailed(problem) from error
    return signals.SIGTERM, "default"
