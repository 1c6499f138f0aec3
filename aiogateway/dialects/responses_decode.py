"""Responses answers to neutral events; whole and as typed events.

Items are told apart by their place in the output: hosts exist that give an item another id in every event (GitHub
Copilot), leave deltas out (an item may come whole, in ``response.output_item.done``), or say all only at the end. What
was said once is not said again.

Refusals and log probabilities come as `Opaque` pieces of OpenAI's chat, where clients look for them; items of built-in
tools come as this dialect's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from aiogateway.dialects.chat_messages import DIALECT as CHAT
from aiogateway.dialects.failures import find_error, find_status, make_failure
from aiogateway.dialects.payload import as_count, as_dict, as_list, as_text, parse_object
from aiogateway.dialects.responses_parts import DIALECT
from aiogateway.dialects.responses_seals import mark
from aiogateway.dialects.usage import read_usage
from aiogateway.errors import UpstreamStatus
from aiogateway.neutral import Begin, Event, Failure, Finish, Opaque, Reasoning, Text, ToolCall, UsageReport
from aiogateway.wire import sse

_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_CUTS = {"max_output_tokens": "length", "content_filter": "content_filter"}
_ENDINGS = frozenset({"response.completed", "response.incomplete"})
_BEGINNINGS = frozenset({"response.created", "response.in_progress", "response.queued"})
_CALL_DELTAS = frozenset({"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"})
_THOUGHTS = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})


def read_answer(body: bytes) -> Sequence[Event]:
    """The events of a unary response. Raises ValueError when it is malformed."""
    response = parse_object(body)
    if not isinstance(response.get("output"), list):
        raise ValueError("not a response")
    return list(AnswerReader().read_response(response))


def find_failure(event: dict[str, Any], data: bytes) -> UpstreamStatus | None:
    """The error that an event stands for; `data` is its JSON."""
    if event.get("type") == "response.failed":
        error = as_dict(as_dict(event.get("response")).get("error"))
    elif event.get("type") == "error":
        fields = ("code", "message", "param")
        error = as_dict(event.get("error")) or {field: event[field] for field in fields if field in event}
    else:
        bare = find_error(event)
        return None if bare is None else make_failure(bare, status=find_status(event, bare), body=data)
    return _fail(error, event)


def _fail(error: dict[str, Any], event: dict[str, Any]) -> UpstreamStatus:
    """Should it still become an error status, its body has to look like one."""
    return make_failure(error, status=find_status(event, error), body=orjson.dumps({"error": error}))


class ResponseDecoder:
    """One stream's SSE events to neutral ones."""

    def __init__(self) -> None:
        self._reader = AnswerReader()

    def feed(self, frame: bytes) -> Iterator[Event]:
        """Raises ValueError for a malformed frame."""
        data = sse.data_of(frame).strip()
        if not data or data == b"[DONE]":
            return
        event = parse_object(data)
        failure = find_failure(event, data) if b'"error"' in data else None
        if failure is not None:
            yield Failure(failure)
            return
        yield from self._reader.read(event)


