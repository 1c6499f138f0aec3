"""AWS's event stream (``application/vnd.amazon.eventstream``): binary frames of headers and a payload.

A frame is its length, the length of its headers and a CRC of both (12 bytes), the headers, the payload, and a CRC of
all of that; integers are big-endian, the CRC is gzip's. A header is a name, a type and a value. Source: "Event stream
encoding", Amazon Lex V2 developer guide, and botocore's ``eventstream.py``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from aiogateway.errors import StreamBroken
from aiogateway.wire.frames import FrameSplitter

MEDIA_TYPE = "application/vnd.amazon.eventstream"

_PRELUDE = struct.Struct(">III")
PRELUDE = _PRELUDE.size
"""Bytes before a frame's headers."""

_CRC = struct.Struct(">I")
_LEAST = _PRELUDE.size + _CRC.size
_STRING = 7
_BYTES = 6
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # of values whose type says their size


class Frame(NamedTuple):
    """`headers` are those whose value is a string; Bedrock sends no others."""

    headers: Mapping[str, str]
    payload: bytes

    @property
    def kind(self) -> str:
        """event, exception or error."""
        return self.headers.get(":message-type", "event")

    @property
    def name(self) -> str:
        """The event's name, or the exception's."""
        return self.headers.get(":event-type") or self.headers.get(":exception-type") or ""


class EventStreamSplitter(FrameSplitter):
    """Bytes to whole frames, both checksums right. Raises StreamBroken where they are not: no later byte means anything
    then. Frames before the bad one are returned first.
    """

    __slots__ = ()

    def find_ends(self, data: bytes | bytearray, start: int) -> list[int]:
        """What is held begins with a frame, whose first bytes say where it ends: nothing is searched."""
        ends: list[int] = []
        position = 0
        while len(data) - position >= _PRELUDE.size:
            try:
                end = position + _read_length(data, position)
                if end - position > self.max_event:
                    raise ValueError(f"a frame of {end - position} bytes, more than {self.max_event}")
                if end > len(data):
                    break
                _check(memoryview(data)[position:end])
            except ValueError as error:
                if not ends:
                    raise StreamBroken(f"the provider sent {error}") from None
                break  # it is found again, at the head of what is held, by the next call
            ends.append(end)
            position = end
        return ends


def _read_length(data: bytes | bytearray, position: int) -> int:
    """The length of the frame at `position`. Raises ValueError when no frame begins there."""
    total, headers, checksum = _PRELUDE.unpack_from(data, position)
    if zlib.crc32(data[position : position + 8]) != checksum or headers + _LEAST > total:
        raise ValueError("bytes that are no event stream")
    return int(total)


def _check(frame: memoryview | bytes) -> None:
    (checksum,) = _CRC.unpack_from(frame, len(frame) - _CRC.size)
    if zlib.crc32(frame[: -_CRC.size]) != checksum:
        raise ValueError("a frame with a wrong checksum")


def begins_frame(data: bytes, position: int) -> bool:
    """Whether a frame begins at `position`, as its first bytes say."""
    try:
        return len(data) - position >= PRELUDE and _read_length(data, position) > 0
    except ValueError:
        return False


def find_end(data: bytes, start: int) -> int:
    """The position after the frame that begins at `start`; 0 while it is incomplete. Bytes that are no frame count as
    one: waiting would make no frame of them.
    """
    if len(data) - start < _PRELUDE.size:
        return 0
    try:
        end = start + _read_length(data, start)
    except ValueError:
        return len(data)
    return end if end <= len(data) else 0


def read_frame(data: bytes) -> Frame:
    """One whole frame. Raises ValueError for anything else: the last frame of a stream may come past the splitter."""
    if len(data) < _LEAST:
        raise ValueError("less than a frame")
    total, size, _ = _PRELUDE.unpack_from(data)
    if total != len(data) or size + _LEAST > total:
        raise ValueError("not one whole frame")
    _check(data)
    begin = _PRELUDE.size + size
    return Frame(_read_headers(data[_PRELUDE.size : begin]), data[begin : -_CRC.size])


def _read_headers(data: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    position = 0
    try:
        while position < len(data):
            start = position + 1
            position = start + data[position]
            name, kind = data[start:position], data[position]
            position += 1
            if kind in (_STRING, _BYTES):
                size = int.from_bytes(data[position : position + 2])
                position += 2
            else:
                size = _SIZES[kind]
            value = data[position : position + size]
            position += size
            if kind == _STRING:
                headers[name.decode()] = value.decode()
    except (IndexError, KeyError) as error:
        raise ValueError("headers that can't be read") from error
    if position != len(data):
        raise ValueError("headers that are cut short")
    return headers


def write_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """A frame whose headers are all strings."""
    written = b"".join(
        b"%c%b%c%b%b" % (len(name.encode()), name.encode(), _STRING, len(value.encode()).to_bytes(2), value.encode())
        for name, value in headers.items()
    )
    lengths = struct.pack(">II", _LEAST + len(written) + len(payload), len(written))
    message = lengths + _CRC.pack(zlib.crc32(lengths)) + written + payload
    return message + _CRC.pack(zlib.crc32(message))


def write_event(name: str, payload: bytes, *, kind: str = "event") -> bytes:
    """A frame with the headers that Bedrock sends, in its order."""
    label = ":event-type" if kind == "event" else ":exception-type"
    return write_frame({label: name, ":content-type": "application/json", ":message-type": kind}, payload)
