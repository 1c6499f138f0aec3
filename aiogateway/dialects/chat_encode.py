"""Neutral events to chat answers as OpenAI writes them; whole and in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from aiogateway.dialects.chat_messages import DIALECT
from aiogateway.dialects.chat_turns import write_call, write_seal, write_thought
from aiogateway.dialects.failures import describe
from aiogateway.dialects.openai_stream import OpenAIStream
from aiogateway.dialects.usage import write_usage
from aiogateway.neutral import (
    Begin,
    Envelope,
    Event,
    Failure,
    Finish,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    UsageReport,
)
from aiogateway.types import Usage
from aiogateway.wire import sse

CHUNK = "chat.completion.chunk"
ANSWER = "chat.completion"


class ChatEncoder:
    """One stream. Every chunk has a `finish_reason`, null but in a choice's last one; the usage chunk comes at the end,
    and only if the envelope asks for it. Usage that never came is not invented.
    """

    def __init__(self, envelope: Envelope) -> None:
        self._id, self._model, self._created = envelope.id, envelope.model, envelope.created
        self._include_usage = envelope.include_usage
        self._usage: Usage | None = None
        self._begun: set[int] = set()
        self._calling: set[int] = set()
        self._thoughts: dict[int, str] = {}  # each choice's thought so far
        self._sealed: dict[int, int] = {}  # and how many it has sealed
        self._frame()

    def _frame(self) -> None:
        """What stands around `choices`; text is nearly all of a stream, so it is only put between."""
        head = orjson.dumps({"id": self._id, "object": CHUNK, "created": self._created, "model": self._model})
        self._head = b"data: " + head[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if self._include_usage else b"]}\n\n"

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Text):
            if event.index in self._begun:
                text = orjson.dumps(event.text)
                choice = b'{"index":%d,"delta":{"content":%b},"finish_reason":null}' % (event.index, text)
                return self._head + choice + self._tail
            return self._write(event.index, {"content": event.text})
        if isinstance(event, ToolCall):
            return self._write_call(event)
        if isinstance(event, Reasoning):
            return self._write_thought(event)
        if isinstance(event, Finish):
            return self._write(event.index, {}, finish_reason(event, event.index in self._calling))
        return self._note(event)

    def _note(self, event: Event) -> bytes:
        """Events that are no piece of a choice."""
        if isinstance(event, UsageReport):
            self._usage = event.usage
        elif isinstance(event, Begin):
            self._id, self._model = event.id or self._id, event.model or self._model
            self._created = event.created or self._created
            self._frame()
        elif isinstance(event, Failure):
            return sse.frame(orjson.dumps({"error": describe(event.error)}))
        elif isinstance(event, Opaque) and event.dialect == DIALECT:
            return self._write_opaque(event.data)
        return b""

    def end(self) -> bytes:
        if not self._include_usage or self._usage is None:
            return OpenAIStream.done
        usage = orjson.dumps({"usage": write_usage(self._usage)})
        return self._head + b"]," + usage[1:] + b"\n\n" + OpenAIStream.done

    def _write(self, index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        if index not in self._begun:
            self._begun.add(index)
            content = {} if "content" in delta else {"content": None if delta else ""}
            delta = {"role": "assistant", **content, **delta}
        choice = orjson.dumps({"index": index, "delta": delta, "finish_reason": finish})
        return self._head + choice + self._tail

    def _write_call(self, event: ToolCall) -> bytes:
        self._calling.add(event.index)
        kind, field = ("custom", "input") if event.custom else ("function", "arguments")
        call: dict[str, Any] = {"index": event.call, kind: {field: event.arguments}}
        if event.name is not None:
            identity = event.id or make_call_id(self._id, event)
            call = {"index": event.call, **write_call(identity, event.name, event.arguments, custom=event.custom)}
        if event.signature is not None:
            call |= write_seal(event.signature)
        return self._write(event.index, {"tool_calls": [call]})

    def _write_thought(self, event: Reasoning) -> bytes:
        """A sealed thought comes once more as a whole, with its seal: that is what has to be sent back. The block's
        `index` is for openai-python, whose streaming helper adds lists up by it.
        """
        delta: dict[str, Any] = {"reasoning_content": event.text} if event.text else {}
        text = self._thoughts.get(event.index, "") + event.text
        if event.signature is not None or event.sealed is not None:
            number = self._sealed.get(event.index, 0)
            self._sealed[event.index] = number + 1
            block = write_thought(text, event.signature, event.sealed)
            delta["thinking_blocks"] = [{"index": number, **block}]
        if event.sealed is None:
            self._thoughts[event.index] = "" if event.signature is not None else text
        return self._write(event.index, delta) if delta else b""

    def _write_opaque(self, data: dict[str, Any]) -> bytes:
        choices = []
        for choice in data.get("choices", ()):
            delta = dict(choice.get("delta", {}))
            if choice["index"] not in self._begun:
                self._begun.add(choice["index"])
                delta = {"role": "assistant", "content": "", **delta}
            choices.append({"finish_reason": None, **choice, "delta": delta})
        if not choices:  # an envelope's field: clients take a chunk without choices for the usage
            return b""
        return self._head + orjson.dumps(choices)[1:-1] + self._tail


def finish_reason(event: Finish, calling: bool) -> str:
    """OpenAI says tool_calls whenever there is one; others say stop."""
    return "tool_calls" if calling and event.reason == "stop" else event.reason


def make_call_id(answer: str, event: ToolCall) -> str:
    """An id for a call whose provider gave it none: clients need one to answer it."""
    return f"call_{answer.rpartition('-')[2]}_{event.index}_{event.call}"


class AnswerWriter:
    """A unary answer, gathered event by event."""

    def __init__(self, envelope: Envelope) -> None:
        self.head: dict[str, Any] = {"id": envelope.id, "object": ANSWER, "created": envelope.created}
        self.head["model"] = envelope.model
        self.choices: dict[int, Choice] = {}
        self.usage: Usage | None = None

    def add(self, event: Event) -> None:
        if isinstance(event, (Text, Reasoning, ToolCall, Finish)):
            self._open(event.index).add(event, self.head["id"])
        elif isinstance(event, UsageReport):
            self.usage = event.usage
        elif isinstance(event, Begin):
            said = {"id": event.id, "model": event.model, "created": event.created}
            self.head |= {name: value for name, value in said.items() if value is not None}
        elif isinstance(event, Opaque) and event.dialect == DIALECT:
            data = dict(event.data)
            for fields in data.pop("choices", ()):
                self._open(fields["index"]).add_fields(fields)
            self.head |= data

    def _open(self, index: int) -> Choice:
        return self.choices.setdefault(index, Choice(index))

    def write(self, choices: list[dict[str, Any]]) -> bytes:
        usage = {} if self.usage is None else {"usage": write_usage(self.usage)}
        return orjson.dumps({**self.head, "choices": choices, **usage})


class Choice:
    """One choice of a unary answer."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.thought = ""
        self.blocks: list[dict[str, Any]] = []
        self.calls: dict[int, dict[str, Any]] = {}
        self.finish: Finish | None = None
        self.message: dict[str, Any] = {}
        self.fields: dict[str, Any] = {}

    def add(self, event: Text | Reasoning | ToolCall | Finish, answer: str) -> None:
        if isinstance(event, Text):
            self.text.append(event.text)
        elif isinstance(event, Reasoning):
            self._add_thought(event)
        elif isinstance(event, Finish):
            self.finish = event
        else:
            self._add_call(event, answer)

    def _add_thought(self, event: Reasoning) -> None:
        self.reasoning.append(event.text)
        if event.sealed is not None:
            self.blocks.append(write_thought("", None, event.sealed))
            return
        self.thought += event.text
        if event.signature is not None:
            self.blocks.append(write_thought(self.thought, event.signature, None))
            self.thought = ""

    def _add_call(self, event: ToolCall, answer: str) -> None:
        identity = event.id or make_call_id(answer, event)
        call = self.calls.setdefault(event.call, write_call(identity, event.name or "", "", custom=event.custom))
        if call["type"] == "custom":
            call["custom"]["input"] += event.arguments
        else:
            call["function"]["arguments"] += event.arguments
        if event.signature is not None:
            call |= write_seal(event.signature)

    def add_fields(self, fields: dict[str, Any]) -> None:
        """What was opaque on the way: of the message, and of the choice. Pieces of text and of lists are joined."""
        _join(self.message, fields.get("delta", {}))
        _join(self.fields, {name: value for name, value in fields.items() if name not in ("index", "delta")})

    def reason(self) -> str | None:
        return None if self.finish is None else finish_reason(self.finish, bool(self.calls))

    def write(self) -> dict[str, Any]:
        text = "".join(self.text)
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not self.calls else None}
        if reasoning := "".join(self.reasoning):
            message["reasoning_content"] = reasoning
        if self.blocks:
            message["thinking_blocks"] = self.blocks
        if self.calls:
            message["tool_calls"] = [self.calls[number] for number in sorted(self.calls)]
        message = {**message, "refusal": None, **self.message}
        return {
            "index": self.index,
            "message": message,
            "logprobs": None,
            **self.fields,
            "finish_reason": self.reason(),
        }


def _join(known: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        before = known.get(name)
        both = (before, value)
        if all(isinstance(item, str) for item in both) or all(isinstance(item, list) for item in both):
            known[name] = before + value
        elif isinstance(before, dict) and isinstance(value, dict):
            _join(before, value)
        else:
            known[name] = value.copy() if isinstance(value, dict) else value


def write_answer(events: Sequence[Event], envelope: Envelope) -> bytes:
    """A unary chat completion. A `Failure` among the events is the caller's to see first."""
    writer = AnswerWriter(envelope)
    for event in events:
        writer.add(event)
    return writer.write([writer.choices[index].write() for index in sorted(writer.choices)])
