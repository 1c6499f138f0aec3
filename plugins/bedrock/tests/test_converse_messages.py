from __future__ import annotations

import base64
from typing import Any

import pytest
from aiogateway_plugin_bedrock.converse_messages import MessageWriter, fit_id, read_sealed, write_sealed

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

PNG = ImagePart(data="QUJD", media_type="image/png")
IMAGE = {"image": {"format": "png", "source": {"bytes": "QUJD"}}}
POINT = {"cachePoint": {"type": "default"}}


def content(*parts: Part, role: str = "user") -> list[dict[str, Any]]:
    writer = MessageWriter([Message(role, parts)])
    assert not writer.dropped
    return writer.messages[0]["content"] if writer.messages else []


def test_roles_in_turn() -> None:
    """Neighbours of one role are one message, and results of tools are the user's."""
    writer = MessageWriter(
        [
            Message("system", (TextPart("be brief"),)),
            Message("user", (TextPart("a"),)),
            Message("user", (TextPart("b"),)),
            Message("assistant", (TextPart("c"), ToolCallPart("t1", "f", '{"x":1}'))),
            Message("tool", (ToolResultPart("t1", "one"),)),
            Message("system", (TextPart("and kind"),)),
            Message("user", (TextPart("d"),)),
        ]
    )
    assert writer.system == [{"text": "be brief"}, {"text": "and kind"}]
    assert writer.messages == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
        {
            "role": "assistant",
            "content": [{"text": "c"}, {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": 1}}}],
        },
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "one"}]}}, {"text": "d"}],
        },
    ]
    assert (list(writer.calls), writer.has_results) == (["f"], True)


def test_blank_texts_are_left_out() -> None:
    assert content(TextPart(""), TextPart(" \n"), TextPart("a")) == [{"text": "a"}]
    assert content(TextPart(" "), role="assistant") == []


def test_cache_marks_are_points_behind_what_is_cached() -> None:
    mark = {"type": "ephemeral"}
    assert content(TextPart("a", mark), TextPart("b")) == [{"text": "a"}, POINT, {"text": "b"}]
    assert content(TextPart("a", {**mark, "ttl": "1h"}))[1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert content(TextPart("", mark)) == []
    result = ToolResultPart("t", "", parts=(TextPart("x", mark), PNG), cache=mark)
    assert content(result, role="tool") == [
        {"toolResult": {"toolUseId": "t", "content": [{"text": "x"}, IMAGE]}},
        POINT,
    ]
    writer = MessageWriter([Message("system", (TextPart("a", mark),))])
    assert writer.system == [{"text": "a"}, POINT]


def test_results_of_tools() -> None:
    assert content(ToolResultPart("t", "no", error=True), role="tool") == [
        {"toolResult": {"toolUseId": "t", "content": [{"text": "no"}], "status": "error"}}
    ]
    assert content(ToolResultPart("t", ""), role="tool") == [{"toolResult": {"toolUseId": "t", "content": []}}]


def test_thoughts_with_a_seal_go_back_and_others_do_not() -> None:
    thought = ReasoningPart("hm", signature="sig")
    sealed = ReasoningPart("", sealed="EtwCCkg=")
    assert content(thought, sealed, role="assistant") == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": base64.b64encode(b"EtwCCkg=").decode()}},
    ]
    writer = MessageWriter([Message("assistant", (ReasoningPart("hm"), TextPart("a")))])
    assert writer.messages[0]["content"] == [{"text": "a"}]
    assert list(writer.dropped) == ["messages[0].reasoning_content"]


@pytest.mark.parametrize(
    "thought", [ReasoningPart("hm", signature="gemini:x"), ReasoningPart("", sealed="openai_responses:rs_1:x")]
)
def test_anothers_seal_is_not_shown_to_bedrock(thought: ReasoningPart) -> None:
    writer = MessageWriter([Message("assistant", (thought, TextPart("a")))])
    assert writer.messages[0]["content"] == [{"text": "a"}]
    assert list(writer.dropped) == ["messages[0].reasoning_content"]


@pytest.mark.parametrize("data", [b"EtwCCkg=", b"\x00\xff", b"", b"base64,odd", b"caf\xc3\xa9"])
def test_seals_are_the_same_after_a_round(data: bytes) -> None:
    assert base64.b64decode(write_sealed(read_sealed(data))) == data


def test_claudes_seal_is_the_same_text_as_in_its_own_wire() -> None:
    assert read_sealed(b"EtwCCkg=") == "EtwCCkg="


def test_ids_are_made_to_fit() -> None:
    assert fit_id("tooluse_a:1.2-3") == "tooluse_a:1.2-3"
    long = "call|" + "x" * 80
    assert fit_id(long) == fit_id(long) != fit_id(long + "y")
    assert len(fit_id(long)) == 37


def test_arguments_have_to_be_an_object() -> None:
    assert content(ToolCallPart("t", "f", " "), role="assistant")[0]["toolUse"]["input"] == {}
    custom = content(ToolCallPart("t", "f", "*** patch", custom=True), role="assistant")
    assert custom[0]["toolUse"]["input"] == {"input": "*** patch"}
    with pytest.raises(RequestError, match="t are no JSON object") as caught:
        content(ToolCallPart("t", "f", "[1]"), role="assistant")
    assert caught.value.param == "messages[0].tool_calls"


def test_bytes() -> None:
    written = content(PNG, FilePart(data="QUJD", media_type="application/pdf", name="a.pdf"))
    assert written[0] == IMAGE
    assert written[1]["document"]["name"] == "a"
    sound = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}}
    assert content(OpaquePart("openai_chat", sound)) == [{"audio": {"format": "mp3", "source": {"bytes": "QUJD"}}}]


def test_what_has_no_place_is_named() -> None:
    fields = OpaquePart("openai_chat", {"type": "message_fields", "message": {"weight": 1}, "part": {"novel": 2}})
    writer = MessageWriter(
        [
            Message("user", (TextPart("a"), fields), name="ann"),
            Message("assistant", (OpaquePart("openai_chat", {"type": "refusal", "refusal": "no"}), OpaquePart("x", 7))),
            Message("user", (ImagePart(data="QUJD", media_type="image/png", detail="low"),)),
        ]
    )
    assert list(writer.dropped) == [
        "messages[0].name",
        "messages[0].weight",
        "messages[0].novel",
        "messages[1].refusal",
        "messages[1].x",
        "messages[2].content.image_url.detail",
    ]


@pytest.mark.parametrize(
    ("role", "part"), [("user", OpaquePart("openai_chat", {"type": "video"})), ("system", PNG)], ids=["user", "system"]
)
def test_content_that_is_asked_about_is_refused(role: str, part: Part) -> None:
    with pytest.raises(Unsupported) as caught:
        MessageWriter([Message(role, (part,))])
    assert caught.value.param == "messages[0].content"
