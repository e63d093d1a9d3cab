"""Run the known stops as one run and compare each with what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.model import EngineInfo, Outcome, Request, SigkillEvidence, TrafficKind, TrialResult
from stop_harness.trial.perform import Interruption
from stop_harness.verdict.traffic import lost_requests
from tests.known_stops.cases import KnownStop
from tests.silence import Silence

JOBS = 12
"""Most of the time is waiting; more at once would make two cores the bottleneck."""

REQUESTS = frozenset({TrafficKind.HTTP, TrafficKind.TCP})
SENT = frozenset({SigkillEvidence.OBSERVED, SigkillEvidence.INFERRED})


@dataclass(frozen=True)
class Answer:
    """One question about one stop, answered by the record and by the harness."""

    known: str
    got: str
    right: bool


@dataclass(frozen=True)
class Measured:
    """A known stop, and the harness's result."""

    stop: KnownStop
    result: TrialResult

    @property
    def outcome(self) -> Outcome:
        """What the harness says."""
        return self.result.verdict.outcome

    @property
    def inconclusive(self) -> bool:
        """The harness did not commit itself."""
        return self.outcome is Outcome.INCONCLUSIVE

    @property
    def false_graceful(self) -> bool:
        """The one mistake that must never happen."""
        return self.outcome is Outcome.GRACEFUL and not self.stop.good

    def answers(self) -> dict[str, Answer]:
        """Every question that applies to this stop. An inconclusive trial is asked for its outcome only."""
        asked = {"outcome": _outcome} if self.inconclusive else QUESTIONS
        found = ((name, ask(self)) for name, ask in asked.items())
        return {name: answer for name, answer in found if answer is not None}

    def wrong(self) -> dict[str, Answer]:
        """The questions that the harness answered wrongly."""
        return {name: answer for name, answer in self.answers().items() if not answer.right}


@dataclass(frozen=True)
class Measurement:
    """A run over known stops."""

    engine: EngineInfo
    started_at: str
    stops: tuple[Measured, ...]


def measure(stops: tuple[KnownStop, ...], report_dir: Path | None = None, repeat: int = 1) -> Measurement:
    """Stop them all on the Docker engine. Every stop of every repetition is in the result."""
    request = RunRequest(
        tuple(stop.scenario for stop in stops),
        "known-stops",
        report_dir,
        engine="docker",
        jobs=str(JOBS),
        repeat=repeat,
    )
    report = pipeline.run(request, Silence(), Interruption()).report
    by_name = {stop.name: stop for stop in stops}
    measured = (Measured(by_name[result.observation.scenario], result) for result in report.results)
    return Measurement(report.run.engine, report.run.started_at, tuple(measured))


# ── Questions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _outcome(measured: Measured) -> Answer:
    known = measured.stop.known.outcomes
    return Answer(" or ".join(known), measured.outcome, measured.outcome in known)


def _sigkill(measured: Measured) -> Answer:
    known, evidence = measured.stop.known.engine_sigkill, measured.result.verdict.facts.sigkill_evidence
    return Answer("sent" if known else "not sent", evidence, (evidence in SENT) is known)


def _oom(measured: Measured) -> Answer:
    known, got = measured.stop.known.oom_killed, measured.result.verdict.facts.oom_during_stop
    return Answer(str(known), str(got), bool(got) is known)


def _requests(measured: Measured) -> Answer | None:
    """How many of the requests that were in flight got lost. One that was not in flight after all is no answer."""
    if not measured.stop.known.requests_in_flight:
        return None
    known, total = measured.stop.requests_lost, len(measured.stop.known.requests_in_flight)
    lost = lost_requests(measured.result.observation.traffic)
    in_flight = tuple(filter(_in_flight, measured.result.observation.requests))
    fates = ", ".join(sorted({request.fate for request in in_flight}))
    right = len(lost) == known and len(in_flight) == total
    return Answer(f"{known} of {total} lost", f"{len(lost)} of {len(in_flight)} lost ({fates})", right)


def _in_flight(request: Request) -> bool:
    sent_at_ns, ended_at_ns = request.sent_at_ns, request.ended_at_ns
    sent = sent_at_ns is not None and sent_at_ns <= 0
    return request.kind in REQUESTS and sent and (ended_at_ns is None or ended_at_ns > 0)


def _silent_kills(measured: Measured) -> Answer | None:
    """Whether processes were SIGKILLed by anybody but the engine. Not asked where nobody could look."""
    lost = measured.result.observation.record.lost_processes
    if lost is None or measured.stop.known.engine_sigkill or measured.stop.known.oom_killed:
        return None
    known = measured.stop.known.processes_killed_silently
    return Answer(", ".join(known) or "none", ", ".join(lost) or "none", bool(lost) is bool(known))


def _cause(measured: Measured) -> Answer | None:
    """Asked where a cause is known."""
    if measured.stop.cause is None:
        return None
    cause = measured.result.verdict.cause
    got = "none" if cause is None else cause.id
    return Answer(measured.stop.cause, got, got == measured.stop.cause)


QUESTIONS: dict[str, Callable[[Measured], Answer | None]] = {
    "outcome": _outcome,
    "SIGKILL by the engine": _sigkill,
    "OOM killer": _oom,
    "lost requests": _requests,
    "processes killed silently": _silent_kills,
    "cause": _cause,
}
