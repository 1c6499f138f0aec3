from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.anthropic_read import read_request
from aiogateway.dialects.anthropic_write import write_request
from aiogateway.dialects.responses_seals import Seal, wrap
from aiogateway.errors import RequestError
from aiogateway.neutral import (
    ChatRequest,
    Message,
    OpaqueTool,
    ResponseFormat,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
)

USER = {"role": "user", "content": "hi"}
HI = Message("user", (TextPart("hi"),))
MARK = {"type": "ephemeral", "ttl": "1h"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "claude-opus-5", "max_tokens": 9, "messages": [USER], **fields}


def chat(**fields: Any) -> ChatRequest:
    return ChatRequest(
        **{"model": "claude-opus-5", "max_tokens": 9, "messages": (HI,), "dialect": "anthropic", **fields}
    )


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    (
        {"temperature": 0.5, "top_p": 1, "top_k": 4, "stop_sequences": ["a"], "metadata": {"user_id": "u"}},
        {"temperature": 0.5, "top_p": 1, "top_k": 4, "stop": ("a",), "user": "u"},
    ),
    ({"stream": True}, {"stream": True, "include_usage": True}),
    ({"system": "be nice"}, {"messages": (Message("system", (TextPart("be nice"),)), HI)}),
    (
        {"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": MARK}]},
        {"messages": (Message("system", (TextPart("a"), TextPart("b", MARK))), HI)},
    ),
    (
        {"messages": [USER, {"role": "system", "content": "now be brief"}, {"role": "assistant", "content": "ok"}]},
        {
            "messages": (
                HI,
                Message("system", (TextPart("now be brief"),)),
                Message("assistant", (TextPart("ok"),)),
            )
        },
    ),
    (
        {
            "tools": [
                {"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True, "cache_control": MARK},
                {"name": "g", "input_schema": SCHEMA, "defer_loading": True, "input_examples": [{"city": "x"}]},
                SEARCH,
                {"type": "mcp_toolset", "mcp_server_name": "s"},
            ],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        },
        {
            "tools": (
                Tool("f", "d", SCHEMA, True, cache=MARK),
                Tool("g", None, SCHEMA),
                OpaqueTool("anthropic", "web_search", SEARCH),
                OpaqueTool("anthropic", "mcp_toolset", {"type": "mcp_toolset", "mcp_server_name": "s"}),
            ),
            "tool_choice": ToolChoice("required"),
            "parallel_tools": False,
            "extra": {"tools[1].defer_loading": True, "tools[1].input_examples": [{"city": "x"}]},
        },
    ),
    (
        {"tools": [SEARCH], "tool_choice": {"type": "tool", "name": "web_search"}},
        {
            "tools": (OpaqueTool("anthropic", "web_search", SEARCH),),
            "tool_choice": ToolChoice("named", "web_search"),
        },
    ),
    ({"thinking": {"type": "adaptive"}}, {"thinking": Thinking()}),
    ({"thinking": {"type": "disabled"}}, {"thinking": Thinking(effort="none")}),
    ({"thinking": {"type": "between_tools"}}, {"extra": {"thinking": {"type": "between_tools"}}}),
    (
        {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "max"}},
        {"thinking": Thinking(effort="max", summary="omitted")},
    ),
    (
        {"model": "claude-sonnet-4-5", "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "summarized"}},
        {"model": "claude-sonnet-4-5", "thinking": Thinking(budget=2000, summary="summarized")},
    ),
    (
        {
            "model": "claude-opus-4-5",
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "output_config": {"effort": "low", "task_budget": {"total": 5}},
        },
        {
            "model": "claude-opus-4-5",
            "thinking": Thinking(budget=2000),
            "extra": {"output_config.effort": "low", "output_config.task_budget": {"total": 5}},
        },
    ),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"response_format": ResponseFormat("schema", SCHEMA)},
    ),
    (
        {"metadata": {"user_id": "u", "x": 1}, "mcp_servers": [{"url": "u"}], "container": "c", "service_tier": "auto"},
        {
            "user": "u",
            "extra": {"metadata.x": 1, "mcp_servers": [{"url": "u"}], "container": "c", "service_tier": "auto"},
        },
    ),
]


@pytest.mark.parametrize(("fields", "neutral"), SAME, ids=lambda value: " ".join(value) or "nothing")
def test_read_and_written_back(fields: dict[str, Any], neutral: dict[str, Any]) -> None:
    request = read_request(body(**fields))
    assert request == chat(**neutral)
    written = write_request(request)
    assert written.body == body(**fields)
    assert written.dropped == ()


@pytest.mark.parametrize(
    ("fields", "neutral"),
    [
        (
            {"output_format": {"type": "json_schema", "schema": SCHEMA}},
            {"response_format": ResponseFormat("schema", SCHEMA)},
        ),
        ({"output_config": {"format": {"type": "odd"}}}, {"extra": {"output_config.format": {"type": "odd"}}}),
        ({"output_config": {"effort": "low"}}, {"thinking": Thinking(effort="low")}),
        ({"tool_choice": {"type": "odd"}}, {"extra": {"tool_choice": {"type": "odd"}}}),
        ({"tool_choice": {"type": "auto"}}, {"tool_choice": ToolChoice("auto")}),
        (
            {"tool_choice": {"type": "none", "disable_parallel_tool_use": False}},
            {"tool_choice": ToolChoice("none"), "parallel_tools": True},
        ),
        ({"system": []}, {}),
        (dict.fromkeys(["system", "tools", "tool_choice", "thinking", "metadata", "stop_sequences", "top_k"]), {}),
    ],
)
def test_other_ways_of_saying_it(fields: dict[str, Any], neutral: dict[str, Any]) -> None:
    assert read_request(body(**fields)) == chat(**neutral)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": ["hi"]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "user", "content": 3}]}, "messages[1].content"),
        ({"messages": [USER, {"role": "user"}]}, "messages[1].content"),
        ({"system": 3}, "system"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"top_k": 0.5}, "top_k"),
        ({"stream": 1}, "stream"),
        ({"stop_sequences": 3}, "stop_sequences"),
        ({"tools": [{"input_schema": SCHEMA}]}, "tools[0].name"),
        ({"tools": [{"name": "f", "input_schema": 1}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "f", "type": 3}]}, "tools[0].type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"thinking": 3}, "thinking"),
        ({"output_config": {"effort": 3}}, "output_config.effort"),
        ({"metadata": {"user_id": 3}}, "metadata.user_id"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_request(body(**fields))
    assert caught.value.param == param


def test_seals_over_calls_come_back_to_their_calls() -> None:
    """They stand beside them in blocks of ours, in whatever order."""
    seal = {"type": "redacted_thinking", "data": wrap(Seal(calls={"a": "s"}))}
    calls = [{"type": "tool_use", "id": name, "name": "f", "input": {}} for name in "ab"]
    for content in ([seal, *calls], [*calls, seal]):
        request = read_request({"model": "m", "messages": [{"role": "assistant", "content": content}]})
        assert request.messages[0].parts == (
            ToolCallPart("a", "f", "{}", signature="s"),
            ToolCallPart("b", "f", "{}"),
        )
