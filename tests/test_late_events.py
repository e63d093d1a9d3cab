"""Events of the kernel that come long after they happened, as they do on a busy machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.linux.process_events import EXECUTED, NAMED, ProcessEvent
from stop_harness.linux.silent_kills import Watches

PID_ONE, PID, LOOKED_NS = 100, 101, 1_000_000
HANDLES_SIGTERM = (1 << 14, 0, 0)


class Told(Watches):
    """A source of events that is told them by a test, and remembers of whom it was to read the name again."""

    def __init__(self) -> None:
        super().__init__()
        self.unnamed: list[int] = []
        self.watch_of_one = self._begin(PID_ONE, 1)
        self.process = self._add(self.watch_of_one, PID, "python3 (PID 7)", LOOKED_NS)
        self.process.command, self.process.masks = "python3 app.py", HANDLES_SIGTERM
        self.unnamed.clear()

    def tell(self, what: int, at_ns: int) -> None:
        self._apply(ProcessEvent(0, 0, what, 0, at_ns, (PID, PID)))

    def _left_unnamed(self, pid: int) -> None:
        self.unnamed.append(pid)


@given(what=st.sampled_from([EXECUTED, NAMED]), late_ns=st.integers(min_value=1, max_value=LOOKED_NS))
def test_an_event_older_than_the_look_changes_nothing_that_was_seen(what: int, late_ns: int) -> None:
    """Else it would be looked at again while it leaves, when Python has undone its handlers, and a program that lost
    its job would count as one without a handler."""
    told = Told()
    told.tell(what, LOOKED_NS - late_ns)
    process = told.process
    assert (process.label, process.command, process.masks) == ("python3 (PID 7)", "python3 app.py", HANDLES_SIGTERM)
    assert not told.unnamed


@pytest.mark.parametrize("what", [EXECUTED, NAMED])
def test_a_newer_event_makes_it_be_read_again(what: int) -> None:
    """Another program handles other signals; another name is read, and what it handles stays as it was seen."""
    told = Told()
    told.tell(what, LOOKED_NS + 1)
    assert told.unnamed == [PID]
    assert told.process.masks == (None if what == EXECUTED else HANDLES_SIGTERM)
