"""Requests that a load balancer sends while the container is already stopping, and the delay that saves them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stop_harness import wording
from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.errors import ScenarioError
from stop_harness.experiments import remedies
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Configuration,
    EventKind,
    LoadBalancer,
    NotApplied,
    Observation,
    Outcome,
    RemedyEffect,
    RemedyKind,
    Report,
    Request,
    RequestFate,
    RoutedBy,
    Scenario,
    Subject,
    TrafficKind,
    TrafficRecord,
    TrialResult,
    Vantage,
)
from stop_harness.renderers.sections import remedy_text
from stop_harness.scenario import scenario_file
from stop_harness.trial.perform import Interruption
from stop_harness.verdict import judge, traffic
from tests.silence import Silence
from tests.strategies import DOCKER, Behaviour, Jitter, stop

ROOT = Path(__file__).parent.parent
PROPAGATION_NS = 2 * NS_PER_S

# ── Scenarios and options ────────────────────────────────────────────────────────────────────────────────────────────

HEAD = "version: 1\nname: a\nsubject: {image: a}\ntraffic: "


def test_what_is_not_said_is_as_target_groups_have_it() -> None:
    """300 s of deregistration delay, and no delay before the stop."""
    made = scenario_file.parse(HEAD + "{through: load_balancer, http: {port: 80}}\n")
    assert made.load_balancer == LoadBalancer(2 * NS_PER_S, 300 * NS_PER_S, 0)
    assert [client.kind for client in made.traffic] == [TrafficKind.HTTP]
    times = "propagation: 1s, deregistration_delay: 10s, stop_delay: 3s"
    made = scenario_file.parse(f"{HEAD}{{through: load_balancer, {times}, http: {{port: 80}}}}\n")
    assert made.load_balancer == LoadBalancer(NS_PER_S, 10 * NS_PER_S, 3 * NS_PER_S)
    assert scenario_file.parse(HEAD + "{http: {port: 80}}\n").load_balancer is None


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{propagation: 2s, http: {port: 80}}", "`propagation` goes with `through: load_balancer`"),
        ("{through: load_balancer}", "`through: load_balancer` needs `http`"),
        ("{through: proxy, http: {port: 80}}", "through: 'proxy' is not allowed"),
        ("{through: load_balancer, http: {port: 80}, idle: {port: 80}}", "sends `http` only; leave `idle`"),
        ("{through: load_balancer, propagation: 100ms, http: {port: 80}}", "`propagation` is 200ms or more"),
        (
            "{through: load_balancer, propagation: 3s, deregistration_delay: 2s, http: {port: 80}}",
            "`propagation` is longer than `deregistration_delay`",
        ),
        ("{through: load_balancer, stop_delay: 3m, http: {port: 80}}", "two minutes at most"),
    ],
)
def test_what_does_not_fit_is_named(section: str, said: str) -> None:
    """With the line of the section."""
    with pytest.raises(ScenarioError) as refused:
        scenario_file.parse(f"{HEAD}{section}\n", "a.yaml")
    assert said in str(refused.value)
    assert str(refused.value).startswith("a.yaml:4:")


def test_options_of_check_go_together() -> None:
    """A time of a load balancer without one would have no effect."""
    words = ["check", "nothing", "--traffic-http", "80", "--propagation", "1s"]
    done = subprocess.run(
        [sys.executable, "-m", "stop_harness", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, "--propagation goes with --through load_balancer" in done.stderr) == (2, True)


# ── Verdicts ─────────────────────────────────────────────────────────────────────────────────────────────────────────

FIRST = Request(TrafficKind.HTTP, 1, RequestFate.COMPLETED, -600, -500, 10, 20, 200)
LATE = Request(TrafficKind.HTTP, 1, RequestFate.COMPLETED, NS_PER_S, NS_PER_S + 1, NS_PER_S + 2, NS_PER_S + 3, 200)
REFUSED = Request(TrafficKind.HTTP, 1, RequestFate.REFUSED, ended_at_ns=NS_PER_S, detail="connection refused")


def seen(*requests: Request, stop_delay_ns: int = 0, vantage: Vantage = Vantage.CONTAINER_ADDRESS) -> Observation:
    """A stop that is graceful but for what became of its requests."""
    by = RoutedBy(PROPAGATION_NS, 10 * NS_PER_S, stop_delay_ns, -stop_delay_ns)
    made = stop(Behaviour(NS_PER_S), 30 * NS_PER_S, DOCKER, Jitter())
    return replace(made.observation, traffic=TrafficRecord(requests, vantage, (), by))


BALANCER = LoadBalancer(PROPAGATION_NS, 10 * NS_PER_S)
SCENARIO = Scenario("a", Subject("a"), load_balancer=BALANCER)


@pytest.mark.parametrize("vantage", list(Vantage))
@pytest.mark.parametrize("fate", [RequestFate.REFUSED, RequestFate.RESET, RequestFate.NO_ANSWER, RequestFate.TRUNCATED])
def test_a_request_that_the_load_balancer_still_sent_is_lost(fate: RequestFate, vantage: Vantage) -> None:
    """Refused or cut, from wherever: nobody else could take it."""
    lost = replace(REFUSED, fate=fate, connected_at_ns=None if fate is RequestFate.REFUSED else NS_PER_S // 2)
    verdict = judge.judge(seen(FIRST, LATE, lost, vantage=vantage), SCENARIO)
    assert verdict.outcome is Outcome.LOSSY
    assert "1 of 3 requests of the load balancer, which still sends for 2 s, were lost" in verdict.reason
    assert verdict.findings[0].rule == "refused-while-deregistering"
    assert verdict.cause is not None
    assert verdict.cause.id == "closes-port-early"
    assert verdict.cause.advice


def test_a_request_that_was_in_flight_is_lost_as_ever() -> None:
    """By the rule for requests that were accepted."""
    verdict = judge.judge(seen(replace(FIRST, fate=RequestFate.RESET)), SCENARIO)
    assert (verdict.outcome, verdict.findings[0].rule) == (Outcome.LOSSY, "lost-request")
    assert verdict.cause is not None
    assert verdict.cause.id != "closes-port-early"


@pytest.mark.parametrize(
    ("stop_delay_ns", "said"),
    [
        (0, "needs no delay before it closes its port"),
        (3 * NS_PER_S, "a delay of 3 s before the stop signal is enough"),
    ],
)
def test_a_container_that_loses_nothing_is_told_so(stop_delay_ns: int, said: str) -> None:
    """Whether it needs a delay, in a note."""
    verdict = judge.judge(seen(FIRST, LATE, stop_delay_ns=stop_delay_ns), SCENARIO)
    assert verdict.outcome is Outcome.GRACEFUL
    (note,) = [finding for finding in verdict.findings if finding.rule == "serves-while-deregistering"]
    assert said in note.message


AWAY = replace(LATE, status=503, status_before=200)
PRAISE = "serves-while-deregistering"


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("known_by", ["the answer before", "the one in flight"])
def test_a_request_that_is_answered_with_unavailable_is_refused(status: int, known_by: str) -> None:
    """A load balancer passes that on; the container served the same request before the stop."""
    away = replace(AWAY, status=status, status_before=200 if known_by == "the answer before" else None)
    first = (FIRST,) if known_by == "the one in flight" else ()
    verdict = judge.judge(seen(*first, away), SCENARIO)
    assert verdict.outcome is Outcome.LOSSY
    assert f"were lost (answered with {status})" in verdict.reason
    rules = [finding.rule for finding in verdict.findings]
    assert rules[0] == "refused-while-deregistering"
    assert not {"error-answer", PRAISE} & set(rules)
    assert verdict.cause is not None
    assert verdict.cause.id == "closes-port-early"
    assert f"answered with {status}" in wording.requests_line(TrafficRecord((away,)))


@pytest.mark.parametrize(
    "requests",
    [
        (replace(AWAY, status_before=503),),
        (replace(AWAY, status_before=None),),
        (replace(FIRST, client=2), replace(AWAY, status_before=None)),
        (replace(FIRST, status=503, ended_at_ns=-400), AWAY),
    ],
    ids=["as before the stop", "no answer before it", "another client's answer", "one in two before it"],
)
def test_an_error_is_no_evidence_where_the_same_was_not_served_before(requests: tuple[Request, ...]) -> None:
    """Neither of a loss nor of serving on."""
    verdict = judge.judge(seen(*requests), SCENARIO)
    assert (verdict.outcome, verdict.findings[0].rule) == (Outcome.INCONCLUSIVE, "errors-before-stop")
    assert PRAISE not in {finding.rule for finding in verdict.findings}


def test_an_error_to_what_was_in_flight_is_a_warning_as_elsewhere() -> None:
    """It was sent before the stop. So is one that does not say `unavailable`; neither is praised."""
    for failed in (replace(FIRST, status=503, status_before=200), replace(AWAY, status=500)):
        verdict = judge.judge(seen(failed), SCENARIO)
        assert verdict.outcome is Outcome.GRACEFUL
        assert [finding.rule for finding in verdict.findings] == ["error-answer"]
    straight = replace(seen(AWAY), traffic=TrafficRecord((AWAY,), Vantage.CONTAINER_ADDRESS))
    assert judge.judge(straight, SCENARIO).outcome is Outcome.GRACEFUL


def test_only_a_graceful_stop_is_told_that_it_needs_no_delay() -> None:
    """Beside a loss, or where what was not applied makes it inconclusive, that would be heard as a pass."""
    lossy = judge.judge(seen(replace(FIRST, fate=RequestFate.RESET), LATE), SCENARIO)
    left_out = replace(SCENARIO, not_applied=(NotApplied("a limit", "slower", (Outcome.GRACEFUL,)),))
    doubtful = judge.judge(seen(FIRST, LATE), left_out)
    assert (lossy.outcome, doubtful.outcome) == (Outcome.LOSSY, Outcome.INCONCLUSIVE)
    for verdict in (lossy, doubtful):
        assert PRAISE not in {finding.rule for finding in verdict.findings}


def test_what_the_load_balancer_cuts_itself_is_no_loss() -> None:
    """The container was still at work on it when the deregistration delay was over."""
    cut = replace(FIRST, fate=RequestFate.TIMED_OUT, first_byte_at_ns=None, ended_at_ns=10 * NS_PER_S + NS_PER_MS)
    verdict = judge.judge(seen(cut, LATE), SCENARIO)
    assert verdict.outcome is Outcome.GRACEFUL
    assert "deregistration-delay-short" in {finding.rule for finding in verdict.findings}
    assert "unanswered-request" not in {finding.rule for finding in verdict.findings}


def test_a_signal_that_came_late_makes_a_graceful_stop_inconclusive() -> None:
    """The container served while it did not know of the stop; a loss stays one."""

    def late(observation: Observation, by_ns: int) -> Observation:
        record = observation.record
        moved = {EventKind.SIGNAL_SENT, EventKind.EXITED}
        events = tuple(
            replace(event, at_ns=event.at_ns + by_ns) if event.kind in moved else event for event in record.events
        )
        return replace(observation, record=replace(record, events=events))

    for by_ns, outcome in ((0, Outcome.GRACEFUL), (800 * NS_PER_MS, Outcome.INCONCLUSIVE)):
        assert judge.judge(late(seen(FIRST, LATE), by_ns), SCENARIO).outcome is outcome
    after = late(seen(FIRST, LATE, stop_delay_ns=3 * NS_PER_S), 800 * NS_PER_MS)
    assert judge.judge(after, SCENARIO).outcome is Outcome.GRACEFUL
    assert judge.judge(late(seen(FIRST, REFUSED), 800 * NS_PER_MS), SCENARIO).outcome is Outcome.LOSSY


def test_straight_from_a_client_a_refusal_costs_nothing() -> None:
    """As ever; and a record of before load balancers has none."""
    record = seen(FIRST, REFUSED).traffic
    assert record is not None
    assert traffic.lost_requests(record) == (REFUSED,)
    assert traffic.lost_requests(replace(record, routed_by=None)) == ()


# ── Delays to try ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("balancer", "delays_s"),
    [
        (LoadBalancer(2 * NS_PER_S), [1, 2, 3]),
        (LoadBalancer(1500 * NS_PER_MS), [1, 2, 3]),
        (LoadBalancer(200 * NS_PER_MS), [1, 2]),
        (LoadBalancer(2 * NS_PER_S, stop_delay_ns=NS_PER_S), [2, 3]),
        (LoadBalancer(2 * NS_PER_S, stop_delay_ns=5 * NS_PER_S), [3]),
        (LoadBalancer(20 * NS_PER_S), [1, 5, 9, 13, 17, 21]),
    ],
)
def test_delays_are_whole_seconds_up_to_one_more_than_it_sends(balancer: LoadBalancer, delays_s: list[int]) -> None:
    """As a preStop hook sleeps; longer than those that failed."""
    scenario = replace(SCENARIO, load_balancer=balancer)
    bad = seen(FIRST, REFUSED)
    found = remedies.candidates(scenario, TrialResult(bad, judge.judge(bad, scenario)), Configuration((), ("x",), None))
    assert [(item.stop_delay_ns or 0) / NS_PER_S for item in found] == delays_s
    assert {item.kinds for item in found} == {(RemedyKind.STOP_DELAY,)}
    applied = remedies.apply(scenario, found[0], NS_PER_S).load_balancer
    assert applied is not None
    assert applied.stop_delay_ns == found[0].stop_delay_ns
    assert "preStop: {sleep: {seconds: 1}}" in found[0].lines[0].text or delays_s[0] != 1


# ── Real containers ──────────────────────────────────────────────────────────────────────────────────────────────────

SERVER = """
import os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(float(self.path[1:] or 0))
        self.send_response(answers[-1])
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass

