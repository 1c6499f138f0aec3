from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.responses_items import ItemWriter, read_input
from aiogateway.dialects.responses_parts import DIALECT
from aiogateway.dialects.responses_seals import Seal, mark, wrap
from aiogateway.errors import RequestError, Unsupported
from aiogateway.neutral import (
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def asked(text: str, role: str = "user") -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def called(call: str, **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call, "name": "f", "arguments": "{}", **more}


def answered(call: str, output: Any = "ok") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call, "output": output}


def thought(*texts: str, content: str | None = None) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": text} for text in texts]
    return {"type": "reasoning", "summary": summary, "encrypted_content": content}


def read(*items: dict[str, Any]) -> list[Message]:
    return list(read_input(list(items)))


def write(*messages: Message) -> tuple[list[dict[str, Any]], list[str]]:
    writer = ItemWriter()
    return [item for message in messages for item in writer.write(message)], list(writer.dropped)


def assistant(*parts: Part) -> Message:
    return Message("assistant", parts)


def test_a_string_is_the_user() -> None:
    assert list(read_input("hi")) == [Message("user", (TextPart("hi"),))]


def test_a_whole_conversation_both_ways() -> None:
    items = [
        asked("be brief", "system"),
        asked("do"),
        said("I will"),
        called("c1"),
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "<x>"},
        answered("c1"),
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
        said("it is done"),
        asked("thanks"),
    ]
    messages = [
        Message("system", (TextPart("be brief"),)),
        Message("user", (TextPart("do"),)),
        assistant(TextPart("I will"), ToolCallPart("c1", "f", "{}"), ToolCallPart("c2", "patch", "<x>", custom=True)),
        Message("tool", (ToolResultPart("c1", "ok"),)),
        Message("tool", (ToolResultPart("c2", "done"),)),
        assistant(TextPart("it is done")),
        Message("user", (TextPart("thanks"),)),
    ]
    assert read(*items) == messages
    assert write(*messages) == (items, [])


def test_messages_may_leave_their_type_out() -> None:
    assert read({"role": "developer", "content": "a"}, {"role": "assistant", "content": "b"}) == [
        Message("system", (TextPart("a"),)),
        assistant(TextPart("b")),
    ]


def test_ids_and_phases_are_not_carried_on() -> None:
    (message,) = read({"id": "msg_1", "status": "completed", "phase": "commentary", **said("a")})
    assert message == assistant(TextPart("a"))


def test_a_result_with_an_image() -> None:
    output = [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "image_url": "https://x/i", "detail": "low"},
    ]
    image = ImagePart(url="https://x/i", detail="low")
    messages = [Message("tool", (ToolResultPart("c", "see", (TextPart("see"), image)),))]
    assert read(answered("c", output)) == messages
    assert write(*messages) == ([answered("c", output)], [])


def test_a_result_of_texts_is_text() -> None:
    output = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    assert read(answered("c", output)) == [Message("tool", (ToolResultPart("c", "ab"),))]


def test_thoughts_that_another_provider_sealed_come_back_to_it() -> None:
    parts = [
        ReasoningPart("hm\n\nso", "SIG"),
        ReasoningPart("", sealed="BLOB", id="r"),
    ]
    items = [
        thought("hm", "so", content=wrap(Seal(signature="SIG"))),
        thought(content=wrap(Seal(sealed="BLOB", id="r"))),
    ]
    assert read(*items) == [assistant(*parts)]


def test_a_seal_over_a_call_is_the_calls() -> None:
    seal = thought(content=wrap(Seal(calls={"c1": "GSIG"})))
    for items in ([seal, called("c1")], [called("c1"), seal]):
        assert read(*items) == [assistant(ToolCallPart("c1", "f", "{}", "GSIG"))]


def test_thoughts_without_a_seal_are_text() -> None:
    item = {**thought("a"), "content": [{"type": "reasoning_text", "text": "b"}]}
    assert read(item) == [assistant(ReasoningPart("a\n\nb"))]
    assert read(thought()) == []


