"""Troubles of the harness itself: what it cannot write, start or allocate costs that much and no more."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from stop_harness.cli import main
from stop_harness.conductor import crash_report, store
from stop_harness.conductor.exit_codes import FAIL, HARNESS, INTERRUPTED, PASS, USAGE
from stop_harness.conductor.recorder import Recorder
from stop_harness.engines.simulated import SimulatedEngine
from stop_harness.errors import not_written
from stop_harness.model import Outcome, Trial, TrialResult
from stop_harness.trial import scheduler
from tests import test_pipeline
from tests.own_runs import COMMAND, Project, shell, surroundings, wait_until
from tests.variants import only_long


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty project; no process of it may be alive at the end."""
    made = Project(tmp_path, f"s{uuid.uuid4().hex[:12]}")
    yield made
    wait_until(lambda: not made.processes(), "no process of the run is left")


def journal_holds(project: Project, *, passed: int = 0, crashed: int = 0) -> None:
    """Every trial is in the journal, with the outcome of an undisturbed run."""
    found = list(project.outcomes().values())
    assert (found.count(Outcome.GRACEFUL), found.count(Outcome.CRASHED)) == (passed, crashed)
    assert len(found) == passed + crashed


# ── Standard output and error ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("how", "place"),
    [
        pytest.param(">&-", "err", marks=pytest.mark.long),
        (">/dev/full", "err"),
        ("2>&-", "out"),
        pytest.param("2>/dev/full", "out", marks=pytest.mark.long),
        pytest.param("<&-", "out", marks=pytest.mark.long),
        ("<&- >&- 2>&-", None),
        pytest.param(">/dev/full 2>/dev/full", None, marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize(("code", "wanted"), [(0, PASS), pytest.param(3, FAIL, marks=pytest.mark.long)])
def test_streams_that_take_nothing_change_nothing(
    project: Project, how: str, place: str | None, code: int, wanted: int
) -> None:
    """The exit code says what the containers did, the report is whole, the summary stands where there is a place."""
    project.scenario("web", code=code, repeat=2)
    answer = shell(f"{project.run_line()} {how}", project)
    assert answer.code == wanted
    journal_holds(project, **({"crashed": 2} if code else {"passed": 2}))
    assert (project.run_directory() / "report.html").is_file()
    if place is not None:
        assert "report.html" in getattr(answer, place)


@pytest.mark.parametrize("pipe", ["| head -1", *only_long("2>&1 | head -1", "2>&1 | true")])
def test_a_reader_that_leaves_ends_nothing(project: Project, pipe: str) -> None:
    """It had what it wanted; the run goes to its end."""
    project.scenario("web", repeat=2)
    answer = shell(f"{project.run_line()} {pipe}; exit ${{PIPESTATUS[0]}}", project)
    assert answer.code == PASS
    journal_holds(project, passed=2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{COMMAND} schema >/dev/full", "cannot write to standard output: No space left on device"),
        (f"{COMMAND} schema >&-", "cannot write to standard output: it is closed"),
        (f"{COMMAND} schema 2>&- >/dev/full", ""),
    ],
)
def test_an_answer_that_nobody_gets_is_no_success(project: Project, line: str, message: str) -> None:
    """What was asked for has no other place than standard output."""
    answer = shell(line, project)
    assert answer.code == HARNESS
    assert message in answer.err


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_costs_files_of_the_report_and_no_trial(project: Project) -> None:
    """A limit on the size of files stands for it: journal and summary are there, what is not is named, exit code 4."""
    project.scenario("web", repeat=4)
    answer = shell(f"ulimit -f 24; {project.run_line()}", project)
    assert answer.code == HARNESS
    assert "report.html: File too large" in answer.err
    assert "All 4 trials met their expectation" in answer.out
    journal_holds(project, passed=4)
    assert not list(project.run_directory().rglob("*.part"))
    assert (project.run_directory() / "results.csv").is_file()


def test_a_line_that_does_not_fit_leaves_nothing_of_itself(tmp_path: Path) -> None:
    """And the lines of which there was no room are written when there is room again, in their order."""
    directory = test_pipeline.run(
        SimulatedEngine(), test_pipeline.scenario("a", repeat=5), report_dir=tmp_path
    ).directory
    assert directory is not None
    journal = directory / store.JOURNAL_FILE
    whole = journal.read_bytes()
    results = _results(directory)
    journal.unlink()
    notes: list[str] = []
    recorder = Recorder(store.RunDirectory(directory), notes.append)
    recorder.begin(_file(directory))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        recorder.append(results[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (journal.stat().st_size + 100, before[1]))
        recorder.append(results[1])
        recorder.append(results[2])
        assert journal.read_bytes() == whole[: journal.stat().st_size]
        assert journal.read_bytes().count(b"\n") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    recorder.append(results[3])
    recorder.append(results[4])
    assert recorder.finish(_file(directory)) == ()
    assert journal.read_bytes() == whole
    assert len(notes) == 1
    assert "File too large; the run goes on" in notes[0]


def _results(directory: Path) -> tuple[TrialResult, ...]:
    stored, verdicts = store.read(directory)
    return tuple(map(TrialResult, stored.observations, verdicts))


def _file(directory: Path) -> store.RunFile:
    stored, _ = store.read(directory)
    return store.RunFile(store.FORMAT_VERSION, stored.run, stored.scenarios, stored.trials_planned, stored.skipped)


def test_a_report_folder_that_vanishes_is_made_again(project: Project) -> None:
    """In the middle of the run, with all that was in it; it is said, and the run has its exit code."""
    until = f"while ! ls {project.reports}/2*/trials.jsonl >/dev/null 2>&1; do sleep 0.01; done"
    project.scenario("web", drain_s=0.5, repeat=6)
    answer = shell(f"({until}; rm -rf {project.reports}) & {project.run_line('--jobs', 2)}", project)
    assert answer.code == PASS
    assert "has lost its journal; it is written again" in answer.err
    journal_holds(project, passed=6)
    assert (project.run_directory() / "report.html").is_file()


def test_a_report_folder_that_becomes_unwritable_is_said(project: Project) -> None:
    """A file stands where the folder was: nothing can be written, the summary is printed, exit code 4."""
    process = begin(project, drain_s=0.5)
    wait_until(lambda: list(project.reports.glob("2*/trials.jsonl")), "the first trial is in the journal")
    (project.folder / "file").touch()
    exchange(project.folder / "file", project.reports)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == HARNESS
    assert "All 5 trials met their expectation" in out
    assert "results are not in the journal" in errors


def exchange(one: Path, other: Path) -> None:
    """Each gets the other's name, at one moment (renameat2(2))."""
    at_cwd, exchange_both = -100, 2
    assert ctypes.CDLL(None).renameat2(at_cwd, bytes(one), at_cwd, bytes(other), exchange_both) == 0


# ── Memory and threads ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("megabytes", [*only_long(100), 200])
def test_little_memory_costs_the_plots_and_no_trial(project: Project, megabytes: int) -> None:
    """The trials are judged, the journal is whole, the report is written, and its plots can be drawn elsewhere."""
    project.scenario("web", repeat=3)
    answer = shell(f"ulimit -v {megabytes * 1024}; {project.run_line()}", project)
    assert answer.code == HARNESS
    assert "the plots could not be drawn: plots need 160 MiB of address space more; see `ulimit -v`" in answer.err
    journal_holds(project, passed=3)
    assert (project.run_directory() / "report.html").is_file()
    assert not (project.run_directory() / "plots").exists()
    assert shell(f"{COMMAND} report {project.run_directory()}", project).code == PASS
    assert (project.run_directory() / "plots").is_dir()


def test_a_trial_that_lacks_threads_is_performed_again_with_fewer_beside_it() -> None:
    """There is room for two at a time of eight: all are performed, none twice to its end, and it is said."""
    notes: list[str] = []
    room = threading.Semaphore(2)
    full = threading.Barrier(8)
    first = iter(range(8))

    def work(trial: Trial) -> str:
        early = next(first, None) is not None
        if early:
            full.wait(timeout=30)  # all eight are in flight
        has_room = room.acquire(blocking=False)
        if early:
            full.wait(timeout=30)  # all eight have asked
        if not has_room:
            raise RuntimeError("can't start new thread")
        return trial.trial_id

    def taken_out(trial_id: str) -> str:
        room.release()
        return trial_id

    trials = [Trial(f"a#{number}", test_pipeline.scenario("a"), 0, 0, number) for number in range(8)]
    done = scheduler.run_all(
        trials, work, jobs=8, interrupted=lambda: False, on_interrupt=lambda: None, note=notes.append
    )
    assert sorted(map(taken_out, done)) == [trial.trial_id for trial in trials]
    assert notes[-1].endswith("from now on at most 1 at once")


def test_an_unexpected_error_costs_one_trial() -> None:
    """The others go on; what it was is handed over with the trial."""

    def work(trial: Trial) -> str:
        if trial.repetition == 3:
            raise IndexError("list index out of range")
        return "done"

    trials = [Trial(f"a#{number}", test_pipeline.scenario("a"), 0, 0, number) for number in range(6)]
    done = scheduler.run_all(
        trials,
        work,
        jobs=2,
        interrupted=lambda: False,
        on_interrupt=lambda: None,
        lost=lambda trial, error: f"{trial.trial_id}: {error}",
    )
    assert sorted(done) == ["a#3: list index out of range", *["done"] * 5]


def test_a_trial_that_hangs_after_an_interruption_is_not_waited_for() -> None:
    """An engine that does not answer keeps nobody: the trial is given up, and its thread keeps no process alive."""
    hung = threading.Event()
    interrupted = threading.Event()

    def work(_trial: Trial) -> str:
        interrupted.set()
        hung.wait()
        return "never"

    def lost(trial: Trial, error: Exception) -> str:
        assert isinstance(error, scheduler.GaveUp)
        return trial.trial_id

    trials = [Trial("a#1", test_pipeline.scenario("a"), 0, 0, 1)]
    done = scheduler.run_all(trials, work, jobs=1, interrupted=interrupted.is_set, on_interrupt=lambda: None, lost=lost)
    assert list(done) == ["a#1"]
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "trial a#1")
    hung.set()


# ── Unexpected errors ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unexpected_error_exits_with_4_and_says_what_to_send(project: Project) -> None:
    """Never with 1, which means that a container failed; the values of the command line stay out of it."""
    project.scenario("web")
    line = (
        "import sys; from stop_harness.cli import main; from stop_harness.scenario import discovery; "
        "discovery.find = lambda paths: [][1]; "
        f"sys.argv = ['stop-harness', 'run', '{project.folder}/secret.yaml', '--report-dir=secret', '--seed', '77']; "
        "main.main()"
    )
    done = subprocess.run(
        [os.path.join(os.path.dirname(COMMAND), "python"), "-c", line],
        env={**surroundings(), "TMPDIR": str(project.folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == HARNESS
    assert "IndexError: list index out of range" in done.stderr
    assert "command line: stop-harness run … --report-dir=… --seed …" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
    (details,) = project.folder.glob("stop-harness-fault-*.txt")
    assert str(details) in done.stderr
    assert "Traceback" in details.read_text()
    assert details.stat().st_mode & 0o077 == 0


COMMANDS_AND_FAULTS = {
    "run a.yaml": "stop_harness.plan.trials.expand",
    "check -- true": "stop_harness.plan.trials.expand",
    "check --predict -- true": "stop_harness.plan.trials.expand",
    "check --sweep-start -- true": "stop_harness.plan.trials.expand",
    "judge example": "stop_harness.verdict.judge.judge",
    "report example": "stop_harness.report.build.build",
    "trend example": "stop_harness.report.trend.over",
    "plan a.yaml": "stop_harness.plan.trials.expand",
    "validate a.yaml": "stop_harness.scenario.scenario_file.parse",
    "init b.yaml": "pathlib.Path.write_text",
    "schema": "json.dumps",
    "doctor": "stop_harness.engines.process.engine.PidNamespaceEngine.info",
    "clean": "stop_harness.engines.docker.host.probe",
    "ecs serve": "stop_harness.engines.docker.host.probe",
    "stop-task --task a --region x --no-sign-request": "botocore.session.Session.create_client",
    "stop-task --task a --region x --no-sign-request --no-wait": "botocore.session.Session.create_client",
}


@pytest.mark.parametrize(("words", "place"), COMMANDS_AND_FAULTS.items(), ids=COMMANDS_AND_FAULTS.keys())
def test_a_fault_anywhere_is_4_from_every_command(
    words: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No command turns a mistake of ours into a pass, a failure of a container or a traceback."""

    def fault(*_args: object, **_named: object) -> None:
        raise ZeroDivisionError("injected")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock" if "docker.host" in place else "")
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    monkeypatch.setenv("STOP_HARNESS_ENGINE_SOCKETS", "")
    Path("a.yaml").write_text("version: 1\nname: web\nsubject: {build: ., command: ['true']}\n")
    Path("Dockerfile").write_text("FROM scratch\n")
    if "example" in words:
        test_pipeline.run(SimulatedEngine(), test_pipeline.scenario("a"), report_dir=tmp_path / "runs")
        Path("example").symlink_to(tmp_path / "runs" / "latest")
    monkeypatch.setattr(sys, "argv", ["stop-harness", *words.split()])
    monkeypatch.setattr(place, fault)
    assert main.perform() == HARNESS
    said = capsys.readouterr().err
    assert "a fault of stop-harness itself, not of a container\n  ZeroDivisionError: injected\n" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (errno.ENOENT, USAGE),
        (errno.ENOTDIR, USAGE),
        (errno.EROFS, HARNESS),
        (errno.ENOSPC, HARNESS),
        (errno.EACCES, HARNESS),
        (errno.EIO, HARNESS),
    ],
    ids=lambda number: errno.errorcode.get(number, str(number)),
)
def test_what_cannot_be_written_is_bad_usage_only_where_the_path_cannot_be_right(error: int, wanted: int) -> None:
    """A disk that is full or read-only is the machine's affair: nobody's command line was wrong."""
    assert not_written("cannot write x", OSError(error, os.strerror(error))).exit_code == wanted


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="sysfs takes no folders of anybody; it is Linux's")
@pytest.mark.parametrize("words", ["run a.yaml --engine process --report-dir /sys/kernel/x", "init /sys/kernel/x"])
def test_a_place_that_takes_no_files_is_exit_code_4(project: Project, words: str) -> None:
    """Said before anything starts, with the system's reason."""
    project.scenario("web")
    (project.folder / "a.yaml").write_text("version: 1\nname: web\nsubject: {image: web}\n")
    answer = shell(f"{COMMAND} {words}", project)
    assert answer.code == HARNESS
    assert "cannot write" in answer.err


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["x", "check", "nginx", "--env", "A=b", "--init"], "stop-harness check … --env … --init"),
        (["x", "check", "--env=A=b"], "stop-harness check --env=…"),
        (["x", "run", "-5"], "stop-harness run …"),
    ],
)
def test_a_command_line_is_shown_without_its_values(arguments: list[str], shown: str) -> None:
    """Names of commands and options only."""
    assert crash_report.without_values(arguments, frozenset({"check", "run"})) == shown


# ── Signals ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def begin(project: Project, *wrapper: str, drain_s: float = 9) -> subprocess.Popen[str]:
    """A run of five drains, one after the other, whose first container runs."""
    project.scenario("web", drain_s=drain_s, repeat=5)
    process = subprocess.Popen(
        [*wrapper, *project.run_line("--jobs", 1).split()],
        cwd=project.folder,
        env=surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(project.processes, "a container runs")
    return process


def test_a_hang_up_ends_a_run_cleanly(project: Project) -> None:
    """Twice within a moment, as from a shell and the kernel: exit code 130, the report written, no process left."""
    process = begin(project, "env", "--default-signal=HUP")  # whatever these tests were started with
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    stored, _ = store.read(project.run_directory())
    assert stored.run.interrupted
    assert (project.run_directory() / "report.html").is_file()


def test_a_hang_up_that_was_to_be_ignored_is(project: Project) -> None:
    """`nohup`: only SIGTERM ends it."""
    process = begin(project, "env", "--ignore-signal=HUP")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT], ids=lambda number: signal.Signals(number).name)
def test_a_run_that_dies_leaves_no_process_and_a_journal_that_can_be_read(project: Project, number: int) -> None:
    """The containers go with it."""
    process = begin(project, "env", "--default-signal=QUIT", "prlimit", "--core=0")  # a job of a shell may ignore it
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == -number
    wait_until(lambda: not project.processes(), "no process of the run is left")
    assert (project.run_directory() / store.RUN_FILE).is_file()
