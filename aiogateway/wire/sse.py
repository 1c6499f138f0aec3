"""Server-sent events (HTML standard, section 9.2): LF, CRLF and lone CR, mixed if need be; BOM; comments; fields.

An event here is its bytes, blank line included, so that a relay can pass on what it received. Blank lines in a row are
events without data.
"""

from __future__ import annotations

from aiogateway.wire.frames import FrameSplitter

BOM = b"\xef\xbb\xbf"

_LF_FIRST = (b"\n\n", b"\r\r", b"\n\r")
_CRLF_FIRST = (b"\n\r", b"\n\n", b"\r\r")


class Splitter(FrameSplitter):
    """Bytes to whole events.

    After ``\\r\\n\\r`` the next byte is waited for, as it almost certainly is the LF of that CRLF. After ``\\r\\r``
    nothing is waited for (the last event of a CR-only stream would be late): a LF there begins the next event.
    """

    __slots__ = ()

    lookback = 2

    def find_ends(self, data: bytes | bytearray, start: int) -> list[int]:
        if data.find(b"\r", start) >= 0:
            return _find_mixed_ends(data, start)
        ends = []
        position = data.find(b"\n\n", start)
        while position >= 0:
            position += 2
            ends.append(position)
            position = data.find(b"\n\n", position)
        return ends


def _find_mixed_ends(data: bytes | bytearray, start: int) -> list[int]:
    """A blank line is two line ends in a row, and CRLF is one: so it holds LF LF, LF CR or CR CR; nothing else does."""
    size = len(data)
    ends: list[int] = []
    # Next place of each pair; one that was not found is not looked for again, which keeps the whole linear.
    next_lf = next_cr = next_mixed = -1
    while True:
        next_lf = _find(data, b"\n\n", start, next_lf)
        next_cr = _find(data, b"\r\r", start, next_cr)
        next_mixed = _find(data, b"\n\r", start, next_mixed)
        first = min(next_lf, next_cr, next_mixed)
        if first == size:
            return ends
        end = first + 2
        if first == next_mixed:
            if end == size:
                return ends
            if data[end] == 0x0A:
                end += 1
        ends.append(end)
        start = end


def _find(data: bytes | bytearray, pair: bytes, start: int, known: int) -> int:
    """Where `pair` is next; `known` is the last answer for it; the length of `data` when it is nowhere."""
    if known >= start:
        return known
    found = data.find(pair, start)
    return found if found >= 0 else len(data)


def frame_end(data: bytes, start: int = 0) -> int:
    """The position after the event that begins at `start`; 0 while it is incomplete."""
    line = data.find(b"\n", start)
    found, bound = -1, len(data)
    # The pair that this stream probably uses goes first: each hit spares the others a search to the end.
    for pair in _CRLF_FIRST if line > start and data[line - 1] == 0x0D else _LF_FIRST:
        at = data.find(pair, start, bound)
        if at >= 0:
            found, bound = at, at + 1
    if found < 0:
        return 0
    end = found + 2
    if data[found:end] != b"\n\r":
        return end
    if end == len(data):
        return 0
    return end + 1 if data[end] == 0x0A else end


def data_of(event: bytes) -> bytes:
    """The event's data: its data lines joined by LF, without the one space after the colon. Empty when it has none."""
    if b"data" not in event:  # a comment, most likely
        return b""
    if (
        event.startswith(b"data: ")
        and event.find(b"\n\n") == event.find(b"\n") == len(event) - 2
        and b"\r" not in event
    ):
        return event[6:-2]
    return b"\n".join(value for name, value in _fields(event) if name == b"data")


def event_name(event: bytes) -> str:
    """The event's type as its ``event:`` field says; empty when it has none."""
    found = b""
    if b"event" in event:
        for name, value in _fields(event):
            if name == b"event":
                found = value
    return found.decode("utf-8", "replace")


def _fields(event: bytes) -> list[tuple[bytes, bytes]]:
    """The event's fields in order; comments are none."""
    if b"\r" in event:
        event = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    fields = []
    for line in event.removeprefix(BOM).split(b"\n"):
        name, _, value = line.partition(b":")
        if name:
            fields.append((name, value[1:] if value.startswith(b" ") else value))
    return fields


def frame(data: bytes, event: str | None = None) -> bytes:
    """`data` as one event, of type `event` if there is one."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
    if event:
        return b"event: %b\ndata: %b\n\n" % (event.encode(), data)
    return b"data: %b\n\n" % data
