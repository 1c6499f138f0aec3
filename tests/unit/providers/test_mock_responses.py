from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.openai_responses import OpenAIResponses
from aiogateway.errors import RequestError
from aiogateway.providers.mock_responses import ResponseScript
from aiogateway.providers.mock_script import Wishes
from aiogateway.types import Usage
from aiogateway.wire import sse

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "name": "f", "parameters": SCHEMA}


def script(body: dict[str, Any], **wishes: Any) -> ResponseScript:
    return ResponseScript({"model": "m", **body}, Wishes(**wishes), "resp-1", 7)


def stream(body: dict[str, Any], **wishes: Any) -> tuple[list[dict[str, Any]], bytes]:
    data = b"".join(event for event, _ in script(body, **wishes).events())
    frames = sse.Splitter().feed(data)
    events = [orjson.loads(sse.data_of(frame)) for frame in frames]
    assert [sse.event_name(frame) for frame in frames] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events, data


@pytest.mark.parametrize(
    "asked",
    [
        "Ahoy there",
        [{"role": "user", "content": "Ahoy there"}],
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Ahoy there"}, {"type": "x"}]}],
        [{"role": "user", "content": "Ahoy there"}, {"type": "function_call_output", "call_id": "c", "output": "x"}],
    ],
)
def test_a_unary_answer_echoes(asked: Any) -> None:
    answer = orjson.loads(script({"input": asked, "metadata": {"a": "b"}}).whole())
    assert answer["output"][0]["content"][0]["text"] == "You said: Ahoy there"
    assert (answer["status"], answer["model"], answer["created_at"]) == ("completed", "m", 7)
    assert answer["usage"]["output_tokens"] == 4
    assert answer["metadata"] == {"a": "b"}


def test_a_stream_of_text() -> None:
    events, data = stream({"input": "Ahoy"})
    assert [event["type"] for event in events] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        *["response.output_text.delta"] * 3, "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.completed",
    ]  # fmt: skip
    deltas = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert deltas == events[7]["text"] == events[-1]["response"]["output"][0]["content"][0]["text"] == "You said: Ahoy"
    dialect = OpenAIResponses()
    assert any(mark in data for mark in dialect.finish_marks)
    assert dialect.read_usage(data) == Usage(input=1, output=3)
    assert events[-1]["response"] == orjson.loads(script({"input": "Ahoy"}).whole())


def test_a_limit() -> None:
    events, data = stream({"input": "Ahoy", "max_output_tokens": 1})
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert any(mark in data for mark in OpenAIResponses().finish_marks)


@pytest.mark.parametrize("choice", [{"type": "function", "name": "f"}, "required"])
def test_a_tool_call(choice: Any) -> None:
    events, _ = stream({"input": "x", "tools": [{"type": "web_search"}, TOOL, 7], "tool_choice": choice})
    deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    done = next(event for event in events if event["type"] == "response.function_call_arguments.done")
    assert orjson.loads("".join(deltas)) == orjson.loads(done["arguments"]) == {"city": "text"}
    item = events[-1]["response"]["output"][0]
    assert (item["type"], item["name"], item["arguments"]) == ("function_call", "f", done["arguments"])
    assert events[2]["item"]["arguments"] == ""


def test_tokens_are_marked() -> None:
    each = script({"input": "x"}, mock_tokens=5)
    assert sum(token for _, token in each.events()) == each.tokens == 5


def test_structured_output() -> None:
    body = {"input": "x", "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}}
    answer = orjson.loads(script(body).whole())
    assert orjson.loads(answer["output"][0]["content"][0]["text"]) == {"city": "text"}


@pytest.mark.parametrize(
    "body", [{}, {"input": 7}, {"input": "x", "model": None}, {"input": [{"role": "robot", "content": "x"}]}]
)
def test_what_is_wrong(body: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        script(body)