def test_thoughts_that_openai_sealed_stay_whole() -> None:
    item = {"id": "rs_1", **thought("hm", content="gAAAA")}
    messages = read(item)
    assert messages == [assistant(OpaquePart(DIALECT, item))]
    assert write(*messages) == ([item], [])


def test_thoughts_of_a_provider_of_this_kind_both_ways() -> None:
    writer = ItemWriter()
    parts = (ReasoningPart("hm", mark("gA", "rs_1")), ReasoningPart("", sealed=mark("gB", None)))
    assert list(writer.write(assistant(*parts))) == [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "gA",
        },
        {"type": "reasoning", "summary": [], "encrypted_content": "gB"},
    ]
    assert writer.sealed
    assert not writer.dropped


@pytest.mark.parametrize("part", [ReasoningPart("hm"), ReasoningPart("hm", "EqQB"), ReasoningPart("", sealed="EqQB")])
def test_other_thoughts_are_dropped_by_name(part: ReasoningPart) -> None:
    assert write(assistant(part, TextPart("a"))) == ([said("a")], ["reasoning"])


def test_items_of_built_in_tools_are_opaque() -> None:
    messages = read(SEARCH, said("a"))
    assert messages == [assistant(OpaquePart(DIALECT, SEARCH), TextPart("a"))]
    assert write(*messages) == ([SEARCH, said("a")], [])


@pytest.mark.parametrize("item", [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}])
def test_a_reference_is_refused_by_name(item: dict[str, Any]) -> None:
    with pytest.raises(Unsupported) as caught:
        read(asked("a"), item)
    assert caught.value.param == "input[1]"


@pytest.mark.parametrize(
    ("value", "param"),
    [
        (1, "input"),
        (["a"], "input"),
        ([{"role": "tool", "content": "a"}], "input[0].role"),
        ([{"role": "user"}], "input[0].content"),
        ([asked("a"), called("c", arguments=None)], "input[1].arguments"),
        ([called("c", name=1)], "input[0].name"),
        ([answered("c", None)], "input[0].output"),
        ([answered("c", [{"type": "video"}])], "input[0].output"),
        ([{"type": "custom_tool_call", "call_id": "c", "name": "n"}], "input[0].input"),
        ([{"type": "reasoning", "summary": [{"type": "summary_text"}]}], "input[0].summary[0].text"),
        ([{"type": "reasoning", "encrypted_content": 1}], "input[0].encrypted_content"),
    ],
)
def test_what_is_wrong_is_named(value: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        list(read_input(value))
    assert caught.value.param == param


def test_a_turn_that_another_wire_mixes() -> None:
    user = Message("user", (ToolResultPart("c", "ok", error=True), TextPart("and now?")), name="Ann")
    assert write(user) == ([answered("c"), asked("and now?")], ["messages.name", "messages.content.is_error"])
    mixed = assistant(TextPart("a"), ToolCallPart("c", "f", "{}"), TextPart("b"), ToolResultPart("c", "ok"))
    assert write(mixed) == ([said("a"), called("c"), said("b"), answered("c")], [])


def test_what_has_no_place_in_a_turn_is_named() -> None:
    message = assistant(ImagePart(url="u"), FilePart(url="u"), OpaquePart("gemini", {"type": "code"}))
    assert write(message) == ([], ["messages.image", "messages.file", "messages.code"])
    assert write(Message("user", (ToolCallPart("c", "f", "{}"),))) == ([], ["messages.tool_calls"])
    assert write(assistant(ToolCallPart("c", "f", "{}", "s"))) == ([called("c")], ["messages.tool_calls.signature"])


def test_what_stands_beside_a_result_is_the_users() -> None:
    assert write(Message("tool", (ToolResultPart("c", "ok"), TextPart("note")))) == ([answered("c"), asked("note")], [])
