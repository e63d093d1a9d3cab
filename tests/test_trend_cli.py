"""`--baseline`, `--fail-on-slower` and `trend` on stored runs of the simulated engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import stop_harness
from stop_harness.cli import main
from stop_harness.conductor import pipeline
from stop_harness.conductor.open_engine import Chosen
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.simulated import Script, SimulatedEngine
from stop_harness.errors import StoreError
from stop_harness.model import NS_PER_S
from stop_harness.plan.trials import Shard
from tests import test_pipeline


def stored(parent: Path, takes_s: float, *, repeat: int = 8, shard: str | None = None) -> Path:
    """A run of `web`, which takes so long to stop."""
    engine = SimulatedEngine({"web": Script(leaves_after_ns=round(takes_s * NS_PER_S))})
    web, part = test_pipeline.scenario("web", 10, repeat=repeat), Shard.parse(shard) if shard else None
    directory = test_pipeline.run(engine, web, report_dir=parent, shard=part).directory
    assert directory is not None
    return directory


def ask(*arguments: object) -> Result:
    """The command in this process; errors of ours come out as exceptions."""
    return CliRunner().invoke(main.cli, [str(item) for item in arguments], catch_exceptions=False)


def test_slower_is_reported_and_fails_only_where_that_is_asked_for(tmp_path: Path) -> None:
    """Eight stops of 2 s, now of 4 s: exit code 0, and 1 with --fail-on-slower."""
    before, now = stored(tmp_path, 2), stored(tmp_path, 4)
    answer = ask("report", now, "--baseline", before)
    assert answer.exit_code == 0
    assert "1 slower" in answer.output
    assert "slower  web at 10 s: median 2 s then, 4 s now (+100%)" in answer.output
    document = json.loads((now / "results.json").read_text())
    assert document["comparison"]["changes"][0]["duration"] == "slower"
    assert "Against the baseline" in (now / "report.html").read_text()
    assert ask("report", now, "--baseline", before, "--fail-on-slower").exit_code == 1
    assert ask("report", before, "--baseline", before, "--fail-on-slower").exit_code == 0


def test_a_broken_stop_fails_by_its_expectation(tmp_path: Path) -> None:
    """Killed now: exit code 1 without any further option."""
    answer = ask("report", stored(tmp_path, 30), "--baseline", stored(tmp_path, 2))
    assert answer.exit_code == 1
    assert "broke  web at 10 s: 8 of 8 passed then, 0 of 8 now" in answer.output


def test_a_run_is_compared_with_the_latest_one_before_it(tmp_path: Path) -> None:
    """`--baseline reports/latest`: the link is read before the run makes it point to itself."""
    stored(tmp_path, 2)
    engine = SimulatedEngine({"web": Script(leaves_after_ns=5 * NS_PER_S)})
    heard = test_pipeline.Heard()
    request = RunRequest(
        (test_pipeline.scenario("web", 10, repeat=8),),
        "test",
        tmp_path,
        engine="simulated",
        baseline=tmp_path / "latest",
    )
    done = pipeline.run(request, heard, heard.interruption, lambda _name, _run: Chosen(engine))
    assert done.report.comparison is not None
    assert [change.duration.value for change in done.report.comparison.changes] == ["slower"]
    assert done.report.comparison.baseline.run_id != done.report.run.run_id


def test_a_baseline_that_is_none_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """No engine is asked, and no directory is made."""
    request = RunRequest((test_pipeline.scenario("web"),), "test", tmp_path / "out", baseline=tmp_path)
    heard = test_pipeline.Heard()
    with pytest.raises(StoreError, match="is not a run directory"):
        pipeline.run(request, heard, heard.interruption, lambda _name, _run: pytest.fail("an engine was asked"))
    assert not (tmp_path / "out").exists()


def test_a_trend_is_written_beside_the_runs(tmp_path: Path) -> None:
    """A page and a picture. Runs may be named in any order, they stand in that of their starts; one that is named
    twice, by its link, counts once."""
    first, second = stored(tmp_path, 2), stored(tmp_path, 30)
    answer = ask("trend", second, first, tmp_path / "latest")
    assert answer.exit_code == 0
    assert "1 broke" in answer.output
    page = (tmp_path / "trend.html").read_text()
    assert "2 runs of 1 scenario<" in page
    assert "graceful → killed" in page
    assert (tmp_path / "trend.svg").read_text().startswith("<?xml")


def test_the_shards_of_a_run_count_as_one(tmp_path: Path) -> None:
    """Two nights on two machines each: two runs of eight stops, as if each had been on one machine."""
    nights = [[stored(tmp_path, takes_s, shard=f"{part}/2") for part in (1, 2)] for takes_s in (2, 4)]
    answer = ask("trend", *nights[1], *nights[0])
    assert answer.exit_code == 0
    assert "1 slower" in answer.output
    assert "web at 10 s: median 2 s then, 4 s now (+100%)" in answer.output
    for night in nights:
        assert f"taken for one run: shards 1/2, 2/2: {night[0]}, {night[1]}" in answer.output
    (series,) = stop_harness.trend(*nights[0], *nights[1]).series
    assert [point.stops for point in series.points] == [8, 8]
    merged = ask("report", *nights[0]).output.rpartition("report: ")[2].strip()
    again = ask("trend", *nights[1], *nights[0], Path(merged).parent)
    assert f"passed over: {nights[0][0]}, {nights[0][1]}, of which {Path(merged).parent} was merged" in again.output
    assert "1 slower" in again.output


def test_a_shard_whose_others_are_not_named_is_said_to_lack_them(tmp_path: Path) -> None:
    """It is compared by what it holds. One of another night is none of its own."""
    lone, whole = stored(tmp_path, 2, shard="1/2"), [stored(tmp_path, 2, shard=f"{part}/2") for part in (1, 2)]
    answer = ask("trend", lone, *whole)
    assert f"taken for one run: shard 1/2, the others are not here: {lone}\n" in answer.output
    assert f"taken for one run: shards 1/2, 2/2: {whole[0]}, {whole[1]}" in answer.output


def test_shards_of_different_scenarios_are_told_apart(tmp_path: Path) -> None:
    """Such as after a change between two nights of which each lost a machine: what is known to be wrong is not done."""
    one, other = stored(tmp_path, 2, shard="1/2"), stored(tmp_path, 2, shard="2/2", repeat=9)
    answer = ask("trend", one, other)
    assert answer.exit_code == 0
    assert f"shards that are not of one run, each by itself: {one}, {other}: the runs hold two" in answer.output


def test_the_page_can_be_written_elsewhere(tmp_path: Path) -> None:
    """With the picture beside it."""
    run = stored(tmp_path, 2, repeat=1)
    assert ask("trend", run, "--output", tmp_path / "pages" / "stops.html").exit_code == 0
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {"stops.html", "stops.svg"}
