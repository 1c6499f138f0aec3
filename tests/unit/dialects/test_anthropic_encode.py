from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.dialects.anthropic_decode import AnthropicDecoder, read_answer
from aiogateway.dialects.anthropic_encode import AnthropicEncoder, write_answer
from aiogateway.dialects.responses_seals import Seal, unwrap
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

ENVELOPE = Envelope(id="call-1", model="m", created=7)
USAGE = Usage(input=9, output=3, cached=2, cache_write=1, reasoning=1)
COUNTS = {
    "input_tokens": 6,
    "cache_creation_input_tokens": 1,
    "cache_read_input_tokens": 2,
    "output_tokens": 3,
    "output_tokens_details": {"thinking_tokens": 1},
}


def stream(events: Sequence[Event]) -> bytes:
    encoder = AnthropicEncoder(ENVELOPE)
    return b"".join(encoder.feed(event) for event in events) + encoder.end()


def encode(events: Sequence[Event]) -> list[dict[str, Any]]:
    """The events of a stream, each under its own name."""
    frames = sse.Splitter().feed(stream(events))
    said = [orjson.loads(sse.data_of(frame)) for frame in frames]
    assert [sse.event_name(frame) for frame in frames] == [each["type"] for each in said]
    return said


def blocks(events: Sequence[Event]) -> list[dict[str, Any]]:
    """The blocks of a stream, put together as the SDKs do; one after the other, each closed before the next."""
    found: list[dict[str, Any]] = []
    open_index: int | None = None
    for event in encode(events)[1:-2]:
        if event["type"] == "content_block_start":
            assert open_index is None
            open_index = event["index"]
            assert open_index == len(found)
            found.append({**event["content_block"], "pieces": []})
            continue
        assert event["index"] == open_index
        if event["type"] == "content_block_stop":
            open_index = None
        else:
            piece = {name: value for name, value in event["delta"].items() if name != "type"}
            found[-1]["pieces"] += piece.values()
    assert open_index is None
    return found


def test_text() -> None:
    assert encode(
        [Begin("msg_1", "claude"), Text("Ahoy"), Text(""), Text(" ⚓"), Finish("stop"), UsageReport(USAGE)]
    ) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "claude",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": 0,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0,
                    "output_tokens": 0,
                },
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Ahoy"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " ⚓"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": COUNTS},
        {"type": "message_stop"},
    ]


def test_an_answer_without_an_envelope_gets_ours() -> None:
    start, *_ = encode([Text("a")])
    assert (start["message"]["id"], start["message"]["model"]) == ("call-1", "m")
    start, *_ = encode([])
    assert start["type"] == "message_start"


def test_thoughts() -> None:
    events: list[Event] = [
        Reasoning("h"),
        Reasoning("m"),
        Reasoning("", signature="s"),
        Reasoning("next"),
        Reasoning("", sealed="d"),
        Text("so"),
        Reasoning("", signature="untold"),
    ]
    assert blocks(events) == [
        {"type": "thinking", "thinking": "", "signature": "", "pieces": ["h", "m", "s"]},
        {"type": "thinking", "thinking": "", "signature": "", "pieces": ["next"]},
        {"type": "redacted_thinking", "data": "d", "pieces": []},
        {"type": "text", "text": "", "pieces": ["so"]},
        {"type": "thinking", "thinking": "", "signature": "", "pieces": ["untold"]},
    ]
    content = orjson.loads(write_answer(events, ENVELOPE))["content"]
    assert content == [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "thinking", "thinking": "next", "signature": ""},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "so"},
        {"type": "thinking", "thinking": "", "signature": "untold"},
    ]


def test_calls_one_after_the_other_stream() -> None:
    encoder = AnthropicEncoder(ENVELOPE)
    encoder.feed(ToolCall(0, '{"a":1}', "a", "f"))
    encoder.feed(ToolCall(1, "", "b", "g"))
    assert b'"index":1' in encoder.feed(ToolCall(1, '{"b"'))


