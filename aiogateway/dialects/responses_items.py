"""A Responses request's `input`, item by item, to neutral messages and back.

Items of the assistant in a row (thoughts, text, calls) are one neutral message. What only a server that keeps responses
could know (an ``item_reference``) is refused: without it, another question would be answered. Items of built-in tools
are opaque. An item's id and status, and a message's phase, mean something to the server that gave them only, so they
are not carried on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiogateway.dialects.fields import take_objects, take_optional_text, take_text, wrong
from aiogateway.dialects.responses_parts import (
    DIALECT,
    Content,
    join_texts,
    read_content,
    write_content,
    write_opaque,
)
from aiogateway.dialects.responses_seals import Seal, unmark, unwrap
from aiogateway.errors import RequestError, Unsupported
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

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})


# --- reading ----------------------------------------------------------------------------------------------------


def read_input(value: Any) -> Iterator[Message]:
    """Raises RequestError with the path of what is wrong."""
    if isinstance(value, str):
        yield Message("user", (TextPart(value),))
        return
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise wrong("input", "", "a string or a list of items")
    signatures = _find_signatures(value)
    said: list[Part] = []
    for number, item in enumerate(value):
        path = f"input[{number}]."
        message = _read_other(item, path)
        if message is None:
            said.extend(_read_said(item, path, signatures))
            continue
        if said:
            yield Message("assistant", tuple(said))
            said = []
        yield message
    if said:
        yield Message("assistant", tuple(said))


def _find_signatures(items: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """Seals over calls, by call: they may stand behind the call, in a reasoning item of our own."""
    signatures: dict[str, str] = {}
    for item in items:
        content = item.get("encrypted_content")
        seal = unwrap(content) if isinstance(content, str) else None
        if seal is not None:
            signatures.update(seal.calls)
    return signatures


def _read_other(item: Mapping[str, Any], path: str) -> Message | None:
    """What is no part of the assistant's turn."""
    kind = _kind_of(item)
    if kind == "item_reference":
        raise Unsupported(
            "input may refer to earlier items only where the target keeps them", param=path.removesuffix(".")
        )
    if kind in _OUTPUTS:
        return Message("tool", (_read_result(item, path),))
    if kind != "message":
        return None
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise wrong("role", path, f"one of {', '.join(_ROLES)}")
    if role == "assistant":
        return None
    return Message(_ROLES[role], tuple(read_content(item.get("content"), f"{path}content")))


def _kind_of(item: Mapping[str, Any]) -> str:
    """A message need not say that it is one, nor a reference (SDK: EasyInputMessage, ItemReference)."""
    kind = item.get("type")
    if isinstance(kind, str):
        return kind
    return "item_reference" if "id" in item and "role" not in item else "message"


def _read_result(item: Mapping[str, Any], path: str) -> ToolResultPart:
    call, output = take_text(item, "call_id", path), item.get("output")
    if isinstance(output, str):
        return ToolResultPart(call, output)
    parts = tuple(read_content(output, f"{path}output"))
    plain = tuple(part for part in parts if not isinstance(part, OpaquePart))
    if len(plain) < len(parts):
        raise RequestError(f"{path}output holds a part of an unknown type", param=f"{path}output")
    only_text = all(isinstance(part, TextPart) for part in plain)
    return ToolResultPart(call, join_texts(plain), () if only_text else plain)


def _read_said(item: Mapping[str, Any], path: str, signatures: Mapping[str, str]) -> Iterator[Part]:
    """An item of the assistant's turn."""
    kind = _kind_of(item)
    if kind == "message":
        yield from read_content(item.get("content"), f"{path}content")
    elif kind == "function_call":
        call = take_text(item, "call_id", path)
        name, arguments = take_text(item, "name", path), take_text(item, "arguments", path)
        yield ToolCallPart(call, name, arguments, signatures.get(call))
    elif kind == "custom_tool_call":
        call = take_text(item, "call_id", path)
        name, text = take_text(item, "name", path), take_text(item, "input", path)
        yield ToolCallPart(call, name, text, signatures.get(call), custom=True)
    elif kind == "reasoning":
        yield from _read_thought(item, path)
    else:
        yield OpaquePart(DIALECT, dict(item))


