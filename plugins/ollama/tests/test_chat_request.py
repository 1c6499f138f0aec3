from __future__ import annotations

from typing import Any

import pytest
from aiogateway_plugin_ollama.chat_request import write_chat

from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.errors import RequestError, Unsupported
from aiogateway.neutral import ChatRequest, Message, OpaquePart, ReasoningPart, Written

ASK = {"role": "user", "content": "hi"}


def write(**fields: Any) -> Written:
    """What an OpenAI client's body becomes."""
    request = OpenAIChat().read_request({"model": "m", "messages": [ASK], **fields})
    assert isinstance(request, ChatRequest)
    return write_chat(request)


def messages(*given: dict[str, Any]) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = write(messages=list(given)).body["messages"]
    return written


def test_a_plain_chat_has_nothing_more_than_it_needs() -> None:
    assert write() == Written({"model": "m", "messages": [ASK], "stream": False})
    assert write(stream=True, stream_options={"include_usage": True}).body["stream"] is True


def test_sampling_goes_into_options() -> None:
    written = write(
        temperature=0, top_p=0.5, max_completion_tokens=7, stop="x", seed=3, frequency_penalty=1, presence_penalty=-1
    )
    assert written.body["options"] == {
        "temperature": 0, "top_p": 0.5, "num_predict": 7, "stop": ["x"], "seed": 3,
        "frequency_penalty": 1, "presence_penalty": -1,
    }  # fmt: skip
    assert written.dropped == ()


def test_ollamas_own_fields_pass_and_openais_win_over_options() -> None:
    written = write(options={"num_ctx": 1, "temperature": 1, "novel": 2}, temperature=0, top_k=5, keep_alive="5m")
    assert written.body["options"] == {"num_ctx": 1, "temperature": 0, "novel": 2, "top_k": 5}
    assert written.body["keep_alive"] == "5m"
    assert written.dropped == ()
    with pytest.raises(RequestError) as caught:
        write(options=[1])
    assert caught.value.param == "options"


def test_what_has_no_place_is_named() -> None:
    written = write(user="u", logit_bias={"1": 2}, logprobs=True, metadata=None, tool_choice="required")
    assert set(written.dropped) == {"user", "logit_bias", "logprobs", "tool_choice"}
    assert set(written.body) == {"model", "messages", "stream"}


def test_tools_of_other_kinds_are_dropped_by_place() -> None:
    marked = {"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}
    custom = {"type": "custom", "custom": {"name": "sh"}}
    written = write(tools=[custom, marked, {"type": "web_search"}], parallel_tool_calls=False)
    assert [tool["function"]["name"] for tool in written.body["tools"]] == ["f"]
    assert set(written.dropped) == {"tools[0]", "tools[2]", "tools.cache_control", "parallel_tool_calls"}


def test_documents() -> None:
    note = {"type": "file", "file": {"file_data": "data:text/plain;base64,YWhveQ=="}}
    assert messages({"role": "user", "content": [note]}) == [{"role": "user", "content": "ahoy"}]
    with pytest.raises(Unsupported) as caught:
        messages({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]})
    assert caught.value.param == "messages[0].content"


def test_only_one_answer_per_call() -> None:
    assert write(n=1).dropped == ()
    with pytest.raises(Unsupported) as caught:
        write(n=2)
    assert caught.value.param == "n"


@pytest.mark.parametrize(
    ("fields", "think"),
    [
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning_effort": "high"}, "high"),
        ({"reasoning": {"effort": "xhigh"}}, "max"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4000}}, "medium"),
        ({"thinking": {"type": "disabled"}}, False),
        ({"think": True}, True),
        ({"think": "low"}, "low"),
    ],
)
def test_reasoning_effort_is_think(fields: dict[str, Any], think: object) -> None:
    written = write(**fields)
    assert written.body["think"] is think or written.body["think"] == think
    assert written.dropped == ()


def test_reasoning_that_is_not_understood() -> None:
    assert write(think=True, reasoning_effort="low").dropped == ("reasoning_effort",)
    assert write(reasoning={"effort": "low", "summary": "auto"}).dropped == ("reasoning.summary",)
    assert write(reasoning={"summary": "auto"}).dropped == ("reasoning.summary",)
    with pytest.raises(RequestError, match="reasoning_effort must be one of none, minimal"):
        write(reasoning_effort="huge")
    with pytest.raises(RequestError, match=r"reasoning\.effort must be a string"):
        write(reasoning={"effort": 3})


