"""Neutral events to an answer as Anthropic writes it, whole and in events.

Blocks of a stream come one after the other here, as Anthropic's own do and its SDKs expect. Other wires may mix the
pieces of parallel tool calls: then the first call streams, and the others wait until it is whole.

A seal over a call (Gemini's) is a ``redacted_thinking`` block of its own beside it, in the envelope of
`responses_seals`: a `tool_use` has no field for it, and clients send such blocks back unread. A refusal, as OpenAI's
chat says it, is text, with Anthropic's own word for why it ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import orjson

from aiogateway.dialects.anthropic_blocks import read_arguments
from aiogateway.dialects.anthropic_words import NAME, describe, write_stop, write_usage
from aiogateway.dialects.chat_encode import make_call_id
from aiogateway.dialects.chat_messages import DIALECT as CHAT
from aiogateway.dialects.payload import as_dict, as_list, as_text
from aiogateway.dialects.responses_seals import Seal, wrap
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

_DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}
_CALL_DELTA = ("input_json_delta", "partial_json")


class _Draft:
    """A block that is being written: what it starts with, and its text (a call's: its arguments)."""

    __slots__ = ("call", "head", "pieces", "seal", "whole")

    def __init__(self, head: dict[str, Any], *, call: int | None = None, whole: bool = False) -> None:
        self.head = head
        self.call = call
        self.whole = whole  # `head` is all of it
        self.pieces: list[str] = []
        self.seal: str | None = None

    @property
    def kind(self) -> str:
        return str(self.head["type"])

    def is_over(self) -> bool:
        """Whether another block may follow: a call's arguments have to be whole."""
        if self.call is None:
            return True
        try:
            return isinstance(orjson.loads("".join(self.pieces)), dict)
        except orjson.JSONDecodeError:
            return False

    def finish(self) -> dict[str, Any]:
        """The whole block."""
        text = "".join(self.pieces)
        if self.whole:
            return self.head
        if self.call is not None:
            return {**self.head, "input": read_arguments(text)}
        written = {**self.head, self.kind: text}
        return written | {"signature": self.seal or ""} if self.kind == "thinking" else written


class _Message:
    """What is known of an answer; choice 0 of it, since this wire has no other."""

    def __init__(self, envelope: Envelope) -> None:
        self.id, self.model = envelope.id, envelope.model
        self.usage: Usage | None = None
        self.finish: Finish | None = None
        self.calling = False
        self._calls: dict[int, str] = {}  # the ids of the calls so far
        self._refused = False

    def spell(self, event: Event) -> Iterator[Event]:
        """The event in words that this wire has."""
        if isinstance(event, ToolCall) and event.signature is not None and event.index == 0:
            yield Reasoning("", sealed=wrap(Seal(calls={self._identify(event): event.signature})))
            yield event
        elif isinstance(event, Opaque) and event.dialect == CHAT:
            for choice in map(as_dict, as_list(as_dict(event.data).get("choices"))):
                refusal = as_text(as_dict(choice.get("delta")).get("refusal"))
                if refusal and not choice.get("index"):
                    self._refused = True
                    yield Text(refusal)
        else:
            yield event

    def _identify(self, event: ToolCall) -> str:
        return self._calls.setdefault(event.call, event.id or make_call_id(self.id, event))

    def note(self, event: Event) -> None:
        """Events that are no content."""
        if isinstance(event, Begin):
            self.id, self.model = event.id or self.id, event.model or self.model
        elif isinstance(event, UsageReport):
            self.usage = event.usage
        elif isinstance(event, Finish) and event.index == 0:
            self.finish = event

    def write(self, content: list[dict[str, Any]], *, started: bool = False) -> dict[str, Any]:
        """`started`: the message as a stream begins it."""
        usage = write_usage(self.usage or Usage())
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": None if started else self.stop(),
            "stop_sequence": None,
            "usage": usage,
        }

    def stop(self) -> str | None:
        said = write_stop(self.finish, calling=self.calling)
        return "refusal" if self._refused and said == "end_turn" else said

    def open(self, event: Event) -> _Draft | None:
        """A new block for `event`, without its text; None when the event is no content."""
        if isinstance(event, Text):
            return _Draft({"type": "text", "text": ""})
        if isinstance(event, Reasoning):
            if event.sealed is not None:
                return _Draft({"type": "redacted_thinking", "data": event.sealed}, whole=True)
            return _Draft({"type": "thinking", "thinking": "", "signature": ""})
        if isinstance(event, ToolCall) and event.name is not None:
            self.calling = True
            head = {"type": "tool_use", "id": self._identify(event), "name": event.name, "input": {}}
            return _Draft(head, call=event.call)
        if isinstance(event, Opaque) and event.dialect == NAME and "citation" not in event.data:
            return _Draft(dict(event.data), whole=True)
        return None


