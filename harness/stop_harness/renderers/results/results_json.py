"""results.json: everything a report says, for machines, in the format of `renderers/results/document.py`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from stop_harness.model import (
    EngineInfo,
    Outcome,
    PlatformRow,
    ReferenceStop,
    ReliabilityClaim,
    Report,
    RunInfo,
    Scenario,
    ScenarioStatistics,
    Status,
    TaskStop,
    TrialResult,
    TriedRemedy,
)
from stop_harness.model.waiver import WaiverUse
from stop_harness.renderers.results.comparison import comparison
from stop_harness.renderers.results.document import (
    FORMAT_VERSION,
    ComplianceDocument,
    ContainerDocument,
    ContainerStopDocument,
    EngineDocument,
    OriginDocument,
    PassingWarningDocument,
    PasteDocument,
    PlatformDocument,
    PlatformStatusDocument,
    ReferenceDocument,
    RemedyDocument,
    ResultsDocument,
    RunDocument,
    ScenarioDocument,
    SkippedDocument,
    StaticFindingDocument,
    SummaryDocument,
    TaskStopDocument,
    TimeoutAdviceDocument,
    WaiverDocument,
)
from stop_harness.renderers.results.documented import WarningDocument
from stop_harness.renderers.results.resilience_document import resilience
from stop_harness.renderers.results.statistics_document import (
    ClaimDocument,
    CurvePointDocument,
    CutOffDocument,
    GracefulShareDocument,
    PercentileDocument,
    StatisticsDocument,
    StillRunningDocument,
)
from stop_harness.renderers.results.trial_document import TrialDocument
from stop_harness.renderers.results.trial_section import cause, hook, trial
from stop_harness.renderers.sections.passing_warnings import passing_warnings
from stop_harness.wording import run_duration_ns, to_seconds

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# ── Report → document ────────────────────────────────────────────────────────────────────────────────────────────────


TRIALS_AT_ONCE = 500
"""Made into documents and then into JSON together: those of 10,000 trials take 100 MB."""


def render(report: Report) -> str:
    """The document as JSON text with a final newline."""
    return b"".join(pieces(report)).decode()


def pieces(report: Report) -> Iterator[bytes]:
    """The same for a file, in pieces of UTF-8 as they are made: that of 10,000 trials has 60 MB."""
    # A line's end stands in no text of JSON, so that this is the place of the trials.
    before, after = _dumped(_adapter(), _results(report, ())).split(b'\n  "trials": [],\n')
    yield before + b'\n  "trials": ['
    yield from _trials(report.results)
    yield (b"\n  ],\n" if report.results else b"],\n") + after + b"\n"


def _trials(results: tuple[TrialResult, ...]) -> Iterator[bytes]:
    """The inside of their list, as it stands in the document."""
    for at in range(0, len(results), TRIALS_AT_ONCE):
        dumped = _dumped(_trials_adapter(), tuple(map(trial, results[at : at + TRIALS_AT_ONCE])))
        inside = dumped.removeprefix(b"[").removesuffix(b"\n]").replace(b"\n", b"\n  ")
        yield b"," + inside if at else inside


def _dumped(adapter: TypeAdapter[Any], value: object) -> bytes:
    """As JSON. A number that is none (NaN) is null, for JSON has no word for it."""
    from pydantic_core import PydanticSerializationError

    try:
        return adapter.dump_json(value, indent=2, by_alias=True, warnings=False)
    except (PydanticSerializationError, UnicodeError):  # lone surrogates, from file names; escaped they are valid JSON
        values = adapter.dump_python(value, by_alias=True, warnings=False)
        return json.dumps(values, ensure_ascii=False, allow_nan=False, indent=2).encode("utf-8", "backslashreplace")


def document(report: Report) -> dict[str, Any]:
    """The document as JSON values."""
    # Ten times as fast as `dataclasses.asdict`, which copies every text.
    results = _results(report, tuple(map(trial, report.results)))
    values: dict[str, Any] = _adapter().dump_python(results, by_alias=True, warnings=False)
    return values


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the document."""
    from pydantic import TypeAdapter

    # Only here are the docstrings below the fields read, from the source: a report is written without (see _adapter).
    # Within a list, for a dataclass itself is given no configuration from outside.
    documented = TypeAdapter(list[ResultsDocument], config={"use_attribute_docstrings": True})
    definitions = documented.json_schema(mode="serialization")["$defs"]
    described = definitions.pop("ResultsDocument")
    described["properties"]["format_version"]["const"] = FORMAT_VERSION
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "stop-harness results",
        "$defs": definitions,
        **{key: value for key, value in described.items() if key != "title"},
    }


