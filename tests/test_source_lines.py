"""Lines that reports point to: where the program, the stop signal and the stop timeout of a container stand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from stop_harness.conductor import source_lines
from stop_harness.model import Cause, Positions, Report, Scenario, SourceLine, TrialResult
from stop_harness.renderers import junit, sarif
from stop_harness.scenario import discovery
from tests.reports_factory import hostile_report, realistic_report, report_of, trial
from tests.test_renderers import HOSTILE, report_on, sample_named

SCHEMAS = Path(__file__).parent / "schemas"

DOCKERFILE = """\
# syntax=docker/dockerfile:1
FROM debian:bookworm-slim AS base
STOPSIGNAL SIGQUIT
RUN <<END
CMD none
END
CMD ["python3", \\
     "server.py"]

FROM base
COPY server.py /
CMD python3 server.py
"""


def scenario_in(folder: Path, subject: str, **files: str) -> Scenario:
    """A scenario of this subject, with its lines; files by name, `_` for a dot."""
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    (folder / "stop.yaml").write_text(f"version: 1\nname: web\nsubject:\n  {subject}\nexpect: {{outcome: graceful}}\n")
    (found,) = discovery.load((folder / "stop.yaml",))
    return source_lines.with_lines(found)


def line(scenario: Scenario, what: str, container: int = 0) -> tuple[str, int, str] | None:
    """File name, line and what stands there."""
    found: SourceLine | None = getattr(scenario.lines.containers[container], what)
    return None if found is None else (Path(found.file).name, found.line, found.what)


def test_a_built_image_has_the_lines_of_its_last_stage(tmp_path: Path) -> None:
    """Behind here-documents, continued lines and the stage that it starts from, whose STOPSIGNAL it keeps."""
    made = scenario_in(tmp_path, "build: .", Dockerfile=DOCKERFILE)
    assert line(made, "program") == ("Dockerfile", 12, "CMD")
    assert line(made, "stop_signal") == ("Dockerfile", 3, "STOPSIGNAL")
    assert made.lines.expectation == SourceLine(str(tmp_path / "stop.yaml"), 5, "expect")


def test_the_stage_that_is_built_counts(tmp_path: Path) -> None:
    """`target` ends the file there; an instruction that goes on is where it begins."""
    made = scenario_in(tmp_path, "build: .\n  target: base", Dockerfile=DOCKERFILE)
    assert line(made, "program") == ("Dockerfile", 7, "CMD")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('FROM a\nENTRYPOINT ["tini", "--"]\nCMD ["web"]\n', (2, "ENTRYPOINT")),
        ('FROM a\nENTRYPOINT ["tini", "--"]\nCMD web\n', (3, "CMD")),
        ('FROM a\nCMD ["web"]\nENTRYPOINT start.sh\n', (3, "ENTRYPOINT")),
        ("FROM a\nRUN true\n", (1, "FROM")),
    ],
)
def test_the_line_with_the_shell_form_comes_first(tmp_path: Path, text: str, expected: tuple[int, str]) -> None:
    """It is the shell that hides the signal; without either instruction the base image says what runs."""
    assert line(scenario_in(tmp_path, "build: .", Dockerfile=text), "program") == ("Dockerfile", *expected)


def test_a_command_of_the_scenario_stands_there(tmp_path: Path) -> None:
    """It replaces the Dockerfile's."""
    made = scenario_in(tmp_path, "build: .\n  command: [web]", Dockerfile=DOCKERFILE)
    assert line(made, "program") == ("stop.yaml", 5, "subject.command")


def test_a_command_in_a_folder_is_not_what_its_dockerfile_runs(tmp_path: Path) -> None:
    """As `check -- COMMAND` has it, in a repository with a Dockerfile that has nothing to do with the command."""
    made = scenario_in(tmp_path, "build: .", Dockerfile=DOCKERFILE)
    subject = replace(made.subject, entrypoint=(), command=("web",))
    bare = source_lines.with_lines(replace(made, source=None, positions=Positions(), subject=subject))
    assert line(bare, "program") is None
    assert line(bare, "stop_signal") == ("Dockerfile", 3, "STOPSIGNAL")


def test_a_service_of_compose_has_its_own_lines_before_those_of_its_dockerfile(tmp_path: Path) -> None:
    """Its `stop_grace_period`, and the program of the image that it builds."""
    compose = "services:\n  web:\n    build: .\n    stop_grace_period: 3s\n  job:\n    image: a\n    command: work\n"
    of_web = "compose: {file: compose.yaml, service: web}"
    made = scenario_in(tmp_path, of_web, Dockerfile=DOCKERFILE, compose_yaml=compose)
    assert line(made, "program") == ("Dockerfile", 12, "CMD")
    assert line(made, "stop_timeout") == ("compose.yaml", 4, "services.web.stop_grace_period")
    made = scenario_in(tmp_path, "compose: {file: compose.yaml}", Dockerfile=DOCKERFILE, compose_yaml=compose)
    by_name = {item.container: item for item in made.lines.containers}
    assert by_name["job"].program == SourceLine(str(tmp_path / "compose.yaml"), 7, "services.job.command")


