"""A log with the time of each line, as an engine gives it with `timestamps`: each message has its time before it."""

from __future__ import annotations

import re
from collections import deque

from stop_harness.engines.docker.timestamps import timestamp_ns
from stop_harness.evidence.log_lines import lines_of
from stop_harness.model import LogTail

_STAMP = re.compile(rb"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) ")


class StampedTail:
    """Takes messages as they come, and keeps the last `keep_bytes` of what the container wrote.

    A line that is too long for a message comes in several, each with a time; that of its first is the line's. A
    terminal's log has no messages: its times are left out. `stamped` False: there are none.
    """

    def __init__(self, keep_bytes: int, *, stamped: bool = True) -> None:
        self._keep_bytes, self._stamped, self._size, self._truncated = keep_bytes, stamped, 0, False
        self._begun: bytes | None = None  # when a line was, of which no more than the end is kept
        self._messages: deque[tuple[bytes | None, bytes]] = deque()

    def add(self, message: bytes) -> None:
        """One more message, with its time."""
        found = _STAMP.match(message) if self._stamped else None
        stamp, text = (found[1], message[found.end() :]) if found is not None else (None, message)
        if not text:
            return
        self._messages.append((stamp, text))
        self._size += len(text)
        while self._size - len(self._messages[0][1]) >= self._keep_bytes > 0:
            stamp, text = self._messages.popleft()
            self._size -= len(text)
            self._truncated = True
            goes_on = None if b"\n" in text else self._begun
            self._begun = None if text.endswith(b"\n") else goes_on or stamp

    def tail(self) -> LogTail:
        """What is kept. Without times if any message lacks one."""
        if any(stamp is None for stamp, _ in self._messages):
            return self._of_terminal()
        text, times = b"", [self._begun] if self._begun is not None else []
        for stamp, piece in self._messages:
            begun = bool(times) and not text.endswith(b"\n")
            times += [stamp or b""] * (piece.count(b"\n") + (not piece.endswith(b"\n")) - begun)
            text += piece
        kept = text[-self._keep_bytes :].decode("utf-8", errors="replace")
        own = times[len(times) - len(lines_of(kept)) :]
        cut = self._truncated or len(text) > self._keep_bytes
        return LogTail(kept, cut, tuple(timestamp_ns(stamp.decode()) for stamp in own) or None)

    def _of_terminal(self) -> LogTail:
        """Its messages are cut anywhere; the first line may begin in the middle of its time."""
        whole = b"".join((stamp + b" " if stamp is not None else b"") + piece for stamp, piece in self._messages)
        if self._truncated and self._stamped:
            whole = whole.partition(b"\n")[2]
        bare = b"\n".join(_STAMP.sub(b"", line, count=1) for line in whole.split(b"\n")) if self._stamped else whole
        cut = self._truncated or len(bare) > self._keep_bytes
        return LogTail(bare[-self._keep_bytes :].decode("utf-8", errors="replace"), cut)
