from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.dialects.chat_decode import ChatDecoder, read_answer
from aiogateway.dialects.chat_encode import ChatEncoder, write_answer
from aiogateway.dialects.chat_messages import DIALECT
from aiogateway.errors import UpstreamError
from aiogateway.neutral import (
    Begin,
    Envelope,
    Event,
    Failure,
    Finish,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    UsageReport,
    Vectors,
)
from aiogateway.types import Usage
from aiogateway.wire import sse

ENVELOPE = Envelope(id="chatcmpl-1", model="m", created=7)
ASKED = Envelope(id="chatcmpl-1", model="m", created=7, include_usage=True)
USAGE = Usage(input=3, output=2, cached=1, reasoning=1)


def encode(events: Sequence[Event], envelope: Envelope = ENVELOPE) -> list[Any]:
    """The chunks, and the closing event as text."""
    encoder = ChatEncoder(envelope)
    stream = b"".join(encoder.feed(event) for event in events) + encoder.end()
    data = [sse.data_of(frame) for frame in sse.Splitter().feed(stream)]
    return [orjson.loads(each) if each != b"[DONE]" else "[DONE]" for each in data]


def choices(events: Sequence[Event]) -> list[dict[str, Any]]:
    chunks = encode(events)
    assert chunks.pop() == "[DONE]"
    return [choice for chunk in chunks for choice in chunk["choices"]]


def test_text() -> None:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    assert encode([Text('a"\n'), Text("💥"), Finish("stop", 0, "eos")]) == [
        {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": 'a"\n'}, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {"content": "💥"}, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        "[DONE]",
    ]


def test_the_providers_own_envelope_wins() -> None:
    first, *_ = encode([Begin("own", "model-2026", 9), Text("a")])
    assert (first["id"], first["model"], first["created"]) == ("own", "model-2026", 9)
    first, *_ = encode([Begin(), Text("a")])
    assert (first["id"], first["model"], first["created"]) == ("chatcmpl-1", "m", 7)


def test_usage_only_if_asked_for() -> None:
    events: list[Event] = [UsageReport(Usage(input=1)), Text("a"), Finish("stop"), UsageReport(USAGE)]
    assert not [chunk for chunk in encode(events)[:-1] if "usage" in chunk]
    *chunks, last, done = encode(events, ASKED)
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


def test_usage_that_never_came_is_not_invented() -> None:
    assert len(encode([Text("a"), Finish("stop")], ASKED)) == 3


def test_tool_calls() -> None:
    events: list[Event] = [
        ToolCall(0, "", "a", "f"), ToolCall(0, '{"x"'), ToolCall(1, "{}", None, "g"), ToolCall(0, ":1}"),
        Finish("stop"),
    ]  # fmt: skip
    first, second, third, fourth, last = choices(events)
    assert first["delta"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}],
    }
    assert second["delta"] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]}
    assert third["delta"]["tool_calls"][0]["id"] == "call_1_0_1"
    assert fourth["delta"] == {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}
    assert last["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("reason", "said"), [("stop", "tool_calls"), ("tool_calls", "tool_calls"), ("length", "length")]
)
def test_finish_reason_with_a_tool_call(reason: str, said: str) -> None:
    events: list[Event] = [ToolCall(0, "{}", "a", "f", 1), Text("a", 0), Finish(reason, 1), Finish("stop", 0)]
    finished = {choice["index"]: choice["finish_reason"] for choice in choices(events)[2:]}
    assert finished == {1: said, 0: "stop"}
    whole = orjson.loads(write_answer(events, ENVELOPE))
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["stop", said]


def test_each_choice_has_its_role_once() -> None:
    events: list[Event] = [Text("a", 0), Reasoning("b", 1), Finish("stop", 2), Text("c", 1), Finish("stop", 0)]
    written = choices(events)
    assert [choice["delta"].get("role") for choice in written] == ["assistant"] * 3 + [None] * 2
    assert written[1]["delta"] == {"role": "assistant", "content": None, "reasoning_content": "b"}
    assert written[2]["delta"] == {"role": "assistant", "content": ""}


