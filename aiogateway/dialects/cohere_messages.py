"""Neutral messages as Cohere's v2 chat has them.

Facts: ``ChatMessageV2`` and the schemas below it in Cohere's OpenAPI document (cohere-openapi.yaml of
cohere-ai/cohere-developer-experience), and its pages "Basic usage of tool use" (a result may be documents) and
"Reasoning". A turn that calls tools tells its thoughts as ``tool_plan``; any other as content of the type thinking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from aiogateway.dialects.chat_turns import read_document
from aiogateway.dialects.payload import as_dict
from aiogateway.errors import Unsupported
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

DIALECT = "cohere_chat"


class MessageWriter:
    """`dropped` names what had no place, once each."""

    def __init__(self) -> None:
        self.dropped: dict[str, None] = {}

    def write_all(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        """The results of one turn's tools stand together; what they hold beside text follows as the user's.

        Raises Unsupported for content of a user's that Cohere can't be shown.
        """
        written: list[dict[str, Any]] = []
        waiting: list[dict[str, Any]] = []
        for at, message in enumerate(messages):
            if message.role != "tool":
                written += waiting
                waiting = []
            for each in self._write(message, f"messages[{at}]."):
                (waiting if message.role == "tool" and each["role"] == "user" else written).append(each)
        return written + waiting

    def _write(self, message: Message, path: str) -> Iterator[dict[str, Any]]:
        """One neutral message may be several: each tool's result is one of its own."""
        if message.name is not None and message.role != "tool":
            self.dropped[f"{path}name"] = None
        if message.role == "assistant":
            yield self._write_turn(message.parts, path)
            return
        results = [part for part in message.parts if isinstance(part, ToolResultPart)]
        for result in results:
            yield {
                "role": "tool",
                "tool_call_id": result.id,
                "content": self._write_result(result, f"{path}content"),
            }
        shown = [part for result in results for part in result.parts if isinstance(part, ImagePart)]
        content = list(self._write_content((*message.parts, *shown), path))
        if content or not results:
            role = "user" if message.role == "tool" else message.role
            yield {"role": role, "content": _shorten(content)}

    def _write_turn(self, parts: Iterable[Part], path: str) -> dict[str, Any]:
        parts = tuple(parts)
        calls = [part for part in parts if isinstance(part, ToolCallPart)]
        thoughts = "".join(part.text for part in parts if isinstance(part, ReasoningPart))
        if any(isinstance(part, ReasoningPart) and (part.signature or part.sealed) for part in parts):
            self.dropped[f"{path}reasoning"] = None  # a seal is for the provider that made it
        content = list(self._write_content(parts, path))
        written: dict[str, Any] = {"role": "assistant"}
        if calls:
            written["tool_calls"] = [self._write_call(call, path) for call in calls]
            if thoughts:
                written["tool_plan"] = thoughts
        elif thoughts:
            content.insert(0, {"type": "thinking", "thinking": thoughts})
        if content or not calls:
            written["content"] = _shorten(content)
        return written

    def _write_call(self, call: ToolCallPart, path: str) -> dict[str, Any]:
        if call.signature is not None:
            self.dropped[f"{path}tool_calls.extra_content"] = None
        arguments = orjson.dumps({"input": call.arguments}).decode() if call.custom else call.arguments
        function = {"name": call.name, "arguments": arguments}
        return {"id": call.id, "type": "function", "function": function}

    def _write_content(self, parts: Iterable[Part], path: str) -> Iterator[dict[str, Any]]:
        """Text and images; what only other wires know is dropped by name, or refused where a user asks about it."""
        for at, part in enumerate(parts):
            where = f"{path}content[{at}]"
            if isinstance(part, TextPart | ImagePart | FilePart) and part.cache is not None:
                self.dropped[f"{where}.cache_control"] = None
            if isinstance(part, TextPart):
                yield {"type": "text", "text": part.text}
            elif isinstance(part, ImagePart):
                yield _write_image(part)
            elif isinstance(part, FilePart):
                yield {"type": "text", "text": _read_text(part, where)}
            elif isinstance(part, OpaquePart):
                yield from self._write_opaque(part, path, where)

    def _write_opaque(self, part: OpaquePart, path: str, where: str) -> Iterator[dict[str, Any]]:
        data = as_dict(part.data)
        fields, marks = as_dict(data.get("message")), as_dict(data.get("part"))
        if part.dialect == DIALECT:
            yield data
        elif fields or marks:
            self.dropped |= dict.fromkeys(
                [f"{path}{name}" for name, value in fields.items() if value not in (None, [])]
            )
            self.dropped |= dict.fromkeys([f"{where}.{name}" for name, value in marks.items() if value is not None])
        else:
            self.dropped[where] = None

    def _write_result(self, result: ToolResultPart, path: str) -> Any:
        """Its text; with documents among its parts a list."""
        if result.error:
            self.dropped[f"{path}.is_error"] = None
        if result.cache is not None:
            self.dropped[f"{path}.cache_control"] = None
        if not any(isinstance(part, FilePart) for part in result.parts):
            return result.text
        content: list[dict[str, Any]] = []
        for at, part in enumerate(result.parts):
            if isinstance(part, TextPart):
                content.append({"type": "text", "text": part.text})
            elif isinstance(part, FilePart):
                text = read_document(part)
                if text is None:
                    self.dropped[f"{path}[{at}]"] = None
                    continue
                data = {"text": text} | ({} if part.name is None else {"title": part.name})
                content.append({"type": "document", "document": {"data": data}})
        return _shorten(content)


def _shorten(content: list[dict[str, Any]]) -> Any:
    """A string where there is nothing but one text."""
    if not content:
        return ""
    first = content[0]
    return first["text"] if len(content) == 1 and first.keys() == {"type", "text"} else content


def _write_image(part: ImagePart) -> dict[str, Any]:
    image: dict[str, Any] = {"url": part.url or f"data:{part.media_type or 'image/png'};base64,{part.data}"}
    if part.detail is not None:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _read_text(part: FilePart, where: str) -> str:
    text = read_document(part)
    if text is None:
        raise Unsupported("Cohere's chat takes no files but text: send that, or documents", param=where)
    return text


def read_fields(extra: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Cohere's own fields among the client's others."""
    return {name: extra[name] for name in names if extra.get(name) is not None}
