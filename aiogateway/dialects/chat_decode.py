"""Chat answers as OpenAI-compatible servers write them, to neutral events; whole and in chunks.

What neutral events can't say (logprobs, refusals, audio, fingerprints) comes as `Opaque`: a chunk that holds nothing
else. The oddities handled here are real servers': tool-call deltas without index, or all with index 0; ids repeated or
absent; a name that comes after its id; arguments as an object; a finish reason repeated, or empty in every chunk;
content as a list of parts with thoughts among them (Mistral); usage and errors below ``x_groq``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from aiogateway.dialects.chat_messages import DIALECT, read_seal
from aiogateway.dialects.chat_turns import write_arguments
from aiogateway.dialects.failures import find_error, find_status, make_failure
from aiogateway.dialects.openai_stream import DONE
from aiogateway.dialects.payload import as_count, as_dict, as_list, as_text, is_damaged, parse_object
from aiogateway.dialects.usage import read_usage
from aiogateway.neutral import Begin, Event, Failure, Finish, Opaque, Reasoning, Text, ToolCall, UsageReport
from aiogateway.wire import sse

log = logging.getLogger(__name__)

_REASONS = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",  # Mistral's word for the context's end
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_CHUNK = frozenset({"id", "object", "created", "model", "choices", "usage", "error"})
_CHOICE = frozenset({"index", "delta", "message", "text", "finish_reason"})
_THOUGHTS = frozenset({"reasoning_content", "reasoning", "thinking_blocks"})
_DELTA = frozenset({"role", "content", "tool_calls", "function_call"}) | _THOUGHTS


def read_answer(body: bytes) -> Sequence[Event]:
    """The events of a unary answer. Raises ValueError when it is malformed."""
    return list(AnswerReader().read(parse_object(body), "message"))


class ChatDecoder:
    """One stream's SSE events to neutral ones."""

    part = "delta"

    def __init__(self) -> None:
        self._reader = AnswerReader()
        self._warned = False

    def feed(self, frame: bytes) -> Iterator[Event]:
        """Raises ValueError for a malformed frame."""
        data = sse.data_of(frame).strip()
        if not data or data == DONE:
            return iter(())
        chunk = parse_object(data)
        if not self._warned and is_damaged(data):
            self._warned = True
            log.warning("a provider's stream holds text that is no Unicode; it was replaced by U+FFFD")
        return self._reader.read(chunk, self.part)