def _find(drafts: Sequence[_Draft], event: Event) -> _Draft | None:
    """The open block that `event` goes on with."""
    if isinstance(event, ToolCall):
        return next((draft for draft in drafts if draft.call == event.call), None)
    last = drafts[-1] if drafts else None
    if last is None or last.whole or last.seal is not None:
        return None
    if isinstance(event, Text):
        return last if last.kind == "text" else None
    if isinstance(event, Reasoning) and event.sealed is None:
        return last if last.kind == "thinking" else None
    return None


def _says_nothing(event: Event) -> bool:
    if getattr(event, "index", 0) != 0:
        return True
    if isinstance(event, Text):
        return not event.text
    return isinstance(event, Reasoning) and not (event.text or event.signature or event.sealed)


class AnthropicEncoder:
    """One stream. Usage comes with the last `message_delta`: other wires tell it at the end only, so `message_start`
    says zero, and the SDKs take the later counts.
    """

    def __init__(self, envelope: Envelope) -> None:
        self._message = _Message(envelope)
        self._started = False
        self._blocks = 0  # that are over
        self._drafts: list[_Draft] = []  # the first one is on the wire, the others wait
        self._texting = False  # whether all there is is a text on the wire

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Text) and self._texting and event.text and not event.index:  # nearly all of a stream
            return self._delta("text", event.text)
        out = b"".join(map(self._feed, self._message.spell(event)))
        self._texting = len(self._drafts) == 1 and self._drafts[0].kind == "text"
        return out

    def _feed(self, event: Event) -> bytes:
        if isinstance(event, Failure):
            return _frame(describe(event.error))
        self._message.note(event)
        if isinstance(event, Begin | UsageReport | Finish):
            return self._begin() if isinstance(event, Begin) else b""
        if _says_nothing(event):
            return b""
        out = self._begin()
        draft = _find(self._drafts, event)
        if draft is not None:
            return out + self._go_on(draft, event)
        draft = self._message.open(event)
        if draft is None:
            return out
        self._drafts.append(draft)
        if len(self._drafts) == 1:
            out += self._start(draft)
        return out + self._go_on(draft, event)

    def _begin(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return _frame({"type": "message_start", "message": self._message.write([], started=True)})

    def _start(self, draft: _Draft) -> bytes:
        return _frame({"type": "content_block_start", "index": self._blocks, "content_block": draft.head})

    def _go_on(self, draft: _Draft, event: Event) -> bytes:
        """The event's piece of the block, on the wire if it is that block's turn."""
        piece = event.arguments if isinstance(event, ToolCall) else getattr(event, "text", "")
        seal = event.signature if isinstance(event, Reasoning) else None
        out = b""
        live = draft is self._drafts[0]
        if piece:
            out += self._delta(draft.kind, piece) if live else b""
            if not live or draft.call is not None:  # what is out is only needed to see when a call is whole
                draft.pieces.append(piece)
        if seal is not None:
            draft.seal = seal
            out += self._seal(draft) if live else b""
        while len(self._drafts) > 1 and self._drafts[0].is_over():
            out += self._stop()
        return out

    def _delta(self, block: str, piece: str) -> bytes:
        kind, field = _DELTAS.get(block, _CALL_DELTA)
        return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n' % (
            self._blocks,
            orjson.dumps({"type": kind, field: piece}),
        )

    def _seal(self, draft: _Draft) -> bytes:
        delta = {"type": "signature_delta", "signature": draft.seal}
        return _frame({"type": "content_block_delta", "index": self._blocks, "delta": delta})

    def _stop(self) -> bytes:
        """Ends the block on the wire, and brings what has come of the next one."""
        out = _frame({"type": "content_block_stop", "index": self._blocks})
        self._blocks += 1
        del self._drafts[0]
        for draft in self._drafts[:1]:
            out += self._start(draft)
            out += self._delta(draft.kind, "".join(draft.pieces)) if draft.pieces else b""
            out += self._seal(draft) if draft.seal is not None else b""
        return out

    def end(self) -> bytes:
        out = self._begin()
        while self._drafts:
            out += self._stop()
        delta = {"stop_reason": self._message.stop(), "stop_sequence": None}
        usage = write_usage(self._message.usage or Usage())
        return (
            out + _frame({"type": "message_delta", "delta": delta, "usage": usage}) + _frame({"type": "message_stop"})
        )


def _frame(event: dict[str, Any]) -> bytes:
    return sse.frame(orjson.dumps(event), str(event["type"]))


def write_answer(events: Sequence[Event], envelope: Envelope) -> bytes:
    """A unary message. A `Failure` among the events is the caller's to see first."""
    message = _Message(envelope)
    drafts: list[_Draft] = []
    for event in chain.from_iterable(map(message.spell, events)):
        message.note(event)
        if isinstance(event, Begin | UsageReport | Finish) or _says_nothing(event):
            continue
        draft = _find(drafts, event)
        if draft is None:
            draft = message.open(event)
            if draft is None:
                continue
            drafts.append(draft)
        draft.pieces.append(event.arguments if isinstance(event, ToolCall) else getattr(event, "text", ""))
        if isinstance(event, Reasoning):
            draft.seal = event.signature or draft.seal
    return orjson.dumps(message.write([draft.finish() for draft in drafts]))