@cache
def _adapter() -> TypeAdapter[ResultsDocument]:
    """What turns the document into JSON.

    It parses no source: besides the 0.1 s that this takes, CPython before 3.11.8 may raise SystemError in `ast.parse`
    while another thread parses, too (https://github.com/python/cpython/issues/106905), and a thread that imports
    matplotlib does.
    """
    from pydantic import TypeAdapter

    return TypeAdapter(ResultsDocument)


@cache
def _trials_adapter() -> TypeAdapter[tuple[TrialDocument, ...]]:
    from pydantic import TypeAdapter

    return TypeAdapter(tuple[TrialDocument, ...])


def _results(report: Report, trials: tuple[TrialDocument, ...]) -> ResultsDocument:
    return ResultsDocument(
        format_version=FORMAT_VERSION,
        run=_run(report.run),
        engine=report.run.engine.name,
        engine_info=_engine(report.run.engine),
        summary=_summary(report),
        compliance=tuple(
            ComplianceDocument(
                scenario=row.scenario,
                default_timeout_s=row.default_timeout_ns / 1e9,
                status=row.status,
                headroom_s=to_seconds(row.headroom_ns),
                reason=row.reason,
                cause=row.cause.id if row.cause else None,
            )
            for row in report.compliance
        ),
        platforms=tuple(_platform(row, report) for row in report.platforms),
        scenarios=tuple(_scenario(scenario) for scenario in report.stopped),
        trials=trials,
        remedies=tuple(_remedy(tried) for tried in report.remedies),
        tasks=tuple(_task(stop) for stop in report.tasks),
        static_findings=tuple(
            StaticFindingDocument(
                item.scenario, item.container, item.finding.rule, item.finding.severity, item.finding.message
            )
            for item in report.static_findings
        ),
        recommended_timeouts=tuple(
            TimeoutAdviceDocument(item.scenario, to_seconds(item.recommended_ns), item.basis) for item in report.advice
        ),
        statistics=tuple(_statistics(item) for item in report.statistics),
        claims=tuple(_claim(item) for item in report.claims),
        skipped=tuple(SkippedDocument(skip.scenario, skip.reason) for skip in report.skipped),
        warnings=tuple(WarningDocument(item.rule, item.message, item.advice) for item in report.warnings),
        comparison=comparison(report.comparison) if report.comparison else None,
        waivers=tuple(_waiver(use) for use in report.waivers),
        waived_trials=tuple(
            result.observation.trial_id for result in report.results if result.observation.trial_id in report.waived
        ),
        resilience=tuple(map(resilience, report.resilience)),
    )


def _waiver(use: WaiverUse) -> WaiverDocument:
    return WaiverDocument(**vars(use.waiver), state=use.state, in_run=use.in_run, trials=use.trials)


def _run(run: RunInfo) -> RunDocument:
    return RunDocument(
        run_id=run.run_id,
        name=run.name,
        started_at=run.started_at,
        finished_at=run.finished_at,
        duration_s=to_seconds(run_duration_ns(run)),
        harness_version=run.harness_version,
        machine=run.machine,
        cpu_count=run.cpu_count,
        command_line=run.command_line,
        shard=run.shard,
        interrupted=run.interrupted,
        until_sure=run.until_sure,
        reference=_reference_stop(run.reference),
        resumed_at=run.resumed_at,
    )


def _reference_stop(measured: ReferenceStop | None) -> ReferenceDocument | None:
    if measured is None:
        return None
    return ReferenceDocument(
        start_s=round(measured.start_ns / 1e9, 6),
        signal_s=to_seconds(measured.signal_ns),
        exit_s=to_seconds(measured.exit_ns),
        return_s=to_seconds(measured.return_ns),
        removal_s=round(measured.removal_ns / 1e9, 6),
    )


def _engine(engine: EngineInfo) -> EngineDocument:
    return EngineDocument(**{name: getattr(engine, name) for name in EngineDocument.__dataclass_fields__})


def _summary(report: Report) -> SummaryDocument:
    counts = Counter(result.verdict.outcome for result in report.results)
    return SummaryDocument(
        trials_planned=report.trials_planned,
        trials_run=len(report.results),
        passed=report.count(Status.PASS),
        fail=report.count(Status.FAIL),
        inconclusive=report.count(Status.INCONCLUSIVE),
        waived=len(report.waived),
        outcomes={outcome.value: counts[outcome] for outcome in Outcome},
        passing_warnings=tuple(
            PassingWarningDocument(
                item.scenario, item.rule, item.message, tuple(result.observation.trial_id for result in item.trials)
            )
            for item in passing_warnings(report)
        ),
    )


def _platform(row: PlatformRow, report: Report) -> PlatformDocument:
    reasons = row.reasons or (None,) * len(row.statuses)
    platform = row.platform
    return PlatformDocument(
        name=platform.name,
        stop_signal=platform.stop_signal,
        default_timeout_s=platform.default_timeout_s,
        note=platform.note,
        source=platform.source,
        checked=platform.checked,
        scenarios=tuple(
            PlatformStatusDocument(scenario.name, status, reason)
            for scenario, status, reason in zip(report.scenarios, row.statuses, reasons, strict=True)
        ),
    )


