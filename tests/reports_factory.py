"""Builds realistic runs for tests of the report and its renderers. The verdicts are written here, not judged."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stop_harness import signals
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    EngineInfo,
    Event,
    EventKind,
    Expectation,
    Finding,
    LogTail,
    Looks,
    Observation,
    Outcome,
    Problem,
    ProblemKind,
    ProcessInfo,
    Report,
    RunInfo,
    Scenario,
    Severity,
    SigkillEvidence,
    SkippedScenario,
    Status,
    StopFacts,
    StopPlan,
    StopRecord,
    StoredRun,
    Subject,
    TrialResult,
    Verdict,
)
from stop_harness.report import build

DOCKER = EngineInfo(
    name="docker",
    product="Docker Engine",
    version="20.10.24",
    host="unix:///var/run/docker.sock",
    pid1_rules=True,
    whole_seconds=True,
    observes_sigkill=True,
    reports_oom=True,
    runs_images=True,
    caveats=("Kill events of other clients look the same as the engine's own.",),
)
STOP_AT = 1_795_434_000 * NS_PER_S
"""2026-11-23T11:40:00Z, where every trial's stop signal is sent."""


@dataclass(frozen=True)
class Sample:
    """One kind of container: how long it needs to leave (seconds, None: for ever) and how that ends."""

    name: str
    description: str
    needs_s: float | None
    ends: Outcome = Outcome.GRACEFUL
    timeouts_s: tuple[float, ...] = (2, 10, 30)
    expected: tuple[Outcome, ...] = (Outcome.GRACEFUL,)
    exit_code: int = 0
    signal: int = 15
    log: str = ""
    finding: Finding | None = None


SAMPLES = (
    Sample("handles-sigterm", "Leaves at once, exit code 0.", 0.12, log="SIGTERM received\nbye\n"),
    Sample("nginx-sigquit", "STOPSIGNAL SIGQUIT; drains its connections.", 0.21, signal=3),
    Sample("exec-form-init", "An init passes the signal on; exit code 143.", 0.09, exit_code=143),
    Sample("drains-5s", "Finishes its work in 5 s.", 5.01, log="SIGTERM received, draining\ndrained\n"),
    Sample("drains-15s", "Finishes its work in 15 s.", 15.02, log="draining…\n"),
    Sample("drains-29s", "Finishes its work in 29 s.", 29.03, timeouts_s=(10, 30), log="draining…\n"),
    Sample("drains-40s", "Finishes its work in 40 s: too slow for ECS.", 40.02, timeouts_s=(10, 30, 60)),
    Sample("slow-but-tuned", "Needs 75 s, deployed with stopTimeout 120.", 75.3, timeouts_s=(30, 120)),
    Sample(
        "ignores-sigterm",
        "No handler: the kernel drops SIGTERM for PID 1.",
        None,
        expected=(Outcome.KILLED,),
        finding=Finding("no-handler", Severity.NOTE, "PID 1 (python3 app.py) has no handler for SIGTERM."),
    ),
    Sample(
        "shell-form",
        "A shell is PID 1 and waits for its child.",
        None,
        log="\x1b[32mINFO\x1b[0m listening on 0.0.0.0:8000\n",
        finding=Finding(
            "shell-is-pid1",
            Severity.WARNING,
            "PID 1 is `sh -c` and does not pass SIGTERM on; write CMD in exec form.",
        ),
    ),
    Sample(
        "crash-on-stop",
        "Faults in its shutdown path.",
        0.31,
        Outcome.CRASHED,
        exit_code=139,
        log="SIGTERM\n*** \0 abort\n",
    ),
    Sample("oom-on-stop", "Allocates while it stops.", 0.42, Outcome.OOM_KILLED, exit_code=137),
    Sample("child-left-behind", "PID 1 exits before its worker.", 0.08, Outcome.LOSSY, exit_code=143),
    Sample("daemonised", "PID 1 forks and exits.", None, Outcome.NOT_RUNNING, (10, 30)),
    Sample("never-ready", "Does not open its port.", None, Outcome.INCONCLUSIVE, (10, 30)),
    Sample("only-10s", "Killed at 10 s and never given more time.", 12.0, timeouts_s=(10,)),
    Sample("exit-3-accepted", "Leaves with exit code 3, which its scenario accepts.", 1.4, exit_code=3),
)


def nanoseconds(value_s: float) -> int:
    return round(value_s * NS_PER_S)


