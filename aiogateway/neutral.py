"""The hub of translation: requests and answers that belong to no provider.

A dialect reads its wire into these and writes them out again. What it can't express it carries as opaque, where it can
come back, or names in `Written.dropped`; nothing is lost in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .errors import GatewayError
from .types import Usage


class Value(msgspec.Struct, frozen=True):
    """Base of all neutral values."""


# --- requests ---------------------------------------------------------------------------------------------------


Cache = Mapping[str, Any] | None
"""A cache mark (``{"type": "ephemeral"}``) on a part or a tool: the prompt up to here is to be cached. Anthropic's
shape, which OpenAI-shaped clients send too."""


class TextPart(Value, frozen=True):
    text: str
    cache: Cache = None


class ImagePart(Value, frozen=True):
    """Either `url`, or base64 `data` with its `media_type`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None
    cache: Cache = None


class FilePart(Value, frozen=True):
    """A document: `url`, or base64 `data` with its `media_type`, or `id` of one uploaded to the provider before.

    Plain text comes as `data` too, with the media type text/plain.
    """

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    name: str | None = None
    id: str | None = None
    cache: Cache = None


class ToolCallPart(Value, frozen=True):
    """A call the assistant made; `arguments` is JSON text, as models write it (plain text for a `custom` tool).

    `signature` is the provider's seal over it, to be sent back (Gemini).
    """

    id: str
    name: str
    arguments: str
    signature: str | None = None
    custom: bool = False
    cache: Cache = None


class ToolResultPart(Value, frozen=True):
    """The answer to the call `id`. `text` is all of its text; `parts` is the whole answer when it is more than that
    (images, documents).
    """

    id: str
    text: str
    parts: tuple[TextPart | ImagePart | FilePart, ...] = ()
    error: bool = False
    cache: Cache = None


class ReasoningPart(Value, frozen=True):
    """Thoughts of an earlier assistant turn; `signature` is the provider's seal over them.

    `sealed` are thoughts that only the provider can read (redacted_thinking, encrypted_content), then without text.
    `id` is the provider's name for them, where it has one.
    """

    text: str
    signature: str | None = None
    sealed: str | None = None
    id: str | None = None


class OpaquePart(Value, frozen=True):
    """A content part only `dialect` understands."""

    dialect: str
    data: Any


Part = TextPart | ImagePart | FilePart | ToolCallPart | ToolResultPart | ReasoningPart | OpaquePart


class Message(Value, frozen=True):
    """`role` is system, user, assistant or tool (developer is system)."""

    role: str
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(Value, frozen=True):
    """A function the model may call; `schema` is JSON schema. A `custom` tool takes plain text instead of JSON."""

    name: str
    description: str | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None
    custom: bool = False
    cache: Cache = None


class OpaqueTool(Value, frozen=True):
    """A tool that the provider runs by itself (web search, …), as only `dialect` writes it. `name` is for messages."""

    dialect: str
    name: str
    data: Mapping[str, Any]


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


class Thinking(Value, frozen=True, kw_only=True):
    """How much the model is to think before it answers: `effort` (none, minimal, low, medium, high, xhigh, max) or a
    `budget` in tokens, 0 for not at all; whichever the client said. `summary`: how the thoughts are to be told.
    """

    effort: str | None = None
    budget: int | None = None
    summary: str | None = None


class ChatRequest(Value, frozen=True, kw_only=True):
    """A chat. `extra` holds the client's other fields under their own names, as `dialect` spells them: a dialect that
    writes this request takes those it knows by the same name and meaning, and drops the rest by name.
    """

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    dialect: str = ""
    tools: tuple[Tool | OpaqueTool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    thinking: Thinking | None = None
    response_format: ResponseFormat | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    user: str | None = None
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
    """A piece of choice `index`'s thoughts; `signature` comes with a thought's last piece, and ends it.

    `sealed` is a whole thought that only the provider can read; `id` its name for it.
    """

    text: str
    index: int = 0
    signature: str | None = None
    sealed: str | None = None
    id: str | None = None


class ToolCall(Value, frozen=True):
    """A piece of the `call`-th tool call of choice `index`; `id` and `name` come with its first piece only.

    `signature` is the provider's seal over the call, to be sent back with it; it may come with any piece.
    """

    call: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None
    index: int = 0
    signature: str | None = None
    custom: bool = False


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

    error: GatewayError


class Vectors(Value, frozen=True):
    """The answer to an EmbedRequest, in the order of its inputs."""

    vectors: tuple[tuple[float, ...], ...]


class Opaque(Value, frozen=True):
    """An event only `dialect` understands."""

    dialect: str
    data: Any


Event = Begin | Text | Reasoning | ToolCall | Finish | UsageReport | Failure | Vectors | Opaque


class Envelope(Value, frozen=True, kw_only=True):
    """What an encoder puts around an answer when the provider did not say it. `created` is Unix seconds, `request` the
    client's body, which some wires repeat in the answer.
    """

    id: str
    model: str
    created: int
    include_usage: bool = False
    encoding: str = "float"
    request: Mapping[str, Any] = {}
