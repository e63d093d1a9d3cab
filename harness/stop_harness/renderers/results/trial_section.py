"""One trial as its section of results.json. Pure."""

from __future__ import annotations

from collections.abc import Callable

from stop_harness import signals
from stop_harness.evidence import fate_scene, fault_words, log_lines, properties, start_up
from stop_harness.model import (
    MOST_NAMES,
    Cause,
    Clock,
    Event,
    EventKind,
    FaultRecord,
    HookRecord,
    MessageCount,
    Observation,
    ProcessInfo,
    PropertyRecord,
    ReadyBasis,
    ReceivedSignal,
    StopFacts,
    TrialResult,
)
from stop_harness.renderers.results.trial_document import (
    AdviceDocument,
    CauseDocument,
    EventDocument,
    FaultDocument,
    FindingDocument,
    HookDocument,
    LoadBalancerDocument,
    MessagesDocument,
    MissingTrafficDocument,
    ProblemDocument,
    ProcessDocument,
    ProcessFateDocument,
    PropertyDocument,
    ReadyDocument,
    ReceivedSignalDocument,
    RequestDocument,
    TrialDocument,
)
from stop_harness.verdict.traffic import lost_requests
from stop_harness.wording import to_seconds


def _lost_count(seen: Observation) -> int | None:
    if seen.record.lost_processes is None:
        return None
    return len(seen.record.lost_processes) if seen.record.lost_process_count is None else seen.record.lost_process_count


def trial(result: TrialResult) -> TrialDocument:
    """One trial as the document has it."""
    seen, verdict, facts = result.observation, result.verdict, result.verdict.facts
    return TrialDocument(
        trial_id=seen.trial_id,
        scenario=seen.scenario,
        engine=seen.engine.name,
        engine_version=seen.engine.version,
        stop_timeout_s=seen.stop_timeout_ns / 1e9,
        stop_after_s=seen.stop_after_ns / 1e9,
        repetition=seen.repetition,
        started_at=seen.started_at,
        stop_signal=_signal_name(seen.record.stop_signal),
        stop_signal_source=seen.record.stop_signal_source,
        outcome=verdict.outcome,
        status=verdict.status,
        reason=verdict.reason,
        sigkill_evidence=facts.sigkill_evidence,
        sigkill_reason=facts.sigkill_reason,
        exit_code=seen.record.exit_code,
        exit_signal=_signal_name(seen.record.exit_signal),
        oom_killed=seen.record.oom_killed,
        shutdown_duration_s=to_seconds(facts.shutdown_duration_ns),
        shutdown_duration_source=facts.duration_source,
        shutdown_duration_error_s=to_seconds(facts.duration_error_ns),
        sigkill_after_s=to_seconds(facts.sigkill_after_ns),
        exited_before_stop=seen.record.exited_before_stop,
        complete=seen.record.complete,
        cause=cause(verdict.cause),
        cut_short=seen.derivation.cut_short,
        derived_from=seen.derivation.derived_from,
        findings=tuple(FindingDocument(item.rule, item.severity, item.message) for item in verdict.findings),
        timeline=timeline(seen),
        processes=_processes(seen),
        lost_processes=None if seen.record.lost_processes is None else seen.record.lost_processes[:MOST_NAMES],
        lost_process_count=_lost_count(seen),
        fates=_fates(seen, facts),
        fate_count=None if seen.record.fates is None else seen.record.fate_count or len(seen.record.fates),
        requests=_requests(seen),
        vantage=seen.vantage,
        problem=ProblemDocument(seen.problem.kind, seen.problem.message) if seen.problem else None,
        log_tail=seen.looks.logs.text,
        log_truncated=seen.looks.logs.truncated,
        log_line_times_s=log_lines.seconds_after_signal(seen),
        load_average=seen.load_average,
        ready_basis=_ready(seen.ready),
        load_balancer=_load_balancer(seen),
        missing_traffic=tuple(
            MissingTrafficDocument(item.kind, item.port, item.reason)
            for item in (seen.traffic.missing if seen.traffic else ())
        ),
        own_stop_timeouts=seen.own_timeouts,
        hooks=tuple(map(hook, seen.record.hooks)),
        properties=tuple(map(_property, seen.properties)),
        faults=tuple(_fault(record, seen) for record in seen.faults),
        messages=_messages(seen.traffic.messages) if seen.traffic else None,
    )


def _messages(count: MessageCount | None) -> MessagesDocument | None:
    """How many messages there were."""
    return None if count is None else MessagesDocument(count.sent, count.acknowledged, count.late)


def _property(record: PropertyRecord) -> PropertyDocument:
    """What was found of a property."""
    return PropertyDocument(
        kind=record.asked.kind,
        expected=properties.words(record.asked),
        holds=record.held,
        found=record.found,
        excerpt=record.excerpt,
        checked_after_s=to_seconds(record.checked_at_ns),
    )


def hook(record: HookRecord) -> HookDocument:
    """A hook before a stop."""
    return HookDocument(record.command, record.took_ns / 1e9, record.reason, record.cut_off)


def cause(found: Cause | None) -> CauseDocument | None:
    """A cause with what to do about it."""
    if found is None:
        return None
    advice = (AdviceDocument(item.text, item.program, item.lines, item.source, item.proof) for item in found.advice)
    return CauseDocument(found.id, found.evidence, tuple(advice))


