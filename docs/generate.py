"""Write what of docs/ follows from the code: outcomes, rules, settings, the command line, the two JSON Schemas.

python docs/generate.py            write them
python docs/generate.py --check    exit with 1 if one of them is stale, and say which
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from stop_harness.conductor.exit_codes import EXIT_CODES
from stop_harness.evidence.stop_sequence import DEADLINE_TOLERANCE_NS, DURATION_ERROR_NS, LATE_EXIT_NS
from stop_harness.experiments.remedies import KINDS
from stop_harness.model import (
    NS_PER_MS,
    Clock,
    ComplianceStatus,
    Outcome,
    RemedyKind,
    Severity,
    SigkillEvidence,
    Status,
)
from stop_harness.renderers import sarif
from stop_harness.renderers.results import results_json
from stop_harness.report.platforms import PLATFORMS
from stop_harness.scenario import scenario_file
from stop_harness.scenario.compose.keys import ATTACHMENT_PARTS, NETWORK_PARTS, NOT_APPLIED, PARTS
from stop_harness.scenario.container_keys import KEYS
from stop_harness.verdict.known_causes import CAUSES
from stop_harness.verdict.rules import RULES

DOCS = Path(__file__).resolve().parent

Member = TypeVar("Member", bound=StrEnum)

OUTCOMES = {
    Outcome.GRACEFUL: "PID 1 exited by itself within the stop timeout, with an accepted exit code, and nothing that "
    "was watched got lost.",
    Outcome.LOSSY: "PID 1 exited in time and without the engine's SIGKILL, but processes were still at work, and the "
    "kernel killed them, or one of them killed another; or requests were lost. "
    "[Which engine proves the former](engines.md#who-was-sigkilled).",
    Outcome.KILLED: "It was still running at the stop timeout, and the engine had to send SIGKILL. Also: the stop "
    "signal itself is SIGKILL.",
    Outcome.CRASHED: "PID 1 exited by itself, but by a fault (SIGSEGV, SIGABRT, …) or with an exit code that is not "
    "accepted.",
    Outcome.OOM_KILLED: "The OOM killer struck during the stop, whatever the exit code says: 137, or 0 if its victim "
    "was a helper.",
    Outcome.NOT_RUNNING: "There was nothing to stop: it had exited before the stop, before it was ready, or the "
    "command does not exist.",
    Outcome.INCONCLUSIVE: "Evidence is missing or contradicts itself, the container never became ready, or the engine "
    "failed. Never a pass of the container and never its failure.",
}

EVIDENCE = {
    SigkillEvidence.OBSERVED: "The engine's own record of signal 9 *and* an exit that fits it: death by signal 9, or "
    "exit code 137 at the stop timeout.",
    SigkillEvidence.INFERRED: "An exit by signal 9 (or exit code 137) at the stop timeout or later without the event "
    "of the engine's SIGKILL: the engine reports none (Podman), or it was lost on the way.",
    SigkillEvidence.NOT_SENT: "PID 1 exited by itself with another exit code; or by signal 9 or with 137 well before "
    "the stop timeout: then the engine did not send it.",
    SigkillEvidence.UNKNOWN: "No exit on record, or a record that contradicts itself, such as a SIGKILL and then exit "
    "code 0.",
}

STATUSES = {
    Status.PASS: "The outcome is one that the scenario's `expect` accepts, and the shutdown took no longer than "
    "`within`.",
    Status.FAIL: "Another outcome, or a longer shutdown.",
    Status.INCONCLUSIVE: "The outcome is `inconclusive`, or `within` is given and the duration could not be measured. "
    "(`outcome: inconclusive` in `expect` accepts missing evidence of a stop, and no stop that was not as asked for.)",
}

COMPLIANCE = {
    ComplianceStatus.COMPLIANT: "At least one graceful stop, all of them within the limit, and no trial that proves "
    "or leaves open the opposite. *Headroom* is the limit minus the longest graceful stop.",
    ComplianceStatus.NON_COMPLIANT: "At least one trial was still running at the limit, crashed, lost work, was "
    "struck by the OOM killer, or exited gracefully but later than the limit. One such trial outweighs all others.",
    ComplianceStatus.INCONCLUSIVE: "At least one trial leaves it open: inconclusive, not running, or killed at a "
    "*shorter* stop timeout and in no other trial seen to leave; or every trial was skipped.",
}

PAGE = """\
# Outcomes and exit codes

<!-- Written by docs/generate.py from the code; change it there, then `make docs`. -->

A trial is one stop of one fresh container. Its record is judged afterwards by pure rules, and can be judged again at
any time: `stop-harness judge RUN_DIR`. Doubt lowers a verdict and never raises it.

## Outcome

Exactly one for each trial. It says what happened, not whether that is good.

{outcomes}

The first of these that holds decides: the trial could not be measured · it was not running · evidence is missing · the
OOM killer struck · SIGKILL ended it · it left, but implausibly late · by its exit code, fault and lost processes.