def _read_thought(item: Mapping[str, Any], path: str) -> Iterator[Part]:
    content = take_optional_text(item, "encrypted_content", path)
    seal = Seal() if content is None else unwrap(content)
    if seal is None:  # sealed by a server that speaks Responses, which alone can use it
        yield OpaquePart(DIALECT, dict(item))
        return
    texts = [
        take_text(part, "text", f"{path}{field}[{number}].")
        for field in ("summary", "content")
        for number, part in enumerate(take_objects(item, field, path))
    ]
    if texts or seal.signature or seal.sealed:
        yield ReasoningPart("\n\n".join(texts), seal.signature, seal.sealed, seal.id)


# --- writing ----------------------------------------------------------------------------------------------------


class ItemWriter:
    """Neutral messages to items. `dropped` names what had no place, once each; `sealed`: thoughts of this kind of
    provider are among them.
    """

    def __init__(self) -> None:
        self.dropped: dict[str, None] = {}
        self.sealed = False
        self._custom: set[str] = set()

    def write(self, message: Message) -> Iterator[dict[str, Any]]:
        """One neutral message may be several items."""
        if message.name is not None:
            self.dropped["messages.name"] = None
        if message.role == "assistant":
            yield from self._write_said(message.parts)
            return
        rest: list[Content] = []
        for part in message.parts:
            if isinstance(part, ToolResultPart):
                yield self._write_result(part)
            elif isinstance(part, (TextPart, ImagePart, FilePart, OpaquePart)):
                rest.append(part)
            else:
                self.dropped["messages.tool_calls"] = None
        content = write_content(rest, self.dropped)
        if content:
            yield {"type": "message", "role": "user" if message.role == "tool" else message.role, "content": content}

    def _write_result(self, part: ToolResultPart) -> dict[str, Any]:
        kind = "custom_tool_call_output" if part.id in self._custom else "function_call_output"
        if part.error:
            self.dropped["messages.content.is_error"] = None
        output = write_content(part.parts, self.dropped) if part.parts else part.text
        return {"type": kind, "call_id": part.id, "output": output}

    def _write_said(self, parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
        texts: list[dict[str, Any]] = []
        for part in parts:
            if isinstance(part, TextPart):
                texts.append({"type": "output_text", "text": part.text})
                continue
            item = self._write_item(part)
            if item is None:
                continue
            if texts:
                yield _message(texts)
                texts = []
            yield item
        if texts:
            yield _message(texts)

    def _write_item(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, ToolCallPart):
            return self._write_call(part)
        if isinstance(part, ReasoningPart):
            return self._write_thought(part)
        if isinstance(part, OpaquePart):
            return write_opaque(part, self.dropped)
        if isinstance(part, ToolResultPart):
            return self._write_result(part)
        self.dropped["messages.image" if isinstance(part, ImagePart) else "messages.file"] = None
        return None

    def _write_call(self, part: ToolCallPart) -> dict[str, Any]:
        if part.signature is not None:  # Gemini's, over a call of its own
            self.dropped["messages.tool_calls.signature"] = None
        if part.custom:
            self._custom.add(part.id)
            return {"type": "custom_tool_call", "call_id": part.id, "name": part.name, "input": part.arguments}
        return {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}

    def _write_thought(self, part: ReasoningPart) -> dict[str, Any] | None:
        own = unmark(part.signature) or unmark(part.sealed)
        if own is None:  # a provider of this kind takes no thoughts but those that it sealed
            self.dropped["reasoning"] = None
            return None
        self.sealed = True
        content, identity = own
        item: dict[str, Any] = {"type": "reasoning"} if identity is None else {"type": "reasoning", "id": identity}
        item["summary"] = [{"type": "summary_text", "text": part.text}] if part.text else []
        return item | {"encrypted_content": content}


def _message(content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": content}
