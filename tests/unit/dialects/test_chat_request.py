from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.chat_request import read_request, write_request
from aiogateway.errors import RequestError, Unsupported
from aiogateway.neutral import (
    ChatRequest,
    EmbedRequest,
    Message,
    OpaqueTool,
    ResponseFormat,
    TextPart,
    Thinking,
    Tool,
    ToolChoice,
)

USER = {"role": "user", "content": "hi"}
MARK = {"type": "ephemeral"}
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER], **fields}


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"temperature": 0.5, "top_p": 1, "seed": 7, "n": 2}, {"temperature": 0.5, "top_p": 1, "seed": 7, "n": 2}),
    ({"frequency_penalty": 0.1, "presence_penalty": -1}, {"frequency_penalty": 0.1, "presence_penalty": -1}),
    ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
    ({"max_completion_tokens": 5}, {"max_tokens": 5}),
    ({"max_completion_tokens": 5, "max_tokens": 6}, {"max_tokens": 5, "extra": {"max_tokens": 6}}),
    ({"stream": True}, {"stream": True}),
    ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True, "include_usage": True}),
    (
        {"stream_options": {"include_usage": True, "include_obfuscation": False}},
        {"include_usage": True, "extra": {"stream_options": {"include_obfuscation": False}}},
    ),
    (
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
                },
                {"type": "function", "function": {"name": "g"}},
            ],
            "tool_choice": "auto",
        },
        {"tools": (Tool("f", "d", SCHEMA, True), Tool("g")), "tool_choice": ToolChoice("auto")},
    ),
    ({"tool_choice": "required"}, {"tool_choice": ToolChoice("required")}),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"tool_choice": ToolChoice("named", "f")}),
    (
        {
            "tools": [
                {"type": "custom", "custom": {"name": "sh", "description": "d"}},
                {"type": "custom", "custom": {"name": "ed", "format": GRAMMAR}},
                {"type": "function", "function": {"name": "f"}, "cache_control": MARK},
                {"type": "web_search", "depth": 2},
            ],
            "tool_choice": {"type": "custom", "custom": {"name": "ed"}},
            "parallel_tool_calls": False,
        },
        {
            "tools": (
                Tool("sh", "d", custom=True),
                Tool("ed", custom=True),
                Tool("f", cache=MARK),
                OpaqueTool("openai_chat", "web_search", {"type": "web_search", "depth": 2}),
            ),
            "tool_choice": ToolChoice("named", "ed"),
            "parallel_tools": False,
            "extra": {"tools[1].custom.format": GRAMMAR},
        },
    ),
    ({"reasoning_effort": "low"}, {"thinking": Thinking(effort="low")}),
    ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"thinking": Thinking(budget=2000)}),
    ({"thinking": {"type": "adaptive", "display": "omitted"}}, {"thinking": Thinking(summary="omitted")}),
    ({"top_k": 5, "user": "u"}, {"top_k": 5, "user": "u"}),
    (
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
        {"extra": {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}},
    ),
    ({"response_format": {"type": "text"}}, {"response_format": ResponseFormat("text")}),
    ({"response_format": {"type": "json_object"}}, {"response_format": ResponseFormat("json")}),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}},
        {"response_format": ResponseFormat("schema", SCHEMA, "n", True)},
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d"}}},
        {
            "response_format": ResponseFormat("schema", None, "n"),
            "extra": {"response_format.json_schema.description": "d"},
        },
    ),
    ({"response_format": {"type": "grammar"}}, {"extra": {"response_format": {"type": "grammar"}}}),
    (
        {"logit_bias": {"1": 2}, "x_new": None},
        {"extra": {"logit_bias": {"1": 2}, "x_new": None}},
    ),
]


@pytest.mark.parametrize(("fields", "neutral"), SAME, ids=lambda value: " ".join(value) or "nothing")
def test_read_and_written_back(fields: dict[str, Any], neutral: dict[str, Any]) -> None:
    request = read_request(body(**fields))
    messages = (Message("user", (TextPart("hi"),)),)
    assert request == ChatRequest(**{"model": "m", "messages": messages, "dialect": "openai_chat", **neutral})
    written = write_request(request)
    assert written.body == body(**fields)
    assert written.dropped == ()


