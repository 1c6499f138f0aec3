from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.wire import sse

STREAMS = {
    "lf": b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
    "crlf": b'data: {"a":1}\r\n\r\ndata: {"b":2}\r\n\r\ndata: [DONE]\r\n\r\n',
    "cr": b'data: {"a":1}\r\rdata: {"b":2}\r\rdata: [DONE]\r\r',
    "mixed": b"data: a\n\r\ndata: b\r\n\ndata: c\n\ndata: d\r\rdata: e\r\n\r\n",
    "cr then lf": b"data: a\r\r\ndata: b\r\r\ndata: c\r\r",
    "comments": b": hello\n\n: ping\ndata: x\n\n:\n\n",
    "multi-line": b"data: one\ndata: two\ndata:\ndata: four\n\n",
    "multi-line crlf": b"data: one\r\ndata: two\r\n\r\n",
    "no space": b'data:{"a":1}\n\ndata:  two spaces\n\n',
    "bom": b"\xef\xbb\xbfdata: x\n\ndata: y\n\n",
    "fields": b"event: message_start\nid: 7\nretry: 10\ndata: x\n\nid: 8\ndata: y\nevent: other\n\n",
    "blank lines": b"\n\n\n\ndata: x\n\n\n\n\ndata: y\n\n",
    "unicode": 'data: "ärgerlich – 💥"\n\ndata: "\u2028\u0085"\n\n'.encode(),
    "unfinished": b"data: x\n\ndata: y\n",
    "unfinished crlf": b"data: x\r\n\r\ndata: y\r\n",
}
DATA = {
    "lf": [b'{"a":1}', b'{"b":2}', b"[DONE]"],
    "crlf": [b'{"a":1}', b'{"b":2}', b"[DONE]"],
    "cr": [b'{"a":1}', b'{"b":2}', b"[DONE]"],
    "mixed": [b"a", b"b", b"c", b"d", b"e"],
    "cr then lf": [b"a", b"b", b"c"],
    "comments": [b"", b"x", b""],
    "multi-line": [b"one\ntwo\n\nfour"],
    "multi-line crlf": [b"one\ntwo"],
    "no space": [b'{"a":1}', b" two spaces"],
    "bom": [b"x", b"y"],
    "fields": [b"x", b"y"],
    "blank lines": [b"", b"", b"x", b"", b"y"],
    "unicode": ['"ärgerlich – 💥"'.encode(), '"\u2028\u0085"'.encode()],
    "unfinished": [b"x"],
    "unfinished crlf": [b"x"],
}


def split(stream: bytes, *cuts: int) -> tuple[list[bytes], bytes]:
    splitter = sse.Splitter()
    edges = [0, *cuts, len(stream)]
    frames = [frame for start, end in itertools.pairwise(edges) for frame in splitter.feed(stream[start:end])]
    return frames, splitter.rest()


@pytest.mark.parametrize("name", STREAMS)
def test_the_same_events_at_every_split_point(name: str) -> None:
    stream = STREAMS[name]
    whole, rest = split(stream)
    assert [sse.data_of(frame) for frame in whole] == DATA[name]
    assert b"".join(whole) + rest == stream
    for cut in range(1, len(stream)):
        assert split(stream, cut) == (whole, rest)
    assert split(stream, *range(1, len(stream))) == (whole, rest)


def test_what_follows_the_last_event_is_the_rest() -> None:
    assert split(STREAMS["unfinished"])[1] == b"data: y\n"
    assert split(STREAMS["unfinished crlf"])[1] == b"data: y\r\n"
    assert split(STREAMS["lf"])[1] == b""


def test_the_last_event_of_a_cr_only_stream_is_not_late() -> None:
    assert sse.Splitter().feed(b"data: x\r\r") == [b"data: x\r\r"]


def test_a_crlf_is_never_torn_apart() -> None:
    splitter = sse.Splitter()
    assert splitter.feed(b"data: x\r\n\r") == []
    assert splitter.feed(b"\n") == [b"data: x\r\n\r\n"]


@pytest.mark.parametrize("name", STREAMS)
def test_frame_end_walks_the_same_events(name: str) -> None:
    stream = STREAMS[name]
    frames, rest = split(stream)
    position = 0
    walked = []
    while end := sse.frame_end(stream, position):
        walked.append(stream[position:end])
        position = end
    assert (walked, stream[position:]) == (frames, rest)


def test_frame_end_waits_for_the_lf_of_a_crlf() -> None:
    assert sse.frame_end(b"data: x\r\n\r") == 0
    assert sse.frame_end(b"data: x\r\n\r\n") == 11
    assert sse.frame_end(b"data: x\n\rd") == 9
    assert sse.frame_end(b"") == 0


LINES = st.lists(st.sampled_from([b"data: x", b"data:", b": c", b"", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"x"]))


@given(LINES.map(b"".join), st.data())
def test_any_mix_of_line_ends_splits_the_same_however_it_is_cut(stream: bytes, data: st.DataObject) -> None:
    whole = split(stream)
    assert b"".join(whole[0]) + whole[1] == stream
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    assert split(stream, *cuts) == whole
    position = 0
    for frame in whole[0]:
        assert sse.frame_end(stream, position) == position + len(frame)
        position += len(frame)


def has_data(frame: bytes) -> bool:
    return any(line.partition(b":")[0] == b"data" for line in frame.replace(b"\r", b"\n").split(b"\n"))


@given(LINES.map(b"".join))
def test_data_agrees_with_the_standard(stream: bytes) -> None:
    """Against a reading of the HTML standard's algorithm, line by line."""
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]
    expected, data = [], []
    for line in lines:
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
        elif data:
            expected.append(b"\n".join(data))
            data = []
    frames, rest = split(stream)
    # A final CR may be half a CRLF, so its blank line may still be pending.
    read = [sse.data_of(frame) for frame in [*frames, rest] if has_data(frame)]
    assert read[: len(expected)] == expected


def test_data_of_an_event_without_its_end_is_not_shortened() -> None:
    assert sse.data_of(b"data: abc") == b"abc"
    assert sse.data_of(b"data: abc\n") == b"abc"
    assert sse.data_of(b"data: a\nb") == b"a"


def test_event_names() -> None:
    assert sse.event_name(b"event: ping\ndata: {}\n\n") == "ping"
    assert sse.event_name(b"event:ping\r\ndata: {}\r\n\r\n") == "ping"
    assert sse.event_name(b"event: a\nevent: b\ndata: {}\n\n") == "b"
    assert sse.event_name(b"data: the event\n\n") == ""
    assert sse.event_name(b"event: \xff\n\n") == "\ufffd"
    assert sse.event_name(b"\xef\xbb\xbfevent: first\n\n") == "first"


@given(st.binary(), st.sampled_from([None, "ping", "response.created"]))
def test_what_is_framed_is_read_back(data: bytes, event: str | None) -> None:
    frame = sse.frame(data, event)
    assert sse.Splitter().feed(frame) == [frame]
    assert sse.data_of(frame) == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert sse.event_name(frame) == (event or "")