def trial(sample: Sample, timeout_s: float, repetition: int = 1, engine: EngineInfo = DOCKER) -> TrialResult:
    """One trial of a sample container, with the timeline that Docker would record."""
    outcome = sample.ends
    killed = outcome is Outcome.GRACEFUL and (sample.needs_s is None or sample.needs_s > timeout_s)
    if killed:
        outcome = Outcome.KILLED
    ran = outcome not in (Outcome.NOT_RUNNING, Outcome.INCONCLUSIVE)
    # A few milliseconds that differ from trial to trial, the same on every machine.
    noise = (len(sample.name) * 7 + repetition * 13 + round(timeout_s)) % 40 * NS_PER_MS
    duration = None
    if ran:
        duration = (nanoseconds(timeout_s) if killed else nanoseconds(sample.needs_s or 0)) + noise
    trial_id = f"{sample.name}.t{timeout_s:g}s.r{repetition}"
    exit_code = 137 if killed else sample.exit_code
    observation = Observation(
        trial_id=trial_id,
        scenario=sample.name,
        engine=engine,
        stop_timeout_ns=nanoseconds(timeout_s),
        stop_after_ns=0,
        repetition=repetition,
        started_at="2026-11-23T11:39:57.000000Z",
        problem=Problem(ProblemKind.NOT_READY, "port 8000 was not open after 20 s")
        if outcome is Outcome.INCONCLUSIVE
        else None,
        load_average=0.7,
        record=StopRecord(
            stop_signal=sample.signal,
            stop_signal_source="image STOPSIGNAL" if sample.signal != 15 else "default",
            events=_events(sample, duration, nanoseconds(timeout_s) if killed else None, exit_code) if ran else (),
            exit_code=exit_code if outcome is not Outcome.INCONCLUSIVE else None,
            oom_killed=outcome is Outcome.OOM_KILLED,
            exited_before_stop=outcome is Outcome.NOT_RUNNING,
            lost_processes=("python3 worker.py",) if outcome is Outcome.LOSSY else () if ran else None,
        ),
        looks=Looks(before=_processes(sample) if ran else None, logs=LogTail(sample.log, truncated=False)),
    )
    return TrialResult(observation, _verdict(sample, observation, outcome, duration))


def _events(sample: Sample, duration: int | None, killed_after: int | None, exit_code: int) -> tuple[Event, ...]:
    ready, asked = 4_000 * NS_PER_S, 4_000 * NS_PER_S + 3 * NS_PER_MS
    end = duration or 0
    events = [
        Event(EventKind.STARTED, STOP_AT - 3 * NS_PER_S, Clock.ENGINE, "start event timeNano"),
        Event(EventKind.READY, ready, Clock.HARNESS, "port 8000 open"),
        Event(EventKind.STOP_REQUESTED, asked, Clock.HARNESS, "stop call"),
        Event(EventKind.SIGNAL_SENT, STOP_AT, Clock.ENGINE, "kill event timeNano", sample.signal),
        Event(EventKind.EXITED, STOP_AT + end, Clock.ENGINE, f"State.FinishedAt, exit code {exit_code}"),
        Event(EventKind.STOP_RETURNED, asked + end + 45 * NS_PER_MS, Clock.HARNESS, "stop call returned"),
    ]
    if killed_after is not None:
        at = STOP_AT + killed_after + 12 * NS_PER_MS
        events.insert(4, Event(EventKind.SIGNAL_SENT, min(at, STOP_AT + end), Clock.ENGINE, "kill event timeNano", 9))
    return tuple(events)


def _processes(sample: Sample) -> tuple[ProcessInfo, ...]:
    caught = 0 if sample.needs_s is None else 1 << (sample.signal - 1)
    if sample.name == "shell-form":
        return (
            ProcessInfo(1, 0, "/bin/sh -c python3 app.py", 0, 0, 0),
            ProcessInfo(7, 1, "python3 app.py", 1 << 14, 0, 0),
        )
    return (ProcessInfo(1, 0, "python3 app.py", caught, 0, 0),)


