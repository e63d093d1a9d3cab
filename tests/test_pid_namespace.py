"""The process engine, on real processes: what it starts, how it stops, what it records and what it leaves behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.engines.interface import SubjectFailed
from stop_harness.engines.process.client import probe
from stop_harness.engines.process.engine import PidNamespaceEngine
from stop_harness.engines.process.shim.ready import LONGEST_LINE_BYTES, Output
from stop_harness.engines.process.subject import ProcessSubject
from stop_harness.errors import BuildError
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    EventKind,
    ProblemKind,
    Readiness,
    Scenario,
    SignalDisposition,
    StopPlan,
    StopRecord,
    Subject,
    TrafficClient,
    TrafficKind,
    Trial,
    Vantage,
)
from tests.free_port import free_port
from tests.open_files import open_files, opened_since
from tests.own_runs import command_line_files

ROOT = Path(__file__).parent.parent
PYTHON = os.path.realpath(sys.executable)
PROBE = probe()
NEEDS_NAMESPACES = [
    pytest.mark.namespaces,
    pytest.mark.skipif(not PROBE.pid_namespace, reason=f"no PID namespace: {PROBE.reason}"),
]
MINUTE_NS = 60 * NS_PER_S
READY = Readiness(log="^ready$", timeout_ns=20 * NS_PER_S)

HANDLER = """
import os, signal, sys, time
def say(word):  # not print: the signal may come while `ready` is being printed
    os.write(1, f"{word} {time.clock_gettime_ns(time.CLOCK_MONOTONIC)}\\n".encode())
def leave(*_):
    say("TERM")
    time.sleep(0.2)
    say("EXIT")
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
while True: time.sleep(0.05)  # not pause(): a signal just before it would wait for the next one
"""
RUN_ID = f"test-{os.getpid()}"
"""Others may try the same on this machine."""

NO_HANDLER = "import time; print('ready', flush=True); time.sleep(1000)"
SERVER = """
import http.server, signal, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[2])); self.end_headers()
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def python(code: str, *arguments: str) -> tuple[str, ...]:
    """A command that runs `code`."""
    return (PYTHON, "-S", "-c", code, *arguments)


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Return once it holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def those_alive(token: str) -> list[int]:
    """Other processes of the machine that have `token` in their command lines."""
    found = []
    for entry in command_line_files():
        with contextlib.suppress(OSError):
            if token.encode() in entry.read_bytes() and entry.parent.name != str(os.getpid()):
                found.append(int(entry.parent.name))
    return found


def is_alive(token: str) -> bool:
    """Whether any process of the machine has `token` in its command line."""
    return bool(those_alive(token))


class Bench:
    """Starts subjects in a build directory and removes them at the end of the test."""

    def __init__(self, directory: Path, engine: PidNamespaceEngine) -> None:
        self.directory = directory
        self.engine = engine

    def trial(
        self,
        command: tuple[str, ...] | None,
        readiness: Readiness = READY,
        signal_name: str | None = None,
        traffic: tuple[TrafficClient, ...] = (),
    ) -> Trial:
        """A trial of `command`; None leaves it to the Dockerfile."""
        subject = Subject(build_directory=str(self.directory), command=command, environment=(("COLOUR", "blue"),))
        stop = StopPlan(signal=signal_name)
        return Trial("test-1", Scenario("test", subject, readiness=readiness, stop=stop, traffic=traffic), 0, 0, 1)

    def ready(
        self, command: tuple[str, ...] | None, readiness: Readiness = READY, signal_name: str | None = None
    ) -> ProcessSubject:
        """A started subject that is ready."""
        subject = self.engine.start(self.trial(command, readiness, signal_name))
        subject.wait_ready()
        return subject

    def stopped(self, command: tuple[str, ...] | None, timeout_ms: int, **others: str) -> StopRecord:
        """The record of a whole stop."""
        subject = self.ready(command, signal_name=others.get("signal_name"))
        subject.stop(timeout_ms * NS_PER_MS)
        record = subject.record().stop
        subject.remove()
        return record


@pytest.fixture(params=[pytest.param("namespaces", marks=NEEDS_NAMESPACES), "process group"])
def any_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Both ways to run a subject."""
    engine = PidNamespaceEngine(RUN_ID, force_process_group=request.param == "process group")
    yield Bench(tmp_path, engine)
    engine.close()


@pytest.fixture(params=[pytest.param("namespaces", marks=NEEDS_NAMESPACES)])
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Subjects as PID 1 of a namespace."""
    engine = PidNamespaceEngine(RUN_ID)
    yield Bench(tmp_path, engine)
    engine.close()


@pytest.fixture
def group_bench(tmp_path: Path) -> Iterator[Bench]:
    """Subjects in a process group, as on macOS."""
    engine = PidNamespaceEngine(RUN_ID, force_process_group=True)
    yield Bench(tmp_path, engine)
    engine.close()


def signals_of(record: StopRecord) -> list[int | None]:
    """Signals sent, in order."""
    return [event.signal for event in record.events if event.kind is EventKind.SIGNAL_SENT]


def at_ns(record: StopRecord, kind: EventKind, number: int | None = None) -> int:
    """When it happened."""
    return next(e.at_ns for e in record.events if e.kind is kind and number in (None, e.signal))


