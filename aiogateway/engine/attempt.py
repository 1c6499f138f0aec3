"""One try at one target: build the request, open the upstream, wait until the answer can be judged.

Nothing has been written to the client when `open_attempt` returns or raises, so another try is free.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import UnionType
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import msgspec

from ..contracts import CircuitBreakers, Dialect, Observer, Provider, Responder
from ..dialects.payload import parse_object
from ..errors import (
    ConfigError,
    GatewayError,
    Headers,
    PluginError,
    StreamBroken,
    Unsupported,
    UpstreamError,
    UpstreamStatus,
)
from ..neutral import Event
from ..registry import CLIENT_DIALECTS, Registry
from ..types import Attempt, Call, Capability, Endpoint, Lane, Outcome, Request, Route, Target, UpstreamRequest
from . import body as bodies
from .buffers import Buffers
from .deadlines import Sweeper, Watch
from .dial import Place
from .exchange import Exchange, Source
from .head import split_url, write_head
from .local import LocalSource
from .replies import read_events
from .search import Pause, Step
from .transport import Pool, StaleConnection, Upstream

if TYPE_CHECKING:
    from aiohttp import ClientSession

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ROUTE = Route | None
CHATS = (Endpoint.MESSAGES, Endpoint.RESPONSES)
"""Chats by another name: any provider that offers one can be asked."""
REMEMBERED = 10_000  # hosts known to refuse stream_options


class Tools:
    """What every attempt of a worker needs; made once by the composition root."""

    def __init__(
        self,
        registry: Registry,
        pool: Pool,
        http: ClientSession,
        *,
        buffers: Buffers,
        unary_buffer: int,
        max_event: int,
        check_streams: bool,
        breakers: CircuitBreakers,
        draw: Callable[[], float],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.sweeper = Sweeper(self.loop)
        self.registry = registry
        self.pool = pool
        self.http = http
        self.buffers = buffers
        self.unary_buffer = unary_buffer
        self.max_event = max_event
        self.check_streams = check_streams
        self.breakers = breakers
        self.draw = draw  # random numbers in [0, 1)
        self.live: set[Exchange | Pause] = set()  # what a forced stop has to end
        # asked once: isinstance() against a protocol costs 30 µs
        self.responders = {
            name: provider for name, provider in registry.providers.items() if isinstance(provider, Responder)
        }
        self._no_stream_options: OrderedDict[tuple[str, bool], None] = OrderedDict()

    def is_open(self, target: Target) -> bool:
        """Whether routing leaves the target out."""
        return target.circuit is not None and self.breakers.is_open(target.circuit_key, target.circuit)

    def refuses_stream_options(self, origin: tuple[str, bool]) -> bool:
        return origin in self._no_stream_options

    def remember_refusal(self, origin: tuple[str, bool]) -> None:
        self._no_stream_options[origin] = None
        if len(self._no_stream_options) > REMEMBERED:
            self._no_stream_options.popitem(last=False)


class Opened(msgspec.Struct):
    """An attempt that may be committed: `exchange.ready` is done, its status is 2xx and no in-band error came first."""

    attempt: Attempt
    request: Request  # the client's, overrides merged
    target: Target
    exchange: Exchange
    watch: Watch
    client: Dialect
    upstream: Dialect
    lane: Lane
    hide_usage: bool
    recoverable: bool = False
    events: Sequence[Event] | None = None  # a whole answer of another dialect, read

    def close(self) -> None:
        """Ends the attempt, wherever it is."""
        self.watch.stop()
        self.exchange.close()


async def open_attempt(
    tools: Tools, call: Call, request: Request, observers: tuple[Observer, ...], this: Step
) -> Opened:
    """Raises UpstreamError (the attempt failed), RequestError (this target can't serve it)."""
    target = this.target
    call.dropped_params = ()
    provider = tools.registry.providers[target.provider]
    request = bodies.merge_overrides(request, target)
    call.stream = request.stream
    attempt = begin_attempt(call, this, request.model, observers)
    try:
        return await _open(tools, call, attempt, provider, request, target, this.until)
    except UpstreamError as error:
        attempt.status, attempt.error = error.status, error.code
        attempt.outcome, attempt.closed_by = Outcome.FAILED, "upstream"
        raise
    except GatewayError as error:
        attempt.error = error.code
        attempt.outcome, attempt.closed_by = Outcome.FAILED, "gateway"
        if isinstance(error, ConfigError) and target.host is not None:  # the gate knows an address, not whose it is
            raise ConfigError(error.reason, path=target.host.source.rpartition(" ")[2]) from None
        raise
    except asyncio.CancelledError:
        attempt.outcome, attempt.closed_by = Outcome.CLIENT_LEFT, "client"
        raise
    finally:
        attempt.end = time.monotonic() - call.clock


def begin_attempt(call: Call, this: Step, model: str, observers: tuple[Observer, ...]) -> Attempt:
    """Puts the attempt into the call, where it stays whatever becomes of it."""
    target = this.target
    attempt = Attempt(
        target=target.path,
        provider=target.provider,
        model=model,
        start=time.monotonic() - call.clock,
        retry=this.made,
        waited=this.waited,
    )
    call.attempts.append(attempt)
    for observer in observers:
        observer.attempt(attempt)
    return attempt


async def _open(
    tools: Tools, call: Call, attempt: Attempt, provider: Provider, request: Request, target: Target, until: float
) -> Opened:
    client, upstream, endpoint = _find_dialects(tools, provider, request, target)
    outgoing = request
    if upstream is not client:
        outgoing, call.dropped_params = bodies.translate(request, client, upstream, endpoint)
        if target.strict and call.dropped_params:
            raise Unsupported(
                f"{target.provider} can't be told {', '.join(call.dropped_params)}", param=call.dropped_params[0]
            )
    hide_usage = False  # whether we ask for it unasked; the client's own wish is not ours to take back
    if not bodies.asks_usage(request):
        outgoing = bodies.leave_usage(outgoing) if bodies.asks_usage(outgoing) else outgoing
        hide_usage = _may_ask_usage(provider, outgoing, upstream)
    while True:
        final = bodies.ask_usage(outgoing) if hide_usage else outgoing
        prepared = _forward(ask(provider, UpstreamRequest, provider.prepare, final, target), request, target)
        place = (split_url(prepared.url)[0], target.guarded) if hide_usage else ("", False)
        if hide_usage and tools.refuses_stream_options(place):
            hide_usage = False
            continue
        exchange, watch = await _exchange(tools, provider, prepared, target, upstream, request.stream, until)
        try:
            events = _read(tools, provider, exchange, client, upstream, target, attempt)
        except BaseException as error:
            watch.stop()
            exchange.close()
            tools.live.discard(exchange)
            if not isinstance(error, UpstreamStatus):
                raise
            if hide_usage and error.status == 400 and b"stream_options" in error.body:
                tools.remember_refusal(place)
                hide_usage = False
                continue
            if upstream is not client:  # its body means nothing to the client: ours is written from the error
                error.body = b""
            raise
        recoverable = target.recovery is not None and exchange.streaming and client.resumable
        lane = _choose_lane(exchange, client is upstream, hide_usage, checked=tools.check_streams or recoverable)
        return Opened(
            attempt, request, target, exchange, watch, client, upstream, lane, hide_usage, recoverable, events
        )


def _find_dialects(
    tools: Tools, provider: Provider, request: Request, target: Target
) -> tuple[Dialect, Dialect, Endpoint]:
    """The client's dialect, the provider's, and the endpoint that it serves it by: what it does not offer in a client's
    own wire is still a chat.
    """
    endpoint = request.endpoint
    route = ask(provider, ROUTE, provider.route, endpoint, request.dialect, request.model)
    if route is None and endpoint in CHATS:
        endpoint = Endpoint.CHAT
        route = ask(provider, ROUTE, provider.route, endpoint, CLIENT_DIALECTS[endpoint], request.model)
    if route is None:
        raise Unsupported(f"{target.provider} does not offer {request.endpoint}", param=f"{target.path}.provider")
    upstream = tools.registry.dialects.get(route.dialect)
    if upstream is None:
        raise PluginError(f"there is no dialect {route.dialect!r}", plugin=provider.name, hook="route")
    return tools.registry.dialects[request.dialect], upstream, endpoint


def ask(provider: Provider, kind: type | UnionType, question: Callable[[*Ts], T], *args: *Ts) -> T:
    """A provider may be a plugin's: what it raises by mistake, or returns, is named and not shown."""
    try:
        answer = question(*args)
    except GatewayError:
        raise
    except Exception as error:
        raise PluginError(type(error).__name__, plugin=provider.name, hook=question.__name__) from error
    return check_kind(provider, kind, question.__name__, answer)


def check_kind(provider: Provider, kind: type | UnionType, hook: str, answer: T) -> T:
    if not isinstance(answer, kind):
        raise PluginError(f"returned {type(answer).__name__}", plugin=provider.name, hook=hook)
    return answer


async def authorize(tools: Tools, provider: Provider, upstream: UpstreamRequest, target: Target) -> UpstreamRequest:
    """The last step before sending: the credential goes in."""
    try:
        authorized = await provider.authorize(upstream, target.credential, tools.http)
    except GatewayError:
        raise
    except Exception as error:
        raise PluginError(type(error).__name__, plugin=provider.name, hook="authorize") from error
    return check_kind(provider, UpstreamRequest, "authorize", authorized)


def _may_ask_usage(provider: Provider, outgoing: Request, upstream: Dialect) -> bool:
    return (
        outgoing.stream
        and upstream.endpoint in bodies.USAGE_ENDPOINTS
        and Capability.STREAM_USAGE in provider.capabilities
        and bool(upstream.usage_marks)
        and bodies.may_add_usage(outgoing)
    )


def _choose_lane(exchange: Exchange, same: bool, hide_usage: bool, *, checked: bool) -> Lane:
    if not exchange.streaming:
        return Lane.UNARY
    if not same:
        return Lane.TRANSLATED
    if checked:
        return Lane.CHECKED
    return Lane.FRAMED if hide_usage else Lane.VERBATIM


def _forward(upstream: UpstreamRequest, request: Request, target: Target) -> UpstreamRequest:
    """Adds the client's headers that the config names; they replace the provider's own."""
    if not target.forward_headers:
        return upstream
    wanted = frozenset(target.forward_headers)
    extra = tuple((name, value) for name, value in request.headers if name in wanted)
    names = {name for name, _ in extra}
    kept = tuple((name, value) for name, value in upstream.headers if name not in names)
    return msgspec.structs.replace(upstream, headers=kept + extra)


async def _exchange(
    tools: Tools, provider: Provider, prepared: UpstreamRequest, target: Target, dialect: Dialect, stream: bool,
    until: float,
) -> tuple[Exchange, Watch]:  # fmt: skip
    """Sends, and waits until the answer can be judged. A pooled connection that died unheard costs one more try."""
    retried = False
    while True:
        exchange = Exchange(tools.loop, tools.buffers, dialect=dialect if stream else None, limit=tools.unary_buffer)
        watch = Watch(tools.sweeper, exchange, target.deadlines, until)
        exchange.on_first = watch.await_idle
        tools.live.add(exchange)
        watch.await_first(stream=stream)
        exchange.opener = asyncio.current_task(tools.loop)  # unasked, it looks for the loop by a system call
        try:
            request = await authorize(tools, provider, prepared, target)
            upstream = None if retried else find_source(tools, provider, request, target, exchange)
            if upstream is None:
                upstream = await tools.pool.dial(find_place(tools, request, target), target.deadlines.connect)
            exchange.opener = None
            if isinstance(upstream, Upstream):
                exchange.source = upstream
                upstream.send(exchange, request.method, write_head(request, upstream.place), request.body)
            await exchange.ready
            return exchange, watch
        except StaleConnection:
            watch.stop()
            tools.live.discard(exchange)
            if retried:
                raise
            retried = True
        except BaseException as error:  # cancelled: by a deadline, or the client left before the first token
            watch.stop()
            exchange.close()
            tools.live.discard(exchange)
            if isinstance(error, asyncio.CancelledError) and (failure := exchange.read_interruption()) is not None:
                raise failure from None
            raise


def find_source(
    tools: Tools, provider: Provider, request: UpstreamRequest, target: Target, exchange: Exchange
) -> Source | None:
    """An idle connection, or a provider in this process (which has begun by then); None: one has to be dialled."""
    responder = tools.responders.get(provider.name)
    if responder is not None and request.url.startswith("local:"):
        return LocalSource(responder, request, exchange)
    return tools.pool.take(find_place(tools, request, target))


def find_place(tools: Tools, request: UpstreamRequest, target: Target) -> Place:
    return tools.pool.find(split_url(request.url)[0], guarded=target.guarded)


def _read(
    tools: Tools, provider: Provider, exchange: Exchange, client: Dialect, upstream: Dialect, target: Target,
    attempt: Attempt,
) -> Sequence[Event] | None:  # fmt: skip
    """Raises what the answer stands for, if that is an error or makes no sense; the events of one to be translated."""
    _judge(provider, exchange, upstream, attempt)
    if exchange.streaming:
        return None
    if upstream is not client:
        if not exchange.over:
            raise StreamBroken(f"an answer over {tools.unary_buffer} bytes can't be translated")
        return read_events(upstream, exchange.body())
    if exchange.over and (tools.check_streams or target.recovery is not None):
        _check_body(exchange.body())
    return None


def _judge(provider: Provider, exchange: Exchange, dialect: Dialect, attempt: Attempt) -> None:
    """Raises what the answer stands for, if it stands for an error."""
    attempt.status = status = exchange.status
    if not 200 <= status < 300:
        body = exchange.body() if exchange.over else b""  # what is over `unary_buffer` would go out cut, as if whole
        raise ask(provider, UpstreamStatus, provider.read_error, status, text_headers(exchange.headers), body)
    if exchange.streaming:
        failure = dialect.read_failure(exchange.first)
        if failure is None and not exchange.first and exchange.over:
            raise StreamBroken("the provider's stream held no event")
    else:
        failure = dialect.read_body_failure(exchange.body())
    if failure is not None:
        raise failure


def _check_body(body: bytes) -> None:
    """What a checked stream does for each event: a whole body that is no JSON object is a broken answer."""
    try:
        parse_object(body)
    except ValueError:
        raise StreamBroken("the provider's answer is not a JSON object") from None


def text_headers(headers: list[tuple[bytes, bytes]]) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
