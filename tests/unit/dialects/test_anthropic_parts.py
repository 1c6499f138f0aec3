from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.anthropic_blocks import TurnWriter
from aiogateway.dialects.anthropic_parts import PartReader
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

MARK = {"type": "ephemeral"}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
HELD = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
FOUND = {"type": "search_result", "source": "https://x.example", "title": "t", "content": []}

SAME: list[tuple[dict[str, Any], Part]] = [
    ({"type": "text", "text": "a", "cache_control": MARK}, TextPart("a", MARK)),
    (PNG, ImagePart(data="AA", media_type="image/png")),
    (
        {"type": "image", "source": {"type": "url", "url": "https://x.example"}, "cache_control": MARK},
        ImagePart(url="https://x.example", cache=MARK),
    ),
    (HELD, OpaquePart("anthropic", HELD)),
    (
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}, "title": "t"},
        FilePart(data="AA", media_type="application/pdf", name="t"),
    ),
    (
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ahoy ⚓"}},
        FilePart(data="YWhveSDimpM=", media_type="text/plain"),
    ),
    (
        {"type": "document", "source": {"type": "url", "url": "https://x.example"}, "cache_control": MARK},
        FilePart(url="https://x.example", cache=MARK),
    ),
    ({"type": "document", "source": {"type": "file", "file_id": "file_1"}}, FilePart(id="file_1")),
    ({"type": "thinking", "thinking": "hm", "signature": "s"}, ReasoningPart("hm", "s")),
    ({"type": "thinking", "thinking": "", "signature": "s"}, ReasoningPart("", "s")),
    ({"type": "redacted_thinking", "data": "d"}, ReasoningPart("", sealed="d")),
    (
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1]}, "cache_control": MARK},
        ToolCallPart("t", "f", '{"a":[1]}', cache=MARK),
    ),
    (
        {"type": "tool_result", "tool_use_id": "t", "content": "42", "is_error": True, "cache_control": MARK},
        ToolResultPart("t", "42", error=True, cache=MARK),
    ),
    (
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "see"}, PNG]},
        ToolResultPart("t", "see", parts=(TextPart("see"), ImagePart(data="AA", media_type="image/png"))),
    ),
    (
        {"type": "server_tool_use", "id": "s", "input": {}},
        OpaquePart("anthropic", {"type": "server_tool_use", "id": "s", "input": {}}),
    ),
]


def read(content: Any) -> tuple[list[Part], dict[str, Any]]:
    reader = PartReader()
    return list(reader.read(content, "messages[2].content")), reader.lost


@pytest.mark.parametrize(("block", "part"), SAME)
def test_read_and_written_back(block: dict[str, Any], part: Part) -> None:
    assert read([block]) == ([part], {})
    writer = TurnWriter(ours=True)
    writer.write_all([Message("user", (part,))])
    assert writer.turns == [{"role": "user", "content": [block]}]
    assert not writer.dropped


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("hi", [TextPart("hi")]),
        ([], []),
        ([{"type": "tool_result", "tool_use_id": "t"}], [ToolResultPart("t", "")]),
        (
            [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "a"}] * 2}],
            [ToolResultPart("t", "aa")],
        ),
        (
            [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "a"}, FOUND]}],
            [ToolResultPart("t", "a"), OpaquePart("anthropic", FOUND)],
        ),
        (
            [{"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}, PNG]}}],
            [TextPart("a"), ImagePart(data="AA", media_type="image/png")],
        ),
        (
            [{"type": "document", "source": {"type": "odd"}}],
            [OpaquePart("anthropic", {"type": "document", "source": {"type": "odd"}})],
        ),
        ([{"type": "tool_use", "id": "t", "name": "f"}], [ToolCallPart("t", "f", "{}")]),
        ([{"type": "thinking", "thinking": "hm", "signature": ""}], [ReasoningPart("hm")]),
    ],
)
def test_other_ways_of_saying_it(content: Any, parts: list[Part]) -> None:
    assert read(content) == (parts, {})


def test_fields_without_a_place_are_noted_by_path() -> None:
    content = [
        {"type": "text", "text": "a", "citations": [{"type": "char_location"}]},
        {
            "type": "document",
            "source": {"type": "file", "file_id": "f"},
            "context": "c",
            "citations": {"enabled": True},
        },
        {"type": "document", "source": {"type": "file", "file_id": "f"}, "citations": {"enabled": False}},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}},
        {"type": "text", "text": "b", "citations": None},
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "a", "x": 1}]},
    ]
    _, lost = read(content)
    assert lost == {
        "messages[2].content[0].citations": [{"type": "char_location"}],
        "messages[2].content[1].context": "c",
        "messages[2].content[1].citations": {"enabled": True},
        "messages[2].content[5].content[0].x": 1,
    }


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ({}, ""),
        (["hi"], "[0]"),
        ([{"type": "text"}], "[0].text"),
        ([{"type": "text", "text": "a", "cache_control": 1}], "[0].cache_control"),
        ([{"type": "image", "source": {"type": "base64", "data": "AA"}}], "[0].source.media_type"),
        ([{"type": "image", "source": "AA"}], "[0].source"),
        ([{"type": "document", "source": {"type": "file"}}], "[0].source.file_id"),
        ([{"type": "thinking"}], "[0].thinking"),
        ([{"type": "redacted_thinking"}], "[0].data"),
        ([{"type": "tool_use", "id": "t"}], "[0].name"),
        ([{"type": "tool_use", "id": "t", "name": "f", "input": "{}"}], "[0].input"),
        ([{"type": "tool_result"}], "[0].tool_use_id"),
        ([{"type": "tool_result", "tool_use_id": "t", "content": 3}], "[0].content"),
    ],
)
def test_what_is_wrong_is_named(content: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(content)
    assert caught.value.param == f"messages[2].content{param}"