# ── The stop ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_handler_that_exits_is_recorded_without_sigkill(any_bench: Bench) -> None:
    """A subject with a handler exits by itself: one signal, exit code 0, no signal of death."""
    record = any_bench.stopped(python(HANDLER), 10_000)
    assert signals_of(record) == [signal.SIGTERM]
    assert (record.exit_code, record.exit_signal, record.oom_killed) == (0, None, None)
    assert record.complete
    assert {event.clock for event in record.events} == {Clock.KERNEL}
    # The exit stands there twice where the kernel's own stamp of it can be had.
    assert list(dict.fromkeys(e.kind for e in record.events)) == ["started", "ready", "signal_sent", "exited"]


def test_duration_agrees_with_the_subjects_own_clock(any_bench: Bench) -> None:
    """Signal sent comes before the handler runs, exited after its last line, each by little."""
    subject = any_bench.ready(python(HANDLER))
    subject.stop(10 * NS_PER_S)
    record, lines = subject.record().stop, dict(line.split() for line in subject.logs().text.splitlines()[1:])
    delivery_ns = int(lines["TERM"]) - at_ns(record, EventKind.SIGNAL_SENT)
    notice_ns = at_ns(record, EventKind.EXITED) - int(lines["EXIT"])
    assert 0 <= delivery_ns < 2 * NS_PER_S
    assert 0 <= notice_ns < 2 * NS_PER_S


def test_pid_one_without_a_handler_needs_sigkill(bench: Bench) -> None:
    """The kernel drops the default action for PID 1, so the stop timeout passes and SIGKILL ends it."""
    record = bench.stopped(python(NO_HANDLER), 300)
    assert signals_of(record) == [signal.SIGTERM, signal.SIGKILL]
    assert (record.exit_code, record.exit_signal) == (137, signal.SIGKILL)
    waited = at_ns(record, EventKind.SIGNAL_SENT, 9) - at_ns(record, EventKind.SIGNAL_SENT, 15)
    assert 300 * NS_PER_MS <= waited < 5 * NS_PER_S


def test_process_group_without_a_handler_dies_of_the_stop_signal(group_bench: Bench) -> None:
    """Without a namespace the default action applies, and the engine says that it does."""
    record = group_bench.stopped(python(NO_HANDLER), 10_000)
    assert (record.exit_code, record.exit_signal) == (143, signal.SIGTERM)
    info = group_bench.engine.info()
    assert not info.pid1_rules
    assert any("PID 1" in caveat for caveat in info.caveats)


def test_ignored_signal_needs_sigkill(any_bench: Bench) -> None:
    """SIG_IGN swallows the stop signal."""
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + NO_HANDLER
    assert signals_of(any_bench.stopped(python(code), 200)) == [signal.SIGTERM, signal.SIGKILL]


def test_timeout_zero_sends_the_stop_signal_and_then_sigkill(any_bench: Bench) -> None:
    """As Docker does it: the stop signal is sent even when no time is given to obey."""
    record = any_bench.stopped(python(HANDLER), 0)
    assert signals_of(record) == [signal.SIGTERM, signal.SIGKILL]
    assert record.exit_signal == signal.SIGKILL


def test_exit_code_137_is_told_apart_from_sigkill(any_bench: Bench) -> None:
    """A program may exit with 137 by itself; the wait status knows."""
    record = any_bench.stopped(python(HANDLER.replace("_exit(0)", "_exit(137)")), 10_000)
    assert (record.exit_code, record.exit_signal) == (137, None)


def test_crash_on_stop_is_recorded_with_its_signal(any_bench: Bench) -> None:
    """A fault in the handler gives 128 + 11, the signal itself, and no core file among the sources."""
    code = HANDLER.replace("time.sleep(0.2)", "import ctypes; ctypes.string_at(0)")
    record = any_bench.stopped(python(code), 10_000)
    assert (record.exit_code, record.exit_signal) == (139, signal.SIGSEGV)
    assert not list(any_bench.directory.glob("core*"))


def test_signals_have_their_defaults_in_the_subject(bench: Bench) -> None:
    """Python and nohup ignore some signals and exec hands that on; a container starts with all at default."""
    subject = bench.ready(("/bin/sh", "-c", "echo ready; exec sleep 1000"))
    wait_until(lambda: any(row.command == "sleep 1000" for row in subject.processes() or ()))
    (row,) = subject.processes() or ()
    # Signals 32 and 33 belong to the C library, whose sigaction refuses them; whoever started us may ignore them.
    of_the_c_library = 0b11 << 31
    assert (row.pid, row.parent_pid, row.ignored & ~of_the_c_library, row.blocked) == (1, 0, 0, 0)
    subject.remove()


def test_process_table_shows_what_each_does_with_the_signal(bench: Bench) -> None:
    """PIDs are the namespace's own; a shell without a trap does nothing, python below it has a handler."""
    subject = bench.ready(("/bin/sh", "-c", '"$0" -S -c "$1"; true', PYTHON, HANDLER))
    shell, below = subject.processes() or ()
    assert (shell.pid, shell.disposition(15)) == (1, SignalDisposition.DEFAULT)
    assert (below.parent_pid, below.disposition(15)) == (1, SignalDisposition.CAUGHT)
    subject.remove()


@pytest.mark.parametrize(("name", "number"), [("INT", 2), ("SIGUSR1", 10), ("12", 12), ("SIGRTMIN+3", 37)])
def test_stop_signal_of_the_scenario(any_bench: Bench, name: str, number: int) -> None:
    """Names with and without SIG, numbers and real-time signals."""
    subject = any_bench.ready(python(HANDLER.replace("signal.SIGTERM", str(number))), signal_name=name)
    assert (subject.stop_signal, subject.stop_signal_source) == (number, "scenario")
    subject.stop(10 * NS_PER_S)
    assert subject.record().stop.exit_code == 0


