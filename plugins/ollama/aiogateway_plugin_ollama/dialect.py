"""Ollama's native chat: ``POST /api/chat``, an object per line, tool calls with their arguments as objects.

Source of the answer's fields: ``ChatResponse``, ``Message``, ``ToolCall`` and ``Metrics`` in ollama/ollama
``api/types.go``, ``streamResponse`` in ``server/routes.go`` for the framing, ``docs/api.md`` for the examples (all of
August 2026). Only the half that a provider needs is here: no client speaks Ollama's wire to the gateway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from aiogateway.dialects.payload import as_dict, as_list, as_text, parse_object
from aiogateway.errors import Unsupported
from aiogateway.neutral import (
    Begin,
    ChatRequest,
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
from aiogateway.types import Endpoint
from aiogateway_plugin_ollama.chat_request import write_chat
from aiogateway_plugin_ollama.wire import OllamaDialect, count_usage, find_failure, read_time

NAME = "ollama_chat"


class OllamaChat(OllamaDialect):
    """Neutral chats out, lines in."""

    name = NAME
    endpoint = Endpoint.CHAT
    # Quotes inside JSON text are escaped, so only a tool's argument of this name can be mistaken for the end.
    finish_marks = (b'"done":true', b'"done": true')

    def write_request(self, request: NeutralRequest) -> Written:
        if not isinstance(request, ChatRequest):
            raise Unsupported("only a chat can be written for /api/chat")
        return write_chat(request)

    def read_answer(self, body: bytes) -> Sequence[Event]:
        events = list(ChatDecoder().feed(body))
        if not any(isinstance(event, Finish | Failure) for event in events):
            raise ValueError("the answer does not say that it is done")
        return events

    def decoder(self) -> ChatDecoder:
        return ChatDecoder()


class ChatDecoder:
    """One answer's lines to events. A unary body is one line."""

    def __init__(self) -> None:
        self._begun = False
        self._calls = 0

    def feed(self, frame: bytes) -> Iterable[Event]:
        line = frame.strip()
        return self._read(parse_object(line), line) if line else ()

    def _read(self, payload: dict[str, Any], line: bytes) -> list[Event]:
        failure = find_failure(payload)
        if failure is not None:
            return [Failure(failure)]
        events: list[Event] = []
        if not self._begun:
            self._begun = True
            events.append(Begin(model=as_text(payload.get("model")), created=read_time(payload)))
        events += self._read_message(as_dict(payload.get("message")), line)
        if payload.get("done") is True:
            events.append(self._finish(payload))
            usage = count_usage(payload)
            if usage is not None:
                events.append(UsageReport(usage))
        return events

    def _read_message(self, message: Mapping[str, Any], line: bytes) -> Iterable[Event]:
        if thinking := as_text(message.get("thinking")):
            yield Reasoning(thinking)
        if content := as_text(message.get("content")):
            yield Text(content)
        for call in as_list(message.get("tool_calls")):
            yield self._read_call(as_dict(call), line)
        if images := as_list(message.get("images")):
            yield Opaque(NAME, {"images": images})

    def _read_call(self, call: Mapping[str, Any], line: bytes) -> ToolCall:
        """Calls come whole. Older servers give them no id, and number each line's from 0, so we count ourselves."""
        function = as_dict(call.get("function"))
        name = as_text(function.get("name"))
        if not name:
            raise ValueError("a tool call without a name")
        number, self._calls = self._calls, self._calls + 1
        arguments = function.get("arguments")
        return ToolCall(
            number,
            arguments=arguments if isinstance(arguments, str) else orjson.dumps(arguments or {}).decode(),
            id=as_text(call.get("id")) or make_id(line, number),
            name=name,
        )

    def _finish(self, payload: Mapping[str, Any]) -> Finish:
        """`done_reason` is stop, length, load or unload; servers from before it existed leave it out."""
        raw = as_text(payload.get("done_reason")) or None
        if raw == "length":
            return Finish("length", raw=raw)
        return Finish("tool_calls" if self._calls else "stop", raw=raw)


def make_id(line: bytes, number: int) -> str:
    """An id for a tool call that came without one: the same for the same line, which holds the time in nanoseconds."""
    return "call_" + hashlib.blake2s(b"%d %s" % (number, line), digest_size=12).hexdigest()
