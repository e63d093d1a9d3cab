"""Reports of whole tasks: the same facts in every format, in the order of the stop, within their widths."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import jsonschema
import pytest
from rich.cells import cell_len

from stop_harness.model import NS_PER_S, Group, GroupKind, HookRecord, Member, Outcome, Report, Role, Status, Subject
from stop_harness.renderers import csv_table, html, junit, markdown, sarif, terminal
from stop_harness.renderers.plots import plots
from stop_harness.renderers.results import results_json
from stop_harness.renderers.sections import statistics_text
from stop_harness.wording import expectation_headline, headline, sentence
from tests.test_task_stop import container, ended, observed, reported, scenario_of

ROUTER = "a-log-router-with-a-name-that-is-much-longer-than-any-column-of-a-terminal"


@pytest.fixture(scope="module")
def made() -> Report:
    """An init container, a slow app, a killed proxy, a router with a long name; stopped twice."""
    records = (
        container(ROUTER, 5.1, 1.2, 143, essential=False, timeout_s=90, waits_for=("proxy",)),
        container("proxy", 3, killed=True, timeout_s=2, essential=False, waits_for=("app",)),
        container("app", 0, 3, timeout_s=60),
        ended("migrate", 0, essential=False),
    )
    first = observed(*records)
    return reported(scenario_of(*records), first, replace(first, trial_id="web@2m#2", repetition=2))


def rows(text: str) -> list[str]:
    """Names of containers in the order of their first lines."""
    places = {name: text.find(name) for name in ("migrate", "app ", "proxy ", ROUTER[:14])}
    assert -1 not in places.values(), text
    return sorted(places, key=places.__getitem__)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_a_task_fits_the_terminal(made: Report, width: int, unicode: bool) -> None:
    """Long names are cut, never the line's end; without Unicode nothing but ASCII."""
    for show in (terminal.check_verdict, terminal.summary):
        text = show(made, width=width, colour=False, unicode=unicode)
        assert [line for line in text.splitlines() if cell_len(line) > width] == []
        if not unicode:
            assert text.isascii(), set(text) - set(map(chr, range(128)))


def test_the_terminal_shows_the_containers_in_the_order_of_the_stop(made: Report) -> None:
    """With times, shares and ends; the chain and what to mend first below them."""
    text = terminal.check_verdict(made, width=80, colour=False, unicode=True)
    table = text[text.index("  container") :]
    assert rows(table) == ["migrate", "app ", "proxy ", ROUTER[:14]]
    assert re.search(r"app +0 s +3\.0 s +48% +60 s +graceful, exit code 0", table)
    assert re.search(r"proxy +3\.0 s +2\.0 s +32% +2 s +killed, SIGKILL observe", table)
    assert "fix first  proxy: 32% of the whole stop (2.0 s)." in text
    chain = f"app, then proxy, then {ROUTER}: may take up to 152 s, longer than the two minutes of a Spot notice."
    assert "".join(chain.split()) in "".join(text.split())
    assert "[chain-exceeds-limit]" in text


def test_the_mark_of_what_to_mend_first_is_never_cut(made: Report) -> None:
    """A long name and the words of an end give way to it."""
    for width in (60, 80):
        assert re.search(r"proxy .* ← fix first\n", terminal.check_verdict(made, width=width)), width


