from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from aiogateway_plugin_bedrock import BedrockAnthropic
from aiogateway_plugin_bedrock.frames import write_event
from aiogateway_plugin_bedrock.messages import VERSION

from aiogateway.dialects.anthropic import Anthropic
from aiogateway.neutral import Begin, Event, Failure, Finish, Text, UsageReport, Written
from aiogateway.types import Usage

DIALECT = BedrockAnthropic()
ASK = {"model": "anthropic.claude-opus-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
PING = {"type": "ping"}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "é"}}
SLOW = write_event("throttlingException", b'{"message":"slow down"}', kind="exception")
COUNTS = {"input_tokens": 3, "output_tokens": 2}


def chunk(event: Any) -> bytes:
    raw = event if isinstance(event, bytes) else json.dumps(event).encode()
    return write_event("chunk", json.dumps({"bytes": base64.b64encode(raw).decode(), "p": "abc"}).encode())


def write(**fields: Any) -> Written:
    """What an Anthropic client's body becomes."""
    return DIALECT.write_request(Anthropic().read_request({**ASK, **fields}))


def decode(*frames: bytes) -> list[Event]:
    decoder = DIALECT.decoder()
    return [event for frame in frames for event in decoder.feed(frame)]


def test_the_body_is_anthropics_without_model_and_stream() -> None:
    written = write(stream=True, thinking={"type": "adaptive"}, novel=1)
    assert written == Written(
        {
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "hi"}],
            "thinking": {"type": "adaptive"},
            "novel": 1,
            "anthropic_version": VERSION,
        }
    )
    assert write(anthropic_beta="a, b").body["anthropic_beta"] == ["a", "b"]
    assert write(anthropic_beta=["a"]).body["anthropic_beta"] == ["a"]


def test_a_stream() -> None:
    start = {"type": "message_start", "message": {"id": "m", "model": "c", "usage": COUNTS}}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": COUNTS}
    stop = {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}}
    assert decode(chunk(start), chunk(PING), chunk(DELTA), chunk(delta), chunk(stop)) == [
        Begin("m", "c"),
        Text("é"),
        Finish("stop", raw="end_turn"),
        UsageReport(Usage(input=3, output=2)),
    ]


def test_an_event_without_its_wrapping_is_taken_as_it_is() -> None:
    """The emulator @copilotkit/aimock sends it so."""
    assert decode(write_event("chunk", json.dumps(DELTA).encode())) == [Text("é")]


def test_errors_of_bedrock_and_of_anthropic() -> None:
    inner = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    for frame, said in ((SLOW, (429, "slow down")), (chunk(inner), (529, "busy"))):
        failure = DIALECT.read_failure(frame)
        assert failure is not None
        assert (failure.status, failure.message) == said
        (event,) = decode(frame)
        assert isinstance(event, Failure)
        assert event.error.status == said[0]
    assert DIALECT.read_failure(chunk(DELTA)) is None
    assert DIALECT.read_failure(write_event("chunk", b"{}")) is None
    assert DIALECT.read_failure(b"<html>") is not None


def test_errors_of_a_body() -> None:
    bedrocks = b'{"__type":"ThrottlingException","message":"slow"}'
    anthropics = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'
    for body, status in ((bedrocks, 429), (anthropics, 529)):
        failure = DIALECT.read_body_failure(body)
        assert failure is not None
        assert failure.status == status
        assert isinstance(DIALECT.read_answer(body)[0], Failure)
    assert DIALECT.read_body_failure(b'{"type":"message","content":[]}') is None


def test_what_is_no_answer_yet() -> None:
    assert DIALECT.is_keepalive(chunk(PING))
    assert DIALECT.is_keepalive(write_event("initial-response", b""))
    for frame in (chunk(DELTA), SLOW, b"<html>", write_event("chunk", b"{}")):
        assert not DIALECT.is_keepalive(frame)


def test_what_is_malformed() -> None:
    assert not DIALECT.is_malformed(chunk(DELTA))
    assert not DIALECT.is_malformed(SLOW)
    for frame in (b"", write_event("chunk", b"{}"), write_event("chunk", b'{"bytes":"!"}'), chunk(b"{")):
        assert DIALECT.is_malformed(frame)
        with pytest.raises(ValueError, match=r".+"):
            decode(frame)


def test_usage_and_the_mark_of_the_end() -> None:
    delta = {"type": "message_delta", "delta": {}, "usage": COUNTS}
    stop = chunk(b'{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3}}')
    tail = chunk(DELTA) + chunk(delta) + write_event("chunk", b"{}") + stop
    assert DIALECT.read_usage(tail[9:]) == Usage(input=3, output=2)
    assert DIALECT.read_usage(json.dumps({"usage": COUNTS}).encode()) == Usage(input=3, output=2)
    assert DIALECT.read_usage(b"") is None
    (mark,) = DIALECT.finish_marks
    assert mark in stop
    assert mark in chunk(b'{"type":"message_stop"}')
    assert mark not in chunk(delta)
