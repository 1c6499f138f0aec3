"""Anthropic's answers, whole and in events, to neutral events.

Blocks of a kind that only Anthropic knows (``server_tool_use`` and the results of such tools, ``compaction``) come as
one `Opaque` each, citations as one each. Events and deltas of an unknown kind are passed over, as Anthropic's
versioning policy asks of clients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from aiogateway.dialects.anthropic_blocks import read_arguments
from aiogateway.dialects.anthropic_words import NAME, REASONS, find_failure, merge_usage, read_usage
from aiogateway.dialects.payload import as_count, as_dict, as_list, as_text, parse_object
from aiogateway.neutral import Begin, Event, Failure, Finish, Opaque, Reasoning, Text, ToolCall, UsageReport
from aiogateway.wire import sse

_PLAIN = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
_PIECES = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


def read_answer(body: bytes) -> Sequence[Event]:
    """The events of a unary answer. Raises ValueError when it is malformed."""
    answer = parse_object(body)
    failure = find_failure(answer, body) if answer.get("type") == "error" else None
    if failure is not None:
        return [Failure(failure)]
    if not isinstance(answer.get("content"), list):
        raise ValueError("a message without content")
    events: list[Event] = [_read_begin(answer)]
    calls = 0
    for block in map(as_dict, answer["content"]):
        events += _read_block(block, calls)
        calls += block.get("type") == "tool_use"
    raw = as_text(answer.get("stop_reason"))
    events.append(_read_finish(raw, calls))
    usage = read_usage(merge_usage({}, answer.get("usage")))
    if usage is not None:
        events.append(UsageReport(usage))
    return events


def _read_begin(message: dict[str, Any]) -> Begin:
    return Begin(as_text(message.get("id")), as_text(message.get("model")))


def _read_finish(raw: str | None, calls: int) -> Finish:
    reason = REASONS.get(raw or "", "stop")
    return Finish("tool_calls" if calls and reason == "stop" else reason, raw=raw)


def _read_block(block: dict[str, Any], call: int) -> Iterator[Event]:
    """A whole block."""
    kind = block.get("type")
    if kind == "text":
        if text := as_text(block.get("text")):
            yield Text(text)
        for citation in as_list(block.get("citations")):
            yield Opaque(NAME, {"type": "citations_delta", "citation": citation})
    elif kind == "thinking":
        yield Reasoning(as_text(block.get("thinking")) or "", signature=as_text(block.get("signature")) or None)
    elif kind == "redacted_thinking":
        yield Reasoning("", sealed=as_text(block.get("data")))
    elif kind == "tool_use":
        arguments = orjson.dumps(as_dict(block.get("input"))).decode()
        yield ToolCall(call, arguments, as_text(block.get("id")), as_text(block.get("name")) or "")
    else:
        yield Opaque(NAME, block)


class AnthropicDecoder:
    """One stream's events. `message_delta` may come more than once; the one with a stop reason is the finish."""

    def __init__(self) -> None:
        self._usage: dict[str, Any] = {}
        self._calls: dict[int, int] = {}  # a tool_use block's index to the number of its call
        self._silent: set[int] = set()  # calls that have not been given arguments yet
        self._foreign: dict[int, dict[str, Any]] = {}  # open blocks of a kind only Anthropic knows
        self._finished = False

    def feed(self, frame: bytes) -> Iterator[Event]:
        """Raises ValueError for a malformed frame."""
        data = sse.data_of(frame).strip()
        return self._read(parse_object(data), data) if data else iter(())

    def _read(self, event: dict[str, Any], data: bytes) -> Iterator[Event]:
        kind = event.get("type")
        if kind == "content_block_delta":
            yield from self._read_delta(as_count(event.get("index")), as_dict(event.get("delta")))
        elif kind == "content_block_start":
            yield from self._open(as_count(event.get("index")), as_dict(event.get("content_block")))
        elif kind == "content_block_stop":
            yield from self._close(as_count(event.get("index")))
        elif kind == "message_start":
            message = as_dict(event.get("message"))
            self._usage = merge_usage(self._usage, message.get("usage"))
            yield _read_begin(message)
        elif kind == "message_delta":
            self._usage = merge_usage(self._usage, event.get("usage"))
            yield from self._finish(as_text(as_dict(event.get("delta")).get("stop_reason")))
            usage = read_usage(self._usage)
            if usage is not None:
                yield UsageReport(usage)
        elif kind == "message_stop":
            yield from self._finish("end_turn")
        elif kind == "error":
            failure = find_failure(event, data)
            if failure is not None:
                yield Failure(failure)

    def _finish(self, raw: str | None) -> Iterator[Event]:
        if raw is not None and not self._finished:
            self._finished = True
            yield _read_finish(raw, len(self._calls))

    def _open(self, index: int, block: dict[str, Any]) -> Iterator[Event]:
        kind = block.get("type")
        if kind not in _PLAIN:
            self._foreign[index] = block
            return
        if kind != "tool_use":
            yield from (event for event in _read_block(block, 0) if event != Reasoning(""))
            return
        call = self._calls[index] = len(self._calls)
        given = as_dict(block.get("input"))
        arguments = orjson.dumps(given).decode() if given else ""
        if not arguments:
            self._silent.add(index)
        yield ToolCall(call, arguments, as_text(block.get("id")), as_text(block.get("name")) or "")

    def _read_delta(self, index: int, delta: dict[str, Any]) -> Iterator[Event]:
        kind = as_text(delta.get("type"))
        piece = as_text(delta.get(_PIECES.get(kind or "", "")))
        if index in self._foreign:
            self._grow(self._foreign[index], delta)
        elif kind == "citations_delta":
            yield Opaque(NAME, delta)
        elif not piece:
            return
        elif kind == "text_delta":
            yield Text(piece)
        elif kind == "thinking_delta":
            yield Reasoning(piece)
        elif kind == "signature_delta":
            yield Reasoning("", signature=piece)
        elif index in self._calls:
            self._silent.discard(index)
            yield ToolCall(self._calls[index], piece)

    def _grow(self, block: dict[str, Any], delta: dict[str, Any]) -> None:
        """A foreign block's pieces: its input as text, else the fields themselves."""
        if delta.get("type") == "input_json_delta":
            block["partial_json"] = block.get("partial_json", "") + (as_text(delta.get("partial_json")) or "")
        else:
            block.update({name: value for name, value in delta.items() if name != "type"})

    def _close(self, index: int) -> Iterator[Event]:
        if index in self._silent:  # a tool without parameters gets no pieces, and clients parse what they got
            self._silent.discard(index)
            yield ToolCall(self._calls[index], "{}")
        block = self._foreign.pop(index, None)
        if block is not None:
            pieces = block.pop("partial_json", "")
            if pieces:
                block["input"] = read_arguments(pieces)
            yield Opaque(NAME, block)
