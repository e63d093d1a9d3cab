"""Runs that are on disk: judged again, reported, compared, and written as runs of their own."""

from __future__ import annotations

from dataclasses import replace

from stop_harness.conductor import store
from stop_harness.conductor.request import RunRequest
from stop_harness.model import Report, StoredRun, Verdict


def judge(stored: StoredRun) -> tuple[Verdict, ...]:
    """Today's verdicts on a stored run."""
    from stop_harness.verdict import judge as verdict  # late, as below: what a run loads beside its first start

    scenarios = {item.name: item for item in stored.scenarios}
    return tuple(verdict.judge(seen, scenarios[seen.scenario]) for seen in stored.observations)


def changed(then: tuple[Verdict, ...], now: tuple[Verdict, ...]) -> tuple[str, ...]:
    """Which of two verdicts on the same stops differ in what they come to, in sentences."""
    return tuple(
        f"changed: {new.trial_id}: {old.outcome} ({old.status}) is now {new.outcome} ({new.status})"
        for old, new in zip(then, now, strict=True)
        if (old.outcome, old.status) != (new.outcome, new.status)
    )


def report_of(stored: StoredRun) -> Report:
    """A stored run, judged by today's rules, as a report."""
    from stop_harness.report import build

    return build.build(stored, judge(stored))


def compared(built: Report, baseline: Report | None) -> Report:
    """The report with what changed since the baseline, if there is one."""
    if baseline is None:
        return built
    from stop_harness.report import trend

    return replace(built, comparison=trend.compare(baseline, built))


def write(stored: StoredRun, built: Report, directory: store.RunDirectory) -> None:
    """A merged run as a run directory of its own, so that it can be judged and reported again."""
    directory.write_run(run_file(stored))
    directory.keep_only(built.results, ())  # at once: each line by itself would wait for the disk
    for tried in stored.remedies:
        directory.append(tried)


def run_file(stored: StoredRun, request: RunRequest | None = None) -> store.RunFile:
    """What stands in the run directory beside the journal."""
    options = request.options if request else None
    return store.RunFile(
        store.FORMAT_VERSION, stored.run, stored.scenarios, stored.trials_planned, stored.skipped, options
    )