def test_a_container_of_a_pod_stands_in_its_manifest(tmp_path: Path) -> None:
    """Of the workload that is named, though another one has a container of that name."""
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec:\n  terminationGracePeriodSeconds: 4\n"
    pod += "  containers:\n    - name: app\n      image: a\n      command: [sh, -c, work]\n"
    manifest = pod.replace("NAME", "one") + "---\n" + pod.replace("NAME", "two")
    made = scenario_in(tmp_path, "kubernetes: {file: pod.yaml, workload: two}", pod_yaml=manifest)
    assert line(made, "program") == ("pod.yaml", 19, "app.command")
    assert line(made, "stop_timeout") == ("pod.yaml", 15, "app.terminationGracePeriodSeconds")


def test_a_container_of_a_task_stands_in_its_definition(tmp_path: Path) -> None:
    """JSON is found by line as well."""
    task = {"family": "t", "containerDefinitions": [{"name": "app", "image": "a", "memory": 64, "stopTimeout": 5}]}
    made = scenario_in(tmp_path, "task_definition: task.json", task_json=json.dumps(task, indent="\t"))
    assert line(made, "program") == ("task.json", 6, "app.image")
    assert line(made, "stop_timeout") == ("task.json", 8, "app.stopTimeout")


def test_a_file_that_is_gone_has_no_lines(tmp_path: Path) -> None:
    """What a report points to must not keep a run from starting."""
    made = scenario_in(tmp_path, "build: .", Dockerfile=DOCKERFILE)
    (tmp_path / "Dockerfile").unlink()
    assert line(source_lines.with_lines(made), "program") is None


# ── reports ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def located_report(folder: Path, cause: str) -> Report:
    """A failed stop of a built image with this cause."""
    made = replace(scenario_in(folder, "build: .", Dockerfile=DOCKERFILE), name="crash-on-stop")
    result = trial(sample_named("crash-on-stop"), 30)
    result = TrialResult(result.observation, replace(result.verdict, cause=Cause(cause, "seen")))
    return report_of([result], (made,))


@pytest.mark.parametrize(("cause", "expected"), [("shell-not-forwarding", 12), ("wrong-stopsignal", 3)])
def test_sarif_points_to_the_line_to_change(tmp_path: Path, cause: str, expected: int) -> None:
    """The instruction that the cause is about; the scenario stands beside it."""
    for result in json.loads(sarif.render(located_report(tmp_path, cause)))["runs"][0]["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"].endswith("/Dockerfile")
        assert place["region"]["startLine"] == expected
        assert result["relatedLocations"][0]["physicalLocation"]["region"]["startLine"] == 5


@pytest.fixture(scope="module")
def sarif_schema() -> jsonschema.Draft4Validator:
    return jsonschema.Draft4Validator(json.loads((SCHEMAS / "sarif-schema-2.1.0.json").read_text()))


def test_sarif_follows_the_schema_of_the_standard(sarif_schema: jsonschema.Draft4Validator, tmp_path: Path) -> None:
    """With and without lines, and whatever text is in it."""
    made = [realistic_report(), located_report(tmp_path, "unknown"), *map(hostile_report, HOSTILE)]
    for report in made:
        sarif_schema.validate(json.loads(sarif.render(report)))


def test_junit_follows_the_schema_of_jenkins(tmp_path: Path) -> None:
    """With failures, errors, skipped suites and text of every kind."""
    import xmlschema

    schema = xmlschema.XMLSchema(str(SCHEMAS / "junit-10.xsd"))
    made = [realistic_report(), located_report(tmp_path, "unknown"), *map(hostile_report, HOSTILE)]
    for report in made:
        schema.validate(junit.render(report))


@pytest.mark.parametrize(("name", "expected"), [("build-7.example.org", "build-7.example.org"), ("", "localhost")])
def test_junit_names_the_host_and_the_file(name: str, expected: str) -> None:
    """A host name, where the kernel and its version used to stand; `localhost` for what is none."""
    report = report_on("drains-5s")
    for host in (name, f"{name} Linux 6.1 \x00"):
        text = junit.render(replace(report, run=replace(report.run, host_name=host)))
        assert f'hostname="{expected if host == name else "localhost"}"' in text
        assert 'file="scenarios/drains-5s.yaml"' in text