def test_stop_of_a_subject_that_has_left_sends_nothing(any_bench: Bench) -> None:
    """What is gone cannot be stopped, and the record says that it had exited before."""
    subject = any_bench.engine.start(any_bench.trial(("/bin/sh", "-c", "exit 7"), Readiness()))
    wait_until(lambda: not subject.is_running())
    subject.stop(NS_PER_S)
    record = subject.record().stop
    assert (signals_of(record), record.exit_code, record.exited_before_stop) == ([], 7, True)


# ── Who else was there ───────────────────────────────────────────────────────────────────────────────────────────────

LEAVES_CHILD = """trap 'exit 0' TERM; "$0" -S -c "$1" & wait"""
TAKES_CHILD_ALONG = "sleep 1000 & child=$!; trap 'kill $child; wait; exit 0' TERM; echo ready; wait"


def test_child_that_outlives_pid_one_is_lost(any_bench: Bench) -> None:
    """PID 1 exits in order, the kernel SIGKILLs the rest: a stop that only looks clean."""
    record = any_bench.stopped(("/bin/sh", "-c", LEAVES_CHILD, PYTHON, NO_HANDLER), 10_000)
    assert record.exit_code == 0
    if record.lost_processes is None:
        pytest.skip("this kernel does not tell how strangers ended (PIDFD_GET_INFO, Linux 6.15)")
    assert len(record.lost_processes) == 1
    assert record.lost_processes[0].startswith("python")
    assert record.suspected_processes == ()


def test_child_that_left_by_itself_is_not_lost(any_bench: Bench) -> None:
    """Ended by PID 1 with SIGTERM and waited for: nothing was lost, or we say that we do not know."""
    assert not any_bench.stopped(("/bin/sh", "-c", TAKES_CHILD_ALONG), 10_000).lost_processes


def test_child_that_its_own_supervisor_kills_is_lost_and_told_apart(bench: Bench) -> None:
    """A SIGKILL from inside is as silent as the kernel's; the record says that it came first."""
    script = """trap 'kill -9 $!; sleep 1; exit 0' TERM; "$0" -S -c "$1" & wait"""
    record = bench.stopped(("/bin/sh", "-c", script, PYTHON, NO_HANDLER), 10_000)
    if record.lost_processes is None:
        pytest.skip("this kernel does not tell how strangers ended (PIDFD_GET_INFO, Linux 6.15)")
    assert ["by another process" in text for text in record.lost_processes] == [True]


def test_subject_alone_loses_nobody(any_bench: Bench) -> None:
    """No other process was ever there."""
    assert any_bench.stopped(python(HANDLER), 10_000).lost_processes == ()


def test_process_group_leaves_no_daemon_behind(group_bench: Bench) -> None:
    """A child in a session of its own is out of the group, and still goes with the subject."""
    token = f"token-{os.getpid()}-daemon"
    code = f"import os, time; print('ready', flush=True) or time.sleep(1000) # {token}"
    subject = group_bench.ready(("/bin/sh", "-c", 'setsid "$0" -c "$1" & exec sleep 1000', PYTHON, code))
    assert is_alive(token)
    subject.stop(NS_PER_S)
    assert not is_alive(token)


OLD_KERNEL = """
import ctypes, os, platform, struct, sys
ioctl, machine = {"x86_64": (16, 0xC000003E), "aarch64": (29, 0xC00000B7)}[platform.machine()]
def instruction(code, true, false, value): return struct.pack("HBBI", code, true, false, value)
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
program = b"".join([
    instruction(LOAD, 0, 0, 0), instruction(EQUAL, 0, 3, ioctl),
    instruction(LOAD, 0, 0, 24), instruction(EQUAL, 0, 1, 0xC040FF0B),
    instruction(RETURN, 0, 0, 0x00050000 | 25), instruction(RETURN, 0, 0, 0x7FFF0000)])
buffer = ctypes.create_string_buffer(program, len(program))
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer)), 16)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, filter, 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Runs Python where ioctl(PIDFD_GET_INFO) fails with ENOTTY, as before Linux 6.13, by a seccomp filter."""


def test_old_kernel_gives_suspects_instead_of_proof(tmp_path: Path) -> None:
    """Who was there at the last look is suspected; who had exited before is not."""
    if not PROBE.pid_namespace or platform.machine() not in {"x86_64", "aarch64"}:
        pytest.skip("needs namespaces and a known processor")
    old_python = tmp_path / "old-python"
    (tmp_path / "old.py").write_text(OLD_KERNEL)
    old_python.write_text(f'#!/bin/sh\nexec {PYTHON} -S {tmp_path}/old.py "$@"\n')
    old_python.chmod(0o755)
    bench = Bench(tmp_path, PidNamespaceEngine("test", python=str(old_python)))
    script = """trap 'kill -9 $gone; wait $gone; sleep 1; exit 0' TERM; sleep 1000 & gone=$!; "$0" -S -c "$1" & wait"""
    record = bench.stopped(("/bin/sh", "-c", script, PYTHON, NO_HANDLER), 10_000)
    assert record.exit_code == 0
    assert record.lost_processes is None
    assert sum(text.startswith("python") for text in record.suspected_processes) == 1
    assert "sleep (PID 2)" not in record.suspected_processes


