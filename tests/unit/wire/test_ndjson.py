from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from aiogateway.wire import ndjson

STREAM = '{"a":"ä💥"}\n\r\n{"b":2}\r\n{"text":"lone \\r"}\n{"cut'.encode()
LINES = ['{"a":"ä💥"}\n'.encode(), b"\r\n", b'{"b":2}\r\n', b'{"text":"lone \\r"}\n']


def split(stream: bytes, *cuts: int) -> tuple[list[bytes], bytes]:
    splitter = ndjson.Splitter()
    edges = [0, *cuts, len(stream)]
    return [line for pair in itertools.pairwise(edges) for line in splitter.feed(stream[slice(*pair)])], splitter.rest()


def test_the_same_lines_at_every_split_point() -> None:
    assert split(STREAM) == (LINES, b'{"cut')
    for cut in range(1, len(STREAM)):
        assert split(STREAM, cut) == (LINES, b'{"cut')
    assert split(STREAM, *range(1, len(STREAM))) == (LINES, b'{"cut')


@given(st.lists(st.sampled_from([b"{}", b"\n", b"\r\n", b"\r", b"x"])).map(b"".join), st.data())
def test_any_cuts_give_the_same_lines(stream: bytes, data: st.DataObject) -> None:
    whole = split(stream)
    assert b"".join(whole[0]) + whole[1] == stream
    assert split(stream, *sorted(data.draw(st.sets(st.integers(0, len(stream)))))) == whole
    position = 0
    for line in whole[0]:
        assert ndjson.frame_end(stream, position) == position + len(line)
        position += len(line)
    assert ndjson.frame_end(stream, position) == 0


def test_the_value_of_a_line() -> None:
    assert ndjson.data_of(b'{"a":1}\r\n') == b'{"a":1}'
    assert ndjson.data_of(b'\xef\xbb\xbf {"a":1} \n') == b'{"a":1}'
    assert ndjson.data_of(b"\r\n") == b""
    assert ndjson.frame(b'{"a":1}') == b'{"a":1}\n'
