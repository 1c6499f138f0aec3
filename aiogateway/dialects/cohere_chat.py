"""Cohere's v2 chat: ``POST /v2/chat``, typed events in a stream.

Facts: ``ChatResponseV2``, ``StreamedChatResponseV2`` and ``ChatFinishReason`` in Cohere's OpenAPI document
(cohere-openapi.yaml of cohere-ai/cohere-developer-experience); cohere-python for the ``[DONE]`` that may end a stream.
Only the half that a provider needs is here. Usage is what the model saw and wrote (``tokens``); where only the billed
units are told, those. Thoughts come as content of the type thinking, or as a ``tool_plan`` before calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.cohere_messages import DIALECT
from aiogateway.dialects.cohere_request import write_request
from aiogateway.dialects.failures import find_error, find_status, make_failure
from aiogateway.dialects.payload import as_count, as_dict, as_list, as_text, parse_object
from aiogateway.errors import UpstreamStatus
from aiogateway.neutral import (
    Begin,
    Event,
    Failure,
    Finish,
    NeutralRequest,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    UsageReport,
    Written,
)
from aiogateway.types import Endpoint, Usage
from aiogateway.wire import sse

REASONS = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
    "ERROR_LIMIT": "length",
}
"""The last two are of the API's first version."""

FAILED = {"ERROR": 502, "TIMEOUT": 504}
"""Ways to end that are no answer, and the status each stands for."""

_DONE = b"data: [DONE]\n\n"
_NOTHING = "{}"
_WORDS = (*REASONS, *FAILED)


class CohereChat(BaseDialect):
    """Neutral chats out, typed events in."""

    name = DIALECT
    endpoint = Endpoint.CHAT
    finish_marks = tuple(f'"finish_reason":{gap}"{word}"'.encode() for word in _WORDS for gap in ("", " "))
    done = _DONE

    def read_failure(self, frame: bytes) -> UpstreamStatus | None:
        try:
            event = parse_object(self.data_of(frame))
        except ValueError:
            return None
        return find_failure(event, self.data_of(frame))

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        try:
            return find_failure(parse_object(body), body)
        except ValueError:
            return None

    def read_usage(self, tail: bytes) -> Usage | None:
        """The last event's, or a whole body's."""
        for line in (tail, *reversed(tail.splitlines())):
            if b'"usage"' not in line:
                continue
            try:
                payload = parse_object(line.removeprefix(b"data:"))
            except ValueError:
                continue
            usage = count_usage(payload.get("usage") or as_dict(payload.get("delta")).get("usage"))
            if usage is not None:
                return usage
        return None

    def write_request(self, request: NeutralRequest) -> Written:
        return write_request(request)

    def read_answer(self, body: bytes) -> Sequence[Event]:
        events = list(_read_whole(parse_object(body)))
        if not any(isinstance(event, Finish | Failure) for event in events):
            raise ValueError("the answer does not say how it ended")
        return events

    def decoder(self) -> CohereDecoder:
        return CohereDecoder()


class CohereDecoder:
    """One stream's events to neutral ones."""

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}  # Cohere's index to ours
        self._argued: set[int] = set()  # the calls whose arguments have begun
        self._finished = False

    def feed(self, frame: bytes) -> Iterable[Event]:
        """Raises ValueError for a malformed frame."""
        data = sse.data_of(frame).strip()
        if not data or data == b"[DONE]":
            return ()
        event = parse_object(data)
        failure = find_failure(event, b"")
        if failure is not None:
            return (Failure(failure),)
        return list(self._read(event))

    def _read(self, event: dict[str, Any]) -> Iterator[Event]:
        kind, delta = event.get("type"), as_dict(event.get("delta"))
        message = as_dict(delta.get("message"))
        if kind == "message-start":
            yield Begin(as_text(event.get("id")))
        elif kind in ("content-start", "content-delta"):
            yield from _read_content(as_dict(message.get("content")))
            if event.get("logprobs"):
                yield Opaque(DIALECT, {"logprobs": event["logprobs"]})
        elif kind == "tool-plan-delta":
            if plan := as_text(message.get("tool_plan")):
                yield Reasoning(plan)
        elif kind in ("tool-call-start", "tool-call-delta"):
            yield from self._read_call(as_count(event.get("index")), as_dict(message.get("tool_calls")))
        elif kind == "tool-call-end":
            yield from self._end_call(as_count(event.get("index")))
        elif kind == "citation-start":
            yield Opaque(DIALECT, {"citations": message.get("citations")})
        elif kind == "message-end" and not self._finished:
            self._finished = True
            yield from _read_end(delta, calling=bool(self._calls))

    def _read_call(self, index: int, call: dict[str, Any]) -> Iterator[Event]:
        arguments = _read_arguments(call)
        if arguments:
            self._argued.add(index)
        if index not in self._calls:
            self._calls[index] = len(self._calls)
            yield _start_call(self._calls[index], call, arguments)
        elif arguments:
            yield ToolCall(self._calls[index], arguments)

    def _end_call(self, index: int) -> Iterator[Event]:
        """A tool without parameters is called without arguments, where others have an empty object."""
        if index in self._calls and index not in self._argued:
            self._argued.add(index)
            yield ToolCall(self._calls[index], _NOTHING)


