"""Anthropic's content blocks to neutral parts.

Fields that neutral parts have no room for (a document's ``context``, a text's ``citations``) are noted under their
path, ``messages[3].content[0].citations``, for whoever writes the request to name; a block of a kind that only
Anthropic knows is an `OpaquePart`. A seal over a call came as a block of its own (`anthropic_encode`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import orjson

from aiogateway.dialects.anthropic_words import NAME
from aiogateway.dialects.fields import take_object, take_optional_text, take_text, wrong
from aiogateway.dialects.responses_seals import unwrap
from aiogateway.errors import RequestError
from aiogateway.neutral import (
    FilePart,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

Block = Mapping[str, Any]

_KNOWN = {
    "text": {"text"},
    "image": {"source"},
    "document": {"source", "title"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
    "tool_use": {"id", "name", "input"},
    "tool_result": {"tool_use_id", "content", "is_error"},
}
# values that say nothing, whatever the field
_DEFAULTS: tuple[Any, ...] = (None, False, [], {"type": "direct"}, {"enabled": False})


class PartReader:
    """Reads the blocks of one request. `lost`: the fields without a place, by path."""

    def __init__(self) -> None:
        self.lost: dict[str, Any] = {}
        self.seals: dict[str, str] = {}  # over calls, by the calls' ids

    def read(self, content: Any, path: str) -> Iterator[Part]:
        """A message's ``content`` (or ``system``): a string, or a list of blocks. `path` has no dot at its end."""
        if isinstance(content, str):
            yield TextPart(content)
            return
        if not isinstance(content, list):
            raise wrong("", path, "a string or a list of blocks")
        for number, block in enumerate(content):
            where = f"{path}[{number}]"
            if not isinstance(block, Mapping):
                raise RequestError(f"{where} must be an object", param=where)
            yield from self._read_block(block, f"{where}.")

    def _read_block(self, block: Block, path: str) -> Iterator[Part]:
        kind = block.get("type")
        cache = take_object(block, "cache_control", path)
        self._note_lost(block, path)
        if kind == "text":
            yield TextPart(take_text(block, "text", path), cache)
        elif kind == "image":
            yield self._read_image(block, path)
        elif kind == "document":
            yield from self._read_document(block, path)
        elif kind == "thinking":
            yield ReasoningPart(
                take_text(block, "thinking", path), take_optional_text(block, "signature", path) or None
            )
        elif kind == "redacted_thinking":
            yield from self._read_sealed(take_text(block, "data", path))
        elif kind == "tool_use":
            arguments = orjson.dumps(take_object(block, "input", path) or {}).decode()
            yield ToolCallPart(take_text(block, "id", path), take_text(block, "name", path), arguments, cache=cache)
        elif kind == "tool_result":
            yield from self._read_result(block, path)
        else:
            yield OpaquePart(NAME, dict(block))

    def _read_sealed(self, data: str) -> Iterator[Part]:
        """A thought, or an envelope of ours with seals over calls."""
        seal = unwrap(data)
        if seal is None:
            yield ReasoningPart("", sealed=data)
        else:
            self.seals.update(seal.calls)

    def sign(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The parts of a turn that was read, with the seals that stood beside them."""
        for part in parts:
            if isinstance(part, ToolCallPart) and part.id in self.seals:
                yield msgspec.structs.replace(part, signature=self.seals[part.id])
            else:
                yield part

    def _note_lost(self, block: Block, path: str) -> None:
        kind = block.get("type")
        if not isinstance(kind, str) or kind not in _KNOWN:
            return
        known = {"type", "cache_control", *_KNOWN[kind]}
        self.lost |= {
            path + name: value for name, value in block.items() if name not in known and value not in _DEFAULTS
        }

    def _read_image(self, block: Block, path: str) -> Part:
        source = take_object(block, "source", path) or {}
        cache = take_object(block, "cache_control", path)
        where = f"{path}source."
        if source.get("type") == "base64":
            data, media_type = take_text(source, "data", where), take_text(source, "media_type", where)
            return ImagePart(data=data, media_type=media_type, cache=cache)
        if source.get("type") == "url":
            return ImagePart(url=take_text(source, "url", where), cache=cache)
        return OpaquePart(NAME, dict(block))  # an uploaded file's id is the provider's own

    def _read_document(self, block: Block, path: str) -> Iterator[Part]:
        source = take_object(block, "source", path) or {}
        where = f"{path}source."
        name = take_optional_text(block, "title", path)
        cache = take_object(block, "cache_control", path)
        kind = source.get("type")
        if kind == "base64":
            data, media_type = take_text(source, "data", where), take_text(source, "media_type", where)
            yield FilePart(data=data, media_type=media_type, name=name, cache=cache)
        elif kind == "text":
            data = base64.b64encode(take_text(source, "data", where).encode()).decode()
            yield FilePart(data=data, media_type="text/plain", name=name, cache=cache)
        elif kind == "url":
            yield FilePart(url=take_text(source, "url", where), name=name, cache=cache)
        elif kind == "file":
            yield FilePart(id=take_text(source, "file_id", where), name=name, cache=cache)
        elif kind == "content":
            yield from self.read(source.get("content"), f"{where}content")
        else:
            yield OpaquePart(NAME, dict(block))

    def _read_result(self, block: Block, path: str) -> Iterator[Part]:
        """Blocks that a neutral result can't hold (search results, tool references) stand behind it."""
        content = block.get("content")
        read = () if content is None else tuple(self.read(content, f"{path}content"))
        held = tuple(part for part in read if isinstance(part, TextPart | ImagePart | FilePart))
        plain = all(isinstance(part, TextPart) and part.cache is None for part in held)
        yield ToolResultPart(
            take_text(block, "tool_use_id", path),
            "".join(part.text for part in held if isinstance(part, TextPart)),
            parts=() if plain else held,
            error=block.get("is_error") is True,
            cache=take_object(block, "cache_control", path),
        )
        yield from (part for part in read if part not in held)
