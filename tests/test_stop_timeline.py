"""One stop on one clock: the moments of a trial sorted, and the picture that shows the same."""

from __future__ import annotations

import re
from dataclasses import replace

from stop_harness.evidence import log_lines
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    ContainerRecord,
    Event,
    EventKind,
    LogTail,
    Looks,
    Outcome,
    ProcessFate,
    ReceivedSignal,
    Request,
    RequestFate,
    StopRecord,
    TaskRecord,
    TrafficKind,
    TrafficRecord,
    TrialResult,
)
from stop_harness.renderers import html, html_trials
from stop_harness.renderers.sections import stop_timeline
from stop_harness.renderers.sections.stop_timeline import Lane, Timeline, Who
from stop_harness.report.redaction import Redaction
from tests.reports_factory import STOP_AT, Sample, report_of, scenario, trial

SENT = 7_000 * NS_PER_S
"""Where the kernel's clock stood when the signal was sent; the stop call came 20 ms before it."""


def stopped() -> TrialResult:
    """A server that lost a request and a worker: seen by the kernel, by the engine and by the harness."""
    made = trial(Sample("web", "", 1.0, Outcome.LOSSY, timeouts_s=(2,)), 2)
    kernel = (
        Event(EventKind.STOP_REQUESTED, SENT - 20 * NS_PER_MS, Clock.KERNEL, "stop call"),
        Event(EventKind.SIGNAL_SENT, SENT, Clock.KERNEL, "kernel: signal sent", 15),
        Event(EventKind.EXITED, SENT + NS_PER_S, Clock.KERNEL, "kernel: parent told"),
    )
    fates = (
        ProcessFate("app", "app --serve", 1, 0, end_ns=0, exit_code=0, signals=(ReceivedSignal(15, NS_PER_S),)),
        ProcessFate("worker", "worker", 7, 1, end_ns=400 * NS_PER_MS, exit_signal=9, by_teardown=True,
                    signals=(ReceivedSignal(15, 900 * NS_PER_MS, 1, "app"),)),
    )  # fmt: skip
    record = replace(
        made.observation.record,
        events=(*made.observation.record.events, *kernel),
        fates=fates,
        lost_processes=("worker (PID 7)",),
    )
    request = Request(TrafficKind.HTTP, 1, RequestFate.RESET, None, -500 * NS_PER_MS, None, 720 * NS_PER_MS)
    seen = replace(
        made.observation,
        record=record,
        traffic=TrafficRecord((request,)),
        looks=Looks(log_after_signal="draining\n\nbye\n"),
    )
    return TrialResult(seen, made.verdict)


def told(result: TrialResult) -> list[tuple[float | None, str]]:
    made = stop_timeline.timeline(result)
    return [(None if item.at_s is None else round(item.at_s, 6), item.text) for item in made.moments]


def test_everything_stands_on_one_clock_sorted() -> None:
    """Requests, which the harness saw from its stop call on, are 20 ms earlier after the signal; what several clocks
    saw is told once, by the kernel; log lines have no time and stand after the signal."""
    assert told(stopped()) == [
        (-3.0, "started"),
        (-0.52, "http 1 sent"),
        (-0.023, "ready"),
        (-0.02, "stop called"),
        (0.0, "SIGTERM sent"),
        (None, "draining"),
        (None, "bye"),
        (0.1, "`worker` (PID 7) is sent SIGTERM by app"),
        (0.6, "`worker` (PID 7): SIGKILL, with PID 1"),
        (0.7, "http 1: reset (lost)"),
        (1.0, "PID 1 exited"),
        (1.061, "the stop call returned"),
        (2.0, "stop timeout of 2 s over"),
    ]
    text = stop_timeline.timeline(stopped()).clock
    assert text == (
        "From the stop signal on, by the kernel's clock. What the harness saw is set to it by the stop call."
    )


def test_log_lines_stand_where_the_engine_read_them() -> None:
    """Set by its own stamp of the stop signal; a value that is masked takes no time away, and JSON has all of them."""
    result = stopped()
    sent_ns = min(
        event.at_ns
        for event in result.observation.record.events
        if event.kind is EventKind.SIGNAL_SENT and event.clock is Clock.ENGINE
    )
    times = tuple(sent_ns + round(at_s * NS_PER_S) for at_s in (-1, 0.25, 0.25, 0.8))
    logs = LogTail("up\ndraining hunter22\n\nbye\n", line_times_ns=times)
    looks = Looks(log_after_signal="draining hunter22\n\nbye\n", logs=logs)
    given = replace(scenario(Sample("web", "", 1.0, Outcome.LOSSY)), name=result.observation.scenario)
    given = replace(given, subject=replace(given.subject, environment=(("TOKEN", "hunter22"),)))
    seen = Redaction(b"key", (given,)).observation(replace(result.observation, looks=looks))
    found = [item for item in told(TrialResult(seen, result.verdict)) if item[1] in {"draining …", "bye", "up"}]
    assert found == [(0.25, "draining …"), (0.8, "bye")]
    assert log_lines.seconds_after_signal(seen) == (-1.0, 0.25, 0.25, 0.8)


def test_a_clock_that_saw_neither_signal_nor_call_tells_nothing() -> None:
    """Its stamps cannot be set beside the others."""
    result = stopped()
    lone = Event(EventKind.OOM, 5, Clock.ECS, "stoppedReason")
    record = replace(result.observation.record, events=(*result.observation.record.events, lone))
    seen = replace(result.observation, record=record)
    assert "OOM kill" not in [text for _, text in told(TrialResult(seen, result.verdict))]