def test_formats() -> None:
    schema = {"type": "object", "properties": {}}
    assert "format" not in write(response_format={"type": "text"}).body
    assert write(response_format={"type": "json_object"}).body["format"] == "json"
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "description": "d"}}
    written = write(response_format=wanted)
    assert written.body["format"] == schema
    assert written.dropped == ("response_format.json_schema.description",)
    assert write(response_format={"type": "json_schema", "json_schema": {"name": "n"}}).body["format"] == "json"


def test_tools() -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    written = write(tools=[{"type": "function", "function": function}, {"type": "function", "function": {"name": "g"}}])
    assert [tool["function"] for tool in written.body["tools"]] == [
        {"name": "f", "description": "d", "parameters": {"type": "object"}},
        {"name": "g", "parameters": {"type": "object", "properties": {}}},
    ]
    assert written.dropped == ("tools.function.strict",)
    tools = [{"type": "function", "function": {"name": "g"}}]
    assert "tools" not in write(tools=tools, tool_choice="none").body
    assert write(tools=tools, tool_choice="auto").dropped == ()
    named = write(tools=tools, tool_choice={"type": "function", "function": {"name": "g"}})
    assert named.dropped == ("tool_choice",)


def test_roles_and_parts_of_text() -> None:
    written = messages(
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
    )
    assert written == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": "c"},
    ]


def image(url: str, **more: str) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url, **more}}],
    }


def test_images_are_base64_alone() -> None:
    assert messages(image("data:image/png;base64,QUJD")) == [{"role": "user", "content": "see", "images": ["QUJD"]}]
    assert write(messages=[image("data:image/png;base64,QUJD", detail="auto")]).dropped == ()
    assert write(messages=[image("data:image/png;base64,QUJD", detail="low")]).dropped == (
        "messages.content.image_url.detail",
    )


@pytest.mark.parametrize("url", ["https://example.org/a.png", "http://127.0.0.1/a.png", "data:image/svg+xml,<svg/>"])
def test_an_image_by_url_is_refused_by_name(url: str) -> None:
    with pytest.raises(Unsupported) as caught:
        messages(ASK, image(url))
    assert url in caught.value.message
    assert caught.value.param == "messages[1].content"


def test_content_of_other_kinds_is_refused() -> None:
    with pytest.raises(Unsupported, match="input_audio") as caught:
        messages({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]})
    assert caught.value.param == "messages[0].content"


def test_tool_calls_and_their_results() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": [1, "é"]}'}}
    bare = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}
    written = messages(
        ASK,
        {"role": "assistant", "content": None, "tool_calls": [call, bare]},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "tool", "tool_call_id": "c9", "content": [{"type": "text", "text": "nine"}]},
        {"role": "tool", "tool_call_id": "c1", "name": "given", "content": "one"},
    )
    assert written[1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": {"x": [1, "é"]}}},
                {"id": "c2", "function": {"name": "g", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "two", "tool_name": "g", "tool_call_id": "c2"},
        {"role": "tool", "content": "nine", "tool_call_id": "c9"},
        {"role": "tool", "content": "one", "tool_name": "given", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"'])
def test_arguments_have_to_be_an_object(arguments: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    with pytest.raises(RequestError, match="c1 are no JSON object") as caught:
        messages({"role": "assistant", "tool_calls": [call]})
    assert caught.value.param == "messages[0].tool_calls"


def test_an_image_in_a_tools_result_becomes_the_users() -> None:
    content = [{"type": "text", "text": "shot"}, {"type": "image_url", "image_url": {"url": "data:;base64,QUJD"}}]
    assert messages({"role": "tool", "tool_call_id": "c", "content": content}) == [
        {"role": "tool", "content": "shot", "tool_call_id": "c"},
        {"role": "user", "content": "", "images": ["QUJD"]},
    ]


def test_earlier_thoughts_and_fields_of_messages() -> None:
    written = write(
        messages=[
            {"role": "user", "content": "a", "name": "ann"},
            {"role": "user", "content": [{"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "reasoning_content": "hm"},
        ]
    )
    assert written.body["messages"][2] == {"role": "assistant", "content": "", "thinking": "hm"}
    assert set(written.dropped) == {"messages.name", "messages.content.cache_control", "messages.refusal"}


def test_seals_and_foreign_parts_of_an_assistant_are_named() -> None:
    parts = (ReasoningPart("a", signature="s"), OpaquePart("other", None))
    written = write_chat(ChatRequest(model="m", messages=(Message("assistant", parts),)))
    assert written.body["messages"] == [{"role": "assistant", "content": "", "thinking": "a"}]
    assert written.dropped == ("messages.reasoning.signature", "messages.other")
