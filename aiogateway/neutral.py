"""The hub of translation: requests and answers that belong to no provider.

A dialect reads its wire into these and writes them out again. What it can't express it carries as opaque, where it can
come back, or names in `Written.dropped`; nothing is lost in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .errors import UpstreamError
from .types import Usage


class Value(msgspec.Struct, frozen=True):
    """Base of all neutral values."""


# --- requests ---------------------------------------------------------------------------------------------------


class TextPart(Value, frozen=True):
    text: str


class ImagePart(Value, frozen=True):
    """Either `url`, or base64 `data` with its `media_type`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None


class ToolCallPart(Value, frozen=True):
    """A call the assistant made; `arguments` is JSON text, as models write it."""

    id: str
    name: str
    arguments: str


class ToolResultPart(Value, frozen=True):
    """The answer to the call `id`."""

    id: str
    text: str


class ReasoningPart(Value, frozen=True):
    """Thoughts of an earlier assistant turn; `signature` is the provider's seal over them."""

    text: str
    signature: str | None = None


class OpaquePart(Value, frozen=True):
    """A content part only `dialect` understands."""

    dialect: str
    data: Any


Part = TextPart | ImagePart | ToolCallPart | ToolResultPart | ReasoningPart | OpaquePart


class Message(Value, frozen=True):
    """`role` is system, user, assistant or tool (developer is system)."""

    role: str
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(Value, frozen=True):
    """A function the model may call; `schema` is JSON schema."""

    name: str
    description: str | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(Value, frozen=True):
    """`mode` is auto, none, required or named (then `name`)."""

    mode: str
    name: str | None = None


class ResponseFormat(Value, frozen=True):
    """`kind` is text, json or schema (then `schema`, and `name` where the caller gave one)."""

    kind: str
    schema: Mapping[str, Any] | None = None
    name: str | None = None
    strict: bool | None = None


class ChatRequest(Value, frozen=True, kw_only=True):
    """A chat. `extra` holds the client's other fields under their own names."""

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    n: int | None = None
    include_usage: bool = False
    extra: Mapping[str, Any] = {}


class EmbedRequest(Value, frozen=True, kw_only=True):
    """Texts to embed. `encoding` is float or base64 (of little-endian float32)."""

    model: str
    inputs: tuple[str, ...]
    dimensions: int | None = None
    encoding: str = "float"
    extra: Mapping[str, Any] = {}


NeutralRequest = ChatRequest | EmbedRequest


class Written(Value, frozen=True):
    """A request in a dialect's own wire, and the client's parameters that found no place in it."""

    body: dict[str, Any]
    dropped: tuple[str, ...] = ()


# --- answers ----------------------------------------------------------------------------------------------------


class Begin(Value, frozen=True):
    """The answer's envelope; comes first, at most once."""

    id: str | None = None
    model: str | None = None
    created: int | None = None


class Text(Value, frozen=True):
    """A piece of choice `index`'s text."""

    text: str
    index: int = 0


class Reasoning(Value, frozen=True):
    """A piece of choice `index`'s thoughts; `signature` comes with the last piece."""

    text: str
    index: int = 0
    signature: str | None = None


class ToolCall(Value, frozen=True):
    """A piece of the `call`-th tool call of choice `index`; `id` and `name` come with its first piece only."""

    call: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None
    index: int = 0


class Finish(Value, frozen=True):
    """Choice `index` ended. `reason`: stop, length, tool_calls or content_filter; `raw`: the provider's own word."""

    reason: str
    index: int = 0
    raw: str | None = None


class UsageReport(Value, frozen=True):
    """Tokens so far; the last one counts."""

    usage: Usage


class Failure(Value, frozen=True):
    """The provider said in-band that it failed."""

    error: UpstreamError


class Vectors(Value, frozen=True):
    """The answer to an EmbedRequest, in the order of its inputs."""

    vectors: tuple[tuple[float, ...], ...]


class Opaque(Value, frozen=True):
    """An event only `dialect` understands."""

    dialect: str
    data: Any


Event = Begin | Text | Reasoning | ToolCall | Finish | UsageReport | Failure | Vectors | Opaque


class Envelope(Value, frozen=True, kw_only=True):
    """What an encoder puts around an answer when the provider did not say it. `created` is Unix seconds."""

    id: str
    model: str
    created: int
    include_usage: bool = False
    encoding: str = "float"
