"""Cures for projects, pods and tasks: one container is changed, and the lines are those of the user's own file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.ecs import task_definition
from stop_harness.evidence import exec_form
from stop_harness.experiments import bad_stop, effects, paste, place
from stop_harness.experiments.bad_stop import BadStop
from stop_harness.model import (
    NS_PER_S,
    Cause,
    Configuration,
    ContainerRecord,
    Form,
    Group,
    GroupKind,
    Looks,
    Member,
    Outcome,
    ProcessInfo,
    Remedy,
    RemedyEffect,
    RemedyKind,
    RemedyTrial,
    Report,
    RequestFate,
    Scenario,
    StopPlan,
    Subject,
    TrafficRecord,
    TrialResult,
    Vantage,
)
from stop_harness.renderers import terminal
from stop_harness.trial.perform import Interruption
from stop_harness.verdict import advice, judge
from tests.group_support import pod, project, scenario, service, subject
from tests.silence import Silence
from tests.test_task_stop import container, observed, request, scenario_of

EXEC = Remedy("exec-form", (RemedyKind.EXEC_FORM,), "exec form", entrypoint=("app", "-x"))
LONGER = Remedy("stop-timeout-20s", (RemedyKind.STOP_TIMEOUT,), "", stop_timeout_ns=20 * NS_PER_S)
INIT = Remedy("init", (RemedyKind.INIT,), "an init as PID 1", init=True)
QUIT = Remedy("stop-signal-SIGQUIT", (RemedyKind.STOP_SIGNAL,), "", stop_signal="SIGQUIT")


def group(kind: GroupKind) -> Scenario:
    """Two containers, each with 5 s, or a pod with 5 s for both."""
    members = tuple(Member(name, Subject(image="i"), stop_timeout_ns=5 * NS_PER_S) for name in ("web", "db"))
    made = Group(kind, "shop", members, grace_ns=5 * NS_PER_S)
    return Scenario("shop", Subject(group=made), stop=StopPlan((8 * NS_PER_S,), own_timeouts=True))


def task() -> Scenario:
    """The same as a task."""
    document = {
        "family": "shop",
        "containerDefinitions": [{"name": name, "image": "i", "stopTimeout": 5} for name in ("web", "db")],
    }
    found = task_definition.parse(json.dumps(document), "task.json")
    return Scenario(
        "shop", Subject(task_file="task.json", task=found), stop=StopPlan((5 * NS_PER_S,), own_timeouts=True)
    )


def member(made: Scenario, name: str) -> Member:
    """Of a group."""
    assert made.subject.group is not None
    return made.subject.group.member(name)


def test_one_container_of_a_project_is_changed() -> None:
    """Its words, its init, its stop signal, its own stop timeout; the other stays as it is."""
    before = group(GroupKind.COMPOSE)
    for remedy in (EXEC, LONGER, INIT, QUIT):
        made = place.changed(before, "web", remedy)
        assert member(made, "db") == member(before, "db")
    assert member(place.changed(before, "web", EXEC), "web").subject.entrypoint == ("app", "-x")
    assert member(place.changed(before, "web", INIT), "web").subject.init
    assert member(place.changed(before, "web", QUIT), "web").stop_signal == "SIGQUIT"
    longer = place.changed(before, "web", LONGER)
    assert member(longer, "web").stop_timeout_ns == 20 * NS_PER_S
    assert longer.stop.timeouts_ns == (23 * NS_PER_S,)


def test_a_longer_stop_of_a_pod_is_its_grace_period() -> None:
    """Which is one for all."""
    made = place.changed(group(GroupKind.POD), "web", LONGER)
    assert made.stop.timeouts_ns == (20 * NS_PER_S,)
    assert place.limit_title(made, 20 * NS_PER_S) == "a grace period of 20s"


def test_one_container_of_a_task_is_changed_in_its_definition() -> None:
    """Which is registered again, and whose longest chain is the time that all can take."""
    for remedy, members in (
        (EXEC, {"entryPoint": ["app", "-x"], "command": []}),
        (INIT, {"linuxParameters": {"initProcessEnabled": True}}),
        (LONGER, {"stopTimeout": 20}),
    ):
        made = place.changed(task(), "web", remedy)
        assert made.subject.task is not None
        web, db = json.loads(made.subject.task.document)["containerDefinitions"]
        assert members.items() <= web.items()
        assert db == {"name": "db", "image": "i", "stopTimeout": 5}
    assert place.changed(task(), "web", LONGER).stop.timeouts_ns == (20 * NS_PER_S,)
    assert place.has_init(place.changed(task(), "web", INIT), "web")


@pytest.mark.parametrize(
    ("made", "left_out"),
    [(group(GroupKind.COMPOSE), set()), (group(GroupKind.POD), {"init"}), (task(), {"stop_signal"})],
)
def test_what_the_form_has_no_key_for_is_not_tried(made: Scenario, left_out: set[str]) -> None:
    """A pod has no init, a task no stop signal."""
    assert {kind.value for kind in RemedyKind if not place.can_be_made(kind, made, "web")} == left_out


@pytest.mark.parametrize(
    ("form", "remedy", "lines"),
    [
        (Form.KUBERNETES, EXEC, [("Kubernetes", 'command: ["app", "-x"]\nargs: []')]),
        (Form.KUBERNETES, LONGER, [("Kubernetes", "terminationGracePeriodSeconds: 20")]),
        (Form.COMPOSE, EXEC, [("Compose", 'entrypoint: ["app", "-x"]\ncommand: []')]),
        (Form.COMPOSE, INIT, [("Compose", "init: true")]),
        (Form.COMPOSE, LONGER, [("Compose", "stop_grace_period: 20s")]),
        (Form.TASK, EXEC, [("ECS task definition", '"entryPoint": ["app", "-x"],\n"command": []')]),
        (Form.TASK, INIT, [("ECS task definition", '"linuxParameters": {"initProcessEnabled": true}')]),
    ],
)
def test_lines_are_for_the_file_that_the_user_has(form: Form, remedy: Remedy, lines: list[tuple[str, str]]) -> None:
    """And for no other."""
    found = paste.lines(remedy, Configuration((), ("serve",)), form)
    assert [(line.place, line.text) for line in found] == lines


def test_a_new_entry_point_of_a_task_takes_away_the_command_beside_it() -> None:
    """Also where the definition has no `entryPoint`, so that the command line that was seen stands for it."""
    (line,) = paste.lines(EXEC, Configuration(("sh", "-c", "app -x; echo over"), ()), Form.TASK)
    assert line.text == '"entryPoint": ["app", "-x"],\n"command": []'


def test_a_command_that_is_not_there_is_not_taken_away() -> None:
    """No empty list where there is nothing to replace."""
    (line,) = paste.lines(EXEC, Configuration(("/bin/sh", "-c", "app")), Form.KUBERNETES)
    assert line.text == 'command: ["app", "-x"]'


# ── Whom to mend ─────────────────────────────────────────────────────────────────────────────────────────────────────

BAD, GOOD = container("bad", killed=True, timeout_s=5), container("good")


def stop_of(*records: ContainerRecord, container: str | None = "bad") -> BadStop:
    """A stop of a task with these containers, as bad."""
    seen, made = observed(*records), scenario_of(*records)
    result = TrialResult(seen, judge.judge(seen, made))
    return BadStop.of(result, made, (result,), container)


def test_every_container_that_was_stopped_badly_is_to_be_mended() -> None:
    """And no other; where only the requests of the whole were lost, nobody knows which."""
    worse = container("worse", killed=True, timeout_s=5)
    assert bad_stop.containers_to_mend(stop_of(BAD, worse, GOOD).whole) == ("bad", "worse")
    seen = observed(GOOD, traffic=TrafficRecord((request(RequestFate.RESET),), Vantage.PUBLISHED_PORT))
    lost = TrialResult(seen, judge.judge(seen, scenario_of(GOOD)))
    assert lost.verdict.outcome is Outcome.LOSSY
    assert bad_stop.containers_to_mend(lost) == ()


def tried(*records: ContainerRecord) -> RemedyTrial:
    """The same with an init."""
    remedy = replace(INIT, kinds=(RemedyKind.INIT,))
    return RemedyTrial("web", "web@2m#1", remedy, observed(*records), container="bad")


def test_a_container_is_cured_though_another_is_not() -> None:
    """One thing after the other; whoever is stopped worse than before by it makes it no cure."""
    other = container("other", killed=True, timeout_s=5)
    mended = container("bad")
    before = stop_of(BAD, other, GOOD)
    found = effects.judged(tried(mended, other, GOOD), before)
    assert (found.effect, found.container) == (RemedyEffect.CURES, "bad")
    assert found.result.observation.trial_id == "web@2m#1/bad"
    now_killed = container("good", killed=True, timeout_s=5)
    harmed = effects.judged(tried(mended, other, now_killed), before)
    assert (harmed.effect, harmed.note) == (RemedyEffect.HELPS, "good, which was graceful before, was killed")
    assert effects.judged(tried(BAD, other, GOOD), before).effect is RemedyEffect.FAILS


def test_requests_that_the_whole_lost_are_no_cure() -> None:
    """Although every container then left as it should."""
    whole = tried(container("bad"), GOOD)
    lost = TrafficRecord((request(RequestFate.RESET),), Vantage.PUBLISHED_PORT)
    seen = replace(whole.observation, traffic=lost)
    found = effects.judged(replace(whole, observation=seen), stop_of(BAD, GOOD))
    assert found.effect is RemedyEffect.LOSES_WORK
    assert "requests were lost" in found.result.verdict.reason


# ── The real command line ────────────────────────────────────────────────────────────────────────────────────────────


def two(first: str, below: str) -> tuple[ProcessInfo, ...]:
    """PID 1 and its only child."""
    return ProcessInfo(1, 0, first, 0, 0, 0), ProcessInfo(7, 1, below, 0, 0, 0)


@pytest.mark.parametrize(
    ("line", "below", "words", "with_exec"),
    [
        ("sh -c app -x; echo done", "app -x", ("app", "-x"), None),
        ("sh -c cd /srv && app 'a b'", "app a b", ("app", "a b"), "cd /srv && exec app 'a b'"),
        ("sh /start.sh", "app -x", ("app", "-x"), None),
    ],
)
def test_the_program_of_a_shell_is_known_by_its_words(
    line: str, below: str, words: tuple[str, ...], with_exec: str | None
) -> None:
    """With the quotes that the line has."""
    assert exec_form.started(two(line, below), None) == (words, with_exec)


def test_a_table_that_goes_round_in_circles_ends() -> None:
    """It is read while processes come and go, so two of them may seem to be each other's parent."""
    rows = [("sh /start.sh", 1, 0), ("a", 7, 1), ("b", 8, 7), ("a", 7, 8)]
    processes = tuple(ProcessInfo(pid, parent, command, 0, 0, 0) for command, pid, parent in rows)
    assert exec_form.started(processes, 15) == (("a",), None)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (Form.IMAGE, 'CMD ["app", "-x"]'),
        (Form.COMPOSE, 'entrypoint: ["app", "-x"]  # and no command'),
        (Form.KUBERNETES, 'command: ["app", "-x"]  # and no args'),
        (Form.TASK, '"entryPoint": ["app", "-x"], "command": []'),
    ],
)
def test_advice_has_the_real_command_line_in_the_user_s_form(form: Form, said: str) -> None:
    """In the place of `CMD ["program", "argument"]`."""
    before = two("sh -c app -x; echo done", "app -x")
    seen = replace(observed(GOOD), task=None, looks=Looks(before=before))
    first, *_ = advice.advice(Cause("shell-not-forwarding", ""), seen, None, form)
    assert first.lines == said
    unseen = replace(seen, looks=Looks())
    assert '["program"' not in advice.advice(Cause("shell-not-forwarding", ""), unseen, None, form)[0].lines.replace(
        'CMD ["program", "argument"]', ""
    )


