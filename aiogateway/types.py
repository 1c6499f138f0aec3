"""The values that every floor speaks. Frozen, but for `Call` and `Attempt`, which only the engine writes to.

Times are seconds: `received` is wall-clock (Unix), everything else is measured on the monotonic clock from `received`.
"""

from __future__ import annotations

import enum
import hmac
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .errors import Headers as Headers

RawHeaders = Iterable[tuple[bytes, bytes]]
"""The same as bytes, as they travel."""

GATEWAY_PREFIXES = ("x-portkey-", "x-aiogateway-")
"""Headers that are spoken to or by the gateway, and never passed on."""

HOP_BY_HOP = frozenset(
    (
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers that belong to one connection (RFC 9110 7.6.1, RFC 9113 8.2.2); `Connection` may name more."""


class Endpoint(enum.StrEnum):
    """What is asked of a model; the value is the path after ``/v1/``."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"
    COUNT_TOKENS = "messages/count_tokens"


class Capability(enum.StrEnum):
    """What a provider can do. A capability that is not listed is not promised, never guessed."""

    STREAM = "stream"
    STREAM_USAGE = "stream_usage"  # usage comes in a stream when `stream_options.include_usage` asks for it
    TOOLS = "tools"
    PARALLEL_TOOLS = "parallel_tools"
    IMAGES = "images"
    STRUCTURED_OUTPUT = "structured_output"
    REASONING = "reasoning"
    EMBEDDINGS = "embeddings"
    USAGE = "usage"
    PREFILL = "prefill"  # accepts a trailing assistant message and goes on from it


class Outcome(enum.StrEnum):
    """How a call, or one attempt of it, ended."""

    OK = "ok"
    REFUSED = "refused"  # by us, before any attempt
    FAILED = "failed"  # the caller got an error status
    TRUNCATED = "truncated"  # the caller got a part, and an in-band error
    CLIENT_LEFT = "client_left"
    CLIENT_STALLED = "client_stalled"


class Lane(enum.StrEnum):
    """How a stream's bytes travel from provider to client; chosen once per attempt."""

    VERBATIM = "verbatim"
    FRAMED = "framed"
    CHECKED = "checked"
    TRANSLATED = "translated"
    UNARY = "unary"
    PASSTHROUGH = "passthrough"


class Origin(enum.StrEnum):
    """Who said it: the caller in this request, or we (settings; later saved configs and the vault)."""

    REQUEST = "request"
    OURS = "ours"


class Secret:
    """A string that shows itself only to `reveal()`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself; call it only where the bytes leave for the provider."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(
            self._value.encode("utf-8", "surrogatepass"), other._value.encode("utf-8", "surrogatepass")
        )

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a Secret is not pickled")


class Credential(msgspec.Struct, frozen=True):
    """A provider credential and where it came from; `source` names the field for error messages."""

    secret: Secret
    origin: Origin
    source: str


class Host(msgspec.Struct, frozen=True):
    """A base URL given for a target instead of the provider's own; `source` names the field that gave it."""

    url: str
    origin: Origin
    source: str


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One provider-specific config field (`openai_organization`, `resource_name`, …).

    It is read from a config field of this name and from the header ``x-portkey-<name with dashes>``.
    `secret`: its value never shows. `host`: it becomes part of the host we dial, so it must match ``[a-z0-9-]{1,63}``
    and never meets a credential of ours when it comes from the request. `kind` is the JSON type asked for.
    """

    kind: type = str
    secret: bool = False
    host: bool = False


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `first_token` is for streams and ends at the first event; `unary` ends at the answer's head."""

    connect: float = 10.0
    first_token: float = 300.0
    unary: float = 600.0
    idle: float = 120.0
    client_stall: float = 120.0
    total: float = 3600.0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens. `input` includes `cached` (read from a cache) and `cache_write` (written to one); `output` includes
    `reasoning`; `estimated`: not the provider's count.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: bool = False


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A call's body in one dialect. `body` is the parse of `raw`; `query` is the URL's, raw, empty once translated.

    `headers` are the client's, without hop-by-hop ones, cookies, keys and ours: a provider picks what it may pass on.
    """

    endpoint: Endpoint
    dialect: str
    raw: bytes
    body: Mapping[str, Any]
    model: str
    stream: bool
    query: str = ""
    headers: Headers = ()


class Route(msgspec.Struct, frozen=True):
    """Where a provider serves an endpoint: in which dialect, at which path below its base URL."""

    dialect: str
    path: str


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """All that goes to a provider. `headers` hold no host, length or framing: the transport adds those."""

    method: str
    url: str
    headers: Headers
    body: bytes = b""

    def __repr__(self) -> str:  # headers and query may carry a credential
        names = ", ".join(name for name, _ in self.headers)
        return f"<{self.method} {self.url.partition('?')[0]} [{names}] {len(self.body)} bytes>"


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often and for what one target is tried again: `attempts` beside the first try.

    `policy` names a registered retry policy. The statuses are portkey.md 4.1's, and a provider's 408.
    """

    attempts: int = 0
    on_status_codes: tuple[int, ...] = (408, 429, 500, 502, 503, 504)
    use_retry_after: bool = True
    policy: str = "exponential"


class CacheRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a config says about caching. `mode` is simple or semantic, `max_age` seconds; `refresh`: ask anew."""

    mode: str
    max_age: int | None = None
    refresh: bool = False


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about a stream that breaks after its first token, at most `attempts` times (faults.md A).

    `mode` is restart or continue; continue means restart for now. A mode of off is no `Recovery` at all.
    """

    mode: str = "restart"
    attempts: int = 1


class CircuitRules(msgspec.Struct, frozen=True, kw_only=True):
    """When a target's circuit opens, and for how long (`cooldown`, seconds).

    `failures` within the window open it, or a share of `failure_percentage` (0 to 100) once there were
    `minimum_requests`. `status_codes` are the answers that count as failures, 500 and above unless given.
    """

    failures: int | None = 5
    failure_percentage: float | None = None
    minimum_requests: int = 10
    cooldown: float = 30.0
    status_codes: frozenset[int] | None = None


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved leaf of a config. `path` is its address there: ``config``, ``config.targets[1]``.

    `guarded`: a part of the host came from the request, so the address gate applies. `circuit` is the rules of the
    nearest strategy that has some, `circuit_key` whose circuit it is: SHA-256 over provider, base URL, credential and
    model override. `strict`: a parameter that the provider can't be told is an error. `trace_id` and `metadata` are
    the labels that an old config's option brings along.
    """

    path: str
    provider: str
    name: str | None = None
    credential: Credential | None = None
    host: Host | None = None
    options: Mapping[str, Any] = {}
    override_params: Mapping[str, Any] = {}
    forward_headers: tuple[str, ...] = ()
    deadlines: Deadlines = Deadlines()
    guarded: bool = False
    retry: Retry = Retry()
    cache: CacheRules | None = None
    recovery: Recovery | None = None
    strict: bool = False
    circuit: CircuitRules | None = None
    circuit_key: bytes = b""
    trace_id: str | None = None
    metadata: Mapping[str, Any] = {}


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Ids under which a call is found again, as the caller gave them (`id` is made up when absent)."""

    id: str
    span_id: str | None = None
    parent_span_id: str | None = None
    span_name: str | None = None


class Attempt(msgspec.Struct, kw_only=True):
    """One try at one target. Written by the engine while it runs; frozen in fact once it is in a record.

    `retry` counts the tries at this target before this one, `waited` is how long it was held back for that (seconds).
    """

    target: str
    provider: str
    model: str
    start: float
    retry: int = 0
    waited: float = 0.0
    status: int | None = None
    outcome: Outcome | None = None
    error: str | None = None
    first_token: float | None = None
    end: float | None = None
    usage: Usage | None = None
    closed_by: str | None = None  # upstream | client | gateway


class Call(msgspec.Struct, kw_only=True):
    """The one mutable thing of a call; only the engine writes to it."""

    id: str
    trace: Trace
    received: float
    clock: float  # monotonic: uvloop's own clock only ticks in milliseconds
    method: str
    route: str
    metadata: Mapping[str, Any] = {}
    endpoint: Endpoint | None = None
    stream: bool = False
    lane: Lane | None = None
    status: int | None = None
    outcome: Outcome | None = None
    error: str | None = None
    usage: Usage | None = None
    committed: float | None = None
    sent: int = 0
    malformed: int = 0
    dropped_params: tuple[str, ...] = ()
    attempts: list[Attempt] = msgspec.field(default_factory=list)
    retries: int = 0  # at the last target; -1 once they are used up (portkey.md 3.3)
    recovery: str | None = None
    explain: bool = False
    notes: list[Any] = msgspec.field(default_factory=list)  # of the routing: what `explain` tells


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one call, whatever happened. No body and no secret is in it.

    `overhead` is the time that was ours: until the first attempt began, in seconds. `recovery` says what became of a
    stream that `stream_recovery` watches over: recovered, failed, or why it was off (too_long, tool_call, unsupported).
    """

    id: str
    trace: Trace
    received: float
    duration: float
    method: str
    route: str
    metadata: Mapping[str, Any]
    endpoint: Endpoint | None
    stream: bool
    lane: Lane | None
    status: int
    outcome: Outcome
    error: str | None
    usage: Usage | None
    first_token: float | None
    overhead: float
    sent: int
    malformed: int
    dropped_params: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    retries: int = 0
    recovery: str | None = None
