"""What CI systems read: annotations, the code quality report, and the examples of docs/ci.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings

from stop_harness.cli import github as step
from stop_harness.cli.main import cli
from stop_harness.model import Report
from stop_harness.renderers import code_quality, github
from tests.reports_factory import hostile_report, realistic_report
from tests.test_docs import BLOCK, ROOT
from tests.test_renderers import any_text
from tests.test_source_lines import located_report

COMMAND = re.compile(r"::(error|warning) (?:file=([^,:]+),line=(\d+),)?title=([^,:]*)::(.*)")


@pytest.mark.parametrize(("cause", "line"), [("shell-not-forwarding", "12"), ("wrong-stopsignal", "3")])
def test_an_annotation_stands_at_the_line_to_change(tmp_path: Path, cause: str, line: str) -> None:
    """With what happened, the cause and what to do, on lines of their own."""
    (made,) = github.render(located_report(tmp_path, cause)).splitlines()
    found = COMMAND.fullmatch(made)
    assert found is not None
    assert (found[1], found[2], found[3]) == ("error", str(tmp_path / "Dockerfile"), line)
    assert found[4] == "crash-on-stop%3A crashed"
    assert "%0ACause%3A" not in found[5]
    assert f"%0ACause: Seen. [{cause}]" in found[5]


def test_failures_come_before_doubts() -> None:
    """GitHub shows ten of a kind; a failure is an error, what is inconclusive or was skipped a warning."""
    found = [COMMAND.fullmatch(line) for line in github.render(realistic_report()).splitlines()]
    kinds = [match[1] for match in found if match is not None]
    assert len(kinds) == len(found)
    assert kinds == sorted(kinds)
    assert set(kinds) == {"error", "warning"}


@given(any_text)
@settings(max_examples=60, deadline=None)
def test_no_text_ends_a_command_or_begins_another(text: str) -> None:
    """Names and logs may hold line ends, percent signs, colons and commas."""
    for line in github.render(hostile_report(text)).splitlines():
        assert COMMAND.fullmatch(line)


@pytest.mark.parametrize(
    ("choice", "variable", "expected"),
    [("auto", "true", True), ("auto", "", False), ("never", "true", False), ("always", "", True)],
)
def test_github_is_known_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, choice: str, variable: str, expected: bool
) -> None:
    """And `--github` decides otherwise."""
    monkeypatch.setenv("GITHUB_ACTIONS", variable)
    assert step.is_on(choice) is expected
    shielded = step.shielded("::add-mask::x\n", choice)
    assert bool(re.fullmatch(r"::stop-commands::(\w{32})\n::add-mask::x\n::\1::\n", shielded)) is expected


@pytest.mark.namespaces
@pytest.mark.parametrize("as_json", [False, True])
def test_a_check_annotates_and_writes_the_summary(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_json: bool
) -> None:
    """On standard error where JSON has the other stream, which stays JSON."""
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    words = ["check", "--ready-delay", "0.3s", "--timeout", "1s", *(["--json"] if as_json else [])]
    code = CliRunner().invoke(cli, [*words, "--", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
    assert code.exit_code == 1, code.output
    assert "::error title=" in (code.stderr if as_json else code.stdout)
    assert summary.read_text().startswith("before\n## Graceful shutdown")
    if as_json:
        assert json.loads(code.stdout)["summary"]["fail"] == 1


def entries(report: Report) -> list[dict[str, Any]]:
    found = json.loads(code_quality.render(report))
    assert isinstance(found, list)
    return found


def test_the_code_quality_report_has_what_gitlab_asks_for(tmp_path: Path) -> None:
    """Every member that its documentation requires; fingerprints are unique and stay from run to run."""
    for report in (realistic_report(), located_report(tmp_path, "unknown")):
        found = entries(report)
        assert found == entries(report)
        assert len({str(entry["fingerprint"]) for entry in found}) == len(found) > 0
        for entry in found:
            assert entry["description"]
            assert entry["check_name"]
            assert entry["severity"] in {"info", "minor", "major", "critical", "blocker"}
            location = entry["location"]
            assert location["path"]
            assert location["lines"]["begin"] >= 1
    assert location["path"] == str(tmp_path / "Dockerfile")


@pytest.mark.parametrize(
    ("heading", "schema"),
    [
        ("GitHub Actions", "github-workflows"),
        ("GitLab", "gitlab-ci"),
        ("CircleCI", "circle-ci"),
        ("Azure Pipelines", "azure-pipelines"),
    ],
)
def test_the_examples_follow_the_schemas_of_their_vendors(heading: str, schema: str) -> None:
    """As `check-jsonschema` brings them along."""
    page = (ROOT / "docs/ci.md").read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    example = next(text for language, text in BLOCK.findall(page) if language == "yaml")
    data = yaml.load(example, Loader=yaml.BaseLoader) if schema == "github-workflows" else yaml.safe_load(example)
    if schema == "github-workflows":
        data = {"on": "push", **data}
    file = resources.files("check_jsonschema.builtin_schemas.vendor") / f"{schema}.json"
    loaded = json.loads(file.read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(loaded)(loaded).validate(data)


GITLAB: dict[str, Any] = yaml.safe_load((ROOT / "ci/gitlab.yml").read_text(encoding="utf-8"))[".stop-harness"]


def test_the_template_follows_the_schema_of_gitlab() -> None:
    """A job that extends it has all that a job needs."""
    file = resources.files("check_jsonschema.builtin_schemas.vendor") / "gitlab-ci.json"
    loaded = json.loads(file.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(loaded)(loaded)
    validator.validate({".stop-harness": GITLAB, "stops": {"extends": ".stop-harness"}})
    validator.validate({"stops": GITLAB})


@pytest.mark.namespaces
@pytest.mark.parametrize(("program", "code"), [pytest.param("exit 0", 0, marks=pytest.mark.long), ("exit 7", 1)])
def test_the_template_gates_and_leaves_its_artifacts(tmp_path: Path, program: str, code: int) -> None:
    """Its script by bash, as a runner does, with its variables; each report that it names is there."""
    (tmp_path / "stop-tests").mkdir()
    (tmp_path / "stop-tests" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "stop-tests" / "a.yaml").write_text(SCENARIO.replace("exit 0", program))
    variables = {**GITLAB["variables"], "STOP_HARNESS_ENGINE": "process", "STOP_HARNESS_OPTIONS": "--repeat 2 -q"}
    del variables["DOCKER_HOST"]
    environment = {**os.environ, **variables, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "-eo", "pipefail", "-c", "\n".join(GITLAB["script"])]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, timeout=120)
    assert done.returncode == code, done.stderr
    reports = GITLAB["artifacts"]["reports"]
    assert "<testsuites" in (tmp_path / reports["junit"]).read_text()
    assert bool(json.loads((tmp_path / reports["codequality"]).read_text())) == bool(code)
    assert (tmp_path / GITLAB["artifacts"]["paths"][0] / "latest" / "report.html").is_file()


def test_the_action_follows_the_schema_of_github() -> None:
    """And every input is used, every output made."""
    file = resources.files("check_jsonschema.builtin_schemas.vendor") / "github-actions.json"
    loaded = json.loads(file.read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(loaded)(loaded).validate(ACTION)
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert {*re.findall(r"\$\{\{ inputs\.([a-z-]+) \}\}", text)} == {*ACTION["inputs"]}


ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
SCENARIO = """\
version: 1
name: shell
subject: {build: ., command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.05; done"]}
ready: {delay: 300ms}
stop: {timeouts: [2s]}
"""


def stops(folder: Path, **inputs: str) -> tuple[int, dict[str, str]]:
    """The exit code and the outputs of the action's second step, by bash as GitHub runs it."""
    step_of_action = ACTION["runs"]["steps"][1]
    defaults = {name: str(item["default"]) for name, item in ACTION["inputs"].items()}
    given_inputs = {**defaults, **{name.replace("_", "-"): value for name, value in inputs.items()}}
    names = {name: re.sub(r"\$\{\{ inputs\.(.+) \}\}", r"\1", text) for name, text in step_of_action["env"].items()}
    outputs = folder / "outputs"
    environment = {
        **os.environ,
        **{variable: given_inputs[name] for variable, name in names.items()},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": str(outputs),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
    }
    script = folder / "step.sh"
    script.write_text(step_of_action["run"])
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, timeout=120)
    found = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    return done.returncode, found


