"""What the parts expect of each other. Protocols only; a plugin implements these without importing anything else."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .errors import GatewayError, UpstreamStatus
from .neutral import Envelope, Event, NeutralRequest, Written
from .types import (
    Attempt,
    Call,
    Capability,
    CircuitRules,
    Credential,
    Endpoint,
    Headers,
    Option,
    RawHeaders,
    Record,
    Request,
    Route,
    Target,
    UpstreamRequest,
    Usage,
)

if TYPE_CHECKING:
    from aiohttp import ClientSession


MAX_EVENT = 16 * 1024 * 1024
"""Bytes one frame of a stream may have, unless the settings say otherwise."""


class Provider(Protocol):
    """A sans-IO value: says what to send and how to read what comes back. Never opens a socket."""

    @property
    def name(self) -> str:
        """What configs and ``x-portkey-provider`` say."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    @property
    def options(self) -> Mapping[str, Option]:
        """The provider's own config fields, by name."""

    def route(self, endpoint: Endpoint, dialect: str, model: str) -> Route | None:
        """Where `endpoint` is served for `model`, in the client's `dialect` if it can be. None: not offered."""

    def prepare(self, request: Request, target: Target) -> UpstreamRequest:
        """The whole request but for its credential. Pure: the same arguments give the same value.

        `request` is already in the dialect that `route` named, overrides merged.
        Raises RequestError for what this provider can't serve.
        """

    async def authorize(
        self, upstream: UpstreamRequest, credential: Credential | None, http: ClientSession
    ) -> UpstreamRequest:
        """Adds the credential: the last step of every attempt, over the final bytes. May wait for a token."""

    def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest | None:
        """Where a request we don't understand goes: `raw_path` begins with ``/v1/`` and holds the raw query."""

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamStatus:
        """An answer that is not 2xx, as an error with the provider's message, type and code."""


class Answer(Protocol):
    """What a `Responder` writes its answer to."""

    def start(self, status: int, headers: Headers) -> None: ...

    async def send(self, data: bytes) -> None:
        """Waits while the client is slower than we are; raises ConnectionError once nobody listens."""


@runtime_checkable
class Responder(Protocol):
    """A provider that answers in this process instead of over a socket; its URLs start with ``local:``."""

    @property
    def name(self) -> str: ...

    @property
    def models(self) -> tuple[str, ...]:
        """The ids of the models it answers for."""

    async def respond(self, upstream: UpstreamRequest, answer: Answer) -> None:
        """Writes one answer; returning ends it, raising ConnectionError cuts it."""


class Splitter(Protocol):
    """Bytes to whole frames (an SSE event, an NDJSON line), however the bytes were cut."""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames completed by `data`, each with its own terminator. Raises StreamBroken over the size limit."""

    def rest(self) -> bytes:
        """What follows the last whole frame."""


class Decoder(Protocol):
    """One stream's frames to neutral events."""

    def feed(self, frame: bytes) -> Iterable[Event]:
        """Raises ValueError for a malformed frame."""


class Encoder(Protocol):
    """Neutral events to one stream's bytes."""

    def feed(self, event: Event) -> bytes: ...

    def end(self) -> bytes:
        """What closes a clean stream (OpenAI: usage if asked for, then ``[DONE]``)."""


class Dialect(Protocol):
    """A wire format. The first half is all that same-dialect streams need; the second half translates."""

    @property
    def name(self) -> str: ...

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def finish_marks(self) -> tuple[bytes, ...]:
        """Byte strings of which one stands in a stream's tail when it ended as it should."""

    @property
    def done(self) -> bytes:
        """The whole closing event, added when the provider forgot it; empty where the wire has none."""

    @property
    def media_type(self) -> str:
        """The content type of a stream."""

    @property
    def resumable(self) -> bool:
        """Whether a fresh encoder, told what a client has heard so far, can go on in the middle of its stream."""

    @property
    def usage_marks(self) -> tuple[bytes, ...]:
        """Byte strings of which one stands in every event that `is_usage_only`; empty: nothing to hide."""

    def is_usage_only(self, frame: bytes) -> bool:
        """Whether a frame holds nothing but usage: the event that a client which did not ask must not see."""

    def frame_end(self, data: bytes, start: int) -> int:
        """The position after the frame that begins at `start`; 0 while it is incomplete."""

    def splitter(self, max_event: int = MAX_EVENT) -> Splitter:
        """A fresh one, which takes frames of up to `max_event` bytes."""

    def is_keepalive(self, frame: bytes) -> bool:
        """Whether a frame carries no answer yet (a comment, a ping): such frames are no commit."""

    def is_malformed(self, frame: bytes) -> bool:
        """Whether a frame's payload can't be parsed."""

    def read_failure(self, frame: bytes) -> UpstreamStatus | None:
        """The error a frame stands for, if it stands for one."""

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        """The error that a 2xx unary body stands for: one that holds nothing but an error object."""

    def read_usage(self, tail: bytes) -> Usage | None:
        """Usage from the last bytes of a stream, or from a unary body."""

    def write_failure(self, error: GatewayError) -> bytes:
        """An in-band error event."""

    def write_error(self, error: GatewayError) -> bytes:
        """An error body."""

    def read_request(self, body: Mapping[str, Any]) -> NeutralRequest:
        """Raises RequestError(param) for what can't be understood."""

    def write_request(self, request: NeutralRequest) -> Written: ...

    def read_answer(self, body: bytes) -> Sequence[Event]:
        """A unary body. Raises ValueError when it is malformed."""

    def write_answer(self, events: Sequence[Event], envelope: Envelope) -> bytes: ...

    def decoder(self) -> Decoder: ...

    def encoder(self, envelope: Envelope) -> Encoder: ...


