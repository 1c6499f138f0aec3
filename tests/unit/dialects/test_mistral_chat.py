from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.mistral_chat import MistralChat
from aiogateway.neutral import ChatRequest, Event, Finish, Message, Reasoning, ReasoningPart, Text, TextPart

MISTRAL = MistralChat()


def think(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def say(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def chunk(content: Any, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return b"data: " + orjson.dumps({"id": "i", "choices": [choice]}) + b"\n\n"


def pieces(events: Any) -> list[Event]:
    return [event for event in events if isinstance(event, Text | Reasoning | Finish)]


def test_thoughts_in_a_stream() -> None:
    decoder = MISTRAL.decoder()
    frames = (chunk([think("Hm")]), chunk([think("."), say("4")]), chunk("!"), chunk("", "stop"), b"data: [DONE]\n\n")
    assert pieces(event for frame in frames for event in decoder.feed(frame)) == [
        Reasoning("Hm"),
        Reasoning("."),
        Text("4"),
        Text("!"),
        Finish("stop", raw="stop"),
    ]


def test_thoughts_in_a_whole_answer() -> None:
    message = {"role": "assistant", "content": [think("Hm"), say("4")]}
    body = orjson.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert pieces(MISTRAL.read_answer(body)) == [Reasoning("Hm"), Text("4"), Finish("stop", raw="stop")]


def test_malformed() -> None:
    with pytest.raises(ValueError, match=r"."):
        list(MISTRAL.decoder().feed(b'data: {"thinking"\n\n'))
    with pytest.raises(ValueError, match=r"."):
        MISTRAL.read_answer(b"[]")


def test_an_error_in_a_stream_is_left_alone() -> None:
    events = list(MISTRAL.decoder().feed(b'data: {"error":{"message":"\\"content\\":[","code":500}}\n\n'))
    assert [type(event).__name__ for event in events] == ["Failure"]


@pytest.mark.parametrize(
    ("parts", "content"),
    [
        ((TextPart("4"),), "4"),
        ((ReasoningPart("Hm"), TextPart("4")), [think("Hm"), say("4")]),
        ((ReasoningPart("Hm"),), [think("Hm")]),
    ],
)
def test_thoughts_go_back_as_content(parts: Any, content: Any) -> None:
    request = ChatRequest(
        model="magistral", messages=(Message(role="assistant", parts=parts),), extra={"odd": 1}, dialect="openai_chat"
    )
    written = MISTRAL.write_request(request)
    body = written.body
    assert not written.dropped
    assert body["messages"] == [{"role": "assistant", "content": content}]
    assert body["odd"] == 1


def test_sealed_thoughts_are_somebody_elses() -> None:
    parts = (ReasoningPart("Hm", "EqQB"), TextPart("4"))
    request = ChatRequest(model="m", messages=(Message(role="assistant", parts=parts),), dialect="openai_chat")
    written = MISTRAL.write_request(request)
    assert written.body["messages"] == [{"role": "assistant", "content": "4"}]
    assert written.dropped == ("messages.thinking_blocks",)
