from __future__ import annotations

from typing import Any

import pytest
from aiogateway_plugin_bedrock.converse_parts import DocumentWriter, write_audio, write_image

from aiogateway.errors import Unsupported
from aiogateway.neutral import FilePart, ImagePart


@pytest.mark.parametrize(
    ("part", "written"),
    [
        (ImagePart(data="QUJD", media_type="image/png"), {"format": "png", "source": {"bytes": "QUJD"}}),
        (ImagePart(data="QUJD", media_type="image/jpg"), {"format": "jpeg", "source": {"bytes": "QUJD"}}),
        (ImagePart(data="/9j/AA", media_type="text/plain"), {"format": "jpeg", "source": {"bytes": "/9j/AA"}}),
        (ImagePart(data="R0lGODlh"), {"format": "gif", "source": {"bytes": "R0lGODlh"}}),
        (
            ImagePart(url="s3://bucket/a.JPG"),
            {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/a.JPG"}}},
        ),
    ],
)
def test_images(part: ImagePart, written: dict[str, Any]) -> None:
    assert write_image(part, "p") == {"image": written}


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (ImagePart(url="https://example.org/a.png"), "https://example.org/a.png"),
        (ImagePart(data="QUJD", media_type="image/tiff"), "image/tiff"),
    ],
)
def test_images_that_bedrock_can_not_take(part: ImagePart, said: str) -> None:
    with pytest.raises(Unsupported, match=said) as caught:
        write_image(part, "messages[1].content")
    assert caught.value.param == "messages[1].content"


def test_documents() -> None:
    writer = DocumentWriter()
    text = writer.write(FilePart(data="QUJD", media_type="text/plain; charset=utf-8"), "p")
    assert text == {"document": {"format": "txt", "name": "Document", "source": {"bytes": "QUJD"}}}
    stored = writer.write(FilePart(url="s3://b/c/report.pdf"), "p")["document"]
    assert (stored["format"], stored["source"]) == ("pdf", {"s3Location": {"uri": "s3://b/c/report.pdf"}})
    assert writer.write(FilePart(data="QUJD", name="notes.md"), "p")["document"]["format"] == "md"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("John's report.pdf", "John-s report"),
        ("dir/r\u00e9sum\u00e9 \t (2) [a]-b.pdf", "r-sum- (2) [a]-b"),
        ("report", "report"),
        ("", "Document"),
        (".pdf", "-pdf"),
        ("x" * 300 + ".pdf", "x" * 180),
    ],
)
def test_names_of_documents_are_made_to_fit(given: str, name: str) -> None:
    """vercel/ai amazon-bedrock-invalid-document-filenames.json has Bedrock's answers to names that don't."""
    written = DocumentWriter().write(FilePart(data="QUJD", media_type="application/pdf", name=given), "p")
    assert written["document"]["name"] == name


def test_no_two_documents_have_one_name() -> None:
    writer = DocumentWriter()
    part = FilePart(data="QUJD", media_type="application/pdf", name="a.pdf")
    assert [writer.write(part, "p")["document"]["name"] for _ in range(3)] == ["a", "a (2)", "a (3)"]


@pytest.mark.parametrize(
    "part",
    [
        FilePart(id="file-1"),
        FilePart(url="https://example.org/a.pdf"),
        FilePart(data="QUJD", media_type="application/zip"),
    ],
)
def test_files_that_bedrock_can_not_take(part: FilePart) -> None:
    with pytest.raises(Unsupported) as caught:
        DocumentWriter().write(part, "messages[0].content")
    assert caught.value.param == "messages[0].content"


def test_sounds() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}
    assert write_audio(sound) == {"audio": {"format": "wav", "source": {"bytes": "QUJD"}}}
    assert write_audio({"type": "input_audio", "input_audio": {"data": "QUJD", "format": "midi"}}) is None
    assert write_audio({"type": "video"}) is None
