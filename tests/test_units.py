"""Durations, sizes and signals, as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness import signals, units
from stop_harness.model import NS_PER_MS, NS_PER_S
from stop_harness.plan.trials import trial_id


@given(st.integers(0, units.MAX_DURATION_NS // NS_PER_MS))
def test_every_duration_reads_back_as_it_was_written(milliseconds: int) -> None:
    """`format_duration` and `parse_duration` are each other's inverse on whole milliseconds."""
    duration_ns = milliseconds * NS_PER_MS
    assert units.parse_duration(units.format_duration(duration_ns)) == duration_ns


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("500ms", 500),
        ("2s", 2_000),
        ("1.5s", 1_500),
        ("0.001s", 1),
        ("1m30s", 90_000),
        ("1h", 3_600_000),
        ("1h1m1s1ms", 3_661_001),
        (" 2s ", 2_000),
    ],
)
def test_durations_are_read_as_people_mean_them(text: str, milliseconds: int) -> None:
    """Numbers with units, in a row, exactly."""
    assert units.parse_duration(text) == milliseconds * NS_PER_MS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a duration"),
        ("2", "write a number with a unit, such as 500ms, 2s or 1m30s"),
        ("s", "is not a duration"),
        ("2 s", "is not a duration"),
        ("2S", "is not a duration"),
        ("1e3s", "is not a duration"),
        ("٣s", "is not a duration"),
        ("nan", "is not a duration"),
        ("-2s", "is negative; a duration is 0 or more"),
        ("0.1ms", "finer than a millisecond"),
        ("501h", "longer than 500h"),
        ("9" * 5000 + "s", "is not a duration"),
    ],
)
def test_what_is_no_duration_is_refused_with_what_is_allowed(text: str, message: str) -> None:
    """Missing, unknown and doubled units, other alphabets, negative, too fine, too long."""
    with pytest.raises(ValueError, match=message):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0s"),
        (NS_PER_MS, "1ms"),
        (999 * NS_PER_MS, "999ms"),
        (1_500 * NS_PER_MS, "1.5s"),
        (30 * NS_PER_S, "30s"),
        (60 * NS_PER_S, "1m"),
        (90_050 * NS_PER_MS, "1m30.05s"),
        (3_600 * NS_PER_S, "1h"),
        (3_660 * NS_PER_S, "1h1m"),
        (3_601_500 * NS_PER_MS, "1h1.5s"),
        (90_061 * NS_PER_S, "25h1m1s"),
        (30 * NS_PER_S + 999_999, "30s"),
    ],
)
def test_durations_are_written_in_the_shortest_usual_form(duration_ns: int, text: str) -> None:
    """Hours, minutes and seconds, each where it is not 0; milliseconds alone."""
    assert units.format_duration(duration_ns) == text


def test_ids_of_trials_are_what_they_always_were() -> None:
    """Stored runs are resumed by them, and shards chosen: in minutes, as durations were written before there were
    hours."""
    assert trial_id("web", 7_200 * NS_PER_S, 90_050 * NS_PER_MS, 1) == "web@120m+1m30.05s#1"
    assert trial_id("web", 500 * NS_PER_MS, 0, 2) == "web@500ms#2"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("64MiB", 64 * 2**20),
        ("64m", 64 * 2**20),
        ("64mb", 64 * 2**20),
        ("1 GiB", 2**30),
        ("2K", 2048),
        ("7B", 7),
    ],
)
def test_sizes_are_binary_as_docker_reads_them(text: str, size: int) -> None:
    """`m`, `MB` and `MiB` are the same."""
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "m", "1.5g", "-1m", "64 MiB each", "64x", "9" * 5000])
def test_what_is_no_size_is_refused_with_what_is_allowed(text: str) -> None:
    """Fractions, signs, unknown units."""
    with pytest.raises(ValueError, match="is not a size; write a whole number with a unit, such as 64MiB or 1GiB"):
        units.parse_size(text)


@given(st.integers(1, signals.RTMAX))
def test_every_signal_reads_back_from_its_name_and_its_number(value: int) -> None:
    """What is stored of a scenario's stop signal is always understood again."""
    assert signals.number(signals.name(value)) == value
    assert signals.number(str(value)) == value
    assert signals.number(signals.name(value).lower().removeprefix("sig")) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("SIGTERM", 15),
        ("term", 15),
        ("15", 15),
        (" SIGINT ", 2),
        ("SIGRTMIN", 34),
        ("RTMIN+3", 37),
        ("SIGRTMAX-1", 63),
        ("SIGCLD", 17),
        ("iot", 6),
        ("SIGPOLL", 29),
    ],
)
def test_signals_are_read_as_docker_allows_them(text: str, value: int) -> None:
    """With and without SIG, in any case, by number, and real-time signals by their distance."""
    assert signals.number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIG",
        "SIGTRM",
        "0",
        "-15",
        "65",
        "SIGRTMIN-1",
        "RTMIN+",
        "RTMIN+31",
        "RTMAX-64",
        "RTMIN+²",
        "١٥",
        "9" * 5000,
    ],
)
def test_what_is_no_signal_is_refused_with_what_is_allowed(text: str) -> None:
    """Typing mistakes, numbers outside 1 to 64, other alphabets."""
    with pytest.raises(ValueError, match="is not a signal; write a name such as SIGTERM or SIGRTMIN"):
        signals.number(text)


def test_a_number_that_is_no_signal_has_a_name_for_messages() -> None:
    """An engine may report anything."""
    assert signals.name(99) == "signal 99"


@given(st.text() | st.from_regex(r"[0-9.hms+-]*", fullmatch=True))
def test_arbitrary_text_raises_nothing_but_a_value_error(text: str) -> None:
    """The parser of scenario files turns ValueError into a position and a message."""
    for parse in (units.parse_duration, units.parse_size, signals.number):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0
