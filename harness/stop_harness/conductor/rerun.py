"""`stop-harness rerun`: the trials of a run once more, or those that did not pass, with the scenarios as they are now.

A rerun is for somebody who has just mended something: the files are the truth, and the stored run only says which of
their trials are wanted. (`run --resume` is the opposite: it finishes a run as it was begun.)
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stop_harness.conductor import ready_engine, store, stored_runs
from stop_harness.conductor.request import RunRequest
from stop_harness.errors import StoreError, UsageError
from stop_harness.model import Report, Scenario, Status, StoredRun, Waiver
from stop_harness.report import redaction
from stop_harness.scenario import discovery, standard_faults
from stop_harness.wording import was_or_were


def request(
    directory: Path,
    note: Callable[[str], None],
    command_line: tuple[str, ...],
    *,
    failed: bool,
    waivers: tuple[Waiver, ...] = (),
) -> RunRequest | None:
    """The request that repeats a run, into a new directory beside it. None: `failed` is asked for, and all passed.

    `failed`: only the trials that failed or were inconclusive by today's rules, else all that were performed.
    `waivers`: those of the project; scenarios bring theirs. `note` hears what the run was.

    Raises StoreError for what is no run, and UsageError where a scenario cannot be had any more.
    """
    if directory.is_symlink():  # `latest`, which will soon name another
        directory = directory.parent / directory.readlink()
    stored, _ = store.read(directory)
    options = store.read_options(directory)
    if options is None:
        raise StoreError(
            f"{directory} has no record of how it was asked for, as a run that was merged or written afterwards; "
            "run it again"
        )
    wanted = _wanted(stored, failed=failed)
    if not wanted:
        return None
    scenarios = _scenarios(tuple(item for item in stored.scenarios if item.name in wanted))
    performed = len(stored.observations)
    note(f"repeating {sum(map(len, wanted.values()))} of {performed} trials of {directory}")
    repeated = RunRequest(
        scenarios=scenarios,
        name=stored.run.name,
        report_dir=directory.parent,
        command_line=command_line,
        selected=frozenset(trial for trials in wanted.values() for trial in trials),
        waivers=(*waivers, *(waiver for item in scenarios for waiver in item.waivers)),
        # Files at places of their own were those of the other run, and some trials alone make no one sure.
        **vars(replace(options, until_sure=False, junitxml=None, sarif=None, code_quality=None, baseline=None)),
    )
    if not ready_engine.expand(repeated).trials:
        again = " ".join(map(shlex.quote, dict.fromkeys(item.source for item in scenarios if item.source)))
        raise UsageError(
            f"none of the trials of {directory} that are wanted is planned by the scenarios as they are now; "
            f"run them anew: stop-harness run {again}"
        )
    return repeated


def nothing_to_repeat(directory: Path, report: Report) -> str:
    """What is said where `request` gives None. `report`: of the run in the directory, which may lack trials."""
    planned = report.trials_planned
    missing = planned - len(report.results)
    if not missing:
        return f"nothing to repeat: every trial of {directory} passed"
    text = f"every trial of {directory} that was performed passed; {missing} of {planned} {was_or_were(missing)} not"
    resume = f"; stop-harness run --resume {shlex.quote(str(directory))} performs the rest"
    return f"nothing to repeat: {text}{resume if report.run.interrupted else ''}"


def _wanted(stored: StoredRun, *, failed: bool) -> dict[str, set[str]]:
    """Scenario → ids of the trials to perform; what was derived from a stop needs that stop, and one under a standard
    fault the same stop without it."""
    wanted: dict[str, set[str]] = {}
    twins = {item.name: item.twin for item in stored.scenarios if item.twin is not None}
    for seen, verdict in zip(stored.observations, stored_runs.judge(stored), strict=True):
        if not failed or verdict.status is not Status.PASS:
            wanted.setdefault(seen.scenario, set()).add(seen.derivation.derived_from or seen.trial_id)
            if (twin := twins.get(seen.scenario)) is not None:  # against which it is measured
                wanted.setdefault(twin.of, set()).add(twin.of + seen.trial_id.removeprefix(seen.scenario))
    return wanted


def _scenarios(stored: tuple[Scenario, ...]) -> tuple[Scenario, ...]:
    """As their files have them now. Raises UsageError that says which are gone, and ScenarioError."""
    now = tuple(map(_scenario, stored))
    gone = tuple(then for then, found in zip(stored, now, strict=True) if found is None)
    if gone:
        what = "\n".join(f"{item.source} holds no scenario {item.name} any more" for item in gone)
        files = dict.fromkeys(item.source for item in now if item is not None and item.source is not None)
        left = " ".join(map(shlex.quote, files))
        raise UsageError(
            f"{what}; " + (f"run what is left: stop-harness run {left}" if left else "nothing is left of it")
        )
    return tuple(item for item in now if item is not None)


def _scenario(stored: Scenario) -> Scenario | None:
    """As its file has it now, None where it does not; as it was stored where it came from `check`. Raises UsageError
    and ScenarioError."""
    if stored.source is None:
        if redaction.has_hidden(stored):
            raise UsageError(
                f"scenario {stored.name}: it came from `check`, and values that were given there are stored nowhere; "
                "run that `check` again (with --show-values its values are stored, and it can be repeated)"
            )
        return stored
    source = Path(stored.source)
    found = discovery.load((source,)) if source.exists() else ()
    return standard_faults.as_it_is_now(stored, found)
