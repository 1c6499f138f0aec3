from __future__ import annotations

import base64
from typing import Any

import pytest

from aiogateway.dialects.cohere_messages import MessageWriter, read_fields
from aiogateway.errors import Unsupported
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

CALL = ToolCallPart("call_1", "find_tide", '{"port": "Wellsey"}')


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def write(role: str, *parts: Part, name: str | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    writer = MessageWriter()
    return writer.write_all([Message(role=role, parts=parts, name=name)]), list(writer.dropped)


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_one_text_is_a_string(role: str) -> None:
    assert write(role, TextPart("hi")) == ([{"role": role, "content": "hi"}], [])


def test_several_parts_are_a_list() -> None:
    (message,), dropped = write(
        "user",
        TextPart("which colour?"),
        ImagePart(data="QUJD", media_type="image/jpeg", detail="low"),
        ImagePart(url="https://example.org/a.png"),
    )
    assert message["content"] == [
        {"type": "text", "text": "which colour?"},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,QUJD", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    assert dropped == []


def test_a_call_has_a_plan() -> None:
    written, dropped = write("assistant", ReasoningPart("I will look."), CALL)
    assert written == [
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "find_tide", "arguments": '{"port": "Wellsey"}'},
                }
            ],
            "tool_plan": "I will look.",
        }
    ]
    assert dropped == []


def test_thoughts_without_calls_are_content() -> None:
    written, dropped = write("assistant", ReasoningPart("Hm. "), ReasoningPart("So."), TextPart("4"))
    assert written[0]["content"] == [{"type": "thinking", "thinking": "Hm. So."}, {"type": "text", "text": "4"}]
    assert dropped == []


def test_seals_of_others_are_named() -> None:
    sealed = ReasoningPart("", sealed="x"), ToolCallPart("c", "f", "{}", signature="y")
    assert write("assistant", *sealed)[1] == ["messages[0].reasoning", "messages[0].tool_calls.extra_content"]


def test_an_empty_turn() -> None:
    assert write("assistant") == ([{"role": "assistant", "content": ""}], [])
    assert write("user") == ([{"role": "user", "content": ""}], [])


def test_each_result_is_a_message_and_the_rest_is_the_users() -> None:
    written, dropped = write("tool", ToolResultPart("a", "16:40"), ToolResultPart("b", "9 kn"), TextPart("thanks"))
    assert written == [
        {"role": "tool", "tool_call_id": "a", "content": "16:40"},
        {"role": "tool", "tool_call_id": "b", "content": "9 kn"},
        {"role": "user", "content": "thanks"},
    ]
    assert dropped == []


def test_results_may_hold_documents() -> None:
    parts = (TextPart("found"), FilePart(data=encode("High tide: 16:40"), media_type="text/plain", name="tides.txt"))
    (message,), dropped = write("tool", ToolResultPart("a", "found", parts=parts))
    assert message["content"] == [
        {"type": "text", "text": "found"},
        {"type": "document", "document": {"data": {"text": "High tide: 16:40", "title": "tides.txt"}}},
    ]
    assert dropped == []


def test_what_a_result_cannot_hold_is_named() -> None:
    pdf = FilePart(data="QUJD", media_type="application/pdf")
    result = ToolResultPart("a", "see", parts=(TextPart("see"), pdf), error=True, cache={"type": "e"})
    (message,), dropped = write("tool", result)
    assert message["content"] == "see"
    assert dropped == ["messages[0].content.is_error", "messages[0].content.cache_control", "messages[0].content[1]"]


def test_images_of_results_follow_as_the_users() -> None:
    seen = [
        Message(role="tool", parts=(ToolResultPart("a", "see", parts=(ImagePart(url="https://e.org/a.png"),)),)),
        Message(role="tool", parts=(ToolResultPart("b", "9 kn"),)),
        Message(role="user", parts=(TextPart("so?"),)),
    ]
    assert MessageWriter().write_all(seen) == [
        {"role": "tool", "tool_call_id": "a", "content": "see"},
        {"role": "tool", "tool_call_id": "b", "content": "9 kn"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}]},
        {"role": "user", "content": "so?"},
    ]


def test_text_documents_are_text_and_other_files_are_refused() -> None:
    assert write("user", FilePart(data=encode("16:40"), media_type="text/plain"))[0][0]["content"] == "16:40"
    with pytest.raises(Unsupported) as caught:
        write("user", TextPart("read"), FilePart(data="QUJD", media_type="application/pdf"))
    assert caught.value.param == "messages[0].content[1]"


def test_custom_calls_carry_their_text_as_input() -> None:
    written, _ = write("assistant", ToolCallPart("c", "patch", 'say "hi"', custom=True))
    assert written[0]["tool_calls"][0]["function"]["arguments"] == '{"input":"say \\"hi\\""}'


def test_names_marks_and_others_parts_are_named() -> None:
    parts = (
        TextPart("a", cache={"type": "ephemeral"}),
        OpaquePart("openai_chat", {"type": "message_fields", "message": {"audio": {"id": "x"}, "refusal": None}}),
        OpaquePart("openai_chat", {"type": "input_audio"}),
        OpaquePart("openai_chat", {"type": "message_fields", "part": {"mark": 1}}),
    )
    written, dropped = write("user", *parts, name="ann")
    assert written == [{"role": "user", "content": "a"}]
    assert dropped == [
        "messages[0].name",
        "messages[0].content[0].cache_control",
        "messages[0].audio",
        "messages[0].content[2]",
        "messages[0].content[3].mark",
    ]


def test_coheres_own_parts_are_kept() -> None:
    own = {"type": "document", "document": {"data": {}}}
    assert write("user", OpaquePart("cohere_chat", own))[0][0]["content"] == [own]


def test_read_fields() -> None:
    assert read_fields({"a": 0, "b": None, "c": 1}, ("a", "b")) == {"a": 0}
