"""The reference stop: the engine's own time, measured before a run, never among its trials."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import accuracy
from stop_harness.conductor import open_engine, pipeline, store
from stop_harness.conductor.request import RunRequest, new_run_id
from stop_harness.engines import reference_program
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.simulated import SimulatedEngine
from stop_harness.linux import proc
from stop_harness.model import NS_PER_S
from stop_harness.trial import reference
from stop_harness.trial.perform import Interruption
from tests.silence import Silence

ENGINES = [pytest.param("docker", marks=pytest.mark.docker), pytest.param("process", marks=pytest.mark.namespaces)]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_run_begins_with_a_stop_of_a_program_that_leaves_at_once(engine: str, tmp_path: Path) -> None:
    """It is in the record and in results.json, is none of the trials, and is not what a user reads first."""
    heard = Silence()
    request = RunRequest((accuracy.scenario(0.0, 1),), "reference", tmp_path, engine=engine)
    done = pipeline.run(request, heard, Interruption())
    assert done.directory is not None
    measured = done.report.run.reference
    assert measured is not None
    assert 0 < measured.start_ns < 10 * NS_PER_S
    assert None not in (measured.signal_ns, measured.exit_ns, measured.return_ns)
    assert measured.exit_ns is not None
    assert measured.exit_ns < 5 * NS_PER_S
    assert not [note for note in heard.notes if "own time" in note]
    assert done.report.trials_planned == len(done.report.results) == 1
    assert store.read(done.directory)[0].run.reference == measured
    document = json.loads((done.directory / "results.json").read_text(encoding="utf-8"))
    assert document["run"]["reference"]["exit_s"] == pytest.approx(measured.exit_ns / NS_PER_S, abs=1e-6)
    assert "reference" not in {item["scenario"] for item in document["trials"]}


@pytest.mark.docker
def test_the_image_is_made_once_and_belongs_to_those_that_clean_removes(docker_engine_host: DockerHost) -> None:
    """One file from scratch, labelled as built images are."""

    for _ in range(2):
        engine = open_engine.open_engine("docker", new_run_id()).engine
        try:
            engine.prepare((), lambda _what, _state: None)
            scenario = engine.reference()
        finally:
            engine.close()
    assert scenario is not None
    client = docker_engine_host.connect()
    try:
        found = client.images.list(filters={"label": "stop-harness.run"})
        (image,) = [image for image in found if scenario.subject.image in image.tags]
    finally:
        client.close()
    assert image.attrs["Size"] < 1024


def test_an_engine_without_a_reference_subject_is_not_measured() -> None:
    """The simulated engine runs nothing; there is no number, and no error."""
    assert reference.measure(SimulatedEngine()) is None


def test_runs_of_earlier_versions_have_no_reference(tmp_path: Path) -> None:
    """Their record is read as before."""
    request = RunRequest((accuracy.scenario(0.0, 1),), "old", tmp_path)
    done = pipeline.run(request, Silence(), Interruption(), lambda _name, _run: open_engine.Chosen(SimulatedEngine()))
    assert done.directory is not None
    file = done.directory / store.RUN_FILE
    record = json.loads(file.read_text(encoding="utf-8"))
    del record["run"]["reference"]
    file.write_text(json.dumps(record), encoding="utf-8")
    assert store.read(done.directory)[0].run.reference is None


def test_the_program_is_an_elf_file_for_two_architectures() -> None:
    """And for no other."""
    for machine in ("x86_64", "aarch64"):
        program = reference_program.build(machine)
        assert program is not None
        assert program.startswith(b"\x7fELF")
        assert program.endswith(reference_program.READY)
    assert reference_program.build("riscv64") is None
    if platform.system() == "Linux" and platform.machine() in {"x86_64", "aarch64"}:
        assert reference_program.build(platform.machine()) is not None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGQUIT])
def test_the_process_engine_leaves_no_folder_and_no_process_however_it_ends(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Its reference program is a file nowhere, and its helpers end with the harness."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    mark = f"mark_{os.getpid()}_{number}"
    deaf = f"trap '' TERM; : {mark}; echo ready; while :; do sleep 0.1; done"
    command = [sys.executable, "-m", "stop_harness", "check", "--ready-log", "ready", "--timeout", "60s"]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    harness = subprocess.Popen(
        # Whatever these tests were started with: a job of a shell ignores SIGQUIT.
        ["env", "--default-signal=HUP,QUIT", *command, "--report-dir", "reports", "--", "sh", "-c", deaf],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.DEVNULL,
    )

    def alive() -> list[str]:
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()]
        return [text for pid in pids if mark in (text := proc.text_of(pid, "cmdline"))]

    def wait_until_alive(count: int) -> None:
        deadline = time.monotonic() + 60
        while len(alive()) != count:
            assert time.monotonic() < deadline, alive()
            time.sleep(0.05)

    wait_until_alive(2)  # the harness and the subject: both have the mark among their words
    harness.send_signal(number)
    harness.wait(timeout=60)
    wait_until_alive(0)
    assert [path.name for path in folder.iterdir() if path.name.startswith("stop-harness")] == []
