from __future__ import annotations

import struct
import zlib

import pytest
from aiogateway_plugin_bedrock.frames import EventStreamSplitter, Frame, find_end, read_frame, write_event, write_frame
from botocore.eventstream import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
    ChecksumMismatch,
    EventStreamBuffer,
)

from aiogateway.errors import StreamBroken
from aiogateway.testing import split_points

ONE = write_event("contentBlockDelta", '{"a":"ü"}'.encode())
TWO = write_event("throttlingException", b'{"message":"slow down"}', kind="exception")
# Headers of every type but strings; botocore's eventstream.py, EventStreamHeaderParser, names them.
ODD = b"".join(
    b"\x01" + name + value
    for name, value in (
        (b"t", b"\x00"), (b"f", b"\x01"), (b"b", b"\x02\xff"), (b"s", b"\x03\x00\x01"), (b"i", b"\x04\x00\x00\x00\x01"),
        (b"l", b"\x05" + bytes(8)), (b"y", b"\x06\x00\x02ab"), (b"m", b"\x08" + bytes(8)), (b"u", b"\x09" + bytes(16)),
    )
)  # fmt: skip


def build(headers: bytes, payload: bytes = b"") -> bytes:
    """A frame with headers as they are given."""
    lengths = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def spoil(frame: bytes, at: int) -> bytes:
    return frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]


def test_what_is_written_is_read_by_us_and_by_botocore() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(ONE + TWO)
    theirs = [(message.headers, message.payload) for message in buffer]
    ours = [read_frame(ONE), read_frame(TWO)]
    assert theirs == [(dict(frame.headers), frame.payload) for frame in ours]
    assert [(frame.kind, frame.name) for frame in ours] == [
        ("event", "contentBlockDelta"),
        ("exception", "throttlingException"),
    ]


def test_headers_of_other_types_are_stepped_over() -> None:
    frame = build(ODD + write_frame({"name": "value"}, b"")[12:-4], b"x")
    assert read_frame(frame) == Frame({"name": "value"}, b"x")
    assert read_frame(build(b"")) == Frame({}, b"")
    assert Frame({}, b"").kind == "event"


def test_frames_are_the_same_at_every_split() -> None:
    data = ONE + TWO + ONE
    for pieces in split_points(data):
        splitter = EventStreamSplitter()
        assert [frame for piece in pieces for frame in splitter.feed(piece)] == [ONE, TWO, ONE]
        assert splitter.rest() == b""
    half = EventStreamSplitter()
    assert half.feed(ONE + TWO[:-1]) == [ONE]
    assert half.rest() == TWO[:-1]


@pytest.mark.parametrize("at", [0, 5, 9, 20, len(ONE) - 6, len(ONE) - 1])
def test_a_wrong_bit_anywhere_ends_the_stream(at: int) -> None:
    """Our splitter and botocore's parser refuse the same frames."""
    bad = spoil(ONE, at)
    theirs = EventStreamBuffer()
    theirs.add_data(bad)
    with pytest.raises(ChecksumMismatch):
        next(theirs)
    splitter = EventStreamSplitter()
    assert splitter.feed(TWO + bad) == [TWO]
    with pytest.raises(StreamBroken, match="the provider sent"):
        splitter.feed(b"")
    with pytest.raises(StreamBroken):
        EventStreamSplitter().feed(bad)


def test_a_bad_frame_is_found_at_every_split() -> None:
    for pieces in split_points(TWO + spoil(ONE, 20)):
        splitter = EventStreamSplitter()
        found: list[bytes] = []
        with pytest.raises(StreamBroken):
            for piece in (*pieces, b""):
                found += splitter.feed(piece)
        assert found == [TWO]


def test_a_frame_that_is_too_large_is_refused_before_it_is_there() -> None:
    splitter = EventStreamSplitter(len(ONE))
    assert splitter.feed(ONE) == [ONE]
    large = build(b"", bytes(len(ONE)))
    with pytest.raises(StreamBroken, match=f"a frame of {len(large)} bytes, more than {len(ONE)}"):
        splitter.feed(large[:12])


def test_crumbs_cost_no_more_than_the_whole() -> None:
    frame = build(b"", bytes(300_000))
    splitter = EventStreamSplitter()
    found = [whole for at in range(0, len(frame), 64) for whole in splitter.feed(frame[at : at + 64])]
    assert found == [frame]


def test_where_a_frame_ends() -> None:
    data = ONE + TWO
    assert find_end(data, 0) == len(ONE)
    assert find_end(data, len(ONE)) == len(data)
    assert find_end(data[:-1], len(ONE)) == 0
    assert find_end(data, len(data)) == 0
    assert find_end(ONE[:11], 0) == 0
    assert find_end(b"<html>no event stream</html>", 0) == 28


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ONE[:-1],
        ONE + b"x",
        bytes(16),
        build(b"\x05name"),
        build(b"\x01n\x07\x00\x09cut"),
        build(b"\x01n\x0a"),
        build(b"\x01n"),
        build(b"\x01\xff\x07\x00\x01a"),
        struct.pack(">III", 20, 40, 0) + bytes(8),
        spoil(ONE, len(ONE) - 1),
    ],
)
def test_what_is_no_frame_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_frame(data)
