from __future__ import annotations

import orjson
import pytest

from aiogateway.dialects.anthropic import Anthropic, AnthropicTokens
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.engine.lanes import SplicedLane
from aiogateway.errors import RequestError, StreamBroken, Unsupported, UpstreamStatus
from aiogateway.neutral import Begin, ChatRequest, Envelope, Event, Finish, Text
from aiogateway.types import Usage
from aiogateway.wire import sse

DIALECT = Anthropic()
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","model":"claude",'
    b'"usage":{"input_tokens":5,"cache_read_input_tokens":3,"output_tokens":1}}   }\n\n'
)
TEXT = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
    b'"text":"\\"type\\":\\"message_stop\\" \\"error\\""}}\n\n'
)
END = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":4}}\n\n'
)
STOP = b'event: message_stop\ndata: {"type":"message_stop"     }\n\n'
FAILED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'


@pytest.mark.parametrize(
    ("frame", "alive"),
    [
        (PING, True),
        (b'data: {"type":"ping"}\n\n', True),
        (b'event: ping\ndata: {"type": "ping"  }\n\n', True),
        (b": comment\n\n", True),
        (START, False),
        (TEXT, False),
        (b'data: {"type":"content_block_delta","delta":{"text":"ping"}}\n\n', False),
    ],
)
def test_a_ping_carries_no_answer(frame: bytes, alive: bool) -> None:
    assert DIALECT.is_keepalive(frame) is alive


def test_a_padded_ending_is_one_and_nothing_is_added() -> None:
    lane = SplicedLane(DIALECT, max_event=1 << 20)
    stream = START + PING + TEXT + END + STOP
    assert lane.feed(stream) + lane.end(None) == stream
    assert lane.verdict.error is None
    assert lane.verdict.usage == Usage(input=8, output=4, cached=3)


@pytest.mark.parametrize("stream", [START + TEXT, START + TEXT + END])
def test_a_stream_without_its_last_event_was_cut(stream: bytes) -> None:
    lane = SplicedLane(DIALECT, max_event=1 << 20)
    out = lane.feed(stream) + lane.end(None)
    assert isinstance(lane.verdict.error, StreamBroken)
    assert out.startswith(stream + b"event: error\n")
    assert b"message_stop\\" in out
    assert not any(mark in out for mark in DIALECT.finish_marks)


def test_an_error_in_the_stream_is_the_providers() -> None:
    lane = SplicedLane(DIALECT, max_event=1 << 20)
    assert lane.feed(START + FAILED) + lane.end(None) == START + FAILED
    assert lane.verdict.error is not None
    assert lane.verdict.error.status == 529
    assert DIALECT.read_failure(TEXT) is None


def test_usage_is_that_of_the_events_that_count() -> None:
    other = b'event: message\ndata: {"type":"future_event","usage":{"input_tokens":99,"output_tokens":99}}\n\n'
    stream = START + TEXT + END + STOP + other
    assert DIALECT.read_usage(stream) == Usage(input=8, output=4, cached=3)
    for start in range(1, stream.index(b"event: message_delta")):
        usage = DIALECT.read_usage(stream[start:])
        assert usage is not None
        assert usage.output == 4
    assert DIALECT.read_usage(stream[: stream.index(b"}", stream.index(b"message_delta")) + 1]) is not None
    assert DIALECT.read_usage(TEXT) is None


def test_usage_of_a_unary_body() -> None:
    assert DIALECT.read_usage(b' {"content":[],"usage":{"input_tokens":1,"output_tokens":2}}') == Usage(
        input=1, output=2
    )
    assert DIALECT.read_usage(b'{"content"') is None


def test_errors() -> None:
    body = orjson.dumps({"type": "error", "error": {"type": "api_error", "message": "no"}})
    failure = DIALECT.read_body_failure(body)
    assert isinstance(failure, UpstreamStatus)
    assert DIALECT.read_body_failure(b'{"type":"message","content":[]}') is None
    out = DIALECT.write_failure(RequestError("no"))
    assert sse.event_name(out) == "error"
    assert DIALECT.read_failure(out) is not None
    assert orjson.loads(DIALECT.write_error(RequestError("no")))["error"]["type"] == "invalid_request_error"


def test_everything_translates() -> None:
    body = {"model": "claude", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}
    request = DIALECT.read_request(body)
    assert isinstance(request, ChatRequest)
    assert DIALECT.write_request(request).body == body
    envelope = Envelope(id="i", model="m", created=1)
    events: list[Event] = [Begin("i", "m"), Text("a"), Finish("stop", raw="end_turn")]
    read = DIALECT.read_answer(DIALECT.write_answer(events, envelope))
    assert list(read)[:3] == events
    encoder, decoder = DIALECT.encoder(envelope), DIALECT.decoder()
    stream = b"".join(encoder.feed(event) for event in events) + encoder.end()
    assert [event for frame in DIALECT.splitter().feed(stream) for event in decoder.feed(frame)][:3] == events


def test_claude_codes_request_reaches_a_chat_target() -> None:
    """The shape that code.claude.com describes: cached system blocks, tools, a budget, tool results, a user id."""
    mark = {"type": "ephemeral"}
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 32_000,
        "stream": True,
        "temperature": 1,
        "system": [
            {"type": "text", "text": "You are a CLI.", "cache_control": mark},
            {"type": "text", "text": "Be brief."},
        ],
        "metadata": {"user_id": "user_1"},
        "thinking": {"type": "enabled", "budget_tokens": 31_999},
        "tools": [{"name": "Bash", "description": "Runs", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "list"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}},
                    {"type": "tool_use", "id": "t2", "name": "Bash", "input": {"command": "pwd"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a.py"}]},
                    {"type": "tool_result", "tool_use_id": "t2", "content": "denied", "is_error": True},
                    {"type": "text", "text": "go on", "cache_control": mark},
                ],
            },
        ],
    }
    written = OpenAIChat().write_request(DIALECT.read_request(body))
    calls = [
        {"id": name, "type": "function", "function": {"name": "Bash", "arguments": arguments}}
        for name, arguments in (("t1", '{"command":"ls"}'), ("t2", '{"command":"pwd"}'))
    ]
    assert written.body == {
        "model": "claude-sonnet-4-5",
        "max_completion_tokens": 32_000,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 1,
        "user": "user_1",
        "reasoning_effort": "high",
        "tools": [
            {"type": "function", "function": {"name": "Bash", "description": "Runs", "parameters": {"type": "object"}}}
        ],
        "messages": [
            {
                "role": "system",
                "content": [{"type": "text", "text": "You are a CLI."}, {"type": "text", "text": "Be brief."}],
            },
            {"role": "user", "content": "list"},
            {"role": "assistant", "reasoning_content": "hm", "tool_calls": calls, "content": None},
            {"role": "tool", "tool_call_id": "t1", "content": "a.py"},
            {"role": "tool", "tool_call_id": "t2", "content": "denied"},
            {"role": "user", "content": "go on"},
        ],
    }
    assert set(written.dropped) == {"messages.content.cache_control", "messages.content.is_error"}


def test_tokens_are_counted_in_the_same_wire_only() -> None:
    tokens = AnthropicTokens()
    with pytest.raises(Unsupported):
        tokens.read_request({"model": "claude", "messages": []})
    assert tokens.read_body_failure(b'{"input_tokens":14}') is None
    assert tokens.read_usage(b'{"input_tokens":14}') is None
    assert orjson.loads(tokens.write_error(RequestError("no")))["type"] == "error"
