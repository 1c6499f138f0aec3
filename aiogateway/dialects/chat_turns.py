"""Neutral messages as OpenAI writes them: the counterpart of `chat_messages`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from aiogateway.dialects.chat_messages import DIALECT, FIELDS
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

Fields = dict[str, Any]


class MessageWriter:
    """Neutral messages to OpenAI's. `dropped` names what had no place, once each.

    `ours`: the client spoke this wire, so marks and seals that OpenAI itself has no field for go on as the client sent
    them. From another wire they are dropped by name, since OpenAI refuses a request with a field it does not know.
    """

    def __init__(self, *, ours: bool = True) -> None:
        self.dropped: dict[str, None] = {}
        self._ours = ours

    def write_all(self, messages: Iterable[Message]) -> list[Fields]:
        """The results of one turn's tools stand together; what they hold beside text follows as the user's."""
        written: list[Fields] = []
        waiting: list[Fields] = []
        for message in messages:
            if message.role != "tool":
                written += waiting
                waiting = []
            for each in self.write(message):
                (waiting if message.role == "tool" and each["role"] == "user" else written).append(each)
        return written + waiting

    def write(self, message: Message) -> Iterator[Fields]:
        """One neutral message may be several here: each tool's result is a message of its own."""
        results = [part for part in message.parts if isinstance(part, ToolResultPart)]
        shown: list[Part] = []
        for result in results:
            yield self._write_result(result)
            shown += (part for part in result.parts if not isinstance(part, TextPart))
        rest = (*shown, *(part for part in message.parts if not isinstance(part, ToolResultPart)))
        if rest and message.role == "tool":  # OpenAI's tool messages hold text only, so the rest is the user's
            kept = self._write_message("user", rest, message.name)
            if kept.get("content"):
                yield kept
        elif rest or not results:
            yield self._write_message(message.role, rest, message.name)

    def _write_result(self, result: ToolResultPart) -> Fields:
        if result.error:
            self.dropped["messages.content.is_error"] = None
        content: Any = result.text
        if result.cache is not None:
            content = [self._mark({"type": "text", "text": result.text}, result.cache)]
            content = content if self._ours else result.text
        return {"role": "tool", "tool_call_id": result.id, "content": content}

    def _write_message(self, role: str, parts: tuple[Part, ...], name: str | None) -> Fields:
        written: Fields = {"role": role}
        if name is not None:
            written["name"] = name
        content: list[Fields] = []
        for part in parts:
            self._write_part(part, written, content)
        calls = "tool_calls" in written
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            written["content"] = content[0]["text"]
        else:
            written["content"] = content or (None if calls or role == "assistant" else "")
        return written

    def _write_part(self, part: Part, written: Fields, content: list[Fields]) -> None:
        if isinstance(part, TextPart):
            content.append(self._mark({"type": "text", "text": part.text}, part.cache))
        elif isinstance(part, ImagePart):
            content.append(self._mark(_write_image(part), part.cache))
        elif isinstance(part, FilePart):
            content.append(self._mark(_write_file(part, ours=self._ours), part.cache))
        elif isinstance(part, ToolCallPart):
            written.setdefault("tool_calls", []).append(self._write_call(part))
        elif isinstance(part, ReasoningPart):
            self._write_thought(part, written)
        elif isinstance(part, OpaquePart):
            self._write_opaque(part, written, content)

    def _mark(self, part: Fields, cache: Cache) -> Fields:
        if cache is not None and self._ours:
            part["cache_control"] = cache
        elif cache is not None:
            self.dropped["messages.content.cache_control"] = None
        return part

    def _write_call(self, part: ToolCallPart) -> Fields:
        call = write_call(part.id, part.name, part.arguments, custom=part.custom)
        if part.signature is not None and self._ours:
            call |= write_seal(part.signature)
        elif part.signature is not None:
            self.dropped["messages.tool_calls.signature"] = None
        return call

    def _write_thought(self, part: ReasoningPart, written: Fields) -> None:
        if part.signature is None and part.sealed is None:
            written["reasoning_content"] = written.get("reasoning_content", "") + part.text
        elif self._ours and part.id is None:
            block = write_thought(part.text, part.signature, part.sealed)
            written.setdefault("thinking_blocks", []).append(block)
        else:  # sealed thoughts only mean something to the provider that sealed them
            self.dropped["reasoning"] = None

    def _write_opaque(self, part: OpaquePart, written: Fields, content: list[Fields]) -> None:
        data = part.data
        if part.dialect != DIALECT or not isinstance(data, Mapping):
            kind = data.get("type") if isinstance(data, Mapping) else None
            self.dropped[f"messages.{kind or part.dialect}"] = None
        elif data.get("type") == "tool_call":
            written.setdefault("tool_calls", []).append(data["tool_call"])
        elif data.get("type") != FIELDS:
            content.append(dict(data))
        elif "message" in data:
            written.update(data["message"])
        elif content:
            content[-1].update(data["part"])


def write_call(identity: str, name: str, arguments: str, *, custom: bool = False) -> Fields:
    """A whole tool call."""
    if custom:
        return {"id": identity, "type": "custom", "custom": {"name": name, "input": arguments}}
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def write_seal(signature: str) -> Fields:
    """The counterpart of `read_seal`."""
    return {"extra_content": {"google": {"thought_signature": signature}}}


def write_thought(text: str, signature: str | None, sealed: str | None) -> Fields:
    """One of an assistant's ``thinking_blocks``."""
    if sealed is not None:
        return {"type": "redacted_thinking", "data": sealed}
    return {"type": "thinking", "thinking": text, "signature": signature}


def _write_image(part: ImagePart) -> Fields:
    url = part.url or f"data:{part.media_type or 'image/png'};base64,{part.data}"
    image = {"url": url} if part.detail is None else {"url": url, "detail": part.detail}
    return {"type": "image_url", "image_url": image}


def _write_file(part: FilePart, *, ours: bool) -> Fields:
    """Another wire's text documents as text, since OpenAI's ``file`` takes PDF only; a URL as OpenRouter takes it."""
    text = None if ours else read_document(part)
    if text is not None:
        return {"type": "text", "text": text}
    file: Fields = {}
    if part.id is not None:
        file["file_id"] = part.id
    else:
        file["file_data"] = part.url or f"data:{part.media_type or 'application/pdf'};base64,{part.data}"
    if part.name is not None:
        file["filename"] = part.name
    return {"type": "file", "file": file}


def read_document(part: FilePart) -> str | None:
    """The text of a document that is text and came with the request; None for any other."""
    if part.data is None or not (part.media_type or "").startswith("text/"):
        return None
    try:
        return base64.b64decode(part.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def write_arguments(value: Any) -> str:
    """A tool call's arguments as text; some servers send the object itself."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()
