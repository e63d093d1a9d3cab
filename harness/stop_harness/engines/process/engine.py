"""The embedded engine: the scenario's command as PID 1 of its own PID namespace on this machine, no set-up needed.

Each trial has its own small helper process (`engines/process/shim/main.py`), which is the subject's parent and does all
the timing. Where the kernel gives no namespaces (macOS, many CI containers) the command runs in a process group, and
`info` says that the rules of PID 1 are not reproduced. Limits: USER and RUN of a Dockerfile have no effect, files lie
where this machine has them, and with a port in its readiness or traffic the subject sees a loopback network only.
"""

from __future__ import annotations

import contextlib
import platform
import re
import sys
import threading
from functools import partial

from stop_harness.engines import reference_program
from stop_harness.engines.dockerfile import ImageDefaults
from stop_harness.engines.interface import PrepareProgress, ReadySigns, SubjectFailed, configure
from stop_harness.engines.process import faults, stopped
from stop_harness.engines.process.client import NamespaceProbe, ShimProcess, probe, start_request
from stop_harness.engines.process.program import (
    directory_of,
    dockerfile_of,
    environment_of,
    is_present_user,
    on_this_machine,
    program_of,
    read_dockerfile,
    stop_signal_of,
)
from stop_harness.engines.process.subject import ProcessSubject, check_started
from stop_harness.errors import BuildError
from stop_harness.linux.signal_trace import ExitTrace, ExitWatch
from stop_harness.model import (
    Configuration,
    EngineInfo,
    PortProperty,
    Problem,
    ProblemKind,
    Scenario,
    Subject,
    Trial,
)
from stop_harness.scenario.container_keys import refusal

TELLS_EXITS_SINCE = (6, 15)
"""The Linux whose pidfds tell how any process ended: PIDFD_INFO_EXIT."""

PORT_PATIENCE_S = 600
"""How long a trial waits for its turn at a port of this machine; longer than a stop with the longest timeout."""


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
        self._probe: NamespaceProbe | None = None
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
        if subject.container is not None:
            return "the process engine knows no containers"
        if subject.task is not None or subject.group is not None:
            what = "task definitions" if subject.task is not None else "groups of containers"
            return f"the process engine runs no {what}; they need a container engine"
        if refused := faults.refusal(scenario):
            return refused
        if subject.build_directory is None:
            return "the process engine runs no images, only `build:` directories with this machine's programs"
        if subject.init:
            return "the process engine has no init"
        if subject.memory_bytes is not None:
            return "the process engine cannot limit memory"
        if scenario.readiness.healthcheck:
            return "the process engine runs no health checks"
        if refused := refusal(subject, "process") or stopped.refusal(scenario):
            return refused
        if subject.user is not None and not is_present_user(subject.user):
            return f"the process engine cannot change to user {subject.user!r}"
        with contextlib.suppress(BuildError):
            if not program_of(subject, self._image(subject)):
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
            if dockerfile_of(scenario.subject).is_file():
                progress(scenario.name, "reading the Dockerfile")
            self._image(scenario.subject)

    def start(self, trial: Trial) -> ProcessSubject:
        """Start the command. Raises SubjectFailed or EngineError as `Engine.start` says."""
        scenario = trial.scenario
        image = self._image(scenario.subject)
        stop_signal = stop_signal_of(scenario.stop.signal, image.stop_signal)
        probed = self._probed()
        looked_at = (item.port for item in scenario.properties if isinstance(item, PortProperty))
        ports = tuple(sorted({*scenario.reached_ports, *looked_at}))
        own_network = bool(ports) and probed.network_namespace
        with contextlib.ExitStack() as cleanup:
            for port in () if own_network else ports:
                cleanup.callback(self._take_turn(port).release)
            shim = ShimProcess(f"{self._run_id}/{trial.trial_id}", self._python, own_network=own_network)
            cleanup.callback(shim.close)
            request = start_request(
                argv=on_this_machine(program_of(scenario.subject, image), image, scenario.subject),
                namespaces=probed.pid_namespace,
                network=own_network,
                directory=directory_of(scenario.subject, image),
                environment=environment_of(scenario.subject, image),
                ports=ports,
                log=scenario.readiness.log,
                program=self._reference if scenario.subject == REFERENCE else None,
            )
            check_started(shim.ask(request), request)
            locate = partial(on_this_machine, image=image, subject=scenario.subject)
            subject = ProcessSubject(
                self.watch_exit,
                self.forget,
                shim,
                scenario.readiness,
                stop_signal=stop_signal,
                signs=_signs(scenario.subject, image),
                health_test=None if image.health_test is None else locate(image.health_test),
                locate=locate,
                again=partial(self.start, trial),
                cleanup=cleanup.pop_all(),
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

    def _probed(self) -> NamespaceProbe:
        with self._lock:
            if self._force_process_group:
                self._probe = NamespaceProbe(False, False, False, "a process group was asked for")
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
                self._images[subject] = read_dockerfile(subject)
            return self._images[subject]


def _signs(subject: Subject, image: ImageDefaults) -> ReadySigns:
    ports = tuple(dict.fromkeys((*image.ports, *(inside for inside, _ in subject.ports))))
    return ReadySigns(health_check=image.health_test is not None, ports=(ports,) if ports else ())


def _linux() -> tuple[int, ...]:
    """The kernel's version, as far as two numbers go."""
    return tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])
