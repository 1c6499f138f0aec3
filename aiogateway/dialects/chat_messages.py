"""Chat messages as OpenAI writes them, to neutral ones and back.

Fields that neutral parts have no room for travel behind the part or in the message they belong to, as an `OpaquePart`
of the type `FIELDS`; a content part of a kind we don't know is an `OpaquePart` too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from aiogateway.dialects.fields import take_object, take_objects, take_optional_text, take_text, wrong
from aiogateway.errors import RequestError
from aiogateway.neutral import (
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
_MESSAGE_FIELDS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content"})


# --- reading ----------------------------------------------------------------------------------------------------


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
    texts, others = [], []
    for part in _read_content(message, path):
        if isinstance(part, TextPart):
            texts.append(part.text)
        else:
            others.append(part)
    yield ToolResultPart(take_text(message, "tool_call_id", path), "".join(texts))
    yield from others
    yield from _read_leftovers(message)


def _read_parts(message: Mapping[str, Any], path: str) -> Iterator[Part]:
    if reasoning := take_optional_text(message, "reasoning_content", path):
        yield ReasoningPart(reasoning)
    yield from _read_content(message, path)
    for number, call in enumerate(take_objects(message, "tool_calls", path)):
        yield _read_call(call, f"{path}tool_calls[{number}].")
    if function := take_object(message, "function_call", path):
        where = f"{path}function_call."
        name = take_text(function, "name", where)
        yield ToolCallPart(name, name, take_text(function, "arguments", where))
    yield from _read_leftovers(message)


def _read_leftovers(message: Mapping[str, Any]) -> Iterator[Part]:
    fields = {
        name: value
        for name, value in message.items()
        if name not in _MESSAGE_FIELDS and name != "function_call" and value is not None
    }
    if fields:
        yield OpaquePart(DIALECT, {"type": FIELDS, "message": fields})


def _read_call(call: Mapping[str, Any], path: str) -> Part:
    function = take_object(call, "function", path)
    if function is None:  # a custom tool's call, say
        return OpaquePart(DIALECT, {"type": "tool_call", "tool_call": dict(call)})
    where = f"{path}function."
    return ToolCallPart(
        take_text(call, "id", path), take_text(function, "name", where), take_text(function, "arguments", where)
    )


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
    if kind == "text":
        yield TextPart(take_text(part, "text", path))
    elif kind == "image_url":
        yield _read_image(part, path)
    else:
        yield OpaquePart(DIALECT, dict(part))
        return
    fields = {name: value for name, value in part.items() if name not in ("type", kind)}
    if fields:
        yield OpaquePart(DIALECT, {"type": FIELDS, "part": fields})


def _read_image(part: Mapping[str, Any], path: str) -> ImagePart:
    image = part.get("image_url")
    if isinstance(image, str):  # several hosts take it so
        image = {"url": image}
    if not isinstance(image, Mapping):
        raise wrong("image_url", path, "an object")
    where = f"{path}image_url."
    url, detail = take_text(image, "url", where), take_optional_text(image, "detail", where)
    head, comma, data = url.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        return ImagePart(data=data, media_type=head[5:-7] or "text/plain", detail=detail)
    return ImagePart(url=url, detail=detail)


# --- writing ----------------------------------------------------------------------------------------------------


class MessageWriter:
    """Neutral messages to OpenAI's. `dropped` names what had no place, once each."""

    def __init__(self) -> None:
        self.dropped: dict[str, None] = {}

    def write(self, message: Message) -> Iterator[dict[str, Any]]:
        """One neutral message may be several here: each tool's result is a message of its own."""
        results = [part for part in message.parts if isinstance(part, ToolResultPart)]
        for result in results:
            yield {"role": "tool", "tool_call_id": result.id, "content": result.text}
        rest = tuple(part for part in message.parts if not isinstance(part, ToolResultPart))
        if rest and message.role == "tool":  # OpenAI's tool messages hold text only, so the rest is the user's
            kept = self._write_message("user", rest, message.name)
            if kept.get("content"):
                yield kept
        elif rest or not results:
            yield self._write_message(message.role, rest, message.name)

    def _write_message(self, role: str, parts: tuple[Part, ...], name: str | None) -> dict[str, Any]:
        written: dict[str, Any] = {"role": role}
        if name is not None:
            written["name"] = name
        content: list[dict[str, Any]] = []
        for part in parts:
            self._write_part(part, written, content)
        calls = "tool_calls" in written
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            written["content"] = content[0]["text"]
        else:
            written["content"] = content or (None if calls or role == "assistant" else "")
        return written

    def _write_part(self, part: Part, written: dict[str, Any], content: list[dict[str, Any]]) -> None:
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, ImagePart):
            content.append(_write_image(part))
        elif isinstance(part, ToolCallPart):
            function = {"name": part.name, "arguments": part.arguments}
            written.setdefault("tool_calls", []).append({"id": part.id, "type": "function", "function": function})
        elif isinstance(part, ReasoningPart):
            if part.signature is None:
                written["reasoning_content"] = written.get("reasoning_content", "") + part.text
            else:  # sealed thoughts only mean something to the provider that sealed them
                self.dropped["reasoning"] = None
        elif isinstance(part, OpaquePart):
            self._write_opaque(part, written, content)

    def _write_opaque(self, part: OpaquePart, written: dict[str, Any], content: list[dict[str, Any]]) -> None:
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


def _write_image(part: ImagePart) -> dict[str, Any]:
    url = part.url or f"data:{part.media_type or 'image/png'};base64,{part.data}"
    image = {"url": url} if part.detail is None else {"url": url, "detail": part.detail}
    return {"type": "image_url", "image_url": image}


def write_arguments(value: Any) -> str:
    """A tool call's arguments as text; some servers send the object itself."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()
