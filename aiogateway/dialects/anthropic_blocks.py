"""Neutral messages as Anthropic's turns of content blocks: the counterpart of `anthropic_parts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from aiogateway.dialects.anthropic_words import NAME
from aiogateway.dialects.chat_messages import DIALECT as CHAT
from aiogateway.dialects.chat_messages import FIELDS
from aiogateway.dialects.chat_turns import read_document
from aiogateway.dialects.seals import is_foreign
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

Block = dict[str, Any]

INVALID = "INVALID_JSON"
"""Where arguments that are no JSON object go, as Anthropic's page on fine-grained tool streaming has it."""


class TurnWriter:
    """Neutral messages to `system` and `turns`. `dropped` names what had no place, once each.

    Anthropic knows two roles: system messages are gathered in front, as its own OpenAI-compatible endpoint does (a
    client of this wire has them where it put them, which newer models allow), tools' results are the user's, and
    neighbours of one role are one turn, since the results of parallel calls have to come in one.
    """

    def __init__(self, *, ours: bool) -> None:
        self.system: list[Block] = []
        self.turns: list[dict[str, Any]] = []
        self.dropped: dict[str, None] = {}
        self._ours = ours

    def write_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.name is not None:
                self.dropped["messages.name"] = None
            blocks = [block for part in message.parts for block in self._write(part)]
            if message.role == "system" and not (self._ours and self.turns):
                self.system += blocks
            elif blocks:
                self._add("user" if message.role == "tool" else message.role, blocks)

    def _add(self, role: str, blocks: list[Block]) -> None:
        turn = self.turns[-1] if self.turns else None
        if turn is None or turn["role"] != role:
            turn = {"role": role, "content": []}
            self.turns.append(turn)
        content = turn["content"]
        results = [block for block in blocks if block["type"] == "tool_result"]
        if results and content:  # results have to stand before what else the user says
            head = [block for block in content if block["type"] == "tool_result"]
            others = [block for block in (*content, *blocks) if block["type"] != "tool_result"]
            turn["content"] = head + results + others
        else:
            content += blocks

    def _write(self, part: Part) -> Sequence[Block]:
        if isinstance(part, TextPart):
            return [_mark({"type": "text", "text": part.text}, part.cache)] if part.text else []
        if isinstance(part, ImagePart):
            return [self._write_image(part)]
        if isinstance(part, FilePart):
            return [_write_document(part)]
        if isinstance(part, ToolCallPart):
            return [self._write_call(part)]
        if isinstance(part, ToolResultPart):
            return [self._write_result(part)]
        if isinstance(part, ReasoningPart):
            return self._write_thought(part)
        return self._write_opaque(part)

    def _write_image(self, part: ImagePart) -> Block:
        if part.detail not in (None, "auto"):
            self.dropped["messages.content.image_url.detail"] = None
        if part.data is None:
            source = {"type": "url", "url": part.url}
        else:
            source = {"type": "base64", "media_type": part.media_type or "image/png", "data": part.data}
        return _mark({"type": "image", "source": source}, part.cache)

    def _write_call(self, part: ToolCallPart) -> Block:
        if part.signature is not None:  # Gemini's, over a call of its own
            self.dropped["messages.tool_calls.signature"] = None
        block = {"type": "tool_use", "id": part.id, "name": part.name, "input": read_arguments(part.arguments)}
        return _mark(block, part.cache)

    def _write_result(self, part: ToolResultPart) -> Block:
        block: Block = {"type": "tool_result", "tool_use_id": part.id}
        if part.parts:
            block["content"] = [each for held in part.parts for each in self._write(held)]
        else:
            block["content"] = part.text
        if part.error:
            block["is_error"] = True
        return _mark(block, part.cache)

    def _write_thought(self, part: ReasoningPart) -> Sequence[Block]:
        """Only thoughts that Anthropic sealed may come back to it; one with an id is OpenAI's."""
        seal = part.signature if part.sealed is None else part.sealed
        if seal is not None and part.id is None and not is_foreign(seal):
            if part.sealed is not None:
                return [{"type": "redacted_thinking", "data": seal}]
            return [{"type": "thinking", "thinking": part.text, "signature": seal}]
        self.dropped["messages.reasoning_content" if part.sealed is None else "messages.reasoning"] = None
        return []

    def _write_opaque(self, part: OpaquePart) -> Sequence[Block]:
        data = part.data if isinstance(part.data, Mapping) else {}
        if part.dialect == NAME and data:
            return [dict(data)]
        if part.dialect == CHAT and data.get("type") == FIELDS:
            for name in data.get("message", ()):
                self.dropped[f"messages.{name}"] = None
            for name in data.get("part", ()):
                self.dropped[f"messages.content.{name}"] = None
        else:
            self.dropped[f"messages.{data.get('type', part.dialect)}"] = None
        return []


def read_arguments(text: str) -> Any:
    """A call's arguments as the object that Anthropic wants."""
    if not text.strip():
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {INVALID: text}
    return value if isinstance(value, dict) else {INVALID: text}


def _write_document(part: FilePart) -> Block:
    """PDF as base64, text as text; what else there may be is Anthropic's to refuse."""
    text = read_document(part)
    source: Block
    if part.id is not None:
        source = {"type": "file", "file_id": part.id}
    elif text is not None:
        source = {"type": "text", "media_type": "text/plain", "data": text}
    elif part.data is not None:
        source = {"type": "base64", "media_type": part.media_type or "application/pdf", "data": part.data}
    else:
        source = {"type": "url", "url": part.url}
    block: Block = {"type": "document", "source": source}
    if part.name is not None:
        block["title"] = part.name
    return _mark(block, part.cache)


def _mark(block: Block, cache: Cache) -> Block:
    if cache is not None:
        block["cache_control"] = dict(cache)
    return block
