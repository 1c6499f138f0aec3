from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.openai_completions import OpenAICompletions
from aiogateway.errors import RequestError, StreamBroken, Unsupported
from aiogateway.neutral import (
    Begin,
    ChatRequest,
    EmbedRequest,
    Envelope,
    Event,
    Failure,
    Finish,
    ImagePart,
    Message,
    Reasoning,
    ResponseFormat,
    Text,
    TextPart,
    Thinking,
    Tool,
    UsageReport,
)
from aiogateway.types import Usage
from aiogateway.wire import sse

DIALECT = OpenAICompletions()
ENVELOPE = Envelope(id="cmpl-1", model="m", created=7)
USAGE = UsageReport(Usage(input=1, output=2))


def chat(*texts: str, dialect: str = "openai_completions", **fields: Any) -> ChatRequest:
    messages = tuple(Message("user", (TextPart(text),)) for text in texts)
    return ChatRequest(model="m", messages=messages, dialect=dialect, **fields)


def test_a_prompt_is_one_users_message() -> None:
    body = {
        "model": "m",
        "prompt": "Once",
        "max_tokens": 5,
        "stop": ["x"],
        "temperature": 0,
        "echo": True,
        "stream": True,
        "user": "u",
    }
    request = DIALECT.read_request(body)
    fields: dict[str, Any] = {
        "max_tokens": 5,
        "stop": ("x",),
        "temperature": 0,
        "stream": True,
        "user": "u",
        "extra": {"echo": True},
    }
    assert request == chat("Once", **fields)
    written = DIALECT.write_request(request)
    assert written.body == body
    assert written.dropped == ()
    assert DIALECT.read_request({"model": "m", "prompt": ["Once"]}) == chat("Once")


@pytest.mark.parametrize("prompt", [None, 7, ["a", "b"], [1, 2, 3], [[1, 2]], []])
def test_other_prompts_do_not_translate(prompt: Any) -> None:
    with pytest.raises(Unsupported) as caught:
        DIALECT.read_request({"model": "m", "prompt": prompt})
    assert caught.value.param == "prompt"


def test_the_model_is_needed() -> None:
    with pytest.raises(RequestError, match="model"):
        DIALECT.read_request({"prompt": "x"})


def test_what_a_prompt_cannot_say() -> None:
    with pytest.raises(Unsupported):
        DIALECT.write_request(EmbedRequest(model="m", inputs=()))
    with pytest.raises(Unsupported, match="plain text") as caught:
        DIALECT.write_request(ChatRequest(model="m", messages=(Message("user", (ImagePart(url="x"),)),)))
    assert caught.value.param == "messages[0].content"
    written = DIALECT.write_request(chat("a", "b", tools=(Tool("f"),), response_format=ResponseFormat("json")))
    assert written.body == {"model": "m", "prompt": "a\n\nb"}
    assert written.dropped == ("tools", "response_format")
    foreign = chat("a", dialect="anthropic", thinking=Thinking(effort="low"), top_k=3, extra={"speed": "fast"})
    assert DIALECT.write_request(foreign).dropped == ("speed", "thinking", "top_k")


EVENTS: list[Event] = [
    Begin("cmpl-9", "big", 9), Text("a", 0), Text("b", 1), Text("c", 0), Finish("length", 1, "length"),
    Finish("stop", 0, "stop"), USAGE,
]  # fmt: skip


def test_a_stream_there_and_back_at_every_split_point() -> None:
    encoder = DIALECT.encoder(Envelope(id="i", model="m", created=7, include_usage=True))
    stream = b"".join(encoder.feed(event) for event in EVENTS) + encoder.end()
    for cut in range(len(stream)):
        decoder, splitter = DIALECT.decoder(), DIALECT.splitter()
        frames = splitter.feed(stream[:cut]) + splitter.feed(stream[cut:])
        assert [event for frame in frames for event in decoder.feed(frame)] == EVENTS
    chunks = [orjson.loads(sse.data_of(frame)) for frame in DIALECT.splitter().feed(stream)[:-1]]
    assert chunks[0] == {
        "id": "cmpl-9",
        "object": "text_completion",
        "created": 9,
        "model": "big",
        "choices": [{"text": "a", "index": 0, "logprobs": None, "finish_reason": None}],
        "usage": None,
    }
    assert chunks[-1]["choices"] == []
    assert any(mark in stream for mark in DIALECT.finish_marks)


def test_usage_stays_hidden_unless_asked_for_and_thoughts_have_no_place() -> None:
    encoder = DIALECT.encoder(ENVELOPE)
    events: list[Event] = [Begin(), Reasoning("hm"), Text("a"), USAGE]
    stream = b"".join(map(encoder.feed, events))
    assert b"usage" not in stream
    assert b"hm" not in stream
    assert encoder.end() == DIALECT.done


def test_a_unary_answer_there_and_back() -> None:
    body = DIALECT.write_answer(EVENTS, ENVELOPE)
    answer = orjson.loads(body)
    assert (answer["object"], answer["id"], answer["model"]) == ("text_completion", "cmpl-9", "big")
    assert answer["choices"] == [
        {"index": 0, "text": "ac", "logprobs": None, "finish_reason": "stop"},
        {"index": 1, "text": "b", "logprobs": None, "finish_reason": "length"},
    ]
    assert DIALECT.read_answer(body) == [
        Begin("cmpl-9", "big", 9), Text("ac", 0), Finish("stop", 0, "stop"), Text("b", 1),
        Finish("length", 1, "length"), USAGE,
    ]  # fmt: skip


def test_an_error_in_the_stream_is_said_in_band() -> None:
    encoder = DIALECT.encoder(Envelope(id="a", model="m", created=1))
    error = StreamBroken("it broke")
    assert encoder.feed(Failure(error)) == DIALECT.write_failure(error)