def test_without_a_signal_on_record_the_stop_call_is_the_begin() -> None:
    """And the list says so."""
    result = stopped()
    events = tuple(event for event in result.observation.record.events if event.kind is not EventKind.SIGNAL_SENT)
    seen = replace(result.observation, record=replace(result.observation.record, events=events))
    made = stop_timeline.timeline(TrialResult(seen, result.verdict))
    assert made.clock.startswith("From the stop call on, by the kernel's clock.")
    assert (0.0, "stop called") in told(TrialResult(seen, result.verdict))


def test_the_picture_has_a_line_for_the_stop_each_process_and_each_request() -> None:
    """What was lost is marked so; a process that was there before is open to the left."""
    lanes = stop_timeline.timeline(stopped()).lanes
    assert [(lane.who, lane.label, lane.bad) for lane in lanes] == [
        (Who.STOP, "the stop", False),
        (Who.PROCESS, "`app --serve` (PID 1)", False),
        (Who.PROCESS, "`worker` (PID 7)", True),
        (Who.REQUEST, "http 1: reset", True),
    ]
    assert (lanes[2].begin_s, lanes[2].marks) == (None, ((0.1, False), (0.6, True)))
    assert (lanes[3].begin_s, lanes[3].end_s) == (-0.52, 0.7)


def test_a_sigkill_that_only_the_engine_saw_stands_beside_the_signal_that_the_kernel_saw() -> None:
    """The kernel's trace may have the stop signal alone."""
    made = trial(Sample("web", "", None, timeouts_s=(2,)), 2)
    kernel = Event(EventKind.SIGNAL_SENT, SENT, Clock.KERNEL, "kernel: signal sent", 15)
    record = replace(made.observation.record, events=(*made.observation.record.events, kernel))
    result = TrialResult(replace(made.observation, record=record), made.verdict)
    (stop, *_) = stop_timeline.timeline(result).lanes
    assert stop.marks == ((0.0, False), (2.012, True))
    picture = html_trials._Picture(stop_timeline.timeline(result)).view()
    assert picture is not None
    assert any("SIGKILL 2.0 s" in text for _, text, _ in picture["heads"])


def test_lost_requests_are_not_left_out_of_the_picture_for_others() -> None:
    """Of many there is room for twelve."""
    result = stopped()
    (lost,) = result.observation.requests
    whole = replace(lost, fate=RequestFate.COMPLETED)
    seen = replace(result.observation, traffic=TrafficRecord((*[whole] * 40, lost)))
    lanes = [
        lane for lane in stop_timeline.timeline(TrialResult(seen, result.verdict)).lanes if lane.who is Who.REQUEST
    ]
    assert len(lanes) == stop_timeline.MOST_LANES
    assert [lane.bad for lane in lanes].count(True) == 1


def test_containers_of_a_task_have_a_line_each() -> None:
    """From its own signal to its own exit."""
    made = trial(Sample("task", "", 2.0, timeouts_s=(10,)), 10)

    def container(name: str, begin_s: int, end_s: int) -> ContainerRecord:
        at = [STOP_AT + begin_s * NS_PER_S, STOP_AT + end_s * NS_PER_S]
        events = (
            Event(EventKind.SIGNAL_SENT, at[0], Clock.ENGINE, "kill event", 15),
            Event(EventKind.EXITED, at[1], Clock.ENGINE, "State.FinishedAt"),
        )
        return ContainerRecord(name, essential=True, waits_for=(), stop_timeout_ns=NS_PER_S, record=StopRecord(events))

    task = TaskRecord("", (container("app", 0, 1), container("proxy", 1, 2)))
    result = TrialResult(replace(made.observation, task=task), made.verdict)
    lanes = stop_timeline.timeline(result).lanes
    assert [(lane.label, lane.begin_s, lane.end_s) for lane in lanes[1:]] == [("app", 0, 1), ("proxy", 1, 2)]
    assert (1.0, "proxy: SIGTERM sent") in told(result)


def test_nothing_of_the_picture_leaves_it() -> None:
    """Whatever the times are: lines and marks lie within the width, the begin of a long request at its left edge."""
    lanes = (Lane(Who.STOP, "the stop", 0.0, 0.004), Lane(Who.REQUEST, "http", -3600.0, 0.002))
    for limit_s in (0.0, 0.004, 30.0):
        view = html_trials._Picture(Timeline("", lanes, (), 0, limit_s, "stop timeout")).view()
        assert view is not None
        for lane in view["lanes"]:
            assert 0 <= lane["left"] <= lane["left"] + lane["width"] <= 100.01
        assert view["lanes"][1]["left"] == 0
        assert 3 <= len(view["ticks"]) <= 8
        assert bool(view["beyond"]) is (limit_s == 30.0)


def test_the_timeline_opens_without_script() -> None:
    """It is part of the page, sorted, with its picture drawn by style alone."""
    page = html.render(report_of([stopped()], (scenario(Sample("web", "", 1.0, timeouts_s=(2,))),)), {})
    body = page.partition('<div id="details">')[2].partition("<footer")[0]
    moments = body.partition('<table class="moments">')[2].partition("</table>")[0]
    at = re.findall(r'<td class="number">([^<]*)</td><td>', moments)
    assert at[:5] == ["−3.00 s", "−0.52 s", "−23.0 ms", "−20.0 ms", "0 s"]
    assert at[5:] == ["later", "later", "0.10 s", "0.60 s", "0.70 s", "1.00 s", "1.06 s", "2.00 s"]
    assert body.count('<div class="lane process') == 2
    assert 'class="lane request bad"' in body
    assert "<script" not in body.partition("</details>")[0]
