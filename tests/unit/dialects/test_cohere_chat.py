from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.cohere_chat import CohereChat, as_whole, count_usage
from aiogateway.neutral import (
    Begin,
    ChatRequest,
    Event,
    Failure,
    Finish,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    UsageReport,
)
from aiogateway.types import Usage

COHERE = CohereChat()
TOKENS = {"billed_units": {"input_tokens": 5, "output_tokens": 2}, "tokens": {"input_tokens": 71, "output_tokens": 3}}


def frame(event: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (str(event.get("type")).encode(), orjson.dumps(event))


def decode(*events: dict[str, Any]) -> list[Event]:
    decoder = COHERE.decoder()
    return [event for sent in events for event in decoder.feed(frame(sent))]


def start_call(index: int, name: str = "f", arguments: str = "") -> dict[str, Any]:
    call = {"id": f"{name}_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": call}}}


def argue(index: int, arguments: str) -> dict[str, Any]:
    calls = {"function": {"arguments": arguments}}
    return {"type": "tool-call-delta", "index": index, "delta": {"message": {"tool_calls": calls}}}


def end(reason: str, **more: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, **more}}


def answer(message: dict[str, Any], **more: Any) -> bytes:
    return orjson.dumps({"id": "i", "message": {"role": "assistant", **message}, "finish_reason": "COMPLETE", **more})


def test_a_stream() -> None:
    assert decode(
        {"type": "message-start", "id": "i", "delta": {"message": {"role": "assistant"}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "thinking", "thinking": "H"}}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"thinking": "m"}}}},
        {"type": "content-end", "index": 0},
        {"type": "content-start", "index": 1, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        {"type": "content-delta", "index": 1, "delta": {"message": {"content": {"text": "4"}}}, "logprobs": {"x": 1}},
        end("COMPLETE", usage=TOKENS),
        end("COMPLETE", usage=TOKENS),
    ) == [
        Begin("i"),
        Reasoning("H"),
        Reasoning("m"),
        Text("4"),
        Opaque("cohere_chat", {"logprobs": {"x": 1}}),
        Finish("stop", raw="COMPLETE"),
        UsageReport(Usage(input=71, output=3)),
    ]


def test_calls_in_pieces() -> None:
    plan = {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will."}}}
    assert decode(
        plan,
        start_call(3),
        argue(3, '{"a"'),
        argue(3, ": 1}"),
        argue(3, ""),
        start_call(4, "g", "{}"),
        end("TOOL_CALL"),
    ) == [
        Reasoning("I will."),
        ToolCall(0, "", "f_1", "f"),
        ToolCall(0, '{"a"'),
        ToolCall(0, ": 1}"),
        ToolCall(1, "{}", "g_1", "g"),
        Finish("tool_calls", raw="TOOL_CALL"),
    ]


@pytest.mark.parametrize("said", ["", "null"])
def test_a_call_without_arguments(said: str) -> None:
    events = decode(start_call(0), argue(0, said), {"type": "tool-call-end", "index": 0})
    assert "".join(event.arguments for event in events if isinstance(event, ToolCall)) == "{}"
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": said}}
    assert COHERE.read_answer(answer({"tool_calls": [call]}))[1] == ToolCall(0, "{}", "1", "f")


def test_an_end_of_a_call_that_never_began() -> None:
    assert decode({"type": "tool-call-end", "index": 0}) == []


def test_a_call_needs_a_name() -> None:
    with pytest.raises(ValueError, match="name"):
        decode(start_call(0, ""))


def test_a_call_makes_the_finish_tool_calls() -> None:
    assert decode(start_call(0), end("COMPLETE"))[-1] == Finish("tool_calls", raw="COMPLETE")
    assert decode(start_call(0), end("MAX_TOKENS"))[-1] == Finish("length", raw="MAX_TOKENS")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [("STOP_SEQUENCE", "stop"), ("MAX_TOKENS", "length"), ("ERROR_TOXIC", "content_filter"), ("NEW", "stop")],
)
def test_reasons(raw: str, reason: str) -> None:
    assert decode(end(raw)) == [Finish(reason, raw=raw)]


