"""Whatever the engine does wrong: no false verdict, no hang, no traceback, a whole report, nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from stop_harness.engines.docker.host import DockerHost
from tests.faults.runner import AT_ONCE, Bench, Run, groups
from tests.faults.table import FAULTS, Fault

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def runs(
    docker_engine_host: DockerHost, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[Run]]]:
    """Fault → its run; all of them begin at once, only those that were selected."""
    ours = [item for item in request.session.items if item.path == request.path and "fault" in item.fixturenames]  # type: ignore[attr-defined] # a Function
    chosen = {item.callspec.params["fault"].name for item in ours}  # type: ignore[attr-defined] # it has parameters
    faults = tuple(fault for fault in FAULTS if fault.name in chosen)
    bench = Bench(docker_engine_host, tmp_path_factory.mktemp("faults"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            fault.name: run for group in groups(faults) for run in [pool.submit(bench.run, group)] for fault in group
        }


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_failing_engine_is_never_the_containers_failure(runs: dict[str, Future[Run]], fault: Fault) -> None:
    """A trial under the fault is what it is or inconclusive; the run ends, says so, and leaves nothing."""
    run = runs[fault.name].result()
    assert run.problems_of(fault) == ()
    assert run.problems == ()
