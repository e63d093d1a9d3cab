"""The pytest plugin, which pytest loads where both are installed: hooks, options, fixtures; see docs/pytest.md.

Everybody's pytest imports this module, also where nothing is ever stopped. It therefore imports nothing but pytest, and
each hook loads what it needs when there is something to do.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stop_harness.api.results import Result
    from stop_harness.pytest_plugin.fixture import StopHarness
    from stop_harness.pytest_plugin.items import StopFile
    from stop_harness.pytest_plugin.session import StopSession

MARK = "graceful_stop"
"""Of tests that stop a container, and of every trial of a scenario file."""

SESSION: pytest.StashKey[StopSession] = pytest.StashKey()

_HERE = str(Path(__file__).parent)
_SCENARIOS = "stop_harness_scenarios"
_SAID_OF_MARK = (
    "graceful_stop(image=..., timeouts=[10, 30], within=5, ...): stop this container before the test, which fails "
    "unless every stop is graceful; the arguments are those of stop_harness.check(). Every trial of a scenario file "
    "has the mark, too."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the command line, and the setting that leaves scenario files alone."""
    group = parser.getgroup("stop-harness", "graceful stops of containers (stop-harness)")
    group.addoption(
        "--stop-harness-engine",
        metavar="NAME",
        help="where containers run: auto, docker, process or ecs (default: as the settings of stop-harness say, "
        "else auto)",
    )
    group.addoption(
        "--stop-harness-report",
        metavar="DIR",
        type=Path,
        help="write one report of all that was stopped, as HTML and in other formats, into a new folder in DIR",
    )
    group.addoption(
        "--stop-harness-require-engine",
        action="store_true",
        help="where no container engine answers, tests that need one are errors, not skipped (or "
        "$STOP_HARNESS_REQUIRE_ENGINE)",
    )
    group.addoption(
        "--stop-harness-faults",
        metavar="NAMES",
        help="stop every scenario of the scenario files also under these standard faults, as tests of their own; "
        "standard: all of them",
    )
    parser.addini(
        _SCENARIOS, "collect the scenarios of stop-harness: YAML files with `version:` and `subject:`", "bool", True
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, and what this process knows of stops."""
    from stop_harness.pytest_plugin.session import StopSession

    config.addinivalue_line("markers", _SAID_OF_MARK)
    config.stash[SESSION] = StopSession(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder by which the processes of the session talked."""
    if (session := config.stash.get(SESSION, None)) is not None:
        session.close()


# ── fixtures and the mark ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session", name="stop_harness")
def _stop_harness(pytestconfig: pytest.Config) -> StopHarness:
    """Stops containers: stop_harness.check(image="shop/web", ready_http="8000/healthz").assert_graceful(within=5)."""
    from stop_harness.pytest_plugin.fixture import StopHarness

    return StopHarness(pytestconfig.stash[SESSION])


@pytest.fixture(name=MARK)
def _graceful_stop(request: pytest.FixtureRequest, stop_harness: StopHarness) -> Result:
    """What became of the container that the mark `graceful_stop` of this test names: a `stop_harness.Result`."""
    from stop_harness.pytest_plugin import marked

    return marked.stopped(request.node, stop_harness)


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class) -> Generator[None, Any, Any]:
    """A mark that cannot be meant is a mistake of the file, and is told when the file is read."""
    made = yield
    for item in made if isinstance(made, list) else [made]:
        if isinstance(item, pytest.Function) and item.get_closest_marker(MARK) is not None:
            from stop_harness.pytest_plugin import marked

            marked.refuse_mistakes(item, collector)
    return made