# ── Start and readiness ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("command", "code"), [("no-such-program", 127), ("/no/such/program", 127), ("./data", 126), ("./text", 126)]
)
def test_command_that_cannot_run(any_bench: Bench, command: str, code: int) -> None:
    """Not found is 127, found but not executable 126, as shells and Docker number them."""
    (any_bench.directory / "data").write_text("x")
    (any_bench.directory / "text").write_text("no interpreter line")
    (any_bench.directory / "text").chmod(0o755)
    with pytest.raises(SubjectFailed) as caught:
        any_bench.engine.start(any_bench.trial((command,)))
    assert caught.value.problem is not None
    assert (caught.value.problem.kind, caught.value.exit_code) == (ProblemKind.COMMAND_NOT_FOUND, code)
    assert command in caught.value.problem.message


def test_unknown_stop_signal_is_a_failed_start(any_bench: Bench) -> None:
    """A Dockerfile may name a signal that does not exist."""
    (any_bench.directory / "Dockerfile").write_text('FROM x\nSTOPSIGNAL SIGNONE\nCMD ["sleep", "9"]')
    with pytest.raises(SubjectFailed, match="SIGNONE"):
        any_bench.engine.start(any_bench.trial(None))


def test_never_ready_says_what_was_waited_for_and_what_it_wrote(any_bench: Bench) -> None:
    """The message alone must be enough to mend the scenario."""
    readiness = Readiness(log="never", tcp_port=8123, timeout_ns=NS_PER_S)
    subject = any_bench.engine.start(any_bench.trial(("/bin/sh", "-c", "echo hello; exec sleep 1000"), readiness))
    with pytest.raises(SubjectFailed) as caught:
        subject.wait_ready()
    problem = caught.value.problem
    assert problem is not None
    assert problem.kind is ProblemKind.NOT_READY
    for part in ("after 1 s", "tcp port 8123", "'never'", "hello"):
        assert part in problem.message


def test_exit_before_ready_carries_the_exit_code(any_bench: Bench) -> None:
    """It left while we waited: no problem of the start, but an exit code on record."""
    subject = any_bench.engine.start(any_bench.trial(("/bin/sh", "-c", "exit 3")))
    with pytest.raises(SubjectFailed) as caught:
        subject.wait_ready()
    assert (caught.value.problem, caught.value.exit_code) == (None, 3)


def test_two_subjects_use_the_same_port_at_the_same_time(bench: Bench) -> None:
    """Each has its own loopback, where readiness is checked from inside."""
    if not PROBE.network_namespace:
        pytest.skip("no network namespace")
    port = free_port()
    subjects = [
        bench.ready(python(SERVER, str(port), "200"), Readiness(http_port=port, tcp_port=port)) for _ in range(2)
    ]
    assert all(subject.is_running() for subject in subjects)
    for subject in subjects:
        subject.stop(10 * NS_PER_S)
        assert subject.record().stop.exit_code == 0


def test_http_answer_of_400_or_more_is_not_ready(any_bench: Bench) -> None:
    """An error page means that it is not ready yet."""
    port = free_port()
    readiness = Readiness(http_port=port, http_path="/health", timeout_ns=NS_PER_S)
    subject = any_bench.engine.start(any_bench.trial(python(SERVER, str(port), "503"), readiness))
    with pytest.raises(SubjectFailed, match="path /health"):
        subject.wait_ready()


def test_taken_port_of_the_machine_is_a_failed_start(group_bench: Bench) -> None:
    """Without a network of its own the subject's readiness would be somebody else's answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SubjectFailed, match=f"port {port} is already taken"):
            group_bench.engine.start(group_bench.trial(("sleep", "9"), Readiness(tcp_port=port)))


def test_trials_take_turns_at_a_port_of_the_machine(group_bench: Bench) -> None:
    """The second starts when the first has been removed."""
    port = free_port()
    readiness = Readiness(tcp_port=port)
    first = group_bench.ready(python(SERVER, str(port), "200"), readiness)
    started = threading.Event()

    def second() -> None:
        group_bench.engine.start(group_bench.trial(python(SERVER, str(port), "200"), readiness))
        started.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not started.wait(0.3)
    first.remove()
    assert started.wait(20)
    thread.join()


# ── The Dockerfile's part ────────────────────────────────────────────────────────────────────────────────────────────


def test_dockerfile_gives_command_environment_and_stop_signal(any_bench: Bench) -> None:
    """The same `build:` scenario means the same here as on Docker, with paths of the image found in the directory."""
    (any_bench.directory / "app.py").write_text(HANDLER.replace("signal.SIGTERM", "signal.SIGINT"))
    (any_bench.directory / "start.sh").write_text('#!/bin/sh\nexec "$PY" -S "$1"\n')
    (any_bench.directory / "start.sh").chmod(0o755)
    (any_bench.directory / "Dockerfile").write_text(
        f"FROM x\nWORKDIR /app\nENV PY={PYTHON}\nCOPY start.sh /start.sh\nCOPY . .\nSTOPSIGNAL SIGINT\n"
        'ENTRYPOINT ["/start.sh"]\nCMD ["/app/app.py"]\n'
    )
    subject = any_bench.ready(None)
    assert (subject.stop_signal, subject.stop_signal_source) == (2, "image")
    subject.stop(10 * NS_PER_S)
    assert subject.record().stop.exit_code == 0


def test_shell_form_finds_the_files_of_the_image(any_bench: Bench) -> None:
    """Paths within shell text are found, too."""
    (any_bench.directory / "hello.sh").write_text("echo ready; exec sleep 1000\n")
    (any_bench.directory / "Dockerfile").write_text("FROM x\nWORKDIR /app\nCMD exec sh /app/hello.sh")
    assert any_bench.ready(None).is_running()


def test_path_that_the_image_does_not_bring_keeps_its_meaning_to_the_shell(any_bench: Bench) -> None:
    """Variables within a path are the shell's business."""
    script = 'name=ready; test -e "/proc/$$/status" -a -e /proc/$$/status && echo $name; exec sleep 1000'
    assert any_bench.ready(("sh", "-c", script)).is_running()


