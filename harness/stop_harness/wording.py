"""Words and numbers that every report format shares, and text from containers made safe to show. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import overload

from stop_harness.model import (
    ECS_STOP_TIMEOUT_S,
    NS_PER_MS,
    NS_PER_S,
    ComplianceStatus,
    EndedBy,
    GroupKind,
    HookRecord,
    Observation,
    Outcome,
    ReferenceStop,
    Report,
    Request,
    RequestFate,
    RunInfo,
    Scenario,
    Status,
    TrafficKind,
    TrafficRecord,
    TrialResult,
    Vantage,
    Verdict,
)

OUTCOME_MEANINGS = {
    Outcome.GRACEFUL: "exited by itself in time, exit code accepted",
    Outcome.LOSSY: "exited in time, but requests were cut or other processes killed silently",
    Outcome.KILLED: "still running at the stop timeout; the engine sent SIGKILL",
    Outcome.CRASHED: "ended by a fault or with an exit code that is not accepted",
    Outcome.OOM_KILLED: "the OOM killer struck during the stop",
    Outcome.NOT_RUNNING: "it had already exited before the stop",
    Outcome.INCONCLUSIVE: "evidence missing or contradictory; says nothing about the container",
}
OUTCOME_WORDS = {outcome: outcome.value.replace("_", " ") for outcome in Outcome}
COMPLIANCE_WORDS = {
    ComplianceStatus.COMPLIANT: "compliant",
    ComplianceStatus.NON_COMPLIANT: "not compliant",
    ComplianceStatus.INCONCLUSIVE: "inconclusive",
}
COMPLIANCE_MARKS = {
    ComplianceStatus.COMPLIANT: "✔",
    ComplianceStatus.NON_COMPLIANT: "✘",
    ComplianceStatus.INCONCLUSIVE: "?",
}
STATUS_MARKS = {Status.PASS: "=", Status.FAIL: "≠", Status.INCONCLUSIVE: "?"}
"""Whether a stop was as expected. Not the marks of compliance: a container that is expected to be killed, and is,
passes and is not compliant, and ✔ beside "not compliant" reads as a contradiction."""
STATUS_KEY = "= ended as expected, ≠ did not, ? inconclusive. Compliance is another question."
"""Beside a table with these marks."""
ASCII_MARKS = str.maketrans(
    {"≠": "!", "✔": "+", "✘": "x", "◐": "o", "×": "x", "–": "-", "−": "-", "…": "~", "·": "|", "≤": "<", "└": "\\"}
)
"""Stand-ins where the terminal cannot show the mark."""


def outcome_words(result: TrialResult) -> str:
    """`killed`; `killed (derived)` for a stop that was not performed."""
    words = OUTCOME_WORDS[result.verdict.outcome]
    return words if result.observation.derivation.derived_from is None else f"{words} (derived)"


# ── Numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@overload
def to_seconds(duration_ns: int) -> float: ...
@overload
def to_seconds(duration_ns: None) -> None: ...
@overload
def to_seconds(duration_ns: int | None) -> float | None: ...
def to_seconds(duration_ns: int | None) -> float | None:
    """Nanoseconds as seconds, rounded to a microsecond: no clock here is better, and files stay readable."""
    return None if duration_ns is None else round(duration_ns / NS_PER_S, 6) + 0.0  # which turns -0.0 into 0.0


def timeout(duration_ns: int) -> str:
    """A duration that somebody chose, exactly: `30 s`, `0.5 s`."""
    return f"{duration_ns / NS_PER_S:.12g} s"


def seconds(duration_ns: int) -> str:
    """A measured duration, for tables: `<0.001 s`, `0.004 s`, `0.12 s`, `5.0 s`."""
    value = duration_ns / NS_PER_S
    if 0 <= value < 0.0005:
        return "<0.001 s"
    digits = 3 if abs(value) < 0.01 else 2 if abs(value) < 1 else 1
    return f"{value:z.{digits}f} s"


def signed_seconds(at_ns: int, digits: int | None = None) -> str:
    """Before or after another moment: `+0.021 s`, `-2.00 s`, and `0.000 s`, without a sign, for what rounds to that.
    `digits` None: as many as are worth reading."""
    value = at_ns / NS_PER_S
    if digits is None:
        digits = 3 if abs(value) < 1 else 2
    text = f"{value:+.{digits}f} s"
    return text if text.strip("+-0. s") else text[1:]


def precise_seconds(duration_ns: int) -> str:
    """A measured duration, for sentences, where 30.02 s must not read as 30.0 s: `0.123 s`, `5.02 s`, `30 s`."""
    value = duration_ns / NS_PER_S
    if 0 <= value < 1:
        return "less than 0.001 s" if value < 0.0005 else f"{value:.3f} s"
    return f"{value:z.2f}".rstrip("0").rstrip(".") + " s"


def within(duration_ns: int) -> str:
    """A measured duration after "within", never "less than": `0.001 s` for anything shorter."""
    return precise_seconds(max(duration_ns, NS_PER_MS))


MOST_LEFT_NAMED = 5


def left_behind_sentence(left: tuple[str, ...]) -> str:
    """What an engine could not remove, and what becomes of it."""
    more = f"; and {len(left) - MOST_LEFT_NAMED} more" if len(left) > MOST_LEFT_NAMED else ""
    return (
        f"could not be removed from the engine: {'; '.join(left[:MOST_LEFT_NAMED])}{more}. A helper goes on trying for "
        "a quarter of an hour; `stop-harness clean` removes what is left then"
    )


def reference_sentence(reference: ReferenceStop) -> str:
    """`the engine's own time for a subject that exits at once: start 210 ms, …, removal 40 ms (not subtracted)`."""
    parts = (
        ("start", reference.start_ns),
        ("stop call to signal", reference.signal_ns),
        ("signal to exit", reference.exit_ns),
        ("exit to the return of the call", reference.return_ns),
        ("removal", reference.removal_ns),
    )
    known = ", ".join(f"{what} {took_ns / NS_PER_MS:.1f} ms" for what, took_ns in parts if took_ns is not None)
    return f"the engine's own time, for a program that exits at once: {known}"


def count_of(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`, `10,000 trials`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def was_or_were(number: int) -> str:
    return "was" if number == 1 else "were"


def run_duration_ns(run: RunInfo) -> int | None:
    """How long the run took; None where it did not end by itself, was resumed, or a time cannot be read."""
    if run.finished_at is None or run.resumed_at:
        return None
    try:
        took = datetime.fromisoformat(run.finished_at) - datetime.fromisoformat(run.started_at)
    except (ValueError, TypeError):  # not ISO 8601; one time with a zone and one without
        return None
    return round(took.total_seconds() * NS_PER_S)


# ── Sentences ────────────────────────────────────────────────────────────────────────────────────────────────────────


def only_pods(report: Report) -> bool:
    """Whether all that was stopped are pods, whose owners ask for their grace period and not for the 30 s of ECS."""
    return bool(report.scenarios) and all(is_pod(scenario) for scenario in report.scenarios)


def is_pod(scenario: Scenario) -> bool:
    """Whether a scenario stops a pod of Kubernetes, or one container of it."""
    origin, group = scenario.subject.origin, scenario.subject.group
    return GroupKind.POD in {origin and origin.kind, group and group.kind}


def headline(report: Report) -> str:
    """The first sentence of a report: of pods about their own grace period, else about the default of Amazon ECS."""
    return _grace_headline(report) if only_pods(report) and report.results else compliance_headline(report)


def _grace_headline(report: Report) -> str:
    """`The stop was not graceful within the grace period of 4 s.`; of several how many were."""
    outcomes = [result.verdict.outcome for result in report.results]
    limits = {result.observation.stop_timeout_ns for result in report.results}
    total, graceful = len(outcomes), outcomes.count(Outcome.GRACEFUL)
    unclear = outcomes.count(Outcome.INCONCLUSIVE)
    if total == 1:
        within = f"graceful within the grace period of {timeout(limits.pop())}"
        if unclear:
            return f"Whether the stop was {within} is inconclusive."
        return f"The stop was {'' if graceful else 'not '}{within}."
    period = f"the grace period of {timeout(limits.pop())}" if len(limits) == 1 else "their grace periods"
    if graceful == total:
        return f"All {total:,} stops were graceful within {period}."
    others = [
        f"{number:,} {was_or_were(number)} {word}"
        for number, word in ((total - graceful - unclear, "not"), (unclear, "inconclusive"))
        if number
    ]
    many = f"{graceful:,}" if graceful else "None"
    return f"{many} of {total:,} stops {was_or_were(max(1, graceful))} graceful within {period}; {', '.join(others)}."


def compliance_headline(report: Report) -> str:
    """`9 of 17 scenarios are compliant with the Amazon ECS default of 30 s; 6 are not, 2 are inconclusive.`"""
    counts = dict.fromkeys(ComplianceStatus, 0)
    for row in report.compliance:
        counts[row.status] += 1
    compliant, total = counts[ComplianceStatus.COMPLIANT], len(report.compliance)
    default = f"compliant with the Amazon ECS default of {ECS_STOP_TIMEOUT_S} s"
    if not total:
        return "No scenario was run."
    if total == 1:
        return {
            ComplianceStatus.COMPLIANT: f"The scenario is {default}.",
            ComplianceStatus.NON_COMPLIANT: f"The scenario is not {default}.",
            ComplianceStatus.INCONCLUSIVE: f"Whether the scenario is {default} is inconclusive.",
        }[report.compliance[0].status]
    if compliant == total:
        return f"All {total} scenarios are {default}."
    others = [
        f"{number} {'is' if number == 1 else 'are'} {word}"
        for status, word in ((ComplianceStatus.NON_COMPLIANT, "not"), (ComplianceStatus.INCONCLUSIVE, "inconclusive"))
        if (number := counts[status])
    ]
    return (
        f"{compliant or 'None'} of {total} scenarios {'is' if compliant < 2 else 'are'} {default}; {', '.join(others)}."
    )


def expectation_headline(report: Report) -> str:
    """`38 of 43 trials met their expectation; 3 failed, 2 were inconclusive.`"""
    total, passed = len(report.results), report.count(Status.PASS)
    if not total:
        return "No trial was run."
    if total == 1:
        return {
            Status.PASS: "The trial met its expectation.",
            Status.FAIL: f"The trial did not meet its expectation{', which is waived' if report.waived else ''}.",
            Status.INCONCLUSIVE: "The trial was inconclusive.",
        }[report.results[0].verdict.status]
    others = []
    if failed := report.count(Status.FAIL):
        others.append(f"{failed:,} failed" + (f" ({len(report.waived):,} waived)" if report.waived else ""))
    if unclear := report.count(Status.INCONCLUSIVE):
        others.append(f"{unclear:,} {was_or_were(unclear)} inconclusive")
    derived = sum(result.observation.derivation.derived_from is not None for result in report.results)
    trials = count_of(total, "trial") + (f" ({derived:,} derived)" if derived else "")
    many = "All" if passed == total else f"{f'{passed:,}' if passed else 'None'} of"
    whole = f"{many} {trials} met {'their' if passed > 1 else 'its'} expectation"
    return f"{whole}; {', '.join(others)}." if others else f"{whole}."


def hooks_line(who: str, hooks: tuple[HookRecord, ...]) -> str:
    """`Before its stop signal, app ran `sleep 2` (2.1 s).`, for each; empty where there was none."""
    return " ".join(
        f"Before its stop signal, {one_line(who)} ran `{one_line(hook.command)}` "
        f"({seconds(hook.took_ns)}{', cut off' if hook.cut_off else ', failed' if hook.reason else ''})."
        for hook in hooks
    )


def requests_line(traffic: TrafficRecord | None) -> str:
    """`2 of 2 requests completed`, `0 of 2 requests completed (2 reset); idle: 1 closed`; empty without traffic."""
    if traffic is None:
        return ""
    parts = []
    for kind, held in dict.fromkeys((request.kind, request.only_held) for request in traffic.requests):
        these = [request for request in traffic.requests if (request.kind, request.only_held) == (kind, held)]
        fates = Counter(map(fate_words, these))
        total, whole = fates.total(), fates.pop(RequestFate.COMPLETED.value, 0)
        others = ", ".join(f"{count:,} {fate}" for fate, count in fates.most_common())
        if kind is TrafficKind.HTTP or kind is TrafficKind.TCP:
            text = f"{whole:,} of {count_of(total, 'request')} completed" + (f" ({others})" if others else "")
        else:
            text = f"{kind.replace('_', ' ')}{' connections' if held else ''}: " + ", ".join(
                part for part in (whole and f"{whole:,} completed", others) if part
            )
        parts.append(text)
    if (sent := traffic.messages) is not None:
        parts.append(
            f"{sent.acknowledged:,} of {count_of(sent.sent, 'message')} acknowledged, {sent.late:,} after the stop"
        )
    return "; ".join(parts) or "no request in flight"


def fate_words(request: Request) -> str:
    """A fate for people: a connection on which nothing was asked is closed, not left without an answer; and a 503 to
    what was sent after the stop is hardly `completed`."""
    if request.fate is RequestFate.COMPLETED and request.turned_away:
        return f"answered with {request.status}"
    if request.only_held and request.fate is RequestFate.COMPLETED:
        return "told of the end"
    if request.only_held and request.fate is RequestFate.NO_ANSWER:
        return "closed without a word"
    if request.fate is RequestFate.NO_ANSWER and request.sent_at_ns is None:
        return "closed"
    return request.fate.replace("_", " ")


VANTAGE_WORDS = {
    Vantage.CONTAINER_ADDRESS: "straight to the container's address",
    Vantage.NETWORK_NAMESPACE: "inside the container's network namespace",
    Vantage.PUBLISHED_PORT: "through the published port, whose proxy accepts for a container that no longer does",
    Vantage.HOST_NETWORK: "on this machine's network, which the subject shares",
}


def why(verdict: Verdict) -> str:
    """The reason of a verdict; where something else decides about an accepted outcome, that first: it came too late, or
    something that must be true after the stop is not. Behind it by what the container was stopped, where that leaves
    open whether it was ready."""
    decisive = beyond_outcome(verdict)
    unready = [finding.message for finding in verdict.findings if finding.rule == "ready-unknown"]
    return "; ".join([*decisive, verdict.reason, *unready])


NOT_AS_LEFT = "not left as expected"
"""A graceful stop after which something of `after_stop` does not hold."""

BEYOND_OUTCOME = ("slow-stop", "property-failed", "property-unchecked")
"""Rules that keep a trial from passing although its outcome is an accepted one."""


def beyond_outcome(verdict: Verdict) -> list[str]:
    """What keeps the trial from passing although its outcome may be an accepted one; empty where nothing does."""
    return [finding.message for finding in verdict.findings if finding.rule in BEYOND_OUTCOME]


def sentence(fragment: str) -> str:
    """A verdict's reason as a sentence of its own: `exited with code 0` → `Exited with code 0.`

    A name before a colon, or an address, is written as it is: `app: still running` → `app: still running.`
    """
    text = one_line(fragment)
    if not text:
        return text
    begin = text[0] if _NAMED.match(text) else text[0].upper()
    return f"{begin}{text[1:].rstrip('.')}."


_NAMED = re.compile(r"[^\s:]+: |[a-z+]+://")


def subject_name(scenario: Scenario) -> str:
    """What people call the subject: a container that ran already, its image, its build folder, its task definition,
    else the scenario's name. Of a Compose project the service, or the project; of a task also what ends it, where that
    is not StopTask.

    A folder whose entrypoint does not count is only where a command runs (`check -- COMMAND`): the command's name.
    """
    subject = scenario.subject
    if subject.container is not None:
        return one_line(f"container {subject.container.name} ({subject.image})")
    if subject.origin is not None:
        return one_line(subject.origin.name or (subject.group.name if subject.group is not None else scenario.name))
    if subject.image is None and subject.entrypoint == () and subject.command:
        return one_line(scenario.name)
    folder = subject.build_directory
    if folder is not None and folder.rstrip("/").rpartition("/")[2] in {".", ".."}:
        folder = scenario.name  # that is made of the folder's own name
    name = one_line(subject.image or folder or subject.task_file or scenario.name)
    return name + _ENDED_BY[scenario.stop.ended_by]


_ENDED_BY = {
    EndedBy.STOP_TASK: "",
    EndedBy.SCALE_IN: ", ended by scale-in",
    EndedBy.SPOT: ", ended by a Spot interruption",
}
"""Behind the name of a task that something else than StopTask ends."""


OWN_TIMEOUTS = "each container's own stop timeout"
"""In the place of a stop timeout where each container of a task or a project has that of its definition."""


EACH_ITS_OWN = "each its own"
"""The same in a table, under "stop timeout"."""


def timeouts_in_table(report: Report) -> Callable[[str, int], str]:
    """(name of a scenario, stop timeout in ns) → `10 s`, or that each container had its own."""
    own = {scenario.name for scenario in report.scenarios if scenario.stop.own_timeouts}
    return lambda name, timeout_ns: EACH_ITS_OWN if name in own else timeout(timeout_ns)


def trial_title(seen: Observation) -> str:
    """`stop timeout 10 s, stopped 2 s after ready, repetition 1`: tells a trial from its scenario's other trials."""
    moment = f", stopped {timeout(seen.stop_after_ns)} after ready" if seen.stop_after_ns else ""
    return f"{stop_limit(seen)}{moment}, repetition {seen.repetition}"


