from __future__ import annotations

import time

import pytest

from aiogateway.errors import StreamBroken
from aiogateway.wire import ndjson, sse
from aiogateway.wire.frames import FrameSplitter

SPLITTERS = [
    pytest.param(sse.Splitter, b"data: ", b"\n\n", id="sse"),
    pytest.param(sse.Splitter, b"data: ", b"\r\n\r\n", id="sse-crlf"),
    pytest.param(ndjson.Splitter, b"", b"\n", id="ndjson"),
]


def test_a_subclass_has_to_say_where_frames_end() -> None:
    with pytest.raises(TypeError, match="find_ends"):
        FrameSplitter()  # type: ignore[abstract]


@pytest.mark.parametrize(("kind", "head", "end"), SPLITTERS)
def test_a_frame_of_the_limit_passes_and_one_byte_more_breaks(
    kind: type[FrameSplitter], head: bytes, end: bytes
) -> None:
    frame = head + b"x" * (64 - len(head) - len(end)) + end
    for cut in range(1, len(frame)):
        splitter = kind(64)
        assert splitter.feed(frame[:cut]) + splitter.feed(frame[cut:]) == [frame]
    splitter = kind(63)
    with pytest.raises(StreamBroken, match="more than 63 bytes"):
        splitter.feed(frame)


@pytest.mark.parametrize(("kind", "head", "end"), SPLITTERS)
def test_a_frame_that_never_ends_breaks_with_bounded_memory(kind: type[FrameSplitter], head: bytes, end: bytes) -> None:
    splitter = kind(1000)
    splitter.feed(head)
    with pytest.raises(StreamBroken):
        for _ in range(12):
            splitter.feed(b"x" * 100)
    for _ in range(3):
        with pytest.raises(StreamBroken):
            splitter.feed(b"x" * 100)
    assert len(splitter.rest()) < 1200


@pytest.mark.parametrize(("kind", "head", "end"), SPLITTERS)
@pytest.mark.parametrize("whole", [True, False])
def test_good_frames_come_out_before_the_oversized_one_breaks(
    kind: type[FrameSplitter], head: bytes, end: bytes, *, whole: bool
) -> None:
    good, bad = head + b"ok" + end, head + b"x" * 200 + (end if whole else b"")
    splitter = kind(100)
    assert splitter.feed(good + good + bad) == [good, good]
    with pytest.raises(StreamBroken):
        splitter.feed(b"x")


@pytest.mark.parametrize(("kind", "head", "end"), SPLITTERS)
def test_a_large_frame_byte_by_byte_takes_linear_time(kind: type[FrameSplitter], head: bytes, end: bytes) -> None:
    def feed(size: int) -> float:
        splitter = kind()
        frame = head + b"x" * size + end
        start = time.perf_counter()
        frames = [done for at in range(len(frame)) for done in splitter.feed(frame[at : at + 1])]
        assert frames == [frame]
        return time.perf_counter() - start

    small = min(feed(10_000) for _ in range(3))
    large = min(feed(160_000) for _ in range(2))  # quadratic would be 256 times as much
    assert large < 64 * small


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"])
def test_many_events_in_one_read_take_linear_time(end: bytes) -> None:
    def feed(count: int) -> float:
        data = (b"data: " + b"x" * 20 + end) * count
        start = time.perf_counter()
        assert len(sse.Splitter().feed(data)) == count
        return time.perf_counter() - start

    small = min(feed(500) for _ in range(3))
    large = min(feed(8_000) for _ in range(2))
    assert large < 64 * small