def test_missing_dockerfile_that_is_named_is_a_build_error(any_bench: Bench) -> None:
    """The file's path is in the message."""
    scenario = Scenario("s", Subject(build_directory=str(any_bench.directory), dockerfile="Other"))
    with pytest.raises(BuildError, match="Other"):
        any_bench.engine.prepare((scenario,), lambda *_: None)


@pytest.mark.parametrize(
    ("subject", "readiness", "word"),
    [
        (Subject(image="nginx"), READY, "image"),
        (Subject(build_directory="/", command=("x",), init=True), READY, "init"),
        (Subject(build_directory="/", command=("x",), memory_bytes=1), READY, "memory"),
        (Subject(build_directory="/", command=("x",), user="no-such-user"), READY, "user"),
        (Subject(build_directory="/", command=("x",)), Readiness(healthcheck=True), "health"),
        (Subject(build_directory="/"), READY, "command"),
    ],
)
def test_what_it_cannot_run_it_says(subject: Subject, readiness: Readiness, word: str) -> None:
    """A reason for people instead of a wrong measurement."""
    reason = PidNamespaceEngine("test").cannot_run(Scenario("s", subject, readiness=readiness))
    assert reason is not None
    assert word in reason


def test_present_user_and_plain_command_can_run() -> None:
    """The user who runs the harness is no obstacle, by name or number."""
    subject = Subject(build_directory="/", command=("sleep", "1"), user=f"{os.geteuid()}:{os.getegid()}")
    assert PidNamespaceEngine("test").cannot_run(Scenario("s", subject)) is None


# ── Output ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hundred_megabytes_of_output_neither_block_nor_pile_up(any_bench: Bench) -> None:
    """The end is kept, 16 KiB of it, and a line after the flood is still found."""
    code = "import sys\nfor _ in range(1600): sys.stdout.write('x' * 65535 + '\\n')\n" + HANDLER
    subject = any_bench.ready(python(code))
    logs = subject.logs()
    assert logs.truncated
    assert logs.text.endswith("ready\n")
    assert len(logs.text) == 16 * 1024
    subject.stop(10 * NS_PER_S)
    assert subject.record().stop.exit_code == 0


def test_binary_output_is_kept_readable(any_bench: Bench) -> None:
    """Bytes that are no UTF-8 become replacement characters, and readiness is still found."""
    logs = any_bench.ready(("/bin/sh", "-c", r"printf '\377\000\nready\n'; exec sleep 1000")).logs()
    assert logs.text == "\ufffd\0\nready\n"
    assert not logs.truncated


@pytest.mark.parametrize("line", ["ready soon", "not ready", "ready"])
def test_only_a_whole_line_counts_as_ready(any_bench: Bench, line: str) -> None:
    """Neither the beginning of a longer line nor a line that has not ended."""
    first, rest = line[:5], line[5:]
    code = (
        f"import sys, time\nprint({first!r}, end='', flush=True); time.sleep(0.2)\nprint({rest!r}, end='', flush=True)"
    )
    subject = any_bench.engine.start(
        any_bench.trial(python(f"{code}\ntime.sleep(1000)"), Readiness(log="^ready$", timeout_ns=NS_PER_S))
    )
    with pytest.raises(SubjectFailed, match="waited for log line"):
        subject.wait_ready()


def test_line_that_comes_in_parts_counts_once_it_has_ended(any_bench: Bench) -> None:
    """Many writes, one line, ended as Windows ends it."""
    code = "import os, time\nfor c in b'ready\\r\\n': os.write(1, bytes([c])); time.sleep(0.01)\ntime.sleep(1000)"
    assert any_bench.ready(python(code)).logs().text == "ready\r\n"


def test_very_long_line_is_looked_at_by_its_end() -> None:
    """Its beginning is dropped, the next line is whole again."""
    for text, found in ((b"first" + b"x" * LONGEST_LINE_BYTES + b"\n", False), (b"x" * 400_000 + b" first\n", True)):
        output = Output()
        output.look_for("first")
        for start in range(0, len(text), 5000):
            output.add(text[start : start + 5000])
        assert output.matched == found
        output.look_for("^second$")
        output.add(b"second\n")
        assert output.matched


@given(text=st.text("ab\n", max_size=60), cuts=st.lists(st.integers(0, 60)), asked_after=st.integers(0, 60))
def test_match_does_not_depend_on_how_the_output_was_cut(text: str, cuts: list[int], asked_after: int) -> None:
    """Nor on whether the pattern was known before or after the output came."""
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    output = Output()
    for number, (start, end) in enumerate(itertools.pairwise(places)):
        if number == asked_after:
            output.look_for("^ab$")
        output.add(text[start:end].encode())
    if asked_after >= len(places) - 1:
        output.look_for("^ab$")
    assert output.matched == ("ab" in text.split("\n")[:-1])


