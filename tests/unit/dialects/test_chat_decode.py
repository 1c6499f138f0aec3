from __future__ import annotations

import logging
from typing import Any

import orjson
import pytest

from aiogateway.dialects.chat_decode import ChatDecoder, read_answer
from aiogateway.dialects.chat_messages import DIALECT
from aiogateway.neutral import Begin, Event, Failure, Finish, Opaque, Reasoning, Text, ToolCall, UsageReport
from aiogateway.types import Usage
from aiogateway.wire import sse

HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m"}
BEGIN = Begin("c1", "m", 5)


def chunk(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**HEAD, "choices": list(choices), **more}


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return chunk({"index": index, "delta": fields, "finish_reason": finish})


def call(
    index: int | None, identity: str | None = None, name: str | None = None, arguments: Any = None
) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    piece = {"index": index, "id": identity, "function": function}
    piece["function"] = {key: value for key, value in function.items() if value is not None}
    return delta(tool_calls=[{key: value for key, value in piece.items() if value is not None}])


def decode(*chunks: dict[str, Any]) -> list[Event]:
    """The events, after checking that no split point changes them."""
    stream = b"".join(sse.frame(orjson.dumps(each)) for each in chunks) + b"data: [DONE]\n\n"
    events = decode_bytes(stream)
    for cut in range(1, len(stream)):
        assert repr(decode_bytes(stream[:cut], stream[cut:])) == repr(events)  # errors are equal to themselves only
    return events


def decode_bytes(*reads: bytes) -> list[Event]:
    decoder, splitter = ChatDecoder(), sse.Splitter()
    return [event for read in reads for frame in splitter.feed(read) for event in decoder.feed(frame)]


