from __future__ import annotations

import math
from typing import Any

import orjson
import pytest

from aiogateway.errors import RequestError
from aiogateway.neutral import (
    ChatRequest,
    EmbedRequest,
    Event,
    Finish,
    ImagePart,
    Message,
    ResponseFormat,
    Text,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    UsageReport,
    Vectors,
)
from aiogateway.providers.mock_script import (
    DIMENSIONS,
    Wishes,
    chat_events,
    embed_events,
    is_token,
    make_answer,
    read_wishes,
    sample,
)
from aiogateway.types import Usage

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = (Tool("g"), Tool("f", schema=SCHEMA))


def ask(*texts: str, **fields: Any) -> ChatRequest:
    messages = tuple(Message("user", (ImagePart(url="x"), TextPart(text))) for text in texts)
    return ChatRequest(model="m", messages=messages, **fields)


def said(request: ChatRequest, **wishes: Any) -> str:
    return "".join(make_answer(request, Wishes(**wishes)).tokens)


def test_it_echoes_the_last_user_message() -> None:
    assert said(ask("first", "Ahoy  there\n")) == "You said: Ahoy  there\n"
    assert said(ask()) == "Nobody said anything."


def test_a_chosen_text_of_a_chosen_length() -> None:
    assert said(ask("x"), mock_text="one two three") == "one two three"
    assert said(ask("x"), mock_text="one two three", mock_tokens=2) == "one two"
    assert said(ask("x"), mock_text="one two", mock_tokens=5) == "one two one two one"
    assert said(ask("x"), mock_text="", mock_tokens=2) == "mock mock"
    assert said(ask("x"), mock_text="") == ""
    assert len(make_answer(ask("x"), Wishes(mock_tokens=1000)).tokens) == 1000


def test_a_limit_cuts_and_says_so() -> None:
    answer = make_answer(ask("a b c", max_tokens=3), Wishes())
    assert ("".join(answer.tokens), answer.reason) == ("You said: a", "length")
    assert make_answer(ask("a", max_tokens=3), Wishes()).reason == "stop"


@pytest.mark.parametrize(
    ("fields", "wishes", "tool"),
    [
        ({"tool_choice": ToolChoice("named", "f")}, {}, "f"),
        ({"tool_choice": ToolChoice("required")}, {}, "g"),
        ({"tool_choice": ToolChoice("auto")}, {}, None),
        ({}, {}, None),
        ({}, {"mock_tool": "f"}, "f"),
        ({"tool_choice": ToolChoice("none")}, {"mock_tool": "unknown"}, "unknown"),
    ],
)
def test_tool_calls(fields: dict[str, Any], wishes: dict[str, Any], tool: str | None) -> None:
    answer = make_answer(ask("x", tools=TOOLS, **fields), Wishes(**wishes))
    assert answer.tool == tool
    if tool is not None:
        assert answer.reason == "tool_calls"
        assert orjson.loads("".join(answer.tokens)) == ({"city": "text", "days": 1} if tool == "f" else {})


def test_a_required_tool_without_tools_is_text() -> None:
    assert make_answer(ask("x", tool_choice=ToolChoice("required")), Wishes()).tool is None


def test_structured_output() -> None:
    wanted = ResponseFormat("schema", SCHEMA)
    assert orjson.loads(said(ask("x", response_format=wanted))) == {"city": "text", "days": 1}
    assert said(ask("x", response_format=ResponseFormat("json"))) == "{}"
    assert said(ask("x", response_format=ResponseFormat("text"))) == "You said: x"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "array", "items": {"type": "number"}}, [1.5]),
        ({"type": "array"}, ["text"]),
        ({"type": ["boolean", "null"]}, True),
        ({"type": "null"}, None),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 3}, 3),
        ({"default": False, "type": "boolean"}, False),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"oneOf": [{"type": "string"}]}, "text"),
        ({"type": "mystery"}, "text"),
        ({"type": {}}, "text"),
        ({"properties": []}, {}),
        ({"properties": {"a": True}}, {"a": "text"}),
        ({}, {}),
        (7, "text"),
    ],
)
def test_samples(schema: Any, value: Any) -> None:
    assert sample(schema) == value


def test_a_schema_without_bottom() -> None:
    schema: dict[str, Any] = {"type": "array"}
    schema["items"] = schema
    assert orjson.dumps(sample(schema)).count(b"[") > 10


def play(request: ChatRequest, **wishes: Any) -> list[Event]:
    return list(chat_events(request, Wishes(**wishes), "id"))


def test_choices_take_turns_and_tokens_are_counted() -> None:
    events = play(ask("hi", n=2), mock_tokens=2)
    assert events[1:] == [
        Text("You", 0), Text("You", 1), Text(" said:", 0), Text(" said:", 1), Finish("stop", 0, "stop"),
        Finish("stop", 1, "stop"), UsageReport(Usage(input=1, output=4)),
    ]  # fmt: skip
    assert sum(map(is_token, events)) == 4


def test_calls_have_ids_of_their_own() -> None:
    events = play(ask("hi", n=2, tools=TOOLS), mock_tool="f")
    opened = [event for event in events if isinstance(event, ToolCall) and event.name]
    assert [event.index for event in opened] == [0, 1]
    assert len({event.id for event in opened}) == 2
    assert not any(map(is_token, opened))
    assert play(ask("hi", n=2, tools=TOOLS), mock_tool="f") == events


@pytest.mark.parametrize(("n", "tokens"), [(0, 1), (-1, 1), (10**9, 1), (2, 100_000)])
def test_too_much_is_refused_at_once(n: int, tokens: int) -> None:
    with pytest.raises(RequestError) as caught:
        chat_events(ask("x", n=n), Wishes(mock_tokens=tokens), "id")
    assert caught.value.param == "n"


def test_vectors_depend_on_the_text_alone() -> None:
    _, vectors, usage = embed_events(EmbedRequest(model="m", inputs=("a b", "c", "a b")))
    assert isinstance(vectors, Vectors)
    first, second, third = vectors.vectors
    assert first == third != second
    assert len(first) == DIMENSIONS
    assert math.isclose(sum(number * number for number in first), 1.0)
    assert usage == UsageReport(Usage(input=5))
    (_, short, _) = embed_events(EmbedRequest(model="m", inputs=("a",), dimensions=3))
    assert isinstance(short, Vectors)
    assert len(short.vectors[0]) == 3


@pytest.mark.parametrize("size", [0, -1, 10**9])
def test_sizes_that_make_no_sense(size: int) -> None:
    with pytest.raises(RequestError) as caught:
        embed_events(EmbedRequest(model="m", inputs=("a",), dimensions=size))
    assert caught.value.param == "dimensions"


def test_wishes_may_be_text() -> None:
    assert read_wishes({"mock_tokens": "3", "mock_text": "x"}) == Wishes(mock_tokens=3, mock_text="x")


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"mock_tokens": "many"}, "mock"),
        ({"mock_tokens": -1}, "mock_tokens"),
        ({"mock_tokens": 10**9}, "mock_tokens"),
        ({"mock_status": 200}, "mock_status"),
        ({"mock_status": 600}, "mock_status"),
    ],
)
def test_wishes_that_make_no_sense(options: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_wishes(options)
    assert caught.value.param == param