def pytest_itemcollected(item: pytest.Item) -> None:
    """The stop of a mark is made with the fixtures of its test, after all others, for those may build the image."""
    if isinstance(item, pytest.Function) and item.get_closest_marker(MARK) and MARK not in item.fixturenames:
        item.fixturenames.append(MARK)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Which test it is that stops something, for its properties."""
    session = item.config.stash[SESSION]
    session.item = item
    try:
        return (yield)
    finally:
        session.item = None


def pytest_runtest_call(item: pytest.Item) -> None:
    """A stop that the mark names and that was not graceful fails the test, before its own lines run."""
    if item.get_closest_marker(MARK) is not None:
        from stop_harness.pytest_plugin import items, marked

        if not isinstance(item, items.StopItem):
            marked.require_graceful(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Errors of the harness are shown where the test stands, without lines of ours, and doubt is no failure."""
    from stop_harness.errors import StopHarnessError

    error = call.excinfo.value if call.excinfo is not None else None
    api = sys.modules.get("stop_harness.api.results")
    is_error = isinstance(error, StopHarnessError)
    if call.excinfo is None or not (is_error or (api is not None and isinstance(error, api.NotGraceful))):
        report = yield
        if report.skipped and isinstance(report.longrepr, tuple) and report.longrepr[0].startswith(_HERE):
            path, line, _ = item.reportinfo()  # where the test stands, and not where we skip it
            report.longrepr = (str(path), (line or 0) + 1, report.longrepr[2])
        found = sys.modules.get("stop_harness.pytest_plugin.shown")
        if found is not None and isinstance(error, found.Failed):
            found.shorten_summary(report)
        return report
    from stop_harness.pytest_plugin import shown, tracebacks

    theirs, told = tracebacks.without_ours(call.excinfo.tb), call.excinfo.value
    if theirs is None:
        theirs, told = call.excinfo.tb, shown.Failed(str(error))
    call.excinfo = pytest.ExceptionInfo.from_exc_info((type(told), told, theirs))
    report = yield
    shown.shorten_summary(report)
    if is_error and report.when == "call" and report.failed:
        # To pytest an exception of a test is a failure, and one before it is an error. That a stop could not be judged
        # is nothing that the container did: it is counted, coloured and written as an error everywhere.
        report.when = "setup"
    return report


# ── scenario files ───────────────────────────────────────────────────────────────────────────────────────────────────


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> StopFile | None:
    """Scenario files, unless the ini option leaves them alone. Other files are at most looked through for two words."""
    if file_path.suffix not in {".yaml", ".yml", ".json"} or not parent.config.getini(_SCENARIOS):
        return None
    from stop_harness.pytest_plugin import scenario_files

    is_named = parent.session.isinitpath(file_path)
    if not scenario_files.is_scenario(file_path, is_named=is_named):
        return None
    from stop_harness.pytest_plugin.items import StopFile

    return StopFile.from_parent(parent, path=file_path)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The trials of scenario files come last: what else is tested ends before they begin, and does not disturb them."""
    found = sys.modules.get("stop_harness.pytest_plugin.items")
    if found is not None:
        items.sort(key=lambda item: isinstance(item, found.StopItem | found.NotTriedItem))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist tells its controller that the worker has collected
def pytest_collection_finish(session: pytest.Session) -> None:
    """Which trials there will be."""
    found = sys.modules.get("stop_harness.pytest_plugin.items")
    trials = [item.trial for item in session.items if isinstance(item, found.StopItem)] if found is not None else []
    if trials:
        session.config.stash[SESSION].meeting_place.ask_for(trials)


# ── the session, in one process or in several ────────────────────────────────────────────────────────────────────────


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where its process and this one meet."""
    node.workerinput["stop_harness"] = str(node.config.stash[SESSION].meeting_place.folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """The trials of all workers are one run, which this process performs once one of them is waited for."""
    session = node.config.stash[SESSION]
    if session.meeting_place.asked():
        session.begin_run(when_wanted=True)


@pytest.hookimpl(wrapper=True, trylast=True)  # within the terminal's, which then prints the summary
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """The run ends, also one that was interrupted; then the report is written of what all processes have stopped."""
    stops = session.config.stash[SESSION]
    stops.end_run()
    yield
    if stops.finish() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was said meanwhile, and where the report is."""
    session, here = config.stash[SESSION], config.invocation_params.dir
    lines = [*session.notes]
    if (report := session.report) is not None:
        lines.append(f"report: {report.relative_to(here) if report.is_relative_to(here) else report}")
    if lines:
        terminalreporter.section("stop-harness")
        for line in lines:
            terminalreporter.line(line)
