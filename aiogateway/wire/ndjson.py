"""Newline-delimited JSON: one value per line. A line ends with LF; a CR before it is white space."""

from __future__ import annotations

from aiogateway.wire.frames import FrameSplitter
from aiogateway.wire.sse import BOM


class Splitter(FrameSplitter):
    """Bytes to whole lines. A last line without LF is `rest()`."""

    __slots__ = ()

    def find_ends(self, data: bytes | bytearray, start: int) -> list[int]:
        ends = []
        position = data.find(b"\n", start)
        while position >= 0:
            position += 1
            ends.append(position)
            position = data.find(b"\n", position)
        return ends


def frame_end(data: bytes, start: int = 0) -> int:
    """The position after the line that begins at `start`; 0 while it is incomplete."""
    return data.find(b"\n", start) + 1


def data_of(line: bytes) -> bytes:
    """The line's value as JSON text; empty for a blank line."""
    return line.removeprefix(BOM).strip()


def frame(data: bytes) -> bytes:
    """JSON text without line ends (as every compact encoder writes it) as one line."""
    return data + b"\n"
