"""Streams here are cut at every byte, and say the same; sourced ones stand in tests/conformance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from aiogateway.dialects.responses_decode import ResponseDecoder, read_answer
from aiogateway.dialects.responses_parts import DIALECT
from aiogateway.neutral import Begin, Event, Failure, Finish, Opaque, Reasoning, Text, ToolCall, UsageReport
from aiogateway.types import Usage
from aiogateway.wire import sse

Fields = dict[str, Any]
BEGIN = Begin("resp_1", "m", 5)
STOP = Finish("stop", raw="completed")
CALLS = Finish("tool_calls", raw="completed")
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 14,
}


def response(status: str = "completed", *output: Fields, **more: Any) -> Fields:
    return {
        "id": "resp_1", "object": "response", "created_at": 5, "model": "m", "status": status, "error": None,
        "output": list(output), "usage": None, **more,
    }  # fmt: skip


def created() -> Fields:
    return {"type": "response.created", "response": response("in_progress")}


def ended(*output: Fields, status: str = "completed", **more: Any) -> Fields:
    return {"type": f"response.{status}", "response": response(status, *output, **more)}


def added(item: Fields, at: int = 0) -> Fields:
    return {"type": "response.output_item.added", "output_index": at, "item": item}


def done(item: Fields, at: int = 0) -> Fields:
    return {"type": "response.output_item.done", "output_index": at, "item": item}


def delta(kind: str, text: str, at: int = 0, **more: Any) -> Fields:
    return {"type": f"response.{kind}.delta", "output_index": at, "item_id": "i", "delta": text, **more}


def message(*parts: Fields, **more: Any) -> Fields:
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": list(parts), **more}


def text(said: str, **more: Any) -> Fields:
    return {"type": "output_text", "text": said, "annotations": [], **more}


def call(arguments: str = "", call_id: str = "c1", **more: Any) -> Fields:
    fields = {"id": f"fc_{call_id}", "type": "function_call", "call_id": call_id, "name": "f", "arguments": arguments}
    return {**fields, **more}


def custom(text: str = "") -> Fields:
    return {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": text}


def thought(*texts: str, content: str | None = None) -> Fields:
    summary = [{"type": "summary_text", "text": text} for text in texts]
    return {"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": content}


def decode(*events: Fields) -> list[Event]:
    """The events, after checking that no split point changes them."""
    stream = b"".join(sse.frame(orjson.dumps(event), event["type"]) for event in events)
    found = decode_bytes(stream)
    for cut in range(1, len(stream)):
        assert repr(decode_bytes(stream[:cut], stream[cut:])) == repr(found)  # errors are equal to themselves only
    return found


def decode_bytes(*reads: bytes) -> list[Event]:
    decoder, splitter = ResponseDecoder(), sse.Splitter()
    return [event for read in reads for frame in splitter.feed(read) for event in decoder.feed(frame)]


def show(fields: Fields, **more: Any) -> Opaque:
    return Opaque("openai_chat", {"choices": [{"index": 0, "delta": fields, **more}]})


def test_text() -> None:
    item = message(text("Ahoy 💥"))
    assert decode(
        created(),
        {"type": "response.in_progress", "response": response("in_progress")},
        added(message()),
        {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "part": text("")},
        delta("output_text", "Ahoy"),
        delta("output_text", ""),
        delta("output_text", " 💥"),
        {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Ahoy 💥"},
        done(item),
        ended(item, usage=USAGE),
    ) == [
        BEGIN,
        Text("Ahoy"),
        Text(" 💥"),
        UsageReport(Usage(input=9, output=5, cached=2, cache_write=1, reasoning=3)),
        STOP,
    ]


def test_calls_in_turns() -> None:
    first, second = call('{"a":1}'), call("{}", "c2")
    kind = "function_call_arguments"
    assert decode(
        created(),
        added(call()),
        added(call("", "c2"), 1),
        delta(kind, '{"a"'),
        delta(kind, "{}", 1),
        delta(kind, ":1}"),
        done(first),
        done(second, 1),
        ended(first, second),
    ) == [
        BEGIN, ToolCall(0, "", "c1", "f"), ToolCall(1, "", "c2", "f"), ToolCall(0, '{"a"'), ToolCall(1, "{}"),
        ToolCall(0, ":1}"), CALLS,
    ]  # fmt: skip


def test_a_custom_tools_call() -> None:
    """The response has it at another place than the stream (vercel/ai, openai-custom-text-tool.1.chunks.txt)."""
    item = custom("<main>")
    assert decode(
        created(),
        added(custom(), 1),
        delta("custom_tool_call_input", "<", 1),
        delta("custom_tool_call_input", "main>", 1),
        done(item, 1),
        ended(item),
    ) == [
        BEGIN,
        ToolCall(0, "", "c1", "patch", custom=True),
        ToolCall(0, "<", custom=True),
        ToolCall(0, "main>", custom=True),
        CALLS,
    ]


@pytest.mark.parametrize(
    ("item", "events"),
    [
        (message(text("a"), text("b")), [Text("ab"), STOP]),
        (message({"type": "refusal", "refusal": "no"}), [show({"refusal": "no"}), STOP]),
        (call("{}"), [ToolCall(0, "{}", "c1", "f"), CALLS]),
        (custom("x"), [ToolCall(0, "x", "c1", "patch", custom=True), CALLS]),
        (thought("a", "b", content="gA"), [Reasoning("a\n\nb", signature="openai_responses:rs_1:gA", id="rs_1"), STOP]),
        (thought("a"), [Reasoning("a", id="rs_1"), STOP]),
        (thought(content="gA"), [Reasoning("", sealed="openai_responses:rs_1:gA", id="rs_1"), STOP]),
        (thought(), [STOP]),
        (
            message(text("a", annotations=[{"type": "url_citation"}])),
            [Text("a"), Opaque(DIALECT, {"annotations": [{"type": "url_citation"}]}), STOP],
        ),
        (
            {"type": "web_search_call", "id": "ws"},
            [Opaque(DIALECT, {"item": {"type": "web_search_call", "id": "ws"}}), STOP],
        ),
    ],
)
def test_an_item_may_come_whole_or_at_the_end(item: Fields, events: list[Event]) -> None:
    expected = [BEGIN, *events]
    assert decode(created(), done(item), ended(item)) == expected
    assert decode(created(), done(item), ended()) == expected
    assert decode(created(), ended(item)) == expected
    assert decode(ended(item)) == expected
    assert read_answer(orjson.dumps(response("completed", item))) == expected


def test_what_was_cut_short_is_completed() -> None:
    assert decode(created(), delta("output_text", "Ah"), done(message(text("Ahoy"))), ended())[1:3] == [
        Text("Ah"), Text("oy"),
    ]  # fmt: skip
    assert decode(created(), added(call()), delta("function_call_arguments", "{"), ended(call("{}")))[1:] == [
        ToolCall(0, "", "c1", "f"), ToolCall(0, "{"), ToolCall(0, "}"), CALLS,
    ]  # fmt: skip


def test_arguments_before_their_name() -> None:
    assert decode(created(), delta("function_call_arguments", "{"), done(call("{}")), ended())[1:] == [
        ToolCall(0, "{", "c1", "f"), ToolCall(0, "}"), CALLS,
    ]  # fmt: skip


def test_what_says_something_else_at_the_end_is_not_said_twice() -> None:
    assert decode(created(), delta("output_text", "Ahoy"), done(message(text("Hello"))), ended())[1:] == [
        Text("Ahoy"), STOP,
    ]  # fmt: skip


def test_thoughts() -> None:
    summary = "reasoning_summary_text"
    item = thought("a b", "c", content="gB")
    assert decode(
        created(),
        added(thought(content="gA")),
        delta(summary, "a", summary_index=0),
        delta(summary, " b", summary_index=0),
        delta(summary, "c", summary_index=1),
        done(item),
        done(item),
        ended(item),
    ) == [
        BEGIN, Reasoning("a"), Reasoning(" b"), Reasoning("\n\n"), Reasoning("c"),
        Reasoning("", signature="openai_responses:rs_1:gB", id="rs_1"), STOP,
    ]  # fmt: skip


def test_thoughts_told_as_they_are() -> None:
    item = {**thought(), "content": [{"type": "reasoning_text", "text": "a"}]}
    assert decode(created(), delta("reasoning_text", "a", content_index=0), done(item), ended())[1:] == [
        Reasoning("a"), STOP,
    ]  # fmt: skip
    assert decode(created(), done(item), ended())[1:] == [Reasoning("a", id="rs_1"), STOP]


def test_refusals_and_log_probabilities_are_chats() -> None:
    logprobs = [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}]
    assert decode(
        created(),
        delta("output_text", "a", logprobs=logprobs),
        delta("refusal", "n", 1),
        delta("refusal", "o", 1),
        done(message({"type": "refusal", "refusal": "no"}), 1),
        ended(message(text("a"))),
    )[1:] == [
        Text("a"),
        show({}, logprobs={"content": logprobs}),
        show({"refusal": "n"}),
        show({"refusal": "o"}),
        STOP,
    ]


@pytest.mark.parametrize(
    ("details", "finish"),
    [
        ({"reason": "max_output_tokens"}, Finish("length", raw="max_output_tokens")),
        ({"reason": "content_filter"}, Finish("content_filter", raw="content_filter")),
        ({"reason": "steered"}, Finish("length", raw="steered")),
        (None, Finish("length", raw="incomplete")),
    ],
)
def test_an_incomplete_answer(details: Fields | None, finish: Finish) -> None:
    item = message(text("a"))
    expected = [BEGIN, Text("a"), finish]
    assert decode(created(), done(item), ended(item, status="incomplete", incomplete_details=details)) == expected
    assert read_answer(orjson.dumps(response("incomplete", item, incomplete_details=details))) == expected


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        (
            {"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": None},
            429,
            "rate_limit_exceeded",
        ),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "slow"}}, 529, None),
        (ended(status="failed", error={"code": "server_error", "message": "slow"}), 502, "server_error"),
        ({"type": "x", "error": {"message": "slow", "code": 503}}, 503, "503"),
    ],
)
def test_failures(event: Fields, status: int, code: str | None) -> None:
    *events, failure = decode(created(), delta("output_text", '"error"'), event)
    assert events == [BEGIN, Text('"error"')]
    assert isinstance(failure, Failure)
    assert (failure.error.status, failure.error.message) == (status, "slow")
    assert getattr(failure.error, "error_code", None) == code


@pytest.mark.parametrize("status", ["failed", "cancelled", "queued", "in_progress"])
def test_a_unary_answer_that_is_none(status: str) -> None:
    error = {"code": "server_error", "message": "oops"} if status == "failed" else None
    _, failure = read_answer(orjson.dumps(response(status, error=error)))
    assert isinstance(failure, Failure)
    assert failure.error.message == ("oops" if error else f"the response is {status}")


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"output":{}}', b'{"choices":[]}'])
def test_a_malformed_body(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a|unexpected|EOF|key must"):
        read_answer(body)


def test_what_says_nothing() -> None:
    frames: Sequence[bytes] = (b": ping\n\n", b"data: [DONE]\n\n", b'data: {"type":"response.output_text.delta"}\n\n')
    assert decode_bytes(*frames) == []
    unknown = {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws"}
    assert decode({"type": "keepalive", "sequence_number": 3}, unknown) == []
    assert decode_bytes(b'data: {"type":["odd"]}\n\n') == []


@pytest.mark.parametrize("kind", ["refusal", "reasoning_text", "reasoning_summary_text", "custom_tool_call_input"])
def test_empty_pieces_are_none(kind: str) -> None:
    assert decode(created(), delta(kind, ""), {"type": f"response.{kind}.delta"}, ended()) == [BEGIN, STOP]


def test_odd_values() -> None:
    odd = {"id": 1, "model": 2, "created_at": 1700000000.0, "output": [1, {"type": 1, "id": [], "content": [1, {}]}]}
    assert decode({"type": "response.completed", "response": odd}) == [Begin(created=1_700_000_000), STOP]
    assert decode(added({"type": "function_call"}), delta("function_call_arguments", "{}"))[0] == ToolCall(
        0, "", None, ""
    )


def test_malformed_frames() -> None:
    decoder = ResponseDecoder()
    for frame in (b"data: {\n\n", b"data: []\n\n"):
        with pytest.raises(ValueError, match=r"not a JSON object|unexpected end"):
            list(decoder.feed(frame))
