from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.responses_parts import DIALECT
from aiogateway.dialects.responses_tools import find_custom, read_choice, read_tools, write_choice, write_tools
from aiogateway.errors import RequestError
from aiogateway.neutral import ChatRequest, OpaqueTool, Tool, ToolChoice

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
CUSTOM = {"type": "custom", "name": "patch", "description": "p", "format": GRAMMAR}
SEARCH = {"type": "web_search", "search_context_size": "low"}
MCP = {"type": "mcp", "server_label": "deepwiki", "server_url": "https://x"}
TOOLS = (Tool("f", "d", SCHEMA, True), Tool("patch", "p", custom=True), OpaqueTool(DIALECT, "web_search", SEARCH))


def write(
    dialect: str, *tools: Tool | OpaqueTool, **extra: Any
) -> tuple[list[dict[str, Any]], dict[str, Any], list[str]]:
    dropped: dict[str, None] = {}
    request = ChatRequest(model="m", messages=(), dialect=dialect, tools=tools)
    return write_tools(request, extra, dropped), extra, list(dropped)


def test_both_ways() -> None:
    extra: dict[str, Any] = {}
    assert read_tools({"tools": [FUNCTION, CUSTOM, SEARCH]}, extra) == TOOLS
    assert extra == {"tools[1].format": GRAMMAR}
    assert write(DIALECT, *TOOLS, **extra) == ([FUNCTION, CUSTOM, SEARCH], {}, [])


def test_what_says_nothing_is_no_leftover() -> None:
    extra: dict[str, Any] = {}
    tools = [
        {"type": "custom", "name": "c", "format": {"type": "text"}},
        {"type": "function", "name": "f", "strict": None, "parameters": None, "defer_loading": False, "async": None},
    ]
    assert read_tools({"tools": tools}, extra) == (Tool("c", custom=True), Tool("f"))
    assert extra == {}


def test_strict_is_said_where_it_was_not() -> None:
    """Its default is true here and false everywhere else."""
    (tool,), *_ = write("openai_chat", Tool("f"))
    assert tool == {
        "type": "function",
        "name": "f",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
    }
    (tool,), *_ = write(DIALECT, Tool("f", schema=SCHEMA))
    assert "strict" not in tool


def test_a_grammar_from_chat_completions() -> None:
    form = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}}
    tools, extra, _ = write("openai_chat", Tool("patch", custom=True), **{"tools[0].custom.format": form, "other": 1})
    assert tools == [{"type": "custom", "name": "patch", "format": GRAMMAR}]
    assert extra == {"other": 1}


def test_what_has_no_place_is_named() -> None:
    tools, _, dropped = write("anthropic", OpaqueTool("anthropic", "bash", {}), Tool("f", cache={"type": "ephemeral"}))
    assert [tool["name"] for tool in tools] == ["f"]
    assert dropped == ["tools[0]", "tools.cache_control"]


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ({}, "tools"),
        ([{}], "tools[0].type"),
        ([SEARCH, {"type": "function"}], "tools[1].name"),
        ([{"type": "custom", "name": "c", "description": 1}], "tools[0].description"),
    ],
)
def test_what_is_wrong_is_named(tools: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_tools({"tools": tools}, {})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("choice", "neutral"),
    [
        ("auto", ToolChoice("auto")),
        ("required", ToolChoice("required")),
        ("none", ToolChoice("none")),
        ({"type": "function", "name": "f"}, ToolChoice("named", "f")),
        ({"type": "custom", "name": "patch"}, ToolChoice("named", "patch")),
    ],
)
def test_choices_both_ways(choice: Any, neutral: ToolChoice) -> None:
    extra: dict[str, Any] = {}
    assert read_choice({"tool_choice": choice}, TOOLS, extra) == (neutral, TOOLS)
    assert extra == {}
    assert write_choice(neutral, TOOLS) == choice


def test_allowed_tools_are_a_shorter_list() -> None:
    tools = read_tools({"tools": [FUNCTION, CUSTOM, SEARCH, MCP]}, {})
    allowed = [{"type": "function", "name": "f"}, {"type": "mcp", "server_label": "deepwiki"}]
    choice, left = read_choice(
        {"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": allowed}}, tools, {}
    )
    assert choice == ToolChoice("required")
    assert [tool.name for tool in left] == ["f", "mcp"]


@pytest.mark.parametrize("choice", [{"type": "web_search"}, {"type": "allowed_tools", "mode": "some"}, "any"])
def test_other_choices_are_kept(choice: Any) -> None:
    extra: dict[str, Any] = {}
    assert read_choice({"tool_choice": choice}, TOOLS, extra) == (None, TOOLS)
    assert extra == {"tool_choice": choice}


def test_no_choice() -> None:
    assert read_choice({}, TOOLS, {}) == (None, TOOLS)


@pytest.mark.parametrize("tools", [None, "x", [1, {"type": "function", "name": "patch"}], []])
def test_a_request_without_custom_tools(tools: Any) -> None:
    assert find_custom({"tools": tools}) == frozenset()


def test_custom_tools_are_found() -> None:
    assert find_custom({"tools": [FUNCTION, CUSTOM]}) == {"patch"}
