from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.anthropic_blocks import INVALID, TurnWriter, read_arguments
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


def write(*messages: Message, ours: bool = False) -> TurnWriter:
    writer = TurnWriter(ours=ours)
    writer.write_all(messages)
    return writer


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def test_system_messages_are_gathered_in_front() -> None:
    said = [
        Message(role, (TextPart(f"{role}{n}"),)) for n, role in enumerate(("system", "user", "system", "assistant"))
    ]
    writer = write(*said)
    assert writer.system == [text("system0"), text("system2")]
    assert [turn["role"] for turn in writer.turns] == ["user", "assistant"]
    writer = write(*said, ours=True)
    assert writer.system == [text("system0")]
    assert [turn["role"] for turn in writer.turns] == ["user", "system", "assistant"]


def test_results_of_parallel_calls_are_one_turn_and_stand_first() -> None:
    calls = (TextPart("look"), ToolCallPart("a", "f", "{}"), ToolCallPart("b", "f", ""))
    writer = write(
        Message("user", (TextPart("when?"),)),
        Message("assistant", calls),
        Message("tool", (ToolResultPart("a", "1"), OpaquePart("openai_chat", {"type": "odd"}))),
        Message("user", (TextPart("hurry"),)),
        Message("tool", (ToolResultPart("b", "2"),)),
    )
    assert writer.turns[1:] == [
        {
            "role": "assistant",
            "content": [
                text("look"),
                {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                {"type": "tool_result", "tool_use_id": "b", "content": "2"},
                text("hurry"),
            ],
        },
    ]


def test_a_message_that_says_nothing_is_no_turn() -> None:
    writer = write(Message("user", (TextPart("a"),)), Message("assistant", (TextPart(""),)), Message("user", ()))
    assert writer.turns == [{"role": "user", "content": [text("a")]}]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            ImagePart(data="AA"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}},
        ),
        (
            FilePart(data="YQ==", media_type="text/csv", name="n"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}, "title": "n"},
        ),
        (
            FilePart(data="AA"),
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}},
        ),
        (ToolCallPart("t", "f", "[1"), {"type": "tool_use", "id": "t", "name": "f", "input": {INVALID: "[1"}}),
        (OpaquePart("anthropic", {"type": "container_upload"}), {"type": "container_upload"}),
    ],
)
def test_parts_of_other_wires(part: Part, block: dict[str, Any]) -> None:
    writer = write(Message("user", (part,)))
    assert writer.turns[0]["content"] == [block]
    assert not writer.dropped


@pytest.mark.parametrize(
    ("part", "names"),
    [
        (ReasoningPart("hm"), ["messages.reasoning_content"]),
        (ReasoningPart("", sealed="d", id="rs_1"), ["messages.reasoning"]),
        (ReasoningPart("hm", "s", id="rs_1"), ["messages.reasoning_content"]),
        (ReasoningPart("hm", "gemini:s"), ["messages.reasoning_content"]),
        (ReasoningPart("hm", "openai_responses:rs_1:s"), ["messages.reasoning_content"]),
        (ReasoningPart("", sealed="openai_responses::d"), ["messages.reasoning"]),
        (OpaquePart("openai_chat", {"type": "input_audio"}), ["messages.input_audio"]),
        (OpaquePart("gemini", 7), ["messages.gemini"]),
        (
            OpaquePart("openai_chat", {"type": "message_fields", "message": {"refusal": "no", "audio": {}}}),
            ["messages.refusal", "messages.audio"],
        ),
        (OpaquePart("openai_chat", {"type": "message_fields", "part": {"x": 1}}), ["messages.content.x"]),
    ],
)
def test_what_has_no_place_is_dropped_by_name(part: Part, names: list[str]) -> None:
    writer = write(Message("assistant", (TextPart("a"), part, part)))
    assert writer.turns == [{"role": "assistant", "content": [text("a")]}]
    assert list(writer.dropped) == names


def test_small_losses_are_named_too() -> None:
    parts = (ImagePart(url="https://x.example", detail="high"), ImagePart(url="https://x.example", detail="auto"))
    writer = write(
        Message("user", parts, name="Anna"), Message("assistant", (ToolCallPart("t", "f", "{}", signature="g"),))
    )
    assert list(writer.dropped) == [
        "messages.name",
        "messages.content.image_url.detail",
        "messages.tool_calls.signature",
    ]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [("", {}), (" ", {}), ('{"a":1}', {"a": 1}), ("[1]", {INVALID: "[1]"}), ('{"a"', {INVALID: '{"a"'})],
)
def test_arguments_are_an_object(arguments: str, value: Any) -> None:
    assert read_arguments(arguments) == value