class AnswerReader:
    """Remembers of one answer what its parts don't repeat."""

    def __init__(self) -> None:
        self._begun = False
        self._said: dict[str, Any] = {}
        self._calls: dict[int, list[_Call]] = {}
        self._thinking: set[int] = set()  # choices with a thought that has begun
        self._finished: set[int] = set()

    def read(self, chunk: dict[str, Any], part: str) -> Iterator[Event]:
        """`part` is where a choice keeps its message: ``delta``, ``message``, or ``text`` for a bare string."""
        error = find_error(chunk)
        if error is not None:
            status = find_status(chunk, error)
            yield Failure(make_failure(error, status=status, body=b""))
            return
        if not self._begun:
            self._begun = True
            created = as_count(chunk.get("created")) or None
            yield Begin(as_text(chunk.get("id")), as_text(chunk.get("model")), created)
        # Servers repeat these in every chunk; once is enough.
        fields = {
            name: value
            for name, value in chunk.items()
            if name not in _CHUNK and value not in (None, self._said.get(name))
        }
        if fields:
            self._said |= fields
            yield Opaque(DIALECT, fields)
        for choice in as_list(chunk.get("choices")):
            yield from self._read_choice(as_dict(choice), part, chunk)
        usage = read_usage(chunk.get("usage") or as_dict(chunk.get("x_groq")).get("usage"))
        if usage is not None:
            yield UsageReport(usage)

    def _read_choice(self, choice: dict[str, Any], part: str, chunk: dict[str, Any]) -> Iterator[Event]:
        index = as_count(choice.get("index"))
        delta = {"content": choice.get("text")} if part == "text" else as_dict(choice.get(part))
        if not _THOUGHTS.isdisjoint(delta):
            yield from self._read_thoughts(delta, index, whole=part == "message")
        yield from self._read_delta(delta, index)
        fields = {name: value for name, value in choice.items() if name not in _CHOICE and value is not None}
        rest = {name: value for name, value in delta.items() if name not in _DELTA and value not in (None, [], "")}
        if fields or rest:
            yield Opaque(DIALECT, {"choices": [{"index": index, "delta": rest, **fields}]})
        raw = as_text(choice.get("finish_reason"))
        if not raw or index in self._finished:
            return
        self._finished.add(index)
        for number, call in enumerate(self._calls.get(index, ())):
            if not call.opened:  # its name never came
                yield ToolCall(number, call.waiting, call.id, "", index)
        if raw == "error":  # OpenRouter's way of ending a broken answer; the error stands beside the choices
            error = as_dict(chunk.get("error")) or {"message": "the provider ended its answer with an error"}
            yield Failure(make_failure(error, status=find_status(chunk, error), body=b""))
        else:
            yield Finish(_REASONS.get(raw, "stop"), index, raw)

    def _read_thoughts(self, delta: dict[str, Any], index: int, *, whole: bool) -> Iterator[Event]:
        """Text, and in ``thinking_blocks`` what seals it. A block repeats the text, which counts once; in a whole
        message only the blocks say where one thought ends and the next begins.
        """
        blocks = [as_dict(block) for block in as_list(delta.get("thinking_blocks"))]
        thought = as_text(delta.get("reasoning_content")) or as_text(delta.get("reasoning"))
        if thought and not (whole and blocks):
            self._thinking.add(index)
            yield Reasoning(thought, index)
        for block in blocks:
            signature, sealed = as_text(block.get("signature")) or None, as_text(block.get("data")) or None
            text = "" if index in self._thinking or sealed else as_text(block.get("thinking")) or ""
            if signature or sealed or text:
                yield Reasoning(text, index, signature, sealed)
            if signature:
                self._thinking.discard(index)

    def _read_delta(self, delta: dict[str, Any], index: int) -> Iterator[Event]:
        content = delta.get("content")
        for part in content if isinstance(content, list) else (content,):
            yield from _read_part(part, index)
        for call in as_list(delta.get("tool_calls")):
            yield from self._read_call(as_dict(call), index)
        function = delta.get("function_call")
        if isinstance(function, dict):
            yield from self._read_call({"index": -1, "function": function}, index)

    def _read_call(self, delta: dict[str, Any], index: int) -> Iterator[Event]:
        custom = as_dict(delta.get("custom"))
        function = custom or as_dict(delta.get("function"))
        name = as_text(function.get("name")) or None
        number, call = self._find_call(delta, name, index)
        call.id = call.id or as_text(delta.get("id")) or None
        seal = read_seal(delta)
        arguments = write_arguments(function.get("input" if custom else "arguments"))
        if call.opened:
            if arguments or seal:
                yield ToolCall(number, arguments, index=index, signature=seal, custom=bool(custom))
            return
        call.waiting += arguments
        call.seal = seal or call.seal
        if name:
            call.opened = True
            yield ToolCall(number, call.waiting, call.id, name, index, call.seal, bool(custom))

    def _find_call(self, delta: dict[str, Any], name: str | None, index: int) -> tuple[int, _Call]:
        """Which call a delta goes on with, or a new one."""
        calls = self._calls.setdefault(index, [])
        place, identity = delta.get("index"), as_text(delta.get("id")) or None
        for number in range(len(calls) - 1, -1, -1):
            call = calls[number]
            if isinstance(place, int):
                if call.place == place:
                    if identity and call.id and identity != call.id:
                        break  # Gemini's compatible endpoint gives all parallel calls the index 0
                    return number, call
            elif identity:
                if call.id == identity:
                    return number, call
            elif not (name and call.opened):
                return number, call
            else:
                break
        calls.append(_Call(place))
        return len(calls) - 1, calls[-1]


def _read_part(part: Any, index: int) -> Iterator[Event]:
    """A message's text, or a part of one that is a list: so Mistral's models answer when they think (``ThinkChunk`` and
    ``TextChunk`` in its openapi.yaml).
    """
    if isinstance(part, str):
        if part:
            yield Text(part, index)
        return
    thought = as_dict(part).get("thinking")
    pieces = (as_text(as_dict(each).get("text")) or "" for each in as_list(thought))
    if told := as_text(thought) or "".join(pieces):
        yield Reasoning(told, index)
    if text := as_text(as_dict(part).get("text")):
        yield Text(text, index)


class _Call:
    __slots__ = ("id", "opened", "place", "seal", "waiting")

    def __init__(self, place: Any) -> None:
        self.place = place
        self.id: str | None = None
        self.seal: str | None = None
        self.opened = False
        self.waiting = ""
