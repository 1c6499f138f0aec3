from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.chat_messages import DIALECT, FIELDS, MessageWriter, read_message, write_arguments
from aiogateway.errors import RequestError
from aiogateway.neutral import (
    ImagePart,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
CUSTOM = {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
PIXEL = "data:image/png;base64,AAAA"

SAME: list[tuple[dict[str, Any], tuple[Part, ...]]] = [
    ({"role": "user", "content": "hi"}, (TextPart("hi"),)),
    ({"role": "user", "content": ""}, (TextPart(""),)),
    ({"role": "system", "name": "boss", "content": "be nice"}, (TextPart("be nice"),)),
    (
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        (TextPart("a"), TextPart("b")),
    ),
    (
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/x.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": PIXEL}},
                AUDIO,
            ],
        },
        (
            TextPart("what is this?"),
            ImagePart(url="https://example.org/x.png", detail="low"),
            ImagePart(data="AAAA", media_type="image/png"),
            OpaquePart(DIALECT, AUDIO),
        ),
    ),
    ({"role": "assistant", "content": None, "tool_calls": [CALL]}, (ToolCallPart("c1", "f", '{"a":1}'),)),
    (
        {"role": "assistant", "content": "well", "tool_calls": [CALL, CUSTOM]},
        (
            TextPart("well"),
            ToolCallPart("c1", "f", '{"a":1}'),
            OpaquePart(DIALECT, {"type": "tool_call", "tool_call": CUSTOM}),
        ),
    ),
    ({"role": "assistant", "content": None}, ()),
    (
        {"role": "assistant", "reasoning_content": "hm", "content": "so"},
        (ReasoningPart("hm"), TextPart("so")),
    ),
    (
        {"role": "assistant", "content": "no", "refusal": "I won't", "audio": {"id": "a"}},
        (
            TextPart("no"),
            OpaquePart(DIALECT, {"type": FIELDS, "message": {"refusal": "I won't", "audio": {"id": "a"}}}),
        ),
    ),
    (
        {"role": "user", "content": [{"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}]},
        (
            TextPart("long"),
            OpaquePart(DIALECT, {"type": FIELDS, "part": {"cache_control": {"type": "ephemeral"}}}),
        ),
    ),
    (
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        (OpaquePart(DIALECT, {"type": "refusal", "refusal": "no"}),),
    ),
    ({"role": "tool", "tool_call_id": "c1", "content": "42"}, (ToolResultPart("c1", "42"),)),
]


@pytest.mark.parametrize(("wire", "parts"), SAME)
def test_read_and_written_back(wire: dict[str, Any], parts: tuple[Part, ...]) -> None:
    message = read_message(wire, "messages[0].")
    assert message == Message(wire["role"], parts, wire.get("name"))
    writer = MessageWriter()
    assert list(writer.write(message)) == [wire]
    assert not writer.dropped


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ({"role": "developer", "content": "x"}, Message("system", (TextPart("x"),))),
        ({"role": "user", "content": ["x", "y"]}, Message("user", (TextPart("x"), TextPart("y")))),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "https://example.org/x.png"}]},
            Message("user", (ImagePart(url="https://example.org/x.png"),)),
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:;base64,AA"}}]},
            Message("user", (ImagePart(data="AA", media_type="text/plain"),)),
        ),
        (
            {
                "role": "tool",
                "tool_call_id": "c",
                "content": [{"type": "text", "text": "4"}, {"type": "text", "text": "2"}],
            },
            Message("tool", (ToolResultPart("c", "42"),)),
        ),
        ({"role": "tool", "tool_call_id": "c", "content": None}, Message("tool", (ToolResultPart("c", ""),))),
        (
            {"role": "tool", "tool_call_id": "c", "content": [AUDIO]},
            Message("tool", (ToolResultPart("c", ""), OpaquePart(DIALECT, AUDIO))),
        ),
        ({"role": "function", "name": "f", "content": "42"}, Message("tool", (ToolResultPart("f", "42"),))),
        ({"role": "function", "name": "f", "content": None}, Message("tool", (ToolResultPart("f", ""),))),
        (
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            Message("assistant", (ToolCallPart("f", "f", "{}"),)),
        ),
        ({"role": "user", "content": "x", "odd": None}, Message("user", (TextPart("x"),))),
    ],
)
def test_other_ways_of_saying_it(wire: dict[str, Any], message: Message) -> None:
    assert read_message(wire, "") == message


@pytest.mark.parametrize(
    ("wire", "param"),
    [
        ({"content": "x"}, "role"),
        ({"role": "robot", "content": "x"}, "role"),
        ({"role": ["user"], "content": "x"}, "role"),
        ({"role": "user", "content": 3}, "content"),
        ({"role": "user", "content": [3]}, "content[0]"),
        ({"role": "user", "content": [{"type": "text"}]}, "content[0].text"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "content[0].image_url"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "content[0].image_url.url"),
        ({"role": "user", "content": "x", "name": 1}, "name"),
        ({"role": "tool", "content": "x"}, "tool_call_id"),
        ({"role": "function", "content": "x"}, "name"),
        ({"role": "assistant", "tool_calls": "x"}, "tool_calls"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}, "tool_calls[0].id"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f"}}]},
            "tool_calls[0].function.arguments",
        ),
        ({"role": "assistant", "function_call": {"name": "f"}}, "function_call.arguments"),
        ({"role": "assistant", "content": None, "reasoning_content": []}, "reasoning_content"),
    ],
)
def test_what_is_wrong_is_named(wire: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_message(wire, "messages[7].")
    assert caught.value.param == f"messages[7].{param}"


def written(message: Message) -> tuple[list[dict[str, Any]], list[str]]:
    writer = MessageWriter()
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