def test_citations_are_opaque() -> None:
    cited = {"start": 0, "end": 2, "text": "At"}
    assert decode({"type": "citation-start", "delta": {"message": {"citations": cited}}}, {"type": "citation-end"}) == [
        Opaque("cohere_chat", {"citations": cited})
    ]
    events = COHERE.read_answer(answer({"content": [{"type": "text", "text": "At"}], "citations": [cited]}))
    assert Opaque("cohere_chat", {"citations": [cited]}) in events


def test_a_whole_answer() -> None:
    content = [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "4"}]
    assert COHERE.read_answer(answer({"content": content, "tool_plan": "Plan"}, usage=TOKENS)) == [
        Begin("i"),
        Reasoning("Plan"),
        Reasoning("Hm"),
        Text("4"),
        Finish("stop", raw="COMPLETE"),
        UsageReport(Usage(input=71, output=3)),
    ]


def test_an_answer_that_does_not_end() -> None:
    with pytest.raises(ValueError, match="ended"):
        COHERE.read_answer(b'{"message": {"content": []}}')


@pytest.mark.parametrize(("word", "status"), [("ERROR", 502), ("TIMEOUT", 504)])
def test_ends_that_are_none(word: str, status: int) -> None:
    (event,) = decode(end(word, error="the generation failed"))
    assert isinstance(event, Failure)
    assert (event.error.status, event.error.message) == (status, "the generation failed")
    failure = COHERE.read_failure(frame(end(word)))
    assert failure is not None
    assert failure.error_code == word
    body = COHERE.read_body_failure(orjson.dumps({"finish_reason": word, "message": {"content": []}}))
    assert body is not None
    assert body.status == status


def test_bodies_that_are_errors() -> None:
    for body in (b'{"message": "no such model", "id": "x"}', b'{"error": {"message": "no such model"}}'):
        failure = COHERE.read_body_failure(body)
        assert failure is not None
        assert failure.message == "no such model"
        assert isinstance(COHERE.read_answer(body)[0], Failure)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"message": {"content": []}}'])
def test_bodies_that_are_none(body: bytes) -> None:
    assert COHERE.read_body_failure(body) is None
    assert COHERE.read_failure(b"data: " + body + b"\n\n") is None


def test_usage_from_a_tail_or_a_body() -> None:
    tail = frame(end("COMPLETE", usage=TOKENS))
    usage = Usage(input=71, output=3)
    for found in (b'cut": 1}}\n\n' + tail, tail + b"data: [DONE]\n\n", answer({}, usage=TOKENS)):
        assert COHERE.read_usage(found) == usage
    for none in (b"", b'"usage": {', b'data: {"usage": 7}\n\n', answer({})):
        assert COHERE.read_usage(none) is None


def test_counting() -> None:
    assert count_usage({**TOKENS, "cached_tokens": 64}) == Usage(input=71, output=3, cached=64)
    assert count_usage({"billed_units": {"input_tokens": 5.0, "output_tokens": 2.0}}) == Usage(input=5, output=2)
    assert count_usage({"billed_units": {"search_units": 1}}) is None
    assert [as_whole(value) for value in (5.0, 5, 5.5, True, "5", None)] == [5, 5, 0, 0, 0, 0]


def test_frames() -> None:
    decoder = COHERE.decoder()
    assert list(decoder.feed(b"data: [DONE]\n\n")) == list(decoder.feed(b": ping\n\n")) == []
    assert list(decoder.feed(frame({"type": "debug"}))) == []
    with pytest.raises(ValueError, match=r"."):
        list(decoder.feed(b"data: {\n\n"))
    assert COHERE.is_malformed(b"data: {\n\n")
    assert not COHERE.is_malformed(b"data: [DONE]\n\n")


def test_it_writes() -> None:
    assert COHERE.write_request(ChatRequest(model="m", messages=())).body["model"] == "m"
