from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.chat_messages import DIALECT, FIELDS, read_message
from aiogateway.dialects.chat_turns import MessageWriter
from aiogateway.errors import RequestError
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

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
CUSTOM = {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x.example"}}
PORTKEY = {"file_url": "https://x.example/a", "mime_type": "text/csv", "file_name": "a"}
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
            ToolCallPart("c2", "g", "x", custom=True),
        ),
    ),
    (
        {
            "role": "assistant",
            "content": None,
            "thinking_blocks": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"},
            ],
            "tool_calls": [{**CALL, "extra_content": {"google": {"thought_signature": "g"}}}],
        },
        (
            ReasoningPart("hm", "s"),
            ReasoningPart("", sealed="d"),
            ToolCallPart("c1", "f", '{"a":1}', signature="g"),
        ),
    ),
    (
        {
            "role": "user",
            "content": [
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
                {"type": "file", "file": {"file_data": "data:text/plain;base64,YQ=="}},
                {"type": "file", "file": {"file_data": "https://example.org/a.pdf"}},
                {"type": "file", "file": {"file_id": "file-1"}, "cache_control": {"type": "ephemeral"}},
                {"type": "file", "file": {}},
                {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            ],
        },
        (
            FilePart(data="AA", media_type="application/pdf", name="a.pdf"),
            FilePart(data="YQ==", media_type="text/plain"),
            FilePart(url="https://example.org/a.pdf"),
            FilePart(id="file-1", cache={"type": "ephemeral"}),
            OpaquePart(DIALECT, {"type": "file", "file": {}}),
            TextPart("a"),
            OpaquePart(DIALECT, {"type": FIELDS, "part": {"prompt_cache_breakpoint": {"mode": "explicit"}}}),
        ),
    ),
    (
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [{"type": "text", "text": "42", "cache_control": {"type": "ephemeral"}}],
        },
        (ToolResultPart("c1", "42", cache={"type": "ephemeral"}),),
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
        (TextPart("long", cache={"type": "ephemeral"}),),
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
        (
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "4"}, IMAGE]},
            Message("tool", (ToolResultPart("c", "4", parts=(TextPart("4"), ImagePart(url="https://x.example"))),)),
        ),
        (
            {"role": "assistant", "reasoning_content": "hm", "thinking_blocks": [{"thinking": "hm", "signature": ""}]},
            Message("assistant", (ReasoningPart("hm"),)),
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "odd"}]},
            Message(
                "assistant", (OpaquePart(DIALECT, {"type": "tool_call", "tool_call": {"id": "c", "type": "odd"}}),)
            ),
        ),
        (
            {
                "role": "user",
                "content": [{"type": "file", "file": PORTKEY}, {"type": "file", "file": {"file_data": "AA"}}],
            },
            Message(
                "user",
                (
                    FilePart(url="https://x.example/a", media_type="text/csv", name="a"),
                    FilePart(data="AA", media_type="application/pdf"),
                ),
            ),
        ),
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
        ({"role": "assistant", "thinking_blocks": [{"type": "redacted_thinking"}]}, "thinking_blocks[0].data"),
        ({"role": "assistant", "thinking_blocks": [{"signature": "s"}]}, "thinking_blocks[0].thinking"),
        (
            {"role": "assistant", "tool_calls": [{"type": "custom", "id": "c", "custom": {"name": "f"}}]},
            "tool_calls[0].custom.input",
        ),
        ({"role": "user", "content": [{"type": "text", "text": "x", "cache_control": 1}]}, "content[0].cache_control"),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": 1}}]}, "content[0].file.file_id"),
    ],
)
def test_what_is_wrong_is_named(wire: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_message(wire, "messages[7].")
    assert caught.value.param == f"messages[7].{param}"
