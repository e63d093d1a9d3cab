"""`stop_harness.records`: what it makes behaves as what the standard library makes."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, replace
from typing import Any, get_args, get_type_hints

import pytest

from stop_harness import records
from stop_harness.model import NS_PER_S, Event, EventKind, ProcessFate, TrialResult, Verdict
from stop_harness.model.event import Clock


def made_both_ways(body: Callable[[], type], **options: Any) -> tuple[Any, Any]:
    """By the standard library, and by us."""
    return dataclasses.dataclass(frozen=True, **options)(body()), records.dataclass(frozen=True, **options)(body())


def container() -> type:
    """With every kind of field that is used."""

    class Container:
        """One."""

        name: str
        labels: list[str] = field(default_factory=list)
        image: str | None = None
        seen: int = field(default=0, compare=False)
        secret: str = field(default="", repr=False)

        @property
        def short(self) -> str:
            """Its first three letters."""
            return self.name[:3]

    return Container


def empty() -> type:
    """Without any field."""

    class Empty:
        """None."""

    return Empty


def single() -> type:
    """One field."""

    class Single:
        """One."""

        value: float

    return Single


def own() -> type:
    """With methods of its own."""

    class Own:
        """One."""

        value: int

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    return Own


NAN = float("nan")
CASES = [
    (container, ("abcd",), {}),
    (container, ("abcd", ["x"], "i", 3, "s"), {}),
    (container, (), {"name": "n", "image": "i", "secret": "s"}),
    (empty, (), {}),
    (single, (NAN,), {}),
    (own, (1,), {}),
]


@pytest.mark.parametrize(("body", "arguments", "names"), CASES)
def test_a_record_is_what_the_standard_library_makes(body: Any, arguments: Any, names: Any) -> None:
    """Its parameters, fields, text, equality and copies."""
    theirs, ours = made_both_ways(body)
    their_own, our_own = theirs(*arguments, **names), ours(*arguments, **names)
    assert inspect.signature(ours).parameters.keys() == inspect.signature(theirs).parameters.keys()
    assert str(inspect.signature(ours)).count("=") == str(inspect.signature(theirs)).count("=")
    assert [item.name for item in dataclasses.fields(ours)] == [item.name for item in dataclasses.fields(theirs)]
    assert dataclasses.asdict(our_own).keys() == dataclasses.asdict(their_own).keys()
    assert vars(our_own) == vars(their_own)
    assert repr(our_own) == repr(their_own)
    assert our_own == ours(*arguments, **names)
    assert (our_own == their_own) is (their_own == our_own)
    assert replace(our_own) == copy.copy(our_own) == our_own


def test_only_fields_that_are_compared_count() -> None:
    """For equality and hash."""
    theirs, ours = made_both_ways(single)
    assert hash(ours(3.5)) == hash(theirs(3.5))
    assert len({ours(1.0), ours(1.0), ours(2.0)}) == 2
    _, kept = made_both_ways(container)
    assert kept("a", seen=1) == kept("a", seen=2) != kept("b")
    assert kept("a") != "a"


def test_a_list_is_made_anew_for_each() -> None:
    """Of a field with a factory."""
    _, ours = made_both_ways(container)
    assert ours("a").labels is not ours("a").labels


def test_nothing_of_a_record_can_be_set() -> None:
    """Neither fields nor anything else, by the error that the standard library raises."""
    event = Event(EventKind.READY, NS_PER_S, Clock.HARNESS, "test")
    for name in ("at_ns", "anything"):
        with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(event, name, 1)
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'at_ns'"):
        del event.at_ns
    assert pickle.loads(pickle.dumps(event)) == event


@pytest.mark.parametrize(("body", "arguments", "names"), CASES)
def test_a_record_with_slots_is_the_same_without_a_dictionary(body: Any, arguments: Any, names: Any) -> None:
    """It can be copied and pickled like any other, and nothing of it can be set."""
    with_slots = records.dataclass(frozen=True, slots=True)(body())
    theirs = dataclasses.dataclass(frozen=True, slots=True)(body())
    record = with_slots(*arguments, **names)
    fields = [field.name for field in dataclasses.fields(with_slots)]
    assert with_slots.__slots__ == theirs.__slots__ == tuple(fields)
    assert not hasattr(record, "__dict__")
    assert repr(record) == repr(theirs(*arguments, **names))
    assert dataclasses.asdict(record) == dataclasses.asdict(theirs(*arguments, **names))
    assert replace(record) == copy.copy(record) == copy.deepcopy(record) == record == with_slots(*arguments, **names)
    for name in (*fields, "anything"):
        with pytest.raises(FrozenInstanceError):
            setattr(record, name, 1)


def test_what_a_journal_holds_has_slots() -> None:
    """All records that a stored trial is made of: with a dictionary each, those of 10,000 trials took three times the
    memory."""
    pending: list[Any] = [TrialResult]
    found: set[Any] = set()
    while pending:
        kind = pending.pop()
        if kind in found:
            continue
        if dataclasses.is_dataclass(kind):
            found.add(kind)
            pending += get_type_hints(kind).values()
        pending += get_args(kind)
    assert {Event, ProcessFate, Verdict} < found
    assert sorted(kind.__name__ for kind in found if "__slots__" not in vars(kind)) == []


def test_wrong_arguments_are_refused_by_name() -> None:
    """The message says of which record."""
    _, ours = made_both_ways(single)
    with pytest.raises(TypeError, match=r"Single\.__init__\(\) missing 1 required positional argument: 'value'"):
        ours()
    _, by_name = made_both_ways(container, kw_only=True)
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        by_name("abc")
    assert by_name(name="abcd").short == "abc"


def test_what_is_not_frozen_is_the_standard_librarys() -> None:
    """So that one name serves a file that has both."""
    ours: Any = records.dataclass(single())
    made = ours(1.0)
    made.value = 2.0
    assert made == ours(2.0)
    assert ours.__hash__ is None