Where one outcome must stand for several (the containers of a task, equally frequent outcomes of one stop) it is the
worst: {severity}.

## SIGKILL evidence

How it is known whether SIGKILL ended the stop. Exit code 137 alone proves nothing: the OOM killer and `exit(137)` look
the same.

{evidence}

"At the stop timeout" begins {tolerance:g} ms before it, because clocks of engines run that far apart under load. An
exit more than {late:g} ms after it without SIGKILL contradicts the stop sequence and is inconclusive.

## Shutdown duration

From the stop signal to the exit of PID 1, both stamped by one clock. `results.json` names the two sources in
`shutdown_duration_source` and the error bound in `shutdown_duration_error_s`.

{durations}

After a SIGKILL the duration is a lower bound of what the container needed. [Engines](engines.md) says which engine has
which clock.

## Status

The outcome against the scenario's [expectation](scenarios.md#expect).

{statuses}

## Compliance

A scenario against a stop timeout that a platform sets by default: first of all the 30 s of Amazon ECS. It does not
depend on what the scenario expects: one that expects `killed`, and gets it, passes and is not compliant.

{compliance}

A trial that was killed at 2 s does not count against 30 s if another trial of the same scenario exited gracefully later
than that, or with 30 s or more to do it in. Have 30 s among `stop.timeouts`, or the answer stays open.

The same is said for the other platforms below. One that always sends a signal of its own is inconclusive where the
trials used another signal.

{platforms}

## Rules

A finding names the [rule](rules.md) that applied. An *error* decides an outcome or a status, a *warning* deserves a
look, a *note* explains.

## Exit codes of the command

{exit_codes}
"""

RULES_PAGE = """\
# Rules and causes

<!-- Written by docs/generate.py from the code; change it there, then `make docs`. -->

The ids are the same in every report: the terminal, results.json, JUnit XML, results.sarif, HTML.

## Rules

An *error* decides an [outcome or a status](outcomes.md), a *warning* deserves a look, a *note* explains.

{rules}

## Causes

Why a stop was not graceful, where the evidence tells. One that it does not tell is `unknown`. *Tried* says which
changes `--try-fixes` tries against it, the likeliest first; `everything` also for a cause that is not known. What to do
about each, for the programs that are seen in the container: [field guide](field-guide.md).

{causes}
"""

SETTINGS_PAGE = """\
# Settings of the container

<!-- Written by docs/generate.py from the code; change it there, then `make docs`. -->