class Sink(Protocol):
    """The client's end of an answer. Writing is synchronous; back-pressure is `paused` and `drained()`."""

    @property
    def started(self) -> bool: ...

    @property
    def paused(self) -> bool:
        """The client is slower than we are: stop the source."""

    @property
    def backlog(self) -> int:
        """Bytes the client has not taken yet."""

    def start(self, status: int, headers: RawHeaders, *, length: int | None = None) -> None:
        """The head. With `length` the body is exactly that long, else chunked (or closed at its end on HTTP/1.0)."""

    def write(self, data: bytes) -> None:
        """Queues body bytes; `flush` sends what is queued in one system call."""

    def flush(self) -> None: ...

    def send(self, data: bytes) -> bool:
        """`write`, `flush` and `paused` in one, for every chunk of a stream."""

    async def drained(self) -> None:
        """Returns once the client has caught up."""

    def end(self) -> None:
        """Queues the end of the body and flushes."""

    def abort(self) -> None:
        """Cuts the client's connection: the answer can't be ended honestly."""


class RetryPolicy(Protocol):
    """Which failures are worth another try at the same target, and after which wait.

    The engine asks only while `retry.attempts` are left, never about a deadline of ours, and gives up by itself when
    the wait is over 60 s or would outlast the call.
    """

    @property
    def name(self) -> str:
        """What ``retry.policy`` says."""

    def wait(self, error: GatewayError, made: int, target: Target, draw: Callable[[], float]) -> float | None:
        """Seconds until the next try, or None to give this target up.

        `made` counts the retries that failed before, 0 at the first failure; `draw` gives random numbers in [0, 1).
        Plain and quick: it runs between two attempts of a call.
        """


class Admission(enum.Enum):
    """Under which state of its circuit an attempt began."""

    CLOSED = "closed"
    PROBE = "probe"  # half-open: the one attempt that finds out
    BYPASS = "bypass"  # open, but every other target is too


class CircuitBreakers(Protocol):
    """The circuits of targets, by `Target.circuit_key`. Synchronous: a shared store answers from its local copy.

    Every `begin` is followed by one of `succeed`, `fail` and `release`; `fail` may also follow `succeed`, when a
    stream breaks after its commit.
    """

    def is_open(self, key: bytes, rules: CircuitRules) -> bool:
        """Whether routing leaves the target out; half-open with its probe under way counts. Changes nothing."""

    def begin(self, key: bytes, rules: CircuitRules) -> Admission:
        """An attempt begins. The first one after the cooldown is the probe."""

    def succeed(self, key: bytes, admission: Admission) -> None:
        """The target answers. Closes the circuit, unless the attempt began before it opened."""

    def fail(self, key: bytes, rules: CircuitRules, admission: Admission) -> None:
        """The target failed in a way that counts."""

    def release(self, key: bytes, admission: Admission) -> None:
        """The attempt ended without saying anything about the target: the client left."""


class Observer(Protocol):
    """Told about one call as it goes. Plain calls: never await, never block."""

    def attempt(self, attempt: Attempt) -> None:
        """An attempt begins."""

    def commit(self, call: Call) -> None:
        """The client has a status; from here on no other target can be tried."""

    def end(self, record: Record) -> None: ...


class LogSink(Protocol):
    """Where records go, in batches, off the request path."""

    @property
    def name(self) -> str: ...

    async def write(self, batch: Sequence[Record]) -> None: ...

    async def close(self) -> None: ...


__all__ = [
    "MAX_EVENT",
    "Admission",
    "Answer",
    "CircuitBreakers",
    "Decoder",
    "Dialect",
    "Encoder",
    "LogSink",
    "Observer",
    "Provider",
    "Responder",
    "RetryPolicy",
    "Sink",
    "Splitter",
]