def test_own_opaque_events_come_back_and_others_do_not() -> None:
    logprobs: dict[str, Any] = {"content": []}
    events: list[Event] = [
        Opaque(DIALECT, {"choices": [{"index": 0, "delta": {"refusal": "no"}}]}),
        Opaque(DIALECT, {"choices": [{"index": 0, "delta": {}, "logprobs": logprobs}]}),
        Opaque(DIALECT, {"system_fingerprint": "fp"}),
        Opaque("anthropic", {"type": "citation"}),
        Vectors(((1.0,),)),
    ]
    assert choices(events) == [
        {"index": 0, "delta": {"role": "assistant", "content": "", "refusal": "no"}, "finish_reason": None},
        {"index": 0, "delta": {}, "logprobs": logprobs, "finish_reason": None},
    ]


def test_a_failure_is_an_error_event() -> None:
    encoder = ChatEncoder(ENVELOPE)
    data = orjson.loads(sse.data_of(encoder.feed(Failure(UpstreamError("broken")))))
    assert data == {"error": {"message": "broken", "type": "upstream_error", "param": None, "code": "upstream_error"}}


def test_a_unary_answer() -> None:
    events: list[Event] = [
        Begin(id="own", model="big"),
        Reasoning("h"),
        Reasoning("m"),
        Text("Ah"),
        Text("oy"),
        Finish("length"),
        UsageReport(USAGE),
    ]
    assert orjson.loads(write_answer(events, ENVELOPE)) == {
        "id": "own",
        "object": "chat.completion",
        "created": 7,
        "model": "big",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Ahoy", "reasoning_content": "hm", "refusal": None},
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }


