"""Stop everything in the guide, and write down what came of it."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import docker

from stop_harness import signals
from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.model import Report, Scenario, TrialResult
from stop_harness.renderers import terminal
from stop_harness.trial.perform import Interruption
from stop_harness.wording import requests_line, to_seconds
from tests.field_guide.index import FOLDER, MEASURED, Guide, Server, variants
from tests.silence import Silence

JOBS = 5
"""Most of the time is waiting; more at once would make two cores the bottleneck."""

_GO = re.compile(r"\bgo1[.0-9]+")


def perform(scenarios: tuple[Scenario, ...], jobs: int = JOBS) -> Report:
    """One run on the Docker engine; builds the images where they are not built."""
    request = RunRequest(scenarios, "field-guide", None, engine="docker", jobs=str(jobs))
    return pipeline.run(request, Told(), Interruption()).report


class Told(Silence):
    """Prints each result as it comes."""

    def ended(self, result: TrialResult) -> None:
        """One line."""
        super().ended(result)
        print(f"[{len(self.results)}]", terminal.trial_line(result)[:110], flush=True)


def measure(
    guide: Guide, client: docker.DockerClient, only: str = "", *, missing: bool = False, jobs: int = JOBS
) -> dict[str, Any]:
    """Every server with every signal, idle and at work, and every pair, once. `only`: those whose name matches this;
    `missing`: those without a figure that says something. The older figures of the others are kept."""
    old = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else {}
    known = {name for name, found in old.get("stops", {}).items() if found["outcome"] != "inconclusive"}
    wanted = [each for server in guide.servers for each in variants(server)]
    wanted += [each for pair in guide.pairs for each in pair]
    skipped = known if missing else set()
    report = perform(tuple(each for each in wanted if re.search(only, each.name) and each.name not in skipped), jobs)
    stops = {**old.get("stops", {}), **{item.observation.scenario: stop(item) for item in report.results}}
    engine = report.run.engine
    found = {
        "measured_on": date.today().isoformat(),
        "engine": f"{engine.product} {engine.version}",
        "versions": old.get("versions", {}),
        "stops": {each.name: stops[each.name] for each in wanted if each.name in stops},
    }
    write(found)  # before the versions: what took minutes must not be lost
    return {**found, "versions": _versions(guide, client, report, old.get("versions", {}))}


def write(found: dict[str, Any]) -> None:
    """field-guide/measured.json."""
    MEASURED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def stop(result: TrialResult) -> dict[str, Any]:
    """What the guide keeps of one stop."""
    seen, verdict = result.observation, result.verdict
    number = seen.record.stop_signal
    return {
        "outcome": verdict.outcome.value,
        "reason": verdict.reason,
        "cause": verdict.cause.id if verdict.cause else None,
        "stop_signal": None if number is None else signals.name(number),
        "exit_code": seen.record.exit_code,
        "shutdown_s": to_seconds(verdict.facts.shutdown_duration_ns),
        "requests": requests_line(seen.traffic),
    }


def _versions(guide: Guide, client: docker.DockerClient, report: Report, old: dict[str, str]) -> dict[str, str]:
    """Scenario → version of its package, as the image has it; Go's stands in the program's own log."""
    found = dict(old)
    logs = {item.observation.scenario: item.observation.looks.logs.text for item in report.results}
    for server in guide.servers:
        name = server.scenario.name
        if server.package:
            version = _package(client, server)
        else:
            version = next((match.group() for text in logs.values() if (match := _GO.search(text))), "")
        if version:
            found[name] = version
    return found


def _package(client: docker.DockerClient, server: Server) -> str:
    """`1.22.1-9`: what dpkg says in the image."""
    folder = str(server.scenario.subject.build_directory)
    tag = f"field-guide/{Path(folder).name}"
    client.images.build(path=str(FOLDER / "images" / Path(folder).name), tag=tag, rm=True)
    words = ["dpkg-query", "--show", "--showformat=${Version}", server.package]
    container = client.containers.create(tag, words[1:], entrypoint=words[0])
    try:
        container.start()
        container.wait()
        return str(container.logs(stderr=False), "utf-8").strip()
    finally:
        container.remove(force=True)
