from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.responses_parts import DIALECT
from aiogateway.dialects.responses_request import read_request, write_request
from aiogateway.dialects.responses_seals import mark
from aiogateway.errors import RequestError, Unsupported
from aiogateway.neutral import (
    ChatRequest,
    EmbedRequest,
    Message,
    OpaqueTool,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

ASK = Message("user", (TextPart("hi"),))
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch hunk+ end_patch"}
ENCRYPTED = ["reasoning.encrypted_content"]

# What codex-cli 0.169.0 posts in a later turn, shortened; its fields are those of openai/codex,
# codex-rs/codex-api/src/common.rs (ResponsesApiRequest) and codex-rs/protocol/src/models.rs (ResponseItem).
CODEX: dict[str, Any] = {
    "model": "gpt-5.5",
    "stream": True,
    "input": [
        {
            "type": "message",
            "id": "msg_500fb550",
            "role": "developer",
            "content": [{"type": "input_text", "text": "You are a coding agent."}],
        },
        {
            "type": "message",
            "id": "msg_01a2005f",
            "role": "user",
            "content": [{"type": "input_text", "text": "fix the tide table"}],
        },
        {
            "type": "reasoning",
            "id": "rs_x_0",
            "summary": [{"type": "summary_text", "text": "look first"}],
            "content": None,
            "encrypted_content": None,
        },
        {
            "type": "function_call",
            "id": "fc_x_1",
            "status": "completed",
            "name": "exec_command",
            "arguments": '{"cmd":"ls"}',
            "call_id": "call_1",
        },
        {"type": "function_call_output", "id": "fco_01", "call_id": "call_1", "output": "tides.py"},
        {
            "type": "custom_tool_call",
            "id": "ctc_x_0",
            "status": "completed",
            "call_id": "call_2",
            "name": "apply_patch",
            "input": "*** Begin Patch",
        },
        {"type": "custom_tool_call_output", "id": "ctco_01", "call_id": "call_2", "output": "Success"},
    ],
    "tools": [
        {"type": "function", "name": "exec_command", "description": "Runs", "strict": False, "parameters": SCHEMA},
        {"type": "custom", "name": "apply_patch", "description": "Patches", "format": GRAMMAR},
        {"type": "namespace", "name": "multi_agent_v1", "description": "Agents", "tools": []},
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "include": ENCRYPTED,
    "prompt_cache_key": "01a2005f",
    "text": {"verbosity": "low"},
    "client_metadata": {"installation_id": "i"},
}


def read(**body: Any) -> ChatRequest:
    return read_request({"model": "m", "input": "hi", **body})


def write(dialect: str = "openai_chat", **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What is written beside the model, the input and `store`."""
    written = write_request(ChatRequest(model="m", messages=(ASK,), dialect=dialect, **fields))
    body = dict(written.body)
    assert body.pop("model") == "m"
    assert body.pop("input") == [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]
    if body["store"] is False:
        del body["store"]
    return body, written.dropped


def test_the_least_there_is() -> None:
    assert read() == ChatRequest(model="m", messages=(ASK,), dialect=DIALECT)
    assert write() == ({}, ())


def test_what_codex_posts() -> None:
    assert read_request(CODEX) == ChatRequest(
        model="gpt-5.5",
        messages=(
            Message("system", (TextPart("You are a coding agent."),)),
            Message("user", (TextPart("fix the tide table"),)),
            Message("assistant", (ReasoningPart("look first"), ToolCallPart("call_1", "exec_command", '{"cmd":"ls"}'))),
            Message("tool", (ToolResultPart("call_1", "tides.py"),)),
            Message("assistant", (ToolCallPart("call_2", "apply_patch", "*** Begin Patch", custom=True),)),
            Message("tool", (ToolResultPart("call_2", "Success"),)),
        ),
        stream=True,
        include_usage=True,
        dialect=DIALECT,
        tools=(
            Tool("exec_command", "Runs", SCHEMA, False),
            Tool("apply_patch", "Patches", custom=True),
            OpaqueTool(DIALECT, "namespace", CODEX["tools"][2]),
            OpaqueTool(DIALECT, "web_search", CODEX["tools"][3]),
        ),
        tool_choice=ToolChoice("auto"),
        parallel_tools=True,
        thinking=Thinking(effort="medium", summary="auto"),
        extra={
            "tools[1].format": GRAMMAR,
            "prompt_cache_key": "01a2005f",
            "verbosity": "low",
            "client_metadata": {"installation_id": "i"},
        },
    )


def test_it_can_be_written_again() -> None:
    """But for what only means something to the server that said it."""
    written = write_request(read_request(CODEX))
    system, user, _, *rest = [
        {name: value for name, value in item.items() if name not in ("id", "status")} for item in CODEX["input"]
    ]
    assert written.body.pop("input") == [{**system, "role": "system"}, user, *rest]
    assert written.body == {name: value for name, value in CODEX.items() if name != "input"}
    assert written.dropped == ("reasoning",)


def test_instructions_come_first() -> None:
    assert read(instructions="be brief").messages == (Message("system", (TextPart("be brief"),)), ASK)


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.5, "top_p": 0.9, "max_output_tokens": 5, "user": "u", "parallel_tool_calls": False},
        {"text": {"format": {"type": "text"}}},
        {"text": {"format": {"type": "json_object"}, "verbosity": "high"}},
        {
            "text": {
                "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True, "description": "d"}
            }
        },
        {"text": {"format": {"type": "grammar", "x": 1}, "later": 1}},
        {"metadata": {"a": "b"}, "service_tier": "flex", "truncation": "auto", "top_logprobs": 3, "store": True},
        {"include": ["web_search_call.results"], "stream_options": {"include_obfuscation": True}},
        {"reasoning": {"effort": "high", "summary": "detailed", "context": "all_turns"}, "include": ENCRYPTED},
        {"reasoning": {"effort": "none"}, "never_heard_of": {"a": 1}},
        {"tool_choice": {"type": "web_search"}, "tools": [{"type": "web_search"}]},
    ],
)
def test_fields_both_ways(fields: dict[str, Any]) -> None:
    request = read(**fields)
    written = write_request(request)
    del written.body["model"], written.body["input"]
    assert written.body == {"store": False, **fields}
    assert written.dropped == ()


def test_what_is_only_said_to_say_it_is_no_leftover() -> None:
    silent = {
        "previous_response_id": None, "background": False, "conversation": None, "store": False, "include": ENCRYPTED,
        "truncation": "disabled", "stream_options": {"include_obfuscation": False}, "metadata": {},
        "service_tier": None, "top_logprobs": 0, "reasoning": {"effort": None, "summary": None}, "text": {},
        "instructions": None,
    }  # fmt: skip
    assert read(**silent) == read()


def test_the_older_name_of_a_summary() -> None:
    assert read(reasoning={"generate_summary": "concise"}).thinking == Thinking(summary="concise")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("prompt", {"id": "pmpt_1"}),
        ("background", True),
    ],
)
def test_what_only_openai_keeps_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(Unsupported) as caught:
        read(**{name: value})
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": None}, "input"),
        ({"model": 1}, "model"),
        ({"instructions": ["a"]}, "instructions"),
        ({"include": "all"}, "include"),
        ({"store": "yes"}, "store"),
        ({"stream": 1}, "stream"),
        ({"text": "json"}, "text"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": 1}}}, "text.format.name"),
        ({"reasoning": {"effort": 1}}, "reasoning.effort"),
        ({"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(**body)
    assert caught.value.param == param


def test_a_chat_clients_fields() -> None:
    extra = {
        "metadata": {"a": "b"}, "verbosity": "low", "service_tier": "flex",
        "response_format.json_schema.description": "d", "logprobs": True, "logit_bias": {},
        "prediction": {"type": "content"},
    }  # fmt: skip
    body, dropped = write(extra=extra, response_format=ResponseFormat("schema", schema=SCHEMA), stream=True)
    assert body == {
        "stream": True,
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "text": {
            "format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "description": "d"},
            "verbosity": "low",
        },
    }
    assert dropped == ("logprobs", "prediction")


def test_another_wires_fields_are_dropped_by_name() -> None:
    body, dropped = write("anthropic", extra={"service_tier": "standard_only", "container": None, "metadata": {"a": 1}})
    assert body == {}
    assert dropped == ("service_tier", "metadata")


def test_what_responses_has_no_word_for_is_named() -> None:
    body, dropped = write(
        top_k=3, seed=1, frequency_penalty=0.0, presence_penalty=1.0, stop=("x",), n=2, include_usage=True
    )
    assert body == {}
    assert dropped == ("top_k", "seed", "frequency_penalty", "presence_penalty", "stop", "n")
    assert write(n=1) == ({}, ())


@pytest.mark.parametrize(
    ("thinking", "reasoning", "sealed"),
    [
        (Thinking(effort="high"), {"effort": "high"}, True),
        (Thinking(effort="none"), {"effort": "none"}, False),
        (Thinking(budget=0), {"effort": "none"}, False),
        (Thinking(budget=1024, summary="auto"), {"effort": "low", "summary": "auto"}, True),
        (Thinking(budget=9000), {"effort": "high"}, True),
        (Thinking(), {}, True),
    ],
)
def test_thinking(thinking: Thinking, reasoning: dict[str, Any], *, sealed: bool) -> None:
    body, dropped = write(thinking=thinking)
    assert body == {"reasoning": reasoning, **({"include": ENCRYPTED} if sealed else {})}
    assert dropped == ()


def test_sealed_thoughts_ask_for_more_of_them() -> None:
    thought = Message("assistant", (ReasoningPart("hm", mark("gA", "rs_1")),))
    written = write_request(ChatRequest(model="m", messages=(ASK, thought, ASK), dialect="anthropic"))
    assert written.body["include"] == ENCRYPTED
    assert written.body["input"][1]["encrypted_content"] == "gA"


def test_tools_and_choice_are_written() -> None:
    body, _ = write(tools=(Tool("f", schema=SCHEMA),), tool_choice=ToolChoice("named", "f"), parallel_tools=True)
    assert body == {
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": False}],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": True,
    }


def test_texts_to_embed_are_no_chat() -> None:
    with pytest.raises(Unsupported):
        write_request(EmbedRequest(model="m", inputs=("a",)))
