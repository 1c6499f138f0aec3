from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.chat_messages import DIALECT, FIELDS
from aiogateway.dialects.chat_turns import MessageWriter, read_document, write_arguments
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

MARK = {"type": "ephemeral"}
PIXEL = ImagePart(data="AA", media_type="image/png")
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


def written(message: Message) -> tuple[list[dict[str, Any]], list[str]]:
    writer = MessageWriter(ours=False)
    return list(writer.write(message)), list(writer.dropped)


def test_results_inside_a_users_turn_become_messages() -> None:
    message = Message("user", (ToolResultPart("a", "1"), TextPart("and now?"), ToolResultPart("b", "2")))
    assert written(message)[0] == [
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "user", "content": "and now?"},
    ]


def test_what_a_tool_message_cannot_hold_is_said_by_the_user() -> None:
    message = Message("tool", (ToolResultPart("a", "1"), ImagePart(data="AA", media_type="image/png")))
    messages, _ = written(message)
    assert [each["role"] for each in messages] == ["tool", "user"]
    assert messages[1]["content"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    foreign = Message("tool", (ToolResultPart("a", "1"), OpaquePart("anthropic", {"type": "document"})))
    assert written(foreign) == ([{"role": "tool", "tool_call_id": "a", "content": "1"}], ["messages.document"])


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (OpaquePart("anthropic", {"type": "document"}), "messages.document"),
        (OpaquePart("gemini", 7), "messages.gemini"),
        (ReasoningPart("hm", signature="sealed"), "reasoning"),
    ],
)
def test_what_is_not_ours_is_dropped_by_name(part: Part, name: str) -> None:
    messages, dropped = written(Message("user", (TextPart("x"), part, part)))
    assert messages == [{"role": "user", "content": "x"}]
    assert dropped == [name]


def test_odds_and_ends() -> None:
    assert written(Message("user", ()))[0] == [{"role": "user", "content": ""}]
    assert written(Message("assistant", (ReasoningPart("a"), ReasoningPart("b"))))[0] == [
        {"role": "assistant", "reasoning_content": "ab", "content": None}
    ]
    lost = OpaquePart(DIALECT, {"type": FIELDS, "part": {"cache_control": {}}})
    assert written(Message("user", (lost,)))[0] == [{"role": "user", "content": ""}]
    assert written(Message("user", (ImagePart(data="AA"),)))[0][0]["content"][0]["image_url"]["url"].startswith(
        "data:image/png"
    )


def test_arguments_are_text() -> None:
    assert write_arguments('{"a": 1}') == '{"a": 1}'
    assert write_arguments({"a": 1}) == '{"a":1}'
    assert write_arguments(None) == ""


def test_the_results_of_one_turn_stand_together() -> None:
    """What they show beside text follows them; OpenAI wants every result right after the calls."""
    results = (
        Message("tool", (ToolResultPart("a", "1", parts=(TextPart("1"), PIXEL)),)),
        Message("tool", (ToolResultPart("b", "2"), OpaquePart(DIALECT, {"type": "input_audio"}))),
    )
    messages = MessageWriter().write_all((*results, Message("user", (TextPart("so?"),)), *results[:1]))
    assert messages == [
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "user", "content": [SHOWN]},
        {"role": "user", "content": [{"type": "input_audio"}]},
        {"role": "user", "content": "so?"},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "user", "content": [SHOWN]},
    ]


def test_marks_and_seals_of_another_wire_are_dropped_by_name() -> None:
    message = Message(
        "assistant",
        (
            TextPart("a", cache=MARK),
            ReasoningPart("", sealed="s"),
            ReasoningPart("aloud"),
            ToolCallPart("c", "f", "{}", signature="g"),
        ),
    )
    messages, dropped = written(message)
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert messages == [{"role": "assistant", "reasoning_content": "aloud", "tool_calls": [call], "content": "a"}]
    assert dropped == ["messages.content.cache_control", "reasoning", "messages.tool_calls.signature"]
    messages, dropped = written(Message("user", (ToolResultPart("c", "no", error=True, cache=MARK),)))
    assert messages == [{"role": "tool", "tool_call_id": "c", "content": "no"}]
    assert dropped == ["messages.content.is_error", "messages.content.cache_control"]


def test_another_wires_text_documents_become_text() -> None:
    note, page = FilePart(data="YWhveQ==", media_type="text/markdown", name="n"), FilePart(data="AA")
    messages, _ = written(Message("user", (note, page)))
    assert messages[0]["content"] == [
        {"type": "text", "text": "ahoy"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}},
    ]


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (FilePart(data="YWhveQ==", media_type="text/plain"), "ahoy"),
        (FilePart(data="/w==", media_type="text/plain"), None),
        (FilePart(data="no base64", media_type="text/plain"), None),
        (FilePart(data="YQ==", media_type="application/pdf"), None),
        (FilePart(url="https://x.example", media_type="text/plain"), None),
    ],
)
def test_the_text_of_a_document(part: FilePart, text: str | None) -> None:
    assert read_document(part) == text