def test_colour_changes_nothing_but_colour(made: Report) -> None:
    """The same characters."""
    plain = terminal.check_verdict(made, width=80, colour=False, unicode=True)
    coloured = terminal.check_verdict(made, width=80, colour=True, unicode=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_markdown_has_one_row_a_container(made: Report) -> None:
    """In the order of the stop, under the same columns."""
    text = markdown.render(made)
    table = text[text.index("| Container |") :].split("\n\n")[0].splitlines()
    assert len({line.count(" | ") for line in table}) == 1
    names = [line.split("|")[1].strip().strip("*") for line in table[2:]]
    assert names == ["migrate", "app", "proxy", ROUTER]
    assert "**proxy**" in table[4]
    assert "Each container's own stop timeout: 3 containers in 6.3 s (the longest of 2 stops)." in text
    assert "chain-exceeds-limit" in text


def test_the_page_draws_when_each_container_stopped(made: Report) -> None:
    """A bar each, begun where its signal was sent; none for one that had ended before."""
    page = html.render(made, {})
    section = page[page.index("Tasks, container by container") :]
    section = section[: section.index("</table>")]
    names = ["migrate", "app", "proxy", ROUTER]
    places = [section.index(f">{name}") for name in names]
    assert places == sorted(places)
    bars = [
        (float(x), float(width)) for x, width in re.findall(r'<rect[^>]*x="([0-9.]+)"[^>]*width="([0-9.]+)"', section)
    ]
    bars = bars or [
        (float(x), float(width)) for x, width in re.findall(r"left: ?([0-9.]+)%; ?width: ?([0-9.]+)%", section)
    ]
    drawn = [bar for bar in bars if bar[1] < 100]
    assert [round(begin) for begin, _ in drawn] == [0, 48, 81]
    assert [round(length) for _, length in drawn] == [48, 32, 19]
    assert section.count("fix first") == 1


def test_the_json_document_is_valid_against_its_schema(made: Report) -> None:
    """With every container of every stop, and what the definition shows."""
    document = json.loads(results_json.render(made))
    jsonschema.validate(document, results_json.schema())
    assert [task["trial_id"] for task in document["tasks"]] == ["web@2m#1", "web@2m#2"]
    task = document["tasks"][0]
    assert [item["name"] for item in task["containers"]] == ["migrate", "app", "proxy", ROUTER]
    assert [item["outcome"] for item in task["containers"]] == [None, "graceful", "killed", "graceful"]
    assert (task["total_s"], task["worst_case_s"], task["limit_s"]) == (6.3, 152.0, 120.0)
    assert task["fix_first"] == "proxy"
    assert [item["rule"] for item in document["static_findings"]] == ["chain-exceeds-limit"]


def test_every_other_format_takes_a_task_too(made: Report) -> None:
    """A case a trial, a row a trial, a finding a stop."""
    assert junit.render(made).count("<testcase") == 2
    assert len(csv_table.render(made).splitlines()) == 3
    assert "proxy" in sarif.render(made)


def test_no_format_gives_a_stop_timeout_that_no_container_had(made: Report) -> None:
    """Where each container has its own, the longest that all can take is no stop timeout: nobody wrote it down."""
    own = "each container's own stop timeout"
    assert f"web, {own}: " in terminal.trial_line(made.results[0])
    text = junit.render(made)
    assert f'name="{own}, repetition 1"' in text
    assert "stop timeout 120 s" not in text + sarif.render(made) + markdown.render(made)
    assert "stop_timeout_s" not in text
    pictures = "".join(plots.render_all(made).values())
    assert ">each its own<" in pictures
    assert ">120 s<" not in pictures
    assert {row.graceful[0][0] for row in statistics_text.rows(made)} == {"each its own"}


def test_what_machines_read_says_that_each_container_had_its_own(made: Report) -> None:
    """The time that all can take stays where it was, as documented, and is told from a stop timeout."""
    document = json.loads(results_json.render(made))
    assert {(item["stop_timeout_s"], item["own_stop_timeouts"]) for item in document["trials"]} == {(120.0, True)}
    assert document["scenarios"][0]["own_stop_timeouts"]
    (row, _) = csv.DictReader(io.StringIO(csv_table.render(made)))
    assert (row["stop_timeout_s"], row["own_stop_timeouts"]) == ("120.0", "True")
    (summary,) = csv.DictReader(io.StringIO(csv_table.render_summary(made)))
    assert summary["own_stop_timeouts"] == "True"


def test_a_task_that_nobody_timed_says_so_everywhere() -> None:
    """No number is made up."""
    records = (container("app", took_s=None), container("bad", took_s=None, code=1))
    report = reported(scenario_of(*records), observed(*records))
    text = terminal.check_verdict(report, width=80, colour=False, unicode=True)
    assert re.search(r"bad +– +– +– +30 s +crashed, exit code 1", text)
    assert "fix first  bad: it was not stopped gracefully." in text
    assert "in an unknown time" in markdown.render(report)
    jsonschema.validate(json.loads(results_json.render(report)), results_json.schema())
    html.render(report, {})


def grouped(kind: GroupKind) -> Report:
    """Four containers of a group, one of them an init container and one a sidecar where it is a pod."""
    roles = {"migrate": Role.INIT, "mesh": Role.SIDECAR} if kind is GroupKind.POD else {}
    records = (
        container("app", 0, 3),
        container("mesh", 3, 1, essential="mesh" not in roles),
        container("deaf", 3, 0.01, 1),
        ended("migrate", essential="migrate" not in roles),
    )
    members = tuple(Member(item.name, Subject(image="i"), roles.get(item.name, Role.MAIN)) for item in records)
    scenario = replace(scenario_of(*records), subject=Subject(group=Group(kind, "web", members)))
    seen = observed(*records)
    assert seen.task is not None
    grace_ns = 30 * 10**9 if kind is GroupKind.POD else None
    return reported(scenario, replace(seen, task=replace(seen.task, arn="", group=kind, grace_ns=grace_ns)))


def shown(report: Report) -> dict[str, str]:
    """Everything that a person reads."""
    return {
        "check": terminal.check_verdict(report, width=80),
        "summary": terminal.summary(report, width=80),
        "markdown": markdown.render(report),
        "html": re.sub(r"<(script|style).*?</\1>", "", html.render(report, {}), flags=re.DOTALL),
    }


def test_a_pod_is_reported_in_the_words_of_kubernetes() -> None:
    """Its owner asks for its grace period, and not for the 30 s of Amazon ECS or what is essential there."""
    formats = shown(grouped(GroupKind.POD))
    for name, text in formats.items():
        assert re.search(r"Amazon ECS default|not essential|\bTask|other platforms", text) is None, name
    for name in ("summary", "markdown", "html"):
        assert "The stop was not graceful within the grace period of 120 s." in formats[name], name
    assert "### Pod web" in formats["markdown"]
    assert "Pods, container by container" in formats["html"]
    assert ">init container<" in formats["html"]
    assert ">sidecar<" in formats["html"]


def test_no_line_of_amazon_ecs_is_drawn_for_pods() -> None:
    """Their deadline is their own grace period."""
    report = grouped(GroupKind.POD)
    one = replace(
        report,
        results=tuple(replace(it, observation=replace(it.observation, own_timeouts=False)) for it in report.results),
    )
    for name, picture in plots.render_all(one).items():
        assert "Amazon ECS" not in picture, name
    assert any("Amazon ECS" in picture for picture in plots.render_all(grouped(GroupKind.COMPOSE)).values())


def test_hooks_of_a_service_stopped_alone_are_shown() -> None:
    """In the page and in results.json; those of a whole group stand beside its containers."""
    report = reported(scenario_of(container("web")), observed(container("web")))
    (result,) = report.results
    hooks = (HookRecord("drain --now", NS_PER_S), HookRecord("tell", NS_PER_S, "it exited with code 1"))
    seen = replace(result.observation, record=replace(result.observation.record, hooks=hooks))
    shown = replace(report, results=(replace(result, observation=seen),))
    assert "ran `drain --now` (1.0 s)." in html.render(shown, {})
    found = json.loads(results_json.render(shown))["trials"][0]["hooks"]
    assert [(item["command"], item["took_s"], item["reason"]) for item in found] == [
        ("drain --now", 1.0, ""),
        ("tell", 1.0, "it exited with code 1"),
    ]


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ("pass", "The trial met its expectation."),
        ("fail", "The trial did not meet its expectation."),
        ("inconclusive", "The trial was inconclusive."),
        ("fail inconclusive", "None of 2 trials met its expectation; 1 failed, 1 was inconclusive."),
        ("pass fail", "1 of 2 trials met its expectation; 1 failed."),
        ("pass pass", "All 2 trials met their expectation."),
    ],
)
def test_how_many_trials_were_as_expected_is_a_sentence(statuses: str, said: str) -> None:
    """Of one as of many."""
    report = grouped(GroupKind.POD)
    (result,) = report.results
    found = [replace(result, verdict=replace(result.verdict, status=Status(word))) for word in statuses.split()]
    assert expectation_headline(replace(report, results=tuple(found))) == said


