"""Lines of an attached container, out of the frames in which the engine sends them."""

from __future__ import annotations

LONGEST_LINE_BYTES = 64 * 1024
"""Far beyond any line of our programs; whoever sends more is none of them."""

FRAME_HEADER_BYTES = 8
STDERR = 2


class AttachedLines:
    """Takes the bytes of an attached container apart: the engine frames them by stream and length (Docker Engine API,
    "Stream format"), and lines do not end where frames do. `complaint`: the end of what came on standard error."""

    def __init__(self) -> None:
        self._frames, self._line = bytearray(), bytearray()
        self.complaint = ""

    def take(self, piece: bytes) -> list[bytes]:
        """The lines that this piece completes, without their ends. Raises ValueError for what no program of ours would
        say."""
        self._frames += piece
        while len(self._frames) >= FRAME_HEADER_BYTES:
            length = int.from_bytes(self._frames[4:FRAME_HEADER_BYTES], "big")
            if self._frames[0] > STDERR or length > LONGEST_LINE_BYTES:
                raise ValueError("a frame of an unknown form")
            end = FRAME_HEADER_BYTES + length
            if len(self._frames) < end:
                break
            content = bytes(self._frames[FRAME_HEADER_BYTES:end])
            if self._frames[0] == STDERR:
                self.complaint = (self.complaint + content.decode("utf-8", errors="replace"))[-400:]
            else:
                self._line += content
            del self._frames[:end]
        *lines, rest = bytes(self._line).split(b"\n")
        if len(rest) > LONGEST_LINE_BYTES:
            raise ValueError("a line without an end")
        self._line = bytearray(rest)
        return lines