def timeline(seen: Observation) -> tuple[EventDocument, ...]:
    """The events in recorded order, each with its distance to the stop signal on its own clock where that clock
    stamped it, else to the stop request, else to the clock's first event."""
    return _events(seen.record.events, seen.record.events)


def _events(events: tuple[Event, ...], known: tuple[Event, ...]) -> tuple[EventDocument, ...]:
    """Events of a trial, with their distance to one of those `known` on their clock."""
    references = {clock: _reference(known, clock) for clock in {event.clock for event in events}}
    return tuple(
        EventDocument(
            event=event.kind,
            at_s=round((event.at_ns - references[event.clock].at_ns) / 1e9, 6),
            relative_to=references[event.clock].kind,
            clock=event.clock,
            source=event.source,
            signal=_signal_name(event.signal),
        )
        for event in events
    )


def _fault(record: FaultRecord, seen: Observation) -> FaultDocument:
    fault = record.fault
    return FaultDocument(
        kind=fault.kind,
        action=fault.action,
        asked_for=fault_words.asked(fault),
        planned_s=to_seconds(fault.moment.planned_ns),
        asked_s=to_seconds(record.asked_ns),
        begun_s=to_seconds(record.begun_ns),
        ended_s=to_seconds(record.ended_ns),
        seen=record.seen,
        problem=record.problem,
        events=_events(record.events, (*seen.record.events, *record.events)),
    )


def _reference(events: tuple[Event, ...], clock: Clock) -> Event:
    """The event that one clock's times are counted from."""
    own = [event for event in events if event.clock is clock]
    for kind in (EventKind.SIGNAL_SENT, EventKind.STOP_REQUESTED):
        found = [event for event in own if event.kind is kind]
        if found:
            return min(found, key=lambda event: event.at_ns)
    return min(own, key=lambda event: event.at_ns)


def _processes(seen: Observation) -> tuple[ProcessDocument, ...] | None:
    if seen.looks.before is None:
        return None
    return tuple(_process(process, seen.record.stop_signal) for process in seen.looks.before)


def _process(process: ProcessInfo, stop_signal: int | None) -> ProcessDocument:
    disposition = None if stop_signal is None else process.disposition(stop_signal)
    return ProcessDocument(process.pid, process.parent_pid, process.command, disposition)


def _fates(seen: Observation, facts: StopFacts) -> tuple[ProcessFateDocument, ...] | None:
    if seen.record.fates is None:
        return None
    begun_ns = fate_scene.begun_ns(seen, facts.shutdown_duration_ns)

    def at_s(to_end_ns: int | None) -> float | None:
        return None if to_end_ns is None or begun_ns is None else to_seconds(begun_ns - to_end_ns)

    return tuple(
        ProcessFateDocument(
            name=fate.name,
            command=fate.command,
            pid=fate.pid,
            parent_pid=fate.parent_pid,
            born_later=fate.born_ns is not None,
            stop_signal_disposition=fate.handling,
            signals=None if fate.signals is None else tuple(_received(item, at_s) for item in fate.signals),
            exit_code=fate.exit_code,
            exit_signal=_signal_name(fate.exit_signal),
            by_teardown=fate.by_teardown,
            ended_at_s=at_s(fate.end_ns),
            before_pid_1_s=to_seconds(fate.end_ns),
            cpu_share=fate.cpu_share,
            clients=fate.served,
        )
        for fate in fate_scene.fates_of(seen)
    )


def _received(item: ReceivedSignal, at_s: Callable[[int | None], float | None]) -> ReceivedSignalDocument:
    known = item.sender_pid is not None and item.sender_pid > 0
    return ReceivedSignalDocument(
        signal=signals.name(item.number),
        at_s=at_s(item.to_end_ns),
        sender=None if item.sender_pid is None else item.sender,
        sender_pid=item.sender_pid if known else None,
    )


def _ready(basis: ReadyBasis | None) -> ReadyDocument | None:
    if basis is None:
        return None
    after_s = to_seconds(basis.after_start_ns)
    told = start_up.sentence(basis)
    return ReadyDocument(basis.by, after_s, basis.ports, basis.silent_ports, basis.unhealthy, told)


def _requests(seen: Observation) -> tuple[RequestDocument, ...] | None:
    if seen.traffic is None:
        return None
    lost = lost_requests(seen.traffic)
    return tuple(
        RequestDocument(
            kind=request.kind,
            client=request.client,
            fate=request.fate,
            lost=request in lost,
            connected_at_s=to_seconds(request.connected_at_ns),
            sent_at_s=to_seconds(request.sent_at_ns),
            first_byte_at_s=to_seconds(request.first_byte_at_ns),
            ended_at_s=to_seconds(request.ended_at_ns),
            status=request.status,
            status_before=request.status_before,
            detail=request.detail,
            ends_by_close=request.ends_by_close,
            unended=request.unended,
            body_bytes=request.body_bytes,
            body_bytes_before=request.body_bytes_before,
        )
        for request in seen.requests
    )


def _load_balancer(seen: Observation) -> LoadBalancerDocument | None:
    by = None if seen.traffic is None else seen.traffic.routed_by
    if by is None:
        return None
    times = (by.propagation_ns, by.deregistration_delay_ns, by.stop_delay_ns, by.deregistered_at_ns)
    return LoadBalancerDocument(*(value_ns / 1e9 for value_ns in times))


def _signal_name(number: int | None) -> str | None:
    return None if number is None else signals.name(number)