def test_other_ways_of_saying_it() -> None:
    assert read_request(body(stop="x")).stop == ("x",)
    assert read_request(body(max_tokens=3)).max_tokens == 3
    assert write_request(read_request(body(max_tokens=3))).body["max_completion_tokens"] == 3
    nothing = dict.fromkeys(
        ["temperature", "stop", "tools", "tool_choice", "response_format", "stream", "stream_options"]
    )
    assert read_request(body(**nothing)) == read_request(body())
    bare = read_request(body(tools=[{"function": {"name": "f"}}]))
    assert bare.tools == (Tool("f"),)
    unnamed = write_request(ChatRequest(model="m", messages=(), response_format=ResponseFormat("schema", SCHEMA)))
    assert unnamed.body["response_format"]["json_schema"] == {"name": "answer", "schema": SCHEMA}


def test_reading_leaves_the_body_alone() -> None:
    options = {"include_usage": True, "other": 1}
    sent = body(stream_options=options, stop=["x"])
    read_request(sent)
    assert options == {"include_usage": True, "other": 1}
    assert sent == body(stream_options=options, stop=["x"])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 4}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages"),
        ({"messages": [USER, {"role": "x"}]}, "messages[1].role"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"stop": [1]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].custom.name"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function.name"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"top_k": 0.5}, "top_k"),
        ({"response_format": "json"}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 1}}},
            "response_format.json_schema.schema",
        ),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_request(body(**fields))
    assert caught.value.param == param


def test_only_a_chat_is_a_chat() -> None:
    with pytest.raises(Unsupported):
        write_request(EmbedRequest(model="m", inputs=("x",)))


def foreign(dialect: str, **fields: Any) -> ChatRequest:
    return ChatRequest(**{"model": "m", "messages": (), "dialect": dialect, **fields})


def test_what_another_wire_says_and_this_one_cannot_is_named() -> None:
    request = foreign(
        "anthropic",
        tools=(
            Tool("f", cache=MARK),
            OpaqueTool("anthropic", "web_search", {"type": "web_search_20250305"}),
        ),
        thinking=Thinking(budget=2000, summary="summarized"),
        top_k=5,
        user="u",
        extra={"container": "c", "tools[0].defer_loading": True, "speed": None, "store": False},
    )
    written = write_request(request)
    assert written.body == {
        "model": "m",
        "messages": [],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "reasoning_effort": "medium",
        "user": "u",
    }
    assert set(written.dropped) == {
        "container",
        "thinking.display",
        "tools.cache_control",
        "tools[0].defer_loading",
        "tools[1]",
        "top_k",
    }


def test_what_openais_other_api_says_by_the_same_name_goes_on() -> None:
    flat = {"type": "grammar", "syntax": "regex", "definition": "a+"}
    request = foreign(
        "openai_responses",
        tools=(Tool("ed", custom=True),),
        thinking=Thinking(effort="high", summary="auto"),
        parallel_tools=True,
        extra={
            "tools[0].format": flat,
            "metadata": {"a": "b"},
            "include": ["message.output_text.logprobs"],
            "top_logprobs": 3,
            "service_tier": "flex",
        },
    )
    written = write_request(request)
    assert written.body == {
        "model": "m",
        "messages": [],
        "tools": [{"type": "custom", "custom": {"name": "ed", "format": GRAMMAR}}],
        "parallel_tool_calls": True,
        "reasoning_effort": "high",
        "metadata": {"a": "b"},
        "service_tier": "flex",
    }
    assert set(written.dropped) == {"include", "top_logprobs", "reasoning.summary"}


@pytest.mark.parametrize(
    ("thinking", "body"),
    [
        (Thinking(), {}),
        (Thinking(budget=0), {"reasoning_effort": "none"}),
        (Thinking(budget=1024), {"reasoning_effort": "low"}),
        (Thinking(budget=32_000), {"reasoning_effort": "high"}),
        (Thinking(effort="max"), {"reasoning_effort": "max"}),
    ],
)
def test_thinking_of_another_wire_is_an_effort(thinking: Thinking, body: dict[str, Any]) -> None:
    written = write_request(foreign("anthropic", thinking=thinking))
    assert written.body == {"model": "m", "messages": [], **body}


def test_a_wish_for_parallel_calls_needs_tools() -> None:
    assert "parallel_tool_calls" not in write_request(foreign("anthropic", parallel_tools=True)).body