# ── On a real engine ─────────────────────────────────────────────────────────────────────────────────────────────────

LINE = (
    "python3 -u -c 'import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); "
    "print(1, flush=True); time.sleep(1000)'; echo done"
)


def searched(whole: Scenario) -> Report:
    """Its report, with changes tried."""
    wanted = RunRequest((whole,), "test", None, engine="docker", try_fixes=True)
    return pipeline.run(wanted, Silence(), Interruption()).report


@pytest.mark.docker
@pytest.mark.parametrize("kind", [GroupKind.COMPOSE, pytest.param(GroupKind.POD, marks=pytest.mark.long)])
def test_a_cure_is_found_in_the_whole_group(kind: GroupKind) -> None:
    """A shell above the program of one of two containers: exec form cures that one, and says so by its name."""
    web, db = replace(subject(), entrypoint=("/bin/sh", "-c"), command=(LINE,)), subject()
    if kind is GroupKind.POD:
        whole = scenario(pod(Member("web", web), Member("db", db), grace_s=2), timeout_s=2)
    else:
        whole = scenario(project(service("web", web, stop_timeout_ns=2 * NS_PER_S), service("db", db)), own=True)
    report = searched(whole)
    assert {item.container for item in report.remedies} == {"web"}
    cures = [item for item in report.remedies if item.effect is RemedyEffect.CURES]
    assert [item.remedy.kinds for item in cures] == [(RemedyKind.EXEC_FORM,)], [
        (item.remedy.id, item.effect, item.note, item.result.verdict.reason) for item in report.remedies
    ]
    assert {line.place for line in cures[0].remedy.lines} == {"Kubernetes" if kind is GroupKind.POD else "Compose"}
    text = terminal.check_verdict(report, width=80)
    assert "\nweb: 1 of " in text
