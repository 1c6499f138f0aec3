from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.responses_parts import DIALECT, Content, join_texts, read_content, write_content
from aiogateway.errors import RequestError
from aiogateway.neutral import FilePart, ImagePart, OpaquePart, TextPart

PNG = "data:image/png;base64,AAAA"
PDF = "data:application/pdf;base64,JVBE"
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}


def read(*parts: Any) -> list[Content]:
    return list(read_content(list(parts), "input[0].content"))


def write(*parts: Content) -> tuple[list[dict[str, Any]], list[str]]:
    dropped: dict[str, None] = {}
    return write_content(parts, dropped), list(dropped)


SAME: list[tuple[dict[str, Any], Content]] = [
    ({"type": "input_text", "text": "a"}, TextPart("a")),
    (
        {"type": "input_image", "image_url": PNG, "detail": "high"},
        ImagePart(data="AAAA", media_type="image/png", detail="high"),
    ),
    (
        {"type": "input_image", "image_url": "https://x/a.png", "detail": "auto"},
        ImagePart(url="https://x/a.png", detail="auto"),
    ),
    (
        {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
        FilePart(data="JVBE", media_type="application/pdf", name="a.pdf"),
    ),
    ({"type": "input_file", "file_url": "https://x/a.pdf"}, FilePart(url="https://x/a.pdf")),
    ({"type": "input_file", "file_id": "file-1"}, FilePart(id="file-1")),
    (AUDIO, OpaquePart(DIALECT, AUDIO)),
    ({"type": "input_image", "file_id": "file-2"}, OpaquePart(DIALECT, {"type": "input_image", "file_id": "file-2"})),
]


@pytest.mark.parametrize(("wire", "part"), SAME)
def test_both_ways(wire: dict[str, Any], part: Content) -> None:
    assert read(wire) == [part]
    assert write(part) == ([wire], [])


@pytest.mark.parametrize(
    ("wire", "part"),
    [
        ({"type": "output_text", "text": "said", "annotations": [], "logprobs": []}, TextPart("said")),
        ({"type": "refusal", "refusal": "no"}, TextPart("no")),
        (
            {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            TextPart("a", {"type": "ephemeral"}),
        ),
        ({"type": "input_image", "image_url": "data:;base64,AA"}, ImagePart(data="AA", media_type="image/png")),
        (
            {"type": "input_file", "filename": "a.csv", "file_data": "YSxi"},
            FilePart(data="YSxi", media_type="text/csv", name="a.csv"),
        ),
        ({"type": "input_file", "file_data": "JVBE"}, FilePart(data="JVBE", media_type="application/pdf")),
    ],
)
def test_reading(wire: dict[str, Any], part: Content) -> None:
    assert read(wire) == [part]


def test_a_string_is_one_text() -> None:
    assert list(read_content("a", "x")) == [TextPart("a")]


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (None, "input[0].content"),
        ({"type": "input_text"}, "input[0].content"),
        (["a"], "input[0].content[0]"),
        ([{"type": "input_text"}], "input[0].content[0].text"),
        ([AUDIO, {"type": "input_image", "image_url": {"url": PNG}}], "input[0].content[1].image_url"),
        ([{"type": "input_file", "filename": "a"}], "input[0].content[0].file_data"),
    ],
)
def test_what_is_wrong_is_named(content: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        list(read_content(content, "input[0].content"))
    assert caught.value.param == param


def test_a_document_that_is_text_is_written_as_text() -> None:
    assert write(FilePart(data="w6Q=", media_type="text/plain", name="a.txt")) == (
        [{"type": "input_text", "text": "ä"}],
        [],
    )


def test_a_document_without_a_name_gets_one() -> None:
    written, _ = write(FilePart(data="AA", media_type="application/pdf"))
    assert written[0]["filename"] == "document.pdf"


def test_what_has_no_place_is_named() -> None:
    parts = (TextPart("a", {"type": "ephemeral"}), OpaquePart("gemini", {"type": "video"}), OpaquePart("gemini", 1))
    written, dropped = write(*parts)
    assert written == [{"type": "input_text", "text": "a"}]
    assert dropped == ["messages.content.cache_control", "messages.video", "messages.gemini"]


def test_texts_are_joined() -> None:
    assert join_texts((TextPart("a"), ImagePart(url="u"), TextPart("b"))) == "ab"