def _verdict(sample: Sample, seen: Observation, outcome: Outcome, duration: int | None) -> Verdict:
    timeout_s = seen.stop_timeout_ns / NS_PER_S
    killed = outcome is Outcome.KILLED
    if outcome is Outcome.INCONCLUSIVE:
        status = Status.INCONCLUSIVE
    else:
        # Every sample expects to be killed where the timeout is shorter than its work.
        expected = (
            (*sample.expected, Outcome.KILLED) if sample.needs_s and sample.needs_s > timeout_s else sample.expected
        )
        status = Status.PASS if outcome in expected else Status.FAIL
    name = signals.name(sample.signal)
    took = f"{(duration or 0) / NS_PER_S:.2f} s"
    reason = {
        Outcome.GRACEFUL: f"exited with code {seen.record.exit_code} {took} after {name}",
        Outcome.KILLED: f"still running {timeout_s:g} s after {name}; ended by SIGKILL (observed: kill event)",
        Outcome.CRASHED: f"crashed with SIGSEGV, exit code 139, {took} after {name}",
        Outcome.OOM_KILLED: f"the OOM killer struck during the stop; exit code 137 {took} after {name}",
        Outcome.LOSSY: f"exited with code 143 {took} after {name}, while the kernel killed python3 worker.py",
        Outcome.NOT_RUNNING: "had already exited with code 0 before the stop",
        Outcome.INCONCLUSIVE: "not ready within 20 s: port 8000 was not open",
    }[outcome]
    facts = StopFacts(
        sigkill_evidence=SigkillEvidence.OBSERVED
        if killed
        else SigkillEvidence.UNKNOWN
        if outcome is Outcome.INCONCLUSIVE
        else SigkillEvidence.NOT_SENT,
        sigkill_reason="kill event with signal 9, then exit code 137" if killed else "no kill event with signal 9",
        shutdown_duration_ns=duration,
        duration_source="kill event timeNano → State.FinishedAt (engine clock)" if duration is not None else None,
        duration_error_ns=NS_PER_MS if duration is not None else None,
        sigkill_after_ns=seen.stop_timeout_ns + 12 * NS_PER_MS if killed else None,
        oom_during_stop=outcome is Outcome.OOM_KILLED,
    )
    findings = [sample.finding] if sample.finding else []
    if killed:
        findings.insert(0, Finding("sigkill-needed", Severity.ERROR, "PID 1 did not leave within the stop timeout."))
    return Verdict(seen.trial_id, outcome, status, reason, facts, tuple(findings))


def scenario(sample: Sample, repeat: int = 1) -> Scenario:
    return Scenario(
        name=sample.name,
        subject=Subject(image=f"{sample.name}:latest"),
        description=sample.description,
        stop=StopPlan(timeouts_ns=tuple(nanoseconds(value) for value in sample.timeouts_s)),
        repeat=repeat,
        expectations=(Expectation(sample.expected),),
        source=f"scenarios/{sample.name}.yaml",
    )


def run_info() -> RunInfo:
    return RunInfo(
        run_id="20261123-114000-7f3a",
        name="shipped scenarios",
        started_at="2026-11-23T11:39:40Z",
        engine=DOCKER,
        harness_version="0.1.0",
        machine="Linux 6.1 x86_64",
        cpu_count=8,
        command_line=("stop-harness", "run", "scenarios/", "--jobs", "4"),
        finished_at="2026-11-23T11:43:21Z",
    )


def stored_of(
    results: list[TrialResult], scenarios: tuple[Scenario, ...], skipped: tuple[SkippedScenario, ...] = ()
) -> StoredRun:
    return StoredRun(run_info(), scenarios, tuple(result.observation for result in results), len(results), skipped)


def report_of(
    results: list[TrialResult], scenarios: tuple[Scenario, ...], skipped: tuple[SkippedScenario, ...] = ()
) -> Report:
    """The report of these trials, with their own verdicts."""
    return build.build(stored_of(results, scenarios, skipped), tuple(result.verdict for result in results))


def realistic_report(samples: tuple[Sample, ...] = SAMPLES, repeat: int = 1) -> Report:
    """Every sample at each of its stop timeouts, and one skipped scenario."""
    results = [
        trial(sample, timeout_s, repetition)
        for sample in samples
        for timeout_s in sample.timeouts_s
        for repetition in range(1, repeat + 1)
    ]
    skipped = SkippedScenario("needs-images", "the engine `process` runs no images")
    scenarios = (*(scenario(sample, repeat) for sample in samples), Scenario("needs-images", Subject(image="x:1")))
    return report_of(results, scenarios, (skipped,))


def large_report(trials: int) -> Report:
    """About `trials` trials of the same samples."""
    return realistic_report(repeat=max(1, trials // sum(len(sample.timeouts_s) for sample in SAMPLES)))


def hostile_report(text: str) -> Report:
    """A report in which `text` stands wherever a container or a scenario file can put words."""
    sample = Sample(text, text, 5.0, timeouts_s=(2, 10), log=text, finding=Finding("rule", Severity.NOTE, text))
    bad = Sample(text, text, 0.1, Outcome.CRASHED, timeouts_s=(30,), log=text)
    results = [trial(sample, 2), trial(sample, 10), trial(bad, 30)]
    results = [replace(result, verdict=replace(result.verdict, reason=text)) for result in results]
    return report_of(results, (scenario(sample),), (SkippedScenario(text, text),))
