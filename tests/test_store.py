"""The run directory: a journal that survives being cut, read back as it was written, merged without doubt."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness.conductor import shards, store
from stop_harness.conductor.store import FORMAT_VERSION, JOURNAL_FILE, RUN_FILE, RunDirectory, RunFile
from stop_harness.errors import StoreError
from stop_harness.model import (
    NS_PER_S,
    Clock,
    ContainerRecord,
    Derivation,
    Event,
    EventKind,
    LogTail,
    Looks,
    Observation,
    Problem,
    ProblemKind,
    ProcessInfo,
    Request,
    RequestFate,
    RunInfo,
    Scenario,
    SkippedScenario,
    StopRecord,
    StoredRun,
    Subject,
    TaskRecord,
    TrafficKind,
    TrafficRecord,
    TrialResult,
    Vantage,
)
from stop_harness.verdict import judge
from tests.parts import changed
from tests.strategies import DOCKER, scenarios, stops
from tests.test_verdict import observations

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SCENARIO = Scenario("a", Subject(image="a"))
RUN = RunInfo("r", "a", "2026-11-23T12:00:00.000+00:00", DOCKER, "0.1.0", "here", 2, ("stop-harness", "run"))


def result(observation: Observation, number: int) -> TrialResult:
    """An observation under an id of its own, judged."""
    seen = replace(observation, trial_id=f"a@1s#{number}", repetition=number)
    return TrialResult(seen, judge.judge(seen, SCENARIO))


results_lists = st.lists(stops().map(lambda seen: seen.observation), min_size=1, max_size=4).map(
    lambda items: [result(item, number) for number, item in enumerate(items, start=1)]
)


def written(parent: Path, results: list[TrialResult], run: RunInfo = RUN) -> RunDirectory:
    """A run directory with these results."""
    directory = RunDirectory.create(parent, "a", NOW)
    skipped = (SkippedScenario("b", "no images"),)
    directory.write_run(RunFile(FORMAT_VERSION, run, (SCENARIO,), len(results), skipped))
    for item in results:
        directory.append(item)
    return directory


@given(results_lists, st.data())
@settings(max_examples=60)
def test_a_journal_cut_anywhere_gives_a_prefix_of_its_results(
    tmp_path_factory: pytest.TempPathFactory, results: list[TrialResult], data: st.DataObject
) -> None:
    """A crash, a full disk, a kill in the middle of a write: every whole line is still there, nothing else is."""
    directory = written(tmp_path_factory.mktemp("cut"), results)
    journal = directory.path / JOURNAL_FILE
    whole = journal.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    journal.write_bytes(whole[:cut])
    stored, verdicts = store.read(directory.path)
    count = len(stored.observations)
    assert stored.observations == tuple(item.observation for item in results[:count])
    assert verdicts == tuple(item.verdict for item in results[:count])
    assert count >= whole[:cut].count(b"\n")


def test_a_journal_cut_inside_a_letter_is_read(tmp_path: Path) -> None:
    """A log line may hold letters of several bytes; the cut may fall between them."""
    seen = changed(next_observation(), logs=LogTail("grüße 終了\n"))
    directory = written(tmp_path, [result(seen, 1), result(seen, 2)])
    journal = directory.path / JOURNAL_FILE
    whole = journal.read_bytes()
    for cut in range(whole.rindex("ü".encode()), whole.rindex("了".encode()) + 3):
        journal.write_bytes(whole[:cut])
        assert len(store.read(directory.path)[0].observations) == 1


def next_observation() -> Observation:
    """Any observation, the same each time."""
    return Observation("a@1s#1", "a", DOCKER, 1, 0, 1, "2026-11-23T12:00:00+00:00", record=StopRecord(exit_code=0))


@given(observations, st.text(), st.lists(st.text(), max_size=2), st.none() | st.floats(0, 100))
def test_every_observation_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, seen: Observation, text: str, words: list[str], load: float | None
) -> None:
    """Whatever a container writes and however it ends: nothing is lost or changed on the way through the file."""
    seen = changed(
        seen,
        logs=LogTail(text, truncated=True),
        lost_processes=tuple(words),
        load_average=load,
        before=(ProcessInfo(1, 0, text, 2**63, 1, 0),),
    )
    wanted = result(seen, 1)
    directory = written(tmp_path_factory.mktemp("round"), [wanted])
    stored, verdicts = store.read(directory.path)
    assert stored.observations == (wanted.observation,)
    assert verdicts == (wanted.verdict,)


FORMAT_1 = Path(__file__).parent / "journal_format_1.jsonl"
"""Written by the last version whose observations had no parts: every field of a container, and of a task's container,
has a value that is not its default."""


def process(pid: int) -> ProcessInfo:
    """One of the processes of `FORMAT_1`."""
    return ProcessInfo(pid, 0, "web", 1, 2, 4)


def read_in_format_1() -> tuple[Observation, ...]:
    """What stands in `FORMAT_1`, as this version holds it."""
    began = "2026-11-23T12:00:00+00:00"
    events = (
        Event(EventKind.SIGNAL_SENT, 5, Clock.ENGINE, "kill event", 15),
        Event(EventKind.EXITED, 9, Clock.ENGINE, "State.FinishedAt"),
    )
    tables = ((process(1),), (process(2),), (process(3),))
    one = Observation(
        *("a@1s#1", "a", DOCKER, NS_PER_S, 7, 1, began),
        record=StopRecord(events, 137, 9, True, True, False, ("sh",), 12, ("cat",), 15, "image"),
        looks=Looks(*tables, "end", LogTail("the end", truncated=True)),
        traffic=TrafficRecord((Request(TrafficKind.HTTP, 1, RequestFate.RESET, -2, -1),), Vantage.PUBLISHED_PORT),
        derivation=Derivation("a@9s#1", "cut", 3),
        problem=Problem(ProblemKind.NOT_READY, "no"),
        load_average=0.5,
    )
    container = ContainerRecord(
        *("app", True, ("proxy",), 2 * NS_PER_S),
        StopRecord(events, 0, None, False, True, False, ("sh",), 12, stop_signal=15),
        Looks(*tables, logs=LogTail("app", truncated=True)),
        ran=True,
        reason="why",
    )
    task = TaskRecord("arn", (container,), True, "code", "stopped")
    two = Observation("a@1s#2", "a", DOCKER, NS_PER_S, 0, 2, began, record=StopRecord(events), task=task)
    return one, two


def test_a_run_of_format_1_is_read_and_goes_on_in_todays(tmp_path: Path) -> None:
    """Nothing of it is lost; a resumed run writes lines with parts behind those without."""
    directory = written(tmp_path, [])
    (directory.path / JOURNAL_FILE).write_bytes(FORMAT_1.read_bytes())
    run_file = json.loads((directory.path / RUN_FILE).read_text())
    (directory.path / RUN_FILE).write_text(json.dumps({**run_file, "format_version": 1}))
    assert store.read(directory.path)[0].observations == read_in_format_1()
    directory.append(result(next_observation(), 3))
    assert store.read(directory.path)[0].observations == (
        *read_in_format_1(),
        result(next_observation(), 3).observation,
    )


def test_an_old_line_that_lacks_a_field_has_its_default(tmp_path: Path) -> None:
    """Fields came one by one while the format was 1."""
    line = json.loads(FORMAT_1.read_text().splitlines()[0])
    for name in ("lost_process_count", "log_after_signal", "vantage", "cut_short", "task"):
        del line["observation"][name]
    directory = written(tmp_path, [])
    (directory.path / JOURNAL_FILE).write_text(json.dumps(line) + "\n")
    (seen,) = store.read(directory.path)[0].observations
    wanted = changed(read_in_format_1()[0], lost_process_count=None, log_after_signal=None, cut_short=None)
    assert wanted.traffic is not None
    assert seen == replace(wanted, traffic=replace(wanted.traffic, vantage=None))


@pytest.mark.parametrize(
    "mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r", "\r\n", "\n", "\0", "\ufeff"]
)
def test_no_letter_in_a_log_ends_a_line_of_the_journal(tmp_path: Path, mark: str) -> None:
    """Python counts eight letters as line ends; a container may write any of them."""
    seen = changed(next_observation(), logs=LogTail(f"one{mark}two{mark}"))
    directory = written(tmp_path, [result(seen, 1), result(seen, 2)])
    assert [item.looks.logs.text for item in store.read(directory.path)[0].observations] == [f"one{mark}two{mark}"] * 2


def test_a_journal_that_cannot_be_written_is_an_error_with_its_name(tmp_path: Path) -> None:
    """A full disk looks the same: a message, not a traceback."""
    directory = written(tmp_path, [])
    (directory.path / JOURNAL_FILE).mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*trials\.jsonl: "):
        directory.append(result(next_observation(), 1))


@given(scenarios())
@settings(max_examples=50)
def test_every_scenario_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, wanted: Scenario
) -> None:
    """A stored run can be judged without the scenario files."""
    directory = RunDirectory.create(tmp_path_factory.mktemp("scenario"), "a", NOW)
    run = replace(RUN, shard="1/2", finished_at="2026-11-23T12:01:00.000+00:00", interrupted=True)
    skipped = (SkippedScenario("b", "no images"),)
    directory.write_run(RunFile(FORMAT_VERSION, run, (wanted,), 7, skipped))
    stored, _ = store.read(directory.path)
    assert stored == StoredRun(run, (wanted,), (), 7, skipped)


@given(results_lists, st.data())
@settings(max_examples=40)
def test_shards_merge_to_the_whole(
    tmp_path_factory: pytest.TempPathFactory, results: list[TrialResult], data: st.DataObject
) -> None:
    """However the trials were spread: the same observations, the planned trials added up, the earliest run's name."""
    parent = tmp_path_factory.mktemp("merge")
    parts = [data.draw(st.integers(1, 3)) for _ in results]
    runs = []
    for index in (1, 2, 3):
        run = replace(RUN, run_id=f"r{index}", started_at=f"2026-11-23T12:00:0{index}.000+00:00", shard=f"{index}/3")
        mine = [item for item, part in zip(results, parts, strict=True) if part == index]
        runs.append(store.read(written(parent, mine, run).path)[0])
    merged = shards.merge(tuple(data.draw(st.permutations(runs))))
    wanted = {item.observation.trial_id: item.observation for item in results}
    assert {seen.trial_id: seen for seen in merged.observations} == wanted
    assert len(merged.observations) == merged.trials_planned == len(results)
    assert (merged.run.run_id, merged.run.shard) == ("r1-merged", None)
    assert shards.merge((runs[2], runs[0])).run.shard == "1/3, 3/3"
    assert merged.scenarios == (SCENARIO,)
    assert merged.skipped == (SkippedScenario("b", "no images"),)