def test_a_unary_answer_of_tool_calls() -> None:
    events: list[Event] = [
        ToolCall(1, "{}", "b", "g"),
        ToolCall(0, '{"x"', None, "f"),
        ToolCall(0, ":1}"),
        Finish("stop"),
    ]
    (choice,) = orjson.loads(write_answer(events, ENVELOPE))["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "call_1_0_0", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_opaque_pieces_of_a_unary_answer_are_joined() -> None:
    def piece(**fields: Any) -> Opaque:
        return Opaque(DIALECT, {"choices": [{"index": 0, "delta": {}, **fields}]})

    events: list[Event] = [
        piece(delta={"refusal": "I "}),
        piece(delta={"refusal": "won't"}, logprobs={"content": [1], "refusal": None}),
        piece(logprobs={"content": [2], "refusal": None}),
        Opaque(DIALECT, {"service_tier": "default"}),
        Opaque("other", {"service_tier": "x"}),
        Finish("stop"),
    ]
    before = msgspec.json.encode(events)
    answer = orjson.loads(write_answer(events, ENVELOPE))
    assert answer["service_tier"] == "default"
    assert answer["choices"][0]["message"]["refusal"] == "I won't"
    assert answer["choices"][0]["logprobs"] == {"content": [1, 2], "refusal": None}
    assert msgspec.json.encode(events) == before


def test_an_answer_without_a_finish_invents_none() -> None:
    assert orjson.loads(write_answer([Text("a")], ENVELOPE))["choices"][0]["finish_reason"] is None
    assert orjson.loads(write_answer([], ENVELOPE))["choices"] == []


SEALED: list[Event] = [
    Reasoning("h"),
    Reasoning("m", signature="s"),
    Reasoning("", sealed="d"),
    Reasoning("", signature="t"),
    ToolCall(0, "{}", "a", "f", signature="g"),
    ToolCall(1, "l", "b", "sh", custom=True),
    ToolCall(1, "s", custom=True, signature="k"),
    Finish("stop"),
]
BLOCKS = [
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {"type": "redacted_thinking", "data": "d"},
    {"type": "thinking", "thinking": "", "signature": "t"},
]


def seal(signature: str) -> dict[str, Any]:
    return {"extra_content": {"google": {"thought_signature": signature}}}


def test_seals_come_with_what_they_seal() -> None:
    deltas = [choice["delta"] for choice in choices([Text("so"), *SEALED])][1:-1]
    assert deltas == [
        {"reasoning_content": "h"},
        {"reasoning_content": "m", "thinking_blocks": [{"index": 0, **BLOCKS[0]}]},
        {"thinking_blocks": [{"index": 1, **BLOCKS[1]}]},
        {"thinking_blocks": [{"index": 2, **BLOCKS[2]}]},
        {
            "tool_calls": [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, **seal("g")}
            ]
        },
        {"tool_calls": [{"index": 1, "id": "b", "type": "custom", "custom": {"name": "sh", "input": "l"}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": "s"}, **seal("k")}]},
    ]
    assert not choices([Reasoning("")])


def test_a_whole_answer_holds_the_seals() -> None:
    answer = orjson.loads(write_answer([Begin("id"), *SEALED], ENVELOPE))
    message = answer["choices"][0]["message"]
    assert message["reasoning_content"] == "hm"
    assert message["thinking_blocks"] == BLOCKS
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, **seal("g")},
        {"id": "b", "type": "custom", "custom": {"name": "sh", "input": "ls"}, **seal("k")},
    ]
    assert [event for event in read_answer(orjson.dumps(answer)) if isinstance(event, Reasoning)] == [
        Reasoning("hm", signature="s"),
        Reasoning("", sealed="d"),
        Reasoning("", signature="t"),
    ]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
INDEXES = st.integers(0, 2)
PIECES = st.one_of(
    st.builds(Text, TEXTS, INDEXES),
    st.builds(Reasoning, TEXTS, INDEXES),
    st.builds(ToolCall, st.integers(0, 2), TEXTS, index=INDEXES),
)


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """Any well-formed answer: calls are opened before they go on, each choice that said something finishes."""
    events: list[Event] = [Begin("id", "m", 1)]
    calls: dict[int, int] = {}
    for piece in draw(st.lists(PIECES)):
        if isinstance(piece, ToolCall):
            known = calls.get(piece.index, 0)
            if piece.call >= known:
                calls[piece.index] = known + 1
                name = draw(TEXTS)
                piece = ToolCall(known, piece.arguments, f"call-{piece.index}-{known}", name, piece.index)
        events.append(piece)
    indexes = sorted({event.index for event in events[1:]})  # type: ignore[union-attr]
    events += [Finish("tool_calls" if index in calls else "stop", index, "x") for index in indexes]
    return [*events, UsageReport(USAGE)]


def finished(events: Sequence[Event]) -> list[Event]:
    """Without `raw`, which our own wire does not carry."""
    return [Finish(event.reason, event.index) if isinstance(event, Finish) else event for event in events]


@given(answers())
def test_what_is_encoded_decodes_to_the_same_events(events: list[Event]) -> None:
    encoder = ChatEncoder(ASKED)
    stream = b"".join(encoder.feed(event) for event in events) + encoder.end()
    decoder = ChatDecoder()
    decoded = [event for frame in sse.Splitter().feed(stream) for event in decoder.feed(frame)]
    assert finished(decoded) == finished(events) if len(events) > 2 else decoded[-1:] == events[-1:]


def gathered(events: Sequence[Event]) -> dict[tuple[str, int, int], tuple[Any, ...]]:
    said: dict[tuple[str, int, int], tuple[Any, ...]] = {}
    for event in events:
        if isinstance(event, (Text, Reasoning)):
            key = (type(event).__name__, event.index, 0)
            said[key] = (said.get(key, ("",))[0] + event.text,)
        elif isinstance(event, ToolCall):
            key = ("call", event.index, event.call)
            identity, name, arguments = said.get(key, (event.id, event.name, ""))
            said[key] = (identity, name, arguments + event.arguments)
        elif isinstance(event, Finish):
            said["finish", event.index, 0] = (event.reason,)
    return said


@given(answers())
def test_a_whole_answer_says_the_same(events: list[Event]) -> None:
    read = read_answer(write_answer(events, ENVELOPE))
    assert gathered(read) == gathered(events)
    assert read[-1] == UsageReport(USAGE)
