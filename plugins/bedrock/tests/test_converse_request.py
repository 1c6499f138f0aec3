from __future__ import annotations

import json
from typing import Any

import pytest
from aiogateway_plugin_bedrock.converse_request import write_chat
from botocore.loaders import Loader  # type: ignore[import-untyped,import-not-found,unused-ignore]
from botocore.model import ServiceModel  # type: ignore[import-untyped,import-not-found,unused-ignore]
from botocore.validate import ParamValidator  # type: ignore[import-untyped,import-not-found,unused-ignore]

from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.errors import RequestError, Unsupported
from aiogateway.neutral import ChatRequest, Message, OpaqueTool, TextPart, Tool, ToolCallPart, ToolChoice, Written

SERVICE = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ASK = {"role": "user", "content": "hi"}
HI = {"role": "user", "content": [{"text": "hi"}]}
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
SPEC = {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": SCHEMA}}}


def check(written: Written) -> Written:
    """botocore's own validation of what a caller of Converse gives it."""
    for operation in ("Converse", "ConverseStream"):
        shape = SERVICE.operation_model(operation).input_shape
        report = ParamValidator().validate({"modelId": CLAUDE, **written.body}, shape)
        assert not report.has_errors(), report.generate_report()
    return written


def write(**fields: Any) -> Written:
    """What an OpenAI client's body becomes."""
    request = OpenAIChat().read_request({"model": CLAUDE, "messages": [ASK], **fields})
    assert isinstance(request, ChatRequest)
    return check(write_chat(request))


def test_a_plain_chat_has_nothing_more_than_it_needs() -> None:
    assert write() == Written({"messages": [HI]})
    assert write(stream=True, stream_options={"include_usage": True}) == Written({"messages": [HI]})


def test_everything_at_once_is_what_botocore_takes() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": "é"}'}}
    mark = {"type": "ephemeral"}
    written = write(
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "be brief", "cache_control": mark}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD", "filename": "a.pdf"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [call],
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "EtwCCkg="},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
        ],
        tools=[{**TOOL, "cache_control": mark}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        max_completion_tokens=4096,
        temperature=1,
        top_p=0.5,
        stop=["x"],
        top_k=4,
        reasoning_effort="low",
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "description": "d"}},
        guardrail_config={"guardrailIdentifier": "g", "guardrailVersion": "1"},
        requestMetadata={"team": "harbour"},
        service_tier="flex",
    )
    assert written.dropped == ()
    body = written.body
    assert body["system"] == [{"text": "be brief"}, {"cachePoint": {"type": "default"}}]
    assert [next(iter(block)) for block in body["messages"][0]["content"]] == ["text", "image", "document"]
    assert [next(iter(block)) for block in body["messages"][1]["content"]] == [
        "reasoningContent",
        "reasoningContent",
        "toolUse",
    ]
    assert body["toolConfig"] == {
        "tools": [SPEC, {"cachePoint": {"type": "default"}}],
        "toolChoice": {"tool": {"name": "f"}},
    }
    assert body["inferenceConfig"] == {"maxTokens": 4096, "temperature": 1, "topP": 0.5, "stopSequences": ["x"]}
    assert body["additionalModelRequestFields"] == {
        "top_k": 4,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    (structure,) = body["outputConfig"]["textFormat"]["structure"].values()
    assert (structure["name"], structure["description"], json.loads(structure["schema"])) == ("n", "d", SCHEMA)
    assert body["guardrailConfig"]["guardrailIdentifier"] == "g"
    assert (body["serviceTier"], body["requestMetadata"]) == ({"type": "flex"}, {"team": "harbour"})


def test_what_has_no_place_is_named() -> None:
    written = write(
        user="u",
        seed=1,
        frequency_penalty=1,
        presence_penalty=1,
        logit_bias={"1": 2},
        logprobs=False,
        store=None,
        metadata={"a": "b"},
        novel="x",
        response_format={"type": "json_object"},
        service_tier="scale",
    )
    assert set(written.dropped) == {
        "user",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "metadata",
        "novel",
        "response_format",
        "service_tier",
    }
    assert written.body == {"messages": [HI]}
    assert write(service_tier="auto", max_tokens=1, max_completion_tokens=2).dropped == ()


def test_converses_own_fields_win_over_ours_and_have_to_have_their_kind() -> None:
    own = {"top_k": 9, "novel": 1}
    written = write(top_k=4, additional_model_request_fields=own, anthropic_beta="a, b")
    assert written.body["additionalModelRequestFields"] == {**own, "anthropic_beta": ["a", "b"]}
    assert write(anthropic_beta=["a"]).body["additionalModelRequestFields"] == {"anthropic_beta": ["a"]}
    paths = write(additionalModelResponseFieldPaths=["/stop_sequence"])
    assert paths.body["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    with pytest.raises(RequestError, match="must be an object") as caught:
        write(guardrail_config="g")
    assert caught.value.param == "guardrail_config"
    with pytest.raises(RequestError, match="must be a list"):
        write(additionalModelResponseFieldPaths="/x")


def test_claudes_fields_are_for_claude() -> None:
    assert write(model="amazon.nova-lite-v1:0", anthropic_beta=["a"]).dropped == ("anthropic_beta",)


@pytest.mark.parametrize(
    ("choice", "written"),
    [(None, None), ("auto", {"auto": {}}), ("required", {"any": {}})],
)
def test_the_choice_of_a_tool(choice: str | None, written: Any) -> None:
    fields = {} if choice is None else {"tool_choice": choice}
    assert write(tools=[TOOL], **fields).body["toolConfig"].get("toolChoice") == written


def test_no_tool_is_no_tools_until_one_was_called() -> None:
    assert "toolConfig" not in write(tools=[TOOL], tool_choice="none").body
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [ASK, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "1"}]
    kept = write(messages=history, tools=[TOOL], tool_choice="none")
    assert (kept.body["toolConfig"], kept.dropped) == ({"tools": [SPEC]}, ("tool_choice",))
    empty = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
    assert write(messages=history).body["toolConfig"] == {"tools": [empty]}


def test_one_tool_at_a_time_says_the_choice_in_one_place() -> None:
    body = write(tools=[TOOL], tool_choice="required", parallel_tool_calls=False).body
    assert body["toolConfig"] == {"tools": [SPEC]}
    assert body["additionalModelRequestFields"]["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


def test_tools_that_converse_does_not_have() -> None:
    tools = (Tool("f", strict=True), Tool("g", custom=True), OpaqueTool("anthropic", "web_search", {}))
    message = Message("user", (TextPart("hi"),))
    written = check(write_chat(ChatRequest(model=CLAUDE, messages=(message,), tools=tools)))
    assert written.dropped == ("tools[1]", "tools[2]")
    assert [tool["toolSpec"].get("strict") for tool in written.body["toolConfig"]["tools"]] == [True]


def test_only_one_answer_per_call() -> None:
    assert write(n=1).dropped == ()
    with pytest.raises(Unsupported) as caught:
        write(n=2)
    assert caught.value.param == "n"


def test_names_are_the_clients_own() -> None:
    request = ChatRequest(
        model=CLAUDE,
        messages=(Message("assistant", (ToolCallPart("t", "f", "{}"),)),),
        dialect="anthropic",
        user="u",
        tool_choice=ToolChoice("auto"),
        extra={"mcp_servers": [1]},
    )
    assert write_chat(request).dropped == ("metadata.user_id", "mcp_servers")
