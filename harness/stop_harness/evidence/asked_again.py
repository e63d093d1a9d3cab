"""What is asked several times of one record and then never again, as while it is judged. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from stop_harness.model import Observation

Answer = TypeVar("Answer")


def answered_once(answer: Callable[[Observation], Answer]) -> Callable[[Observation], Answer]:
    """Remembers the answer for the record that was asked about last.

    By identity: two records are equal only after all their processes and lines were compared, which costs as much as
    the answer. A record is never changed, and while it is remembered no other can have its place.
    """
    last: list[tuple[Observation, Answer]] = []

    @wraps(answer)
    def asked(seen: Observation) -> Answer:
        for known, found in last:
            if known is seen:
                return found
        found = answer(seen)
        last[:] = [(seen, found)]
        return found

    return asked
