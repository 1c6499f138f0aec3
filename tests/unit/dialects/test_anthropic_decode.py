from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.anthropic_decode import AnthropicDecoder, read_answer
from aiogateway.neutral import Begin, Event, Failure, Finish, Opaque, Reasoning, Text, ToolCall, UsageReport
from aiogateway.types import Usage
from aiogateway.wire import sse

BEGIN = Begin("msg_1", "claude")
START = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "claude", "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}},
}
STOP = {"type": "message_stop"}


def opened(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def closed(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ended(reason: str | None, **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}


def decode(*events: dict[str, Any]) -> list[Event]:
    """The events, after checking that no split point changes them."""
    stream = b"".join(sse.frame(orjson.dumps(each), each["type"]) for each in events)
    read = decode_bytes(stream)
    for cut in range(1, len(stream)):
        assert repr(decode_bytes(stream[:cut], stream[cut:])) == repr(read)  # errors are equal to themselves only
    return read


def decode_bytes(*reads: bytes) -> list[Event]:
    decoder, splitter = AnthropicDecoder(), sse.Splitter()
    return [event for read in reads for frame in splitter.feed(read) for event in decoder.feed(frame)]


def test_text() -> None:
    assert decode(
        START,
        opened(0, type="text", text=""),
        {"type": "ping"},
        delta(0, "text_delta", text="Ahoy"),
        delta(0, "text_delta", text=""),
        delta(0, "text_delta", text=" ⚓"),
        closed(0),
        ended("end_turn", output_tokens=4),
        STOP,
    ) == [
        BEGIN,
        Text("Ahoy"),
        Text(" ⚓"),
        Finish("stop", raw="end_turn"),
        UsageReport(Usage(input=5, output=4)),
    ]  # fmt: skip


def test_thoughts_and_their_seals() -> None:
    assert decode(
        START,
        opened(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="hm"),
        delta(0, "signature_delta", signature="s"),
        closed(0),
        opened(1, type="redacted_thinking", data="d"),
        closed(1),
        opened(2, type="thinking", thinking="", signature=""),
        delta(2, "signature_delta", signature="untold"),
        closed(2),
    )[1:] == [
        Reasoning("hm"),
        Reasoning("", signature="s"),
        Reasoning("", sealed="d"),
        Reasoning("", signature="untold"),
    ]  # fmt: skip


def test_parallel_tool_calls() -> None:
    assert decode(
        START,
        opened(1, type="tool_use", id="a", name="f", input={}),
        delta(1, "input_json_delta", partial_json=""),
        delta(1, "input_json_delta", partial_json='{"x"'),
        delta(1, "input_json_delta", partial_json=":1}"),
        closed(1),
        opened(2, type="tool_use", id="b", name="g", input={}),
        delta(2, "input_json_delta", partial_json=""),
        closed(2),
        opened(3, type="tool_use", id="c", name="h", input={"y": 2}),
        closed(3),
        ended("end_turn"),
        STOP,
    )[1:] == [
        ToolCall(0, "", "a", "f"),
        ToolCall(0, '{"x"'),
        ToolCall(0, ":1}"),
        ToolCall(1, "", "b", "g"),
        ToolCall(1, "{}"),
        ToolCall(2, '{"y":2}', "c", "h"),
        Finish("tool_calls", raw="end_turn"),
        UsageReport(Usage(input=5, output=1)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_stop_reasons(raw: str, reason: str) -> None:
    assert Finish(reason, raw=raw) in decode(START, ended(raw), STOP)
    answer = {"content": [], "stop_reason": raw}
    assert read_answer(orjson.dumps(answer)) == [Begin(), Finish(reason, raw=raw)]


def test_an_answer_finishes_once_and_later_counts_win() -> None:
    assert decode(
        START,
        ended(None, output_tokens=2),
        ended("end_turn", output_tokens=3, input_tokens=7, cache_read_input_tokens=10, cache_creation_input_tokens=20),
        ended("end_turn", output_tokens=4, input_tokens=None, output_tokens_details={"thinking_tokens": 1}),
        STOP,
    )[1:] == [
        UsageReport(Usage(input=5, output=2)),
        Finish("stop", raw="end_turn"),
        UsageReport(Usage(input=37, output=3, cached=10, cache_write=20)),
        UsageReport(Usage(input=37, output=4, cached=10, cache_write=20, reasoning=1)),
    ]
    assert decode(START, STOP) == [BEGIN, Finish("stop", raw="end_turn")]


def test_what_only_anthropic_knows_is_opaque() -> None:
    citation = {"type": "web_search_result_location", "url": "https://x.example"}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    assert decode(
        START,
        opened(0, type="server_tool_use", id="s", name="web_search", input={}),
        delta(0, "input_json_delta", partial_json='{"query":'),
        delta(0, "input_json_delta", partial_json='"x"}'),
        closed(0),
        opened(1, **found),
        closed(1),
        opened(2, type="compaction", content=None),
        delta(2, "compaction_delta", content="short"),
        closed(2),
        opened(3, type="text", text=""),
        delta(3, "citations_delta", citation=citation),
        delta(3, "text_delta", text="Yes"),
        delta(3, "future_delta", text="no"),
        closed(3),
        {"type": "future_event", "usage": {"input_tokens": 99}},
    )[1:] == [
        Opaque("anthropic", {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}),
        Opaque("anthropic", found),
        Opaque("anthropic", {"type": "compaction", "content": "short"}),
        Opaque("anthropic", {"type": "citations_delta", "citation": citation}),
        Text("Yes"),
    ]


def test_an_error_event() -> None:
    *_, failure = decode(START, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    assert isinstance(failure, Failure)
    assert (failure.error.status, str(failure.error)) == (529, "Overloaded")


@pytest.mark.parametrize("frame", [b"data: {\n\n", b"data: []\n\n", b'data: "x"\n\n', b"data: \xff\n\n"])
def test_a_malformed_frame_raises_and_the_next_one_is_read(frame: bytes) -> None:
    decoder = AnthropicDecoder()
    with pytest.raises(ValueError, match=r"JSON|unexpected|Expecting"):
        list(decoder.feed(frame))
    assert list(decoder.feed(b'data: {"type":"message_start","message":{"id":"msg_1","model":"claude"}}\n\n')) == [
        BEGIN
    ]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta"},
        {"type": "content_block_delta", "index": "x", "delta": [1]},
        {"type": "content_block_delta", "index": 9, "delta": {"type": "input_json_delta", "partial_json": "x"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 3}},
        {"type": "content_block_stop", "index": 7},
        {"type": "message_delta", "usage": 3},
        {"type": "error"},
        {"type": 3},
        {},
    ],
)
def test_events_that_say_nothing(event: dict[str, Any]) -> None:
    assert list(AnthropicDecoder().feed(b"data: " + orjson.dumps(event) + b"\n\n")) == []


def test_a_comment_says_nothing() -> None:
    assert list(AnthropicDecoder().feed(b": hello\n\n")) == []


def test_a_unary_answer() -> None:
    answer = {
        "id": "msg_1",
        "model": "claude",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "text", "text": "I'll look.", "citations": [{"url": "x"}]},
            {"type": "text", "text": ""},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            {"type": "server_tool_use", "id": "s", "input": {}},
            {"type": "tool_use", "id": "b", "name": "g", "input": {}},
        ],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": None},
    }
    assert read_answer(orjson.dumps(answer)) == [
        BEGIN,
        Reasoning("hm", signature="s"),
        Reasoning("", sealed="d"),
        Text("I'll look."),
        Opaque("anthropic", {"type": "citations_delta", "citation": {"url": "x"}}),
        ToolCall(0, '{"x":1}', "a", "f"),
        Opaque("anthropic", {"type": "server_tool_use", "id": "s", "input": {}}),
        ToolCall(1, "{}", "b", "g"),
        Finish("tool_calls", raw="end_turn"),
        UsageReport(Usage(input=1, output=2)),
    ]


def test_a_unary_error() -> None:
    (failure,) = read_answer(b'{"type":"error","error":{"type":"api_error","message":"no"}}')
    assert isinstance(failure, Failure)
    assert str(failure.error) == "no"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"content":"hi"}', b"{}"])
def test_a_malformed_unary_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|unexpected|content|empty"):
        read_answer(body)
