"""Chat messages as OpenAI writes them, to neutral ones.

Beside OpenAI's own fields: ``cache_control`` on parts (as OpenRouter, LiteLLM and Portkey take it), ``thinking_blocks``
(LiteLLM's name for Anthropic's signed thoughts), and ``extra_content.google.thought_signature`` on tool calls (Google's
OpenAI-compatible endpoint). Fields that neutral parts have no room for travel behind the part or in the message they
belong to, as an `OpaquePart` of the type `FIELDS`; a content part of a kind we don't know is an `OpaquePart` too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiogateway.dialects.fields import take_object, take_objects, take_optional_text, take_text, wrong
from aiogateway.dialects.payload import as_dict, as_text
from aiogateway.errors import RequestError
from aiogateway.neutral import (
    Cache,
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

DIALECT = "openai_chat"
FIELDS = "message_fields"

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_MESSAGE_FIELDS = frozenset(
    {"role", "content", "name", "tool_calls", "function_call", "tool_call_id", "reasoning_content", "thinking_blocks"}
)


def read_message(message: Mapping[str, Any], path: str) -> Message:
    """One message; `path` is ``messages[3].``, for errors."""
    role = message.get("role")
    if role == "function":  # the API before tools: the function's name was the id
        result = take_optional_text(message, "content", path) or ""
        return Message(role="tool", parts=(ToolResultPart(take_text(message, "name", path), result),))
    if not isinstance(role, str) or role not in _ROLES:
        raise wrong("role", path, f"one of {', '.join(_ROLES)}")
    name = take_optional_text(message, "name", path)
    if role == "tool":
        return Message(role="tool", parts=tuple(_read_result(message, path)), name=name)
    return Message(role=_ROLES[role], parts=tuple(_read_parts(message, path)), name=name)


def _read_result(message: Mapping[str, Any], path: str) -> Iterator[Part]:
    known: list[TextPart | ImagePart | FilePart] = []
    others: list[Part] = []
    cache: Cache = None
    for part in _read_content(message, path):
        if isinstance(part, TextPart | ImagePart | FilePart):
            known.append(part)
            cache = part.cache or cache
        else:
            others.append(part)
    text = "".join(part.text for part in known if isinstance(part, TextPart))
    parts = () if all(isinstance(part, TextPart) for part in known) else tuple(known)
    yield ToolResultPart(take_text(message, "tool_call_id", path), text, parts=parts, cache=cache)
    yield from others
    yield from _read_leftovers(message)


def _read_parts(message: Mapping[str, Any], path: str) -> Iterator[Part]:
    yield from _read_thoughts(message, path)
    yield from _read_content(message, path)
    for number, call in enumerate(take_objects(message, "tool_calls", path)):
        yield _read_call(call, f"{path}tool_calls[{number}].")
    if function := take_object(message, "function_call", path):
        where = f"{path}function_call."
        name = take_text(function, "name", where)
        yield ToolCallPart(name, name, take_text(function, "arguments", where))
    yield from _read_leftovers(message)


def _read_thoughts(message: Mapping[str, Any], path: str) -> Iterator[Part]:
    """The blocks, which hold the seals, win over the bare text."""
    blocks = take_objects(message, "thinking_blocks", path)
    for number, block in enumerate(blocks):
        where = f"{path}thinking_blocks[{number}]."
        if block.get("type") == "redacted_thinking":
            yield ReasoningPart("", sealed=take_text(block, "data", where))
        else:
            signature = take_optional_text(block, "signature", where) or None
            yield ReasoningPart(take_text(block, "thinking", where), signature)
    reasoning = take_optional_text(message, "reasoning_content", path)
    if reasoning and not blocks:
        yield ReasoningPart(reasoning)


def _read_leftovers(message: Mapping[str, Any]) -> Iterator[Part]:
    fields = {name: value for name, value in message.items() if name not in _MESSAGE_FIELDS and value is not None}
    if fields:
        yield OpaquePart(DIALECT, {"type": FIELDS, "message": fields})


def _read_call(call: Mapping[str, Any], path: str) -> Part:
    kind = "custom" if call.get("type") == "custom" else "function"
    function = take_object(call, kind, path)
    if function is None:
        return OpaquePart(DIALECT, {"type": "tool_call", "tool_call": dict(call)})
    where = f"{path}{kind}."
    return ToolCallPart(
        take_text(call, "id", path),
        take_text(function, "name", where),
        take_text(function, "input" if kind == "custom" else "arguments", where),
        signature=read_seal(call),
        custom=kind == "custom",
    )


def read_seal(call: Mapping[str, Any]) -> str | None:
    """Gemini's seal over a tool call (ai.google.dev, "Thought signatures", OpenAI compatibility)."""
    google = as_dict(as_dict(call.get("extra_content")).get("google"))
    return as_text(google.get("thought_signature")) or None


