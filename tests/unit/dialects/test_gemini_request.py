from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.gemini_request import write_request
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

HELLO = (Message("user", (TextPart("Hello"),)),)
CONTENTS = [{"role": "user", "parts": [{"text": "Hello"}]}]
SCHEMA = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "additionalProperties": False}


def write(model: str = "gemini-2.5-flash", dialect: str = "openai_chat", **fields: Any) -> Written:
    return write_request(ChatRequest(**{"model": model, "dialect": dialect, "messages": HELLO, **fields}))


def config_of(**fields: Any) -> dict[str, Any]:
    written = write(**fields)
    assert written.dropped == ()
    assert written.body.keys() <= {"contents", "generationConfig"}
    config: dict[str, Any] = written.body["generationConfig"]
    return config


def test_the_smallest() -> None:
    assert write(stream=True, include_usage=True, n=None) == Written({"contents": CONTENTS})


def test_system_is_an_instruction() -> None:
    messages = (Message("system", (TextPart("Be brief."),)), *HELLO)
    assert write(messages=messages).body == {
        "contents": CONTENTS,
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
    }


def test_sampling() -> None:
    assert config_of(
        temperature=2.5,
        top_p=0.1,
        top_k=3,
        max_tokens=0,
        stop=("a", "b"),
        seed=-1,
        frequency_penalty=9.0,
        presence_penalty=-9.0,
        n=2,
    ) == {
        "temperature": 2.5,
        "topP": 0.1,
        "topK": 3,
        "maxOutputTokens": 0,
        "stopSequences": ["a", "b"],
        "seed": -1,
        "frequencyPenalty": 9.0,
        "presencePenalty": -9.0,
        "candidateCount": 2,
    }


@pytest.mark.parametrize(
    ("wanted", "config"),
    [
        (ResponseFormat("json"), {"responseMimeType": "application/json"}),
        (
            ResponseFormat("schema", schema=SCHEMA, name="a", strict=True),
            {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
        ),
    ],
)
def test_structured_output_is_json_schema(wanted: ResponseFormat, config: dict[str, Any]) -> None:
    assert config_of(response_format=wanted) == config
    assert write(response_format=ResponseFormat("text")).body == {"contents": CONTENTS}


def test_thinking() -> None:
    assert config_of(thinking=Thinking(effort="low")) == {
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True}
    }
    assert write(thinking=Thinking(effort="heroic")).dropped == ("reasoning_effort",)


def test_tools() -> None:
    tools = (Tool("f", "does f", SCHEMA), Tool("g"), Tool("h", schema={}))
    assert write(tools=tools).body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "does f", "parametersJsonSchema": SCHEMA},
                {"name": "g"},
                {"name": "h"},
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "strict", "calling"),
    [
        (None, None, None),
        (ToolChoice("auto"), None, {"mode": "AUTO"}),
        (ToolChoice("auto"), True, {"mode": "VALIDATED"}),
        (None, True, {"mode": "VALIDATED"}),
        (ToolChoice("required"), True, {"mode": "ANY"}),
        (ToolChoice("none"), True, {"mode": "NONE"}),
        (ToolChoice("named", "f"), None, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, strict: bool | None, calling: dict[str, Any] | None) -> None:
    body = write(tools=(Tool("f", strict=strict),), tool_choice=choice).body
    assert body.get("toolConfig") == (calling and {"functionCallingConfig": calling})


def test_tools_that_google_runs() -> None:
    tools = (
        OpaqueTool("openai_chat", "search", {"type": "google_search", "timeRangeFilter": {}}),
        OpaqueTool("gemini", "code", {"codeExecution": {}}),
        OpaqueTool("openai_responses", "web_search", {"type": "web_search"}),
    )
    written = write(tools=tools, tool_choice=ToolChoice("required"))
    assert written.body["tools"] == [{"googleSearch": {"timeRangeFilter": {}}}, {"codeExecution": {}}]
    assert "toolConfig" not in written.body
    assert written.dropped == ("tools[2]", "tool_choice")


def test_a_custom_tool_is_a_function_of_one_text() -> None:
    written = write(tools=(Tool("patch", custom=True, cache={"type": "ephemeral"}),))
    [function] = written.body["tools"][0]["functionDeclarations"]
    assert function["parametersJsonSchema"]["properties"] == {"input": {"type": "string"}}
    assert written.dropped == ("tools[0].format", "tools[0].cache_control")


def test_googles_own_fields_in_either_spelling() -> None:
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    written = write(
        thinking=Thinking(effort="low"),
        extra={
            "safety_settings": safety,
            "cachedContent": "cachedContents/1",
            "labels": {"team": "a"},
            "generation_config": {"max_output_tokens": 5, "responseMimeType": "text/x.enum"},
            "thinking_config": {"thinkingBudget": 1},
        },
    )
    assert written.body == {
        "contents": CONTENTS,
        "safetySettings": safety,
        "cachedContent": "cachedContents/1",
        "labels": {"team": "a"},
        "generationConfig": {
            "maxOutputTokens": 5,
            "responseMimeType": "text/x.enum",
            "thinkingConfig": {"thinkingBudget": 1},
        },
    }
    assert written.dropped == ()


@pytest.mark.parametrize(("wrap", "path"), [(False, "google"), (True, "extra_body.google")])
def test_the_google_object_of_its_compatible_endpoint(wrap: bool, path: str) -> None:
    own = {"thinking_config": {"thinking_budget": 7}, "cached_content": "c", "other": 1}
    written = write(extra={"extra_body": {"google": own}} if wrap else {"google": own})
    assert written.body["cachedContent"] == "c"
    assert written.body["generationConfig"] == {"thinkingConfig": {"thinking_budget": 7}}
    assert written.dropped == (f"{path}.other",)


def test_log_probabilities_and_modalities() -> None:
    assert config_of(extra={"logprobs": True, "top_logprobs": 3}) == {"responseLogprobs": True, "logprobs": 3}
    assert config_of(extra={"modalities": ["text", "image"]}) == {"responseModalities": ["TEXT", "IMAGE"]}
    assert write(extra={"modalities": ["text"], "logprobs": False}) == Written({"contents": CONTENTS})
    assert write(extra={"modalities": 3, "top_logprobs": 3}).dropped == ("modalities", "top_logprobs")


@pytest.mark.parametrize(
    ("tier", "written", "dropped"),
    [
        ("flex", "flex", ()),
        ("default", "standard", ()),
        ("auto", None, ()),
        ("scale", None, ("service_tier",)),
        (3, None, ("service_tier",)),
    ],
)
def test_service_tiers(tier: Any, written: str | None, dropped: tuple[str, ...]) -> None:
    answer = write(extra={"service_tier": tier})
    assert (answer.body.get("serviceTier"), answer.dropped) == (written, dropped)


@pytest.mark.parametrize(
    ("dialect", "user", "parallel"),
    [
        ("openai_chat", "user", "parallel_tool_calls"),
        ("anthropic", "metadata.user_id", "tool_choice.disable_parallel_tool_use"),
    ],
)
def test_what_has_no_place_is_named_as_the_client_names_it(dialect: str, user: str, parallel: str) -> None:
    written = write(
        dialect=dialect,
        user="u1",
        parallel_tools=False,
        extra={"logit_bias": {"1": 2}, "store": False, "metadata": None, "prediction": {}, "generationConfig": 3},
    )
    assert written == Written({"contents": CONTENTS}, (user, parallel, "logit_bias", "generationConfig"))
    assert write(parallel_tools=True).dropped == ()


def test_only_chats() -> None:
    with pytest.raises(Unsupported):
        write_request(EmbedRequest(model="m", inputs=("a",)))