def test_what_was_merged_lasts_from_the_first_start_to_the_last_end(tmp_path: Path) -> None:
    """And was interrupted where one part was; one that did not end by itself has no end."""
    begun = [
        replace(RUN, run_id=f"r{number}", started_at=f"2026-11-23T12:00:0{number}.000+00:00", shard=f"{number}/2")
        for number in (1, 2)
    ]
    ended = [replace(run, finished_at=f"2026-11-23T12:01:0{9 - at}.000+00:00") for at, run in enumerate(begun)]
    parts = [
        store.read(written(tmp_path, [result(next_observation(), number)], run).path)[0]
        for number, run in enumerate(ended, start=1)
    ]
    assert store.elapsed_s(shards.merge(tuple(parts)).run) == 68
    unended = replace(parts[1], run=replace(parts[1].run, finished_at=None, interrupted=True))
    merged = shards.merge((parts[0], unended)).run
    assert (merged.finished_at, merged.interrupted) == (None, True)


def test_the_same_trial_in_two_runs_is_refused(tmp_path: Path) -> None:
    """Adding up two runs of everything would count each container twice."""
    one = store.read(written(tmp_path, [result(next_observation(), 1)]).path)[0]
    other = replace(one, observations=(changed(one.observations[0], exit_code=1),))
    with pytest.raises(StoreError, match="the runs hold trial a@1s#1 twice"):
        shards.merge((one, other))