def test_calls_whose_pieces_are_mixed_come_one_after_the_other() -> None:
    events: list[Event] = [
        Text("look"),
        ToolCall(0, "", "a", "f"),
        ToolCall(1, "", "b", "g"),
        ToolCall(1, '{"b":'),
        ToolCall(0, '{"a":'),
        Text("meanwhile"),
        ToolCall(0, "1}"),
        ToolCall(1, "2}"),
        ToolCall(2, "", None, "h"),
        Finish("stop"),
    ]
    found = blocks(events)
    assert [(block.get("id"), "".join(block["pieces"])) for block in found] == [
        (None, "look"),
        ("a", '{"a":1}'),
        ("b", '{"b":2}'),
        (None, "meanwhile"),
        ("call_1_0_2", ""),
    ]
    assert encode(events)[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_late_piece_of_a_call_that_was_whole_is_not_another_call() -> None:
    events: list[Event] = [
        ToolCall(0, "{}", "a", "f"),
        ToolCall(1, "{}", "b", "g"),
        ToolCall(0, " "),
        ToolCall(0, signature="s"),
    ]
    found = blocks(events)
    assert [block["id"] for block in found[:2]] == ["a", "b"]
    assert [unwrap(block["data"]) for block in found[2:]] == [Seal(calls={"a": "s"})]


def test_a_seal_over_a_call_stands_beside_it() -> None:
    events: list[Event] = [
        Text("look"),
        ToolCall(0, "{", "a", "f", signature="s"),
        ToolCall(1, "{}", None, "g", signature="t"),
        ToolCall(0, "}"),
        ToolCall(0, "{}", "b", "h", index=1, signature="u"),
    ]
    kinds = ["text", "redacted_thinking", "tool_use", "redacted_thinking", "tool_use"]
    seals = [Seal(calls={"a": "s"}), Seal(calls={"call_1_0_1": "t"})]
    for found in (blocks(events), orjson.loads(write_answer(events, ENVELOPE))["content"]):
        assert [block["type"] for block in found] == kinds
        assert [unwrap(block["data"]) for block in found if "data" in block] == seals
        assert [block["id"] for block in found if "id" in block] == ["a", "call_1_0_1"]


def refuse(text: str, index: int = 0) -> Event:
    return Opaque("openai_chat", {"choices": [{"index": index, "delta": {"refusal": text}}]})


@pytest.mark.parametrize(
    ("finish", "said"),
    [(Finish("stop"), "refusal"), (Finish("content_filter"), "refusal"), (Finish("length"), "max_tokens")],
)
def test_a_refusal_is_told(finish: Finish, said: str) -> None:
    events: list[Event] = [refuse("I can't "), refuse("do that."), refuse("Nor I.", 1), finish]
    (block,) = blocks(events)
    assert (block["type"], "".join(block["pieces"])) == ("text", "I can't do that.")
    assert encode(events)[-2]["delta"]["stop_reason"] == said
    answer = orjson.loads(write_answer(events, ENVELOPE))
    assert (answer["content"], answer["stop_reason"]) == ([{"type": "text", "text": "I can't do that."}], said)


@pytest.mark.parametrize(
    ("finish", "calling", "said"),
    [
        (Finish("stop", raw="eos"), False, "end_turn"),
        (Finish("stop", raw="stop_sequence"), False, "stop_sequence"),
        (Finish("stop", raw="pause_turn"), False, "pause_turn"),
        (Finish("stop", raw="stop"), True, "tool_use"),
        (Finish("tool_calls", raw="tool_calls"), True, "tool_use"),
        (Finish("length", raw="length"), True, "max_tokens"),
        (Finish("length", raw="model_context_window_exceeded"), False, "model_context_window_exceeded"),
        (Finish("content_filter", raw="SAFETY"), False, "refusal"),
    ],
)
def test_stop_reasons(finish: Finish, calling: bool, said: str) -> None:
    events: list[Event] = [*[ToolCall(0, "{}", "a", "f")] * calling, finish]
    assert encode(events)[-2]["delta"]["stop_reason"] == said
    assert orjson.loads(write_answer(events, ENVELOPE))["stop_reason"] == said


def test_an_answer_without_a_finish_invents_none() -> None:
    answer = orjson.loads(write_answer([Text("a")], ENVELOPE))
    assert (answer["stop_reason"], answer["usage"]["output_tokens"]) == (None, 0)


def test_own_opaque_blocks_come_back_and_others_do_not() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
    events: list[Event] = [
        Opaque("anthropic", search),
        Opaque("anthropic", {"type": "citations_delta", "citation": {}}),
        Opaque("openai_chat", {"choices": []}),
        Text("a"),
        Text("second choice", 1),
        Vectors(()),
    ]
    assert blocks(events) == [{**search, "pieces": []}, {"type": "text", "text": "", "pieces": ["a"]}]
    content = orjson.loads(write_answer(events, ENVELOPE))["content"]
    assert content == [search, {"type": "text", "text": "a"}]


def test_a_failure_is_an_error_event() -> None:
    out = AnthropicEncoder(ENVELOPE).feed(Failure(UpstreamError("broken")))
    assert orjson.loads(sse.data_of(out))["error"]["message"] == "broken"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
PIECES = st.one_of(
    st.builds(Text, TEXTS),
    st.builds(Reasoning, TEXTS),
    st.builds(Reasoning, st.just(""), signature=TEXTS),
    st.builds(Reasoning, st.just(""), sealed=TEXTS),
    st.builds(ToolCall, st.integers(0, 2), TEXTS),
)


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """Any answer: calls are opened before they go on, their pieces mixed; arguments are JSON in the end."""
    events: list[Event] = [Begin("id", "m")]
    calls: dict[int, str] = {}
    for piece in draw(st.lists(PIECES)):
        if not isinstance(piece, ToolCall):
            events.append(piece)
            continue
        number = min(piece.call, len(calls))
        opening = number not in calls
        text = orjson.dumps(piece.arguments).decode()[1:-1]
        text = '{"x":"' + text if opening else text
        calls[number] = calls.get(number, "") + text
        events.append(ToolCall(number, text, f"id{number}" if opening else None, "f" if opening else None))
    events += [ToolCall(number, '"}') for number in calls]
    return [*events, Finish("tool_calls" if calls else "stop"), UsageReport(USAGE)]


def gathered(events: Sequence[Event]) -> tuple[Any, ...]:
    texts = "".join(event.text for event in events if isinstance(event, Text))
    thoughts = [(event.text, event.signature, event.sealed) for event in events if isinstance(event, Reasoning)]
    told = "".join(text for text, _, _ in thoughts)
    seals = [(signature, sealed) for _, signature, sealed in thoughts if signature or sealed]
    calls: dict[str, str] = {}
    names: dict[int, str] = {}
    for event in events:
        if isinstance(event, ToolCall):
            identity = names.setdefault(event.call, event.id or "")
            calls[identity] = calls.get(identity, "") + event.arguments
    parsed = {identity: orjson.loads(arguments) for identity, arguments in calls.items()}
    reasons = [event.reason for event in events if isinstance(event, Finish)]
    return texts, told, seals, parsed, reasons, events[-1]


@given(answers())
def test_what_is_encoded_says_the_same_when_decoded(events: list[Event]) -> None:
    decoder = AnthropicDecoder()
    decoded = [event for frame in sse.Splitter().feed(stream(events)) for event in decoder.feed(frame)]
    assert gathered(decoded) == gathered(events)
    blocks(events)


@given(answers())
def test_a_whole_answer_says_the_same(events: list[Event]) -> None:
    assert gathered(read_answer(write_answer(events, ENVELOPE))) == gathered(events)