What a container is given decides how it stops, so a stop is measured with it: as Docker and Podman are told, or not at
all. In a scenario these are keys of [`subject`](scenarios.md#subject), for `check` they are options, and
`check --compose` reads them from the file. Their values are those of Compose, except for what stands below.

{names}

- `env_file`: lines `KEY=VALUE`, relative to the scenario file. Later files win over earlier ones, `environment` over
  all. `$NAME` stands for an earlier variable or one of the caller's, except in single quotes; a line that is no
  assignment is a mistake. Like all [values](security.md), theirs are hidden in reports.
- `volumes`: `./file-or-folder:/target[:ro]`, `name:/target`, `/target`, or a mapping with `type` (`bind`, `volume`,
  `tmpfs`), `source`, `target`, `read_only`, `size`, `mode`. What is mounted from this machine has to lie in the
  scenario file's folder, or the Compose file's, or, with `--volume`, in the folder where `check` is run; links are
  followed, and refused where they lead out of it. A named volume is the trial's own: new for each trial, removed after
  it.
- `pid`, `ipc`, `network`: of other containers only in a [Compose project](compose.md). A network by name has to be
  there; it is not made.
- `working_dir` is another name of `working_directory`.
- `labels` beginning with `stop-harness.` are the harness's own.
- `user`: a name has to be in the image; the engine takes any number.

## What they may change about a stop, and who refuses them

The engine `docker` applies all of them. What another engine cannot apply, it refuses with the reason below, and the
scenario is skipped, which is no pass.

{changes}

## What is not applied

Whatever a Compose file or a task definition asks for and the stop was measured without is named in one line in every
report, with what it may change ([rule `not-applied`](rules.md)). Where the outcome may be another with it, the outcome
is inconclusive. Keys of Compose that are not listed here are applied, as [Compose projects](compose.md) says, or change
nothing about a stop. Of services that others need, and that are not stopped themselves, nothing is doubtful.

{compose}
"""

RULE = """\
### `{rule.id}` ({rule.severity})

{rule.requirement} {rule.why}

*Example:* {rule.example}
*Source:* {rule.source}."""

REMEDY_WORDS = {
    RemedyKind.INIT: "an init",
    RemedyKind.STOP_SIGNAL: "other stop signals",
    RemedyKind.EXEC_FORM: "exec form",
    RemedyKind.STOP_TIMEOUT: "longer stop timeouts",
    RemedyKind.STOP_DELAY: "delays before the stop signal",
}


def rules() -> str:
    """The page on rules and causes."""
    ordered = (rule for severity in Severity for rule in RULES.values() if rule.severity is severity)
    return RULES_PAGE.format(
        rules="\n\n".join(RULE.format(rule=rule) for rule in (*ordered, sarif.UNEXPECTED)),
        causes=_table(
            ("cause", "meaning", "cure", "tried", "source"),
            ((f"`{item.id}`", item.meaning, item.cure, _tried(item.id), item.source) for item in CAUSES.values()),
        ),
    )


def _tried(cause: str) -> str:
    kinds = KINDS.get(cause)
    if kinds is None:
        return "everything"
    return ", ".join(REMEDY_WORDS[kind] for kind in kinds) or "nothing"


def outcomes() -> str:
    """The page on outcomes, evidence, status, compliance and exit codes."""
    return PAGE.format(
        outcomes=_meanings("outcome", OUTCOMES, Outcome),
        severity=" · ".join(f"`{it.value}`" for it in sorted(Outcome, key=lambda it: -it.severity)),
        evidence=_meanings("evidence", EVIDENCE, SigkillEvidence),
        statuses=_meanings("status", STATUSES, Status),
        compliance=_meanings("status", COMPLIANCE, ComplianceStatus),
        tolerance=DEADLINE_TOLERANCE_NS / NS_PER_MS,
        late=LATE_EXIT_NS / NS_PER_MS,
        durations=_table(
            ("clock", "from", "to", "worst error, idle machine"),
            (
                (clock, start.replace("_", " "), end.replace("_", " "), f"{error_ns / NS_PER_MS:g} ms")
                for (clock, start, end), error_ns in DURATION_ERROR_NS.items()
                if clock is not Clock.VIRTUAL
            ),
        ),
        platforms=_table(
            ("platform", "stop signal", "default", "note", "compared with its page"),
            (
                (
                    f"[{item.name}]({item.source})",
                    item.stop_signal,
                    f"{item.default_timeout_s} s",
                    item.note,
                    item.checked or "not checked",
                )
                for item in PLATFORMS
            ),
        ),
        exit_codes=_table(("code", "meaning"), ((code.number, code.meaning) for code in EXIT_CODES)),
    )


def container_settings() -> str:
    """The page on what a container is given."""
    return SETTINGS_PAGE.format(
        names=_table(
            ("`subject`", "`check`", "Compose", "container definition of ECS", "Docker Engine API"),
            (
                tuple(f"`{name}`" if name else "–" for name in (row.key, row.option, row.compose, row.task, row.api))
                for row in KEYS
            ),
        ),
        changes=_table(
            ("key", "it may change", "engine `process`", "engine `ecs`, of an image"),
            ((f"`{row.key}`", row.changes, row.process or "applied", row.ecs or "applied") for row in KEYS),
        ),
        compose=_table(
            ("Compose", "it may change", "doubtful without it"),
            (
                (f"`{name}`", item.changes, _doubtful(item.doubts))
                for name, item in (
                    *((item.key, item) for item in NOT_APPLIED),
                    *((f"{section}.{item.key}", item) for section, parts in PARTS.items() for item in parts),
                    *((f"networks.NAME.{item.key}", item) for item in ATTACHMENT_PARTS),
                    *((f"{item.key} of a network", item) for item in NETWORK_PARTS),
                )
            ),
        ),
    )


def _doubtful(outcomes: tuple[Outcome, ...]) -> str:
    """Which outcomes may be others."""
    if len(outcomes) == len(Outcome) - 1:
        return "every outcome"
    return ", ".join(f"`{outcome}`" for outcome in outcomes) or "none"


def schemas() -> dict[str, dict[str, Any]]:
    """File name → JSON Schema."""
    return {"scenario.schema.json": scenario_file.schema(), "results.schema.json": results_json.schema()}


def documents() -> dict[Path, str]:
    """Every generated file with what it must hold."""
    texts = {
        DOCS / "outcomes.md": outcomes(),
        DOCS / "rules.md": rules(),
        DOCS / "settings.md": container_settings(),
        DOCS / "field-guide.md": str(_beside("field_guide").page()),
        DOCS / "cli.md": str(_beside("reference").cli()),
    }
    for name, schema in schemas().items():
        texts[DOCS / name] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return texts


def _beside(name: str) -> ModuleType:
    """A module beside this one, which is no package."""
    found = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    if found is None or found.loader is None:
        raise FileNotFoundError(DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def stale() -> list[str]:
    """Names of the generated files that are not what the code says today."""
    return [
        path.name
        for path, text in documents().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    """Write, or check."""
    if arguments == ["--check"]:
        old = stale()
        for name in old:
            print(f"docs/{name} is stale: run `make docs`", file=sys.stderr)
        return 1 if old else 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote docs/{path.name}")
    return 0


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _meanings(head: str, texts: dict[Member, str], members: Iterable[Member]) -> str:
    """A table in the enum's order; a member without a text is a mistake here."""
    return _table((head, "meaning"), ((f"`{member}`", texts[member]) for member in members))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
