"""What goes around an answer: its headers, an error's body, the record of the call."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from ..contracts import Dialect
from ..dialects.failures import write_both_shapes
from ..errors import GatewayError, StreamBroken, UpstreamError, UpstreamStatus
from ..neutral import Event, Failure, UsageReport
from ..types import GATEWAY_PREFIXES, HOP_BY_HOP, Call, Outcome, Record, Usage
from .explain import describe

log = logging.getLogger(__name__)

RawHeader = tuple[bytes, bytes]

# Beside hop-by-hop ones, what only holds between a browser and the provider
NOT_PASSED = frozenset(name.encode() for name in HOP_BY_HOP) | {b"alt-svc", b"set-cookie", b"strict-transport-security"}
# Which pages may read an answer is for our door to say
OURS = (*(prefix.encode() for prefix in GATEWAY_PREFIXES), b"access-control-")
USEFUL = (b"x-request-id", b"request-id", b"retry-after", b"x-ratelimit-", b"anthropic-ratelimit-", b"openai-")
NO_CACHE: RawHeader = (b"x-portkey-cache-status", b"DISABLED")
NO_RETRIES: RawHeader = (b"x-portkey-retry-attempt-count", b"0")
NO_MORE: RawHeader = (b"x-should-retry", b"false")
STREAM_HEADERS: tuple[RawHeader, ...] = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


def own_headers(call: Call) -> list[RawHeader]:
    """The ``x-portkey-*`` answer headers; the values are as portkey.md 3.3 observed them."""
    headers = [(b"x-portkey-trace-id", call.trace.id.encode("utf-8", "replace"))]  # as it came: UTF-8
    if call.attempts:
        last = call.attempts[-1]
        headers += (
            (b"x-portkey-provider", last.provider.encode("latin-1", "replace")),
            (b"x-portkey-last-used-option-index", last.target.encode("latin-1", "replace")),
            (NO_RETRIES[0], b"%d" % call.retries) if call.retries else NO_RETRIES,
            NO_CACHE,
        )
    if call.dropped_params:
        headers.append((b"x-aiogateway-dropped-params", ",".join(call.dropped_params).encode("latin-1", "replace")))
    if call.explain:
        headers.append((b"x-aiogateway-explain", explain(call).encode("ascii", "replace")))
    return headers


def explain(call: Call) -> str:
    """Why the call went where it went, in one line."""
    return describe(call.notes, call.attempts)


def pass_headers(headers: Iterable[RawHeader], dropped: frozenset[bytes] = frozenset()) -> list[RawHeader]:
    """A provider's headers as a client may see them: less hop-by-hop ones (and those `Connection` names)."""
    kept = []
    named: list[bytes] = []
    for pair in headers:
        name = pair[0]
        if name == b"connection":
            named += [token.strip().lower() for token in pair[1].split(b",")]
        elif name not in NOT_PASSED and name not in dropped and not name.startswith(OURS):
            kept.append(pair)
    return [pair for pair in kept if pair[0] not in named] if named else kept


def useful_headers(headers: Iterable[RawHeader]) -> list[RawHeader]:
    """Those of a provider's headers that still mean something when the body is ours."""
    return [(name, value) for name, value in headers if name.startswith(USEFUL)]


def stream_headers(call: Call, headers: list[RawHeader], client: Dialect, *, verbatim: bool) -> list[RawHeader]:
    """Head of a stream; never compressed, never buffered by a proxy in front of us."""
    if verbatim:
        kept = pass_headers(headers, STREAM_DROPPED)
    else:
        kept = [*useful_headers(headers), (b"content-type", client.media_type.encode())]
    return [*kept, *STREAM_HEADERS, *own_headers(call)]


LEFT = (Outcome.CLIENT_LEFT, Outcome.CLIENT_STALLED)
STREAM_DROPPED = frozenset((b"content-length", b"content-encoding", b"cache-control", b"x-accel-buffering"))
UNARY_DROPPED = frozenset((b"content-length", b"content-encoding"))


def unary_headers(call: Call, headers: list[RawHeader], *, verbatim: bool) -> list[RawHeader]:
    """Head of an answer that is sent whole."""
    if verbatim:
        return [*pass_headers(headers, UNARY_DROPPED), *own_headers(call)]
    return [*useful_headers(headers), (b"content-type", b"application/json"), *own_headers(call)]


def write_error(call: Call, error: GatewayError, dialect: Dialect | None) -> tuple[bytes, list[RawHeader]]:
    """An error's body and headers. What a provider of the client's own dialect said stays as it came."""
    headers: list[RawHeader] = []
    own = own_headers(call)
    dropped = UNARY_DROPPED
    if call.retries < 0 or len(call.attempts) > 1:  # one retry layer: the client's own would only multiply it
        own.append(NO_MORE)
        dropped = dropped | {NO_MORE[0]}
    if isinstance(error, UpstreamStatus):
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in error.headers]
        if error.body:
            return error.body, [*pass_headers(headers, dropped), *own]
    body = dialect.write_error(error) if dialect is not None else write_plain_error(error)
    return body, [*useful_headers(headers), (b"content-type", b"application/json"), *own]


def write_plain_error(error: GatewayError) -> bytes:
    """Both OpenAI-shaped (openai-python shows `error.message`) and Portkey-shaped (portkey.md 2.5)."""
    shape = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return write_both_shapes(error, shape)


def read_events(dialect: Dialect, body: bytes) -> Sequence[Event]:
    """A provider's unary body as neutral events. Raises StreamBroken when it makes no sense, or the error it holds."""
    try:
        events = dialect.read_answer(body)
    except ValueError as error:
        raise StreamBroken("the provider's answer can't be understood") from error
    except Exception as error:  # a dialect may be a plugin's
        log.exception("dialect %s failed on a provider's answer", dialect.name)
        raise UpstreamError("the dialect's plugin failed on the provider's answer") from error
    for event in events:
        if isinstance(event, Failure):
            raise event.error
    return events


def find_usage(events: Iterable[Event]) -> Usage | None:
    found = None
    for event in events:
        if isinstance(event, UsageReport):
            found = event.usage
    return found


def make_record(call: Call, now: float) -> Record:
    """`now` is monotonic. Overhead is the time before the first attempt: parsing, resolving, reading the upload."""
    duration = now - call.clock
    outcome = call.outcome or Outcome.CLIENT_LEFT
    return Record(
        id=call.id,
        trace=call.trace,
        received=call.received,
        duration=duration,
        method=call.method,
        route=call.route,
        metadata=call.metadata,
        endpoint=call.endpoint,
        stream=call.stream,
        lane=call.lane,
        status=499 if outcome in LEFT else call.status or 500,
        outcome=outcome,
        error=call.error,
        usage=call.usage,
        first_token=call.committed,
        overhead=call.attempts[0].start if call.attempts else duration,
        sent=call.sent,
        malformed=call.malformed,
        dropped_params=call.dropped_params,
        attempts=tuple(call.attempts),
        retries=call.retries,
        recovery=call.recovery,
    )