def test_wait_log_finds_what_was_written_before_and_what_comes(any_bench: Bench) -> None:
    """Also a line before the readiness line, and one that is written during the wait."""
    code = "import sys, time\nprint('early\\nready', flush=True)\n"
    code += "for n in range(10**6): print('line', n, flush=True); time.sleep(0.02)"
    subject = any_bench.ready(python(code))
    subject.wait_log("^early$", 20 * NS_PER_S)
    for pattern in (r"^line 7$", r"^line \d\d$"):
        subject.wait_log(pattern, 20 * NS_PER_S)


def test_wait_log_in_vain_says_what_was_waited_for(any_bench: Bench) -> None:
    """As with readiness: the pattern, the time and the last lines."""
    subject = any_bench.ready(python(NO_HANDLER))
    with pytest.raises(
        SubjectFailed, match=r"not ready after 0.2 s: waited for .*'never'.*last output: ready"
    ) as caught:
        subject.wait_log("never", 200 * NS_PER_MS)
    assert caught.value.problem is not None
    assert caught.value.problem.kind is ProblemKind.NOT_READY


LEAVES_WHEN_TOLD = "echo ready; until [ -e go ]; do sleep 0.2; done; exit {code}"


def test_wait_log_of_a_subject_that_leaves_carries_its_exit_code(any_bench: Bench) -> None:
    """It left while we waited."""
    subject = any_bench.ready(("/bin/sh", "-c", LEAVES_WHEN_TOLD.format(code=5)))
    (any_bench.directory / "go").touch()
    with pytest.raises(SubjectFailed) as caught:
        subject.wait_log("never", 20 * NS_PER_S)
    assert (caught.value.problem, caught.value.exit_code) == (None, 5)


# ── Connections ──────────────────────────────────────────────────────────────────────────────────────────────────────

ECHO = """
import os, signal, socket, sys, threading, time
server = socket.create_server((sys.argv[2], int(sys.argv[1])), family=int(sys.argv[3]), backlog=512)
def drain(*_):
    open("draining", "w").close()
    time.sleep(float(sys.argv[4]))
    os._exit(0)
def accept():
    while True:
        connection, _ = server.accept()
        connection.sendall(b"hello")
        connection.close()
for _ in range(4): threading.Thread(target=accept, daemon=True).start()
signal.signal(signal.SIGTERM, drain)
os.write(1, b"ready\\n")
while True: time.sleep(0.05)  # not pause(): a signal just before it would wait for the next one
"""


def echo(bench: Bench, port: int, *, ipv6: bool = False, drain_s: float = 0) -> ProcessSubject:
    """A server that greets; only the traffic names its port."""
    where = ("::1", str(int(socket.AF_INET6))) if ipv6 else ("127.0.0.1", str(int(socket.AF_INET)))
    client = TrafficClient(TrafficKind.TCP, port)
    subject = bench.engine.start(bench.trial(python(ECHO, str(port), *where, str(drain_s)), traffic=(client,)))
    subject.wait_ready()
    return subject


def greeting(subject: ProcessSubject, port: int) -> bytes:
    """What a fresh connection is told."""
    connection, _ = subject.connect(port, 10)
    with connection:
        return connection.recv(100, socket.MSG_WAITALL)


def test_connection_reaches_the_subject_by_its_own_network(bench: Bench) -> None:
    """Two subjects at one port, each answers for itself; the port is named by the traffic only."""
    if not PROBE.network_namespace:
        pytest.skip("no network namespace")
    port = free_port()
    for subject in [echo(bench, port) for _ in range(2)]:
        connection, vantage = subject.connect(port, 10)
        with connection:
            assert (connection.recv(100), vantage) == (b"hello", Vantage.NETWORK_NAMESPACE)
            assert not connection.get_inheritable()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_connection_to_a_process_group_goes_by_the_machine(group_bench: Bench) -> None:
    """There is no other network, and the vantage says so."""
    port = free_port()
    connection, vantage = echo(group_bench, port).connect(port, 10)
    with connection:
        assert (connection.recv(100), vantage) == (b"hello", Vantage.HOST_NETWORK)


def test_server_on_ipv6_only_is_reached(any_bench: Bench) -> None:
    """`::1` is tried where 127.0.0.1 refuses."""
    port = free_port()
    assert greeting(echo(any_bench, port, ipv6=True), port) == b"hello"


