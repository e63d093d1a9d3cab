"""What a task definition takes of the engine's machine is said before it does."""

from __future__ import annotations

import json

from stop_harness.conductor import open_engine, ready_engine
from stop_harness.conductor.request import RunRequest
from stop_harness.ecs import task_definition
from stop_harness.ecs.host_access import host_access, host_paths
from stop_harness.engines.simulated import SimulatedEngine
from stop_harness.model import Scenario, Subject
from tests.silence import Silence

DOCUMENT = {
    "family": "agent",
    "volumes": [
        {"name": "socket", "host": {"sourcePath": "/var/run/docker.sock"}},
        {"name": "scratch"},
        {"name": "managed", "host": {}},
    ],
    "containerDefinitions": [
        {
            "name": "agent",
            "image": "agent:1",
            "privileged": True,
            "mountPoints": [
                {"sourceVolume": "socket", "containerPath": "/docker.sock"},
                {"sourceVolume": "socket", "containerPath": "/seen.sock", "readOnly": True},
                {"sourceVolume": "scratch", "containerPath": "/scratch"},
                {"sourceVolume": "managed", "containerPath": "/managed"},
            ],
        },
        {"name": "web", "image": "web:1"},
    ],
}
SENTENCES = (
    "container agent may read and change /var/run/docker.sock of the engine's machine, as /docker.sock",
    "container agent may read /var/run/docker.sock of the engine's machine, as /seen.sock",
    "container agent is privileged: it has every right on the engine's machine",
)


def test_mounts_of_the_host_and_privileges_are_sentences() -> None:
    """Volumes of the engine itself are nobody's folder."""
    assert host_access(DOCUMENT["containerDefinitions"], host_paths(DOCUMENT)) == SENTENCES  # type: ignore[arg-type]


def test_a_run_says_them_before_its_engine_is_asked_for_anything() -> None:
    """By the scenario's name, first of all."""
    task = task_definition.parse(json.dumps(DOCUMENT), "agent.json")
    scenario = Scenario("fleet", Subject(task_file="agent.json", task=task))
    notes, then = Silence(), list[str]()

    def opener(_name: str, _run_id: str) -> open_engine.Chosen:
        then.extend(notes.notes)
        return open_engine.Chosen(SimulatedEngine({}), None)

    engine, _ = ready_engine.ready(RunRequest((scenario,), "fleet", None), "run", notes, opener)
    engine.close()
    assert then == [f"fleet: {sentence}" for sentence in SENTENCES]
