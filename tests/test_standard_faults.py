"""Standard faults: every scenario beside its copies, what does not apply, and what the report says of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness.cli.main import cli
from stop_harness.errors import UsageError
from stop_harness.model import (
    BEFORE_FAULT,
    NS_PER_MS,
    NS_PER_S,
    ComplianceStatus,
    ContainerSettings,
    Dependency,
    Expectation,
    Fault,
    FaultAction,
    FaultKind,
    FaultMoment,
    FaultRecord,
    Group,
    GroupKind,
    Member,
    Mount,
    MountKind,
    Outcome,
    Report,
    Role,
    Scenario,
    SkippedScenario,
    StartCondition,
    StopPlan,
    StoredRun,
    Subject,
    Twin,
    Waiver,
    When,
)
from stop_harness.plan import trials
from stop_harness.renderers import csv_table, html, junit, markdown, sarif, terminal
from stop_harness.renderers.results import results_json
from stop_harness.report import build, tables
from stop_harness.scenario import plain, standard_faults
from stop_harness.scenario.standard_faults import STANDARD_FAULTS, beside_faults
from stop_harness.verdict import waivers
from tests import reports_factory as factory
from tests.reports_factory import Sample
from tests.strategies import scenarios

NAMES = tuple(item.name for item in STANDARD_FAULTS)
TMPFS = ContainerSettings(mounts=(Mount(MountKind.TMPFS, "/data", options="size=1m"),))


def group(stopped: str | None, kind: GroupKind = GroupKind.COMPOSE) -> Subject:
    """web needs db and, before it starts, a migration; a mailer stands beside them, and nobody waits for it."""
    one = Subject(image="a")
    web = Member("web", one, waits_for=(Dependency("db"), Dependency("migration", StartCondition.COMPLETED)))
    members = (web, Member("db", one), Member("migration", one), Member("mail", one), Member("set-up", one, Role.INIT))
    return Subject(group=Group(kind, "shop", members, stopped=stopped))


# ── the copies ───────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25)
@given(st.lists(scenarios(), max_size=3, unique_by=lambda item: item.name), st.sets(st.sampled_from(NAMES), min_size=1))
def test_each_scenario_is_there_once_and_each_fault_is_tried_or_said_not_to_be(
    given_scenarios: list[Scenario], names: set[str]
) -> None:
    """Nothing is dropped in silence, nothing stands there twice, and the scenarios themselves stay as they were."""
    made = beside_faults(tuple(given_scenarios), f"{standard_faults.SET},{','.join(sorted(names))}")
    assert [item for item in made.scenarios if item.twin is None] == given_scenarios
    every = [item.name for item in made.scenarios] + [item.scenario for item in made.not_tried]
    assert len(set(every)) == len(every)
    twins = [item.twin for item in made.scenarios] + [item.twin for item in made.not_tried]
    told = {(twin.of, twin.fault) for twin in twins if twin}
    for scenario in given_scenarios:
        for name in NAMES:
            assert any(of == scenario.name and fault.startswith(name) for of, fault in told), (scenario.name, name)
    assert all(item.reason and item.by_choice for item in made.not_tried)


@given(scenarios())
def test_a_copy_is_its_scenario_with_one_fault_more(scenario: Scenario) -> None:
    """Whatever else differed would be taken for what the fault did."""
    for copy in beside_faults((scenario,), standard_faults.SET).scenarios[1:]:
        assert copy.twin is not None
        assert (copy.twin.of, copy.twin.name) == (scenario.name, copy.name)
        assert copy.faults[: len(scenario.faults)] == scenario.faults
        assert len(copy.faults) > len(scenario.faults)
        same = replace(copy, name=scenario.name, twin=None, faults=scenario.faults, expectations=scenario.expectations)
        assert same == scenario
        for timeout_ns in scenario.stop.timeouts_ns:
            expected = scenario.expectation_at(timeout_ns)
            under = copy.expectation_at(timeout_ns)
            assert {*expected.outcomes, Outcome.GRACEFUL} <= {*under.outcomes}
            assert replace(under, outcomes=()) == replace(expected, outcomes=())


@settings(max_examples=25)
@given(st.lists(scenarios(), max_size=3, unique_by=lambda item: item.name))
def test_no_trial_of_a_copy_has_the_id_of_another_trial(given_scenarios: list[Scenario]) -> None:
    """Ids name trials in stored runs and shards, and are the same on every machine."""
    given_scenarios = [replace(item, stop=replace(item.stop, after_ns=(0, NS_PER_S))) for item in given_scenarios]
    made = beside_faults(tuple(given_scenarios), standard_faults.SET).scenarios
    planned = trials.expand(made, repeat=1)
    assert len({trial.trial_id for trial in planned.trials}) == len(planned.trials)
    undisturbed = {trial.trial_id for trial in trials.expand(tuple(given_scenarios), repeat=1).trials}
    assert undisturbed <= {trial.trial_id for trial in planned.trials}


def test_no_name_in_a_file_can_be_that_of_a_copy() -> None:
    """What stands between both names is no part of a name."""
    import re

    assert not re.fullmatch(plain.NAME, f"a{BEFORE_FAULT}b")
    assert Twin("web", "paused").name == "web+paused"


def test_a_fault_that_the_scenario_has_already_is_not_tried_beside_it() -> None:
    """Two quotas at once would say nothing about either."""
    own = Fault(FaultKind.CPU, FaultAction.LIMIT, amount=0.5)
    made = beside_faults((Scenario("web", Subject(image="a"), faults=(own,)),), "standard")
    assert "web+cpu-starved" not in {item.name for item in made.scenarios}
    (missing,) = [item for item in made.not_tried if item.scenario == "web+cpu-starved"]
    assert "two faults of `cpu` at the same time" in missing.reason


def test_what_comes_after_the_stop_timeout_is_not_tried() -> None:
    """A second signal 200 ms after the first is none where SIGKILL comes after 100 ms."""
    scenario = Scenario("web", Subject(image="a"), stop=StopPlan((100 * NS_PER_MS,)))
    missing = {item.scenario: item.reason for item in beside_faults((scenario,), "standard").not_tried}
    assert missing["web+second-signal"] == "`signal` at 200ms is not within the stop timeout of 100ms"


def test_a_tmpfs_is_filled_only_where_it_has_a_size() -> None:
    """Anything else would fill the memory or the disk of the machine."""
    with_size, without = Scenario("a", Subject(image="a", settings=TMPFS)), Scenario("b", Subject(image="b"))
    made = beside_faults((with_size, without), "tmpfs-full")
    (copy,) = [item for item in made.scenarios if item.twin is not None]
    assert copy.faults == (Fault(FaultKind.DISK, FaultAction.FULL, target="/data"),)
    assert [item.scenario for item in made.not_tried] == ["b+tmpfs-full"]


@pytest.mark.parametrize(
    ("subject", "gone"),
    [
        (group("web"), ["db", "mail"]),
        (group(None), ["db"]),
        (group(None, GroupKind.POD), ["web", "db", "mail"]),
        (Subject(image="a"), []),
    ],
    ids=["one service", "a whole project", "a pod", "one container"],
)
def test_each_container_that_may_be_needed_goes_once(subject: Subject, gone: list[str]) -> None:
    """But not what has run to its end before the stop, nor the one that is stopped."""
    made = beside_faults((Scenario("a", subject),), "standard")
    found = [item.twin.fault for item in made.scenarios if item.twin and item.twin.fault.startswith("dependency-gone")]
    assert found == [f"dependency-gone-{name}" for name in gone]


def test_of_several_containers_that_are_stopped_together_no_single_one_is_disturbed() -> None:
    """Nobody says in which of them a quota would have to be."""
    missing = {
        item.scenario: item.reason for item in beside_faults((Scenario("a", group(None)),), "standard").not_tried
    }
    assert missing["a+cpu-starved"] == "several containers are stopped together, and it is made in one"


def test_a_stop_that_goes_better_than_expected_is_no_failure_under_a_fault() -> None:
    """A scenario that expects SIGKILL at 2 s is still as expected where a fault lets the container go."""
    expectations = (Expectation((Outcome.KILLED,), stop_timeout_ns=2 * NS_PER_S),)
    scenario = Scenario("a", Subject(image="a"), expectations=expectations)
    copy = beside_faults((scenario,), "paused").scenarios[1]
    assert copy.expectation_at(2 * NS_PER_S).outcomes == (Outcome.KILLED, Outcome.GRACEFUL)
    assert copy.expectation_at(10 * NS_PER_S).outcomes == (Outcome.GRACEFUL,)


def test_a_stored_copy_is_found_again_by_its_twin() -> None:
    """A resumed run and a rerun have only the file, in which the copy does not stand."""
    now = Scenario("shop", group("web")), Scenario("web", Subject(image="a"))
    for copy in beside_faults(now, "standard").scenarios:
        assert standard_faults.as_it_is_now(copy, now) == copy
    gone = replace(now[0], name="shop+unheard-of", twin=Twin("shop", "unheard-of"))
    assert standard_faults.as_it_is_now(gone, now) is None


# ── what is asked for ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("standart", "'standart' is no standard fault; did you mean standard?"),
        ("cpu-starved,second-signals", "'second-signals' is no standard fault; did you mean second-signal?"),
        ("zebra", "'zebra' is no standard fault; allowed: standard, cpu-starved, memory-tight,"),
        ("paused,", "a name is missing; allowed: standard,"),
        ("cpu=0.2@with", "'cpu=0.2@with' is a fault of its own, which `check --fault cpu=0.2@with` and `faults:` of"),
        ("tmpfs-full", "tmpfs-full applies to none of the scenarios: it has no tmpfs with a size"),
    ],
)
def test_a_name_that_is_none_is_refused_with_what_is_meant(asked: str, said: str) -> None:
    """And so is a fault that was named and says nothing about any scenario."""
    with pytest.raises(UsageError) as refused:
        beside_faults((Scenario("a", Subject(image="a")),), asked)
    assert said in str(refused.value)


def test_names_may_stand_in_any_order_and_more_than_once() -> None:
    """The table's order is that of every report."""
    assert [item.name for item in standard_faults.chosen("paused, cpu-starved,paused")] == ["cpu-starved", "paused"]
    assert standard_faults.chosen("standard,paused") == STANDARD_FAULTS


