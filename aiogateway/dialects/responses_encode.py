"""Neutral events to Responses answers; whole and as typed events in their documented order.

Every answer of ours says ``"store": false``: nothing is kept here, so nothing can be asked for by its id. Text and
thoughts are one item each for as long as nothing else comes between; calls stay open until the answer ends, since a
provider may write several at once.

A failure is said as OpenAI says it, twice: ``error``, on which openai-python raises, and ``response.failed`` with the
whole response, the only one of the two that Codex reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from aiogateway.dialects.chat_messages import DIALECT as CHAT
from aiogateway.dialects.failures import describe
from aiogateway.dialects.payload import as_dict, as_list, as_text
from aiogateway.dialects.responses_output import CallItem, Change, ImageItem, Item, MessageItem, ThoughtItem
from aiogateway.dialects.responses_seals import Seal
from aiogateway.dialects.responses_tools import find_custom
from aiogateway.errors import GatewayError
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

_DEFAULTS: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}
"""What a response repeats of its request, and what it says where the request is silent."""
_CUTS = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ID_LIMIT = 40  # OpenAI takes ids of up to 64 characters back; ours have a prefix and a number beside this


class ResponseEncoder:
    """One stream. `request` is the client's body, as far as it is known."""

    def __init__(self, envelope: Envelope, request: Mapping[str, Any] | None = None) -> None:
        self._composer = Composer(envelope, request or {})
        self._number = 0
        self._hot: MessageItem | None = None
        self._head = b""

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Text) and (out := self._add_text(event)):
            return out
        return b"".join([self._write(change) for change in self._composer.feed(event)])

    def end(self) -> bytes:
        return b"".join([self._write(change) for change in self._composer.end()])

    def _add_text(self, event: Text) -> bytes:
        """Text is nearly all of a stream, so what stands around it is written once."""
        item = self._composer.text_item(event)
        if item is None:
            return b""
        if item is not self._hot:
            self._hot = item
            fields = {"type": "response.output_text.delta", **item.part_place, "logprobs": []}
            self._head = b"event: response.output_text.delta\ndata: " + orjson.dumps(fields)[:-1]
        item.pieces.append(event.text)
        number, self._number = self._number, self._number + 1
        return b'%b,"sequence_number":%d,"delta":%b}\n\n' % (self._head, number, orjson.dumps(event.text))

    def _write(self, change: Change) -> bytes:
        kind, fields = change
        number, self._number = self._number, self._number + 1
        if kind != "response.output_text.delta":
            self._hot = None  # another part may have begun in the same item
        return sse.frame(orjson.dumps({"type": kind, "sequence_number": number, **fields}), kind)


def write_answer(events: Sequence[Event], envelope: Envelope, request: Mapping[str, Any] | None = None) -> bytes:
    """A unary response. A `Failure` among the events is the caller's to see first."""
    composer = Composer(envelope, request or {})
    for event in events:
        for _ in composer.feed(event):
            pass
    for _ in composer.end():
        pass
    return orjson.dumps(composer.response())