def _read_content(message: Mapping[str, Any], path: str) -> Iterator[Part]:
    content = message.get("content")
    if content is None:
        return
    if isinstance(content, str):
        yield TextPart(content)
        return
    if not isinstance(content, list):
        raise wrong("content", path, "a string or a list of parts")
    for number, part in enumerate(content):
        where = f"{path}content[{number}]"
        if isinstance(part, str):
            yield TextPart(part)
        elif isinstance(part, Mapping):
            yield from _read_part(part, f"{where}.")
        else:
            raise RequestError(f"{where} must be an object", param=where)


def _read_part(part: Mapping[str, Any], path: str) -> Iterator[Part]:
    kind = part.get("type")
    cache = take_object(part, "cache_control", path)
    if kind == "text":
        yield TextPart(take_text(part, "text", path), cache)
    elif kind == "image_url":
        yield _read_image(part, path, cache)
    elif kind == "file" and (file := _read_file(part, path, cache)) is not None:
        yield file
    else:
        yield OpaquePart(DIALECT, dict(part))
        return
    fields = {name: value for name, value in part.items() if name not in ("type", kind, "cache_control")}
    if fields:
        yield OpaquePart(DIALECT, {"type": FIELDS, "part": fields})


def _read_image(part: Mapping[str, Any], path: str, cache: Cache) -> ImagePart:
    image = part.get("image_url")
    if isinstance(image, str):  # several hosts take it so
        image = {"url": image}
    if not isinstance(image, Mapping):
        raise wrong("image_url", path, "an object")
    where = f"{path}image_url."
    url, detail = take_text(image, "url", where), take_optional_text(image, "detail", where)
    media_type, data = split_data_url(url)
    if data is not None:
        return ImagePart(data=data, media_type=media_type, detail=detail, cache=cache)
    return ImagePart(url=url, detail=detail, cache=cache)


def _read_file(part: Mapping[str, Any], path: str, cache: Cache) -> FilePart | None:
    """OpenAI's ``file_data`` and ``file_id``; a URL as ``file_data`` is OpenRouter's way, ``file_url`` Portkey's."""
    file = take_object(part, "file", path) or {}
    where = f"{path}file."
    read = {
        field: take_optional_text(file, field, where)
        for field in ("file_data", "file_id", "file_url", "filename", "file_name", "mime_type")
    }
    name, media_type = read["filename"] or read["file_name"], read["mime_type"]
    given, url = read["file_data"], read["file_url"]
    if given is not None and given.startswith(("http://", "https://")):
        given, url = None, given
    if given is not None:
        said, data = split_data_url(given)
        if data is None:
            said, data = media_type or "application/pdf", given
        return FilePart(data=data, media_type=said, name=name, cache=cache)
    if url is None and read["file_id"] is None:
        return None
    return FilePart(url=url, media_type=media_type, name=name, id=read["file_id"], cache=cache)


def split_data_url(url: str) -> tuple[str | None, str | None]:
    """Media type and base64 of a data URL; twice None for any other URL."""
    head, comma, data = url.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        return head[5:-7] or "text/plain", data
    return None, None