class Server(ThreadingHTTPServer):
    daemon_threads = False

def stop(*_):
    answers.append(int(sys.argv[2]))
    threading.Timer(float(sys.argv[1]), server.shutdown).start()

answers = [200]
server = Server(("", 8000), Handler)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
server.serve_forever()
server.server_close()
"""
"""Serves on for as many seconds as it is told, with the status that it is told, closes its port, finishes what it
accepted. GET /1.5 takes so long."""


def stopped(
    tmp_path: Path, serves_s: float, path: str, more: str = "", *, status: int = 200, try_fixes: bool = False
) -> Report:
    """What became of it behind a load balancer that sends for 2 s."""
    command = json.dumps(["python3", "-u", "-c", SERVER, str(serves_s), str(status)])
    text = (
        "version: 1\nname: server\n"
        f"subject: {{build: {json.dumps(str(ROOT / 'scenarios' / 'images' / 'web'))}, command: {command}}}\n"
        "ready: {log: ready, tcp: 8000}\n"
        f"traffic: {{through: load_balancer, propagation: 2s{more}, http: {{port: 8000, path: {path}, clients: 2}}}}\n"
        "stop: {timeouts: 20s}\n"
    )
    scenario = scenario_file.parse(text, str(tmp_path / "server.yaml"))
    request = RunRequest((scenario,), "server", None, engine="docker", try_fixes=try_fixes)
    return pipeline.run(request, Silence(), Interruption()).report


def came_late(result: TrialResult) -> bool:
    """Whether a busy engine sent the signal so late that nothing can be said of a stop without a loss."""
    late = "this was not the planned moment" in result.verdict.reason
    assert not late or result.verdict.outcome is Outcome.INCONCLUSIVE
    return late


@pytest.mark.docker
@pytest.mark.parametrize("path", ["/", "/1.5"])
def test_a_server_that_closes_its_port_at_once_loses_what_is_still_sent(tmp_path: Path, path: str) -> None:
    """Also where every client waits for an answer that takes most of the propagation; what it accepted is answered."""
    (result,) = stopped(tmp_path, 0, path).results
    assert result.verdict.outcome is Outcome.LOSSY, result.verdict.reason
    assert "refused-while-deregistering" in {finding.rule for finding in result.verdict.findings}
    assert RequestFate.REFUSED in {request.fate for request in result.observation.requests}


@pytest.mark.docker
@pytest.mark.parametrize("path", ["/", pytest.param("/1.5", marks=pytest.mark.long)])
def test_a_server_that_serves_on_for_longer_than_the_load_balancer_sends_loses_nothing(
    tmp_path: Path, path: str
) -> None:
    """4 s against 2 s: no moment of this machine makes it close too early."""
    (result,) = stopped(tmp_path, 4, path).results
    if came_late(result):
        return
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    rules = {finding.rule for finding in result.verdict.findings}
    assert "serves-while-deregistering" in rules
    assert any((request.connected_at_ns or 0) > NS_PER_S for request in result.observation.requests)


@pytest.mark.docker
def test_a_server_that_serves_on_with_nothing_but_503_loses_what_is_still_sent(tmp_path: Path) -> None:
    """4 s against 2 s: the port stays open, and nobody is served."""
    (result,) = stopped(tmp_path, 4, "/", status=503).results
    assert result.verdict.outcome is Outcome.LOSSY, result.verdict.reason
    assert "answered with 503" in result.verdict.reason
    rules = {finding.rule for finding in result.verdict.findings}
    assert "refused-while-deregistering" in rules
    assert PRAISE not in rules


@pytest.mark.docker
@pytest.mark.long
def test_a_request_longer_than_the_deregistration_delay_is_cut_by_the_load_balancer(tmp_path: Path) -> None:
    """Which is said of the delay, and no loss of a container that would have answered."""
    (result,) = stopped(tmp_path, 4, "/7", ", deregistration_delay: 3s").results
    if came_late(result):
        return
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    assert "deregistration-delay-short" in {finding.rule for finding in result.verdict.findings}
    assert "cut by the load balancer" in {request.detail[:24] for request in result.observation.requests}


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.alone  # beside others a look may come too late, and then nothing is proved
def test_the_shortest_delay_that_loses_nothing_is_found(tmp_path: Path) -> None:
    """1 s is too short for a server that closes its port at once, 3 s are enough; the shortest is named first."""
    report = stopped(tmp_path, 0, "/", try_fixes=True)
    effects = {item.remedy.id: item.effect for item in report.remedies}
    assert effects["stop-delay-1s"] is RemedyEffect.LOSES_WORK
    assert effects["stop-delay-3s"] is RemedyEffect.CURES
    (section,) = remedy_text.sections(report)
    first = section.remedies[0]
    assert first.effect is RemedyEffect.CURES
    cures = [item.remedy.stop_delay_ns for item in report.remedies if item.effect is RemedyEffect.CURES]
    assert report.remedies[0].remedy.stop_delay_ns == min(cures, key=lambda value: value or 0)
    assert report.remedies[0].note.startswith("the shortest of 3 that were tried")


@pytest.mark.docker
def test_a_stop_delay_of_the_scenario_delays_the_stop_signal_itself(tmp_path: Path) -> None:
    """Longer than the load balancer sends: nothing is refused, and all of it was answered before the signal."""
    (result,) = stopped(tmp_path, 0, "/", ", stop_delay: 3s").results
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    record = result.observation.traffic
    assert record is not None
    assert record.routed_by is not None
    assert record.routed_by.deregistered_at_ns <= -3 * NS_PER_S
    assert {request.fate for request in record.requests} == {RequestFate.COMPLETED}
    assert max(request.connected_at_ns or 0 for request in record.requests) < 0
