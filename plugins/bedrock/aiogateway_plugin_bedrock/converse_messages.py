"""Neutral messages as Converse's: system blocks apart, roles in turn, every block of the type its one field names.

Source: ``Message``, ``ContentBlock``, ``SystemContentBlock`` and ``CachePointBlock`` in the service model. Converse
wants user and assistant in turn, results of tools from the user, and no blank text (it answers 400 to each), so
neighbours of one role are joined and blank texts are left out.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from aiogateway.dialects.payload import parse_object
from aiogateway.dialects.seals import is_foreign
from aiogateway.errors import RequestError, Unsupported
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
from aiogateway_plugin_bedrock.converse_parts import DocumentWriter, write_audio, write_image

RAW = "base64,"
"""Before a sealed thought that is no text: Claude's is, and other wires of Claude's carry that text."""

_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")  # ToolUseId
_TTLS = ("5m", "1h")

Block = dict[str, Any]


class MessageWriter:
    """`system` and `messages` are what was written, `dropped` the client's fields that had no place, once each,
    `calls` the names of the tools that were called.
    """

    def __init__(self, messages: Iterable[Message]) -> None:
        self.system: list[Block] = []
        self.messages: list[dict[str, Any]] = []
        self.dropped: dict[str, None] = {}
        self.calls: dict[str, None] = {}
        self.has_results = False
        self._documents = DocumentWriter()
        for at, message in enumerate(messages):
            self._write(message, f"messages[{at}]")

    def drop(self, name: str) -> None:
        self.dropped[name] = None

    def _write(self, message: Message, path: str) -> None:
        if message.name is not None and message.role != "tool":
            self.drop(f"{path}.name")
        blocks: list[Block] = []
        for part in message.parts:
            written = self._write_part(part, message.role, path)
            blocks += written
            cache: Cache = getattr(part, "cache", None)
            if written and cache is not None:
                blocks.append(write_cache_point(cache))
        if message.role == "system":
            self.system += blocks
            return
        role = "assistant" if message.role == "assistant" else "user"
        if blocks and self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        elif blocks:
            self.messages.append({"role": role, "content": blocks})

    def _write_part(self, part: Part, role: str, path: str) -> list[Block]:
        if isinstance(part, TextPart):
            return [{"text": part.text}] if part.text.strip() else []
        if isinstance(part, ToolCallPart):
            return [self._write_call(part, path)]
        if isinstance(part, ToolResultPart):
            return [self._write_result(part, path)]
        if isinstance(part, ReasoningPart):
            return self._write_reasoning(part, path)
        if role == "system":
            raise Unsupported("Bedrock's system prompt is text only", param=f"{path}.content")
        if isinstance(part, ImagePart | FilePart):
            return [self._write_bytes(part, path)]
        return self._write_opaque(part, role, path)

    def _write_bytes(self, part: ImagePart | FilePart, path: str) -> Block:
        if isinstance(part, FilePart):
            return self._documents.write(part, f"{path}.content")
        if part.detail not in (None, "auto"):
            self.drop(f"{path}.content.image_url.detail")
        return write_image(part, f"{path}.content")

    def _write_call(self, part: ToolCallPart, path: str) -> Block:
        """A custom tool's call is text, and Converse knows objects only."""
        self.calls[part.name] = None
        arguments = {"input": part.arguments} if part.custom else _read_arguments(part, path)
        return {"toolUse": {"toolUseId": fit_id(part.id), "name": part.name, "input": arguments}}

    def _write_result(self, part: ToolResultPart, path: str) -> Block:
        """`status` is for an error only: not every model knows it."""
        self.has_results = True
        content: list[Block] = [{"text": part.text}] if part.text and not part.parts else []
        for piece in part.parts:
            content += self._write_part(piece, "user", path)
        status = {"status": "error"} if part.error else {}
        return {"toolResult": {"toolUseId": fit_id(part.id), "content": content, **status}}

    def _write_reasoning(self, part: ReasoningPart, path: str) -> list[Block]:
        """Only a thought with a seal goes back, and Claude's own: it refuses others, and other models take none."""
        if is_foreign(part.sealed or part.signature or ""):
            self.drop(f"{path}.reasoning_content")
            return []
        if part.sealed is not None:
            return [{"reasoningContent": {"redactedContent": write_sealed(part.sealed)}}]
        if part.signature is not None:
            return [{"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}]
        self.drop(f"{path}.reasoning_content")
        return []

    def _write_opaque(self, part: OpaquePart, role: str, path: str) -> list[Block]:
        """What only another dialect understands: a field is dropped by name, content that a user asks about is not."""
        data = part.data if isinstance(part.data, Mapping) else {}
        audio = write_audio(data)
        if audio is not None:
            return [audio]
        fields = {**_as_mapping(data.get("message")), **_as_mapping(data.get("part"))}
        for name in fields:
            self.drop(f"{path}.{name}")
        if not fields:
            kind = str(data.get("type") or part.dialect)
            if role != "assistant":
                raise Unsupported(f"Bedrock has no content of the type {kind!r}", param=f"{path}.content")
            self.drop(f"{path}.{kind}")
        return []


def write_cache_point(cache: Mapping[str, Any]) -> Block:
    """Everything before it is cached; for how long is said only where the client does."""
    ttl = cache.get("ttl")
    return {"cachePoint": {"type": "default", **({"ttl": ttl} if ttl in _TTLS else {})}}


def fit_id(given: str) -> str:
    """A tool call's id, or one made of it that Converse accepts: the same for a call and its result."""
    if _ID.fullmatch(given):
        return given
    return "call_" + hashlib.blake2s(given.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def write_sealed(sealed: str) -> str:
    """A sealed thought as base64 of its bytes."""
    return sealed.removeprefix(RAW) if sealed.startswith(RAW) else base64.b64encode(sealed.encode()).decode()


def read_sealed(data: bytes) -> str:
    """The counterpart: Claude's seal is text (base64 of its own), and goes by that in Anthropic's wire too."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    return text if text and not text.startswith(RAW) else RAW + base64.b64encode(data).decode()


def _read_arguments(part: ToolCallPart, path: str) -> dict[str, Any]:
    try:
        return parse_object(part.arguments.encode("utf-8", "surrogatepass")) if part.arguments.strip() else {}
    except ValueError as error:
        where = f"{path}.tool_calls"
        raise RequestError(f"the arguments of the tool call {part.id} are no JSON object", param=where) from error


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
