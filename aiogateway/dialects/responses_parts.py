"""Pieces of content as Responses has them (``input_text``, ``output_text``, ``input_image``, …), to neutral ones and
back. Facts: OpenAI's API reference, "Create a model response", `input`.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiogateway.dialects.chat_turns import read_document
from aiogateway.dialects.fields import take_optional_text, take_text, wrong
from aiogateway.errors import RequestError
from aiogateway.neutral import Cache, FilePart, ImagePart, OpaquePart, TextPart

DIALECT = "openai_responses"

Content = TextPart | ImagePart | FilePart | OpaquePart

_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_PDF = "application/pdf"
_types = mimetypes.MimeTypes()  # knows the usual endings without reading the system's files


def read_content(content: Any, path: str) -> Iterator[Content]:
    """A string, or a list of parts; `path` is ``input[3].content``, for errors."""
    if isinstance(content, str):
        yield TextPart(content)
        return
    if not isinstance(content, list):
        raise RequestError(f"{path} must be a string or a list of parts", param=path)
    for number, part in enumerate(content):
        where = f"{path}[{number}]"
        if not isinstance(part, Mapping):
            raise RequestError(f"{where} must be an object", param=where)
        yield _read_part(part, f"{where}.")


def _read_part(part: Mapping[str, Any], path: str) -> Content:
    kind = part.get("type")
    cache: Cache = {"type": "ephemeral"} if part.get("prompt_cache_breakpoint") else None
    if kind in _TEXTS:
        return TextPart(take_text(part, "text", path), cache)
    if kind == "refusal":  # the model said it, so it belongs to what was said
        return TextPart(take_text(part, "refusal", path))
    if kind == "input_image" and part.get("image_url") is not None:
        return _read_image(part, path, cache)
    if kind == "input_file":
        return _read_file(part, path, cache)
    return OpaquePart(DIALECT, dict(part))


def _read_image(part: Mapping[str, Any], path: str, cache: Cache) -> ImagePart:
    url, detail = take_text(part, "image_url", path), take_optional_text(part, "detail", path)
    data = _read_data_url(url)
    if data is None:
        return ImagePart(url=url, detail=detail, cache=cache)
    return ImagePart(data=data[1], media_type=data[0] or "image/png", detail=detail, cache=cache)


def _read_file(part: Mapping[str, Any], path: str, cache: Cache) -> FilePart:
    name = take_optional_text(part, "filename", path)
    content = take_optional_text(part, "file_data", path)
    if content is not None:
        # The reference's examples send a data URL; bare base64 is taken by its name's ending.
        media_type, data = _read_data_url(content) or ("", content)
        guessed = media_type or _types.guess_type(name or "")[0] or _PDF
        return FilePart(data=data, media_type=guessed, name=name, cache=cache)
    url, identity = take_optional_text(part, "file_url", path), take_optional_text(part, "file_id", path)
    if url is None and identity is None:
        raise wrong("file_data", path, "there, or file_url, or file_id")
    return FilePart(url=url, id=identity, name=name, cache=cache)


def _read_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 of a data URL."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head[5:-7], data


def join_texts(parts: Sequence[object]) -> str:
    """The text among `parts`."""
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def write_content(parts: Sequence[Content], dropped: dict[str, None]) -> list[dict[str, Any]]:
    """What anyone but the model said. `dropped` takes the names of what has no place."""
    return [written for part in parts if (written := _write_part(part, dropped)) is not None]


def _write_part(part: Content, dropped: dict[str, None]) -> dict[str, Any] | None:
    if isinstance(part, OpaquePart):
        return write_opaque(part, dropped)
    if part.cache is not None:  # OpenAI caches prompts by itself; its own marks are for its newest models only
        dropped["messages.content.cache_control"] = None
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, ImagePart):
        url = part.url or f"data:{part.media_type or 'image/png'};base64,{part.data}"
        return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
    return _write_file(part)


def _write_file(part: FilePart) -> dict[str, Any]:
    """Documents that are text go as text, which every model reads."""
    text = read_document(part)
    if text is not None:
        return {"type": "input_text", "text": text}
    if part.id is not None:
        return {"type": "input_file", "file_id": part.id}
    if part.url is not None:
        return {"type": "input_file", "file_url": part.url}
    media_type = part.media_type or _PDF
    name = part.name or f"document{_types.guess_extension(media_type) or ''}"
    return {"type": "input_file", "filename": name, "file_data": f"data:{media_type};base64,{part.data}"}


def write_opaque(part: OpaquePart, dropped: dict[str, None]) -> dict[str, Any] | None:
    """A part or an item of our own kind; another dialect's is dropped by name."""
    kind = part.data.get("type") if isinstance(part.data, Mapping) else None
    if part.dialect == DIALECT and isinstance(part.data, Mapping):
        return dict(part.data)
    dropped[f"messages.{kind or part.dialect}"] = None
    return None