def _read_whole(answer: dict[str, Any]) -> Iterator[Event]:
    failure = find_failure(answer, b"")
    if failure is not None:
        yield Failure(failure)
        return
    message = as_dict(answer.get("message"))
    yield Begin(as_text(answer.get("id")))
    if plan := as_text(message.get("tool_plan")):
        yield Reasoning(plan)
    for part in as_list(message.get("content")):
        yield from _read_content(as_dict(part))
    calls = as_list(message.get("tool_calls"))
    for number, call in enumerate(calls):
        yield _start_call(number, as_dict(call), _read_arguments(as_dict(call)) or _NOTHING)
    rest = {"citations": message.get("citations"), "logprobs": answer.get("logprobs")}
    if found := {name: value for name, value in rest.items() if value}:
        yield Opaque(DIALECT, found)
    yield from _read_end(answer, calling=bool(calls))


def _read_content(part: dict[str, Any]) -> Iterator[Event]:
    if thinking := as_text(part.get("thinking")):
        yield Reasoning(thinking)
    if text := as_text(part.get("text")):
        yield Text(text)


def _start_call(number: int, call: dict[str, Any], arguments: str) -> ToolCall:
    name = as_text(as_dict(call.get("function")).get("name"))
    if not name:
        raise ValueError("a tool call without a name")
    return ToolCall(number, arguments, as_text(call.get("id")), name)


def _read_arguments(call: dict[str, Any]) -> str:
    """Empty where there are none, which a whole answer says as ``null``."""
    arguments = as_text(as_dict(call.get("function")).get("arguments")) or ""
    return "" if arguments == "null" else arguments


def _read_end(end: dict[str, Any], *, calling: bool) -> Iterator[Event]:
    raw = as_text(end.get("finish_reason"))
    if raw:
        reason = REASONS.get(raw, "stop")
        yield Finish("tool_calls" if calling and reason == "stop" else reason, raw=raw)
    usage = count_usage(end.get("usage"))
    if usage is not None:
        yield UsageReport(usage)


def find_failure(payload: dict[str, Any], data: bytes) -> UpstreamStatus | None:
    """The error that an event or a body stands for: an end that is none, or an error's text and nothing else."""
    end = as_dict(payload.get("delta")) if payload.get("type") == "message-end" else payload
    raw = as_text(end.get("finish_reason"))
    if raw in FAILED:
        said = {"message": as_text(end.get("error")) or f"Cohere ended its answer with {raw}", "code": raw}
        return make_failure(said, status=FAILED[raw], body=data)
    if isinstance(payload.get("message"), str) and "type" not in payload:
        return make_failure(payload, status=find_status(payload, payload), body=data)
    error = find_error(payload) if "error" in payload else None
    return None if error is None else make_failure(error, status=find_status(payload, error), body=data)


def count_usage(value: Any) -> Usage | None:
    """``usage`` of an answer; counts are JSON numbers, so may be written with a fraction."""
    usage = as_dict(value)
    counts = as_dict(usage.get("tokens")) or as_dict(usage.get("billed_units"))
    if counts.keys().isdisjoint(("input_tokens", "output_tokens")):
        return None
    return Usage(
        input=as_whole(counts.get("input_tokens")),
        output=as_whole(counts.get("output_tokens")),
        cached=as_whole(usage.get("cached_tokens")),
    )


def as_whole(value: Any) -> int:
    """A count that may come as ``5.0``; 0 when it is none."""
    return int(value) if isinstance(value, float) and value.is_integer() else as_count(value)
