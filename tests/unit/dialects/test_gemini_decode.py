from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.gemini_decode import REASONS, GeminiDecoder, data_of, read_answer
from aiogateway.dialects.gemini_failures import BROKEN
from aiogateway.neutral import Begin, Event, Failure, Finish, Opaque, Reasoning, Text, ToolCall, UsageReport
from aiogateway.testing import split_points
from aiogateway.types import Usage
from aiogateway.wire import sse


def candidate(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **fields}]}


def decode(*payloads: dict[str, Any]) -> list[Event]:
    decoder = GeminiDecoder()
    return [event for payload in payloads for event in decoder.feed(sse.frame(orjson.dumps(payload)))]


def answer(payload: dict[str, Any]) -> list[Event]:
    return list(read_answer(orjson.dumps(payload)))


def test_a_stream() -> None:
    head = {"responseId": "r1", "modelVersion": "gemini-2.5-flash", "createTime": "2026-01-02T03:04:05.678901Z"}
    events = decode(
        candidate({"text": "Hm", "thought": True}) | head,
        candidate({"text": "Good "}) | head,
        candidate({"text": "day"}, finishReason="STOP") | head | {"usageMetadata": {"promptTokenCount": 2}},
    )
    assert events == [
        Begin("r1", "gemini-2.5-flash", 1767323045),
        Reasoning("Hm"),
        Text("Good "),
        Text("day"),
        Finish("stop", 0, "STOP"),
        UsageReport(Usage(input=2)),
    ]


def test_the_same_events_at_every_split() -> None:
    chunks = (
        candidate({"text": "Käpt’n"}),
        candidate({"functionCall": {"name": "f", "args": {"a": "ö"}}}, finishReason="STOP"),
    )
    data = b"".join(sse.frame(orjson.dumps(chunk)) for chunk in chunks)
    whole = None
    for pieces in split_points(data):
        splitter, decoder = sse.Splitter(1 << 20), GeminiDecoder()
        events = [event for piece in pieces for frame in splitter.feed(piece) for event in decoder.feed(frame)]
        assert splitter.rest() == b""
        whole = events if whole is None else whole
        assert events == whole
    assert whole is not None
    assert whole[-1] == Finish("tool_calls", 0, "STOP")


def test_calls_without_ids_get_their_own_and_keep_it() -> None:
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    payload = candidate(call, call, finishReason="STOP") | {"responseId": "r1"}
    first = [event for event in answer(payload) if isinstance(event, ToolCall)]
    again = [event for event in decode(payload) if isinstance(event, ToolCall)]
    assert first == again
    assert [event.call for event in first] == [0, 1]
    assert len({event.id for event in first}) == 2
    assert {(event.name, event.arguments) for event in first} == {("f", '{"a":1}')}


def test_calls_are_numbered_over_all_chunks() -> None:
    chunk = candidate({"functionCall": {"id": "x", "name": "f"}, "thoughtSignature": "c2VhbA=="})
    calls = [event for event in decode(chunk, chunk) if isinstance(event, ToolCall)]
    assert calls == [
        ToolCall(0, "{}", "x", "f", signature="c2VhbA=="),
        ToolCall(1, "{}", "x", "f", signature="c2VhbA=="),
    ]


def test_a_call_without_a_name_is_malformed() -> None:
    with pytest.raises(ValueError, match="without a name"):
        answer(candidate({"functionCall": {"args": {}}}))


def test_a_seal_on_text_travels_as_that_of_a_thought() -> None:
    events = answer(candidate({"text": "4"}, {"text": "", "thoughtSignature": "c2VhbA=="}, finishReason="STOP"))
    assert events[1:] == [Text("4"), Reasoning("", signature="gemini:c2VhbA=="), Finish("stop", 0, "STOP")]


def test_a_seal_on_a_thought_stays_with_it() -> None:
    part = {"text": "Hm", "thought": True, "thoughtSignature": "c2VhbA=="}
    assert answer(candidate(part, {"text": "", "thought": True}))[1:] == [Reasoning("Hm", signature="gemini:c2VhbA==")]