def stop_limit(seen: Observation) -> str:
    """`stop timeout 10 s`, `grace period 30 s` of a pod, or that each container had its own."""
    return OWN_TIMEOUTS if seen.own_timeouts else f"{limit_word(seen)} {timeout(seen.stop_timeout_ns)}"


def of_pod(seen: Observation) -> bool:
    """Whether a pod was stopped."""
    return seen.task is not None and seen.task.group is GroupKind.POD


def limit_word(seen: Observation) -> str:
    """What the time until SIGKILL is called: a pod has one for hooks, for waiting and for the stop."""
    return "grace period" if of_pod(seen) else "stop timeout"


# ── Text from containers and scenario files ──────────────────────────────────────────────────────────────────────────

_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC, DCS and the like: window titles, links
    r"|\x1b[ -/]*[0-Z\\^-~]"  # two-character sequences
)
"""ECMA-48 sequences, terminated or cut off by the end of the text. Every alternative is linear."""

_PICTURES = str.maketrans(
    {
        **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
        0x7F: "␡",
        **dict.fromkeys(range(0x80, 0xA0), "�"),
        # Characters that turn the reading direction can make a line read as something else (CVE-2021-42574).
        **dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "�"),
        0x2028: "\n",
        0x2029: "\n",
    }
)
_UNENCODABLE = re.compile("[\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """Text that can be shown anywhere: escape sequences gone, control characters as pictures (␀), lines kept."""
    if text.isprintable():  # nothing of all that is in it; a report of 10,000 trials asks 250,000 times
        return text
    plain = _ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n")
    return _UNENCODABLE.sub("�", plain.translate(_PICTURES))


def one_line(text: str) -> str:
    """`printable`, and on one line."""
    if text.isprintable() and "  " not in text and text == text.strip():  # of all white space it has spaces only
        return text
    return " ".join(printable(text).split())
