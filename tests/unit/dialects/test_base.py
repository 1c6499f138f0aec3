from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from aiogateway.contracts import MAX_EVENT, Dialect
from aiogateway.dialects.base import BaseDialect
from aiogateway.errors import StreamBroken, Unsupported
from aiogateway.neutral import ChatRequest, Envelope
from aiogateway.types import Endpoint
from aiogateway.wire import ndjson, sse


class Plain(BaseDialect):
    name = "plain"
    endpoint = Endpoint.CHAT
    done = b"data: bye\n\n"


class Lines(BaseDialect):
    name = "lines"
    endpoint = Endpoint.CHAT
    media_type = "application/x-ndjson"

    def splitter(self, max_event: int = MAX_EVENT) -> ndjson.Splitter:
        return ndjson.Splitter(max_event)

    def data_of(self, frame: bytes) -> bytes:
        return ndjson.data_of(frame)


def test_it_is_a_dialect() -> None:
    dialect: Dialect = Plain()
    assert dialect.name == "plain"
    assert repr(dialect) == "<Plain plain>"
    assert dialect.media_type == "text/event-stream"
    assert dialect.usage_marks == ()
    assert dialect.finish_marks == ()


def test_events_without_data_carry_no_answer() -> None:
    dialect = Plain()
    for frame in (b": ping\n\n", b"\n\n", b"event: ping\n\n", b"data:\n\n", b"data: \r\n\r\n"):
        assert dialect.is_keepalive(frame)
        assert not dialect.is_malformed(frame)
    assert not dialect.is_keepalive(b"data: {}\n\n")


def test_malformed_is_what_is_no_json_object() -> None:
    dialect = Plain()
    for frame in (b"data: {\n\n", b"data: 1\n\n", b"data: hello\r\n\r\n", b'data: {"a":1}}\n\n'):
        assert dialect.is_malformed(frame)
    for frame in (b"data: {}\n\n", b"data: bye\n\n", b"data:bye\r\n\r\n", b'data: {"a":"\xff"}\n\n'):
        assert not dialect.is_malformed(frame)


def test_the_splitter_is_bounded() -> None:
    assert isinstance(Plain().splitter(), sse.Splitter)
    with pytest.raises(StreamBroken):
        Plain().splitter(10).feed(b"data: 0123456789\n\n")
    assert Plain().frame_end(b"data: a\n\ndata: b\n\n", 9) == 18


def test_nothing_is_read_into_frames_unless_a_dialect_says_how() -> None:
    dialect = Plain()
    assert dialect.read_failure(b'data: {"error":{}}\n\n') is None
    assert dialect.read_body_failure(b'{"error":{}}') is None
    assert dialect.read_usage(b'{"usage":{"prompt_tokens":1}}') is None
    assert not dialect.is_usage_only(b'data: {"usage":{}}\n\n')


def test_errors_are_written_in_a_shape_most_clients_know() -> None:
    frame = Plain().write_failure(StreamBroken("cut"))
    assert sse.event_name(frame) == "error"
    assert orjson.loads(sse.data_of(frame))["error"]["code"] == "stream_truncated"
    assert orjson.loads(Plain().write_error(StreamBroken("cut")))["message"] == "cut"


def test_a_dialect_of_lines() -> None:
    dialect = Lines()
    assert dialect.splitter().feed(b'{"a":1}\n\n') == [b'{"a":1}\n', b"\n"]
    assert dialect.is_keepalive(b"\n")
    assert dialect.is_malformed(b"{\n")
    assert not dialect.is_malformed(b"{}\n")


@pytest.mark.parametrize(
    "translate",
    [
        lambda dialect: dialect.read_request({}),
        lambda dialect: dialect.write_request(ChatRequest(model="m", messages=())),
        lambda dialect: dialect.read_answer(b"{}"),
        lambda dialect: dialect.write_answer((), Envelope(id="i", model="m", created=0)),
        lambda dialect: dialect.decoder(),
        lambda dialect: dialect.encoder(Envelope(id="i", model="m", created=0)),
    ],
)
def test_the_translating_half_may_be_missing(translate: Callable[[BaseDialect], object]) -> None:
    with pytest.raises(Unsupported, match="plain"):
        translate(Plain())