def test_text() -> None:
    assert decode(
        delta(role="assistant", content=""),
        delta(content="Ahoy"),
        delta(content=" 💥ä"),
        delta(),
        delta(content=None),
        delta(finish="stop"),
        chunk(usage={"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}),
    ) == [
        BEGIN,
        Text("Ahoy"),
        Text(" 💥ä"),
        Finish("stop", 0, "stop"),
        UsageReport(Usage(input=3, output=2, cached=1)),
    ]


def test_several_choices() -> None:
    events = decode(
        delta(0, content="a"),
        delta(1, content="b"),
        delta(1, finish="length"),
        delta(0, content="c"),
        delta(0, finish="stop"),
    )
    assert events == [
        BEGIN, Text("a", 0), Text("b", 1), Finish("length", 1, "length"), Text("c", 0), Finish("stop", 0, "stop"),
    ]  # fmt: skip


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning(field: str) -> None:
    assert decode(delta(0, None, **{field: "hm"}), delta(content="so")) == [BEGIN, Reasoning("hm"), Text("so")]


BLOCK = {"type": "thinking", "thinking": "hm", "signature": "s"}
REDACTED = {"type": "redacted_thinking", "data": "d"}


def test_a_block_seals_the_thought_before_it_and_repeats_no_text() -> None:
    assert decode(
        delta(reasoning_content="h"),
        delta(reasoning_content="m", thinking_blocks=[BLOCK]),
        delta(thinking_blocks=[REDACTED]),
        delta(thinking_blocks=[{**BLOCK, "thinking": "once more"}]),
        delta(thinking_blocks=[{"type": "thinking", "thinking": "unsealed", "signature": ""}]),
        delta(content="so"),
    ) == [
        BEGIN,
        Reasoning("h"),
        Reasoning("m"),
        Reasoning("", signature="s"),
        Reasoning("", sealed="d"),
        Reasoning("once more", signature="s"),
        Reasoning("unsealed"),
        Text("so"),
    ]  # fmt: skip


def test_blocks_of_a_whole_message_win_over_its_bare_text() -> None:
    message = {
        "content": "so",
        "reasoning_content": "hmha",
        "thinking_blocks": [BLOCK, REDACTED, {**BLOCK, "thinking": "ha"}],
    }
    body = {**HEAD, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert read_answer(orjson.dumps(body))[1:4] == [
        Reasoning("hm", signature="s"),
        Reasoning("", sealed="d"),
        Reasoning("ha", signature="s"),
    ]


def sealed(index: int, signature: str, **fields: Any) -> dict[str, Any]:
    seal = {"extra_content": {"google": {"thought_signature": signature}}}
    return delta(tool_calls=[{"index": index, **seal, **fields}])


def test_a_seal_over_a_tool_call() -> None:
    assert decode(
        sealed(0, "s", id="a", function={"name": "f", "arguments": "{}"}),
        sealed(1, "t", id="b"),
        call(1, None, "g", "{"),
        sealed(1, "u"),
        call(1, None, None, "}"),
    ) == [
        BEGIN,
        ToolCall(0, "{}", "a", "f", signature="s"),
        ToolCall(1, "{", "b", "g", signature="t"),
        ToolCall(1, signature="u"),
        ToolCall(1, "}"),
    ]  # fmt: skip


def test_a_custom_tools_call() -> None:
    assert decode(
        delta(tool_calls=[{"index": 0, "id": "a", "type": "custom", "custom": {"name": "sh", "input": "l"}}]),
        delta(tool_calls=[{"index": 0, "custom": {"input": "s"}}]),
    ) == [BEGIN, ToolCall(0, "l", "a", "sh", custom=True), ToolCall(0, "s", custom=True)]


def test_content_in_parts() -> None:
    """As Mistral's models answer that think."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}, 7]}
    content = [thought, {"type": "text", "text": "a"}, {"type": "text", "text": ""}, {"type": "thinking"}, 7, "b"]
    assert decode(delta(content=content)) == [BEGIN, Reasoning("hm"), Text("a"), Text("b")]
    assert decode(delta(content=[{"type": "thinking", "thinking": "hm"}])) == [BEGIN, Reasoning("hm")]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("model_length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("eos", "stop"),
    ],
)
def test_finish_reasons(raw: str, reason: str) -> None:
    assert decode(delta(finish=raw)) == [BEGIN, Finish(reason, 0, raw)]


def test_a_choice_finishes_once_and_empty_reasons_are_none() -> None:
    events = decode(delta(content="a", finish=""), delta(finish="stop"), delta(finish="stop"), delta(finish="length"))
    assert events == [BEGIN, Text("a"), Finish("stop", 0, "stop")]


PIECES: dict[str, list[dict[str, Any]]] = {
    "as OpenAI does": [
        call(0, "a", "f", ""), call(0, None, None, '{"x"'), call(0, None, None, ":1}"), call(1, "b", "g", ""),
        call(1, None, None, "{}"),
    ],
    "interleaved": [
        call(0, "a", "f", '{"x"'), call(1, "b", "g", "{"), call(0, None, None, ":1}"), call(1, None, None, "}"),
    ],
    "without index": [
        call(None, "a", "f", '{"x"'), call(None, None, None, ":1}"), call(None, "b", "g", "{}"),
    ],
    "without index, ids repeated": [
        call(None, "a", "f", '{"x"'), call(None, "b", "g", "{"), call(None, "a", None, ":1}"),
        call(None, "b", None, "}"),
    ],
    "ids and names repeated": [
        call(0, "a", "f", '{"x"'), call(0, "a", "f", ":1}"), call(1, "b", "g", "{"), call(1, "b", "g", "}"),
    ],
    "all at index 0, as Gemini does": [
        call(0, "a", "f", '{"x":1}'), call(0, "b", "g", "{}"),
    ],
    "arguments as an object": [
        call(0, "a", "f", {"x": 1}), call(1, "b", "g", {}),
    ],
    "name after id": [
        call(0, "a"), call(0, None, None, '{"x"'), call(0, None, "f", ":1}"), call(1, "b"), call(1, None, "g", "{}"),
    ],
    "indexes with gaps": [
        call(3, "a", "f", '{"x":1}'), call(7, "b", "g", "{}"),
    ],
    "empty ids": [
        call(0, "a", "f", '{"x"'), call(0, "", "", ":1}"), call(1, "b", "g", "{}"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", PIECES)
def test_tool_calls_in_pieces(name: str) -> None:
    events = decode(*PIECES[name], delta(finish="tool_calls"))
    calls = [event for event in events if isinstance(event, ToolCall)]
    for number, (identity, function, arguments) in enumerate([("a", "f", '{"x":1}'), ("b", "g", "{}")]):
        pieces = [piece for piece in calls if piece.call == number]
        assert (pieces[0].id, pieces[0].name) == (identity, function)
        assert all(piece.id is None and piece.name is None for piece in pieces[1:])
        assert "".join(piece.arguments for piece in pieces) == arguments
    assert {piece.call for piece in calls} == {0, 1}
    assert events[-1] == Finish("tool_calls", 0, "tool_calls")


def test_calls_without_any_id() -> None:
    events = decode(call(None, None, "f", "{}"), call(None, None, "f", '{"x":'), call(None, None, None, "1}"))
    assert events == [BEGIN, ToolCall(0, "{}", None, "f"), ToolCall(1, '{"x":', None, "f"), ToolCall(1, "1}")]


def test_a_call_whose_name_never_comes_is_not_lost() -> None:
    events = decode(call(0, "a", None, "{}"), delta(finish="tool_calls"))
    assert events[1:] == [ToolCall(0, "{}", "a", ""), Finish("tool_calls", 0, "tool_calls")]


def test_a_call_of_each_choice() -> None:
    events = decode(
        delta(1, tool_calls=[{"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}}]),
        delta(0, tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]),
    )
    assert events[1:] == [ToolCall(0, "{}", "b", "g", 1), ToolCall(0, "{}", "a", "f", 0)]


def test_the_api_before_tools() -> None:
    events = decode(
        delta(function_call={"name": "f", "arguments": ""}),
        delta(function_call={"arguments": "{}"}),
        delta(finish="function_call"),
    )
    assert events[1:] == [ToolCall(0, "", None, "f"), ToolCall(0, "{}"), Finish("tool_calls", 0, "function_call")]


def test_what_neutral_events_cannot_say_is_opaque() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -1}]}
    events = decode(
        chunk(
            {"index": 0, "delta": {"content": "a"}, "logprobs": logprobs, "finish_reason": None},
            system_fingerprint="fp",
        ),
        chunk(
            {"index": 0, "delta": {"refusal": "no"}, "logprobs": None, "finish_reason": None}, system_fingerprint="fp"
        ),
    )
    assert events == [
        BEGIN,
        Opaque(DIALECT, {"system_fingerprint": "fp"}),
        Text("a"),
        Opaque(DIALECT, {"choices": [{"index": 0, "delta": {}, "logprobs": logprobs}]}),
        Opaque(DIALECT, {"choices": [{"index": 0, "delta": {"refusal": "no"}}]}),
    ]


def test_groqs_usage_and_groqs_error() -> None:
    """Below a field of its own (groq-python, `XGroq`)."""
    counts = {"prompt_tokens": 3, "completion_tokens": 2}
    (_, told, usage) = decode(chunk(choices=[], x_groq={"usage": counts}))
    assert told == Opaque("openai_chat", {"x_groq": {"usage": counts}})
    assert usage == UsageReport(Usage(input=3, output=2))
    [*_, failure] = decode(delta(content="a"), chunk(choices=[{"index": 0, "delta": {}}], x_groq={"error": "gone"}))
    assert isinstance(failure, Failure)
    assert (failure.error.message, failure.error.status) == ("gone", 502)


def test_an_error_event() -> None:
    (failure,) = decode({"error": {"message": "busy", "type": "rate_limit_error"}})
    assert isinstance(failure, Failure)
    assert (failure.error.status, failure.error.message) == (429, "busy")


@pytest.mark.parametrize("more", [{}, {"error": {"message": "broken", "code": 503}}])
def test_an_answer_that_ends_with_an_error_is_a_failure(more: dict[str, Any]) -> None:
    last = chunk({"index": 0, "delta": {"content": ""}, "finish_reason": "error"}, **more)
    *_, failure = decode(delta(content="a"), last)
    assert isinstance(failure, Failure)
    assert failure.error.status == (503 if more else 502)


@pytest.mark.parametrize("frame", [b"data: {\n\n", b"data: 7\n\n", b'data: {"choices":[{\n\n'])
def test_a_malformed_frame_raises_and_the_next_one_is_read(frame: bytes) -> None:
    decoder = ChatDecoder()
    with pytest.raises(ValueError):  # noqa: PT011 - the JSON parser's message
        decoder.feed(frame)
    assert list(decoder.feed(sse.frame(orjson.dumps(delta(content="a"))))) == [BEGIN, Text("a")]


@pytest.mark.parametrize("frame", [b": ping\n\n", b"data: [DONE]\n\n", b"data:[DONE]\r\n\r\n", b"data:\n\n", b"\n\n"])
def test_frames_that_say_nothing(frame: bytes) -> None:
    assert list(ChatDecoder().feed(frame)) == []


@pytest.mark.parametrize(
    "odd", [{"choices": None}, {"choices": [None]}, {"choices": [{"index": "0", "delta": "x"}]}, {}]
)
def test_wrong_types_are_absent(odd: dict[str, Any]) -> None:
    assert decode({**HEAD, **odd}) == [BEGIN]
    assert decode({**odd, "id": 1, "created": "now", "usage": []}) == [Begin()]


def test_text_that_is_no_unicode_is_replaced_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    frame = sse.frame(orjson.dumps(delta(content="X")).replace(b"X", b"a\xffb"))
    with caplog.at_level(logging.WARNING):
        assert decode_bytes(frame * 3) == [BEGIN, *[Text("a\ufffdb")] * 3]
    assert caplog.text.count("U+FFFD") == 1


def test_a_unary_answer() -> None:
    message = {
        "role": "assistant",
        "content": "I'll look.",
        "reasoning_content": "hm",
        "refusal": None,
        "annotations": [],
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"x":1}'}},
        ],
    }
    body = {
        **HEAD,
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None},
            {"index": 1, "message": {"content": None, "refusal": "no"}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        "service_tier": "default",
    }
    assert read_answer(orjson.dumps(body)) == [
        BEGIN,
        Opaque(DIALECT, {"service_tier": "default"}),
        Reasoning("hm"),
        Text("I'll look."),
        ToolCall(0, "{}", "a", "f"),
        ToolCall(1, '{"x":1}', "b", "g"),
        Finish("tool_calls", 0, "tool_calls"),
        Opaque(DIALECT, {"choices": [{"index": 1, "delta": {"refusal": "no"}}]}),
        Finish("stop", 1, "stop"),
        UsageReport(Usage(input=1, output=2)),
    ]


def test_a_malformed_unary_answer() -> None:
    for body in (b"", b"[]", b"<html>"):
        with pytest.raises(ValueError):  # noqa: PT011 - the JSON parser's message
            read_answer(body)