class AnswerReader:
    """Remembers of one answer what was said of it."""

    def __init__(self) -> None:
        self._begun = False
        self._items: dict[int, _Item] = {}
        self._calls = 0
        self._thoughts = 0

    def read(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """The events of one typed event; of a kind that we don't know there are none, its item still comes whole."""
        kind = as_text(event.get("type")) or ""
        if kind == "response.output_text.delta":
            yield from self._add_text(event)
        elif kind in _CALL_DELTAS:
            yield from self._add_arguments(event)
        elif kind in _THOUGHTS:
            yield from self._add_thought(event, kind == "response.reasoning_text.delta")
        elif kind == "response.refusal.delta":
            yield from self._add_refusal(event)
        elif kind == "response.output_item.added":
            yield from self._open(_place(event), as_dict(event.get("item")))
        elif kind == "response.output_item.done":
            yield from self._close(_place(event), as_dict(event.get("item")))
        elif kind in _BEGINNINGS:
            yield from self._begin(as_dict(event.get("response")))
        elif kind in _ENDINGS:
            yield from self.read_response(as_dict(event.get("response")), ended=kind)

    def read_response(self, response: Mapping[str, Any], ended: str = "") -> Iterator[Event]:
        """What of a whole response is new. `ended` is the event that it came in."""
        yield from self._begin(response)
        if not self._items or not all(known.closed for known in self._items.values()):
            for place, item in enumerate(map(as_dict, as_list(response.get("output")))):
                yield from self._close(self._match(place, item), item)
        usage = read_usage(response.get("usage"))
        if usage is not None:
            yield UsageReport(usage)
        status = ended.removeprefix("response.") or as_text(response.get("status")) or "completed"
        if status not in ("completed", "incomplete"):
            error = as_dict(response.get("error")) or {"message": f"the response is {status}"}
            yield Failure(_fail(error, {}))
            return
        raw = as_text(as_dict(response.get("incomplete_details")).get("reason")) or status
        if status == "incomplete":
            yield Finish(_CUTS.get(raw, "length"), raw=raw)
        else:
            yield Finish("tool_calls" if self._calls else "stop", raw=raw)

    def _begin(self, response: Mapping[str, Any]) -> Iterator[Event]:
        if not self._begun:
            self._begun = True
            created = response.get("created_at")
            if isinstance(created, float) and created.is_integer():  # the reference says "number"
                created = int(created)
            yield Begin(as_text(response.get("id")), as_text(response.get("model")), as_count(created) or None)

    # --- pieces ---

    def _find(self, place: int) -> _Item:
        return self._items.setdefault(place, _Item())

    def _add_text(self, event: Mapping[str, Any]) -> Iterator[Event]:
        text = as_text(event.get("delta"))
        if not text:
            return
        item = self._find(_place(event))
        item.pieces.append(text)
        yield Text(text)
        if logprobs := as_list(event.get("logprobs")):
            yield _show({}, {"logprobs": {"content": logprobs}})

    def _add_refusal(self, event: Mapping[str, Any]) -> Iterator[Event]:
        text = as_text(event.get("delta"))
        if text:
            self._find(_place(event)).refused += text
            yield _show({"refusal": text}, {})

    def _add_thought(self, event: Mapping[str, Any], raw: bool) -> Iterator[Event]:
        """Parts of a thought are paragraphs, and so are thoughts in a row that no seal divides."""
        text = as_text(event.get("delta"))
        if not text:
            return
        item = self._find(_place(event))
        part = (raw, as_count(event.get("content_index" if raw else "summary_index")))
        if item.part is not None and item.part != part:
            item.pieces.append("\n\n")
            yield Reasoning("\n\n")
        item.part = part
        item.pieces.append(text)
        yield Reasoning(text)

    def _add_arguments(self, event: Mapping[str, Any]) -> Iterator[Event]:
        item, text = self._find(_place(event)), as_text(event.get("delta"))
        if not text:
            return
        item.pieces.append(text)
        if item.call is not None:  # else its name has yet to come
            yield ToolCall(item.call, text, custom=item.kind == "custom_tool_call")

    # --- items ---

    def _match(self, place: int, item: Mapping[str, Any]) -> int:
        """Where an item of the final response stood in the stream, which may have counted others."""
        names = _names(item)
        return next((at for at, known in self._items.items() if not names.isdisjoint(known.names)), place)

    def _open(self, place: int, item: Mapping[str, Any]) -> Iterator[Event]:
        known = self._find(place)
        known.kind = as_text(item.get("type")) or "message"
        known.names |= _names(item)
        field = _CALLS.get(known.kind)
        if field is None or known.call is not None:
            return
        known.call, self._calls = self._calls, self._calls + 1
        if not known.pieces:
            known.pieces.append(as_text(item.get(field)) or "")
        yield ToolCall(
            known.call,
            known.said,
            as_text(item.get("call_id")) or as_text(item.get("id")),
            as_text(item.get("name")) or "",
            custom=known.kind == "custom_tool_call",
        )

    def _close(self, place: int, item: Mapping[str, Any]) -> Iterator[Event]:
        """An item came whole."""
        known = self._find(place)
        if known.closed:
            return
        yield from self._open(place, item)
        known.closed = True
        if known.call is not None:
            rest = _rest(as_text(item.get(_CALLS[known.kind])) or "", known.said)
            if rest:
                yield ToolCall(known.call, rest, custom=known.kind == "custom_tool_call")
        elif known.kind == "message":
            yield from self._close_message(known, as_list(item.get("content")))
        elif known.kind == "reasoning":
            yield from self._close_thought(known, item)
        else:
            yield Opaque(DIALECT, {"item": dict(item)})

    def _close_message(self, known: _Item, content: Sequence[Any]) -> Iterator[Event]:
        parts = [as_dict(part) for part in content]
        text = _rest("".join(as_text(part.get("text")) or "" for part in parts), known.said)
        if text:
            yield Text(text)
        refusal = _rest("".join(as_text(part.get("refusal")) or "" for part in parts), known.refused)
        if refusal:
            yield _show({"refusal": refusal}, {})
        annotations = [annotation for part in parts for annotation in as_list(part.get("annotations"))]
        if annotations:
            yield Opaque(DIALECT, {"annotations": annotations})

    def _close_thought(self, known: _Item, item: Mapping[str, Any]) -> Iterator[Event]:
        parts = [as_dict(part) for field in ("summary", "content") for part in as_list(item.get(field))]
        text = "" if known.said else "\n\n".join(as_text(part.get("text")) or "" for part in parts)
        content = as_text(item.get("encrypted_content")) or None
        identity = as_text(item.get("id"))
        seal = None if content is None else mark(content, identity)
        if seal is not None and not text and not known.said:
            yield Reasoning("", sealed=seal, id=identity)
        elif text or seal is not None:
            yield Reasoning(text, signature=seal, id=identity)


class _Item:
    """What was said of one item."""

    __slots__ = ("call", "closed", "kind", "names", "part", "pieces", "refused")

    def __init__(self) -> None:
        self.kind = ""
        self.call: int | None = None
        self.closed = False
        self.names: set[str] = set()
        self.part: tuple[bool, int] | None = None
        self.pieces: list[str] = []
        self.refused = ""

    @property
    def said(self) -> str:
        return "".join(self.pieces)


def _place(event: Mapping[str, Any]) -> int:
    return as_count(event.get("output_index"))


def _names(item: Mapping[str, Any]) -> set[str]:
    return {name for name in (item.get("id"), item.get("call_id")) if isinstance(name, str)}


def _rest(whole: str, said: str) -> str:
    """What of a text has yet to be said; nothing where it goes on from something else."""
    return whole.removeprefix(said) if whole.startswith(said) else ""


def _show(delta: dict[str, Any], fields: dict[str, Any]) -> Opaque:
    return Opaque(CHAT, {"choices": [{"index": 0, "delta": delta, **fields}]})