@pytest.mark.namespaces
def test_the_action_gives_outcome_counts_and_report(tmp_path: Path) -> None:
    """Scenarios that pass, and a check that fails; each with a report of its own."""
    (tmp_path / "stop.yaml").write_text(SCENARIO)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    code, outputs = stops(tmp_path, paths="stop.yaml", engine="process")
    report = outputs.pop("report")
    assert (code, outputs) == (0, {"outcome": "passed", "passed": "1", "failed": "0", "inconclusive": "0"})
    assert (tmp_path / report / "report.html").is_file()
    deaf = """-- sh -c "trap '' TERM; while :; do sleep 0.05; done" """
    code, outputs = stops(tmp_path, check=deaf, engine="process", timeouts="1s", arguments="--ready-delay 0.3s")
    assert code == 1
    assert outputs["report"] not in {"", report}
    assert {**outputs, "report": ""} == {
        "outcome": "failed", "passed": "0", "failed": "1", "inconclusive": "0", "report": ""
    }  # fmt: skip


def test_the_action_fails_where_nothing_can_be_run(tmp_path: Path) -> None:
    """No scenarios: bad usage, no report, no counts."""
    code, outputs = stops(tmp_path, paths="missing", engine="process")
    assert (code, outputs) == (2, {"outcome": "error", "report": ""})
