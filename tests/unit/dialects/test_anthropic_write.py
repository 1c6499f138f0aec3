from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.anthropic_write import read_version, write_request
from aiogateway.errors import Unsupported
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

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
BARE = {"model": "claude-opus-5", "messages": [{"role": "user", "content": "hi"}]}


def write(dialect: str = "openai_chat", **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    messages = (Message("user", (TextPart("hi"),)),)
    request = ChatRequest(**{"model": "claude-opus-5", "messages": messages, "dialect": dialect, **fields})
    written = write_request(request)
    return {name: value for name, value in written.body.items() if BARE.get(name) != value}, written.dropped


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({}, {}),
        (
            {"n": 1, "max_tokens": 5, "temperature": 1.7, "stop": ("a",)},
            {"max_tokens": 5, "temperature": 1.7, "stop_sequences": ["a"]},
        ),
        ({"stream": True, "include_usage": True}, {"stream": True}),
        (
            {"tools": (Tool("f", "d", {"properties": {}}, False), Tool("g", strict=True))},
            {
                "tools": [
                    {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}},
                    {"name": "g", "input_schema": {"type": "object", "properties": {}}, "strict": True},
                ]
            },
        ),
        ({"tool_choice": ToolChoice("auto"), "parallel_tools": False}, {}),
        ({"response_format": ResponseFormat("text")}, {}),
        (
            {"response_format": ResponseFormat("schema", SCHEMA, "n", True), "thinking": Thinking(effort="low")},
            {
                "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"},
                "thinking": {"type": "adaptive"},
            },
        ),
        ({"extra": {"safety_identifier": "s"}}, {"metadata": {"user_id": "s"}}),
        ({"extra": {"service_tier": "auto", "max_tokens": 4}}, {"service_tier": "auto"}),
        (
            {"extra": {"store": False, "logprobs": None, "context_management": {"edits": []}, "speed": "fast"}},
            {"context_management": {"edits": []}, "speed": "fast"},
        ),
    ],
)
def test_what_other_wires_say(fields: dict[str, Any], body: dict[str, Any]) -> None:
    assert write(**fields) == (body, ())


@pytest.mark.parametrize(
    ("choice", "alone", "written"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("auto"), None, {"type": "auto"}),
        (ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice("named", "f"), True, {"type": "tool", "name": "f"}),
        (ToolChoice("none"), False, {"type": "none"}),
    ],
)
def test_the_choice_of_tools(choice: ToolChoice | None, alone: bool | None, written: dict[str, Any] | None) -> None:
    body, dropped = write(tools=(Tool("f"),), tool_choice=choice, parallel_tools=alone)
    assert body.get("tool_choice") == written
    assert dropped == ()


def test_what_has_no_place_is_dropped_by_name() -> None:
    body, dropped = write(
        seed=7,
        frequency_penalty=0.5,
        presence_penalty=0,
        response_format=ResponseFormat("json"),
        tools=(Tool("sh", custom=True), OpaqueTool("openai_chat", "web_search", {}), Tool("f")),
        extra={
            "logit_bias": {"1": 2},
            "metadata": {"a": "b"},
            "service_tier": "flex",
            "tools[0].custom.format": {"a": 1},
        },
    )
    assert [tool["name"] for tool in body.pop("tools")] == ["f"]
    assert body == {}
    assert set(dropped) == {
        "frequency_penalty",
        "logit_bias",
        "metadata",
        "presence_penalty",
        "response_format",
        "seed",
        "service_tier",
        "tools[0]",
        "tools[0].custom.format",
        "tools[1]",
    }


def test_a_client_of_this_wire_loses_a_blocks_own_fields_only() -> None:
    extra = {"messages[0].content[0].citations": [1], "x_new": 1, "system[0].x": 2}
    assert write("anthropic", extra=extra) == (
        {"x_new": 1},
        ("messages[0].content[0].citations", "system[0].x"),
    )


@pytest.mark.parametrize(
    ("model", "thinking", "limit", "body"),
    [
        ("claude-opus-5", Thinking(effort="minimal"), None, ({"type": "adaptive"}, "low")),
        ("claude-opus-5", Thinking(effort="xhigh", summary="auto"), 5,
         ({"type": "adaptive", "display": "summarized"}, "xhigh")),
        ("claude-opus-5", Thinking(budget=9000), None, ({"type": "adaptive"}, "high")),
        ("claude-opus-5", Thinking(), None, ({"type": "adaptive"}, None)),
        ("claude-opus-5", Thinking(effort="none"), None, ({"type": "disabled"}, None)),
        ("claude-sonnet-4-5", Thinking(budget=0), None, ({"type": "disabled"}, None)),
        ("claude-opus-4-6", Thinking(effort="high"), None, ({"type": "adaptive"}, "high")),
        ("claude-opus-4-6", Thinking(budget=3000), 10, ({"type": "enabled", "budget_tokens": 3000}, None)),
        ("claude-sonnet-4-5", Thinking(budget=3000), 10, ({"type": "enabled", "budget_tokens": 3000}, None)),
        ("claude-sonnet-4-5", Thinking(effort="high"), None, ({"type": "enabled", "budget_tokens": 24_576}, None)),
        ("claude-sonnet-4-5", Thinking(effort="high"), 4000, ({"type": "enabled", "budget_tokens": 2000}, None)),
        ("claude-sonnet-4-5", Thinking(summary="omitted"), None,
         ({"type": "enabled", "budget_tokens": 8192, "display": "omitted"}, None)),
    ],
)  # fmt: skip
def test_thinking_as_the_model_takes_it(
    model: str, thinking: Thinking, limit: int | None, body: tuple[dict[str, Any], str | None]
) -> None:
    written, dropped = write(model=model, thinking=thinking, max_tokens=limit)
    assert (written["thinking"], written.get("output_config", {}).get("effort")) == body
    assert dropped == ()


def test_a_limit_that_leaves_no_room_to_think() -> None:
    body, dropped = write(model="claude-haiku-4-5", thinking=Thinking(effort="low"), max_tokens=500)
    assert "thinking" not in body
    assert dropped == ("reasoning_effort",)


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("claude-3-7-sonnet-20250219", (3, 7)),
        ("claude-3-opus-latest", (3, 0)),
        ("claude-sonnet-4-20250514", (4, 0)),
        ("claude-opus-4-5@20251101", (4, 5)),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", (4, 5)),
        ("claude-fable-5", (5, 0)),
        ("claude-sonnet-5-5", (5, 5)),
        ("claude-mythos-preview", (99, 0)),
        ("somebody-elses", (99, 0)),
    ],
)
def test_the_version_in_a_models_name(model: str, version: tuple[int, int]) -> None:
    assert read_version(model) == version


def test_what_is_no_single_chat_is_refused() -> None:
    with pytest.raises(Unsupported):
        write_request(EmbedRequest(model="m", inputs=("x",)))
    with pytest.raises(Unsupported) as caught:
        write(n=2)
    assert caught.value.param == "n"
