"""What is asked several times of one record, and the one line that every text of a report may have to become."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stop_harness.evidence.asked_again import answered_once
from stop_harness.model import Observation
from stop_harness.wording import one_line, printable
from tests.reports_factory import SAMPLES, trial


def test_a_record_is_looked_through_once_and_each_has_its_own_answer() -> None:
    """Also where another one is equal to it, and after another one was asked about."""
    first = trial(SAMPLES[0], 10).observation
    second = replace(first, repetition=2)
    looked_through: list[int] = []

    @answered_once
    def repetition(seen: Observation) -> int:
        looked_through.append(seen.repetition)
        return seen.repetition

    assert [repetition(first), repetition(first), repetition(second), repetition(second), repetition(first)] == [
        *(1, 1, 2, 2, 1)
    ]
    assert looked_through == [1, 2, 1]


@given(st.text() | st.text(" \t\n\xa0\u2028ab…"))
def test_a_text_that_needs_nothing_is_its_own_line(text: str) -> None:
    """The short way and the long one come to the same."""
    assert one_line(text) == " ".join(printable(text).split())