def test_the_same_run_given_twice_is_refused(tmp_path: Path) -> None:
    """`report RUN RUN` is a slip of the hand; the trials planned would double."""
    one = store.read(written(tmp_path, [result(next_observation(), 1)]).path)[0]
    with pytest.raises(StoreError, match="twice"):
        shards.merge((one, one))


def test_two_scenarios_of_one_name_are_refused(tmp_path: Path) -> None:
    """Their trials would be judged by the wrong one."""
    one = store.read(written(tmp_path, []).path)[0]
    other = replace(one, run=replace(one.run, run_id="s"), scenarios=(replace(SCENARIO, repeat=2),))
    with pytest.raises(StoreError, match="two different scenarios of the name 'a'"):
        shards.merge((one, other))


def test_a_line_broken_in_the_middle_of_the_journal_is_not_passed_over(tmp_path: Path) -> None:
    """Only the last line can have been cut by a crash; anything else is damage, and named with its line."""
    directory = written(tmp_path, [result(next_observation(), number) for number in (1, 2, 3)])
    journal = directory.path / JOURNAL_FILE
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([lines[0], lines[1][:40], lines[2]]) + "\n")
    with pytest.raises(StoreError, match=r"trials\.jsonl:2: not a trial"):
        store.read(directory.path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a run directory: run.json: No such file"),
        (b"", "run.json cannot be read"),
        (b"{", "run.json cannot be read"),
        (b"[]", "run.json cannot be read"),
        (b"\xff\xfe", "run.json cannot be read"),
        (b'{"format_version": 99}', "run.json cannot be read|has format 99"),
    ],
)
def test_what_is_no_run_directory_is_explained(tmp_path: Path, content: bytes | None, message: str) -> None:
    """An empty folder, another program's file, noise."""
    if content is not None:
        (tmp_path / RUN_FILE).write_bytes(content)
    with pytest.raises(StoreError, match=message):
        store.read(tmp_path)


