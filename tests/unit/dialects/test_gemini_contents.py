from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.gemini_contents import ContentWriter
from aiogateway.dialects.gemini_thinking import SKIP
from aiogateway.errors import RequestError
from aiogateway.neutral import (
    ChatRequest,
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

OLD, NEW = "gemini-2.5-flash", "gemini-3-pro-preview"
MARK = {"type": "ephemeral"}


def write(*messages: Message, model: str = OLD) -> ContentWriter:
    return ContentWriter(ChatRequest(model=model, messages=messages, dialect="openai_chat"))


def say(role: str, *parts: Part | str, name: str | None = None) -> Message:
    return Message(role, tuple(TextPart(part) if isinstance(part, str) else part for part in parts), name)


def parts_of(*parts: Part, role: str = "user", model: str = OLD) -> list[dict[str, Any]]:
    [content] = write(say(role, *parts), model=model).contents
    written: list[dict[str, Any]] = content["parts"]
    return written


def test_all_system_messages_go_together_and_turns_of_one_role_are_one() -> None:
    writer = write(
        say("system", "Be brief."),
        say("user", "One"),
        say("user", "Two"),
        say("assistant", "Three"),
        say("system", "Be kind."),
        say("assistant", "Four"),
    )
    assert writer.system == [{"text": "Be brief."}, {"text": "Be kind."}]
    assert writer.contents == [
        {"role": "user", "parts": [{"text": "One"}, {"text": "Two"}]},
        {"role": "model", "parts": [{"text": "Three"}, {"text": "Four"}]},
    ]
    assert not writer.dropped


def test_results_are_objects_under_their_calls_names_and_apart_from_text() -> None:
    writer = write(
        say("assistant", ToolCallPart("c1", "tide", '{"port":"Cork"}'), ToolCallPart("c2", "clock", " ")),
        say("tool", ToolResultPart("c1", '{"height":2.5}')),
        say("tool", ToolResultPart("c2", "noon")),
        say("user", "Thanks"),
    )
    assert writer.contents == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "tide", "args": {"port": "Cork"}, "id": "c1"}},
                {"functionCall": {"name": "clock", "args": {}, "id": "c2"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "tide", "response": {"height": 2.5}, "id": "c1"}},
                {"functionResponse": {"name": "clock", "response": {"output": "noon"}, "id": "c2"}},
            ],
        },
        {"role": "user", "parts": [{"text": "Thanks"}]},
    ]


@pytest.mark.parametrize(
    ("result", "response"),
    [
        (ToolResultPart("c", "no such port", error=True), {"error": "no such port"}),
        (ToolResultPart("c", "[1]"), {"output": "[1]"}),
        (ToolResultPart("c", "\ud800"), {"output": "\ud800"}),
    ],
)
def test_a_result_that_is_no_object(result: ToolResultPart, response: dict[str, str]) -> None:
    [part] = parts_of(result, role="tool")
    assert part["functionResponse"]["response"] == response


@pytest.mark.parametrize(("name", "expected"), [("tide", "tide"), (None, "c9")])
def test_a_result_whose_call_is_gone_has_a_name_all_the_same(name: str | None, expected: str) -> None:
    [content] = write(say("tool", ToolResultPart("c9", "x"), name=name)).contents
    assert content["parts"] == [{"functionResponse": {"name": expected, "response": {"output": "x"}}}]


def test_media_in_a_result_are_in_it_where_the_model_takes_them_and_beside_it_elsewhere() -> None:
    image = ImagePart(data="AAAA", media_type="image/png")
    result = ToolResultPart("c", "see", parts=(TextPart("see"), image))
    media = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    plain = {"name": "c", "response": {"output": "see"}}
    assert parts_of(result, role="tool", model=NEW) == [{"functionResponse": {**plain, "parts": [media]}}]
    assert parts_of(result, role="tool") == [{"functionResponse": plain}, media]


