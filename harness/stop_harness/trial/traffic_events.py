"""Server-Sent Events as a client hears them (HTML standard, 9.2): whether the end came between two events."""

from __future__ import annotations

from dataclasses import replace

import h11

from stop_harness.model import TrafficClient
from stop_harness.trial.traffic_wire import Closed, HttpSpeaker, Wire

EVENT_STREAM = "text/event-stream"


class EventStreamSpeaker(HttpSpeaker):
    """A request whose answer is events without end."""

    def __init__(self, client: TrafficClient) -> None:
        accepts = "accept" in {name.lower() for name, _ in client.headers}
        more = () if accepts else (("Accept", EVENT_STREAM),)
        super().__init__(replace(client, headers=(*client.headers, *more)))
        self._events = EventCounter()

    async def ask(self, wire: Wire) -> None:
        """A new stream."""
        self._events = EventCounter()
        await super().ask(wire)

    async def answer(self, wire: Wire) -> str:
        """Until the end, which is that of any answer: by the last chunk, or by the close where there are no chunks.

        Raises Closed where an event was cut; where the connection was reset, which may have cost some; and where the
        last chunk did not come although the last event was whole: then the answer is `unended`.
        """
        try:
            await super().answer(wire)
        except Closed:
            if not self.given.status or self._events.within_event:
                raise self._cut() from None
            self.given.unended = True
            raise Closed("between two events, without the last chunk") from None
        if self._events.within_event:
            raise self._cut()
        return f"{self.given.status}, {self._events.whole:,} events, the last of them whole"

    def _cut(self) -> Closed:
        if not self.given.status:
            return Closed()
        return Closed(f"within an event, after {self._events.whole:,} whole ones")

    def _looked_through(self, head: h11.Response) -> None:
        super()._looked_through(head)
        kind = dict(head.headers).get(b"content-type", b"").decode("latin-1")
        if not kind.lower().startswith(EVENT_STREAM):
            raise ValueError(f"the answer is no event stream: {head.status_code}, Content-Type {kind or 'not given'}")

    def _take(self, data: bytes) -> None:
        super()._take(data)
        self._events.add(data)


class EventCounter:
    """Reads an event stream piece by piece, keeping nothing. `whole`: events that were ended by an empty line."""

    def __init__(self) -> None:
        self.whole = 0
        self._line = b""
        self._after_return = False
        self._fields = False

    @property
    def within_event(self) -> bool:
        """Whether fields of an event have come, or a piece of a line, and not yet the empty line."""
        return self._fields or bool(self._line)

    def add(self, data: bytes) -> None:
        """The next piece. Lines end with LF, CR LF or CR."""
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
        self._after_return = data.endswith(b"\r")
        *lines, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._end_line((self._line + line)[:1])
            self._line = b""
        self._line = (self._line + rest)[:1]  # what kind of line it is shows its first byte

    def _end_line(self, beginning: bytes) -> None:
        if not beginning:
            self.whole += self._fields
            self._fields = False
        elif beginning != b":":
            self._fields = True
