from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.openai_responses import OpenAIResponses
from aiogateway.errors import StreamBroken
from aiogateway.neutral import Begin, ChatRequest, Envelope, Event, Finish, Message, Text, TextPart, UsageReport
from aiogateway.types import Endpoint, Usage
from aiogateway.wire import sse

DIALECT = OpenAIResponses()
USAGE = {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 4, "total_tokens": 7}


def event(kind: str, *, spaced: bool = False, **fields: Any) -> bytes:
    data = orjson.dumps({"type": kind, "sequence_number": 1, **fields})
    if spaced:
        data = data.replace(b'":', b'": ').replace(b',"', b', "')
    return sse.frame(data, kind)


def response(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "r", "object": "response", "status": status, "error": None, "usage": None, "metadata": {}, **more}


def marked(tail: bytes) -> bool:
    return any(mark in tail for mark in DIALECT.finish_marks)


@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_the_last_event_is_a_mark(status: str, *, spaced: bool) -> None:
    assert marked(event(f"response.{status}", response=response(status), spaced=spaced))


@pytest.mark.parametrize("spaced", [True, False])
def test_a_last_event_longer_than_the_tail_is_one_too(*, spaced: bool) -> None:
    whole = {"status": "completed", "instructions": "x" * 9000, "usage": USAGE, "user": None, "metadata": {}}
    frame = event("response.completed", response=whole, spaced=spaced)
    assert marked(frame[-4096:])
    assert DIALECT.read_usage(frame[-4096:]) == Usage(input=3, output=4, cached=1)


@pytest.mark.parametrize("spaced", [True, False])
def test_nothing_else_is_a_mark(*, spaced: bool) -> None:
    frames = [
        event("response.created", response=response("in_progress"), spaced=spaced),
        event("response.output_text.delta", delta="response.completed", spaced=spaced),
        event("response.output_text.delta", delta='"type":"response.completed"', spaced=spaced),
        event("response.output_text.delta", delta='"usage":{"input_tokens":1', spaced=spaced),
        event("response.output_item.done", item={"status": "completed"}, spaced=spaced),
    ]
    assert not marked(b"".join(frames))


def test_it_has_no_closing_event_and_no_usage_to_hide() -> None:
    assert DIALECT.endpoint is Endpoint.RESPONSES
    assert DIALECT.done == b""
    assert DIALECT.usage_marks == ()


def test_keepalives() -> None:
    assert DIALECT.is_keepalive(b": ping\n\n")
    assert DIALECT.is_keepalive(event("keepalive"))
    assert not DIALECT.is_keepalive(event("response.created", response=response("in_progress")))
    assert not DIALECT.is_keepalive(event("response.output_text.delta", delta="keepalive"))


@pytest.mark.parametrize(
    ("frame", "status", "message", "code"),
    [
        (event("error", code="rate_limit_exceeded", message="slow", param=None), 429, "slow", "rate_limit_exceeded"),
        (event("error", error={"type": "invalid_request_error", "message": "bad"}), 400, "bad", None),
        (event("error"), 502, "the provider failed (502)", None),
        (
            event("response.failed", response=response("failed", error={"code": "server_error", "message": "oops"})),
            502,
            "oops",
            "server_error",
        ),
        (event("response.failed", response={"error": {}}), 502, "the provider failed (502)", None),
        (b'data: {"error": {"message": "as in chat", "code": 503}}\n\n', 503, "as in chat", "503"),
    ],
)
def test_failures(frame: bytes, status: int, message: str, code: str | None) -> None:
    failure = DIALECT.read_failure(frame)
    assert failure is not None
    assert (failure.status, failure.message, failure.error_code) == (status, message, code)
    assert "error" in orjson.loads(failure.body)


@pytest.mark.parametrize(
    "frame",
    [
        event("response.created", response=response("in_progress")),
        event("response.completed", response=response("completed")),
        event("response.output_text.delta", delta='{"type":"error"}'),
        b'data: {"type":"error"\n\n',
        b": error\n\n",
        b'{"error": {"message": "no frame"}}\n',
    ],
)
def test_what_is_no_failure(frame: bytes) -> None:
    assert DIALECT.read_failure(frame) is None


def test_a_unary_answer_that_failed_is_an_answer() -> None:
    assert DIALECT.read_body_failure(orjson.dumps(response("failed", error={"message": "x"}, output=[]))) is None
    failure = DIALECT.read_body_failure(b'{"error":{"message":"no","type":"not_found_error"}}')
    assert failure is not None
    assert failure.status == 404


def test_our_error_in_a_stream() -> None:
    frame, failed = sse.Splitter().feed(DIALECT.write_failure(StreamBroken("cut")))
    assert sse.event_name(frame) == "error"
    said = orjson.loads(sse.data_of(frame))
    assert (said["type"], said["code"], said["message"], said["param"]) == ("error", "stream_truncated", "cut", None)
    assert said["error"]["message"] == "cut"  # openai-python raises on this one
    assert DIALECT.read_failure(frame) is not None
    assert not marked(frame)
    response = orjson.loads(sse.data_of(failed))["response"]  # and Codex reads nothing else
    assert (response["status"], response["error"]) == ("failed", {"code": "stream_truncated", "message": "cut"})
    failure = DIALECT.read_failure(failed)
    assert failure is not None
    assert failure.message == "cut"


def test_it_translates() -> None:
    """The pieces are tested next door: here, that each of them is at its place."""
    request = DIALECT.read_request({"model": "m", "input": "hi"})
    assert request == ChatRequest(model="m", messages=(Message("user", (TextPart("hi"),)),), dialect=DIALECT.name)
    assert DIALECT.write_request(request).body["model"] == "m"
    events: list[Event] = [
        Begin("resp_1", "m", 5),
        Text("a"),
        UsageReport(Usage(input=1)),
        Finish("stop", raw="completed"),
    ]
    envelope = Envelope(id="1", model="m", created=5)
    assert DIALECT.read_answer(DIALECT.write_answer(events, envelope)) == events
    encoder, decoder = DIALECT.encoder(envelope), DIALECT.decoder()
    stream = b"".join(encoder.feed(event) for event in events) + encoder.end()
    assert [event for frame in sse.Splitter().feed(stream) for event in decoder.feed(frame)] == events
    assert marked(stream[-4096:])
    assert DIALECT.read_usage(stream[-4096:]) == Usage(input=1)
