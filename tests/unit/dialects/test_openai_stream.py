from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.dialects.openai_completions import OpenAICompletions
from aiogateway.dialects.openai_stream import OpenAIStream
from aiogateway.errors import IdleTimeout
from aiogateway.types import Usage
from aiogateway.wire import sse

DIALECTS = [OpenAIChat(), OpenAICompletions()]


def event(payload: dict[str, Any], *, spaced: bool = False, end: bytes = b"\n\n") -> bytes:
    data = orjson.dumps(payload)
    if spaced:  # as Python's json and many servers write it
        data = data.replace(b'":', b'": ').replace(b',"', b', "')
    return b"data: " + data + end


def chunk(text: str = "hi", finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **more}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize(
    "reason",
    ["stop", "length", "tool_calls", "function_call", "content_filter", "eos", "end_turn", "MAX_TOKENS", "STOP"],
)
def test_a_finish_reason_is_a_mark(dialect: OpenAIStream, reason: str, *, spaced: bool) -> None:
    tail = event(chunk(finish=reason), spaced=spaced)
    assert sum(tail.count(mark) for mark in dialect.finish_marks) == 1


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("spaced", [True, False])
def test_nothing_else_is_a_mark(dialect: OpenAIStream, *, spaced: bool) -> None:
    forged = [
        '"finish_reason":"stop"',
        '{"finish_reason": "stop"}',
        "finish_reason",
        '\\"finish_reason\\":\\"stop',
        "[DONE]",
    ]
    tail = b"".join(
        [
            event(chunk(finish=None), spaced=spaced),
            event(chunk(finish=""), spaced=spaced),
            *(event(chunk(text), spaced=spaced) for text in forged),
            event(chunk(arguments=orjson.dumps({"finish_reason": "stop"}).decode()), spaced=spaced),
        ]
    )
    assert not [mark for mark in dialect.finish_marks if mark in tail]


def test_done_is_a_whole_event() -> None:
    assert sse.Splitter().feed(OpenAIStream.done) == [b"data: [DONE]\n\n"]


@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_the_usage_event_is_told_from_all_others(end: bytes, *, spaced: bool) -> None:
    dialect = OpenAIChat()
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    frame = event({"id": "c", "choices": [], "usage": usage}, spaced=spaced, end=end)
    assert dialect.is_usage_only(frame)
    assert [mark for mark in dialect.usage_marks if mark in frame]
    others: list[dict[str, Any]] = [
        {"choices": [], "prompt_filter_results": [{}]},  # Azure's first event
        {"choices": [], "usage": None},
        chunk(usage=usage),
        chunk(usage=None),
        chunk('"choices":[],"usage":{}'),
        {"error": {"message": "usage"}, "usage": usage},
    ]
    for other in others:
        assert not dialect.is_usage_only(event(other, spaced=spaced, end=end))
    assert not dialect.is_usage_only(b'data: {"choices":[],"usage":{' + end)
    assert not dialect.is_usage_only(OpenAIStream.done)


def test_usage_comes_from_a_tail_or_a_body() -> None:
    body = orjson.dumps(chunk(usage={"prompt_tokens": 3, "completion_tokens": 2}))
    assert OpenAIChat().read_usage(body) == Usage(input=3, output=2)
    assert OpenAIChat().read_usage(b"data: " + body + b"\n\n" + OpenAIStream.done) == Usage(input=3, output=2)
    assert OpenAIChat().read_usage(event(chunk())) is None


def test_an_error_event_is_a_failure() -> None:
    error = {"error": {"message": "busy", "type": "server_error", "code": "rate_limit_exceeded", "param": None}}
    for end in (b"\n\n", b"\r\n\r\n", b"\r\r"):
        failure = OpenAIChat().read_failure(event(error, end=end))
        assert failure is not None
        assert (failure.status, failure.message, failure.error_code) == (429, "busy", "rate_limit_exceeded")
        assert orjson.loads(failure.body) == error
    named = OpenAIChat().read_failure(b'event: error\ndata: {"error":"gone","code":503}\n\n')
    assert named is not None
    assert (named.status, named.message) == (503, "gone")


@pytest.mark.parametrize(
    "frame",
    [
        event(chunk()),
        event(chunk('{"error": {"message": "x"}}')),
        event(chunk(error={"message": "beside choices"})),
        event({"choices": [], "error": None}),
        OpenAIStream.done,
        b'": {"error": {"message": "the tail began in the middle"}}\n\n',
        b'data: {"error": {"message"\n\n',
        b': "error"\n\n',
        b"",
    ],
)
def test_anything_else_is_none(frame: bytes) -> None:
    assert OpenAIChat().read_failure(frame) is None


def test_a_body_that_holds_only_an_error() -> None:
    dialect = OpenAIChat()
    failure = dialect.read_body_failure(b'{"error":{"message":"no","code":404}}')
    assert failure is not None
    assert failure.status == 404
    assert dialect.read_body_failure(orjson.dumps(chunk(error={"message": "beside"}))) is None
    assert dialect.read_body_failure(b"<html>") is None


def test_our_error_in_a_stream_is_one_that_clients_raise_on() -> None:
    frame = OpenAIChat().write_failure(IdleTimeout("silent for 120 s"))
    assert sse.Splitter().feed(frame) == [frame]
    assert orjson.loads(sse.data_of(frame)) == {
        "error": {"message": "silent for 120 s", "type": "timeout_error", "param": None, "code": "idle_timeout"}
    }
    assert OpenAIChat().read_failure(frame) is not None


def test_keepalives_and_malformed_events() -> None:
    dialect = OpenAIChat()
    assert dialect.is_keepalive(b": OPENROUTER PROCESSING\n\n")
    assert dialect.is_keepalive(b"data:\n\n")
    assert not dialect.is_keepalive(event(chunk()))
    assert not dialect.is_keepalive(OpenAIStream.done)
    assert not dialect.is_malformed(b"data:[DONE]\r\n\r\n")
    assert dialect.is_malformed(b'data: {"choices":[{"index":0,"delta":{"content":"x"\n\n')
