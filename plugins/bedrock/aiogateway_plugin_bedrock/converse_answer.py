"""What Converse and ConverseStream answer, to neutral events.

Source: ``ConverseResponse``, ``ConverseStreamOutput`` and ``TokenUsage`` in the service model; the order of frames and
the padding ``p`` as recorded in pydantic/pydantic-ai ``tests/models/cassettes/test_bedrock``. What neutral events can't
say (citations, a guardrail's trace, tools that the provider runs itself) comes as `Opaque`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from aiogateway.dialects.payload import as_count, as_dict, as_list, as_text, parse_object
from aiogateway.neutral import Event, Failure, Finish, Opaque, Reasoning, Text, ToolCall, UsageReport
from aiogateway.types import Usage
from aiogateway_plugin_bedrock.converse_messages import read_sealed
from aiogateway_plugin_bedrock.failures import find_body_failure, find_failure
from aiogateway_plugin_bedrock.frames import read_frame

NAME = "bedrock_converse"

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_SIDE = ("trace", "performanceConfig", "serviceTier")


def read_usage(value: Any) -> Usage | None:
    """``TokenUsage``, whose inputTokens hold neither what was read from a cache nor what was written to one."""
    counts = as_dict(value)
    if "inputTokens" not in counts:
        return None
    cached, written = as_count(counts.get("cacheReadInputTokens")), as_count(counts.get("cacheWriteInputTokens"))
    return Usage(
        input=as_count(counts["inputTokens"]) + cached + written,
        output=as_count(counts.get("outputTokens")),
        cached=cached,
        cache_write=written,
    )


def read_finish(raw: str | None, *, calling: bool) -> Finish:
    """A tool call in the answer makes it tool_calls, whatever the model says, unless it was cut short."""
    reason = _REASONS.get(raw or "", "stop")
    return Finish("tool_calls" if calling and reason == "stop" else reason, raw=raw)


def read_answer(body: bytes) -> Sequence[Event]:
    """A unary answer. Raises ValueError when it is malformed."""
    payload = parse_object(body)
    output = payload.get("output")
    if not isinstance(output, dict):
        failure = find_body_failure(payload)
        if failure is None:
            raise ValueError("an answer without an output")
        return [Failure(failure)]
    events: list[Event] = []
    for block in as_list(as_dict(output.get("message")).get("content")):
        events += _read_block(as_dict(block), sum(isinstance(event, ToolCall) for event in events))
    calling = any(isinstance(event, ToolCall) for event in events)
    events.append(read_finish(as_text(payload.get("stopReason")), calling=calling))
    events += _read_rest(payload)
    return events


def _read_rest(payload: Mapping[str, Any]) -> Iterator[Event]:
    usage = read_usage(payload.get("usage"))
    if usage is not None:
        yield UsageReport(usage)
    rest = {name: payload[name] for name in (*_SIDE, "additionalModelResponseFields") if payload.get(name)}
    if rest:
        yield Opaque(NAME, rest)


def _read_block(block: Mapping[str, Any], calls: int) -> Iterator[Event]:
    """One content block of a whole message; `calls` were in it before."""
    if isinstance(block.get("text"), str):
        yield Text(block["text"])
    elif isinstance(block.get("toolUse"), dict) and block["toolUse"].get("type") != "server_tool_use":
        call = block["toolUse"]
        arguments = orjson.dumps(call.get("input") or {}).decode()
        yield ToolCall(calls, arguments, _need(call, "toolUseId"), _need(call, "name"))
    elif isinstance(block.get("reasoningContent"), dict):
        thought = as_dict(block["reasoningContent"].get("reasoningText"))
        sealed = block["reasoningContent"].get("redactedContent")
        if isinstance(sealed, str):
            yield Reasoning("", sealed=read_sealed(_decode(sealed)))
        else:
            yield Reasoning(as_text(thought.get("text")) or "", signature=as_text(thought.get("signature")))
    else:
        for piece in as_list(as_dict(block.get("citationsContent")).get("content")):
            if isinstance(as_dict(piece).get("text"), str):
                yield Text(piece["text"])
        yield Opaque(NAME, dict(block))


def _need(call: Mapping[str, Any], field: str) -> str:
    value = call.get(field)
    if not isinstance(value, str) or not value:
        raise ValueError(f"a tool call without {field}")
    return value


def _decode(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError("a redacted thought that is not base64") from error


class ConverseDecoder:
    """One stream's frames to events. A thought's seal may come in pieces, and is said when its block ends."""

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}
        self._opaque: set[int] = set()
        self._signatures: dict[int, str] = {}
        self._sealed: dict[int, bytes] = {}
        self._readers: dict[str, Callable[[dict[str, Any]], Iterator[Event]]] = {
            "contentBlockStart": self._start,
            "contentBlockDelta": self._delta,
            "contentBlockStop": self._stop,
            "messageStop": self._finish,
            "metadata": _read_rest,
        }

    def feed(self, frame: bytes) -> list[Event]:
        """Raises ValueError for a malformed frame."""
        message = read_frame(frame)
        failure = find_failure(message)
        if failure is not None:
            return [Failure(failure)]
        payload = parse_object(message.payload)
        reader = self._readers.get(message.name)
        if reader is not None:
            return list(reader(payload))
        if message.name in ("messageStart", "initial-response"):
            return []
        return [Opaque(NAME, {message.name: payload})]

    def _start(self, payload: dict[str, Any]) -> Iterator[Event]:
        index, start = _read_index(payload), as_dict(payload.get("start"))
        call = start.get("toolUse")
        if isinstance(call, dict) and call.get("type") != "server_tool_use":
            identity, name = _need(call, "toolUseId"), _need(call, "name")
            self._calls[index] = _Call(len(self._calls))
            yield ToolCall(self._calls[index].number, id=identity, name=name)
        elif start:
            self._opaque.add(index)
            yield Opaque(NAME, {"contentBlockStart": payload})

    def _delta(self, payload: dict[str, Any]) -> Iterator[Event]:
        index, delta = _read_index(payload), as_dict(payload.get("delta"))
        if index in self._opaque:
            yield Opaque(NAME, {"contentBlockDelta": payload})
        elif isinstance(delta.get("text"), str):
            if delta["text"]:
                yield Text(delta["text"])
        elif isinstance(delta.get("toolUse"), dict):
            yield from self._read_arguments(index, as_text(delta["toolUse"].get("input")) or "")
        elif isinstance(delta.get("reasoningContent"), dict):
            yield from self._read_thought(index, delta["reasoningContent"])
        else:
            yield Opaque(NAME, {"contentBlockDelta": payload})

    def _read_arguments(self, index: int, arguments: str) -> Iterator[Event]:
        call = self._calls.get(index)
        if call is None:
            raise ValueError("a piece of a tool call that never began")
        if arguments:
            call.spoken = True
            yield ToolCall(call.number, arguments)

    def _read_thought(self, index: int, thought: Mapping[str, Any]) -> Iterator[Event]:
        text, signature, sealed = (as_text(thought.get(name)) for name in ("text", "signature", "redactedContent"))
        if text:
            yield Reasoning(text)
        if signature:
            self._signatures[index] = self._signatures.get(index, "") + signature
        if sealed:
            self._sealed[index] = self._sealed.get(index, b"") + _decode(sealed)

    def _stop(self, payload: dict[str, Any]) -> Iterator[Event]:
        yield from self._end_block(_read_index(payload))

    def _end_block(self, index: int) -> Iterator[Event]:
        signature, sealed = self._signatures.pop(index, None), self._sealed.pop(index, None)
        if signature is not None:
            yield Reasoning("", signature=signature)
        if sealed is not None:
            yield Reasoning("", sealed=read_sealed(sealed))
        call = self._calls.get(index)
        if call is not None and not call.spoken:
            call.spoken = True
            yield ToolCall(call.number, "{}")

    def _finish(self, payload: dict[str, Any]) -> Iterator[Event]:
        for index in sorted({*self._signatures, *self._sealed, *self._calls}):
            yield from self._end_block(index)
        if fields := as_dict(payload.get("additionalModelResponseFields")):
            yield Opaque(NAME, {"additionalModelResponseFields": fields})
        yield read_finish(as_text(payload.get("stopReason")), calling=bool(self._calls))


class _Call:
    """A tool call under way: which one, and whether any of its arguments came."""

    __slots__ = ("number", "spoken")

    def __init__(self, number: int) -> None:
        self.number = number
        self.spoken = False


def _read_index(payload: Mapping[str, Any]) -> int:
    return as_count(payload.get("contentBlockIndex"))