def listened_to() -> set[int]:
    """Ports of this machine on which somebody listens; proc(5)."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}


def test_port_where_nobody_listens_refuses(any_bench: Bench) -> None:
    """And a connection never meets itself, which the ephemeral range makes possible."""
    port = free_port()
    subject = echo(any_bench, port)
    # A process group shares the machine's ports, and helpers of other tests listen in the ephemeral range, too. The
    # subject's own port comes out of that range as well, and in a namespace only the subject sees that it listens.
    for other in sorted(set(range(40000, 40300)) - listened_to() - {port}):
        try:
            connection, _ = subject.connect(other, 5)
        except ConnectionRefusedError:
            continue
        with connection:
            assert other in listened_to(), f"nobody listens at {other}, yet it was connected to"  # since a moment ago


def test_a_thousand_connections_from_many_threads(any_bench: Bench) -> None:
    """Every one is answered, and no file stays open."""
    port = free_port()
    subject = echo(any_bench, port)
    before = open_files()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: greeting(subject, port), range(1000))) == {b"hello"}
    assert not opened_since(before)


def test_connections_during_the_stop_and_after_it(any_bench: Bench) -> None:
    """While the subject drains they are answered, once it is gone refused, and the stop is measured as ever."""
    port = free_port()
    subject = echo(any_bench, port, drain_s=2)
    with ThreadPoolExecutor(1) as pool:
        stop = pool.submit(subject.stop, 20 * NS_PER_S)
        wait_until((any_bench.directory / "draining").exists)
        assert {greeting(subject, port) for _ in range(5)} == {b"hello"}
        with contextlib.suppress(OSError):
            while not stop.done():
                greeting(subject, port)
        stop.result(20)
    record = subject.record().stop
    assert (record.exit_code, signals_of(record)) == (0, [signal.SIGTERM])
    with pytest.raises(ConnectionRefusedError):
        subject.connect(port, 5)
    subject.remove()
    with pytest.raises(ConnectionRefusedError):
        subject.connect(port, 5)


def test_process_table_can_be_had_during_the_stop(any_bench: Bench) -> None:
    """From another thread, while `stop` blocks; after the stop there is none."""
    subject = any_bench.ready(python(HANDLER.replace("0.2", "2")))
    thread = threading.Thread(target=subject.stop, args=(20 * NS_PER_S,))
    thread.start()
    wait_until(lambda: any(row.state == "S" and row.threads == 1 for row in subject.processes() or ()))
    assert thread.is_alive()
    thread.join(20)
    assert subject.processes() is None
    assert subject.record().stop.exit_code == 0


def test_end_now_ends_a_stop_and_the_record_stays_whole(any_bench: Bench) -> None:
    """SIGKILL before its time, on record like any other."""
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + NO_HANDLER
    subject = any_bench.ready(python(code))
    thread = threading.Thread(target=subject.stop, args=(1000 * NS_PER_S,))
    thread.start()
    subject.end_now()
    thread.join(20)
    assert subject.record().stop.exit_signal == signal.SIGKILL
    subject.end_now()


# ── Commands beside the subject ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("/bin/sh", "-c", "exit 3"), 3),
        (("sh", "-c", '[ "$COLOUR" = blue ] && [ -e here ]'), 0),
        (("sh", "-c", "kill -9 $$"), 137),
        (("no-such-program",), 127),
        (("./here",), 126),
    ],
)
def test_command_has_the_subjects_environment_and_directory(
    any_bench: Bench, command: tuple[str, ...], code: int
) -> None:
    """And its exit code comes back, numbered as a shell does."""
    (any_bench.directory / "here").touch()
    subject = any_bench.ready(python(HANDLER))
    assert subject.execute(command, MINUTE_NS) == code
    subject.stop(10 * NS_PER_S)
    record = subject.record().stop
    assert (record.exit_code, signals_of(record)) == (0, [signal.SIGTERM])


def test_command_sees_the_processes_of_the_subject(bench: Bench) -> None:
    """Its PID 1 is the subject, its /proc the subject's; it is no child of PID 1."""
    subject = bench.ready(python(HANDLER.replace("SIGTERM", "SIGUSR1")))
    assert (
        subject.execute(("sh", "-c", "grep -q USR1 /proc/1/cmdline && grep -q '^PPid:.0$' /proc/$$/status"), MINUTE_NS)
        == 0
    )
    assert subject.execute(("sh", "-c", "kill -USR1 1"), MINUTE_NS) == 0
    wait_until(lambda: not subject.is_running())
    assert subject.record().stop.exit_code == 0


def test_command_that_outlives_the_subject_goes_with_it(any_bench: Bench) -> None:
    """The subject's end is told, not the command's."""
    token = f"token-{os.getpid()}-companion"
    subject = any_bench.ready(("/bin/sh", "-c", LEAVES_WHEN_TOLD.format(code=4)))
    with pytest.raises(SubjectFailed) as caught:
        subject.execute(python("import time; open('go', 'w').close(); time.sleep(1000)", token), MINUTE_NS)
    assert (caught.value.problem, caught.value.exit_code) == (None, 4)
    wait_until(lambda: not is_alive(token))
    with pytest.raises(SubjectFailed):
        subject.execute(("true",), MINUTE_NS)


def test_command_that_hangs_is_given_up_and_gone(any_bench: Bench) -> None:
    """It has no exit code then, and the subject goes on."""
    token = f"token-{os.getpid()}-endless"
    subject = any_bench.ready(python(HANDLER))
    assert subject.execute(python("import time; time.sleep(1000)", token), NS_PER_S // 2) is None
    wait_until(lambda: not is_alive(token))
    assert subject.is_running()


def test_daemon_that_a_command_leaves_goes_with_the_subject(any_bench: Bench) -> None:
    """Nothing that was started beside the subject stays."""
    token = f"token-{os.getpid()}-left"
    subject = any_bench.ready(python(NO_HANDLER))
    daemon = 'setsid "$0" -S -c "import time; time.sleep(1000)" "$1" >/dev/null 2>&1 &'
    assert subject.execute(("sh", "-c", daemon, PYTHON, token), MINUTE_NS) == 0
    wait_until(lambda: is_alive(token))
    subject.stop(100 * NS_PER_MS)
    assert not is_alive(token)


def test_abort_ends_a_command_that_hangs(any_bench: Bench) -> None:
    """Ctrl-C does not have to wait for it, and removing leaves it not behind."""
    token = f"token-{os.getpid()}-hangs"
    subject = any_bench.ready(python(HANDLER))

    def abort_once_it_runs() -> None:
        wait_until(lambda: is_alive(token))
        subject.abort()

    timer = threading.Thread(target=abort_once_it_runs)
    timer.start()
    with pytest.raises(SubjectFailed) as caught:
        subject.execute(python("import time; time.sleep(1000)", token), MINUTE_NS)
    timer.join()
    assert caught.value.problem is not None
    assert caught.value.problem.kind is ProblemKind.INTERRUPTED
    wait_until(lambda: not is_alive(token))


# ── Leaving nothing behind ───────────────────────────────────────────────────────────────────────────────────────────


def test_abort_ends_a_blocked_stop(any_bench: Bench) -> None:
    """Another thread may end a stop that would last for ever."""
    code = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: None);" + (
        "print('ready', flush=True)\nwhile True: time.sleep(0.05)"
    )
    subject = any_bench.ready(python(code))
    thread = threading.Thread(target=subject.stop, args=(1000 * NS_PER_S,))
    thread.start()
    subject.abort()
    thread.join(20)
    assert not thread.is_alive()
    assert subject.record().stop.exit_signal == signal.SIGKILL