@pytest.mark.parametrize(
    ("part", "written"),
    [
        (ImagePart(data="AA", media_type="image/png"), {"inlineData": {"mimeType": "image/png", "data": "AA"}}),
        (ImagePart(data="AA"), {"inlineData": {"mimeType": "image/jpeg", "data": "AA"}}),
        (
            ImagePart(url="https://example.org/a.PNG?x=1.2"),
            {"fileData": {"fileUri": "https://example.org/a.PNG?x=1.2", "mimeType": "image/png"}},
        ),
        (
            ImagePart(url="https://example.org/a"),
            {"fileData": {"fileUri": "https://example.org/a", "mimeType": "image/jpeg"}},
        ),
        (
            FilePart(url="gs://bucket/a.pdf", name="a.pdf"),
            {"fileData": {"fileUri": "gs://bucket/a.pdf", "mimeType": "application/pdf"}},
        ),
        (FilePart(id="files/abc"), {"fileData": {"fileUri": "files/abc"}}),
        (FilePart(data="AA", media_type="text/plain"), {"inlineData": {"mimeType": "text/plain", "data": "AA"}}),
        (FilePart(data="AA"), {"inlineData": {"mimeType": "application/octet-stream", "data": "AA"}}),
        (
            OpaquePart("openai_chat", {"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}}),
            {"inlineData": {"mimeType": "audio/mp3", "data": "AA"}},
        ),
        (OpaquePart("gemini", {"videoMetadata": {"fps": 2}}), {"videoMetadata": {"fps": 2}}),
    ],
)
def test_media(part: Part, written: dict[str, Any]) -> None:
    assert parts_of(part) == [written]


def test_what_has_no_place_is_named() -> None:
    writer = write(
        say("user", TextPart("a", cache=MARK), ImagePart(url="https://example.org/a", detail="high"), name="Ann"),
        say(
            "user",
            "b",
            OpaquePart("openai_chat", {"type": "message_fields", "part": {"x": 1}}),
            OpaquePart("openai_chat", {"type": "video", "video": "v"}),
            OpaquePart("openai_chat", {"type": "message_fields", "message": {"refusal": None, "audio": {"id": "a"}}}),
        ),
        say(
            "assistant",
            ReasoningPart("", sealed="xyz"),
            ReasoningPart("Hm", signature="of someone else"),
            ToolCallPart("c", "f", "{}", cache=MARK),
        ),
        say("tool", ToolResultPart("c", "r", cache=MARK)),
    )
    assert list(writer.dropped) == [
        "messages[0].name",
        "messages[0].content[0].cache_control",
        "messages[0].content[1].image_url.detail",
        "messages[1].content[1].x",
        "messages[1].content[2]",
        "messages[1].audio",
        "messages[2].content[0].redacted_thinking",
        "messages[2].content[1].signature",
        "messages[2].tool_calls.cache_control",
        "messages[3].cache_control",
    ]


def test_a_seal_goes_back_to_the_text_it_came_with() -> None:
    sealed = ReasoningPart("", signature="gemini:c2VhbA==")
    thought = ReasoningPart("Hm", signature="gemini:c2VhbA==")
    assert parts_of(sealed, TextPart("4"), role="assistant") == [{"text": "4", "thoughtSignature": "c2VhbA=="}]
    assert parts_of(TextPart("4"), sealed, role="assistant") == [
        {"text": "4"},
        {"text": "", "thoughtSignature": "c2VhbA=="},
    ]
    assert parts_of(thought, ToolCallPart("c", "f", "{}"), role="assistant") == [
        {"text": "Hm", "thought": True},
        {"text": "", "thoughtSignature": "c2VhbA=="},
        {"functionCall": {"name": "f", "args": {}, "id": "c"}},
    ]


def test_newer_models_get_a_seal_on_the_first_call_of_a_turn() -> None:
    bare, other = ToolCallPart("a", "f", "{}"), ToolCallPart("b", "f", "{}")
    sealed = ToolCallPart("a", "f", "{}", signature="c2VhbA==")
    for first, seal in ((bare, SKIP), (sealed, "c2VhbA==")):
        one, two = parts_of(first, other, role="assistant", model=NEW)
        assert one["thoughtSignature"] == seal
        assert "thoughtSignature" not in two
    assert "thoughtSignature" not in parts_of(bare, role="assistant")[0]


def test_a_custom_tools_text_is_its_input() -> None:
    [part] = parts_of(ToolCallPart("c", "patch", "*** not JSON", custom=True), role="assistant")
    assert part["functionCall"]["args"] == {"input": "*** not JSON"}


@pytest.mark.parametrize("arguments", ["[1]", "{", "3"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    with pytest.raises(RequestError) as caught:
        write(say("user", "a"), say("assistant", ToolCallPart("c", "f", arguments)))
    assert caught.value.param == "messages[1].tool_calls"


def test_what_is_empty_is_left_out() -> None:
    writer = write(say("system", ""), say("assistant"), say("assistant", ""), say("user", "", "a"))
    assert (writer.system, writer.contents) == ([], [{"role": "user", "parts": [{"text": "a"}]}])
    [call] = parts_of(TextPart(""), ToolCallPart("c", "f", "{}"), role="assistant")
    assert "functionCall" in call