def _scenario(scenario: Scenario) -> ScenarioDocument:
    origin, container = scenario.subject.origin, scenario.subject.container
    return ScenarioDocument(
        name=scenario.name,
        description=scenario.description,
        source=scenario.source,
        image=scenario.subject.image,
        build_directory=scenario.subject.build_directory,
        task_definition=scenario.subject.task_file,
        origin=None if origin is None else OriginDocument(origin.kind, origin.files, origin.name),
        environment=dict(scenario.subject.environment),
        own_stop_timeouts=scenario.stop.own_timeouts,
        undisturbed=scenario.twin.of if scenario.twin else None,
        fault=scenario.twin.fault if scenario.twin else None,
        container=None
        if container is None
        else ContainerDocument(
            container.name, container.id, container.started_at, container.auto_remove, container.restart
        ),
    )


def _task(stop: TaskStop) -> TaskStopDocument:
    return TaskStopDocument(
        trial_id=stop.trial_id,
        scenario=stop.scenario,
        containers=tuple(
            ContainerStopDocument(
                name=item.name,
                essential=item.essential,
                waited_for=item.waited_for,
                stop_timeout_s=item.stop_timeout_ns / 1e9,
                outcome=item.outcome,
                reason=item.reason,
                exit_code=item.exit_code,
                sigkill_evidence=item.sigkill_evidence,
                signalled_after_s=to_seconds(item.signalled_after_ns),
                shutdown_duration_s=to_seconds(item.duration_ns),
                share=item.share,
                on_longest_chain=item.on_longest_chain,
                cause=cause(item.cause),
                hooks=tuple(map(hook, item.hooks)),
                cut_from_s=to_seconds(item.cut_from_ns),
            )
            for item in stop.containers
        ),
        total_s=to_seconds(stop.total_ns),
        chain=stop.chain,
        worst_case_s=stop.worst_case_ns / 1e9,
        limit_s=to_seconds(stop.limit_ns),
        limit_name=stop.limit_name,
        ended_by=stop.ended_by,
        stop_code=stop.stop_code,
        stopped_reason=stop.stopped_reason,
        fix_first=stop.fix_first,
        advice=stop.advice,
    )


def _remedy(tried: TriedRemedy) -> RemedyDocument:
    return RemedyDocument(
        scenario=tried.scenario,
        bad_trial_id=tried.trial_id,
        remedy=tried.remedy.id,
        title=tried.remedy.title,
        effect=tried.effect,
        note=tried.note,
        assumption=tried.remedy.assumption,
        lines=tuple(PasteDocument(line.place, line.text) for line in tried.remedy.lines),
        trial=trial(tried.result),
        container=tried.container,
    )


def _statistics(item: ScenarioStatistics) -> StatisticsDocument:
    return StatisticsDocument(
        scenario=item.scenario,
        measured=item.measured,
        cut_off=tuple(CutOffDocument(cut.after_ns / 1e9, cut.stops) for cut in item.cut_off),
        left_out={left.why: left.stops for left in item.left_out},
        graceful=tuple(
            GracefulShareDocument(
                stop_timeout_s=at.stop_timeout_ns / 1e9,
                graceful=at.share.count,
                stops=at.share.total,
                left_out=at.left_out,
                share_low=_fraction(at.share.low),
                share_high=_fraction(at.share.high),
            )
            for at in item.at_timeouts
        ),
        curve=tuple(
            CurvePointDocument(
                step.after_ns / 1e9, _fraction(step.still_running), _fraction(step.low), _fraction(step.high)
            )
            for step in item.curve
        ),
        percentiles=tuple(
            PercentileDocument(
                value.percent, to_seconds(value.duration_ns), to_seconds(value.low_ns), to_seconds(value.high_ns)
            )
            for value in item.percentiles
        ),
        at_platform_defaults=tuple(
            StillRunningDocument(at.after_ns / 1e9, _rounded(at.share), _rounded(at.low), _rounded(at.high))
            for at in item.at_defaults
        ),
    )


def _claim(item: ReliabilityClaim) -> ClaimDocument:
    return ClaimDocument(
        scenario=item.scenario,
        stop_timeout_s=item.stop_timeout_ns / 1e9,
        stop_after_s=item.stop_after_ns / 1e9,
        status=item.status,
        confidence=item.goal.confidence,
        reliability=item.goal.reliability,
        stops=item.stops,
        failures=item.failures,
        derived=item.derived,
        undecided=item.undecided,
        at_least=_fraction(item.at_least),
        stops_needed=item.stops_needed,
        statement=item.statement,
    )


def _fraction(value: float) -> float:
    return round(value, 6)


def _rounded(value: float | None) -> float | None:
    return None if value is None else _fraction(value)