def test_a_run_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """With the numbers of both formats."""
    directory = written(tmp_path, [])
    data = json.loads((directory.path / RUN_FILE).read_text())
    (directory.path / RUN_FILE).write_text(json.dumps({**data, "format_version": 99}))
    with pytest.raises(StoreError, match=f"has format 99; this version reads 1 to {FORMAT_VERSION}"):
        store.read(directory.path)


def test_a_run_without_any_trial_is_read(tmp_path: Path) -> None:
    """It was interrupted before the first ended: there is no journal yet."""
    stored, verdicts = store.read(written(tmp_path, []).path)
    assert stored.observations == ()
    assert verdicts == ()


def test_two_runs_in_the_same_second_get_directories_of_their_own(tmp_path: Path) -> None:
    """Neither overwrites the other."""
    paths = [RunDirectory.create(tmp_path, "scenarios", NOW).path for _ in range(3)]
    assert [path.name for path in paths] == [
        "20261123T120000Z-scenarios",
        "20261123T120000Z-scenarios-2",
        "20261123T120000Z-scenarios-3",
    ]


@pytest.mark.parametrize("name", ["../../etc", "a/b", "..", "", "ü ö", "-rf", "x" * 300, "a\0b"])
def test_no_name_leads_out_of_the_report_directory(tmp_path: Path, name: str) -> None:
    """The name of a run is a folder's, from the command line."""
    assert RunDirectory.create(tmp_path / "reports", name, NOW).path.parent == tmp_path / "reports"


@pytest.mark.parametrize("parent", [Path("/dev/null"), Path("/dev/null/x"), Path("/proc/reports")])
def test_a_place_that_cannot_be_written_is_refused_with_advice(parent: Path) -> None:
    """Before anything starts; also for root, who may write everywhere but below a file."""
    with pytest.raises(
        StoreError, match=f"cannot write reports to {parent}: .*; choose another place with --report-dir"
    ):
        RunDirectory.create(parent, "a")


def test_a_run_takes_little_more_memory_than_its_journal_has_bytes(tmp_path: Path) -> None:
    """Of the shipped example 1.1 times as much. It was 2.4 times while each record had a dictionary."""
    for name in (RUN_FILE, JOURNAL_FILE):
        shutil.copy(EXAMPLE / name, tmp_path)
    store.read(tmp_path)  # what is loaded and made once
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        stored = store.read(tmp_path)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(stored[0].observations) > 30
    size = sum((tmp_path / name).stat().st_size for name in (RUN_FILE, JOURNAL_FILE))
    assert after - before < 1.5 * size


EXAMPLE = Path(__file__).parents[1] / "reports/example"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """What stands under the name is the old text until the new one is complete; nothing half is left beside it."""
    directory = RunDirectory(tmp_path)
    directory.write("results.json", "old")
    with pytest.raises(UnicodeEncodeError):
        directory.write("results.json", "new \ud800")
    with pytest.raises(ZeroDivisionError):
        directory.write("results.json", (str(1 // number) for number in (1, 0)))
    assert (tmp_path / "results.json").read_text() == "old"
    assert directory.write("results.json", "new").read_text() == "new"
    assert directory.write("results.json", ["in ", b"pieces"]).read_text() == "in pieces"
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_a_file_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    """A folder in the place of the file."""
    (tmp_path / "results.json").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*results\.json: "):
        RunDirectory(tmp_path).write("results.json", "text")


def test_latest_points_to_the_last_run_and_may_be_moved(tmp_path: Path) -> None:
    """It is relative, so that the folder can be copied as a whole."""
    for name in ("a", "b"):
        directory = RunDirectory.create(tmp_path, name, NOW)
        directory.mark_latest()
        assert (tmp_path / "latest").resolve() == directory.path
        assert not (tmp_path / "latest").readlink().is_absolute()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["20261123T120000Z-a", "20261123T120000Z-b", "latest"]


def test_a_users_own_folder_named_latest_is_left_alone(tmp_path: Path) -> None:
    """Only a link is replaced."""
    (tmp_path / "latest").mkdir()
    RunDirectory.create(tmp_path, "a", NOW).mark_latest()
    assert (tmp_path / "latest").is_dir()
    assert not (tmp_path / "latest").is_symlink()


def test_a_directory_in_which_nothing_came_to_be_is_removed(tmp_path: Path) -> None:
    """And one that holds something is not."""
    empty, full = (RunDirectory.create(tmp_path, name, NOW) for name in ("empty", "full"))
    full.write("results.json", "{}")
    empty.remove_if_empty()
    full.remove_if_empty()
    assert [path.name for path in tmp_path.iterdir()] == ["20261123T120000Z-full"]


def test_the_wall_time_is_known_only_of_a_run_that_ended_by_itself() -> None:
    """In seconds, from the two stamps."""
    assert store.elapsed_s(RUN) is None
    assert store.elapsed_s(replace(RUN, finished_at="2026-11-23T12:01:00.500+00:00")) == 60.5
