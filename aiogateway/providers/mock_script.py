"""What the mock provider says: neutral events made from the request alone, so the same request has the same answer."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from aiogateway.dialects.payload import as_dict, as_list, as_text
from aiogateway.errors import RequestError
from aiogateway.neutral import (
    Begin,
    ChatRequest,
    EmbedRequest,
    Event,
    Finish,
    Message,
    Text,
    TextPart,
    Tool,
    ToolCall,
    UsageReport,
    Vectors,
)
from aiogateway.types import Usage

DIMENSIONS = 16
_MOST = 100_000  # tokens of one answer, numbers of one vector
_DEPTH = 32
_WORDS = re.compile(r"\s*\S+|\s+$")
_SAMPLES: Mapping[str, Any] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "null": None}


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's options, by name. Delays are milliseconds; the counts of `_after` are tokens of a stream."""

    mock_text: str | None = None
    mock_tokens: int | None = None
    mock_tool: str | None = None
    mock_delay_ms: int = 0
    mock_first_delay_ms: int = 0
    mock_status: int | None = None
    mock_cut_after: int | None = None
    mock_error_after: int | None = None


def read_wishes(options: Mapping[str, Any]) -> Wishes:
    """Raises RequestError for what is no number, or one that makes no sense."""
    try:
        wishes = msgspec.convert(options, Wishes, strict=False)
    except msgspec.ValidationError as error:
        raise RequestError(f"the mock provider can't do that: {error}", param="mock") from error
    for name in Wishes.__struct_fields__:
        value = getattr(wishes, name)
        if isinstance(value, int) and not 0 <= value <= _MOST:
            raise RequestError(f"{name} must be 0 to {_MOST}", param=name)
    if wishes.mock_status is not None and not 400 <= wishes.mock_status <= 599:
        raise RequestError("mock_status is an error status: 400 to 599", param="mock_status")
    return wishes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One choice's worth: `tokens` of text, or of the arguments for `tool`. `prompt` counts words."""

    tokens: tuple[str, ...]
    reason: str
    prompt: int
    tool: str | None = None


def make_answer(request: ChatRequest, wishes: Wishes) -> Answer:
    """A tool call if one is asked for, a sample of the schema if that is, else an echo of the last user message."""
    prompt = sum(len(text.split()) for message in request.messages for text in _texts(message))
    tool = choose_tool(request, wishes)
    if tool is not None:
        schema = next((known.schema for known in request.tools if isinstance(known, Tool) and known.name == tool), None)
        return Answer(
            tokens=_cut(orjson.dumps(sample(schema or {})).decode()), reason="tool_calls", prompt=prompt, tool=tool
        )
    tokens = _pick_tokens(_choose_text(request, wishes), wishes.mock_tokens)
    limit = request.max_tokens
    if limit is not None and limit < len(tokens):
        return Answer(tokens=tokens[: max(0, limit)], reason="length", prompt=prompt)
    return Answer(tokens=tokens, reason="stop", prompt=prompt)


def choose_tool(request: ChatRequest, wishes: Wishes) -> str | None:
    """`mock_tool`, or the tool that the request insists on."""
    if wishes.mock_tool:
        return wishes.mock_tool
    choice = request.tool_choice
    if choice is None:
        return None
    if choice.mode == "named":
        return choice.name
    return request.tools[0].name if choice.mode == "required" and request.tools else None


def _choose_text(request: ChatRequest, wishes: Wishes) -> str:
    if wishes.mock_text is not None:
        return wishes.mock_text
    wanted = request.response_format
    if wanted is not None and wanted.kind != "text":
        return orjson.dumps(sample(wanted.schema or {"type": "object"})).decode()
    said = [text for message in request.messages if message.role == "user" for text in _texts(message)]
    return f"You said: {said[-1]}" if said else "Nobody said anything."


def _texts(message: Message) -> Iterator[str]:
    for part in message.parts:
        if isinstance(part, TextPart):
            yield part.text


def _pick_tokens(text: str, count: int | None) -> tuple[str, ...]:
    """The text's words with the space before them; exactly `count` if given, by going round."""
    words = _WORDS.findall(text)
    if count is None:
        return tuple(words)
    words = words or ["mock"]
    again = [word if word[0].isspace() else f" {word}" for word in words]
    return tuple(words[place] if place < len(words) else again[place % len(words)] for place in range(count))


def _cut(arguments: str) -> tuple[str, ...]:
    return tuple(arguments[start : start + 8] for start in range(0, len(arguments), 8))


def sample(schema: Any, depth: int = 0) -> Any:
    """A value that fits the simple kind of JSON schema that tools have; what is no schema is none of a string."""
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return "text"
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if values := as_list(schema.get("enum")):
        return values[0]
    for name in ("anyOf", "oneOf"):
        if schemas := as_list(schema.get(name)):
            return sample(schemas[0], depth + 1)
    kinds = as_list(schema.get("type")) or [schema.get("type", "object")]
    if kinds[0] == "object":
        return {name: sample(field, depth + 1) for name, field in as_dict(schema.get("properties")).items()}
    if kinds[0] == "array":
        return [sample(schema.get("items"), depth + 1)]
    return _SAMPLES.get(as_text(kinds[0]) or "", "text")


def chat_events(request: ChatRequest, wishes: Wishes, identity: str) -> Iterator[Event]:
    """The events of one answer; the choices' tokens take turns, as they do at OpenAI. Raises RequestError at once."""
    answer = make_answer(request, wishes)
    count = 1 if request.n is None else request.n
    if count < 1 or count * max(1, len(answer.tokens)) > _MOST:
        raise RequestError(f"the mock provider says at most {_MOST} tokens, and at least one choice", param="n")
    return _play(request, answer, range(count), identity)


def _play(request: ChatRequest, answer: Answer, choices: Sequence[int], identity: str) -> Iterator[Event]:
    yield Begin(id=identity, model=request.model)
    if answer.tool is not None:
        for index in choices:
            yield ToolCall(0, id=make_id("call", identity + str(index)), name=answer.tool, index=index)
    for token in answer.tokens:
        for index in choices:
            yield Text(token, index) if answer.tool is None else ToolCall(0, token, index=index)
    for index in choices:
        yield Finish(answer.reason, index, answer.reason)
    yield UsageReport(Usage(input=answer.prompt, output=len(answer.tokens) * len(choices)))


def is_token(event: Event) -> bool:
    """Whether an event is one of those that the delays and the `_after` options count."""
    return isinstance(event, Text) or (isinstance(event, ToolCall) and event.name is None)


def embed_events(request: EmbedRequest) -> Sequence[Event]:
    """Unit vectors that depend on the text alone."""
    size = DIMENSIONS if request.dimensions is None else request.dimensions
    if not 1 <= size <= _MOST:
        raise RequestError(f"dimensions must be 1 to {_MOST}", param="dimensions")
    vectors = tuple(_embed(text, size) for text in request.inputs)
    words = sum(len(text.split()) for text in request.inputs)
    return (Begin(model=request.model), Vectors(vectors), UsageReport(Usage(input=words)))


def _embed(text: str, size: int) -> tuple[float, ...]:
    data = hashlib.shake_128(text.encode("utf-8", "replace")).digest(size)
    numbers = [byte / 127.5 - 1 for byte in data]
    length = sum(number * number for number in numbers) ** 0.5 or 1.0
    return tuple(number / length for number in numbers)


def make_id(prefix: str, seed: bytes | str) -> str:
    """An id that looks like OpenAI's and is the same for the same seed."""
    data = seed.encode() if isinstance(seed, str) else seed
    return f"{prefix}-mock{zlib.crc32(data):08x}"