def test_every_standard_fault_is_at_a_moment_that_a_stop_has() -> None:
    """Faults that may come too late say so, and no other does."""
    one = Subject(image="a", settings=TMPFS)
    whole = group("web").with_member(Member("web", one))
    copies = beside_faults((Scenario("a", whole),), "standard").scenarios[1:]
    faults = [item.twin.fault for item in copies if item.twin]
    assert all(any(fault.startswith(name) for fault in faults) for name in NAMES)
    for fault in (fault for copy in copies for fault in copy.faults):
        assert fault.may_miss == (fault.moment.when is When.AFTER)
        assert fault.moment in {FaultMoment(), FaultMoment(When.AFTER), FaultMoment(When.AFTER, 200 * NS_PER_MS)}


def test_the_plan_has_the_stops_under_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before they cost any time."""
    file = tmp_path / "web.yaml"
    file.write_text("version: 1\nname: web\nsubject: {image: a}\nstop: {timeouts: [5s]}\n")
    with pytest.raises(SystemExit, match="0"):
        cli(["plan", str(file), "--faults", "paused,cpu-starved"])
    assert capsys.readouterr().out.split() == ["web@5s#1", "web+cpu-starved@5s#1", "web+paused@5s#1"]


def test_the_page_has_every_standard_fault() -> None:
    """Defined once, and explained where people look."""
    page = (Path(__file__).parent.parent / "docs" / "faults.md").read_text(encoding="utf-8")
    for item in STANDARD_FAULTS:
        assert f"| `{item.name}` | {item.says} | {item.asks} |" in page


# ── what the report says ─────────────────────────────────────────────────────────────────────────────────────────────


def reported() -> Report:
    """Two scenarios: `web` drains in 5 s, needs 9 s on a tenth of a core, and is killed after a second signal; `bad` is
    killed in any case. One fault was over before it came, one not tried."""
    web, bad = Sample("web", "", 5.0), Sample("bad", "", None)
    scenarios, results = [], []
    under = {"cpu-starved": 9.0, "second-signal": None, "paused": 5.0}
    for sample, needs in ((web, under), (bad, dict.fromkeys(under))):
        undisturbed = factory.scenario(replace(sample, timeouts_s=(10,)))
        scenarios.append(undisturbed)
        results.append(factory.trial(sample, 10))
        for fault, needs_s in needs.items():
            twin = Twin(sample.name, fault)
            scenarios.append(replace(undisturbed, name=twin.name, twin=twin))
            results.append(factory.trial(replace(sample, name=twin.name, needs_s=needs_s), 10))
    twin = Twin("web", "tmpfs-full")
    skipped = (SkippedScenario(twin.name, "it has no <tmpfs> with a size", by_choice=True, twin=twin),)
    observations = tuple(item.observation for item in results)
    stored = StoredRun(factory.run_info(), tuple(scenarios), observations, len(results), skipped)
    return build.build(stored, tuple(item.verdict for item in results))


def test_all_but_the_matrix_is_about_undisturbed_stops() -> None:
    """A tenth of a core must make no recommendation longer, and no scenario less compliant."""
    report = reported()
    assert [item.scenario for item in report.compliance] == ["bad", "web"]
    assert [item.name for item in report.scenarios] == ["bad", "web"]
    assert len(report.disturbed) == 6
    assert {item.scenario for item in report.statistics} == {"bad", "web"}
    assert {item.scenario for item in report.claims} <= {"bad", "web"}
    assert {result.observation.scenario for result in report.undisturbed} == {"bad", "web"}
    assert report.skipped == ()


def test_each_fault_is_said_with_what_it_cost_and_broke() -> None:
    """Against the undisturbed stop: four seconds more, a SIGKILL that was none before, and the worst compliance."""
    bad, web = reported().resilience
    cells = {cell.fault: cell for cell in web.faults}
    assert [cell.fault for cell in web.faults] == ["cpu-starved", "paused", "second-signal", "tmpfs-full"]
    assert cells["cpu-starved"].cost_ns == pytest.approx(4 * NS_PER_S, abs=NS_PER_S / 10)
    assert (cells["second-signal"].outcome, cells["second-signal"].cut_off) == (Outcome.KILLED, True)
    assert cells["tmpfs-full"].not_tried == "it has no <tmpfs> with a size"
    assert web.undisturbed.status is ComplianceStatus.COMPLIANT
    assert (web.worst.status, web.worst.scenario) == (ComplianceStatus.INCONCLUSIVE, "web+second-signal")
    assert all(cell.cost_ns is None and not cell.broke for cell in bad.faults)


@pytest.mark.parametrize("render", [html.render, markdown.render, terminal.summary, junit.render, sarif.render])
def test_every_format_has_the_faults_and_what_was_not_tried(render: Callable[[Report], str]) -> None:
    """And none takes names or reasons for markup."""
    text = render(reported())
    assert "cpu-starved" in text
    assert "tmpfs-full" in text
    if render in {html.render, markdown.render, junit.render}:
        assert "<tmpfs>" not in text


def test_results_have_the_matrix_and_name_each_copy() -> None:
    """In the form of the schema, and in each row of the table of trials."""
    report = reported()
    document = json.loads(results_json.render(report))
    jsonschema.Draft202012Validator(results_json.schema()).validate(document)
    web = next(row for row in document["resilience"] if row["scenario"] == "web")
    assert (web["compliance"], web["worst"]["fault"]) == ("compliant", "second-signal")
    copies = {item["name"]: (item["undisturbed"], item["fault"]) for item in document["scenarios"]}
    assert copies["web+paused"] == ("web", "paused")
    assert copies["web"] == (None, None)
    rows = {row.scenario: (row.undisturbed, row.fault) for row in tables.trial_rows(report)}
    assert rows["web+paused"] == ("web", "paused")


def over_before(repetitions: int = 1, *, with_cpu: bool = True) -> Report:
    """`fast` is gone after 0.05 s, also on a tenth of a core: its second signal, 0.2 s later, finds nobody. Only in the
    last of several repetitions it took longer, and got it."""
    twins = [Twin("fast", "cpu-starved")] if with_cpu else []
    twins.append(Twin("fast", "second-signal"))
    late = Fault(FaultKind.SIGNAL, FaultAction.SEND, FaultMoment(When.AFTER, 200 * NS_PER_MS), may_miss=True)
    undisturbed = factory.scenario(Sample("fast", "", 0.05, timeouts_s=(10,)))
    scenarios, results = [undisturbed], [factory.trial(Sample("fast", "", 0.05), 10)]
    for twin in twins:
        scenarios.append(replace(undisturbed, name=twin.name, twin=twin))
        for number in range(1, (repetitions if twin.fault == "second-signal" else 1) + 1):
            met = number > 1 and number == repetitions
            made = factory.trial(Sample(twin.name, "", 0.6 if met else 0.05), 10, number)
            record = FaultRecord(late, begun_ns=210 * NS_PER_MS) if met else FaultRecord(late, problem="it was over")
            records = (record,) if twin.fault == "second-signal" else ()
            results.append(replace(made, observation=replace(made.observation, faults=records)))
    stored = StoredRun(
        factory.run_info(), tuple(scenarios), tuple(item.observation for item in results), trials_planned=len(results)
    )
    return build.build(stored, tuple(item.verdict for item in results))


@pytest.mark.parametrize(
    ("render", "said"),
    [
        (terminal.summary, "over before it: second-signal"),
        (terminal.check_verdict, "over before it: second-signal"),
        (markdown.render, "over before it: second-signal"),
        (html.render, "over before it: second-signal"),
        (junit.render, 'name="over_before_fault" value="1 of 1 stop"'),
        (sarif.render, "over before the fault: fast+second-signal"),
        (csv_table.render, "second-signal,True"),
        (results_json.render, '"stops_over_before": 1'),
    ],
)
def test_what_was_over_before_its_fault_is_said_and_not_counted(render: Callable[[Report], str], said: str) -> None:
    """A stop that never met a second signal is no proof that the container stays compliant under one."""
    text = " ".join(render(over_before()).split())
    assert said in text
    assert "2 stops under standard faults" not in text
    if render is junit.render:
        suite = text.partition('<testsuite name="fast+second-signal"')[2].partition("</testsuite>")[0]
        assert "amazon_ecs_30_s" not in suite
    if render in {terminal.summary, markdown.render, html.render}:
        assert "1 stop under standard faults, and 1 more that was over before theirs" in text
        assert "stays compliant under each that it met." in text


def test_where_no_stop_met_its_fault_nothing_is_said_of_it() -> None:
    """`compliant under each` of none would be true and worth nothing."""
    text = " ".join(terminal.summary(over_before(with_cpu=False)).split())
    assert "1 stop under standard faults, and it was over before its fault." in text
    assert "under each" not in text


def test_of_several_stops_those_that_met_the_fault_say_what_it_cost() -> None:
    """The others were measured without it."""
    (row,) = over_before(repetitions=3).resilience
    cell = next(cell for cell in row.faults if cell.fault == "second-signal")
    assert (cell.stops, cell.missed, cell.too_fast) == (3, 2, False)
    assert cell.cost_ns == pytest.approx(0.55 * NS_PER_S, abs=NS_PER_S / 10)
    text = " ".join(terminal.summary(over_before(repetitions=3)).split())
    assert "over before it: second-signal (2 of 3 stops)" in text
    assert "2 stops under standard faults, and 2 more that were over before theirs" in text


def test_what_the_undisturbed_stop_shows_is_told_once() -> None:
    """A container that is killed in any case is no news under each fault."""
    text = terminal.summary(reported())
    assert "bad+cpu-starved" not in text
    assert "web+second-signal, stop timeout 10 s" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_waiver_of_a_scenario_holds_for_its_copies_and_one_of_a_copy_for_it_alone() -> None:
    """What is known of a container is known under faults, too; not the other way round."""
    waiver = Waiver(reason="known", expires="2027-01-01", place="a:1", scenario="web", outcome=Outcome.KILLED)
    assert waivers.names(waiver, "web+paused")
    assert not waivers.names(waiver, "webb+paused")
    alone = replace(waiver, scenario="web+paused")
    assert [waivers.names(alone, name) for name in ("web", "web+paused", "web+cpu-starved")] == [False, True, False]
