"""Each line of a log has the time at which the engine read it, and the text is what the container wrote."""

from __future__ import annotations

from dataclasses import replace

import docker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.engines.docker import reading
from stop_harness.engines.docker.log_times import StampedTail
from stop_harness.evidence import log_lines
from stop_harness.model import NS_PER_S, LogTail, Looks
from tests.watch_support import Containers

BEGIN_NS = 1_764_400_000 * NS_PER_S
PIECES = st.lists(st.tuples(st.text("ab 2Z:-", max_size=9).map(str.encode), st.booleans()), max_size=12)


def stamped(number: int, text: bytes) -> bytes:
    """A message as Docker gives it, so many seconds after the first."""
    return f"2025-11-29T07:06:{40 + number:02}.000000000Z ".encode() + text


@given(PIECES, st.integers(1, 40))
def test_lines_keep_their_text_and_have_the_time_of_their_begin(pieces: list[tuple[bytes, bool]], keep: int) -> None:
    """Also where a line comes in several messages, and where the log is longer than what is kept."""
    tail, whole, times = StampedTail(keep), b"", []
    for number, (piece, ends) in enumerate(pieces):
        text = piece + (b"\n" if ends else b"")
        if text and (not whole or whole.endswith(b"\n")):
            times.append(BEGIN_NS + number * NS_PER_S)
        whole += text
        tail.add(stamped(number, text))
    found = tail.tail()
    assert found.text.encode() == whole[-keep:]
    assert found.truncated == (len(whole) > keep)
    count = len(log_lines.lines_of(found.text))
    assert found.line_times_ns == (tuple(times[len(times) - count :]) or None)


def test_a_terminals_log_has_no_times_and_its_text_no_stamps() -> None:
    """It comes in pieces of any length."""
    tail = StampedTail(1000)
    for at in stamped(0, b"one\r\n") + stamped(1, b"two\r\n"):
        tail.add(bytes([at]))
    assert tail.tail() == LogTail("one\r\ntwo\r\n")


def test_what_a_container_writes_itself_at_the_begin_of_a_line_stays() -> None:
    """Programs write times, too."""
    line = stamped(5, b"mine\n")
    for tail, message in ((StampedTail(1000), stamped(0, line)), (StampedTail(1000, stamped=False), line)):
        tail.add(message)
        assert tail.tail().text == line.decode()


def test_only_lines_of_the_stop_are_told_and_none_where_a_mask_has_moved_them() -> None:
    """The log after the signal is the end of the log."""
    looks = Looks(log_after_signal="b\nc\n", logs=LogTail("a\nb\nc\n", line_times_ns=(1, 2, 3)))
    assert log_lines.after_signal(looks) == [("b", 2), ("c", 3)]
    masked = replace(looks, logs=replace(looks.logs, text="a…\nc\n"))
    assert log_lines.after_signal(masked) == [("b", None), ("c", None)]


@pytest.mark.docker
def test_the_engines_own_times_are_read_with_the_log(ours: Containers, client: docker.DockerClient) -> None:
    """Of both streams, in order; of a container with a terminal the text alone."""
    says = ["sh", "-c", "echo one; sleep 0.3; echo two >&2"]
    made, terminal = ours.run(says), ours.run(says, tty=True)
    for each in (made, terminal):
        each.wait()

    def read(container_id: str) -> LogTail:
        return reading.log_tail(client.api, container_id, lines=100, keep_bytes=1000, read_bytes=10_000)

    tail = read(made.id)
    assert tail.text == "one\ntwo\n"
    assert tail.line_times_ns is not None
    first, second = tail.line_times_ns
    assert 0.2 * NS_PER_S < second - first < 60 * NS_PER_S
    assert read(terminal.id) == LogTail("one\r\ntwo\r\n")
