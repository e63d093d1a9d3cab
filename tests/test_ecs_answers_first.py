"""Work waits for answers, but not for ever, and in its order."""

from __future__ import annotations

import queue
import time

from stop_harness.ecs_endpoint.answers_first import LONGEST_S, QUIET_S, AnswersFirst

PATIENCE_S = 30


def same(seconds: float) -> float:
    """The wall's clock."""
    return seconds


def test_work_begins_by_itself_and_in_order() -> None:
    """Nothing is being answered: at once."""
    first, begun = AnswersFirst(same), queue.SimpleQueue[int]()
    for number in range(100):
        first.then(lambda number=number: begun.put(number))  # type: ignore[misc] # mypy cannot infer such a lambda
    assert [begun.get(timeout=PATIENCE_S) for _ in range(100)] == list(range(100))
    first.close()


def test_work_waits_for_the_answers() -> None:
    """It is asked for while two requests are answered, and begins after the last of them."""
    first, begun = AnswersFirst(lambda seconds: 50 * seconds), queue.SimpleQueue[float]()
    with first.answering():
        with first.answering():
            first.then(lambda: begun.put(time.monotonic()))
        answered = time.monotonic()
    assert begun.get(timeout=PATIENCE_S) >= answered + 50 * QUIET_S
    first.close()


def test_an_answer_that_never_ends_stops_nothing() -> None:
    """A client that reads nothing must not keep containers alive."""
    first, begun = AnswersFirst(same), queue.SimpleQueue[float]()
    with first.answering():
        asked = time.monotonic()
        for _ in range(10):
            first.then(lambda: begun.put(time.monotonic()))
        times = [begun.get(timeout=PATIENCE_S) for _ in range(10)]
    assert times[0] - asked >= LONGEST_S * 0.9
    assert times[-1] - asked < LONGEST_S * 50  # all wait together, not one after another; generous for a loaded machine
    first.close()


def test_after_its_end_nothing_begins() -> None:
    """What was asked for before still does."""
    first, begun = AnswersFirst(same), queue.SimpleQueue[int]()
    first.then(lambda: begun.put(1))
    first.close()
    first.then(lambda: begun.put(2))
    assert begun.get(timeout=PATIENCE_S) == 1
    assert begun.empty()