def test_remove_leaves_no_process_and_no_open_file(any_bench: Bench) -> None:
    """Twice is no error; what was open before is open after, nothing more."""
    token = f"token-{os.getpid()}-remove"
    any_bench.engine.info()
    before = open_files()
    subject = any_bench.ready(python(HANDLER, token))
    subject.remove()
    subject.remove()
    assert not is_alive(token)
    assert not opened_since(before)


HARNESS = """
import sys, time
sys.path.insert(0, sys.argv[1])
from stop_harness.engines.process.engine import PidNamespaceEngine
from stop_harness.model import *
engine = PidNamespaceEngine(sys.argv[2], force_process_group=sys.argv[3] == "group")
command = ("/bin/sh", "-c", "trap '' TERM; sleep 1000 & echo ready; while :; do sleep 1000; done", sys.argv[2])
subject = engine.start(Trial("t", Scenario("s", Subject(build_directory="/", command=command)), 0, 0, 1))
print(engine.info().pid1_rules, flush=True)
subject.stop(1_000_000_000 * int(sys.argv[4]))
record = subject.record().stop
print([event.signal for event in record.events], record.exit_signal, flush=True)
engine.close()
"""


@pytest.mark.parametrize("way", ["namespaces", "group"])
def test_kill_nine_of_the_harness_leaves_nothing(way: str) -> None:
    """The helper sees its input end, SIGKILLs the subject and goes."""
    token = f"token-{os.getpid()}-harness-{way}"
    command = [sys.executable, "-c", HARNESS, str(ROOT / "harness"), token, way, "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as harness:
        assert harness.stdout is not None
        assert harness.stdout.readline()
        assert is_alive(token)
        harness.kill()
        harness.wait()
    wait_until(lambda: not is_alive(token))


def test_kill_nine_of_the_helper_takes_the_subject_along(bench: Bench) -> None:
    """PID 1 has its helper's death as its own; the rest goes with PID 1."""
    token = f"token-{os.getpid()}-helper"
    bench.ready(python(HANDLER, token))
    (helper,) = those_alive(f"stop-harness:{RUN_ID}/test-1")
    os.kill(helper, signal.SIGKILL)
    wait_until(lambda: not is_alive(token))


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
@pytest.mark.skipif(not os.access("/usr/bin/python3", os.X_OK), reason="needs a python that others may run")
def test_without_root_a_user_namespace_gives_the_same_rules() -> None:
    """An ordinary user gets PID 1's rules, too, where the kernel lets him."""
    token = f"token-{os.getpid()}-rootless"
    user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    command = [*user, "/usr/bin/python3", "-B", "-c", HARNESS, str(ROOT / "harness"), token, "namespaces", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    if done.stdout.startswith("False"):
        pytest.skip("this kernel refuses user namespaces to users")
    assert done.stdout.splitlines() == ["True", "[None, 15, 9, None] 9"], done.stderr
    assert not is_alive(token)


INSIDE = """
import sys
sys.path.insert(0, sys.argv[1])
from stop_harness.engines.process.engine import PidNamespaceEngine
from stop_harness.model import *
engine = PidNamespaceEngine("test")
if not engine.info().pid1_rules:
    sys.exit("no namespaces")
server = Subject(build_directory="/", command=(sys.executable, "-S", "-c", *sys.argv[2:]))
scenario = Scenario("s", server, readiness=Readiness(tcp_port=8000), traffic=(TrafficClient(TrafficKind.TCP, 8000),))
subject = engine.start(Trial("t", scenario, 0, 0, 1))
subject.wait_ready()
connection, vantage = subject.connect(8000, 10)
with connection:
    print(connection.recv(5).decode(), vantage)
print(subject.execute(("sh", "-c", "grep -q ready /proc/1/cmdline"), 60_000_000_000))
engine.close()
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
@pytest.mark.skipif(not os.access("/usr/bin/python3", os.X_OK), reason="needs a python that others may run")
def test_without_root_the_inside_is_reached_all_the_same() -> None:
    """Connections and commands need no right that the user namespace does not give."""
    user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    server = [ECHO, "8000", "127.0.0.1", str(int(socket.AF_INET)), "0"]
    command = [*user, "/usr/bin/python3", "-B", "-c", INSIDE, str(ROOT / "harness"), *server]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    if "no namespaces" in done.stderr:
        pytest.skip("this kernel refuses user namespaces to users")
    assert done.stdout.splitlines() == ["hello network_namespace", "0"], done.stderr
