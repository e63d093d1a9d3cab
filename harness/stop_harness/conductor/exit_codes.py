"""The exit codes of `run`, `check`, `judge` and `report`: the only table of them. `--help` and the pages follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stop_harness.records import dataclass

if TYPE_CHECKING:
    from stop_harness.conductor.request import RunOutcome
    from stop_harness.model import Report, Status

PASS, FAIL, USAGE, INCONCLUSIVE, HARNESS, INTERRUPTED = 0, 1, 2, 3, 4, 130


@dataclass(frozen=True)
class ExitCode:
    """A number, what it means in a few words (for `--help`), and in sentences (for the pages)."""

    number: int
    short: str
    meaning: str


EXIT_CODES = (
    ExitCode(
        PASS,
        "every expectation met",
        "Every trial met its expectation, or its failure is known and waived. Subjects that are expected to be killed "
        "and are killed count as met.",
    ),
    ExitCode(
        FAIL,
        "a container failed",
        "At least one trial failed, and no [waiver](ci.md#waivers) lets it pass. Failures count before doubts.",
    ),
    ExitCode(
        USAGE,
        "bad usage or bad scenario",
        "Bad usage: an option, a scenario, an image or a Dockerfile; also when no scenario was found, or what was "
        "asked for needs an extra that is not installed.",
    ),
    ExitCode(
        INCONCLUSIVE,
        "inconclusive",
        "No failure, but a trial is inconclusive or did not run, or a scenario was skipped that the engine cannot run "
        "(no doubt where `--engine process` was named, which runs no images), or it can make none of the faults of "
        "`--faults`, or `--until-sure` did not become sure.",
    ),
    ExitCode(
        HARNESS,
        "engine unreachable or harness fault",
        "The engine cannot be reached, or the harness itself is at fault: an unexpected error, a trial that it lost, a "
        "report that was asked for and could not be written; these count before what the containers did. Also when no "
        "container failed, and something of the run could not be removed from the engine.",
    ),
    ExitCode(
        INTERRUPTED,
        "interrupted",
        "Interrupted by SIGINT (Ctrl-C), SIGTERM or SIGHUP. What had been measured is in the report; "
        "`stop-harness run --resume RUN_DIR` performs the rest.",
    ),
)


def of_status(status: Status) -> int:
    """Of stops that nobody planned."""
    return {"pass": PASS, "fail": FAIL, "inconclusive": INCONCLUSIVE}[status.value]


def of_run(outcome: RunOutcome, *, fail_on_slower: bool = False) -> int:
    """What the containers did, unless the harness itself could not do what it was asked for."""
    code = of_report(outcome.report, fail_on_slower=fail_on_slower, left_behind=bool(outcome.left_behind))
    return HARNESS if outcome.problems and code != INTERRUPTED else code


def of_report(report: Report, *, fail_on_slower: bool = False, left_behind: bool = False) -> int:
    """The whole run in one number: failures count before doubts, and a run that was cut short is not a pass, nor one
    that was to be sure and is not, nor one that could not clean up after itself (`left_behind`)."""
    from stop_harness.model import ClaimStatus, DurationChange, ProblemKind, Status

    if report.run.interrupted:
        return INTERRUPTED
    problems = (result.observation.problem for result in report.results)
    if any(problem is not None and problem.kind is ProblemKind.HARNESS_FAILED for problem in problems):
        return HARNESS
    slower = report.comparison.with_duration(DurationChange.SLOWER) if report.comparison else ()
    if report.count(Status.FAIL) > len(report.waived) or (fail_on_slower and slower):
        return FAIL
    if left_behind:
        return HARNESS
    if report.count(Status.PASS) + len(report.waived) != report.trials_planned or not report.results:
        return INCONCLUSIVE
    if any(not skipped.by_choice for skipped in report.skipped):
        return INCONCLUSIVE
    if report.resilience and not any(row.tried for row in report.resilience):
        return INCONCLUSIVE
    if report.run.until_sure and any(claim.status is not ClaimStatus.SHOWN for claim in report.claims):
        return INCONCLUSIVE
    return PASS
