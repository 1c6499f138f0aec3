from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.cohere_request import write_request
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
    Written,
)

USER = Message(role="user", parts=(TextPart("hi"),))
TOOL = Tool(name="find_tide", description="tides", schema={"type": "object", "properties": {"port": {}}})
OTHER = Tool(name="find_wind")


def write(**fields: Any) -> Written:
    return write_request(ChatRequest(**{"model": "command-a-03-2025", "messages": (USER,), **fields}))


def field(**fields: Any) -> dict[str, Any]:
    """What stands in the body beside the model, the messages and `stream`."""
    body = dict(write(**fields).body)
    assert body.pop("model") == "command-a-03-2025"
    assert body.pop("messages") == [{"role": "user", "content": "hi"}]
    body.pop("stream")
    return body


def test_the_least() -> None:
    assert write().body == {
        "model": "command-a-03-2025",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
    }
    assert write(stream=True).body["stream"] is True


def test_sampling() -> None:
    said = {"temperature": 0.0, "top_p": 0.9, "top_k": 4, "max_tokens": 8, "stop": ("a",), "seed": 0}
    assert field(**said, frequency_penalty=0.1, presence_penalty=0.2) == {
        "temperature": 0.0,
        "p": 0.9,
        "k": 4,
        "max_tokens": 8,
        "stop_sequences": ["a"],
        "seed": 0,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
    }


def test_tools() -> None:
    written = field(tools=(TOOL, OTHER))
    assert written["tools"] == [
        {
            "type": "function",
            "function": {"name": "find_tide", "description": "tides", "parameters": TOOL.schema},
        },
        {"type": "function", "function": {"name": "find_wind", "parameters": {"type": "object", "properties": {}}}},
    ]
    assert "tool_choice" not in written
    assert "strict_tools" not in written


@pytest.mark.parametrize(("mode", "word"), [("auto", None), ("none", "NONE"), ("required", "REQUIRED")])
def test_tool_choice(mode: str, word: str | None) -> None:
    assert field(tools=(TOOL,), tool_choice=ToolChoice(mode)).get("tool_choice") == word


def test_a_named_tool_is_required_by_being_alone() -> None:
    written = field(tools=(TOOL, OTHER), tool_choice=ToolChoice("named", "find_wind"))
    assert [tool["function"]["name"] for tool in written["tools"]] == ["find_wind"]
    assert written["tool_choice"] == "REQUIRED"


def test_a_choice_without_tools_is_named() -> None:
    for tools, choice in (((), ToolChoice("required")), ((TOOL,), ToolChoice("named", "find_wind"))):
        written = write(tools=tools, tool_choice=choice)
        assert not {"tools", "tool_choice"} & written.body.keys()
        assert written.dropped == ("tool_choice",)
    assert write(tool_choice=ToolChoice("none")).dropped == ()


def test_strict_is_for_all_tools_or_for_none() -> None:
    strict = Tool(name="a", strict=True)
    assert field(tools=(strict, strict))["strict_tools"] is True
    mixed = write(tools=(strict, OTHER))
    assert "strict_tools" not in mixed.body
    assert mixed.dropped == ("tools.function.strict",)


def test_tools_of_others_are_named() -> None:
    search = OpaqueTool(dialect="anthropic", name="web_search", data={"type": "web_search_20250305"})
    own = OpaqueTool(dialect="cohere_chat", name="x", data={"type": "own"})
    marked = Tool(name="a", cache={"type": "ephemeral"})
    written = write(tools=(search, own, marked))
    assert written.dropped == ("tools[0]", "tools[2].cache_control")
    assert written.body["tools"][0] == {"type": "own"}
    assert "tools" not in write(tools=(search,)).body


@pytest.mark.parametrize(
    ("thinking", "written"),
    [
        (Thinking(effort="none"), {"type": "disabled"}),
        (Thinking(budget=0), {"type": "disabled"}),
        (Thinking(budget=500), {"type": "enabled", "token_budget": 500}),
        (Thinking(budget=500, effort="none"), {"type": "enabled", "token_budget": 500}),
        (Thinking(effort="low"), {"type": "enabled", "token_budget": 1024}),
        (Thinking(effort="medium"), {"type": "enabled", "token_budget": 8192}),
        (Thinking(effort="high"), {"type": "enabled"}),
        (Thinking(summary="auto"), None),
    ],
)
def test_thinking(thinking: Thinking, written: dict[str, Any] | None) -> None:
    assert field(thinking=thinking).get("thinking") == written


def test_an_effort_nobody_knows_is_named() -> None:
    assert write(thinking=Thinking(effort="huge")).dropped == ("reasoning_effort",)


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        (ResponseFormat("text"), None),
        (ResponseFormat("json"), {"type": "json_object"}),
        (
            ResponseFormat("schema", schema={"type": "object"}, name="n", strict=True),
            {"type": "json_object", "json_schema": {"type": "object"}},
        ),
    ],
)
def test_structured_output(wanted: ResponseFormat, written: dict[str, Any] | None) -> None:
    assert field(response_format=wanted).get("response_format") == written


def test_coheres_own_fields_win() -> None:
    extra = {"documents": ["a"], "safety_mode": "STRICT", "p": 0.5, "thinking": {"type": "disabled"}}
    written = field(top_p=0.9, thinking=Thinking(effort="high"), extra=extra)
    assert written == extra


def test_what_has_no_place_is_named_as_the_client_says_it() -> None:
    extra = {"logit_bias": {"1": 2}, "store": False, "metadata": None, "top_logprobs": 3}
    openai = write(user="u", parallel_tools=False, extra=extra, dialect="openai_chat")
    assert openai.dropped == ("user", "parallel_tool_calls", "logit_bias", "top_logprobs")
    anthropic = write(user="u", parallel_tools=False, dialect="anthropic")
    assert anthropic.dropped == ("metadata.user_id", "tool_choice.disable_parallel_tool_use")
    assert write(parallel_tools=True).dropped == ()


def test_custom_tools_take_their_text_as_input() -> None:
    (tool,) = field(tools=(Tool(name="patch", custom=True),))["tools"]
    assert tool["function"]["parameters"]["required"] == ["input"]


def test_what_cannot_be_asked() -> None:
    with pytest.raises(Unsupported) as caught:
        write(n=2)
    assert caught.value.param == "n"
    assert write(n=1).dropped == ()
    with pytest.raises(Unsupported):
        write_request(EmbedRequest(model="m", inputs=("x",)))