@pytest.mark.parametrize("reason", ["STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "SPII", "OTHER", "UNHEARD_OF"])
def test_a_finish_reason_is_read_and_kept(reason: str) -> None:
    assert answer(candidate({"text": "a"}, finishReason=reason))[-1] == Finish(REASONS.get(reason, "stop"), 0, reason)


def test_a_limit_is_a_limit_although_there_are_calls() -> None:
    events = answer(candidate({"functionCall": {"name": "f"}}, finishReason="MAX_TOKENS"))
    assert events[-1] == Finish("length", 0, "MAX_TOKENS")


def test_an_unspecified_reason_ends_nothing_and_a_second_one_is_not_repeated() -> None:
    events = decode(
        candidate({"text": "a"}, finishReason="FINISH_REASON_UNSPECIFIED"),
        candidate(finishReason="STOP"),
        candidate(finishReason="STOP"),
    )
    assert [event for event in events if isinstance(event, Finish)] == [Finish("stop", 0, "STOP")]


def test_no_broken_reason_is_a_finish() -> None:
    assert not set(BROKEN) & set(REASONS)
    events = decode(candidate({"text": "a"}), candidate(finishReason="MALFORMED_FUNCTION_CALL"))
    assert isinstance(events[-1], Failure)
    assert not any(isinstance(event, Finish) for event in events)


def test_a_blocked_prompt_is_filtered() -> None:
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}}
    assert answer(blocked)[1:] == [
        Finish("content_filter", 0, "PROHIBITED_CONTENT"),
        UsageReport(Usage(input=3)),
    ]


def test_a_late_block_ends_what_is_open() -> None:
    two = {"candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1, "content": {"parts": [{"text": "b"}]}}]}
    events = decode(two, {"promptFeedback": {"blockReason": "SAFETY"}})
    assert [event for event in events if isinstance(event, Finish)] == [
        Finish("stop", 0, "STOP"),
        Finish("content_filter", 1, "SAFETY"),
    ]


def test_candidates_keep_their_index() -> None:
    payload = {
        "candidates": [
            {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"},
            {"content": {"parts": [{"functionCall": {"name": "f"}}]}, "finishReason": "STOP", "index": 1},
        ]
    }
    events = answer(payload)
    assert events[1:3] == [Text("a"), Finish("stop", 0, "STOP")]
    assert events[-1] == Finish("tool_calls", 1, "STOP")


def test_an_image_is_shown_to_chat_clients() -> None:
    events = answer(candidate({"inlineData": {"mimeType": "image/webp", "data": "AAAA"}}))
    image = {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}}
    assert events[1:] == [Opaque("openai_chat", {"choices": [{"index": 0, "delta": {"images": [image]}}]})]


def test_sources_and_log_probabilities_are_shown_to_chat_clients() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.5}, {"token": "!"}],
        "topCandidates": [{"candidates": [{"token": "e", "logProbability": -1}]}],
    }
    [_, _, shown] = answer(
        candidate({"text": "é!"}, logprobsResult=result, groundingMetadata={"webSearchQueries": ["q"]})
    )
    assert isinstance(shown, Opaque)
    choice = shown.data["choices"][0]
    assert choice["groundingMetadata"] == {"webSearchQueries": ["q"]}
    assert choice["logprobs"] == {
        "content": [
            {
                "token": "é",
                "logprob": -0.5,
                "bytes": [0xC3, 0xA9],
                "top_logprobs": [{"token": "e", "logprob": -1, "bytes": [0x65]}],
            },
            {"token": "!", "logprob": 0.0, "bytes": [0x21], "top_logprobs": []},
        ]
    }


def test_what_google_ran_itself_is_opaque() -> None:
    part = {"executableCode": {"language": "PYTHON", "code": "1+1"}}
    assert answer(candidate(part, {}))[1:] == [Opaque("gemini", {"index": 0, "part": part})]


def test_an_array_is_a_stream_that_came_at_once() -> None:
    body = orjson.dumps([candidate({"text": "a"}), candidate({"text": "b"}, finishReason="STOP")])
    assert list(read_answer(body))[1:] == [Text("a"), Text("b"), Finish("stop", 0, "STOP")]


def test_an_error_ends_the_events() -> None:
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    for frame in (sse.frame(orjson.dumps(error)), orjson.dumps(error, option=orjson.OPT_INDENT_2) + b"\n"):
        [failure] = GeminiDecoder().feed(frame)
        assert isinstance(failure, Failure)
        assert (failure.error.status, failure.error.message) == (503, "overloaded")


def test_an_odd_answer_holds_nothing() -> None:
    odd = {"candidates": ["x", {"content": "y", "index": "z"}, {"content": {"parts": ["p", {"text": 3}]}}]}
    assert answer(odd | {"createTime": "yesterday"}) == [
        Begin(),
        Opaque("gemini", {"index": 0, "part": {"text": 3}}),
    ]


@pytest.mark.parametrize("data", [b"data: 3\n\n", b"data: {\n\n", b"[1]"])
def test_what_is_no_object_is_malformed(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        list(GeminiDecoder().feed(data))


def test_a_comment_is_nothing() -> None:
    assert data_of(b": ping\n\n") == b""
    assert list(GeminiDecoder().feed(b": ping\n\n")) == []