class Composer:
    """Any sequence of neutral events to a well-formed sequence of changes, and the response that they add up to."""

    def __init__(self, envelope: Envelope, request: Mapping[str, Any]) -> None:
        self._id, self._model, self._created = envelope.id, envelope.model, envelope.created
        self._request = request
        self._custom = find_custom(request)
        self._begun = False
        self._output: list[Item] = []
        self._item: MessageItem | ThoughtItem | None = None  # the one that grows, beside calls
        self._calls: dict[tuple[int, int], CallItem] = {}
        self._call_ids: set[str] = set()
        self._reason: str | None = None  # why the answer is incomplete
        self._error: GatewayError | None = None
        self._usage: Usage | None = None

    def text_item(self, event: Text) -> MessageItem | None:
        """The message that the text only has to be added to, if there is one."""
        item = self._item
        if isinstance(item, MessageItem) and item.index == event.index and item.takes("text") and event.text:
            return item
        return None

    def feed(self, event: Event) -> Iterator[Change]:
        yield from self._begin(event)
        if isinstance(event, Text):
            yield from self._say(event.text, event.index, "text")
        elif isinstance(event, Reasoning):
            yield from self._think(event)
        elif isinstance(event, ToolCall):
            yield from self._call(event)
        elif isinstance(event, Finish):
            self._reason = self._reason or _CUTS.get(event.reason)
            yield from self._close_all()
        elif isinstance(event, UsageReport):
            self._usage = event.usage
        elif isinstance(event, Opaque) and event.dialect == CHAT:
            yield from self._show(event.data)
        elif isinstance(event, Failure):
            yield from self._fail(event.error)

    def end(self) -> Iterator[Change]:
        if self._error is not None:
            return
        yield from self._begin(None)
        yield from self._close_all()
        yield f"response.{self._status}", {"response": self.response()}

    def _fail(self, error: GatewayError) -> Iterator[Change]:
        """The end. What was being written is in the response as far as it came, and is not said to be done."""
        self._error = error
        for _ in self._close_all():
            pass
        yield "error", describe_event(error)
        yield "response.failed", {"response": self.response()}

    def _begin(self, event: Event | None) -> Iterator[Change]:
        if self._begun:
            return
        self._begun = True
        if isinstance(event, Begin):
            self._id, self._model = event.id or self._id, event.model or self._model
            self._created = event.created or self._created
        for kind in ("response.created", "response.in_progress"):
            yield kind, {"response": self._write("in_progress")}

    # --- items ---

    def _name(self, prefix: str) -> str:
        """An item's id: the same whenever the same answer is written."""
        return f"{prefix}_{self._id.removeprefix('resp_')[-_ID_LIMIT:]}_{len(self._output)}"

    def _add(self, item: Item) -> Iterator[Change]:
        self._output.append(item)
        yield from item.open()

    def _say(self, text: str, index: int, field: str) -> Iterator[Change]:
        if not text:
            return
        item = self._item
        if not isinstance(item, MessageItem) or item.index != index:
            yield from self._close()
            item = self._item = MessageItem(self._name("msg"), len(self._output), index)
            yield from self._add(item)
        yield from item.add(text, field)

    def _think(self, event: Reasoning) -> Iterator[Change]:
        sealed = event.signature is not None or event.sealed is not None
        if not event.text and not sealed:
            return
        item = self._item
        if not isinstance(item, ThoughtItem) or item.index != event.index or event.sealed is not None:
            yield from self._close()
            item = self._item = ThoughtItem(self._name("rs"), len(self._output), event.index)
            yield from self._add(item)
        if event.text:
            yield from item.add(event.text)
        if sealed:
            item.seal = Seal(signature=event.signature, sealed=event.sealed, id=event.id)
            yield from self._close()

    def _call(self, event: ToolCall) -> Iterator[Change]:
        key = (event.index, event.call)
        item = self._calls.get(key)
        call = item.item["call_id"] if item is not None else self._find_call_id(event)
        if event.signature is not None:
            yield from self._seal(call, event)
        if item is None:
            yield from self._close()
            wrapped = not event.custom and event.name in self._custom
            custom = event.custom or wrapped
            name = self._name("ctc" if custom else "fc")
            item = self._calls[key] = CallItem(
                name, len(self._output), call=call, name=event.name or "", custom=custom, wrapped=wrapped
            )
            yield from self._add(item)
        yield from item.add(event.arguments)

    def _find_call_id(self, event: ToolCall) -> str:
        """The provider's, unless it gave none, or one that another call has: clients tell calls by it."""
        call = event.id or f"call_{self._id[-_ID_LIMIT:]}_{event.index}_{event.call}"
        while call in self._call_ids:
            call += f"_{len(self._call_ids)}"
        self._call_ids.add(call)
        return call

    def _seal(self, call: str, event: ToolCall) -> Iterator[Change]:
        """A seal over a call in an item of its own: a call has no field that every client sends back."""
        yield from self._close()
        item = self._item = ThoughtItem(self._name("rs"), len(self._output), event.index)
        item.seal = Seal(calls={call: event.signature or ""})
        yield from self._add(item)
        yield from self._close()

    def _show(self, data: Any) -> Iterator[Change]:
        """What neutral events have no word for, as chat completions say it: refusals, and images that a model drew."""
        for choice in map(as_dict, as_list(as_dict(data).get("choices"))):
            delta = as_dict(choice.get("delta"))
            yield from self._say(as_text(delta.get("refusal")) or "", choice.get("index", 0), "refusal")
            for image in map(as_dict, as_list(delta.get("images"))):
                url = as_text(as_dict(image.get("image_url")).get("url")) or ""
                head, _, content = url.partition(";base64,")
                if content and head.startswith("data:"):
                    yield from self._draw(content)

    def _draw(self, content: str) -> Iterator[Change]:
        yield from self._close()
        item = ImageItem(self._name("ig"), len(self._output), content)
        yield from self._add(item)
        yield from item.close("completed")

    def _close(self) -> Iterator[Change]:
        """Ends the item that grows."""
        item, self._item = self._item, None
        if item is not None:
            yield from item.close(self._item_status)

    def _close_all(self) -> Iterator[Change]:
        yield from self._close()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            yield from call.close(self._item_status)

    # --- the response ---

    @property
    def _item_status(self) -> str:
        return "completed" if self._reason is None and self._error is None else "incomplete"

    @property
    def _status(self) -> str:
        if self._error is not None:
            return "failed"
        return "completed" if self._reason is None else "incomplete"

    def response(self) -> dict[str, Any]:
        """The whole response, as it stands at the end."""
        return self._write(self._status)

    def _write(self, status: str) -> dict[str, Any]:
        said = {name: self._request.get(name) for name in _DEFAULTS}
        incomplete = {"reason": self._reason} if status == "incomplete" else None
        return {
            "id": self._id if self._id.startswith("resp_") else f"resp_{self._id}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None if self._error is None else describe_failure(self._error),
            "incomplete_details": incomplete,
            "model": self._model,
            "output": [dict(item.item) for item in self._output] if status != "in_progress" else [],
            "store": False,
            **{name: _DEFAULTS[name] if value is None else value for name, value in said.items()},
            "usage": None if self._usage is None or status == "in_progress" else write_usage(self._usage),
        }


def describe_failure(error: GatewayError) -> dict[str, Any]:
    """The error of a response that failed."""
    said = describe(error)
    return {"code": said["code"] or said["type"], "message": said["message"]}


def describe_event(error: GatewayError) -> dict[str, Any]:
    """The fields of an ``error`` event: documented at the top; openai-python raises on a nested `error`."""
    said = describe(error)
    return {name: said[name] for name in ("code", "message", "param")} | {"error": said}


def write_usage(usage: Usage) -> dict[str, Any]:
    """Usage as a response says it."""
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