def test_a_project_is_called_one_and_is_held_against_ecs() -> None:
    """Compose files are brought to ECS, so the 30 s remain."""
    formats = shown(grouped(GroupKind.COMPOSE))
    assert "### Project web" in formats["markdown"]
    assert "Projects, container by container" in formats["html"]
    assert all("Amazon ECS" in text for text in formats.values())


def test_what_is_proved_of_each_container_of_a_group_is_proved() -> None:
    """Lost processes are on record of the containers, and the record of the whole has none of its own."""
    page = html.render(grouped(GroupKind.COMPOSE), {})
    assert "It sees processes that are killed silently" in page
    assert "It does not see processes" not in page


def test_a_share_below_one_percent_is_no_advice() -> None:
    """A container that crashed at once is bad for how it ended, not for its time."""
    assert "Fix first: deaf: it was not stopped gracefully." in markdown.render(grouped(GroupKind.COMPOSE))


@pytest.mark.parametrize(
    ("fragment", "written"),
    [
        ("exited with code 0", "Exited with code 0."),
        ("app: still running", "app: still running."),
        ("container db has to be healthy", "Container db has to be healthy."),
        ("", ""),
        ("unix:///run/docker.sock: no answer", "unix:///run/docker.sock: no answer."),
    ],
)
def test_a_name_begins_a_sentence_as_it_is_written(fragment: str, written: str) -> None:
    """`App` is the name of nobody where the container is called `app`."""
    assert sentence(fragment) == written


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ("graceful", "The stop was graceful within the grace period of 120 s."),
        ("inconclusive", "Whether the stop was graceful within the grace period of 120 s is inconclusive."),
        ("graceful graceful", "All 2 stops were graceful within the grace period of 120 s."),
        ("killed inconclusive", "None of 2 stops was graceful within the grace period of 120 s; 1 was not, 1 was inc"),
        ("graceful graceful crashed", "2 of 3 stops were graceful within the grace period of 120 s; 1 was not."),
    ],
)
def test_pods_are_held_against_their_grace_period_first(outcomes: str, said: str) -> None:
    """In a sentence; nothing that is not known counts as a stop that was not graceful."""
    report = grouped(GroupKind.POD)
    (result,) = report.results
    found = [replace(result, verdict=replace(result.verdict, outcome=Outcome(word))) for word in outcomes.split()]
    assert headline(replace(report, results=tuple(found))).startswith(said)
