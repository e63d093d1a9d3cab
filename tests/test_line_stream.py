"""Lines of an answer that goes on are whole, however the connection cuts them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.engines.docker.line_stream import LineStream

LINES = st.lists(st.text("ab{}\r :1", max_size=40).map(str.encode), max_size=8)


def chunked(body: bytes, sizes: list[int]) -> bytes:
    """As HTTP/1.1 sends it, without the end."""
    sent, at = b"", 0
    for size in [*sizes, len(body) or 1]:
        part = body[at : at + size]
        if part:
            sent += f"{len(part):x}\r\n".encode() + part + b"\r\n"
        at += size
    return sent


@given(LINES, st.lists(st.integers(1, 30), max_size=6), st.lists(st.integers(1, 50), max_size=10), st.booleans())
def test_lines_are_whole_however_they_come(lines: list[bytes], sizes: list[int], cuts: list[int], begun: bool) -> None:
    """In chunks of any length, sent in pieces of any length, the first of them perhaps read with the headers."""
    sent = chunked(b"".join(line + b"\n" for line in lines), sizes)
    pieces, at = [], 0
    for cut in [*cuts, len(sent) or 1]:
        pieces.append(sent[at : at + cut])
        at += cut
    ours, theirs = socket.socketpair()
    with theirs:
        stream = LineStream(ours, pieces.pop(0) if begun else b"", chunked=True)
        found = stream.take()
        for piece in pieces:
            theirs.sendall(piece)
            found += stream.take()
        assert found == lines
        assert stream.broken is None
        theirs.sendall(b"0\r\n\r\n")
        assert stream.take() == []
        assert stream.broken == "it ended the stream"
        stream.close()


@pytest.mark.parametrize(("sent", "why"), [(b"", "it ended the stream"), (b"x\r\n", "an answer that makes no sense")])
def test_what_breaks_a_stream_is_said_and_what_came_before_is_told(sent: bytes, why: str) -> None:
    """The connection ends, or what comes is no chunk."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b"4\r\none\n\r\n" + sent)
    theirs.close()
    stream = LineStream(ours, b"", chunked=True)
    assert stream.take() == [b"one"]
    stream.take()
    assert stream.broken == why
    stream.close()


def test_without_chunks_the_body_is_all_that_comes() -> None:
    """To the end of the connection."""
    ours, theirs = socket.socketpair()
    stream = LineStream(ours, b"on", chunked=False)
    theirs.sendall(b"e\ntwo\nthr")
    theirs.close()
    assert stream.take() == [b"one", b"two"]
    stream.take()
    assert stream.broken is not None
    stream.close()
