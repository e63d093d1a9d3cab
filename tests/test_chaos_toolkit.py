"""`chaosstopharness` in experiments of the real Chaos Toolkit: each test runs `chaos` as its user does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stop_harness.engines.docker.host import DockerHost

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
ROOT = Path(__file__).resolve().parent.parent

APP = """
import signal, sys, time
end = signal.SIG_IGN if sys.argv[1] == "deaf" else lambda *_: sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True:
    time.sleep(0.05)  # a handler that runs just before one long sleep would leave it asleep
"""


def activity(kind: str, function: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One activity of an experiment."""
    module = f"chaosstopharness.{kind}s"
    provider = {"type": "python", "module": module, "func": function, "arguments": arguments}
    return {"type": kind, "name": function, "provider": provider, **more}


def program(argument: str, **more: Any) -> dict[str, Any]:
    """Arguments of a check of the program above, where no container engine is needed."""
    command = [sys.executable, "-c", APP, argument]
    return {"command": command, "ready_log": "up", "engine": "process", "timeouts": ["1s"], **more}


def chaos(folder: Path, method: list[dict[str, Any]], probes: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The journal of an experiment."""
    experiment: dict[str, Any] = {"title": "stops", "description": "stops", "method": method, "rollbacks": []}
    if probes is not None:
        experiment["steady-state-hypothesis"] = {"title": "stops", "probes": probes}
    (folder / "experiment.json").write_text(json.dumps(experiment))
    subprocess.run(
        [Path(sys.executable).with_name("chaos"), "--no-version-check", "run", "experiment.json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    journal: dict[str, Any] = json.loads((folder / "journal.json").read_text())
    return journal


def test_an_experiment_holds_where_stops_are_graceful_and_has_them_in_its_journal(tmp_path: Path) -> None:
    """A probe with a tolerance in the hypothesis, an action and a measured probe in the method."""
    graceful = activity("probe", "stops_gracefully", program("good"), tolerance=True)
    stopped = activity("action", "stop_container", program("deaf"))
    measured = activity("probe", "shutdown_duration", program("good"))
    journal = chaos(tmp_path, [stopped, measured], [graceful])
    assert (journal["status"], journal["deviated"]) == ("completed", False)
    output = journal["run"][0]["output"]
    assert (output["outcome"], output["cause"]) == ("killed", "signal-ignored")
    assert output["stops"][0]["sigkill"] == "observed"
    assert "sent SIGKILL (observed)" in " ".join(output["text"].split())
    assert 0 <= journal["run"][1]["output"] < 20


def test_an_experiment_deviates_where_a_stop_needs_sigkill(tmp_path: Path) -> None:
    """The tolerance is not met before the method begins."""
    journal = chaos(tmp_path, [], [activity("probe", "stops_gracefully", program("deaf"), tolerance=True)])
    assert journal["steady_states"]["before"]["steady_state_met"] is False


def test_a_stop_in_doubt_meets_no_tolerance(tmp_path: Path) -> None:
    """The activity fails, with the reason."""
    given = {**program("good"), "ready_log": "never", "ready_timeout": "500ms"}
    journal = chaos(tmp_path, [], [activity("probe", "stops_gracefully", given, tolerance=True)])
    (probe,) = journal["steady_states"]["before"]["probes"]
    assert probe["status"] == "failed"
    assert "Not ready after 0.5 s" in " ".join(probe["exception"])


def test_scenario_files_are_run_and_a_mistake_is_said_before_anything_is_stopped(tmp_path: Path) -> None:
    """By their paths; an argument that nobody has is a failed activity with our message."""
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCMD ["python3"]\n')
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "good.yaml").write_text(
        "version: 1\nname: good\nsubject: {build: ., command: [python3, app.py, good]}\nready: {log: up}\n"
    )
    ran = activity("action", "run_scenarios", {"paths": "good.yaml", "engine": "process"})
    passed = activity("probe", "scenarios_pass", {"paths": ["good.yaml"], "engine": "process"})
    wrong = activity("action", "stop_container", {"imag": "shop/web"})
    journal = chaos(tmp_path, [ran, passed, wrong])
    assert journal["run"][0]["output"]["passed"] is True
    assert journal["run"][1]["output"] is True
    assert "did you mean 'image'?" in " ".join(journal["run"][2]["exception"])


def test_faults_of_an_experiment_are_made(tmp_path: Path, docker_engine_host: DockerHost) -> None:
    """A real container, a second signal during its drain."""
    given = {
        "image": BASE_IMAGE,
        "command": ["python3", "-c", APP, "good"],
        "ready_log": "up",
        "timeouts": ["10s"],
        "faults": ["cpu=0.5@before"],
    }
    journal = chaos(tmp_path, [activity("action", "stop_container", given)])
    output = journal["run"][0]["output"]
    assert output["outcome"] == "graceful"
    assert "stopped under faults" in " ".join(output["text"].split())


def test_the_activities_are_discovered() -> None:
    """`chaos discover`, whose result lists what an experiment may name."""
    import chaosstopharness

    found = {item["name"] for item in chaosstopharness.discover()["activities"]}
    assert found == {"stop_container", "run_scenarios", "stops_gracefully", "shutdown_duration", "scenarios_pass"}


@pytest.mark.parametrize("module", ["chaosstopharness", "chaosstopharness.actions", "chaosstopharness.probes"])
def test_it_needs_nothing_of_chaos_toolkit_to_be_imported(module: str) -> None:
    """Whoever installs stop-harness alone has the package, too."""
    code = f"import sys\nimport {module}\nassert not [name for name in sys.modules if name.startswith('chaoslib')]"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
