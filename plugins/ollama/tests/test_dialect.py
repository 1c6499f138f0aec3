from __future__ import annotations

from typing import Any

import orjson
import pytest
from aiogateway_plugin_ollama import OllamaChat
from aiogateway_plugin_ollama.dialect import ChatDecoder

from aiogateway.errors import StreamBroken, Unsupported
from aiogateway.neutral import (
    Begin,
    ChatRequest,
    EmbedRequest,
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


def line(message: dict[str, Any] | None = None, **fields: Any) -> bytes:
    return orjson.dumps({"model": "m", "message": message or {"content": ""}, "done": False, **fields}) + b"\n"


def decode(*lines: bytes) -> list[Event]:
    """Events after Begin."""
    decoder = ChatDecoder()
    begin, *events = [event for each in lines for event in decoder.feed(each)]
    assert isinstance(begin, Begin)
    return events


def call(name: str, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments or {}}, **fields}


def test_begin_comes_once_with_the_time() -> None:
    decoder = ChatDecoder()
    moment = "2023-08-04T08:52:19.385406455-07:00"
    assert list(decoder.feed(line({"content": "a"}, created_at=moment))) == [
        Begin(model="m", created=1691164339),
        Text("a"),
    ]
    assert list(decoder.feed(line({"content": "b"}, created_at=moment))) == [Text("b")]
    assert list(decoder.feed(b"\r\n")) == []


def test_thoughts_come_before_text() -> None:
    assert decode(line({"thinking": "hm", "content": "a"})) == [Reasoning("hm"), Text("a")]


@pytest.mark.parametrize(
    ("done_reason", "reason"), [("stop", "stop"), ("length", "length"), ("load", "stop"), (None, "stop")]
)
def test_finish_reasons(done_reason: str | None, reason: str) -> None:
    assert decode(line(done=True, done_reason=done_reason)) == [Finish(reason, raw=done_reason)]
    assert decode(line(done=True)) == [Finish("stop")]


def test_tool_calls_are_numbered_over_all_lines_and_end_the_turn() -> None:
    first = line({"tool_calls": [call("f", {"x": 1}), call("g", id="g1")]})
    events = decode(first, line({"tool_calls": [call("f", {"y": "é"})]}), line(done=True, done_reason="stop"))
    assert [(event.call, event.name, event.arguments) for event in events if isinstance(event, ToolCall)] == [
        (0, "f", '{"x":1}'),
        (1, "g", "{}"),
        (2, "f", '{"y":"é"}'),
    ]
    assert events[-1] == Finish("tool_calls", raw="stop")
    assert decode(first, line(done=True, done_reason="length"))[-1] == Finish("length", raw="length")


def test_ids_that_are_missing_are_made_up_and_repeat() -> None:
    lines = [line({"tool_calls": [call("f"), call("f"), call("f", id="own")]}), line({"tool_calls": [call("f")]})]
    first, second = ([event.id for event in decode(*lines) if isinstance(event, ToolCall)] for _ in range(2))
    assert first == second
    assert first[2] == "own"
    assert len(set(first)) == 4
    assert all((made or "").startswith("call_") for made in (first[0], first[1], first[3]))


def test_arguments_that_are_text_already() -> None:
    (event,) = decode(line({"tool_calls": [{"function": {"name": "f", "arguments": '{"x": 1}'}}]}))
    assert isinstance(event, ToolCall)
    assert event.arguments == '{"x": 1}'


def test_usage_is_what_was_counted() -> None:
    assert decode(line(done=True, prompt_eval_count=3, eval_count=2))[-1] == UsageReport(Usage(input=3, output=2))
    assert decode(line(done=True, eval_count=2))[-1] == UsageReport(Usage(input=0, output=2))
    assert decode(line(prompt_eval_count=3)) == []


def test_pictures_of_an_answer_are_opaque() -> None:
    assert decode(line({"images": ["QUJD"]})) == [Opaque("ollama_chat", {"images": ["QUJD"]})]


def test_an_error_line_is_a_failure_and_nothing_else() -> None:
    (failure,) = ChatDecoder().feed(b'{"error":"out of memory"}\n')
    assert isinstance(failure, Failure)
    assert (failure.error.status, str(failure.error)) == (502, "out of memory")
    (failure,) = ChatDecoder().feed(b'{"StatusCode":429,"Status":"429 Too Many Requests","error":"slow down"}\n')
    assert isinstance(failure, Failure)
    assert failure.error.status == 429


@pytest.mark.parametrize("bad", [b"{\n", b"[]\n", b"null\n", b"\xff\n", line({"tool_calls": [{"function": {}}]})])
def test_a_malformed_line_is_a_value_error(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        list(ChatDecoder().feed(bad))


def test_bytes_that_are_no_text_lose_a_character_only() -> None:
    assert decode(b'{"model":"m","message":{"content":"a\xffb"},"done":false}\n') == [Text("a�b")]


def test_a_unary_answer_has_to_be_done() -> None:
    dialect = OllamaChat()
    assert dialect.read_answer(line({"content": "a"}, done=True))[1:] == [Text("a"), Finish("stop")]
    assert isinstance(dialect.read_answer(b'{"error":"x"}')[0], Failure)
    with pytest.raises(ValueError, match="done"):
        dialect.read_answer(line({"content": "a"}))


def test_only_chats_are_written() -> None:
    assert OllamaChat().write_request(ChatRequest(model="m", messages=())).body["model"] == "m"
    with pytest.raises(Unsupported):
        OllamaChat().write_request(EmbedRequest(model="m", inputs=()))


def test_an_endless_line_is_cut_off() -> None:
    splitter = OllamaChat().splitter(100)
    with pytest.raises(StreamBroken):
        for _ in range(20):
            splitter.feed(b"x" * 10)
