from __future__ import annotations

import orjson
import pytest

from aiogateway.dialects.gemini import Gemini
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.engine.lanes import TranslatedLane
from aiogateway.neutral import ChatRequest, Envelope, Finish, Message, Text, TextPart
from aiogateway.types import Usage
from aiogateway.wire import sse

DIALECT = Gemini()
ENVELOPE = Envelope(id="chatcmpl-1", model="gemini-2.5-flash", created=1, include_usage=True)


def frame(text: str, finish: str | None = None) -> bytes:
    ending = {} if finish is None else {"finishReason": finish}
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, **ending}
    return sse.frame(orjson.dumps({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 2}}))


def run(*reads: bytes) -> tuple[TranslatedLane, bytes]:
    lane = TranslatedLane(DIALECT, OpenAIChat(), OpenAIChat().encoder(ENVELOPE), max_event=1 << 20)
    out = b"".join([lane.feed(read) for read in reads])
    return lane, out + lane.end(None)


def test_a_stream_ends_with_its_finish_reason() -> None:
    lane, out = run(frame("Good "), frame("day", "STOP"))
    assert lane.verdict.error is None
    assert lane.verdict.usage == Usage(input=2)
    assert out.endswith(b"data: [DONE]\n\n")
    assert any(mark in frame("", "STOP") for mark in DIALECT.finish_marks)


def test_a_stream_without_one_is_cut() -> None:
    lane, out = run(frame("Good "))
    assert lane.verdict.error is not None
    assert b"[DONE]" not in out


def test_a_bare_error_behind_the_events_is_the_streams_error() -> None:
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    bare = orjson.dumps(error, option=orjson.OPT_INDENT_2) + b"\n"
    for at in range(len(bare)):
        lane, out = run(frame("Good "), bare[:at], bare[at:])
        assert lane.verdict.error is not None
        assert (lane.verdict.error.status, lane.verdict.error.message) == (503, "overloaded")
        assert b"[DONE]" not in out


@pytest.mark.parametrize(
    ("data", "malformed"),
    [
        (b": ping\n\n", False),
        (frame("a"), False),
        (b'[{"error":{"message":"no"}}]', False),
        (b"data: 3\n\n", True),
        (b"data: {\n\n", True),
    ],
)
def test_malformed_frames(data: bytes, malformed: bool) -> None:
    assert DIALECT.is_malformed(data) is malformed


def test_comments_are_keepalives() -> None:
    assert DIALECT.is_keepalive(b": ping\n\n")
    assert not DIALECT.is_keepalive(b'{"error":{}}')


def test_failures_are_found_in_frames_and_bodies() -> None:
    body = b'{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}'
    for failure in (DIALECT.read_failure(sse.frame(body)), DIALECT.read_body_failure(body)):
        assert failure is not None
        assert (failure.status, failure.error_type) == (429, "RESOURCE_EXHAUSTED")
    assert DIALECT.read_failure(frame("a", "STOP")) is None


def test_requests_and_answers() -> None:
    request = ChatRequest(model="gemini-2.5-flash", messages=(Message("user", (TextPart("Hello"),)),))
    assert DIALECT.write_request(request).body == {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    events = DIALECT.read_answer(sse.data_of(frame("Good day", "STOP")))
    assert list(events)[1:3] == [Text("Good day"), Finish("stop", 0, "STOP")]
