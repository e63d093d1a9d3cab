"""Tests with the mark `graceful_stop`: their container is stopped first, and they fail unless that is graceful."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stop_harness.api import keywords
from stop_harness.api.results import NotGraceful
from stop_harness.errors import UsageError
from stop_harness.model import Status
from stop_harness.pytest_plugin import MARK, shown

if TYPE_CHECKING:
    from stop_harness.api.results import Result
    from stop_harness.pytest_plugin.fixture import StopHarness

_FAILURE = pytest.StashKey[tuple[str, str] | None]()
"""What a stop that was not graceful shows, and why that is let pass, empty where it is not; None: it was graceful."""

_NOT_STOPPED = (
    f"@pytest.mark.{MARK}: nothing was stopped: the mark is for test functions, and needs its fixture {MARK}, which no "
    "other fixture may replace"
)


def refuse_mistakes(item: pytest.Function, collector: pytest.Collector) -> None:
    """Raise CollectError for a mark that cannot be meant, and for a second one, whose stop would be left out."""
    if sum(mark.name == MARK for mark in getattr(item.function, "pytestmark", ())) > 1:
        raise collector.CollectError(f"{item.nodeid}: @pytest.mark.{MARK}: a test has one such mark, not several")
    for mark in item.iter_markers(MARK):
        problem = _problem(mark)
        if problem is not None:
            raise collector.CollectError(f"{item.nodeid}: @pytest.mark.{MARK}: {problem}")


def stopped(item: pytest.Item, stop_harness: StopHarness) -> Result:
    """Stop what the mark names. A verdict in doubt is an error of the test's setup; a bad one fails the test later."""
    mark = item.get_closest_marker(MARK)
    if mark is None:
        raise UsageError(f"the fixture {MARK} needs the mark: @pytest.mark.{MARK}(image=…)")
    if (problem := _problem(mark)) is not None:
        raise UsageError(f"@pytest.mark.{MARK}: {problem}")
    result = stop_harness.check(**mark.kwargs)
    item.stash[_FAILURE] = None
    try:
        result.assert_graceful()
    except NotGraceful:
        is_waived = result.record.count(Status.FAIL) == len(result.record.waived)
        if is_waived:
            result.assert_passed()  # what is in doubt beside it is not waived
        item.stash[_FAILURE] = str(result), "; ".join(shown.waived(result.record)) if is_waived else ""
    return result


def require_graceful(item: pytest.Item) -> None:
    """Fail a test whose stop was not graceful, unless a waiver lets that pass; what it shows is what `check` prints."""
    failure = item.stash.get(_FAILURE, (_NOT_STOPPED, ""))
    if failure is not None:
        shown.fail(*failure)


def _problem(mark: pytest.Mark) -> str | None:
    """What is wrong with its arguments, in the words of `check`; None: nothing that shows before the stop."""
    if mark.args:
        return f"its arguments have names, such as image=…; not {', '.join(map(repr, mark.args))}"
    if not mark.kwargs:
        return "it says what to stop, such as image=…, build=… or command=[…]"
    try:
        keywords.given(keywords.CheckKeywords, mark.kwargs, MARK)
    except UsageError as error:
        return str(error)
    return None
