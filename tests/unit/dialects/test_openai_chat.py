from __future__ import annotations

import orjson

from aiogateway.contracts import Dialect
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.neutral import ChatRequest, Envelope, Finish, Message, Text, TextPart
from aiogateway.types import Endpoint

ENVELOPE = Envelope(id="i", model="m", created=1)


def test_both_halves() -> None:
    dialect: Dialect = OpenAIChat()
    assert (dialect.name, dialect.endpoint) == ("openai_chat", Endpoint.CHAT)
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    request = dialect.read_request(body)
    assert request == ChatRequest(model="m", messages=(Message("user", (TextPart("hi"),)),), dialect="openai_chat")
    assert dialect.write_request(request).body == body
    events = (Text("a"), Finish("stop", 0, "stop"))
    assert tuple(dialect.read_answer(dialect.write_answer(events, ENVELOPE)))[1:] == events
    encoder, decoder = dialect.encoder(ENVELOPE), dialect.decoder()
    assert tuple(event for piece in events for event in decoder.feed(encoder.feed(piece)))[1:] == events
    assert encoder.end() == dialect.done


def test_a_stream_that_another_one_reads_has_finish_marks() -> None:
    dialect = OpenAIChat()
    encoder = dialect.encoder(ENVELOPE)
    assert not any(mark in encoder.feed(Text("x")) for mark in dialect.finish_marks)
    assert any(mark in encoder.feed(Finish("content_filter")) for mark in dialect.finish_marks)
    assert orjson.loads(dialect.write_answer([], ENVELOPE))["id"] == "i"
